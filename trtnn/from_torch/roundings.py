"""Modules that round what they are given: torch.ao's FakeQuantize, and NVIDIA's TensorQuantizer.

pytorch-quantization and ModelOpt each have a class of that name. It rounds x to round(x · 127 / amax), halves to the
even number, held to -128 to 127, and gives these by amax / 127; ``_amax`` is a buffer, one number or one for each
channel. Neither package is a dependency: their classes are told by name and module.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from trtnn.errors import TrtnnError, where
from trtnn.from_torch.recording.observers import is_tensor_quantizer

#: What the modules that round a layer's weights are called in it.
WEIGHTS = ("weight_fake_quant", "weight_quantizer", "_weight_quantizer")
_LEAST, _LARGEST = -128, 127
_SMALLEST = 2.0**-24  # an amax up to this is taken as 0


class StaysInForward(TrtnnError):
    """Rounding cannot be declared; the message says why."""


def is_rounding(module: nn.Module | None) -> bool:
    """Whether a module is one that rounds, be it switched off."""
    return _is_fake(module) or is_tensor_quantizer(module)


def _is_fake(module: nn.Module | None) -> bool:
    fakes = sys.modules.get("torch.ao.quantization.fake_quantize")  # None where nobody made such a module
    return fakes is not None and isinstance(module, fakes.FakeQuantizeBase)


def rounding_modules(model: nn.Module) -> dict[str, Any]:
    """Return the modules of a model that change the numbers that they are given, or measure them, by path."""
    named: Any = model.named_modules(remove_duplicate=False)
    return {path: module for path, module in named if is_rounding(module) and _is_on(module)}


def _is_on(module: Any) -> bool:
    if _is_fake(module):
        return bool(module.fake_quant_enabled.any())
    stages = any(getattr(module, name, False) for name in ("_if_quant", "_if_clip", "_if_calib"))
    return _scaled_before(module) or _rotates(module) or (stages and not module._disabled)


def is_of_weights(path: str) -> bool:
    """Whether a rounding module at a path is one that a layer calls for its weights."""
    return path.rpartition(".")[2] in WEIGHTS


def problems(model: nn.Module) -> Iterator[str]:
    """Yield of each TensorQuantizer that TensorRT has not what it does, with its path and what to do."""
    for path, module in rounding_modules(model).items():
        problem = _problem(path, module) if is_tensor_quantizer(module) else None
        if problem is not None:
            yield f"{where(path)} {'; '.join(problem)}"


def scale_of(path: str, module: Any, output: torch.Tensor, axis: int = 0) -> np.ndarray:
    """Return the scale of a rounding, (1,), or one for each channel, (channels,), float32.

    Args:
        path: of the module, for messages.
        module: a rounding module, that was called: a fused one of torch.ao writes its scales then.
        output: what it gave.
        axis: the dimension of the output channels, of weights.

    Raises:
        StaysInForward: TensorRT does not round so; with the path and what the module does.
    """
    if output.dtype in (torch.float16, torch.bfloat16):
        raise StaysInForward(
            f"{where(path)} gives {output.dtype}, in which steps are rounded again", "convert model.float()"
        )
    scale, own_axis = _of_fake(path, module) if _is_fake(module) else _of_tensor_quantizer(path, module)
    if len(scale) > 1 and own_axis != axis:
        of = "input channels" if own_axis == 1 - axis and is_of_weights(path) else f"axis {own_axis}"
        raise StaysInForward(f"{where(path)} has scales along axis {own_axis}, {of}; TensorRT takes axis {axis}")
    shape = [1] * output.ndim
    shape[axis if len(scale) > 1 else 0] = len(scale)
    steps = output.detach().cpu().double().numpy() / scale.reshape(shape if output.ndim else ())
    if not np.allclose(steps, steps.round(), atol=1e-3):
        raise StaysInForward(f"{where(path)} rounds by other scales than it holds")
    return scale.astype(np.float32)


def _of_fake(path: str, fake: Any) -> tuple[np.ndarray, int]:
    """Return the scales of a FakeQuantize, and the dimension that they are along."""
    if type(fake).__name__ not in ("FakeQuantize", "FusedMovingAvgObsFakeQuantize"):
        raise StaysInForward(f"{where(path)} is a {type(fake).__name__}")
    scale, zero = (value.detach().cpu().numpy().reshape(-1) for value in (fake.scale, fake.zero_point))
    ends = fake.activation_post_process.quant_min, fake.activation_post_process.quant_max
    if len({*zero.tolist()}) != 1 or (ends[0] - zero[0], ends[1] - zero[0]) != (_LEAST, _LARGEST):
        around = f"around {zero[0]:g}, to {ends[0]} to {ends[1]}"
        if not is_of_weights(path) or zero.any() or ends != (-_LARGEST, _LARGEST):
            raise StaysInForward(f"{where(path)} rounds {around}, and TensorRT around 0, to -128 to 127")
    return scale, fake.ch_axis


def _of_tensor_quantizer(path: str, quantizer: Any) -> tuple[np.ndarray, int]:
    """Return the scales of a TensorQuantizer, and the dimension that they are along."""
    problem = _problem(path, quantizer)
    if problem is not None:
        raise StaysInForward(f"{where(path)} {problem[0]}", *problem[1:])
    amax = quantizer._amax.detach().float().cpu().numpy()
    factor = getattr(quantizer, "_scale_amax", None)
    amax = amax if factor is None else amax * np.float32(factor)
    wrong = amax[~(np.isfinite(amax) & (amax > _SMALLEST))]
    if wrong.size:
        raise StaysInForward(f"{where(path)} has the amax {wrong[0]:g}, and a scale is positive", "calibrate it")
    long = [index for index, length in enumerate(amax.shape) if length > 1]
    if len(long) > 1:
        raise StaysInForward(f"{where(path)} has an amax of shape {amax.shape}: scales along several dimensions")
    return amax.reshape(-1) / np.float32(_LARGEST), long[0] if long else 0


def _problem(path: str, quantizer: Any) -> tuple[str, ...] | None:
    """Return what a TensorQuantizer does that TensorRT does not, and what to do; None where it does the same."""
    q, bits = quantizer, quantizer._num_bits
    dynamic = getattr(q, "_dynamic", False) or getattr(q, "_amax", None) is None
    problems: list[tuple[Any, tuple[str, ...]]] = [
        (
            _scaled_before(q),
            ("multiplies by a pre_quant_scale first, as SmoothQuant and AWQ do", "fold it into the layer before"),
        ),
        (_rotates(q), ("rotates what it rounds",)),
        (path.rpartition(".")[2].isdigit(), ("may be one of several that round one after another",)),
        (
            getattr(q, "_block_sizes", None),
            ("has scales for blocks, and int8 has one for a tensor or a channel",),
        ),
        (
            bits == (4, 3),
            (
                "rounds to fp8 (E4M3), and what is declared here is int8",
                "convert it with its quantisers off, then trtnn.quantization.take_scales(model, state_dict, 'fp8')",
            ),
        ),
        (bits != 8, (f"rounds to num_bits={bits}, and int8 has 8",)),
        (q._unsigned, ("is unsigned: it rounds to 0 to 255, and TensorRT to -128 to 127",)),
        (
            q._narrow_range and not is_of_weights(path),
            ("has a narrow_range: it rounds to -127 to 127, and TensorRT to -128 to 127",),
        ),
        (not q._fake_quant, ("gives whole numbers, not those that they stand for (fake_quant=False)",)),
        (getattr(q, "_learn_amax", False), ("learns its range, and clips by that (learn_amax=True)",)),
        (not q._if_quant, ("clips or measures, and does not round",)),
        (getattr(q, "_use_constant_amax", False), ("has a constant amax",)),
        (getattr(q, "_bias", None) is not None, ("rounds around a bias, and TensorRT around 0",)),
        (getattr(q, "backend", None), ("rounds by a backend of its own",)),
        (
            dynamic,
            (
                "has no amax: it takes the range of each input anew (dynamic), and an int8 engine has fixed scales",
                "calibrate it, or load a checkpoint that holds its _amax",
            ),
        ),
    ]
    return next((message for holds, message in problems if holds), None)


def _scaled_before(quantizer: Any) -> bool:
    return getattr(quantizer, "pre_quant_scale", None) is not None


def _rotates(quantizer: Any) -> bool:
    return bool(getattr(quantizer, "rotate_is_enabled", False))
