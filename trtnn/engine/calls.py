"""One call of an engine: its arguments held against inputs and outputs, and the worker's way of running on them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trtnn.arrays import address_of
from trtnn.errors import ArgumentError
from trtnn.shapes.call import Shapes, check_array, check_numpy_has, name_arguments
from trtnn.shapes.spec import TensorSpec

if TYPE_CHECKING:
    from trtnn.engine.session import Worker


class Call:
    """The checked arguments of a call, all on the host or all on the GPU, as the first input is.

    Args:
        specs: the inputs, outputs and profiles of the engine.
        args, kwargs: the inputs, by position or name.
        out: what to write into, or None.

    Attributes:
        shapes: of the inputs and outputs.

    Raises:
        ArgumentError, ShapeError, DTypeError: an input or ``out`` is missing or does not fit.
    """

    __slots__ = ("_inputs", "_on_gpu", "_out", "_wants_torch", "_written", "shapes")

    def __init__(self, specs: Shapes, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        inputs = name_arguments(specs.names, args, kwargs)
        first = next(iter(inputs.values()))
        if out is not None:
            out = name_outputs(out, specs.outputs)
        self.shapes = shapes = specs.of_call(inputs)
        self._on_gpu = getattr(first, "is_cuda", False)
        self._wants_torch = not isinstance(first, np.ndarray)
        self._inputs, self._out, self._written = inputs, out, out
        if self._on_gpu:
            for name, value in inputs.items():
                check_tensor(name, shapes.inputs[name], value)
            for name, value in (out or {}).items():
                check_tensor(name, shapes.outputs[name], value, "out")
            _check_apart(out or {})
        else:
            instead = "give inputs as torch tensors on the GPU, and all outputs are"
            check_numpy_has({**shapes.inputs, **shapes.outputs}, instead)
            self._inputs = {n: host_array(n, shapes.inputs[n], value) for n, value in inputs.items()}
            if out is not None:
                self._written = {n: host_array(n, shapes.outputs[n], value, "out") for n, value in out.items()}
                _check_apart(self._written)

    def run(self, worker: Worker) -> dict[str, Any]:
        """Return the outputs by name: those of ``out``, else new ones of the first input's kind."""
        if self._on_gpu:
            return worker.run_tensors(self.shapes, self._inputs, self._out)
        results = worker.run_arrays(self.shapes, self._inputs, self._written)
        if self._out is not None:
            return self._out
        if self._wants_torch:
            import torch  # the first input is one of its tensors

            return {name: torch.from_numpy(array) for name, array in results.items()}
        return results


def name_outputs(out: Any, outputs: Mapping[str, TensorSpec]) -> Mapping[str, Any]:
    """Return what is to be written into by the outputs' names.

    Raises:
        ArgumentError: it is not one for each output.
    """
    if not isinstance(out, Mapping):
        if len(outputs) > 1:
            raise ArgumentError(
                f"out is a {type(out).__name__}, and there are {len(outputs)} outputs",
                f"the outputs are {', '.join(outputs)}: give a dict by these names",
            )
        return dict.fromkeys(outputs, out)
    if out.keys() != outputs.keys():
        raise ArgumentError(f"out holds {', '.join(out) or 'nothing'}", f"the outputs are {', '.join(outputs)}")
    if len(set(map(id, out.values()))) < len(out):
        raise ArgumentError("out holds one array for several outputs", "each needs its own")
    return out


def _check_apart(out: Mapping[str, Any]) -> None:
    """Check that no element is to be written by two outputs.

    Raises:
        ArgumentError: one is.
    """
    spans = sorted(map(_span, out.values()))
    if all(end <= start for (_, end), (start, _) in itertools.pairwise(spans)):
        return
    for (name, one), (other, another) in itertools.combinations(out.items(), 2):
        if isinstance(one, np.ndarray):
            share = np.shares_memory(one, another)
        else:
            share = overlap(one.data_ptr(), one.nbytes, another.data_ptr(), another.nbytes)
        if share:
            raise ArgumentError(f"out {name!r} and out {other!r} have memory in common", "each needs its own")


def _span(array: Any) -> tuple[float, float]:
    """Return the addresses that the elements of an array or tensor lie between; all of an array that has gaps."""
    if not isinstance(array, np.ndarray):
        return array.data_ptr(), array.data_ptr() + array.nbytes
    start = address_of(array)
    return (start, start + array.nbytes) if array.flags.c_contiguous else (-math.inf, math.inf)


def overlap(address: int, size_bytes: int, other: int, other_bytes: int) -> bool:
    """Whether two runs of bytes, each from an address on, have some in common."""
    return address < other + other_bytes and other < address + size_bytes


def check_tensor(name: str, spec: TensorSpec, tensor: Any, kind: str = "input") -> None:
    """Check that TensorRT can use a torch tensor where it lies.

    Raises:
        DTypeError, ShapeError: as :func:`trtnn.shapes.call.check_array`.
        ArgumentError: it is not a contiguous tensor on the first GPU.
    """
    if not getattr(tensor, "is_cuda", False):  # NumPy's arrays have a device as well
        is_array = isinstance(tensor, np.ndarray)
        move = f"torch.from_numpy({name})" if is_array else name
        raise ArgumentError(
            f"{kind} {name!r} is not on the GPU, as the first input is",
            f"received {'an array' if is_array else f'a {type(tensor).__name__}'} on the host",
            f'move it with {move}.to("cuda:0")' if kind == "input" else "give a tensor on the GPU to write into",
        )
    if tensor.device.index != 0:
        raise ArgumentError(
            f"{kind} {name!r} is on another GPU than the engine, which runs on cuda:0",
            f"received {type(tensor).__name__} on {tensor.device}",
            f'move it with {name}.to("cuda:0")' if kind == "input" else "give a tensor on cuda:0 to write into",
        )
    check_array(name, spec, tensor, kind)
    if not tensor.is_contiguous():
        raise ArgumentError(
            f"{kind} {name!r} is not contiguous",
            f"strides {tensor.stride()}",
            "copy it with .contiguous()" if kind == "input" else "give a contiguous tensor to write into",
        )


def host_array(name: str, spec: TensorSpec, value: Any, kind: str = "input") -> np.ndarray:
    """Return an array, or the memory of a torch tensor on the CPU as one.

    Raises:
        DTypeError, ShapeError: as :func:`trtnn.shapes.call.check_array`.
        ArgumentError: it lies elsewhere, is no plain array, or is to be written and cannot be.
    """
    if getattr(value, "is_cuda", False):
        raise ArgumentError(f"{kind} {name!r} lies on the GPU, the first input on the host", "bring them to one place")
    check_array(name, spec, value, kind)
    if not isinstance(value, np.ndarray):
        try:
            value = value.detach().numpy()
        except (AttributeError, TypeError, RuntimeError) as error:  # on another device, sparse, not torch's at all
            raise ArgumentError(
                f"{kind} {name!r} is no NumPy array, and no torch tensor that can be read as one",
                f"received a {type(value).__name__} on {getattr(value, 'device', 'no known device')}",
                str(error),
            ) from error
    if kind == "out" and not value.flags.writeable:
        raise ArgumentError(f"out {name!r} is read-only", "give an array that can be written")
    return value
