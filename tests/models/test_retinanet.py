"""RetinaNet against its torch twin, and against what torchvision publishes."""

import functools

import numpy as np
import pytest
import torch

from benchmarks.twins import resnet as resnet_twin
from benchmarks.twins import retinanet as twin
from tests.helpers import ONE_TARGET, assert_close, message_of, run, strongly_typed
from tests.models.checks import noise, zeros_of
from tests.models.names import digest
from trtnn import Dim, Engine, Input
from trtnn.errors import ArgumentError, ShapeError, StateDictError
from trtnn.models import create, from_state_dict, identify
from trtnn.models.retinanet import RetinaNet, _anchors, _boxes
from trtnn.modules import BatchNorm2d, FrozenBatchNorm2d

CLASSES = 7
V1, V2 = "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2"
# In parts of the largest magnitude, as seen: 5e-6, where torch itself is as much off double precision, and 1.4e-2.
FP32_TOLERANCE = 1e-4  # of a logit
FP16_TOLERANCE = 1e-1

# Parameters and operations (at 800 pixels) that torchvision 0.29.1 publishes beside its weights, and the digest of
# ``torchvision.models.get_model(name, weights=None, weights_backbone=None).state_dict()`` there.
PUBLISHED = {
    V1: (34_014_999, 151.540e9, "593e3a6a7dba629f0328bedfe7d89c332854020b5c01d2f99b8ade7d07276ded"),
    V2: (38_198_935, 152.238e9, "af086fb2c038315cabd73a2650762c1c8431c16207c1df30ab5e11758e8955cb"),
}


@functools.lru_cache(maxsize=2)
def twin_of(name):
    return twin.settled(twin.RetinaNet(name, CLASSES))


def pair_of(name, head="decoded"):
    """Return our model with its twin's weights, and the twin with the same head."""
    theirs = twin_of(name)
    theirs.output = head
    ours = RetinaNet(name, CLASSES, head)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


pictures = functools.partial(noise, seed=2)


def assert_detections_close(result, expected, tolerance=FP32_TOLERANCE):
    """Compare boxes in pixels, and scores in parts of themselves; a delta moves a box by a tenth of its anchor."""
    assert result.keys() == expected.keys()
    assert_close(result["boxes"], expected["boxes"], tolerance, 10 * tolerance)
    assert_close(result["scores"], expected["scores"], tolerance, tolerance / 100)


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (2, 3, 160, 96)])
@pytest.mark.parametrize("name", PUBLISHED)
def test_boxes_and_scores_agree_with_the_twins(name, shape):
    ours, theirs = pair_of(name)
    images = pictures(*shape)
    with torch.no_grad():
        expected = theirs(images)
    result = ours.trace({"images": shape}).run(images.numpy())
    assert_detections_close(result, expected)
    height, width = shape[2:]
    boxes = result["boxes"]
    assert boxes.min() == 0
    assert list(boxes.max((0, 1))) == [width, height, width, height]
    assert ((boxes > 0) & (boxes < min(shape[2:]))).mean() > 0.2


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_raw_head_is_a_dict_of_lists(name):
    ours, theirs = pair_of(name, "raw")
    images = pictures(2, 3, 160, 96)
    with torch.no_grad():
        expected = theirs(images)
    network = ours.trace({"images": (2, 3, 160, 96)})
    assert_close(network.run(images.numpy()), expected, FP32_TOLERANCE)
    assert list(network.outputs) == [f"{kind}_{level}" for kind in ("logits", "deltas") for level in range(5)]
    cells = (20 * 12, 10 * 6, 5 * 3, 3 * 2, 2 * 1)
    assert [spec.shape for spec in network.outputs.values()][:5] == [(2, 9 * n, CLASSES) for n in cells]


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_counts_and_operations_are_torchvisions(name):
    count, operations, names = PUBLISHED[name]
    model = RetinaNet(name)
    assert digest(model._state()) == names
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    for member in (*model.parameters(), *model.buffers()):
        member.data = np.broadcast_to(np.float32(0.01), member.shape)
    network = model.trace()
    assert sum(row.flops for row in network.layers()) / 2 == pytest.approx(operations, rel=1e-4)
    assert network.outputs == {"boxes": Input((1, 120087, 4)), "scores": Input((1, 120087, 91))}


def test_some_names():
    first, second = ({name: member.shape for name, member in RetinaNet(name)._state().items()} for name in PUBLISHED)
    for shapes in (first, second):
        assert shapes["backbone.body.layer1.0.conv1.weight"] == (64, 64, 1, 1)
        assert shapes["backbone.fpn.inner_blocks.0.0.weight"] == (256, 512, 1, 1)
        assert shapes["backbone.fpn.layer_blocks.2.0.bias"] == (256,)
        assert shapes["head.classification_head.conv.3.0.weight"] == (256, 256, 3, 3)
        assert shapes["head.classification_head.cls_logits.weight"] == (9 * 91, 256, 3, 3)
        assert shapes["head.regression_head.bbox_reg.bias"] == (36,)
    assert first["backbone.fpn.extra_blocks.p6.weight"] == (256, 256, 3, 3)
    assert second["backbone.fpn.extra_blocks.p6.weight"] == (256, 2048, 3, 3)
    assert "head.regression_head.conv.0.0.bias" in first
    assert second["head.regression_head.conv.0.1.bias"] == (256,)
    assert "head.regression_head.conv.0.0.bias" not in second


