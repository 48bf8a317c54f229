"""A plan on the GPU: the contexts that run it, their buffers, and the streams that they run on."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from trtnn.backend import Backend
from trtnn.engine.cuda_graph import CapturedGraph
from trtnn.engine.memory import PycudaMemory, TorchMemory, describe_gpu_memory, device_memory
from trtnn.engine.plan import check_bindings, deserialize, scratch_bytes
from trtnn.errors import ArgumentError, EngineError
from trtnn.progress import held_signals
from trtnn.shapes.profiles import CallShapes, Shapes
from trtnn.shapes.spec import Input


class Session:
    """A plan deserialised on the GPU. Threads may share it: each has contexts and buffers of its own.

    Args:
        backend: the TensorRT that built the plan.
        plan: the serialised engine.
        shapes: what it takes and gives, by its description.

    Raises:
        EngineError: TensorRT cannot load it, or finds something else in it than its description says.
    """

    def __init__(self, backend: Backend, plan: memoryview, shapes: Shapes) -> None:
        self.backend, self.is_dynamic = backend, bool(shapes.profiles)
        self._local = threading.local()
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()
        self._memory()  # it makes a CUDA context current, which TensorRT needs
        self._runtime, self.engine = deserialize(backend, plan)
        check_bindings(self.engine, backend.trt, shapes)

    def _memory(self) -> TorchMemory | PycudaMemory:
        """Return the calling thread's own."""
        memory = getattr(self._local, "memory", None)
        if memory is None:
            memory = self._local.memory = device_memory()
            self._local.workers = {}
        return memory

    def _add_worker(self, profile: int, stream: int | None = None) -> Worker:
        worker = Worker(self, self._memory(), profile, stream)
        self._workers.add(worker)
        return worker

    def worker(self, profile: int) -> Worker:
        """Return the calling thread's own for an optimisation profile and the stream that is current.

        A context that moved from stream to stream would hold up one behind the other.
        """
        stream = self._memory().current_handle()
        workers = self._local.workers
        worker = workers.get((profile, stream))
        if worker is None:
            worker = workers[profile, stream] = self._add_worker(profile, stream)
        return worker

    def pinned(self, spec: Input) -> np.ndarray:
        """Return an uninitialised array in page-locked memory."""
        memory = self._memory()
        return memory.array(memory.pinned(spec))

    def capture(self, shapes: CallShapes) -> Worker:
        """Return a worker whose work at these shapes is captured in a CUDA graph."""
        worker = self._add_worker(shapes.profile)
        worker.capture(shapes)
        return worker

    def add_recorded(self, recorder: Any, profile: int) -> Worker:
        """Return a worker that tells a recorder (an ``IProfiler``) the time of each layer whenever it runs."""
        worker = self._add_worker(profile)
        worker.record(recorder)
        return worker

    @property
    def aux_streams(self) -> int:
        """How many streams TensorRT uses beside the caller's."""
        return self.engine.num_aux_streams

    def close(self) -> None:
        """Free everything on the GPU, in every thread."""
        for worker in list(self._workers):
            worker.close()
        self._local = threading.local()
        self.engine = self._runtime = None


class _Buffer(NamedTuple):
    """A buffer as long as the longest input or output yet, and its beginning in the shape of the last one."""

    whole: Any
    spec: Input
    view: Any


