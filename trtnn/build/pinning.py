"""The precision of layers where networks are weakly typed: what was traced is pinned, so that it is what is built."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trtnn.dtypes import DType, as_dtype, float16, float32
from trtnn.engine.inspector import network_parts
from trtnn.errors import BuildError
from trtnn.graph.definition import layer_tensors, loop_ranges, present_inputs, read_layers
from trtnn.graph.graph import Graph

# What TensorRT has kernels of either type for, all of which it would measure; but not for groups of a few channels.
_MEASURED = ("ACTIVATION", "CONVOLUTION", "DECONVOLUTION", "ELEMENTWISE", "MATRIX_MULTIPLY", "POOLING")


_POINTWISE = ("ACTIVATION", "ELEMENTWISE")
_WITH_EPILOGUE = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")

# What TensorRT makes one kernel of, point by point.
_JOINED = (*_POINTWISE, "SCALE", "SELECT", "UNARY")

# What TensorRT makes an int8 kernel of: convolutions and products, and pointwise layers behind them.
_IN_ONE_KERNEL = (*_WITH_EPILOGUE, *_POINTWISE, "SCALE")

_NARROW = re.compile(r"\b(FP16|BF16|Half)\b", re.IGNORECASE)
_WITHOUT_KERNEL = re.compile(r"implementation for node (.+?)\.\)?$")
_MOST_SHOWN = 5


class PinnedLayer(NamedTuple):
    """A layer that was asked to stay in fp32: its name, and those of its floating outputs.

    Attributes:
        handed_on: of these what layers in fp16 alone read, for which TensorRT may copy it to fp16.
    """

    name: str
    outputs: tuple[str, ...]
    handed_on: tuple[str, ...] = ()


class HalfLayer(NamedTuple):
    """A layer that was asked to be in fp16: its kind, as :func:`read_layers` tells it, and the layer itself."""

    kind: str
    layer: Any


@dataclass
class Pins:
    """The layers of a network that were pinned to a type.

    Attributes:
        to_fp32: by name.
        to_fp16: as they are in the definition.
        apart: the names of pointwise ones of these that compute in fp32, see :meth:`release_fp16`.
    """

    to_fp32: list[PinnedLayer]
    to_fp16: list[HalfLayer]
    apart: set[str] = field(default_factory=set)

    def release_fp16(self, trt: Any, lines: Iterable[str]) -> None:
        """Leave the type of layers in fp16 to TensorRT, which found no kernel for them.

        Pointwise layers that TensorRT put into the kernel of a convolution compute in fp32 first, between tensors in
        fp16: that keeps them apart, and the convolution in fp16. TensorRT 8.6 has no kernel of a first convolution and
        SiLU in front of a Quantize, and where it was left free, it took both to fp32, at three times the time.

        Args:
            trt: TensorRT's module.
            lines: of its log. Where they name the node without a kernel its layers are released, else all.
        """
        found = [network_parts(node) for line in lines for node in _WITHOUT_KERNEL.findall(line)]
        nodes = {frozenset(part.name for part in parts) for parts in found}  # more lines than one may name a node
        named = {name for node in nodes if not self._set_apart(trt, node) for name in node}
        if nodes and not named:
            return
        released = [pin for pin in self.to_fp16 if pin.layer.name in named] or [*self.to_fp16]
        for pin in released:
            self.to_fp16.remove(pin)
            pin.layer.reset_precision()
            for index in range(pin.layer.num_outputs):
                pin.layer.reset_output_type(index)

    def _set_apart(self, trt: Any, node: Container[str]) -> bool:
        """Let the pointwise layers of a node compute in fp32; return whether there are any, and others beside them."""
        pins = [pin for pin in self.to_fp16 if pin.layer.name in node]
        pointwise = [layer for kind, layer in pins if kind in _POINTWISE and layer.name not in self.apart]
        if not pointwise or not any(kind in _WITH_EPILOGUE for kind, _ in pins):
            return False
        read = {layer.get_input(index).name for layer in pointwise for index in present_inputs(layer)}
        for layer in pointwise:
            layer.precision = trt.float32
            if layer.get_output(0).name in read:  # within what is one kernel then
                layer.set_output_type(0, trt.float32)
        self.apart.update(layer.name for layer in pointwise)
        return True


NO_PINS = Pins([], [])


def pin_layers(graph: Graph, settings: Any) -> Pins:
    """Ask for fp16 in an ``IBuilderConfig``, and pin the layers of a weakly typed network to what they were traced in.

    Copies, such as slices, are pinned to fp32 as well: between two layers in fp32 they would round what they pass on.
    Where something is quantised, what may belong to an int8 kernel is not pinned: see :func:`_of_int8_kernels`.

    Raises:
        BuildError: TensorRT does not keep one of them in fp32.
    """
    trt = graph.trt
    if graph.placement is not None:
        settings.set_flag(trt.BuilderFlag.INT8)
    half_inputs = [index for index, spec in enumerate(graph.inputs.values()) if spec.dtype is float16]
    if not half_inputs and float16 not in graph.layer_dtypes:
        return NO_PINS
    settings.set_flag(trt.BuilderFlag.FP16)
    graph.is_pinned = True
    for index in half_inputs:  # a network that is in fp32 throughout may read fp16, without a cast
        raw = graph.definition.get_input(index)
        raw.dtype = trt.float16
    layers = list(read_layers(graph.definition, trt))
    to_fp32, joins_fp32 = [], set()
    read_in_half = _read_in_half_alone(layers, graph.layer_dtypes)
    for (kind, layer), dtype, path in zip(layers, graph.layer_dtypes, graph.layer_paths, strict=True):
        if dtype is not float32:
            continue
        if kind == "RECURRENCE":  # its inspector shows nothing of what is within a loop
            raise BuildError(
                f"{graph.backend} does not keep a loop in fp32 beside layers in fp16: {path}",
                "it was seen to round the loop's states to fp16 although they were pinned",
                "build the network in fp32, or the module by itself: model.rnn.compile(...)",
                "TensorRT 10, 11 and RTX do as they are asked",
            )
        layer.precision = trt.float32
        outputs = _floating_outputs(layer)
        for index in outputs:
            layer.set_output_type(index, trt.float32)
        names = tuple(output.name for output in outputs.values())
        to_fp32.append(PinnedLayer(layer.name, names, tuple(name for name in names if name in read_in_half)))
        joins_fp32.update(tensor.name for tensor in _joins(kind, layer))
    looped = {index for places in loop_ranges(layers) for index in places}  # what is in loops is measured as a whole
    halves = [entry for i, entry in enumerate(layers) if graph.layer_dtypes[i] is float16 and i not in looped]
    of_int8 = set() if graph.placement is None else _of_int8_kernels(layers)
    to_fp16 = _pin_to_fp16(trt, halves, joins_fp32, of_int8)
    settings.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    return Pins(to_fp32, to_fp16)


def _read_in_half_alone(layers: Iterable[tuple[str, Any]], dtypes: Iterable[DType | None]) -> set[str]:
    """Return the names of the tensors that layers traced in fp16 read, and no others."""
    half: set[str] = set()
    others: set[str] = set()
    for (_, layer), dtype in zip(layers, dtypes, strict=True):
        (half if dtype is float16 else others).update(layer.get_input(i).name for i in present_inputs(layer))
        outputs = (layer.get_output(i) for i in range(layer.num_outputs))
        others.update(output.name for output in outputs if output.is_network_output)
    return half - others


def _of_int8_kernels(layers: Sequence[tuple[str, Any]]) -> set[str]:
    """Return the names of the tensors around layers that TensorRT may make int8 kernels of.

    These are what a Dequantize gives; what a convolution or a product that reads it gives; and what pointwise layers
    make of that, for they go into the same kernel. Other layers are in fp16, also those that a Quantize reads: where
    they are left free, TensorRT 8.6 was seen to take a first convolution to fp32 with them, at four times the time.
    """
    names: set[str] = set()
    for kind, layer in layers:
        reads = [layer.get_input(i).name for i in present_inputs(layer)]
        gives = [layer.get_output(i).name for i in range(layer.num_outputs)]
        if kind == "DEQUANTIZE" or (kind in _IN_ONE_KERNEL and names.intersection(reads)):
            names.update(gives)
    return names


def _joins(kind: str, layer: Any) -> list[Any]:
    """Return the tensors over which TensorRT may make one kernel of a layer and another.

    Pointwise layers go with each other, and with the convolution or the product that they read.
    """
    if kind in _JOINED:
        return layer_tensors(layer)
    return [layer.get_output(index) for index in range(layer.num_outputs)] if kind in _WITH_EPILOGUE else []


def _pin_to_fp16(
    trt: Any, layers: Iterable[tuple[str, Any]], joins_fp32: Container[str], of_int8: Container[str]
) -> list[HalfLayer]:
    """Pin layers that TensorRT would measure in fp32 too, which takes more than twice as long; return those.

    Free stay those of which TensorRT may make one kernel with a layer in fp32, for which it finds no type where they
    are pinned to two. Of others that read or give fp32 it was seen to take to fp32, in transformers, products behind a
    softmax and behind GELU, and the sums that a LayerNorm reads (8.6).

    Args:
        layers: those that were traced in fp16, but for what is in loops, as :func:`read_layers` yields them.
        joins_fp32: the names of the tensors over which layers in fp32 may be joined with others.
        of_int8: those of tensors whose layers stay free, whatever they do with them.
    """
    pinned = []
    for kind, layer in layers:
        outputs = _floating_outputs(layer)
        unmeasured = kind not in _MEASURED or getattr(layer, "num_groups", 1) > 1 or not outputs
        may_join = any(tensor.name in joins_fp32 for tensor in _joins(kind, layer))
        if unmeasured or may_join or any(tensor.name in of_int8 for tensor in layer_tensors(layer)):
            continue
        layer.precision = trt.float16
        for index, output in outputs.items():
            if not output.is_network_output:  # those leave as fp32
                layer.set_output_type(index, trt.float16)
        pinned.append(HalfLayer(kind, layer))
    return pinned


def _floating_outputs(layer: Any) -> dict[int, Any]:
    """Return a layer's outputs by index, but for those that are integers or bools."""
    outputs = {index: layer.get_output(index) for index in range(layer.num_outputs)}
    return {index: output for index, output in outputs.items() if as_dtype(output.dtype).is_floating_point}


