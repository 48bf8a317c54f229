"""A GPU and TensorRT's runtime where neither is: memory lies on the host, and contexts run the CPU reference.

All above them is what it is on a GPU: engines, sessions, workers, and who uses CUDA graphs.
"""

from __future__ import annotations

import copy
import ctypes
import inspect
import json
import weakref
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import trtnn.engine.engine
import trtnn.engine.session
import trtnn.engine.staging
import trtnn.on_gpu
from tests.kernels.emulated import EmulatedKernels
from trtnn import Dim, Network, get_backend
from trtnn.backend import Backend
from trtnn.shapes.call import Shapes
from trtnn.shapes.profiles import lengths_in
from trtnn.shapes.spec import TensorSpec
from trtnn.shapes.symbolic import evaluate
from trtnn.structure import leaves_of

Times = Callable[[int], Iterable[tuple[str, float]]]


class Memory:
    """Arrays on the host in the place of device and pinned memory; they begin as -1.

    Args:
        log: what is asked for is written there.
        addresses: the buffers by their addresses, for contexts to find.
    """

    stream = 7  # the one that is current

    def __init__(self, log: list[tuple[Any, ...]], addresses: dict[int, np.ndarray]) -> None:
        self.log, self.addresses = log, addresses

    def current_stream(self) -> int:
        return self.stream

    def current_handle(self) -> int:
        return self.stream

    def handle(self, stream: int) -> int:
        return stream

    def wait(self, stream: int, other: int) -> None:
        self.log.append(("wait", stream, other))

    def empty(self, spec: TensorSpec) -> np.ndarray:
        self.log.append(("empty", spec.shape))
        return np.full(spec.shape, -1, spec.dtype.numpy)

    def pinned(self, spec: TensorSpec) -> np.ndarray:
        self.log.append(("pinned", spec.shape))
        return np.full(spec.shape, -1, spec.dtype.numpy)

    def array(self, pinned: np.ndarray) -> np.ndarray:
        return pinned

    def direct(self, array: np.ndarray) -> np.ndarray | None:
        return array if array.flags.c_contiguous else None

    def fill(self, pinned: np.ndarray, array: np.ndarray) -> None:
        self.log.append(("fill", array.shape))
        pinned[...] = array

    def read(self, pinned: np.ndarray, array: np.ndarray) -> None:
        self.log.append(("read", array.shape))
        array[...] = pinned

    def pointer(self, buffer: np.ndarray) -> int:
        self.addresses[buffer.ctypes.data] = buffer
        return buffer.ctypes.data

    def copy(self, target: np.ndarray, source: np.ndarray) -> None:
        assert target.shape == source.shape
        target[...] = source

    def synchronize(self) -> None:
        pass


class Context:
    """An ``IExecutionContext``: it runs on the buffers and at the shapes that it was told, and checks them."""

    def __init__(self, engine: CudaEngine) -> None:
        self.engine, self.profile, self.profiler = engine, None, None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.engine.log.append(("profile", profile))
        self.profile = profile
        return profile < len(self.engine.shapes.profiles)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.engine.log.append(("shape", shape))
        self.shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        lengths: dict[str, int] = {}
        for told, shape in self.shapes.items():
            of_input = zip(self.engine.shapes.inputs[told].shape, shape, strict=True)
            lengths |= {dim.name: length for dim, length in of_input if isinstance(dim, Dim)}
        return tuple(evaluate(length, lengths) for length in self.engine.shapes.outputs[name].shape)

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def set_aux_streams(self, streams: list[int]) -> None:
        self.engine.log.append(("beside", *streams))

    def execute_async_v3(self, stream: int) -> bool:
        engine = self.engine
        arrays = {name: engine.addresses[address] for name, address in self.addresses.items()}
        assert arrays.keys() == {*engine.shapes.inputs, *engine.shapes.outputs}
        inputs = {name: arrays[name] for name in engine.shapes.inputs}
        for name, shape in self.shapes.items():
            assert inputs[name].shape == shape
        for name, value in leaves_of(engine.network.graph.structure, engine.network.run(**inputs)).items():
            assert arrays[name].shape == np.shape(value)
            arrays[name][...] = value
        engine.log.append(("run", self.profile))
        if self.profiler is not None:
            for layer, milliseconds in engine.times(engine.runs):
                self.profiler.report_layer_time(layer, milliseconds)
        return True


class CudaEngine:
    """What TensorRT makes of a plan: an ``ICudaEngine``, and its inspector.

    Args:
        shapes: what TensorRT shows of it.
        network: what its contexts run; None where nothing runs.
        times: the (name, milliseconds) that TensorRT reports in the n-th run.
        layers: what the inspector shows of each layer.
    """

    num_aux_streams = 0

    def __init__(
        self, shapes: Shapes, network: Network | None = None, times: Times = lambda _: (), layers: Iterable[Any] = ()
    ) -> None:
        self.shapes, self.network, self.times, self.layers = shapes, network, times, list(layers)
        self.names = [*shapes.inputs, *shapes.outputs]
        self.num_io_tensors = len(self.names)
        self.num_optimization_profiles = max(1, len(shapes.profiles))
        self.log: list[tuple[Any, ...]] = []  # what it and the memory were asked for, in order
        self.addresses: dict[int, np.ndarray] = {}
        self.contexts: weakref.WeakSet[Context] = weakref.WeakSet()  # those that somebody holds

    @property
    def runs(self) -> int:
        """How often a context ran."""
        return sum(kind == "run" for kind, *_ in self.log)

    def memory(self) -> Memory:
        return Memory(self.log, self.addresses)

    def backend(self) -> Backend:
        """Return the TensorRT that is here, with a runtime that makes this engine of any plan."""
        backend = copy.copy(get_backend())
        backend.trt = _Runtimes(backend.trt, self)  # type: ignore[assignment]
        return backend

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

    def create_execution_context(self) -> Context:
        context = Context(self)
        self.contexts.add(context)
        return context

    def create_engine_inspector(self) -> CudaEngine:
        return self

    def get_engine_information(self, layer_format: Any) -> str:
        assert layer_format == get_backend().trt.LayerInformationFormat.JSON
        return json.dumps({"Layers": self.layers}).replace("\\u001e", "\x1e")  # as it is, as TensorRT has it


