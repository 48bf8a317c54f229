"""YOLOv5 against its torch twin: every size, both versions, both heads, and what its checkpoints tell."""

import functools
import itertools
import math
from unittest import mock

import numpy as np
import pytest
import torch

from benchmarks.twins import yolov5 as twin
from benchmarks.twins.scaling import pictures
from tests.helpers import ONE_TARGET, assert_close, layers, message_of, strongly_typed
from tests.models.checks import assert_boxes_close
from trtnn import Detector, Dim, Engine, Input
from trtnn.checkpoint import StateDict
from trtnn.errors import ArgumentError, ShapeError, StateDictError
from trtnn.models import create, from_state_dict
from trtnn.models.yolov5 import C3, YOLOv5
from trtnn.modules import DCN

CLASSES = 3
# Of a logit, after some sixty layers. fp32 was seen 6e-5 off torch, and fp16 8e-2, where logits spread by 1.5.
FP32_TOLERANCE = 1e-4
FP16_TOLERANCE = 0.15

P5 = [f"yolov5{size}" for size in "nsmlx"]
P6 = [f"{name}6" for name in P5]
DEFORMABLE = [f"{name}-dcn" for name in P5]
EVERY = [(name, version) for name in P5 + P6 for version in ("6.0", "5.0")] + [(name, "6.0") for name in DEFORMABLE]


@functools.lru_cache(maxsize=2)
def twin_of(name, version, width=None):
    size = 128 if name.endswith("6") else 64
    with mock.patch.object(torch.nn.Conv2d, "reset_parameters"):  # torch's own random weights take seconds, for nothing
        model = twin.YOLOv5(name, classes=CLASSES, version=version, width=width)
    return twin.well_scaled(model, size)


def pair_of(name, version="6.0", head="decoded", width=None):
    """Return our model with its twin's weights, and the twin with the same head."""
    theirs = twin_of(name, version, width)
    theirs.head = head
    ours = YOLOv5(name, classes=CLASSES, version=version, head=head, width=width)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


# Numbers are compared in the depth of every size. Of the larger ones the channels are few: how many they are, of every
# layer, is compared by itself below.
WIDE = ["yolov5n", "yolov5s", "yolov5n6", "yolov5s6", "yolov5n-dcn", "yolov5s-dcn", "yolov5l"]


@pytest.mark.parametrize(("name", "version"), EVERY)
def test_every_size_agrees_with_its_twin(name, version):
    ours, theirs = pair_of(name, version, width=None if name in WIDE else 0.25)
    maps = [f"model.{len(ours.model) - 1}.m.{level}" for level in range(len(ours.strides))]
    for batch, rows, columns in [(1, 128, 128), (2, 64, 128)] if name.endswith("6") else [(1, 96, 64), (2, 64, 64)]:
        images = pictures(batch, rows, columns)
        with torch.no_grad():
            theirs.head = "raw"
            raw = theirs(images)
        decoded, inner = ours.trace({"images": tuple(images.shape)}).run(images.numpy(), outputs=maps)
        assert_boxes_close(decoded, theirs.detect.decode(raw), FP32_TOLERANCE)
        assert_close(inner, dict(zip(maps, raw, strict=True)), FP32_TOLERANCE)


@pytest.mark.parametrize(
    ("name", "version", "side"), [("yolov5n", "6.0", 448), ("yolov5n", "5.0", 448), ("yolov5n6", "5.0", 512)]
)
def test_the_pyramid_pooling_of_larger_pictures(name, version, side):
    ours, theirs = pair_of(name, version)
    images = pictures(1, side, side)
    with torch.no_grad():
        expected = theirs(images)
    assert_boxes_close(ours.trace({"images": tuple(images.shape)}).run(images.numpy()), expected, FP32_TOLERANCE)


@pytest.mark.parametrize(("name", "version"), [("yolov5n", "6.0"), ("yolov5s", "5.0"), ("yolov5n6", "6.0")])
def test_the_raw_head_is_a_list_of_maps(name, version):
    ours, theirs = pair_of(name, version, "raw")
    images = pictures(2, 64, 128)
    with torch.no_grad():
        expected = theirs(images)
    assert_close(ours.trace({"images": tuple(images.shape)}).run(images.numpy()), expected, FP32_TOLERANCE)


@pytest.mark.parametrize(("name", "version"), EVERY)
def test_names_shapes_and_order_are_the_twins(name, version):
    with torch.device("meta"):
        theirs = twin.YOLOv5(name, classes=CLASSES, version=version)
    ours = YOLOv5(name, classes=CLASSES, version=version)
    expected = {n: tuple(t.shape) for n, t in theirs.state_dict().items() if "num_batches_tracked" not in n}
    assert {n: parameter.shape for n, parameter in ours._state().items()} == expected
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]


