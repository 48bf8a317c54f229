"""The boundary of loops; what lies within them the interpreter runs again and again.

What changes from trip to trip has the trips as a first dimension here, in the order in which they are made.
"""

from __future__ import annotations

from typing import Any

import torch

from trtnn.errors import UnsupportedError
from trtnn.reference.layers.common import Function, by_member
from trtnn.reference.registry import layer


@layer("TRIP_LIMIT")
def trip_limit(layer: Any) -> Function:
    by_member("limit of a loop", layer.kind, {"COUNT": None})
    return lambda count: ()


@layer("ITERATOR")
def iterator(layer: Any) -> Function:
    axis, reverse = layer.axis, layer.reverse
    return lambda x: x.movedim(axis, 0).flip(0) if reverse else x.movedim(axis, 0)


@layer("RECURRENCE")
def recurrence(layer: Any) -> Function:
    return lambda x: x


@layer("LOOP_OUTPUT")
def loop_output(layer: Any) -> Function:
    axis = layer.axis

    def joined(values: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        if len(values) != int(length):
            raise UnsupportedError(f"a loop of {len(values)} trips gives an output of length {int(length)}")
        return values.movedim(0, axis)

    table = {
        "LAST_VALUE": lambda x: x,
        "CONCATENATE": joined,
        "REVERSE": lambda values, length: joined(values.flip(0), length),
    }
    return by_member("output of a loop", layer.kind, table)