class _Runtimes:
    """TensorRT's module with runtimes that make one engine of every plan."""

    def __init__(self, trt: Any, engine: CudaEngine) -> None:
        self.trt, self.engine = trt, engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.trt, name)

    def Runtime(self, logger: Any) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: self.engine)


class Graph:
    """A CUDA graph that is not one: it puts its work on the stream again whenever it is launched.

    As a graph knows buffers by their addresses alone, it keeps nothing alive that it works on.
    """

    def __init__(self, enqueue: Callable[[int], None]) -> None:
        self._enqueue = weakref.WeakMethod(enqueue) if inspect.ismethod(enqueue) else lambda: enqueue
        enqueue(Memory.stream)

    def launch(self, stream: int) -> None:
        enqueue = self._enqueue()
        assert enqueue is not None, "an illegal memory access: the graph's buffers are gone"
        enqueue(stream)

    def close(self) -> None:
        pass


class GraphOfNow(Graph):
    """A graph that is launched as soon as it is captured: the work was done then, and is not done once more.

    What kernels count would be counted twice; a capture does no work.
    """

    def __init__(self, enqueue: Callable[[int], None]) -> None:
        super().__init__(enqueue)
        self._is_done = True

    def launch(self, stream: int) -> None:
        if not self._is_done:
            super().launch(stream)
        self._is_done = False


class Lane:
    """A stream of the GPU and its memory, on the host.

    Args:
        log: what is asked for is written there.
    """

    handle = 9

    def __init__(self, log: list[tuple[Any, ...]]) -> None:
        self.log = log
        self.allocated: dict[int, np.ndarray] = {}
        self.locked: dict[int, np.ndarray] = {}

    def enter(self) -> None:
        pass

    def allocate(self, size_bytes: int) -> int:
        self.log.append(("allocate", size_bytes))
        memory = np.full(size_bytes + 256, 255, np.uint8)
        address = memory.ctypes.data + -memory.ctypes.data % 256
        self.allocated[address] = memory
        return address

    def release(self, address: int) -> None:
        self.log.append(("release",))
        del self.allocated[address]

    def pinned(self, size_bytes: int) -> np.ndarray:
        memory = np.full(size_bytes + 8, 255, np.uint8)[:size_bytes]
        self.locked[memory.ctypes.data] = memory
        return memory

    def is_pinned(self, array: np.ndarray) -> bool:
        return array.ctypes.data in self.locked

    def upload(self, address: int, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        self.log.append(("upload", array.nbytes))
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def repeated(self, address: int, array: np.ndarray) -> Callable[[], None]:
        return lambda: self.upload(address, array)

    def download(self, array: np.ndarray, address: int) -> None:
        assert array.flags.c_contiguous
        self.log.append(("download", array.nbytes))
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def wait_for(self, stream: int) -> None:
        self.log.append(("wait for", stream))

    def mark(self, stream: int) -> None:
        pass

    def wait_marked(self) -> None:
        pass

    def synchronize(self) -> None:
        self.log.append(("synchronize",))


def stand_in(
    monkeypatch: pytest.MonkeyPatch, network: Network, times: Times = lambda _: (), layers: Iterable[Any] = ()
) -> CudaEngine:
    """Let engines run, whatever the machine; each is one of the network, and described so."""
    engine = CudaEngine(network._shapes, network, times, layers)
    backend = engine.backend()
    monkeypatch.setattr(trtnn.engine.engine.Engine, "check_runnable", lambda self: backend)
    for module in (trtnn.engine.engine, trtnn.engine.session):
        monkeypatch.setattr(module, "device_memory", engine.memory)
    monkeypatch.setattr(trtnn.engine.session, "CapturedGraph", Graph)
    monkeypatch.setattr(trtnn.engine.session, "Lane", lambda: Lane(engine.log))
    return engine


def stand_in_kernels(monkeypatch: pytest.MonkeyPatch, log: list[tuple[Any, ...]]) -> None:
    """Let a Detector take the GPU's way, whatever the machine: its kernels are those compiled for the CPU."""
    made = {name: EmulatedKernels(name) for name in ("preprocessing", "postprocessing")}
    for kernels in made.values():
        kernels.log = log
    monkeypatch.setattr(trtnn.on_gpu, "kernels", made.__getitem__)
    for module in (trtnn.on_gpu, trtnn.engine.staging):
        monkeypatch.setattr(module, "Lane", lambda: Lane(log))
    monkeypatch.setattr(trtnn.engine.staging, "_idle", [])
    monkeypatch.setattr(trtnn.on_gpu, "CapturedGraph", GraphOfNow)
    monkeypatch.setattr(trtnn.on_gpu, "gpus", lambda: ("sm90",))
    monkeypatch.setattr(trtnn.on_gpu, "is_ready", lambda name, arch: True)
