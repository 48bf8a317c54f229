"""Layers that TensorRT does not have, as plugins of our own; each is built on the machine where it is needed."""
