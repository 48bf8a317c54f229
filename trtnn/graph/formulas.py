"""The shape of a layer's output by the operation's formula, held against the one that TensorRT shows."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn.errors import ShapeError, UnsupportedError, where
from trtnn.graph.tensor import Tensor
from trtnn.shapes.symbolic import Length, bounds, broadcast, is_static, ranges, same

# The layers whose output has the shape of their first input, or that of all inputs broadcast together.
_SAME_SHAPE = ("activation", "cast", "identity", "normalization", "scale_nd", "softmax", "unary")
_BROADCAST = ("elementwise", "select")


def settled_shape(
    kind: str, shown: tuple[int, ...], expected: Sequence[Length] | None, inputs: Sequence[Tensor], path: str
) -> tuple[Length, ...] | None:
    """Return the shape that a layer's output has; ``shown`` itself where TensorRT shows all of it.

    Args:
        kind: of the layer.
        shown: by TensorRT, -1 for what it leaves open.
        expected: by the operation's formula, if there is one.
        inputs: the Tensors that the layer was added with.
        path: of the module that is running, for messages.

    Returns:
        None where the formula contradicts TensorRT.

    Raises:
        ShapeError: a length may come to nothing at some lengths within the profiles.
        UnsupportedError: TensorRT leaves a length open, and there is no formula.
    """
    is_open = -1 in shown
    if expected is None:
        if not is_open:
            return shown
        expected = _usual_shape(kind, inputs, path)
    expected = tuple(expected)
    if not is_open and is_static(expected) and expected == shown:
        return shown
    _check_not_empty(kind, expected, path)
    return expected if _agrees(shown, expected) else None


def _usual_shape(kind: str, inputs: Sequence[Tensor], path: str) -> tuple[Length, ...]:
    """Return the shape that a layer's output has where TensorRT leaves a length open and no formula was given.

    Raises:
        UnsupportedError: it is no layer that keeps or broadcasts the shapes of its inputs.
    """
    if kind in _SAME_SHAPE:
        return inputs[0].shape
    if kind in _BROADCAST:
        shape = broadcast(*(tensor.shape for tensor in inputs))
        if shape is not None:
            return shape
    raise UnsupportedError(
        f"{kind} in {where(path)} gives a dynamic shape, and nothing tells which",
        f"inputs: {', '.join(str(tensor.shape) for tensor in inputs)}",
        "give emit the output's shape: out_shape=...",
    )


def _check_not_empty(kind: str, shape: Sequence[Length], path: str) -> None:
    """Check that no length comes to nothing.

    Raises:
        ShapeError: one does, at some lengths within the profiles.
    """
    for length in shape:
        if bounds(length)[0] < 1:
            raise ShapeError(
                f"{kind} in {where(path)} may leave nothing: a length of {length} goes down to {bounds(length)[0]}",
                ranges([length]),
                "a larger min of the dimension, or a multiple_of, may settle it",
            )


def _agrees(shown: Sequence[int], expected: Sequence[Length]) -> bool:
    """Return whether the shape that TensorRT shows, -1 for what it leaves open, can be the one that is expected."""
    return len(shown) == len(expected) and all(
        length == -1 or same(length, told) for length, told in zip(shown, expected, strict=True)
    )
