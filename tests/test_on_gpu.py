"""The GPU's way from images to detections, on a GPU that is stood in for, beside the CPU's way."""

from __future__ import annotations

import gc
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import trtnn.cuda
import trtnn.on_gpu
from tests.engine.driver import Driver
from tests.helpers import ONE_TARGET, message_of, trace
from tests.standin import Lane, stand_in, stand_in_kernels
from trtnn import Detector, Dim, Input
from trtnn import functional as F
from trtnn.dtypes import float16, float32
from trtnn.engine import lane, staging
from trtnn.engine.cuda_graph import CapturedGraph
from trtnn.errors import ArgumentError, DTypeError, EngineError, ImageError, ShapeError
from trtnn.on_gpu import OnGpu, _Batch, why_not
from trtnn.vision import gpu_postprocessing

SIDE, ROWS = 32, 384
SCALES = np.array([32, 32, 16, 16, 1, 1, 1, 1], np.float32)
ANCHORS = 207  # of RetinaNet, for 32 x 32


def yolov5(x):
    """A network whose output is the pixels of its input: boxes from some, scores from others."""
    return x.reshape(-1, ROWS, 8) * SCALES


def yolov8(x):
    return yolov5(x).transpose(1, 2)


def retinanet(x):
    values = F.sigmoid(x).reshape(-1, 3 * SIDE * SIDE)  # it is normalised
    boxes, scores = values[:, : ANCHORS * 4], values[:, ANCHORS * 4 : ANCHORS * 6]
    corners = boxes.reshape(-1, ANCHORS, 4) * np.array([16, 16, 32, 32], np.float32)
    return {"boxes": corners, "scores": scores.reshape(-1, ANCHORS, 2) * 0.9}


def end2end(x):
    rows = x.reshape(-1, ROWS, 8)[:, :40, :6]
    return F.cat([rows[..., :4] * 32.0, rows[..., 4:5], F.floor(rows[..., 5:] * 3.0)], 2)


def yolov5_raw(x):
    """Maps of two levels, two anchors and two classes."""
    logits = x.reshape(-1, 3 * SIDE * SIDE) * 8.0 - 5.0
    return [logits[:, :224].reshape(-1, 14, 4, 4), logits[:, 224:280].reshape(-1, 14, 2, 2)]


RAW = {"strides": [8, 16], "anchors": [[[9, 7], [4.5, 12]], [[20, 11], [8, 25]]]}
HEADS = {"yolov5": yolov5, "yolov8": yolov8, "retinanet": retinanet, "end2end": end2end, "yolov5-raw": yolov5_raw}


def spec(batch, dtype="float32"):
    length = batch if isinstance(batch, int) else Dim("batch", *batch)
    return Input((length, 3, SIDE, SIDE), dtype)


@pytest.fixture
def log():
    """What the lane, the kernels and the runtime are asked for, in order."""
    return []


@pytest.fixture
def engine_of(log, monkeypatch):
    """Return the engine of a function of an input, on a GPU that is stood in for."""

    def make(function, batch=(1, 2, 4), dtype="float32"):
        network = trace(function, spec(batch, dtype))
        network.metadata = {**network.metadata, **(RAW if function is yolov5_raw else {})}
        stand_in(monkeypatch, network).log = log
        stand_in_kernels(monkeypatch, log)
        return network.build(**ONE_TARGET)

    return make


def pictures(count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*rng.integers(1, 90, 2), 3), dtype=np.uint8) for _ in range(count)]


def check_same(actual, expected):
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.classes, other.classes)
        np.testing.assert_array_equal(one.boxes, other.boxes)


def both(engine, images, on_gpu=None, **options):
    """Detect on either way, find the same, and return it."""
    cpu, gpu = Detector(engine, device="cpu", **options), Detector(engine, **options)
    assert isinstance(gpu._steps, OnGpu)
    expected = cpu(images)
    check_same(gpu(images if on_gpu is None else on_gpu), expected)
    return gpu, expected


