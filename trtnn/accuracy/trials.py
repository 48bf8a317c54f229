"""A network in fp32 beside itself in fp16, on samples: what half precision does to each layer, and to the whole.

fp16 ends at 65504, keeps 11 bits above 2^-14, and rounds to zero what is not above 2^-25. A layer in fp16 rounds what
it reads and its weights, carries its sums in fp32, and rounds its result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from trtnn.accuracy.deviation import Deviation, Tally, count_nonfinite, rounded
from trtnn.graph.beyond_half import END
from trtnn.graph.definition import flat_array, layer_arrays, layer_tensors, read_layers
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
    """How the network does with some of its layers in fp16.

    Attributes:
        overflow: the index of the first layer that a value overflowed in, or None.
        errors: the relative error of each output against fp32 (see :class:`Deviation`), all infinite on overflow.
    """

    overflow: int | None
    errors: dict[str, float]

    @property
    def error(self) -> float:
        """The largest of the errors."""
        return max(self.errors.values())


class _Overflow(Exception):
    """Ends a trial; carries the index of the layer."""


class Comparison:
    """A network run in fp32 on samples, with layers in fp16 beside it; ready to be tried with some of them in fp16.

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
        self._graph = graph  # owns the weights that the layers' functions share
        self._interpreter = Interpreter(graph.definition, graph.trt, graph.plugins)
        self._outputs = tuple(graph.outputs)
        self._inputs = samples
        self._fills = fills
        self._rounded: dict[int, Callable[..., torch.Tensor]] = {}
        self._float_names = {name for name, spec in graph.inputs.items() if spec.dtype.name == "float32"}
        self.tallies: dict[int, Tally] = {}
        for index, (kind, layer) in enumerate(read_layers(graph.definition, graph.trt)):
            self._float_names |= {tensor.name for tensor in layer_tensors(layer) if tensor.dtype.name == "FLOAT"}
            if index in layers:
                plugin = graph.plugins.get(layer.name)
                half = _HalfWeights(layer, index in fills)
                self._rounded[index] = function_of(kind, half, plugin and _round_weights(plugin))
                self.tallies[index] = Tally.of_weights([] if index in fills else layer_arrays(kind, layer, plugin))
        self._true = [self._measure(sample, advance) for sample in samples]

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

    def trial(self, half: Collection[int], advance: Callable[[], None]) -> Trial:
        """Run every sample with some layers in fp16, up to the first value that overflows.

        Args:
            half: the indices of the layers in fp16, of those that may be.
            advance: called after each sample.
        """
        deviations = {name: Deviation() for name in self._outputs}
        try:
            for sample, (true, nonfinite) in zip(self._inputs, self._true, strict=True):
                outputs = self._interpreter(sample, self._outputs, self._in_half(half, nonfinite))
                for name, deviation in deviations.items():
                    deviation.add(true[name], outputs[name])
                advance()
        except _Overflow as overflow:
            return Trial(overflow.args[0], dict.fromkeys(self._outputs, math.inf))
        return Trial(None, {name: deviation.error for name, deviation in deviations.items()})

    def _in_half(self, half: Collection[int], nonfinite: Mapping[str, int]) -> Callable[..., Results]:
        def check(index: int, name: str, value: torch.Tensor) -> torch.Tensor:
            if count_nonfinite(value) > nonfinite.get(name, 0):
                raise _Overflow(index)
            return value

        def compute(index: int, step: Step, reads: list[torch.Tensor]) -> Results:
            named: Iterator[tuple[str, torch.Tensor]] = zip(step.inputs, reads, strict=True)
            if index not in half:
                whole = (value.float() if name in self._float_names else value for name, value in named)
                return run_step(step.function, whole)
            in_half = [check(index, name, rounded(value)) for name, value in named]
            results = zip(step.outputs, run_step(self._rounded[index], in_half), strict=True)
            return tuple(check(index, name, rounded(value)) for name, value in results)

        return compute
