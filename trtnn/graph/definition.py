"""Reading a network definition back: each layer as what it is, and what it costs."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from trtnn.graph.plugin_layer import PluginLayer
from trtnn.shapes.symbolic import Length


@functools.cache
def _layer_classes(trt: ModuleType) -> dict[str, type]:
    """TensorRT's layer classes by their LayerType's name without underscores, such as ``MATRIXMULTIPLY``."""
    return {
        name[1:].removesuffix("Layer").upper(): getattr(trt, name)
        for name in dir(trt)
        if name.startswith("I") and name.endswith("Layer")
    }


def read_layers(definition: Any, trt: ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the name of each layer's LayerType and the layer, in the class of that type, in order.

    ``get_layer`` gives a plain ILayer, whose class may be set to its true one; its type has to be read first, since
    activations and poolings have a ``type`` of their own.
    """
    classes = _layer_classes(trt)
    for index in range(definition.num_layers):
        layer = definition.get_layer(index)
        kind = layer.type.name
        layer.__class__ = classes.get(kind.replace("_", ""), trt.ILayer)
        yield kind, layer


def loop_ranges(layers: Iterable[tuple[str, Any]]) -> list[range]:
    """Return where the layers of each loop stand: from its first boundary layer to its last.

    Args:
        layers: as :func:`read_layers` yields them.
    """
    places: dict[str, list[int]] = {}
    for index, (_, layer) in enumerate(layers):
        if hasattr(layer, "loop"):
            places.setdefault(layer.loop.name, []).append(index)
    return [range(found[0], found[-1] + 1) for found in places.values()]


def present_inputs(layer: Any) -> list[int]:
    """Return the indices of the inputs that a layer has; optional ones may be missing in between."""
    return [index for index in range(layer.num_inputs) if layer.get_input(index) is not None]


def layer_tensors(layer: Any) -> list[Any]:
    """Return the ITensors that a layer reads and writes."""
    tensors = [layer.get_input(i) for i in present_inputs(layer)]
    return tensors + [layer.get_output(i) for i in range(layer.num_outputs)]


def flat_array(array: np.ndarray) -> np.ndarray:
    """Return an array that TensorRT shows as the flat one that it is; every array read from a layer comes through here.

    The bindings of TensorRT 8.6 and 10 know NumPy 1: under NumPy 2 they show an array whose stride is zero, so that
    every element is the first. Its size, type and address are right.
    """
    return np.lib.stride_tricks.as_strided(array, strides=(array.itemsize,))


def layer_arrays(kind: str, layer: Any, plugin: PluginLayer | None = None) -> list[Any]:
    """Return the arrays that a layer holds, such as its kernel; of a plugin, those that it was made of."""
    if plugin is not None:
        return list(plugin.weights.values())
    holders = {
        "CONVOLUTION": ("kernel", "bias"),
        "DECONVOLUTION": ("kernel", "bias"),
        "SCALE": ("scale", "shift", "power"),
        "CONSTANT": ("weights",),
    }
    arrays = (getattr(layer, name) for name in holders.get(kind, ()))
    return [flat_array(array) for array in arrays if array is not None]


def count_parameters(kind: str, layer: Any, plugin: PluginLayer | None = None) -> int:
    """Return how many numbers a layer holds."""
    return sum(array.size for array in layer_arrays(kind, layer, plugin))


def count_trips(layers: Sequence[tuple[str, Any]], shape_of: Callable[[Any], tuple[Length, ...]]) -> list[Length]:
    """Return how often each layer is run: those of a loop as often as what it iterates over is long, the others once.

    Args:
        layers: as :func:`read_layers` yields them.
        shape_of: gives the shape of an ITensor.
    """
    trips: list[Length] = [1] * len(layers)
    for places in loop_ranges(layers):
        for kind, layer in layers[places.start : places.stop]:
            if kind == "ITERATOR":
                trips[places.start : places.stop] = [shape_of(layer.get_input(0))[layer.axis]] * len(places)
    return trips


def count_flops(
    kind: str, layer: Any, shape_of: Callable[[Any], tuple[Length, ...]], plugin: PluginLayer | None = None
) -> Length:
    """Return the floating-point operations of a layer's matrix products: two for each multiply-and-add, else none.

    Args:
        kind: of the layer.
        layer: in the class of its kind.
        shape_of: gives the shape of an ITensor.
        plugin: what the layer was made of, where it is a plugin.
    """
    if kind == "TRIP_LIMIT":  # of a loop: it has no output
        return 0
    output = math.prod(shape_of(layer.get_output(0)))
    if plugin is not None:
        return output * plugin.flops_per_output
    if kind == "CONVOLUTION":
        per_output = shape_of(layer.get_input(0))[1] // layer.num_groups * math.prod(layer.kernel_size_nd)
        return 2 * output * per_output
    if kind == "DECONVOLUTION":
        per_input = layer.num_output_maps // layer.num_groups * math.prod(layer.kernel_size_nd)
        return 2 * math.prod(shape_of(layer.get_input(0))) * per_input
    if kind == "MATRIX_MULTIPLY":
        shape = shape_of(layer.get_input(0))
        return 2 * output * shape[-2 if layer.op0.name == "TRANSPOSE" else -1]
    if kind == "EINSUM":
        terms = layer.equation.partition("->")[0].split(",")
        shapes = [shape_of(layer.get_input(i)) for i in range(layer.num_inputs)]
        pairs = (pair for of_one in zip(terms, shapes, strict=True) for pair in zip(*of_one, strict=True))
        return 2 * math.prod(dict(pairs).values()) if len(terms) > 1 else 0  # each letter once
    return 0
