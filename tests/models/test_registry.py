"""The table of models: by name, and by what a state dict tells; one table of tests for all of them."""

import functools
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

import trtnn
from tests.helpers import message_of
from trtnn import models
from trtnn.checkpoint import StateDict
from trtnn.errors import ArgumentError, StateDictError
from trtnn.examples.digits import WEIGHTS
from trtnn.models import registry
from trtnn.models.family import Family
from trtnn.models.yolov5 import YOLOv5
from trtnn.modules import Linear
from trtnn.vision import PIPELINES

NAMES = list(models.by_name())
FIRSTS = [names[0] for names in models.by_task().values()]  # of each family and task


@functools.cache
def empty(name):
    return models.create(name, classes=7)


def state_of(model):
    """A state dict of zeros that takes no memory, and what a file says beside it where names and shapes do not tell."""
    members = (*model.named_parameters(), *model.named_buffers())
    alike = model.name.startswith(("yolo11", "yolo26")) and model.name.endswith("-cls")  # which are the same networks
    arrays = {name: np.broadcast_to(np.float32(0), member.shape) for name, member in members}
    return StateDict(arrays, {"architecture": model.name} if alike else {})


# -- every model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_model_says_what_it_is(name):
    model = empty(name)
    family = models.by_name()[name]
    assert type(model) is family
    assert issubclass(family, Family)
    ((_, spec),) = model.inputs.items()
    batch, channels, *size = spec.shape
    assert (batch, channels, min(size) >= 32) == (1, 3, True)
    assert model.metadata["model"] == name
    assert model.metadata["classes"] == 7
    assert model.metadata["pipeline"] in PIPELINES
    assert model.metadata["task"] == family.task_of(name)
    is_detector = PIPELINES[model.metadata["pipeline"]].head is not None
    assert is_detector == (family.task_of(name) != "classify")


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_tells_its_model(name):
    state = state_of(empty(name))
    found = models.identify(state)
    assert (found["name"], found["classes"]) == (name, 7)
    assert [family for family in models.families() if family.identify(state)] == [models.by_name()[name]]
    flat = StateDict({key: array.reshape(-1) for key, array in state.items()}, state.metadata)  # as .wts has them
    assert models.identify(flat) == found
    assert models.describe(state).startswith(f'{models.by_name()[name].__name__}("{name}", classes=7')


@pytest.mark.parametrize("name", FIRSTS)
def test_a_state_dict_makes_its_model(name):
    state = state_of(empty(name))
    model = models.from_state_dict(state)
    assert type(model) is models.by_name()[name]
    assert {n: a.shape for n, a in state_of(model).items()} == {n: a.shape for n, a in state.items()}


@pytest.mark.parametrize(("name", "other"), list(zip(FIRSTS, [*FIRSTS[1:], FIRSTS[0]], strict=True)))
def test_a_state_dict_of_another_model_is_named(name, other):
    state = state_of(empty(other))
    message = message_of(StateDictError, models.create(name).load_state_dict, state)
    assert f"\n  this looks like {models.describe(state)}\n" in message
    message = message_of(StateDictError, models.from_state_dict, state, name)
    assert f"this looks like {models.by_name()[other].__name__}(" in message


def test_a_classifier_of_two_families_is_the_first_s():
    """Where no file says which of them; both are the same network."""
    state = state_of(empty("yolo26n-cls"))
    assert models.identify(dict(state)) == {"name": "yolo11n-cls", "classes": 7}
    assert models.identify(state)["name"] == "yolo26n-cls"
    models.create("yolo26n-cls", classes=7).load_state_dict(dict(state))


@pytest.mark.parametrize("name", FIRSTS)
def test_a_task_is_that_of_the_names(name):
    family, task = models.by_name()[name], models.by_name()[name].task_of(name)
    assert name in models.by_task()[family, task]
    assert sum(len(names) for names in models.by_task().values()) == len(NAMES)


@pytest.mark.parametrize("family", models.families())
def test_a_state_dict_of_no_model(family):
    model = family(next(iter(family.variants)))
    message = message_of(StateDictError, model.load_state_dict, {"fc.weight": np.zeros((10, 512))})
    assert f"this does not look like a {family.__name__}, nor like another model of trtnn" in message


@pytest.mark.parametrize("family", models.families())
def test_an_unknown_name_of_a_family(family):
    message = message_of(ArgumentError, family, "resnot50")
    assert "no model is called 'resnot50'" in message
    assert f"known: {', '.join(family.variants)}" in message


# -- the functions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["6.0", "5.0"])
def test_a_state_dict_tells_a_version(version):
    state = state_of(models.create("yolov5s", classes=7, version=version))
    assert models.identify(state) == {"name": "yolov5s", "classes": 7, "version": version}
    assert models.describe(state) == f'YOLOv5("yolov5s", classes=7, version="{version}")'


