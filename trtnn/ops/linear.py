"""Products with weights."""

from __future__ import annotations

from trtnn.errors import ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Array, expect_floating, shape_of_weights
from trtnn.ops._promotion import cast
from trtnn.ops.arithmetic import add
from trtnn.ops.einsum import einsum
from trtnn.ops.matrix import matmul
from trtnn.ops.shaping import reshape, with_ndim
from trtnn.shapes.symbolic import same


def linear(input: Tensor, weight: Array | Tensor, bias: Array | Tensor | None = None) -> Tensor:
    """Return ``input @ weight.T + bias``, as ``torch.nn.functional.linear``.

    Args:
        input: (..., in_features).
        weight: (out_features, in_features); or (in_features,), of an output without a dimension for it.
        bias: (out_features,).

    Returns:
        (..., out_features); or (...).

    Raises:
        ShapeError: the input has another number of features, or there is a bias beside a weight of one dimension.
        DTypeError: it holds no fractions.
    """
    is_vector = len(weight.shape) == 1
    if is_vector and bias is not None:
        raise ShapeError("linear takes no bias beside a weight of one dimension", "add it to the result")
    *outputs, in_features = shape_of_weights(weight, 1 if is_vector else 2, "the weight of linear")
    expect_floating(input, "linear")
    if not input.shape or not same(input.shape[-1], in_features):
        raise ShapeError(
            f"linear in {input.graph.where} got the wrong number of features",
            f"expected {in_features}, as its weights have",
            f"received an input of shape {input.shape}",
        )
    graph, trt = input.graph, input.graph.trt
    if is_vector:
        return matmul(input, _as_operand(weight, input, 1))
    (out_features,) = outputs
    ndim = max(input.ndim, 2)
    input_nd = with_ndim(input, ndim)
    product = graph.emit(
        "matrix_multiply",
        input_nd,
        trt.MatrixOperation.NONE,
        _as_operand(weight, input, ndim),
        trt.MatrixOperation.TRANSPOSE,
        out_shape=(*input_nd.shape[:-1], out_features),
    )
    if bias is not None:
        product = add(product, _as_operand(bias, input, ndim))
    return product if input.ndim >= 2 else reshape(product, (out_features,))


def _as_operand(value: Array | Tensor, input: Tensor, ndim: int) -> Tensor:
    """Return weights as a Tensor of the input's type and of so many dimensions."""
    if isinstance(value, Tensor):
        return with_ndim(cast(value, input.dtype), ndim)
    return input.graph.constant(value, input.dtype, ndim)


def bilinear(input1: Tensor, input2: Tensor, weight: Array | Tensor, bias: Array | Tensor | None = None) -> Tensor:
    """Return ``input1 @ weight[k] @ input2`` for each output k, as ``torch.nn.functional.bilinear``.

    Args:
        input1, input2: (..., in1_features) and (..., in2_features), the rest the same.
        weight: (out_features, in1_features, in2_features).
        bias: (out_features,).

    Returns:
        (..., out_features).
    """
    shape_of_weights(weight, 3, "the weight of bilinear")
    product = einsum("...i,kij,...j->...k", input1, _as_operand(weight, input1, 3), input2)
    return product if bias is None else add(product, bias)