def narrowed(layers: Iterable[str], pinned: Sequence[PinnedLayer]) -> list[str]:
    """Return a line for each output of an engine's layer that should be in fp32 and is narrower.

    These are the outputs that carry the name of a pinned layer's, and all that a layer gives which was made of pinned
    ones alone. Where shapes are dynamic TensorRT 8.6 tells no formats, in a context with shapes either, but the type of
    a convolution's weights: it counts for layers of pinned ones alone, since else the weights may be another's. What
    TensorRT does not tell counts as right, and so does a copy in fp16 for layers in fp16.

    Args:
        layers: what the inspector says of each, in JSON.
        pinned: the layers to look for.
    """
    names = {pin.name for pin in pinned}
    tensors = {output for pin in pinned for output in pin.outputs}
    handed_on = {output for pin in pinned for output in pin.handed_on}
    lines = []
    for text in layers:
        built = json.loads(text, strict=False)  # not strict: metadata holds a control character
        if not isinstance(built, dict):  # a lone name, where the engine was built without details
            continue
        whole = all(part.is_whole and part.name in names for part in network_parts(built["Name"]))
        for output in built.get("Outputs", ()):
            if built.get("LayerType") == "Reformat" and output.get("Name") in handed_on:
                continue
            kind = str(output.get("Format/Datatype", ""))
            if whole and kind.startswith("N/A") and isinstance(built.get("Weights"), dict):
                kind = f"weights of type {built['Weights'].get('Type')}"
            if (whole or output.get("Name") in tensors) and _NARROW.search(kind):
                lines.append(f"{built['Name']} gives {output.get('Name')} as: {kind}")
    return lines


def check_pinned(engine: Any, trt: Any, pinned: Sequence[PinnedLayer]) -> None:
    """Check that an ``ICudaEngine``, built with ``ProfilingVerbosity.DETAILED``, has its pinned layers in fp32.

    Raises:
        BuildError: it has not, with the layers.
    """
    inspector = engine.create_engine_inspector()
    kind = trt.LayerInformationFormat.JSON
    lines = narrowed((inspector.get_layer_information(i, kind) for i in range(engine.num_layers)), pinned)
    if lines:
        more = [f"... and {len(lines) - _MOST_SHOWN} more"] if len(lines) > _MOST_SHOWN else []
        raise BuildError(
            f"TensorRT built {len(lines)} outputs in less than the fp32 that was asked for",
            *lines[:_MOST_SHOWN],
            *more,
            "build it in fp32, or keep the modules around these in fp32 as well: fp32_modules=(...)",
        )
