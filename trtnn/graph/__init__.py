"""The network as it is traced: the definition that TensorRT is given, its Tensors and its weights."""
