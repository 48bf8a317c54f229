"""``trtnn build``, to a file, and everything that keeps it from starting."""

import importlib
import os
import re
import shutil

import numpy as np
import pytest

import trtnn
import trtnn.build.build
from tests.helpers import ONE_TARGET
from trtnn import get_backend
from trtnn.cli.options import resized_inputs
from trtnn.cli.sources import fill_empty, make_model
from trtnn.cli.values import read_size
from trtnn.errors import BuildError
from trtnn.examples.digits import WEIGHTS

TARGET = [word for target in ONE_TARGET.get("targets", ()) for word in ("--target", target)]


def test_an_engine_and_its_description(run, tmp_path):
    path = tmp_path / "my engines [1]" / "digits of mine.engine"
    path.parent.mkdir()
    result = run("build", WEIGHTS, "-o", path, "--size", 64, "--batch", 2, "--fp16", *TARGET)
    assert (result.code, result.err) == (0, "")
    engine = trtnn.Engine.load(path)
    assert engine.inputs == {"images": trtnn.Input((2, 3, 64, 64))}
    assert engine.description["precision"] == "float16"
    assert engine.description["model"] == "yolov5n"
    assert engine.targets == ONE_TARGET.get("targets", engine.targets)
    assert result.out.splitlines()[0] == f"{path}, {path.stat().st_size / 1e6:.1f} MB"
    for words in (["model", "yolov5n"], ["classes", "10"], ["images: float32[2, 3, 64, 64]"], ["float32[2, 252, 15]"]):
        assert re.search(".*".join(map(re.escape, words)), result.out)


def test_how_it_is_built(run, tmp_path, monkeypatch):
    built, original = [], trtnn.build.build.build
    monkeypatch.setattr(trtnn.build.build, "build", lambda *args: built.append(args[1]) or original(*args))
    common = ["build", WEIGHTS, "-o", tmp_path / "a.engine", "--size", 32, *TARGET]
    for options in ([], ["--level", 0, "--workspace", 64, "--aux-streams", 3, "--no-tf32"]):
        result = run(*common, *options)
        assert (result.code, result.err) == (0, "")
    options = [(c.optimization_level, c.workspace_bytes, c.max_aux_streams, c.tf32) for c in built]
    assert options == [(None, None, None, True), (0, 64 << 20, 3, False)]


def test_engines_that_take_weights_or_other_gpus(run, tmp_path, monkeypatch):
    built = []

    def stop(graph, config, metadata):
        built.append((config.refittable, config.hardware_compatible))
        raise BuildError("as far as this")

    monkeypatch.setattr(trtnn.build.build, "build", stop)
    common = ["build", WEIGHTS, "-o", tmp_path / "a.engine", "--size", 32, *TARGET]
    for options in ([], ["--refittable"], ["--hardware-compatible"]):
        assert "as far as this" in run(*common, *options).err
    assert built == [(False, False), (True, False), (False, True)]


def test_the_raw_head(run, tmp_path):
    path = tmp_path / "raw.engine"
    result = run("build", WEIGHTS, "-o", path, "--size", 64, "--fp16", "--head", "raw", *TARGET)
    assert (result.code, result.err) == (0, "")
    engine = trtnn.Engine.load(path)
    assert [spec.shape for spec in engine.outputs.values()] == [(1, 45, n, n) for n in (8, 4, 2)]
    assert engine.description["pipeline"] == "yolov5-raw"
    assert trtnn.Detector(engine, device="cpu").pipeline.head.strides == (8, 16, 32)


