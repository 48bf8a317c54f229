"""Workers that fail, for the tests of jobs."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

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


class WritesBehind(PartWorker):
    """A worker that writes its first part, whichever that is, only once another one is detected."""

    def __init__(self, output, make):
        super().__init__(output, make)
        self.detected, self.is_another_detected = [], threading.Event()

    def write(self, part, table):
        self.detected.append(part)
        if len(self.detected) > 1:
            self.is_another_detected.set()
        assert self.is_another_detected.wait(20), "the next part waits for this one's file"
        super().write(part, table)


class DiesWithAnother(DiesAlways):
    """A worker that cannot do one part, and is in the midst of another whenever it dies, if it may."""

    def write(self, part, table):
        with self._changed:
            if self._changed.wait_for(lambda: self._under_way > 1, 3):
                time.sleep(60)
        super().write(part, table)


class WritesNowhere(PartWorker):
    """A worker whose files are lost."""

    def write(self, part, table):
        pass


class HasNoRoom(PartWorker):
    """A worker whose place is full."""

    def write(self, part, table):
        raise OSError(28, "No space left on device")


class Store(LocalFileSystem):
    """Files as an object store has them: no folder without files, and a listing is remembered until it is told."""

    protocol = "store"

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("store://"))

    def ls(self, path, detail=False, **options):
        if path not in self.dircache:
            found = super().ls(path, detail=True)
            if not found:
                raise FileNotFoundError(path)
            self.dircache[path] = found
        return self.dircache[path] if detail else [one["name"] for one in self.dircache[path]]

    def makedirs(self, path, exist_ok=False):
        pass

    def invalidate_cache(self, path=None):
        self.dircache.clear()

    def pipe_file(self, path, value, **options):
        self.dircache.clear()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        super().pipe_file(path, value, **options)


fsspec.register_implementation("store", Store)


class StoreWorker(PartWorker):
    """A worker that knows of the store, by this module."""


class Holder:
    """Holds what it was started with."""

    def holds(self) -> bool:
        return True
