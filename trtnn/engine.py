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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trtnn.backend import INSTALL, Backend, get_backend, gpus
from trtnn.errors import BackendError, EngineError
from trtnn.files import atomic_write
from trtnn.graph import Graph
from trtnn.inputs import Input, check_array, name_arguments
from trtnn.memory import device_memory
from trtnn.structure import unflatten

MAX_DESCRIPTION_BYTES = 1 << 24


def describe(graph: Graph, targets: Sequence[str], metadata: Mapping[str, Any]) -> dict[str, Any]:
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
        "structure": graph.structure,
    }


class Engine:
    """A built network.

    Args:
        plan: TensorRT's serialised engine, any buffer of bytes.
        description: what :func:`describe` says of it.

    Attributes:
        description: the JSON values of the file: versions, targets, precision, inputs, outputs and the model's own.
        inputs, outputs: Inputs by name.
    """

    def __init__(self, plan: Any, description: Mapping[str, Any]) -> None:
        self.plan = memoryview(plan)
        self.description = dict(description)
        self.inputs = {name: Input.from_json(value) for name, value in description["inputs"].items()}
        self.outputs = {name: Input.from_json(value) for name, value in description["outputs"].items()}
        self._session: _Session | None = None

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
            raise EngineError(f"cannot read the engine file {path}: {error}") from error
        length = struct.unpack("<i", data[:4])[0] if len(data) >= 4 else -1
        try:
            if not 0 < length <= min(MAX_DESCRIPTION_BYTES, len(data) - 4):
                raise ValueError(f"a description of {length} bytes in a file of {len(data)}")
            description = json.loads(bytes(data[4 : 4 + length]))
            if not data[4 + length :]:
                raise ValueError("no plan behind the description")
            return cls(data[4 + length :], description)
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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the engine.

        Args:
            *args, **kwargs: the inputs, NumPy arrays or torch tensors, by position or name.

        Returns:
            What ``forward`` returned: torch tensors on the GPU where the first input was a CUDA tensor, else NumPy
            arrays.

        Raises:
            EngineError: it cannot run here, or the GPU reported an error.
            ArgumentError, ShapeError, DTypeError: an input is missing or does not fit.
        """
        given = name_arguments(list(self.inputs), args, kwargs)
        for name, array in given.items():
            check_array(name, self.inputs[name], array)
        if self._session is None:
            self._session = _Session(self.check_runnable(), self.plan)
        on_gpu = getattr(next(iter(given.values())), "is_cuda", False)
        return unflatten(self.description["structure"], self._session.run(given, self.outputs, download=not on_gpu))


class _Session:
    """A plan deserialised on the GPU, with one execution context."""

    def __init__(self, backend: Backend, plan: memoryview) -> None:
        self.memory = device_memory()
        self.backend = backend
        self.runtime = backend.trt.Runtime(backend.logger)
        backend.logger.take()
        self.engine = self.runtime.deserialize_cuda_engine(plan)
        self.context = self.engine and self.engine.create_execution_context()
        if not self.context:
            raise EngineError("TensorRT could not load this engine", *backend.logger.take())

    def run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Input], download: bool) -> dict[str, Any]:
        memory = self.memory
        # The buffers stay referenced until the results are read: the GPU works on them after the call returns.
        sent = {name: memory.upload(array) for name, array in inputs.items()}
        received = {name: memory.empty(spec) for name, spec in outputs.items()}
        for name, buffer in (*sent.items(), *received.items()):
            self.context.set_tensor_address(name, memory.pointer(buffer))
        if not self.context.execute_async_v3(memory.stream):
            raise EngineError("TensorRT could not run this engine", *self.backend.logger.take())
        return {name: memory.download(buffer) for name, buffer in received.items()} if download else received
