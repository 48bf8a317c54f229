"""Converters of ATen's operations, whose arguments stand otherwise than those of torch's functions.

Graphs hold them, exported programs and traces, and whoever calls ``torch.ops.aten`` himself.
"""

from __future__ import annotations

from typing import Any

import torch

from trtnn.from_torch.operations.converters import OF_ATEN, Express, Missing, converter
from trtnn.from_torch.recording.steps import Step
from trtnn.from_torch.source.expressions import Attribute, Call, Expression, Text

_END = 2**63 - 1  # of a slice that goes to the end


def text(*parts: Any) -> str:
    """Return arguments one after another."""
    return ", ".join(str(part) for part in parts)


@converter(torch.ops.aten.batch_norm)
def _batch_norm(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: Any, momentum: Any, eps: Any, *_: Any
) -> str:
    if training:
        raise Missing("batch_norm of a batch's own statistics")
    return f"F.batch_norm({text(x, mean, var, weight, bias)}, eps={eps})"


@converter(torch.ops.aten.layer_norm)
def _layer_norm(x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: Any = 1e-5, *_: Any) -> str:
    return f"F.layer_norm({text(x, shape, weight, bias)}, eps={eps})"


@converter(torch.ops.aten.group_norm)
def _group_norm(x: Any, groups: Any, weight: Any = None, bias: Any = None, eps: Any = 1e-5, *_: Any) -> str:
    return f"F.group_norm({text(x, groups, weight, bias)}, eps={eps})"


@converter(torch.ops.aten.instance_norm)
def _instance_norm(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, use_input_stats: Any, momentum: Any, eps: Any, *_: Any
) -> str:
    return f"F.instance_norm({text(x, mean, var, weight, bias, use_input_stats)}, eps={eps})"


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


def _resizing(name: str, how: str, is_smooth: bool = True) -> None:
    """Register what one of ATen's operations of resizing is: those that are smooth take ``align_corners`` as well."""

    def nearest(x: Any, size: Any, scale: Any = None, *_: Any) -> str:
        return f"F.interpolate({x}, size={size}, scale_factor={scale}{how})"

    def smooth(x: Any, size: Any, align_corners: Any = False, scale: Any = None, *_: Any) -> str:
        return f"F.interpolate({x}, size={size}, scale_factor={scale}{how}, align_corners={align_corners})"

    converter(getattr(torch.ops.aten, name))(smooth if is_smooth else nearest)


for _n, _linear in ((1, "linear"), (2, "bilinear"), (3, "trilinear")):
    _resizing(f"upsample_nearest{_n}d", "", is_smooth=False)
    _resizing(f"_upsample_nearest_exact{_n}d", ', mode="nearest-exact"', is_smooth=False)
    _resizing(f"upsample_{_linear}{_n}d", f', mode="{_linear}"')
for _name in ("bilinear", "bicubic"):
    _resizing(f"_upsample_{_name}2d_aa", f', mode="{_name}", antialias=True')
_resizing("upsample_bicubic2d", ', mode="bicubic"')


@converter(torch.ops.aten.grid_sampler)
@converter(torch.ops.aten.grid_sampler_2d)
@converter(torch.ops.aten.grid_sampler_3d)
def _grid_sampler(x: Any, grid: Any, mode: Any, padding: Any, align_corners: Any) -> str:
    modes = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
    how = f'mode="{modes[0][mode]}", padding_mode="{modes[1][padding]}"'
    return f"F.grid_sample({x}, {grid}, {how}, align_corners={align_corners})"


@converter(torch.ops.aten.affine_grid_generator)
def _affine_grid(theta: Any, size: Any, align_corners: Any) -> str:
    return f"F.affine_grid({theta}, {size}, align_corners={align_corners})"


@converter(torch.ops.aten.im2col)
def _unfolded(x: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> str:
    return f"F.unfold({x}, {kernel}, dilation={dilation}, padding={padding}, stride={stride})"


@converter(torch.ops.aten.col2im)
def _folded(x: Any, size: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> str:
    return f"F.fold({x}, {size}, {kernel}, dilation={dilation}, padding={padding}, stride={stride})"


# What torch has under the same name with other arguments, or with another result.


@converter(torch.ops.aten.unfold)
def _windows(x: Any, dim: Any, size: Any, step: Any) -> str:
    return f"{x}.unfold({text(dim, size, step)})"


def _largest(n: int) -> None:
    def adaptive(x: Any, size: Any) -> str:
        return f"F.adaptive_max_pool{n}d({x}, {size}, return_indices=True)"

    converter(getattr(torch.ops.aten, f"adaptive_max_pool{n}d"))(adaptive)


for _n in (1, 2, 3):
    _largest(_n)


@converter(torch.ops.aten.max_unpool2d)
@converter(torch.ops.aten.max_unpool3d)
def _max_unpool(*_: Any) -> str:
    raise Missing("max_unpool of a graph, which does not hold its windows")


@converter(torch.ops.aten._convolution_mode)
def _convolution_of_words(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> str:
    return f"F.conv{len(stride)}d({text(x, weight, bias, stride)}, {padding!r}, {text(dilation, groups)})"


_OF_STFT = ("normalized", "onesided", "return_complex", "align_to_window")


def _stft(step: Step, express: Express) -> Expression:
    """Return a spectrogram: torch's function pads before it, and leaves ATen's what that does not."""
    first, rest = step.args[:5], step.args[5:]
    overload = getattr(step.function, "_overloadname", None)  # a trace's call has none
    words = any(isinstance(value, str) for value in rest) or bool({"center", "pad_mode"} & step.kwargs.keys())
    is_padded = words if overload is None else overload == "center"
    names = ("center", "pad_mode", *_OF_STFT) if is_padded else _OF_STFT
    how = {} if is_padded else {"center": False}
    how |= dict(zip(names, rest, strict=False)) | step.kwargs
    named = tuple((key, express(value, key)) for key, value in how.items() if value is not None)
    return Call(Attribute(Text("F"), "stft"), tuple(map(express, first)), named)


OF_ATEN.update(stft=_stft)


@converter(torch.ops.aten.elu)
@converter(torch.ops.aten.elu_)
def _elu(x: Any, alpha: Any = 1.0, scale: Any = 1.0, input_scale: Any = 1.0) -> str:
    """Return elu; decomposed, selu is one times a number, and celu one of which what is negative is scaled before."""
    if input_scale == 1:
        result = f"F.elu({x}, {alpha})"
    elif abs(alpha * input_scale - 1) < 1e-12:
        result = f"F.celu({x}, {alpha})"
    else:
        raise Missing("elu with scales")
    return result if scale == 1 else f"{result} * {scale}"


@converter(torch.ops.aten.tensordot)
def _tensordot(x: Any, y: Any, dims_x: Any, dims_y: Any) -> str:
    return f"F.tensordot({x}, {y}, dims=({dims_x}, {dims_y}))"


@converter(torch.ops.aten.linalg_vector_norm)
def _norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: Any = False, **_: Any) -> str:
    return f"F.norm({text(x, ord, dim, keepdim)})"
