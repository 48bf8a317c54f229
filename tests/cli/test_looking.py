"""``trtnn profile``, ``compare`` and ``bench``: what they print, write and refuse; the session is a stand-in."""

import json

import numpy as np
import pytest

import trtnn
from tests.helpers import ONE_TARGET, RUNS_HERE
from tests.standin import stand_in
from trtnn.engine import bench
from trtnn.examples.digits import PICTURE, WEIGHTS
from trtnn.models import from_state_dict

without_gpu = pytest.mark.skipif(RUNS_HERE, reason="there is a GPU here")
SIZE = ["--size", 32]


@pytest.fixture(scope="module")
def model():
    return from_state_dict(trtnn.load(WEIGHTS))


@pytest.fixture(scope="module")
def network(model):
    return model.trace({"images": (1, 3, 32, 32)})


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    return network.build(**ONE_TARGET).save(tmp_path_factory.mktemp("engines") / "digits.engine")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(bench, "has_torch_cuda", lambda: False)
    monkeypatch.setattr(bench, "milliseconds", lambda call, rounds, runs: rounds + runs / 100)
    monkeypatch.setattr(bench, "latencies", lambda call, runs: (runs, runs, runs))


# -- profile ----------------------------------------------------------------------------------------------------------

TIMES = [("model.0.conv", 1.0), ("model.0.act/activation + model.0.act", 3.0), ("model.24/concatenation", 4.0)]


def test_a_profile(run, saved, network, monkeypatch, tmp_path):
    stood_in = stand_in(monkeypatch, network, lambda _: TIMES)
    result = run("profile", saved, "--runs", 2, "--json", tmp_path / "p.json")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["model.0.conv", "model.0.act", "model.24"]
    assert lines[-1].split() == ["total", "3", "layers,", "2", "runs", "8.0000", "100.0%"]
    written = json.loads((tmp_path / "p.json").read_text())
    assert written["engine"] == "digits.engine"
    assert [row["milliseconds"] for row in written["layers"]] == [1, 3, 4]
    before = stood_in.runs
    run("profile", saved, "--runs", 7)
    assert stood_in.runs - before == before + 5


def test_a_profile_as_trtexec_writes_it(run, saved, network, monkeypatch, tmp_path):
    stand_in(monkeypatch, network, lambda _: TIMES, layers=["model.0.conv"])
    files = tmp_path / "layers.json", tmp_path / "times.json"
    assert run("profile", saved, "--runs", 2, "--layer-info", files[0], "--times", files[1]).code == 0
    assert json.loads(files[0].read_text()) == {"Layers": ["model.0.conv"]}
    head, *rows = json.loads(files[1].read_text())
    assert (head, [row["medianMs"] for row in rows]) == ({"count": 2}, [1, 3, 4])
    result = run("profile", saved, "--times", tmp_path / "missing" / "a.json")
    assert result.code == 1
    assert f"cannot write {tmp_path / 'missing' / 'a.json'}" in result.err


def test_a_profile_by_time_and_by_module(run, saved, network, monkeypatch):
    stand_in(monkeypatch, network, lambda _: TIMES)
    lines = run("profile", saved, "--by-time", "--rows", 1).out.splitlines()
    assert lines[2].startswith("model.24")
    assert lines[3] == "... and 2 more"
    lines = run("profile", saved, "--depth", 2).out.splitlines()
    assert [line.split()[:2] for line in lines[2:4]] == [["model.0", "4.0000"], ["model.24", "4.0000"]]


def test_a_profile_of_a_picture(run, saved, network, monkeypatch):
    seen = []
    monkeypatch.setattr(network, "run", lambda images: seen.append(images) or np.zeros((1, 63, 15), np.float32))
    stand_in(monkeypatch, network, lambda _: TIMES)
    assert run("profile", saved, "--picture", PICTURE, "--runs", 1).code == 0
    np.testing.assert_array_equal(seen[0], trtnn.vision.preprocess([trtnn.vision.read_image(PICTURE)], (32, 32))[0])
    result = run("profile", saved, "--picture", "missing.jpg")
    assert result.code == 1
    assert "missing.jpg" in result.err


