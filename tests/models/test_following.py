"""A checkpoint that pickles its modules is built as they are: torch computes the same, or the load is refused."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import trtnn
from benchmarks.twins import yolov8 as twins
from benchmarks.twins.scaling import pictures
from tests.helpers import message_of
from tests.models.checks import assert_boxes_close, outputs_of
from trtnn import Input, models
from trtnn.checkpoint import StateDict
from trtnn.errors import ArgumentError, StateDictError
from trtnn.models.panet import sources

CLASSES = 3
TOLERANCE, CELL = 5e-5, 8 * 32  # of a logit, and pixels


@pytest.fixture(scope="module")
def original():
    return twins.make("yolov8n", CLASSES)


@pytest.fixture
def twin(original):
    return copy.deepcopy(original)


def replaced(twin, path, module):
    parent, _, name = path.rpartition(".")
    setattr(twin.get_submodule(parent), name, module)
    return twin


def saved(tmp_path, twin, **content):
    torch.save({"model": twin, **content}, path := tmp_path / "a.pt")
    return trtnn.load(path)


def assert_agrees(state, twin):
    model = models.from_state_dict(state)
    images = pictures(1, 64, 96)
    boxes, _ = outputs_of(twin, images)
    assert_boxes_close(
        model.trace({"images": (1, 3, 64, 96)}).run(images.numpy()), boxes, TOLERANCE, dim=1, cell=8 * 32
    )
    return model


@pytest.mark.parametrize(
    ("path", "act"),
    [
        ("model.9.cv1.act", nn.Identity()),
        ("model.0.act", nn.LeakyReLU(0.1)),
        ("model.2.m.0.cv1.act", nn.Hardswish()),
        ("model.22.cv2.0.1.act", nn.ReLU(inplace=True)),
        ("model.4.cv2.act", nn.GELU("tanh")),
        ("model.6.cv1.act", nn.ELU(0.3)),
        ("model.1.act", nn.Hardtanh(-0.5, 2.0)),
    ],
)
def test_an_activation_is_that_of_the_file(tmp_path, twin, original, path, act):
    replaced(twin, path, act)
    images = pictures(1, 64, 96)
    with torch.no_grad():
        assert (twin(images) - original(images)).abs().max() > 0.01
    assert_agrees(saved(tmp_path, twin), twin)


def test_one_activation_for_all(tmp_path, twin):
    act = nn.LeakyReLU(0.1)
    for module in twin.modules():
        if hasattr(module, "act"):
            module.act = act
    model = assert_agrees(saved(tmp_path, twin), twin)
    assert model.model[0].act.negative_slope == 0.1


def test_eps_and_resizing_and_residual_paths_are_those_of_the_file(tmp_path, twin):
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.1
        if isinstance(module, twins.Bottleneck):
            module.add = module.shortcut = not module.shortcut
    twin.model[10] = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    assert_agrees(saved(tmp_path, twin), twin)


@pytest.mark.parametrize(
    "names", [["cat", "dog", "hen"], {0: "cat", 2: "hen", 1: "dog"}, {"1": "dog", "0": "cat", "2": "hen"}], ids=str
)
def test_names_are_a_list_or_a_dict_by_index(original, names):
    assert models.create("yolov8n", classes=CLASSES, names=names).metadata["names"] == ["cat", "dog", "hen"]
    state = {name: tensor.numpy() for name, tensor in original.state_dict().items()}
    assert models.from_state_dict(StateDict(state, {"names": names})).metadata["names"] == ["cat", "dog", "hen"]
    assert models.from_state_dict(state, names=names).metadata["names"] == ["cat", "dog", "hen"]


@pytest.mark.parametrize(
    "names", ["cat", {0: "cat", 2: "dog", 3: "hen"}, [0, 1, 2], {1, 2, 3}, ["cat", None, "hen"]], ids=str
)
def test_names_that_are_none(names):
    message = message_of(ArgumentError, models.create, "yolov8n", classes=CLASSES, names=names)
    assert message.startswith("names of classes are a list of text, or a dict of it by index, from 0 on")


def test_a_converted_file_keeps_what_was_read(tmp_path, twin):
    replaced(twin, "model.9.cv1.act", nn.Identity()).names = {0: "cat", 1: "dog", 2: "hen"}
    state = saved(tmp_path, twin, train_args={"imgsz": 100})
    notes = trtnn.checkpoint.convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert notes == []
    found = trtnn.load(tmp_path / "a.safetensors")
    assert found.metadata == state.metadata
    model = assert_agrees(found, twin)
    assert model.metadata["names"] == ["cat", "dog", "hen"]
    assert model.inputs == {"images": Input((1, 3, 128, 128))}  # the next that the strides divide
    (note,) = trtnn.checkpoint.convert(tmp_path / "a.pt", tmp_path / "a.npz")
    assert note.startswith(
        ".npz does not hold what a.pt says beside the weights (architecture, names, train_args, imgsz, modules)"
    )


@pytest.mark.parametrize(
    ("path", "module", "words"),
    [
        ("model.9.m", nn.MaxPool2d(5, 1, 2, ceil_mode=True), "model.9.m: ceil_mode is True in the file, False here"),
        ("model.9.m", nn.MaxPool2d(3, 1, 1), "model.9.m: kernel_size is 3 in the file, 5 here"),
        ("model.9.m", nn.AvgPool2d(5, 1, 2), "model.9.m: the file has a AvgPool2d, here it is a MaxPool2d"),
        ("model.10", nn.Upsample(scale_factor=4), "model.10: scale_factor is 4.0 in the file, 2.0 here"),
        ("model.1.act", nn.RReLU(0.1, 0.2), None),
        ("model.1.act", nn.GLU(), None),
    ],
)
def test_what_cannot_be_followed_is_refused_with_both(tmp_path, twin, path, module, words):
    state = saved(tmp_path, replaced(twin, path, module))
    if words is None:
        assert type(models.from_state_dict(state).model[1].act).__name__ == type(module).__name__
        return
    message = message_of(StateDictError, models.from_state_dict, state)
    assert message.startswith("the checkpoint is of another network than YOLOv8 builds, with the same names")
    assert words in message
    assert "model.load_state_dict(dict(state_dict))" in message
    model = models.from_state_dict(dict(state))
    before = model.state_dict()["model.0.conv.weight"]
    assert "nothing was loaded" in message_of(StateDictError, model.load_state_dict, state)
    assert model.state_dict()["model.0.conv.weight"] is before


@pytest.mark.parametrize(
    ("path", "attribute", "value", "words"),
    [
        ("model.3.conv", "stride", (1, 1), r"model.3.conv: stride is \[1, 1\] in the file, \(2, 2\) here"),
        ("model.3.conv", "dilation", (2, 2), r"model.3.conv: dilation is \[2, 2\] in the file"),
        ("model.3.conv", "padding", (0, 0), r"model.3.conv: padding is \[0, 0\] in the file"),
        ("model.11", "d", 2, "model.11: d is 2 in the file, 1 here"),
        ("model.11", "f", [-1, 4], r"layer 11 takes what layer: \[10, 4\] in the file, \[10, 6\] here"),
        ("", "task", "segment", "task: segment in the file, detect here"),
        ("", "task", "\x1b[2J", r"task: \\x1b\[2J in the file, detect here"),
        ("", "names", {0: "cat"}, "names of classes: 1 in the file, 3 here"),
        ("", "yaml", {"nc": 80}, "classes: 80 in the file, 3 here"),
        ("", "stride", torch.tensor([4.0, 8.0, 16.0]), r"strides: \[4, 8, 16\] in the file, \[8, 16, 32\] here"),
    ],
)
def test_what_a_file_says_otherwise_is_refused_with_both(tmp_path, twin, path, attribute, value, words):
    setattr(twin.get_submodule(path), attribute, value)
    with pytest.raises(StateDictError, match=words):
        models.from_state_dict(saved(tmp_path, twin))


def test_what_is_the_same_in_other_words_is_no_difference(tmp_path, twin):
    twin.model[9].m = nn.MaxPool2d((5, 5), (1, 1), (2, 2))
    twin.model[11].f, twin.model[22].f, twin.model[0].f = [-1, 6], [15, 18, 21], -1
    twin.names, twin.stride, twin.task = ["a", "b", "c"], torch.tensor([8.0, 16.0, 32.0]), "detect"
    assert_agrees(saved(tmp_path, twin), twin)


def test_names_given_go_before_those_of_the_file(tmp_path, twin):
    twin.names = {0: "cat"}
    model = models.from_state_dict(saved(tmp_path, twin), names=["x", "y", "z"])
    assert model.metadata["names"] == ["x", "y", "z"]


def test_the_numbers_of_the_layers_are_the_published():
    assert sources(3, narrow=False)[9:] == [
        8,
        9,
        [10, 6],
        11,
        12,
        [13, 4],
        14,
        15,
        [16, 12],
        17,
        18,
        [19, 9],
        20,
        [15, 18, 21],
    ]
    assert sources(3, narrow=True)[-1] == [17, 20, 23]
    assert sources(3, narrow=True)[18:23] == [17, [18, 14], 19, 20, [21, 10]]
    assert sources(4, narrow=True)[-1] == [23, 26, 29, 32]


class Unknown(nn.Module):
    """An activation of one's own, of which nothing is known here."""

    def forward(self, x):
        return x * 0.5


