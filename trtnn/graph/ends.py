"""Where a network begins and ends: its inputs and its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtnn.dtypes import NARROW, as_dtype, float16, float32
from trtnn.errors import ArgumentError, named
from trtnn.graph.edges import to_compute
from trtnn.graph.failures import outdated, too_deep
from trtnn.graph.graph import Graph
from trtnn.graph.tensor import Tensor
from trtnn.parameter import Parameter
from trtnn.shapes.spec import MOST_DIMENSIONS, TensorSpec
from trtnn.shapes.symbolic import Dim, Size
from trtnn.structure import flatten


def add_input(graph: Graph, name: str, spec: TensorSpec) -> Tensor:
    """Add a network input; a floating one is cast to the type that the network computes in."""
    shape = tuple(-1 if isinstance(length, Size) else length for length in spec.shape)
    if len(shape) > MOST_DIMENSIONS:
        raise too_deep(f"the input {name!r}", shape, graph.scopes[-1].path)
    at_edge = spec.dtype if spec.dtype in NARROW else graph.stored_dtype(spec.dtype)
    raw = graph.definition.add_input(name, graph.backend.data_type(at_edge), shape)
    if raw is None:
        raise graph.failure(f"cannot add the input {name!r} of {spec}", [])
    graph.inputs[name] = spec
    tensor = graph.wrap(raw, spec.shape, spec.dtype)
    if graph.first_input is None:
        graph.first_input = tensor
    for axis, length in enumerate(spec.shape):
        if isinstance(length, Dim):
            raw.set_dimension_name(axis, length.name)  # TensorRT may then rely on equal lengths of equal names
            graph.dimensions.setdefault(length.name, (tensor.copy(), axis))
    if spec.dtype in NARROW:
        return graph.emit("cast", tensor, graph.backend.data_type(float32), traced_as=spec.dtype)
    if spec.dtype is float32:
        return to_compute(tensor, graph.compute_dtype, graph)
    return graph.cast(tensor, graph.compute_dtype) if spec.dtype.is_floating_point else tensor


def set_outputs(graph: Graph, result: Any, inner: Sequence[str] = ()) -> None:
    """Mark what ``forward`` returned as the network's outputs; fp16 ones leave as fp32, Parameters as constants.

    Args:
        result: what it returned.
        inner: paths of modules, or patterns of them, whose outputs are marked as well.

    Raises:
        ArgumentError: something in it is not a Tensor of the graph, or no such module was called.
    """
    leaves, graph.structure = flatten(result, taken=graph.inputs)
    if not leaves:
        raise ArgumentError("forward returned nothing that could be an output")
    graph.inner_outputs = graph.module_outputs.matching(inner)
    if graph.inner_outputs:
        returned = {path: graph.module_outputs[path] for path in graph.inner_outputs}
        more, structure = flatten(returned, taken={*graph.inputs, *leaves}, constants=True)
        leaves |= more
        graph.structure = {"tuple": [graph.structure, structure]}
    marked: set[str] = set(graph.inputs)
    for name, leaf in leaves.items():
        if isinstance(leaf, Parameter):
            leaves[name] = _constant(leaf, graph)
    for name, leaf in leaves.items():
        if not isinstance(leaf, Tensor) or leaf.graph is not graph:
            whose = " of another trace" * isinstance(leaf, Tensor)
            raise ArgumentError(
                f"forward returned {named(leaf)}{whose} as {name}",
                "outputs are trtnn Tensors; of complex numbers view_as_real(x) is one, and of packed sequences "
                "pad_packed_sequence(x)[0]",
            )
        if leaf.is_outdated:
            raise outdated(f"the output {name}", graph.scopes[-1].path)
        tensor = graph.cast(leaf, float32) if leaf.dtype is float16 else leaf
        if leaf.dtype in NARROW:
            tensor = graph.emit("cast", leaf, graph.backend.data_type(leaf.dtype))
        tensor = graph.rounded_output(name, tensor)
        if tensor.name in marked:
            tensor = graph.emit("identity", tensor)
        tensor.raw.name = name
        graph.wrap(tensor.raw, tensor.shape, tensor.dtype)
        marked.add(name)
        graph.definition.mark_output(tensor.raw)
        graph.outputs[name] = TensorSpec(tensor.shape, tensor.dtype)
    graph.finish()


def _constant(parameter: Parameter, graph: Graph) -> Tensor:
    held = graph.held(parameter)
    return graph.constant(held, float32 if held.dtype.kind == "f" else as_dtype(held.dtype))
