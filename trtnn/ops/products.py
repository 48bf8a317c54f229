"""Products of tensors, and products added to what is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trtnn.dtypes import bool_
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Number, Operand, is_always, normalize_dim
from trtnn.ops._promotion import align, cast, promote, promoted_dtype, wide
from trtnn.ops.arithmetic import add, mul, sub
from trtnn.ops.comparison import eq, ge, where
from trtnn.ops.creation import arange
from trtnn.ops.matrix import bmm, matmul, mm, mv
from trtnn.ops.reduction import sum
from trtnn.ops.shaping import permute, reshape, unsqueeze
from trtnn.ops.tiling import expanded, roll
from trtnn.shapes.symbolic import same


def _added(input: Tensor, product: Tensor, beta: Number, alpha: Number) -> Tensor:
    """Return beta · input + alpha · product; with a beta of 0 the input is ignored, its NaN as well, as in torch.

    Args:
        beta, alpha: numbers, which may be lengths or computed of them.

    Raises:
        ShapeError: the input does not expand to the product's shape.
    """
    product = product if is_always(alpha, 1) else mul(product, alpha)
    expanded(input, product.shape)  # the sum does it without a layer
    return product if is_always(beta, 0) else add(product, input if is_always(beta, 1) else mul(input, beta))


def addmm(input: Operand, mat1: Operand, mat2: Operand, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """Return beta · input + alpha · mat1 @ mat2, of two matrices."""
    input, mat1, mat2 = promote(input, mat1, mat2)
    return _added(input, mm(mat1, mat2), beta, alpha)


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """Return beta · input + alpha · batch1 @ batch2, of two batches of matrices."""
    return _added(input, bmm(batch1, batch2), beta, alpha)


def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """Return beta · input + alpha · the sum of all batch1[i] @ batch2[i]."""
    return _added(input, sum(bmm(batch1, batch2), 0), beta, alpha)


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """Return beta · input + alpha · mat @ vec."""
    return _added(input, mv(mat, vec), beta, alpha)


def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """Return beta · input + alpha · the outer product of two vectors.

    Raises:
        ShapeError: vec1 or vec2 is no vector, or the input does not expand to the product.
        DTypeError: beta or alpha is a bool beside numbers.
    """
    if vec1.ndim != 1 or vec2.ndim != 1:
        raise ShapeError(f"addr takes two vectors, not tensors of shapes {vec1.shape} and {vec2.shape}")
    product = mul(unsqueeze(vec1, 1), vec2)
    if product.dtype is bool_ and input.dtype is bool_:
        beta, alpha = bool(beta), bool(alpha)
    elif isinstance(beta, bool) or isinstance(alpha, bool):
        raise DTypeError("addr of numbers takes numbers as beta and alpha, not bools")
    dtype = promoted_dtype(input, product, graph=input.graph)  # before a fraction makes fp32 of integers
    return _added(cast(input, dtype), cast(product, dtype), beta, alpha)


def tensordot(a: Tensor, b: Tensor, dims: int | Sequence[int] | Sequence[Sequence[int]] = 2) -> Tensor:
    """Return the sum of products over dimensions of a and of b, as ``torch.tensordot``.

    The result has the other dimensions of a, then those of b.

    Args:
        dims: how many, the last of a and the first of b; or two lists, of a's and of b's.

    Raises:
        ShapeError: their lengths differ, and neither is 1.
    """
    if isinstance(dims, int):
        if not 0 <= dims <= min(a.ndim, b.ndim):
            raise ArgumentError(f"tensordot over {dims} dimensions of shapes {a.shape} and {b.shape}")
        of_a, of_b = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        if len(dims) != 2:
            raise ArgumentError(f"tensordot takes dims as an int or a sequence for each tensor, not {dims!r}")
        of_a, of_b = (list(d) if isinstance(d, Sequence) else [d] for d in dims)
        of_a, of_b = [normalize_dim(d, a.ndim) for d in of_a], [normalize_dim(d, b.ndim) for d in of_b]
    if len(of_a) == len(of_b):  # a length of 1 broadcasts: every element of the other is multiplied with the same
        for i, j in zip(of_a, of_b, strict=True):
            if not same(a.shape[i], b.shape[j]):
                a = cast(sum(a, i, True), a.dtype) if same(b.shape[j], 1) else a
                b = cast(sum(b, j, True), b.dtype) if same(a.shape[i], 1) else b
    lengths = [a.shape[d] for d in of_a]
    fitting = len(of_a) == len(of_b) and all(same(n, b.shape[d]) for n, d in zip(lengths, of_b, strict=True))
    if not fitting or len({*of_a}) < len(of_a) or len({*of_b}) < len(of_b):
        raise ShapeError(f"tensordot of shapes {a.shape} and {b.shape} over dimensions {of_a} and {of_b}")
    rows, columns = ([d for d in range(t.ndim) if d not in used] for t, used in ((a, of_a), (b, of_b)))
    shape = [*(a.shape[d] for d in rows), *(b.shape[d] for d in columns)]
    if not of_a:
        return mul(reshape(a, [*a.shape, *[1] * b.ndim]), b)
    count = math.prod(lengths)
    left = reshape(permute(a, [*rows, *of_a]), (math.prod(a.shape[d] for d in rows), count))
    right = reshape(permute(b, [*of_b, *columns]), (count, math.prod(b.shape[d] for d in columns)))
    return reshape(matmul(left, right), shape)


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Return the sum of products over the last dimension of both; with a number, the product."""
    if not input.shape or not other.shape:
        return mul(input, other)
    return tensordot(input, other, ([-1], [-1]))


