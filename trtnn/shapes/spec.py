"""TensorSpec: the declared shape and element type of an input or output."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtnn.dtypes import DType, as_dtype, float32
from trtnn.errors import ShapeError, named
from trtnn.shapes.symbolic import Length, Size, at_opt, bounds, same_shape

MOST_DIMENSIONS = 8  # of TensorRT
_LONGEST = 2**63 - 1


@dataclass(frozen=True)
class TensorSpec:
    """The shape and element type of a network's input or output.

    Args:
        shape: positive ints, outermost first; a :class:`trtnn.Dim` for what is known only when the network runs.
        dtype: anything :func:`trtnn.dtypes.as_dtype` knows.

    Raises:
        ShapeError: a length is not a positive int, or there are more than 8.
    """

    shape: tuple[Length, ...]
    dtype: DType = float32

    def __post_init__(self) -> None:
        if isinstance(self.shape, (str, bytes, Mapping, Set)) or not isinstance(self.shape, Iterable):
            raise ShapeError(f"a shape is a sequence of positive ints, not {self.shape!r}")
        shape = tuple(map(_as_length, self.shape))
        if not all(
            isinstance(length, (int, Size)) and not isinstance(length, bool) and 0 < bounds(length)[0] <= _LONGEST
            for length in shape
        ):
            inner = (list, tuple, dict, set)
            shown = tuple(named(length) if isinstance(length, inner) else length for length in shape)
            raise ShapeError(f"a shape holds positive ints, not {shown}")
        if len(shape) > MOST_DIMENSIONS:
            of = f"{shape}" if len(shape) < 100 else "this shape"
            raise ShapeError(f"TensorRT has at most {MOST_DIMENSIONS} dimensions, not the {len(shape)} of {of}")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "dtype", as_dtype(self.dtype))

    def __str__(self) -> str:
        return f"{self.dtype.name}{list(self.shape)}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorSpec):
            return NotImplemented
        return self.dtype is other.dtype and same_shape(self.shape, other.shape)

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    def with_shape(self, shape: tuple[Length, ...]) -> TensorSpec:
        """Return a TensorSpec of another shape."""
        return TensorSpec(shape, self.dtype)

    def at_opt(self) -> TensorSpec:
        """Return the static TensorSpec at the lengths that the dimensions are fastest at."""
        return self.with_shape(tuple(map(at_opt, self.shape)))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; symbolic lengths as text."""
        shape = [length if isinstance(length, int) else str(length) for length in self.shape]
        return {"shape": shape, "dtype": self.dtype.name}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], read: Callable[[str], Length] | None = None) -> TensorSpec:
        """Return the TensorSpec that :meth:`to_json` gave.

        Args:
            value: the JSON values.
            read: gives a symbolic length of its text, such as a :class:`~trtnn.shapes.reading.LengthReader`.
        """
        from trtnn.shapes.reading import LengthReader

        shape, read = value["shape"], read or LengthReader({})
        if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:  # before any work goes into it
            raise ShapeError(f"a shape is a list of at most {MOST_DIMENSIONS} lengths")
        return cls(tuple(read(length) if isinstance(length, str) else length for length in shape), value["dtype"])


Input = TensorSpec  # the public name, of what users declare most


def _as_length(length: Any) -> Any:
    """Return a whole number of NumPy's or torch's as Python's, and anything else as it is."""
    if isinstance(length, (int, Size, np.bool_)) or not hasattr(length, "__index__"):
        return length
    try:
        return operator.index(length)
    except TypeError:  # of several numbers, or none that is whole
        return length


def as_input(value: Any) -> TensorSpec:
    """Return ``value`` as a TensorSpec: itself where it is one, else that of a bare shape, in float32."""
    return value if isinstance(value, TensorSpec) else TensorSpec(value)
