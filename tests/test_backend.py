"""Which TensorRT is chosen, what each can do, and what is said where there is none."""

import functools
import importlib.util
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import trtnn.backend
from tests.helpers import Turn, message_of, trace
from trtnn.backend import Backend, get_backend
from trtnn.cuda import gpus
from trtnn.errors import BackendError


class Members:
    """Stands for an enum, of which only the names count."""

    def __init__(self, *names):
        self.__members__ = dict.fromkeys(names)


def fake_tensorrt(
    version, flags, builder_flags, config=(), module=(), network=(), types=(), unary=(), engine=(), preview=(),
    activations=(), quantize=(),
):  # fmt: skip
    class Logger:
        Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0)

    return SimpleNamespace(
        __version__=version,
        NetworkDefinitionCreationFlag=Members(*flags),
        BuilderFlag=Members(*builder_flags),
        PreviewFeature=Members(*preview),
        HardwareCompatibilityLevel=Members("NONE", "AMPERE_PLUS"),
        IBuilderConfig=SimpleNamespace(**dict.fromkeys(config)),
        INetworkDefinition=SimpleNamespace(**dict.fromkeys(network)),
        DataType=Members(*types),
        UnaryOperation=Members(*unary),
        ActivationType=Members("RELU", *activations),
        IQuantizeLayer=SimpleNamespace(**dict.fromkeys(quantize)),
        ICudaEngine=SimpleNamespace(**dict.fromkeys(engine)),
        ComputeCapability=Members("NONE", "CURRENT", "SM120", "SM75", "SM86"),
        ILogger=Logger,
        **dict.fromkeys(module),
    )


@pytest.mark.parametrize(
    ("trt", "expected"),
    [
        (
            fake_tensorrt(
                "8.6.1",
                ["EXPLICIT_BATCH"],
                ["FP16", "INT8"],
                network=["add_plugin_v2", "add_quantize"],
                types=["FP8"],
                preview=["PROFILE_SHARING_0806"],
            ),
            {"needs_explicit_batch", "plugin_v2", "int8", "needs_profile_sharing", "hardware_compatible"},
        ),
        (
            fake_tensorrt(
                "10.13.0.35",
                ["EXPLICIT_BATCH", "STRONGLY_TYPED"],
                ["FP16"],
                module=["IProgressMonitor"],
                network=["add_plugin_v2", "add_plugin_v3", "add_cumulative", "add_quantize"],
                types=["INT64", "FP8"],
                quantize=["to_type"],
                unary=["ISNAN"],
                engine=["device_memory_size", "device_memory_size_v2"],
                activations=["GELU_ERF", "GELU_TANH"],
            ),
            {
                "strongly_typed",
                "needs_strong_flag",
                "progress",
                "plugin_v3",
                "int64",
                "isnan",
                "cumulative",
                "gelu",
                "int8",
                "fp8",
                "typed_quantize",
                "device_memory_v2",
                "hardware_compatible",
            },
        ),
        (
            fake_tensorrt("11.4.0.106", ["STRONGLY_TYPED"], [], module=["IProgressMonitor"], network=["add_plugin_v3"]),
            {"strongly_typed", "progress", "plugin_v3", "hardware_compatible"},
        ),
        (
            fake_tensorrt("1.7.1.116", ["STRONGLY_TYPED"], [], ["set_compute_capability"], ["IProgressMonitor"]),
            {"strongly_typed", "targets", "progress"},
        ),
    ],
)
def test_capabilities_are_found_by_name(trt, expected):
    backend = Backend("tensorrt", trt)
    assert {name for name, value in vars(backend.capabilities).items() if value} == expected
    assert backend.capabilities.plugins == any("plugin" in name for name in expected)
    assert repr(backend) == f"tensorrt {trt.__version__}"
    assert backend.targets == (("sm75", "sm86", "sm120") if "targets" in expected else ())


def test_the_logger_keeps_errors_until_they_are_taken(monkeypatch):
    logger, severity = get_backend().logger, get_backend().trt.ILogger.Severity
    monkeypatch.setattr(trtnn.backend, "gpus", tuple)
    logger.take()
    logger.log(severity.ERROR, " first\n")
    logger.log(severity.WARNING, "a warning")
    logger.log(severity.INTERNAL_ERROR, "second")
    logger.log(severity.ERROR, "first")
    logger.log(severity.ERROR, "[checkMacros.cpp::catchCudaError::250] no driver")  # beside every error without a GPU
    assert logger.take() == ["first", "second"]
    assert logger.take() == []