@pytest.mark.parametrize("pipeline", HEADS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_both_ways_find_the_same(engine_of, pipeline, dtype):
    gpu, expected = both(engine_of(HEADS[pipeline], dtype=dtype), pictures(11), pipeline=pipeline)
    assert sum(map(len, expected)) > 20
    check_same(gpu(pictures(11)), expected)  # by graphs
    check_same(list(gpu.stream(iter(pictures(11)))), expected)


@pytest.mark.parametrize(
    "options", [{"multi_label": True, "confidence": 0.01}, {"classes": [1]}, {"max_detections": 3}]
)
def test_the_kernels_read_maps_where_the_network_leaves_them(engine_of, log, options):
    engine = engine_of(yolov5_raw, batch=3)
    log.clear()
    _, expected = both(engine, pictures(5), pipeline="yolov5-raw", **options)
    assert sum(map(len, expected)) > 5
    assert ("launch", "candidates_yolov5_raw_float32") in log
    assert "download" not in [entry[0] for entry in log]


def test_maps_with_nan_are_looked_at_by_the_cpu(engine_of):
    engine = engine_of(lambda x: [F.where(level > 2.5, np.nan, level) for level in yolov5_raw(x)], batch=1)
    engine.description |= RAW
    gpu, cpu = (Detector(engine, pipeline="yolov5-raw", device=device) for device in (None, "cpu"))
    assert isinstance(gpu._steps, OnGpu)
    with pytest.warns(UserWarning, match="scores are nan or inf") as caught:
        found = gpu(pictures(4))
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="scores are nan or inf"):
        check_same(found, cpu(pictures(4)))


def test_maps_that_no_kernel_takes_are_picked_from_on_the_cpu(engine_of, log):
    engine = engine_of(yolov5_raw, batch=1)
    engine.description["anchors"] = [[[9, 7]] * 14, [[20, 11]] * 14]
    message = message_of(ArgumentError, Detector, engine, pipeline="yolov5-raw")
    assert "its metadata have 14 anchors, so that each map has 14 · (5 + classes) channels" in message
    engine = engine_of(lambda x: [F.cat([level] * 9, 1) for level in yolov5_raw(x)], batch=1)
    engine.description |= {**RAW, "anchors": [[[9, 7]] * 18, [[20, 11]] * 18]}
    log.clear()
    _, expected = both(engine, pictures(3), pipeline="yolov5-raw", iou=0.9)
    assert sum(map(len, expected)) > 3
    assert not [entry for entry in log if entry[0] == "launch" and "candidates" in entry[1]]


def test_scores_that_are_not_finite_are_warned_of_once(engine_of):
    engine = engine_of(lambda x: F.where(yolov8(x) > 0.8, np.nan, yolov8(x)), batch=1)
    gpu = Detector(engine, pipeline="yolov8")
    assert isinstance(gpu._steps, OnGpu)
    with pytest.warns(UserWarning, match="scores are nan or inf") as caught:
        found = list(gpu.stream(iter(pictures(6)))) + gpu(pictures(6))
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="scores are nan or inf"):
        expected = Detector(engine, pipeline="yolov8", device="cpu")(pictures(6))
    check_same(found, expected * 2)


def test_a_static_batch_that_is_not_full(engine_of):
    both(engine_of(yolov5, batch=4), pictures(5), pipeline="yolov5", confidence=0.5)


def test_thresholds_go_along(engine_of):
    engine = engine_of(yolov5)
    for options in ({"multi_label": True, "confidence": 0.8}, {"classes": [1]}, {"iou": 0.1, "max_detections": 3}):
        _, expected = both(engine, pictures(3), pipeline="yolov5", **options)
        assert sum(map(len, expected)) > 2


def test_what_is_behind_the_first_tile_is_looked_at_where_too_few_are_kept(engine_of, log, monkeypatch):
    monkeypatch.setattr(gpu_postprocessing, "_FIRST_TILE", 64)
    gpu, expected = both(engine_of(yolov5), pictures(11), pipeline="yolov5", iou=0.2)
    assert sum(map(len, expected)) > 64
    assert ("launch", "overlaps_of_kept") in log
    check_same(gpu(pictures(11)), expected)  # by graphs
    log.clear()
    both(engine_of(yolov5), pictures(4), pipeline="yolov5", max_detections=2)
    assert ("launch", "overlaps_of_kept") not in log


@pytest.mark.parametrize("place", [0, 1])
def test_one_image_of_a_batch_may_need_a_further_tile(engine_of, log, monkeypatch, place):
    monkeypatch.setattr(gpu_postprocessing, "_FIRST_TILE", 64)
    images = [np.zeros((SIDE, SIDE, 3), np.uint8)] * 2
    images[place] = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    _, expected = both(engine_of(yolov5, batch=2), images, pipeline="yolov5", iou=0.2)
    assert [len(one) > 64 for one in expected] == [place == 0, place == 1]
    assert ("launch", "overlaps_of_kept") in log


