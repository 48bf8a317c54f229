"""Weights that torch keeps as something else: normalised, or pruned. They are computed here as torch computes them.

``torch.nn.utils`` and ``torch.nn.utils.parametrizations`` put several arrays in place of one, under names of their own:
weight_norm (https://arxiv.org/abs/1602.07868), spectral_norm (https://arxiv.org/abs/1802.05957) and prune.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trtnn.checkpoint.state_dict import StateDict, metadata_of

_NEW = {"original": "orig", "original0": "g", "original1": "v", "_u": "u", "_v": "v"}
_OLD = ("g", "v", "orig", "u", "mask")


def folded(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a state dict with one array for each weight that several stand for; as it is where there are none."""
    groups: dict[str, dict[str, str]] = {}
    for name in state_dict:
        if part := _part(name):
            groups.setdefault(part[0], {})[part[1]] = name
    made: dict[str, np.ndarray] = {}
    replaced: dict[str, str] = {}
    for weight, names in groups.items():
        array = _computed({role: state_dict[name] for role, name in names.items()})
        if array is not None and weight not in state_dict:
            made[weight] = array
            replaced |= dict.fromkeys(names.values(), weight)
    if not made:
        return state_dict
    renamed = {replaced.get(name, name): array for name, array in state_dict.items()}
    arrays = {name: made.get(name, array) for name, array in renamed.items()}
    return StateDict(arrays, metadata_of(state_dict))


def _part(name: str) -> tuple[str, str] | None:
    """Return the weight that an array is a part of and which it is: of ``conv.weight_g`` ``conv.weight`` and ``g``."""
    owner, dot, last = name.rpartition(".")
    if last in _NEW:
        owner = owner.removesuffix(".0") if last.startswith("_") else owner
        parent, _, weight = owner.rpartition(".")
        if f".{parent}".endswith(".parametrizations"):
            return f"{parent.removesuffix('parametrizations')}{weight}", _NEW[last]
    weight, _, role = last.rpartition("_")
    return (f"{owner}{dot}{weight}", role) if role in _OLD and weight else None


def _computed(parts: Mapping[str, Any]) -> np.ndarray | None:
    """Return the array that parts stand for; None where they are not those of any of the three."""
    if not all(hasattr(part, "shape") for part in parts.values()):
        return None
    parts = {role: np.asarray(part) for role, part in parts.items()}
    match parts:
        case {"g": g, "v": v} if len(parts) == 2:
            return _weight_norm(g, v)
        case {"orig": orig, "mask": mask} if len(parts) == 2 and orig.shape == mask.shape:
            return orig * mask.astype(orig.dtype)
        case {"orig": orig, "u": u} if len(parts) - ("v" in parts) == 2:
            return _spectral_norm(orig, u, parts.get("v"))
    return None


def _weight_norm(g: np.ndarray, v: np.ndarray) -> np.ndarray | None:
    """Return g · v / ‖v‖, the norm over all dimensions but the one that g has."""
    if g.ndim != v.ndim and g.ndim:
        return None
    axes = tuple(axis for axis in range(v.ndim) if not g.ndim or g.shape[axis] == 1)
    if any(g.shape[axis] != v.shape[axis] for axis in range(v.ndim) if axis not in axes):
        return None
    wide = v.astype(np.float32) if v.dtype.itemsize < 4 else v
    return (wide * (g.astype(wide.dtype) / np.sqrt((wide * wide).sum(axes, keepdims=True)))).astype(v.dtype)


def _spectral_norm(orig: np.ndarray, u: np.ndarray, v: np.ndarray | None) -> np.ndarray | None:
    """Return orig / σ with σ = uᵀ·W·v, W being orig as a matrix whose rows go along the dimension of u.

    No name tells that dimension, 0 or, of a transposed convolution, 1. Where both have the length of u it is the one
    for which u is what it was trained to be, along W·v.
    """
    candidates = []
    for axis in range(min(orig.ndim, 2)):
        if u.shape != (orig.shape[axis],) or (v is not None and v.size != orig.size // orig.shape[axis]):
            continue
        matrix = np.moveaxis(orig, axis, 0).reshape(len(u), -1)
        right = matrix.T @ u if v is None else v
        right = right / max(np.linalg.norm(right), 1e-12) if v is None else right
        image = matrix @ right
        candidates.append((abs(u @ image) / max(np.linalg.norm(u) * np.linalg.norm(image), 1e-12), u @ image))
    if not candidates or orig.ndim < 2:
        return None
    _, sigma = max(candidates, key=lambda pair: pair[0])
    return (orig / sigma).astype(orig.dtype)
