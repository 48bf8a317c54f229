"""YOLOv8 against its torch twin and against published numbers: sizes, heads, precision, dynamic shapes, checkpoints."""

import functools

import numpy as np
import pytest
import torch

from benchmarks.twins import yolov8 as twins
from benchmarks.twins.scaling import pictures
from tests.helpers import ONE_TARGET, assert_close, message_of, strongly_typed
from tests.models.checks import any_size, assert_boxes_close, outputs_of, zeros_of
from trtnn import Input, models
from trtnn.errors import ArgumentError, ShapeError, StateDictError
from trtnn.models.yolov8 import YOLOv8

CLASSES = 3
DETECTORS = [f"yolov8{size}" for size in "nsmlx"]
FP32_TOLERANCE = 5e-5  # of a logit
FP16_TOLERANCE = 5e-2
CELL = 8 * 32


@functools.cache
def twin_of(name):
    return twins.make(name, CLASSES)


def pair_of(name, head="decoded"):
    ours = YOLOv8(name, classes=CLASSES, head=head)
    ours.load_state_dict(twin_of(name).state_dict())
    return ours, twin_of(name)


@pytest.mark.parametrize("name", ["yolov8n", "yolov8s"])
def test_it_agrees_with_its_twin(name):
    ours, theirs = pair_of(name)
    raw, _ = pair_of(name, "raw")
    for shape in ((1, 96, 64), (2, 32, 64)):
        images = pictures(*shape)
        boxes, maps = outputs_of(theirs, images)
        inputs = {"images": tuple(images.shape)}
        assert_boxes_close(ours.trace(inputs).run(images.numpy()), boxes, FP32_TOLERANCE, dim=1, cell=CELL)
        assert_close(raw.trace(inputs).run(images.numpy()), maps, FP32_TOLERANCE)


@pytest.mark.parametrize("name", DETECTORS)
def test_names_and_shapes_are_the_twins(name):
    with torch.device("meta"):
        theirs = twins.YOLOv8(name, classes=120)  # more than the 100 that the branch of the scores grows with
    expected = {n: tuple(t.shape) for n, t in theirs.state_dict().items() if "num_batches_tracked" not in n}
    assert {n: parameter.shape for n, parameter in YOLOv8(name, classes=120)._state().items()} == expected


@pytest.mark.parametrize(
    ("name", "count"),
    [  # with 80 classes, as Ultralytics prints them, with the 16 weights of the distribution
        ("yolov8n", 3_157_200),
        ("yolov8s", 11_166_560),
        ("yolov8m", 25_902_640),
        ("yolov8l", 43_691_520),
        ("yolov8x", 68_229_648),
    ],
)
def test_parameter_counts_are_the_published(name, count):
    assert sum(parameter.numel() for parameter in YOLOv8(name).parameters()) == count


def test_names_are_the_official_ones():
    shapes = {name: parameter.shape for name, parameter in YOLOv8("yolov8n")._state().items()}
    official = {
        "model.0.conv.weight": (16, 3, 3, 3),
        "model.2.cv1.conv.weight": (32, 32, 1, 1),
        "model.2.m.0.cv1.conv.weight": (16, 16, 3, 3),
        "model.4.cv2.conv.weight": (64, 128, 1, 1),
        "model.4.m.1.cv2.bn.running_var": (32,),
        "model.9.cv2.conv.weight": (256, 512, 1, 1),
        "model.12.cv1.conv.weight": (128, 384, 1, 1),
        "model.15.cv1.conv.weight": (64, 192, 1, 1),
        "model.16.conv.weight": (64, 64, 3, 3),
        "model.21.cv1.conv.weight": (256, 384, 1, 1),
        "model.22.cv2.0.0.conv.weight": (64, 64, 3, 3),
        "model.22.cv2.2.2.bias": (64,),
        "model.22.cv3.1.1.bn.weight": (80,),
        "model.22.cv3.2.0.conv.weight": (80, 256, 3, 3),
        "model.22.cv3.0.2.weight": (80, 80, 1, 1),
        "model.22.dfl.conv.weight": (1, 16, 1, 1),
    }
    assert {name: shapes.get(name) for name in official} == official