def test_a_batch_leaves_nothing_behind_whatever_became_of_its_images(engine_of, monkeypatch):
    """One is left to the CPU, one needs several tiles, and one that the network takes nobody gave."""
    monkeypatch.setattr(gpu_postprocessing, "_FIRST_TILE", 64)
    engine = engine_of(lambda x: yolov5(x) * 1.00095, batch=4)  # white is just beyond what the kernels take for a score
    cpu, gpu = (Detector(engine, device=device, pipeline="yolov5", iou=0.3) for device in ("cpu", None))
    good = [np.minimum(image, 250) for image in pictures(3)]
    odd = [*good[:2], np.full((SIDE, SIDE, 3), 255, np.uint8)]
    asked = []
    monkeypatch.setattr(_Batch, "_on_cpu", lambda self, ask=_Batch._on_cpu: asked.append(True) or ask(self))
    for images in (good, odd, good, odd, good):
        check_same(gpu(images), cpu(images))
    assert len(asked) == 2


def test_a_second_batch_is_one_graph_and_takes_no_memory(engine_of, log):
    detector = Detector(engine_of(yolov5, batch=1), pipeline="yolov5")
    (image,) = pictures(1)
    detector([image])
    assert [entry for entry in log if entry[0] in ("launch", "run")] == [
        ("launch", "bytes_to_float32"),
        ("run", None),
        *(("launch", name) for name in ("candidates_yolov5_float32", "group", "rank", "overlaps", "suppress")),
    ]
    detector([image])
    log.clear()
    detector([image[:20, :30]])
    kinds = [entry[0] for entry in log]
    assert "allocate" not in kinds
    assert kinds.count("synchronize") == 1
    assert kinds.count("upload") == 2  # the image, and what is said of it
    log.clear()
    detector([image[:20, :30] // 2])
    assert [entry[0] for entry in log].count("upload") == 1  # the same is said of it
    assert "launch" in [entry[0] for entry in log]
    assert "download" not in [entry[0] for entry in log]  # the kernels write boxes to the host's memory, and no outputs


def test_memory_for_images_grows_and_is_given_back(engine_of, log, monkeypatch):
    monkeypatch.setattr(staging, "_GRAIN_BYTES", 256)
    detector = Detector(engine_of(yolov5, batch=1), pipeline="yolov5")
    for side in (10, 40, 20):
        detector([np.zeros((side, side, 3), np.uint8)])
    assert [entry for entry in log if entry == ("release",)] == [("release",)]


def test_batches_of_few_sizes_are_kept(engine_of):
    detector = Detector(engine_of(yolov5, batch=(1, 4, 9)), pipeline="yolov5", confidence=0.6)
    expected = Detector(engine_of(yolov5, batch=(1, 4, 9)), device="cpu", pipeline="yolov5", confidence=0.6)
    for count in (1, 2, 3, 5, 7, 9, 20):
        check_same(detector(pictures(count)), expected(pictures(count)))
    assert {count: len(batches) for count, batches in detector._steps._idle.items()} == {1: 1, 2: 1, 4: 1, 8: 1, 9: 1}


def test_batches_of_before_a_refit_are_let_go(engine_of):
    engine = engine_of(yolov5)
    detector = Detector(engine, pipeline="yolov5")
    found = detector(pictures(1))
    (before,) = detector._steps._idle[1]
    engine.refits += 1  # as Engine.refit does, beside the session that it puts in place
    check_same(detector(pictures(1)), found)
    (after,) = detector._steps._idle[1]
    assert after is not before
    check_same(detector(pictures(1)), found)
    assert detector._steps._idle[1] == [after]


def test_what_a_detector_holds_is_freed_with_it(engine_of):
    """At once, by counting: the garbage collector would free a context in any thread, also in one that captures."""
    detector = Detector(engine_of(yolov5), pipeline="yolov5")
    detector(pictures(3))
    (batch,) = (weakref.ref(batch) for batches in detector._steps._idle.values() for batch in batches)
    gc.disable()
    try:
        del detector
        assert batch() is None
    finally:
        gc.enable()


def test_threads_share_a_detector(engine_of):
    engine = engine_of(yolov5)
    gpu, expected = both(engine, pictures(6), pipeline="yolov5", confidence=0.6)
    lock = threading.Lock()
    run = gpu._steps.compute

    def compute(prepared):
        with lock:  # the reference that is stood in with is not for several threads
            return run(prepared)

    gpu._steps.compute = compute
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: gpu(pictures(6)), range(8)):
            check_same(found, expected)


class Interface:
    """An image on the GPU as CuPy shows one."""

    def __init__(self, array, **more):
        self.array = array
        strides = None if array.flags.c_contiguous else array.strides
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "strides": strides,
            "version": 3,
            **more,
        }


