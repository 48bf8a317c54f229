"""YOLOv3 against its torch twin and against published numbers: versions, heads, precision, every form of weights."""

import copy
import functools
import struct

import numpy as np
import pytest
import torch

import trtnn
from benchmarks.twins import yolov3 as twins
from benchmarks.twins.scaling import pictures
from tests.helpers import ONE_TARGET, assert_close, message_of, strongly_typed
from tests.models.checks import any_size, assert_boxes_close, outputs_of, zeros_of
from trtnn import Input, models
from trtnn.errors import ArgumentError, ShapeError, StateDictError, TrtnnError
from trtnn.models.yolov3 import YOLOv3
from trtnn.vision import pipeline_of

CLASSES = 3
FP32_TOLERANCE = 5e-5  # 1e-5 was seen, in sizes: their exponential makes a relative error of an absolute one
FP16_TOLERANCE = 5e-2

VERSIONS = ["darknet", "9.0", "9.6"]
USUAL = r"without bbox_head\.anchors, and boxes are made with the usual ones, 10×1[34], "
MODELS = [("yolov3", "darknet"), *(("yolov3-tiny", version) for version in VERSIONS)]


@functools.cache
def twin_of(name, version="darknet"):
    return twins.make(name, CLASSES, version)


@functools.cache
def weights_of(name, version="darknet"):
    """A twin's weights under our own names."""
    return YOLOv3.canonical(twin_of(name, version).state_dict())


def pair_of(name, version="darknet", head="decoded"):
    ours = YOLOv3(name, classes=CLASSES, version=version, head=head)
    ours.load_state_dict(weights_of(name, version))
    return ours, twin_of(name, version)


def in_order_of_darknet(twin):
    """The tensors of a twin in the order of Darknet's .cfg: the last convolution of each level follows that level."""
    *layers, head = twin.model
    lasts = dict(zip((19, 15) if len(layers) == 20 else (27, 22, 15), head.m, strict=True))
    for index, layer in enumerate(layers):
        for block in (module for module in layer.modules() if isinstance(module, twins.Conv)):
            norm = block.bn
            yield from (norm.bias, norm.weight, norm.running_mean, norm.running_var, block.conv.weight)
        if index in lasts:
            yield from (lasts[index].bias, lasts[index].weight)


def filled(model):
    for parameter in (*model.parameters(), *model.buffers()):
        if not parameter.optional:
            parameter.data = np.full(parameter.shape, 0.01, np.float32)
    return model


@pytest.mark.parametrize(("name", "version"), MODELS)
def test_it_agrees_with_its_twin(name, version):
    ours, theirs = pair_of(name, version)
    raw, _ = pair_of(name, version, "raw")
    for shape in ((1, 96, 64), (2, 32, 64)):
        images = pictures(*shape)
        boxes, maps = outputs_of(theirs, images)
        inputs = {"images": tuple(images.shape)}
        assert_boxes_close(ours.trace(inputs).run(images.numpy()), boxes, FP32_TOLERANCE)
        # Of maps up to 10: what 75 convolutions round depends on the order in which a processor adds.
        assert_close(raw.trace(inputs).run(images.numpy()), maps, FP32_TOLERANCE, 2e-4)


