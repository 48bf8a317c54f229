import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from trtnn.errors import ArgumentError, DTypeError, ImageError, ShapeError
from trtnn.vision import SUFFIXES, find_images, read_image, write_image
from trtnn.vision.images import check_image


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tiff", ".PNG"])
def test_lossless_formats_come_back_as_they_were(tmp_path, picture, suffix):
    write_image(tmp_path / f"a{suffix}", picture)
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), picture)


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


@pytest.mark.parametrize("shape", [(), (6,), (4, 6, 2), (3, 4, 6), (0, 4, 3), (1, 4, 6, 3)])
def test_what_is_no_picture_at_all(shape):
    with pytest.raises(ShapeError) as info:
        check_image(np.zeros(shape, np.uint8))
    assert str(info.value).endswith(f"received: {shape}")


@pytest.mark.parametrize("path", ["street.jpg", Path("street.jpg")])
def test_a_path_is_no_picture(path):
    with pytest.raises(DTypeError, match=r"not a path: street\.jpg\n  trtnn\.vision\.read_image\(path\) reads one"):
        check_image(path)


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