def test_anchors_that_the_checkpoint_lacks(run, tmp_path):
    arrays = {name: np.asarray(array) for name, array in trtnn.load(WEIGHTS).items()}
    anchors = arrays.pop("model.24.anchors") * np.float32([8, 16, 32]).reshape(3, 1, 1) * 2
    np.savez(tmp_path / "a.npz", **arrays)
    given = ",".join(f"{number:g}" for number in anchors.ravel())
    common = ["build", tmp_path / "a.npz", "--size", 64, "--head", "raw", *TARGET, "-o", tmp_path / "a.engine"]
    result = run(*common, "--anchors", given)
    assert (result.code, result.err) == (0, "")
    told = trtnn.Engine.load(tmp_path / "a.engine").description["anchors"]
    np.testing.assert_allclose(told, anchors, rtol=1e-5)


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("build", []), ("quantize", ["--samples", "a.jpg"]), ("fp16", ["--samples", "a.jpg"]), ("compare", []),
        ("bench", []), ("val", ["--data", "a"]),
    ],
)  # fmt: skip
def test_commands_that_read_a_checkpoint_take_anchors(run, command, more):
    result = run(command, WEIGHTS, *more, "--anchors", "10,13,16")
    assert result.code == 2
    assert "'10,13,16' is neither usual nor 6 numbers above 0 for each level" in " ".join(result.err.split())


@pytest.mark.usefixtures("no_build")
def test_a_head_that_there_is_not(run, tmp_path):
    common = ["-o", tmp_path / "a.engine", "--head"]
    result = run("build", WEIGHTS, *common, "maps")
    assert (result.code, result.err) == (1, "error: YOLOv5 head 'maps'\n  known: 'decoded', 'raw'\n")
    own = tmp_path / "mine.py"
    own.write_text("import trtnn\nclass Net(trtnn.Module): pass\n")
    result = run("build", f"{own}:Net", *common, "raw")
    assert result.code == 1
    assert f"--head is of trtnn's own models, and {own}:Net is none" in " ".join(result.err.split())


def test_an_engine_for_a_range_of_sizes(run, tmp_path):
    path = tmp_path / "any.engine"
    result = run("build", WEIGHTS, "-o", path, "--size", "64,96,128", "--batch", "1,2,4", *TARGET)
    assert (result.code, result.err) == (0, "")
    engine = trtnn.Engine.load(path)
    (profile,) = engine.profiles
    assert {name: (d.min, d.opt, d.max, d.multiple_of) for name, d in profile.items()} == {
        "batch": (1, 2, 4, 1),
        "height": (64, 96, 128, 32),
        "width": (64, 96, 128, 32),
    }
    text = " ".join(result.out.replace("\u2502", " ").split())
    assert "images: float32[batch, 3, height, width]" in text
    assert "0: batch is 1 to 4, fastest at 2, height is 64 to 128, a multiple of 32, fastest at 96" in text
    assert "profiles" in run("inspect", path).out
    summary = run("inspect", "yolov5n", "--size", "64,96,128").out
    assert "height//2, width//2]" in summary


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64", (64, 64)),
        ("64x96", (64, 96)),
        ("64X96", (64, 96)),
        ("64×96", (64, 96)),
        ("64,96", (64, 96)),
        ("64,64,64", (64, 64)),
        ("64x32,64,96", (64, ("width", 32, 64, 96))),
        ("32,64,96x96", (("height", 32, 64, 96), 96)),
        ("32,64,96", (("height", 32, 64, 96), ("width", 32, 64, 96))),
    ],
)
def test_sizes_are_height_and_width(run, text, size):
    result = run("inspect", "yolov5n", "--size", text, "--batch", "2,2,2")
    assert (result.code, result.err) == (0, "")
    model = fill_empty(make_model("yolov5n"))
    (spec,) = resized_inputs(model, read_size(text), (2,)).values()
    assert tuple((n.name, n.min, n.opt, n.max) if isinstance(n, trtnn.Dim) else n for n in spec.shape[2:]) == size
    halves = [f"{side[0]}//2" if isinstance(side, tuple) else str(side // 2) for side in size]
    assert f"[2, 16, {', '.join(halves)}]" in result.out


@pytest.mark.usefixtures("no_build")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--size", "64,96,128,160"], "'64,96,128,160' is neither a number from 32 up nor MIN,OPT,MAX of such"),
        (["--size", "64,16"], "'64,16' is neither a number from 32 up"),
        (["--size", "64x"], "'64x' is neither a number from 32 up"),
        (["--size", "99999"], "480x640; the most is 32,768"),
        (["--batch", "99999"], "the most is 65,536"),
        (["--size", "64x64x64"], "nor a height and a width: 480x640"),
        (["--size", "64", "96"], "--size takes height and width as one word, such as 480x640"),
        (["--size", "31"], "'31' is neither a number from 32 up"),
        (["--size", "128,96,64"], "'128,96,64' is neither"),
        (["--size", "64,x,128"], "'64,x,128' is neither"),
        (["--batch", "0"], "'0' is neither a number from 1 up"),
        (["--size", "64,100,128"], "dimension 'height': 64, 100 and 128 are not all multiples of 32"),
    ],
)
def test_ranges_that_are_none(run, tmp_path, options, words):
    result = run("build", WEIGHTS, "-o", tmp_path / "x.engine", *options, *TARGET)
    assert result.code != 0
    assert words in " ".join(result.err.replace("\u2502", " ").split())