def test_a_thread_gets_no_errors_of_another():
    logger, error = get_backend().logger, get_backend().trt.ILogger.Severity.ERROR
    mine, theirs = [], []
    began, logged = threading.Event(), threading.Event()

    def other():
        logger.take()
        began.set()
        logged.wait(10)
        logger.log(error, "of the other thread")
        theirs.extend(logger.take())

    logger.take()
    thread = threading.Thread(target=other)
    thread.start()
    began.wait(10)
    logger.log(error, "of this thread")
    of_tensorrt = threading.Thread(target=logger.log, args=(error, "of a thread of TensorRT's own"))
    of_tensorrt.start()
    of_tensorrt.join()
    mine += logger.take()
    logged.set()
    thread.join()
    assert mine == ["of this thread", "of a thread of TensorRT's own"]
    assert theirs == ["of the other thread"]
    assert logger.take() == []


@pytest.fixture
def installed(monkeypatch):
    """Return a function that makes get_backend believe that certain packages are installed, and GPUs there."""

    def pretend(*names, gpus=()):
        monkeypatch.delenv("TRTNN_BACKEND", raising=False)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in names else None)
        monkeypatch.setattr(trtnn.backend, "gpus", lambda: gpus)
        monkeypatch.setattr(trtnn.backend, "_load", lambda name: f"loaded {name}")

    return pretend


@pytest.mark.parametrize(
    ("names", "gpus", "expected"),
    [
        (["tensorrt"], (), "tensorrt"),
        (["tensorrt_rtx"], ("sm90",), "tensorrt_rtx"),
        (["tensorrt", "tensorrt_rtx"], ("sm90",), "tensorrt"),
        (["tensorrt", "tensorrt_rtx"], (), "tensorrt_rtx"),
    ],
)
def test_the_one_that_is_installed_is_taken(installed, names, gpus, expected):
    installed(*names, gpus=gpus)
    assert get_backend() == f"loaded {expected}"


def test_the_environment_chooses(installed, monkeypatch):
    installed("tensorrt", "tensorrt_rtx")
    monkeypatch.setenv("TRTNN_BACKEND", "tensorrt")
    assert get_backend() == "loaded tensorrt"
    monkeypatch.setenv("TRTNN_BACKEND", "")
    assert get_backend() == "loaded tensorrt_rtx"


def test_threads_that_ask_first_have_one(installed, monkeypatch):
    """TensorRT keeps the first logger alone: the errors of another one would say nothing."""
    turn, made = Turn(trtnn.backend._loading), []

    class Made:
        def __init__(self, name: str, trt: Any) -> None:
            if not made:
                thread.start()
                assert turn.comes.wait(60)
            made.append(self)

    installed("tensorrt")
    monkeypatch.setattr(trtnn.backend, "_loading", turn)
    monkeypatch.setattr(trtnn.backend, "_load", functools.cache(lambda name: Made(name, None)))
    thread = threading.Thread(target=lambda: found.append(get_backend()))
    found: list[Any] = []
    found.append(get_backend())
    thread.join()
    assert found == made * 2


def test_nothing_is_installed(installed):
    installed()
    message = message_of(BackendError, get_backend)
    assert "no TensorRT is installed" in message
    assert "pip install tensorrt-rtx-cu13   # builds on any machine, runs on RTX GPUs" in message
    assert "pip install tensorrt   # builds and runs where there is an NVIDIA GPU" in message
    assert message_of(BackendError, trace, lambda x: x + 1, (1,)) == message


def test_the_environment_names_one_that_is_not_installed(installed, monkeypatch):
    installed("tensorrt")
    monkeypatch.setenv("TRTNN_BACKEND", "tensorrt_rtx")
    message = message_of(BackendError, get_backend)
    assert "TRTNN_BACKEND=tensorrt_rtx, but tensorrt_rtx is not installed" in message
    assert "pip install tensorrt-rtx-cu13" in message


def test_the_environment_names_none_that_exists(installed, monkeypatch):
    installed("tensorrt")
    monkeypatch.setenv("TRTNN_BACKEND", "tensorflow")
    message = message_of(BackendError, get_backend)
    assert "TRTNN_BACKEND=tensorflow names no backend" in message
    assert "known: tensorrt, tensorrt_rtx" in message


def test_a_package_that_does_not_load(monkeypatch):
    def fail(name):
        raise OSError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", fail)
    message = message_of(BackendError, trtnn.backend._load.__wrapped__, "tensorrt")
    assert "tensorrt is installed but does not load: libnvinfer.so.10" in message
    assert "pip install tensorrt" in message


