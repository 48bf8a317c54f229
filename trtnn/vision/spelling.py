"""Files of which OpenCV passes over something that they say, written anew so that it does not."""

from __future__ import annotations

import re
import struct

import numpy as np

#: The kind, width, height and largest value of a PGM or a PPM, and the one space before its pixels.
_PNM = re.compile(rb"P([2356])" + 3 * rb"(?:\s|#[^\n\r]*[\n\r])+(\d{1,9})" + rb"\s")
_PNM_HEAD = 1 << 16  # bytes that its comments may have
_READ_AS_THEY_ARE = (255, 65535)  # largest values
_AT_ONCE = 1 << 20  # samples
_BITFIELDS = 3
_MASKS = slice(54, 66)  # red's, green's and blue's, behind a BMP's header of 40 bytes, or within one of 52
_LONG_HEADER = 56  # that has them, and alpha's behind them


def as_opencv_reads(data: bytes) -> bytes:
    """Return the content of an image's file, or of one with the same pixels, of which OpenCV reads all that counts.

    OpenCV takes the samples of a PGM or a PPM as they are, whatever their largest value is, and those above 255 as of
    16 bits: of one with 4095 all pixels are nearly black. So samples are scaled to 255 here, and rounded, halves up, as
    https://netpbm.sourceforge.net/doc/ppm.html says what white is. In a BMP of 32 bits with a header of Windows 3 it
    does not look at the masks that say where red, green and blue are; in one of 56 bytes it does.

    Raises:
        ValueError: a PGM's or PPM's pixels are no numbers, or not all there; OpenCV tells it of text.
    """
    if data.startswith(b"BM"):
        return _with_masks_in_its_header(data)
    head = _PNM.match(data, 0, _PNM_HEAD)
    if head is None:
        return data
    kind, width, height, most = map(int, head.groups())
    if most in _READ_AS_THEY_ARE or not 0 < most < 65536:
        return data
    samples = _samples(data, head.end(), width * height * (3 if kind in (3, 6) else 1), most, is_text=kind < 4)
    table = np.minimum((np.arange(65536) * 510 + most) // (2 * most), 255).astype(np.uint8)
    scaled = np.empty(len(samples), np.uint8)
    for start in range(0, len(samples), _AT_ONCE):  # an array of indices takes eight times as much
        scaled[start : start + _AT_ONCE] = table[samples[start : start + _AT_ONCE]]
    return b"P%d %d %d 255\n" % (6 if kind in (3, 6) else 5, width, height) + scaled.tobytes()


def _samples(data: bytes, start: int, count: int, most: int, is_text: bool) -> np.ndarray:
    """Return the samples from a place on, (count,)."""
    if not is_text:
        return np.frombuffer(data, np.uint8 if most < 256 else ">u2", count, start)
    text = re.sub(rb"#[^\n\r]*", b"", data[start:]).strip()  # of a space alone NumPy makes a zero
    samples = np.fromstring(text, np.int32, sep=" ")  # by a count it takes what it does not find from anywhere
    return np.clip(samples[:count], 0, 65535)


def _with_masks_in_its_header(data: bytes) -> bytes:
    """Return a BMP with the masks that stand behind its header within it; any other as it is."""
    if len(data) < _MASKS.stop:
        return data
    (pixels, length), (bits, way) = struct.unpack("<II", data[10:18]), struct.unpack("<HI", data[28:34])
    if length not in (40, 52) or (bits, way) != (32, _BITFIELDS) or pixels < _MASKS.stop:
        return data
    no_alpha = bytes(4)
    head = data[:10] + struct.pack("<II", pixels + len(no_alpha), _LONG_HEADER)
    return head + data[18 : _MASKS.stop] + no_alpha + data[_MASKS.stop :]