@pytest.mark.parametrize(("name", "version"), EVERY)
def test_every_layer_is_the_twins(name, version):
    """At small sizes the maps are too small to tell one window of the pyramid pooling from another; this is."""
    with torch.device("meta"):
        theirs = twin.YOLOv5(name, classes=CLASSES, version=version)
    shown = repr(theirs.model).replace(" bias=True, track", " track")  # newer torch shows an argument that is not ours
    ours = repr(YOLOv5(name, classes=CLASSES, version=version).model).replace("inplace=True", "")
    assert ours == shown


@pytest.mark.parametrize(
    ("channels", "batch", "joined"),
    [
        (160, 8, True),
        (320, 8, True),
        (320, Dim("batch", 1, 8, 9), True),
        (320, Dim("batch", 1, 1, 9), False),
        (160, 1, False),
        (64, 32, False),
        (128, 32, False),
        (256, 32, False),
    ],
)
def test_whether_the_sides_of_a_c3_are_joined(channels, batch, joined):
    """TensorRT joins convolutions that read the same and agree in all but their kernels."""
    side = 12800 // channels
    block = C3(channels, 2 * channels, 1)
    for _, member in (*block.named_parameters(), *block.named_buffers()):
        member.data = np.ones(member.shape, np.float32)
    network = block.trace({"x": (batch, channels, side, side)})
    found = dict(zip(network.graph.layer_paths, layers(network), strict=True))
    first, second = (tuple(found[f"cv{i}.conv"].dilation_nd) for i in (1, 2))
    assert (first == second) is joined


@pytest.mark.parametrize(
    ("name", "version", "count"),
    [  # with 80 classes, as the releases' own model summaries print them
        ("yolov5n", "6.0", 1_872_157),
        ("yolov5s", "6.0", 7_235_389),
        ("yolov5m", "6.0", 21_190_557),
        ("yolov5l", "6.0", 46_563_709),
        ("yolov5x", "6.0", 86_749_405),
        ("yolov5s", "5.0", 7_276_605),
    ],
)
def test_parameter_counts_are_the_published(name, version, count):
    assert sum(parameter.numel() for parameter in YOLOv5(name, version=version).parameters()) == count


@pytest.fixture(scope="module")
def large():
    """yolov5s for 80 classes at 640 pixels, of any weights."""
    model = YOLOv5("yolov5s")
    for parameter in (*model.parameters(), *model.buffers()):
        if not parameter.optional:
            parameter.data = np.full(parameter.shape, 0.01, np.float32)
    return model.trace()


def test_flops_of_yolov5s_are_the_published(large):
    assert sum(row.flops for row in large.layers()) == pytest.approx(16.5e9, rel=0.02)
    assert large.summary().splitlines()[-1].split()[0] == "total"


def test_shapes_at_640_pixels(large):
    assert large.inputs == {"images": Input((1, 3, 640, 640))}
    assert large.outputs == {"output": Input((1, 25200, 85))}
    model = YOLOv5("yolov5n6")
    assert model.inputs == {"images": Input((1, 3, 1280, 1280))}
    known = {"model": "yolov5n6", "task": "detect", "pipeline": "yolov5", "classes": 80}
    known |= {"stride": 64, "strides": [8, 16, 32, 64]}
    assert model.metadata == known
    assert YOLOv5("yolov5n6", classes=2, names=("cat", "dog")).metadata["names"] == ["cat", "dog"]


def test_inner_outputs_are_those_of_torchs_hooks():
    ours, theirs = pair_of("yolov5n")
    images = pictures(1, 64, 96)
    paths = ["model.0", "model.4.m.1.cv2.bn", "model.9", "model.9.m", "model.16", "model.23.cv3.act", "model.24.m.1"]
    seen = {}
    hooks = [
        theirs.get_submodule(path).register_forward_hook(lambda m, i, o, path=path: seen.update({path: o.clone()}))
        for path in paths
    ]
    with torch.no_grad():
        expected = theirs(images)
    for hook in hooks:
        hook.remove()
    result, inner = ours.trace({"images": tuple(images.shape)}).run(images.numpy(), outputs=paths)
    assert_boxes_close(result, expected, FP32_TOLERANCE)
    for path in paths:  # where a module is called again, as the pool of model.9 is, the last call counts
        assert_close(inner[path], seen[path], FP32_TOLERANCE)


# -- half precision ---------------------------------------------------------------------------------------------------


@strongly_typed
@pytest.mark.parametrize(
    ("name", "version", "rows", "columns"),
    [
        ("yolov5n", "6.0", 96, 64),
        ("yolov5s", "6.0", 64, 64),
        ("yolov5s", "5.0", 64, 96),
        ("yolov5n6", "6.0", 128, 128),
        ("yolov5n-dcn", "6.0", 64, 96),
    ],
)
def test_fp16_is_near_fp32(name, version, rows, columns):
    ours, _ = pair_of(name, version)
    images = pictures(1, rows, columns).numpy()
    full, half = (ours.trace({"images": images.shape}, fp16=fp16).run(images) for fp16 in (False, True))
    assert np.abs(half - full).max() > 0
    assert_boxes_close(half, full, FP16_TOLERANCE)