def test_names_and_options():
    assert NAMES[:5] == [f"yolov5{size}" for size in "nsmlx"]
    assert len(NAMES) == sum(len(family.variants) for family in models.families())
    model = models.create("yolov5m", classes=3, head="raw")
    assert isinstance(model, YOLOv5)
    assert (model.name, model.classes, model.head) == ("yolov5m", 3, "raw")


@pytest.mark.parametrize(
    "name", ["yolov8n", "yolov5n", "yolov3-tiny", "resnet18", "retinanet_resnet50_fpn", "centernet_dla34"]
)
@pytest.mark.parametrize("classes", [0, -1, True, 1.5, "80"])
def test_a_number_of_classes_that_is_none(name, classes):
    message = message_of(ArgumentError, models.create, name, classes=classes)
    family = models.by_name()[name].__name__
    is_int = type(classes) is int
    told = "classes is a positive int" if is_int else f"{family} takes an int as classes"
    assert message.replace(" or None", "") == f"{told}, not {classes!r}"


def test_no_family_is_imported_before_it_is_looked_up():
    code = "import sys, trtnn.models as m; before = set(sys.modules); m.by_name(); print(*set(sys.modules) - before)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {f"trtnn.models.{file}" for file, _ in models.FAMILIES} <= set(out)


def test_a_model_of_a_state_dict():
    state = trtnn.load(WEIGHTS)
    for name in (None, "yolov5n"):
        model = models.from_state_dict(state, name)
        assert (model.name, model.classes, model.version) == ("yolov5n", 10, "6.0")
        np.testing.assert_array_equal(model.state_dict()["model.0.conv.weight"], state["model.0.conv.weight"])
    assert models.from_state_dict(state, head="raw").head == "raw"


def test_an_unknown_name():
    for function, args in ((models.create, ("yolov5-s",)), (models.from_state_dict, ({}, "yolov5-s"))):
        message = message_of(ArgumentError, function, *args)
        assert message == f"no model is called 'yolov5-s'\n  nearest: yolov5s\n  trtnn models lists all {len(NAMES)}"
    assert "no model is called ''" in message_of(ArgumentError, models.create, "")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("yolov11n", "yolo11n"),
        ("yolov12s-seg", "yolo12s-seg"),
        ("yolo8x-pose", "yolov8x-pose"),
        ("YOLO26X", "yolo26x"),
        ("yolov5n-u", "yolov5nu"),
        ("yolov3-spp", "yolov3-sppu"),
        ("yolov3-tiny-u", "yolov3-tinyu"),
        ("yolov9-c", "yolov9c"),
        ("yolov8n_p2", "yolov8n-p2"),
        ("yolov8m-cls-p6", "yolov8m-cls"),
        ("yolov8n-segment", "yolov8n-seg"),
        ("rt-detr-r18", "rtdetr_r18"),
        ("yolvo8n", "yolov8n"),
        ("resnt18", "resnet18"),
        ("resnet50.a1_in1k", "resnet50"),
        ("resnet18.tv_in1k", "resnet18"),
        ("microsoft/resnet-50", "resnet50"),
        ("resnet18_imagenet", "resnet18"),
        ("resnet50-v1", "resnet50"),
        ("ResNet50_Weights", "resnet50"),
        ("ResNet18_Weights.IMAGENET1K_V1", "resnet18"),
        ("ultralytics/yolov8n", "yolov8n"),
        ("PekingU/rtdetr_r18vd", "rtdetr_r18"),
        ("PekingU/rtdetr_v2_r50vd_coco", "rtdetr_v2_r50"),
        ("yolov8n.yaml", "yolov8n"),
        ("./yolov8n.pt", "yolov8n"),
        ("yolov5su.torchscript", "yolov5su"),
        ("yolov8n-classify", "yolov8n"),
        ("yolov8n-seg-coco", "yolov8n-seg"),
        ("dfine_n_coco", "dfine_n"),
        ("yolov5s-v7.0", "yolov5s"),
    ],
)
def test_a_name_that_is_nearly_right(name, nearest):
    assert f"\n  nearest: {nearest}\n" in message_of(ArgumentError, models.create, name)


