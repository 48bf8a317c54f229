"""Videos that are written, as OpenCV reads them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers import message_of
from trtnn.errors import ImageError
from trtnn.vision.sources import file_source
from trtnn.vision.video import USUAL_RATE, VideoWriter

FRAME = np.full((16, 32, 3), (250, 20, 20), np.uint8)


def written(path, rate, frames=3, frame=FRAME):
    writer = VideoWriter(path, frame.shape[:2], rate)
    for _ in range(frames):
        writer.write(frame)
    writer.close()
    return list(file_source(path).read(1 << 27))


@pytest.mark.parametrize(
    ("rate", "digits"),
    [(rate, 3) for rate in (0.01, 1, 14.285714, 23.976, 30000 / 1001, 59.94, 65.535)]
    + [(rate, 2) for rate in (65.5361, 200 / 3, 71.4286, 119.7432, 120000 / 1001, 655.35)]  # phones in slow motion
    + [(959.0409, 1), (12345.678, 0), (65535, 0)],
)
def test_a_video_has_the_rate_of_its_source(tmp_path, rate, digits):
    frames = written(tmp_path / "a.mp4", rate)
    assert len(frames) == 3
    assert abs(frames[0].rate - rate) <= 0.5 * 10.0**-digits + 1e-6 * rate


@pytest.mark.parametrize("rate", [0, 0.0004, -1, 65536, 90000, 1e9, float("inf"), float("nan")])
def test_what_is_no_rate_becomes_the_usual_one(tmp_path, rate):
    assert written(tmp_path / "a.mp4", rate)[0].rate == USUAL_RATE


@pytest.mark.parametrize("size", [(1, 32), (16, 8192)])
def test_a_frame_that_no_mp4_has_is_told_with_its_size(tmp_path, size):
    message = message_of(ImageError, VideoWriter, tmp_path / "a.mp4", size, 25)
    assert message == (
        f"cannot write the video {tmp_path / 'a.mp4'}, of {size[0]:,}×{size[1]:,} pixels\n"
        "  MPEG-4 has 2 to 8,191 a side: --no-draw goes without"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_opencv_that_writes_none_is_told(tmp_path, monkeypatch):
    class Closed:
        def __init__(self, *_):
            pass

        def isOpened(self):
            return False

    monkeypatch.setattr(cv2, "VideoWriter", Closed)
    message = message_of(ImageError, VideoWriter, tmp_path / "a.mp4", (16, 32), 25)
    assert message.endswith("\n  this OpenCV writes no MP4: --no-draw goes without")


@pytest.mark.parametrize(
    "name", ["T10:30:00.mp4", "concat:a.mp4", "file:a.mp4", "per%06d.mp4", "-é 码.mp4", "a?b#c.mp4"]
)
def test_no_name_of_a_file_is_a_protocol_or_a_pattern(tmp_path, monkeypatch, name):
    """FFmpeg takes what stands before the first colon for a protocol, where no slash comes before."""
    monkeypatch.chdir(tmp_path)
    assert len(written(Path(name), 25)) == 3
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_that_is_not_utf_8_is_told(tmp_path):
    """Of it OpenCV would end the process."""
    path = tmp_path / "b\udcff.mp4"
    for make in (lambda: next(file_source(path).read(1 << 27)), lambda: VideoWriter(path, (16, 32), 25)):
        message = message_of(ImageError, make)
        assert message.endswith("its name is not UTF-8\n  give it, or its folder, one")


def test_a_name_may_be_as_long_as_any(tmp_path):
    path = tmp_path / f"{'あ' * 83}b.mp4"  # 254 bytes
    assert len(written(path, 25)) == 3
    assert list(tmp_path.iterdir()) == [path]
