"""Products of matrices."""

from __future__ import annotations

from trtnn.errors import ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Operand, expect_floating
from trtnn.ops._promotion import promote
from trtnn.ops.arithmetic import mul
from trtnn.ops.scores import is_at_risk, waiting_product
from trtnn.ops.shaping import reshape, unsqueeze, with_ndim
from trtnn.shapes.symbolic import Length, broadcast, same


def matmul(input: Operand, other: Operand) -> Tensor:
    """Return the product of matrices (``@``), as ``torch.matmul``.

    The last two dimensions are the matrices', those before broadcast; a vector is a row on the left and a column on the
    right, and its dimension is not in the result.

    Raises:
        ShapeError: the lengths that are summed over differ, or the rest does not broadcast.
    """
    shapes = _shape(input), _shape(other)
    ranks = [len(shape) for shape in shapes]
    # An array is a constant in the shape that the layer reads: weights behind another layer would not be quantised.
    a, b = promote(input, other, ndim=max(ranks) if min(ranks) > 1 else 0)
    expect_floating(a, "matmul")
    if not a.shape or not b.shape:
        raise ShapeError(f"matmul in {a.graph.where} takes at least one dimension, not {shapes[0]} and {shapes[1]}")
    left, right = a.ndim == 1, b.ndim == 1
    a, b = unsqueeze(a, 0) if left else a, unsqueeze(b, 1) if right else b
    ndim = max(a.ndim, b.ndim)
    a, b = with_ndim(a, ndim), with_ndim(b, ndim)
    batch = broadcast(a.shape[:-2], b.shape[:-2])
    if not same(a.shape[-1], b.shape[-2]) or batch is None:
        raise ShapeError(f"matmul in {a.graph.where}: shapes {shapes[0]} and {shapes[1]} do not fit together")
    shape = (*batch, a.shape[-2], b.shape[-1])

    def multiply(a: Tensor, b: Tensor) -> Tensor:
        none = a.graph.trt.MatrixOperation.NONE
        return a.graph.emit("matrix_multiply", a, none, b, none, out_shape=shape)

    product = waiting_product(a, b, multiply, shape) if is_at_risk(a, b) else multiply(a, b)
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
