"""Element types: one table of our name, NumPy's, torch's and TensorRT's."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtnn.errors import DTypeError


@dataclass(frozen=True, eq=False)
class DType:
    """An element type; there is one of each, so ``is`` tells them apart.

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

    def __reduce__(self) -> tuple:  # copies and pickles are the one that there is
        return as_dtype, (self.name,)


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

ALL = (float32, float16, bfloat16, int64, int32, int8, uint8, bool_)

_BY_NAME = {dtype.name: dtype for dtype in ALL}
_BY_TENSORRT = {dtype.tensorrt: dtype for dtype in ALL}


def as_dtype(value: Any) -> DType:
    """Return the DType for one of ours, a name, a NumPy type, a torch type or a TensorRT type.

    Raises:
        DTypeError: trtnn has no such element type.
    """
    if isinstance(value, DType):
        return value
    try:
        return _as_dtype(value)
    except TypeError:  # what no type is
        raise _unknown(value) from None


@functools.lru_cache(maxsize=256)
def _as_dtype(value: Any) -> DType:
    kind = type(value)
    if kind.__name__ == "DataType" and kind.__module__.startswith("tensorrt"):
        found = _BY_TENSORRT.get(value.name)
    elif kind.__module__ == "torch":
        found = _BY_NAME.get(str(value).removeprefix("torch."))
    elif isinstance(value, str) and value in _BY_NAME:
        found = _BY_NAME[value]
    else:
        try:
            found = _BY_NAME.get(np.dtype(value).name)
        except (TypeError, ValueError, SyntaxError):  # NumPy parses text
            found = None
    if found is None:
        raise _unknown(value)
    return found


def _unknown(value: Any) -> DTypeError:
    return DTypeError(f"no element type {value!r}", f"known: {', '.join(_BY_NAME)}")


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