@pytest.mark.skipif(not ONE_TARGET, reason="this TensorRT builds for its own GPU alone")
def test_several_targets_in_one_engine_beside_the_weights(run, tmp_path):
    weights = shutil.copy(WEIGHTS, tmp_path / "digits.safetensors")
    result = run("build", weights, "--size", 32, "--target", "sm86", "--target", "sm120")
    assert result.code == 0, result.err
    assert trtnn.Engine.load(tmp_path / "digits.engine").targets == ("sm86", "sm120")
    assert "sm86, sm120" in result.out


@pytest.mark.parametrize("before", [None, b"", b"vtrt", b"ftrt and more"])
def test_an_engine_that_is_there_is_replaced(run, tmp_path, before):
    path = tmp_path / "a.engine"
    if before is None:
        assert run("build", WEIGHTS, "-o", path, "--size", 64, *TARGET).code == 0
    else:
        path.write_bytes(before)
    result = run("build", WEIGHTS, "-o", path, "--size", 32, *TARGET)
    assert (result.code, result.err) == (0, "")
    assert trtnn.Engine.load(path).description["imgsz"] == [32, 32]


def test_the_same_is_built_once_with_a_cache(run, tmp_path, monkeypatch):
    options = ["--size", 32, "--cache", tmp_path / "cache", *TARGET]
    assert run("build", WEIGHTS, "-o", tmp_path / "a.engine", *options).code == 0
    monkeypatch.setattr("trtnn.build.build._build_plan", lambda *args: pytest.fail("built again"))
    assert run("build", WEIGHTS, "-o", tmp_path / "b.engine", *options).code == 0
    assert (tmp_path / "a.engine").read_bytes() == (tmp_path / "b.engine").read_bytes()


@pytest.fixture
def state():
    return trtnn.load(WEIGHTS)


def test_names_go_into_the_engine_and_out_of_it_into_what_is_detected(run, tmp_path):
    (tmp_path / "data.yaml").write_text("path: ../digits\nnames:\n" + "".join(f"  {i}: no{i}\n" for i in range(10)))
    path = tmp_path / "a.engine"
    result = run("build", WEIGHTS, "-o", path, "--size", 32, "--names", tmp_path / "data.yaml", *TARGET)
    assert (result.code, result.err) == (0, "")
    engine = trtnn.Engine.load(path)
    assert engine.description["names"] == [f"no{i}" for i in range(10)]
    assert trtnn.Detector(engine).labels == [f"no{i}" for i in range(10)]
    assert "no0, no1, no2" in result.out


