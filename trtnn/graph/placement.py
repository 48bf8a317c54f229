"""Where a network is rounded, so that TensorRT makes int8 kernels of it: more places than the modules declare.

What a layer reads is rounded where its module declares it. That alone leaves fp16 between the layers: a convolution
writes int8 only where all that reads it reads int8, and a sum in fp16 costs kernels of its own. So rounding goes from
there to other places where it changes no number, or where the tensor is rounded for another reader anyway:

- A concatenation, a maximum, a slice, a reshape and a resize by nearest neighbours give numbers that they were given.
  Where all that reads their output reads it rounded by one scale, they read their inputs rounded by it.
- A sum reads what is there in int8 already in int8, where its other side is in int8 as well, or comes straight out of
  a convolution, which takes the sum into its kernel. Not so in fp8, whose numbers have 4 significant bits: what a
  residual network adds up would lose some of them in each block.

An activation in int8's kernel gives int8. Where something in floating point reads what is rounded for others too,
TensorRT 8.6 writes the convolution, the activation, a copy and the Quantize apart. There the activation is computed
once more, for what is rounded: that and the Quantize are one kernel. A convolution of 1×1 is computed once more too on
8.6, of its rounded weights in fp16 for who reads floats; so the one for what is rounded is one kernel with all of that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trtnn.dtypes import int8
from trtnn.errors import ArgumentError, listed, where
from trtnn.graph.definition import flat_array, loop_ranges, present_inputs, read_layers
from trtnn.graph.graph import Graph
from trtnn.graph.module_outputs import NOT_THERE
from trtnn.graph.precision import HALF_SCORES
from trtnn.graph.quantization import Declared, Placement, Rounding, check_backend, largest_of

WITH_KERNEL = ("CONVOLUTION", "DECONVOLUTION")
_POINTWISE = ("ACTIVATION", "ELEMENTWISE", "UNARY")
_NARROW = 4  # channels, as images have them


class LayerEdges(NamedTuple):
    """A layer with the names of what it reads and gives."""

    kind: str
    layer: Any
    name: str
    path: str
    reads: tuple[str, ...]
    gives: tuple[str, ...]


class Edges:
    """The layers of a graph, and who makes and who reads each tensor.

    Attributes:
        layers: in order.
        maker: the index of the layer that gives a tensor, by the tensor's name.
        readers: the (index of the layer, index of its input) that read it.
        outputs: the names of the network's outputs.
        constants: the names of the tensors that depend on no input, outside loops.
        looped: the indices of layers within loops, and at their boundaries.
    """

    def __init__(self, graph: Graph) -> None:
        read = list(read_layers(graph.definition, graph.trt))
        self.layers = [
            LayerEdges(
                kind,
                layer,
                layer.name,
                path,
                tuple(layer.get_input(i).name for i in present_inputs(layer)),
                tuple(layer.get_output(i).name for i in range(layer.num_outputs)),
            )
            for (kind, layer), path in zip(read, graph.layer_paths, strict=True)
        ]
        self.looped = {index for places in loop_ranges(read) for index in places}
        self.outputs = set(graph.outputs)
        self.maker = {name: index for index, edge in enumerate(self.layers) for name in edge.gives}
        self.readers: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self.constants: set[str] = set()
        for index, edge in enumerate(self.layers):
            if edge.kind == "CONSTANT" or (edge.reads and self.constants.issuperset(edge.reads)):
                self.constants.update(edge.gives)
            for place, name in enumerate(edge.reads):
                self.readers[name].append((index, place))

    def made_by(self, name: str) -> LayerEdges | None:
        """Return the layer that gives a tensor, None of the network's inputs."""
        return self.layers[self.maker[name]] if name in self.maker else None

    def is_of_kernel(self, name: str) -> bool:
        """Whether a tensor comes straight out of a convolution, for one reader."""
        maker = self.made_by(name)
        return maker is not None and maker.kind in WITH_KERNEL and len(self.readers[name]) == 1

    def is_product(self, index: int) -> bool:
        """Whether a layer multiplies two matrices neither of which is known while tracing."""
        edge = self.layers[index]
        return edge.kind == "MATRIX_MULTIPLY" and self.constants.isdisjoint(edge.reads)

    def passes_on(self, index: int) -> bool:
        """Whether a layer gives only numbers that it was given, so that it may round before or after."""
        return index not in self.looped and _gives_its_input(self.layers[index].kind, self.layers[index].layer)

    def is_sum(self, index: int) -> bool:
        """Whether a layer adds two tensors that are not known while tracing."""
        kind, layer, _, _, reads, _ = self.layers[index]
        if kind == "ELEMENTWISE":
            return index not in self.looped and layer.op.name == "SUM" and self.constants.isdisjoint(reads)
        return False

    def data_reads(self, index: int) -> list[tuple[int, str]]:
        """The inputs of a layer that passes on which hold numbers, not shapes, each with its index."""
        edge = self.layers[index]
        reads = edge.reads if edge.kind == "CONCATENATION" else edge.reads[:1]
        return list(enumerate(reads))


