"""From images of any size to a network's input of one size."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trtnn.errors import ArgumentError, DTypeError, ShapeError, nearest
from trtnn.threads import processors
from trtnn.vision.fits import FITS, FLOAT_FITS, Fitted, Placement, Size, check_size, letterbox, scratch
from trtnn.vision.images import check_images
from trtnn.vision.opencv import opencv

__all__ = ["FITS", "YOLO", "Placement", "Preprocessing", "Size", "letterbox", "preprocess"]

_LARGEST = 16  # mean and std: none of pixels in 0..1 is as large, and of bytes none is as small


@dataclass(frozen=True)
class Preprocessing:
    """How images become a network's input: laid on a canvas, then (canvas / 255 - mean) / std, channels first.

    Args:
        fit: ``"letterbox"`` scales the image to fit, in the middle; ``"corner"`` at the top left, in float32;
            ``"warp"`` in the middle by one affine map; ``"stretch"`` fills the canvas by OpenCV's INTER_LINEAR, and
            ``"stretch-antialias"`` by torchvision's Resize, where each pixel is a weighted mean of all that lie under
            it; ``"crop"`` covers it with the middle of the image, of which the shorter side is 8/7 as long as the
            canvas, and ``"cover"`` as long.
        channels: their order in the input, ``"RGB"`` or ``"BGR"``; the numbers below are in this order.
        fill: what else is on the canvas, in 0..255.
        mean: what is subtracted, in 0..1.
        std: what is divided by, in 0..1.

    Raises:
        ArgumentError: an unknown fit or order of channels, or not three finite numbers, or a std of zero; a mean or std
            of more than 16, which is of pixels in 0..255.
    """

    fit: str = "letterbox"
    channels: str = "RGB"
    fill: tuple[float, float, float] = (114.0, 114.0, 114.0)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for name, values in {"fit": list(FITS), "channels": ["RGB", "BGR"]}.items():
            value = getattr(self, name)
            if value not in values:
                raise ArgumentError(f"preprocessing has no {name} {value!r}", f"known: {', '.join(values)}")
        for name in ("fill", "mean", "std"):
            value = getattr(self, name)
            try:
                numbers = np.asarray(value)
            except ValueError:  # lists of different lengths
                numbers = np.empty(0)
            good = numbers.shape == (3,) and numbers.dtype.kind in "iuf" and np.isfinite(numbers).all()
            if not good or (name == "std" and not numbers.all()):
                not_zero = ", none of them zero" if name == "std" else ""
                raise ArgumentError(f"{name} of preprocessing is a number for each channel{not_zero}", f"got: {value}")
            if name == "fill" and not 0 <= numbers.min() <= numbers.max() <= 255:
                raise ArgumentError("fill of preprocessing is in 0..255", f"got: {value}")
            if name != "fill" and abs(numbers).max() > _LARGEST:
                raise ArgumentError(
                    f"{name} of preprocessing is of pixels in 0..1",
                    f"got: {value}; of those in 0..255 divide it by 255",
                )
            object.__setattr__(self, name, tuple(numbers.tolist()))

    def changed(self, changes: Mapping[str, Any]) -> Preprocessing:
        """Return one that differs in what ``changes`` names, as a network's metadata has it.

        Raises:
            ArgumentError: it names what there is not, or a value is none.
        """
        names = [field.name for field in fields(self)]
        unknown = [name for name in changes if name not in names]
        if unknown:
            raise ArgumentError(
                f"preprocessing has no {unknown[0]!r}", *nearest(unknown[0], names), f"known: {', '.join(names)}"
            )
        return replace(self, **changes)


YOLO = Preprocessing()


def preprocess(
    images: Iterable[npt.ArrayLike],
    size: int | Size,
    dtype: npt.DTypeLike = np.float32,
    how: Preprocessing = YOLO,
    *,
    out: np.ndarray | None = None,
    first: int = 0,
) -> tuple[np.ndarray, list[Placement]]:
    """Make one batch of images of any sizes: each on a canvas of its own, normalised, channels first.

    Images are prepared side by side, by as many threads as there are processors.

    Args:
        images: uint8 (height, width, 3) RGB each.
        size: the canvas's (height, width) in px, or one number for a square.
        dtype: float32 or float16.
        how: YOLO's way by default: letterboxed, RGB in 0..1.
        out: the array to write the batch into, of its shape and type, contiguous; None for a new one.
        first: the index of the first image, which errors count from.

    Returns:
        The batch (N, 3, *size), and how every image lies on its canvas, for :func:`postprocess`.

    Raises:
        ArgumentError: the size is not positive.
        DTypeError: a ``dtype`` other than float32 and float16, ``out`` of another type, or an image that is not uint8.
        ShapeError: an image, or ``out``, of another shape.
    """
    dtype, canvas_size, checked = np.dtype(dtype), check_size(size), check_images(images, first)
    if dtype not in (np.float32, np.float16):
        raise DTypeError("a batch of pictures is float32 or float16", f"received: {dtype}")
    shape = (len(checked), 3, *canvas_size)
    batch = np.empty(shape, dtype) if out is None else _check_out(out, shape, dtype)

    def prepare(planes: np.ndarray, image: np.ndarray) -> Placement:
        return _prepare(planes, image, how)

    if len(checked) > 1:
        return batch, list(_threads().map(prepare, batch, checked))
    return batch, list(map(prepare, batch, checked))


def _check_out(out: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if out.dtype != dtype:
        raise DTypeError(f"out is to be {dtype}, as the batch is", f"received: {out.dtype}")
    if out.shape != shape or not out.flags.c_contiguous:
        layout = "" if out.flags.c_contiguous else ", not contiguous"
        raise ShapeError("out does not fit the batch", f"expected: {shape}", f"received: {out.shape}{layout}")
    return out


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Return the threads that prepare images; OpenCV and NumPy let go of Python's lock while they work."""
    return ThreadPoolExecutor(processors(), "trtnn-preprocess")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a child has none of its parent's threads


