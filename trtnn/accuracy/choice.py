"""fp16 with some modules in fp32: which layers that leaves in fp16, and the fewest modules that it takes."""

from __future__ import annotations

import bisect
import glob
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trtnn.dtypes import float16, float32
from trtnn.errors import ArgumentError, DTypeError, listed, where
from trtnn.graph.definition import layer_arrays, read_layers
from trtnn.graph.graph import Graph
from trtnn.graph.precision import Precision

if TYPE_CHECKING:
    from trtnn.accuracy.trials import Trial

_MOST_NAMED = 5
_FREE = ("CAST", "IDENTITY", "SHAPE")  # the first two come and go with the precision, and none computes


class Mixed(NamedTuple):
    """A network as it is traced in fp16 with some modules in fp32.

    Attributes:
        graph: what was traced.
        pairs: the index of the layer in fp32 that stands for each layer of it, by the index of that. Where an operation
            has another formula in fp16, layers of it have none.
    """

    graph: Graph
    pairs: dict[int, int]


class MixedPrecision:
    """Which layers of a network compute in fp16, by the modules that stay in fp32.

    Args:
        graph: traced in fp32; with ``fp16_attention`` alike, see :class:`Precision`.
        retrace: writes the same network in another precision.
        fp16_attention: whether attention keeps its scores in fp16 then.

    Attributes:
        owners: for each layer the path of the smallest module that holds it and can be kept in fp32.
        layers: the indices of the layers that could be in fp16.
        half: those that are, in a network wholly in fp16; layers whose weights are beyond fp16 are counted too.
        fills: of these the constants that fp16 has at its end in place of what they are, see :attr:`Graph.fills`.
    """

    def __init__(self, graph: Graph, retrace: Callable[[Precision], Graph], fp16_attention: bool = False) -> None:
        self._graph, self._retrace, self._fp16_attention = graph, retrace, fp16_attention
        self._last: tuple[tuple[str, ...], Mixed] | None = None  # that was asked for, which is often the next as well
        self._modules = {"", *graph.paths.values()}
        self.owners = [self.owner(path) for path in graph.layer_paths]
        self._takers = [(self.owner(path), folded) for path, folded in graph.folded]
        quantised = () if graph.placement is None else graph.placement.modules
        self._fixed = {*quantised, *(norm for path, norm in graph.folded if path in quantised)}
        layers = {index for index, *_ in _computing(graph) if graph.layer_dtypes[index] is float32}
        self.layers = sorted(layers.union(_repeated(graph, layers)))
        try:
            self.half = self._half_layers(())
        except DTypeError:
            read = read_layers(graph.definition, graph.trt)
            arrays = [layer_arrays(kind, layer, graph.plugins.get(layer.name)) for kind, layer in read]
            beyond = {owner for owner, held in zip(self.owners, arrays, strict=True) if _beyond_half(held)}
            if not all(map(self.may_keep, beyond)):
                raise
            inside = [index for index in self.layers if _within(self.owners[index], beyond)]
            self.half = self._half_layers(beyond).union(inside)
        self.fills = self.half.intersection(graph.fills)

    def owner(self, path: str) -> str:
        """Return the path of the smallest module that holds what is at ``path`` and can be kept in fp32."""
        return _owner(path, self._modules)

    def may_keep(self, path: str) -> bool:
        """Return whether a module may stay in fp32: none that it is or holds is quantised, or folded into such."""
        return not any(_within(fixed, (path,)) for fixed in self._fixed)

    def with_takers(self, kept: Collection[str]) -> set[str]:
        """Return paths with those of the modules that others at ``kept`` were folded into.

        A BatchNorm in fp32 is folded into no convolution in fp16, and what comes between the two was not looked at.
        """
        return {*kept, *(path for path, folded in self._takers if _within(folded, kept) and not _within(path, kept))}

    def mixed(self, kept: Collection[str]) -> Mixed:
        """Return the network in fp16 with the modules at ``kept`` in fp32, and their takers.

        Raises:
            DTypeError: weights of another module do not fit in fp16.
        """
        kept_in_fp32 = patterns(sorted(self.with_takers(kept)))
        if self._last is None or self._last[0] != kept_in_fp32:
            self._last = None  # before another takes memory as well
            graph = self._retrace(Precision(float16, kept_in_fp32, self._fp16_attention))
            self._last = kept_in_fp32, Mixed(graph, _pairs(self._graph, graph))
        return self._last[1]

    def forget(self) -> None:
        """Let go of the network that was made last, which has all weights in fp16."""
        self._last = None

    def _half_layers(self, kept: Collection[str]) -> frozenset[int]:
        """Return the indices of the layers that are in fp16 where the modules at ``kept`` stay in fp32."""
        graph, pairs = self.mixed(kept)
        half = {index for other, index in pairs.items() if graph.layer_dtypes[other] is float16}
        return frozenset(half.union(_repeated(self._graph, half)).intersection(self.layers))


