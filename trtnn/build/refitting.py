"""The arrays of a network that TensorRT's Refitter exchanges in an engine, and what has to stay as it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from trtnn.build.fingerprint import fingerprint
from trtnn.engine.refitting import Key, Refittable, digests_of, shown
from trtnn.errors import ArgumentError, BuildError, nearest
from trtnn.graph.definition import named_arrays, read_layers
from trtnn.graph.graph import Graph
from trtnn.graph.precision import keeps

# The names that the Refitter has, in WeightsRole, for the arrays of each layer type; powers of a scale have none.
ROLES = {
    "CONVOLUTION": {"kernel": "KERNEL", "bias": "BIAS"},
    "DECONVOLUTION": {"kernel": "KERNEL", "bias": "BIAS"},
    "SCALE": {"scale": "SCALE", "shift": "SHIFT"},
    "CONSTANT": {"weights": "CONSTANT"},
}


def refittable(graph: Graph) -> Refittable:
    """Return what of a graph a refit exchanges, and the digest of all else.

    Raises:
        BuildError: it was built before, and what that build pinned is not in another trace.
    """
    if graph.skeleton is None:
        if graph.is_pinned:
            raise BuildError(
                "this network was built before, without lock and refittable, and holds the types of layers since then",
                "trace it again: network = model.trace(...)",
            )
        graph.skeleton = fingerprint(graph.definition, graph.trt, graph.plugins, ROLES)
    return Refittable(graph.skeleton, refittable_arrays(graph), graph)


def refittable_arrays(graph: Graph) -> dict[Key, np.ndarray]:
    """Return the arrays of a graph that a refit exchanges, by layer and role; they lie in the graph's memory."""
    arrays = {}
    for kind, layer in read_layers(graph.definition, graph.trt):
        roles = ROLES.get(kind)
        if roles:
            named = named_arrays(kind, layer)
            arrays |= {
                (layer.name, roles[name]): array for name, array in named.items() if name in roles and array.size
            }
    return arrays


def describe_refittable(graph: Graph, which: bool | Sequence[str]) -> dict[str, Any]:
    """Return what a description holds of that, by which a later trace is told from the engine's.

    Args:
        graph: what is built.
        which: all of them, or those of modules by path or pattern; then ``modules`` and ``names`` are there as well.
    """
    parts = refittable(graph)
    said = {"skeleton": parts.skeleton, "arrays": digests_of(parts.arrays)}
    if isinstance(which, bool):
        return said
    names = {shown(key): name for key, name in _names(graph, parts, which).items()}
    return {**said, "modules": list(which), "names": names}


def _names(graph: Graph, parts: Refittable, patterns: Sequence[str]) -> dict[Key, str]:
    """Return what the arrays of some modules are to be called; one that several layers share has one name.

    Raises:
        ArgumentError: a pattern names no module that has some.
    """
    paths = {
        layer.name: path
        for (_, layer), path in zip(read_layers(graph.definition, graph.trt), graph.layer_paths, strict=True)
    }
    folded: dict[str, list[str]] = {}  # the modules that went into another's layer, such as a BatchNorm
    for path, inner in graph.folded:
        folded.setdefault(path, []).append(inner)
    owners = {key: [paths[key[0]], *folded.get(paths[key[0]], ())] for key in parts.arrays}
    of_pattern = {
        pattern: [key for key in parts.arrays if any(keeps(pattern, path) for path in owners[key])]
        for pattern in patterns
    }
    empty = [pattern for pattern, keys in of_pattern.items() if not keys]
    if empty:
        raise ArgumentError(
            f"refittable names no module with weights of its own: {', '.join(map(repr, empty))}",
            *nearest(empty[0], dict.fromkeys(paths[name] for name, _ in parts.arrays)),
        )
    names: dict[int, str] = {}  # by address
    for key in itertools.chain.from_iterable(of_pattern.values()):
        names.setdefault(parts.arrays[key].ctypes.data, shown(key))
    return {key: name for key, array in parts.arrays.items() if (name := names.get(array.ctypes.data))}


@contextmanager
def marked(graph: Graph, names: Mapping[str, str]) -> Iterator[None]:
    """Let TensorRT know within the block which arrays of a definition may change, where not all may.

    Args:
        graph: what is built.
        names: what arrays are called, by :func:`shown`.

    Raises:
        BuildError: TensorRT cannot exchange one of them.
    """
    definition, trt = graph.definition, graph.trt
    arrays = {names[shown(key)]: array for key, array in refittable_arrays(graph).items() if shown(key) in names}
    try:
        refused = [
            name
            for name, array in arrays.items()
            if not (definition.set_weights_name(trt.Weights(array), name) and definition.mark_weights_refittable(name))
        ]
        if refused:
            raise BuildError(
                f"{graph.backend} cannot let these weights change: {', '.join(refused)}", *graph.backend.logger.take()
            )
        yield
    finally:
        for name, array in arrays.items():
            definition.unmark_weights_refittable(name)
            definition.set_weights_name(trt.Weights(array), None)
