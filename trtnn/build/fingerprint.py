"""A network definition as one digest: two definitions share it only if TensorRT is given the same to build.

Everything is read back from the definition, and every property of a layer is found by itself, so that nothing which
TensorRT adds to a layer can be forgotten here. What cannot be compared is an error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from trtnn.digest import digest
from trtnn.errors import BuildError
from trtnn.graph.definition import flat_array, read_layers
from trtnn.graph.plugin_layer import PluginLayer
from trtnn.threads import without_warnings

_TENSOR_PROPERTIES = ("name", "dtype", "shape", "location", "allowed_formats", "dynamic_range")


def fingerprint(
    definition: Any,
    trt: ModuleType,
    plugins: Mapping[str, PluginLayer] | None = None,
    shapes_alone: Mapping[str, Collection[str]] | None = None,
) -> str:
    """Return the digest of all that a network definition holds: layers, weights, connections, inputs and outputs.

    Args:
        definition: an ``INetworkDefinition``.
        trt: the TensorRT module that it came from.
        plugins: what its plugins were made of, by the names of their layers; their libraries' content counts as well.
            Of others what they serialise to counts, which only plugins of TensorRT 8 show.
        shapes_alone: by layer type the arrays of which type and length count, and not what they hold.

    Raises:
        BuildError: it holds something that cannot be compared.
    """
    content: list[tuple[Any, ...]] = [("network", definition.name, _plain(getattr(definition, "flags", None)))]
    content += [("input", _tensor(definition.get_input(i))) for i in range(definition.num_inputs)]
    with without_warnings(DeprecationWarning):  # reading every property meets old ones as well
        for kind, layer in read_layers(definition, trt):
            inputs = [_name(layer.get_input(i)) for i in range(layer.num_inputs)]
            outputs = [(_tensor(layer.get_output(i)), _is_pinned(layer, i)) for i in range(layer.num_outputs)]
            properties = _properties(
                kind, layer, trt, (plugins or {}).get(layer.name), (shapes_alone or {}).get(kind, ())
            )
            content.append((kind, inputs, properties, outputs))
    content += [("output", _name(definition.get_output(i))) for i in range(definition.num_outputs)]
    return digest(repr(content).encode())


def _name(tensor: Any) -> str | None:
    """Return the name of a tensor, which is unique in its network; None of an optional input that is not there."""
    return None if tensor is None else tensor.name


def _tensor(tensor: Any) -> list[Any]:
    return [_plain(getattr(tensor, name, None)) for name in _TENSOR_PROPERTIES]


def _is_pinned(layer: Any, index: int) -> bool:
    """Return whether an output's type was asked for, which only weakly typed networks know."""
    return hasattr(layer, "output_type_is_set") and layer.output_type_is_set(index)


def _properties(
    kind: str, layer: Any, trt: ModuleType, plugin: PluginLayer | None, shapes_alone: Collection[str]
) -> list[tuple[str, Any]]:
    """Return the name and the value of each property of a layer, and for a plugin what it was made of."""
    if type(layer) is trt.ILayer:
        raise BuildError(
            f"two networks with a layer of type {kind} cannot be compared",
            "build without cache_dir, lock and refittable",
        )
    properties = []
    for name in dir(type(layer)):
        if not isinstance(getattr(type(layer), name), property) or (plugin is not None and name == "plugin"):
            continue
        if name == "block_shape" and kind in ("QUANTIZE", "DEQUANTIZE"):  # of blocks, which trtnn quantises none by
            continue  # and where there are none, to read it is an error
        try:
            value = getattr(layer, name)
            is_left_out = name in shapes_alone and isinstance(value, np.ndarray)
            properties.append((name, (value.dtype.str, value.shape) if is_left_out else _plain(value)))
        except (TypeError, ValueError, RuntimeError) as error:
            raise BuildError(
                f"two networks with a layer like {layer.name!r} cannot be compared",
                f"its {name}: {error}",
                "build without cache_dir, lock and refittable",
            ) from error
    return properties if plugin is None else [*properties, ("plugin", _plugin(plugin))]


def _plugin(plugin: PluginLayer) -> list[Any]:
    fields = sorted((name, _plain(array)) for name, array in plugin.fields.items())
    return [plugin.plugin, fields, digest(plugin.library.read_bytes())]


def _plain(value: Any) -> Any:
    """Return a value of TensorRT's as one whose ``repr`` says all of it."""
    if hasattr(type(value), "__members__"):
        return f"{type(value).__name__}.{value.name}"
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, digest(np.ascontiguousarray(flat_array(value)).view(np.uint8))
    if hasattr(value, "plugin_type") and hasattr(value, "serialize"):
        return value.plugin_type, value.plugin_version, value.plugin_namespace, digest(value.serialize())
    if hasattr(value, "add_recurrence"):  # a loop, which its boundary layers name
        return value.name
    if hasattr(value, "__len__"):
        try:
            return [_plain(item) for item in value]
        except ValueError:  # Dims that were never set have a negative length
            return "unset"
    raise TypeError(f"a {type(value).__name__} shows nothing to compare")
