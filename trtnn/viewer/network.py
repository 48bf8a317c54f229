"""The facts of a network: each layer of its definition, what it costs, what it holds, and which line made it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trtnn.dtypes import DType, float16, float32
from trtnn.graph.costs import count_flops, count_trips
from trtnn.graph.definition import named_arrays, present_inputs, read_layers
from trtnn.graph.graph import Graph, watching
from trtnn.graph.placement import WITH_KERNEL
from trtnn.graph.precision import Precision
from trtnn.graph.quantization import quantized_dtype
from trtnn.shapes.symbolic import Length, at_opt
from trtnn.viewer.facts import (
    Facts,
    ModuleFacts,
    RowFacts,
    WeightFacts,
    profile_facts,
    quantised_text,
    size_at_opt,
    tensor_facts,
)
from trtnn.viewer.origins import Origins

BINS = 32  # of a histogram
_BLOCK = 1 << 16  # numbers that are widened at a time


def network_facts(
    graph: Graph,
    retrace: Callable[[Precision], Graph],
    metadata: Mapping[str, Any],
    has_weights: bool = True,
) -> Facts:
    """Return the facts of a traced network.

    Args:
        graph: what was traced.
        retrace: writes it again, which is how the user's lines are found; nothing else of what it writes is used.
        metadata: the network's own.
        has_weights: whether its weights are a model's, and not stand-ins of which nothing is to be shown.
    """
    origins = Origins()
    with watching(origins):
        again = retrace(graph.precision)
    if again.layer_paths != graph.layer_paths:  # forward does not write the same network twice
        origins.lines = [None] * len(graph.layer_paths)
    del again
    tensors = _Tensors(graph)
    rows = _rows(graph, origins, tensors, has_weights)
    shown = {
        "model": str(metadata.get("model", "")),
        "precision": graph.precision.compute.name,
        "in fp32": ", ".join(graph.precision.fp32_modules),
        "quantised": quantised_text(dtype.name for dtype in graph.placement.modules.values())
        if graph.placement
        else "",
        "scores of attention": "fp16" if graph.precision.fp16_attention else "",
        "traced for": str(graph.backend),
    }
    paths = dict.fromkeys([*origins.classes, *graph.layer_paths])
    notes = [] if has_weights else ["No weights were loaded, so that nothing is shown of them."]
    return Facts(
        title=str(metadata.get("model", "")) or "network",
        kind="network",
        about={key: value for key, value in shown.items() if value},
        inputs=list(graph.inputs),
        outputs=list(graph.outputs),
        profiles=profile_facts(graph.profiles),
        modules=[ModuleFacts(path, origins.classes.get(path, ""), origins.defined.get(path)) for path in paths],
        tensors=tensors.facts(),
        rows=rows,
        notes=notes,
    )


class _Tensors:
    """The tensors of a definition, each in the type that it was traced in, and what they take."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._seen: dict[str, tuple[tuple[Length, ...], DType]] = {}
        for name, spec in graph.inputs.items():
            self._seen[name] = spec.shape, spec.dtype

    def add(self, raw: Any, traced_as: DType | None) -> None:
        """Take a layer's output; where networks are weakly typed, what was traced in fp16 is fp32 in the definition."""
        dtype = self._graph.backend.dtype(raw.dtype)
        if traced_as is float16 and dtype is float32 and not raw.is_network_output:
            dtype = float16
        self._seen[raw.name] = self._graph.shape_of(raw), dtype

    def size(self, name: str) -> int:
        """Return the bytes of a tensor at the lengths that are fastest."""
        shape, dtype = self._seen[name]
        return size_at_opt(shape, dtype.itemsize)

    def facts(self) -> list:
        """Return the facts of all, in the order in which they are made."""
        profiles = self._graph.profiles
        return [tensor_facts(name, shape, dtype.name, profiles) for name, (shape, dtype) in self._seen.items()]


def _rows(graph: Graph, origins: Origins, tensors: _Tensors, has_weights: bool) -> list[RowFacts]:
    read = list(read_layers(graph.definition, graph.trt))
    trips = count_trips(read, graph.shape_of)
    outputs = [[layer.get_output(i) for i in range(layer.num_outputs)] for _, layer in read]
    for raws, traced_as in zip(outputs, graph.layer_dtypes, strict=True):
        for raw in raws:  # first all of them: what a loop feeds back is made after it is read
            tensors.add(raw, traced_as)
    rows, rounded = [], _rounded_types(read)
    still, instead = _kept_out(read)
    for index, (kind, layer) in enumerate(read):
        plugin, asked = graph.plugins.get(layer.name), graph.layer_dtypes[index]
        # A kernel that is quantised is what another layer gives, and the layer holds none.
        arrays = {name: array for name, array in named_arrays(kind, layer, plugin).items() if array.size}
        times, parameters = at_opt(trips[index]), sum(array.size for array in arrays.values())
        weight_bytes = sum(array.size * bytes_each(array, asked) for array in arrays.values())
        reads = [layer.get_input(i).name for i in present_inputs(layer)]
        writes = [raw.name for raw in outputs[index]]
        written = 0 if index in still else sum(map(tensors.size, writes))
        taken = sum(tensors.size(str(instead.get(name, name))) for name in reads)
        moved = 0 if index in still else times * (written + taken + weight_bytes)
        path = graph.layer_paths[index]
        rows.append(
            RowFacts(
                name=layer.name,
                module=path,
                modules=[path],
                kind=kind.lower(),
                inputs=reads,
                outputs=writes,
                line=origins.lines[index],
                flops=at_opt(trips[index] * count_flops(kind, layer, graph.shape_of, plugin)),
                parameters=parameters,
                activation_bytes=written,
                moved_bytes=moved,
                asked=_rounded_to(kind, reads, rounded) or (asked.name if asked else None),
                weights=[weight_facts(name, array, _shape(kind, name, layer, array)) for name, array in arrays.items()]
                if has_weights
                else [],
            )
        )
    return rows


