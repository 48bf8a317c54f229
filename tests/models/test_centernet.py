"""CenterNet against its torch twin, its peaks against NumPy, and what its checkpoints tell."""

import functools
import itertools
from unittest import mock

import numpy as np
import pytest
import torch

from benchmarks.twins import centernet as twin
from benchmarks.twins.centernet import well_scaled
from tests.helpers import ONE_TARGET, assert_close, layers, message_of, numbers, strongly_typed, trace
from trtnn import Dim, Input, load
from trtnn.errors import ArgumentError, ShapeError, StateDictError
from trtnn.models import create, identify
from trtnn.models.centernet import CenterNet, decode

CLASSES = 5
# Sampling at places that the network finds makes rounding larger: torch's own fp32 was seen 1.3e-5 off double
# precision.
TOLERANCE = 5e-4  # of maps, and of boxes in pixels; 2.4e-4 was seen
NAMES = ["centernet_dla34", "centernet_resnet50", "centernet_resdcn18"]


@functools.lru_cache(maxsize=3)
def twin_of(name):
    with (
        mock.patch.object(torch.nn.Conv2d, "reset_parameters"),
        mock.patch.object(torch.nn.ConvTranspose2d, "reset_parameters"),
    ):
        return well_scaled(twin.CenterNet(name, CLASSES))


def pair_of(name, head="decoded", detections=16):
    """Return our model with its twin's weights, and the twin with the same head."""
    theirs = twin_of(name)
    theirs.head, theirs.detections = head, detections
    ours = CenterNet(name, classes=CLASSES, head=head, detections=detections)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def pictures(batch, rows, columns, seed=1):
    return torch.randn(batch, 3, rows, columns, generator=torch.Generator().manual_seed(seed))


def assert_boxes_close(result, expected, tolerance=TOLERANCE):
    """Compare detections: boxes, scores and classes."""
    for part in (slice(4), slice(4, 5)):
        assert_close(result[..., part], expected[..., part], tolerance)
    np.testing.assert_array_equal(result[..., 5], expected[..., 5])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("batch", "rows", "columns"), [(1, 64, 96), (2, 96, 64)])
def test_it_agrees_with_its_twin(name, batch, rows, columns):
    images = pictures(batch, rows, columns)
    for head, check in (("raw", assert_close), ("decoded", assert_boxes_close)):
        ours, theirs = pair_of(name, head)
        with torch.no_grad():
            expected = theirs(images)
        check(ours.trace({"images": tuple(images.shape)}).run(images.numpy()), expected, TOLERANCE)
    assert expected.shape == (batch, 16, 6)
    assert expected[..., 4].min() > 0.05
    assert len(expected[..., 5].unique()) > 1


def test_shapes_at_512_pixels():
    model = CenterNet()
    for parameter in (*model.parameters(), *model.buffers()):
        parameter.data = np.broadcast_to(np.float32(0.01), parameter.shape)
    network = model.trace()
    assert network.inputs == {"images": Input((1, 3, 512, 512))}
    assert network.outputs == {"output": Input((1, 100, 6))}
    assert model.metadata == {
        "model": "centernet_dla34",
        "task": "detect",
        "classes": 80,
        "stride": 32,
        "strides": [4],
        "pipeline": "centernet",
    }
    assert CenterNet(classes=2, names=("cat", "dog")).metadata["names"] == ["cat", "dog"]
    model.head = "raw"
    shapes = {"hm": 80, "wh": 2, "reg": 2}
    outputs = {name: spec.shape for name, spec in model.trace({"images": (2, 3, 64, 96)}).outputs.items()}
    assert sorted(outputs.values()) == sorted((2, c, 16, 24) for c in shapes.values())


@pytest.mark.filterwarnings("ignore")  # torch's, of an exporter that needs no further package
def test_no_more_layers_than_its_onnx_road(tmp_path):
    trt = pytest.importorskip("tensorrt_rtx")
    ours, theirs = pair_of("centernet_resnet50", detections=100)
    path = str(tmp_path / "twin.onnx")
    torch.onnx.export(theirs, (torch.zeros(1, 3, 64, 64),), path, dynamo=False)
    logger = trt.Logger(trt.Logger.ERROR)
    definition = trt.Builder(logger).create_network(0)
    assert trt.OnnxParser(definition, logger).parse_from_file(path)
    assert len(layers(ours.trace({"images": (1, 3, 64, 64)}))) <= definition.num_layers


# -- peaks ------------------------------------------------------------------------------------------------------------


