"""What sizes of images a network takes."""

from __future__ import annotations

from trtnn.errors import ShapeError
from trtnn.shapes.symbolic import Length, is_static, same


def expect_multiples(size: tuple[Length, ...], stride: int, name: str) -> None:
    """Check that the height and width of images are multiples of a network's stride.

    Raises:
        ShapeError: they are not, or a dynamic one leaves it open; with what would be.
    """
    even = [same(length % stride, 0) for length in size]
    if all(even):
        return
    if is_static(size):
        smaller = tuple(max(length // stride, 1) * stride for length in size)
        larger = tuple(-(-length // stride) * stride for length in size)
        advice = f"nearest: {' and '.join(map(str, dict.fromkeys((smaller, larger))))}"
    else:
        advice = f"declare it: trtnn.Dim(..., multiple_of={stride})"
    raise ShapeError(
        f"{name} takes pictures whose height and width are multiples of {stride}",
        f"received {tuple(size)}",
        advice,
    )
