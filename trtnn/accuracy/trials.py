"""A network in fp32 beside itself in fp16, on samples: what half precision does to each layer, and to the whole.

fp16 ends at 65504, keeps 11 bits above 2^-14, and rounds to zero what is not above 2^-25. A layer in fp16 rounds what
it reads and its weights, carries its sums in fp32, and rounds its result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from trtnn.accuracy.choice import Mixed
from trtnn.accuracy.deviation import Deviation, Tally, count_nonfinite, rounded, warn_of_never_finite
from trtnn.dtypes import float16
from trtnn.graph.beyond_half import END
from trtnn.graph.definition import flat_array, layer_arrays, read_layers
from trtnn.graph.graph import Graph
from trtnn.graph.plugin_layer import PluginLayer
from trtnn.reference.interpreter import Interpreter, Results, Step, run_step
from trtnn.reference.registry import function_of

Inputs = Mapping[str, torch.Tensor]


class _HalfWeights:
    """A layer as fp16 holds it: its weights are rounded, and what fills a tensor stands at fp16's end."""

    def __init__(self, layer: Any, fills: bool) -> None:
        self._layer = layer
        self._fills = fills

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._layer, name)
        if not isinstance(value, np.ndarray) or value.dtype != np.float32:
            return value
        array = flat_array(value)
        if self._fills:
            array = array.clip(-END, END)
        with np.errstate(over="ignore"):
            return array.astype(np.float16)


def _round_weights(plugin: PluginLayer) -> PluginLayer:
    """Return a plugin as one whose weights fp16 holds."""
    with np.errstate(over="ignore"):
        rounded = {name: array.astype(np.float16) for name, array in plugin.weights.items()}
    return replace(plugin, fields={**plugin.fields, **rounded})


class Trial(NamedTuple):
    """How the network does in fp16 with some of its modules in fp32.

    Attributes:
        overflow: the path of the first layer that a value overflowed in, or None.
        errors: the relative error of each output against fp32 (see :class:`Deviation`), all infinite on overflow.
    """

    overflow: str | None
    errors: dict[str, float]

    @property
    def error(self) -> float:
        """The largest of the errors."""
        return max(self.errors.values())


class _Overflow(Exception):
    """Ends a trial; carries the path of the layer."""


class Comparison:
    """A network run in fp32 on samples, with layers in fp16 beside it; ready to be held against what it is in fp16.

    Args:
        graph: traced in fp32.
        layers: the indices of the layers that may be in fp16.
        fills: of them the constants that fp16 has at its end in place of what they are, see :attr:`Graph.fills`.
        samples: the network's inputs by name, one mapping for each sample.
        advance: called after each sample.

    Attributes:
        tallies: what fp16 does to each of these layers alone, by index.
    """

    def __init__(
        self,
        graph: Graph,
        layers: Collection[int],
        fills: Collection[int],
        samples: Sequence[Inputs],
        advance: Callable[[], None],
    ) -> None:
        self._interpreter = Interpreter(graph.definition, graph.trt, graph.plugins)
        self._outputs = tuple(graph.outputs)
        self._inputs = samples
        self._fills = fills
        self._rounded: dict[int, Callable[..., torch.Tensor]] = {}
        self._names: list[list[str]] = []  # of what each layer gives
        self.tallies: dict[int, Tally] = {}
        for index, (kind, layer) in enumerate(read_layers(graph.definition, graph.trt)):
            self._names.append([layer.get_output(i).name for i in range(layer.num_outputs)])
            if index in layers:
                plugin = graph.plugins.get(layer.name)
                half = _HalfWeights(layer, index in fills)
                self._rounded[index] = function_of(kind, half, plugin and _round_weights(plugin))
                self.tallies[index] = Tally.of_weights([] if index in fills else layer_arrays(kind, layer, plugin))
        self._true = [self._measure(sample, advance) for sample in samples]
        warn_of_never_finite([true for true, _ in self._true])

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self._inputs)

    def _measure(self, sample: Inputs, advance: Callable[[], None]) -> tuple[Inputs, dict[str, int]]:
        """Run one sample in fp32 with each layer in fp16 beside it.

        Where numbers stand at the end of fp16, each layer is given what it reads with them there, by a second run.

        Returns:
            The outputs, and how many values are not finite in each tensor that has such.
        """
        nonfinite = {name: count for name, value in sample.items() if (count := count_nonfinite(value))}

        def tally(index: int, step: Step, reads: list[torch.Tensor]) -> Results:
            true = run_step(step.function, reads)
            if index in self._fills:
                true = tuple(value.float() for value in run_step(self._rounded[index], reads))
            if index in self._rounded:
                self.tallies[index].add(reads, true, run_step(self._rounded[index], map(rounded, reads)))
            return true

        def compute(index: int, step: Step, reads: list[torch.Tensor]) -> Results:
            true = run_step(step.function, reads) if self._fills else tally(index, step, reads)
            for name, value in zip(step.outputs, true, strict=True):
                if count := count_nonfinite(value):
                    nonfinite[name] = nonfinite.get(name, 0) + count  # of all trips, where it is in a loop
            return true

        outputs = self._interpreter(sample, self._outputs, compute)
        if self._fills:
            self._interpreter(sample, (), tally)
        advance()
        return outputs, nonfinite

    def trial(self, mixed: Mixed, advance: Callable[[], None]) -> Trial:
        """Run every sample in the network in fp16, up to the first value that overflows.

        Args:
            mixed: the network.
            advance: called after each sample.
        """
        network = _InHalf(mixed.graph, {other: self._names[index] for other, index in mixed.pairs.items()})
        deviations = {name: Deviation() for name in self._outputs}
        try:
            for sample, (true, nonfinite) in zip(self._inputs, self._true, strict=True):
                outputs = network.run(sample, self._outputs, nonfinite)
                for name, deviation in deviations.items():
                    deviation.add(true[name], outputs[name])
                advance()
        except _Overflow as overflow:
            return Trial(overflow.args[0], dict.fromkeys(self._outputs, math.inf))
        return Trial(None, {name: deviation.error for name, deviation in deviations.items()})


