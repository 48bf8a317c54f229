"""Reading a network definition back: each layer as what it is, with its tensors and arrays."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from trtnn.graph.loans import owned
from trtnn.graph.plugin_layer import PluginLayer


@functools.cache
def _layer_classes(trt: ModuleType) -> dict[str, type]:
    """Return TensorRT's layer classes by their LayerType's name without underscores, such as ``MATRIXMULTIPLY``."""
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
    return [range(indices[0], indices[-1] + 1) for indices in places.values()]


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
    every element is the first. Its size, type and address are right. What is returned keeps its memory alive.
    """
    return owned(np.lib.stride_tricks.as_strided(array, strides=(array.itemsize,)))


def named_arrays(kind: str, layer: Any, plugin: PluginLayer | None = None) -> dict[str, np.ndarray]:
    """Return the arrays that a layer holds by what they are, flat: its ``kernel``; of a plugin, what it was made of."""
    if plugin is not None:
        return plugin.weights
    holders = {
        "CONVOLUTION": ("kernel", "bias"),
        "DECONVOLUTION": ("kernel", "bias"),
        "SCALE": ("scale", "shift", "power"),
        "CONSTANT": ("weights",),
    }
    arrays = ((name, getattr(layer, name)) for name in holders.get(kind, ()))
    return {name: flat_array(array) for name, array in arrays if array is not None}


def layer_arrays(kind: str, layer: Any, plugin: PluginLayer | None = None) -> list[np.ndarray]:
    """Return the arrays that a layer holds, such as its kernel; of a plugin, those that it was made of."""
    return list(named_arrays(kind, layer, plugin).values())