@pytest.mark.usefixtures("no_build")
class TestNothingIsBuilt:
    def test_with_names_that_are_not_one_for_each_class(self, run, tmp_path):
        result = run("build", WEIGHTS, "-o", tmp_path / "a.engine", "--names", "one,two", *TARGET)
        assert (result.code, result.out) == (1, "")
        assert result.err == "error: --names gives 2 names for 10 classes\n  received: one, two\n"

    def test_where_the_output_cannot_be_written(self, run, tmp_path, monkeypatch):
        path = tmp_path / "no" / "where" / "x.engine"
        message = f"error: cannot write {path}: the folder {path.parent} does not exist\n  mkdir -p {path.parent}\n"
        assert run("build", WEIGHTS, "-o", path) == (1, "", message)
        assert f"cannot write {tmp_path}: it is a folder" in run("build", WEIGHTS, "-o", tmp_path).err
        monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
        result = run("build", WEIGHTS, "-o", tmp_path / "x.engine")
        assert (result.code, result.out) == (1, "")
        assert f"no permission to write in {tmp_path}" in result.err

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_where_a_folder_is_closed(self, run, tmp_path):
        tmp_path.chmod(0o500)
        result = run("build", WEIGHTS, "-o", tmp_path / "x.engine")
        assert (result.code, result.out) == (1, "")
        assert f"no permission to write in {tmp_path}" in result.err

    def test_over_the_weights(self, run, tmp_path):
        weights = shutil.copy(WEIGHTS, tmp_path / "digits.safetensors")
        result = run("build", weights, "-o", tmp_path / "." / "digits.safetensors")
        assert result.code == 1
        assert f"the engine would take the place of {weights}" in result.err

    @pytest.mark.parametrize("name", ["net.py", "a.safetensors", "a.npz", "a.pt", "a.json", "page.html"])
    def test_over_what_is_no_engine(self, run, tmp_path, name):
        path = tmp_path / name
        texts = {".py": "x = {1: 2}", ".json": '{"a": 1}', ".html": "<!doctype html>"}
        if path.suffix in texts:
            path.write_text(texts[path.suffix])
        else:
            trtnn.save({"a": np.ones(3, np.float32)}, path)
        before = path.read_bytes()
        result = run("build", WEIGHTS, "-o", path)
        assert result.code == 1
        assert f"{path} is there, and is no engine: it would be lost" in result.err
        assert path.read_bytes() == before

    def test_without_weights(self, run, tmp_path):
        for name in ("missing.pt", "missing.safetensors", "no/folder/missing.wts"):
            result = run("build", tmp_path / name)
            assert result == (1, "", f"error: cannot read {tmp_path / name}: No such file or directory\n")
        assert "has no suffix of a checkpoint" in run("build", tmp_path / "yolov5s.onnx").err

    def test_of_damaged_weights(self, run, tmp_path):
        path = tmp_path / "cut.safetensors"
        path.write_bytes(WEIGHTS.read_bytes()[:1_000_000])
        result = run("build", path)
        assert result.code == 1
        assert result.err.startswith(f"error: {path} has 1,000,000 bytes where its header promises 3,600,226\n")

    def test_of_weights_that_no_model_knows(self, run, tmp_path):
        path = tmp_path / "other.npz"
        trtnn.save({"fc.weight": np.zeros((2, 2), np.float32), "fc.bias": np.zeros(2, np.float32)}, path)
        result = run("build", path)
        assert result.code == 1
        assert "no model of trtnn has parameters named like these: fc.weight, fc.bias" in result.err
        assert "known: YOLOv5, YOLOv5u, " in result.err

    def test_of_a_model_that_there_is_not(self, run):
        result = run("build", WEIGHTS, "--model", "yolo5s")
        assert result.code == 1
        assert result.err.startswith(
            "error: no model is called 'yolo5s'\n  nearest: yolov5s\n  trtnn models lists all "
        )

    def test_of_weights_of_another_model(self, run):
        result = run("build", WEIGHTS, "--model", "yolov5s")
        assert result.code == 1
        first, second, *rest = result.err.splitlines()
        assert first.startswith("error: the state dict does not fit YOLOv5: 0 missing, 0 unexpected, 288 of the wrong")
        assert second == '  this looks like YOLOv5("yolov5n", classes=10, version="6.0")'
        assert len(rest) < 20

    def test_of_weights_that_lack_some(self, run, tmp_path, state):
        del state["model.24.m.1.bias"]
        trtnn.save(state, tmp_path / "less.safetensors")
        result = run("build", tmp_path / "less.safetensors")
        assert result.code == 1
        assert "missing: model.24.m.1.bias (45,)" in result.err

    def test_of_a_size_between_two(self, run, tmp_path):
        result = run("build", WEIGHTS, "-o", tmp_path / "x.engine", "--size", 300)
        assert result.code == 1
        assert "multiples of 32" in result.err
        assert "nearest: (288, 288) and (320, 320)" in result.err
        assert run("build", WEIGHTS, "--size", 31).code == 2

    def test_of_samples_that_are_not_there(self, run, tmp_path):
        options = ["--fp16", "--fp32-module", "auto", "--samples", tmp_path]
        result = run("build", WEIGHTS, "-o", tmp_path / "x.engine", *options)
        assert result.code == 1
        assert f"no picture in the folder {tmp_path}" in result.err


