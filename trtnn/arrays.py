"""NumPy arrays of what others hold: arrays, numbers and torch's tensors, without importing torch."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np

from trtnn.errors import DTypeError


def address_of(array: np.ndarray) -> int:
    """Return the address of an array's first element."""
    flags, buffer = array.flags, cast(Any, array)
    if not (flags.c_contiguous and flags.writeable and array.nbytes):
        return array.ctypes.data
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(buffer))  # it takes a third of the time
    except (BufferError, ValueError):  # a type that has no buffer
        return array.ctypes.data


def is_torch(value: Any) -> bool:
    """Return whether a value is a tensor of torch's: a Parameter of torch.nn's and other subclasses are."""
    if type(value) is np.ndarray:  # as nearly always where there are many
        return False
    return any(kind.__module__ == "torch" and kind.__name__ == "Tensor" for kind in type(value).__mro__)


def is_masked_array(value: Any) -> bool:
    """Return whether a value is one of numpy.ma's, which takes 50 ms to import and is there where someone has one."""
    masked = sys.modules.get("numpy.ma")
    return masked is not None and isinstance(value, masked.MaskedArray)


def array_of_torch(tensor: Any) -> np.ndarray:
    """Return the numbers of a torch tensor, sharing its memory where it can.

    NumPy has no bfloat16 and no fp8, so those become float32, which holds the same numbers.

    Raises:
        DTypeError: it is sparse, quantised, complex or on the meta device.
    """
    layout, kind = str(tensor.layout), str(tensor.dtype).removeprefix("torch.")
    if layout != "torch.strided":
        raise DTypeError(f"a sparse torch tensor ({layout.removeprefix('torch.')})", "make it dense: x.to_dense()")
    if tensor.is_quantized:
        raise DTypeError(f"a quantised torch tensor ({kind})", "give its numbers: x.dequantize()")
    if tensor.is_complex():
        raise DTypeError(f"a torch tensor of {kind}", "TensorRT has no complex numbers: torch.view_as_real(x)")
    if tensor.device.type == "meta":
        raise DTypeError("a torch tensor on the meta device, which holds no numbers")
    tensor = tensor.detach().cpu().resolve_neg()
    return (tensor.float() if kind == "bfloat16" or kind.startswith("float8") else tensor).numpy()


def kept(samples: Iterable[Any]) -> Iterable[Any]:
    """Return samples for who looks at them again: copies, but of a list, for others may fill one array again and again.

    Args:
        samples: each an array, a tuple or list of arrays, or a dict of them by name.
    """
    return samples if isinstance(samples, (list, tuple)) else map(_copied, samples)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copied(array) for name, array in value.items()}
    if isinstance(value, (list, tuple)):
        return [*map(_copied, value)]
    return value.detach().clone() if is_torch(value) else value.copy() if isinstance(value, np.ndarray) else value
