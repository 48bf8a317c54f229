"""How long an engine takes: the execution alone, and every way of calling it."""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import platform
import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

from trtnn.backend import get_backend
from trtnn.cuda import gpu_name
from trtnn.digest import own_version
from trtnn.engine.engine import Engine
from trtnn.errors import ArgumentError
from trtnn.table import render

ROUNDS, RUNS, WARM_UP = 7, 50, 20
_DRIVER = Path("/proc/driver/nvidia/version")


def has_torch_cuda() -> bool:
    """Return whether torch is here and sees a GPU."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def wait_for_gpu() -> None:
    """Wait for all that torch and TensorRT have put on the GPU; without torch, calls wait by themselves."""
    if has_torch_cuda():
        import torch

        torch.cuda.synchronize()


def milliseconds(
    call: Callable[[], object],
    rounds: int = ROUNDS,
    runs: int = RUNS,
    warm_up: int = WARM_UP,
    wait: Callable[[], object] = wait_for_gpu,
) -> float:
    """Return the time of one call: the median over rounds of the mean of many, with one wait for the GPU a round.

    Args:
        call: what is timed; it need not wait for the GPU.
        rounds: how many.
        runs: calls in each.
        warm_up: calls before them that are not timed.
        wait: returns when the GPU is done.
    """
    for _ in range(warm_up):
        call()
    means = []
    for _ in range(rounds):
        wait()
        start = time.perf_counter()
        for _ in range(runs):
            call()
        wait()
        means.append((time.perf_counter() - start) / runs * 1e3)
    return median(means)


def latencies(
    call: Callable[[], object], runs: int = ROUNDS * RUNS, wait: Callable[[], object] = wait_for_gpu
) -> tuple[float, float, float]:
    """Return the 50th, 90th and 99th percentile of the milliseconds of single calls, each waited for."""
    times = []
    for _ in range(max(runs, 2)):
        wait()
        start = time.perf_counter()
        call()
        wait()
        times.append((time.perf_counter() - start) * 1e3)
    cuts = quantiles(times, n=100, method="inclusive")
    return cuts[49], cuts[89], cuts[98]


@dataclass(frozen=True)
class Timing:
    """The milliseconds of one way of running an engine.

    Attributes:
        ms: of a call among many, see :func:`milliseconds`.
        p50_ms, p90_ms, p99_ms: of single calls, each waited for, see :func:`latencies`.
    """

    ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Benchmark:
    """What :func:`bench_engine` measured.

    Attributes:
        timings: by what was run: ``"execute"`` is TensorRT alone on buffers that are there, ``"engine(tensors)"`` a
            call with CUDA tensors, ``"engine(arrays)"`` one with NumPy arrays, copies to the GPU and back included,
            ``"engine(pinned arrays)"`` the same where they lie in page-locked memory; ``"graph ..."`` the same as a
            CUDA graph. Those with tensors need torch with CUDA.
        batch: the length of the first input's first dimension.
    """

    timings: dict[str, Timing]
    batch: int

    @property
    def overhead_ms(self) -> float | None:
        """What a call with CUDA tensors takes more than the execution alone, or None where none was measured.

        It is what cannot hide behind the GPU's work.
        """
        called = self.timings.get("engine(tensors)")
        return None if called is None else called.ms - self.timings["execute"].ms

    def __str__(self) -> str:
        header = ("", "ms", "a second", "p50 ms", "p90 ms", "p99 ms")
        cells = [
            (
                *(what, f"{t.ms:.4f}", f"{self.batch / t.ms * 1e3:,.0f}"),
                *(f"{t.p50_ms:.4f}", f"{t.p90_ms:.4f}", f"{t.p99_ms:.4f}"),
            )
            for what, t in self.timings.items()
        ]
        table = render(header, cells, left=1)
        if self.overhead_ms is None:
            return table
        return f"{table}\nengine(tensors) takes {self.overhead_ms * 1e3:.1f} us more than execute"

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        timings = {what: asdict(timing) for what, timing in self.timings.items()}
        return {"batch": self.batch, "overhead_ms": self.overhead_ms, "timings": timings}


def bench_engine(engine: Engine, inputs: Mapping[str, np.ndarray], rounds: int = ROUNDS, runs: int = RUNS) -> Benchmark:
    """Time an engine: the execution alone and calls, plain and as CUDA graphs.

    Args:
        engine: what is timed.
        inputs: arrays by name.
        rounds: of each timing, see :func:`milliseconds`.
        runs: in each round.

    Raises:
        ArgumentError: ``rounds`` or ``runs`` is not positive, or an input does not fit.
        EngineError: the engine cannot run here.
    """
    if rounds < 1 or runs < 1:
        raise ArgumentError(f"rounds and runs are positive numbers, not {rounds} and {runs}")
    engine(**inputs)  # all that can fail does so here
    with _own_stream():
        graphed = engine.cuda_graph()
        calls = {"execute": engine.bare(**inputs), "graph execute": graphed.bare(**inputs)}
        if has_torch_cuda():
            import torch

            tensors = {name: torch.from_numpy(array).cuda() for name, array in inputs.items()}
            calls["engine(tensors)"] = lambda: engine(**tensors)
            calls["graph engine(tensors)"] = lambda: graphed(**tensors)
        largest = engine.pinned_inputs(engine._shapes_of((), inputs).profile)
        pinned = {name: largest[name].reshape(-1)[: a.size].reshape(a.shape) for name, a in inputs.items()}
        for name, array in inputs.items():
            np.copyto(pinned[name], array)
        calls["engine(arrays)"] = lambda: engine(**inputs)
        calls["engine(pinned arrays)"] = lambda: engine(**pinned)
        calls["graph engine(arrays)"] = lambda: graphed(**inputs)
        timings = {
            what: Timing(milliseconds(call, rounds, runs), *latencies(call, rounds * runs))
            for what, call in calls.items()
        }
    return Benchmark(timings, (next(iter(inputs.values())).shape or (1,))[0])


def _own_stream() -> Any:
    """Let torch work on a stream of its own: on the default one TensorRT waits more than it has to."""
    if not has_torch_cuda():
        return nullcontext()
    import torch

    return torch.cuda.stream(torch.cuda.Stream())


def circumstances() -> dict[str, str]:
    """Return what figures depend on: the date, the command line, the GPU, its driver, and the versions."""
    driver = re.search(r"\d+\.\d+(\.\d+)?", _DRIVER.read_text()) if _DRIVER.exists() else None
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "gpu": gpu_name(),
        "driver": driver.group() if driver else "",
        "tensorrt": str(get_backend()),
        "torch": importlib.metadata.version("torch") if importlib.util.find_spec("torch") else "",
        "python": platform.python_version(),
        "trtnn": own_version(),
    }
