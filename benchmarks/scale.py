"""Pictures a second of several GPUs: one detector in this process, a process for each GPU, and Ray.

Every way gets the same pictures of 1280 x 720. Those of `memory` lie decoded in memory; those of `files` are JPEG
files, which each way reads by itself. Ray writes its results as `trtnn detect --ray` does.

  stream       Detector.stream on one GPU
  devices      Detector(engine, devices=[0, 1, ...]).stream
  ray          trtnn.ray.Job with a worker for each GPU

On a machine without a GPU, `--reference` runs the digits' detector on the CPU: what Ray costs a picture there.

examples:
  python benchmarks/scale.py --out scale.json --engine yolov5s.engine --gpus 1 2
  python benchmarks/scale.py --out scale.json --reference --pictures 200 --gpus 1
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

import trtnn
from trtnn.cuda import gpu_name
from trtnn.examples.digits import WEIGHTS
from trtnn.files import atomic_write
from trtnn.vision import write_image
from trtnn.vision.frames import read_frames
from trtnn.vision.sources import file_source

SIZE = (720, 1280)
DIFFERENT = 64  # pictures, which come again and again
SIDE = 160  # of the reference's input


def pictures() -> list[np.ndarray]:
    """Return pictures that compress as photographs do: coarse noise, made fine."""
    random = np.random.default_rng(0)
    coarse = [random.integers(0, 256, (SIZE[0] // 16, SIZE[1] // 16, 3), np.uint8) for _ in range(DIFFERENT)]
    return [np.ascontiguousarray(one.repeat(16, 0).repeat(16, 1)) for one in coarse]


def read(files: list[str]) -> Iterator[np.ndarray]:
    """Read files as `trtnn detect` does."""

    def fail(source: Any, error: Exception) -> None:
        raise error

    return (frame.image for _, frame in read_frames([file_source(Path(file)) for file in files], fail))


def timed(detector: Any, images: Iterator[np.ndarray]) -> float:
    """Return pictures a second of a stream, from the first result on."""
    with closing(detector.stream(images)) as found:
        next(found)
        start, count = time.perf_counter(), sum(1 for _ in found)
        return count / (time.perf_counter() - start)


class Run:
    """What is measured, and where it goes."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.rows: dict[str, Any] = {
            "date": datetime.date.today().isoformat(),
            "gpu": gpu_name(),
            "cores": os.cpu_count(),
            "command": " ".join(sys.argv),
        }
        self.options: dict[str, Any] = {}
        if args.reference:
            self.options = {"reference": True, "inputs": {"images": (4, 3, SIDE, SIDE)}}

    def detector(self, **more: Any) -> trtnn.Detector:
        if self.args.reference:
            return trtnn.Detector.from_weights(WEIGHTS, **self.options, **more)
        return trtnn.Detector(self.args.engine, **more)

    def add(self, name: str, measure: Callable[[], float]) -> None:
        """Measure one row; what fails is a row too."""
        try:
            value: float | str = round(measure(), 1)
        except Exception as error:
            value = f"{type(error).__name__}: {error}"
        self.rows[name] = value
        print(f"{name:42} {value} {'pictures/s' if isinstance(value, float) else ''}", flush=True)
        with atomic_write(self.args.out) as file:
            file.write(json.dumps(self.rows, indent=1).encode())


def ray_job(run: Run, files: list[str], workers: int, folder: Path) -> float:
    """Return pictures a second of a Ray job, from the first part that is done on, without Ray's own start."""
    from trtnn.ray import Detect, Job

    source = WEIGHTS if run.args.reference else run.args.engine
    job = Job(files, folder / f"found-{workers}", Detect.options(source, **run.options), part=run.args.part)
    job.open(force=True)
    ends = []
    for progress in job.run(workers=workers):
        assert progress.errors == 0
        ends.append(time.perf_counter())
    rest = len(files) - workers * run.args.part  # the workers' first parts hold their start
    return rest / (ends[-1] - ends[workers - 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file of results")
    parser.add_argument("--engine", type=Path, help="an engine file of a detector")
    parser.add_argument("--reference", action="store_true", help="the digits' detector on the CPU")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1], help="how many, one row each (default: 1)")
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--part", type=int, default=500, help="pictures in a part of Ray's (default: 500)")
    parser.add_argument("--only", nargs="+", choices=("memory", "files", "ray"), default=["memory", "files", "ray"])
    args = parser.parse_args()
    if args.reference == bool(args.engine):
        parser.error("one of --engine and --reference")
    run, few = Run(args), max(args.pictures // 10, 1)
    images = pictures()
    folder = Path(tempfile.mkdtemp(prefix="trtnn-scale-"))
    try:
        files = [str(folder / f"{index:03}.jpg") for index in range(DIFFERENT)]
        for file, image in zip(files, images, strict=True):
            write_image(file, image)
        listed = list(itertools.islice(itertools.cycle(files), args.pictures))
        for count in args.gpus if {"memory", "files"} & {*args.only} else ():
            more = {} if count == 1 or args.reference else {"devices": list(range(count))}
            detector = run.detector(**more)
            if "memory" in args.only:
                for _ in detector.stream(itertools.islice(itertools.cycle(images), few)):
                    pass
                run.add(
                    f"memory, {count} GPUs: stream",
                    lambda detector=detector: timed(detector, itertools.islice(itertools.cycle(images), args.pictures)),
                )
            if "files" in args.only:
                run.add(f"files, {count} GPUs: stream", lambda detector=detector: timed(detector, read(listed)))
            del detector
        for count in args.gpus if "ray" in args.only else ():
            run.add(f"files, {count} GPUs: ray", lambda count=count: ray_job(run, listed, count, folder))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