class Worker:
    """One execution context with buffers for the host's arrays.

    Args:
        session: whose plan it runs.
        memory: the calling thread's.
        profile: the index of the optimisation profile.
        stream: the handle of the one stream that it works on; where None, that is the current one of each call.
    """

    def __init__(
        self, session: Session, memory: TorchMemory | PycudaMemory, profile: int, stream: int | None = None
    ) -> None:
        self.memory, self._stream = memory, stream
        self._backend, self._is_dynamic = session.backend, session.is_dynamic
        self._context = session.engine.create_execution_context()
        if self._context is None:
            wanted = scratch_bytes(session.backend, session.engine)
            lines = self._backend.logger.take()
            raise EngineError("TensorRT could not make an execution context", *lines, *describe_gpu_memory(wanted))
        if self._is_dynamic:
            # Always said: TensorRT takes the first profile by itself for the first context alone.
            if not self._context.set_optimization_profile_async(profile, memory.current_handle()):
                raise EngineError(f"TensorRT could not use profile {profile}", *self._backend.logger.take())
            memory.synchronize()  # the context may run on another stream
        self._shapes: CallShapes | None = None  # those that the context was told last
        self._known: weakref.WeakSet[CallShapes] = weakref.WeakSet()  # whose outputs are as TensorRT has them
        self._buffers: dict[str, _Buffer] = {}
        self._pinned: dict[str, _Buffer] = {}
        self._addresses: dict[str, int] = {}  # those that the context was told last
        self._graph: CapturedGraph | None = None
        self._last_stream: Any = None
        self._recorder: Any = None

    def run_arrays(
        self, shapes: CallShapes, given: Mapping[str, np.ndarray], out: Mapping[str, np.ndarray] | None
    ) -> dict[str, Any]:
        """Run on NumPy arrays, through pinned memory where memory does not take them, and wait for the result."""
        memory = self.memory
        self._settle(shapes)
        buffers = self._own_buffers(shapes)
        for name, array in given.items():
            source = memory.direct(array)
            if source is None:
                source = self._sized(self._pinned, memory.pinned, name, shapes.inputs[name])
                memory.fill(source, array)
            memory.copy(buffers[name], source)
        self._execute(buffers)
        if out is None:  # pinned memory that is handed on: copying it once more would take longer than the transfer
            results = {name: memory.pinned(spec) for name, spec in shapes.outputs.items()}
            for name, result in results.items():
                memory.copy(result, buffers[name])
            memory.synchronize()
            return {name: memory.array(result) for name, result in results.items()}
        staged = {}
        for name, array in out.items():
            target = memory.direct(array)
            if target is None:
                target = staged[name] = self._sized(self._pinned, memory.pinned, name, shapes.outputs[name])
            memory.copy(target, buffers[name])
        memory.synchronize()
        for name, pinned in staged.items():
            memory.read(pinned, out[name])
        return dict(out)

    def run_tensors(
        self, shapes: CallShapes, given: Mapping[str, Any], out: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Run on torch tensors on the GPU, on torch's current stream, without waiting for the result.

        Raises:
            ArgumentError: ``out`` is an input as well, which a graph's own buffers alone allow.
        """
        memory = self.memory
        self._settle(shapes)
        if self._graph is None:
            if out is not None:
                read = {memory.pointer(tensor) for tensor in given.values()}
                for name, tensor in out.items():
                    if memory.pointer(tensor) in read:
                        raise ArgumentError(
                            f"out {name!r} is the memory of an input",
                            "TensorRT may write before it has read: give another",
                        )
            results = dict(out) if out is not None else {n: memory.empty(s) for n, s in shapes.outputs.items()}
            self._execute({**given, **results})
            return results
        buffers = self._own_buffers(shapes)
        for name, tensor in given.items():
            memory.copy(buffers[name], tensor)
        self._execute(buffers)
        results = dict(out) if out is not None else {n: memory.empty(s) for n, s in shapes.outputs.items()}
        for name, tensor in results.items():
            memory.copy(tensor, buffers[name])
        return results

    def capture(self, shapes: CallShapes) -> None:
        """Record the work at some shapes on this worker's own buffers as a CUDA graph, which it launches from now on.

        It takes calls of these shapes alone after that: a context must not change under a graph that was captured of
        it.
        """
        self._settle(shapes)
        buffers = self._own_buffers(shapes)
        self._execute(buffers)  # TensorRT finishes its set-up in the first run, which cannot be captured
        self.memory.synchronize()
        self._graph = CapturedGraph(self._enqueue)

    def record(self, recorder: Any) -> None:
        """Tell an ``IProfiler`` the time of each layer from now on; each run then waits until it is done."""
        self._recorder = recorder  # TensorRT keeps only its address
        self._context.profiler = recorder

    def bare(self, shapes: CallShapes) -> Callable[[], None]:
        """Return the execution alone, on this worker's own buffers and the stream that is current now."""
        self._settle(shapes)
        self._execute(self._own_buffers(shapes))
        enqueue = self._enqueue if self._graph is None else self._graph.launch
        return partial(enqueue, self.memory.current_handle())

    def _own_buffers(self, shapes: CallShapes) -> dict[str, Any]:
        specs = {**shapes.inputs, **shapes.outputs}
        return {name: self._sized(self._buffers, self.memory.empty, name, spec) for name, spec in specs.items()}

    def _sized(self, kept: dict[str, _Buffer], allocate: Callable[[Input], Any], name: str, spec: Input) -> Any:
        """Return a buffer for an input or output in its shape, the beginning of one that is kept and grows."""
        buffer = kept.get(name)
        if buffer is None or buffer.spec is not spec:  # a view costs more than all else here
            count = math.prod(spec.shape)
            whole = buffer.whole if buffer and buffer.whole.shape[0] >= count else None
            whole = allocate(Input((count,), spec.dtype)) if whole is None else whole
            buffer = kept[name] = _Buffer(whole, spec, whole[:count].reshape(spec.shape))
        return buffer.view

    def _execute(self, buffers: Mapping[str, Any]) -> None:
        stream = self._current_stream() if self._stream is None else self._stream
        if self._graph is not None:
            self._graph.launch(stream)
            return
        addresses = self._addresses
        for name, buffer in buffers.items():
            address = self.memory.pointer(buffer)
            if addresses.get(name) != address:
                self._context.set_tensor_address(name, address)
                addresses[name] = address
        self._enqueue(stream)

    def _current_stream(self) -> int:
        """Return the handle of the current stream, which goes on only after this worker's last work elsewhere."""
        stream = self.memory.current_stream()
        if stream != self._last_stream:
            # The context's scratch memory may still be in use where it ran before.
            if self._last_stream is not None:
                self.memory.wait(stream, self._last_stream)
            self._last_stream = stream
        return self.memory.handle(stream)

    def _settle(self, shapes: CallShapes) -> None:
        """Let the context know the shapes of a call, before any buffer is made for them."""
        if self._is_dynamic and shapes is not self._shapes and self._graph is None:
            self._tell(shapes)

    def _tell(self, shapes: CallShapes) -> None:
        self._shapes = None
        for name, spec in shapes.inputs.items():
            if not self._context.set_input_shape(name, spec.shape):
                raise EngineError(
                    f"TensorRT did not take the shape {spec.shape} of input {name!r}", *self._backend.logger.take()
                )
        if shapes not in self._known:
            self._check_outputs(shapes)
            self._known.add(shapes)
        self._shapes = shapes

    def _check_outputs(self, shapes: CallShapes) -> None:
        """Check that outputs are as long as TensorRT will write them, now that it knows the inputs' shapes.

        Raises:
            EngineError: one is not; with both.
        """
        for name, spec in shapes.outputs.items():
            found = tuple(self._context.get_tensor_shape(name))
            if found != spec.shape:
                raise EngineError(
                    "what the file of this engine says is not what TensorRT finds in the plan",
                    f"output {name!r} has the shape {spec.shape}; in the plan {found}",
                    f"where inputs have {', '.join(f'{n} {s.shape}' for n, s in shapes.inputs.items())}",
                    *self._backend.logger.take(),
                    "build it again, or copy the file again",
                )

    def _enqueue(self, stream: int) -> None:
        if self._recorder is None:
            done = self._context.execute_async_v3(stream)
        else:  # TensorRT calls Python for it
            with held_signals():
                done = self._context.execute_async_v3(stream)
        if not done:
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
