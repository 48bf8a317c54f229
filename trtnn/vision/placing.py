"""Where an image lies on a canvas, by its size alone."""

from __future__ import annotations

from collections.abc import Callable

from trtnn.errors import ImageError
from trtnn.vision.preprocessing import Placement, Size

_LONGEST_WARPED = 32766  # of cv2.warpAffine


def place(fit: str, source_size: Size, canvas_size: Size) -> Placement:
    """Return how an image of a (height, width) lies on a canvas, by the name of a fit.

    Raises:
        ImageError: the image is longer than the fit takes.
    """
    return _FITS[fit](source_size, canvas_size)


def _ratio(source_size: Size, canvas_size: Size) -> float:
    return min(canvas / source for canvas, source in zip(canvas_size, source_size, strict=True))


def _placed(source_size: Size, canvas_size: Size, inner: Size, corner: Size = (0, 0)) -> Placement:
    scale = inner[1] / source_size[1], inner[0] / source_size[0]
    return Placement(source_size, canvas_size, scale, (float(corner[1]), float(corner[0])))


def _letterbox(source_size: Size, canvas_size: Size) -> Placement:
    ratio = _ratio(source_size, canvas_size)
    height, width = (max(1, round(side * ratio)) for side in source_size)
    top, left = (round((canvas - side) / 2 - 0.1) for canvas, side in zip(canvas_size, (height, width), strict=True))
    return _placed(source_size, canvas_size, (height, width), (top, left))


def _corner(source_size: Size, canvas_size: Size) -> Placement:
    ratio = _ratio(source_size, canvas_size)
    height, width = (max(1, int(side * ratio + 1e-6)) for side in source_size)
    return _placed(source_size, canvas_size, (height, width))


def _warp(source_size: Size, canvas_size: Size) -> Placement:
    if max(*source_size, *canvas_size) > _LONGEST_WARPED:
        raise ImageError(
            f"a picture of {source_size[0]}×{source_size[1]} is too long for this network's preprocessing",
            f"OpenCV maps pictures of up to {_LONGEST_WARPED} pixels a side",
        )
    ratio = _ratio(source_size, canvas_size)
    y, x = ((canvas - side * ratio) / 2 for canvas, side in zip(canvas_size, source_size, strict=True))
    return Placement(source_size, canvas_size, (ratio, ratio), (x, y))


def _stretch(source_size: Size, canvas_size: Size) -> Placement:
    return _placed(source_size, canvas_size, canvas_size)


def _crop(source_size: Size, canvas_size: Size) -> Placement:
    shorter = round(max(canvas_size) * 256 / 224)
    height, width = (shorter * side // min(source_size) for side in source_size)
    top, left = (round((side - canvas) / 2) for side, canvas in zip((height, width), canvas_size, strict=True))
    return _placed(source_size, canvas_size, (height, width), (-top, -left))


_FITS: dict[str, Callable[[Size, Size], Placement]] = {
    "letterbox": _letterbox,
    "corner": _corner,
    "warp": _warp,
    "stretch": _stretch,
    "crop": _crop,
}
