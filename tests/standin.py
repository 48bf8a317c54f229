"""An engine's session that computes on the CPU, for what goes on around the GPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import trtnn.engine.engine
from trtnn import Network, get_backend
from trtnn.shapes.call import Shapes
from trtnn.shapes.profiles import lengths_in
from trtnn.structure import leaves_of


class StandInWorker:
    """Runs the network's reference; a recorder is told the times that the session has for each run."""

    def __init__(self, session: StandInSession, recorder: Any = None) -> None:
        self.session, self.recorder, self.closed = session, recorder, False

    def run_arrays(self, shapes: Any, given: Mapping[str, np.ndarray], out: Any) -> dict[str, np.ndarray]:
        assert not self.closed
        self.session.calls += 1
        if self.recorder is not None:
            for name, milliseconds in self.session.times(self.session.calls):
                self.recorder.report_layer_time(name, milliseconds)
        network = self.session.network
        return {k: np.array(v) for k, v in leaves_of(network.graph.structure, network.run(**given)).items()}

    def bare(self, shapes: Any) -> Callable[[], None]:
        return lambda: None

    def close(self) -> None:
        self.closed = True


class StandInSession:
    """A session, an ``ICudaEngine`` and its inspector in one.

    Args:
        network: what is run.
        times: the (name, milliseconds) that TensorRT reports in the n-th run.
        layers: what the inspector shows of each layer.
    """

    def __init__(
        self, network: Network, times: Callable[[int], list[tuple[str, float]]] = lambda _: [], layers: Any = ()
    ) -> None:
        self.network, self.times, self.shown = network, times, list(layers)
        self.backend, self.engine, self.calls = get_backend(), self, 0
        self.recorded: list[StandInWorker] = []
        self.aux_streams = 0

    def worker(self, profile: int) -> StandInWorker:
        return StandInWorker(self)

    def add_recorded(self, recorder: Any, profile: int) -> StandInWorker:
        self.recorded.append(StandInWorker(self, recorder))
        return self.recorded[-1]

    def pinned(self, spec: Any) -> np.ndarray:
        return np.empty(spec.shape, spec.dtype.numpy)

    def capture(self, shapes: Any) -> StandInWorker:
        return StandInWorker(self)

    def create_engine_inspector(self) -> StandInSession:
        return self

    def get_engine_information(self, layer_format: Any) -> str:
        assert layer_format == self.backend.trt.LayerInformationFormat.JSON
        return json.dumps({"Layers": self.shown}).replace("\\u001e", "\x1e")  # as it is, as TensorRT has it

    def close(self) -> None:
        pass


class StandInPlan:
    """What TensorRT shows of a deserialised plan: the inputs, outputs and profiles of a network.

    Args:
        shapes: of the network.
    """

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self.names = [*shapes.inputs, *shapes.outputs]
        self.num_io_tensors = len(self.names)
        self.num_optimization_profiles = max(1, len(shapes.profiles))

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Any:
        modes = get_backend().trt.TensorIOMode
        return modes.INPUT if name in self.shapes.inputs else modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return get_backend().data_type(self._spec(name).dtype)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(length if isinstance(length, int) else -1 for length in self._spec(name).shape)

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        profile = self.shapes.profiles[index]
        return [lengths_in(profile, self._spec(name).shape, which) for which in ("min", "opt", "max")]

    def _spec(self, name: str) -> Any:
        return {**self.shapes.inputs, **self.shapes.outputs}[name]


def stand_in(monkeypatch: pytest.MonkeyPatch, session: StandInSession) -> StandInSession:
    """Let engines run by a session, whatever the machine."""
    monkeypatch.setattr(trtnn.engine.engine, "Session", lambda *_: session)
    monkeypatch.setattr(trtnn.engine.engine.Engine, "check_runnable", lambda self: get_backend())
    return session
