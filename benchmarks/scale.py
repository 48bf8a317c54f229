"""Pictures a second of several GPUs: one detector in this process, a process for each GPU, and Ray.

Every way gets the same pictures of 1280 x 720. Those of `memory` lie decoded in memory; those of `files` are JPEG
files, which each way reads by itself. Ray writes its results as `trtnn detect --ray` does.

  stream       Detector.stream on one GPU
  devices      Detector(engine, devices=[0, 1, ...]).stream
  ray          trtnn.ray.Job with a worker for each GPU, and as many pictures for each as the others have in all

On a machine without a GPU, `--reference` runs the digits' detector on the CPU: what Ray costs a picture there.

examples:
  python benchmarks/scale.py --out scale.json --engine yolov5s.engine --gpus 1 2
  python benchmarks/scale.py --out scale.json --engine yolov5s.engine --gpus 1 2 --readers 6
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


def read(files: list[str], processes: int | None) -> Iterator[np.ndarray]:
    """Read files as `trtnn detect` does, by so many processes where they are given."""

    def fail(source: Any, error: Exception) -> None:
        raise error

    sources = [file_source(Path(file)) for file in files]
    return (frame.image for _, frame in read_frames(sources, fail, processes=processes))


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


def steady(ends: list[list[float]], part: int) -> float:
    """Return pictures a second of workers while all of them work at their pace.

    That is from when the last of them has done its first part, which holds its start, until the first has done its last
    part but one: behind the last there is nothing that it shares its GPU with. A part that was under way at either
    end counts by the share of its time.

    Args:
        ends: when each worker had done its parts, in s.
        part: pictures in a part.
    """
    if min(map(len, ends)) < 3:
        raise ValueError("a worker had fewer than three parts: give more --pictures, or a smaller --part")
    start, stop = max(times[0] for times in ends), min(times[-2] for times in ends)
    if start >= stop:
        raise ValueError("some workers had ended before others were at their pace: give more --pictures")
    done = sum(np.diff(np.interp([start, stop], times, np.arange(len(times)))).item() for times in ends)
    return done * part / (stop - start)


def ray_job(run: Run, files: list[str], workers: int, folder: Path) -> float:
    """Return pictures a second of a Ray job whose workers have all files to do, each; see :func:`steady`."""
    from trtnn.ray import Detect, Job
    from trtnn.ray.job import PartWorker

    class Timed(PartWorker):
        """A worker that notes when it has done a part."""

        def __call__(self, batch: Any) -> Any:
            done = super().__call__(batch)
            with open(f"{self.root}-{os.getpid()}.times", "a") as file:
                file.write(f"{time.time()}\n")
            return done

    source, part = WEIGHTS if run.args.reference else run.args.engine, run.args.part
    options = {**run.options, **({"readers": run.args.readers} if run.args.readers else {})}
    files = files[: len(files) // part * part] * workers  # all parts are whole
    job = Job(files, folder / f"found-{workers}", Detect.options(source, **options), part=part)
    job.open(force=True)
    assert not sum(progress.errors for progress in job.run(workers=workers, worker=Timed))
    noted = [file.read_text().split() for file in folder.glob(f"found-{workers}-*.times")]
    if len(noted) < workers:
        raise ValueError(f"{len(noted)} of {workers} workers had parts: give more --pictures")
    return steady([sorted(map(float, times)) for times in noted], part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file of results")
    parser.add_argument("--engine", type=Path, help="an engine file of a detector")
    parser.add_argument("--reference", action="store_true", help="the digits' detector on the CPU")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1], help="how many, one row each (default: 1)")
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--part", type=int, default=1000, help="pictures in a part of Ray's (default: 1000)")
    parser.add_argument("--readers", type=int, help="of files, for each GPU (default: by itself)")
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
                readers = args.readers and args.readers * count
                run.add(
                    f"files, {count} GPUs: stream",
                    lambda detector=detector, readers=readers: timed(detector, read(listed, readers)),
                )
            del detector
        for count in args.gpus if "ray" in args.only else ():
            run.add(f"files, {count} GPUs: ray", lambda count=count: ray_job(run, listed, count, folder))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
