import contextlib
import importlib
import io
import os
import re
import struct
import sys
import time
import tracemalloc
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tests.helpers import message_of
from trtnn.errors import ArgumentError, DTypeError, ImageError, ShapeError
from trtnn.vision import SUFFIXES, find_images, read_image, write_image
from trtnn.vision.headers import most_scans, scans_in, size_in_header
from trtnn.vision.images import MAX_PIXELS, check_image, decode_image, most_bytes, read_bytes
from trtnn.vision.opencv import opencv


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tiff", ".PNG"])
def test_lossless_formats_come_back_as_they_were(tmp_path, picture, suffix):
    write_image(tmp_path / f"a{suffix}", picture)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), picture)


KINDS = [
    (suffix, mode) for suffix in sorted(SUFFIXES) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16")
]


@pytest.mark.parametrize(("suffix", "mode"), KINDS)
def test_every_kind_of_file_is_opencv_s_picture_in_rgb(tmp_path, monkeypatch, suffix, mode):
    """By OpenCV's blue, green and red, and by an OpenCV that reads nothing else."""
    pil = pytest.importorskip("PIL.Image")
    image = pil.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8))
    path = tmp_path / f"a{suffix}"
    try:
        (
            pil.fromarray(np.arange(960, dtype=np.uint16).reshape(24, 40) * 68)
            if mode == "I;16"
            else image.convert(mode)
        ).save(path)
    except (OSError, KeyError):
        pytest.skip(f"PIL writes no {suffix} of {mode}")
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(read_image(path), bgr[:, :, ::-1])
    monkeypatch.delattr(cv2, "IMREAD_COLOR_RGB", raising=False)
    np.testing.assert_array_equal(read_image(path), bgr[:, :, ::-1])


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_red_is_red_in_every_format(tmp_path, suffix):
    red = np.full((16, 16, 3), (250, 20, 10), np.uint8)
    write_image(tmp_path / f"red{suffix}", red)
    back = read_image(tmp_path / f"red{suffix}")
    np.testing.assert_allclose(back.astype(int), red, atol=3)


def test_a_file_by_opencv_is_read_as_rgb(tmp_path, picture):
    cv2.imwrite(str(tmp_path / "a.png"), picture)  # OpenCV takes the first channel for blue
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture[:, :, ::-1])


def test_grey_deep_and_transparent_pictures_become_uint8_rgb(tmp_path):
    for name, array in {
        "grey": np.full((4, 6), 80, np.uint8),
        "deep": np.full((4, 6), 80 * 256, np.uint16),
        "alpha": np.full((4, 6, 4), 80, np.uint8),
    }.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), array)
        image = read_image(tmp_path / f"{name}.png")
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, np.full((4, 6, 3), 80))