def _gives_its_input(kind: str, layer: Any) -> bool:
    if kind == "POOLING":
        return layer.type.name == "MAX"
    if kind == "RESIZE":
        return layer.resize_mode.name == "NEAREST"
    if kind == "SLICE":
        return layer.mode.name != "FILL"
    return kind in ("CONCATENATION", "SHUFFLE")


def is_relu(kind: str, layer: Any) -> bool:
    """Whether a layer is ReLU, which any kernel takes in."""
    if kind == "ACTIVATION":
        return layer.type.name == "RELU"
    return False


def is_narrow(edge: LayerEdges) -> bool:
    """Return whether a layer is a convolution over few channels, as first ones are, which read images."""
    return edge.kind == "CONVOLUTION" and edge.layer.get_input(0).shape[1] <= _NARROW


def channels_of(kind: str, layer: Any) -> tuple[int, int]:
    """Return the dimension of output channels in the weights of a layer, as the layer reads them, and its length."""
    if kind == "CONVOLUTION":
        return 0, layer.num_output_maps
    if kind == "DECONVOLUTION":
        return 1, layer.num_output_maps // layer.num_groups
    if kind == "MATRIX_MULTIPLY":
        shape = tuple(layer.get_input(1).shape)
        axis = len(shape) - (2 if layer.op1.name == "TRANSPOSE" else 1)
        return axis, shape[axis]
    raise ValueError(f"a layer of type {kind} has no weights")


def demands(graph: Graph, edges: Edges, declared: Mapping[str, Declared]) -> Placement:
    """Return what the modules themselves declare to be rounded.

    Args:
        graph: traced without quantisation.
        edges: of it.
        declared: by the paths of the modules.

    Raises:
        ArgumentError: the scales do not fit the module's layers, or weights are NaN or infinite.
        BackendError: TensorRT has not the type.
    """
    check_backend(graph, declared.values())
    _check_precision(graph, declared)
    placement, weighted = Placement(), weighted_layers(edges)
    placement.modules = {path: module.dtype for path, module in declared.items()}
    placement.multiplying = [path for path, module in declared.items() if module.input or module.products]
    products: defaultdict[str, list[str]] = defaultdict(list)  # the names of the layers
    for index, edge in enumerate(edges.layers):
        if index not in edges.looped and edges.is_product(index):
            products[edge.path].append(edge.name)
    for path, module in declared.items():
        own = weighted.get(path, Weighted([], {}))
        _check_counts(module, path, [len(weights) for weights in own.weights], len(products[path]))
        for name, scales in zip(products[path], module.products, strict=bool(module.products)):
            for place, scale in enumerate(scales):
                _add(placement, (name, place), Rounding(module.dtype, scale), path)
        for index, number in own.numbers.items() if module.input else ():
            kind, layer, name, *_ = edges.layers[index]
            how = _of_weights(module, own.weights, number, channels_of(kind, layer)[0])
            if kind == "MATRIX_MULTIPLY":
                _add(placement, (name, 1), how, path)
            else:
                placement.kernels[name] = how
            _add(placement, (name, 0), Rounding(module.dtype, module.input[number]), path)
    ranges = channel_ranges({path: weighted[path].weights for path, one in declared.items() if one.weight})
    placement.largest = {path: _largest(declared[path], channels) for path, channels in ranges.items()}
    for path, module in declared.items():
        if module.output is not None:
            _demand_output(graph, edges, path, Rounding(module.dtype, module.output), placement)
            convolution = _rounded_for_activation(graph, edges, path)
            if convolution != path and convolution in placement.largest:
                placement.together[path] = convolution
    return placement


def _check_precision(graph: Graph, declared: Mapping[str, Declared]) -> None:
    """Check that what was asked of a network in fp16 fits what is quantised."""
    for path, module in declared.items():
        if graph.precision.keeps(path):
            raise ArgumentError(
                f"{where(path)} is quantised, and fp32_modules keeps it in fp32",
                "leave it out of one of them: fp32_modules=..., or trtnn.quantize(..., skip=[...])",
            )
        if module.products and path in graph.choices.get(HALF_SCORES, ()):
            raise ArgumentError(
                f"{where(path)} has scales for products of matrices, and fp16_attention multiplies what they read",
                "leave it out of one of them: fp16_attention=False, or trtnn.quantize(..., skip=[...])",
            )


