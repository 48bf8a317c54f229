"""An engine beside the CPU reference of its network: where the two part."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trtnn.errors import ArgumentError, check_tolerance
from trtnn.graph.precision import TOLERANCE
from trtnn.network import Network
from trtnn.structure import leaves_of

if TYPE_CHECKING:
    from trtnn.table import Content


@dataclass(frozen=True)
class ComparedOutput:
    """How far one output of an engine is from the reference's.

    Attributes:
        path: of the module that returned it; ``""`` for what the network's own ``forward`` did.
        name: of the output.
        error: rms(engine - reference) / rms(reference) over the values that are finite in the reference; infinite where
            the engine's is not finite and the reference's is.
        largest: the largest magnitude of a difference, likewise.
    """

    path: str
    name: str
    error: float
    largest: float


@dataclass(frozen=True)
class Comparison:
    """How far an engine is from the CPU reference, output by output: what :func:`trtnn.compare` returns.

    Attributes:
        outputs: in the order in which modules are done, so what a module calls stands before it; those of ``forward``
            at the end.
        tolerance: the largest error that is no concern.
    """

    outputs: tuple[ComparedOutput, ...]
    tolerance: float

    @property
    def first(self) -> ComparedOutput | None:
        """The first output whose error is beyond the tolerance, or None: what went wrong went wrong there."""
        return next((row for row in self.outputs if not row.error <= self.tolerance), None)

    @property
    def measures(self) -> str:
        """What the errors are of, for :meth:`trtnn.Engine.view`."""
        return "engine"

    @property
    def module_errors(self) -> dict[str, float]:
        """The largest error of each module's outputs, by its path."""
        errors: dict[str, float] = {}
        for row in self.outputs:
            errors[row.path] = max(row.error, errors.get(row.path, 0.0))
        return errors

    def table(self, limit: int | None = None) -> str:
        """Return a table of the outputs, with a mark at the first beyond the tolerance and the verdict below.

        Args:
            limit: the most rows to show, up to the first one beyond the tolerance or else to the end; all where None.
        """
        from trtnn.table import render

        return render(**self._content(limit))

    def _repr_html_(self) -> str:
        from trtnn.table import MOST_IN_NOTEBOOK, render_html

        return render_html("An engine beside the reference", **self._content(MOST_IN_NOTEBOOK))

    def _content(self, limit: int | None) -> Content:
        first = self.first
        end = self.outputs.index(first) + 1 if first else len(self.outputs)
        rows = self.outputs if limit is None else self.outputs[max(end - limit, 0) : end]
        header = ("module", "output", "error", "largest difference", "")
        cells = [
            (
                row.path or "(forward)",
                row.name,
                f"{row.error:.1e}",
                f"{row.largest:.3g}",
                f"<- the first beyond {self.tolerance:g}" if row is first else "",
            )
            for row in rows
        ]
        worst = max(row.error for row in self.outputs)
        verdict = f"all within {self.tolerance:g}: the largest error is {worst:.1e}"
        if first:
            verdict = f"they part in {first.path or 'the outputs of forward'}: error {first.error:.1e}"
        hidden = len(self.outputs) - len(rows)
        return {"header": header, "rows": cells, "left": 2, "total": verdict, "hidden": hidden}

    def __str__(self) -> str:
        return self.table()

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values; an error that is infinite is null."""
        rows = [
            {
                "module": row.path,
                "output": row.name,
                "error": row.error if math.isfinite(row.error) else None,
                "largest_difference": row.largest if math.isfinite(row.largest) else None,
            }
            for row in self.outputs
        ]
        return {"tolerance": self.tolerance, "first": self.first.path if self.first else None, "outputs": rows}


def compare(
    network: Network,
    *args: Any,
    engine: Callable[..., Any] | None = None,
    tolerance: float = TOLERANCE,
    **kwargs: Any,
) -> Comparison:
    """Run a network's engine and the CPU reference of the same network on the same inputs.

    >>> print(trtnn.compare(model.trace(fp16=True, outputs=["*"]), images))
    >>> print(trtnn.compare(model.trace(fp16=True), images, engine=trtnn.Engine.load("model.engine")))

    Each output of the network is compared, so trace it with the outputs of inner modules to see where the two part:
    ``outputs=["*"]`` for all of them. That changes what is looked at: TensorRT has to write every output to memory and
    cannot fuse layers across it. So an error of the usual engine may be gone in this one; then mark fewer modules.

    Args:
        network: the reference; it computes on the CPU in the precision that it was traced in.
        *args, **kwargs: the inputs, as for a call of the engine.
        engine: of this network, or of one with the same outputs; anything that is called as an engine is. It is built
            here where None.
        tolerance: the largest rms(difference) / rms(reference) that is no concern.

    Raises:
        ArgumentError: the engine returns another structure than the network, no number of what ``forward`` returns is
            finite, or the tolerance is negative.
        EngineError: the engine cannot run here.
    """
    check_tolerance(tolerance)
    import torch

    from trtnn.accuracy.deviation import never_finite

    graph = network.graph
    run = network.build() if engine is None else engine
    outputs = getattr(run, "outputs", network.outputs)
    if outputs.keys() != network.outputs.keys():
        raise ArgumentError(
            "the engine has other outputs than the network",
            f"the engine: {', '.join(outputs)}",
            f"the network: {', '.join(network.outputs)}",
            "trace the network with the same outputs=[...] as the engine's",
        )
    actual = leaves_of(graph.structure, run(*args, **kwargs))
    on_cpu = [value.cpu() if hasattr(value, "cpu") else value for value in (*args, *kwargs.values())]
    true = network.run(*on_cpu[: len(args)], **dict(zip(kwargs, on_cpu[len(args) :], strict=True)))
    expected = leaves_of(graph.structure, true)
    inner = graph.structure["tuple"][1]["dict"] if graph.inner_outputs else {}
    path_of = {name: path for path, part in inner.items() for name in leaves_of(part, true[1][path])}
    paths = {name: path_of.get(name, "") for name in expected}
    order = list(graph.module_outputs)
    if empty := never_finite({name: torch.as_tensor(expected[name]) for name, path in paths.items() if not path}):
        raise ArgumentError(
            f"no number of {empty[0]} is finite in the reference, so that an engine cannot be held against it",
            "look for NaN and infinity in the inputs and in the weights",
        )
    names = sorted(paths, key=lambda name: order.index(paths[name]) if paths[name] else len(order))
    return Comparison(tuple(_compare(paths[name], name, expected[name], actual[name]) for name in names), tolerance)


def _compare(path: str, name: str, expected: Any, actual: Any) -> ComparedOutput:
    import torch  # which the reference has just used

    from trtnn.accuracy.deviation import Deviation

    true, value = (torch.as_tensor(one).cpu() for one in (expected, actual))
    if true.shape != value.shape:
        raise ArgumentError(f"the engine gives {name} as {tuple(value.shape)}, the network as {tuple(true.shape)}")
    deviation = Deviation()
    deviation.add(true, value)
    finite = true.isfinite()
    difference = (value.double() - true.double()).abs().where(finite, 0)
    largest = float(difference.nan_to_num(math.inf, math.inf).max()) if difference.numel() else 0.0
    return ComparedOutput(path, name, deviation.error, largest)
