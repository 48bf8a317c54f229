"""A plan on the GPU: the contexts that run it, their buffers, and the streams that they run on."""

from __future__ import annotations

import math
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from trtnn.backend import Backend
from trtnn.engine.calls import overlap
from trtnn.engine.cuda_graph import CapturedGraph
from trtnn.engine.lane import Lane
from trtnn.engine.memory import DeviceMemory, describe_gpu_memory, device_memory
from trtnn.engine.plan import check_bindings, contradiction, deserialize, scratch_bytes
from trtnn.errors import ArgumentError, EngineError
from trtnn.shapes.call import CallShapes, Shapes
from trtnn.shapes.spec import TensorSpec
from trtnn.signals import held_signals


class Session:
    """A plan deserialised on the GPU. Threads may share it: each has contexts and buffers of its own.

    Args:
        backend: the TensorRT that built the plan.
        plan: the serialised engine.
        shapes: what it takes and gives, by its description.

    Raises:
        EngineError: TensorRT cannot load it, or its bindings are not those of its description.
    """

    def __init__(self, backend: Backend, plan: memoryview, shapes: Shapes) -> None:
        self.backend, self.is_dynamic = backend, bool(shapes.profiles)
        self._local = threading.local()
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()
        self._memory()  # it makes a CUDA context current, which TensorRT needs
        self.engine: Any
        self._runtime, self.engine = deserialize(backend, plan)
        check_bindings(self.engine, backend.trt, shapes)

    def _memory(self) -> DeviceMemory:
        """Return the calling thread's own."""
        memory = getattr(self._local, "memory", None)
        if memory is None:
            memory = self._local.memory = device_memory()
            self._local.workers = {}
        return memory

    def worker(self, profile: int) -> StreamWorker:
        """Return the calling thread's own for an optimisation profile and the stream that is current.

        A context that moved from stream to stream would hold up one behind the other.
        """
        stream = self._memory().current_handle()
        workers = self._local.workers
        worker = workers.get((profile, stream))
        if worker is None:
            worker = workers[profile, stream] = StreamWorker(self, self._memory(), profile, stream)
            self._workers.add(worker)
        return worker

    def pinned(self, spec: TensorSpec) -> np.ndarray:
        """Return an uninitialised array in page-locked memory."""
        memory = self._memory()
        return memory.array(memory.pinned(spec))

    def capture(self, shapes: CallShapes) -> GraphWorker:
        """Return a worker whose work at these shapes is captured in a CUDA graph."""
        worker = GraphWorker(self, self._memory(), shapes)
        self._workers.add(worker)
        return worker

    def attach(self, shapes: CallShapes, stream: int) -> AttachedWorker:
        """Return a worker that runs at these shapes on a stream, by its handle, between other work there."""
        worker = AttachedWorker(self, self._memory(), shapes, stream)
        self._workers.add(worker)
        return worker

    def add_recorded(self, recorder: Any, profile: int) -> RecordedWorker:
        """Return a worker that tells a recorder (an ``IProfiler``) the time of each layer whenever it runs."""
        memory = self._memory()
        worker = RecordedWorker(self, memory, profile, memory.current_handle(), recorder)
        self._workers.add(worker)
        return worker

    def warm_up(self, shapes: CallShapes) -> None:
        """Run once on zeros at these shapes, in a context that goes again: first calls then find the kernels loaded.

        Zeros are there for inputs that are indices. Where NumPy lacks a type nothing is run.

        Raises:
            EngineError: it does not run.
        """
        if any(spec.dtype.numpy is None for spec in (*shapes.inputs.values(), *shapes.outputs.values())):
            return
        memory = self._memory()
        worker = StreamWorker(self, memory, shapes.profile, memory.current_handle())
        self._workers.add(worker)
        try:
            worker.run_arrays(shapes, {n: np.zeros(s.shape, s.dtype.numpy) for n, s in shapes.inputs.items()}, None)
        finally:
            worker.close()

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
    whole: Any
    spec: TensorSpec
    view: Any  # the beginning of the whole, in the shape of the spec