class _InHalf:
    """A network that was traced in fp16, whose values are looked at for overflows.

    Where networks are weakly typed its layers are in fp32, and those that were traced in fp16 are rounded here.

    Args:
        graph: traced in fp16.
        names: what the outputs of a layer are called in fp32, by its index.
    """

    def __init__(self, graph: Graph, names: Mapping[int, Sequence[str]]) -> None:
        self._graph = graph
        self._is_typed = graph.backend.capabilities.strongly_typed
        self._interpreter = Interpreter(graph.definition, graph.trt, graph.plugins)
        self._half: set[int] = set()  # the layers that compute in fp16
        self._rounded: dict[int, Callable[..., torch.Tensor]] = {}
        self._makers: dict[str, int] = {}
        self._true_names = {name: name for name in graph.inputs}
        for index, (kind, layer) in enumerate(read_layers(graph.definition, graph.trt)):
            given = [layer.get_output(i).name for i in range(layer.num_outputs)]
            self._makers |= dict.fromkeys(given, index)
            true = list(names.get(index, ()))
            if kind in ("CAST", "IDENTITY"):
                true = [self._true_names[name] for name in (layer.get_input(0).name,) if name in self._true_names]
            elif graph.layer_dtypes[index] is float16 and index not in graph.roundings - graph.again.keys():
                self._half.add(index)
                if not self._is_typed:
                    plugin = graph.plugins.get(layer.name)
                    half = _HalfWeights(layer, index in graph.fills)
                    self._rounded[index] = function_of(kind, half, plugin and _round_weights(plugin))
            self._true_names |= dict(zip(given, true, strict=False))

    def run(self, sample: Inputs, outputs: Sequence[str], nonfinite: Mapping[str, int]) -> dict[str, torch.Tensor]:
        """Run a sample.

        Args:
            sample: the network's inputs by name.
            outputs: the names of what to return.
            nonfinite: how many values are not finite in each tensor in fp32 that has such.

        Raises:
            _Overflow: there are more in fp16.
        """

        def check(name: str, value: torch.Tensor, index: int) -> torch.Tensor:
            known = value.dtype == torch.float16 and name in self._true_names
            if known and count_nonfinite(value) > nonfinite.get(self._true_names[name], 0):
                raise _Overflow(self._graph.layer_paths[index])
            return value

        def compute(index: int, step: Step, reads: list[torch.Tensor]) -> Results:
            in_half = index in self._half
            if not self._is_typed:
                reads = [rounded(value) if in_half else _whole(value) for value in reads]
            for name, value in zip(step.inputs, reads, strict=True):
                # What was cast to fp16 and is read in fp32 again overflowed where it was cast.
                check(name, value, index if in_half else self._makers.get(name, index))
            results = run_step(self._rounded.get(index, step.function), reads)
            if not in_half:
                return results
            if not self._is_typed:
                results = tuple(map(rounded, results))
            return tuple(check(name, value, index) for name, value in zip(step.outputs, results, strict=True))

        return self._interpreter(sample, outputs, compute)


def _whole(value: torch.Tensor) -> torch.Tensor:
    """Return what a layer in fp32 reads of a weakly typed network, where fp16 is what was rounded."""
    return value.float() if value.dtype == torch.float16 else value
