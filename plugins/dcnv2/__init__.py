"""Modulated deformable convolution (DCNv2) as one fused CUDA kernel, and as a TensorRT plugin.

    python -m trtnn.plugins.dcnv2 build     # with nvcc and TensorRT's headers, once for each TensorRT and GPU

:func:`load` makes the plugin known to TensorRT; :func:`create` makes one for a layer. The kernel alone, without
TensorRT, is in :mod:`trtnn.plugins.dcnv2.kernel`.
"""

from trtnn.plugins.dcnv2.building import build
from trtnn.plugins.dcnv2.loading import create, load, why_not

__all__ = ["build", "create", "load", "why_not"]
