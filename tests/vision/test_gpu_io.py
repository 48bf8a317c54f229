"""Videos by PyNvVideoCodec: a stand-in for the package, which has what its version 2.2 takes and gives."""

import struct
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tests.vision.test_sources import greys, read, video
from trtnn.errors import ImageError
from trtnn.vision.frames import read_frames
from trtnn.vision.headers import is_plain_jpeg
from trtnn.vision.images import decode_image, encode_image
from trtnn.vision.sources import find_sources


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


# -- JPEGs by nvImageCodec: a stand-in that has what its version 0.9 takes and gives ----------------------------------


class OnGpu:
    """Its image: on the GPU, and by ``cpu`` on the host."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape
        self.__cuda_array_interface__ = {"shape": array.shape, "typestr": "|u1", "data": (1, False), "version": 3}

    def cpu(self):
        return self.array


@pytest.fixture
def nvimgcodec(monkeypatch):
    """Return what makes the package; its decoder reads what OpenCV does and adds to it, and notes what it is given."""

    def arrange(off=1, decode=None):
        given, options = [], []

        def of_opencv(data):
            given.append(data)
            return OnGpu(np.clip(decode_image(data, "it").astype(int) + off, 0, 255).astype(np.uint8))

        def make(**more):
            options.append(more)
            return SimpleNamespace(decode=decode or of_opencv)

        monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", SimpleNamespace(Decoder=make))
        monkeypatch.setattr("trtnn.vision.gpu_io.gpus", lambda: ("sm90",))
        return given, options

    return arrange


def grey(value, size=(40, 56)):
    return np.full((*size, 3), value, np.uint8)


def write(folder, images):
    for name, array in images.items():
        (folder / name).write_bytes(encode_image(name, array))
    return find_sources(str(folder))


def read_files(sources, by_gpu=True):
    errors = []
    frames = [frame for _, frame in read_frames(sources, lambda source, error: errors.append(error), by_gpu=by_gpu)]
    return frames, errors


def test_jpegs_stay_on_the_gpu_and_all_else_is_opencvs(tmp_path, nvimgcodec):
    given, options = nvimgcodec()
    frames, _ = read_files(write(tmp_path, {"a.jpg": grey(10), "b.png": grey(20), "c.jpg": grey(30)}))
    assert [frame.reader for frame in frames] == ["nvImageCodec", "OpenCV", "nvImageCodec"]
    assert [int(np.asarray(frame.image).mean()) for frame in frames] == [11, 20, 31]
    assert frames[0].image.shape == (40, 56, 3)
    assert frames[0].image.__cuda_array_interface__["shape"] == (40, 56, 3)
    assert not isinstance(frames[0].image, np.ndarray)
    assert len(given) == 2
    assert {str(option) for option in options} == {"{'max_num_cpu_threads': 1, 'options': ':fancy_upsampling=1'}"}


def test_it_is_not_asked_where_it_is_not_wanted_or_there_is_no_gpu(tmp_path, nvimgcodec, monkeypatch):
    given, _ = nvimgcodec()
    sources = write(tmp_path, {"a.jpg": grey(10)})
    assert [frame.reader for frame in read_files(sources, by_gpu=False)[0]] == ["OpenCV"]
    monkeypatch.setattr("trtnn.vision.gpu_io.gpus", tuple)
    assert [frame.reader for frame in read_files(sources)[0]] == ["OpenCV"]
    assert given == []


def test_where_its_first_image_is_another_opencv_reads_all(tmp_path, nvimgcodec):
    given, _ = nvimgcodec(off=20)
    frames, _ = read_files(write(tmp_path, {f"{index:02}.jpg": grey(10) for index in range(40)}))
    assert {frame.reader for frame in frames} == {"OpenCV"}
    assert {int(frame.image.mean()) for frame in frames} == {10}
    assert len(given) < 40


@pytest.mark.parametrize(
    "decode",
    [lambda data: None, lambda data: OnGpu(grey(10, (56, 40))), lambda data: OnGpu(grey(10)[..., :1]),
     lambda data: (_ for _ in ()).throw(RuntimeError("not supported"))],
    ids=["nothing", "turned", "one channel", "an error"],
)  # fmt: skip
def test_what_it_does_not_decode_opencv_reads(tmp_path, nvimgcodec, decode):
    nvimgcodec(decode=decode)
    frames, _ = read_files(write(tmp_path, {"a.jpg": grey(10)}))
    assert [(frame.reader, int(frame.image.mean())) for frame in frames] == [("OpenCV", 10)]


def test_a_package_that_does_not_load_is_as_none(tmp_path, nvimgcodec, monkeypatch):
    nvimgcodec()
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    assert [frame.reader for frame in read_files(write(tmp_path, {"a.jpg": grey(10)}))[0]] == ["OpenCV"]


def test_damaged_files_are_told_as_opencv_tells_them(tmp_path, nvimgcodec):
    nvimgcodec(decode=lambda data: None)
    sources = write(tmp_path, {"a.jpg": grey(10), "b.jpg": grey(10), "c.jpg": grey(10)})
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "c.jpg").read_bytes()[:300])
    (by_gpu, errors), (by_cpu, expected) = read_files(sources), read_files(sources, by_gpu=False)
    assert [str(error) for error in errors] == [str(error) for error in expected]
    assert len(errors) == 2
    assert len(by_gpu) == len(by_cpu) == 1


def segment(marker, body):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def exif(orientation, order="<"):
    head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    return segment(0xE1, b"Exif\0\0" + head + struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0))


def test_plain_jpegs_are_told_from_others():
    jpeg = encode_image("a.jpg", grey(9))
    start, rest = jpeg[:2], jpeg[2:]
    assert is_plain_jpeg(jpeg)
    assert is_plain_jpeg(start + exif(1) + rest)
    assert is_plain_jpeg(start + exif(1, ">") + rest)
    assert is_plain_jpeg(start + segment(0xE1, b"http://ns.adobe.com/xap") + rest)
    assert is_plain_jpeg(start + segment(0xEE, b"Adobe\0\x64\0\0\0\0\x01") + rest)
    for other in (
        start + exif(6) + rest,
        start + exif(6, ">") + rest,
        start + segment(0xE1, b"Exif\0\0II") + rest,  # cut off
        start + segment(0xEE, b"Adobe\0\x64\0\0\0\0\0") + rest,  # RGB
        cv2.imencode(".jpg", grey(9)[..., 0])[1].tobytes(),
        encode_image("a.png", grey(9)),
        jpeg[:100],
        b"",
    ):
        assert not is_plain_jpeg(other)
