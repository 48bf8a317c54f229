"""All that is measured on GPUs, and the tests that need one: a row of commands, on as many GPUs as there are.

First come the steps that nothing may run beside, on the first GPU; then the others, each on the next GPU that is free;
and at last those that need all GPUs. Each leaves its figures and NAME.log in the folder of results. One that ended well
leaves NAME.done and is not run again, and most go on where they were ended, so that an interrupted run goes on where it
stopped.

TensorRT's Python need not be the one that exports ONNX and runs torch, which this is started by.

examples:
  python benchmarks/everything.py --list
  python benchmarks/everything.py --out results --trt-python /opt/trt86/bin/python --gpus 4 --seconds 1500
  python benchmarks/everything.py --out results --only 'pictures*' scale
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import queue
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(1, str(Path(__file__).parents[1]))  # for what the benchmarks share

from benchmarks.from_torch import MODELS
from benchmarks.processes import first_gpus, run_for

ROOT = Path(__file__).parents[1]
ALONE, ONE, ALL = "alone", "one GPU", "all GPUs"


class Step(NamedTuple):
    """A command, in which {python}, {trt}, {out} and {gpus} are filled in, its time limit, and what it runs beside."""

    name: str
    command: str
    limit_s: float
    beside: str = ONE


PICTURES = "benchmarks/pictures.py --engines {out}/engines --out {out}"
TESTS = "-m pytest -q -p pytest_timeout -p xdist -n 8 --timeout 300 tests/gpu"
FAMILIES = ("yolo26s", "yolo11s", "rtdetr_r18")
STEPS = (
    Step("pictures", f"{{trt}} {PICTURES}/pictures.json --only one steps batch stream threads memory", 420, ALONE),
    Step("pictures-kernels", f"{{trt}} {PICTURES}/pictures-kernels.json --only kernel suppress", 120, ALONE),
    Step("pictures-torch", f"{{python}} {PICTURES}/pictures-torch.json --only torch", 180, ALONE),
    *(
        Step(
            f"from_torch-{model.partition(':')[2]}",
            f"{{python}} benchmarks/from_torch.py gpu --out {{out}}/from_torch --trt-python {{trt}} --model {model}",
            900,
        )
        for model in MODELS["gpu"]
    ),
    *(
        Step(f"refit-{model}", f"{{trt}} benchmarks/refit.py --out {{out}}/refit --model {model}:1,8", 1200)
        for model in ("yolov5s", "yolov5x")
    ),
    *(
        Step(f"int8-{model}-{batch}", f"{{trt}} benchmarks/int8.py --out {{out}}/int8 --model {model}:{batch}", 600)
        for model in ("yolov5s", "yolov5x")
        for batch in (8, 1, 32)
    ),
    Step(
        "int8-rounded",
        "{trt} benchmarks/int8.py --out {out}/int8 --model yolov5s:32,8 --ways rounded ours implicit fp16",
        600,
    ),
    *(
        Step(
            f"{model}-{batch}",
            f"{{python}} benchmarks/gpu.py --out {{out}}/{model} --trt-python {{trt}} --models-only "
            f"--model {model}:{batch} --roads onnx trtnn --torch {model}:{batch}",
            600,
        )
        for batch in (1, 8, 32)
        for model in FAMILIES
    ),
    Step("attention", "{trt} benchmarks/attention.py --out {out}/attention.json --timing {out}/attention-timing", 600),
    Step("head", "{trt} benchmarks/head.py --out {out}/head.json --engines {out}", 420),
    Step("maps", "{trt} benchmarks/maps.py --out {out}/maps", 420),
    Step("maps-int8", "{trt} benchmarks/maps.py --out {out}/maps-int8 --int8", 600),
    Step("silu", "{trt} benchmarks/silu.py --out {out}/silu.json --engines {out}", 600),
    Step("gpu-tests", f"{{trt}} {TESTS}", 900),
    Step(
        "scale",
        "{trt} benchmarks/scale.py --out {out}/scale.json --engine {out}/engines/yolov5s-32.engine --gpus {gpus}",
        420,
        ALL,
    ),
)


class Run:
    """Steps of one call.

    Args:
        out: the folder of results.
        trt_python: the Python that has TensorRT.
        gpus: those that are used, as CUDA_VISIBLE_DEVICES names them.
        end: the moment, of ``time.monotonic``, after which nothing runs any more.

    Attributes:
        failed: the names of steps that did not end well.
    """

    def __init__(self, out: Path, trt_python: str, gpus: Sequence[str], end: float) -> None:
        self.out, self.trt_python, self.gpus, self.end = out, trt_python, gpus, end
        self.failed: list[str] = []

    def step(self, step: Step, gpus: Sequence[str], end: float) -> None:
        """Run a step on GPUs, but where it is done, and say how it ended; not beyond a moment."""
        done, log = (self.out / f"{step.name}.{suffix}" for suffix in ("done", "log"))
        seconds = min(step.limit_s, end - time.monotonic())
        if done.exists() or seconds < 1:
            print(f"{step.name:32} {'was done before' if done.exists() else 'left out: no time'}", flush=True)
            return
        counts = sorted({1, 2, len(gpus)} & {*range(1, len(gpus) + 1)})
        paths = {"python": sys.executable, "trt": self.trt_python, "out": str(self.out.resolve())}
        filled = {name: shlex.quote(path) for name, path in paths.items()}
        command = shlex.split(step.command.format(gpus=" ".join(map(str, counts)), **filled))
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(gpus), "PYTHONUNBUFFERED": "1"}
        if step.beside == ONE:  # steps side by side would wait for each other's threads
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // len(self.gpus)))
        start = time.monotonic()
        code = run_for(command, seconds, log, environment, ROOT)
        how = "ran out of time" if code is None else f"ended with {code}"
        if code == 0:
            done.touch()
        else:
            self.failed.append(step.name)
        print(f"{step.name:32} {how}, {time.monotonic() - start:.0f} s", flush=True)

    def run(self, steps: Sequence[Step]) -> None:
        """Run steps: those that nothing runs beside, those of a GPU each, those of all GPUs, for which time is kept."""
        gpus = self.gpus
        for step in (step for step in steps if step.beside == ALONE):
            self.step(step, gpus[:1], self.end)
        last = [step for step in steps if step.beside == ALL]
        before_last = self.end - sum(step.limit_s for step in last)
        free: queue.Queue[str] = queue.Queue()
        for gpu in gpus:
            free.put(gpu)

        def next_gpu(step: Step) -> None:
            gpu = free.get()
            try:
                self.step(step, [gpu], before_last)
            finally:
                free.put(gpu)

        with ThreadPoolExecutor(len(gpus)) as pool:
            list(pool.map(next_gpu, (step for step in steps if step.beside == ONE)))
        for step in last:
            self.step(step, gpus, self.end)


def chosen(patterns: Iterable[str] | None) -> list[Step]:
    """Return the steps whose names patterns name, in the order of the patterns; all where there are none."""
    if patterns is None:
        return [*STEPS]
    found = {step: None for pattern in patterns for step in STEPS if fnmatch.fnmatchcase(step.name, pattern)}
    return [*found]


def main() -> None:
    summary, _, examples = (__doc__ or "").partition("examples:")
    parser = argparse.ArgumentParser(
        description=summary, epilog="examples:" + examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="the folder of results")
    parser.add_argument("--trt-python", default=sys.executable, help="the Python that has TensorRT (default: this one)")
    parser.add_argument("--gpus", type=int, default=1, help="how many are used (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1e6, help="nothing runs after so many")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these steps, in this order; patterns as 'pictures*'")
    parser.add_argument("--list", action="store_true", help="print the steps, and run none")
    args = parser.parse_args()
    steps = chosen(args.only)
    if not steps:
        parser.error(f"no step is named so: {', '.join(step.name for step in STEPS)}")
    if args.list:
        for step in steps:
            print(f"{step.name:32} {step.beside:9} {step.limit_s:4.0f} s at most  {step.command}")
        return
    if args.out is None:
        parser.error("results go to a folder: --out FOLDER")
    args.gpus = first_gpus(parser, args.gpus)
    args.out.mkdir(parents=True, exist_ok=True)
    run = Run(args.out, args.trt_python, args.gpus, time.monotonic() + args.seconds)
    run.run(steps)
    if run.failed:
        raise SystemExit(f"without an end: {', '.join(run.failed)}")


if __name__ == "__main__":
    main()
