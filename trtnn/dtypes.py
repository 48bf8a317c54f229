"""Element types: one table of our name, NumPy's, torch's and TensorRT's."""

from __future__ import annotations

import functools
import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtnn.errors import DTypeError


@dataclass(frozen=True, eq=False)
class DType:
    """An element type; there is one of each, so ``is`` tells them apart.

    It equals torch's and NumPy's of the same name, on either side of ``==``. Python wants one hash of what is equal,
    and torch's and NumPy's differ: this is torch's, so that a dict of torch's types finds it; where torch is not
    installed it is NumPy's.

    Attributes:
        name: torch's name for it, which is ours as well.
        numpy: the NumPy type that holds it on the host; None where NumPy has none (bfloat16).
        tensorrt: the name of the member of ``tensorrt.DataType``.
        itemsize: bytes an element takes.
        is_floating_point: whether it holds fractions.
    """

    name: str
    numpy: np.dtype | None
    tensorrt: str
    itemsize: int
    is_floating_point: bool

    def __repr__(self) -> str:
        return f"trtnn.{self.name}"

    def __eq__(self, other: object) -> Any:
        if type(other) is DType:
            return self is other
        if isinstance(other, np.dtype):
            return self.numpy == other and other.isnative
        if isinstance(other, type) and issubclass(other, (np.generic, bool, int, float)):  # np.float32, as NumPy does
            return self.numpy is not None and self.numpy == np.dtype(other)
        if type(other).__module__ == "torch":
            return str(other) == f"torch.{self.name}"
        return NotImplemented

    def __hash__(self) -> int:
        return _hash(self.name)

    def __reduce__(self) -> str | tuple:  # copies and pickles are the one that there is
        return "float8_e4m3fn" if self.tensorrt == "FP8" else (as_dtype, (self.name,))


@functools.cache
def _hash(name: str) -> int:
    try:
        return hash(getattr(importlib.import_module("torch"), name))
    except ModuleNotFoundError:
        return hash(name) if name in ("bfloat16", "float8_e4m3fn") else hash(np.dtype(name))


def _dtype(name: str, numpy: Any, tensorrt: str) -> DType:
    if numpy is None:
        return DType(name, None, tensorrt, 2, True)
    numpy = np.dtype(numpy)
    return DType(name, numpy, tensorrt, numpy.itemsize, numpy.kind == "f")


float32 = _dtype("float32", np.float32, "FLOAT")
float16 = _dtype("float16", np.float16, "HALF")
bfloat16 = _dtype("bfloat16", None, "BF16")
int64 = _dtype("int64", np.int64, "INT64")
int32 = _dtype("int32", np.int32, "INT32")
int8 = _dtype("int8", np.int8, "INT8")
uint8 = _dtype("uint8", np.uint8, "UINT8")
bool_ = _dtype("bool", np.bool_, "BOOL")
# Between Quantize and Dequantize alone, so nothing can be cast to it: it is in none of the tables of names below.
float8_e4m3fn = DType("float8_e4m3fn", None, "FP8", 1, True)

ALL = (float32, float16, bfloat16, int64, int32, int8, uint8, bool_)
NARROW = (int8, uint8)  # TensorRT has them at the edges of a network, and computes nothing in them

_BY_NAME = {dtype.name: dtype for dtype in ALL}
_BY_TENSORRT = {dtype.tensorrt: dtype for dtype in (*ALL, float8_e4m3fn)}


def as_dtype(value: Any) -> DType:
    """Return the DType for one of ours, a name, a NumPy type, a torch type or a TensorRT type.

    Raises:
        DTypeError: trtnn has no such element type.
    """
    if isinstance(value, DType):
        return value
    try:
        return _as_dtype(value)
    except TypeError:  # what has no hash is no element type
        raise _unknown(value) from None