def kron(input: Tensor, other: Tensor) -> Tensor:
    """Return the Kronecker product: every element of input times the whole of other, laid out in blocks."""
    ndim = max(input.ndim, other.ndim)  # of one rank first: the type of a tensor without dimensions counts as well
    a, b = align(*(reshape(x, (1,) * (ndim - x.ndim) + tuple(x.shape)) for x in (input, other)))
    left = reshape(a, [n for length in a.shape for n in (length, 1)])
    right = reshape(b, [n for length in b.shape for n in (1, length)])
    return reshape(mul(left, right), [n * m for n, m in zip(a.shape, b.shape, strict=True)])


def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """Return the cross product of vectors of 3, broadcast, along ``dim`` or the first dimension of 3.

    Raises:
        ShapeError: no dimension is 3 long, or ``dim`` is not in both tensors.
    """
    if dim is None:
        axes = [axis for axis, n in enumerate(input.shape) if same(n, 3)]
        if not axes:
            raise ShapeError(f"cross of shapes {input.shape} and {other.shape}: no dimension is 3 long")
        dim = axes[0]
    return cross_along(input, other, dim)


def cross_along(input: Tensor, other: Tensor, dim: int) -> Tensor:
    """Return :func:`cross` along ``dim``."""
    if input.ndim != other.ndim:
        raise ShapeError(f"cross takes tensors of one rank, not of shapes {input.shape} and {other.shape}")
    axis = normalize_dim(dim, input.ndim)
    if not same(input.shape[axis], 3) or not same(other.shape[axis], 3):
        raise ShapeError(f"cross of shapes {input.shape} and {other.shape}: dimension {dim} is not 3 long in both")
    a, b = promote(input, other)
    dtype, a, b = a.dtype, wide(a), wide(b)
    return cast(sub(mul(roll(a, -1, axis), roll(b, -2, axis)), mul(roll(a, -2, axis), roll(b, -1, axis))), dtype)


def grouped_mm(
    mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, bias: Tensor | None = None, out_dtype: Any = None
) -> Tensor:
    """Return the products of groups of rows with a matrix each, as ``torch.nn.functional.grouped_mm``.

    result[i] = mat_a[i] @ mat_b[j], where offs[j - 1] <= i < offs[j]. All rows are multiplied by all matrices, since
    where a group ends is known only when the network runs. Rows behind the last group are 0, of which torch says
    nothing.

    Args:
        mat_a: (rows, n), or (groups, rows, n) without ``offs``.
        mat_b: (groups, n, m).
        offs: where each group of rows ends, (groups,), not falling; None where ``mat_a`` has a matrix for each.
        bias, out_dtype: not taken, and by torch's documentation for CUDA alone.

    Raises:
        ShapeError: the matrices or ``offs`` do not fit together.
        UnsupportedError: a bias or a type is given, or columns are grouped.
    """
    if bias is not None or out_dtype is not None:
        raise UnsupportedError("grouped_mm takes no bias and no out_dtype", "add the one, and cast the result")
    if offs is None:
        return bmm(mat_a, mat_b)
    if mat_a.ndim != 2 or mat_b.ndim != 3:
        raise UnsupportedError(
            f"grouped_mm with offs takes rows in two dimensions and matrices in three: {mat_a.shape}, {mat_b.shape}",
            "what groups columns, or what both have in common, is a matmul of its own for each group",
        )
    if offs.ndim != 1 or not same(offs.shape[0], mat_b.shape[0]):
        raise ShapeError(f"offs of {offs.shape} is not one end for each matrix of {mat_b.shape}")
    rows, groups = (arange(length, dtype=offs.dtype) for length in (mat_a.shape[0], mat_b.shape[0]))
    group = sum(cast(ge(rows, unsqueeze(offs, 1)), offs.dtype), 0)  # how many end before a row
    is_of = eq(unsqueeze(groups, 1), cast(group, offs.dtype))
    return sum(where(unsqueeze(is_of, 2), matmul(mat_a, mat_b), 0.0), 0)
