"""Videos by PyNvVideoCodec and JPEGs by nvImageCodec: stand-ins for the packages, with what these take and give."""

import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tests.vision.test_sources import greys, read, video
from trtnn.errors import ImageError
from trtnn.threads import processors
from trtnn.vision.frames import read_frames
from trtnn.vision.gpu_io import JpegReader
from trtnn.vision.headers import is_plain_jpeg
from trtnn.vision.images import decode_image, encode_image
from trtnn.vision.sources import find_sources


class ThreadedDecoder:
    """Version 2.2's: gives frames by DLPack, in memory that is used again for the next batch."""

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


# -- JPEGs by nvImageCodec: what its version 0.9 takes and gives ------------------------------------------------------


class OnGpu:
    """Its image: on the GPU, and by ``cpu`` on the host."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape
        self.__cuda_array_interface__ = {"shape": array.shape, "typestr": "|u1", "data": (1, False), "version": 3}

    def cpu(self):
        return self.array


@pytest.fixture
def nvimgcodec(monkeypatch):
    """Return what makes the package; its decoder reads what OpenCV does and adds to it, and notes what it is given.

    ``decode`` is of one file. Of a batch it gives a list, and only one thread may be in it at a time.
    """

    def arrange(off=1, decode=None):
        given, options, one_at_a_time = [], [], threading.Lock()

        def of_opencv(data):
            return OnGpu(np.clip(decode_image(data, "it").astype(int) + off, 0, 255).astype(np.uint8))

        def of_batch(batch):
            assert isinstance(batch, list)
            assert one_at_a_time.acquire(blocking=False)
            try:
                given.append(batch)
                return list(map(decode or of_opencv, batch))
            finally:
                one_at_a_time.release()

        def make(**more):
            options.append(more)
            return SimpleNamespace(decode=of_batch)

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


def read_files(sources, by_gpu=True, threads=None):
    errors = []

    def note(source, error):
        errors.append(error)

    frames = [frame for _, frame in read_frames(sources, note, threads=threads, by_gpu=by_gpu)]
    return frames, errors


def test_jpegs_stay_on_the_gpu_and_all_else_is_opencvs(tmp_path, nvimgcodec):
    given, options = nvimgcodec()
    frames, _ = read_files(write(tmp_path, {"a.jpg": grey(10), "b.png": grey(20), "c.jpg": grey(30)}))
    assert [frame.reader for frame in frames] == ["nvImageCodec", "OpenCV", "nvImageCodec"]
    assert [int(np.asarray(frame.image).mean()) for frame in frames] == [11, 20, 31]
    assert frames[0].image.shape == (40, 56, 3)
    assert frames[0].image.__cuda_array_interface__["shape"] == (40, 56, 3)
    assert not isinstance(frames[0].image, np.ndarray)
    assert sum(map(len, given)) == 2
    (option,) = options
    assert option.pop("max_num_cpu_threads") == max(1, min(16, processors()) - 1)
    assert option == {"options": ":fancy_upsampling=1"}


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
    assert sum(map(len, given)) < 40


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


def test_a_damaged_file_is_not_what_the_first_image_is_held_against(tmp_path, nvimgcodec):
    nvimgcodec(decode=lambda data: OnGpu(grey(99)))  # also of what OpenCV does not read, and of other colours
    sources = write(tmp_path, {"a.jpg": grey(10), "b.jpg": grey(10)})
    whole = (tmp_path / "a.jpg").read_bytes()
    tables = whole.index(b"\xff\xdb"), whole.index(b"\xff\xc0")
    (tmp_path / "a.jpg").write_bytes(whole[: tables[0]] + whole[tables[1] :])  # without what it is multiplied by
    frames, errors = read_files(sources, threads=1)
    assert [str(error).split(":")[0] for error in errors] == [f"cannot read the picture {tmp_path / 'a.jpg'}"]
    assert [(frame.reader, int(frame.image.mean())) for frame in frames] == [("OpenCV", 10)]


# -- what many threads wait for, as one batch -------------------------------------------------------------------------


def greys_at(count):
    """Return images by name, each of its own grey."""
    return {f"{index:03}.jpg": grey(index) for index in range(count)}


def slow(decode):
    def slowly(data):
        time.sleep(0.001)
        return decode(data)

    return slowly


def as_opencv(data):
    return OnGpu(decode_image(data, "it"))


@pytest.mark.parametrize("threads", [1, 2, 16, 40])
def test_what_threads_wait_for_is_one_batch(tmp_path, nvimgcodec, threads):
    given, options = nvimgcodec(decode=slow(as_opencv))
    frames, errors = read_files(write(tmp_path, greys_at(200)), threads=threads)
    assert errors == []
    assert {frame.reader for frame in frames} == {"nvImageCodec"}
    assert [int(np.asarray(frame.image).mean()) for frame in frames] == list(range(200))
    assert len(options) == 1
    sizes = list(map(len, given))
    assert sum(sizes) == 200
    assert max(sizes) <= threads
    if threads > 2:
        assert max(sizes) > 2
    with ThreadPoolExecutor(1) as pool:  # one that is read by a thread alone, of a reader for many
        reader, data = JpegReader(16), encode_image("a.jpg", grey(7))
        assert pool.submit(reader.decode, data, (40, 56), lambda: grey(7)).result(10).shape == (40, 56, 3)


@contextmanager
def waiting_for(nvimgcodec, monkeypatch, batch, decode):
    """Give what threads get for the files of a batch, which come while the decoder is at work on another."""
    go_on, is_at_work = threading.Event(), threading.Event()
    nvimgcodec()
    module, calls = sys.modules["nvidia.nvimgcodec"], []

    def of_batch(files):
        calls.append(len(files))
        if len(calls) == 1:
            is_at_work.set()
            assert go_on.wait(10)
            return [as_opencv(files[0])]
        return decode(files)

    monkeypatch.setattr(module, "Decoder", lambda **_: SimpleNamespace(decode=of_batch))
    reader = JpegReader(len(batch) + 1)
    with ThreadPoolExecutor(len(batch) + 1) as pool:

        def submit(value):
            return pool.submit(reader.decode, encode_image("a.jpg", grey(value)), (40, 56), lambda: grey(value))

        first = submit(1)
        assert is_at_work.wait(10)
        others = list(map(submit, batch))
        while len(reader._waiting) < len(batch):
            time.sleep(0.001)
        go_on.set()
        assert int(np.asarray(first.result(10)).mean()) == 1
        yield [value_of(other) for other in others], calls


def value_of(future):
    try:
        image = future.result(10)
    except BaseException as error:
        return type(error)
    return None if image is None else int(np.asarray(image).mean())


MANY = list(range(10, 20))


def no_batches(files):
    if len(files) > 1:
        raise TypeError("decode(): incompatible function arguments")
    return [None if decode_image(files[0], "it").mean() == 13 else as_opencv(files[0])]


def but(*wrong):
    """Return a decoder of batches that gives ``wrong[1]`` for the image of the grey ``wrong[0]``."""

    def decode(files):
        images = list(map(as_opencv, files))
        return [wrong[1] if image.array.mean() == wrong[0] else image for image in images]

    return decode


def all_but(value):
    return [None if each == value else each for each in MANY]


@pytest.mark.parametrize(
    ("decode", "expected", "calls"),
    [
        (lambda files: list(map(as_opencv, files)), MANY, [10]),
        (but(15, None), all_but(15), [10]),
        (but(15, OnGpu(grey(15, (56, 40)))), all_but(15), [10]),
        (but(15, object()), all_but(15), [10] + 10 * [1]),  # what has no shape is no image
        (no_batches, all_but(13), [10] + 10 * [1]),
        (lambda files: list(map(as_opencv, files))[: len(files) - 1 or 1], MANY, [10] + 10 * [1]),
        (lambda files: [], 10 * [None], [10] + 10 * [1]),
        (lambda files: None, 10 * [None], [10] + 10 * [1]),
    ],
    ids=["all", "one damaged", "one turned", "one is none", "no batches", "too few", "none at all", "nothing"],
)
def test_of_a_batch_each_thread_gets_its_own(nvimgcodec, monkeypatch, decode, expected, calls):
    with waiting_for(nvimgcodec, monkeypatch, MANY, decode) as (values, called):
        assert values == expected
        assert called == [1, *calls]


def test_nobody_is_left_waiting_where_a_thread_is_ended(nvimgcodec, monkeypatch):
    def end(files):
        raise SystemExit

    with waiting_for(nvimgcodec, monkeypatch, MANY, end) as (values, called):
        assert sorted(values, key=str) == sorted([SystemExit, *(9 * [None])], key=str)  # those are OpenCV's to read
        assert called == [1, 10]


def test_without_a_decoder_opencv_reads_all(tmp_path, nvimgcodec, monkeypatch):
    nvimgcodec()
    tried = []

    def make(**options):
        tried.append(options)
        raise RuntimeError("Could not create decoder")

    monkeypatch.setattr(sys.modules["nvidia.nvimgcodec"], "Decoder", make)
    frames, errors = read_files(write(tmp_path, greys_at(50)))
    assert errors == []
    assert [int(frame.image.mean()) for frame in frames] == list(range(50))
    assert {frame.reader for frame in frames} == {"OpenCV"}
    assert len(tried) == 1


def test_no_thread_is_left_where_who_reads_goes_away(tmp_path, nvimgcodec):
    nvimgcodec(decode=slow(as_opencv))
    before = set(threading.enumerate())
    frames = read_frames(write(tmp_path, greys_at(200)), lambda source, error: None, threads=16, by_gpu=True)
    assert [int(np.asarray(next(frames)[1].image).mean()) for _ in range(3)] == [0, 1, 2]
    frames.close()
    assert before >= set(threading.enumerate())


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