class Swish(nn.Module):
    """SiLU, as many projects call it."""

    def forward(self, x):
        return x * x.sigmoid()


class Conv2dSame(nn.Conv2d):
    """A convolution that pads in a way of its own."""


def test_classes_of_one_s_own_are_taken_by_names_that_are_known_alone(tmp_path, twin):
    assert_agrees(saved(tmp_path, replaced(twin, "model.1.act", Swish())), twin)
    for path, module, words in (
        ("model.1.act", Unknown(), "model.1.act: the file has a Unknown, here it is a SiLU"),
        ("model.1.act", nn.Sequential(nn.ReLU(), nn.Tanh()), "the file has more than one layer where a SiLU is here"),
        ("model.9.m", Unknown(), "model.9.m: the file has a Unknown, here it is a MaxPool2d"),
        ("model.10", Unknown(), "model.10: the file has a Unknown, here it is a Upsample"),
        ("model.1.conv", Conv2dSame(16, 32, 3, 2, 1, bias=False), "the file has a Conv2dSame, here it is a Conv2d"),
        ("model.1.relu", nn.ReLU(), "model.1.relu: the file has a ReLU, here there is a SiLU"),
    ):
        changed = replaced(copy.deepcopy(twin), path, module)
        assert words in message_of(StateDictError, models.from_state_dict, saved(tmp_path, changed))


