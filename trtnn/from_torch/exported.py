"""Exported programs: graphs of ATen's operations, whose arguments stand otherwise than those of torch's functions.

``torch.export.unflatten`` puts a program's modules together again, and they are recorded as others are.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from trtnn import modules
from trtnn.errors import ArgumentError
from trtnn.from_torch.converters import Missing, converter
from trtnn.from_torch.expressions import Call, Number, Text
from trtnn.from_torch.record import Step, Value

_END = 2**63 - 1  # of a slice that goes to the end


def as_module(program: Any) -> nn.Module:
    """Return the modules of an exported program.

    Raises:
        ArgumentError: torch cannot put them together.
    """
    try:
        module = torch.export.unflatten(program)
    except Exception as error:
        raise ArgumentError(
            f"torch cannot put the modules of this exported program together: {error}".partition("\n")[0],
            "convert the module that it was exported of",
        ) from error
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if _is_sequential(child):
                setattr(parent, name, nn.Sequential(OrderedDict(child.named_children())))
    for inner in module.modules():
        inner.training = False  # it was exported as it is, and has no switch
    return module


def _is_sequential(module: Any) -> bool:
    """Whether a module is a Sequential that calls what it holds one after another, each once."""
    kind = getattr(module, "type_name", lambda: "")()
    if not isinstance(kind, str) or not kind.endswith(".Sequential"):
        return False
    nodes = [node for node in module.graph.nodes if node.op not in ("placeholder", "output")]
    names = [node.target for node in nodes]
    return names == list(module._modules) and all(len(node.all_input_nodes) == 1 for node in nodes)


def _text(*parts: Any) -> str:
    return ", ".join(str(part) for part in parts)


@converter(torch.ops.aten.batch_norm)
def _batch_norm(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: Any, momentum: Any, eps: Any, *_: Any
) -> str:
    if training:
        raise Missing("batch_norm of a batch's own statistics")
    return f"F.batch_norm({_text(x, mean, var, weight, bias)}, eps={eps})"


@converter(torch.ops.aten.layer_norm)
def _layer_norm(x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: Any = 1e-5, *_: Any) -> str:
    return f"F.layer_norm({_text(x, shape, weight, bias)}, eps={eps})"


@converter(torch.ops.aten.group_norm)
def _group_norm(x: Any, groups: Any, weight: Any = None, bias: Any = None, eps: Any = 1e-5, *_: Any) -> str:
    return f"F.group_norm({_text(x, groups, weight, bias)}, eps={eps})"


@converter(torch.ops.aten.instance_norm)
def _instance_norm(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, use_input_stats: Any, momentum: Any, eps: Any, *_: Any
) -> str:
    return f"F.instance_norm({_text(x, mean, var, weight, bias, use_input_stats)}, eps={eps})"


@converter(torch.ops.aten.embedding)
def _embedding(weight: Any, indices: Any, *_: Any) -> str:
    return f"F.embedding({indices}, {weight})"


@converter(torch.ops.aten.slice)
def _slice(x: Any, dim: Any = 0, start: Any = None, end: Any = None, step: Any = 1) -> str:
    if dim < 0:
        raise Missing("a slice of a dimension that is counted from the end")
    ends = f"{start if start is not None else ''}:{end if end not in (None, _END) else ''}"
    return f"{x}[{':, ' * dim}{ends}{'' if step == 1 else f':{step}'}]"


@converter(torch.ops.aten.copy_)
def _copy(x: Any, source: Any, *_: Any) -> str:
    return f"{x}.copy_({source})"


@converter(torch.ops.aten.dropout)
@converter(torch.ops.aten.feature_dropout)
def _dropout(x: Any, p: Any = 0.5, train: Any = False) -> str:
    if train:
        raise Missing("dropout in training")
    return str(x)


@converter(torch.ops.aten.alias)
@converter(torch.ops.aten.lift_fresh_copy)
@converter(torch.ops.aten.detach_)
def _itself(x: Any, *_: Any) -> str:
    return str(x)


@converter(torch.ops.aten._unsafe_view)
def _unsafe_view(x: Any, size: Any) -> str:
    return f"{x}.reshape({size})"


@converter(torch.ops.aten.upsample_nearest2d)
def _upsample_nearest(x: Any, size: Any, scale: Any = None, *_: Any) -> str:
    return f"F.interpolate({x}, size={size}, scale_factor={scale})"


@converter(torch.ops.aten.upsample_bilinear2d)
def _upsample_bilinear(x: Any, size: Any, align_corners: Any = False, scale: Any = None, *_: Any) -> str:
    return f'F.interpolate({x}, size={size}, scale_factor={scale}, mode="bilinear", align_corners={align_corners})'


@converter(torch.ops.aten.linalg_vector_norm)
def _norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: Any = False, **_: Any) -> str:
    return f"F.norm({_text(x, ord, dim, keepdim)})"


# -- modules of torch.nn's, told by the one call that they make -------------------------------------------------------


def constructor(kind: str, step: Step) -> Call | None:
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
    find = {"conv1d": _conv, "conv2d": _conv, "conv3d": _conv, "linear": _linear, "layer_norm": _layer_normalization,
            "batch_norm": _batch_normalization, "embedding": _lookup, "max_pool2d": _max_pool,
            "adaptive_avg_pool2d": _adaptive_pool}.get(step.name)  # fmt: skip
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
    if not kind.startswith("Conv") or kind.startswith("ConvT") or isinstance(padding, str):
        return None
    out, inside, *kernel = _shape(weight)
    sizes = (
        Number(inside * groups, "in_channels"),
        Number(out, "out_channels"),
        _number(kernel, "kernel_size", ...)[1],
    )
    options = (_number(stride, "stride", 1), _number(padding, "padding", 0), _number(dilation, "dilation", 1))
    return Call(Text(kind), sizes, (*options, _number(groups, "groups", 1), _number(bias is not None, "bias", True)))


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
