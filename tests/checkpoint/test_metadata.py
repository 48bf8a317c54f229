"""What a torch file says beside its weights: which were taken, names, sizes, what its modules are made of."""

import argparse
import collections
import dataclasses
import enum
import json
import types
import warnings

import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import nn

from tests.helpers import message_of
from trtnn import Module, Parameter
from trtnn.checkpoint import StateDict, load, save
from trtnn.errors import CheckpointError, StateDictError
from trtnn.examples.digits import WEIGHTS
from trtnn.models import from_state_dict

ONES, TWOS = {"w": torch.ones(2), "b": torch.ones(1)}, {"w": torch.full((2,), 2.0), "b": torch.full((1,), 2.0)}


def loaded(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    return load(tmp_path / "a.pt")


# -- which weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("averaged", "other"),
    [
        ("ema", "model"),
        ("state_dict_ema", "state_dict"),
        ("model_ema", "model"),
        ("ema_state_dict", "state_dict"),
        ("ema_model", "model"),
        ("model_ema_state_dict", "model_state_dict"),
        ("params_ema", "params"),
        ("EMA", "net"),
        ("modelEma", "model"),
        ("swa_state_dict", "state_dict"),
        ("averaged_model", "model"),
        ("avg_model", "network"),
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_averaged_weights_are_taken_in_every_layout(tmp_path, averaged, other, whole):
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    content = {other: first, "epoch": 3, averaged: second} if whole else {other: ONES, "epoch": 3, averaged: TWOS}
    state = loaded(tmp_path, {"optimizer": {"w": torch.zeros(3)}, **content})
    expected = second.weight.detach() if whole else TWOS["w"]
    np.testing.assert_array_equal(state["weight" if whole else "w"], expected.numpy())
    assert (state.metadata["taken"], state.metadata["others"]) == (averaged, [other])


def test_averaged_weights_further_inside(tmp_path):
    state = loaded(tmp_path, {"model": ONES, "ema": {"module": TWOS, "updates": 5}})
    assert state["w"].tolist() == [2, 2]
    assert (state.metadata["taken"], state.metadata["others"]) == ("ema.module", ["model"])


def test_an_average_of_parameters_alone_gets_the_buffers_of_its_model(tmp_path):
    state = loaded(tmp_path, {"model": {**ONES, "mean": torch.zeros(1)}, "ema": TWOS})
    assert {name: array[0] for name, array in state.items()} == {"w": 2, "b": 2, "mean": 0}
    assert state.metadata["taken"] == "ema, the buffers in model"


@pytest.mark.parametrize("prefix", ["model_ema.", "ema_model.module.", "ema.", "swa_model."])
@pytest.mark.parametrize("plain", ["model.", ""])
def test_averages_beside_the_weights_in_one_state_dict(tmp_path, prefix, plain):
    state = {f"{plain}a.w": torch.ones(2), f"{plain}a.mean": torch.zeros(1), f"{prefix}a.w": torch.full((2,), 2.0)}
    state |= {f"{prefix.partition('.')[0]}.num_updates": torch.tensor(3), f"{prefix}a.mean": torch.ones(1)}
    found = loaded(tmp_path, {"state_dict": state})
    assert {name: array[0] for name, array in found.items()} == {f"{plain}a.w": 2, f"{plain}a.mean": 1}
    assert found.metadata["taken"] == prefix.partition(".")[0]


def test_averages_whose_names_have_no_dots(tmp_path):
    state = {
        "model.a.w": torch.ones(1),
        "model.a.b": torch.ones(1),
        "model_ema.aw": torch.zeros(1),
        "model_ema.ab": torch.zeros(1),
    }
    found = loaded(tmp_path, {"state_dict": {**state, "first_stage.c": torch.ones(1)}})
    assert {name: array[0] for name, array in found.items()} == {"model.a.w": 0, "model.a.b": 0, "first_stage.c": 1}


def test_a_module_that_is_merely_called_so_stays_what_it_is(tmp_path):
    state = {"ema.w": torch.ones(1), "head.w": torch.ones(1), "head.b": torch.ones(1)}
    assert list(loaded(tmp_path, state)) == list(state)


def test_mmengine_exchanges_the_two_when_it_saves(tmp_path):
    content = {
        "meta": {"mmengine_version": "0.10"},
        "state_dict": TWOS,
        "ema_state_dict": {**ONES, "steps": torch.tensor(3)},
    }
    state = loaded(tmp_path, content)
    assert state["w"].tolist() == [2, 2]
    assert (state.metadata["taken"], state.metadata["others"]) == ("state_dict", ["ema_state_dict"])


def test_averages_without_names_are_told_of(tmp_path):
    content = {"model": ONES, "ema": {"decay": 0.999, "shadow_params": [torch.ones(2), torch.ones(1)]}}
    assert loaded(tmp_path, content).metadata == {"taken": "model", "others": ["ema (not read: it has no names)"]}


def test_none_among_the_averaged_is_passed_over(tmp_path):
    assert loaded(tmp_path, {"ema": None, "model": ONES}).metadata == {"taken": "model"}


def test_several_that_none_can_be_said_of_are_named(tmp_path):
    message = message_of(CheckpointError, loaded, tmp_path, {"actor": ONES, "critic": TWOS})
    assert "holds several state dicts, and nothing says which to take: actor, critic" in message


def test_one_under_an_unknown_name(tmp_path):
    state = loaded(tmp_path, {"backbone_weights": ONES, "epoch": 1})
    assert (state["w"].tolist(), state.metadata["taken"]) == ([1, 1], "backbone_weights")


# -- what is no hindrance ---------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Settings:
    rate: float = 0.1


class Attributes(dict):
    """Like EasyDict: a dict whose items are attributes as well."""

    def __setattr__(self, name, value):
        self[name] = value


class History:
    """Like mmengine's HistoryBuffer."""

    def __init__(self):
        self._log, self._methods = np.arange(3.0), {"mean": History.mean}

    def mean(self):
        return 0


INERT = {
    "range": range(3),
    "ellipsis": ...,
    "enum": Colour.RED,
    "dataclass": Settings(),
    "dict of a class of its own": Attributes(a=1),
    "history": History(),
    "class": History,
    "function": test_one_under_an_unknown_name,
    "bound method": History().mean,
    "activation": torch.nn.functional.silu,
    "complex": 1 + 2j,
    "namespace": types.SimpleNamespace(a=1),
    "arguments": argparse.Namespace(a=1),
    "counter": collections.Counter("ab"),
    "deque": collections.deque([1]),
    "slice": slice(1, 2),
    "exception": ValueError("x"),
    "generator": torch.Generator().get_state(),
}


@pytest.mark.parametrize("kind", INERT)
def test_inert_objects_block_no_weights(tmp_path, kind):
    torch.save({"state_dict": ONES, "beside": INERT[kind], "list": [INERT[kind]]}, tmp_path / "a.pt")
    assert load(tmp_path / "a.pt")["w"].tolist() == [1, 1]


def test_a_state_dict_in_a_dict_of_a_class_of_its_own(tmp_path):
    assert loaded(tmp_path, Attributes(state_dict=Attributes(ONES)))["w"].tolist() == [1, 1]


def test_what_is_no_tensor_among_tensors_is_left_out_and_named_when_asked_for(tmp_path):
    content = {**ONES, "c": torch.ones(2, dtype=torch.complex64), "s": torch.eye(2).to_sparse(), "n": 3}
    state = loaded(tmp_path, content)
    assert list(state) == ["w", "b"]
    assert state.metadata["left_out"]["c"] == "of the type ComplexFloatStorage"
    assert message_of(StateDictError, lambda: state["c"]) == "c was left out: it is of the type ComplexFloatStorage"
    with pytest.raises(KeyError, match="missing"):
        state["missing"]
    model = Module()
    model.register_parameter("c", Parameter(2))
    assert "not taken: c: of the type ComplexFloatStorage" in message_of(StateDictError, model.load_state_dict, state)
    save(state, tmp_path / "b.safetensors")
    assert list(load(tmp_path / "b.safetensors")) == ["w", "b"]


@pytest.mark.parametrize(
    "name", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
)
def test_every_number_of_8_bits_is_torch_s(tmp_path, name):
    tensor = torch.arange(256, dtype=torch.uint8).view(getattr(torch, name))
    expected = tensor.float().numpy()
    np.testing.assert_array_equal(loaded(tmp_path, {"w": tensor.view(16, 16).T})["w"], expected.reshape(16, 16).T)
    safetensors = pytest.importorskip("safetensors.torch")
    try:
        safetensors.save_file({"w": tensor}, tmp_path / "a.safetensors")
    except KeyError:
        return  # that library lacks the type
    np.testing.assert_array_equal(load(tmp_path / "a.safetensors")["w"], expected)


# -- what is said -----------------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, 2, bias=False), nn.BatchNorm2d(4, eps=0.01), nn.LeakyReLU(0.2))
        self.names = {0: "cat", 1: "dög"}
        self.yaml = {"nc": 2, "yaml_file": "nets/mine.yaml", "backbone": [[-1, 1, "Conv", [64]]]}
        self.stride = torch.tensor([8.0, 16.0])
        self.register_buffer("anchors", torch.ones(2, 3, 2))
        self.task = "detect"


def test_a_whole_model_says_what_it_is(tmp_path):
    content = {"model": Net().half(), "train_args": {"imgsz": 192, "lr0": 0.01, "path": object()}, "version": "8.4.7"}
    said = loaded(tmp_path, content).metadata
    modules = said.pop("modules")
    assert said == {
        "architecture": "mine",
        "names": ["cat", "dög"],
        "task": "detect",
        "classes": 2,
        "stride": 16,
        "strides": [8, 16],
        "anchors": [[[8, 8]] * 3, [[16, 16]] * 3],
        "train_args": {"imgsz": 192, "lr0": 0.01},
        "imgsz": 192,
        "version": "8.4.7",
        "taken": "model",
    }
    assert modules["layers.1"] == {"class": "torch.nn.modules.batchnorm.BatchNorm2d", "eps": 0.01}
    assert modules["layers.2"] == {"class": "torch.nn.modules.activation.LeakyReLU", "negative_slope": 0.2}
    assert modules["layers.0"]["stride"] == [2, 2]


@pytest.mark.parametrize(
    ("content", "key", "value"),
    [
        ({"opt": argparse.Namespace(imgsz=320, weights="a.pt")}, "imgsz", 320),
        ({"opt": {"img_size": [640, 320]}}, "imgsz", 640),
        ({"opt": {"imgsz": [480, 640]}}, "imgsz", [480, 640]),
        ({"names": ["a", "b"]}, "names", ["a", "b"]),
        ({"meta": {"CLASSES": ("a", "b")}}, "names", ["a", "b"]),
        ({"meta": {"dataset_meta": {"classes": ["a", "b"]}}}, "names", ["a", "b"]),
        ({"names": [1, 2]}, "names", None),
        ({"names": {0: 5, 1: 6}}, "names", None),
        ({"classes": 80}, "names", None),
        ({"train_args": {"imgsz": "large", "task": 3}}, "imgsz", None),
        (
            {"meta": {"cfg": "dict(base_sizes=[[(116, 90), (15, 19.5)],\n [(1, 2), (3, 4)]], strides=[32, 16])"}},
            "anchors",
            [[[1, 2], [3, 4]], [[116, 90], [15, 19.5]]],
        ),
    ],
)
def test_a_training_checkpoint_says_more(tmp_path, content, key, value):
    assert loaded(tmp_path, {"state_dict": ONES, **content}).metadata.get(key) == value


FROM_1 = "they are counted from 1, and taken in their order: 'a' is class 0"
UNKNOWN = "nothing tells how many classes there are"


@pytest.mark.parametrize(
    ("names", "classes", "taken", "odd"),
    [
        ({"1": "b", "0": "a"}, None, ["a", "b"], None),
        ({"01": "b", "00": "a"}, 2, ["a", "b"], None),
        ({"b": 1, "a": 0}, None, ["a", "b"], None),
        ({2: "b", 1: "a"}, 2, ["a", "b"], FROM_1),
        ({"1": "a", "2": "b"}, 2, ["a", "b"], FROM_1),
        ({1: "a", 2: None}, 2, ["a", "class1"], FROM_1 + "; there is none for class 1"),
        ({1: "a", 2: "b"}, 3, ["class0", "a", "b"], "there is none for class 0"),
        ({0: "a", 2: "c"}, 4, ["a", "class1", "c", "class3"], "there is none for class 1, 3"),
        ({0: "a", 1: None}, 2, ["a", "class1"], "there is none for class 1"),
        (["a", None], None, ["a", "class1"], "there is none for class 1"),
        ({0: "a", 1: "b" * 501}, 2, ["a", "class1"], "there is none for class 1"),
        ({1: "a", 2: "b"}, None, None, f"their numbers are 1, 2, and {UNKNOWN}"),
        ({0: "a", 9: "b"}, None, None, f"their numbers are 0, 9, and {UNKNOWN}"),
        ({0: "a", 2: "b"}, 2, None, "their numbers are 0, 2, and those of the 2 classes 0 to 1"),
        ({1: "a", 3: "b"}, 2**50, None, f"their numbers are 1, 3, and those of the {2**50:,} classes 0 to {2**50 - 1}"),
        ({0: "a", "0": "b"}, 2, None, "there are two of class 0"),
        ({0: "a", -1: "b"}, 2, None, "-1 is no number of a class"),
        ({"cat": "Cat", 0: "dog"}, 2, None, "'cat' is no number of a class"),
        ({"a": [0], "b": "x"}, 2, None, "'a' is no number of a class"),
        ({np.int64(0): "a", 0.5: "b"}, 2, None, "a key is no number"),
        (dict(enumerate(map(str, range(10_001)))), None, None, "they are more than 10,000"),
    ],
)
@pytest.mark.parametrize("is_of_model", [True, False])
def test_what_is_odd_about_names_is_told(tmp_path, names, classes, taken, odd, is_of_model):
    model = Net()
    model.names = names if is_of_model else None
    model.yaml = {"nc": classes}
    content = {"model": model, "class_names": names}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert loaded(tmp_path, content).metadata.get("names") == taken
    texts = {str(warning.message) for warning in told}
    assert len(texts) == (odd is not None)
    for text in texts:
        assert text.startswith(f"{tmp_path / 'a.pt'}, names of classes: ")
        assert (odd in text, "they are left out" in text) == (True, taken is None)


@pytest.mark.parametrize("names", [[7, 8, 10], {0: 7, 1: 8, 2: 10}, {"2": 10, "1": 8, "0": 7}])
def test_classes_that_are_called_by_numbers(tmp_path, names):
    """As YOLOv5 writes them, whose data.yaml names digits without quotes."""
    model = Net()
    model.names, model.yaml = names, {"nc": 3}
    assert loaded(tmp_path, {"model": model}).metadata["names"] == ["7", "8", "10"]
    model.yaml = {"nc": 4}  # these are something else
    assert "names" not in loaded(tmp_path, {"model": model}).metadata


def test_names_that_are_odd_do_not_keep_a_model_from_its_weights(tmp_path):
    model = from_state_dict(load(WEIGHTS))
    state = StateDict(model.state_dict())
    content = {"names": {index + 1: f"the {index}" for index in range(10)}}
    content["state_dict"] = {name: torch.from_numpy(array.copy()) for name, array in state.items()}
    with pytest.warns(UserWarning, match="their numbers are 1, 2, 3, 4, 5 and 5 more, and nothing tells how many"):
        state = loaded(tmp_path, content)
    assert "names" not in from_state_dict(state).metadata


def test_what_safetensors_hold_of_it_is_checked(tmp_path):
    for said in ({"names": "cat"}, {"imgsz": -1}, {"strides": [8.5]}, {"modules": {"a": 3}}, {"classes": True}):
        message = message_of(CheckpointError, save, StateDict({"w": np.ones(1)}, said), tmp_path / "a.safetensors")
        assert f"can hold these metadata: {next(iter(said))} is " in message
        texts = {"trtnn": json.dumps(said)}
        safetensors.numpy.save_file({"w": np.ones(1)}, tmp_path / "a.safetensors", metadata=texts)
        message = message_of(CheckpointError, load, tmp_path / "a.safetensors")
        assert f"trtnn's text in it is not sound: {next(iter(said))} is " in message
