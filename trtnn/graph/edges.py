"""Modules in their precision, and the edges between fp32 and the type that a network computes in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trtnn.dtypes import DType, float16, float32
from trtnn.graph.precision import Scope
from trtnn.graph.tensor import Tensor
from trtnn.structure import map_leaves

if TYPE_CHECKING:
    from trtnn.graph.graph import Graph


def call_module(
    graph: Graph, module: Any, forward: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Run a module's ``forward`` under its path, in its precision, and remember what it returned."""
    outer = graph.scopes[-1]
    path = graph.paths.get(id(module))
    if path is None:  # made within forward, so no attribute leads to it
        path = f"{outer.path}.{type(module).__name__}".lstrip(".")
    if graph.watcher is not None:
        graph.watcher.module(path, module)
    compute = float32 if graph.precision.keeps(path) else outer.compute
    if changes := compute is not outer.compute:
        args = map_leaves(lambda value: _enter_float32(value, graph), tuple(args))
        kwargs = map_leaves(lambda value: _enter_float32(value, graph), dict(kwargs))
    graph.scopes.append(Scope(path, compute))
    try:
        result = forward(*args, **kwargs)
    finally:
        graph.scopes.pop()
    if changes:
        result = map_leaves(lambda value: _leave_float32(value, outer.compute, graph), result)
    graph.module_outputs.record(path, result)
    return result


def _enter_float32(value: Any, graph: Graph) -> Any:
    """Return what a module that computes in fp32 is given: fp16 Tensors as fp32."""
    if not isinstance(value, Tensor) or value.dtype is not float16:
        return value
    cast = graph.cast(value, float32)
    cast.share_memory_of(value)  # what the module changes in place is outdated outside
    return cast


def _leave_float32(value: Any, outer: DType, graph: Graph) -> Any:
    """Return what a module that computes in fp32 gives to one that computes in ``outer``."""
    if not isinstance(value, Tensor) or value.dtype is not float32:
        return value
    left = to_compute(value, outer, graph)
    left.value.beyond = value.value.beyond
    return left


def to_compute(value: Tensor, dtype: DType, graph: Graph) -> Tensor:
    """Return an fp32 Tensor in another type, which remembers it: a cast back to fp32 gives the Tensor as it was."""
    if value.dtype is dtype:
        return value
    value = graph.deferred.snapshot("cast", value)
    cast = graph.deferred.later(lambda: graph.cast(value, dtype), value.shape, dtype, value.value.constant)
    cast.value.unrounded = value
    return cast
