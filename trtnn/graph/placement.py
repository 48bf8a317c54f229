"""Where a network is rounded, so that TensorRT makes int8 kernels of it: more places than the modules declare.

What a layer reads is rounded where its module declares it. That alone leaves fp16 between the layers: a convolution
writes int8 only where all that reads it reads int8, and a sum in fp16 costs kernels of its own. So rounding goes from
there to other places where it changes no number, or where the tensor is rounded for another reader anyway:

- A concatenation, a maximum, a slice, a reshape and a resize by nearest neighbours give numbers that they were given.
  Where all that reads their output reads it rounded by one scale, they read their inputs rounded by it.
- A sum reads what is there in int8 already in int8, where its other side is in int8 as well, or comes straight out of
  a convolution, which takes the sum into its kernel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from trtnn.errors import ArgumentError, where
from trtnn.graph.definition import loop_ranges, present_inputs, read_layers
from trtnn.graph.graph import Graph
from trtnn.graph.quantization import Declared, Placement, Rounding, check_backend

WITH_KERNEL = ("CONVOLUTION", "DECONVOLUTION")


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
        for index, edge in enumerate(self.layers):
            for place, name in enumerate(edge.reads):
                self.readers[name].append((index, place))

    def made_by(self, name: str) -> LayerEdges | None:
        """Return the layer that gives a tensor, None of the network's inputs."""
        return self.layers[self.maker[name]] if name in self.maker else None

    def is_constant(self, name: str) -> bool:
        maker = self.made_by(name)
        return maker is not None and (
            maker.kind == "CONSTANT" or (bool(maker.reads) and all(map(self.is_constant, maker.reads)))
        )

    def is_of_kernel(self, name: str) -> bool:
        """Whether a tensor comes straight out of a convolution, for one reader."""
        maker = self.made_by(name)
        return maker is not None and maker.kind in WITH_KERNEL and len(self.readers[name]) == 1

    def passes_on(self, index: int) -> bool:
        """Whether a layer gives only numbers that it was given, so that it may round before or after."""
        return index not in self.looped and _gives_its_input(self.layers[index].kind, self.layers[index].layer)

    def is_sum(self, index: int) -> bool:
        """Whether a layer adds two tensors that are not known while tracing."""
        kind, layer, _, _, reads, _ = self.layers[index]
        if kind == "ELEMENTWISE":
            return index not in self.looped and layer.op.name == "SUM" and not any(map(self.is_constant, reads))
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
        ArgumentError: the scales do not fit the module's layers.
        BackendError: TensorRT has not the type.
    """
    check_backend(graph, declared.values())
    for path in declared:
        if graph.precision.keeps(path):
            raise ArgumentError(
                f"{where(path)} is quantised, and fp32_modules keeps it in fp32",
                "leave it out of one of them: fp32_modules=..., or trtnn.quantize(..., skip=[...])",
            )
    placement, seen, products = Placement(), set[str](), defaultdict[str, int](int)
    placement.modules = {path: module.dtype for path, module in declared.items()}
    for index, (kind, layer, name, path, reads, _) in enumerate(edges.layers):
        module = declared.get(path)
        if module is None or index in edges.looped or kind not in (*WITH_KERNEL, "MATRIX_MULTIPLY"):
            continue
        if module.is_rounded_behind_alone:
            continue
        if kind == "MATRIX_MULTIPLY" and not edges.is_constant(reads[1]):
            placement.reads |= _of_product(module, path, name, products[path])
            placement.owners |= {(name, 0): path, (name, 1): path}
            products[path] += 1
        else:
            how = _of_weights(module, path, *channels_of(kind, layer))
            if kind == "MATRIX_MULTIPLY":
                placement.reads[name, 1] = how
                placement.owners[name, 1] = path
            else:
                placement.kernels[name] = how
            placement.reads[name, 0] = _of_input(module, path)
            placement.owners[name, 0] = path
        seen.add(path)
    for path, module in declared.items():
        if module.output is not None:
            _demand_output(graph, edges, path, Rounding(module.dtype, module.output), placement)
        elif path not in seen:
            raise ArgumentError(
                f"{where(path)} has scales, and its forward runs no layer that is quantised",
                "convolutions, transposed convolutions, linear layers and products of matrices are",
            )
    return placement


def _of_product(module: Declared, path: str, name: str, number: int) -> dict[tuple[str, int], Rounding]:
    """Return how a product of two matrices rounds its operands, the so manieth of its module."""
    if number >= len(module.products):
        raise ArgumentError(f"{where(path)} has scales for {len(module.products)} products of matrices, and runs more")
    return {(name, place): Rounding(module.dtype, scale) for place, scale in enumerate(module.products[number])}


def _of_input(module: Declared, path: str) -> Rounding:
    if module.input is None:
        raise ArgumentError(f"{where(path)} has a weight_scale and no input_scale", "half of its scales are missing")
    return Rounding(module.dtype, module.input)


def _of_weights(module: Declared, path: str, axis: int, channels: int) -> Rounding:
    if module.weight is None:
        raise ArgumentError(f"{where(path)} has an input_scale and no weight_scale", "half of its scales are missing")
    scales = module.weight
    if len(scales) not in (1, channels):
        raise ArgumentError(f"weight_scale of {where(path)} holds {len(scales)} scales for {channels} channels")
    return Rounding(module.dtype, scales * (channels // len(scales)), axis)


def _demand_output(graph: Graph, edges: Edges, path: str, rounding: Rounding, placement: Placement) -> None:
    returned = graph.module_outputs.get(path)
    name = getattr(returned, "name", None)
    if name is None:
        raise ArgumentError(f"{where(path)} has an output_scale and returns no single tensor of the network")
    for index, place in edges.readers[name]:
        key = edges.layers[index].name, place
        if key not in placement.reads:
            placement.reads[key], placement.owners[key] = rounding, path
    if name in edges.outputs:
        placement.outputs[name] = rounding


def spread(edges: Edges, placement: Placement) -> None:
    """Add the places where rounding changes no number, or a tensor is in int8 already; see the head of this file."""
    _before_what_passes_on(edges, placement)
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
            if not edges.is_constant(name):
                _add(placement, (edge.name, place), how, owner)


def _into_sums(edges: Edges, placement: Placement) -> None:
    for index, edge in enumerate(edges.layers):
        if not edges.is_sum(index):
            continue
        keys = (edge.name, 0), (edge.name, 1)
        there = [_in_int8(edges, read, placement) for read in edge.reads]
        for place, key in enumerate(keys):
            found, other = there[place], there[1 - place]
            if found is not None and (other is not None or edges.is_of_kernel(edge.reads[1 - place])):
                _add(placement, key, *found)


def _in_int8(edges: Edges, name: str, placement: Placement) -> tuple[Rounding, str] | None:
    """Return how some readers of a tensor round it, where it is by one scale, and the module that has that."""
    ways = [(how, owner) for how, owner in _read_as(edges, name, placement).items() if how is not None]
    return ways[0] if len(ways) == 1 and ways[0][0].axis is None else None


def _add(placement: Placement, key: tuple[str, int], how: Rounding, owner: str) -> None:
    if key not in placement.reads:
        placement.reads[key], placement.owners[key] = how, owner


def place(graph: Graph, declared: Mapping[str, Declared]) -> Placement:
    """Return where a network is rounded whose modules declare quantisation.

    Args:
        graph: traced without quantisation, and finished.
        declared: by the paths of the modules.

    Raises:
        ArgumentError: the scales do not fit the module's layers.
        BackendError: TensorRT has not the type.
    """
    edges = Edges(graph)
    placement = demands(graph, edges, declared)
    spread(edges, placement)
    return placement
