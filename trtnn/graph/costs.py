"""What the layers of a network definition cost: parameters, floating-point operations, and trips of loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from trtnn.graph.definition import layer_arrays, loop_ranges
from trtnn.graph.plugin_layer import PluginLayer
from trtnn.shapes.symbolic import Length


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
    return 0