def peaks_of(hm, wh, reg, detections):
    """Every place that no neighbour is above, the best first, as boxes in pixels."""
    results = []
    for picture in range(len(hm)):
        found = []
        for label, row, column in np.ndindex(hm.shape[1:]):
            around = hm[picture, label, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            if hm[picture, label, row, column] == around.max():
                x, y = np.add((column, row), reg[picture, :, row, column])
                w, h = wh[picture, :, row, column] / 2.0
                score = 1 / (1 + np.exp(-float(hm[picture, label, row, column])))
                found.append([*(4 * side for side in (x - w, y - h, x + w, y + h)), score, label])
        results.append(sorted(found, key=lambda box: -box[4])[:detections])
    return np.array(results, np.float32)


@pytest.mark.parametrize(("batch", "classes", "rows", "columns"), [(1, 3, 9, 16), (2, 1, 16, 13), (3, 4, 8, 8)])
@pytest.mark.parametrize("fp16", [False, True])
def test_peaks(batch, classes, rows, columns, fp16):
    shapes = (batch, classes, rows, columns), (batch, 2, rows, columns), (batch, 2, rows, columns)
    maps = [numbers(*shape, seed=i, scale=3.0) for i, shape in enumerate(shapes)]
    network = trace(functools.partial(decode, detections=12), *maps, fp16=fp16)
    assert_boxes_close(network.run(*maps), peaks_of(*maps, 12), 1e-6)


def test_peaks_at_the_far_end_of_a_large_map():
    """Places beyond what fp16, and what a quotient in fp32, tell apart."""
    hm = np.full((1, 80, 192, 256), -9.0, np.float32)
    wanted = [(79, 191, 255), (79, 191, 253), (0, 0, 1), (40, 100, 0), (78, 190, 255), (1, 0, 0)]
    for rank, place in enumerate(wanted):
        hm[(0, *place)] = 5 - rank / 2
    wh, reg = np.full((1, 2, 192, 256), 3, np.float32), np.full((1, 2, 192, 256), 0.25, np.float32)
    for fp16 in (False, True):
        boxes = trace(functools.partial(decode, detections=6), hm, wh, reg, fp16=fp16).run(hm, wh, reg)
        for box, (label, row, column) in zip(boxes[0], wanted, strict=True):
            x, y = column + 0.25, row + 0.25
            assert box[[0, 1, 2, 3, 5]].tolist() == [4 * (x - 1.5), 4 * (y - 1.5), 4 * (x + 1.5), 4 * (y + 1.5), label]


def test_what_is_no_peak_has_score_0():
    hm = np.add.outer(np.arange(8.0), np.arange(8.0)).astype(np.float32)[None, None]  # one peak, in the corner
    zero = np.zeros((1, 2, 8, 8), np.float32)
    boxes = trace(functools.partial(decode, detections=4), hm, zero, zero).run(hm, zero, zero)
    assert boxes[0, 0, :4].tolist() == [28, 28, 28, 28]
    assert boxes[0, 0, 4] == pytest.approx(1, abs=1e-5)
    assert boxes[0, 1:, 4].tolist() == [0, 0, 0]


def test_scores_near_1_stay_apart():
    """The sigmoids of 20 and 30 are both 1 in fp32: neighbours would both be peaks."""
    hm = np.full((1, 1, 8, 8), -9, np.float32)
    hm[0, 0, 3, 3:5] = 20, 30
    zero = np.zeros((1, 2, 8, 8), np.float32)
    boxes = trace(functools.partial(decode, detections=2), hm, zero, zero).run(hm, zero, zero)
    assert boxes[0, 0].tolist() == [16, 12, 16, 12, 1, 0]
    assert boxes[0, 1, 4] < 1e-3


# -- half precision, dynamic shapes, building -------------------------------------------------------------------------


@strongly_typed
@pytest.mark.parametrize("name", NAMES[1:])
def test_fp16_is_near_fp32(name):
    ours, _ = pair_of(name, "raw")
    images = pictures(1, 64, 64).numpy()
    full, half = (ours.trace({"images": images.shape}, fp16=fp16).run(images) for fp16 in (False, True))
    for part, tolerance in (("hm", 0.05), ("wh", 0.05), ("reg", 0.05)):
        assert 0 < np.abs(half[part] - full[part]).max() < tolerance * np.abs(full[part]).max()


@strongly_typed
def test_decoding_is_in_fp32():
    ours, _ = pair_of("centernet_resnet50")
    network = ours.trace({"images": (1, 3, 64, 64)}, fp16=True)
    decoding = [row for row in network.layers() if row.path == "" and row.kind != "CAST"]
    assert {row.output.dtype.name for row in decoding} <= {"float32", "int32", "int64", "bool"}
    assert {layer.kernel.dtype.name for layer in layers(network, "CONVOLUTION")} == {"float16"}


@pytest.mark.parametrize("head", ["decoded", "raw"])
def test_one_network_for_every_size(head):
    ours, theirs = pair_of("centernet_resdcn18", head)
    sides = [Dim(name, 32, 64, 96, multiple_of=32) for name in ("height", "width")]
    network = ours.trace({"images": (Dim("batch", 1, 1, 2), 3, *sides)})
    for batch, rows, columns in ((1, 64, 96), (2, 96, 32)):
        images = pictures(batch, rows, columns)
        with torch.no_grad():
            expected = theirs(images)
        check = assert_close if head == "raw" else assert_boxes_close
        check(network.run(images.numpy()), expected, TOLERANCE)


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_it_builds(name, fp16):
    ours, _ = pair_of(name)
    engine = ours.compile({"images": (2, 3, 64, 64)}, fp16=fp16, **ONE_TARGET)
    assert engine.outputs == {"output": Input((2, 16, 6))}
    assert engine.description["model"] == name
    assert engine.description["pipeline"] == "centernet"
    assert engine.description["classes"] == CLASSES
    assert engine.plan.nbytes > 2_000_000


# -- names ------------------------------------------------------------------------------------------------------------

# As the project's code makes them, and as its users list those of ctdet_coco_dla_2x.pth.
OFFICIAL_DLA = {
    "base.base_layer.0.weight": (16, 3, 7, 7),
    "base.base_layer.1.running_mean": (16,),
    "base.level0.0.weight": (16, 16, 3, 3),
    "base.level1.0.weight": (32, 16, 3, 3),
    "base.level2.tree1.conv1.weight": (64, 32, 3, 3),
    "base.level2.root.conv.weight": (64, 128, 1, 1),
    "base.level2.project.0.weight": (64, 32, 1, 1),
    "base.level3.project.1.running_var": (128,),
    "base.level3.tree1.project.0.weight": (128, 64, 1, 1),
    "base.level3.tree2.root.conv.weight": (128, 448, 1, 1),
    "base.level4.tree1.tree2.bn2.bias": (256,),
    "base.level4.tree2.root.conv.weight": (256, 896, 1, 1),
    "base.level5.root.conv.weight": (512, 1280, 1, 1),
    "base.fc.weight": (1000, 512, 1, 1),
    "dla_up.ida_0.proj_1.conv.weight": (256, 512, 3, 3),
    "dla_up.ida_0.proj_1.conv.bias": (256,),
    "dla_up.ida_0.proj_1.conv.conv_offset_mask.weight": (27, 512, 3, 3),
    "dla_up.ida_0.proj_1.actf.0.weight": (256,),
    "dla_up.ida_0.up_1.weight": (256, 1, 4, 4),
    "dla_up.ida_1.node_2.conv.conv_offset_mask.bias": (27,),
    "dla_up.ida_1.proj_2.conv.weight": (128, 256, 3, 3),
    "dla_up.ida_2.proj_3.conv.weight": (64, 128, 3, 3),
    "ida_up.up_1.weight": (64, 1, 4, 4),
    "ida_up.up_2.weight": (64, 1, 8, 8),
    "ida_up.proj_2.conv.weight": (64, 256, 3, 3),
    "hm.0.weight": (256, 64, 3, 3),
    "hm.2.bias": (80,),
    "wh.2.weight": (2, 256, 1, 1),
    "reg.0.bias": (256,),
}
OFFICIAL_RESNET = {
    "conv1.weight": (64, 3, 7, 7),
    "bn1.running_var": (64,),
    "layer1.0.downsample.0.weight": (256, 64, 1, 1),
    "layer3.5.conv2.weight": (256, 256, 3, 3),
    "deconv_layers.0.weight": (2048, 256, 4, 4),
    "deconv_layers.1.weight": (256,),
    "deconv_layers.6.weight": (256, 256, 4, 4),
    "hm.0.weight": (64, 256, 3, 3),
    "hm.2.weight": (80, 64, 1, 1),
}
OFFICIAL_RESDCN = {
    "layer1.0.conv1.weight": (64, 64, 3, 3),
    "deconv_layers.0.weight": (256, 512, 3, 3),
    "deconv_layers.0.bias": (256,),
    "deconv_layers.0.conv_offset_mask.weight": (27, 512, 3, 3),
    "deconv_layers.3.weight": (256, 256, 4, 4),
    "deconv_layers.6.weight": (128, 256, 3, 3),
    "deconv_layers.15.weight": (64, 64, 4, 4),
    "hm.0.weight": (64, 64, 3, 3),
}


@pytest.mark.parametrize(
    ("name", "official", "count"),
    [
        ("centernet_dla34", OFFICIAL_DLA, 20_188_892),
        ("centernet_resnet50", OFFICIAL_RESNET, 34_443_348),
        ("centernet_resdcn18", OFFICIAL_RESDCN, 14_437_349),
    ],
)
def test_names_are_the_official(name, official, count):
    model = CenterNet(name)
    own = {path: member.shape for path, member in model._state().items()}
    assert official.items() <= own.items()
    with torch.device("meta"):
        theirs = twin.CenterNet(name, 80)
    expected = {n: tuple(t.shape) for n, t in theirs.state_dict().items() if "num_batches_tracked" not in n}
    assert own == expected
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_what_checkpoints_may_lack():
    _, theirs = pair_of("centernet_dla34")
    unused = ("base.fc.", "base.level3.project.", "base.level4.project.")
    state = {name: tensor for name, tensor in theirs.state_dict().items() if not name.startswith(unused)}
    assert CenterNet(classes=CLASSES).load_state_dict(state) == ([], [])
    del state["base.level5.project.0.weight"]
    message = message_of(StateDictError, CenterNet(classes=CLASSES).load_state_dict, state)
    assert "missing: base.level5.project.0.weight (512, 256, 1, 1)" in message


def test_a_training_checkpoint(tmp_path):
    theirs = twin_of("centernet_resdcn18")
    state = {f"module.{name}": tensor for name, tensor in theirs.state_dict().items()}
    torch.save({"epoch": 230, "state_dict": state, "optimizer": {"param_groups": []}}, tmp_path / "model_last.pth")
    loaded = load(tmp_path / "model_last.pth")
    assert identify(loaded) == {"name": "centernet_resdcn18", "classes": CLASSES}
    CenterNet("centernet_resdcn18", classes=CLASSES).load_state_dict(loaded)


def state_of(name, classes=7):
    """A state dict of zeros that takes no memory."""
    return {n: np.broadcast_to(np.float32(0), p.shape) for n, p in create(name, classes=classes)._state().items()}


@pytest.mark.parametrize(("given", "made"), list(itertools.permutations(CenterNet.variants, 2)))
def test_the_wrong_checkpoint_is_recognised(given, made):
    state = state_of(given)
    assert identify(state) == {"name": given, "classes": 7}
    message = message_of(StateDictError, CenterNet(made, classes=7).load_state_dict, state)
    assert f'this looks like CenterNet("{given}", classes=7)' in message


def test_what_is_no_centernet():
    for state in (
        {"fc.weight": np.zeros((10, 512))},
        {"hm.2.bias": np.zeros(1), "wh.2.bias": np.zeros(2), "reg.2.bias": np.zeros(2)},
        {**state_of("centernet_dla34"), "hps.2.bias": np.zeros(34)},  # of poses
    ):
        assert CenterNet.identify(state) is None
        message = message_of(StateDictError, CenterNet().load_state_dict, state)
        assert "this does not look like a CenterNet, nor" in message
    for family in ("resnet50", "yolov5n"):
        assert CenterNet.identify(state_of(family)) is None
        assert identify(state_of(family))["name"] == family


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "centernet_dla"}, ["no model is called 'centernet_dla'", "nearest: centernet_dla34"]),
        ({"head": "boxes"}, ["CenterNet head 'boxes'", "known: 'decoded', 'raw'"]),
        ({"classes": 3, "names": ["cat"]}, ["1 names for 3 classes"]),
    ],
)
def test_unknown_options(arguments, words):
    message = message_of(ArgumentError, CenterNet, **arguments)
    for word in words:
        assert word in message


def test_pictures_are_multiples_of_the_stride():
    ours, _ = pair_of("centernet_resdcn18")
    message = message_of(ShapeError, ours.trace, {"images": (1, 3, 100, 64)})
    assert "centernet_resdcn18 takes pictures whose height and width are multiples of 32" in message
    assert "received (100, 64)" in message
    assert "nearest: (96, 64) and (128, 64)" in message
    side = Dim("side", 64, 96, 128, multiple_of=16)
    assert "multiple_of=32" in message_of(ShapeError, ours.trace, {"images": (1, 3, side, 64)})


def test_more_detections_than_places():
    ours, _ = pair_of("centernet_resdcn18", detections=5000)
    message = message_of(ArgumentError, ours.trace, {"images": (1, 3, 64, 64)})
    assert f"topk of 5000 along a dimension of {CLASSES * 16 * 16}" in message
