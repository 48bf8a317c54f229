"""Quantisation of a model: its scales, measured on samples and declared in the modules."""

from trtnn.quantization.others import take_scales
from trtnn.quantization.quantizing import quantize

__all__ = ["quantize", "take_scales"]
