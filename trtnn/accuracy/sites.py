"""What of a network can be quantised: the layers, the tensors that they read, and which of these share a scale."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trtnn.accuracy.choice import patterns
from trtnn.dtypes import int8
from trtnn.errors import ArgumentError, nearest
from trtnn.graph.graph import Graph
from trtnn.graph.placement import WITH_KERNEL, Edges, LayerEdges, is_narrow, is_relu, multiplications
from trtnn.graph.quantization import Placement

_POINTWISE = ("ACTIVATION", "ELEMENTWISE", "SCALE")


@dataclass
class Site:
    """What is quantised of one module.

    Attributes:
        path: of the module.
        weights: what its layers multiply by, each as (output channels, rest).
        inputs: the names of the tensors that the layers of each of these weights read, by its number.
        layers: the names of the layers with weights.
        products: the names of the two operands of each product of matrices.
    """

    path: str
    weights: list[np.ndarray] = field(default_factory=list)
    inputs: dict[int, list[str]] = field(default_factory=dict)
    layers: list[str] = field(default_factory=list)
    products: list[tuple[str, str]] = field(default_factory=list)


class Sites:
    """All that can be quantised of a network, or what of it was chosen.

    Args:
        graph: traced in fp32 and without quantisation.
        paths: of the modules, or patterns of them, to quantise with all that they hold; all where None.
        skip: likewise, what not to quantise.
        int8: whether it is for int8, whose kernels want more to be rounded than what is multiplied: what a sum alone
            reads, so that it is computed of two rounded sides, and what first convolutions give to an activation.
        rounded: the paths of modules, or patterns, whose output is rounded for all that reads it where something
            quantised does; see :meth:`check_rounded`.
        kept: the paths of modules whose output is not rounded, whatever else asks for it.

    Attributes:
        by_path: the sites by the path of their module, in the network's order.
        outputs: of modules whose output is rounded, the path by the name of the tensor.
        follows: of tensors that take the scale of another, not of what was seen of themselves, that one's name.

    Raises:
        ArgumentError: a pattern names no module that can be quantised, or nothing is left.
    """

    def __init__(
        self,
        graph: Graph,
        paths: Sequence[str] | None = None,
        skip: Sequence[str] = (),
        int8: bool = True,
        *,
        rounded: Sequence[str] = (),
        kept: Collection[str] = (),
    ) -> None:
        self._edges = Edges(graph)
        self._graph = graph
        self._int8 = int8
        possible = dict(self._read())
        self._choose(possible)
        whole = {path for path in dict(self._read_by_sites()).values() if _matches(path, rounded)}
        skipped = _named(dict.fromkeys([*possible, *self._could_be_rounded(), *whole]), skip, "skip", possible)
        wanted = possible.keys() if paths is None else _named(possible, paths, "modules", possible)
        self._choose({path: site for path, site in possible.items() if path in wanted and path not in skipped})
        if not self.by_path:
            raise ArgumentError("nothing is left to quantise", *_that_can(possible))
        self.outputs |= {name: path for name, path in self._shared() if path in whole}
        self.outputs = {name: path for name, path in self.outputs.items() if path not in {*skipped, *kept}}
        self._root = self._join()
        self.follows = dict(self._before_clips())

    def ends(self, last: int = 1) -> tuple[str, ...]:
        """Return the paths of the modules that are better left as they are: the last layers, and some narrow ones.

        What the last lose goes straight into the result. Of convolutions over up to 4 channels, such as read images,
        TensorRT 8.6 has fast int8 kernels for first layers alone, and those are of no activation or of ReLU: left are
        all others, but for those that are rounded before their activation. For fp8 all narrow ones are left.

        Args:
            last: how many layers count as last, on the shortest way from each to a result; fewer, but one, where these
                would be more than half of all.
        """
        fast = [edge.name for edge in self._first_convolutions() if self._fuses(edge) or self._rounds(edge)]
        fast = fast if self._int8 else []
        narrow = {
            edge.path
            for edge in self._edges.layers
            if edge.path in self.by_path and is_narrow(edge) and edge.name not in fast
        }
        behind = self._sites_behind()
        for most in range(last, 0, -1):
            ends = {*narrow, *(path for path in self.by_path if behind[path] < most)}
            if 2 * len(ends) <= len(self.by_path):
                break
        return tuple(path for path in self.by_path if path in ends) if len(ends) < len(self.by_path) else ()

    def _sites_behind(self) -> dict[str, int]:
        """Return how many other sites stand at least between each and a site that none comes behind, that included."""
        read = {path: set(tensors_of(site)) for path, site in self.by_path.items()}
        behind: dict[str, int] = {}
        to_read: dict[str, int] = {}  # how many sites there are at least from the one that reads a tensor on
        for edge in reversed(self._edges.layers):
            following = min((to_read[name] for name in edge.gives if name in to_read), default=None)
            if edge.path in read and read[edge.path].intersection(edge.reads):
                behind[edge.path] = min(behind.get(edge.path, following or 0), following or 0)
                following = (following or 0) + 1
            if following is not None:
                for name in edge.reads:
                    to_read[name] = min(to_read.get(name, following), following)
        return {path: behind.get(path, 0) for path in self.by_path}

    def _choose(self, sites: dict[str, Site]) -> None:
        """Take these sites, and find what else they need."""
        self.by_path = sites
        self._demanded = {name for site in sites.values() for name in tensors_of(site)}
        self._flowing = self._flow()
        self.outputs = {**dict(self._second_sides()), **dict(self._before_activations())} if self._int8 else {}

    def check_rounded(self, rounded: Sequence[str]) -> None:
        """Check that something quantised reads what modules give whose output is to be rounded for all that reads it.

        Args:
            rounded: the paths of these modules, or patterns.

        Raises:
            ArgumentError: one of them names no such module.
        """
        paths = dict(self._read_by_sites()).values()
        _named(paths, rounded, "round_outputs", paths, "gives nothing that a quantised layer reads")

    def _read_by_sites(self) -> Iterator[tuple[str, str]]:
        """Yield the tensors that quantised layers read, each with the module that returns it."""
        edges, read = self._edges, set(self._demanded)
        for index in range(len(edges.layers) - 1, -1, -1):
            if edges.passes_on(index) and edges.layers[index].gives[0] in read:
                read.update(name for _, name in edges.data_reads(index))
        for name, path in self._makers().items():
            if name in read:
                yield name, path

    def _shared(self) -> Iterator[tuple[str, str]]:
        """Yield of these the tensors that something in floating point reads as well."""
        for name, path in self._read_by_sites():
            if name not in self._flowing:
                yield name, path

    def _could_be_rounded(self) -> Iterator[str]:
        """Yield the modules whose output may be rounded, whatever else is chosen: what is left out may demand more."""
        yield from self.outputs.values()
        makers = self._makers() if self._int8 else {}
        for index, edge in enumerate(self._edges.layers):
            if self._edges.is_sum(index):
                yield from (makers[name] for name in edge.reads if name in makers)

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
        for index, own in multiplications(self._graph, edges):
            edge = edges.layers[index]
            site = sites.setdefault(edge.path, Site(edge.path))
            if own is None:
                site.products.append((edge.reads[0], edge.reads[1]))
            else:
                site.weights = own.weights
                site.inputs.setdefault(own.numbers[index], []).append(edge.reads[0])
                site.layers.append(edge.name)
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
        for index, edge in enumerate(self._edges.layers):
            site = self.by_path.get(edge.path)
            if site is not None and edge.name in site.layers:
                reads.add((edge.name, 0))
            elif site is not None and self._edges.is_product(index):
                reads |= {(edge.name, 0), (edge.name, 1)}
        return reads

    def _second_sides(self) -> Iterator[tuple[str, str]]:
        """Yield the tensors that a sum alone reads, beside one in int8, each with its module."""
        edges, makers = self._edges, self._makers()
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

    def _before_activations(self) -> Iterator[tuple[str, str]]:
        """Yield what first convolutions give to an activation that no kernel takes in, each with its module."""
        makers = self._makers()
        for edge in self._first_convolutions():
            if edge.path in self.by_path and self._rounds(edge):
                yield edge.gives[0], makers[edge.gives[0]]

    def _before_clips(self) -> Iterator[tuple[str, str]]:
        """Yield what is rounded before a clip such as ReLU6, with what is rounded behind it.

        By one scale the second rounding changes nothing but what the clip does, so that the first costs nothing.
        """
        for name in self.outputs:
            readers = [self._edges.layers[reader] for reader, _ in self._edges.readers[name]]
            if len(readers) == 1 and _is_clip(readers[0].kind, readers[0].layer):
                group = self.group(readers[0].gives[0])
                behind = next((other for other in sorted(self._demanded) if self.group(other) == group), None)
                if behind is not None:
                    yield name, behind

    def _first_convolutions(self) -> Iterator[LayerEdges]:
        """Yield the convolutions over up to 4 channels that read images: no layer with weights comes before them."""
        behind: set[str] = set()
        for edge in self._edges.layers:
            is_behind = not behind.isdisjoint(edge.reads)
            if is_behind or edge.kind in (*WITH_KERNEL, "MATRIX_MULTIPLY"):
                behind.update(edge.gives)
            if not is_behind and is_narrow(edge) and _has_planes(edge.kind, edge.layer):
                yield edge

    def _fuses(self, edge: LayerEdges) -> bool:
        """Whether nothing pointwise reads what a convolution gives but ReLU, which goes into any kernel."""
        readers = [self._edges.layers[reader] for reader, _ in self._edges.readers[edge.gives[0]]]
        return all(is_relu(reader.kind, reader.layer) for reader in readers if reader.kind in _POINTWISE)

    def _rounds(self, edge: LayerEdges) -> bool:
        """Whether a first convolution is rounded before its activation.

        TensorRT 8.6 makes one node of convolution, activation and Quantize, and has no kernel for first layers that
        takes SiLU in. Rounded between them, either has a kernel. That is so where an activation but ReLU, alone or
        times what it reads as SiLU is, is all that reads what a module returns.
        """
        name = edge.gives[0]
        readers = [self._edges.layers[reader] for reader, _ in self._edges.readers[name]]
        activations = [reader for reader in readers if reader.kind == "ACTIVATION"]
        given = {reader.gives[0] for reader in activations}
        return (
            bool(activations)
            and not any(is_relu(reader.kind, reader.layer) for reader in activations)
            and all(reader in activations or _multiplies(reader, given) for reader in readers)
            and name not in self._edges.outputs
            and name in self._makers()
        )

    def _makers(self) -> dict[str, str]:
        """Return by the names of tensors the innermost module that returns each, of those that are called once.

        An ``output_scale`` rounds what every call returns.
        """
        makers: dict[str, str] = {}
        for path, returned in self._graph.module_outputs.items():
            name = getattr(returned, "name", None)
            if name is not None and len(self._graph.module_outputs.calls[path]) == 1:
                makers.setdefault(name, path)  # the innermost is done first
        return makers

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
            for names in site.inputs.values():
                union(names)
        return root


def left_as_they_are(graph: Graph, placement: Placement) -> tuple[str, ...]:
    """Return the paths of the modules that could be quantised with the others, and are not: what ``skip`` would name.

    Args:
        graph: traced in fp32 and without quantisation.
        placement: what is quantised of the network.
    """
    is_int8 = any(dtype is int8 for dtype in placement.modules.values())
    left: list[str] = []
    outputs: Collection[str] = ()
    with suppress(ArgumentError):  # nothing that multiplies is there, or quantised
        left = [path for path in Sites(graph, int8=is_int8).by_path if path not in placement.modules]
        outputs = Sites(graph, None, patterns(left), is_int8).outputs.values()
    return tuple(dict.fromkeys([*left, *(path for path in outputs if path not in placement.modules)]))


def _has_planes(kind: str, layer: Any) -> bool:
    """Whether a layer is a convolution over all channels of two dimensions."""
    if kind == "CONVOLUTION":
        return layer.num_groups == 1 and len(layer.kernel_size_nd) == 2
    return False


def _is_clip(kind: str, layer: Any) -> bool:
    if kind == "ACTIVATION":
        return layer.type.name == "CLIP"
    return False


def _is_product(kind: str, layer: Any) -> bool:
    if kind == "ELEMENTWISE":
        return layer.op.name == "PROD"
    return False


def _multiplies(edge: LayerEdges, names: Collection[str]) -> bool:
    """Whether a layer multiplies one of these tensors by another."""
    return _is_product(edge.kind, edge.layer) and any(name in names for name in edge.reads)


def tensors_of(site: Site) -> list[str]:
    """Return the names of the tensors that are rounded for a site."""
    inputs = (name for names in site.inputs.values() for name in names)
    return [*inputs, *(name for product in site.products for name in product)]


def _named(
    known: Collection[str],
    patterns: Sequence[str],
    argument: str,
    possible: Collection[str],
    lacks: str = "is nothing that can be quantised",
) -> set[str]:
    """Return those of some paths that patterns name; an error lists the possible ones."""
    named: set[str] = set()
    for pattern in patterns:
        inside = {path for path in known if _matches(path, [pattern])}
        if not inside:
            near = nearest(pattern, known, most=3)
            raise ArgumentError(f"{argument} names {pattern!r}, which {lacks}", *near, *_that_can(possible))
        named |= inside
    return named


def _matches(path: str, patterns: Sequence[str]) -> bool:
    """Whether patterns name a module, or one that holds it."""
    return any(fnmatch.fnmatchcase(holder, pattern) for holder in _holders(path) for pattern in patterns)


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
