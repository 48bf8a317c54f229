"""Where a Tensor is and how it lies in memory, as public code asks; and what it becomes of another type or place.

A network has one place, the GPU that its engine runs on, so that moving to another does nothing.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from trtnn.errors import ArgumentError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._promotion import cast
from trtnn.shapes.symbolic import Length

_DEVICE = re.compile(r"(cpu|cuda|meta|mps|xla|xpu|hpu|npu|mtia|privateuseone)(:\d+)?")


@dataclass(frozen=True)
class Device:
    """Where Tensors are: on the GPU that the engine will run on, whichever that is.

    Attributes:
        type: ``"cuda"``.
        index: None.
    """

    type: str = "cuda"
    index: int | None = None

    def __str__(self) -> str:
        return self.type


DEVICE = Device()


def _is_device(value: Any) -> bool:
    if isinstance(value, str):
        return bool(_DEVICE.fullmatch(value))
    of_torch = type(value).__module__ == "torch" and type(value).__name__ == "device"
    return of_torch or isinstance(value, Device) or (isinstance(value, int) and not isinstance(value, bool))


def to(input: Tensor, *args: Any, dtype: Any = None, other: Tensor | None = None, copy: bool = False) -> Tensor:
    """Return the elements in another type; a device has no effect.

    As torch's: ``tensor.to(dtype)``, ``tensor.to(device)``, ``tensor.to(device, dtype)``, ``tensor.to(other)``.

    Args:
        *args: a type, a device, a device and a type, or a Tensor whose type it takes; then torch's ``non_blocking``,
            which has no effect, and ``copy``.
        dtype, other: the same by name.
        copy: give a tensor of its own, also where it is of that type.

    Raises:
        DTypeError: TensorRT has no such type.
    """
    rest = list(args)
    if rest and (rest[0] is None or _is_device(rest[0])):
        rest.pop(0)
        wanted = rest.pop(0) if rest and rest[0] is not None and not isinstance(rest[0], bool) else dtype
    elif rest and not isinstance(rest[0], bool):
        wanted = rest.pop(0)
    else:
        wanted = dtype
    if len(rest) > 3 or not all(isinstance(value, (bool, type(None))) for value in rest):
        raise ArgumentError(f"to takes a type, a device, both, or a Tensor, not {args}")
    wanted = other if wanted is None else wanted
    if copy or rest[1:2] == [True]:
        input = input.graph.deferred.snapshot("to", input)
    if wanted is None:
        return input
    return cast(input, wanted.dtype if hasattr(wanted, "dtype") and not isinstance(wanted, type) else wanted)


def type_(input: Tensor, dtype: Any = None) -> Tensor | str:
    """Return the elements in another type, or without one torch's name of the type (``tensor.type()``)."""
    return f"torch.cuda.{_TENSOR_TYPES[input.dtype.name]}" if dtype is None else cast(input, _of_tensor_type(dtype))


_TENSOR_TYPES = {
    "float32": "FloatTensor", "float16": "HalfTensor", "bfloat16": "BFloat16Tensor", "int64": "LongTensor",
    "int32": "IntTensor", "int8": "CharTensor", "uint8": "ByteTensor", "bool": "BoolTensor",
}  # fmt: skip


def _of_tensor_type(dtype: Any) -> Any:
    """Return the type that torch's ``"torch.cuda.FloatTensor"`` names, and others as they are."""
    text = str(dtype).rpartition(".")[2].removesuffix("'>")
    return next((name for name, shown in _TENSOR_TYPES.items() if shown == text), dtype)


def double(input: Tensor) -> Tensor:
    """Refuse: TensorRT has no float64.

    Raises:
        UnsupportedError: always.
    """
    raise UnsupportedError(f"double() in {input.graph.where}", "TensorRT has no float64: use float()")


def is_floating_point(input: Tensor) -> bool:
    """Return whether the type holds fractions."""
    return input.dtype.is_floating_point


def stride(input: Tensor, dim: int | None = None) -> Length | tuple[Length, ...]:
    """Return the distance of neighbours in elements along each dimension, or along one, as of a contiguous tensor."""
    steps = tuple(math.prod(input.shape[axis + 1 :]) for axis in range(input.ndim))
    return steps if dim is None else steps[dim]


def element_size(input: Tensor) -> int:
    """Return how many bytes an element takes."""
    return input.dtype.itemsize