def _largest(module: Declared, channels: np.ndarray) -> float:
    """Return the largest |w| / (largest q · scale) of a module's weights, given the largest |w| of each channel."""
    return float((channels / np.array(module.weight)).max()) / largest_of(module.dtype)


def channel_ranges(weights: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the largest magnitude of each output channel of what modules that are quantised multiply by.

    Args:
        weights: of each module by its path, each as (output channels, rest).

    Returns:
        (output channels,) by path, of several weights one after another.

    Raises:
        ArgumentError: some are NaN or infinite, with all modules that have them. int8 would take NaN as 0, and a type
            of few bits infinity as its largest number.
    """
    ranges = {path: np.concatenate([np.abs(one).max(1) for one in arrays]) for path, arrays in weights.items()}
    wrong = [
        f"{where(path)} (output channel {np.argmin(np.isfinite(channels))})"
        for path, channels in ranges.items()
        if not np.isfinite(channels).all()
    ]
    if wrong:
        raise ArgumentError(
            f"weights that are quantised are NaN or infinite, in {listed(wrong, 5)}",
            "int8 takes NaN as 0, and infinity as the largest number that it holds",
            "load other weights, or leave these modules as they are: trtnn.quantize(..., skip=[...])",
        )
    return ranges


class Weighted(NamedTuple):
    """The layers with weights of one module's own forward.

    Attributes:
        weights: each as (output channels, rest), in the order of the layers; that of several calls once.
        numbers: which of them a layer has, by the layer's index.
    """

    weights: list[np.ndarray]
    numbers: dict[int, int]


def weighted_layers(edges: Edges) -> dict[str, Weighted]:
    """Return the layers whose weights are known while tracing, by the path of the module that made them."""
    found: dict[str, Weighted] = {}
    for index, edge in enumerate(edges.layers):
        weights = None if index in edges.looped else _weights_of(edges, edge)
        if weights is None:
            continue
        own = found.setdefault(edge.path, Weighted([], {}))
        same = (i for i, one in enumerate(own.weights) if _are_same(one, weights))
        own.numbers[index] = number = next(same, len(own.weights))
        if number == len(own.weights):
            own.weights.append(weights)
    return found


def multiplications(graph: Graph, edges: Edges) -> Iterator[tuple[int, Weighted | None]]:
    """Yield the index of each layer that can be quantised, with its module's weights; None for a product of two."""
    modules, weighted = set(graph.paths.values()), weighted_layers(edges)
    for index, edge in enumerate(edges.layers):
        own = weighted.get(edge.path)
        if index in edges.looped or edge.path not in modules:
            continue
        if edges.is_product(index):
            yield index, None
        elif own is not None and index in own.numbers:
            yield index, own


def _are_same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays of weights are one Parameter's, which calls in fp16 and in fp32 have in these types."""
    dtype = min(one.dtype, other.dtype, key=lambda dtype: dtype.itemsize)
    return one.shape == other.shape and np.array_equal(one.astype(dtype, copy=False), other.astype(dtype, copy=False))


def _weights_of(edges: Edges, edge: LayerEdges) -> np.ndarray | None:
    """Return the weights of a convolution, its transpose, or a product with a constant, as (output channels, rest)."""
    if edge.kind in WITH_KERNEL and len(edge.reads) == 1:
        return _kernel(edge.kind, edge.layer)
    if edge.kind != "MATRIX_MULTIPLY" or edge.reads[0] in edges.constants:
        return None
    maker = edges.made_by(edge.reads[1])
    if maker is None or maker.kind != "CONSTANT":
        return None
    axis, channels = channels_of(edge.kind, edge.layer)
    array = _constant(maker.kind, maker.layer).reshape(tuple(edge.layer.get_input(1).shape))
    return np.moveaxis(array, axis, 0).reshape(channels, -1)


def _kernel(kind: str, layer: Any) -> np.ndarray:
    if kind == "CONVOLUTION":
        return flat_array(layer.kernel).reshape(layer.num_output_maps, -1)
    if kind == "DECONVOLUTION":
        channels = layer.num_output_maps // layer.num_groups
        kernel = flat_array(layer.kernel).reshape(-1, channels, *layer.kernel_size_nd)
        return kernel.swapaxes(0, 1).reshape(channels, -1)
    raise ValueError(f"a layer of type {kind} has no kernel")


def _constant(kind: str, layer: Any) -> np.ndarray:
    if kind == "CONSTANT":
        return flat_array(layer.weights)
    raise ValueError(f"a layer of type {kind} is no constant")


def _check_counts(module: Declared, path: str, channels: list[int], products: int) -> None:
    """Check that a module has as many scales as its layers take, or none.

    Args:
        module: its scales.
        path: of it.
        channels: how many outputs each of its weights has.
        products: how many products of matrices it runs.
    """
    if module.products and len(module.products) != products:
        count = f"{len(module.products)} products of matrices, and runs {products}"
        raise ArgumentError(f"{where(path)} has scales for {count}")
    if not module.input and not module.weight:
        return
    if not module.weight:
        raise ArgumentError(f"{where(path)} has an input_scale and no weight_scale", "half of its scales are missing")
    if not module.input:
        raise ArgumentError(f"{where(path)} has a weight_scale and no input_scale", "half of its scales are missing")
    if not channels:
        raise ArgumentError(
            f"{where(path)} has scales, and its forward runs no layer that is quantised",
            "convolutions, transposed convolutions, linear layers and products of matrices are",
        )
    if len(module.input) != len(channels):
        raise ArgumentError(f"input_scale of {where(path)} holds {len(module.input)} scales for {len(channels)} layers")
    if len(module.weight) not in (1, sum(channels)):
        raise ArgumentError(
            f"weight_scale of {where(path)} holds {len(module.weight)} scales for {sum(channels)} channels"
        )


def _of_weights(module: Declared, weights: list[np.ndarray], number: int, axis: int) -> Rounding:
    channels = len(weights[number])
    if len(module.weight) == 1:
        return Rounding(module.dtype, module.weight * channels, axis)
    start = sum(map(len, weights[:number]))
    return Rounding(module.dtype, module.weight[start : start + channels], axis)


def _demand_output(graph: Graph, edges: Edges, path: str, rounding: Rounding, placement: Placement) -> None:
    for name in _returned(graph, path):
        for index, place in edges.readers[name]:
            _add(placement, (edges.layers[index].name, place), rounding, path)
        if name in edges.outputs:
            placement.outputs[name] = rounding


def _returned(graph: Graph, path: str) -> list[str]:
    """Return the names of the tensors that the calls of a module returned, but for what nothing reads.

    Raises:
        ArgumentError: one is no single tensor, or is folded into another; or there are none.
    """
    calls = graph.module_outputs.calls.get(path, [])
    is_folded = any(path == taker for taker, _ in graph.folded)
    names = [getattr(call, "name", None) for call in calls if is_folded or call is not NOT_THERE]
    found = [name for name in names if name is not None]
    if not found or len(found) < len(names):
        raise ArgumentError(f"{where(path)} has an output_scale and returns no single tensor of the network")
    return found


def _rounded_for_activation(graph: Graph, edges: Edges, path: str) -> str | None:
    """Return the path of the first convolution whose output, which a module returns, goes to an activation."""
    for name in _returned(graph, path):
        maker = edges.made_by(name)
        is_first = maker is not None and is_narrow(maker)
        if maker is not None and is_first and not any(edges.is_sum(reader) for reader, _ in edges.readers[name]):
            return maker.path
    return None


def spread(edges: Edges, placement: Placement, into_sums: bool) -> None:
    """Add the places where rounding changes no number, or a tensor is in int8 already; see the head of this file."""
    _before_what_passes_on(edges, placement)
    if into_sums:
        _into_sums(edges, placement)
        _before_what_passes_on(edges, placement)


def _read_as(edges: Edges, name: str, placement: Placement) -> dict[Rounding | None, str]:
    """Return how the readers of a tensor round it, each way with the module that has the scale; None for no way."""
    keys = [(edges.layers[index].name, place) for index, place in edges.readers[name]]
    return {placement.reads.get(key): placement.owners.get(key, "") for key in keys}


def _before_what_passes_on(edges: Edges, placement: Placement) -> None:
    for index in range(len(edges.layers) - 1, -1, -1):  # who reads comes behind who gives
        edge = edges.layers[index]
        if not edges.passes_on(index) or edge.gives[0] in edges.outputs:
            continue
        ways = _read_as(edges, edge.gives[0], placement)
        (how, owner), *others = ways.items() if ways else [(None, "")]
        if how is None or how.axis is not None or others:
            continue
        for place, name in edges.data_reads(index):
            if name not in edges.constants:
                _add(placement, (edge.name, place), how, owner)


def _into_sums(edges: Edges, placement: Placement) -> None:
    for index, edge in enumerate(edges.layers):
        if not edges.is_sum(index):
            continue
        keys = (edge.name, 0), (edge.name, 1)
        there = [_in_int8(edges, read, placement) for read in edge.reads]
        for place, key in enumerate(keys):
            found, other = there[place], there[1 - place]
            if found is None or found[0].dtype is not int8:
                continue
            if other is not None or edges.is_of_kernel(edge.reads[1 - place]):
                _add(placement, key, *found)


def _in_int8(edges: Edges, name: str, placement: Placement) -> tuple[Rounding, str] | None:
    """Return how some readers of a tensor round it, where it is by one scale, and the module that has that."""
    ways = [(how, owner) for how, owner in _read_as(edges, name, placement).items() if how is not None]
    return ways[0] if len(ways) == 1 and ways[0][0].axis is None else None


def _again(edges: Edges, placement: Placement) -> set[str]:
    """Return the names of the layers of activations that are computed once more; see the head of this file."""
    names: set[str] = set()
    for name in edges.readers:
        ways = _read_as(edges, name, placement)
        in_floats = None in ways or (name in edges.outputs and name not in placement.outputs)
        if in_floats and any(how is not None and how.dtype is int8 for how in ways):
            names.update(edge.name for edge in _activation(edges, name, placement))
    return names


def _convolutions_again(edges: Edges, placement: Placement) -> set[str]:
    """Return the names of the convolutions of 1×1 that are computed once more with their activation."""
    return {
        edge.name
        for edge in edges.layers
        if _is_of_points(edge.kind, edge.layer)
        and edge.name in placement.kernels
        and any(edges.layers[reader].name in placement.again for reader, _ in edges.readers[edge.gives[0]])
    }


def _is_of_points(kind: str, layer: Any) -> bool:
    """Whether a layer is a convolution of one point over all channels, which takes little beside what it reads."""
    if kind == "CONVOLUTION":
        return layer.num_groups == 1 and set(layer.kernel_size_nd) == {1}
    return False


def _activation(edges: Edges, name: str, placement: Placement) -> list[LayerEdges]:
    """Return the layers from a convolution in int8 to a tensor: of an activation but ReLU, else none."""
    found: dict[int, LayerEdges] = {}
    kernels: set[str] = set()
    waiting = [name]
    while waiting:
        read = waiting.pop()
        edge = edges.made_by(read)
        if edge is None or edges.maker[read] in edges.looped:
            return []
        if read in edges.constants:
            continue
        if edge.kind in WITH_KERNEL and (edge.name, 0) in placement.reads:
            kernels.add(edge.name)
        elif edge.kind not in _POINTWISE or any((edge.name, i) in placement.reads for i in range(len(edge.reads))):
            return []
        else:
            found[edges.maker[read]] = edge
            waiting += edge.reads
    goes_in = all(is_relu(edge.kind, edge.layer) for edge in found.values())
    return [] if goes_in or len(kernels) != 1 else list(found.values())


def _add(placement: Placement, key: tuple[str, int], how: Rounding, owner: str) -> None:
    if key not in placement.reads:
        placement.reads[key], placement.owners[key] = how, owner


def check_folded(declared: Collection[str], graph: Graph, whole: Graph) -> None:
    """Check that what the scales of weights count in is folded into these: the BatchNorms behind.

    Args:
        declared: the paths of quantised modules.
        graph: traced with modules that stay in fp32.
        whole: traced without.

    Raises:
        ArgumentError: one of these modules is such a BatchNorm.
    """
    for path, norm in whole.folded:
        if path in declared and (path, norm) not in graph.folded:
            raise ArgumentError(
                f"{where(norm)} is folded into {where(path)}, which is quantised, and fp32_modules keeps it in fp32",
                "leave it out of fp32_modules, or the other: trtnn.quantize(..., skip=[...])",
            )


def place(
    graph: Graph, declared: Mapping[str, Declared], into_sums: bool = True, for_kernels: bool = True
) -> Placement:
    """Return where a network is rounded whose modules declare quantisation.

    Args:
        graph: traced without quantisation, and finished.
        declared: by the paths of the modules.
        into_sums: whether sums of what is in int8 already read it so; without them no number is rounded but by what
            modules declare.
        for_kernels: whether layers are written once more where TensorRT has kernels of that. It changes no number;
            without it each layer that is quantised has the name, the reads and the weights of its own.

    Raises:
        ArgumentError: the scales do not fit the module's layers, or weights are NaN or infinite.
        BackendError: TensorRT has not the type.
    """
    edges = Edges(graph)
    placement = demands(graph, edges, declared)
    spread(edges, placement, into_sums)
    if for_kernels:
        placement.again = _again(edges, placement)
    if for_kernels and graph.is_weakly_typed:
        placement.again |= _convolutions_again(edges, placement)
    return placement
