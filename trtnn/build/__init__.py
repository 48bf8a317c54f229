"""From a network to an engine: how it is built, what is pinned and timed, and what is kept for the next time."""

from trtnn.moved import found_in

__getattr__ = found_in("trtnn.build.build")
