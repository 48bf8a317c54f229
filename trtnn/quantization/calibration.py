"""Calibration on the CPU reference: the numbers of inner tensors, seen sample by sample and kept by none."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trtnn.accuracy.sites import Sites
from trtnn.build.fingerprint import fingerprint
from trtnn.digest import digest
from trtnn.engine.engine import check_gpu
from trtnn.errors import ArgumentError, CheckpointError, where
from trtnn.files import atomic_write
from trtnn.graph.definition import read_layers
from trtnn.network import Network
from trtnn.progress import progress_bar
from trtnn.quantization.ranges import Seen
from trtnn.reference.interpreter import Interpreter, Results, Step, run_step
from trtnn.shapes.spec import TensorSpec

Look = Callable[[int, Mapping[str, torch.Tensor]], None]  # at the sample of a number

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
        self._digest = ""  # of all samples

    def of_group(self, names: Iterable[str]) -> Seen:
        """Return what was seen of several tensors together."""
        together = Seen(self._with_histograms)
        for name in names:
            together.merge(self.seen[name])
        return together

    def run(
        self, samples: Iterable[Any], total: int | None = None, cache: Path | None = None, on_gpu: bool = False
    ) -> None:
        """Run all samples, and see what there is.

        Args:
            samples: the inputs of the network, one after another.
            total: their number, where it is known.
            cache: a file that keeps what was seen; where it is there, its samples are passed over, and have to be the
                same.
            on_gpu: by an engine that gives the tensors, in whole fp32, and not by the reference.

        Raises:
            ArgumentError: there are no samples, or a number of one comes to NaN or infinity, with its number.
            ShapeError, DTypeError: a sample does not fit, with its number.
            CheckpointError: the file is damaged, or of another network, of another method or of other samples.
            EngineError: a GPU is asked for, and there is none.
        """
        done, of_file = (0, "") if cache is None else self._restore(cache)
        last = time.monotonic()
        with (
            self._on_gpu() if on_gpu else nullcontext(self._on_cpu()) as look,
            progress_bar("calibrating", total) as advance,
        ):
            number = -1
            for number, tensors in enumerate(self._network.stream_samples(samples)):
                if cache is not None:
                    self._digest = digest(self._digest.encode(), *map(_bytes, tensors.values()))
                if number == done - 1 and self._digest != of_file:
                    raise _of_other_samples(cache)
                if number >= done:
                    for name, value in tensors.items():
                        self._add(number, name, value)
                    look(number, tensors)
                    self.samples = number + 1
                    if cache is not None and time.monotonic() - last > _SAVE_EVERY_S:
                        self._save(cache)
                        last = time.monotonic()
                advance()
        if number < done - 1:
            raise _of_other_samples(cache, f"it has seen {done}, and here are {number + 1}")
        if cache is not None:
            self._save(cache)

    def _on_cpu(self) -> Look:
        """Return what runs a sample on the reference, and looks at each tensor as it is made."""
        graph = self._network.graph
        interpreter = Interpreter(graph.definition, graph.trt, graph.plugins)

        def look(number: int, tensors: Mapping[str, torch.Tensor]) -> None:
            def compute(index: int, step: Step, reads: list[torch.Tensor]) -> Results:
                results = run_step(step.function, reads)
                for name, value in zip(step.outputs, results, strict=True):
                    self._add(number, name, value)
                return results

            interpreter(tensors, (), compute)

        return look

    @contextmanager
    def _on_gpu(self) -> Iterator[Look]:
        """Build an engine that gives every tensor that is looked at, and yield what runs a sample on it."""
        check_gpu()
        graph = self._network.retrace(self._network.graph.precision)
        for _, layer in read_layers(graph.definition, graph.trt):
            for raw in (layer.get_output(i) for i in range(layer.num_outputs)):
                if raw.name in self.seen and raw.name not in graph.outputs:
                    graph.definition.mark_output(raw)
                    graph.outputs[raw.name] = TensorSpec(graph.shape_of(raw), raw.dtype)
        network = Network(graph, self._network.retrace, self._network.metadata)
        with network.build(optimization_level=0, tf32=False) as engine:

            def look(number: int, tensors: Mapping[str, torch.Tensor]) -> None:
                on_gpu = torch.cuda.is_available()
                given = {name: value.cuda() if on_gpu else value.numpy() for name, value in tensors.items()}
                for name, value in engine.run_flat(**given).items():
                    self._add(number, name, torch.as_tensor(value))

            yield look

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
                digest=np.array(self._digest),
                largest=np.array([one.largest for one in seen]),
                width=np.array([one.width for one in seen]),
                counts=np.stack([one.counts for one in seen]),
            )

    def _restore(self, path: Path) -> tuple[int, str]:
        """Take what a file holds, and return of how many samples that is, and their digest."""
        if path.is_dir():
            raise ArgumentError(f"{os.fspath(path)} is a folder, and a calibration is kept in a file")
        if not path.exists():
            return 0, ""
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as held:
                key, samples, of_samples = str(held["key"]), int(held["samples"]), str(held["digest"])
                largest, width, counts = held["largest"], held["width"], held["counts"]
        except Exception as error:  # zipfile and NumPy raise many kinds on bad content, none of them by contract
            raise CheckpointError(f"{os.fspath(path)} is no calibration: {error}", "remove it to begin anew") from error
        if key != self._key() or len(largest) != len(self.seen):
            raise CheckpointError(
                f"{os.fspath(path)} is a calibration of another network, or by another method",
                "remove it to begin anew",
            )
        for index, seen in enumerate(self.seen.values()):
            seen.largest, seen.width, seen.counts = float(largest[index]), float(width[index]), counts[index]
        self.samples = samples
        return samples, of_samples


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    """Return the bytes of a tensor on the CPU, whatever its type."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy()


def _of_other_samples(path: Path | None, *details: str) -> CheckpointError:
    return CheckpointError(f"{path} is a calibration on other samples", *details, "remove it to begin anew")
