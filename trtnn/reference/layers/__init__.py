"""What each layer type of TensorRT does, said in torch: one small function each, in a file for each kind.

The definitions are those of TensorRT's operator reference
(https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/operators/index.html).
"""

from trtnn.reference.layers import elementwise, loops, plugins, products, quantized, reduction, shapes, sizes, spatial

__all__ = ["elementwise", "loops", "plugins", "products", "quantized", "reduction", "shapes", "sizes", "spatial"]