def test_an_unknown_target_is_told_with_the_known(run, tmp_path):
    result = run("build", WEIGHTS, "-o", tmp_path / "x.engine", "--size", 32, "--target", "sm_89")
    assert (result.code, result.out) == (1, "")
    if ONE_TARGET:
        assert "does not build for sm_89" in result.err
        assert f"known: {', '.join(get_backend().targets)}" in result.err
    assert list(tmp_path.iterdir()) == []


# -- locks ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not TARGET, reason="this TensorRT measures, see tests/gpu/test_lock.py")
def test_a_build_is_done_again_under_a_lock(run, tmp_path):
    lock, path = tmp_path / "digits.lock", tmp_path / "a.engine"
    common = ["build", WEIGHTS, "-o", path, "--size", 32, *TARGET, "--lock", lock]
    told = []
    for _ in range(2):
        result = run(*common)
        assert (result.code, result.err) == (0, "")
        told.append(result.out.splitlines()[1])
    assert told == [
        f"{lock}: written; TensorRT-RTX tells no tactics",
        f"{lock}: what goes in is the same; the plan is too",
    ]
    engine = path.read_bytes()
    result = run(*common, "--fp16", "--level", 1)
    assert result.code == 1
    for line in ("options.optimization_level: none in the lock, 1 in this build", f"remove {lock}, and build again"):
        assert line in " ".join(result.err.split())
    assert path.read_bytes() == engine


def test_a_lock_that_an_engine_would_replace(run, tmp_path):
    for lock, path in (("a", "a"), ("a", "a.timing"), ("b/../a", "a")):
        result = run("build", WEIGHTS, "-o", tmp_path / path, "--size", 32, *TARGET, "--lock", tmp_path / lock)
        assert result.code == 1
        assert "the engine would take the place of the lock" in result.err


@pytest.mark.usefixtures("no_build")
def test_a_lock_that_cannot_be_written(run, tmp_path):
    lock = tmp_path / "nowhere" / "a.lock"
    result = run("build", WEIGHTS, "-o", tmp_path / "a.engine", "--size", 32, *TARGET, "--lock", lock)
    assert result.code == 1
    assert f"the folder {lock.parent} does not exist" in " ".join(result.err.split())


def test_what_is_said_of_a_lock():
    told = importlib.import_module("trtnn.cli.build")._told_of_lock
    measured = {"tactics": 61, "new_weights": 0, "same_plan": False}
    assert told(measured, True) == "written, with the tactics of 61 layers"
    assert told(measured, False) == "the tactics of 61 layers are the same"
    trained = {"tactics": 61, "new_weights": 3}
    assert told(trained, False) == "the tactics of 61 layers are the same; 3 arrays of new weights"
    rtx = {"new_weights": 0, "same_plan": False}
    assert told(rtx, False) == "what goes in is the same; the plan is not, and TensorRT-RTX tells no tactics"
    assert told({"new_weights": 1}, False) == "what goes in is the same; 1 array of new weights"
