"""From images to boxes on a GPU, beside the CPU's way: the kernels alone, and whole detectors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tests.helpers import trace
from tests.kernels.running import pick_by_kernels, prepare_by_kernel
from tests.kernels.test_postprocessing import OPTIONS, PLACEMENTS, SIZE, YOLO_OPTIONS, raw, retinanet, yolo
from tests.kernels.test_preprocessing import FITS, MEAN, STD, bytes_apart, drawn_sizes, noise
from tests.test_on_gpu import HEADS, RAW, check_same, pictures, spec
from tests.vision.test_anchor_maps import maps
from trtnn import Detector
from trtnn.cuda import gpu_memory, gpus
from trtnn.engine.lane import Lane
from trtnn.kernels import is_ready, kernels
from trtnn.on_gpu import OnGpu
from trtnn.vision import Preprocessing, preprocess
from trtnn.vision.heads import RETINANET, YOLOV5, YOLOV8

pytestmark = pytest.mark.skipif(
    not (gpus() and is_ready("preprocessing", gpus()[0].replace("sm", "sm_"))), reason="cuda-core is not installed"
)


@pytest.fixture(scope="module")
def lane():
    torch.empty(0, device="cuda")
    return Lane()


def check_batch(lane, images, size, dtype, how):
    actual, placements = prepare_by_kernel(lane, kernels, images, size, dtype, how)
    expected, expected_placements = preprocess(images, size, dtype, how)
    assert placements == expected_placements
    if how.fit == "crop" or (how.fit == "warp" and size[1] % 32):
        bytes_apart(actual, expected, most=2e-2)
    elif how.fit == "corner":
        atol = 1e-6 / min(how.std) if dtype == np.float32 else 5e-4 * np.abs(expected).max()
        np.testing.assert_allclose(actual.astype(np.float64), expected.astype(np.float64), rtol=0, atol=atol)
    else:
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("fit", [*FITS, "crop"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_inputs_are_the_cpus(lane, fit, dtype):
    plain = Preprocessing(fit)
    for source, canvas in drawn_sizes(30, 400, seed=1):
        check_batch(lane, [noise(*source)], canvas, dtype, plain)
    batch = [noise(720, 1280), noise(1079, 1917), noise(33, 1), noise(640, 640)]
    check_batch(lane, batch, (640, 640), dtype, plain)
    if fit != "crop":
        check_batch(lane, batch, (640, 640), dtype, Preprocessing(fit, "BGR", mean=MEAN, std=STD))


def check_picked(lane, head, outputs, options):
    placements = PLACEMENTS[: len(next(iter(outputs.values())))]
    actual = pick_by_kernels(lane, kernels, head, outputs, SIZE, placements, options)
    expected = head.detect(outputs, placements, **{**head.thresholds, **options})
    check_same(actual, expected)
    return sum(map(len, expected))


@pytest.mark.parametrize("steps", [None, 10])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("head", [YOLOV5, YOLOV8, RETINANET], ids=["yolov5", "yolov8", "retinanet"])
def test_detections_are_the_cpus(lane, head, dtype, steps):
    rng = np.random.default_rng(3)
    for options in OPTIONS if head is RETINANET else [*OPTIONS, *YOLO_OPTIONS]:
        if head is RETINANET:
            outputs = retinanet(rng, images=4, dtype=dtype, steps=steps)
        else:
            outputs = yolo(head, rng, images=4, boxes=3000, dtype=dtype, steps=steps)
        check_picked(lane, head, outputs, options)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_detections_of_maps_are_the_cpus(lane, dtype):
    for options in [*OPTIONS, *YOLO_OPTIONS, {"confidence": 0.001}]:
        outputs = maps(np.random.default_rng(3), 4, dtype=dtype)
        found = check_picked(lane, raw(), outputs, options)
        assert found or options.get("classes") in ([], [99])


@pytest.mark.parametrize("boxes", [8000, 30000])
@pytest.mark.parametrize("most", [300, 100000])
def test_as_many_candidates_as_there_may_be(lane, boxes, most):
    outputs = yolo(YOLOV5, np.random.default_rng(4), images=2, boxes=boxes, classes=3)
    outputs["prediction"][..., 4] = 1
    for options in ({"iou": 0.45}, {"iou": 0.05, "agnostic": True}):
        assert check_picked(lane, YOLOV5, outputs, {"confidence": 0.0, "max_detections": most, **options}) > 100


@pytest.fixture(scope="module")
def engines():
    networks = {name: trace(function, spec((1, 2, 4))) for name, function in HEADS.items()}
    networks["yolov5-raw"].metadata = {**networks["yolov5-raw"].metadata, **RAW}
    made = {name: network.build(optimization_level=0) for name, network in networks.items()}
    yield made
    for engine in made.values():
        engine.close()


class Packed:
    """A tensor as another library would hand it over."""

    def __init__(self, tensor):
        self.__dlpack__, self.__dlpack_device__ = tensor.__dlpack__, tensor.__dlpack_device__


class Interface:
    def __init__(self, tensor):
        self.tensor, self.__cuda_array_interface__ = tensor, tensor.__cuda_array_interface__


@pytest.mark.parametrize("pipeline", HEADS)
def test_both_ways_find_the_same_from_any_memory(engines, pipeline):
    gpu, cpu = (Detector(engines[pipeline], pipeline=pipeline, device=device) for device in (None, "cpu"))
    assert isinstance(gpu._steps, OnGpu)
    for seed in range(4):  # at first piece by piece, then as a graph
        images = pictures(11, seed)
        expected = cpu(images)
        check_same(gpu(images), expected)
        tensors = [torch.from_numpy(image).cuda() for image in images]
        kinds = [lambda t: t, Packed, Interface, lambda t: t.cpu().pin_memory().numpy()]
        check_same(gpu([kinds[i % 4](tensor) for i, tensor in enumerate(tensors)]), expected)
        planar = [tensor.permute(2, 0, 1).contiguous().permute(1, 2, 0) for tensor in tensors]
        check_same(gpu(planar), expected)
        check_same(list(gpu.stream(iter(images * 3))), expected * 3)


def test_tensors_that_are_still_made_are_waited_for(engines):
    """An image that comes of much work on torch's stream is read after it."""
    gpu, cpu = (Detector(engines["yolov5"], pipeline="yolov5", device=device) for device in (None, "cpu"))
    image = noise(600, 800)
    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(5):
            busy = torch.randn(4096, 4096, device="cuda")
            for _ in range(20):
                busy = busy @ busy * 0.01
            tensor = torch.zeros(image.shape, dtype=torch.uint8, device="cuda")
            tensor += torch.from_numpy(image).cuda() + (busy.sum() * 0).nan_to_num().to(torch.uint8)
            check_same(gpu([tensor]), cpu([image]))


