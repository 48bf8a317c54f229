"""Whether an engine will run on a machine, told by its description."""

import pytest

import trtnn.engine.engine
from tests.helpers import message_of
from trtnn import Engine, get_backend
from trtnn.engine.file import describe_plan
from trtnn.errors import ArgumentError, BackendError, EngineError
from trtnn.shapes.spec import TensorSpec


def engine(backend="tensorrt", version="10.13.0.35", targets=("sm86",), **more):
    spec = TensorSpec((1, 3), "float32")
    description = describe_plan(get_backend(), targets, {"x": spec}, {"y": spec}, "y", b"ftrt")
    return Engine(b"ftrt" * 500_000, {**description, "backend": backend, "tensorrt": version, **more})


def test_where_all_fits():
    found = engine().can_run("sm86,driver=550,tensorrt=10.13.0.35,memory=8GB")
    assert found
    assert found.problems == found.build == ()
    assert str(found).startswith("nothing speaks against it\n")


@pytest.mark.parametrize(
    ("there", "problem", "build"),
    [
        ("sm89", "the GPU there is sm89", "build it on a GPU of sm89, or for all since sm80: compile(hardware_compat"),
        ("SM_75", "the GPU there is sm75", "build it on a GPU of sm75"),
        ("tensorrt=10.14", "the version there is 10.14", "pip install tensorrt==10.13.0.35"),
        ("tensorrt=10.1", "the version there is 10.1:", "pip install tensorrt==10.13.0.35"),
        ("tensorrt_rtx=1.7", "the TensorRT there is tensorrt_rtx 1.7", "pip install tensorrt==10.13.0.35"),
        ("sm86, driver=440.33", "the driver there is 440.33, and sm86 needs 455 or later", ""),
        ("driver=440", "the driver there is 440, and tensorrt needs 450 or later, of CUDA 11", ""),
        ("sm86,memory=1.5MB", "its plan has 2.0 MB, and 1.5 MB of memory are free there", ""),
    ],
)
def test_what_speaks_against_it(there, problem, build):
    found = engine().can_run(there)
    assert not found
    assert problem in found.problems[0]
    assert build in "\n".join(found.build)
    assert str(found).startswith(f"it cannot run\n  {found.problems[0]}")


def test_what_is_not_known_does_not_count():
    found = engine(plugins=["dcnv2"], gpu="RTX\x1b[2J 3090").can_run("tensorrt=10.13")
    assert found
    text = str(found)
    assert "not known: which 10.13 is there: it needs 10.13.0.35" in text
    assert "not known: the GPU there: it needs one of sm86" in text
    assert "not known: whether its plugins are built there: dcnv2" in text
    assert "its plan has 2.0 MB" in text
    assert "how fast it is on another GPU than RTX\\x1b[2J 3090" in str(engine(gpu="RTX\x1b[2J 3090").can_run("sm86"))


def test_engines_of_rtx_are_built_anywhere():
    found = engine("tensorrt_rtx", "1.7.1.116").can_run("sm120,driver=550")
    assert found.build == ('build for it, on any machine: compile(targets=("sm120",)), or --target sm120',)
    assert "the driver there is 550, and sm120 needs 570 or later" in found.problems
    rtx = engine("tensorrt_rtx", "1.7.1.116")
    assert rtx.can_run("sm86,driver=470").problems == (
        "the driver there is 470, and tensorrt_rtx needs 525 or later, of CUDA 12",
    )


@pytest.mark.parametrize(
    ("backend", "driver", "words"),
    [
        ("tensorrt", 470, "CUDA 11 needs 450, CUDA 12 needs 525, CUDA 13 needs 580 or later"),
        ("tensorrt_rtx", 550, "CUDA 12 needs 525, CUDA 13 needs 580 or later"),
        ("tensorrt_rtx", 580, None),
    ],
)
def test_what_a_driver_leaves_open(backend, driver, words):
    found = engine(backend).can_run(f"sm86,driver={driver}")
    assert found
    told = [line for line in found.unknown if "which CUDA" in line]
    assert told == ([f"which CUDA its TensorRT is of: {words}"] if words else [])


def test_hardware_compatible_engines():
    compatible = engine(hardware_compatible="ampere_plus")
    for gpu in ("sm80", "sm86", "sm90", "sm120"):
        assert compatible.can_run(gpu)
    assert not compatible.can_run("sm75")
    assert "measured on another GPU" in str(compatible.can_run("sm90"))


def test_check_runnable_believes_it(monkeypatch):
    monkeypatch.setattr(trtnn.engine.engine, "gpus", lambda: ("sm90",))
    here = {"backend": get_backend().name, "version": get_backend().version}
    message = message_of(EngineError, engine(**here).check_runnable)
    assert "the GPU here is sm90: build it again for this one" in message
    assert engine(**here, hardware_compatible="ampere_plus").check_runnable() is get_backend()
    assert engine(**here, hardware_compatible="ampere_plus").can_run()
    assert not engine(**here).can_run()
    monkeypatch.setattr(trtnn.engine.engine, "gpus", lambda: ())
    assert "no GPU was found here" in engine(**here).can_run().problems[0]


def test_without_tensorrt(monkeypatch):
    def fail():
        raise BackendError("no TensorRT is installed")

    monkeypatch.setattr(trtnn.engine.engine, "get_backend", fail)
    found = engine().can_run()
    assert "the TensorRT here is no TensorRT" in found.problems[0]
    assert found.build[0].endswith("pip install tensorrt==10.13.0.35")


def test_a_missing_plugin_here(monkeypatch):
    def fail(names):
        raise EngineError("dcnv2 is not built here")

    monkeypatch.setattr(trtnn.engine.engine, "gpus", lambda: ("sm86",))
    here = engine(get_backend().name, get_backend().version, plugins=["dcnv2"])
    monkeypatch.setattr(trtnn.engine.engine, "load_plugins", fail)
    assert here.can_run().problems == ("dcnv2 is not built here",)
    monkeypatch.setattr(trtnn.engine.engine, "load_plugins", lambda names: None)
    assert here.can_run()
    assert "plugins" not in str(here.can_run())


def test_a_plan_that_nothing_describes():
    found = Engine(b"ftrt", {}).can_run("sm86")
    assert found
    assert "what a plan without trtnn's description needs" in found.unknown[0]


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("", "tells of no machine"),
        ("h100", "'h100' tells nothing of a machine"),
        ("tensort=10", "nearest: tensorrt"),
        ("driver=new", "'driver=new' tells no driver of a machine"),
        ("memory=8", "such as sm86,driver=550,tensorrt=10.13,memory=8GB"),
        ("sm86,sm89", "'sm89' tells the gpu a second time"),
        (86, "a machine is told by a text, not by 86"),
    ],
)
def test_what_tells_of_no_machine(there, words):
    assert words in message_of(ArgumentError, engine().can_run, there)
