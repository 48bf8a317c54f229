"""Engines: their files, their plans, the memory and the streams that they run in, and what their layers take."""

from trtnn.moved import found_in

__getattr__ = found_in("trtnn.engine.engine")