class Packed:
    """An image on the GPU as one library hands it to another; the capsule is NumPy's, of the host."""

    def __init__(self, array, device=(2, 0)):
        self.array, self.device, self.asked = array, device, []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, stream=None):
        self.asked.append(stream)
        return self.array.__dlpack__()


class Tensor:
    """torch's tensor on a GPU, its memory on the host."""

    is_cuda = True

    def __init__(self, tensor, ordinal=0):
        self.tensor, self.device = tensor, SimpleNamespace(index=ordinal)
        self.shape, self.dtype, self.data_ptr, self.ndim = tensor.shape, tensor.dtype, tensor.data_ptr, tensor.ndim

    def stride(self, *axis):
        return self.tensor.stride(*axis)

    def get_device(self):
        return self.device.index

    def contiguous(self):
        return Tensor(self.tensor.contiguous())


@pytest.fixture
def current_stream(monkeypatch):
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda ordinal: 77, raising=False)


def test_images_that_lie_on_the_gpu_stay_there(engine_of, log, current_stream):
    images, engine = pictures(6), engine_of(yolov5)
    wide = np.zeros((50, 70, 3), np.uint8)
    wide[3:33, 5:46] = pictures(1, seed=5)[0][0, 0]
    images.append(wide[3:33, 5:46])
    kinds = [Interface, Packed, lambda a: Tensor(torch.from_numpy(a)), lambda a: a, Interface, Packed, Interface]
    on_gpu = [kind(image) for kind, image in zip(kinds, images, strict=True)]
    on_gpu[4].__cuda_array_interface__["stream"] = 55
    both(engine, images, on_gpu, pipeline="yolov5")
    uploads = [size for kind, size in (entry for entry in log if len(entry) == 2) if kind == "upload"]
    assert images[3].nbytes in uploads
    assert not {image.nbytes for image in images[:3]} & set(uploads)
    assert [entry for entry in log if entry[0] == "wait for"] == [("wait for", 77), ("wait for", 55)]
    assert on_gpu[1].asked == [Lane.handle]


def test_images_of_the_same_sizes_at_other_addresses_are_told(engine_of, log, current_stream):
    """Of images that lie on their canvases as those before the addresses alone are said."""
    detector, wide = Detector(engine_of(yolov5), pipeline="yolov5", confidence=0.6), np.zeros((30, 70, 3), np.uint8)
    cpu = Detector(engine_of(yolov5), device="cpu", pipeline="yolov5", confidence=0.6)
    first, second, third, fourth = (
        np.random.default_rng(seed).integers(0, 256, (30, 41, 3), np.uint8) for seed in range(4)
    )
    wide[:, 5:46] = third
    other = fourth.reshape(41, 30, 3)
    for images in (
        [first, second],
        [second, first],
        [third, first],
        [first],
        [wide[:, 5:46], first],  # rows are further from each other
        [third, first, second],  # more of them
        [third, other],
        [third, fourth],
    ):
        check_same(detector([Interface(image) for image in images]), cpu(images))
    log.clear()
    detector([Interface(second), Interface(first)])
    assert [entry[0] for entry in log].count("upload") == 1


