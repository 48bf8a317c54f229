"""Network: the finished graph with what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from trtnn.backend import get_backend
from trtnn.build import BuildConfig, build
from trtnn.engine import Engine
from trtnn.errors import ArgumentError, BackendError
from trtnn.graph import Graph, Precision
from trtnn.inputs import Input, check_array, name_arguments
from trtnn.reading import count_flops, count_parameters, read_layers
from trtnn.structure import flatten, map_leaves, unflatten


def trace(
    forward: Callable[..., Any],
    inputs: Mapping[str, Input],
    precision: Precision | None = None,
    paths: Mapping[int, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Network:
    """Run ``forward`` once with symbolic Tensors and return the network that it wrote.

    Args:
        forward: a function of Tensors; a Module's ``trace`` passes the Module itself.
        inputs: by the names of ``forward``'s arguments.
        precision: fp32 where None.
        paths: the path of each module that forward may call, by its ``id``.
        metadata: JSON values for the engine file.
    """
    graph = Graph(get_backend(), precision or Precision(), paths or {})
    with graph.tracing():
        graph.set_outputs(forward(**{name: graph.add_input(name, spec) for name, spec in inputs.items()}))
    return Network(graph, dict(metadata or {}))


@dataclass(frozen=True)
class LayerSummary:
    """One layer of a network: who made it, what it is, what it gives and what it costs."""

    path: str
    kind: str
    output: Input
    parameters: int
    flops: int


@dataclass
class Network:
    """A traced network: a real TensorRT network definition, ready to be looked at, run on the CPU or built.

    Attributes:
        graph: the definition and all it needs.
        metadata: JSON values that go into the engine file.
    """

    graph: Graph
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> dict[str, Input]:
        """The inputs by name."""
        return self.graph.inputs

    @property
    def outputs(self) -> dict[str, Input]:
        """The outputs by name."""
        return self.graph.outputs

    def __repr__(self) -> str:
        return (
            f"Network({self.metadata.get('model', '')}: {', '.join(f'{n} {s}' for n, s in self.inputs.items())} -> "
            f"{', '.join(f'{n} {s}' for n, s in self.outputs.items())}, {len(self.graph.layer_paths)} layers, "
            f"{self.graph.backend})"
        )

    # -- looking ------------------------------------------------------------------------------------------------------

    def layers(self) -> list[LayerSummary]:
        """Return what each layer is and costs, in order."""
        rows = []
        read = read_layers(self.graph.definition, self.graph.trt)
        for path, (kind, layer) in zip(self.graph.layer_paths, read, strict=True):
            output = layer.get_output(0)
            spec = Input(tuple(output.shape), output.dtype)
            rows.append(LayerSummary(path, kind, spec, count_parameters(kind, layer), count_flops(kind, layer)))
        return rows

    def summary(self) -> str:
        """Return a table of all layers: module path, layer type, output type and shape, parameters, FLOPs.

        FLOPs are those of convolutions and matrix products, two for each multiply-and-add.
        """
        rows = self.layers()
        cells = [("module", "layer", "output", "parameters", "FLOPs")]
        cells += [
            (row.path or "(forward)", row.kind.lower(), str(row.output), _count(row.parameters), _count(row.flops))
            for row in rows
        ]
        total_parameters, total_flops = sum(r.parameters for r in rows), sum(r.flops for r in rows)
        cells.append(("total", f"{len(rows)} layers", "", f"{total_parameters:,}", f"{total_flops:,}"))
        widths = [max(len(row[i]) for row in cells) for i in range(5)]
        lines = []
        for row in cells:
            left = "  ".join(text.ljust(width) for text, width in zip(row[:3], widths[:3], strict=True))
            right = "  ".join(text.rjust(width) for text, width in zip(row[3:], widths[3:], strict=True))
            lines.append(f"{left}  {right}".rstrip())
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

    # -- running on the CPU -------------------------------------------------------------------------------------------

    @cached_property
    def _interpreter(self) -> Any:
        try:
            from trtnn.reference import Interpreter
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise BackendError("the CPU reference needs torch", "pip install torch") from error
        return Interpreter(self.graph.definition, self.graph.trt)

    def run(self, *args: Any, outputs: Sequence[str] = (), **kwargs: Any) -> Any:
        """Execute the network on the CPU, layer by layer as TensorRT defines each.

        Args:
            *args, **kwargs: the inputs, NumPy arrays or torch tensors, by position or name.
            outputs: paths of modules, such as ``"model.9"``, whose output is wanted as well.

        Returns:
            What ``forward`` returned, with arrays for Tensors (torch tensors where the first input was one). With
            ``outputs`` that and a dict of what each of those modules returned.

        Raises:
            ArgumentError, ShapeError, DTypeError: an input is missing or does not fit, or a path is unknown.
        """
        given = name_arguments(list(self.inputs), args, kwargs)
        for name, array in given.items():
            check_array(name, self.inputs[name], array)
        inner = {path: self._module_output(path) for path in outputs}
        names = {path: flatten(value)[0].values() for path, value in inner.items()}
        interpreter = self._interpreter
        import torch

        wants_torch = isinstance(next(iter(given.values())), torch.Tensor)
        tensors = {n: a if isinstance(a, torch.Tensor) else torch.from_numpy(np.array(a)) for n, a in given.items()}
        wanted = {*self.outputs, *(name for several in names.values() for name in several)}
        values = interpreter(tensors, wanted)
        values = {name: value.clone() for name, value in values.items()}  # none shares memory with another
        if not wants_torch:
            values = {name: value.numpy() for name, value in values.items()}
        result = unflatten(self.graph.structure, values)
        if not outputs:
            return result
        return result, {path: map_leaves(values.__getitem__, value) for path, value in inner.items()}

    def _module_output(self, path: str) -> Any:
        if path not in self.graph.module_outputs:
            known = ", ".join(list(self.graph.module_outputs)[:12])
            raise ArgumentError(f"no module {path!r} was called in this network", f"called were: {known}, ...")
        return map_leaves(lambda raw: raw.name, self.graph.module_outputs[path])

    # -- building -----------------------------------------------------------------------------------------------------

    def build(self, config: BuildConfig | None = None, **options: Any) -> Engine:
        """Build an engine; ``options`` are those of :class:`trtnn.BuildConfig`, in place of one."""
        if config is not None and options:
            raise ArgumentError("build takes a BuildConfig or options, not both")
        return build(self.graph, config or BuildConfig.from_options(options), self.metadata)


def _count(number: int) -> str:
    return f"{number:,}" if number else ""
