"""The kernels of an engine in the order in which a GPU runs them, by torch's profiler: what a layer's time is made of.

TensorRT's own times (engine.timing) are by layer. A node of many layers is one row there, and copies between layers
are part of others; here each kernel is a row, with its start and duration in microseconds, medians over runs, its
stream and its name. Inputs are random numbers in 0..1, as large as the engine takes them.

examples:
  python benchmarks/kernels.py yolov5s.engine
  python benchmarks/kernels.py yolov5s.engine --graph --runs 50 > kernels.txt
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

RUNS = 20
KINDS = ("kernel", "gpu_memcpy", "gpu_memset")


class Kernel(NamedTuple):
    """One of a run's kernels: microseconds since the first began."""

    start: float
    duration: float
    stream: int
    name: str


def profile(call: Callable[[], object], runs: int = RUNS) -> list[Kernel]:
    """Return the kernels of one call: the median start and duration of each over runs.

    Raises:
        RuntimeError: runs do not launch the same kernels.
    """
    import torch

    for _ in range(5):
        call()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(runs):
            call()
            torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(file))
        return kernels_of(json.loads(file.read_text())["traceEvents"], runs)


def kernels_of(events: list[dict[str, Any]], runs: int) -> list[Kernel]:
    """Return the kernels of one run out of the events of several that waited for each other."""
    found = sorted((e["ts"], e["dur"], e["args"].get("stream", 0), e["name"]) for e in events if e.get("cat") in KINDS)
    count = len(found) // runs
    if count == 0 or len(found) % runs:
        raise RuntimeError(f"{len(found)} kernels in {runs} runs: they do not launch the same ones")
    # Those of other streams come in another order from run to run, those of one stream and name do not.
    rows: dict[tuple[int, str, int], list[Kernel]] = {}
    for begin in range(0, len(found), count):
        seen: dict[tuple[int, str], int] = {}
        for start, duration, stream, name in found[begin : begin + count]:
            number = seen[stream, name] = seen.get((stream, name), 0) + 1
            row = Kernel(start - found[begin][0], duration, stream, name)
            rows.setdefault((stream, name, number), []).append(row)
    if any(len(row) < runs for row in rows.values()):
        raise RuntimeError("runs launch other kernels, or on other streams")
    return sorted(
        Kernel(median(k.start for k in row), median(k.duration for k in row), stream, name)
        for (stream, name, _), row in rows.items()
    )


def table(kernels: list[Kernel]) -> str:
    """Return a line for each kernel, and the sum of their durations."""
    lines = [f"{k.start:10.1f} {k.duration:9.2f} {k.stream:>8} {k.name}" for k in kernels]
    last = max(k.start + k.duration for k in kernels)
    return "\n".join([*lines, f"{last:10.1f} {sum(k.duration for k in kernels):9.2f} in all, {len(kernels)} kernels"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", type=Path)
    parser.add_argument("--graph", action="store_true", help="as one CUDA graph")
    parser.add_argument("--runs", type=int, default=RUNS, help="over how many (default: %(default)s)")
    args = parser.parse_args()
    import numpy as np
    import torch

    import trtnn

    with trtnn.Engine.load(args.engine) as engine:
        inputs, generator = engine.pinned_inputs(), np.random.default_rng(0)
        for array in inputs.values():
            array[...] = generator.random(array.shape)
        engine(**inputs)
        with torch.cuda.stream(torch.cuda.Stream()):
            runner = engine.cuda_graph() if args.graph else engine
            print(table(profile(runner.bare(**inputs), args.runs)))


if __name__ == "__main__":
    main()
