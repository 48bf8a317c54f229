"""Pictures a second that one process reads, by threads and by processes, and what each costs: no GPU is needed.

JPEG files of 1280 x 720 are read as `trtnn detect` reads them, and a few batches of them are held. Beside the rate
stand the time of processors, page faults and switches of threads for each picture, which tell what threads wait for
each other at. Of processes that read stands the parent's part, and beside it theirs; they have begun before the time
is taken.

  blocks       files of 33 KB, of coarse noise
  noise        files of 500 KB, as large as good photographs
  asleep       files of 500 KB, whose decoding is replaced by sleeping: what a process reads on any number of cores, by
               threads alone

examples:
  python benchmarks/reading.py --out reading.json --threads 1 2 4 8 16 32 64
  python benchmarks/reading.py --out reading.json --threads 16 --processes 0 --only noise --opencv-threads 64
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scale

import trtnn.vision.images
from trtnn.files import atomic_write
from trtnn.vision import write_image
from trtnn.vision.frames import read_frames
from trtnn.vision.readers import Readers
from trtnn.vision.sources import Source, file_source

ASLEEP_S = 0.007  # as long as a core of an AMD EPYC takes for 500 KB
DIFFERENT = 16  # pictures, which come again and again
BATCH, HELD = 32, 96


def files(folder: Path, kind: str) -> list[Source]:
    random, made = np.random.default_rng(0), []
    for index, image in enumerate(scale.pictures()[:DIFFERENT]):
        noise = random.integers(-20, 20, image.shape) if kind == "noise" else 0
        made.append(folder / f"{kind}{index:02}.jpg")
        write_image(made[-1], np.clip(image + noise, 0, 255).astype(np.uint8))
    return [file_source(path) for path in made]


class Asleep:
    """OpenCV that takes its time, but no processor."""

    IMREAD_COLOR = IMREAD_COLOR_RGB = 0
    error = cv2.error

    def imdecode(self, data: np.ndarray, how: int) -> np.ndarray:
        time.sleep(ASLEEP_S)
        return IMAGE


IMAGE = np.zeros((*scale.SIZE, 3), np.uint8)


def read(sources: Sequence[Source], count: int, readers: Readers) -> None:
    def fail(source: Source, error: Exception) -> None:
        raise error

    held = []
    listed = list(itertools.islice(itertools.cycle(sources), count))
    for _, frame in read_frames(listed, fail, processes=readers):
        held.append(frame.image)
        if len(held) == HELD + BATCH:
            del held[:BATCH]


def measured(sources: Sequence[Source], count: int, readers: Readers) -> dict[str, Any]:
    with readers:
        readers.wait_until_ready()
        read(sources, count // 4, readers)
        before, theirs = resource.getrusage(resource.RUSAGE_SELF), of_children(readers)
        start = time.perf_counter()
        read(sources, count, readers)
        took, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
        theirs = {name: (value - theirs[name]) / count for name, value in of_children(readers).items()}

    def each(name: str) -> float:
        return (getattr(after, name) - getattr(before, name)) / count

    return {
        "pictures/s": round(count / took, 1),
        "user ms": round(1e3 * each("ru_utime"), 3),
        "system ms": round(1e3 * each("ru_stime"), 3),
        "page faults": round(each("ru_minflt"), 1),
        "waits": round(each("ru_nvcsw"), 2),
        "involuntary switches": round(each("ru_nivcsw"), 2),
        **({f"their {name}": round(value, 3) for name, value in theirs.items()} if readers.has_processes else {}),
    }


def of_children(readers: Readers) -> Counter[str]:
    """Return the time of processors in ms, user and system, and the page faults of the processes that read."""
    total: Counter[str] = Counter()
    tick = 1e3 / os.sysconf("SC_CLK_TCK")
    for number in readers.process_ids():
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        total["user ms"] += int(fields[11]) * tick
        total["system ms"] += int(fields[12]) * tick
        total["page faults"] += int(fields[7])
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file of results")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="one row each")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="one row each; 0 is none")
    parser.add_argument("--opencv-threads", type=int, help="of OpenCV's own (default: its own)")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument(
        "--only", nargs="+", choices=("blocks", "noise", "asleep"), default=["blocks", "noise", "asleep"]
    )
    args = parser.parse_args()
    if args.opencv_threads is not None:
        cv2.setNumThreads(args.opencv_threads)
    rows: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "opencv": f"{cv2.__version__}, {cv2.getNumThreads()} threads",
        "command": " ".join(sys.argv),
    }
    with tempfile.TemporaryDirectory(prefix="trtnn-reading-") as folder:
        for kind in args.only:
            sources = files(Path(folder), "blocks" if kind == "blocks" else "noise")
            if kind == "asleep":
                trtnn.vision.images.opencv = Asleep
            processes = [] if kind == "asleep" else [count for count in args.processes if count]
            for who, counts in (("threads", args.threads), ("processes", processes)):
                for count in counts:
                    row = measured(sources, args.pictures, Readers(count, who == "processes"))
                    rows[f"{kind}, {count} {who}"] = row
                    told = "  ".join(f"{value} {name}" for name, value in row.items())
                    print(f"{kind:7} {count:3} {who:9}  {told}", flush=True)
                    with atomic_write(args.out) as file:
                        file.write(json.dumps(rows, indent=1).encode())


if __name__ == "__main__":
    main()
