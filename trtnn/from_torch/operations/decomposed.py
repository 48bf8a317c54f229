"""Converters of what ``ExportedProgram.run_decompositions`` leaves: Core ATen's operations that torch calls otherwise.

https://docs.pytorch.org/docs/stable/torch.compiler_ir.html lists them. An operation that gives several tensors, of
which a program reads the first alone, is that one here.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

from trtnn.from_torch.operations.aten import text
from trtnn.from_torch.operations.converters import OF_ATEN, Express, Missing, converter
from trtnn.from_torch.recording.steps import Step
from trtnn.from_torch.source.expressions import Attribute, Call, Expression, Sequence, Text

_NORMALISED = {0: "backward", 1: "ortho", 2: "forward"}  # by what a transform divides; inverse ones by the other end
_INVERSE = {0: "forward", 1: "ortho", 2: "backward"}


@converter(torch.ops.aten.convolution)
def _convolution(
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: Any,
    output_padding: Any,
    groups: Any,
) -> str:
    n, tensors = len(stride), text(x, weight, bias)
    if transposed:
        return f"F.conv_transpose{n}d({tensors}, {text(stride, padding, output_padding, groups, dilation)})"
    return f"F.conv{n}d({tensors}, {text(stride, padding, dilation, groups)})"


@converter(torch.ops.aten._native_batch_norm_legit_no_training)
def _batch_norm(x: Any, weight: Any, bias: Any, mean: Any, var: Any, _momentum: Any, eps: Any) -> str:
    return f"(F.batch_norm({text(x, mean, var, weight, bias)}, eps={eps}),)"


@converter(torch.ops.aten.native_batch_norm)
def _batch_norm_or_training(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: Any, momentum: Any, eps: Any
) -> str:
    if training:
        raise Missing("batch_norm of a batch's own statistics")
    return _batch_norm(x, weight, bias, mean, var, momentum, eps)


@converter(torch.ops.aten.native_layer_norm)
def _layer_norm(x: Any, shape: Any, weight: Any, bias: Any, eps: Any) -> str:
    return f"(F.layer_norm({text(x, shape, weight, bias)}, eps={eps}),)"


@converter(torch.ops.aten.native_group_norm)
def _group_norm(x: Any, weight: Any, bias: Any, _batch: Any, _channels: Any, _size: Any, groups: Any, eps: Any) -> str:
    return f"(F.group_norm({text(x, groups, weight, bias)}, eps={eps}),)"


@converter(torch.ops.aten._softmax)
def _softmax(x: Any, dim: Any, half_to_float: Any) -> str:
    return f"F.softmax({x}, {dim}{', dtype=trtnn.float32' if half_to_float else ''})"


@converter(torch.ops.aten._log_softmax)
def _log_softmax(x: Any, dim: Any, half_to_float: Any) -> str:
    return f"F.log_softmax({x}, {dim}{', dtype=trtnn.float32' if half_to_float else ''})"


@converter(torch.ops.aten.native_dropout)
def _dropout(x: Any, _p: Any, train: Any) -> str:
    if train:
        raise Missing("dropout in training")
    return f"({x},)"


@converter(torch.ops.aten._adaptive_avg_pool2d)
def _adaptive_avg_pool2d(x: Any, size: Any) -> str:
    return f"F.adaptive_avg_pool2d({x}, {size})"


@converter(torch.ops.aten._adaptive_avg_pool3d)
def _adaptive_avg_pool3d(x: Any, size: Any) -> str:
    return f"F.adaptive_avg_pool3d({x}, {size})"


@converter(torch.ops.aten.constant_pad_nd)
def _pad(x: Any, pad: Any, value: Any = 0) -> str:
    return f"F.pad({x}, {pad}, value={value})"


def _padding(n: int) -> None:
    for name, mode in (("reflection", "reflect"), ("replication", "replicate")):

        def padded(x: Any, pad: Any, mode: str = mode) -> str:
            return f'F.pad({x}, {pad}, mode="{mode}")'

        converter(getattr(torch.ops.aten, f"{name}_pad{n}d"))(padded)


for _n in (1, 2, 3):
    _padding(_n)


@converter(torch.ops.aten.fill)
def _fill(x: Any, value: Any) -> str:
    return f"F.full_like({x}, {value})"


@converter(torch.ops.aten.copy)
def _copy(x: Any, source: Any, *_: Any) -> str:
    return f"{source}.to({x}.dtype).expand_as({x})"


@converter(torch.ops.aten._cdist_forward)
def _cdist(x: Any, y: Any, p: Any, *_: Any) -> str:
    return f"F.cdist({x}, {y}, {p})"


@converter(torch.ops.aten._fft_r2c)
def _real_transform(x: Any, dim: Any, normalization: Any, onesided: Any) -> str:
    name = "rfftn" if onesided else "fftn"
    return f'F.fft.{name}({x}, dim={dim}, norm="{_NORMALISED[normalization]}")'


@converter(torch.ops.aten._fft_c2c)
def _transform(x: Any, dim: Any, normalization: Any, forward: Any) -> str:
    if forward:
        return f'F.fft.fftn({x}, dim={dim}, norm="{_NORMALISED[normalization]}")'
    return f'F.fft.ifftn({x}, dim={dim}, norm="{_INVERSE[normalization]}")'


@converter(torch.ops.aten._fft_c2r)
def _transform_to_real(x: Any, dim: Any, normalization: Any, length: Any) -> str:
    if len(dim) != 1:
        raise Missing("a transform to real numbers of several dimensions")
    return f'F.fft.irfft({x}, {length}, {dim[0]}, norm="{_INVERSE[normalization]}")'


def _to_copy(step: Step, express: Express) -> Expression:
    """Return a copy, in a type where one is given: what ``x.to(...)`` and its like are after decompositions."""
    x, dtype = express(step.args[0]), step.kwargs.get("dtype")
    is_complex = step.args[0].tensor.is_complex()
    if dtype is None or (is_complex and dtype.is_complex):
        return Call(Attribute(x, "clone"), ())
    if dtype.is_complex:
        zeros = Call(Attribute(Text("F"), "zeros_like"), (x,))
        return Call(Attribute(Text("F"), "complex"), (x, zeros))
    return Call(Attribute(x, "to"), (express(dtype),))


def _is_arange(value: Any) -> bool:
    """Whether a tensor is counted, so that neither inputs nor a state dict change it."""
    return value.step is not None and value.step.name == "arange"


def _bags(step: Step, express: Express) -> Expression:
    """Return ATen's embedding_bag, which has offsets also where torch's has bags of one length, a row each."""
    names = ("scale_grad_by_freq", "mode", "sparse", "per_sample_weights", "include_last_offset", "padding_idx")
    (weight, indices, offsets), more = step.args[:3], dict(zip(names, step.args[3:], strict=False)) | step.kwargs
    weights, padding = more.get("per_sample_weights"), more.get("padding_idx", -1)
    how = [("mode", Text(f'"{("sum", "mean", "max")[more.get("mode", 0)]}"'))]
    begin = [*offsets.tensor.tolist(), indices.tensor.numel()] if _is_arange(offsets) else []
    lengths = {end - start for start, end in itertools.pairwise(begin)}
    if begin[:1] == [0] and len(lengths) == 1 and not more.get("include_last_offset"):
        rows = Text(f"-1, {lengths.pop()}")
        given = [Call(Attribute(express(indices), "reshape"), (rows,)), express(weight)]
        weighed = None if weights is None else Call(Attribute(express(weights), "reshape"), (rows,))
    else:
        given = [express(indices), express(weight), express(offsets)]
        weighed = None if weights is None else express(weights)
        how.append(("include_last_offset", Text(str(bool(more.get("include_last_offset"))))))
    if weighed is not None:
        how.append(("per_sample_weights", weighed))
    if padding not in (None, -1):
        how.append(("padding_idx", express(padding, "padding_idx")))
    return Sequence((Call(Attribute(Text("F"), "embedding_bag"), tuple(given), tuple(how)),), "()")


def _batch_norm_of_itself(step: Step, express: Express) -> Expression:
    """Return what ATen writes of instance_norm: batch_norm without running statistics, of all images as one's channels.

    Raises:
        Missing: it is of a batch's own statistics.
    """
    x, weight, bias, *rest = step.args
    if len(rest) != 3 or x.tensor.shape[0] != 1:  # with running statistics, or over several images
        raise Missing("batch_norm of a batch's own statistics")
    given = tuple(express(value) for value in (x, None, None, weight, bias))
    normalised = Call(Attribute(Text("F"), "instance_norm"), given, (("eps", express(rest[-1], "eps")),))
    return Sequence((normalised,), "()")


OF_ATEN.update(
    _to_copy=_to_copy, embedding_bag=_bags, _embedding_bag=_bags, _native_batch_norm_legit=_batch_norm_of_itself
)