@strongly_typed
def test_boxes_are_decoded_in_fp32():
    ours, _ = pair_of("yolov5n")
    network = ours.trace({"images": (1, 3, 64, 64)}, fp16=True)
    detect = f"model.{len(ours.model) - 1}"
    decoding = [row for row in network.layers() if row.path == detect and row.kind == "ELEMENTWISE"]
    assert [row.output.dtype.name for row in decoding] == ["float32"] * 4
    for row in network.layers():
        if row.path != detect and row.kind not in ("CAST", "CONSTANT"):
            assert row.output.dtype.name == "float16", row
    assert network.outputs["output"].dtype.name == "float32"
    assert {layer.kernel.dtype.name for layer in layers(network, "CONVOLUTION")} == {"float16"}


@strongly_typed
def test_the_head_alone_in_fp32():
    ours, _ = pair_of("yolov5n")
    images = pictures(1, 64, 64).numpy()
    network = ours.trace({"images": images.shape}, fp16=True, fp32_modules=("model.24",))
    kernels = {layer.name: layer.kernel.dtype.name for layer in layers(network, "CONVOLUTION")}
    assert {name for name, kind in kernels.items() if kind == "float32"} == {f"model.24.m.{i}" for i in range(3)}
    assert_boxes_close(network.run(images), ours.trace({"images": images.shape}).run(images), FP16_TOLERANCE)


# -- deformable convolutions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "width"), [("n", 0.25), ("x", 1.25)])
def test_which_layers_are_deformable(size, width):
    model = YOLOv5(f"yolov5{size}-dcn", classes=CLASSES)
    found = {path: module for path, module in model.named_modules() if isinstance(module, DCN)}
    assert list(found) == ["model.1", "model.3", "model.5"]
    channels = [int(c * width) for c in (64, 128, 256, 512)]
    pairs = list(itertools.pairwise(channels))
    assert [(dcn.in_channels, dcn.out_channels) for dcn in found.values()] == pairs
    assert {(dcn.kernel_size, dcn.stride, dcn.padding) for dcn in found.values()} == {((3, 3), (2, 2), (1, 1))}
    assert model.model[1].conv_offset_mask.out_channels == 27
    assert "model.1.conv_offset_mask.weight" in model._state()


def test_deformable_convolutions_of_any_size():
    ours, theirs = pair_of("yolov5n-dcn")
    network = ours.trace(dynamic(32))
    images = pictures(2, 64, 96)
    with torch.no_grad():
        assert_boxes_close(network.run(images.numpy()), theirs(images), FP32_TOLERANCE)


# -- anchors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["6.0", "5.0"])
def test_anchors_come_from_the_checkpoint(version):
    theirs = twin_of("yolov5n", version)
    theirs.head = "decoded"
    state = dict(theirs.state_dict())
    images = pictures(1, 64, 64)
    detect = "model.24"
    changed = state[f"{detect}.anchors"] * torch.tensor([[[1.5, 0.5]]]) + 0.25
    ours = YOLOv5("yolov5n", classes=CLASSES, version=version)
    usual, other = dict(state), {**state, f"{detect}.anchors": changed}
    ours.load_state_dict(usual)
    before = ours.trace({"images": (1, 3, 64, 64)}).run(images.numpy())
    ours.load_state_dict(other)
    after = ours.trace({"images": (1, 3, 64, 64)}).run(images.numpy())
    with torch.no_grad():
        original, theirs.detect.anchors = theirs.detect.anchors, changed
        expected = theirs(images)
        theirs.detect.anchors = original
    assert_boxes_close(after, expected, FP32_TOLERANCE)
    np.testing.assert_array_equal(after[..., [0, 1, 4, 5, 6, 7]], before[..., [0, 1, 4, 5, 6, 7]])
    assert (np.abs(after[..., 2:4] - before[..., 2:4]) > 0).mean() > 0.9


USUAL = r"without model\.(24|33)\.anchors, and boxes are made with the usual ones, 1[09]×[12][37], "


@pytest.mark.parametrize("name", ["yolov5n", "yolov5n6"])
def test_anchors_stay_where_the_checkpoint_has_none(name):
    theirs = twin_of(name, "5.0")
    theirs.head = "decoded"
    state = {key: value for key, value in theirs.state_dict().items() if "anchor" not in key}
    ours = YOLOv5(name, classes=CLASSES, version="5.0")
    with pytest.warns(UserWarning, match=USUAL):
        assert ours.load_state_dict(state) == ([], [])
    images = pictures(1, 64, 64)
    with torch.no_grad():
        expected = theirs(images)
    assert_boxes_close(ours.trace({"images": (1, 3, 64, 64)}).run(images.numpy()), expected, FP32_TOLERANCE)


