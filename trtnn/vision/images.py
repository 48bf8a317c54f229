"""Images on disk: finding, reading and writing them."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trtnn.arrays import array_of_torch, is_torch
from trtnn.errors import ArgumentError, DTypeError, ImageError, ShapeError, check_switches, named
from trtnn.files import atomic_write
from trtnn.vision.headers import Size, most_scans, scans_in, size_in_header
from trtnn.vision.opencv import opencv
from trtnn.vision.spelling import as_opencv_reads

#: The suffixes by which images are known in folders and globs; OpenCV reads and writes all of them in colour.
SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
#: Those of pictures that are not read: telephones' and cameras' own, and others, see ``_OTHER_KINDS``.
OTHER_SUFFIXES = frozenset(
    {".arw", ".avif", ".cr2", ".cr3", ".dng", ".gif", ".heic", ".heif", ".hif", ".jp2", ".jxl", ".nef", ".psd", ".svg"}
)
MAX_PIXELS = 1 << 27  # what a medium-format camera gives, and 400 MB in memory
_BYTES_A_PIXEL = 16  # more than any format takes
_LEAST_BYTES = 1 << 26  # small images may have much beside them
_MOST_SCANS = 20  # of a JPEG of the most pixels, and of smaller ones more
_OTHER_KINDS = {  # by their first bytes; nothing here tells how large these are before they are decoded
    rb"GIF8[79]a": "a GIF",
    rb"....ftypavi[fs]": "an AVIF",
    rb"....ftyp(?:heic|heix|hevc|mif1|msf1)": "a HEIF, as telephones write it",
    rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51": "a JPEG 2000",
    rb"8BPS": "a Photoshop document",
    rb"%PDF": "a PDF",
    rb"\s*<(?:!doctype html|html|HTML|!DOCTYPE html|\?xml|svg)": "a page or an SVG",
}
_UINT8 = np.dtype(np.uint8)
_QUALITY = 95  # of JPEG and WebP, where 100 is the best


def check_image(image: npt.ArrayLike) -> np.ndarray:
    """Return ``image`` as an array once it is an image: uint8 (height, width, 3) with at least one pixel.

    Raises:
        ShapeError: another shape; what makes one of three channels of it is said.
        DTypeError: another element type, or no array at all.
    """
    if type(image) is np.ndarray and image.dtype == _UINT8 and image.ndim == 3:
        height, width, channels = image.shape
        if channels == 3 and height and width:
            return image
    if isinstance(image, str | os.PathLike):
        raise DTypeError(f"a picture is an array, not a path: {image}", "trtnn.vision.read_image(path) reads one")
    mode = getattr(image, "mode", None) if type(image).__module__.startswith("PIL.") else None
    if mode not in (None, "RGB"):  # its array may have indices of a palette, or three channels of something else
        raise DTypeError(f"a picture is RGB, and this one of Pillow's is {mode}", 'image.convert("RGB")')
    try:
        array = array_of_torch(image) if is_torch(image) else np.asarray(image)
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"a picture is an array, not {named(image)}")
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ShapeError(
            "a picture must have the shape (height, width, 3)", f"received: {array.shape}", *_ways(array.shape)
        )
    if array.dtype != np.uint8:
        raise DTypeError("a picture must be uint8, RGB in 0..255", f"received: {array.dtype}", *_way(array.dtype))
    return array


def _way(dtype: np.dtype) -> list[str]:
    """Return what makes an image of an array of another type, in words; nothing where that cannot be told."""
    if dtype == np.uint16:
        return ["of one of 16 bits: (image >> 8).astype(numpy.uint8)"]
    ways = {
        "f": "of one in 0..1: (image * 255).round().astype(numpy.uint8); of one in 0..255: image.astype(numpy.uint8)",
        "i": "of one in 0..255: image.astype(numpy.uint8)",
        "b": "of a mask: image * numpy.uint8(255)",
    }
    return [ways[dtype.kind]] if dtype.kind in ways else []


def _ways(shape: tuple[int, ...]) -> list[str]:
    """Return what makes an image of an array of another shape, in words; nothing where that cannot be told."""
    if len(shape) == 2:
        return ["of a grey one: image[..., None].repeat(3, 2)"]
    ways = {1: "of a grey one: image.repeat(3, 2)", 4: "without its fourth channel: image[..., :3]"}
    if len(shape) != 3 or 0 in shape:
        return []
    first = ["of one whose channels are first: image.transpose(1, 2, 0)"] if shape[0] == 3 else []
    return [ways[shape[2]]] if shape[2] in ways else first


def check_images(images: Iterable[npt.ArrayLike], first: int = 0) -> list[np.ndarray]:
    """Return all ``images`` as :func:`check_image` does.

    Args:
        images: any number.
        first: the index of the first, which errors count from.

    Raises:
        ShapeError, DTypeError: one is not an image; with its index.
    """
    return [check_one(image, index) for index, image in enumerate(images, first)]


def check_one(image: npt.ArrayLike, index: int) -> np.ndarray:
    """Return one of several images as :func:`check_image` does.

    Raises:
        ShapeError, DTypeError: it is not an image; with its index.
    """
    try:
        return check_image(image)
    except (ShapeError, DTypeError) as error:
        raise type(error)(f"image {index} of those given: {error.summary}", *error.details) from None


def find_images(
    source: str | os.PathLike[str], recursive: bool = False, suffixes: Collection[str] = SUFFIXES
) -> list[Path]:
    """Return the images that ``source`` stands for, sorted by path.

    Args:
        source: a file (taken whatever its suffix), a folder (its images by suffix) or a glob such as
            ``"holiday/**/*.jpg"`` (its matches by suffix). Hidden files are left out of folders and globs; links to
            what is not there are taken, so that who reads them is told.
        recursive: whether a folder's subfolders count, but for hidden ones and links.
        suffixes: of what is taken from folders and globs.

    Raises:
        ImageError: there is no image at all.
    """
    check_switches(recursive=recursive)
    if not os.fspath(source):  # a Path would take it for the current folder
        raise ImageError("no picture at ''", "give a file, a folder or a glob")
    path = Path(source)
    try:
        is_file = path.is_file()
    except OSError as error:  # of a name that is too long, or in a folder that may not be looked into
        raise ImageError(f"no picture at {source}", str(error.strerror)) from error
    if is_file:
        return [path]
    if path.is_dir():
        candidates = [path / name for name in _files_in(path, recursive)]
    elif path.exists():
        raise ImageError(f"no picture at {path}: it is neither a regular file nor a folder")
    else:
        candidates = [Path(match) for match in glob.glob(os.fspath(source), recursive=True)]
    paths = sorted(entry for entry in candidates if entry.suffix.lower() in suffixes and _may_be_file(entry))
    if paths:
        return paths
    if path.is_dir() or candidates:
        place = f"the folder {path}" if path.is_dir() else f"what {source} matches"
        details = [f"known suffixes: {' '.join(sorted(suffixes))}"]
        if subfolders(path) and not recursive:
            below = f"'{path / '**' / '*'}'"
            details.append(f"its subfolders were left out: {below}, or -r of detect, or recursive=True, takes them too")
        raise ImageError(f"no picture in {place}", *details)
    raise ImageError(f"no picture at {source}", "it is neither a file, nor a folder, nor a glob that matches anything")


def _may_be_file(path: Path) -> bool:
    """Whether a path is of a regular file, or of a link to nothing, as on a disk that is not mounted."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def subfolders(path: Path) -> list[Path]:
    """Return the folders in a folder, but for hidden ones and links; none of what is no folder."""
    entries = path.iterdir() if path.is_dir() else ()
    return sorted(entry for entry in entries if entry.is_dir() and not entry.is_symlink() and entry.name[0] != ".")


