"""Files of which OpenCV passes over something: read as they say, by the formats' own definitions and by Pillow."""

import io
import itertools
import struct

import numpy as np
import pytest

from trtnn.errors import ImageError
from trtnn.vision.images import decode_image
from trtnn.vision.spelling import as_opencv_reads


def pnm(kind, most, samples, comment=b""):
    """A PGM or PPM of samples, (height, width) or (height, width, 3)."""
    height, width = samples.shape[:2]
    if kind < 4:
        body = b"\n".join(b" ".join(b"%d" % value for value in row) for row in samples.reshape(height, -1)) + b"\n"
    else:
        body = samples.astype("u1" if most < 256 else ">u2").tobytes()
    return b"P%d\n%s%d %d\n%d\n" % (kind, comment, width, height, most) + body


@pytest.mark.parametrize("kind", [2, 3, 5, 6])
@pytest.mark.parametrize("most", [1, 2, 15, 100, 254, 255, 256, 1023, 4095, 65534])
def test_the_largest_value_of_a_pnm_is_white(kind, most):
    """netpbm's own words: samples are proportions of the largest value."""
    shape = (9, 14) if kind in (2, 5) else (9, 14, 3)
    samples = np.random.default_rng(most).integers(0, most + 1, shape)
    samples[0, :3], samples[1, :3] = most, 0
    for comment in (b"", b"# by a camera\n#\n"):
        image = decode_image(pnm(kind, most, samples, comment), "a.ppm")
        wanted = samples / most * 255
        assert abs(image - (wanted if wanted.ndim == 3 else wanted[..., None])).max() <= 0.5
    assert image[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("most", [15, 100])
def test_pillow_reads_the_same_pnm(mode, most):
    pil = pytest.importorskip("PIL.Image")
    shape = (9, 14) if mode == "L" else (9, 14, 3)
    data = pnm(5 if mode == "L" else 6, most, np.random.default_rng(0).integers(0, most + 1, shape))
    theirs = np.asarray(pil.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert abs(decode_image(data, "a.ppm") - theirs).max() <= 1  # halves go up or to even


def test_deep_values_are_cut_as_those_of_other_formats():
    samples = np.array([[0, 255, 256, 32767, 32768, 65535]])
    for kind in (2, 5):
        assert decode_image(pnm(kind, 65535, samples), "a.pgm")[0, :, 0].tolist() == [0, 0, 1, 127, 128, 255]


def test_a_value_above_the_largest_is_white():
    for kind, most in ((2, 100), (5, 100), (2, 1000), (5, 1000)):
        data = pnm(kind, most, np.array([[most // 2, most, most + 50]]))
        assert decode_image(data, "a.pgm")[0, :, 0].tolist() == [128, 255, 255]


@pytest.mark.parametrize(
    "data",
    [
        pnm(5, 15, np.zeros((2, 3)))[:-1],
        pnm(6, 4095, np.zeros((2, 3, 3)))[:-1],
        b"P2\n2 2\n4095\n1 2 3\n",
        b"P2\n2 2\n4095\n1 2 x 4\n",
        b"P2\n2 2\n4095\n",
        b"P2\n1 1\n4095\n \n",
        b"P5\n2 2\n70000\n" + bytes(8),
        b"P5\n2 2\n0\n" + bytes(8),
    ],
)
def test_a_pnm_that_is_none(data):
    with pytest.raises(ImageError, match=r"cannot read the picture a\.pgm: it does not decode"):
        decode_image(data, "a.pgm")


# -- BMP --------------------------------------------------------------------------------------------------------------

BYTES = [0xFF << shift for shift in (0, 8, 16, 24)]


def bmp(length, masks, words):
    """A BMP of 32 bits with a header of a length, and the masks of red, green and blue behind or in it."""
    height, width = words.shape
    head = struct.pack("<IiiHHIIiiII", length, width, height, 1, 32, 3, words.size * 4, 0, 0, 0, 0)
    head = (head + struct.pack("<3I", *masks)).ljust(length, b"\0")
    body, start = words[::-1].astype("<u4").tobytes(), 14 + len(head)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + body


@pytest.mark.parametrize("length", [40, 52, 56, 108, 124])
def test_a_bmp_s_colours_are_where_its_masks_say(length):
    pil = pytest.importorskip("PIL.Image")
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    for masks in itertools.permutations(BYTES, 3):
        words = sum(
            picture[..., channel].astype(np.uint32) << (mask.bit_length() - 8) for channel, mask in enumerate(masks)
        )
        data = bmp(length, masks, words)
        np.testing.assert_array_equal(decode_image(data, "a.bmp"), picture)
        try:
            theirs = pil.open(io.BytesIO(data))
        except OSError:  # it knows some masks alone
            continue
        np.testing.assert_array_equal(np.asarray(theirs.convert("RGB")), picture)


def test_masks_of_ten_bits():
    values = np.arange(1024, dtype=np.uint32).reshape(32, 32)
    image = decode_image(bmp(40, (0x3FF00000, 0xFFC00, 0x3FF), values << 20 | values << 10 | values), "a.bmp")
    assert abs(image - values[..., None] / 1023 * 255).max() <= 1


def test_all_other_files_stay_as_they_are():
    words = np.zeros((2, 3), np.uint32)
    sound = bmp(40, BYTES[:3], words)
    others = [b"", b"BM", b"\xff\xd8\xff", b"P4\n8 1\n\xff", pnm(5, 255, words), bmp(108, BYTES[:3], words)]
    others += [sound[:60], sound[:28] + b"\x18" + sound[29:], sound[:30] + b"\0" + sound[31:]]  # cut, 24 bits, no masks
    for data in others:
        assert as_opencv_reads(data) is data
    assert as_opencv_reads(sound) != sound
