"""Network definitions with plugins where TensorRT has none: a convolution holds the DCNv2 plugin's place.

What is traced is a real network definition but for that layer, which has the plugin's inputs and, from the convolution
that stands for it, an output of the right shape. The fields go through TensorRT's own ``PluginFieldCollection``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trtnn.backend import get_backend
from trtnn.graph.graph import Graph
from trtnn.plugins.dcnv2 import loading


class StandInLayer:
    """A layer of a plugin as ``get_layer`` shows it; what is set on it, its class too, goes to the convolution."""

    def __init__(self, kind: Any, inputs: list[Any], place: Any) -> None:
        self.__dict__.update(type=kind, inputs=inputs, place=place, num_inputs=len(inputs), num_outputs=1)

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "__class__":
            setattr(self.place, name, value)

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def plugin(self) -> Any:
        raise TypeError("TensorRT shows nothing of a plugin")

    def get_input(self, index: int) -> Any:
        return self.inputs[index]

    def get_output(self, index: int) -> Any:
        return self.place.get_output(index)

    def set_output_type(self, index: int, dtype: Any) -> None:
        pass


class StandInDefinition:
    """A network definition that takes plugins."""

    def __init__(self, definition: Any) -> None:
        self.definition, self.stand_ins = definition, {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.definition, name)

    def get_layer(self, index: int) -> Any:
        return self.stand_ins.get(index) or self.definition.get_layer(index)

    def add_plugin_v2(self, inputs: list[Any], plugin: StandInPlugin) -> StandInLayer:
        assert not get_backend().capabilities.plugin_v3
        return self._add("PLUGIN_V2", inputs, plugin)

    def add_plugin_v3(self, inputs: list[Any], shape_inputs: list[Any], plugin: StandInPlugin) -> StandInLayer:
        assert get_backend().capabilities.plugin_v3
        assert shape_inputs == []
        return self._add("PLUGIN_V3", inputs, plugin)

    def _add(self, kind: str, inputs: list[Any], plugin: StandInPlugin) -> StandInLayer:
        trt, fields = get_backend().trt, plugin.fields
        (outputs,), size = fields["out_channels"], tuple(fields["kernel_size"].tolist())
        zeros = np.zeros((outputs, inputs[0].shape[1], *size), np.dtype(trt.nptype(inputs[0].dtype)))
        plugin.kept = zeros
        place = self.definition.add_convolution_nd(inputs[0], int(outputs), size, zeros, None)
        for name in ("stride", "padding", "dilation"):
            setattr(place, f"{name}_nd", tuple(fields[name].tolist()))
        layer = StandInLayer(trt.LayerType.__members__[kind], inputs, place)
        self.stand_ins[self.definition.num_layers - 1] = layer
        return layer


@dataclass
class StandInPlugin:
    """What a creator makes, with the fields as TensorRT handed them on."""

    name: str
    fields: dict[str, np.ndarray]
    kept: Any = None


class StandInRegistry:
    """TensorRT's registry, with the creator of one version; it loads libraries as told."""

    def __init__(self, v3: bool) -> None:
        self.taken: list[str] = []
        self.made: list[StandInPlugin] = []
        setattr(self, "get_creator" if v3 else "get_plugin_creator", self._creator)
        self.v3 = v3

    def _creator(self, name: str, version: str, namespace: str) -> Any:
        assert (name, version, namespace) == ("TrtnnDCNv2", "1", "")
        return SimpleNamespace(create_plugin=self._create)

    def _create(self, name: str, collection: Any, *phase: Any) -> StandInPlugin | None:
        assert phase == ((get_backend().trt.TensorRTPhase.BUILD,) if self.v3 else ())
        fields = {field.name: np.array(field.data) for field in collection}
        if fields["weight"].size == 0:
            return None
        self.made.append(StandInPlugin(name, fields))
        return self.made[-1]

    def load_library(self, path: str) -> Any:
        self.taken.append(path)
        return object()


def take_plugins(monkeypatch: pytest.MonkeyPatch, library: Path, v3: bool) -> StandInRegistry:
    """Let the TensorRT that is here have plugins, weakly typed as 8.6 or strongly as 10, with a library loaded."""
    backend, registry = get_backend(), StandInRegistry(v3)
    changes = {"plugin_v3": True} if v3 else {"plugin_v2": True, "strongly_typed": False, "targets": False}
    monkeypatch.setattr(backend, "capabilities", replace(backend.capabilities, **changes))
    monkeypatch.setattr(backend.trt, "get_plugin_registry", lambda: registry)
    monkeypatch.setattr(loading, "_loaded", {backend.name: library})
    begin = Graph.__post_init__

    def begin_with_plugins(graph: Graph) -> None:
        begin(graph)
        graph.definition = StandInDefinition(graph.definition)

    monkeypatch.setattr(Graph, "__post_init__", begin_with_plugins)
    return registry
