"""Modulated deformable convolution (DCNv2) as one fused CUDA kernel, and as a TensorRT plugin.

    python -m trtnn.plugins.dcnv2 build     # with nvcc and TensorRT's headers, once for each TensorRT and GPU

:func:`load` makes the plugin known to TensorRT; :func:`create` makes one for a layer. The kernel alone, without
TensorRT, is in :mod:`trtnn.plugins.dcnv2.kernel`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trtnn.plugins.dcnv2.building import build
    from trtnn.plugins.dcnv2.loading import create, load, why_not

__all__ = ["build", "create", "load", "why_not"]


def __getattr__(name: str) -> Any:
    """Import what builds and loads the libraries when it is asked for: most networks hold no plugin."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = "building" if name == "build" else "loading"
    return getattr(importlib.import_module(f"{__name__}.{room}"), name)