class _Buffers:
    """Buffers by the names of inputs and outputs, which are kept and grow.

    Args:
        allocate: makes one.
    """

    def __init__(self, allocate: Callable[[TensorSpec], Any]) -> None:
        self._allocate = allocate
        self._kept: dict[str, _Buffer] = {}

    def sized(self, name: str, spec: TensorSpec) -> Any:
        """Return the buffer of an input or output in its shape of this call."""
        buffer = self._kept.get(name)
        if buffer is None or buffer.spec is not spec:  # a view costs more than all else here
            count = math.prod(spec.shape)
            whole = buffer.whole if buffer and buffer.whole.shape[0] >= count else None
            whole = self._allocate(TensorSpec((count,), spec.dtype)) if whole is None else whole
            buffer = self._kept[name] = _Buffer(whole, spec, whole[:count].reshape(spec.shape))
        return buffer.view

    def clear(self) -> None:
        """Let go of all of them."""
        self._kept.clear()


class Worker(ABC):
    """One execution context with buffers for the host's arrays; how it runs is what the kinds of workers differ in.

    Args:
        session: whose plan it runs.
        memory: the calling thread's.
        profile: the index of the optimisation profile.
    """

    def __init__(self, session: Session, memory: DeviceMemory, profile: int) -> None:
        self.memory = memory
        self._backend, self._is_dynamic = session.backend, session.is_dynamic
        self._context: Any = session.engine.create_execution_context()
        if self._context is None:
            wanted = scratch_bytes(session.backend, session.engine)
            lines = self._backend.logger.take()
            raise EngineError("TensorRT could not make an execution context", *lines, *describe_gpu_memory(wanted))
        # In place of TensorRT's own, which are ordered with the legacy default stream: no thread could use that one
        # while another captures.
        self._beside = [Lane() for _ in range(session.aux_streams)]
        if self._beside:
            self._context.set_aux_streams([lane.handle for lane in self._beside])
        if self._is_dynamic:
            # Always said: TensorRT takes the first profile by itself for the first context alone.
            if not self._context.set_optimization_profile_async(profile, memory.current_handle()):
                raise EngineError(f"TensorRT could not use profile {profile}", *self._backend.logger.take())
            memory.synchronize()  # the context may run on another stream
        self._shapes: CallShapes | None = None  # those that the context was told last
        self._checked: weakref.WeakSet[CallShapes] = weakref.WeakSet()  # whose outputs are as TensorRT has them
        self._buffers = _Buffers(memory.empty)
        self._pinned = _Buffers(memory.pinned)
        self._addresses: dict[str, int] = {}  # those that the context was told last

    @abstractmethod
    def _settle(self, shapes: CallShapes) -> None:
        """Let the context know the shapes of a call, before any buffer is made for them."""

    @abstractmethod
    def _execute(self, buffers: Mapping[str, Any]) -> None:
        """Run on buffers of the shapes that were settled last."""

    def run_arrays(
        self, shapes: CallShapes, inputs: Mapping[str, np.ndarray], out: Mapping[str, np.ndarray] | None
    ) -> dict[str, Any]:
        """Run on NumPy arrays, through pinned memory where memory does not take them, and wait for the result."""
        memory = self.memory
        self._settle(shapes)
        buffers = self._own_buffers(shapes)
        for name, array in inputs.items():
            source = memory.direct(array)
            if source is None:
                source = self._pinned.sized(name, shapes.inputs[name])
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
                target = staged[name] = self._pinned.sized(name, shapes.outputs[name])
            memory.copy(target, buffers[name])
        memory.synchronize()
        for name, pinned in staged.items():
            memory.read(pinned, out[name])
        return dict(out)

    @abstractmethod
    def run_tensors(
        self, shapes: CallShapes, inputs: Mapping[str, Any], out: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Run on torch tensors on the GPU, on torch's current stream, without waiting for the result."""

    @abstractmethod
    def bare(self, shapes: CallShapes) -> Callable[[], None]:
        """Return the execution alone, on this worker's own buffers and the stream that is current now."""

    def _results(self, shapes: CallShapes, out: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the tensors that outputs go to."""
        return dict(out) if out is not None else {n: self.memory.empty(s) for n, s in shapes.outputs.items()}

    def _own_buffers(self, shapes: CallShapes) -> dict[str, Any]:
        specs = {**shapes.inputs, **shapes.outputs}
        return {name: self._buffers.sized(name, spec) for name, spec in specs.items()}

    def _tell(self, shapes: CallShapes) -> None:
        """Tell the context the shapes of a call, and check once what its outputs come to there."""
        self._shapes = None
        for name, spec in shapes.inputs.items():
            if not self._context.set_input_shape(name, spec.shape):
                raise EngineError(
                    f"TensorRT did not take the shape {spec.shape} of input {name!r}", *self._backend.logger.take()
                )
        if shapes not in self._checked:
            self._check_outputs(shapes)
            self._checked.add(shapes)
        self._shapes = shapes

    def _check_outputs(self, shapes: CallShapes) -> None:
        """Check that outputs are as long as TensorRT will write them, now that it knows the inputs' shapes.

        Raises:
            EngineError: one is not; with both.
        """
        for name, spec in shapes.outputs.items():
            in_plan = tuple(self._context.get_tensor_shape(name))
            if in_plan != spec.shape:
                raise contradiction(
                    f"output {name!r} has the shape {spec.shape}; in the plan {in_plan}",
                    f"where inputs have {', '.join(f'{n} {s.shape}' for n, s in shapes.inputs.items())}",
                    *self._backend.logger.take(),
                )

    def _enqueue_on(self, buffers: Mapping[str, Any], stream: int) -> None:
        """Tell the context where inputs and outputs lie, and put its work on a stream."""
        addresses = self._addresses
        for name, buffer in buffers.items():
            address = self.memory.pointer(buffer)
            if addresses.get(name) != address:
                self._context.set_tensor_address(name, address)
                addresses[name] = address
        self._enqueue(stream)

    def check_is_open(self) -> None:
        """Check that the context and the buffers are there: a graph that was captured of them launches without.

        Raises:
            EngineError: they were freed with the engine.
        """
        if self._context is None:
            raise EngineError("this engine was closed", "load it again")

    def _enqueue(self, stream: int) -> None:
        self.check_is_open()
        if not self._context.execute_async_v3(stream):
            raise EngineError(
                "TensorRT could not run this engine", *self._backend.logger.take(), *describe_gpu_memory()
            )

    def close(self) -> None:
        """Free the context and the buffers."""
        self.memory.synchronize()
        self._context = None
        self._beside.clear()
        self._buffers.clear()
        self._pinned.clear()


class StreamWorker(Worker):
    """A worker that puts its work on one stream, on the caller's tensors where they lie.

    Args:
        session, memory, profile: as for any worker.
        stream: the handle of the stream.
    """

    def __init__(self, session: Session, memory: DeviceMemory, profile: int, stream: int) -> None:
        super().__init__(session, memory, profile)
        self._stream = stream

    def _settle(self, shapes: CallShapes) -> None:
        if self._is_dynamic and shapes is not self._shapes:
            self._tell(shapes)

    def _execute(self, buffers: Mapping[str, Any]) -> None:
        self._enqueue_on(buffers, self._stream)

    def run_tensors(
        self, shapes: CallShapes, inputs: Mapping[str, Any], out: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Run on torch tensors on the GPU where they lie, on this worker's stream, without waiting for the result.

        Raises:
            ArgumentError: ``out`` has memory in common with an input.
        """
        memory = self.memory
        self._settle(shapes)
        if out is not None:
            read = [(memory.pointer(tensor), tensor.nbytes) for tensor in inputs.values()]
            for name, tensor in out.items():
                if any(overlap(memory.pointer(tensor), tensor.nbytes, *one) for one in read):
                    raise ArgumentError(
                        f"out {name!r} is the memory of an input",
                        "TensorRT may write before it has read: give another",
                    )
        results = self._results(shapes, out)
        self._execute({**inputs, **results})
        return results

    def bare(self, shapes: CallShapes) -> Callable[[], None]:
        """Return the execution alone, on this worker's own buffers and its stream."""
        self._settle(shapes)
        self._execute(self._own_buffers(shapes))
        return partial(self._enqueue, self._stream)


class RecordedWorker(StreamWorker):
    """A worker that tells a recorder the time of each layer; each run waits until it is done.

    Args:
        session, memory, profile, stream: as for any worker on one stream.
        recorder: an ``IProfiler``.
    """

    def __init__(self, session: Session, memory: DeviceMemory, profile: int, stream: int, recorder: Any) -> None:
        super().__init__(session, memory, profile, stream)
        self._recorder = recorder  # TensorRT keeps only its address
        self._context.profiler = recorder

    def _enqueue(self, stream: int) -> None:
        with held_signals():  # TensorRT calls Python
            super()._enqueue(stream)


class GraphWorker(Worker):
    """A worker whose work at some shapes was recorded, on buffers of its own, as a CUDA graph, which it launches.

    It takes calls of these shapes alone: a context must not change under a graph that was captured of it. It works on
    the stream that is current in each call.

    Args:
        session, memory: as for any worker.
        shapes: those of all its calls.
    """

    def __init__(self, session: Session, memory: DeviceMemory, shapes: CallShapes) -> None:
        super().__init__(session, memory, shapes.profile)
        self._last_stream: Any = None
        if self._is_dynamic:
            self._tell(shapes)
        # TensorRT finishes its set-up in the first run, which cannot be captured.
        self._enqueue_on(self._own_buffers(shapes), self._current_stream())
        memory.synchronize()
        self._graph = CapturedGraph(self._enqueue)

    def _settle(self, shapes: CallShapes) -> None:
        pass  # they were told before the capture

    def _execute(self, buffers: Mapping[str, Any]) -> None:
        self._graph.launch(self._current_stream())

    def _current_stream(self) -> int:
        """Return the handle of the current stream, which goes on only after this worker's last work elsewhere."""
        stream = self.memory.current_stream()
        if stream != self._last_stream:
            # The context's scratch memory may still be in use where it ran before.
            if self._last_stream is not None:
                self.memory.wait(stream, self._last_stream)
            self._last_stream = stream
        return self.memory.handle(stream)

    def run_tensors(
        self, shapes: CallShapes, inputs: Mapping[str, Any], out: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Run on torch tensors on the GPU, copied in and out there, without waiting for the result.

        ``out`` may be an input as well.
        """
        memory, buffers = self.memory, self._own_buffers(shapes)
        for name, tensor in inputs.items():
            memory.copy(buffers[name], tensor)
        self._execute(buffers)
        results = self._results(shapes, out)
        for name, tensor in results.items():
            memory.copy(tensor, buffers[name])
        return results

    def bare(self, shapes: CallShapes) -> Callable[[], None]:
        """Return the launch of the graph alone, on the stream that is current now."""
        self._execute({})
        return partial(self._launch, self.memory.current_handle())

    def _launch(self, stream: int) -> None:  # whoever holds it holds the buffers and the context that the graph needs
        self.check_is_open()
        self._graph.launch(stream)

    def close(self) -> None:
        """Free the graph, the context and the buffers."""
        self.memory.synchronize()
        self._context = None  # first, so that no thread launches a graph that is gone
        self._graph.close()
        super().close()


class AttachedWorker(StreamWorker):
    """A worker for shapes that are settled, on buffers of its own, whose work stands between other work on a stream.

    Args:
        session, memory: as for any worker.
        shapes: those of all its runs.
        stream: the handle of the stream.

    Attributes:
        addresses: of the inputs and outputs by name.
    """

    def __init__(self, session: Session, memory: DeviceMemory, shapes: CallShapes, stream: int) -> None:
        super().__init__(session, memory, shapes.profile, stream)
        self._settle(shapes)
        self._own = self._own_buffers(shapes)
        self.addresses = {name: memory.pointer(buffer) for name, buffer in self._own.items()}

    def enqueue(self, stream: int) -> None:
        """Put the engine's work on a stream, its own or one that is being captured."""
        self._enqueue_on(self._own, stream)
