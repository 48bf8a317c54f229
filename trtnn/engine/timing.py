"""Where an engine's time goes: by TensorRT's profiler, for each layer and for each module."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from trtnn.engine.inspector import EngineLayer, read_layer
from trtnn.errors import EngineError, check_switches
from trtnn.files import atomic_write, open_regular
from trtnn.table import MOST_IN_NOTEBOOK, Content, render, render_html

WIDEST = 48  # characters of a name in a table
OWN = "(TensorRT)"  # stands for the module of a layer that TensorRT added and that belongs to none


def holder(paths: Sequence[str]) -> str:
    """Return the path of the innermost module that holds all of these."""
    levels = zip(*(path.split(".") for path in paths), strict=False)
    return ".".join(names[0] for names in itertools.takewhile(lambda names: len(set(names)) == 1, levels))


def make_recorder(trt: ModuleType) -> Any:
    """Return an ``IProfiler`` that keeps what it is told, as (layer's name, milliseconds), in ``times``."""

    class Recorder(trt.IProfiler):
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times: list[tuple[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times.append((layer_name, ms))

        def take(self) -> list[tuple[str, float]]:
            """Return what was told since the last call, and forget it."""
            times, self.times = self.times, []
            return times

    return Recorder()


@dataclass(frozen=True)
class LayerTime(EngineLayer):
    """One layer of an engine with its time.

    Attributes:
        milliseconds: the median over the runs.
        share: of the sum of all layers, 0 to 1.
        mean: the mean of its milliseconds over the runs.
    """

    milliseconds: float = 0.0
    share: float = 0.0
    mean: float = 0.0

    @property
    def path(self) -> str:
        """The innermost module that holds all the layer's modules; ``"(TensorRT)"`` where it has none."""
        return holder(self.paths) if self.paths else OWN


@dataclass(frozen=True)
class EngineTiming:
    """The time of each layer of an engine: what :meth:`trtnn.Engine.timing` returns.

    Layers are timed one at a time, with a pause between them, so the sum is more than a call takes where layers are
    small: look at the shares.

    Attributes:
        layers: in the order in which they run.
        runs: how many were measured.
    """

    layers: tuple[LayerTime, ...]
    runs: int

    @classmethod
    def of_runs(cls, runs: Sequence[Sequence[tuple[str, float]]], inspected: Sequence[EngineLayer]) -> EngineTiming:
        """Return the times of several runs.

        Args:
            runs: for each the layers' names and milliseconds, as TensorRT reported them.
            inspected: what the inspector says of the layers.

        Raises:
            EngineError: TensorRT reported nothing.
        """
        if not runs or not all(runs):
            raise EngineError("TensorRT reported no layer's time, so this engine cannot be timed")
        from statistics import median

        times: dict[tuple[str, int], list[float]] = {}
        for run in runs:
            seen: Counter[str] = Counter()  # a layer within a loop is reported each time that it runs
            for name, milliseconds in run:
                times.setdefault((name, seen[name]), []).append(milliseconds)
                seen[name] += 1
        by_name = {one.name: one for one in inspected}
        means = [(name, median(values), sum(values) / len(values)) for (name, _), values in times.items()]
        return cls.of_means(means, len(runs), by_name)

    @classmethod
    def of_means(
        cls, means: Sequence[tuple[str, float, float]], runs: int, inspected: Mapping[str, EngineLayer]
    ) -> EngineTiming:
        """Return the times of layers whose name, median and mean are known.

        Args:
            means: the three of each layer, in milliseconds.
            runs: how many were measured.
            inspected: what the inspector says of the layers, by name.
        """
        total = sum(milliseconds for _, milliseconds, _ in means)
        rows = []
        for name, milliseconds, mean in means:
            one = inspected.get(name) or read_layer(name)
            share = milliseconds / total if total else 0.0
            rows.append(LayerTime(name, one.paths, one.kind, one.precision, one.reads, milliseconds, share, mean))
        return cls(tuple(rows), runs)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the times as ``trtexec --exportProfile`` does, for NVIDIA's own tools, and return the file's path.

        That is a list of JSON: ``{"count": runs}``, then for each layer its ``"name"``, ``"timeMs"`` of all runs
        together, ``"averageMs"``, ``"medianMs"`` and ``"percentage"`` of the time of all layers.
        (https://github.com/NVIDIA/TensorRT/blob/main/samples/common/sampleReporting.cpp)

        Raises:
            ArgumentError: the path cannot be written.
        """
        whole = sum(row.mean for row in self.layers)
        values = [
            {"count": self.runs},
            *(
                {
                    "name": row.name,
                    "timeMs": row.mean * self.runs,
                    "averageMs": row.mean,
                    "medianMs": row.milliseconds,
                    "percentage": row.mean / whole * 100 if whole else 0.0,
                }
                for row in self.layers
            ),
        ]
        with atomic_write(path) as file:
            file.write(json.dumps(values, indent=2).encode() + b"\n")
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], inspected: Sequence[EngineLayer] = ()) -> EngineTiming:
        """Read the times that :meth:`save`, or ``trtexec --exportProfile``, wrote.

        Args:
            path: of the file.
            inspected: what the inspector says of the layers.

        Raises:
            EngineError: it cannot be read, is no such file, or holds no layer's time.
        """
        try:
            with open_regular(path) as file:
                read = json.loads(file.read(), strict=False)
            if not isinstance(read, list) or not read or not all(isinstance(row, dict) for row in read):
                raise ValueError('it is no list of {"count": runs} and of an object for each layer')
            head, *rows = read
            means = [(str(row["name"]), _time(row, "medianMs"), _time(row, "averageMs")) for row in rows]
            runs = int(head["count"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            lacks = f"an entry has no {error}" if isinstance(error, KeyError) else str(error)
            reason = getattr(error, "strerror", None) or lacks
            raise EngineError(
                f"{path} does not hold times of layers",
                reason,
                "trtexec --exportProfile writes such a file, and timing.save(path)",
            ) from error
        if not means:
            raise EngineError(f"{path} holds no layer's time, so there is nothing to show of it")
        return cls.of_means(means, runs, {one.name: one for one in inspected})

    @property
    def milliseconds(self) -> float:
        """The sum of all layers' times."""
        return sum(row.milliseconds for row in self.layers)

    def by_module(self, depth: int | None = None) -> dict[str, float]:
        """Return the milliseconds of each module, in the order in which they first run; they add up to the whole.

        A layer that is fused of several modules counts for the innermost one that holds them all; ``""`` is the model
        itself, and ``"(TensorRT)"`` stands for what TensorRT added.

        Args:
            depth: how many names of a path to tell modules by, so that 2 sums up ``model.0``, ``model.1``, ...; all of
                them where None.
        """
        sums: dict[str, float] = {}
        for row in self.layers:
            path = row.path if row.path == OWN else ".".join(row.path.split(".")[:depth])
            sums[path] = sums.get(path, 0.0) + row.milliseconds
        return sums

    def table(self, by_time: bool = False, limit: int | None = None) -> str:
        """Return a table of the layers, with the total below it.

        Args:
            by_time: the slowest first, not in the order in which they run.
            limit: the most rows to show; all where None.
        """
        check_switches(by_time=by_time)
        return render(**self._content(by_time, limit))

    def _repr_html_(self) -> str:
        return render_html("Where the time of an engine goes", **self._content(True, MOST_IN_NOTEBOOK))

    def _content(self, by_time: bool, limit: int | None) -> Content:
        rows = sorted(self.layers, key=lambda row: -row.milliseconds) if by_time else list(self.layers)
        header = ("module", "layer", "type", "precision", "ms", "share")
        cells = [
            (
                *(_shown(row.path), _shown(row.name), row.kind, row.precision),
                *_figures(row.milliseconds, row.share),
            )
            for row in rows
        ]
        total = ("total", f"{len(rows)} layers, {self.runs} runs", "", "", *_figures(self.milliseconds, 1))
        return {"header": header, "rows": cells, "left": 4, "total": total, "limit": limit}

    def module_table(self, depth: int | None = None, by_time: bool = False, limit: int | None = None) -> str:
        """Return a table of the modules' times, see :meth:`by_module`, with the total below it."""
        check_switches(by_time=by_time)
        sums = list(self.by_module(depth).items())
        if by_time:
            sums.sort(key=lambda item: -item[1])
        whole = self.milliseconds
        cells = [(_shown(path), *_figures(time, time / whole if whole else 0)) for path, time in sums]
        return render(("module", "ms", "share"), cells, 1, ("total", *_figures(whole, 1)), limit)

    def __str__(self) -> str:
        return self.table()

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        rows = [
            {
                "name": row.name,
                "paths": list(row.paths),
                "type": row.kind,
                "precision": row.precision,
                "milliseconds": row.milliseconds,
                "share": row.share,
            }
            for row in self.layers
        ]
        return {"milliseconds": self.milliseconds, "runs": self.runs, "layers": rows}


def _time(row: Mapping[str, Any], name: str) -> float:
    milliseconds = float(row[name])
    if not 0 <= milliseconds < math.inf:
        raise ValueError(f"{name} is {milliseconds}")
    return milliseconds


def _shown(name: str) -> str:
    name = name or "(forward)"
    return name if len(name) <= WIDEST else f"{name[: WIDEST - 3]}..."


def _figures(milliseconds: float, share: float) -> tuple[str, str]:
    return f"{milliseconds:.4f}", f"{share:.1%}"
