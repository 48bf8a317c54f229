"""What the tests share: numbers, and the triangle of torch, the CPU reference and TensorRT's builder."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck

from trtnn import Dim, Input, Module, Network, get_backend
from trtnn.cuda import gpus
from trtnn.dtypes import as_dtype
from trtnn.graph.definition import read_layers
from trtnn.shapes.symbolic import evaluate

FP32_TOLERANCE = 1e-5  # of assert_close
FP16_TOLERANCE = 2e-3
ENGINE_TOLERANCE = 5e-3  # a GPU multiplies in TF32 or fp16
ONE_TARGET = {"targets": ("sm86",)} if get_backend().capabilities.targets else {}
RUNS_HERE = bool(gpus()) and (not ONE_TARGET or gpus()[0] in get_backend().targets)
QUICKLY = {"optimization_level": 0} if RUNS_HERE else ONE_TARGET  # how to build where only numbers count

MORE = int(os.environ.get("TRTNN_EXAMPLES", "1"))  # times as many drawn examples, others each time
EXAMPLES = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": MORE == 1}

BATCH = Dim("batch", 1, 2, 4)
HEIGHT = Dim("height", 8, 16, 40, multiple_of=8)
WIDTH = Dim("width", 8, 16, 40, multiple_of=8)
ODD = Dim("odd", 3, 5, 12)
IMAGES = (BATCH, 4, HEIGHT, WIDTH)

strongly_typed = pytest.mark.skipif(
    not get_backend().capabilities.strongly_typed, reason="this TensorRT's networks carry no element types"
)


class _Torch:
    """torch's functions, whichever of its modules they live in."""

    def __getattr__(self, name: str) -> Any:
        for module in (torch.nn.functional, torch, torch.Tensor):
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(name)


TORCH = _Torch()


def needs_type(*names: str) -> Any:
    """Return the mark that skips a test where TensorRT has no tensors of one of these types, or not like others."""
    backend = get_backend()
    lacking = [name for name in names if as_dtype(name).tensorrt not in backend.trt.DataType.__members__]
    reason = f"{backend} has no {', '.join(lacking)}"
    if "int8" in names and not backend.capabilities.strongly_typed:
        lacking, reason = ["int8"], f"{backend} takes int8 only as quantised values, with a range"
    return pytest.mark.skipif(bool(lacking), reason=reason)


