"""``trtnn quantize``: from a checkpoint and pictures to a checkpoint with scales."""

import numpy as np
import pytest

import trtnn
from tests.helpers import ONE_TARGET
from trtnn.cli.samples import Samples, example_inputs
from trtnn.examples.digits import PICTURE, WEIGHTS
from trtnn.models import from_state_dict
from trtnn.vision.pipelines import pipeline_of

TARGET = [word for target in ONE_TARGET.get("targets", ()) for word in ("--target", target)]
SIZE = ("--size", 64)


def test_a_checkpoint_that_builds_in_int8(run, tmp_path):
    path, engine = tmp_path / "digits int8.safetensors", tmp_path / "a.engine"
    result = run("quantize", WEIGHTS, "--samples", PICTURE, "-o", path, *SIZE)
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{path}, {path.stat().st_size / 1e6:.1f} MB, 57 modules in int8\n"
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


def test_outputs_that_are_rounded(run, tmp_path):
    path = tmp_path / "a.npz"
    options = ["--round-output", "model.17.cv3", "--round-output", "model.20.cv3"]
    result = run("quantize", WEIGHTS, "--samples", PICTURE, "-o", path, *SIZE, *options)
    assert (result.code, result.err) == (0, "")
    state = trtnn.load(path)
    for path, reader in (("model.17.cv3.act", "model.18.conv"), ("model.20.cv3.act", "model.21.conv")):
        assert state[f"{path}.output_scale"] == state[f"{reader}.input_scale"]


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
    for option, word in (("--skip", "none"), ("--module", "auto"), ("--module", "fastest")):
        result = run("quantize", copy, "--samples", PICTURE, *SIZE, option, word, option, "model.24")
        assert result.code == 1
        assert f"{option} {word} stands alone" in result.err
    result = run("quantize", copy, "--samples", PICTURE, "--dtype", "int4")
    assert result.code == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.engine", "has no suffix of a checkpoint that is known"), ("a.weights", "cannot be written as .weights")],
)
def test_a_name_that_no_checkpoint_has_is_told_before_any_picture_is_run(run, tmp_path, monkeypatch, name, words):
    monkeypatch.setattr(trtnn, "quantize", lambda *args, **options: pytest.fail("it begins"))
    result = run("quantize", WEIGHTS, "--samples", PICTURE, "-o", tmp_path / name)
    assert (result.code, words in result.err) == (1, True)


@pytest.fixture
def pictures(tmp_path):
    """Return a folder of two pictures, with a third and a fourth that cannot be read, and what is no picture."""
    folder = tmp_path / "pictures ö"
    folder.mkdir()
    for name in ("a.jpg", "c.jpg"):
        (folder / name).write_bytes(PICTURE.read_bytes())
    (folder / "b.jpg").write_bytes(b"no picture")
    (folder / "d.png").write_bytes(b"")
    for name in ("notes.txt", ".DS_Store", "Thumbs.db", ".hidden.jpg", "._a.jpg"):
        (folder / name).write_bytes(b"no picture")
    (folder / "below.jpg").mkdir()
    return folder


LEFT_OUT = (
    "skipped: cannot read the picture {}/b.jpg: it does not decode",
    "skipped: cannot read the picture {}/d.png",
)


def left_out(err, pictures):
    """Check that both unread pictures are named, each once, and counted at the end."""
    for line in LEFT_OUT:
        assert err.count(line.format(pictures)) == 1
    assert err.count("skipped: ") == 2
    assert err.endswith("error: 2 of 4 pictures could not be read\n")


@pytest.mark.parametrize("glob", ["", "/*"])
def test_pictures_that_cannot_be_read_are_left_out(run, tmp_path, pictures, glob):
    path, alone = tmp_path / "a.safetensors", tmp_path / "alone.safetensors"
    result = run("quantize", WEIGHTS, "--samples", f"{pictures}{glob}", "-o", path, *SIZE)
    assert (result.code, result.out) == (1, f"{path}, {path.stat().st_size / 1e6:.1f} MB, 57 modules in int8\n")
    left_out(result.err, pictures)
    for name in ("b.jpg", "d.png"):
        (pictures / name).unlink()
    assert run("quantize", WEIGHTS, "--samples", pictures, "-o", alone, *SIZE).code == 0
    assert path.read_bytes() == alone.read_bytes()


def test_every_command_leaves_them_out(run, tmp_path, pictures):
    result = run("fp16", WEIGHTS, "--samples", pictures, *SIZE)
    assert (result.code, "to stay in fp32: " in result.out) == (1, True)
    left_out(result.err, pictures)
    result = run("view", WEIGHTS, "--samples", pictures, "-o", tmp_path / "a.html", *SIZE)
    assert (result.code, (tmp_path / "a.html").exists()) == (1, True)
    left_out(result.err, pictures)
    auto = ("--fp16", "--fp32-module", "auto", "--samples", pictures)
    result = run("build", WEIGHTS, *auto, "-o", tmp_path / "a.engine", *SIZE, *TARGET)
    assert (result.code, (tmp_path / "a.engine").exists()) == (1, True)
    left_out(result.err, pictures)


def test_samples_of_which_none_can_be_read(run, tmp_path, pictures):
    for name in ("a.jpg", "c.jpg"):
        (pictures / name).write_bytes(b"")
    for command in ("fp16", "quantize"):
        options = ["-o", tmp_path / "a.safetensors"] if command == "quantize" else []
        result = run(command, WEIGHTS, "--samples", pictures, *options, *SIZE)
        assert (result.code, result.out, result.err.count("skipped: ")) == (1, "", 4)
        assert result.err.endswith(f"error: none of the 4 pictures at {pictures} can be read\n")
    result = run("fp16", WEIGHTS, "--samples", pictures / "b.jpg", *SIZE)
    assert (result.code, result.err.startswith(f"error: cannot read the picture {pictures / 'b.jpg'}")) == (1, True)
    assert not (tmp_path / "a.safetensors").exists()


def test_batches_are_full_of_what_can_be_read(pictures):
    model = from_state_dict(trtnn.load(WEIGHTS))
    samples = Samples(str(pictures), {"images": trtnn.Input((3, 3, 64, 64))}, model.metadata)
    assert len(samples) == 2
    for _ in range(2):
        (batch,) = samples
        assert (batch.shape, len(samples)) == ((3, 3, 64, 64), 1)
        np.testing.assert_array_equal(batch[0], batch[2])
    assert [path.name for path in samples.unread] == ["b.jpg", "d.png"]


def test_one_input_shows_one_picture(pictures):
    model = from_state_dict(trtnn.load(WEIGHTS))
    with pytest.raises(trtnn.TrtnnError, match=r"one input is to show all of .*pictures ö, and it takes fewer"):
        example_inputs({"images": trtnn.Input((3, 3, 64, 64))}, pictures, model.metadata)


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