def test_anchors_of_half_precision_checkpoints():
    ours, theirs = pair_of("yolov5n")
    state = {n: t.half() if t.is_floating_point() else t for n, t in theirs.state_dict().items()}
    ours.load_state_dict(state)
    restored = twin.YOLOv5("yolov5n", classes=CLASSES)
    restored.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in state.items()})
    images = pictures(1, 64, 64)
    with torch.no_grad():
        expected = restored.eval()(images)
    assert_boxes_close(ours.trace({"images": (1, 3, 64, 64)}).run(images.numpy()), expected, FP32_TOLERANCE)


# -- building ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize(
    ("name", "version"), [("yolov5n", "6.0"), ("yolov5s", "5.0"), ("yolov5n6", "6.0"), ("yolov5n-dcn", "6.0")]
)
def test_it_builds(name, version, fp16, tmp_path):
    ours, _ = pair_of(name, version)
    size = 128 if name.endswith("6") else 64
    engine = ours.compile({"images": (2, 3, size, size)}, fp16=fp16, **ONE_TARGET)
    boxes = sum(3 * (size // stride) ** 2 for stride in ours.strides)
    assert engine.inputs == {"images": Input((2, 3, size, size))}
    assert engine.outputs == {"output": Input((2, boxes, 5 + CLASSES))}
    assert engine.description["model"] == name
    assert engine.description["classes"] == CLASSES
    assert engine.description["stride"] == engine.description["strides"][-1] == (64 if name.endswith("6") else 32)
    assert engine.description["imgsz"] == list(engine.inputs["images"].shape[2:])
    assert engine.plan.nbytes > 2_000_000


@pytest.mark.parametrize("fp16", [False, True])
def test_the_raw_head_builds(fp16):
    ours, _ = pair_of("yolov5s", head="raw")
    engine = ours.compile({"images": (1, 3, 64, 96)}, fp16=fp16, **ONE_TARGET)
    assert [spec.shape for spec in engine.outputs.values()] == [(1, 24, 64 // s, 96 // s) for s in (8, 16, 32)]
    assert engine.description["structure"] == {"list": ["output_0", "output_1", "output_2"]}


# -- dynamic shapes ---------------------------------------------------------------------------------------------------


def dynamic(stride, least=1, most=4):
    height, width = (
        Dim(name, least * stride, 2 * stride, most * stride, multiple_of=stride) for name in ("height", "width")
    )
    return {"images": (Dim("batch", 1, 2, 3), 3, height, width)}


@pytest.mark.parametrize(
    ("name", "version"), [("yolov5n", "6.0"), ("yolov5n", "5.0"), ("yolov5n6", "6.0"), ("yolov5s6", "5.0")]
)
def test_one_network_for_every_size(name, version):
    ours, theirs = pair_of(name, version)
    stride = ours.strides[-1]
    network = ours.trace(dynamic(stride))
    for batch, rows, columns in ((1, 1, 1), (2, 2, 3), (3, 4, 1)):
        images = pictures(batch, rows * stride, columns * stride)
        with torch.no_grad():
            expected = theirs(images)
        assert_boxes_close(network.run(images.numpy()), expected, FP32_TOLERANCE)
        static = ours.trace({"images": tuple(images.shape)})
        np.testing.assert_array_equal(network.run(images.numpy()), static.run(images.numpy()))


def test_one_network_for_every_size_with_the_raw_head():
    ours, theirs = pair_of("yolov5n", head="raw")
    network = ours.trace(dynamic(32))
    assert [str(spec) for spec in network.outputs.values()] == [
        f"float32[batch, 24, height//{stride}, width//{stride}]" for stride in (8, 16, 32)
    ]
    for layer in layers(network):
        assert layer.type.name != "SHAPE"  # TensorRT's own placeholders do
    images = pictures(2, 64, 96)
    with torch.no_grad():
        assert_close(network.run(images.numpy()), [m.numpy() for m in theirs(images)], FP32_TOLERANCE)


@strongly_typed
def test_one_network_for_every_size_in_half_precision():
    ours, theirs = pair_of("yolov5n")
    network = ours.trace(dynamic(32), fp16=True)
    for batch, rows, columns in ((1, 64, 64), (2, 128, 32)):
        images = pictures(batch, rows, columns)
        with torch.no_grad():
            expected = theirs(images)
        assert_boxes_close(network.run(images.numpy()), expected, FP16_TOLERANCE)


def test_one_engine_for_every_size_builds(tmp_path):
    ours, _ = pair_of("yolov5n")
    small, large = dynamic(32, 1, 4)["images"], dynamic(32, 2, 10)["images"]
    engine = ours.compile({"images": [Input(small), Input(large)]}, fp16=True, **ONE_TARGET)
    loaded = Engine.load(engine.save(tmp_path / "yolov5n.engine"))
    assert str(loaded.inputs["images"]) == "float32[batch, 3, height, width]"
    assert str(loaded.outputs["output"]) == f"float32[batch, 63*height*width//1024, {5 + CLASSES}]"
    assert [profile["height"].max for profile in loaded.profiles] == [128, 320]


def test_dynamic_pictures_are_multiples_of_the_stride():
    ours, _ = pair_of("yolov5n")
    side = Dim("side", 64, 96, 128, multiple_of=16)
    message = message_of(ShapeError, ours.trace, {"images": (1, 3, side, 64)})
    assert "multiples of 32" in message
    assert "received (side, 64)" in message
    assert "multiple_of=32" in message


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "given"),
    [
        (("yolov5s", "6.0"), ("yolov5n", "6.0")),
        (("yolov5n", "6.0"), ("yolov5n", "5.0")),
        (("yolov5n", "5.0"), ("yolov5n6", "5.0")),
        (("yolov5n", "6.0"), ("yolov5x6", "6.0")),
        (("yolov5x", "6.0"), ("yolov5m", "5.0")),
        (("yolov5x", "5.0"), ("yolov5l6", "5.0")),
        (("yolov5m", "6.0"), ("yolov5s6", "6.0")),
        (("yolov5s", "6.0"), ("yolov5s-dcn", "6.0")),
        (("yolov5n-dcn", "6.0"), ("yolov5n", "6.0")),
        (("yolov5x-dcn", "6.0"), ("yolov5m-dcn", "6.0")),
    ],
)
def test_the_wrong_checkpoint_is_recognised(made, given):
    with torch.device("meta"):
        shapes = twin.YOLOv5(given[0], classes=7, version=given[1]).state_dict()
    state = {key: np.broadcast_to(np.float32(0), tuple(value.shape)) for key, value in shapes.items()}
    model = YOLOv5(made[0], classes=7, version=made[1])
    message = message_of(StateDictError, model.load_state_dict, state)
    assert message.startswith("the state dict does not fit YOLOv5: ")
    assert f'this looks like YOLOv5("{given[0]}", classes=7, version="{given[1]}")' in message
    flat = {key: value.reshape(-1) for key, value in state.items()}  # of a format without shapes
    assert f'this looks like YOLOv5("{given[0]}", classes=7' in message_of(StateDictError, model.load_state_dict, flat)


def test_a_wrong_number_of_classes_is_recognised():
    state = twin_of("yolov5n", "6.0").state_dict()
    model = YOLOv5("yolov5n")
    message = message_of(StateDictError, model.load_state_dict, state)
    assert "0 missing, 0 unexpected, 6 of the wrong shape; nothing was loaded" in message
    assert f'this looks like YOLOv5("yolov5n", classes={CLASSES}, version="6.0")' in message
    assert "wrong shape: model.24.m.0.bias: expected (255,), received (24,)" in message
    assert all(parameter.data is None for parameter in model.parameters())


@pytest.mark.parametrize(("anchors", "classes"), [(4, 1), (2, 4), (2, 1), (6, 3)])
def test_another_number_of_anchors_is_told(anchors, classes):
    """With four anchors and a class the head has as many channels as with three and three."""
    state = dict(twin_of("yolov5n", "6.0").state_dict())
    for level in range(3):
        for name in (f"model.24.m.{level}.weight", f"model.24.m.{level}.bias"):
            state[name] = torch.zeros(anchors * (5 + classes), *state[name].shape[1:])
    state["model.24.anchors"] = torch.ones(3, anchors, 2)
    for load in (from_state_dict, create("yolov5n", classes=CLASSES).load_state_dict):
        assert message_of(StateDictError, load, state).startswith(
            f"this is a YOLOv5 with {anchors} anchors a cell, and those here have 3\n  trtnn.from_torch("
        )
    del state["model.24.anchors"]
    if (anchors, classes) == (2, 1):  # 12 channels are no three anchors with a class
        message = message_of(StateDictError, from_state_dict, state)
        assert message.startswith("this looks like a YOLO with YOLOv5's head, which trtnn has no model for")


def without_anchors(name="yolov5n", metadata=None) -> StateDict:
    state = twin_of(name, "6.0").state_dict()
    return StateDict({key: value.numpy() for key, value in state.items() if "anchor" not in key}, metadata)


@pytest.mark.parametrize(("name", "head"), [("yolov5n", "model.24"), ("yolov5n6", "model.33")])
def test_anchors_that_nothing_tells_are_not_guessed(name, head):
    """24 numbers a cell may be of three classes and as many anchors, or of others; and their sizes are not told."""
    for arguments in ((), (name,)):
        message = message_of(StateDictError, from_state_dict, without_anchors(name), *arguments)
        assert message.splitlines()[:2] == [
            f"nothing tells how many anchors and classes this YOLOv5 has: {head}.anchors is missing",
            "  the 24 numbers of a cell, anchors · (5 + classes), may be "
            "3 · (5 + 3), 1 · (5 + 19), 2 · (5 + 7), 4 · (5 + 1)",
        ]
    for options in ({}, {"name": name}):
        with pytest.warns(UserWarning, match=USUAL):
            from_state_dict(without_anchors(name), classes=CLASSES, **options)
    for said in ({"names": ["a", "b", "c"]}, {"classes": 3}):
        with pytest.warns(UserWarning, match=USUAL):
            assert from_state_dict(without_anchors(name, said)).classes == 3
    for said in ({"names": ["a"]}, {"classes": 1}):
        assert message_of(StateDictError, from_state_dict, without_anchors(name, said)).startswith(
            "this is a YOLOv5 with 4 anchors a cell, and those here have 3\n  trtnn.from_torch("
        )


def test_anchors_that_somebody_gives_are_taken():
    own = [[[5, 7], [9, 30], [11, 12]], [[30, 20], [21, 45], [50, 40]], [[60, 61], [100, 30], [25, 64]]]
    model = from_state_dict(without_anchors(), classes=CLASSES, anchors=own)
    np.testing.assert_allclose([model.model[-1].anchors_px(level) for level in range(3)], own, rtol=1e-6)
    later = create("yolov5n", classes=CLASSES)
    later.model[-1].set_anchors(own)
    later.load_state_dict(without_anchors())
    told = from_state_dict(without_anchors(metadata={"anchors": own}))
    assert told.classes == CLASSES
    for other in (later, told):
        np.testing.assert_array_equal(other.model[-1].anchors.numpy(), model.model[-1].anchors.numpy())
    later.load_state_dict({"model.0.conv.weight": model.model[0].conv.weight.data}, strict=False)  # of no head
    assert message_of(ArgumentError, create, "yolov5n", anchors=own[:2]) == (
        "anchors are 3 pairs of width and height on each of 3 levels\n  received 3 and 3"
    )


def test_anchors_tell_how_many_classes_there_are():
    own = [[5, 7, 9, 30, 11, 12], [30, 20, 21, 45, 50, 40], [60, 61, 100, 30, 25, 64]]
    model = from_state_dict(without_anchors(), anchors=own)
    assert model.classes == CLASSES
    np.testing.assert_allclose([model.model[-1].anchors_px(level).ravel() for level in range(3)], own, rtol=1e-6)


def test_the_usual_anchors_are_said_to_be_right():
    """With no warning, which is an error in tests."""
    model = from_state_dict(without_anchors(), anchors="usual")
    assert model.classes == CLASSES
    np.testing.assert_array_equal(model.model[-1].anchors_px(0), [[10, 13], [16, 30], [33, 23]])  # published
    words = message_of(ArgumentError, from_state_dict, without_anchors(), anchors="coco")
    assert words == "anchors are 'usual', or numbers, not 'coco'"


def test_anchors_beside_those_of_the_weights_are_refused():
    """They were ignored without a word."""
    usual = create("yolov5n", classes=CLASSES)
    for parameter in usual.parameters():
        parameter.data = np.zeros(parameter.shape, np.float32)
    for buffer in usual.buffers():
        buffer.data = np.ones(buffer.shape, np.float32) if buffer.data is None else buffer.data
    state = usual.state_dict()
    own = [usual.model[-1].anchors_px(level).tolist() for level in range(3)]
    halves = {**state, "model.24.anchors": state["model.24.anchors"].astype(np.float16)}
    for same in (own, "usual"):
        from_state_dict(halves, anchors=same)
    message = message_of(ArgumentError, from_state_dict, state, anchors=[*own[:2], own[0]])
    assert message.startswith("the weights come with anchors of their own, 10×13, 16×30, 33×23, ... pixels")


def test_anchors_of_a_model_that_has_none():
    assert message_of(ArgumentError, create, "yolov8n", anchors="usual") == (
        "yolov8n has no anchors to give\n  anchors are of YOLOv5 and YOLOv3"
    )


def test_what_is_no_yolov5():
    message = message_of(StateDictError, YOLOv5("yolov5n").load_state_dict, {"fc.weight": np.zeros((10, 512))})
    assert "this does not look like a YOLOv5" in message
    assert "unexpected: fc.weight (10, 512)" in message


def test_an_unknown_name_has_a_nearest():
    message = message_of(ArgumentError, YOLOv5, "yolo5s")
    assert "no model is called 'yolo5s'" in message
    assert "nearest: yolov5s" in message
    assert "known: yolov5n, yolov5s, yolov5m, yolov5l, yolov5x, yolov5n6" in message
    assert "nearest: yolov5x-dcn" in message_of(ArgumentError, YOLOv5, "yolov5xdcn")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"version": "4.0"}, ["YOLOv5 version '4.0'", "known: '6.0'", "'5.0'"]),
        ({"head": "boxes"}, ["YOLOv5 head 'boxes'", "known: 'decoded', 'raw'"]),
        ({"classes": 3, "names": ["cat"]}, ["1 names for 3 classes"]),
        ({"name": "yolov5n-dcn", "version": "5.0"}, ["yolov5n-dcn in version '5.0'", "known: '6.0'"]),
    ],
)
def test_unknown_options(options, words):
    message = message_of(ArgumentError, YOLOv5, **{"name": "yolov5n", **options})
    for word in words:
        assert word in message


