"""The shape of a layer's output by the operation's formula, held against the one that TensorRT shows."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn.errors import ShapeError, UnsupportedError, where
from trtnn.graph.tensor import Tensor
from trtnn.shapes.symbolic import Length, bounds, broadcast, ranges, same

# The layers whose output has the shape of their first input, or that of all inputs broadcast together.
_SAME_SHAPE = ("activation", "cast", "identity", "normalization", "scale_nd", "softmax", "unary")
_BROADCAST = ("elementwise", "select")


def usual_shape(kind: str, inputs: Sequence[Tensor], path: str) -> tuple[Length, ...]:
    """Return the shape that a layer's output has where TensorRT leaves a length open and no formula was given.

    Raises:
        UnsupportedError: it is no layer that keeps or broadcasts the shapes of its inputs.
    """
    if kind in _SAME_SHAPE:
        return inputs[0].shape
    if kind in _BROADCAST:
        return broadcast(*(tensor.shape for tensor in inputs))
    raise UnsupportedError(
        f"{kind} in {where(path)} gives a dynamic shape, and nothing tells which",
        f"inputs: {', '.join(str(tensor.shape) for tensor in inputs)}",
        "give emit the output's shape: out_shape=...",
    )


def check_not_empty(kind: str, shape: Sequence[Length], path: str) -> None:
    """Raise where a length may come to nothing.

    Raises:
        ShapeError: it does at some lengths within the profiles.
    """
    for length in shape:
        if bounds(length)[0] < 1:
            raise ShapeError(
                f"{kind} in {where(path)} may leave nothing: a length of {length} goes down to {bounds(length)[0]}",
                ranges([length]),
                "a larger min of the dimension, or a multiple_of, may settle it",
            )


def agrees(shown: Sequence[int], expected: Sequence[Length]) -> bool:
    """Return whether the shape that TensorRT shows, -1 for what it leaves open, can be the one that is expected."""
    return len(shown) == len(expected) and all(
        length == -1 or same(length, told) for length, told in zip(shown, expected, strict=True)
    )
