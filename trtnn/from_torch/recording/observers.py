"""Modules of torch's and NVIDIA's quantisation: what rounds is computed, and what measures for it is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from torch import nn

#: What the names of NVIDIA's modules begin with.
NVIDIA = ("modelopt.", "pytorch_quantization.")
_OFF = "an engine measures nothing: model.apply(torch.ao.quantization.disable_observer)"
_CALIBRATED = "an engine measures nothing: load_calib_amax() and disable_calib() of each quantiser end a calibration"
_CALIBRATION = "it measures for a calibration, and an engine stays as it is: convert the module that prepare was given"


def is_tensor_quantizer(module: nn.Module | None) -> bool:
    """Whether a module is a TensorQuantizer of ModelOpt or pytorch-quantization."""
    kinds = type(module).__mro__
    return any(kind.__name__ == "TensorQuantizer" and kind.__module__.startswith(NVIDIA) for kind in kinds)


def measures(module: nn.Module) -> tuple[str, str] | None:
    """Return what a module of torch's or NVIDIA's measures as it is called, and what to do; None where it does not."""
    if is_tensor_quantizer(module):
        calibrates = module._if_calib and not module._disabled
        return ("TensorQuantizer that calibrates", _CALIBRATED) if calibrates else None
    observers, fakes = sys.modules.get("torch.ao.quantization.observer"), "torch.ao.quantization.fake_quantize"
    if observers is None or fakes not in sys.modules:
        return None  # nobody made such a module
    name = type(module).__name__
    if isinstance(module, sys.modules[fakes].FakeQuantizeBase):
        return (f"{name} whose observer is on", _OFF) if module.observer_enabled.any() else None  # type: ignore[operator,union-attr]
    idle = (observers.NoopObserver, observers.PlaceholderObserver)
    return (name, _CALIBRATION) if isinstance(module, observers.ObserverBase) and not isinstance(module, idle) else None


def is_observing(hook: Callable[..., Any]) -> bool:
    """Whether a hook is the one by which torch's quantisation calls a module's ``activation_post_process``."""
    return getattr(hook, "__module__", None) == "torch.ao.quantization.quantize"


def is_observed(module: nn.Module) -> bool:
    """Whether torch's quantisation put a hook to a module, so that its call is more than its forward."""
    return any(map(is_observing, (*module._forward_hooks.values(), *module._forward_pre_hooks.values())))


def in_double(model: nn.Module) -> nn.Module:
    """Turn a model to fp64, in place, and return it; scales stay fp32, since torch rounds by no others."""
    scales = {path: buffer for path, buffer in model.named_buffers() if path.endswith(".scale")}
    model.double()
    for path, scale in scales.items():
        holder, _, name = path.rpartition(".")
        if hasattr(model.get_submodule(holder), "fake_quant_enabled"):
            setattr(model.get_submodule(holder), name, scale)
    return model
