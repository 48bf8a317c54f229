"""Modules of torch.nn's that are told by the one call that they make: graphs have the call and not the arguments."""

from __future__ import annotations

from typing import Any

from trtnn import modules
from trtnn.from_torch.recording.steps import Step, Value
from trtnn.from_torch.source.expressions import Call, Number, Text, quoted


def told_by_call(kind: str, step: Step) -> Call | None:
    """Return what makes a module of torch.nn's, of which an exported program has the call and not the arguments.

    Args:
        kind: the class.
        step: the only operation of its forward.
    """
    if kind not in modules.__all__ or step.kwargs:
        return None
    x, *args = step.args
    if not isinstance(x, Value):
        return None
    if not args:  # an activation: torch's own with its defaults calls it so
        inplace = (("inplace", Text("True")),) if step.name.endswith("_") else ()
        return Call(Text(kind), (), inplace) if step.name.rstrip("_") == kind.lower() else None
    find = {"conv1d": _conv, "conv2d": _conv, "conv3d": _conv, "_convolution_mode": _conv,
            "convolution": _convolution, "linear": _linear,
            "layer_norm": _layer_normalization, "batch_norm": _batch_normalization, "embedding": _lookup,
            "max_pool2d": _max_pool, "adaptive_avg_pool2d": _adaptive_pool}.get(step.name)  # fmt: skip
    return None if find is None else find(kind, x, *args)


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(map(int, value.tensor.shape))


def _number(value: Any, name: str, default: Any) -> tuple[str, Number]:
    items = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return name, Number(items[0] if len(set(items)) == 1 else items, name, default=default)


def _conv(
    kind: str,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Call | None:
    if not kind.startswith("Conv") or kind.startswith("ConvT"):
        return None
    out, inside, *kernel = _shape(weight)
    sizes = (
        Number(inside * groups, "in_channels"),
        Number(out, "out_channels"),
        _number(kernel, "kernel_size", ...)[1],
    )
    around = ("padding", Text(quoted(padding))) if isinstance(padding, str) else _number(padding, "padding", 0)
    options = (_number(stride, "stride", 1), around, _number(dilation, "dilation", 1))
    return Call(Text(kind), sizes, (*options, _number(groups, "groups", 1), _number(bias is not None, "bias", True)))


def _convolution(
    kind: str,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Call | None:
    return None if transposed else _conv(kind, x, weight, bias, stride, padding, dilation, groups)


def _linear(kind: str, x: Any, weight: Any, bias: Any = None) -> Call | None:
    out, inside = _shape(weight)
    if kind != "Linear":
        return None
    sizes = (Number(inside, "in_features"), Number(out, "out_features"))
    return Call(Text(kind), sizes, (_number(bias is not None, "bias", True),))


def _layer_normalization(
    kind: str, x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Call | None:
    if kind != "LayerNorm" or weight is None or bias is None:
        return None
    size = Number(shape[0] if len(shape) == 1 else tuple(shape), "normalized_shape")
    return Call(Text(kind), (size,), (_number(eps, "eps", 1e-5),))


def _batch_normalization(
    kind: str, x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float, *_: Any
) -> Call | None:
    if not kind.startswith("BatchNorm") or weight is None or bias is None or mean is None or training:
        return None
    return Call(Text(kind), (Number(_shape(weight)[0], "num_features"),), (_number(eps, "eps", 1e-5),))


def _max_pool(
    kind: str, x: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Call | None:
    if kind != "MaxPool2d":
        return None
    size = _number(kernel, "kernel_size", ...)[1]
    step = size if stride in ((), []) else _number(stride, "stride", ...)[1]
    options = (_number(padding, "padding", 0), _number(dilation, "dilation", 1), _number(ceil_mode, "ceil_mode", False))
    return Call(Text(kind), (size,), (*(() if step.value == size.value else (("stride", step),)), *options))


def _adaptive_pool(kind: str, x: Any, size: Any) -> Call | None:
    if kind != "AdaptiveAvgPool2d" or any(type(length) is not int for length in size):
        return None
    return Call(Text(kind), (_number(size, "output_size", ...)[1],))


def _lookup(kind: str, weight: Any, indices: Any, *_: Any) -> Call | None:
    if kind != "Embedding" or not isinstance(indices, Value):
        return None
    count, width = _shape(weight)
    return Call(Text(kind), (Number(count, "num_embeddings"), Number(width, "embedding_dim")))
