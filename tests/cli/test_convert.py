"""``trtnn convert`` between all formats."""

import itertools

import numpy as np
import pytest
import torch

import trtnn
from tests.helpers import message_of
from trtnn import models
from trtnn.errors import ArgumentError
from trtnn.examples.digits import WEIGHTS

SUFFIXES = (".safetensors", ".npz", ".wts", ".pt", ".pth")


@pytest.mark.parametrize(("source", "target"), list(itertools.product(SUFFIXES, SUFFIXES)))
def test_every_format_into_every_other(run, tmp_path, source, target):
    rng = np.random.default_rng(0)
    state = {"a.weight": rng.random((4, 3, 2), np.float32), "a.bias": rng.random(4, np.float32)}
    a, b = tmp_path / f"in it{source}", tmp_path / f"out of it{target}"
    trtnn.save(state, a)
    if source == ".wts" != target:
        result = run("convert", a, b)
        assert result.code == 1
        assert "its tensors are of no model that trtnn knows: their shapes would be lost\n  say which" in result.err
        assert not b.exists()
        return
    state = {name: array.ravel() for name, array in state.items()} if source == ".wts" else state
    assert run("convert", a, b) == (0, f"{b}, 0.0 MB\n", "")
    found = trtnn.load(b)
    assert list(found) == list(state)
    for name, array in state.items():
        np.testing.assert_array_equal(found[name], array.ravel() if target == ".wts" else array)  # it knows no shapes
        assert found[name].dtype == np.float32


def test_a_whole_model_through_all_of_them(run, tmp_path):
    path = WEIGHTS
    for number, suffix in enumerate((".pt", ".npz", ".pth", ".safetensors", ".wts", ".npz")):
        target = tmp_path / f"{number}{suffix}"
        assert run("convert", path, target).code == 0
        path = target
    before, after = trtnn.load(WEIGHTS), trtnn.load(path)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    result = run("inspect", path)
    assert result.out.endswith("model: yolov5n, classes 10, version 6.0\n")
    result = run("build", path, "-o", tmp_path / "missing" / "x.engine")
    assert "cannot write" in result.err  # the model took the weights


def test_bad_files_and_suffixes(run, tmp_path):
    result = run("convert", WEIGHTS, tmp_path / "x.onnx")
    assert result.code == 1
    assert f"{tmp_path / 'x.onnx'} has no suffix of a checkpoint that is known\n  known: .safetensors" in result.err
    result = run("convert", WEIGHTS, tmp_path / "no" / "x.npz")
    assert result.code == 1
    assert f"the folder {tmp_path / 'no'} does not exist" in result.err
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    result = run("convert", tmp_path / "bad.pt", tmp_path / "x.npz")
    assert result.code == 1
    assert "is not a file that torch.save wrote" in result.err
    assert not (tmp_path / "x.npz").exists()


def test_wts_get_the_shapes_of_their_model(run, tmp_path):
    model = models.create("yolov8n", classes=2)
    state = {name: np.ones(member.shape, np.float32) for name, member in model._state().items()}
    trtnn.save(state, tmp_path / "a.wts")
    for target in ("a.safetensors", "a.npz", "a.pt"):
        assert run("convert", tmp_path / "a.wts", tmp_path / target).code == 0
        assert {name: array.shape for name, array in trtnn.load(tmp_path / target).items()} == {
            name: array.shape for name, array in state.items()
        }
    assert run("convert", tmp_path / "a.wts", tmp_path / "b.npz", "--model", "yolov5n").code == 1
    trtnn.save({"layer.weight": np.ones((2, 3), np.float32)}, tmp_path / "own.wts")
    result = run("convert", tmp_path / "own.wts", tmp_path / "own.npz")
    assert result.code == 1
    assert "say which model it is: --model NAME" in result.err
    assert not (tmp_path / "own.npz").exists()


def test_convert_overwrites_nothing(run, tmp_path):
    torch.save({"model": torch.nn.Linear(2, 2).state_dict(), "names": ["a"]}, path := tmp_path / "best.pt")
    before = path.read_bytes()
    for target in (path, tmp_path / "." / "best.pt"):
        result = run("convert", path, target)
        assert result.code == 1
        assert "is there already\n  give another name, or overwrite it: --force" in result.err
    assert path.read_bytes() == before
    result = run("convert", path, path, "--force")
    assert result.code == 0
    assert ".pt does not hold what best.pt says beside the weights (names)" in result.err
    assert message_of(ArgumentError, trtnn.checkpoint.convert, path, path).endswith("--force or force=True")