def test_a_picture_on_its_side_is_turned_upright(tmp_path):
    plain = np.zeros((16, 32, 3), np.uint8)
    plain[:, :16] = 255
    jpeg = cv2.imencode(".jpg", plain)[1].tobytes()
    orientation_6 = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0)  # turn right by 90 degrees
    exif = b"Exif\0\0" + orientation_6
    (tmp_path / "side.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    image = read_image(tmp_path / "side.jpg")
    assert image.shape == (32, 16, 3)
    assert image[2, 8].min() > 200
    assert image[-3, 8].max() < 50


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    with pytest.raises(ImageError, match=r"no picture at .*gone\.jpg: the file does not exist"):
        read_image(tmp_path / "gone.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"cannot read the picture .*empty\.jpg: the file is empty"):
        read_image(tmp_path / "empty.jpg")
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(ImageError, match=r"text\.jpg: it does not decode\n.*13 bytes, the first: 6e 6f 74"):
        read_image(tmp_path / "text.jpg")
    with pytest.raises(ImageError, match=r"cannot read the picture .*\n.*IsADirectoryError: Is a directory"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"GIF89a\x01\0\x01\0\0\0\0;", "a GIF"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "an AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIF, as telephones write it"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000"),
        (b"%PDF-1.7", "a PDF"),
        (b"\n<!DOCTYPE html><html>", "a page or an SVG"),
        (b'<?xml version="1.0"?><svg/>', "a page or an SVG"),
    ],
)
def test_a_file_of_another_kind_is_called_by_its_name(tmp_path, data, kind):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(ImageError, match=f"it is {kind}; what is read are BMP, JPEG, PNG, PPM, TIFF and WebP"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_a_tiff_of_other_numbers_is_told_what_is_read(tmp_path, dtype):
    cv2.imwrite(str(tmp_path / "a.tif"), np.zeros((4, 6), dtype))
    message = message_of(ImageError, read_image, tmp_path / "a.tif")
    assert message.endswith("\n  of TIFFs those of 1, 8 or 16 bits a channel are read, of up to 4 channels")


def test_an_unknown_suffix_cannot_be_written(tmp_path, picture):
    for name in ("a.xyz", "a"):
        with pytest.raises(ImageError, match=r"no format of .* has the suffix '(\.xyz)?'\n.*known suffixes: \.bmp "):
            write_image(tmp_path / name, picture)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_cannot_be_written_to(tmp_path, picture):
    with pytest.raises(ArgumentError, match="does not exist"):
        write_image(tmp_path / "gone" / "a.png", picture)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, picture, monkeypatch):
    write_image(tmp_path / "a.png", picture)
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(ImageError, match=r"OpenCV did not encode it\n.*\(5, 7, 3\)"):
        write_image(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("picture", "way"),
    [
        (np.ones((4, 5, 3), np.float32), "of one in 0..1: (image * 255).round().astype(numpy.uint8); "),
        (np.ones((4, 5, 3), np.int64), "of one in 0..255: image.astype(numpy.uint8)"),
        (np.ones((4, 5, 3), bool), "of a mask: image * numpy.uint8(255)"),
        (np.ones((3, 4, 5), np.uint8), "of one whose channels are first: image.transpose(1, 2, 0)"),
    ],
)
def test_what_makes_a_picture_of_an_array_is_told(picture, way):
    error = DTypeError if picture.dtype != np.uint8 else ShapeError
    assert f"\n  received: {picture.dtype if error is DTypeError else picture.shape}\n  {way}" in message_of(
        error, check_image, picture
    )
    image = eval(way.partition(": ")[2].partition(";")[0], {"image": picture, "numpy": np})
    assert check_image(image) is image
    assert image.max() == (1 if way.startswith("of one in 0..255") or picture.dtype == np.uint8 else 255)


def test_only_pictures_are_written(tmp_path):
    with pytest.raises(DTypeError, match=r"must be uint8, RGB in 0\.\.255\n.*received: float32"):
        write_image(tmp_path / "a.png", np.zeros((4, 4, 3), np.float32))
    for shape in ((4, 4), (4, 4, 4), (0, 4, 3)):
        with pytest.raises(ShapeError, match=r"\(height, width, 3\)\n.*received: \("):
            write_image(tmp_path / "a.png", np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 4)])
def test_what_makes_a_picture_of_other_channels_is_said(shape):
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    with pytest.raises(ShapeError) as info:
        check_image(image)
    way = str(info.value).splitlines()[-1].split(": ", 1)[1]
    picture = check_image(eval(way, {"image": image}))  # the words are the code
    np.testing.assert_array_equal(picture[..., 0], image if len(shape) == 2 else image[..., 0])


@pytest.mark.parametrize("shape", [(), (6,), (4, 6, 2), (3, 0, 6), (0, 4, 3), (1, 4, 6, 3)])
def test_what_is_no_picture_at_all(shape):
    with pytest.raises(ShapeError) as info:
        check_image(np.zeros(shape, np.uint8))
    assert str(info.value).endswith(f"received: {shape}")


@pytest.mark.parametrize("path", ["street.jpg", Path("street.jpg")])
def test_a_path_is_no_picture(path):
    with pytest.raises(DTypeError, match=r"not a path: street\.jpg\n  trtnn\.vision\.read_image\(path\) reads one"):
        check_image(path)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I;16"])
def test_an_image_of_pillow_s_that_is_not_rgb(mode):
    """Of YCbCr, HSV and LAB its array has the shape and the type of a picture, and of a palette it has indices."""
    pil = pytest.importorskip("PIL.Image")
    image = pil.new(mode, (6, 4))
    message = message_of(DTypeError, check_image, image)
    assert message == f'a picture is RGB, and this one of Pillow\'s is {mode}\n  image.convert("RGB")'


def test_an_image_of_pillow_s_in_rgb(picture):
    pil = pytest.importorskip("PIL.Image")
    np.testing.assert_array_equal(check_image(pil.fromarray(picture)), picture)