def test_pictures_of_the_wrong_size_or_channels():
    ours, _ = pair_of("yolov5n")
    message = message_of(ShapeError, ours.trace, {"images": (1, 3, 48, 64)})
    assert message.splitlines() == [
        "yolov5n takes pictures whose height and width are multiples of 32",
        "  received (48, 64)",
        "  nearest: (32, 64) and (64, 64)",
    ]
    message = message_of(ShapeError, pair_of("yolov5n6", "5.0")[0].trace, {"images": (1, 3, 640, 32)})
    assert "multiples of 64" in message
    assert message.endswith("nearest: (640, 64)")
    message = message_of(ShapeError, ours.trace, {"images": (1, 4, 64, 64)})
    assert "model.0.conv" in message
    assert "expected 3" in message
    assert "received 4" in message


def test_depth_and_width_can_be_set():
    model = YOLOv5("yolov5n", depth=0.33, width=0.5)
    assert sum(parameter.numel() for parameter in model.parameters()) == 7_235_389


def test_anchors_are_pairs():
    (head,) = (module for module in create("yolov5n").modules() if hasattr(module, "set_anchors"))
    triples = [[(10, 13, 1)] * 3] * 3
    assert "anchors are 3 pairs of width and height on each of 3 levels" in message_of(
        ArgumentError, head.set_anchors, triples
    )
    before = head.anchors.numpy()
    for wrong in (-1, 0, math.nan, math.inf, "a", None):
        message = message_of(ArgumentError, head.set_anchors, [[(10, 13)] * 3] * 2 + [[(10, 13)] * 2 + [(wrong, 2)]])
        assert message.startswith("anchors are widths and heights in pixels, above 0\n  received [[(10, 13)")
    np.testing.assert_array_equal(head.anchors.numpy(), before)