# -- compare ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch):
    """Say that there is one; return the options of each build."""
    monkeypatch.setattr("trtnn.cli.compare.check_gpu", lambda: None)
    monkeypatch.setattr("trtnn.cli.bench.check_gpu", lambda: None)
    build, asked = trtnn.Network.build, []

    def build_for_one(self, **options):
        asked.append(options)
        return build(self, **{**ONE_TARGET, **options})

    monkeypatch.setattr(trtnn.Network, "build", build_for_one)
    return asked


def session_of(monkeypatch, network):
    """Let engines be those of a network, or what a function makes of its traced one."""
    stand_in(monkeypatch, network)


def test_a_comparison_that_agrees(run, gpu, model, monkeypatch, tmp_path):
    session_of(monkeypatch, model.trace({"images": (1, 3, 32, 32)}, fp16=True, outputs=["*"]))
    result = run("compare", WEIGHTS, *SIZE, "--fp16", "--no-tf32", "--json", tmp_path / "c.json")
    assert (result.code, result.err) == (0, "")
    assert gpu == [{"tf32": False}]
    lines = result.out.splitlines()
    assert lines[2].startswith("model.0.conv ")
    assert lines[-3].startswith("(forward)")
    assert lines[-1] == "all within 0.01: the largest error is 0.0e+00"
    written = json.loads((tmp_path / "c.json").read_text())
    assert written["first"] is None
    assert written["outputs"][0]["module"] == "model.0.conv"


def test_a_comparison_that_parts(run, gpu, model, monkeypatch):
    """The engine is in fp16, the reference in fp32, and no error is small enough."""
    session_of(monkeypatch, model.trace({"images": (1, 3, 32, 32)}, fp16=True, outputs=["model.2*", "model.9"]))
    modules = ["--module", "model.2*", "--module", "model.9"]
    result = run("compare", WEIGHTS, *SIZE, *modules, "--tolerance", 1e-9, "--rows", 3)
    assert result.code == 1
    assert result.err == ""
    assert "<- the first beyond 1e-09" in result.out.splitlines()[2]
    assert result.out.splitlines()[2].startswith("model.2.cv1.conv ")
    assert result.out.splitlines()[-1].startswith("they part in model.2.cv1.conv: error ")


def test_a_comparison_with_an_engine_file(run, model, tmp_path, monkeypatch):
    """It is of the engine's inputs, precision and outputs."""
    traced = model.trace({"images": (1, 3, 32, 64)}, fp16=True, fp32_modules=["model.24"], outputs=["model.9"])
    path = traced.build(**ONE_TARGET).save(tmp_path / "a.engine")
    session_of(monkeypatch, traced)
    result = run("compare", WEIGHTS, "--engine", path)
    assert (result.code, result.err) == (0, "")
    assert [line.split()[:3] for line in result.out.splitlines()[2:4]] == [
        ["model.9", "model.9", "0.0e+00"],
        ["(forward)", "output", "0.0e+00"],
    ]
    result = run("compare", WEIGHTS, "--engine", path, "--fp16", "--no-tf32", "--module", "model.9")
    assert result.code == 1
    assert "--module, --fp16, --no-tf32 would change nothing here" in result.err


def test_a_comparison_with_a_bare_plan(run, saved, network, tmp_path, monkeypatch):
    """What it computes in is not in it."""
    path = tmp_path / "bare.engine"
    path.write_bytes(trtnn.Engine.load(saved).plan)
    session_of(monkeypatch, network)
    result = run("compare", WEIGHTS, "--engine", path)
    assert result.code == 1
    assert "error: the engine file does not say in what precision it was built\n  trtnn build writes one" in result.err


