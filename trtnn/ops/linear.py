"""Products with weights."""

from __future__ import annotations

from trtnn.errors import ShapeError
from trtnn.ops.arguments import Array, expect_floating, shape_of_weights
from trtnn.ops.arithmetic import add
from trtnn.ops.shaping import reshape, with_ndim
from trtnn.symbolic import same
from trtnn.tensor import Tensor


def linear(input: Tensor, weight: Array, bias: Array | None = None) -> Tensor:
    """``input @ weight.T + bias``, as ``torch.nn.functional.linear``.

    Args:
        input: (..., in_features).
        weight: (out_features, in_features).
        bias: (out_features,).

    Returns:
        (..., out_features).
    """
    out_features, in_features = shape_of_weights(weight, 2, "the weight of linear")
    expect_floating(input, "linear")
    if not input.shape or not same(input.shape[-1], in_features):
        raise ShapeError(
            f"linear in {input.graph.where} got the wrong number of features",
            f"expected {in_features}, as its weights have",
            f"received an input of shape {input.shape}",
        )
    graph, trt = input.graph, input.graph.trt
    ndim = max(input.ndim, 2)
    input_nd = with_ndim(input, ndim)
    product = graph.emit(
        "matrix_multiply",
        input_nd,
        trt.MatrixOperation.NONE,
        graph.constant(weight, input.dtype, ndim),
        trt.MatrixOperation.TRANSPOSE,
        out_shape=(*input_nd.shape[:-1], out_features),
    )
    if bias is not None:
        product = add(product, graph.constant(bias, input.dtype, ndim))
    return product if input.ndim >= 2 else reshape(product, (out_features,))