def test_boxes_by_hand():
    """Every box of a picture by the formula, one by one."""
    raw, _ = pair_of("yolov8n", "raw")
    decoded, _ = pair_of("yolov8n")
    images = pictures(1, 64, 96).numpy()
    maps, boxes = (model.trace({"images": images.shape}).run(images) for model in (raw, decoded))
    index = 0
    for stride, level in zip((8, 16, 32), maps, strict=True):
        for row, column in np.ndindex(*level.shape[2:]):
            cell = level[0, :, row, column].astype(np.float64)
            sides = [np.exp(s) @ np.arange(16) / np.exp(s).sum() for s in cell[:64].reshape(4, 16)]
            left, top, right, bottom = (
                (column + 0.5 - sides[0]) * stride,
                (row + 0.5 - sides[1]) * stride,
                (column + 0.5 + sides[2]) * stride,
                (row + 0.5 + sides[3]) * stride,
            )
            expected = [
                (left + right) / 2,
                (top + bottom) / 2,
                right - left,
                bottom - top,
                *1 / (1 + np.exp(-cell[64:])),
            ]
            np.testing.assert_allclose(boxes[0, :, index], expected, rtol=1e-4, atol=1e-4)
            index += 1
    assert index == boxes.shape[2]


def test_shapes_at_640_pixels():
    model = YOLOv8("yolov8n")
    for parameter in (*model.parameters(), *model.buffers()):
        parameter.data = np.full(parameter.shape, 0.01, np.float32)
    network = model.trace()
    assert network.inputs == {"images": Input((1, 3, 640, 640))}
    assert network.outputs == {"output": Input((1, 84, 8400))}
    known = {"model": "yolov8n", "task": "detect", "pipeline": "yolov8", "classes": 80}
    assert model.metadata == {**known, "stride": 32, "strides": [8, 16, 32]}
    assert YOLOv8("yolov8n", classes=2, names=("cat", "dog")).metadata["names"] == ["cat", "dog"]
    assert sum(row.flops for row in network.layers()) == pytest.approx(8.7e9, rel=0.02)  # as published


def test_the_numbers_of_a_distribution_come_from_the_checkpoint():
    state = twin_of("yolov8n").state_dict()
    ours = YOLOv8("yolov8n", classes=CLASSES)
    images = pictures(1, 64, 64).numpy()
    results = []
    for factor in (1, 2):
        ours.load_state_dict({**state, "model.22.dfl.conv.weight": state["model.22.dfl.conv.weight"] * factor})
        results.append(ours.trace({"images": images.shape}).run(images))
    np.testing.assert_allclose(results[1][:, 2:4], results[0][:, 2:4] * 2, rtol=1e-6)


# -- precision and building -------------------------------------------------------------------------------------------


@strongly_typed
def test_fp16_is_near_fp32_and_boxes_are_decoded_in_fp32():
    ours, _ = pair_of("yolov8n")
    images = pictures(1, 96, 64).numpy()
    full, network = (ours.trace({"images": images.shape}, fp16=fp16) for fp16 in (False, True))
    half = network.run(images)
    assert np.abs(half - full.run(images)).max() > 0
    assert_boxes_close(half, full.run(images), FP16_TOLERANCE, dim=1, cell=CELL)
    for row in network.layers():
        if row.kind in ("SOFTMAX", "REDUCE") or (row.kind == "ELEMENTWISE" and row.path == "model.22"):
            assert row.output.dtype.name == "float32", row
        if row.kind in ("CONVOLUTION", "ACTIVATION"):
            assert row.output.dtype.name == "float16", row


