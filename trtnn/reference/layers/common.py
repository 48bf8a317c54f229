"""What the layers share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from trtnn.errors import UnsupportedError
from trtnn.graph.definition import flat_array

Function = Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]


class _Writable:
    """An array that may be written to, as torch wants it: it warns of others, and nothing here writes."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array  # whose memory it is
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def tensor_of(array: np.ndarray) -> torch.Tensor:
    """Return an array that TensorRT shows as a flat tensor of the same memory."""
    flat = flat_array(array)
    return torch.from_numpy(flat if flat.flags.writeable else np.asarray(_Writable(flat)))


def weights_of(array: np.ndarray | None, shape: tuple[int, ...] = (-1,)) -> torch.Tensor | None:
    """Return a layer's weights as float32, sharing memory where they are that already."""
    if array is None or array.size == 0:
        return None
    return tensor_of(array).reshape(shape).float()


def in_float32(function: Callable[..., torch.Tensor]) -> Function:
    """Let ``function`` compute in float32 and round its result to the type of its first input."""

    @functools.wraps(function)
    def compute(*inputs: torch.Tensor) -> torch.Tensor:
        if inputs[0].dtype == torch.float32:
            return function(*inputs)
        return function(*(x.float() for x in inputs)).to(inputs[0].dtype)

    return compute


def by_member(what: str, member: Any, table: dict[str, Any]) -> Any:
    """Return what a table has for a member of an enum, by its name.

    Raises:
        UnsupportedError: it has nothing for it.
    """
    if member.name not in table:
        raise UnsupportedError(f"the reference does not know the {what} {member.name}", f"it knows {', '.join(table)}")
    return table[member.name]


def axes_of(mask: int) -> tuple[int, ...]:
    """Return the dimensions that a bit mask names."""
    return tuple(i for i in range(mask.bit_length()) if mask >> i & 1)
