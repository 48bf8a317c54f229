"""Converters of ATen's operations, whose arguments stand otherwise than those of torch's functions.

Graphs hold them, exported programs and traces, and whoever calls ``torch.ops.aten`` himself.
"""

from __future__ import annotations

from typing import Any

import torch

from trtnn.from_torch.operations.converters import Missing, converter

_END = 2**63 - 1  # of a slice that goes to the end


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
