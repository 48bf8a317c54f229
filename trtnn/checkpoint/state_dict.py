"""StateDict: the arrays of a checkpoint by name, and what the file says beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from trtnn.errors import StateDictError, harmless_text

LEFT_OUT = "left_out"
SHARD = "shard"
ADAPTERS = "adapters"


class StateDict(dict[str, np.ndarray]):
    """Arrays by name, as :func:`trtnn.load` returns them.

    Attributes:
        metadata: JSON values; a key is there only where the file tells of it. ``names`` (the classes' by index),
            ``task`` ("detect", "segment", "pose", "obb", "classify"), ``classes`` (how many), ``stride``, ``strides``,
            ``anchors`` (by level, widths and heights in pixels), ``imgsz`` (pixels it was trained at: an int, or height
            and width), ``architecture``, ``version``, ``train_args``; ``fused`` (BatchNorm was folded into the
            convolutions); ``activations`` and ``stretched`` (of a Darknet .cfg: those it has, and whether its heads are
            YOLOv4's); ``taken`` (where in the file the weights were) and ``others`` (where there are more);
            ``left_out`` (by name, why a tensor is not here); ``modules`` (by path, what a pickled module is made of);
            ``shard`` (where the file is one of several, in words which);
            ``adapters`` (the files that :func:`trtnn.merge_lora` merged into the weights, which no scales know of);
            ``config`` and ``preprocessor_config`` (what transformers says in files of these names beside it).
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray] | Iterable = (), metadata: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(arrays)
        self.metadata: dict[str, Any] = dict(metadata or {})

    def __missing__(self, name: str) -> np.ndarray:
        if name in self.metadata.get(LEFT_OUT, ()):
            raise StateDictError(f"{harmless_text(name)} was left out: it is {self.metadata[LEFT_OUT][name]}")
        raise KeyError(name)


def check_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata that a file holds as text, when each that is known is of its own kind.

    Raises:
        ValueError: one is not.
    """
    kinds = {
        "names": _is_list_of(str),
        "strides": _is_list_of(int),
        "imgsz": lambda value: _is_length(value) or (isinstance(value, list) and len(value) == 2 and _lengths(value)),
        "anchors": lambda value: isinstance(value, list) and all(map(_is_pairs, value)),
        "modules": lambda value: isinstance(value, dict) and all(_is_described(said) for said in value.values()),
        "task": lambda value: isinstance(value, str),
        "classes": _is_length,
        "others": _is_list_of(str),
        "activations": _is_list_of(str),
        ADAPTERS: _is_list_of(str),
        SHARD: lambda value: isinstance(value, str),
        "config": lambda value: isinstance(value, dict),
        "preprocessor_config": lambda value: isinstance(value, dict),
    }
    for key, fits in kinds.items():
        if key in metadata and not fits(metadata[key]):
            raise ValueError(f"{key} is {str(metadata[key])[:100]}")
    return dict(metadata)


def _is_list_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(type(item) is kind for item in value)


def _is_pairs(value: Any) -> bool:
    pairs = value if isinstance(value, list) else [None]
    return all(isinstance(p, list) and len(p) == 2 and all(type(n) in (int, float) for n in p) for p in pairs)


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**16


def _lengths(values: list) -> bool:
    return all(map(_is_length, values))


def _is_described(said: Any) -> bool:
    return isinstance(said, dict) and isinstance(said.get("class"), str)


def metadata_of(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a state dict's file says beside the arrays; nothing where it is a plain mapping."""
    return getattr(state_dict, "metadata", {})
