"""A plan as TensorRT reads it: deserialised, and what it takes and gives, against which a description is held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtnn.backend import Backend
from trtnn.dtypes import as_dtype
from trtnn.engine.memory import describe_gpu_memory
from trtnn.errors import DTypeError, EngineError, ShapeError
from trtnn.shapes.call import Shapes
from trtnn.shapes.profiles import Ranges, lengths_in
from trtnn.shapes.spec import TensorSpec
from trtnn.shapes.symbolic import Length, bounds
from trtnn.signals import held_signals

#: What plans begin with: ``ftrt`` those of TensorRT, ``vtrt`` those of TensorRT-RTX.
_HEADS = (b"ftrt", b"vtrt")


def looks_like_a_plan(data: Any) -> bool:
    """Return whether a buffer begins as plans do; only TensorRT itself can tell more."""
    return bytes(data[:4]) in _HEADS


def deserialize(backend: Backend, plan: Any) -> tuple[Any, Any]:
    """Return the ``Runtime``, which has to live as long as the engine, and the ``ICudaEngine`` of a plan.

    A CUDA context has to be current.

    Raises:
        EngineError: TensorRT cannot load it; with its own words, and the memory that is free.
    """
    backend.logger.take()
    with held_signals():
        runtime = backend.trt.Runtime(backend.logger)
        engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError("TensorRT could not load this engine", *backend.logger.take(), *describe_gpu_memory())
    return runtime, engine


def scratch_bytes(backend: Backend, engine: Any) -> int:
    """Return the bytes of device memory that each execution context of an ``ICudaEngine`` takes for itself."""
    return engine.device_memory_size_v2 if backend.capabilities.device_memory_v2 else engine.device_memory_size


def read_bindings(engine: Any, trt: Any) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """Return the inputs and the outputs of an ``ICudaEngine`` by name, in its own order.

    Raises:
        EngineError: the shape of one is open until the plan runs.
    """
    inputs, outputs = binding_names(engine, trt)
    return {name: _read_spec(engine, name) for name in inputs}, {name: _read_spec(engine, name) for name in outputs}


def binding_names(engine: Any, trt: Any) -> tuple[list[str], list[str]]:
    """Return the names of the inputs and of the outputs of an ``ICudaEngine``, in its own order."""
    inputs: list[str] = []
    outputs: list[str] = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        (inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs).append(name)
    return inputs, outputs


def _read_spec(engine: Any, name: str) -> TensorSpec:
    shape = tuple(engine.get_tensor_shape(name))
    try:
        return TensorSpec(shape, engine.get_tensor_dtype(name))
    except ShapeError:
        raise EngineError(
            f"{name!r} of this plan has the shape {shape}, which is known only when it runs",
            "a plan without trtnn's description runs in fixed shapes alone: build it so, or with trtnn",
        ) from None


def contradiction(*lines: str) -> EngineError:
    """Return the error of a description that is not the plan's, with what either says."""
    return EngineError(
        "what the file of this engine says is not what TensorRT finds in the plan",
        *lines,
        "build it again, or copy the file again",
    )


def check_bindings(engine: Any, trt: Any, shapes: Shapes) -> None:
    """Check that a plan takes and gives what its description says: every name, type and shape, and every profile.

    Buffers are made as the description says, and TensorRT, which writes into them, is told their addresses alone. What
    dynamic outputs come to is checked for the shapes of each call, see :class:`trtnn.engine.session.Worker`.

    Args:
        engine: the ``ICudaEngine``.
        trt: TensorRT's module.
        shapes: what the description says.

    Raises:
        EngineError: the two contradict each other; with both.
    """
    problems: list[str] = []
    tables = (("input", shapes.inputs), ("output", shapes.outputs))
    for (kind, table), in_plan in zip(tables, binding_names(engine, trt), strict=True):
        if set(in_plan) != table.keys():
            problems.append(f"its {kind}s are {', '.join(table)}; in the plan {', '.join(in_plan) or 'none'}")
        for name, spec in table.items():
            if name in in_plan:
                problems += _compare(engine, kind, name, spec, shapes.profiles)
    if shapes.profiles and engine.num_optimization_profiles != len(shapes.profiles):
        problems.append(f"it has {len(shapes.profiles)} profiles; in the plan {engine.num_optimization_profiles}")
    if problems:
        raise contradiction(*problems)


def _compare(engine: Any, kind: str, name: str, spec: TensorSpec, profiles: Sequence[Ranges]) -> list[str]:
    """Return in lines how an input or output in a plan is not as it is described."""
    lines = []
    member, shape = engine.get_tensor_dtype(name), tuple(engine.get_tensor_shape(name))
    if not _is_type(member, spec):
        lines.append(f"{kind} {name!r} is {spec.dtype.name}; in the plan {member.name}")
    if len(shape) != len(spec.shape) or not all(
        _may_be(length, own, is_open=kind == "output" and bool(profiles))
        for length, own in zip(shape, spec.shape, strict=True)
    ):
        lines.append(f"{kind} {name!r} has the shape {list(spec.shape)}; in the plan {list(shape)}")
    elif kind == "input" and -1 in shape:
        for index, profile in enumerate(profiles[: engine.num_optimization_profiles]):
            own = [lengths_in(profile, spec.shape, which) for which in ("min", "opt", "max")]
            theirs = [tuple(lengths) for lengths in engine.get_tensor_profile_shape(name, index)]
            if own != theirs:
                lines.append(f"{kind} {name!r} goes in profile {index} by {own} (min, opt, max); in the plan {theirs}")
    return lines


def _is_type(member: Any, spec: TensorSpec) -> bool:
    try:
        return as_dtype(member) is spec.dtype
    except DTypeError:
        return False


def _may_be(length: int, own: Length, is_open: bool) -> bool:
    """Return whether a length that TensorRT tells, -1 for one that it does not know, may be one of the description's.

    Args:
        length: TensorRT's.
        own: the description's.
        is_open: TensorRT may know less than the description, as of outputs, whose lengths are computed.
    """
    return bounds(own) == (length, length) or (length < 0 and (is_open or not isinstance(own, int)))
