"""The table of what each layer type does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Given a layer, each returns the function that computes its outputs from its inputs, torch tensors both.
LAYERS: dict[str, Callable[[Any], Callable[..., Any]]] = {}


def layer(kind: str) -> Callable[[Any], Any]:
    """Register a function for a member of TensorRT's LayerType."""

    def register(function: Any) -> Any:
        LAYERS[kind] = function
        return function

    return register
