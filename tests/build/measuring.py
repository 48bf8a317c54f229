"""A TensorRT that measures while it builds, where the real one does not: tactics chosen by what a test says.

Networks, options and settings are real. A plan is a line of JSON for each layer, as the inspector shows them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import trtnn.build.build
import trtnn.build.lock
import trtnn.build.timing_cache
from trtnn import get_backend
from trtnn.backend import Backend
from trtnn.graph.definition import read_layers

Choose = Callable[[str], str]  # from the name of a layer to that of its tactic


class TimingCache:
    """An ``ITimingCache``: the tactic of each layer that was measured."""

    def __init__(self, content: bytes) -> None:
        self.best = dict(line.split("=") for line in content.decode().splitlines())

    def serialize(self) -> memoryview:
        return memoryview("".join(f"{name}={tactic}\n" for name, tactic in sorted(self.best.items())).encode())

    def combine(self, other: TimingCache, ignore_mismatch: bool) -> bool:
        self.best |= other.best
        return True


class Settings:
    """An ``IBuilderConfig`` with such a cache; all else is a real one's."""

    def __init__(self, real: Any, machine: Machine) -> None:
        self.__dict__.update(real=real, machine=machine, cache=None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.real, name, value)

    def create_timing_cache(self, content: bytes) -> TimingCache:
        return TimingCache(content)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        assert ignore_mismatch is False
        if cache.best and self.machine.refuses_caches:
            return False
        self.__dict__["cache"] = cache
        return True

    def get_timing_cache(self) -> TimingCache:
        return self.cache


class Builder:
    """A ``Builder`` whose builds give the rows of the inspector."""

    def __init__(self, real: Any, machine: Machine) -> None:
        self.real, self.machine = real, machine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def create_builder_config(self) -> Settings:
        return Settings(self.real.create_builder_config(), self.machine)

    def build_serialized_network(self, definition: Any, settings: Settings) -> bytes | None:
        self.machine.builds += 1
        self.machine.during_build()
        if self.machine.fails:
            return None
        cached = {} if settings.cache is None or self.machine.drops_caches else settings.cache.best
        rows = []
        for kind, layer in read_layers(definition, get_backend().trt):
            if kind == "CONSTANT":
                continue
            if layer.name not in cached:
                self.machine.measured.append(layer.name)
            tactic = cached.get(layer.name) or self.machine.choose(layer.name)
            if settings.cache is not None:
                settings.cache.best[layer.name] = tactic
            kept = {"Format/Datatype": "Row major linear FP32"}
            ends = {"Inputs": [{"Name": "in", **kept}], "Outputs": [{"Name": "out", **kept}]}
            rows.append({"Name": layer.name, "LayerType": kind, **ends, "TacticName": tactic, "TacticValue": "0x1"})
        return json.dumps(rows).encode()


class Machine:
    """A GPU with its TensorRT.

    Attributes:
        choose: what it measures to be the best tactic of a layer.
        measured: the layers that it measured, in all builds.
        builds: how many there were.
        drops_caches: it accepts a timing cache, and measures all again.
        refuses_caches: it accepts none that holds something.
        fails: it builds nothing.
        during_build: is called once in each build.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.choose: Choose = "sm90_xmma_{}".format
        self.measured: list[str] = []
        self.builds = 0
        self.drops_caches = self.refuses_caches = self.fails = False
        self.during_build: Callable[[], None] = lambda: None
        self.monkeypatch = monkeypatch
        backend, make_builder = get_backend(), Backend.make_builder
        capabilities = replace(backend.capabilities, targets=False, hardware_compatible=True)
        monkeypatch.setattr(backend, "capabilities", capabilities)
        monkeypatch.setattr(Backend, "make_builder", lambda own: Builder(make_builder(own), self))
        monkeypatch.setattr(trtnn.build.build, "deserialize", lambda backend, plan: (None, inspected(plan)))
        self.gpu()

    def gpu(self, name: str = "NVIDIA H200", capability: str = "sm90", multiprocessors: int = 132) -> None:
        """Put another GPU into the machine."""
        for module in (trtnn.build.lock, trtnn.build.timing_cache):
            self.monkeypatch.setattr(module, "gpus", lambda: (capability, "sm75"))
            self.monkeypatch.setattr(module, "gpu_name", lambda: name)
        self.monkeypatch.setattr(trtnn.build.lock, "gpu_attribute", {16: multiprocessors}.get)
        self.driver("550.54.15")

    def driver(self, version: str) -> None:
        """Install another driver."""
        self.monkeypatch.setattr(trtnn.build.lock, "driver_version", lambda: version)


def inspected(plan: bytes) -> Any:
    """Return an ``ICudaEngine`` of a plan, which has an inspector and no more."""

    def information(kind: Any) -> str:
        assert kind == get_backend().trt.LayerInformationFormat.JSON
        return json.dumps({"Layers": json.loads(bytes(plan))})

    return SimpleNamespace(create_engine_inspector=lambda: SimpleNamespace(get_engine_information=information))
