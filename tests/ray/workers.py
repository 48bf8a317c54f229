"""Workers that fail, for the tests of jobs."""

from __future__ import annotations

import os
from pathlib import Path

from trtnn.ray import Detect
from trtnn.ray.job import PartWorker


class DiesOnce(PartWorker):
    """A worker whose process ends in the midst of its second part, the first time that anybody does it."""

    def write(self, part, table):
        marker = Path(self.root).parent / "died"
        if part == 1 and not marker.exists():
            marker.touch()
            os._exit(1)
        super().write(part, table)


class DyingDetect(Detect):
    """A detector whose process ends at one image."""

    def __call__(self, batch):
        if any(place.endswith("05.png") for place in batch.column("source").to_pylist()):
            os._exit(1)
        return super().__call__(batch)


class DiesAlways(PartWorker):
    """A worker that cannot do one part."""

    def __init__(self, output, make):
        super().__init__(output, make)
        self.detect = DyingDetect(**make)