@pytest.mark.parametrize(
    ("name", "count", "numbers"),
    [  # with 80 classes: parameters, and bytes of pjreddie.com/media/files/yolov3.weights and yolov3-tiny.weights
        ("yolov3", 61_949_149, 248_007_048),
        ("yolov3-tiny", 8_852_366, 35_434_956),
    ],
)
def test_sizes_are_the_published(name, count, numbers):
    model = YOLOv3(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    for classes in (80, 1, 20):
        state = YOLOv3(name, classes)._state()
        file = np.broadcast_to(np.float32(0), sum(p.numel() for key, p in state.items() if "anchors" not in key))
        assert classes != 80 or 4 * len(file) + 20 == numbers
        assert models.identify({"darknet": file}) == {"name": name, "classes": classes, "version": "darknet"}


def test_names_are_the_official_ones():
    shapes = {name: parameter.shape for name, parameter in YOLOv3()._state().items()}
    official = {
        "backbone.conv1.conv.weight": (32, 3, 3, 3),
        "backbone.conv1.bn.running_var": (32,),
        "backbone.conv_res_block1.conv.conv.weight": (64, 32, 3, 3),
        "backbone.conv_res_block1.res0.conv1.conv.weight": (32, 64, 1, 1),
        "backbone.conv_res_block4.res7.conv2.bn.bias": (512,),
        "backbone.conv_res_block5.res3.conv2.conv.weight": (1024, 512, 3, 3),
        "neck.detect1.conv1.conv.weight": (512, 1024, 1, 1),
        "neck.detect1.conv4.conv.weight": (1024, 512, 3, 3),
        "neck.conv1.conv.weight": (256, 512, 1, 1),
        "neck.detect2.conv1.conv.weight": (256, 768, 1, 1),
        "neck.conv2.bn.weight": (128,),
        "neck.detect3.conv5.conv.weight": (128, 256, 1, 1),
        "bbox_head.convs_bridge.0.conv.weight": (1024, 512, 3, 3),
        "bbox_head.convs_bridge.2.bn.running_mean": (256,),
        "bbox_head.convs_pred.0.weight": (255, 1024, 1, 1),
        "bbox_head.convs_pred.2.bias": (255,),
    }
    assert {name: shapes.get(name) for name in official} == official
    assert len(shapes) == 72 * 5 + 3 * 2 + 1  # and the anchors, which mmdetection has no array of
    tiny = YOLOv3("yolov3-tiny")._state()
    assert len(tiny) == 11 * 5 + 2 * 2 + 1


@pytest.mark.parametrize("version", ["darknet", "9.0"])
@pytest.mark.parametrize("name", YOLOv3.variants)
def test_boxes_by_hand(name, version):
    """Every box of one random map for each level by the formula, one by one."""
    strides, anchors = YOLOv3.variants[name].strides, YOLOv3.variants[name].anchors
    head = YOLOv3(name, classes=2, version=version).bbox_head

    class Boxes(trtnn.Module):
        def __init__(self):
            super().__init__()
            self.head = head

        def forward(self, **maps):
            return self.head.boxes(list(maps.values()))

    random = np.random.default_rng(0)
    maps = {f"level{s}": random.standard_normal((1, 21, 64 // s, 96 // s)).astype(np.float32) for s in strides}
    state = Boxes()
    for convs in (head.convs_bridge, head.convs_pred):
        filled(convs)
    boxes = state.trace({key: value.shape for key, value in maps.items()}).run(*maps.values())[0]
    index = 0
    for stride, level, of_level in zip(strides, maps.values(), anchors, strict=True):
        for anchor, (width, height) in enumerate(of_level):
            for row, column in np.ndindex(*level.shape[2:]):
                t = level[0, 7 * anchor : 7 * anchor + 7, row, column].astype(np.float64)
                s = 1 / (1 + np.exp(-t))
                if version == "darknet":
                    centre, size = (s[0] + column, s[1] + row), (np.exp(t[2]) * width, np.exp(t[3]) * height)
                else:
                    centre = 2 * s[0] - 0.5 + column, 2 * s[1] - 0.5 + row
                    size = 4 * s[2] ** 2 * width, 4 * s[3] ** 2 * height
                expected = [centre[0] * stride, centre[1] * stride, *size, *s[4:]]
                np.testing.assert_allclose(boxes[index], expected, rtol=1e-5, atol=1e-5)
                index += 1
    assert index == len(boxes)


def test_usual_shapes():
    network = filled(YOLOv3()).trace()
    assert network.inputs == {"images": Input((1, 3, 416, 416))}
    assert network.outputs == {"output": Input((1, 10647, 85))}
    assert sum(row.flops for row in network.layers()) == pytest.approx(65.86e9, rel=0.01)  # as published
    tiny = YOLOv3("yolov3-tiny", version="9.0", classes=2, names=("cat", "dog"))
    assert tiny.inputs == {"images": Input((1, 3, 640, 640))}
    known = {"model": "yolov3-tiny", "task": "detect", "pipeline": "yolov5", "classes": 2, "stride": 32}
    assert tiny.metadata == {**known, "strides": [16, 32], "names": ["cat", "dog"]}
    assert filled(YOLOv3("yolov3-tiny")).trace().outputs == {"output": Input((1, 2535, 85))}


# -- precision and building -------------------------------------------------------------------------------------------


@strongly_typed
@pytest.mark.parametrize("version", VERSIONS)
def test_fp16_is_near_fp32_and_boxes_are_decoded_in_fp32(version):
    ours, _ = pair_of("yolov3-tiny", version)
    images = pictures(1, 96, 64).numpy()
    full, network = (ours.trace({"images": images.shape}, fp16=fp16) for fp16 in (False, True))
    half = network.run(images)
    assert np.abs(half - full.run(images)).max() > 0
    assert_boxes_close(half, full.run(images), FP16_TOLERANCE)
    for row in network.layers():
        if row.kind in ("ELEMENTWISE", "UNARY", "ACTIVATION") and row.path == "bbox_head":
            assert row.output.dtype.name == "float32", row
        elif row.kind in ("CONVOLUTION", "ACTIVATION"):
            assert row.output.dtype.name == "float16", row


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("version", ["darknet", "9.0"])
def test_it_builds(version, fp16):
    ours, _ = pair_of("yolov3-tiny", version)
    engine = ours.compile({"images": (2, 3, 64, 96)}, fp16=fp16, **ONE_TARGET)
    assert engine.outputs == {"output": Input((2, 90, 5 + CLASSES))}
    assert (engine.description["model"], engine.description["pipeline"]) == ("yolov3-tiny", "yolov5")


def test_one_engine_for_every_size_builds():
    engine = pair_of("yolov3-tiny")[0].compile(any_size(), fp16=True, **ONE_TARGET)
    assert str(engine.outputs["output"]) == f"float32[batch, 15*height*width//1024, {5 + CLASSES}]"


@pytest.mark.parametrize(("name", "version"), MODELS)
def test_one_network_for_every_size(name, version):
    ours, theirs = pair_of(name, version)
    network = ours.trace(any_size())
    for shape in ((1, 32, 32), (2, 64, 96), (3, 128, 32)):
        images = pictures(*shape)
        boxes, _ = outputs_of(theirs, images)
        assert_boxes_close(network.run(images.numpy()), boxes, FP32_TOLERANCE)


# -- forms of weights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", YOLOv3.variants)
def test_numbers_in_the_order_of_darknet(name):
    twin, expected = twin_of(name), weights_of(name)
    state = {"darknet": np.concatenate([tensor.detach().numpy().ravel() for tensor in in_order_of_darknet(twin)])}
    named = YOLOv3.canonical(state)
    assert sorted(named) == sorted(key for key in expected if "num_batches" not in key and "anchors" not in key)
    for key, array in named.items():
        np.testing.assert_array_equal(array, expected[key])
        assert np.shares_memory(array, state["darknet"])
    assert YOLOv3.canonical(named) == named
    ours = YOLOv3(name, classes=CLASSES)
    assert ours.load_state_dict(named) == ([], [])  # without a warning: mmdetection's never have anchors
    np.testing.assert_array_equal(ours.bbox_head.anchors.data, expected["bbox_head.anchors"])


def test_a_darknet_file(tmp_path):
    twin = twin_of("yolov3-tiny")
    numbers = b"".join(tensor.detach().numpy().tobytes() for tensor in in_order_of_darknet(twin))
    (tmp_path / "a.weights").write_bytes(struct.pack("<3iq", 0, 2, 0, 32_013_312) + numbers)
    state = trtnn.load(tmp_path / "a.weights")
    assert models.identify(state) == {"name": "yolov3-tiny", "classes": CLASSES, "version": "darknet"}
    with pytest.warns(UserWarning, match=USUAL):
        model = models.from_state_dict(state)
    assert (model.name, model.classes, model.version) == ("yolov3-tiny", CLASSES, "darknet")
    np.testing.assert_array_equal(model.bbox_head.convs_pred[0].bias.data, twin.model[-1].m[-1].bias.detach())


def test_a_cfg_beside_a_darknet_file_is_followed_or_refused(tmp_path):
    twin = twin_of("yolov3-tiny")
    numbers = b"".join(tensor.detach().numpy().tobytes() for tensor in in_order_of_darknet(twin))
    (tmp_path / "a.weights").write_bytes(struct.pack("<3iq", 0, 2, 0, 32_013_312) + numbers)
    pairs = [[10 + i, 20 + 2 * i] for i in range(6)]
    heads = "".join(f"[yolo]\nmask={mask}\nanchors={pairs}\nclasses=3\n" for mask in ("3,4,5", "0,1,2"))
    cfg = "[net]\nwidth=96\nheight=64\n[convolutional]\nactivation=leaky\n" + heads.replace("[[", "").replace("]]", "")
    cfg = cfg.replace("], [", ", ")
    (tmp_path / "a.cfg").write_text(cfg)
    model = models.from_state_dict(trtnn.load(tmp_path / "a.weights"))
    assert model.inputs == {"images": Input((1, 3, 64, 96))}
    np.testing.assert_allclose([model.bbox_head.anchors_px(level) for level in (0, 1)], np.reshape(pairs, (2, 3, 2)))
    trtnn.checkpoint.convert(tmp_path / "a.weights", tmp_path / "a.safetensors")
    again = models.from_state_dict(trtnn.load(tmp_path / "a.safetensors"))
    np.testing.assert_array_equal(again.bbox_head.anchors.data, model.bbox_head.anchors.data)
    for old, new, words in (
        ("leaky", "mish", "the .cfg beside the weights has the activation mish, YOLOv3 here has leaky"),
        ("classes=3", "classes=4", "classes: 4 in the file, 3 here"),
        ("classes=3", "classes=3\nnew_coords=1", "heads that stretch what they say of a centre"),
        ("mask=0,1,2", "mask=0,1", "anchors are 3 pairs of width and height on each of 2 levels\n  received 2 and 3"),
    ):
        (tmp_path / "a.cfg").write_text(cfg.replace(old, new))
        assert words in message_of(TrtnnError, models.from_state_dict, trtnn.load(tmp_path / "a.weights"))


def test_activations_and_eps_of_a_pickled_ultralytics_model(tmp_path):
    twin = copy.deepcopy(twin_of("yolov3-tiny", "9.6"))
    twin.model[0].act, twin.model[13].act = torch.nn.Hardswish(), torch.nn.Identity()
    twin.model[14].bn.eps = 0.1
    torch.save({"ema": twin, "model": None}, tmp_path / "a.pt")
    model = models.from_state_dict(trtnn.load(tmp_path / "a.pt"))
    images = pictures(1, 64, 64)
    boxes, _ = outputs_of(twin, images)
    assert_boxes_close(model.trace({"images": (1, 3, 64, 64)}).run(images.numpy()), boxes, FP32_TOLERANCE)


def test_a_fused_ultralytics_model(tmp_path):
    twin = copy.deepcopy(twin_of("yolov3-tiny", "9.6"))
    images = pictures(1, 64, 64)
    boxes, _ = outputs_of(twin, images)
    for block in twin.modules():
        if isinstance(block, twins.Conv):
            block.conv = torch.nn.utils.fusion.fuse_conv_bn_eval(block.conv, block.bn)
            block.bn = torch.nn.Identity()
    torch.save({"ema": twin, "model": None}, tmp_path / "a.pt")
    state = trtnn.load(tmp_path / "a.pt")
    assert models.identify(state)["fused"] is True
    model = models.from_state_dict(state)
    assert_boxes_close(model.trace({"images": (1, 3, 64, 64)}).run(images.numpy()), boxes, FP32_TOLERANCE)


@pytest.mark.parametrize("version", ["9.0", "9.6"])
def test_names_of_ultralytics(version):
    twin = twin_of("yolov3-tiny", version)
    state = twin.state_dict()
    assert models.identify(state) == {"name": "yolov3-tiny", "classes": CLASSES, "version": version}
    model = models.from_state_dict(state)
    assert (model.name, model.version) == ("yolov3-tiny", version)
    images = pictures(1, 64, 64)
    boxes, _ = outputs_of(twin, images)
    assert_boxes_close(model.trace({"images": (1, 3, 64, 64)}).run(images.numpy()), boxes, FP32_TOLERANCE)


def test_anchors_come_from_ultralytics_checkpoint():
    state = dict(twin_of("yolov3-tiny", "9.0").state_dict())
    ours = YOLOv3("yolov3-tiny", CLASSES, "9.0")
    results = []
    for factor in ([[[1.0]], [[1.0]]], [[[2.0]], [[3.0]]]):  # finest level first
        ours.load_state_dict({**state, "model.20.anchors": state["model.20.anchors"] * torch.tensor(factor)})
        results.append(ours.trace({"images": (1, 3, 64, 64)}).run(pictures(1, 64, 64).numpy()))
    ratio = results[1][0, :, 2:4] / results[0][0, :, 2:4]
    np.testing.assert_allclose(ratio, np.r_[np.full((48, 2), 2), np.full((12, 2), 3)], rtol=1e-6)


@pytest.mark.parametrize("version", ["9.0", "9.6"])
@pytest.mark.parametrize("name", YOLOv3.variants)
def test_every_name_of_ultralytics_is_known(name, version):
    with torch.device("meta"):
        state = zeros_of(twins.YOLOv3(name, classes=7, version=version))
    assert models.identify(state) == {"name": name, "classes": 7, "version": version}
    assert YOLOv3(name, classes=7, version=version).load_state_dict(state) == ([], [])
    flat = {key: array.reshape(-1) for key, array in state.items()}  # as .wts has them
    assert YOLOv3(name, classes=7, version=version).load_state_dict(flat) == ([], [])


# -- what is wrong ----------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_version():
    state = twin_of("yolov3-tiny", "9.0").state_dict()
    for version in ("darknet", "9.6"):
        model = YOLOv3("yolov3-tiny", CLASSES, version)
        message = message_of(StateDictError, model.load_state_dict, state)
        assert f'does not fit YOLOv3 of version "{version}"; nothing was loaded' in message
        assert f'this looks like YOLOv3("yolov3-tiny", classes={CLASSES}, version="9.0")' in message
        assert all(parameter.data is None for parameter in model.parameters())
    model = YOLOv3("yolov3-tiny", CLASSES, "9.0")
    message = message_of(StateDictError, model.load_state_dict, {"darknet": np.zeros(61_570_957 + 5_385, np.float32)})
    assert 'this looks like YOLOv3("yolov3", classes=1, version="darknet")' in message


def test_anchors_that_ultralytics_checkpoint_lacks_are_not_guessed():
    state = {n: array for n, array in twin_of("yolov3-tiny", "9.6").state_dict().items() if "anchors" not in n}
    assert message_of(StateDictError, models.from_state_dict, state).splitlines()[:2] == [
        "nothing tells how many anchors and classes this YOLOv3 has: model.20.anchors is missing",
        "  the 24 numbers of a cell, anchors · (5 + classes), may be "
        "3 · (5 + 3), 1 · (5 + 19), 2 · (5 + 7), 4 · (5 + 1)",
    ]
    with pytest.warns(UserWarning, match=USUAL):
        models.from_state_dict(state, classes=CLASSES)
    own = [[[5, 7], [9, 30], [11, 12]], [[30, 20], [21, 45], [50, 40]]]
    flat = [np.ravel(level) for level in own]  # as YAML files have them
    for given in (own, [level.tolist() for level in flat], [level.astype(np.float32) for level in flat]):
        model = models.from_state_dict(state, classes=CLASSES, anchors=given)
        np.testing.assert_allclose([model.bbox_head.anchors_px(level) for level in (0, 1)], own, rtol=1e-6)


def test_a_darknet_file_that_is_cut_short():
    file = np.zeros(62_001_757 - 1000, np.float32)
    message = message_of(StateDictError, YOLOv3().load_state_dict, {"darknet": file})
    assert message.splitlines() == [
        "a Darknet file of 62,000,757 numbers is of no YOLOv3: it is cut short, or of another network",
        "  yolov3: 62,001,757 for 80 classes, 5,385 a class",
        "  yolov3-tiny: 8,858,734 for 80 classes, 2,310 a class",
    ]
    assert message_of(StateDictError, models.from_state_dict, {"darknet": file}) == message
    assert models.identify({"darknet": file}) is None
    assert models.identify({"darknet": np.zeros(8_673_934, np.float32)}) is None  # of no class


def test_the_wrong_model_or_classes():
    state = weights_of("yolov3-tiny")
    message = message_of(StateDictError, YOLOv3().load_state_dict, state)
    assert 'this looks like YOLOv3("yolov3-tiny", classes=3)' in message
    message = message_of(StateDictError, YOLOv3("yolov3-tiny").load_state_dict, state)
    assert "wrong shape: bbox_head.convs_pred.0.bias: expected (255,), received (24,)" in message
    message = message_of(StateDictError, YOLOv3().load_state_dict, {"fc.weight": np.zeros((10, 512))})
    assert "this does not look like a YOLOv3" in message
    assert "unexpected: fc.weight (10, 512)" in message


@pytest.mark.parametrize(
    ("name", "more", "less"),
    [
        ("yolov3", "model.12.cv1.conv.weight", "model.12.conv.weight"),  # yolov3-spp
        ("yolov3", "model.28.cv2.0.2.bias", "model.28.m.0.bias"),  # yolov3u, which has YOLOv8's head
        ("yolov3-tiny", "model.20.cv2.0.2.bias", "model.20.m.0.bias"),
    ],
)
def test_what_is_no_yolov3(name, more, less):
    with torch.device("meta"):
        state = {**zeros_of(twins.YOLOv3(name, version="9.0")), more: np.zeros(3)}
    del state[less]
    assert models.identify(state) is None


def test_bad_arguments():
    assert "nearest: yolov3-tiny" in message_of(ArgumentError, YOLOv3, "yolov3tiny")
    message = message_of(ArgumentError, YOLOv3, version="9.1")
    assert message == "YOLOv3 version '9.1'\n  known: 'darknet', and Ultralytics' '9.0' and '9.6'"
    assert "YOLOv3 head 'boxes'" in message_of(ArgumentError, YOLOv3, head="boxes")
    assert "1 names for 3 classes" in message_of(ArgumentError, YOLOv3, classes=3, names=["cat"])


def test_pictures_of_the_wrong_size():
    message = message_of(ShapeError, pair_of("yolov3-tiny")[0].trace, {"images": (1, 3, 48, 64)})
    assert "yolov3-tiny takes pictures whose height and width are multiples of 32" in message
    assert "nearest: (32, 64) and (64, 64)" in message


@pytest.mark.parametrize(("version", "grey"), [("darknet", 127), ("9.0", 114), ("9.6", 114)])
def test_pictures_lie_on_the_grey_of_the_project(version, grey):
    """Darknet fills with a half (letterbox_image in its src/image.c), Ultralytics with 114 of 255."""
    network = YOLOv3("yolov3-tiny", classes=1, version=version).metadata
    pixels, _ = pipeline_of(network).preprocess([np.zeros((8, 32, 3), np.uint8)], 32)
    assert np.unique(np.rint(pixels * 255)).tolist() == [0, grey]