def test_dynamic_engines_are_looked_at_where_they_are_fastest(run, quick, model, tmp_path, monkeypatch):
    sides = [trtnn.Dim(name, 32, 64, 96, multiple_of=32) for name in ("height", "width")]
    traced = model.trace({"images": (trtnn.Dim("batch", 1, 2, 4), 3, *sides)})
    path = traced.build(**ONE_TARGET).save(tmp_path / "a.engine")
    seen, original = [], traced.run
    monkeypatch.setattr(traced, "run", lambda images: seen.append(images.shape) or original(images))
    stand_in(monkeypatch, traced, lambda _: TIMES, layers=["a"])
    for command in (["profile", path, "--runs", 1], ["bench", path], ["compare", WEIGHTS, "--engine", path]):
        result = run(*command)
        assert (result.code, result.err) == (0, "")
    assert set(seen) == {(2, 3, 64, 64)}


@without_gpu
def test_what_needs_a_gpu_says_so(run, no_build, saved):
    for args in (["compare", WEIGHTS], ["bench", WEIGHTS]):
        result = run(*args)
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith("error: no GPU was found here, and an engine needs one to run\n")
    for args in (["compare", WEIGHTS, "--engine", saved], ["bench", saved], ["profile", saved]):
        result = run(*args)
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith("error: this engine, of yolov5n, cannot run here\n")


@pytest.mark.parametrize("command", ["profile", "compare", "bench"])
def test_a_file_that_cannot_be_written_is_told_first(run, no_build, command, tmp_path):
    result = run(command, WEIGHTS, "--json", tmp_path / "missing" / "a.json")
    assert result.code == 1
    assert f"cannot write {tmp_path / 'missing' / 'a.json'}" in result.err


def test_what_a_profile_writes_is_a_file_each(run, no_build, saved, tmp_path):
    place = tmp_path / "a.json"
    for options in (("--json", place, "--times", place), ("--times", place, "--layer-info", f"{tmp_path}/./a.json")):
        message = "error: --json, --layer-info and --times are each a file of their own\n"
        assert run("profile", saved, *options) == (1, "", message)


def test_a_module_that_is_not_there(run, gpu):
    result = run("compare", WEIGHTS, *SIZE, "--module", "model.25")
    assert result.code == 1
    assert result.err.startswith("error: no module 'model.25' was called in this network\n  near: model.")


# -- bench ------------------------------------------------------------------------------------------------------------


def test_a_bench_of_a_checkpoint(run, gpu, quick, model, monkeypatch, tmp_path):
    network = model.trace({"images": (2, 3, 32, 32)}, fp16=True)
    stand_in(monkeypatch, network, layers=["a", "b"])
    args = ["--fp16", "--batch", 2, "--rounds", 3, "--runs", 50, "--level", 0, "--aux-streams", 1, "--json"]
    result = run("bench", WEIGHTS, *SIZE, *args, tmp_path / "b.json")
    assert (result.code, result.err) == (0, "")
    assert gpu == [{"optimization_level": 0, "max_aux_streams": 1}]
    lines = result.out.splitlines()
    assert lines[0].startswith("Engine(yolov5n, float16, ")
    (row,) = (line for line in lines if line.startswith("execute"))
    assert row.split() == ["execute", "3.5000", "571", *["150.0000"] * 3]
    assert "engine layers 2" in lines[-1]
    assert "build seconds " in lines[-1]
    written = json.loads((tmp_path / "b.json").read_text())
    assert written["timings"]["engine(arrays)"] == {"ms": 3.5, "p50_ms": 150, "p90_ms": 150, "p99_ms": 150}
    assert written["network_layers"] == len(network.layers())
    assert written["command"].startswith("trtnn bench ")
    assert written["precision"] == "float16"
    assert written["batch"] == 2
    assert {"gpu", "driver", "tensorrt", "torch", "date", "build_seconds", "plan_bytes"} <= written.keys()


def test_a_bench_of_an_engine(run, quick, saved, network, monkeypatch):
    stand_in(monkeypatch, network, layers=["a"])
    result = run("bench", saved)
    assert (result.code, result.err) == (0, "")
    assert "build seconds" not in result.out
    result = run("bench", saved, "--fp16", "--level", 0, "--aux-streams", 0)
    assert result.code == 1
    assert "--fp16, --level, --aux-streams would change nothing here" in result.err
