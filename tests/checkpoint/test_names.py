"""Names that are not a model's own: prefixes of wrappers, weights that are kept as several arrays, shards, aliases."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import trtnn
from benchmarks.twins import yolov8 as twins
from tests.helpers import message_of
from trtnn import models
from trtnn.checkpoint import convert, load, save
from trtnn.checkpoint.parametrized import folded
from trtnn.errors import CheckpointError, StateDictError
from trtnn.modules import BatchNorm2d, Conv2d, ConvTranspose2d, Linear, Sequential


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def ours():
    return Sequential(Conv2d(3, 4, 3), BatchNorm2d(4), Conv2d(4, 2, 1))


def loaded(tmp_path, content, name="a.pt"):
    torch.save(content, tmp_path / name)
    return load(tmp_path / name)


# -- prefixes ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:`torch.jit")  # torch.compile's own
@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: torch.compile(model).state_dict(),
        lambda model: nn.DataParallel(model).state_dict(),
        lambda model: nn.DataParallel(torch.compile(model)).state_dict(),
        lambda model: torch.optim.swa_utils.AveragedModel(model).state_dict(),
        lambda model: torch.optim.swa_utils.AveragedModel(nn.DataParallel(model)).state_dict(),
        lambda model: nn.Sequential(torch.compile(model[0]), model[1], model[2]).state_dict(),
        lambda model: {f"_fsdp_wrapped_module.{name}": tensor for name, tensor in model.state_dict().items()},
    ],
)
def test_wrappers_of_torch_leave_no_trace(tmp_path, wrap):
    model = network()
    state = loaded(tmp_path, wrap(model))
    assert {name: array.tolist() for name, array in state.items()} == {
        name: tensor.tolist() for name, tensor in model.state_dict().items()
    }


@pytest.mark.parametrize("prefix", ["model.", "model.model.", "net.backbone.", "module.model."])
def test_a_module_finds_its_names_under_a_prefix(tmp_path, prefix):
    state = {f"{prefix}{name}": tensor for name, tensor in network().state_dict().items()}
    model = ours()
    model.load_state_dict(loaded(tmp_path, {"state_dict": {**state, "loss.weight": torch.ones(1)}}))
    np.testing.assert_array_equal(model.state_dict()["0.weight"], network()[0].weight.detach().numpy())


def test_a_prefix_does_not_hide_what_is_missing(tmp_path):
    state = {f"model.{name}": tensor for name, tensor in network().state_dict().items() if name != "2.bias"}
    message = message_of(StateDictError, ours().load_state_dict, loaded(tmp_path, state))
    assert "unexpected: model.0.weight" in message
    assert "missing: 2.bias (2,)" in message


@pytest.mark.parametrize("prefix", ["", "model.", "model.model.", "_orig_mod.model."])
def test_a_family_finds_its_names_under_a_prefix(tmp_path, prefix):
    twin = twins.make("yolov8n", 3)
    twin.model[9].cv1.act = nn.Identity()
    if prefix == "model.model.":  # a whole model within others
        outer = nn.Module()
        outer.model = nn.Module()
        outer.model.model = twin
        state = loaded(tmp_path, outer)
        assert "model.model.model.0.conv.weight" in state
    else:
        state = loaded(tmp_path, {f"{prefix}{name}": tensor for name, tensor in twin.state_dict().items()})
    assert models.identify(state) == {"name": "yolov8n", "classes": 3}
    for model in (models.from_state_dict(state), models.from_state_dict(state, "yolov8n")):
        np.testing.assert_array_equal(model.state_dict()["model.0.conv.weight"], twin.model[0].conv.weight.detach())
        kind = "Identity" if prefix == "model.model." else "SiLU"  # a state dict alone does not tell
        assert type(model.model[9].cv1.act).__name__ == kind


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth.tar", "MODEL.BIN"])
def test_other_suffixes_of_torch_s_files(tmp_path, name):
    assert list(loaded(tmp_path, network().state_dict(), name)) == list(network().state_dict())


# -- shards and aliases -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards(tmp_path, suffix):
    arrays = {name: tensor.numpy() for name, tensor in network().state_dict().items()}
    places = {name: f"m-{number % 2 + 1}-of-2.{suffix}" for number, name in enumerate(arrays)}
    for place in set(places.values()):
        save({name: arrays[name] for name in arrays if places[name] == place}, tmp_path / place)
    index = tmp_path / f"model.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 3}, "weight_map": places}))
    state = load(index)
    assert list(state) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(state[name], array)
    convert(index, tmp_path / "one.npz")
    assert list(load(tmp_path / "one.npz")) == list(arrays)


def test_what_an_index_does_not_name_is_taken_from_its_files_as_well(tmp_path):
    one, two = (
        {"a": np.ones(3), "b": np.full(2, np.nan)},
        {"c": np.arange(4), "b": np.full(2, np.nan), "a": np.zeros(3)},
    )
    save(one, tmp_path / "one.npz")
    save(two, tmp_path / "two.npz")
    index = tmp_path / "x.npz.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.npz", "c": "two.npz"}}))
    state = load(index)
    assert list(state) == ["a", "c", "b"]
    np.testing.assert_array_equal(state["a"], one["a"])  # where the index says that it is
    np.testing.assert_array_equal(state["b"], one["b"])
    index.write_text(json.dumps({"weight_map": {"b": "one.npz", "c": "two.npz"}}))
    assert "does not name a, and several of its files have one" in message_of(CheckpointError, load, index)


def test_a_lone_shard_says_so_where_weights_are_missing(tmp_path):
    arrays = {name: tensor.numpy() for name, tensor in network().state_dict().items()}
    first = dict(list(arrays.items())[:2])
    path = tmp_path / "model-00001-of-00003.safetensors"
    save(first, path)
    state = load(path)
    index = "model.safetensors.index.json"
    assert (
        state.metadata["shard"] == f"{path.name} is one of 3 files; the index that reads all, {index}, is not beside it"
    )
    (tmp_path / index).touch()
    state = load(path)
    told = f"is one of 3 files; the index reads all: {tmp_path / index}"
    assert told in message_of(StateDictError, ours().load_state_dict, state)
    assert told in message_of(StateDictError, trtnn.models.from_state_dict, state)
    assert told in convert(path, tmp_path / "one.npz")[0]
    assert convert(path, tmp_path / "one.safetensors") == convert(path, tmp_path / "one.npz", force=True)
    for name in ("one.npz", "one.safetensors"):  # of a name of its own, which says nothing
        assert "shard" not in load(tmp_path / name).metadata
    save({**arrays, "more": np.ones(1)}, path)
    assert told not in message_of(StateDictError, ours().load_state_dict, load(path))  # nothing is missing


@pytest.mark.parametrize(
    "name", ["model-00001-of-00001.safetensors", "model-of-3.safetensors", "model.safetensors", "1-of-2.safetensors"]
)
def test_other_names_are_no_shards(tmp_path, name):
    save({"a": np.ones(1)}, tmp_path / name)
    assert "shard" not in load(tmp_path / name).metadata


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", 'has no "weight_map"'),
        ('{"weight_map": {"a": 3}}', 'has no "weight_map"'),
        ('{"weight_map": {"a": "../a.npz"}}', "names a file outside its folder: '../a.npz': refused"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "names a file outside its folder"),
        ('{"weight_map": {"a": ".."}}', "names a file outside its folder"),
        ('{"weight_map": {"a": "c\\\\d.npz"}}', "names a file outside its folder"),
        ('{"weight_map": {"a": "x.index.json"}}', "names another index as a shard"),
        ('{"weight_map": {"a": "gone.npz"}}', "gone.npz"),
        ('{"weight_map": {"a": "a.txt"}}', "a.txt has no suffix of a checkpoint that is known"),
        ('{"weight_map": {"a": "b.npz"}}', "b.npz lacks a, which x.index.json says it has"),
        ("[", "it is not sound JSON"),
        ('{"weight_map": {"a": NaN}}', "it has NaN, which JSON has not"),
    ],
)
def test_an_index_that_is_not_sound(tmp_path, text, words):
    save({"b": np.ones(1)}, tmp_path / "b.npz")
    (tmp_path / "x.index.json").write_text(text)
    assert words in message_of(CheckpointError, load, tmp_path / "x.index.json")


def test_a_folder_is_no_checkpoint(tmp_path):
    assert message_of(CheckpointError, load, tmp_path).endswith(
        "is a folder, not a checkpoint\n  there is no checkpoint in it"
    )
    save({"b": np.ones(1)}, tmp_path / "b.npz")
    (tmp_path / "config.json").touch()
    (tmp_path / "model.safetensors.index.json").touch()
    assert message_of(CheckpointError, load, tmp_path).endswith("\n  in it: b.npz, model.safetensors.index.json")
    for index in range(6):
        (tmp_path / f"c{index}.pt").touch()
    assert message_of(CheckpointError, load, tmp_path).endswith("in it: b.npz, c0.pt, c1.pt, c2.pt, c3.pt and 3 more")


def test_an_index_is_not_written(tmp_path):
    for name in ("x.index.json", "x.onnx"):
        message = message_of(CheckpointError, save, {"a": np.ones(2)}, tmp_path / name)
        assert "no suffix of a checkpoint" in message
        known = message.rpartition("known: ")[2].split(", ")
        assert len(known) > 5
        for suffix in known:  # what is said to be known can be written
            save({"a": np.ones(2)}, tmp_path / f"y{suffix}")


def test_safetensors_of_tied_weights(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    model = nn.Module()
    model.emb, model.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
    model.head.weight = model.emb.weight
    safetensors.save_model(model, tmp_path / "a.safetensors")
    state = load(tmp_path / "a.safetensors")
    assert sorted(state) == ["emb.weight", "head.weight"]
    assert np.shares_memory(state["emb.weight"], state["head.weight"])
    Sequential({"head": Linear(3, 5, bias=False)}).load_state_dict({"head.weight": state["head.weight"]})


# -- weights that are kept as something else --------------------------------------------------------------------------


def conv_of(kind):
    torch.manual_seed(1)
    return (
        nn.ConvTranspose2d(4, 4, 3)
        if kind == "transposed"
        else nn.Conv2d(4, 4, 3)
        if kind == "conv"
        else nn.Linear(4, 6)
    )


@pytest.mark.parametrize("kind", ["conv", "transposed", "linear"])
@pytest.mark.parametrize(
    "wrap",
    [
        torch.nn.utils.weight_norm,
        lambda layer: torch.nn.utils.weight_norm(layer, dim=None),
        lambda layer: torch.nn.utils.weight_norm(layer, dim=1),
        torch.nn.utils.parametrizations.weight_norm,
        torch.nn.utils.spectral_norm,
        torch.nn.utils.parametrizations.spectral_norm,
        lambda layer: prune.random_unstructured(layer, "weight", 0.4),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.nn.utils.weight_norm.*deprecated")
def test_normalised_weights_are_computed(tmp_path, kind, wrap):
    layer = wrap(conv_of(kind))
    x = torch.randn(2, 4) if kind == "linear" else torch.randn(1, 4, 8, 8)
    for _ in range(30):
        layer(x)  # which turns what spectral_norm keeps
    with torch.no_grad():
        expected = layer.eval()(x)
    made = {"conv": Conv2d, "transposed": ConvTranspose2d}.get(kind, Linear)
    mine = made(4, 6) if kind == "linear" else made(4, 4, 3)
    state = loaded(tmp_path, layer.state_dict())
    assert "weight" not in state
    mine.load_state_dict(state)
    network = mine.trace({"input": tuple(x.shape)})
    np.testing.assert_allclose(network.run(x.numpy()), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_what_looks_like_a_part_is_left_as_it_is():
    ones = np.ones((2, 2), np.float32)
    for state in (
        {"a.weight_g": ones},
        {"a.weight_g": np.ones((3, 1)), "a.weight_v": ones},
        {"a.weight_orig": ones, "a.weight_mask": np.ones(3)},
        {"a.weight_orig": ones, "a.weight_u": np.ones(5)},
        {"a.weight_g": ones[:, :1], "a.weight_v": ones, "a.weight": ones},
    ):
        assert folded(state) is state


# -- networks that are not here ---------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_network_is_named(tmp_path):
    for given, words in (
        ({"model.10.attn.qkv.conv.weight": torch.ones(1)}, "this looks like YOLOv10, which trtnn has no model for"),
        (
            {
                "model.24.m.0.bias": torch.ones(351),
                "model.0.conv.weight": torch.ones(1),
                "model.24.proto.cv1.x": torch.ones(1),
            },
            "this looks like YOLOv5 for segmentation",
        ),
        ({"roi_heads.box_head.fc6.weight": torch.ones(1)}, "this looks like a Faster R-CNN"),
    ):
        message = message_of(StateDictError, models.from_state_dict, loaded(tmp_path, given))
        assert words in message
        assert "yolov5n, yolov5s" not in message
    twin = twins.make("yolov8n", 3)
    twin.task, twin.yaml = "pose", {"yaml_file": "yolov8n-pose.yaml"}
    state = loaded(tmp_path, {"model": twin})
    message = message_of(StateDictError, models.create("yolov8n").load_state_dict, state)
    assert "task: pose in the file, detect here" in message
    assert trtnn.load(tmp_path / "a.pt").metadata["task"] == "pose"
    twin.model[6], twin.yaml = nn.Identity(), {"yaml_file": "yolov10n-pose.yaml"}
    state = loaded(tmp_path, {"model": twin})
    assert "this looks like yolov10n-pose for poses" in message_of(StateDictError, models.from_state_dict, state)
