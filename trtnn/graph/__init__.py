"""The network as it is traced: the definition that TensorRT is given, its Tensors and its weights."""

from trtnn.moved import found_in

__getattr__ = found_in("trtnn.graph.graph")