def _kept_out(read: Sequence[tuple[str, Any]]) -> tuple[set[int], dict[str, str]]:
    """Return the layers that move nothing, and by the name of a tensor that no engine writes the one that is read.

    A constant is its weights, which are quantised at the build; a Dequantize is done where its output is read.
    """
    still: set[int] = set()
    fixed: set[str] = set()
    instead: dict[str, str] = {}
    for index, (kind, layer) in enumerate(read):
        first = layer.get_input(0).name if kind in ("QUANTIZE", "DEQUANTIZE") else ""
        if kind == "CONSTANT" or first in fixed:
            fixed.add(layer.get_output(0).name)
        elif kind != "DEQUANTIZE" or layer.get_output(0).is_network_output:
            continue
        still.add(index)
        if kind == "DEQUANTIZE":
            instead[layer.get_output(0).name] = first
    return still, instead


def _rounded_types(read: Sequence[tuple[str, Any]]) -> dict[str, str]:
    """Return the name of the type that each tensor is quantised to, by the name of what its Dequantize gives."""
    types: dict[str, str] = {}
    for kind, layer in read:
        if kind == "QUANTIZE":
            types[layer.get_output(0).name] = quantized_dtype(layer).name
        elif kind == "DEQUANTIZE":
            types[layer.get_output(0).name] = types.pop(layer.get_input(0).name)
    return types


def _rounded_to(kind: str, reads: Sequence[str], rounded: Mapping[str, str]) -> str | None:
    """Return the name of the type that a layer's inputs are quantised to, None where one that multiplies is not."""
    if kind == "QUANTIZE" or (kind in WITH_KERNEL and len(reads) == 1):  # it holds its kernel, in floats
        return None
    return next((rounded[name] for name in reads if name in rounded), None)


def bytes_each(array: np.ndarray, asked: DType | None) -> int:
    """Return the bytes of an element of weights in an engine; definitions of TensorRT 8.6 have fp16's as fp32."""
    return 2 if asked is float16 and array.dtype == np.float32 else array.itemsize


def _shape(kind: str, name: str, layer: Any, array: np.ndarray) -> Sequence[int]:
    """Return the shape of an array that TensorRT shows flat: torch's."""
    if kind == "CONSTANT":
        return tuple(layer.shape)
    if name != "kernel":
        return array.shape
    if kind == "CONVOLUTION":
        window, maps = tuple(layer.kernel_size_nd), layer.num_output_maps
        return (maps, array.size // (maps * math.prod(window)), *window)
    if kind == "DECONVOLUTION":
        window, maps = tuple(layer.kernel_size_nd), layer.num_output_maps // layer.num_groups
        return (array.size // (maps * math.prod(window)), maps, *window)
    return array.shape


def weight_facts(name: str, array: np.ndarray, shape: Sequence[int]) -> WeightFacts:
    """Return the type, the range and the histogram of an array."""
    finite = array if array.dtype.kind in "biu" or np.isfinite(array).all() else array[np.isfinite(array)]
    least = largest = None
    counts: list[int] = []
    if finite.size:
        least, largest = float(finite.min()), float(finite.max())
        counts = _histogram(finite, least, largest)
    return WeightFacts(name, array.dtype.name, tuple(shape), least, largest, counts, array.size - finite.size)


def _histogram(numbers: np.ndarray, least: float, largest: float) -> list[int]:
    """Return how many numbers are in each of equal parts of their range; none where all are one number.

    ``np.histogram`` refuses a range whose parts are too small or too large for the numbers' own type.
    """
    if least == largest:
        return []
    counts = np.zeros(BINS, np.int64)
    for first in range(0, numbers.size, _BLOCK):
        part = numbers[first : first + _BLOCK].astype(np.float64)
        places = ((part - least) / (largest - least) * BINS).astype(np.int64)
        counts += np.bincount(np.minimum(places, BINS - 1), minlength=BINS)
    return counts.tolist()