def test_torch_s_tensors_are_arrays(picture):
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(check_image(torch.from_numpy(picture)), picture)
    for tensor in (torch.zeros(4, 6, 3, dtype=torch.bfloat16), torch.zeros(4, 6, 3, requires_grad=True)):
        assert message_of(DTypeError, check_image, tensor).startswith("a picture must be uint8, RGB in 0..255")


@pytest.mark.parametrize("what", [b"\xff\xd8", io.BytesIO(), np.zeros((4, 6, 3), np.uint8), None, 3])
def test_what_is_no_path(what):
    message = message_of(ArgumentError, read_image, what)
    assert message.startswith("read_image takes the path of a file, not ")
    assert message.endswith("trtnn.vision.images.decode_image(data, name) reads the bytes of one")


# -- how large a picture is, before it is decoded ---------------------------------------------------------------------


def encoded(suffix, height, width, *options):
    grey = suffix in (".pgm", ".pbm")
    image = np.random.default_rng(0).integers(0, 256, (height, width) if grey else (height, width, 3), dtype=np.uint8)
    return cv2.imencode(suffix, image, options)[1].tobytes()


@pytest.mark.parametrize("suffix", [*sorted(SUFFIXES), ".pgm", ".pbm"])
@pytest.mark.parametrize("size", [(1, 1), (37, 530), (530, 37)])
def test_a_header_tells_the_size(suffix, size):
    assert size_in_header(encoded(suffix, *size)) == size


def test_headers_of_other_flavours_tell_the_size():
    assert size_in_header(encoded(".jpg", 37, 53, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)) == (37, 53)
    assert size_in_header(encoded(".webp", 37, 53, cv2.IMWRITE_WEBP_QUALITY, 101)) == (37, 53)  # without loss
    thumbnail = encoded(".jpg", 8, 8)
    exif = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    jpeg = encoded(".jpg", 37, 53)
    assert size_in_header(jpeg[:2] + exif + b"\xff\xff" + jpeg[2:]) == (37, 53)
    assert size_in_header(b"P6 # a comment\n#another\n  53\n# 9\n37 255\n") == (37, 53)
    extended = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (52).to_bytes(3, "little") + (36).to_bytes(3, "little")
    assert size_in_header(extended) == (37, 53)
    upside_down = b"BM" + bytes(12) + struct.pack("<Iii", 40, 53, -37)
    assert size_in_header(upside_down) == (37, 53)
    assert size_in_header(b"BM" + bytes(12) + struct.pack("<IHH", 12, 53, 37)) == (37, 53)
    for order in "<>":
        tags = b"".join(struct.pack(order + "HHII", *tag) for tag in ((256, 4, 1, 53), (257, 4, 1, 37), (257, 4, 1, 9)))
        mark = b"II" if order == "<" else b"MM"
        assert size_in_header(mark + struct.pack(order + "HIH", 42, 8, 3) + tags) == (37, 53)
        tags = b"".join(struct.pack(order + "HHQQ", *tag) for tag in ((256, 16, 1, 53), (257, 16, 1, 37)))
        assert size_in_header(mark + struct.pack(order + "HHHQQ", 43, 8, 0, 16, 2) + tags) == (37, 53)
        tags += b"".join(struct.pack(order + "HHQQ", *tag) for tag in ((322, 16, 1, 64), (323, 16, 1, 16)))
        assert size_in_header(mark + struct.pack(order + "HHHQQ", 43, 8, 0, 16, 4) + tags) == (37, 64)  # of a tile


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_a_header_that_is_cut_off_tells_nothing(suffix):
    data = encoded(suffix, 37, 53)
    assert all(size_in_header(data[:length]) in (None, (37, 53)) for length in range(len(data)))
    assert size_in_header(data[:8]) is None