def test_what_a_hostile_file_says_of_a_module_is_no_raw_error(tmp_path, twin):
    state = saved(tmp_path, twin)
    for said in (
        {"model.0.bn": {"class": "torch.nn.BatchNorm2d", "eps": "large"}},
        {"model.0.act": {"class": "torch.nn.LeakyReLU", "negative_slope": "steep"}},
        {"model.0.act": {"class": "torch.nn.LeakyReLU", "negative_slope": [1, 2]}},
        {"model.2.m.0": {"class": "models.common.Bottleneck", "add": "yes"}},
        {"model.10": {"class": "torch.nn.Upsample", "mode": 3}},
        {"model.3": {"class": "models.common.Conv", "f": {"a": 1}}},
        {"model.0.act": {"class": "torch.__builtins__"}},
        {"model.0.conv": {"class": "torch.nn.Conv2d", "forward": 3}},
    ):
        state.metadata["modules"] = said
        message_of(StateDictError, models.from_state_dict, state)


# -- fused convolutions -----------------------------------------------------------------------------------------------


def fused(twin):
    """Fold BatchNorm into the convolutions of a twin, as Ultralytics' fuse does."""
    for module in twin.modules():
        if hasattr(module, "bn"):
            module.conv = nn.utils.fusion.fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = nn.Identity()
    return twin


def test_a_fused_checkpoint_is_a_fused_model(tmp_path, twin):
    boxes, _ = outputs_of(twin, images := pictures(1, 64, 96))
    state = saved(tmp_path, fused(twin))
    assert models.describe(state) == f'YOLOv8("yolov8n", classes={CLASSES}, fused=True)'
    for given in (state, dict(state)):
        model = models.from_state_dict(given)
        assert_boxes_close(
            model.trace({"images": (1, 3, 64, 96)}).run(images.numpy()), boxes, TOLERANCE, dim=1, cell=8 * 32
        )
    message = message_of(StateDictError, models.create("yolov8n", classes=CLASSES).load_state_dict, state)
    assert "this looks like YOLOv8" in message
    assert "fused=True" in message


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("yolov5n", {}),
        ("yolov5n", {"version": "5.0"}),
        ("yolov5n6", {}),
        ("yolov3-tiny", {"version": "9.0"}),
        ("yolov3", {}),
    ],
)
def test_every_family_with_such_blocks_tells_a_fused_one(name, options):
    model = models.create(name, classes=4, fused=True, **options)
    members = dict(model.named_parameters()) | dict(model.named_buffers())
    state = {key: np.broadcast_to(np.float32(0), member.shape) for key, member in members.items()}
    assert not any(".bn." in key for key in state)
    found = models.identify(state)
    assert (found["name"], found["classes"], found["fused"]) == (name, 4, True)
    models.from_state_dict(state)


