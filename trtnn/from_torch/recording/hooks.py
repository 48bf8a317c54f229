"""Weights that a hook computes before each call, as weight_norm and spectral_norm of torch.nn.utils do."""

from __future__ import annotations

import torch
from torch import nn


def plain_weights(module: nn.Module) -> list[str]:
    """Return the names of weights that are no parameters: tensors that are put in their places."""
    held = [name for inner in module.modules() for name, value in vars(inner).items() if torch.is_tensor(value)]
    return [name for name in held if "weight" in name or "bias" in name]


def norm_of(module: nn.Module) -> str:
    """Return the name of torch's own norm that computes a module's weight, such as ``WeightNorm``, or ""."""
    kinds = [type(hook) for hook in module._forward_pre_hooks.values()]
    return next((kind.__name__ for kind in kinds if kind.__module__.startswith("torch.nn.utils.")), "")