def test_what_was_found_stays_as_it_was_found(engine_of, current_stream):
    """What the kernels write to is written to again by the next batch."""
    detector = Detector(engine_of(yolov5), pipeline="yolov5", confidence=0.6)
    images = pictures(8)
    found = [one for image in images for one in detector([image])] + list(detector.stream(iter(images)))
    found += [one for image in images for one in detector([Interface(image)])]
    check_same(found, [*Detector(engine_of(yolov5), device="cpu", pipeline="yolov5", confidence=0.6)(images)] * 3)
    arrays = [array for one in found for array in (one.boxes, one.scores, one.classes)]
    assert all(array.flags.owndata and array.flags.writeable and array.flags.c_contiguous for array in arrays)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("tensor", ["cuStreamQuery"]),
        ("moved tensor", ["cuStreamQuery", "cuMemcpyHtoDAsync_v2"]),
        ("interface", []),
        ("array", ["cuMemcpyHtoDAsync_v2"]),
    ],
)
def test_a_call_asks_little_of_the_driver(engine_of, monkeypatch, current_stream, given, asked):
    """Each function of the driver takes a microsecond and more."""
    engine, driver = engine_of(yolov5, batch=1), Driver()
    monkeypatch.setattr(trtnn.cuda, "driver", lambda: driver)
    for module in (trtnn.on_gpu, staging):
        monkeypatch.setattr(module, "Lane", lane.Lane)
    monkeypatch.setattr(trtnn.on_gpu, "CapturedGraph", CapturedGraph)
    trtnn.cuda.entering_first_gpu.cache_clear()
    try:
        detector = Detector(engine, pipeline="yolov5", confidence=0.6)
        (image,) = pictures(1)
        kinds = {"interface": Interface, "array": lambda array: array}
        kind = kinds.get(given, lambda array: Tensor(torch.from_numpy(array)))
        images = [kind(image), kind(image.copy() if given == "moved tensor" else image)] * 3
        found = []
        for one in images:  # the last few are alike
            driver.calls.clear()
            found += detector([one])
        assert driver.names() == ["cuCtxSetCurrent", *asked, "cuGraphLaunch", "cuStreamSynchronize"]
        check_same(found, Detector(engine, device="cpu", pipeline="yolov5", confidence=0.6)([image]) * len(images))
        del detector
    finally:
        gc.collect()  # what is freed asks this driver
        trtnn.cuda.entering_first_gpu.cache_clear()


def test_a_tensor_that_is_not_contiguous_is_copied_there(engine_of, current_stream):
    image = pictures(1)[0]
    planar = Tensor(torch.from_numpy(image.transpose(2, 0, 1).copy()).permute(1, 2, 0))
    both(engine_of(yolov5), [image], [planar], pipeline="yolov5")


IMAGE = np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (Interface(IMAGE[:, :, 0]), ShapeError, ["image 1 of those given", "(height, width, 3)", "(4, 5)"]),
        (Interface(IMAGE.astype(np.float32)), DTypeError, ["image 1 of those given", "uint8", "float32"]),
        (Interface(IMAGE[:, ::-1]), ArgumentError, ["image 1", "not beside each other", "(15, -3, 1)"]),
        (Interface(np.zeros((0, 5, 3), np.uint8)), ShapeError, ["image 1", "(0, 5, 3)"]),
        (Packed(IMAGE, (2, 1)), ArgumentError, ["image 1", "another GPU", "Packed on GPU 1"]),
        (Packed(IMAGE.astype(np.uint16)), DTypeError, ["image 1", "uint16"]),
        (Tensor(torch.zeros(4, 5, 3, dtype=torch.uint8), 2), ArgumentError, ["another GPU", "GPU 2", "cuda:0"]),
        (Tensor(torch.zeros(4, 5, 3, dtype=torch.bfloat16)), DTypeError, ["image 1", "bfloat16"]),
        (Tensor(torch.zeros(4, 5, 4, dtype=torch.uint8)), ShapeError, ["image 1", "(4, 5, 4)"]),
        ("street.jpg", DTypeError, ["image 1", "not a path"]),
        (np.zeros((4, 5), np.uint8), ShapeError, ["image 1", "(4, 5)"]),
    ],
)
def test_what_is_no_image_is_told_with_its_index(engine_of, current_stream, image, error, words):
    detector = Detector(engine_of(yolov5), pipeline="yolov5")
    message = message_of(error, detector, [IMAGE, image])
    assert all(word in message for word in words), message
    check_same(detector(pictures(3)), Detector(engine_of(yolov5), device="cpu", pipeline="yolov5")(pictures(3)))


def test_scores_that_are_none_are_told_as_on_the_cpu(engine_of):
    engine = engine_of(lambda x: yolov5(x) * 2.0)
    messages = [
        message_of(ArgumentError, Detector(engine, device=device, pipeline="yolov5"), [IMAGE + 255])
        for device in ("cpu", None)
    ]
    assert messages[0] == messages[1]
    assert "scores are in 0..1" in messages[0]


