"""Parameters and buffers: a declared shape, and a NumPy array once one is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


class Parameter:
    """A learned array of a module. It declares its shape and holds nothing until a state dict is loaded.

    The array keeps the element type of the file it came from (fp16 weights stay fp16); a trace converts it to the type
    it computes in. Within ``forward`` it has a Tensor's operators and methods.

    Args:
        *shape: the lengths, as ints or as one sequence.

    Attributes:
        data: the array, or None.
        optional: whether a state dict may lack it.
    """

    optional = False
    __array_ufunc__ = None  # so that ``numpy_array * parameter`` comes to Parameter.__rmul__

    def __init__(self, *shape: int | Sequence[int]) -> None:
        if len(shape) == 1 and isinstance(shape[0], Sequence):
            shape = tuple(shape[0])
        self.shape: tuple[int, ...] = tuple(int(length) for length in shape)
        self.data: np.ndarray | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def numel(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)

    def __repr__(self) -> str:
        held = "empty" if self.data is None else self.data.dtype.name
        return f"{type(self).__name__}({self.shape}, {held})"


class Buffer(Parameter):
    """An array of a module's state that is not learned, such as BatchNorm's statistics.

    Args:
        *shape: the lengths, as ints or as one sequence.
        data: its value where it has one before a state dict is loaded.
        optional: whether a state dict may lack it.
    """

    def __init__(self, *shape: int | Sequence[int], data: np.ndarray | None = None, optional: bool = False) -> None:
        super().__init__(*shape)
        self.data = data
        self.optional = optional
