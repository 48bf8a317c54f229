"""Engine: a plan with its description, to save, load, look at and call.

An engine file is a 4-byte little-endian length, that many bytes of JSON, and TensorRT's plan: the layout that
Ultralytics' exporter writes (https://docs.ultralytics.com/integrations/tensorrt/), so tools that read theirs read ours.
"""

from __future__ import annotations

import importlib.metadata
import json
import mmap
import os
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trtnn.backend import INSTALL, Backend, get_backend, gpus
from trtnn.errors import ArgumentError, BackendError, EngineError
from trtnn.files import atomic_write
from trtnn.graph import Graph
from trtnn.inputs import Input, check_array, name_arguments
from trtnn.memory import device_memory
from trtnn.profiles import CallShapes, Profile, Shapes, profile_from_json, profile_to_json, widest_dims
from trtnn.session import Session, Worker
from trtnn.structure import unflatten

MAX_DESCRIPTION_BYTES = 1 << 24
_DESCRIBED = ("backend", "tensorrt", "targets", "precision", "inputs", "outputs", "structure", "plan_bytes")


def describe(graph: Graph, targets: Sequence[str], metadata: Mapping[str, Any], plan_bytes: int) -> dict[str, Any]:
    """Return the description of an engine built from ``graph``, as JSON values."""
    return {
        **metadata,
        "trtnn": importlib.metadata.version("trtnn"),
        "backend": graph.backend.name,
        "tensorrt": graph.backend.version,
        "targets": list(targets),
        "precision": graph.precision.compute.name,
        "fp32_modules": list(graph.precision.fp32_modules),
        "inputs": {name: spec.to_json() for name, spec in graph.inputs.items()},
        "outputs": {name: spec.to_json() for name, spec in graph.outputs.items()},
        **({"profiles": [profile_to_json(profile) for profile in graph.profiles]} if graph.profiles else {}),
        "structure": graph.structure,
        "plan_bytes": plan_bytes,
    }


def check_gpu() -> None:
    """Check, before the work of building, that an engine built here can run here.

    Raises:
        EngineError: there is no GPU, or none that TensorRT builds for, or no way to its memory.
    """
    backend, here = get_backend(), gpus()[:1]
    cpu = "the network itself runs on the CPU: network.run(...), or trtnn detect --reference"
    if not here:
        raise EngineError("no GPU was found here, and an engine needs one to run", cpu)
    if backend.capabilities.targets and here[0] not in backend.targets:
        known = f"it builds for {', '.join(backend.targets)}"
        raise EngineError(f"{backend} does not build for the GPU here, which is {here[0]}", known, cpu)
    device_memory()


