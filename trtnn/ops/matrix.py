"""Products of matrices."""

from __future__ import annotations

import string
from collections.abc import Sequence

from trtnn.errors import ArgumentError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, expect_floating
from trtnn.ops._promotion import promote
from trtnn.ops.arithmetic import mul
from trtnn.ops.diagonals import diagonal
from trtnn.ops.shaping import reshape, unsqueeze, with_ndim
from trtnn.shapes.symbolic import Length, broadcast, same


def matmul(input: Operand, other: Operand) -> Tensor:
    """Return the product of matrices (``@``), as ``torch.matmul``.

    The last two dimensions are the matrices', those before broadcast; a vector is a row on the left and a column on the
    right, and its dimension is not in the result.

    Raises:
        ShapeError: the lengths that are summed over differ, or the rest does not broadcast.
    """
    a, b = promote(input, other)
    expect_floating(a, "matmul")
    shapes = a.shape, b.shape
    if not a.shape or not b.shape:
        raise ShapeError(f"matmul in {a.graph.where} takes at least one dimension, not {shapes[0]} and {shapes[1]}")
    left, right = a.ndim == 1, b.ndim == 1
    a, b = unsqueeze(a, 0) if left else a, unsqueeze(b, 1) if right else b
    ndim = max(a.ndim, b.ndim)
    a, b = with_ndim(a, ndim), with_ndim(b, ndim)
    batch = broadcast(a.shape[:-2], b.shape[:-2])
    if not same(a.shape[-1], b.shape[-2]) or batch is None:
        raise ShapeError(f"matmul in {a.graph.where}: shapes {shapes[0]} and {shapes[1]} do not fit together")
    none = a.graph.trt.MatrixOperation.NONE
    shape = (*batch, a.shape[-2], b.shape[-1])
    product = a.graph.emit("matrix_multiply", a, none, b, none, out_shape=shape)
    lengths = list(product.shape)
    if right:
        del lengths[-1]
    if left:
        del lengths[-1 if right else -2]
    return reshape(product, lengths)


def _shape(operand: Operand) -> tuple[Length, ...]:
    return getattr(operand, "shape", ())


def _product(name: str, ranks: tuple[int, int], input: Operand, other: Operand) -> Tensor:
    left, right = _shape(input), _shape(other)
    if (len(left), len(right)) != ranks:
        raise ShapeError(f"{name} takes tensors of {ranks[0]} and {ranks[1]} dimensions, not {(len(left), len(right))}")
    if name == "bmm" and not same(left[0], right[0]):
        raise ShapeError(f"bmm takes two batches of one size, not {left} and {right}")
    return matmul(input, other)


def mm(input: Operand, mat2: Operand) -> Tensor:
    """Return the product of two matrices; see :func:`matmul`.

    Raises:
        ShapeError: they are no matrices, or do not fit together.
    """
    return _product("mm", (2, 2), input, mat2)


def mv(input: Operand, vec: Operand) -> Tensor:
    """Return the product of a matrix and a vector; see :func:`matmul`.

    Raises:
        ShapeError: they are no matrix and vector, or do not fit together.
    """
    return _product("mv", (2, 1), input, vec)


def dot(input: Operand, tensor: Operand) -> Tensor:
    """Return the product of two vectors, a number; see :func:`matmul`.

    Raises:
        ShapeError: they are no vectors, or of different lengths.
    """
    return _product("dot", (1, 1), input, tensor)


def bmm(input: Operand, mat2: Operand) -> Tensor:
    """Return the products of two batches of as many matrices, (batch, n, m) and (batch, m, p); see :func:`matmul`.

    Raises:
        ShapeError: they are no batches of matrices, or do not fit together.
    """
    return _product("bmm", (3, 3), input, mat2)


def outer(input: Tensor, vec2: Operand) -> Tensor:
    """Return the product of each element of one vector with each of another, (n, m)."""
    return mul(unsqueeze(input, 1), vec2)


