"""A plan as TensorRT reads it: deserialised, and what it takes and gives."""

from __future__ import annotations

from typing import Any

from trtnn.backend import Backend
from trtnn.errors import EngineError, ShapeError
from trtnn.inputs import Input
from trtnn.memory import describe_gpu_memory

#: What plans begin with: ``ftrt`` those of TensorRT, ``vtrt`` those of TensorRT-RTX.
_HEADS = (b"ftrt", b"vtrt")


def looks_like_a_plan(data: Any) -> bool:
    """Whether a buffer begins as plans do; only TensorRT itself can tell more."""
    return bytes(data[:4]) in _HEADS


def deserialize(backend: Backend, plan: Any) -> tuple[Any, Any]:
    """Return the ``Runtime``, which has to live as long as the engine, and the ``ICudaEngine`` of a plan.

    A CUDA context has to be current.

    Raises:
        EngineError: TensorRT cannot load it; with its own words, and the memory that is free.
    """
    backend.logger.take()
    runtime = backend.trt.Runtime(backend.logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError("TensorRT could not load this engine", *backend.logger.take(), *describe_gpu_memory())
    return runtime, engine


def scratch_bytes(backend: Backend, engine: Any) -> int:
    """Return the bytes of device memory that each execution context of an ``ICudaEngine`` takes for itself."""
    return engine.device_memory_size_v2 if backend.capabilities.device_memory_v2 else engine.device_memory_size


def read_bindings(engine: Any, trt: Any) -> tuple[dict[str, Input], dict[str, Input]]:
    """Return the inputs and the outputs of an ``ICudaEngine`` by name, in its own order.

    Raises:
        EngineError: one of them has a shape that is not known before it runs.
    """
    inputs: dict[str, Input] = {}
    outputs: dict[str, Input] = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape = tuple(engine.get_tensor_shape(name))
        table = inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs
        try:
            table[name] = Input(shape, engine.get_tensor_dtype(name))
        except ShapeError:
            raise EngineError(
                f"{name!r} of this plan has the shape {shape}, which is known only when it runs",
                "a plan without trtnn's description runs in fixed shapes alone: build it so, or with trtnn",
            ) from None
    return inputs, outputs