def test_the_gpu_is_not_taken_where_it_cannot_be(engine_of, monkeypatch):
    engine = engine_of(yolov5)
    with monkeypatch.context() as changed:
        changed.setattr(trtnn.on_gpu, "gpus", lambda: ())
        assert not isinstance(Detector(engine, pipeline="yolov5")._steps, OnGpu)  # and nothing is said
        message = message_of(ArgumentError, lambda: Detector(engine, device="cuda", pipeline="yolov5"))
        assert message.splitlines() == ["images cannot be prepared on the GPU", "  there is no GPU here"]
    monkeypatch.setattr(trtnn.on_gpu, "is_ready", lambda name, arch: False)
    with pytest.warns(UserWarning, match=r'prepared on the CPU: cuda-core.*pip install "trtnn\[cuda\]"') as warned:
        detector = Detector(engine, pipeline="yolov5")
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert not isinstance(detector._steps, OnGpu)
    assert 'pip install "trtnn[cuda]"' in message_of(
        ArgumentError, lambda: Detector(engine, device="cuda", pipeline="yolov5")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Detector(engine, device="cpu", pipeline="yolov5")


def test_types_that_kernels_do_not_take_are_told():
    types = {"boxes": float32, "scores": float16}
    reason, can_install = why_not(SimpleNamespace(dtype=np.dtype(np.float32), types=types))
    assert "an input of float32 and outputs of float16, float32" in reason
    assert not can_install


def test_devices_are_checked(engine_of):
    network = trace(yolov5, spec(1))
    for device, words in (("gpu", ["no device 'gpu'", "cpu, cuda"]), ("cuda", ["needs an Engine", "on the CPU"])):
        message = message_of(ArgumentError, lambda device=device: Detector(network, device=device, pipeline="yolov5"))
        assert all(word in message for word in words), message


def test_a_closed_engine_is_told(engine_of):
    engine = engine_of(yolov5)
    detector = Detector(engine, pipeline="yolov5")
    engine.close()
    assert "closed" in message_of(EngineError, detector, [IMAGE])


@pytest.mark.parametrize("calls", [1, 3])
def test_an_engine_that_is_closed_after_calls_is_told(engine_of, calls):
    """From the second call on the work is a graph, which the driver would launch on memory that was freed."""
    engine = engine_of(yolov5)
    detector, steps = Detector(engine, pipeline="yolov5"), Detector(engine, pipeline="yolov5")._steps
    computed = [detector([IMAGE]) and steps.compute(steps.prepare([IMAGE], 0)) for _ in range(calls)]
    engine.close()
    assert message_of(EngineError, detector, [IMAGE]) == "this engine was closed\n  load it again"
    assert message_of(EngineError, steps.finish, computed[-1]) == "this engine was closed\n  load it again"


def test_a_batch_that_failed_is_not_used_again(engine_of, log, monkeypatch):
    detector = Detector(engine_of(yolov5, batch=1), pipeline="yolov5")
    expected = detector(pictures(1))
    with monkeypatch.context() as changed:
        changed.setattr(Lane, "synchronize", lambda self: (_ for _ in ()).throw(EngineError("the work failed")))
        assert message_of(EngineError, detector, pictures(1)) == "the work failed"
    check_same(detector(pictures(1)), expected)


def test_a_batch_that_nobody_waits_for_is_done_before_its_context_goes(engine_of, log):
    steps = Detector(engine_of(yolov5, batch=1), pipeline="yolov5")._steps
    batch = steps.compute(steps.prepare(pictures(1), 0))
    weakref.finalize(batch._worker, log.append, ("worker",))
    log.clear()
    del batch
    assert [entry for entry in log if entry[0] in ("synchronize", "worker")][:2] == [("synchronize",), ("worker",)]


@pytest.mark.parametrize("threads", [1, 3])
def test_many_bytes_are_there_before_the_network_runs(engine_of, monkeypatch, threads):
    for name, value in (("_THREADS", threads), ("_MANY_BYTES", 1), ("_CHUNK_BYTES", 3000)):
        monkeypatch.setattr(staging, name, value)
    gpu, expected = both(engine_of(yolov5), pictures(11), pipeline="yolov5", confidence=0.5)
    assert sum(map(len, expected)) > 20
    check_same(list(gpu.stream(iter(pictures(11) * 3))), expected * 3)


def test_images_are_left_alone_when_what_is_said_of_them_is_an_error(engine_of, monkeypatch):
    """Threads that still copy some stop before it is raised."""
    detector, stopped = Detector(engine_of(yolov5, batch=1), pipeline="yolov5"), []
    monkeypatch.setattr(staging.Staging, "stop", lambda _: stopped.append(True))
    monkeypatch.setattr(trtnn.on_gpu.GpuPreprocessing, "describe", lambda *_: (_ for _ in ()).throw(ImageError("long")))
    assert message_of(ImageError, detector, pictures(1)) == "long"
    assert len(stopped) == 1


def test_the_lane_that_stands_in_has_the_methods_of_the_real_one():
    public = {name for name in vars(lane.Lane) if not name.startswith("_")}
    assert public <= {name for name in vars(Lane) if not name.startswith("_")}