def numbers(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Return normally distributed float32 numbers that fp16 holds exactly."""
    drawn = np.random.default_rng((seed, *shape)).standard_normal(shape) * scale
    return np.asarray(drawn, np.float16).astype(np.float32)


class Function(Module):
    """A function of Tensors, or another module, as a module that can be traced; its inputs are x0, x1, ..."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, **tensors: Any) -> Any:
        return self.function(*tensors.values())


def trace(function: Callable[..., Any], *inputs: Any, **options: Any) -> Network:
    """Trace a function or module over inputs given as arrays, Inputs or shapes."""
    named = {
        f"x{i}": Input(value.shape, value.dtype) if isinstance(value, np.ndarray) else value
        for i, value in enumerate(inputs)
    }
    return Function(function).trace(named, **options)


def run(function: Callable[..., Any], *arrays: np.ndarray, **options: Any) -> Any:
    """Trace a function or module over arrays, and run it on them."""
    return trace(function, *arrays, **options).run(*arrays)


def load_random(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give a torch module random weights and statistics, and return it in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.randn(tensor.shape, generator=generator)
            fan_in = tensor[0].numel() if tensor.ndim > 1 else 1
            tensor.copy_(drawn.abs() + 0.1 if name.endswith("running_var") else drawn * fan_in**-0.5)
    return module.eval()


def assert_close(result: Any, expected: Any, tolerance: float = FP32_TOLERANCE, absolute: float | None = None) -> None:
    """Compare arrays, in whatever structure, with torch's tensors: shapes, types, and each number by itself.

    What is not finite has to be the same. A finite number may be off by ``tolerance`` of its own magnitude, and by
    ``absolute`` beside that.

    Args:
        absolute: in the unit of what is compared; by default ``tolerance``, or that part of the largest number
            expected where all are below 1.
    """
    if isinstance(expected, (tuple, list, dict)):
        assert type(result) is type(expected)
        assert len(result) == len(expected)
        if isinstance(expected, dict):
            assert result.keys() == expected.keys()
        for key in expected if isinstance(expected, dict) else range(len(expected)):
            assert_close(result[key], expected[key], tolerance, absolute)
        return
    if not isinstance(expected, (torch.Tensor, np.ndarray)):
        assert result == expected
        return
    expected = expected.detach().numpy() if isinstance(expected, torch.Tensor) else expected
    if expected.dtype == np.int64 and not get_backend().capabilities.int64:
        expected = expected.astype(np.int32)
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(result, expected)
        return
    if absolute is None:
        finite = np.abs(expected[np.isfinite(expected)])
        absolute = tolerance * min(1.0, float(finite.max(initial=0.0)))
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=absolute)


def check_triangle(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    *arrays: np.ndarray,
    build: bool = True,
    fp16_tolerance: float = FP16_TOLERANCE,
) -> None:
    """Check that a trtnn function or module agrees with torch's on the CPU reference, and that TensorRT builds it.

    Where there is a GPU the engine is run and compared as well. Each in fp32 and in fp16. A torch module gets random
    weights, and ours is given the same.
    """
    if isinstance(theirs, torch.nn.Module):
        load_random(theirs)
        ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        expected = theirs(*(torch.from_numpy(array.copy()) for array in arrays))
    for fp16, tolerance in ((False, FP32_TOLERANCE), (True, fp16_tolerance)):
        network = trace(ours, *arrays, fp16=fp16)
        assert_close(network.run(*arrays), expected, tolerance)
        if build:
            engine = network.build(**QUICKLY)
            assert engine.plan.nbytes > 0
            assert engine.outputs == network.outputs
            if RUNS_HERE:
                assert_close(engine(*arrays), expected, ENGINE_TOLERANCE)


def _leaves(result: Any) -> Iterator[Any]:
    if not isinstance(result, (list, tuple)):
        yield result
        return
    for item in result:
        yield from _leaves(item)


def check_dynamic(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    spec: Any,
    sizes: Sequence[Any],
    build: bool = True,
    dtype: str = "float32",
    fp16_tolerance: float = FP16_TOLERANCE,
) -> None:
    """Check one dynamic network against torch at several sizes, its declared shapes too, and that TensorRT builds it.

    ``spec`` is the shape of the only input, or a list of one for each.
    """
    specs = spec if isinstance(spec, list) else [spec]
    if isinstance(theirs, torch.nn.Module):
        load_random(theirs)
        ours.load_state_dict(theirs.state_dict())
    networks = [trace(ours, *(Input(s, dtype) for s in specs), fp16=fp16) for fp16 in (False, True)]
    for size in sizes:
        shapes = size if isinstance(spec, list) else [size]
        arrays = [numbers(*shape, seed=i).astype(dtype) for i, shape in enumerate(shapes)]
        with torch.no_grad():
            expected = theirs(*map(torch.from_numpy, arrays))
        for network, tolerance in zip(networks, (FP32_TOLERANCE, fp16_tolerance), strict=True):
            result = network.run(*arrays)
            assert_close(result, expected, tolerance)
            lengths = {
                n.name: length
                for s, shape in zip(specs, shapes, strict=True)
                for n, length in zip(s, shape, strict=True)
                if isinstance(n, Dim)
            }
            results = list(_leaves(result))
            for declared, array in zip(network.outputs.values(), results, strict=True):
                assert tuple(evaluate(n, lengths) for n in declared.shape) == array.shape
    if build:
        for network in networks:
            engine = network.build(**QUICKLY)
            assert engine.plan.nbytes > 0
            assert engine.inputs == network.inputs
            assert engine.outputs == network.outputs
            if RUNS_HERE:
                for shape in sizes:
                    arrays = [numbers(*s).astype(dtype) for s in (shape if isinstance(spec, list) else [shape])]
                    with torch.no_grad():
                        assert_close(engine(*arrays), theirs(*map(torch.from_numpy, arrays)), ENGINE_TOLERANCE)


def lines_run(function: Callable[[], Any]) -> int:
    """Return how many lines of Python a call executes: what it costs, the same on every machine."""
    count = 0

    def tracer(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def layers(network: Network, *kinds: str) -> list[Any]:
    """Return a network's layers, of certain types where named, as TensorRT shows them."""
    found = read_layers(network.graph.definition, network.graph.trt)
    return [layer for kind, layer in found if not kinds or kind in kinds]


def message_of(error: type[Exception], function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """Return the message of the error that a call raises."""
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    return str(caught.value)


class Turn:
    """A lock in the place of one, which says that another thread than the main one comes for it before that waits."""

    def __init__(self, lock: Any) -> None:
        self._lock, self.comes = lock, threading.Event()

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.comes.set()
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()