def test_half_precision_checkpoints():
    ours, theirs = pair_of("yolov8n")
    images = pictures(1, 64, 64)
    boxes, _ = outputs_of(theirs, images)
    ours.load_state_dict({n: t.half() if t.is_floating_point() else t for n, t in theirs.state_dict().items()})
    assert_boxes_close(
        ours.trace({"images": (1, 3, 64, 64)}).run(images.numpy()), boxes, FP16_TOLERANCE, dim=1, cell=CELL
    )


@pytest.mark.parametrize("fp16", [False, True])
def test_it_builds(fp16):
    ours, _ = pair_of("yolov8n")
    engine = ours.compile({"images": (2, 3, 64, 96)}, fp16=fp16, **ONE_TARGET)
    assert engine.outputs == {"output": Input((2, 4 + CLASSES, 126))}
    assert (engine.description["model"], engine.description["pipeline"]) == ("yolov8n", "yolov8")


def test_one_engine_for_every_size_builds():
    engine = pair_of("yolov8n")[0].compile(any_size(), fp16=True, **ONE_TARGET)
    assert str(engine.outputs["output"]) == f"float32[batch, {4 + CLASSES}, 21*height*width//1024]"


def test_one_network_for_every_size():
    ours, theirs = pair_of("yolov8n")
    network = ours.trace(any_size())
    for shape in ((1, 32, 32), (2, 64, 96), (3, 128, 32)):
        images = pictures(*shape)
        boxes, _ = outputs_of(theirs, images)
        assert_boxes_close(network.run(images.numpy()), boxes, FP32_TOLERANCE, dim=1, cell=CELL)


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DETECTORS)
def test_a_state_dict_tells_its_model(name):
    with torch.device("meta"):
        state = zeros_of(twins.YOLOv8(name, classes=7))
    assert models.identify(state) == YOLOv8.identify(state) == {"name": name, "classes": 7}
    model = YOLOv8("yolov8s" if name == "yolov8n" else "yolov8n")
    message = message_of(StateDictError, model.load_state_dict, state)
    assert f'this looks like YOLOv8("{name}", classes=7)' in message


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ("", "model.6.m.0.cv1.conv.weight"),  # YOLOv9: another block, the head in the same place
        ("", "model.22.cv3.0.2.bias"),
    ],
)
def test_what_is_no_yolov8(more, less):
    with torch.device("meta"):
        state = zeros_of(twins.YOLOv8("yolov8n"))
    state = {key: value for key, value in {**state, more: np.zeros(1)}.items() if key not in ("", less)}
    assert YOLOv8.identify(state) is None
    message = message_of(StateDictError, YOLOv8("yolov8s").load_state_dict, state)
    assert "this does not look like a YOLOv8" in message


def test_a_wrong_number_of_classes():
    message = message_of(StateDictError, YOLOv8("yolov8n").load_state_dict, twin_of("yolov8n").state_dict())
    assert f'this looks like YOLOv8("yolov8n", classes={CLASSES})' in message
    assert "36 of the wrong shape" in message
    assert message.count("wrong shape: model.22.cv3.0.") == 10
    assert "\n  wrong shape: 26 more" in message


def test_bad_arguments():
    assert "nearest: yolov8n" in message_of(ArgumentError, YOLOv8, "yolo8n")
    message = message_of(ArgumentError, YOLOv8, "yolov8n", head="boxes")
    assert message == "YOLOv8 head 'boxes'\n  known: 'decoded', 'raw'"
    assert "1 names for 3 classes" in message_of(ArgumentError, YOLOv8, "yolov8n", classes=3, names=["cat"])


def test_pictures_of_the_wrong_size():
    ours, _ = pair_of("yolov8n")
    message = message_of(ShapeError, ours.trace, {"images": (1, 3, 48, 64)})
    assert "yolov8n takes pictures whose height and width are multiples of 32" in message
    assert "nearest: (32, 64) and (64, 64)" in message
