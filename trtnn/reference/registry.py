"""The tables of what each layer type and each plugin does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trtnn.errors import UnsupportedError
from trtnn.graph.plugin_layer import PluginLayer

# Given a layer, each returns the function that computes its outputs from its inputs, torch tensors both.
LAYERS: dict[str, Callable[[Any], Callable[..., Any]]] = {}
# The same of plugins by their names, given the fields that one was made of.
PLUGINS: dict[str, Callable[[Mapping[str, np.ndarray]], Callable[..., Any]]] = {}


def layer(kind: str) -> Callable[[Any], Any]:
    """Register a function for a member of TensorRT's LayerType."""

    def register(function: Any) -> Any:
        LAYERS[kind] = function
        return function

    return register


def plugin(name: str) -> Callable[[Any], Any]:
    """Register a function for a plugin of :data:`trtnn.plugins.PLUGINS`."""

    def register(function: Any) -> Any:
        PLUGINS[name] = function
        return function

    return register


def function_of(kind: str, layer: Any, made: PluginLayer | None) -> Callable[..., Any]:
    """Return the function that computes a layer's outputs from its inputs.

    Args:
        kind: its LayerType's name.
        layer: in the class of that type.
        made: what it was made of, where it is a plugin.

    Raises:
        UnsupportedError: the reference does not know such layers.
    """
    if made is not None:
        return PLUGINS[made.plugin](made.fields)
    if kind not in LAYERS:
        raise UnsupportedError(f"the reference does not know the layer {layer.name!r} of type {kind}")
    return LAYERS[kind](layer)