@pytest.mark.parametrize("option", ["depth", "width"])
@pytest.mark.parametrize("value", [0, -0.5, math.nan, "0.33", True])
def test_multiples_are_numbers_above_0(option, value):
    told = f"YOLOv5 takes a number or None as {option}" if value == "0.33" else f"{option} is a number above 0"
    assert message_of(ArgumentError, create, "yolov5n", **{option: value}) == f"{told}, not {value!r}"


def test_multiples_may_be_numpys_numbers():
    given = (
        create("yolov5n", depth=np.float32(0.67), width=np.float64(0.5)).state_dict(),
        create("yolov5n", depth=0.67, width=0.5).state_dict(),
    )
    assert [array.shape for array in given[0].values()] == [array.shape for array in given[1].values()]


# -- boxes of the raw head --------------------------------------------------------------------------------------------


def check_same_boxes(raw, decoded, images, **options):
    """The same in the same order, but for boxes whose scores are equal to within rounding; returns how many."""
    found, expected = (Detector(network, **options)(images) for network in (raw, decoded))
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other)
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-5)
        left = list(range(len(other)))
        for box, score, label in zip(one.boxes, one.scores, one.classes, strict=True):
            near = (i for i in left if other.classes[i] == label and abs(other.scores[i] - score) < 1e-5)
            same = next((i for i in near if np.abs(other.boxes[i] - box).max() < 1e-3), None)
            assert same is not None, (box, score, label)
            left.remove(same)
    return sum(map(len, expected))


