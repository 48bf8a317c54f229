"""Quantisation of a model: its scales, measured on samples and declared in the modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trtnn.torch_import import import_with_torch

if TYPE_CHECKING:
    from trtnn.quantization.others import take_scales
    from trtnn.quantization.quantizing import quantize

__all__ = ["quantize", "take_scales"]

_LATER = {"quantize": "quantizing", "take_scales": "others"}  # whose modules need torch


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_with_torch(f"{__name__}.{_LATER[name]}", f"{__name__} needs"), name)
    globals()[name] = value
    return value