def test_threads_share_a_detector_and_have_their_own(engines):
    shared, cpu = (
        Detector(engines["yolov5"], pipeline="yolov5"),
        Detector(engines["yolov5"], pipeline="yolov5", device="cpu"),
    )
    batches = [pictures(3, seed) for seed in range(24)]
    expected = [cpu(batch) for batch in batches]

    def own(batch):
        return Detector(engines["yolov5"], pipeline="yolov5")(batch)

    with ThreadPoolExecutor(8) as pool:
        for way in (shared, own):
            for found, wanted in zip(pool.map(way, batches), expected, strict=True):
                check_same(found, wanted)


def test_two_hundred_batches_of_any_sizes_leave_memory_where_it_was(engines):
    """Once the largest was seen nothing more is taken; this wants the GPU to itself."""
    gpu = Detector(engines["yolov5"], pipeline="yolov5")
    gpu([noise(900, 900)] * 4)
    gpu([noise(900, 900)] * 4)
    before = gpu_memory()
    rng = np.random.default_rng(0)
    for _ in range(200):
        gpu([np.zeros((*rng.integers(1, 900, 2), 3), np.uint8) for _ in range(4)])
    after = gpu_memory()
    assert before is not None
    assert after is not None
    assert abs(before[0] - after[0]) < 4 << 20