def choose(
    precision: MixedPrecision,
    trial: Callable[[Mixed], Trial],
    worst: Sequence[str],
    overflowing: Collection[str],
    tolerance: float,
) -> tuple[str, ...]:
    """Return the paths of just enough modules to keep in fp32; see ``Fp16Report.suggested_fp32_modules``.

    Args:
        precision: of the network.
        trial: tells how the network does in fp16 with certain modules in fp32.
        worst: the paths of the modules with layers in fp16, those that bring the most error first.
        overflowing: the paths of those that overflow.
        tolerance: the largest error of any output.

    Raises:
        ArgumentError: what is quantised is too much, whatever else stays in fp32.
    """

    def attempt(kept: Collection[str]) -> Trial | None:
        try:
            return trial(precision.mixed(kept))
        except DTypeError:  # weights that do not fit
            return None

    def enough(kept: Collection[str]) -> bool:
        outcome = attempt(kept)
        return outcome is not None and outcome.error <= tolerance

    # A trial finds one at a time, and only some overflow for what others did before.
    kept = set(filter(precision.may_keep, overflowing))
    while (outcome := attempt(kept)) is not None and outcome.overflow is not None:
        path = precision.owner(outcome.overflow)
        if path in kept or not precision.may_keep(path):  # in the former fp16 came in by another way than arguments
            break
        kept.add(path)
    # Last come those that are in fp32 by the model's own doing, and the model, with which everything is in fp32.
    paths = [path for path in dict.fromkeys([*precision.owners, ""]) if precision.may_keep(path)]
    if outcome is None or outcome.error > tolerance:
        order = [path for path in dict.fromkeys([*worst, *paths]) if path in paths and path not in kept]
        count = bisect.bisect_left(range(len(order)), True, lo=1, key=lambda n: enough({*kept, *order[:n]}))
        kept |= {*order[:count]}
        if not precision.may_keep("") and not enough(kept):
            raise _too_much(attempt(kept), [path for path in worst if not precision.may_keep(path)], tolerance)
    kept = precision.with_takers(_without_needless(kept, enough, worst))
    return tuple(path for path in paths if path in kept)


def _too_much(outcome: Trial | None, fixed: Sequence[str], tolerance: float) -> ArgumentError:
    """Return the error of a network that is too far off with all in fp32 that may stay there.

    Args:
        outcome: with all of it there, or None where weights do not fit in fp16.
        fixed: the paths of the modules that may not, those that bring the most error first.
        tolerance: that was asked for.
    """
    if outcome is None:
        what = "it has weights that do not fit in fp16"
    elif outcome.overflow is not None:
        what = f"{where(outcome.overflow)} overflows in fp16"
    else:
        what = f"an output is {outcome.error:.3g} off with all others in fp32, and {tolerance:.3g} was asked for"
    return ArgumentError(
        f"modules that are quantised, or hold such, cannot stay in fp32, and {what}",
        f"those that bring the most error first: {listed([*map(where, fixed)], _MOST_NAMED)}",
        "ask for a larger tolerance, or leave modules in floating types: trtnn.quantize(..., skip=[...])",
    )


def _without_needless(kept: set[str], enough: Callable[[Collection[str]], bool], worst: Sequence[str]) -> set[str]:
    """Drop modules for as long as the rest is enough: those that hold others first, then those of the least error.

    Many are tried at once, and halves of them where that is too much, down to each alone.
    """
    rank = {path: position for position, path in enumerate(reversed(worst))}

    def drop(paths: list[str], kept: set[str]) -> set[str]:
        rest = kept.difference(paths)
        if all(_within(path, rest) for path in paths) or enough(rest):
            return rest
        middle = len(paths) // 2
        return drop(paths[middle:], drop(paths[:middle], kept)) if middle else kept

    return drop(sorted(kept, key=lambda path: (_depth(path), rank.get(path, -1), path)), kept)


def patterns(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the ``fnmatch`` patterns that mean these paths and no others."""
    return tuple(map(glob.escape, paths))


def _depth(path: str) -> int:
    return path.count(".") + 1 if path else 0


def _within(path: str, holders: Collection[str]) -> bool:
    """Return whether a path is one of ``holders`` or lies within one."""
    return any(holder in ("", path) or path.startswith(f"{holder}.") for holder in holders)


def _owner(path: str, modules: Collection[str]) -> str:
    """Return the innermost of these paths that holds ``path``: a module made within ``forward`` is none of them."""
    while path not in modules:
        path = path.rpartition(".")[0]
    return path


def _computing(graph: Graph) -> Iterator[tuple[int, str, str]]:
    """Yield the index of each layer that computes something, the path that it was made at, and what it does.

    Not of those that round: a placement has other ones where fp16 has casts, see :mod:`trtnn.graph.placement`.
    """
    for index, (kind, layer) in enumerate(read_layers(graph.definition, graph.trt)):
        if kind not in _FREE and index not in graph.roundings:
            yield index, graph.layer_paths[index], f"{kind} {getattr(layer, 'op', '')}"


def _pairs(graph: Graph, other: Graph) -> dict[int, int]:
    """Return the index of the layer of a graph that does what one of another graph does, by the index of that.

    They are held side by side path by path, in order; what only one of the two has is left out.
    """
    found: list[defaultdict[str, list[tuple[int, str]]]] = [defaultdict(list), defaultdict(list)]
    for paths, one in zip(found, (graph, other), strict=True):
        for index, path, what in _computing(one):
            paths[path].append((index, what))
    pairs = {}
    for path, there in found[1].items():
        here = found[0][path]
        does, has = [what for _, what in there], [what for _, what in here]
        blocks = [(0, 0, len(does))] if does == has else SequenceMatcher(None, has, does, False).get_matching_blocks()
        for first, second, count in blocks:
            pairs |= {there[second + i][0]: here[first + i][0] for i in range(count)}
    return pairs


def _repeated(graph: Graph, layers: Collection[int]) -> Iterable[int]:
    """Return the indices of the layers that repeat one of some layers."""
    return (again for again, first in graph.again.items() if first in layers)


def _beyond_half(arrays: Iterable[np.ndarray]) -> bool:
    """Return whether the arrays of a layer hold finite weights that fp16 rounds to infinity."""
    with np.errstate(over="ignore"):
        return any(
            bool((np.isinf(array.astype(np.float16)) & np.isfinite(array)).any())
            for array in arrays
            if array.dtype == np.float32
        )
