"""A CUDA driver that keeps a list of what it was asked for, and whose memory is the host's."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

# Of what makes something, the argument that it is written to, and the number that it is.
MADE = {
    "cuStreamCreate": (0, 3),
    "cuEventCreate": (0, 4),
    "cuDevicePrimaryCtxRetain": (0, 5),
    "cuStreamEndCapture": (1, 6),
    "cuGraphInstantiateWithFlags": (0, 7),
}


class Driver:
    """The functions of the driver.

    Attributes:
        calls: the name of each that was called, and the numbers that it was given.
        failing: of those that fail, the code.
        memory: what was allocated, by address; what was freed is overwritten, and stays for who reads it still.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.failing: dict[str, int] = {}
        self.memory: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self._freed: list[ctypes.Array[ctypes.c_char]] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        def function(*args: Any) -> int:
            self.calls.append((name, *(arg.value for arg in args if getattr(arg, "value", None) is not None)))
            if name in self.failing:
                return self.failing[name]
            if name in MADE:
                position, number = MADE[name]
                args[position]._obj.value = number
            if name in ("cuMemAlloc_v2", "cuMemHostAlloc"):
                made = ctypes.create_string_buffer(args[1].value)
                args[0]._obj.value = ctypes.addressof(made)
                self.memory[ctypes.addressof(made)] = made
            if name in ("cuMemFree_v2", "cuMemFreeHost"):
                freed = self.memory.pop(args[0].value)
                ctypes.memset(freed, 0xA5, len(freed))
                self._freed.append(freed)
            if name in ("cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2"):
                ctypes.memmove(args[0].value, args[1].value, args[2].value)
            return 0

        return function

    def cuGetErrorString(self, code: int, text: Any) -> None:
        text._obj.value = b"some reason"

    def names(self) -> list[str]:
        return [name for name, *_ in self.calls]
