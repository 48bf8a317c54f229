"""Quantisation as modules declare it, and the Quantize and Dequantize layers that a trace writes for it.

A quantised number is q = round(x / scale), halves to the even number, held to the ends of its type; it stands for
q · scale. A module says by buffers of its own what is rounded so:

- ``input_scale``: of what its layer reads, one number; of a module whose forward has layers of several weights, such
  as attention's projections, one for each of these, (layers,).
- ``weight_scale``: of its weights, one number for each output channel; of several weights one after another.
- ``product_scale``: of the two operands of each product of matrices in its forward, in their order, (products, 2).
- ``output_scale``: of what each of its calls returns, one number.
- ``quant_max``: the largest q: 127 for int8, 448 for float8_e4m3fn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trtnn.dtypes import DType, as_dtype, float8_e4m3fn, float32, int8
from trtnn.errors import ArgumentError, BackendError, where

if TYPE_CHECKING:
    from trtnn.graph.graph import Graph

#: How far outputs may be from those without quantisation, by root mean squares: rms(difference) / rms(output).
TOLERANCE = 2e-2

#: The types that are quantised to, by the largest number of each.
TYPES = {127.0: int8, 448.0: float8_e4m3fn}
SCALES = ("input_scale", "weight_scale", "product_scale", "output_scale")
BUFFERS = (*SCALES, "quant_max")
_BUFFERS = frozenset(BUFFERS)
LEAST_SCALE = float(np.finfo(np.float32).tiny)  # its least normal number: GPUs take smaller ones as 0


def largest_of(dtype: DType) -> float:
    """Return the largest number of a type that is quantised to."""
    return 448.0 if dtype is float8_e4m3fn else 127.0


def quantized_dtype(layer: Any) -> DType:
    """Return the type that a Quantize layer gives: TensorRT 8.6 has int8 alone, and tells the type before it."""
    dtype = as_dtype(layer.get_output(0).dtype)
    return int8 if dtype is float32 else dtype


@dataclass(frozen=True)
class Rounding:
    """How a tensor is rounded.

    Attributes:
        dtype: int8 or float8_e4m3fn.
        scale: one number, or a tuple of one for each channel.
        axis: the dimension of the channels; None of one number.
    """

    dtype: DType
    scale: float | tuple[float, ...]
    axis: int | None = None

    def __hash__(self) -> int:
        return hash((self.scale, self.axis))  # to hash a DType may load torch


@dataclass(frozen=True)
class Declared:
    """What a module declares to be quantised; see the head of this file.

    Attributes:
        dtype: int8 or float8_e4m3fn.
        input: the scales of what layers with weights read, one for each of the weights.
        weight: the scales of output channels, one after another.
        output: the scale of what it returns, or None where it is not rounded.
        products: the scales of the operands of each product.
    """

    dtype: DType
    input: tuple[float, ...] = ()
    weight: tuple[float, ...] = ()
    products: tuple[tuple[float, float], ...] = ()
    output: float | None = None


@dataclass
class Placement:
    """Which inputs of a network's layers are rounded, by the name of the layer and the index of its input.

    Attributes:
        reads: of tensors; of the weights that a layer of matrix products reads as well.
        kernels: of the arrays that convolutions hold, by the layer's name.
        owners: for each of ``reads`` the path of the module that declares its scale.
        outputs: of the network's outputs, by name.
        again: the names of layers that are computed once more, for what is rounded of what they give.
        modules: the type that each module is quantised to, by its path.
        multiplying: the paths of those that multiply, of which TensorRT makes kernels; of others what they return is
            rounded, and no more.
        largest: the largest |w| / (largest q · scale) of a module's weights, by its path; those beyond 1 are cut off.
        together: the path of a first convolution by that of the module whose output is rounded before the convolution's
            activation. Without that TensorRT 8.6 is slower at it than in fp16, so that both are quantised or neither,
            unless somebody says otherwise.
    """

    reads: dict[tuple[str, int], Rounding] = field(default_factory=dict)
    kernels: dict[str, Rounding] = field(default_factory=dict)
    owners: dict[tuple[str, int], str] = field(default_factory=dict)
    outputs: dict[str, Rounding] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)
    modules: dict[str, DType] = field(default_factory=dict)
    multiplying: list[str] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=dict)
    together: dict[str, str] = field(default_factory=dict)


@dataclass
class Held:
    """What a ``weight_scale`` holds of weights, by the largest |w| / (largest q · scale) of them.

    Attributes:
        first: of the weights that it came with; None before a trace.
        last: of those of the last trace.
        is_older: whether weights were loaded since, and not traced yet.
    """

    first: float | None = None
    last: float | None = None
    is_older: bool = False


def held_by(scale: Any, anew: bool = False) -> Held:
    """Return what is noted of a ``weight_scale``, a Buffer that keeps it.

    Args:
        scale: the buffer.
        anew: whether it takes other numbers, so that what was noted is forgotten.
    """
    if anew or "_held" not in vars(scale):
        vars(scale)["_held"] = Held()
    return vars(scale)["_held"]


def declared_by(path: str, buffers: Mapping[str, Any]) -> Declared | None:
    """Return what a module declares by its buffers, or None where it has no scale.

    Args:
        path: of the module, for messages.
        buffers: by name.

    Raises:
        ArgumentError: a scale is empty, or no positive finite number, or there are several where one is taken; or the
            largest number is of no type, or of no scale.
    """
    if _BUFFERS.isdisjoint(buffers):
        return None
    named = {name: _numbers(path, name, buffers[name]) for name in BUFFERS if buffers.get(name) is not None}
    if not named:
        return None
    if not any(name in named for name in SCALES):
        raise ArgumentError(
            f"{where(path)} has a quant_max and no scale", "its scales are missing: load all, or leave quant_max out"
        )
    if "quant_max" not in named:
        raise ArgumentError(
            f"{where(path)} has scales, and nothing says of which type",
            "quant_max says it: 127 for int8, 448 for fp8",
        )
    for name in ("output_scale", "quant_max"):
        if name in named and named[name].size != 1:
            raise ArgumentError(f"{name} of {where(path)} holds {named[name].size} numbers", "it is one number")
    if named.get("product_scale", np.zeros(0)).size % 2:
        raise ArgumentError(
            f"product_scale of {where(path)} holds {named['product_scale'].size} scales", "a product has two operands"
        )
    largest = float(named.pop("quant_max").item())
    if largest not in TYPES:
        raise ArgumentError(f"quant_max of {where(path)} is {largest:g}", "127 is int8, 448 is fp8")
    for name, scales in named.items():
        wrong = ~((scales >= LEAST_SCALE) & np.isfinite(scales))
        if wrong.any():
            at = int(np.argmax(wrong))
            raise ArgumentError(
                f"{name} of {where(path)} holds {scales.flat[at]:g}, at {at} of {scales.size}",
                f"a scale is a positive finite number, and GPUs take what is below {LEAST_SCALE:.3g} as 0",
                "calibrate again: trtnn.quantize(model, samples)",
            )
    flat = {name: tuple(map(float, scales.reshape(-1))) for name, scales in named.items()}
    operands = iter(flat.get("product_scale", ()))
    output = flat.get("output_scale")
    return Declared(
        TYPES[largest],
        flat.get("input_scale", ()),
        flat.get("weight_scale", ()),
        tuple(zip(operands, operands, strict=True)),
        None if output is None else output[0],
    )


def shown_scales(buffers: Mapping[str, Any]) -> str:
    """Return what ``repr`` shows of a quantised module, such as ``int8, input_scale=0.0472, weight_scale=(32,)``."""

    def shown(name: str) -> str:
        data = buffers[name].data
        value = (
            "empty" if data is None else f"{np.asarray(data).item():.4g}" if np.size(data) == 1 else str(np.shape(data))
        )
        return f"{name}={value}".replace(" ", "")

    largest = buffers["quant_max"].data
    dtype = TYPES.get(np.asarray(largest).item()) if np.size(largest) == 1 else None
    names = [name for name in SCALES if buffers.get(name) is not None]
    return ", ".join(["quantised" if dtype is None else dtype.name, *map(shown, names)])


def _numbers(path: str, name: str, buffer: Any) -> np.ndarray:
    if buffer.data is None:
        raise ArgumentError(f"{name} of {where(path)} is empty", "load a state dict, or trtnn.quantize(model, samples)")
    return np.asarray(buffer.data, np.float32)


def check_backend(graph: Graph, declared: Iterable[Declared]) -> None:
    """Check that a TensorRT has the types that modules are quantised to.

    Raises:
        BackendError: it has not; with one that has.
    """
    capabilities = graph.backend.capabilities
    kinds = [one.dtype for one in declared]
    if any(kind is int8 for kind in kinds) and not capabilities.int8:
        raise BackendError(f"{graph.backend} has no int8", "TensorRT since 8.0 and TensorRT-RTX have it")
    if any(kind is float8_e4m3fn for kind in kinds) and not capabilities.fp8:
        raise BackendError(f"{graph.backend} has no fp8", "TensorRT since 10.0 and TensorRT-RTX have it; here is int8")


class Rounder:
    """Writes the Quantize and Dequantize layers of a placement, each pair once for all that read it.

    Attributes:
        again: the names of the layers that :meth:`compute_again` is for.
    """

    def __init__(self, graph: Graph, placement: Placement) -> None:
        self.again = placement.again
        self._graph = graph
        self._placement = placement
        self._rounded: dict[tuple[str, Rounding], Any] = {}
        self._scales: dict[Any, Any] = {}
        self._twins: dict[str, Any] = {}  # what was computed once more, by the name of what was computed first

    def compute_again(self, name: str, raw: Any, kind: str, args: Sequence[Any], attributes: Mapping[str, Any]) -> None:
        """Add a layer once more, over what was computed once more, for what is rounded of its output.

        Args:
            name: of the layer.
            raw: the ITensor that it gave the first time.
            kind, args, attributes: as :meth:`Graph.add_rounding` takes them.
        """
        args = [self._twins.get(getattr(arg, "name", ""), arg) for arg in args]
        how, later = self._placement.kernels.get(name), {}
        if how is not None:
            args, later = self._with_kernel(args, how)
        self._twins[raw.name] = self._graph.add_rounding(kind, "again", *args, like=raw, later=later, **attributes)

    def reads(self, name: str, raws: Sequence[Any]) -> list[Any]:
        """Return the ITensors that a layer reads, those that are rounded for it as their Dequantize gives them."""
        roundings = (self._placement.reads.get((name, index)) for index in range(len(raws)))
        return [raw if how is None else self._round(raw, how) for raw, how in zip(raws, roundings, strict=True)]

    def output(self, name: str, raw: Any) -> Any:
        """Return the ITensor that is an output of the network in place of another: rounded where it is to be."""
        how = self._placement.outputs.get(name)
        return raw if how is None else self._round(raw, how)

    def kernel(self, name: str, args: Sequence[Any]) -> tuple[Sequence[Any], dict[int, Any]]:
        """Return what a layer takes with its kernel rounded, and the inputs that are set once the layer is there.

        The kernel of a convolution that is computed again, in int8, holds here what the rounded numbers stand for.

        Args:
            name: of the layer.
            args: as TensorRT takes them.
        """
        how = self._placement.kernels.get(name)
        if how is None:
            return args, {}
        if name not in self.again:
            return self._with_kernel(args, how)
        self._graph.weights.fill()
        return [self._rounded_numbers(arg, how) if _is_kernel(arg) else arg for arg in args], {}

    def _with_kernel(self, args: Sequence[Any], how: Rounding) -> tuple[list[Any], dict[int, Any]]:
        graph = self._graph
        (array,) = filter(_is_kernel, args)
        rounded = self._round(graph.add_rounding("constant", "weight", array.shape, array), how)
        return [graph.trt.Weights() if arg is array else arg for arg in args], {1: rounded}

    def _rounded_numbers(self, array: np.ndarray, how: Rounding) -> np.ndarray:
        """Return what a kernel stands for once it is rounded to int8, round(array / scale) · scale."""
        scale = np.array(how.scale, np.float32).reshape([-1 if i == how.axis else 1 for i in range(array.ndim)])
        numbers = np.clip(np.rint(array.astype(np.float32) / scale), -128, 127) * scale
        self._graph.weights.arrays.append(numbers := numbers.astype(array.dtype))
        return numbers

    def _round(self, raw: Any, how: Rounding) -> Any:
        key = raw.name, how
        if key not in self._rounded:
            graph, scale = self._graph, self._scale(how)
            typed = graph.backend.capabilities.typed_quantize
            to, back = ([graph.backend.data_type(how.dtype)], [raw.dtype]) if typed else ([], [])
            options = {"like": raw, **({} if how.axis is None else {"axis": how.axis})}
            read = self._twins.get(raw.name, raw)
            narrow = graph.add_rounding("quantize", "quantize", read, scale, *to, **options)
            self._rounded[key] = graph.add_rounding("dequantize", "dequantize", narrow, scale, *back, **options)
        return self._rounded[key]

    def _scale(self, how: Rounding) -> Any:
        if how.scale not in self._scales:
            array = np.array(how.scale, np.float32)
            self._graph.weights.arrays.append(array)
            self._scales[how.scale] = self._graph.add_rounding("constant", "scale", array.shape, array)
        return self._scales[how.scale]


def _is_kernel(arg: Any) -> bool:
    """Whether an argument of a layer is the kernel of a convolution; biases have one dimension."""
    return isinstance(arg, np.ndarray) and arg.ndim > 2