# -- what an AnchorHead takes -----------------------------------------------------------------------------------------


def test_anchors_of_one_s_own():
    pixels = [[[10, 20], [30, 40], [50, 60]], [[70, 80], [90, 100], [110, 120]]]
    model = models.create("yolov3-tiny", classes=2, anchors=pixels)
    np.testing.assert_allclose(model.bbox_head.anchors_px(1), pixels[1])
    message = message_of(ArgumentError, models.create, "yolov3-tiny", anchors=pixels[:1])
    assert message == "anchors are 3 pairs of width and height on each of 2 levels\n  received 3"


def test_where_weights_come_from_goes_into_the_engine(tmp_path, twin):
    arguments = {"imgsz": 96, "epochs": 5, "data": "rails.yaml"}
    state = saved(tmp_path, twin, ema=copy.deepcopy(twin), train_args=arguments, version="8.4.7")
    model = models.from_state_dict(state)
    told = model.metadata["checkpoint"]
    assert told["taken"] == "ema"
    assert told["others"] == ["model"]
    assert (told["train_args"], told["version"], told["imgsz"]) == (arguments, "8.4.7", 96)
    assert model.trace().metadata["checkpoint"] == told
    model.load_state_dict(dict(state))
    assert "checkpoint" not in model.metadata


def test_names_are_those_of_the_weights_that_were_loaded_last(tmp_path, twin):
    arrays = {name: tensor.numpy() for name, tensor in twin.state_dict().items()}
    model = models.create("yolov8n", classes=CLASSES)
    for names in (["cat", "dog", "owl"], ["one", "two", "three"]):
        model.load_state_dict(StateDict(arrays, {"names": names}))
        assert model.metadata["names"] == names
    message = message_of(StateDictError, model.load_state_dict, StateDict(arrays, {"names": ["cat", "dog"]}))
    assert "names of classes: 2 in the file, 3 here" in message
    model.load_state_dict(arrays)
    assert "names" not in model.metadata
    model.metadata["names"] = ["a", "b", "c"]  # by hand they stay
    model.load_state_dict(StateDict(arrays, {"names": ["cat", "dog", "owl"]}))
    assert model.metadata["names"] == ["a", "b", "c"]


def test_a_plain_dict_has_the_activations_that_the_model_was_constructed_with(tmp_path, twin):
    plain = {name: tensor.numpy() for name, tensor in copy.deepcopy(twin).state_dict().items()}
    replaced(twin, "model.0.act", nn.LeakyReLU(0.1))
    twin.get_submodule("model.1.bn").eps = 0.1
    block = twin.get_submodule("model.2.m.0")
    block.add = block.shortcut = False
    followed, constructed = models.from_state_dict(saved(tmp_path, twin)), models.from_state_dict(plain)
    images = pictures(1, 64, 96).numpy()

    def run(model):
        return model.trace({"images": (1, 3, 64, 96)}).run(images)

    assert np.abs(run(followed) - run(constructed)).max() > 1
    followed.load_state_dict(plain)
    np.testing.assert_array_equal(run(followed), run(constructed))


def test_a_file_is_followed_from_what_the_model_was_constructed_as(tmp_path, twin):
    first = saved(tmp_path, replaced(copy.deepcopy(twin), "model.0.act", nn.LeakyReLU(0.1)))
    model = models.from_state_dict(first)
    second = replaced(copy.deepcopy(twin), "model.1.act", nn.ReLU())
    model.load_state_dict(saved(tmp_path, second))
    assert [type(model.model[i].act).__name__ for i in (0, 1, 3)] == ["SiLU", "ReLU", "SiLU"]