def _raise(error: OSError) -> None:
    raise error


def _files_in(folder: Path, recursive: bool) -> Iterator[str]:
    """Return the paths of all that is in a folder, seen from there."""
    for place, inner, files in os.walk(folder, onerror=_raise):
        inner[:] = [name for name in inner if recursive and not name.startswith(".")]
        below = os.path.relpath(place, folder)
        yield from (os.path.join(below, name) for name in files if not name.startswith("."))


def read_image(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image as uint8 (height, width, 3) RGB, turned upright as its EXIF orientation says.

    Grey images become RGB, 16 bits become 8, transparency is dropped; but a TIFF's colours are multiplied by it, as
    libtiff gives them: what is transparent there is black. How large it is stands at its beginning, which
    is read first: a small file may hold more pixels than there is memory for.

    Args:
        path: of a BMP, JPEG, PNG, PBM, PGM, PPM, TIFF or WebP file, whatever its suffix.
        max_pixels: the most that an image may have, height · width.

    Raises:
        ImageError: the file is missing, no regular file, unreadable, empty, not an image that OpenCV decodes, or of
            more pixels.
        ArgumentError: ``max_pixels`` is no positive number, or ``path`` no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(
            f"read_image takes the path of a file, not {named(path)}",
            "trtnn.vision.images.decode_image(data, name) reads the bytes of one",
        )
    most = most_bytes(max_pixels)
    return decode_image(read_bytes(Path(path), most), path, max_pixels)


def most_bytes(max_pixels: int) -> int:
    """Return how many bytes an image of so many pixels may have.

    Raises:
        ArgumentError: it is no positive number.
    """
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or max_pixels < 1:
        raise ArgumentError(f"max_pixels is a positive int, not {max_pixels!r}")
    return max(_LEAST_BYTES, max_pixels * _BYTES_A_PIXEL)


def decode_image(data: bytes, name: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return the image that ``data``, the content of a file, is; see :func:`read_image`.

    Args:
        data: its bytes.
        name: what errors call it.
        max_pixels: the most that it may have.
    """
    check_data(data, name, max_pixels)
    try:
        readable = as_opencv_reads(data)
    except ValueError:
        raise _does_not_decode(name, data) from None
    cv2 = opencv()
    rgb = getattr(cv2, "IMREAD_COLOR_RGB", None)  # before OpenCV 4.11 there is none
    try:
        image = cv2.imdecode(np.frombuffer(readable, np.uint8), cv2.IMREAD_COLOR if rgb is None else rgb)
    except cv2.error as error:
        raise ImageError(f"cannot read the picture {name}", f"OpenCV: {error.err}") from error
    if image is None:
        raise _does_not_decode(name, data)
    # To convert it takes another image, and wakes as many threads of OpenCV's as there are processors.
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image) if rgb is None else image


def check_data(data: bytes, name: str | os.PathLike[str], max_pixels: int) -> Size:
    """Return the (height, width) that a file's header promises, once it is an image that may be decoded.

    Raises:
        ImageError: it is empty, of no known kind, too large, or would take too long.
    """
    if not data:
        raise ImageError(f"cannot read the picture {name}: the file is empty")
    size = size_in_header(data)
    if size is None:
        raise _does_not_decode(name, data)
    if size[0] * size[1] > max_pixels:
        raise ImageError(
            f"the picture {name} is too large: {size[0]:,}×{size[1]:,} pixels",
            f"the most is {max_pixels:,}; where the file is trusted, raise it: read_image(path, max_pixels=...), or "
            "trtnn detect --max-pixels",
        )
    scans = most_scans(data)  # to tell how many there are takes as long as to decode some
    if scans * size[0] * size[1] > _MOST_SCANS * max_pixels:
        scans = scans_in(data)
    if scans * size[0] * size[1] > _MOST_SCANS * max_pixels:
        raise ImageError(
            f"the picture {name} would take too long: {scans:,} scans of {size[0]:,}×{size[1]:,} pixels",
            f"the most is {_MOST_SCANS * max_pixels // (size[0] * size[1]):,} of so many; most JPEGs have up to 10",
        )
    return size


def read_bytes(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file: a pipe may never give any, and a device never end.

    Raises:
        ImageError: it is none, cannot be read, or has more bytes than ``most``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:  # a file object would let other threads go on, and wait for them, twice as often
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                raise ImageError(f"cannot read the picture {path}: it is no regular file")
            if status.st_size > most:
                raise ImageError(f"cannot read the picture {path}: its {status.st_size:,} bytes are more than {most:,}")
            return _read(descriptor, status.st_size)
        finally:
            os.close(descriptor)
    except ImageError:  # a ValueError as well
        raise
    except FileNotFoundError:
        why = "it is a link to what is not there" if path.is_symlink() else "the file does not exist"
        raise ImageError(f"no picture at {path}: {why}") from None
    except OSError as error:
        raise ImageError(f"cannot read the picture {path}", f"{type(error).__name__}: {error.strerror}") from error
    except ValueError as error:  # a path with a null byte
        raise ImageError(f"cannot read the picture {str(path)!r}: {error}") from error


def _read(descriptor: int, size: int) -> bytes:
    """Return so many bytes, or those up to the end; it fails for a folder."""
    parts = [os.read(descriptor, size)]
    while parts[-1] and (rest := size - sum(map(len, parts))):
        parts.append(os.read(descriptor, rest))
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _does_not_decode(name: str | os.PathLike[str], data: bytes) -> ImageError:
    kind = next((kind for signature, kind in _OTHER_KINDS.items() if re.match(signature, data, re.DOTALL)), None)
    kinds = "BMP, JPEG, PNG, PPM, TIFF and WebP"
    is_tiff = re.match(rb"II[*+]\0|MM\0[*+]", data) is not None
    return ImageError(
        f"cannot read the picture {name}: it does not decode",
        f"size: {len(data)} bytes, the first: {data[:8].hex(' ')}",
        f"it is {kind}; what is read are {kinds}" if kind else f"the file is damaged, or of another kind than {kinds}",
        *(["of TIFFs those of 1, 8 or 16 bits a channel are read, of up to 4 channels"] if is_tiff else []),
    )


def write_image(path: str | os.PathLike[str], image: npt.ArrayLike) -> None:
    """Write an image, uint8 (height, width, 3) RGB, in the format that the path's suffix names.

    The file takes its place at once and whole: an interrupted write leaves what was there before.

    Raises:
        ImageError: OpenCV cannot write this suffix.
        ArgumentError: nothing can be written at this path.
        ShapeError, DTypeError: ``image`` is not an image.
    """
    data = encode_image(path, image)
    with atomic_write(path) as file:
        file.write(data)


def encode_image(path: str | os.PathLike[str], image: npt.ArrayLike) -> bytes:
    """Return the bytes that :func:`write_image` writes; JPEG and WebP have a quality of 95."""
    path, image = Path(path), check_image(image)
    if path.suffix.lower() not in SUFFIXES:
        raise ImageError(
            f"cannot write the picture {path}: no format of pictures has the suffix {path.suffix!r}",
            f"known suffixes: {' '.join(sorted(SUFFIXES))}",
        )
    cv2 = opencv()
    keys = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".jpeg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}
    key = keys.get(path.suffix.lower())
    quality = [] if key is None else [key, _QUALITY]
    try:
        encoded, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    except cv2.error as error:
        raise ImageError(f"cannot write the picture {path}", f"OpenCV: {error.err}") from error
    if not encoded:
        raise ImageError(f"cannot write the picture {path}: OpenCV did not encode it", f"its shape: {image.shape}")
    return data.tobytes()
