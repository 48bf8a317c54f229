"""A quantised network beside itself without: what each module's rounding does to the outputs, and that of all."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from trtnn.accuracy.deviation import Deviation, warn_of_never_finite
from trtnn.accuracy.module_report import ModuleReport
from trtnn.accuracy.sites import left_as_they_are
from trtnn.errors import ArgumentError, check_tolerance
from trtnn.graph.definition import read_layers
from trtnn.graph.graph import Graph
from trtnn.graph.precision import Precision
from trtnn.graph.quantization import Placement
from trtnn.progress import progress_bar
from trtnn.reference.interpreter import Interpreter, Results, Step, run_step

if TYPE_CHECKING:
    from trtnn.network import Network

Inputs = Mapping[str, torch.Tensor]
Look = Callable[[int, Step, list[torch.Tensor], list[torch.Tensor], torch.Tensor], None]


def measured(network: Network) -> Graph:
    """Return a network's graph with each quantised layer once, as :class:`RoundingTrials` takes it.

    Of layers that are written once more for kernels of TensorRT the first hold rounded numbers for weights, and
    nothing says by whose scale the second read.
    """
    graph = network.graph
    placement = graph.placement or Placement()
    if placement.again.isdisjoint(placement.kernels):
        return graph
    return network.retrace(graph.precision, for_kernels=False)


class RoundingTrials:
    """A quantised network, ready to be run with the rounding of some of its modules alone.

    Args:
        graph: traced with quantisation, see :func:`measured`.
        samples: the network's inputs by name, one mapping for each sample.
        advance: called after each sample.

    Attributes:
        paths: of the modules that round something, in the network's order.
        together: see :class:`trtnn.graph.quantization.Placement`.
    """

    def __init__(self, graph: Graph, samples: Sequence[Inputs], advance: Callable[[], None]) -> None:
        placement = graph.placement or Placement()
        self.together = placement.together
        self._interpreter = Interpreter(graph.definition, graph.trt, graph.plugins)
        self._outputs = tuple(graph.outputs)
        self._inputs, self._advance = samples, advance
        self._kinds: dict[int, str] = {}  # of Quantize and Dequantize layers
        self._owners: dict[tuple[int, int], str] = {}  # whose scale an input of a layer is rounded by
        for index, (kind, layer) in enumerate(read_layers(graph.definition, graph.trt)):
            if kind in ("QUANTIZE", "DEQUANTIZE"):
                self._kinds[index] = kind
            if layer.name in placement.kernels:
                self._owners[index, 1] = graph.layer_paths[index]
            for place in range(layer.num_inputs):
                if (layer.name, place) in placement.owners:
                    self._owners[index, place] = placement.owners[layer.name, place]
        self.paths = tuple(dict.fromkeys(self._owners.values()))
        self._true = [self.run_true(sample) for sample in samples]
        warn_of_never_finite(self._true)

    def owner(self, index: int, place: int) -> str | None:
        """Return the path of the module whose scale an input of a layer is rounded by, or None."""
        return self._owners.get((index, place))

    def run_true(self, sample: Inputs, look: Look | None = None) -> Inputs:
        """Run a sample without rounding, and return the outputs.

        Args:
            sample: the network's inputs by name.
            look: called for each layer that gives something with its index, its step, what it would read with rounding
                and what it reads, and its first output.
        """
        return self._run(sample, (), look)

    def _run(self, sample: Inputs, rounding: Collection[str], look: Look | None = None) -> Inputs:
        before: dict[str, torch.Tensor] = {}  # what was rounded, by the name of what came of it

        def compute(index: int, step: Step, reads: list[torch.Tensor]) -> Results:
            kind = self._kinds.get(index)
            if kind is not None:
                results = run_step(step.function, reads)
                before[step.outputs[0]] = reads[0] if kind == "QUANTIZE" else before.pop(step.inputs[0])
                return results
            given = [
                before[name] if name in before and self._owners.get((index, place)) not in rounding else value
                for place, (name, value) in enumerate(zip(step.inputs, reads, strict=True))
            ]
            results = run_step(step.function, given)
            if look is not None and results:  # the ends of loops give nothing
                look(index, step, reads, given, results[0])
            return results

        outputs = self._interpreter(sample, self._outputs, compute)
        return outputs if rounding else {name: before.get(name, value) for name, value in outputs.items()}

    def errors(self, rounding: Collection[str]) -> dict[str, float]:
        """Return how far each output is off where the modules at these paths round, and no others.

        Returns:
            rms(difference) / rms(output) on all samples, by the name of the output.
        """
        rounding = frozenset(rounding)
        deviations = {name: Deviation() for name in self._outputs}
        for sample, true in zip(self._inputs, self._true, strict=True):
            for name, value in self._run(sample, rounding).items():
                deviations[name].add(true[name], value)
            self._advance()
        return {name: deviation.error for name, deviation in deviations.items()}


@dataclass(frozen=True)
class PrecisionRow:
    """What quantising one module does to the outputs of a network.

    Attributes:
        path: the module's.
        dtype: what it is quantised to.
        error: the largest rms(difference) / rms(output) of any output where this module alone is quantised.
        share: how much of the error of all it explains, 0 to 1: its square by the sum of the squares of all modules'.
    """

    path: str
    dtype: str
    error: float
    share: float

    def _cells(self) -> tuple[str, ...]:
        return self.dtype, f"{self.error:.1e}", f"{self.share:.1%}"


@dataclass(frozen=True)
class PrecisionReport(ModuleReport):
    """What quantisation does to a network, on samples: what :meth:`trtnn.Network.precision_report` returns.

    Attributes:
        modules: a row for each module that is quantised, the worst first.
        errors: how far each output of the quantised network is from the same without quantisation, on all samples:
            rms(difference) / rms(output).
        samples: their number.
    """

    modules: tuple[PrecisionRow, ...]
    errors: dict[str, float]
    samples: int
    _trials: RoundingTrials = field(repr=False, compare=False)
    _left: tuple[str, ...] = field(repr=False, compare=False)  # could be quantised, and are not
    _caption = "What quantisation does to a network"
    _header = ("type", "error alone", "share")
    _all = "all of them"

    @property
    def measures(self) -> str:
        """What the errors are of, for :meth:`trtnn.Network.view`."""
        return " and ".join(dict.fromkeys(row.dtype for row in self.modules))

    def _worst_first(self) -> tuple[PrecisionRow, ...]:
        return self.modules

    def suggested_skip(self, tolerance: float) -> tuple[str, ...]:
        """Return the paths of just enough modules not to quantise, so that no output is further off than a tolerance.

        Those that could be quantised, and are not in this network, are among them: ``skip`` names all that is left out.
        Then those of the largest error are left out first, as many as it takes, and each is quantised again if the rest
        is enough. Each choice is tried on all samples. A first convolution and what is rounded between it and its
        activation are left out together, since TensorRT 8.6 is slower at the one without the other than in fp16.

        Args:
            tolerance: the largest rms(difference) / rms(output) of any output.

        Raises:
            ArgumentError: the tolerance is negative.
        """
        check_tolerance(tolerance)
        units: dict[str, list[str]] = {}
        for row in self.modules:
            units.setdefault(self._trials.together.get(row.path, row.path), []).append(row.path)
        order = list(units)
        with progress_bar("choosing modules") as advance:

            def enough(skipped: Collection[str]) -> bool:
                left = [path for unit in order if unit not in skipped for path in units[unit]]
                worst = max(self._trials.errors(left).values()) if left else 0.0
                advance()
                return worst <= tolerance

            least, most = 0, len(order)
            while least < most:
                middle = (least + most) // 2
                least, most = (least, middle) if enough(order[:middle]) else (middle + 1, most)
            skipped = set(order[:least])
            for path in reversed(order[: max(least - 1, 0)]):  # without the last of them it was not enough
                if enough(skipped - {path}):
                    skipped.remove(path)
        paths = (path for path in self._trials.paths if self._trials.together.get(path, path) in skipped)
        return *self._left, *paths


def output_errors(network: Network, samples: Sequence[Inputs]) -> dict[str, float]:
    """Return how far each output of a quantised network is off, as :attr:`PrecisionReport.errors` says."""
    trials = RoundingTrials(measured(network), samples, lambda: None)
    return trials.errors(trials.paths)


def make_precision_report(network: Network, samples: Sequence[Inputs]) -> PrecisionReport:
    """Return the report of a network; see :meth:`trtnn.Network.precision_report`."""
    graph = measured(network)
    placement = graph.placement or Placement()
    types = placement.modules
    if not types:
        raise ArgumentError("no module of this network is quantised", "trtnn.quantize(model, samples) first")
    with progress_bar("measuring quantisation", (len(types) + 1) * len(samples)) as advance:
        trials = RoundingTrials(graph, samples, advance)
        alone = {path: max(trials.errors((path,)).values()) for path in trials.paths}
        errors = trials.errors(trials.paths)
    plain = network.retrace(Precision(), quantised=False)
    plain.free_arrays_with_it()
    left = left_as_they_are(plain, placement)
    total = sum(error**2 for error in alone.values()) or 1.0
    shares = {path: error**2 / total if math.isfinite(total) else math.nan for path, error in alone.items()}
    rows = [PrecisionRow(path, types[path].name, error, shares[path]) for path, error in alone.items()]
    return PrecisionReport(tuple(sorted(rows, key=lambda row: -row.error)), errors, len(samples), trials, left)
