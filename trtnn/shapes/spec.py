"""What a network takes in: declared shapes and types, and the check of what it is given."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtnn.arrays import is_masked_array
from trtnn.dtypes import DType, as_dtype, float32
from trtnn.errors import ArgumentError, DTypeError, ShapeError, named
from trtnn.shapes.symbolic import Length, LengthReader, Size, at_opt, bounds, same_shape

MOST_DIMENSIONS = 8  # of TensorRT
_LONGEST = 2**63 - 1


@dataclass(frozen=True)
class Input:
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
        if not isinstance(other, Input):
            return NotImplemented
        return self.dtype is other.dtype and same_shape(self.shape, other.shape)

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    def with_shape(self, shape: tuple[Length, ...]) -> Input:
        """Return an Input of another shape."""
        return Input(shape, self.dtype)

    def at_opt(self) -> Input:
        """Return the static Input at the lengths that the dimensions are fastest at."""
        return self.with_shape(tuple(map(at_opt, self.shape)))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; symbolic lengths as text."""
        shape = [length if isinstance(length, int) else str(length) for length in self.shape]
        return {"shape": shape, "dtype": self.dtype.name}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], read: Callable[[str], Length] | None = None) -> Input:
        """Return the Input that :meth:`to_json` gave.

        Args:
            value: the JSON values.
            read: gives a symbolic length of its text, such as a :class:`~trtnn.shapes.symbolic.LengthReader`.
        """
        shape, read = value["shape"], read or LengthReader({})
        if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:  # before any work goes into it
            raise ShapeError(f"a shape is a list of at most {MOST_DIMENSIONS} lengths")
        return cls(tuple(read(length) if isinstance(length, str) else length for length in shape), value["dtype"])


def _as_length(length: Any) -> Any:
    """Return a whole number of NumPy's or torch's as Python's, and anything else as it is."""
    if isinstance(length, (int, Size, np.bool_)) or not hasattr(length, "__index__"):
        return length
    try:
        return operator.index(length)
    except TypeError:  # of several numbers, or none that is whole
        return length


def as_input(value: Any) -> Input:
    """Return ``value`` as an Input: one already, or a bare shape."""
    return value if isinstance(value, Input) else Input(value)


def name_arguments(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Give each argument its input's name, positional ones in order.

    Raises:
        ArgumentError: too many, missing, unknown or doubled inputs.
    """
    if not kwargs and len(args) == len(names):
        return dict(zip(names, args, strict=True))
    takes = f"it takes: {', '.join(names)}"
    if len(args) > len(names):
        raise ArgumentError(f"{len(args)} inputs given, {len(names)} expected", takes)
    given = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in names:
            raise ArgumentError(f"no input is called {name!r}", takes)
        if name in given:
            raise ArgumentError(f"input {name!r} was given twice, by position and by name", takes)
        given[name] = value
    missing = [name for name in names if name not in given]
    if missing:
        raise ArgumentError(f"missing input: {', '.join(missing)}", takes)
    return {name: given[name] for name in names}


def check_is_array(name: str, array: Any, kind: str = "input") -> None:
    """Check that something is a NumPy array, none with numbers masked out, or a torch tensor.

    Raises:
        DTypeError: it is not.
    """
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        raise DTypeError(f"{kind} {name!r} takes a NumPy array or a torch tensor, not {type(array).__name__}")
    if is_masked_array(array):
        raise DTypeError(f"{kind} {name!r} takes no masked array", "with all its numbers: x.filled(0)")


def check_is_dense(name: str, tensor: Any) -> None:
    """Check that a torch tensor holds all its numbers; an engine sees that it cannot read others.

    Raises:
        DTypeError: it does not.
    """
    if str(tensor.layout) != "torch.strided":
        raise DTypeError(f"input {name!r} takes no sparse torch tensor", "make it dense: x.to_dense()")
    if tensor.is_meta:
        raise DTypeError(f"input {name!r} takes no torch tensor on the meta device, which holds no numbers")


def check_array(name: str, spec: Input, array: Any, kind: str = "input") -> None:
    """Check a NumPy array or torch tensor against the input that it is meant for, or the output of ``kind="out"``.

    Raises:
        DTypeError: it is neither, or its element type differs.
        ShapeError: its shape differs.
    """
    check_is_array(name, array, kind)
    if array.shape != spec.shape:
        another = (
            f'for other sizes build another: inputs={{"{name}": {tuple(array.shape)}}}, with trtnn.Dim for a range'
        )
        raise ShapeError(
            f"{kind} {name!r} has the wrong shape",
            f"expected {spec.shape}",
            f"received {tuple(array.shape)}",
            *([another] if kind == "input" else []),
        )
    try:
        dtype = as_dtype(array.dtype) if getattr(array.dtype, "isnative", True) else None  # of this byte order
    except DTypeError:
        dtype = None
    if dtype is not spec.dtype:
        is_torch = type(array).__module__ == "torch"
        if kind == "out":  # what it is converted to would be written, and not what was given
            convert = f"give one of {spec.dtype.name} to write into"
        elif not is_torch and spec.dtype.numpy is None:
            convert = f"NumPy has no {spec.dtype.name}: give torch.from_numpy({name}).to(torch.{spec.dtype.name})"
        elif is_torch:
            convert = f"convert it with {name}.to(torch.{spec.dtype.name})"
        else:
            convert = f'convert it with {name}.astype("{spec.dtype.name}")'
        raise DTypeError(
            f"{kind} {name!r} has the wrong type",
            f"expected {spec.dtype.name}",
            f"received {str(array.dtype).removeprefix('torch.')}",
            convert,
        )


def check_numpy_has(specs: Mapping[str, Input], instead: str) -> None:
    """Check that inputs or outputs that are to be NumPy arrays can be.

    Raises:
        DTypeError: NumPy has not the type of one; with what to do ``instead``.
    """
    for name, spec in specs.items():
        if spec.dtype.numpy is None:
            raise DTypeError(f"{name!r} is {spec.dtype.name}, which NumPy has not", instead, "or return it as .float()")