def test_a_load_that_fails_leaves_what_the_last_one_followed(tmp_path, twin):
    model = models.from_state_dict(saved(tmp_path, replaced(twin, "model.0.act", nn.LeakyReLU(0.1))))
    state = {name: np.zeros(3, np.float32) for name in model.state_dict()}
    with pytest.raises(StateDictError):
        model.load_state_dict(state)
    assert model.model[0].act.negative_slope == 0.1
    model.load_state_dict(dict(model.state_dict()))
    assert type(model.model[0].act).__name__ == "SiLU"


def test_what_somebody_set_since_the_last_file_stays(tmp_path, twin):
    model = models.from_state_dict(saved(tmp_path, replaced(twin, "model.0.act", nn.LeakyReLU(0.1))))
    model.model[0].act = trtnn.modules.Tanh()
    model.load_state_dict(dict(model.state_dict()))
    assert type(model.model[0].act).__name__ == "Tanh"


def test_a_plain_dict_has_the_size_and_the_anchors_that_the_model_was_constructed_with():
    model = models.create("yolov5n", classes=2)
    arrays = {name: np.zeros(p.shape, np.float32) for name, p in model.named_parameters()}
    arrays |= {name: np.ones(b.shape, np.float32) for name, b in model.named_buffers() if not name.endswith("anchors")}
    usual, anchors = model.model[-1].anchors.numpy(), [[[i, i]] * 3 for i in (8, 16, 32)]
    model.load_state_dict(StateDict(arrays, {"imgsz": 320, "anchors": anchors}))
    assert model.inputs["images"].shape == (1, 3, 320, 320)
    assert (model.model[-1].anchors.numpy() == 1).all()
    with pytest.warns(UserWarning, match=r"without model\.24\.anchors"):
        model.load_state_dict(arrays)
    assert model.inputs["images"].shape == (1, 3, 640, 640)
    np.testing.assert_array_equal(model.model[-1].anchors.numpy(), usual)

    model.load_state_dict({**arrays, "model.24.anchors": usual * 2})
    np.testing.assert_array_equal(model.model[-1].anchors.numpy(), usual * 2)
    with pytest.warns(UserWarning, match=r"without model\.24\.anchors"):
        model.load_state_dict(arrays)
    np.testing.assert_array_equal(model.model[-1].anchors.numpy(), usual)


@pytest.mark.parametrize("whole", [True, False], ids=["another dict", "an entry"])
def test_a_size_that_somebody_set_since_the_last_file_stays(whole):
    model = models.create("yolov5n", classes=2)
    arrays = {name: np.zeros(p.shape, np.float32) for name, p in model.named_parameters()}
    arrays |= {name: np.ones(b.shape, np.float32) for name, b in model.named_buffers()}
    model.load_state_dict(StateDict(arrays, {"imgsz": 320}))
    if whole:
        model.inputs = {"images": Input((4, 3, 160, 160))}
    else:
        model.inputs["images"] = Input((4, 3, 160, 160))
    model.load_state_dict(arrays)
    assert model.inputs == {"images": Input((4, 3, 160, 160))}


def test_an_input_that_a_file_brought_goes_with_it():
    model = models.create("yolov5n", classes=2)
    arrays = {name: np.zeros(p.shape, np.float32) for name, p in model.named_parameters()}
    arrays |= {name: np.ones(b.shape, np.float32) for name, b in model.named_buffers()}
    model.inputs = {}
    model.load_state_dict(StateDict(arrays, {"imgsz": 320}))
    assert model.inputs["images"].shape == (1, 3, 320, 320)
    model.load_state_dict(arrays)
    assert model.inputs == {}


def test_a_file_of_another_size_is_told_by_what_it_is():
    """What its modules say otherwise follows from that."""
    twin = twins.make("yolov8n", CLASSES).state_dict()
    said = {"model.0.conv": {"class": "torch.nn.modules.conv.Conv2d", "groups": 3}}
    state = StateDict({name: array.numpy() for name, array in twin.items()}, {"modules": said})
    message = message_of(StateDictError, models.create("yolov8s", classes=CLASSES).load_state_dict, state)
    assert message.startswith("the state dict does not fit YOLOv8: 0 missing, 0 unexpected, ")
    assert f'; nothing was loaded\n  this looks like YOLOv8("yolov8n", classes={CLASSES})\n' in message