class Engine:
    """A built network.

    Args:
        plan: TensorRT's serialised engine, any buffer of bytes.
        description: what :func:`describe` says of it.

    Attributes:
        description: the JSON values of the file: versions, targets, precision, inputs, outputs and the model's own.
        inputs, outputs: Inputs by name.
        profiles: what the dimensions of dynamic inputs may be, by name; none where every shape is static.
    """

    def __init__(self, plan: Any, description: Mapping[str, Any]) -> None:
        self.plan = memoryview(plan)
        self.description = dict(description)
        self.profiles: tuple[Profile, ...] = tuple(map(profile_from_json, description.get("profiles", ())))
        dims = widest_dims(self.profiles)
        self.inputs = {name: Input.from_json(value, dims) for name, value in description["inputs"].items()}
        self.outputs = {name: Input.from_json(value, dims) for name, value in description["outputs"].items()}
        self._shapes = Shapes(self.inputs, self.outputs, self.profiles)
        self._session: Session | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def targets(self) -> tuple[str, ...]:
        """The GPUs it is for, by compute capability."""
        return tuple(self.description["targets"])

    def __repr__(self) -> str:
        d = self.description
        return (
            f"Engine({d.get('model', 'network')}, {d['precision']}, {d['backend']} {d['tensorrt']} for "
            f"{', '.join(self.targets)}, {self.plan.nbytes / 1e6:.1f} MB: "
            f"{', '.join(f'{n} {s}' for n, s in self.inputs.items())} -> "
            f"{', '.join(f'{n} {s}' for n, s in self.outputs.items())})"
        )

    # -- files --------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the engine to a file, whole or not at all, and return its path."""
        text = json.dumps(self.description).encode()
        with atomic_write(path) as file:
            file.write(struct.pack("<i", len(text)))
            file.write(text)
            file.write(self.plan)
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Engine:
        """Read an engine file; the plan stays on disk until it is used. This works on any machine.

        Raises:
            EngineError: there is no such file, or it is not an engine file of trtnn.
        """
        path = Path(path)
        try:
            with open(path, "rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise EngineError(f"cannot read the engine file {path}: {reason}") from error
        length = struct.unpack("<i", data[:4])[0] if len(data) >= 4 else -1
        try:
            if not 0 < length <= min(MAX_DESCRIPTION_BYTES, len(data) - 4):
                raise ValueError(f"a description of {length} bytes in a file of {len(data)}")
            description = json.loads(bytes(data[4 : 4 + length]))
            missing = [key for key in _DESCRIBED if key not in description]
            if missing:
                raise ValueError(f"its description lacks {', '.join(missing)}")
            plan = data[4 + length :]
            if plan.nbytes != description["plan_bytes"]:
                raise ValueError(f"a plan of {plan.nbytes} bytes, where {description['plan_bytes']} were written")
            return cls(plan, description)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise EngineError(
                f"{path} is not an engine file of trtnn, or is damaged", f"{type(error).__name__}: {error}"
            ) from error

    # -- running ------------------------------------------------------------------------------------------------------

    def check_runnable(self) -> Backend:
        """Return the TensorRT that can run this engine here.

        Raises:
            EngineError: what the engine needs is not what is here; both are said.
        """
        d = self.description
        needs = f"it needs {d['backend']} {d['tensorrt']} and a GPU of {', '.join(self.targets)}"
        try:
            backend = get_backend()
        except BackendError as error:
            raise EngineError("this engine cannot run here: no TensorRT", needs, INSTALL[d["backend"]]) from error
        problems = []
        if backend.name != d["backend"]:
            problems.append(f"the TensorRT here is {backend}; TRTNN_BACKEND chooses between those installed")
        elif backend.version != d["tensorrt"]:
            problems.append(f"the version here is {backend.version}: build it again, or install the engine's version")
        if not gpus():
            problems.append("no GPU was found here; without one, model.trace().run(...) computes on the CPU")
        elif gpus()[0] not in self.targets:
            problems.append(f"the GPU here is {gpus()[0]}: build it again for this one")
        if problems:
            raise EngineError(f"this engine, of {d.get('model', 'a network')}, cannot run here", needs, *problems)
        return backend

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """Run the engine; threads may call it at once.

        NumPy arrays and CPU tensors travel through pinned memory, and the call returns when the result is there. CUDA
        tensors are read where they lie, contiguous and of the declared type; the work goes on torch's current stream,
        which the caller waits for, and the results are tensors on the GPU.

        Where shapes are dynamic, the first profile that holds those of the call is used. Each thread has an execution
        context for each profile that it uses.

        Args:
            *args, **kwargs: the inputs, all of them arrays or all tensors, by position or name.
            out: arrays or tensors to write into: one where there is one output, else a dict by output name.

        Returns:
            What ``forward`` returned, in NumPy arrays, or in tensors on the inputs' device where the
            first was one.

        Raises:
            EngineError: it cannot run here, was closed, or the GPU reported an error.
            ArgumentError, ShapeError, DTypeError: an input or ``out`` is missing or does not fit.
        """
        return self._run(lambda shapes: self._open().worker(shapes.profile), args, kwargs, out)

    def cuda_graph(self) -> GraphedEngine:
        """Return a callable that runs this engine as one CUDA graph: the kernels are launched all at once.

        This pays where launching takes longer than computing, mostly at small batches. The work is captured at the
        first call, and where shapes are dynamic at the first call of each.
        """
        return GraphedEngine(self)

    def close(self) -> None:
        """Free what the engine holds on the GPU, in every thread; it cannot be called after that."""
        session, self._session, self._closed = self._session, None, True
        if session is not None:
            session.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Session:
        if self._session is None:
            with self._lock:
                if self._closed:
                    raise EngineError("this engine was closed", "load it again")
                if self._session is None:
                    self._session = Session(self.check_runnable(), self.plan, bool(self.profiles))
        return self._session

    def _run(
        self, worker: Callable[[CallShapes], Worker], args: Sequence[Any], kwargs: Mapping[str, Any], out: Any
    ) -> Any:
        given = name_arguments(list(self.inputs), args, kwargs)
        first = next(iter(given.values()))
        if out is not None and not isinstance(out, Mapping):
            out = dict(zip(self.outputs, (out,), strict=False))
        if out is not None and out.keys() != self.outputs.keys():
            raise ArgumentError(f"out holds {', '.join(out)}", f"the outputs are {', '.join(self.outputs)}")
        shapes = self._shapes.of_call(given)
        if getattr(first, "is_cuda", False):
            for name, value in given.items():
                check_tensor(name, shapes.inputs[name], value)
            for name, value in (out or {}).items():
                check_tensor(name, shapes.outputs[name], value, "out")
            results = worker(shapes).run_tensors(shapes, given, out)
        else:
            arrays = {n: _host_array(n, shapes.inputs[n], value) for n, value in given.items()}
            into = out and {n: _host_array(n, shapes.outputs[n], value, "out") for n, value in out.items()}
            results = worker(shapes).run_arrays(shapes, arrays, into)
            if out is not None:
                results = out
            elif not isinstance(first, np.ndarray):
                import torch  # the first input is one of its tensors

                results = {name: torch.from_numpy(array) for name, array in results.items()}
        return unflatten(self.description["structure"], results)


class GraphedEngine:
    """An engine captured in CUDA graphs, made by :meth:`Engine.cuda_graph`. It is called as the engine is.

    There is one graph for each set of input shapes that it is called with, and each has an execution context and
    buffers of its own: inputs are copied in and results out, on the GPU. One thread at a time may call it.

    Attributes:
        engine: the engine.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._workers: dict[tuple[tuple[int, ...], ...], Worker] = {}

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        """Run the graph; see :meth:`Engine.__call__`."""
        return self.engine._run(self._worker, args, kwargs, out)

    def _worker(self, shapes: CallShapes) -> Worker:
        key = tuple(spec.shape for spec in shapes.inputs.values())
        if key not in self._workers:
            self._workers[key] = self.engine._open().capture(shapes)
        return self._workers[key]


def check_tensor(name: str, spec: Input, tensor: Any, kind: str = "input") -> None:
    """Check that TensorRT can use a torch tensor where it lies.

    Raises:
        DTypeError, ShapeError: as :func:`trtnn.inputs.check_array`.
        ArgumentError: it is not a contiguous tensor on the first GPU.
    """
    if getattr(tensor, "device", None) is None or tensor.device.type != "cuda" or tensor.device.index != 0:
        raise ArgumentError(
            f"{kind} {name!r} is not on the GPU that the engine runs on, as the first input is",
            f"received {type(tensor).__name__} on {getattr(tensor, 'device', 'the host')}",
            'move it with .to("cuda:0")',
        )
    check_array(name, spec, tensor, kind)
    if not tensor.is_contiguous():
        raise ArgumentError(
            f"{kind} {name!r} is not contiguous", f"strides {tensor.stride()}", "copy it with .contiguous()"
        )


def _host_array(name: str, spec: Input, value: Any, kind: str = "input") -> np.ndarray:
    if getattr(value, "is_cuda", False):
        raise ArgumentError(f"{kind} {name!r} lies on the GPU, the first input on the host", "bring them to one place")
    check_array(name, spec, value, kind)
    return value if isinstance(value, np.ndarray) else value.detach().numpy()
