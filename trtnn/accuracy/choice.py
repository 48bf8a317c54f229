"""fp16 with some modules in fp32: which layers that leaves in fp16, and the fewest modules that it takes."""

from __future__ import annotations

import bisect
import glob
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trtnn.dtypes import float16, float32
from trtnn.errors import ArgumentError, DTypeError
from trtnn.graph.definition import layer_arrays, read_layers
from trtnn.graph.graph import Graph
from trtnn.graph.precision import Precision

if TYPE_CHECKING:
    from trtnn.accuracy.trials import Trial

_FREE = ("CAST", "IDENTITY", "SHAPE")  # the first two come and go with the precision, and none computes


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

    Raises:
        ArgumentError: ``forward`` makes other layers in fp16 than in fp32.
    """

    def __init__(self, graph: Graph, retrace: Callable[[Precision], Graph], fp16_attention: bool = False) -> None:
        self._retrace, self._fp16_attention = retrace, fp16_attention
        modules = {"", *graph.paths.values()}
        self.owners = [_owner(path, modules) for path in graph.layer_paths]
        self._folded = graph.folded
        self._takers = [(_owner(path, modules), folded) for path, folded in graph.folded]
        self._computing = list(_computing(graph))
        self.layers = [index for index, _ in self._computing if graph.layer_dtypes[index] is float32]
        try:
            self.half = self.half_layers(())
        except DTypeError:
            read = read_layers(graph.definition, graph.trt)
            arrays = [layer_arrays(kind, layer, graph.plugins.get(layer.name)) for kind, layer in read]
            beyond = {owner for owner, held in zip(self.owners, arrays, strict=True) if _beyond_half(held)}
            inside = [index for index in self.layers if _within(self.owners[index], beyond)]
            self.half = self.half_layers(beyond) | frozenset(inside)
        self.fills = self.half.intersection(graph.fills)

    def with_takers(self, kept: Collection[str]) -> set[str]:
        """Return paths with those of the modules that others at ``kept`` were folded into.

        A BatchNorm in fp32 is folded into no convolution in fp16, and what comes between the two was not looked at.
        """
        return {*kept, *(path for path, folded in self._takers if _within(folded, kept) and not _within(path, kept))}

    def half_layers(self, kept: Collection[str]) -> frozenset[int]:
        """Return the indices of the layers in fp16 where the modules at ``kept`` stay in fp32, with their takers.

        Raises:
            DTypeError: weights of another module do not fit in fp16.
        """
        kept_in_fp32 = patterns(self.with_takers(kept))
        graph = self._retrace(Precision(float16, kept_in_fp32, self._fp16_attention, is_alike=True))
        there = list(_computing(graph))
        for _, path in (Counter(self._folded) - Counter(graph.folded)).elements():  # forward takes its input to fp32
            for layer in [layer for layer in there if layer[1] == (path, "SCALE")][:1]:
                there.remove(layer)
        if [what for _, what in self._computing] != [what for _, what in there]:
            raise ArgumentError(
                "forward makes other layers in fp16 than in fp32, so they cannot be compared",
                f"{len(self._computing)} in fp32, {len(there)} in fp16",
            )
        pairs = zip(self._computing, there, strict=True)
        half = frozenset(index for (index, _), (other, _) in pairs if graph.layer_dtypes[other] is float16)
        return half.intersection(self.layers)


def choose(
    precision: MixedPrecision,
    trial: Callable[[frozenset[int]], Trial],
    worst: Sequence[str],
    overflowing: Collection[str],
    tolerance: float,
) -> tuple[str, ...]:
    """Return the paths of just enough modules to keep in fp32; see ``Fp16Report.suggested_fp32_modules``.

    Args:
        precision: of the network.
        trial: tells how the network does with certain layers in fp16.
        worst: the paths of the modules with layers in fp16, those that bring the most error first.
        overflowing: the paths of those that overflow.
        tolerance: the largest error of any output.
    """

    def attempt(kept: Collection[str]) -> Trial | None:
        try:
            return trial(precision.half_layers(kept))
        except DTypeError:  # weights that do not fit
            return None

    def enough(kept: Collection[str]) -> bool:
        outcome = attempt(kept)
        return outcome is not None and outcome.error <= tolerance

    kept = set(overflowing)  # a trial finds one at a time, and only some overflow for what others did before
    while (outcome := attempt(kept)) is not None and outcome.overflow is not None:
        path = precision.owners[outcome.overflow]
        if path in kept:  # it reads fp16 that came in by another way than its arguments
            break
        kept.add(path)
    # Last come those that are in fp32 by the model's own doing, and the model, with which everything is in fp32.
    paths = list(dict.fromkeys([*precision.owners, ""]))
    if outcome is None or outcome.error > tolerance:
        order = [path for path in dict.fromkeys([*worst, *paths]) if path not in kept]
        count = bisect.bisect_left(range(len(order)), True, lo=1, key=lambda n: enough({*kept, *order[:n]}))
        kept |= {*order[:count]}
    kept = precision.with_takers(_without_needless(kept, enough, worst))
    return tuple(path for path in paths if path in kept)


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


def _computing(graph: Graph) -> Iterable[tuple[int, tuple[str, str]]]:
    """Yield the index and the (path, type) of each layer that computes something."""
    for index, (kind, _) in enumerate(read_layers(graph.definition, graph.trt)):
        if kind not in _FREE:
            yield index, (graph.layer_paths[index], kind)


def _beyond_half(arrays: Iterable[np.ndarray]) -> bool:
    """Return whether the arrays of a layer hold finite weights that fp16 rounds to infinity."""
    with np.errstate(over="ignore"):
        return any(
            bool((np.isinf(array.astype(np.float16)) & np.isfinite(array)).any())
            for array in arrays
            if array.dtype == np.float32
        )
