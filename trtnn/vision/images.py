"""Pictures on disk: finding, reading and writing them."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from trtnn.errors import DTypeError, ImageError, ShapeError
from trtnn.files import atomic_write

#: The suffixes by which pictures are known in folders and globs; OpenCV reads and writes all of them in colour.
SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def check_image(image: npt.ArrayLike) -> np.ndarray:
    """Return ``image`` as an array once it is a picture: uint8 (height, width, 3) with at least one pixel.

    Raises:
        ShapeError: another shape; what makes one of three channels of it is said.
        DTypeError: another element type, or a path.
    """
    if isinstance(image, str | os.PathLike):
        raise DTypeError(f"a picture is an array, not a path: {image}", "trtnn.vision.read_image(path) reads one")
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        ways = {1: "of a grey one: image.repeat(3, 2)", 4: "without its fourth channel: image[..., :3]"}
        way = ways.get(image.shape[2]) if image.ndim == 3 else None
        if image.ndim == 2:
            way = "of a grey one: image[..., None].repeat(3, 2)"
        received = f"received: {image.shape}"
        raise ShapeError("a picture must have the shape (height, width, 3)", received, *([way] if way else []))
    if image.dtype != np.uint8:
        raise DTypeError("a picture must be uint8, RGB in 0..255", f"received: {image.dtype}")
    return image


def find_images(source: str | os.PathLike[str]) -> list[Path]:
    """The pictures that ``source`` stands for, sorted by path.

    Args:
        source: a file (taken whatever its suffix), a folder (its pictures by suffix, subfolders left out) or a glob
            such as ``"holiday/**/*.jpg"`` (its matches by suffix). Hidden files are left out of folders and globs.

    Raises:
        ImageError: there is no picture at all.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        candidates = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    else:
        candidates = [Path(match) for match in glob.glob(os.fspath(source), recursive=True)]
    found = sorted(entry for entry in candidates if entry.suffix.lower() in SUFFIXES and entry.is_file())
    if found:
        return found
    if path.is_dir() or candidates:
        place = f"the folder {path}" if path.is_dir() else f"what {source} matches"
        raise ImageError(f"no picture in {place}", f"known suffixes: {' '.join(sorted(SUFFIXES))}")
    raise ImageError(f"no picture at {source}", "it is neither a file, nor a folder, nor a glob that matches anything")


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a picture as uint8 (height, width, 3) RGB, turned upright as its EXIF orientation says.

    Grey pictures become RGB, 16 bits become 8, transparency is dropped.

    Raises:
        ImageError: the file is missing, unreadable, empty, or not a picture that OpenCV decodes.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"no picture at {path}: the file does not exist") from None
    except OSError as error:
        raise ImageError(f"cannot read the picture {path}", f"{type(error).__name__}: {error.strerror}") from error
    if not data:
        raise ImageError(f"cannot read the picture {path}: the file is empty")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"cannot read the picture {path}", f"OpenCV: {error.err}") from error
    if image is None:
        raise ImageError(
            f"cannot read the picture {path}: it does not decode",
            f"size: {len(data)} bytes, the first: {data[:8].hex(' ')}",
            "the file is damaged or of a kind that OpenCV does not know",
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def write_image(path: str | os.PathLike[str], image: npt.ArrayLike) -> None:
    """Write a picture, uint8 (height, width, 3) RGB, in the format that the path's suffix names.

    The file takes its place at once and whole: an interrupted write leaves what was there before.

    Raises:
        ImageError: OpenCV cannot write this suffix.
        ArgumentError: nothing can be written at this path.
        ShapeError, DTypeError: ``image`` is not a picture.
    """
    path, image = Path(path), check_image(image)
    if path.suffix.lower() not in SUFFIXES:
        raise ImageError(
            f"cannot write the picture {path}: no format of pictures has the suffix {path.suffix!r}",
            f"known suffixes: {' '.join(sorted(SUFFIXES))}",
        )
    try:
        encoded, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise ImageError(f"cannot write the picture {path}", f"OpenCV: {error.err}") from error
    if not encoded:
        raise ImageError(f"cannot write the picture {path}: OpenCV did not encode it", f"its shape: {image.shape}")
    with atomic_write(path) as file:
        file.write(data.tobytes())