def _prepare(planes: np.ndarray, image: np.ndarray, how: Preprocessing) -> Placement:
    """Fit one image, and write it, normalised, into its (3, height, width) of the batch.

    What is fitted in uint8 has 256 values, and what each becomes in each channel stands in a table.
    """
    cv2, turn, size = opencv(), 1 if how.channels == "RGB" else -1, planes.shape[1:]
    if how.fit in FLOAT_FITS:
        return _normalise(planes, FITS[how.fit](image[..., ::turn], size, how.fill), how)
    planes, fill = planes[::turn], how.fill[::turn]  # in the image's order, which is RGB
    fitted = FITS[how.fit](image, size, fill)
    height, width, _ = fitted.pixels.shape
    channels = cv2.split(fitted.pixels, list(scratch("channels", (3, height, width), np.uint8)))
    tables = _tables(how.mean[::turn], how.std[::turn], planes.dtype.str)
    for plane, channel, table, level in zip(planes, channels, tables, np.array(fill).astype(np.uint8), strict=True):
        _surround(plane, fitted, table[level])
        # OpenCV's tables of 16 bits are whole numbers: it moves them as they are.
        part = _covered(plane, fitted)
        cv2.LUT(channel, *(x if x.itemsize == 4 else x.view(np.uint16) for x in (table, part)))
    return fitted.placement


@functools.lru_cache(maxsize=64)
def _tables(mean: tuple[float, ...], std: tuple[float, ...], dtype: str) -> np.ndarray:
    """Return what each uint8 value becomes in each channel: (3, 256) of the batch's type."""
    levels, tables = np.tile(np.arange(256, dtype=np.float32), (3, 1)), np.empty((3, 256), dtype)
    _normalised(levels, np.reshape(mean, (3, 1)), np.reshape(std, (3, 1)), tables)
    return tables


def _normalise(planes: np.ndarray, fitted: Fitted, how: Preprocessing) -> Placement:
    """Write what was fitted in float32, with channels in the network's order, into the batch, normalised."""
    height, width, _ = fitted.pixels.shape
    channels = opencv().split(fitted.pixels, list(scratch("values", (3, height, width), np.float32)))
    for plane, channel, level, mean, std in zip(planes, channels, how.fill, how.mean, how.std, strict=True):
        border = np.empty((), plane.dtype)
        _normalised(np.array(level, np.float32), mean, std, border)
        _surround(plane, fitted, border)
        _normalised(channel, mean, std, _covered(plane, fitted))
    return fitted.placement


def _normalised(values: np.ndarray, mean: npt.ArrayLike, std: npt.ArrayLike, out: np.ndarray) -> None:
    """Write (values / 255 - mean) / std into ``out``; ``values``, in float32 as all of this is, are used up."""
    np.divide(values, np.float32(255), out=values)
    np.subtract(values, np.asarray(mean, np.float32), out=values)
    np.divide(values, np.asarray(std, np.float32), out=out, casting="same_kind")


def _covered(plane: np.ndarray, fitted: Fitted) -> np.ndarray:
    """Return the part of a channel's canvas that an image covers."""
    height, width, _ = fitted.pixels.shape
    return plane[fitted.top : fitted.top + height, fitted.left : fitted.left + width]


def _surround(plane: np.ndarray, fitted: Fitted, value: npt.ArrayLike) -> None:
    """Write a value to all of a channel's canvas around an image."""
    (height, width, _), top, left = fitted.pixels.shape, fitted.top, fitted.left
    plane[:top] = plane[top + height :] = value
    plane[top : top + height, :left] = plane[top : top + height, left + width :] = value
