"""Parameters and buffers: a declared shape, and a NumPy array once one is loaded."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from trtnn.arrays import array_of_torch, is_torch
from trtnn.errors import ArgumentError, ShapeError, check_switches, named


def _lengths(shape: Sequence[Any]) -> tuple[int, ...]:
    """Return a shape as ints.

    Raises:
        ShapeError: a length is no int, or negative.
    """
    try:
        lengths = tuple(operator.index(length) for length in shape if not isinstance(length, bool))
    except TypeError:
        lengths = ()
    if len(lengths) != len(shape) or any(length < 0 for length in lengths):
        arrays = any(hasattr(length, "shape") for length in shape)
        raise ShapeError(
            "the shape of a parameter holds ints that are not negative, "
            f"not {', '.join(map(named, shape)) if arrays else tuple(shape)}",
            *(["declare its shape, Parameter(*x.shape), and load its numbers from a state dict"] if arrays else []),
        )
    return lengths


class Parameter:
    """A learned array of a module. It declares its shape and holds nothing until a state dict is loaded.

    The array keeps the element type of the file it came from (fp16 weights stay fp16); a trace converts it to the type
    it computes in. Within ``forward`` it has a Tensor's operators and methods.

    Args:
        *shape: the lengths, as ints or as one sequence.

    Attributes:
        data: the array, or None.
        optional: whether a state dict may lack it.
        declared: the type that it was declared with, or None. A state dict may bring another width of it; whole numbers
            become floating ones and the other way round, where that loses nothing.

    Raises:
        ShapeError: a length is no int, or negative.
    """

    optional = False
    requires_grad = False
    declared: np.dtype | None = np.dtype(np.float32)
    __array_ufunc__ = None  # so that ``numpy_array * parameter`` comes to Parameter.__rmul__

    def __init__(self, *shape: int | Sequence[int]) -> None:
        if len(shape) == 1 and isinstance(shape[0], Sequence):
            shape = tuple(shape[0])
        self.shape: tuple[int, ...] = _lengths(shape)
        self.data: np.ndarray | None = None

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def dim(self) -> int:
        """Return the number of dimensions."""
        return len(self.shape)

    ndimension = dim

    @overload
    def size(self, dim: None = None) -> tuple[int, ...]: ...

    @overload
    def size(self, dim: int) -> int: ...

    def size(self, dim: int | None = None) -> int | tuple[int, ...]:
        """Return the shape, or the length of one dimension.

        Raises:
            ShapeError: there is no such dimension.
        """
        if dim is None:
            return self.shape
        if not -self.ndim <= dim < self.ndim:
            raise ShapeError(f"dimension {dim} of a parameter of shape {self.shape}")
        return self.shape[dim]

    def numel(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)

    nelement = numel

    def __len__(self) -> int:
        return self.size(0)

    # -- the numbers, which are known at any time ----------------------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """Return the array.

        Raises:
            ArgumentError: none is loaded.
        """
        if self.data is None:
            raise ArgumentError(f"a parameter of shape {self.shape} is empty", "load a state dict")
        return np.asarray(self.data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy() if dtype is None else self.numpy().astype(dtype, copy=False)
        return array.copy() if copy else array

    def tolist(self) -> Any:
        """Return the numbers as nested lists."""
        return self.numpy().tolist()

    def item(self) -> bool | int | float:
        """Return the one number that it holds, as Python's.

        Raises:
            ArgumentError: it holds several, or none is loaded.
        """
        if self.numel() != 1:
            raise ArgumentError(f"item of a parameter of shape {self.shape}", "it holds more than one number")
        return self.numpy().item()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __repr__(self) -> str:
        held = "empty" if self.data is None else self.data.dtype.name
        return f"{type(self).__name__}({self.shape}, {held})"


class Buffer(Parameter):
    """An array of a module's state that is not learned, such as BatchNorm's statistics.

    Args:
        *shape: the lengths, as ints or as one sequence.
        data: an array or a torch tensor, its value where it has one before a state dict is loaded.
        optional: whether a state dict may lack it.

    Raises:
        ShapeError: a length is no int, or negative, or the data have another shape.
    """

    def __init__(self, *shape: int | Sequence[int], data: Any = None, optional: bool = False) -> None:
        check_switches(optional=optional)
        super().__init__(*shape)
        self.data = data if data is None else array_of_torch(data) if is_torch(data) else np.asarray(data)
        if self.data is not None and self.data.shape != self.shape:
            raise ShapeError(f"a buffer of shape {self.shape} was given data of shape {self.data.shape}")
        self.declared = None if self.data is None else self.data.dtype
        self.optional = optional