def test_anchors_are_torchvisions():
    """The ends are those of torchvision 0.29.1, of ``retinanet_resnet50_fpn().anchor_generator.cell_anchors``."""
    ends = [[23, 11], [28, 14], [35, 18], [16, 16], [20, 20], [25, 25], [11, 23], [14, 28], [18, 35]]
    np.testing.assert_array_equal(_anchors(32), [[0, 0, 2 * w, 2 * h] for w, h in ends])
    np.testing.assert_array_equal(_anchors(512)[[0, 4, 8]][:, 2:], [[724, 362], [644, 644], [574, 1148]])


def test_no_box_is_larger_than_1000_over_16_of_its_anchor():
    """In small pictures such boxes are cut at the edges, with that limit or without."""
    anchors = np.array([[512, 400, 10, 12]] * 4, np.float32)
    deltas = np.array([[[0.5, -1, 3, 0], [0, 0, 4.1, 4.2], [0, 1, 5, -2], [0, 0, -100, 100]]], np.float32)
    centre = anchors[:, :2] + deltas[..., :2] * anchors[:, 2:]
    half = np.minimum(np.exp(deltas[..., 2:].astype(np.float64)), 62.5) * anchors[:, 2:] / 2
    expected = np.concatenate([centre - half, centre + half], -1).astype(np.float32)
    assert_close(run(lambda x: _boxes(x, anchors, (800, 1024)), deltas), expected)


def test_the_norms_of_the_backbone():
    """No state dict carries eps: torchvision sets it to 0 for its own weights of the first version."""
    for name, kind, usual in ((V1, FrozenBatchNorm2d, 0.0), (V2, BatchNorm2d, 1e-5)):
        for eps, expected in ((None, usual), (1e-3, 1e-3)):
            body = RetinaNet(name, eps=eps).backbone.get_submodule("body")
            norms = [module for path, module in body.named_modules() if "bn" in path or "downsample.1" in path]
            assert {(type(norm), norm.eps) for norm in norms} == {(kind, expected)}
            assert len(norms) == 53


