"""Videos by PyNvVideoCodec: a stand-in for the package, which has what its version 2.2 takes and gives."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests.vision.test_sources import greys, read, video
from trtnn.errors import ImageError


class ThreadedDecoder:
    """Gives frames by DLPack, in memory that is used again for the next batch."""

    def __init__(self, enc_file_path, buffer_size, *, use_device_memory, output_color_type):
        assert (use_device_memory, output_color_type) == (False, "RGB")
        self.left, self.ended, self.batches = list(self.frames), False, []
        type(self).made.append(self)

    def get_batch_frames(self, batch_size):
        for batch in self.batches:
            for frame in batch:
                frame[:] = 255
        self.batches = [[frame.copy() for frame in self.left[:batch_size]]]
        self.left = self.left[batch_size:]
        return self.batches[0]

    def end(self):
        self.ended = True


@pytest.fixture
def codec(monkeypatch):
    def arrange(frames):
        kind = type("ThreadedDecoder", (ThreadedDecoder,), {"frames": frames, "made": []})
        module = SimpleNamespace(ThreadedDecoder=kind, OutputColorType=SimpleNamespace(RGB="RGB"))
        monkeypatch.setitem(sys.modules, "PyNvVideoCodec", module)
        monkeypatch.setattr("trtnn.vision.gpu_io.gpus", lambda: ("sm90",))
        return kind

    return arrange


def frames_of(count, off=0):
    return [np.full((48, 64, 3), 20 * index + off, np.uint8) for index in range(count)]


def test_frames_are_its_own_where_the_first_is_opencv_s(tmp_path, codec):
    kind = codec(frames_of(11, off=1))
    frames = read(video(tmp_path / "a.avi", 11))
    assert {frame.reader for frame in frames} == {"PyNvVideoCodec"}
    assert [int(frame.image.mean()) for frame in frames] == [20 * index + 1 for index in range(11)]
    assert [frame.index for frame in frames] == list(range(11))
    assert {frame.rate for frame in frames} == {5}
    assert [decoder.ended for decoder in kind.made] == [True]


@pytest.mark.parametrize(
    "frames",
    [[], frames_of(5, off=20), [np.zeros((64, 48, 3), np.uint8)] * 5, [np.zeros((3, 48, 64), np.uint8)] * 5,
     [np.zeros((48, 64, 3), np.float32)] * 5],
    ids=["none", "other colours", "turned", "planes", "floats"],
)  # fmt: skip
def test_opencv_reads_where_the_first_frame_is_another(tmp_path, codec, frames):
    codec(frames)
    found = read(video(tmp_path / "a.avi", 5))
    assert {frame.reader for frame in found} == {"OpenCV"}
    assert greys(found) == list(range(5))


def test_opencv_reads_what_the_gpu_does_not_decode(tmp_path, codec, monkeypatch):
    kind = codec([])
    monkeypatch.setattr(kind, "__init__", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("codec not supported")))
    assert greys(read(video(tmp_path / "a.avi", 3))) == [0, 1, 2]
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", None)
    assert greys(read(video(tmp_path / "a.avi", 3))) == [0, 1, 2]


def test_without_a_gpu_it_is_not_imported(tmp_path, codec, monkeypatch):
    kind = codec(frames_of(3))
    monkeypatch.setattr("trtnn.vision.gpu_io.gpus", tuple)
    assert {frame.reader for frame in read(video(tmp_path / "a.avi", 3))} == {"OpenCV"}
    assert kind.made == []


def test_a_driver_that_fails_ends_the_video(tmp_path, codec):
    kind = codec(frames_of(10))
    batches = kind.get_batch_frames

    def get(self, count):
        if len(self.left) <= 2:
            raise RuntimeError("the driver failed")
        return batches(self, count)

    kind.get_batch_frames = get
    with pytest.raises(ImageError, match="ended early: 8 of its 10 frames could be read"):
        read(video(tmp_path / "a.avi", 10))


def test_fewer_frames_than_the_file_says(tmp_path, codec):
    codec(frames_of(6))
    with pytest.raises(ImageError, match="ended early: 6 of its 10 frames could be read"):
        read(video(tmp_path / "a.avi", 10))