@pytest.mark.parametrize(
    ("name", "version", "shape"),
    [
        ("yolov5n", "6.0", (1, 3, 96, 96)),
        ("yolov5n", "6.0", (3, 3, 64, 160)),
        ("yolov5s", "5.0", (1, 3, 96, 64)),
        ("yolov5n6", "6.0", (3, 3, 128, 192)),
    ],
)
@pytest.mark.parametrize("fp16", [False, pytest.param(True, marks=strongly_typed)])
def test_the_raw_head_finds_what_the_decoded_one_finds(name, version, shape, fp16):
    decoded, _ = pair_of(name, version)
    raw, _ = pair_of(name, version, "raw")
    both = [model.trace({"images": shape}, fp16=fp16) for model in (raw, decoded)]
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (*random.integers(30, 200, 2), 3), np.uint8) for _ in range(4)]
    for options in ({"confidence": 0.4, "iou": 0.6}, {"confidence": 0.01, "iou": 0.6, "multi_label": True}):
        assert check_same_boxes(*both, images, **options) > 20


def test_the_raw_head_of_one_class():
    models = [YOLOv5("yolov5n", classes=1, head=head) for head in ("raw", "decoded")]
    random = np.random.default_rng(0)
    for member in models[1]._state().values():
        if member.data is None:
            drawn = random.standard_normal(member.shape) * max(1, math.prod(member.shape[1:])) ** -0.5
            member.data = (np.abs(drawn) + 0.5 if len(member.shape) == 1 else drawn).astype(np.float32)
    models[0].load_state_dict(models[1].state_dict())
    image = random.integers(0, 256, (64, 64, 3), np.uint8)
    assert check_same_boxes(*(model.trace({"images": (1, 3, 64, 64)}) for model in models), [image]) > 3


