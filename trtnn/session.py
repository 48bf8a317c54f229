"""A plan on the GPU: the contexts that run it, their buffers, and the streams that they run on."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from trtnn.backend import Backend
from trtnn.cuda_graph import CapturedGraph
from trtnn.errors import EngineError
from trtnn.inputs import Input
from trtnn.memory import PycudaMemory, TorchMemory, describe_gpu_memory, device_memory
from trtnn.plan import deserialize, scratch_bytes


class Session:
    """A plan deserialised on the GPU. Threads may share it: each has a context and buffers of its own.

    Args:
        backend: the TensorRT that built the plan.
        plan: the serialised engine.
        inputs, outputs: what it takes and gives.

    Raises:
        EngineError: TensorRT cannot load it.
    """

    def __init__(
        self, backend: Backend, plan: memoryview, inputs: Mapping[str, Input], outputs: Mapping[str, Input]
    ) -> None:
        self.backend, self.inputs, self.outputs = backend, inputs, outputs
        self._local = threading.local()
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()
        memory = device_memory()  # it makes a CUDA context current, which TensorRT needs
        self._runtime, self.engine = deserialize(backend, plan)
        self._local.worker = self._add_worker(memory)

    def _add_worker(self, memory: TorchMemory | PycudaMemory) -> Worker:
        worker = Worker(self, memory)
        self._workers.add(worker)
        return worker

    @property
    def worker(self) -> Worker:
        """The calling thread's own."""
        worker = getattr(self._local, "worker", None)
        if worker is None:
            worker = self._local.worker = self._add_worker(device_memory())
        return worker

    def capture(self) -> Worker:
        """Return a worker whose work is captured in a CUDA graph."""
        worker = self._add_worker(device_memory())
        worker.capture()
        return worker

    def add_recorded(self, recorder: Any) -> Worker:
        """Return a worker that tells a recorder (an ``IProfiler``) the time of each layer whenever it runs."""
        worker = self._add_worker(device_memory())
        worker.record(recorder)
        return worker

    def close(self) -> None:
        """Free everything on the GPU, in every thread."""
        for worker in list(self._workers):
            worker.close()
        self._local = threading.local()
        self.engine = self._runtime = None


class Worker:
    """One execution context with buffers for the host's arrays."""

    def __init__(self, session: Session, memory: TorchMemory | PycudaMemory) -> None:
        self.memory = memory
        self._backend, self._inputs, self._outputs = session.backend, session.inputs, session.outputs
        self._specs = {**session.inputs, **session.outputs}
        self._context = session.engine.create_execution_context()
        if self._context is None:
            wanted = scratch_bytes(session.backend, session.engine)
            lines = self._backend.logger.take()
            raise EngineError("TensorRT could not make an execution context", *lines, *describe_gpu_memory(wanted))
        self._buffers: dict[str, Any] = {}
        self._pinned: dict[str, Any] = {}
        self._graph: CapturedGraph | None = None
        self._last_stream: Any = None
        self._recorder: Any = None

    def run_arrays(self, given: Mapping[str, np.ndarray], out: Mapping[str, np.ndarray] | None) -> dict[str, Any]:
        """Run on NumPy arrays, through pinned memory, and wait for the result."""
        memory = self.memory
        buffers = self._own_buffers()
        if not self._pinned:
            self._pinned = {name: memory.pinned(spec) for name, spec in self._specs.items()}
        for name, array in given.items():
            np.copyto(memory.array(self._pinned[name]), array)
            memory.copy(buffers[name], self._pinned[name])
        self._execute(buffers)
        for name in self._outputs:
            memory.copy(self._pinned[name], buffers[name])
        memory.synchronize()
        if out is None:
            return {name: memory.array(self._pinned[name]).copy() for name in self._outputs}
        for name, array in out.items():
            np.copyto(array, memory.array(self._pinned[name]))
        return dict(out)

    def run_tensors(self, given: Mapping[str, Any], out: Mapping[str, Any] | None) -> dict[str, Any]:
        """Run on torch tensors on the GPU, on torch's current stream, without waiting for the result."""
        memory = self.memory
        if self._graph is None:
            results = dict(out) if out is not None else {n: memory.empty(s) for n, s in self._outputs.items()}
            self._execute({**given, **results})
            return results
        for name, tensor in given.items():
            memory.copy(self._buffers[name], tensor)
        self._execute(self._buffers)
        if out is None:
            return {name: self._buffers[name].clone() for name in self._outputs}
        for name, tensor in out.items():
            memory.copy(tensor, self._buffers[name])
        return dict(out)

    def capture(self) -> None:
        """Record the work on this worker's own buffers as a CUDA graph, which it launches from now on."""
        buffers = self._own_buffers()
        self._execute(buffers)  # TensorRT finishes its set-up in the first run, which cannot be captured
        self.memory.synchronize()
        self._graph = CapturedGraph(self._enqueue)

    def record(self, recorder: Any) -> None:
        """Tell an ``IProfiler`` the time of each layer from now on; each run then waits until it is done."""
        self._recorder = recorder  # TensorRT keeps only its address
        self._context.profiler = recorder

    def bare(self) -> Callable[[], None]:
        """Return the execution alone, on this worker's own buffers and the stream that is current now."""
        self._execute(self._own_buffers())
        enqueue = self._enqueue if self._graph is None else self._graph.launch
        return partial(enqueue, self.memory.handle(self.memory.current_stream()))

    def _own_buffers(self) -> dict[str, Any]:
        if not self._buffers:
            self._buffers = {name: self.memory.empty(spec) for name, spec in self._specs.items()}
        return self._buffers

    def _execute(self, buffers: Mapping[str, Any]) -> None:
        memory = self.memory
        stream = memory.current_stream()
        if stream != self._last_stream:
            # The context's scratch memory may still be in use where it ran before.
            if self._last_stream is not None:
                memory.wait(stream, self._last_stream)
            self._last_stream = stream
        handle = memory.handle(stream)
        if self._graph is not None:
            self._graph.launch(handle)
            return
        for name, buffer in buffers.items():
            self._context.set_tensor_address(name, memory.pointer(buffer))
        self._enqueue(handle)

    def _enqueue(self, stream: int) -> None:
        if not self._context.execute_async_v3(stream):
            raise EngineError(
                "TensorRT could not run this engine", *self._backend.logger.take(), *describe_gpu_memory()
            )

    def close(self) -> None:
        """Free the context and the buffers."""
        self.memory.synchronize()
        if self._graph is not None:
            self._graph.close()
        self._graph = self._context = None
        self._buffers, self._pinned = {}, {}
