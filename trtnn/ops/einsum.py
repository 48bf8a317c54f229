"""Sums of products in Einstein's notation."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence, Set

from trtnn.errors import ArgumentError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, expect_floating
from trtnn.ops._inplace import seen
from trtnn.ops._promotion import promote
from trtnn.ops.arithmetic import mul
from trtnn.ops.diagonals import diagonal
from trtnn.ops.matrix import matmul
from trtnn.ops.reduction import sum
from trtnn.ops.shaping import permute, reshape
from trtnn.shapes.symbolic import Length, same


def einsum(equation: str, *operands: Operand) -> Tensor:
    """Return sums of products, in Einstein's notation, as ``torch.einsum``.

    ``"bij,bjk->bik"``: a letter for each dimension; letters that the result does not name are summed over. Without
    ``->`` the result has the letters that come up once, in order. ``...`` stands for further dimensions, broadcast. A
    letter twice in one operand takes its diagonal.

    Operands are multiplied as matrices, two at a time from the left, as torch does: of TensorRT's own layer for it
    TensorRT 8.6.0 made wrong numbers in attention in fp16, without a word (docs/limits.md).

    Raises:
        ArgumentError: the equation does not fit the operands.
        ShapeError: a letter stands for two lengths.
    """
    listed = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    if not listed:
        raise ArgumentError(f"einsum {equation!r} takes at least one operand")
    tensors = promote(*listed)
    expect_floating(tensors[0], "einsum")
    terms, result = _terms(equation.replace(" ", ""), tensors)
    whole = tensors[0] if len(terms) == 1 and set(terms[0]) == set(result) else None  # of which it is a view
    tensors, terms = _diagonals(equation, tensors, terms)
    tensors, terms = _without_ones(equation, tensors, terms)
    while len(tensors) > 1:
        rest = set(result).union(*terms[2:])
        product, term = _pair(tensors[:2], terms[:2], rest)
        tensors, terms = [product, *tensors[2:]], [term, *terms[2:]]
    product, term = _summed(tensors[0], terms[0], set(result))
    product = permute(product, [term.index(letter) for letter in result])
    return product if whole is None else seen(whole, product)


def _summed(tensor: Tensor, term: str, wanted: Set[str]) -> tuple[Tensor, str]:
    """Sum over the letters that nobody wants any more."""
    gone = [i for i, letter in enumerate(term) if letter not in wanted]
    return (sum(tensor, gone) if gone else tensor), "".join(letter for letter in term if letter in wanted)


def _pair(tensors: Sequence[Tensor], terms: Sequence[str], rest: Set[str]) -> tuple[Tensor, str]:
    """Multiply two operands, and sum over the letters that only these have; return the product and its letters."""
    (a, left), (b, right) = (
        _summed(tensor, term, rest | {*other})
        for tensor, term, other in zip(tensors, terms, reversed(terms), strict=True)
    )
    batch = [letter for letter in left if letter in right and letter in rest]
    inner = [letter for letter in left if letter in right and letter not in rest]
    rows, columns = ([letter for letter in one if letter not in other] for one, other in ((left, right), (right, left)))
    letters = "".join([*batch, *rows, *columns])
    a, b = _ordered(a, left, [*batch, *rows, *inner]), _ordered(b, right, [*batch, *inner, *columns])
    if not inner:
        return mul(reshape(a, [*a.shape, *[1] * len(columns)]), _spread(b, len(batch), len(rows))), letters
    first, last = a.shape[: len(batch) + len(rows)], b.shape[len(batch) + len(inner) :]
    product = matmul(_matrices(a, len(batch), len(rows)), _matrices(b, len(batch), len(inner)))
    return reshape(product, [*first, *last]), letters


def _ordered(tensor: Tensor, term: str, letters: Sequence[str]) -> Tensor:
    return permute(tensor, [term.index(letter) for letter in letters])


def _spread(tensor: Tensor, batch: int, rows: int) -> Tensor:
    """Return a tensor with dimensions of length 1, for rows, behind those of the batch."""
    return reshape(tensor, [*tensor.shape[:batch], *[1] * rows, *tensor.shape[batch:]])


def _matrices(tensor: Tensor, batch: int, rows: int) -> Tensor:
    """Return a tensor as matrices: of the dimensions behind the batch's, so many are the rows, the others columns."""
    first, middle, last = tensor.shape[:batch], tensor.shape[batch : batch + rows], tensor.shape[batch + rows :]
    return reshape(tensor, [*first, math.prod(middle), math.prod(last)])


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