@pytest.mark.parametrize(
    ("name", "sizes"), [("yolo11", "yolo11n, yolo11s, yolo11m, yolo11l, yolo11x"), ("RTDETR_v2", "rtdetr_v2_r18, ")]
)
def test_a_name_without_a_size(name, sizes):
    assert f"\n  begin with it: {sizes}" in message_of(ArgumentError, models.create, name)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("yolov8-seg", "near: yolov8n-seg, yolov8s-seg, yolov8m-seg, yolov8l-seg, yolov8x-seg"),
        ("yolov9x", "begin with yolov9: yolov9t, yolov9s, yolov9m, yolov9c, yolov9e and 2 more"),
        ("yolo5", "begin with yolov5: yolov5n, "),
        ("dfine_nano", "begin with dfine: dfine_n, dfine_s, dfine_m, dfine_l, dfine_x\n"),
        ("YOLOv11n-segment", "begin with yolo11: yolo11n, "),
    ],
)
def test_a_size_that_is_none_of_a_family(name, line):
    assert f"\n  {line}" in message_of(ArgumentError, models.create, name)


@pytest.mark.parametrize(
    "name",
    [
        *("yolov7", "yolov7x", "yolov10n", "yolov4-tiny", "yolox_s", "yoloe-11s", "yolo27n", "resnet200", "resnet50d"),
        *("resnext50", "resnest50", "seresnet50", "wide_resnet50_2", "vgg16", "rf-detr", "efficientnet_b0", "n" * 5000),
        *("resnet50-d", "resnet50d.ra2_in1k", "resnet50vd", "timm/resnext50_32x4d", "owner/yolov7.pt", "/", "."),
    ],
)
def test_a_network_that_is_not_here_is_no_slip_of_one_that_is(name):
    message = message_of(ArgumentError, models.create, name)
    assert message == (
        f"no model is called {name!r}\n  no network here is called nearly so: trtnn.from_torch(module, example), "
        f"or trtnn from-torch, takes a torch model\n  trtnn models lists all {len(NAMES)}"
    )


@pytest.mark.parametrize("wrapper", ["", "module.", "model."])
def test_a_network_that_is_there_twice_is_refused_with_both(wrapper):
    model = models.create("resnet18", classes=2)
    own = {name: np.zeros(member.shape, np.float32) for name, member in model._state().items()}
    fronts = [f"{wrapper}{name}." for name in ("teacher", "student")]
    twice = {f"{front}{name}": array for front in fronts for name, array in own.items()}
    way = f"{{name.removeprefix({fronts[0]!r}): array for name, array in state_dict.items() "
    way += f"if name.startswith({fronts[0]!r})}}"
    for load in (models.from_state_dict, model.load_state_dict):
        assert message_of(StateDictError, load, twice) == (
            f"this holds the same network 2 times, its names behind {fronts[0]!r}, {fronts[1]!r}\n  give one: {way}"
        )
    one = eval(way, {"state_dict": twice})  # the words are the code
    assert models.from_state_dict(one).name == "resnet18"
    beside = {name: array for name, array in twice.items() if name.startswith(fronts[0]) or name.endswith("fc.bias")}
    assert models.from_state_dict(beside).name == "resnet18"  # the student's last layer alone is no second one


def test_what_is_no_state_dict():
    model = models.create("resnet18", classes=2)
    for what, words in (
        ("a.pt", "not a str\n  read a file by trtnn.load"),
        (model, "ResNet\n  give what its state_dict() returns"),
        (None, "not a NoneType"),
    ):
        for load in (models.from_state_dict, model.load_state_dict):
            message = message_of(ArgumentError, load, what)
            assert message.startswith("a state dict is a mapping of names to arrays, not a ")
            assert words in message
    nested = {"epoch": 3, "state_dict": {"conv1.weight": np.zeros(2)}}
    for load in (models.from_state_dict, model.load_state_dict):
        assert "holds one under 'state_dict'\n  load that: checkpoint['state_dict']" in message_of(
            StateDictError, load, nested
        )


def test_a_state_dict_of_no_known_family():
    message = message_of(StateDictError, models.from_state_dict, {"a": np.zeros(2), "b": np.zeros(2)})
    assert message.startswith("no model of trtnn has parameters named like these: a, b")
    assert f"known: {', '.join(name for _, name in models.FAMILIES)}; trtnn models lists their models" in message
    assert message_of(StateDictError, models.from_state_dict, {}) == "the state dict is empty"
    assert models.identify({}) is models.describe({}) is None


def test_a_state_dict_that_does_not_fit():
    state = trtnn.load(WEIGHTS)
    message = message_of(StateDictError, models.from_state_dict, state, "yolov5s")
    assert 'this looks like YOLOv5("yolov5n", classes=10, version="6.0")' in message
    message = message_of(StateDictError, models.from_state_dict, {"a": np.zeros(2)}, "yolov5n")
    assert "this does not look like a YOLOv5" in message
    message = message_of(StateDictError, models.from_state_dict, state, classes=80)
    assert "wrong shape: model.24.m.0.bias: expected (255,), received (45,)" in message


# -- a family with names of another project ----------------------------------------------------------------------------


