"""The arrays of a network that TensorRT's Refitter exchanges in an engine, and what has to stay as it is."""

from __future__ import annotations

from typing import Any

from trtnn.build.fingerprint import fingerprint
from trtnn.engine.refitting import Refittable, digests_of
from trtnn.graph.definition import named_arrays, read_layers
from trtnn.graph.graph import Graph

# The names that the Refitter has, in WeightsRole, for the arrays of each layer type; powers of a scale have none.
ROLES = {
    "CONVOLUTION": {"kernel": "KERNEL", "bias": "BIAS"},
    "DECONVOLUTION": {"kernel": "KERNEL", "bias": "BIAS"},
    "SCALE": {"scale": "SCALE", "shift": "SHIFT"},
    "CONSTANT": {"weights": "CONSTANT"},
}


def refittable(graph: Graph) -> Refittable:
    """Return what of a graph a refit exchanges, and the digest of all else."""
    arrays = {}
    for kind, layer in read_layers(graph.definition, graph.trt):
        roles = ROLES.get(kind)
        if roles:
            named = named_arrays(kind, layer)
            arrays |= {
                (layer.name, roles[name]): array for name, array in named.items() if name in roles and array.size
            }
    return Refittable(fingerprint(graph.definition, graph.trt, graph.plugins, ROLES), arrays, graph)


def describe_refittable(graph: Graph) -> dict[str, Any]:
    """Return what a description holds of that, by which a later trace is told from the engine's.

    It is asked before layers are pinned, which a later trace has not.
    """
    parts = refittable(graph)
    return {"skeleton": parts.skeleton, "arrays": digests_of(parts.arrays)}
