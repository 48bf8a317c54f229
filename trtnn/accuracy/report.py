"""fp16 that can be trusted: what half precision does to each module of a network, and which have to stay in fp32."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trtnn.accuracy.choice import MixedPrecision, choose, patterns
from trtnn.accuracy.module_report import ModuleReport
from trtnn.errors import DTypeError, check_tolerance
from trtnn.graph.definition import read_layers
from trtnn.graph.graph import Graph
from trtnn.graph.precision import TOLERANCE
from trtnn.progress import progress_bar

if TYPE_CHECKING:
    from trtnn.accuracy.trials import Comparison


@dataclass(frozen=True)
class Fp16Row:
    """What fp16 does to one layer, or to all layers of one module, each given its true inputs.

    Attributes:
        path: the module's; ``""`` is the model itself.
        kind: TensorRT's type of the layer, or of each of the layers once.
        largest: the largest finite magnitude of the results in fp32; fp16 ends at 65504.
        overflow: how many values are finite in fp32 and infinite or NaN in fp16, of those that are read, of the
            weights, and of the results.
        lost: how many weights and results are not zero in fp32 and zero in fp16, which 2^-25 and less are.
        error: rms(fp16 result - fp32 result) / rms(fp32 result), infinite where a result overflows; of a module the
            root of the sum of its layers' squares.
    """

    path: str
    kind: str
    largest: float
    overflow: int
    lost: int
    error: float

    def _cells(self) -> tuple[str, ...]:
        overflow, lost = (f"{count:,}" if count else "" for count in (self.overflow, self.lost))
        return self.kind.lower(), f"{self.largest:.3g}", overflow, lost, f"{self.error:.1e}"


@dataclass(frozen=True)
class Fp16Report(ModuleReport):
    """What fp16 does to a network, on samples: what :meth:`trtnn.Network.fp16_report` returns.

    In fp16 a layer rounds what it reads and its weights, carries its sums in fp32, and rounds its result. Layers that
    stay in fp32 anyway, because the model or an operation says so (``x.float()``, the sums of a norm), are not listed,
    nor are those that fp16 has others in place of. The errors of outputs are of the network as it is traced in fp16.

    Attributes:
        layers: a row for each layer, in the network's order.
        errors: how far each output of the network, wholly in fp16, is from fp32 on all samples:
            rms(difference) / rms(output). All are infinite where a value overflows anywhere.
        samples: their number.
    """

    layers: tuple[Fp16Row, ...]
    errors: dict[str, float]
    samples: int
    _precision: MixedPrecision = field(repr=False, compare=False)
    _comparison: Comparison = field(repr=False, compare=False)
    _caption = "What fp16 does to a network"
    _header = ("layers", "max |x|", "overflow", "lost to zero", "error")
    _all = "all in fp16"

    @property
    def modules(self) -> list[Fp16Row]:
        """A row for each module that made layers of its own, the worst first."""
        by_path: dict[str, list[Fp16Row]] = {}
        for row in self.layers:
            by_path.setdefault(row.path, []).append(row)
        rows = [
            Fp16Row(
                path,
                ", ".join(dict.fromkeys(row.kind for row in rows)),
                max(row.largest for row in rows),
                sum(row.overflow for row in rows),
                sum(row.lost for row in rows),
                math.hypot(*(row.error for row in rows)),
            )
            for path, rows in by_path.items()
        ]
        return sorted(rows, key=lambda row: (row.overflow > 0, row.error, row.lost), reverse=True)

    @property
    def measures(self) -> str:
        """What the errors are of, for :meth:`trtnn.Network.view`."""
        return "fp16"

    def _worst_first(self) -> list[Fp16Row]:
        return self.modules

    def suggested_fp32_modules(self, tolerance: float = TOLERANCE) -> tuple[str, ...]:
        """Return what ``fp32_modules="auto"`` keeps in fp32: just enough modules for outputs that can be trusted.

        With them in fp32, no value on the samples overflows anywhere, and no output is further from fp32 than
        ``tolerance``. First come the modules that overflow, then those of the largest error, as many as it takes; then
        each is left out in turn, and dropped if the others are enough. Each choice is tried on all samples, on the CPU
        reference: a few runs of each for a few modules, and two for each module where it takes most of them.

        A layer that a composite's own ``forward`` makes belongs to that composite, which is kept with all it holds.

        Args:
            tolerance: the largest rms(difference) / rms(output) of any output. One output that joins quantities of
                different size, such as decoded boxes with their scores, is judged mostly by the larger ones.

        Returns:
            Paths, in the network's order, as ``fp32_modules`` takes them.

        Raises:
            ArgumentError: the tolerance is negative; or the network is quantised, and what is quantised, or holds what
                is, would have to stay in fp32: it never does.
        """
        check_tolerance(tolerance)
        worst = self.modules
        with progress_bar("choosing fp32 modules") as advance:
            kept = choose(
                self._precision,
                lambda mixed: self._comparison.trial(mixed, advance),
                [row.path for row in worst],
                [row.path for row in worst if row.overflow],
                tolerance,
            )
        return patterns(kept)


def make_report(
    graph: Graph, precision: MixedPrecision, comparison: Comparison, advance: Callable[[], None]
) -> Fp16Report:
    """Return the report of a comparison.

    Args:
        graph: what was compared, in fp32.
        precision: of its layers.
        comparison: of all that could be in fp16.
        advance: called after each sample of a run wholly in fp16.
    """
    rows = []
    for index, (kind, _) in enumerate(read_layers(graph.definition, graph.trt)):
        if index in precision.half and index in comparison.tallies:
            tally = comparison.tallies[index]
            path, error = precision.owners[index], tally.deviation.error
            rows.append(Fp16Row(path, kind, tally.largest, tally.overflow, tally.lost, error))
    try:
        errors = comparison.trial(precision.mixed(()), advance).errors
    except DTypeError:  # weights that do not fit
        errors = dict.fromkeys(graph.outputs, math.inf)
    return Fp16Report(tuple(rows), errors, comparison.samples, precision, comparison)
