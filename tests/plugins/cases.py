"""The layers that the kernel is tested with, emulated and on a GPU: one table and one way to make the tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tests.plugins.reference import deform_conv2d
from trtnn.plugins.dcnv2.kernel import DeformConv2d, Library

FP32_TOLERANCE, FP16_TOLERANCE = 1e-5, 2e-3  # relative to the largest magnitude; what is asked is 1e-4 and 5e-3


@dataclass(frozen=True)
class Case:
    """A layer and its call; offsets are normally distributed with the deviation ``spread`` in pixels."""

    batch: int = 1
    channels: int = 16
    height: int = 9
    width: int = 11
    outputs: int = 24
    kernel: int | tuple[int, int] = 3
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 1
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    offset_groups: int = 1
    mask: str = "given"
    combined: bool = False
    bias: bool = True
    spread: float = 2.0
    half_offset: bool = False
    offset_nhwc: bool = False
    input_last: bool = True
    output_last: bool = True
    splits: int = 0


CASES = {
    "usual": Case(channels=64, outputs=72),
    "batch 3": Case(batch=3, channels=32, height=7, width=6),
    "batch 8": Case(batch=8, height=5, width=5),
    "stride 2": Case(batch=2, stride=2, channels=32, height=15, width=17),
    "dilation": Case(dilation=2, padding=2),
    "uneven": Case(kernel=(3, 1), stride=(2, 1), padding=(1, 0), dilation=(1, 2), height=13),
    "kernel 1": Case(kernel=1, padding=0),
    "kernel 7": Case(kernel=7, padding=3, channels=8),
    "groups": Case(groups=2, channels=32),
    "groups of odd size": Case(groups=3, channels=21, outputs=15),
    "depthwise": Case(groups=8, channels=8, outputs=8),
    "2 offset groups": Case(offset_groups=2, channels=32),
    "4 offset groups": Case(offset_groups=4, channels=32),
    "4 offset groups of 5": Case(offset_groups=4, channels=20),
    "groups across offset groups": Case(groups=2, offset_groups=3, channels=24),
    "more slots than fit": Case(offset_groups=8, channels=64, outputs=16, height=6, width=6),
    "odd channels": Case(channels=13, outputs=7, height=8, width=5),
    "far outside": Case(spread=40.0),
    "no mask, no bias": Case(mask="none", bias=False),
    "logits": Case(mask="logits"),
    "combined": Case(mask="logits", combined=True),
    "combined, fp16 NHWC": Case(mask="logits", combined=True, half_offset=True, offset_nhwc=True),
    "fp16 offsets": Case(half_offset=True),
    "NCHW": Case(channels=24, input_last=False, output_last=False),
    "NCHW to NHWC": Case(batch=2, input_last=False),
    "NHWC to NCHW": Case(batch=2, output_last=False),
    "splits": Case(channels=64, outputs=40, splits=3),
    "splits NCHW": Case(batch=2, channels=32, splits=2, output_last=False),
}


def random_tensors(case: Case, half: bool, device: str = "cpu") -> tuple[torch.Tensor, ...]:
    """Return x, offset, mask (sigmoid's input where the case says so), weight and bias; None where it has none."""
    generator = torch.Generator().manual_seed(0)
    kernel_h, kernel_w = (case.kernel,) * 2 if isinstance(case.kernel, int) else case.kernel
    dtype = torch.float16 if half else torch.float32
    offset_dtype = torch.float16 if half and case.half_offset else torch.float32

    def draw(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * scale

    fan = case.channels // case.groups * kernel_h * kernel_w
    x = draw(case.batch, case.channels, case.height, case.width).to(dtype)
    weight = draw(case.outputs, case.channels // case.groups, kernel_h, kernel_w, scale=fan**-0.5).to(dtype)
    bias = draw(case.outputs) if case.bias else None
    out = torch.nn.functional.conv2d(
        x[:1, :1].float(), torch.zeros(1, 1, kernel_h, kernel_w), None, case.stride, case.padding, case.dilation
    ).shape[2:]
    slots = case.offset_groups * kernel_h * kernel_w
    offset = draw(case.batch, 2 * slots, *out, scale=case.spread).to(offset_dtype)
    mask = None if case.mask == "none" else draw(case.batch, slots, *out).to(offset_dtype)
    return tuple(None if t is None else t.to(device) for t in (x, offset, mask, weight, bias))


def geometry(case: Case) -> dict:
    """Return what torchvision's operator and the layer take alike."""
    return {"stride": case.stride, "padding": case.padding, "dilation": case.dilation}


def expected(case: Case, x, offset, mask, weight, bias) -> torch.Tensor:
    """Return what the definition gives, in fp64 on the CPU."""
    x, offset, mask, weight, bias = (None if t is None else t.cpu() for t in (x, offset, mask, weight, bias))
    if case.mask == "logits":
        mask = mask.double().sigmoid()
    groups = {"groups": case.groups, "offset_groups": case.offset_groups}
    return deform_conv2d(x, offset, weight, bias, mask=mask, **geometry(case), **groups)


def make_layer(library: Library, case: Case, half: bool, weight, bias) -> DeformConv2d:
    """Return the kernel's layer of a case."""
    arrays = (np.asarray(weight.cpu().float()), None if bias is None else np.asarray(bias.cpu()))
    more = {"mask": case.mask, "combined": case.combined, **geometry(case)}
    return DeformConv2d(library, *arrays, groups=case.groups, offset_groups=case.offset_groups, half=half, **more)


def error_of(library: Library, case: Case, half: bool, tile: int = -1, device: str = "cpu") -> float:
    """Run a case and return its largest error relative to the output's largest magnitude."""
    x, offset, mask, weight, bias = random_tensors(case, half, device)
    layer = make_layer(library, case, half, weight, bias)
    given = torch.cat([offset, mask], 1) if case.combined else offset
    maps = [given, None if case.combined else mask]
    if case.offset_nhwc:
        maps = [None if t is None else channels_in_eights(t) for t in maps]
    x_given = x.contiguous(memory_format=torch.channels_last) if case.input_last else x
    output = layer(
        x_given,
        *maps,
        input_nhwc=case.input_last,
        channels_last=case.output_last,
        offset_nhwc=case.offset_nhwc,
        tile=tile,
        splits=case.splits,
    )
    wanted = expected(case, x, offset, mask, weight, bias)
    return ((output.double().cpu() - wanted).abs().max() / wanted.abs().max()).item()


def channels_in_eights(tensor: torch.Tensor) -> torch.Tensor:
    """Return (N, C, H, W) as (N, H, W, C padded to a multiple of 8); the padding is NaN, which nothing may read."""
    channels = tensor.shape[1]
    padded = torch.full((*tensor.shape[:1], *tensor.shape[2:], -(-channels // 8) * 8), float("nan")).to(tensor)
    padded[..., :channels] = tensor.permute(0, 2, 3, 1)
    return padded
