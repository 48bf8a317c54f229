"""The precision of layers where networks are weakly typed: what was traced is pinned, so that it is what is built."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, NamedTuple

from trtnn.dtypes import as_dtype, float16, float32
from trtnn.engine.inspector import PinnedLayer
from trtnn.errors import BuildError
from trtnn.graph.definition import layer_tensors, loop_ranges, read_layers
from trtnn.graph.graph import Graph

# What TensorRT has kernels of either type for, all of which it would measure; but not for groups of a few channels.
_MEASURED = ("ACTIVATION", "CONVOLUTION", "DECONVOLUTION", "ELEMENTWISE", "MATRIX_MULTIPLY", "POOLING")


class Pins(NamedTuple):
    """The layers of a network that were pinned to a type: in fp32 by name, in fp16 as they are in the definition."""

    to_fp32: list[PinnedLayer]
    to_fp16: list[Any]

    def release_fp16(self) -> None:
        """Leave the type of those in fp16 to TensorRT, which found no kernel for one."""
        for layer in self.to_fp16:
            layer.reset_precision()
            for index in range(layer.num_outputs):
                layer.reset_output_type(index)


NO_PINS = Pins([], [])


def pin_layers(graph: Graph, settings: Any) -> Pins:
    """Ask for fp16 in an ``IBuilderConfig``, and pin the layers of a weakly typed network to what they were traced in.

    Copies, such as slices, are pinned to fp32 as well: between two layers in fp32 they would round what they pass on.

    Raises:
        BuildError: TensorRT does not keep one of them in fp32.
    """
    trt = graph.trt
    half_inputs = [index for index, spec in enumerate(graph.inputs.values()) if spec.dtype is float16]
    if not half_inputs and float16 not in graph.layer_dtypes:
        return NO_PINS
    settings.set_flag(trt.BuilderFlag.FP16)
    for index in half_inputs:  # a network that is in fp32 throughout may read fp16, without a cast
        raw = graph.definition.get_input(index)
        raw.dtype = trt.float16
    layers = list(read_layers(graph.definition, trt))
    to_fp32, beside_fp32 = [], set()
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
        to_fp32.append(PinnedLayer(layer.name, tuple(output.name for output in outputs.values())))
        beside_fp32.update(tensor.name for tensor in layer_tensors(layer))
    looped = {index for places in loop_ranges(layers) for index in places}  # what is in loops is measured as a whole
    halves = [entry for i, entry in enumerate(layers) if graph.layer_dtypes[i] is float16 and i not in looped]
    to_fp16 = _pin_to_fp16(trt, halves, beside_fp32)
    settings.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    return Pins(to_fp32, to_fp16)


def _pin_to_fp16(trt: Any, layers: Iterable[tuple[str, Any]], beside_fp32: Container[str]) -> list[Any]:
    """Pin layers that TensorRT would measure in fp32 too, which takes more than twice as long; return those.

    Args:
        layers: those that were traced in fp16, but for what is in loops, as :func:`read_layers` yields them.
        beside_fp32: the names of what layers in fp32 read and give. What touches that stays free: TensorRT may make one
            kernel of both layers, for which it finds no type where they are pinned to two.
    """
    pinned = []
    for kind, layer in layers:
        outputs = _floating_outputs(layer)
        free = kind not in _MEASURED or getattr(layer, "num_groups", 1) > 1 or not outputs
        if free or any(tensor.name in beside_fp32 for tensor in layer_tensors(layer)):
            continue
        layer.precision = trt.float16
        for index, output in outputs.items():
            if not output.is_network_output:  # those leave as fp32
                layer.set_output_type(index, trt.float16)
        pinned.append(layer)
    return pinned


def _floating_outputs(layer: Any) -> dict[int, Any]:
    """Return a layer's outputs by index, but for those that are integers or bools."""
    outputs = {index: layer.get_output(index) for index in range(layer.num_outputs)}
    return {index: output for index, output in outputs.items() if as_dtype(output.dtype).is_floating_point}
