"""Arrays whose memory TensorRT is lent, and how those who read a layer back come to hold that memory as well."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from trtnn.arrays import address_of

_OWNERS: WeakValueDictionary[int, np.ndarray] = WeakValueDictionary()  # by the address that TensorRT was given


class Loan:
    """An array for TensorRT, which holds its memory by this object: it is TensorRT's as long as the array is here.

    Args:
        array: contiguous, in TensorRT's type.
    """

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray) -> None:
        self.array: np.ndarray | None = array
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        _OWNERS[address_of(array)] = owner

    @property
    def __array_interface__(self) -> dict[str, Any]:
        if self.array is None:
            raise RuntimeError("this array was taken back: nobody holds the graph that it was of")
        return self.array.__array_interface__


class _Held:
    """Memory that TensorRT shows, and what owns it: an array of this object holds both."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, array: np.ndarray, owner: np.ndarray) -> None:
        self.__array_interface__ = array.__array_interface__
        self.owner = owner


def owned(array: np.ndarray) -> np.ndarray:
    """Return an array that TensorRT shows as one that keeps its memory alive, whatever becomes of the network.

    The bindings show an address alone, and what was lent goes with the graph that it was of. An array that nobody
    lent, as in a network that was parsed, is TensorRT's own and returned as it is.
    """
    owner = _OWNERS.get(address_of(array))
    return array if owner is None else np.asarray(_Held(array, owner))
