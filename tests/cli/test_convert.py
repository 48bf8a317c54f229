"""``trtnn convert`` between all formats."""

import itertools

import numpy as np
import pytest

import trtnn
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
