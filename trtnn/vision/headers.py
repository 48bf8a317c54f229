"""The size of an image by the first bytes of its file, before anything is decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

Size = tuple[int, int]


def size_in_header(data: bytes) -> Size | None:
    """Return the (height, width) that an image's file promises, None where it is of no known format or is damaged.

    Known are BMP, JPEG, PNG, PBM, PGM and PPM, TIFF, and WebP. Where a file says it twice, the larger counts; where a
    TIFF's tiles are larger, theirs does.
    """
    for signature, read in _FORMATS.items():
        if re.match(signature, data, re.DOTALL):
            try:
                height, width = read(data)
            except (struct.error, ValueError, AttributeError, LookupError):
                return None
            return (height, width) if height > 0 and width > 0 else None
    return None


def _png(data: bytes) -> Size:
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def _bmp(data: bytes) -> Size:
    """Read the size by the header's first field, its length, by which it is OS/2's, of 16 bits, or one of Windows'."""
    if struct.unpack("<I", data[14:18])[0] == 12:
        width, height = struct.unpack("<HH", data[18:22])
    else:
        width, height = struct.unpack("<ii", data[18:26])  # upside down where the height is negative
    return abs(height), abs(width)


def _jpeg(data: bytes) -> Size:
    """Read the size in the frame's segment, which is marked SOF0 to SOF15; C4, C8 and CC are none of them."""
    for marker, place in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return struct.unpack(">HH", data[place + 3 : place + 7])
    raise ValueError("there is no frame")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the marker of each segment that has a length, and the place of that, up to the end of the image."""
    place = 2
    while marker_match := _JPEG_MARKER.search(data, place):
        marker, place = marker_match[1][0], marker_match.end()
        if marker == 0xD9:
            return
        yield marker, place
        place += max(2, struct.unpack(">H", data[place : place + 2])[0])


#: A marker; what stands for the byte FF in a scan, and those without a segment, are none.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\x01\xd0-\xd8\xff])")


def scans_in(data: bytes) -> int:
    """Return how often a decoder goes over all pixels of an image: of a JPEG its scans, of others 1."""
    if not data.startswith(b"\xff\xd8"):
        return 1
    try:
        return sum(marker == 0xDA for marker, _ in _jpeg_segments(data))
    except struct.error:
        return 1  # it is cut off


def most_scans(data: bytes) -> int:
    """Return the most that :func:`scans_in` may say, without going over all of the data where its header tells.

    Where a JPEG is not progressive and its first scan has all components, a decoder ends with that.
    """
    if not data.startswith(b"\xff\xd8"):
        return 1
    kind, components = 0, 0
    try:
        for marker, place in _jpeg_segments(data):
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                kind, components = marker, data[place + 7]
            elif marker == 0xDA:
                if kind in _SEQUENTIAL and data[place + 2] == components:
                    return 1
                break
    except (struct.error, LookupError):
        pass
    return data.count(_SCAN) + 1


_SCAN = b"\xff\xda"  # the marker that a JPEG's scan begins with
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)  # the markers of frames that one scan may hold: baseline, extended, arithmetic


def is_plain_jpeg(data: bytes) -> bool:
    """Tell whether an image is a JPEG of 8 bits, in luma and chroma, upright: what every decoder reads alike."""
    if not data.startswith(b"\xff\xd8"):
        return False
    is_plain = False
    try:
        for marker, place in _jpeg_segments(data):
            body = data[place + 2 : place + 2 + 65533]
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                is_plain = (body[0], body[5]) == (8, 3)
            elif marker == 0xEE and body[:5] == b"Adobe":
                if body[11] != 1:  # 0 is RGB
                    return False
            elif marker == 0xE1 and body[:6] == b"Exif\0\0":
                if _orientation(body[6:]) != 1:
                    return False
            elif marker == 0xDA:
                return is_plain
    except (struct.error, LookupError):
        pass
    return False


def _orientation(data: bytes) -> int:
    """Return what tag 274 of a TIFF's first folder says, as EXIF has it; 1 where there is none."""
    order = "<" if data[:2] == b"II" else ">"
    (folder,) = struct.unpack(order + "I", data[4:8])
    (count,) = struct.unpack(order + "H", data[folder : folder + 2])
    for place in range(folder + 2, folder + 2 + count * 12, 12):
        tag, _, _, value = struct.unpack(order + "HHIH", data[place : place + 10])
        if tag == 274:
            return value
    return 1


def _pnm(data: bytes) -> Size:
    """Two numbers in text, with white space and comments before each."""
    sizes = re.match(rb"P[1-6](?:\s|#[^\n\r]*[\n\r])+(\d+)(?:\s|#[^\n\r]*[\n\r])+(\d+)\s", data[:65536])
    if sizes is None:
        raise ValueError("no two numbers behind the signature")
    width, height = (int(number[:20]) for number in sizes.groups())
    return height, width


def _webp(data: bytes) -> Size:
    """Read the size in the first chunk: a lossy frame, a lossless one, or the canvas of an extended file."""
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        return _uint24(body[7:10]) + 1, _uint24(body[4:7]) + 1
    if kind == b"VP8L":
        bits = struct.unpack("<I", body[1:5])[0]
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    width, height = struct.unpack("<HH", body[6:10])
    return height & 0x3FFF, width & 0x3FFF


def _uint24(data: bytes) -> int:
    return int.from_bytes(data, "little")


_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


def _tiff(data: bytes) -> Size:
    """Tags of the first folder: 256 is the width, 257 the height, 322 and 323 those of a tile, which may be larger."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack(order + "H", data[2:4])[0] == 43
    (folder,) = struct.unpack(order + ("Q" if big else "I"), data[8:16] if big else data[4:8])
    (count,) = struct.unpack(order + ("Q" if big else "H"), data[folder : folder + (8 if big else 2)])
    first, length = (folder + 8, 20) if big else (folder + 2, 12)
    sides = dict.fromkeys((256, 257, 322, 323), 0)
    for place in range(first, first + min(count, 65536) * length, length):
        tag, kind = struct.unpack(order + "HH", data[place : place + 4])
        if tag in sides:
            code = _TIFF_TYPES[kind]
            value = place + (12 if big else 8)
            (side,) = struct.unpack(order + code, data[value : value + struct.calcsize(code)])
            sides[tag] = max(sides[tag], side)
    if 0 in (sides[256], sides[257]):
        raise ValueError("it has no size")
    return max(sides[257], sides[323]), max(sides[256], sides[322])


_FORMATS: dict[bytes, Callable[[bytes], Size]] = {
    rb"\x89PNG\r\n\x1a\n.{4}IHDR": _png,
    rb"BM": _bmp,
    rb"\xff\xd8": _jpeg,
    rb"P[1-6]\s": _pnm,
    rb"RIFF.{4}WEBPVP8[ LX]": _webp,
    rb"II[*+]\0|MM\0[*+]": _tiff,
}
