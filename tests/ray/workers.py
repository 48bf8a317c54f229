"""Workers that fail, for the tests of jobs."""

from __future__ import annotations

import os
from pathlib import Path

from trtnn.ray.job import PartWorker


class DiesOnce(PartWorker):
    """A worker whose process ends in the midst of its second part, the first time that anybody does it."""

    def write(self, part, table):
        marker = Path(self.root).parent / "died"
        if part == 1 and not marker.exists():
            marker.touch()
            os._exit(1)
        super().write(part, table)
