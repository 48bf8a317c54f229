"""Calibration on the CPU reference: the numbers of inner tensors, seen sample by sample and kept by none."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trtnn.build.fingerprint import fingerprint
from trtnn.errors import ArgumentError, CheckpointError, where
from trtnn.files import atomic_write
from trtnn.network import Network
from trtnn.progress import progress_bar
from trtnn.quantization.ranges import Seen
from trtnn.quantization.sites import Sites
from trtnn.reference.interpreter import Interpreter, Results, Step, run_step

_SAVE_EVERY_S = 10.0  # of a calibration that is kept in a file


class Calibration:
    """What was seen of a network's tensors.

    Args:
        network: traced in fp32 and without quantisation.
        sites: what is to be quantised of it.
        with_histograms: whether histograms are kept beside the largest magnitudes.

    Attributes:
        seen: of each tensor that is to be rounded, by its name.
        samples: their number.
    """

    def __init__(self, network: Network, sites: Sites, with_histograms: bool) -> None:
        self._network = network
        self._with_histograms = with_histograms
        self._readers = {name: sites.reader_of(name) for name in sorted(sites.observed())}
        self.seen = {name: Seen(with_histograms) for name in self._readers}
        self.samples = 0

    def of_group(self, names: Iterable[str]) -> Seen:
        """Return what was seen of several tensors together."""
        together = Seen(self._with_histograms)
        for name in names:
            together.merge(self.seen[name])
        return together

    def run(self, samples: Iterable[Any], cache: Path | None = None) -> None:
        """Run all samples, and see what there is.

        Args:
            samples: the inputs of the network, one after another.
            cache: a file that keeps what was seen; where it is there, its samples are passed over.

        Raises:
            ArgumentError: there are no samples, or a number of one comes to NaN or infinity, with its number.
            ShapeError, DTypeError: a sample does not fit, with its number.
            CheckpointError: the file is damaged, or of another network or method.
        """
        graph = self._network.graph
        interpreter = Interpreter(graph.definition, graph.trt, graph.plugins)
        done = 0 if cache is None else self._restore(cache)
        last = time.monotonic()
        total = len(samples) if hasattr(samples, "__len__") else None  # type: ignore[arg-type]
        with progress_bar("calibrating", total) as advance:
            for number, tensors in enumerate(self._network.stream_samples(samples)):
                if number >= done:
                    interpreter(tensors, (), self._look_at(number, tensors))
                    self.samples = number + 1
                    if cache is not None and time.monotonic() - last > _SAVE_EVERY_S:
                        self._save(cache)
                        last = time.monotonic()
                advance()
        if cache is not None:
            self._save(cache)

    def _look_at(self, number: int, inputs: Mapping[str, torch.Tensor]) -> Any:
        for name, value in inputs.items():
            self._add(number, name, value)

        def compute(index: int, step: Step, reads: list[torch.Tensor]) -> Results:
            results = run_step(step.function, reads)
            for name, value in zip(step.outputs, results, strict=True):
                self._add(number, name, value)
            return results

        return compute

    def _add(self, number: int, name: str, value: torch.Tensor) -> None:
        seen = self.seen.get(name)
        if seen is None:
            return
        try:
            seen.add(value)
        except ArgumentError as error:
            raise ArgumentError(f"sample {number}: what {where(self._readers[name])} reads: {error.summary}") from None

    # -- the file -----------------------------------------------------------------------------------------------------

    def _key(self) -> str:
        graph = self._network.graph
        network = fingerprint(graph.definition, graph.trt, graph.plugins)
        return f"{network} {self._with_histograms} {' '.join(self.seen)}"

    def _save(self, path: Path) -> None:
        seen = self.seen.values()
        with atomic_write(path) as file:
            np.savez(
                file,
                key=np.array(self._key()),
                samples=np.array(self.samples),
                largest=np.array([one.largest for one in seen]),
                width=np.array([one.width for one in seen]),
                counts=np.stack([one.counts for one in seen]),
            )

    def _restore(self, path: Path) -> int:
        """Take what a file holds, and return of how many samples that is."""
        if not path.exists():
            return 0
        try:
            with np.load(path, allow_pickle=False) as held:
                key, samples = str(held["key"]), int(held["samples"])
                largest, width, counts = held["largest"], held["width"], held["counts"]
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise CheckpointError(f"{os.fspath(path)} is no calibration: {error}", "remove it to begin anew") from error
        if key != self._key() or len(largest) != len(self.seen):
            raise CheckpointError(
                f"{os.fspath(path)} is a calibration of another network, or by another method",
                "remove it to begin anew",
            )
        for index, seen in enumerate(self.seen.values()):
            seen.largest, seen.width, seen.counts = float(largest[index]), float(width[index]), counts[index]
        self.samples = samples
        return samples