@pytest.mark.parametrize(("name", "version"), [("yolov5n", "6.0"), ("yolov5s", "5.0"), ("yolov5n6", "6.0")])
def test_metadata_of_the_raw_head_say_what_its_maps_mean(name, version):
    ours, theirs = pair_of(name, version, "raw")
    size = ours.strides[-1]
    network = ours.trace({"images": (1, 3, size, size)})
    assert network.metadata["pipeline"] == "yolov5-raw"
    assert network.metadata["strides"] == list(ours.strides)
    expected = theirs.detect.anchors * torch.tensor(ours.strides).view(-1, 1, 1)
    np.testing.assert_allclose(network.metadata["anchors"], expected, rtol=1e-6)
    decoded, _ = pair_of(name, version)
    assert "anchors" not in decoded.trace({"images": (1, 3, size, size)}).metadata
    assert "pipeline" in ours.metadata  # which others read, for how pictures become the input
    assert ours.trace({"images": (1, 3, size, size)}, fp16=True).metadata == network.metadata


def test_anchors_of_the_raw_head_are_those_of_the_weights_when_it_is_traced():
    decoded, _ = pair_of("yolov5n")
    raw, _ = pair_of("yolov5n", head="raw")
    shape, image = {"images": (1, 3, 64, 64)}, np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    own = [[[5, 7.3], [9, 30], [11, 12]], [[30, 20], [21, 45], [50, 40]], [[60, 61.7], [100, 30], [25, 64]]]
    before = raw.trace(shape)
    for model in (decoded, raw):
        model.model[-1].set_anchors(own)
    network = raw.trace(shape)
    np.testing.assert_allclose(network.metadata["anchors"], own, rtol=1e-6)
    assert check_same_boxes(network, decoded.trace(shape), [image], confidence=0.3) > 20
    assert np.abs(Detector(before)([image])[0].boxes[0] - Detector(network)([image])[0].boxes[0]).max() > 1
    raw.load_state_dict({"model.24.anchors": decoded.model[-1].anchors.numpy() * 2}, strict=False)
    np.testing.assert_allclose(raw.trace(shape).metadata["anchors"], np.array(own) * 2, rtol=1e-6)


def test_an_engine_file_of_the_raw_head_says_it(tmp_path):
    ours, _ = pair_of("yolov5n", head="raw")
    engine = ours.compile({"images": (2, 3, 64, 96)}, fp16=True, **ONE_TARGET)
    loaded = Engine.load(engine.save(tmp_path / "raw.engine")).description
    network = ours.trace({"images": (2, 3, 64, 96)})
    assert {key: loaded[key] for key in network.metadata} == network.metadata
    assert Detector(engine, device="cpu").pipeline.head.anchors[0][0] == (10.0, 13.0)


def test_the_raw_head_of_any_size():
    ours, _ = pair_of("yolov5n", head="raw")
    detector = Detector(ours.trace(dynamic(32)))
    static = Detector(ours.trace({"images": (1, 3, 64, 64)}))
    (found,), (expected,) = (one([np.full((50, 64, 3), 99, np.uint8)]) for one in (detector, static))
    assert len(found) == len(expected) > 3
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)


def test_a_pipeline_of_one_s_own_stays():
    ours, _ = pair_of("yolov5n", head="raw")
    ours.metadata["pipeline"] = "mine"
    network = ours.trace({"images": (1, 3, 64, 64)})
    assert network.metadata == {"model": "yolov5n", **ours.metadata}


def test_maps_and_metadata_that_contradict_each_other_make_no_detector():
    ours, _ = pair_of("yolov5n", head="raw")
    network = ours.trace({"images": (1, 3, 64, 96)})
    said = dict(network.metadata)
    for changes, words in (
        ({"strides": [16, 32, 64]}, ["strides of 16, 32, 64 pixels", "stride 16 has 8×12 cells", "input 64×96 pixels"]),
        (
            {"strides": [8, 16], "anchors": said["anchors"][:2]},
            ["not a detector", "expected 2 maps", "output_2 (1, 24, 2, 3)"],
        ),
        ({"anchors": [level[:2] for level in said["anchors"]]}, ["are of 3 classes", "its output is of 7"]),
        ({"anchors": [level * 3 for level in said["anchors"]]}, ["have 9 anchors", "its maps have 24, 24, 24"]),
        ({"classes": 4}, ["its metadata are of 4 classes", "its output is of 3"]),
        ({"anchors": None}, ["nothing tells the anchors"]),
        ({"pipeline": "yolov5"}, ["this is not a detector", "expected one output (batch, boxes, 5 + classes)"]),
    ):
        network.metadata = {key: value for key, value in {**said, **changes}.items() if value is not None}
        message = message_of(ArgumentError, Detector, network)
        assert all(word in message for word in words), message
    network.metadata = {key: value for key, value in said.items() if key != "pipeline"}
    message = message_of(ArgumentError, Detector, network)
    assert "its metadata are of the task detect and 3 classes\n  received output_0 (1, 24, 8, 12), output_1" in message
    assert "say which it is: Detector(source, pipeline=...)" in message