class Renamed(Family):
    """One layer, whose project calls it ``head``; others call it ``fc``."""

    variants = {"renamed-2": 2, "renamed-4": 4}

    def __init__(self, name="renamed-2", classes=3):
        super().__init__()
        self.head = Linear(self.variants[name], classes)

    @classmethod
    def canonical(cls, state_dict):
        return {key.replace("fc.", "head."): array for key, array in state_dict.items()}

    @classmethod
    def identify(cls, state_dict):
        weight = cls.canonical(state_dict).get("head.weight")
        name = None if weight is None else f"renamed-{weight.shape[-1]}"
        return {"name": name, "classes": len(weight)} if name in cls.variants else None


@pytest.fixture
def renamed(monkeypatch):
    """Add a family to the table."""
    module = ModuleType("trtnn.models.renamed")
    module.Renamed = Renamed
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(registry, "FAMILIES", (*registry.FAMILIES, ("renamed", "Renamed")))
    registry.families.cache_clear()
    registry.by_name.cache_clear()
    yield
    monkeypatch.undo()
    registry.families.cache_clear()
    registry.by_name.cache_clear()


@pytest.mark.usefixtures("renamed")
@pytest.mark.parametrize("layer", ["head", "fc"])
def test_names_of_another_project(layer):
    state = {f"{layer}.weight": np.arange(12, dtype=np.float32).reshape(3, 4), f"{layer}.bias": np.ones(3, np.float32)}
    assert models.identify(state) == {"name": "renamed-4", "classes": 3}
    for model in (models.from_state_dict(state), models.create("renamed-4")):
        model.load_state_dict(state)
        np.testing.assert_array_equal(model.head.weight.data, state[f"{layer}.weight"])
    for model in (models.create("renamed-2"), models.create("yolov5n")):
        message = message_of(StateDictError, model.load_state_dict, state)
        assert 'this looks like Renamed("renamed-4", classes=3)' in message
    assert "unexpected: head.extra" in message_of(
        StateDictError, models.from_state_dict, {**state, "head.extra": np.ones(1)}
    )
    assert models.from_state_dict(state).load_state_dict({}, strict=False).missing_keys == ["head.weight", "head.bias"]


# -- heads with and without an end ------------------------------------------------------------------------------------


def end_to_end(name: str, keeps: bool = True) -> dict[str, np.ndarray]:
    """Return the names of a YOLO whose head Ultralytics trained end to end, with both sets of branches or one."""
    state = state_of(models.create(name))
    head = max(int(path.split(".")[1]) for path in state)
    branches = [path for path in state if path.startswith(f"model.{head}.cv")]
    twice = {path.replace(".cv", ".one2one_cv", 1): state[path] for path in branches}
    return {path: array for path, array in state.items() if keeps or path not in branches} | twice


@pytest.mark.parametrize("name", ["yolo11n", "yolov8n", "yolo12n"])
@pytest.mark.parametrize("keeps", [True, False])
def test_a_head_that_is_end_to_end_is_told_in_short(name, keeps):
    state, family = end_to_end(name, keeps), type(models.create(name)).__name__
    message = message_of(StateDictError, models.from_state_dict, state)
    assert f"\n  its head is end to end, with branches called one2one_..., and that of {family} is not\n" in message
    assert "\n  trtnn.from_torch(module, example) takes the torch module with the head that it has\n" in message
    assert ("strict=False" in message) == keeps
    assert len(message.splitlines()) <= 27
    if keeps:
        model = models.create(name)
        loaded = model.load_state_dict(state, strict=False)
        assert all(".one2one_" in path for path in loaded.unexpected_keys)
        assert loaded.missing_keys == []


def test_a_yolo_with_another_s_head_is_told_in_short():
    eleven, twenty_six = state_of(models.create("yolo11n")), state_of(models.create("yolo26n"))
    message = message_of(StateDictError, models.create("yolo11n").load_state_dict, twenty_six)
    start = 'this looks like YOLO26("yolo26n", classes=80)\n  trtnn.models.from_state_dict(state_dict) makes that model'
    assert (
        f"{start}\n  its head is end to end, with branches called one2one_..., and that of YOLO11 is not\n" in message
    )
    lines = message.splitlines()
    assert lines[0].startswith("the state dict does not fit YOLO11: 36 missing, 212 unexpected, 54 of the wrong shape")
    for kind, count in (("missing", 36), ("unexpected", 212), ("wrong shape", 54)):
        own = [line for line in lines if line.startswith(f"  {kind}: ")]
        assert own[-1] == f"  {kind}: {count - 10} more"
        assert len(own) == 11
    message = message_of(StateDictError, models.create("yolo26n").load_state_dict, eleven)
    assert "\n  its head is not end to end, as that of YOLO26 is\n" in message
    assert "end to end" not in message_of(StateDictError, models.create("yolov8n").load_state_dict, eleven)
