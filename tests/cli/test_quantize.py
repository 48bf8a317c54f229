"""``trtnn quantize``: from a checkpoint and pictures to a checkpoint with scales."""

import numpy as np
import pytest

import trtnn
from tests.helpers import ONE_TARGET
from trtnn.cli.samples import Samples
from trtnn.examples.digits import PICTURE, WEIGHTS
from trtnn.models import from_state_dict
from trtnn.vision.pipelines import pipeline_of

TARGET = [word for target in ONE_TARGET.get("targets", ()) for word in ("--target", target)]
SIZE = ("--size", 64)


def test_a_checkpoint_that_builds_in_int8(run, tmp_path):
    path, engine = tmp_path / "digits int8.safetensors", tmp_path / "a.engine"
    result = run("quantize", WEIGHTS, "--samples", PICTURE, "-o", path, *SIZE)
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{path}, {path.stat().st_size / 1e6:.1f} MB, 56 modules in int8\n"
    before, after = trtnn.load(WEIGHTS), trtnn.load(path)
    assert after.metadata == before.metadata
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    model = from_state_dict(before)
    images = list(Samples(str(PICTURE), {"images": trtnn.Input((1, 3, 64, 64))}, model.metadata))
    model.inputs = {"images": images[0].shape}
    expected = trtnn.quantize(model, images).state_dict()
    assert list(expected) == list(after)
    for name, array in expected.items():
        np.testing.assert_array_equal(after[name], array)
    result = run("build", path, "-o", engine, "--fp16", *SIZE, *TARGET)
    assert (result.code, result.err) == (0, "")
    assert trtnn.Engine.load(engine).description["quantized"]["model.23.cv3.conv"] == "int8"


def test_what_is_chosen(run, tmp_path):
    path = tmp_path / "a.npz"
    options = ["--dtype", "fp8", "--method", "percentile", "--skip", "model.24", "--module", "model.2*"]
    result = run("quantize", WEIGHTS, "--samples", PICTURE, "-o", path, *SIZE, *options)
    assert (result.code, result.err) == (0, "")
    state = trtnn.load(path)
    paths = {name.removesuffix(".weight_scale") for name in state if name.endswith(".weight_scale")}
    assert {path.split(".")[1] for path in paths} == {"2", "20", "21", "23"}
    assert state["model.2.cv1.conv.quant_max"] == 448


def test_all_of_it(run, tmp_path):
    path = tmp_path / "a.safetensors"
    result = run("quantize", WEIGHTS, "--samples", PICTURE, "-o", path, *SIZE, "--skip", "none")
    assert result.out.endswith("60 modules in int8\n")


def test_a_calibration_that_goes_on(run, tmp_path):
    options = ["--samples", PICTURE, "-o", tmp_path / "a.safetensors", *SIZE, "--calibration", tmp_path / "seen.npz"]
    assert run("quantize", WEIGHTS, *options).code == 0
    assert int(np.load(tmp_path / "seen.npz")["samples"]) == 1
    assert run("quantize", WEIGHTS, *options).code == 0
    result = run("quantize", WEIGHTS, *options, "--method", "max")
    assert result.code == 1
    assert "is a calibration of another network, or by another method" in result.err


def test_bad_input(run, tmp_path):
    copy = tmp_path / "a.safetensors"
    copy.write_bytes(WEIGHTS.read_bytes())
    result = run("quantize", copy, "--samples", PICTURE, "-o", copy)
    assert (result.code, "would take the place of" in result.err) == (1, True)
    (tmp_path / "empty").mkdir()
    result = run("quantize", copy, "--samples", tmp_path / "empty")
    assert result.code == 1
    assert not (tmp_path / "a-int8.safetensors").exists()
    result = run("quantize", copy, "--samples", PICTURE, *SIZE, "--skip", "model.99")
    assert (result.code, "nothing that can be quantised" in result.err) == (1, True)
    result = run("quantize", copy, "--samples", PICTURE, "--dtype", "int4")
    assert result.code == 2


def test_samples_are_read_as_they_are_asked_for(monkeypatch):
    model = from_state_dict(trtnn.load(WEIGHTS))
    read = []
    monkeypatch.setattr("trtnn.cli.samples.read_image", lambda path: read.append(path) or np.zeros((8, 8, 3), np.uint8))
    samples = Samples(str(PICTURE.parent / "*.jpg"), {"images": trtnn.Input((1, 3, 64, 64))}, model.metadata)
    assert (len(samples), read) == (2, [])
    next(iter(samples))
    assert len(read) == 1
    assert pipeline_of(model.metadata) is not None
    with pytest.raises(trtnn.TrtnnError, match="samples are pictures"):
        Samples(str(PICTURE), {"x": trtnn.Input((1, 8))}, model.metadata)
