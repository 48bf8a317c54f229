"""A network with BatchNorm and a head, its weights by seeds, and a TensorRT for tests of new weights in an engine."""

from __future__ import annotations

import copy
import functools
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import trtnn.build.build
import trtnn.engine.engine
import trtnn.engine.session
from tests.helpers import load_random
from tests.standin import CudaEngine, Graph, Memory
from trtnn import Engine, Network, get_backend
from trtnn.modules import BatchNorm2d, Conv2d, Linear, Module, Sequential, SiLU

SECONDS = 60  # what a test waits at most; nothing takes that long
LAYERS = [{"Name": "a", "LayerType": "CaskConvolution", "Outputs": [{"Name": "o", "Format/Datatype": "Half"}]}]


class Net(Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = Sequential(Conv2d(3, 4, 3, bias=False), BatchNorm2d(4), SiLU(), Conv2d(4, 4, 1))
        self.head = Linear(4, 2)
        self.inputs = {"x": (1, 3, 8, 8)}

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x).mean((2, 3)))


class Twin(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.SiLU(), nn.Conv2d(4, 4, 1))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x).mean((2, 3)))


def state(seed: int) -> dict[str, np.ndarray]:
    torch.manual_seed(seed)
    return {name: tensor.numpy() for name, tensor in load_random(Twin(), seed).state_dict().items()}


def loaded(seed: int) -> Net:
    net = Net()
    net.load_state_dict(state(seed))
    return net


class Builder:
    """TensorRT's part in builds, refits and runs: a plan is of the network that it was built of, with its arrays.

    Attributes:
        networks: by plan.
        arrays: of the plans that take new weights.
        sessions: the plans that were opened, in order.
        options: the BuildConfig of each build.
        begun: is released by each build.
        may_go_on: what builds wait for.
        error: what they raise then.
    """

    def __init__(self) -> None:
        self.networks: dict[bytes, Network] = {}
        self.arrays: dict[bytes, dict[Any, np.ndarray]] = {}
        self.addresses: dict[int, np.ndarray] = {}
        self.sessions: list[bytes] = []
        self.options: list[Any] = []
        self.begun, self.may_go_on = threading.Semaphore(0), threading.Event()
        self.error: Exception | None = None
        self.may_go_on.set()
        self._runs = threading.Lock()

    def build(self, graph: Any, settings: Any, config: Any, *args: Any) -> bytes:
        plan = b"ftrt %d" % len(self.networks)
        self.networks[plan] = network = Network(graph, lambda precision: graph)
        if config.refittable:
            self.arrays[plan] = {key: array.copy() for key, array in network.refittable().arrays.items()}
        self.options.append(config)
        self.begun.release()
        assert self.may_go_on.wait(SECONDS)
        if self.error is not None:
            raise self.error
        return plan

    def Runtime(self, logger: Any) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=self._deserialize)

    def _deserialize(self, plan: Any) -> Any:
        plan = bytes(plan)
        network, arrays = self.networks[plan], self.arrays.get(plan)
        engine: Any = CudaEngine(network._shapes, network, layers=LAYERS)
        engine.addresses, engine.refittable = self.addresses, arrays is not None
        if arrays is not None:
            engine.arrays = dict(arrays)
            run = functools.partial(self._run, engine, network)
            engine.network = SimpleNamespace(graph=network.graph, run=run)
            engine.create_serialization_config = lambda: SimpleNamespace(set_flag=lambda flag: None)
            engine.serialize = lambda: self._serialize(engine, network)
            engine.serialize_with_config = lambda config: self._serialize(engine, network)
        self.sessions.append(plan)
        return engine

    def _run(self, engine: Any, network: Network, **inputs: Any) -> Any:
        with self._runs:  # all plans of a network share its memory
            for key, array in network.refittable().arrays.items():
                array[...] = engine.arrays[key]
            return Network(network.graph, network.retrace).run(**inputs)  # anew: the reference keeps what it read

    def _serialize(self, engine: Any, network: Network) -> bytes:
        plan = b"ftrt %d" % len(self.networks)
        self.networks[plan], self.arrays[plan] = network, dict(engine.arrays)
        return plan

    def Refitter(self, engine: Any, logger: Any) -> Any:
        roles = get_backend().trt.WeightsRole.__members__
        given: dict[Any, np.ndarray] = {}

        def set_weights(layer: str, role: Any, array: np.ndarray) -> bool:
            given[layer, role.name] = array.copy()
            return True

        return SimpleNamespace(
            get_all=lambda: ([name for name, _ in engine.arrays], [roles[role] for _, role in engine.arrays]),
            set_weights=set_weights,
            get_missing=lambda: ([], []),
            refit_cuda_engine=lambda: engine.arrays.update(given) or True,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(get_backend().trt, name)


def stand_in_builds(monkeypatch: pytest.MonkeyPatch) -> Builder:
    """Let engines be built, refitted and run, whatever the machine."""
    made = Builder()
    backend = copy.copy(get_backend())
    backend.trt = made
    monkeypatch.setattr(trtnn.build.build, "_build_plan", made.build)
    monkeypatch.setattr(Engine, "check_runnable", lambda self: backend)
    for module in (trtnn.engine.engine, trtnn.engine.refits, trtnn.engine.session):
        monkeypatch.setattr(module, "device_memory", lambda: Memory([], made.addresses))
    monkeypatch.setattr(trtnn.engine.session, "CapturedGraph", Graph)
    return made