def a_png(height, width):
    """A sound beginning of a PNG of that size."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    jpeg = encoded(".jpg", 16, 16)
    place = jpeg.index(b"\xff\xc0") + 5
    files = {"a.jpg": jpeg[:place] + struct.pack(">HH", 65500, 16000) + jpeg[place + 4 :], "a.png": a_png(65500, 16000)}
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        tracemalloc.start()
        with pytest.raises(
            ImageError, match=r"is too large: 65,500×16,000 pixels\n  the most is 134,217,728; .*raise it"
        ):
            read_image(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()


def test_a_jpeg_of_countless_scans_is_refused_before_it_is_decoded(tmp_path):
    """Each takes ten bytes, and goes over all pixels."""
    jpeg = encoded(".jpg", 400, 500, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    scans = [match.start() for match in re.finditer(b"\xff\xda", jpeg)]
    assert scans_in(jpeg) == len(scans) == 10
    assert scans_in(jpeg + jpeg) == 10  # what is behind the picture, such as a film, does not count
    assert scans_in(encoded(".png", 4, 5)) == 1
    last = jpeg[scans[-1] : scans[-1] + 10]
    (tmp_path / "a.jpg").write_bytes(jpeg[:-2] + last * 20_000 + jpeg[-2:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
        with pytest.raises(ImageError, match=r"would take too long: 20,010 scans of 400×500 pixels"):
            read_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(jpeg)
    assert read_image(tmp_path / "a.jpg").shape == (400, 500, 3)


def test_scans_are_counted_where_a_jpeg_may_have_several(monkeypatch):
    """PIL and OpenCV write one of all components; a decoder ends with it, whatever comes behind."""
    plain = encoded(".jpg", 400, 500)
    assert b"\xff\xda" not in plain[plain.index(b"\xff\xda") + 2 :]
    scan = plain[plain.index(b"\xff\xda") : -2]
    many = plain[:-2] + 500 * scan + plain[-2:]
    grey = cv2.imencode(".jpg", np.zeros((400, 500), np.uint8))[1].tobytes()
    for data in (plain, many, grey, encoded(".png", 40, 50) + 30 * b"\xff\xda"):
        assert most_scans(data) == 1
    start = time.process_time()
    np.testing.assert_array_equal(decode_image(many, "many"), decode_image(plain, "plain"))
    assert time.process_time() - start < 0.5  # each scan takes 1 ms
    progressive = encoded(".jpg", 400, 500, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert most_scans(progressive) == 11 >= scans_in(progressive)
    assert most_scans(progressive[:-2] + 500 * scan) == 511
    head = plain.index(b"\xff\xda")
    of_one = plain[:head] + struct.pack(">BBHBBBBBB", 0xFF, 0xDA, 8, 1, 1, 0, 0, 63, 0)  # a component in its scan
    assert most_scans(of_one + 500 * scan) == 502
    assert most_scans(of_one[: head + 4]) == 2  # it is cut off
    assert most_scans(plain[: plain.index(b"\xff\xc0") + 6]) == 1
    lossless = plain.replace(b"\xff\xc0", b"\xff\xc3")
    assert most_scans(lossless) == 2


def test_the_most_pixels_can_be_chosen(tmp_path, picture):
    write_image(tmp_path / "a.png", picture)
    with pytest.raises(ImageError, match="5×7 pixels\n  the most is 34"):
        read_image(tmp_path / "a.png", max_pixels=34)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", max_pixels=35), picture)
    for wrong in (0, -1, 1.5, True, "9", None):
        with pytest.raises(ArgumentError, match="max_pixels is a positive int"):
            read_image(tmp_path / "a.png", max_pixels=wrong)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero"):
        assert message_of(ImageError, read_image, path) == f"cannot read the picture {path}: it is no regular file"
    for source in (tmp_path / "pipe.jpg", "/dev/zero"):
        with pytest.raises(ImageError, match=f"no picture at {source}: it is neither a regular file nor a folder"):
            find_images(source)


def test_a_file_of_more_bytes_than_an_image_has_is_told_once(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(bytes(most_bytes(5) + 1))
    message = message_of(ImageError, read_image, path, max_pixels=5)
    assert message == f"cannot read the picture {path}: its {most_bytes(5) + 1:,} bytes are more than {most_bytes(5):,}"


def test_a_file_that_comes_in_pieces_is_read_to_its_end(tmp_path, picture, monkeypatch):
    write_image(tmp_path / "a.png", picture)
    whole, read = (tmp_path / "a.png").read_bytes(), os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: read(descriptor, min(size, 7)))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    real = os.fstat

    def fstat(descriptor):
        status = real(descriptor)
        return SimpleNamespace(st_mode=status.st_mode, st_size=status.st_size + said)

    for said in (9, 0, -5):  # it was cut off, is as it was, or has grown since
        monkeypatch.setattr(os, "fstat", fstat)
        assert read_bytes(tmp_path / "a.png", 1 << 20) == whole[: len(whole) + min(said, 0)]


def test_files_are_closed(tmp_path, picture):
    write_image(tmp_path / "a.png", picture)
    os.mkfifo(tmp_path / "pipe.png")
    before = len(os.listdir("/proc/self/fd"))
    for name in ("a.png", "pipe.png", "."):
        with contextlib.suppress(ImageError):
            read_image(tmp_path / name)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_is_larger_than_any_picture_is_not_read(tmp_path):
    with open(tmp_path / "hole.jpg", "wb") as file:
        file.truncate(17 * MAX_PIXELS)  # it takes no room on the disk
    with pytest.raises(ImageError, match=r"hole\.jpg: its 2,281,701,376 bytes are more than 2,147,483,648"):
        read_image(tmp_path / "hole.jpg")


@pytest.mark.parametrize("broken", [None, "libGL.so.1: cannot open shared object file: No such file or directory"])
def test_an_opencv_that_is_missing_or_broken_is_a_sentence(tmp_path, picture, monkeypatch, broken):
    write_image(tmp_path / "a.png", picture)
    opencv.cache_clear()
    monkeypatch.setitem(sys.modules, "cv2", None)
    if broken:
        monkeypatch.setattr(importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(broken)))
    with pytest.raises(ImageError, match="pictures need OpenCV, which cannot be imported: ") as caught:
        read_image(tmp_path / "a.png")
    assert broken is None or broken in caught.value.summary
    assert "pip install opencv-python-headless" in str(caught.value)
    monkeypatch.undo()
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)


# -- where pictures are -----------------------------------------------------------------------------------------------


@pytest.fixture
def album(tmp_path):
    for name in ("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "sub/c.webp", "sub/d.jpg"):
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "album" / "folder.png").mkdir()
    return tmp_path / "album"


def test_a_folder_stands_for_its_pictures_sorted(album):
    assert find_images(album) == [album / "a.PNG", album / "b.jpg"]


def test_subfolders_count_where_they_are_asked_for(album):
    (album / ".thumbs").mkdir()
    (album / ".thumbs" / "e.jpg").touch()
    (album / "sub" / "around").symlink_to(album)
    (album / "folder.png" / "deep.jpg").touch()
    names = ("a.PNG", "b.jpg", "folder.png/deep.jpg", "sub/c.webp", "sub/d.jpg")
    assert find_images(album, recursive=True) == [album / name for name in names]


def test_a_glob_stands_for_the_pictures_it_matches(album):
    assert find_images(f"{album}/*") == [album / "a.PNG", album / "b.jpg"]
    assert find_images(f"{album}/**/*.jpg") == [album / "b.jpg", album / "sub" / "d.jpg"]


def test_a_file_stands_for_itself_whatever_its_name(album, tmp_path):
    assert find_images(str(album / "notes.txt")) == [album / "notes.txt"]
    (tmp_path / "a[1].jpg").touch()
    assert find_images(tmp_path / "a[1].jpg") == [tmp_path / "a[1].jpg"]


def test_nothing_found_says_where(album, tmp_path):
    (tmp_path / "bare").mkdir()
    with pytest.raises(ImageError, match=r"no picture in the folder .*bare\n.*known suffixes: \.bmp \.jpeg"):
        find_images(tmp_path / "bare")
    with pytest.raises(ImageError, match=r"no picture in what .*\*\.txt matches\n.*known suffixes"):
        find_images(f"{album}/*.txt")
    with pytest.raises(ImageError, match=r"no picture at gone\.jpg\n.*neither a file, nor a folder, nor a glob"):
        find_images("gone.jpg")
    with pytest.raises(ImageError, match=r"no picture at x+\n  File name too long"):
        find_images("x" * 300)
    with pytest.raises(ImageError, match="no picture at ''"):
        find_images("")


def test_a_link_to_nothing_is_named_by_who_reads_it(tmp_path, picture):
    """Else half a folder is missing without a word, where a disk is not mounted."""
    write_image(tmp_path / "a.png", picture)
    (tmp_path / "b.png").symlink_to("gone.png")
    (tmp_path / "c.txt").symlink_to("gone.txt")
    (tmp_path / "around.png").symlink_to("around.png")
    (tmp_path / "folder.png").mkdir()
    for source in (tmp_path, tmp_path / "*"):
        assert [path.name for path in find_images(source)] == ["a.png", "around.png", "b.png"]
    assert find_images(tmp_path / "b.png") == [tmp_path / "b.png"]
    with pytest.raises(ImageError, match=r"no picture at .*b\.png: it is a link to what is not there"):
        read_image(tmp_path / "b.png")
    with pytest.raises(ImageError, match=r"cannot read the picture .*around\.png"):
        read_image(tmp_path / "around.png")