def einsum(equation: str, *operands: Operand) -> Tensor:
    """Return sums of products, in Einstein's notation, as ``torch.einsum``.

    ``"bij,bjk->bik"``: a letter for each dimension; letters that the result does not name are summed over. Without
    ``->`` the result has the letters that come up once, in order. ``...`` stands for further dimensions, broadcast. A
    letter twice in one operand takes its diagonal.

    Raises:
        ArgumentError: the equation does not fit the operands.
        ShapeError: a letter stands for two lengths.
    """
    listed = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    tensors = promote(*listed)
    expect_floating(tensors[0], "einsum")
    terms, result = _terms(equation.replace(" ", ""), tensors)
    names = {letter: string.ascii_lowercase[i] for i, letter in enumerate(dict.fromkeys("".join(terms)))}
    tensors, terms = _diagonals(equation, tensors, terms)
    tensors, terms = _without_ones(equation, tensors, terms)
    graph = tensors[0].graph
    while True:  # two at a time: more are not for every TensorRT
        wanted = set(result).union(*terms[2:])
        kept = "".join(dict.fromkeys(letter for letter in "".join(terms[:2]) if letter in wanted))
        kept = kept if terms[2:] else result
        spelled = f"{','.join(terms[:2])}->{kept}".translate(str.maketrans(names))
        pairs = (zip(term, tensor.shape, strict=True) for term, tensor in zip(terms[:2], tensors[:2], strict=True))
        lengths = {letter: length for pair in pairs for letter, length in pair}
        shape = [lengths[letter] for letter in kept]
        product = graph.emit("einsum", tensors[:2], spelled, out_shape=shape)
        if not terms[2:]:
            return product
        tensors, terms = [product, *tensors[2:]], [kept, *terms[2:]]


def _diagonals(equation: str, tensors: Sequence[Tensor], terms: Sequence[str]) -> tuple[list[Tensor], list[str]]:
    """Take the diagonals of what has a letter twice, of each such letter as the last dimension.

    Raises:
        ShapeError: the two dimensions are of different lengths.
    """
    taken, left = [*tensors], [*terms]
    for i, term in enumerate(terms):
        for letter in dict.fromkeys(letter for letter in term if term.count(letter) > 1):
            while left[i].count(letter) > 1:
                first, second = left[i].index(letter), left[i].rindex(letter)
                lengths = taken[i].shape[first], taken[i].shape[second]
                if not same(*lengths):
                    raise ShapeError(f"einsum {equation!r}: {letter} is {lengths[0]} and {lengths[1]} long")
                taken[i] = diagonal(taken[i], 0, first, second)
                left[i] = left[i][:first] + left[i][first + 1 : second] + left[i][second + 1 :] + letter
    return taken, left


def _without_ones(equation: str, tensors: Sequence[Tensor], terms: Sequence[str]) -> tuple[list[Tensor], list[str]]:
    """Drop the dimensions of length 1 that broadcast against longer ones of the same letter.

    Raises:
        ShapeError: a letter stands for two lengths above 1.
    """
    lengths: dict[str, Length] = {}
    for tensor, term in zip(tensors, terms, strict=True):
        for letter, length in zip(term, tensor.shape, strict=True):
            longest = lengths.get(letter, 1)
            if not same(longest, length) and not same(longest, 1) and not same(length, 1):
                shapes = ", ".join(str(t.shape) for t in tensors)
                raise ShapeError(f"einsum {equation!r}: a letter is {longest} and {length} long", f"received {shapes}")
            lengths[letter] = length if same(longest, 1) else longest
    shorter, left = [], []
    for tensor, term in zip(tensors, terms, strict=True):
        stays = [same(n, lengths[letter]) for n, letter in zip(tensor.shape, term, strict=True)]
        shorter.append(reshape(tensor, [n for n, kept in zip(tensor.shape, stays, strict=True) if kept]))
        left.append("".join(letter for letter, kept in zip(term, stays, strict=True) if kept))
    return shorter, left


def _terms(equation: str, tensors: Sequence[Tensor]) -> tuple[list[str], str]:
    """Return the letters of each operand and of the result, with letters of their own for ``...``."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        raise ArgumentError(f"einsum {equation!r} names {len(terms)} operands, not {len(tensors)}")
    free = [letter for letter in string.ascii_letters if letter not in equation]
    longest = 0
    for i, (term, tensor) in enumerate(zip(terms, tensors, strict=True)):
        extra = tensor.ndim - len(term.replace("...", ""))
        if extra < 0 or (extra and "..." not in term):
            raise ArgumentError(f"einsum {equation!r}: {term!r} does not fit an operand of shape {tensor.shape}")
        longest = max(longest, extra)
        terms[i] = term.replace("...", "".join(free[26 - extra : 26]) if extra else "")
    if not arrow:
        letters = left.replace("...", "").replace(",", "")
        right = "..." + "".join(sorted(letter for letter in letters if letters.count(letter) == 1))
    result = right.replace("...", "".join(free[26 - longest : 26]) if longest else "")
    unknown = set(result) - set("".join(terms))
    if unknown:
        raise ArgumentError(f"einsum {equation!r}: no operand has {', '.join(sorted(unknown))}")
    return terms, result
