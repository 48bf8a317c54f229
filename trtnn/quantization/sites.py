"""What of a network can be quantised: the layers, the tensors that they read, and which of these share a scale."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, nearest
from trtnn.graph.definition import flat_array
from trtnn.graph.graph import Graph
from trtnn.graph.placement import WITH_KERNEL, Edges, channels_of

_POINTWISE = ("ACTIVATION", "ELEMENTWISE", "SCALE")


@dataclass
class Site:
    """What is quantised of one module.

    Attributes:
        path: of the module.
        weight: the array that its layers multiply by, (channels, rest); of several layers the same. None of products.
        inputs: the names of the tensors that its layers read.
        products: the names of the two operands of each product of matrices.
    """

    path: str
    weight: np.ndarray | None = None
    inputs: list[str] = field(default_factory=list)
    products: list[tuple[str, str]] = field(default_factory=list)


class Sites:
    """All that can be quantised of a network, or what of it was chosen.

    Args:
        graph: traced in fp32 and without quantisation.
        paths: of the modules, or patterns of them, to quantise with all that they hold; all where None.
        skip: likewise, what not to quantise.

    Attributes:
        by_path: the sites by the path of their module, in the network's order.
        outputs: of modules whose output is rounded, the path by the name of the tensor.

    Raises:
        ArgumentError: a pattern names no module that can be quantised, or nothing is left.
    """

    def __init__(self, graph: Graph, paths: Sequence[str] | None = None, skip: Sequence[str] = ()) -> None:
        self._edges = Edges(graph)
        self._graph = graph
        possible = dict(self._read())
        self._choose(possible)
        behind = [path for path in self.outputs.values() if path not in possible]
        skipped = _named([*possible, *behind], skip, "skip")
        wanted = possible.keys() if paths is None else _named(possible, paths, "modules")
        self._choose({path: site for path, site in possible.items() if path in wanted and path not in skipped})
        if not self.by_path:
            raise ArgumentError("nothing is left to quantise", *_that_can(possible))
        self.outputs = {name: path for name, path in self.outputs.items() if path not in skipped}
        self._root = self._join()

    def last(self) -> tuple[str, ...]:
        """Return the paths of the modules that no other of the sites comes behind, unless that is all of them."""
        read = {path: set(tensors_of(site)) for path, site in self.by_path.items()}
        before: set[str] = set()  # the tensors that a site is behind of
        last = dict.fromkeys(self.by_path)
        for edge in reversed(self._edges.layers):
            leads_on = bool(before.intersection(edge.gives))
            is_site = edge.path in read and bool(read[edge.path].intersection(edge.reads))
            if is_site and leads_on:
                last.pop(edge.path, None)
            if is_site or leads_on:
                before.update(edge.reads)
        return tuple(last) if len(last) < len(self.by_path) else ()

    def _choose(self, sites: dict[str, Site]) -> None:
        """Take these sites, and find what else they need."""
        self.by_path = sites
        self._demanded = {name for site in sites.values() for name in tensors_of(site)}
        self._flowing = self._flow()
        self.outputs = dict(self._second_sides())

    def group(self, name: str) -> str:
        """Return the name that stands for all tensors which share a scale with this one."""
        while self._root.get(name, name) != name:
            name = self._root[name]
        return name

    def reader_of(self, name: str) -> str:
        """Return the path of a module that a tensor is rounded for."""
        path = next((path for path, site in self.by_path.items() if name in tensors_of(site)), None)
        return self.outputs[name] if path is None else path

    def observed(self) -> set[str]:
        """The names of the tensors whose numbers have to be seen."""
        return self._demanded | set(self.outputs)

    def _read(self) -> Iterator[tuple[str, Site]]:
        edges, sites = self._edges, dict[str, Site]()
        modules = set(self._graph.paths.values())
        for index, edge in enumerate(edges.layers):
            if index in edges.looped or edge.path not in modules:
                continue
            site = sites.get(edge.path) or Site(edge.path)
            if edge.kind in WITH_KERNEL and len(edge.reads) == 1:
                site.weight = _kernel(edge.kind, edge.layer)
                site.inputs.append(edge.reads[0])
            elif edge.kind != "MATRIX_MULTIPLY":
                continue
            elif edges.is_constant(edge.reads[1]):
                maker = edges.made_by(edge.reads[1])
                if maker is None or maker.kind != "CONSTANT" or edges.is_constant(edge.reads[0]):
                    continue
                if site.weight is not None:  # several weights, and one place for their scales
                    continue
                axis, channels = channels_of(edge.kind, edge.layer)
                shape = tuple(edge.layer.get_input(1).shape)
                array = _constant(maker.kind, maker.layer).reshape(shape)
                site.weight = np.moveaxis(array, axis, 0).reshape(channels, -1)
                site.inputs.append(edge.reads[0])
            elif not edges.is_constant(edge.reads[0]):
                site.products.append((edge.reads[0], edge.reads[1]))
            sites[edge.path] = site
        yield from sites.items()

    def _flow(self) -> set[str]:
        """Return the names of the tensors that are read in int8 alone, directly or through what passes numbers on."""
        edges, flowing = self._edges, set[str]()
        wanted = self._reads()
        for index in range(len(edges.layers) - 1, -1, -1):
            for name in edges.layers[index].gives:
                readers = edges.readers[name]
                if (
                    readers
                    and name not in edges.outputs
                    and all(
                        (edges.layers[reader].name, place) in wanted
                        or (edges.passes_on(reader) and edges.layers[reader].gives[0] in flowing)
                        for reader, place in readers
                    )
                ):
                    flowing.add(name)
        return flowing

    def _reads(self) -> set[tuple[str, int]]:
        """The (name of a layer, index of its input) of all that is quantised."""
        reads = set()
        for edge in self._edges.layers:
            site = self.by_path.get(edge.path)
            if site is None or (edge.kind not in WITH_KERNEL and edge.kind != "MATRIX_MULTIPLY"):
                continue
            if edge.reads[0] in site.inputs:
                reads.add((edge.name, 0))
            elif (edge.reads[0], edge.reads[1]) in site.products:
                reads |= {(edge.name, 0), (edge.name, 1)}
        return reads

    def _second_sides(self) -> Iterator[tuple[str, str]]:
        """Yield the tensors that a sum alone reads, beside one in int8, each with its module."""
        edges = self._edges
        makers: dict[str, str] = {}
        for path, returned in self._graph.module_outputs.items():
            name = getattr(returned, "name", None)
            if name is not None:
                makers.setdefault(name, path)  # the innermost is done first
        for index, edge in enumerate(edges.layers):
            if not edges.is_sum(index) or not self._reaches(edge.gives[0]):
                continue
            reads = edge.reads
            there = [read in self._demanded for read in reads]
            if sum(there) == 1:
                other = reads[there.index(False)]
                if not edges.is_of_kernel(other) and other in makers:
                    yield other, makers[other]
            elif not any(there) and all(map(edges.is_of_kernel, reads)) and reads[1] in makers:
                yield reads[1], makers[reads[1]]

    def _reaches(self, name: str) -> bool:
        """Whether a tensor comes to a quantised layer with nothing but pointwise layers between."""
        edges = self._edges
        if name in self._demanded:
            return True
        return any(
            (edges.layers[reader].kind in _POINTWISE or edges.passes_on(reader))
            and self._reaches(edges.layers[reader].gives[0])
            for reader, _ in edges.readers[name]
        )

    def _join(self) -> dict[str, str]:
        """Return for each tensor one that shares its scale, up to the one that stands for all of them."""
        root: dict[str, str] = {}

        def find(name: str) -> str:
            while root.get(name, name) != name:
                name = root[name]
            return name

        def union(names: Sequence[str]) -> None:
            for name in names[1:]:
                root[find(name)] = find(names[0])

        for index, edge in enumerate(self._edges.layers):
            if self._edges.passes_on(index) and edge.gives[0] in self._flowing:
                union([edge.gives[0], *(name for _, name in self._edges.data_reads(index))])
        for site in self.by_path.values():
            union(site.inputs)
        return root


def tensors_of(site: Site) -> list[str]:
    """Return the names of the tensors that are rounded for a site."""
    return [*site.inputs, *(name for product in site.products for name in product)]


def _kernel(kind: str, layer: Any) -> np.ndarray:
    """Return the kernel of a convolution, or of its transpose, as (output channels, rest)."""
    if kind == "CONVOLUTION":
        return flat_array(layer.kernel).reshape(layer.num_output_maps, -1)
    if kind == "DECONVOLUTION":
        channels = layer.num_output_maps // layer.num_groups
        kernel = flat_array(layer.kernel).reshape(-1, channels, *layer.kernel_size_nd)
        return kernel.swapaxes(0, 1).reshape(channels, -1)
    raise ValueError(f"a layer of type {kind} has no kernel")


def _constant(kind: str, layer: Any) -> np.ndarray:
    """Return the numbers of a constant, flat."""
    if kind == "CONSTANT":
        return flat_array(layer.weights)
    raise ValueError(f"a layer of type {kind} is no constant")


def _named(possible: Collection[str], patterns: Sequence[str], argument: str) -> set[str]:
    named: set[str] = set()
    for pattern in patterns:
        inside = {path for path in possible if any(fnmatch.fnmatchcase(holder, pattern) for holder in _holders(path))}
        if not inside:
            raise ArgumentError(
                f"{argument} names {pattern!r}, which is nothing that can be quantised",
                *nearest(pattern, possible, most=3),
                *_that_can(possible),
            )
        named |= inside
    return named


def _holders(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _that_can(possible: Collection[str]) -> list[str]:
    shown = list(possible)[:12]
    more = f", ... and {len(possible) - 12} more" if len(possible) > 12 else ""
    return (
        [f"those that can be: {', '.join(shown)}{more}"]
        if shown
        else ["convolutions, transposed convolutions, linear layers and products of matrices can be, and it has none"]
    )