def test_eps_reaches_the_numbers():
    theirs = twin.RetinaNet(V1, CLASSES, eps=1e-2)
    theirs.load_state_dict(twin_of(V1).state_dict())
    ours = RetinaNet(V1, CLASSES, eps=1e-2)
    ours.load_state_dict(theirs.state_dict())
    images = pictures(1, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.eval()(images)
    assert_detections_close(ours.trace({"images": (1, 3, 64, 64)}).run(images.numpy()), expected)


def test_inputs_and_metadata():
    model = RetinaNet(V2, classes=2, names=("cat", "dog"))
    assert model.inputs == {"images": Input((1, 3, 800, 800))}
    known = {"model": V2, "task": "detect", "classes": 2, "pipeline": "retinanet", "stride": 32}
    assert model.metadata == {**known, "strides": [8, 16, 32, 64, 128], "names": ["cat", "dog"]}


# -- half precision, building, dynamic shapes -------------------------------------------------------------------------


@strongly_typed
@pytest.mark.parametrize("name", PUBLISHED)
def test_fp16_is_near_fp32(name):
    ours, theirs = pair_of(name)
    images = pictures(1, 3, 64, 96)
    with torch.no_grad():
        expected = theirs(images)
    network = ours.trace({"images": (1, 3, 64, 96)}, fp16=True)
    assert_detections_close(network.run(images.numpy()), expected, FP16_TOLERANCE)
    decoding = [row for row in network.layers() if not row.path and row.kind in ("ELEMENTWISE", "UNARY")]
    assert len(decoding) == 9
    assert {row.output.dtype.name for row in decoding} == {"float32"}


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("name", PUBLISHED)
def test_it_builds(name, fp16):
    ours, _ = pair_of(name)
    engine = ours.compile({"images": (1, 3, 64, 64)}, fp16=fp16, **ONE_TARGET)
    anchors = 9 * (64 + 16 + 4 + 1 + 1)
    assert engine.outputs == {"boxes": Input((1, anchors, 4)), "scores": Input((1, anchors, CLASSES))}
    assert engine.description["pipeline"] == "retinanet"


def dynamic(most):
    height, width = (Dim(name, 32, 64, most, multiple_of=32) for name in ("height", "width"))
    return {"images": (Dim("batch", 1, 1, 2), 3, height, width)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_one_network_for_every_size(name):
    """Sides of an odd number of 32s too, where the levels above do not halve evenly."""
    ours, theirs = pair_of(name)
    network = ours.trace(dynamic(256))
    for shape in ((1, 3, 32, 32), (2, 3, 160, 96), (1, 3, 64, 224)):
        images = pictures(*shape)
        with torch.no_grad():
            assert_detections_close(network.run(images.numpy()), theirs(images))


def test_a_level_of_one_cell_at_every_size():
    ours, theirs = pair_of(V1)
    network = ours.trace(dynamic(96))
    for shape in ((1, 3, 32, 96), (2, 3, 64, 32)):
        images = pictures(*shape)
        with torch.no_grad():
            assert_detections_close(network.run(images.numpy()), theirs(images))


def test_one_engine_for_every_size_builds(tmp_path):
    ours, _ = pair_of(V1)
    engine = ours.compile(dynamic(128), fp16=True, **ONE_TARGET)
    loaded = Engine.load(engine.save(tmp_path / "retinanet.engine"))
    assert str(loaded.inputs["images"]) == "float32[batch, 3, height, width]"
    assert str(loaded.outputs["boxes"]).startswith("float32[batch, 189*height*width//1024 + ")


# -- checkpoints, and what is wrong -----------------------------------------------------------------------------------


def older(state_dict):
    """Give the first version the names that it had before torchvision 0.13."""
    names = {}
    for block in ("inner_blocks", "layer_blocks"):
        names |= {f"backbone.fpn.{block}.{i}.0.": f"backbone.fpn.{block}.{i}." for i in range(3)}
    for branch in ("classification_head", "regression_head"):
        names |= {f"head.{branch}.conv.{i}.0.": f"head.{branch}.conv.{2 * i}." for i in range(4)}
    renamed = {}
    for key, value in state_dict.items():
        new = next((new for new in names if key.startswith(new)), "")
        renamed[key.replace(new, names[new]) if new else key] = value
    return renamed


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_checkpoint_tells_its_model(name):
    with torch.device("meta"):
        state = zeros_of(twin.RetinaNet(name, 5))
    assert identify(state) == {"name": name, "classes": 5}
    assert identify({key: value.reshape(-1) for key, value in state.items()}) == identify(state)
    assert isinstance(from_state_dict(state), RetinaNet)


def test_a_checkpoint_with_older_names():
    state = twin_of(V1).state_dict()
    old = older(state)
    assert len(old.keys() - state.keys()) == 12 + 16
    assert identify(old) == {"name": V1, "classes": CLASSES}
    loaded = from_state_dict(old).state_dict()
    for key, value in state.items():
        np.testing.assert_array_equal(loaded[key], value)


def test_networks_that_share_its_names_are_not_taken_for_it():
    with torch.device("meta"):
        state = zeros_of(twin.RetinaNet(V1, 5))
    assert RetinaNet.identify({**state, "head.regression_head.bbox_reg.bias": np.zeros(4)}) is None  # FCOS


def test_the_wrong_checkpoint_is_recognised():
    message = message_of(StateDictError, RetinaNet(V2).load_state_dict, twin_of(V1).state_dict())
    assert message.startswith("the state dict does not fit RetinaNet: ")
    assert f'this looks like RetinaNet("{V1}", classes={CLASSES})' in message
    message = message_of(StateDictError, RetinaNet(V1).load_state_dict, twin_of(V1).state_dict())
    assert "0 missing, 0 unexpected, 2 of the wrong shape; nothing was loaded" in message
    assert f"expected (819,), received ({9 * CLASSES},)" in message
    with torch.device("meta"):
        foreign = zeros_of(resnet_twin.ResNet("resnet50"))
    message = message_of(StateDictError, RetinaNet(V1).load_state_dict, foreign)
    assert 'this looks like ResNet("resnet50", classes=1000)' in message
    assert "267 unexpected" in message
    assert "\n  unexpected: 257 more\n" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"head": "boxes"}, ["RetinaNet head 'boxes'", "known: 'decoded', 'raw'"]),
        ({"classes": 3, "names": ["cat"]}, ["1 names for 3 classes"]),
    ],
)
def test_unknown_options(options, words):
    message = message_of(ArgumentError, RetinaNet, **options)
    assert all(word in message for word in words)


def test_an_unknown_name_has_a_nearest():
    for make in (RetinaNet, create):
        message = message_of(ArgumentError, make, "retinanet_resnet50_v2")
        assert "no model is called 'retinanet_resnet50_v2'" in message
        assert f"nearest: {V2}" in message


def test_pictures_of_the_wrong_size_or_channels():
    ours, _ = pair_of(V1)
    height = Dim("height", 32, 64, 128, multiple_of=16)
    for shape, advice in (
        ((1, 3, 64, 80), "nearest: (64, 64) and (64, 96)"),
        ((1, 3, height, 64), "declare it: trtnn.Dim(..., multiple_of=32)"),
    ):
        message = message_of(ShapeError, ours.trace, {"images": shape})
        assert message.splitlines() == [
            f"{V1} takes pictures whose height and width are multiples of 32",
            f"  received {shape[2:]}",
            f"  {advice}",
        ]
    message = message_of(ShapeError, ours.trace, {"images": (1, 4, 64, 64)})
    assert "backbone.body.conv1" in message
    assert "expected 3" in message
