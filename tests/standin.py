"""An engine's session that computes on the CPU, for what goes on around the GPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import trtnn.engine
from trtnn import Network, get_backend
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


def stand_in(monkeypatch: pytest.MonkeyPatch, session: StandInSession) -> StandInSession:
    """Let engines run by a session, whatever the machine."""
    monkeypatch.setattr(trtnn.engine, "Session", lambda *_: session)
    monkeypatch.setattr(trtnn.engine.Engine, "check_runnable", lambda self: get_backend())
    return session
