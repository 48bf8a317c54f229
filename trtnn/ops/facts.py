"""Facts about Tensors, such as how many elements they have, and copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtnn.errors import ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops.complex import Complex
from trtnn.shapes.symbolic import Length, broadcast


def is_tensor(obj: Any) -> bool:
    """Return whether ``obj`` is a Tensor, or complex numbers, which are two."""
    return isinstance(obj, (Tensor, Complex))


def numel(input: Tensor) -> Length:
    """Return the number of elements."""
    return input.numel()


def clone(input: Tensor) -> Tensor:
    """Return a copy, which changes in place by itself."""
    return input.graph.deferred.snapshot("clone", input)


def broadcast_shapes(*shapes: Any) -> tuple[Length, ...]:
    """Return the shape that shapes broadcast to; each is a sequence of lengths, or one length.

    Raises:
        ShapeError: there is none.
    """
    every = [tuple(shape) if isinstance(shape, Sequence) else (shape,) for shape in shapes]
    ndim = max(map(len, every), default=0)
    result = broadcast(*((1,) * (ndim - len(shape)) + shape for shape in every)) if every else ()
    if result is None:
        raise ShapeError(f"shapes {', '.join(map(str, every))} do not broadcast together")
    return result
