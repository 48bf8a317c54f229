"""The Python bindings of TensorRT's versions, imported without TensorRT's libraries, and what trtnn uses of them.

Nothing can be built with them, but they show every class, attribute and signature.
"""