@functools.lru_cache(maxsize=256)
def _as_dtype(value: Any) -> DType:
    kind = type(value)
    if kind.__name__ == "DataType" and kind.__module__.startswith("tensorrt"):
        dtype = _BY_TENSORRT.get(value.name)
    elif kind.__module__ == "torch":
        dtype = _BY_NAME.get(str(value).removeprefix("torch."))
    elif isinstance(value, str) and value in _BY_NAME:
        dtype = _BY_NAME[value]
    else:
        try:
            dtype = _BY_NAME.get(np.dtype(value).name)
        except (TypeError, ValueError, SyntaxError):  # NumPy parses text
            dtype = None
    if dtype is None:
        raise _unknown(value)
    return dtype


def _unknown(value: Any) -> DTypeError:
    text = str(getattr(value, "name", None) or getattr(value, "__name__", None) or value).removeprefix("torch.")
    instead = next((near for kind, near in _INSTEAD.items() if text in kind), None)
    why = [] if instead is None else [f"TensorRT has no {text}: within a network it is {instead}"]
    return DTypeError(f"no element type {value!r}", *why, f"known: {', '.join(_BY_NAME)}")


# Types of torch's and NumPy's that TensorRT lacks, and what to use in their place.
_INSTEAD = {
    ("float64", "double", "float"): "float32",
    ("int16", "short", "uint16", "uint32"): "int32",
    ("uint64",): "int64",
    ("complex64", "complex128", "complex32", "cfloat", "cdouble"): "two numbers: torch.view_as_real(x)",
}


class finfo:
    """Hold the limits of a floating type, as ``torch.finfo``.

    Attributes:
        bits: how many bits an element has.
        min, max: the least and the largest finite number.
        eps: the distance from 1 to the next larger number.
        tiny, smallest_normal: the least positive number of full precision.
        resolution: 10 to the power of minus the decimal digits that it keeps.
        dtype: torch's name of the type.

    Raises:
        DTypeError: the type holds no fractions.
    """

    def __init__(self, type: Any = "float32") -> None:
        dtype = as_dtype(type)
        if not dtype.is_floating_point:
            raise DTypeError(f"finfo takes a floating type, not {dtype.name}", "iinfo has the limits of whole numbers")
        # Bits of the exponent and of the fraction, by IEEE 754 and for bfloat16 by its definition.
        exponent, fraction = {"float32": (8, 23), "float16": (5, 10), "bfloat16": (8, 7)}[dtype.name]
        largest = 2 ** (exponent - 1) - 1
        self.bits, self.dtype = 8 * dtype.itemsize, dtype.name
        self.max = (2 - 2.0**-fraction) * 2.0**largest
        self.min, self.eps = -self.max, 2.0**-fraction
        self.tiny = self.smallest_normal = 2.0 ** (1 - largest)
        self.resolution = 10.0 ** -math.floor(fraction * math.log10(2))


class iinfo:
    """Hold the limits of a type of whole numbers, as ``torch.iinfo``.

    Attributes:
        bits: how many bits an element has.
        min, max: the least and the largest number.
        dtype: torch's name of the type.

    Raises:
        DTypeError: the type holds fractions or truths.
    """

    def __init__(self, type: Any) -> None:
        dtype = as_dtype(type)
        if dtype.is_floating_point or dtype is bool_:
            raise DTypeError(f"iinfo takes a type of whole numbers, not {dtype.name}")
        limits = np.iinfo(dtype.numpy)
        self.bits, self.dtype = limits.bits, dtype.name
        self.min, self.max = int(limits.min), int(limits.max)


def result_type(a: DType, b: DType) -> DType:
    """Return the type that torch promotes two tensors of at least one dimension to."""
    if a is b:
        return a
    if a.is_floating_point and b.is_floating_point:
        return float32  # float16 with bfloat16, or either with float32
    if a.is_floating_point or b.is_floating_point:
        return a if a.is_floating_point else b
    if bool_ in (a, b):
        return b if a is bool_ else a
    if {a, b} == {int8, uint8}:
        raise DTypeError("int8 and uint8 promote to int16, which TensorRT does not have", "cast one of them first")
    return max(a, b, key=lambda dtype: dtype.itemsize)
