"""What operations over one, two or three sides share: TensorRT's layers take two or three, and a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import expect_ndim
from trtnn.ops.shaping import reshape, unsqueeze

N = TypeVar("N")
AXES = {1: "length", 2: "height, width", 3: "depth, height, width"}


def expect_sides(input: Tensor, n: int, what: str) -> None:
    """Check that an input has ``n`` sides behind channels, and behind a batch or not."""
    expect_ndim(input, (n + 1, n + 2), what, f"(batch, channels, {AXES[n]})")


def as_images(input: Tensor, n: int, what: str) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return an input of ``n`` sides with a batch, channels and at least two sides, and what undoes that to a result.

    Raises:
        ShapeError: it has not (batch, channels, sides) or (channels, sides).
    """
    expect_sides(input, n, what)
    batched = input if input.ndim == n + 2 else unsqueeze(input, 0)
    images = unsqueeze(batched, -1) if n == 1 else batched
    if images is input:
        return input, lambda result: result

    def undo(result: Tensor) -> Tensor:
        lengths = result.shape[:3] if n == 1 else result.shape
        return reshape(result, lengths if input.ndim == n + 2 else lengths[1:])

    return images, undo


def as_sides(values: Sequence[N], neutral: N) -> tuple[N, ...]:
    """Return the values of an argument for the sides that :func:`as_images` gives."""
    return tuple(values) + (neutral,) * (2 - len(values))