def test_tensorrt_without_a_gpu_does_not_even_start(monkeypatch):
    backend = get_backend()

    def fail(logger):
        logger.log(backend.trt.ILogger.Severity.ERROR, "CUDA initialization failure with error: 100")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(backend.trt, "Builder", fail)
    monkeypatch.setattr(backend, "capabilities", replace(backend.capabilities, targets=False))
    message = message_of(BackendError, trace, lambda x: x + 1, (1,))
    assert f"{backend} does not start here" in message
    assert "it needs an NVIDIA GPU, even to trace a network" in message
    assert "CUDA initialization failure with error: 100" in message


def test_gpus_are_compute_capabilities():
    assert gpus() == gpus()
    for name in gpus():
        assert name.startswith("sm")
        assert int(name[2:]) >= 50


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import numpy as np
import trtnn
from trtnn.errors import BackendError
from trtnn.modules import Conv2d
from trtnn.models.yolov5 import YOLOv5
conv = Conv2d(3, 4, 3)
conv.load_state_dict({"weight": np.ones((4, 3, 3, 3), np.float32), "bias": np.ones(4, np.float32)})
network = conv.trace({"input": (1, 3, 8, 8)}, fp16=True)
print(network.summary())
try:
    network.run(np.zeros((1, 3, 8, 8), np.float32))
except BackendError as error:
    print(error)
print(network.build())
"""


def test_everything_but_the_reference_works_without_torch():
    result = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "convolution" in result.stdout
    assert "the CPU reference needs torch\n  pip install torch" in result.stdout
    assert "Engine(Conv2d, float16" in result.stdout


@pytest.mark.parametrize(
    ("use", "name"),
    [
        ("trtnn.from_torch(None, None)", "from_torch"),
        ("trtnn.from_torch.converter(len)", "from_torch"),
        ("trtnn.quantize", "quantize"),
        ("trtnn.quantization.take_scales", "quantization"),
        ("from trtnn.quantization import quantize", "quantization"),
        ("from trtnn.quantization import *", "quantization"),
    ],
)
def test_what_needs_torch_says_so_where_there_is_none(use, name):
    code = f"import sys; sys.modules['torch'] = None; import trtnn; {use}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr.endswith(f"trtnn.errors.BackendError: trtnn.{name} needs torch\n  pip install torch\n")


NOTHING_HEAVY = """
import sys
import numpy as np
import trtnn
from trtnn.models import create
model = create("yolov5n")
model.load_state_dict({name: np.ones(p.shape, np.float32) for name, p in model._state().items()}, strict=False)
network = model.trace({"images": (trtnn.Dim("batch", 1, 2, 4), 3, 64, 64)}, fp16=True)
network.summary()
network.build(optimization_level=0).save(sys.argv[1])
trtnn.Engine.load(sys.argv[1]).check_plan()
print([name for name in ("torch", "cv2", "numpy.ma") if name in sys.modules])
"""


def test_to_build_an_engine_takes_nothing_heavy(tmp_path):
    command = [sys.executable, "-c", NOTHING_HEAVY, str(tmp_path / "a.engine")]
    assert subprocess.check_output(command, text=True).strip() == "[]"


def test_importing_trtnn_imports_nothing_heavy():
    code = (
        "import sys, trtnn, trtnn.models.yolov5\n"
        "print([name for name in ('torch', 'cv2', 'tensorrt', 'tensorrt_rtx', 'rich') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_version_is_tensorrts_own():
    backend = get_backend()
    assert backend is get_backend()
    assert backend.version == backend.trt.__version__
    assert np.all([part.isdigit() for part in backend.version.split(".")[:2]])


def test_a_builder_is_there_whenever_one_is_made_anew(monkeypatch):
    """TensorRT 8.6.1 loads its kernels for 6 s where none is."""
    alive: list[int] = []
    met: list[int] = []

    class Builder:
        def __init__(self, logger):
            met.append(len(alive))
            alive.append(1)

        def __del__(self):
            alive.pop()

    backend = get_backend()
    monkeypatch.setattr(backend, "trt", SimpleNamespace(Builder=Builder))
    monkeypatch.setattr(backend, "_kept_builders", [])
    for _ in range(3):
        backend.make_builder()  # and lets go of it
    assert met == [0, 1, 1, 1]
    assert len(alive) == 1
    backend._kept_builders.clear()
    assert not alive
