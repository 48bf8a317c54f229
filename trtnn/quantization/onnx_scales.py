"""The scales of Quantize layers in ONNX files, by the modules whose layers read what they round."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, CheckpointError
from trtnn.quantization.found import Found, other_type, positive

# What gives the numbers that it was given, at other places, or 0: it may round before or behind. Of weights the first.
_MOVING = ("Cast", "Identity", "Reshape", "Transpose")
_KEEPING = (*_MOVING, "Flatten", "MaxPool", "Relu", "Squeeze", "Unsqueeze")
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class _File:
    """The nodes of an ONNX file, the arrays that it holds, and who makes each tensor."""

    def __init__(self, path: Path) -> None:
        try:
            import onnx
            from onnx import numpy_helper
        except ImportError as error:
            raise ArgumentError(f"{path} takes the package onnx", 'pip install "trtnn[onnx]"') from error
        try:
            graph = onnx.load(path).graph
        except Exception as error:  # of protobuf, of many kinds
            raise CheckpointError(f"{path} is no ONNX file: {error}") from error
        held = {one.name: one for one in graph.initializer}
        held |= {
            node.output[0]: node.attribute[0].t
            for node in graph.node
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t")
        }
        self.nodes = list(graph.node)
        self.outputs = {one.name for one in graph.output}
        self.arrays = {name: numpy_helper.to_array(one) for name, one in held.items()}
        self.kinds = {name: _onnx_word(one.data_type) for name, one in held.items()}
        self.makers = {output: node for node in graph.node for output in node.output}
        self.readers: defaultdict[str, list[tuple[Any, int]]] = defaultdict(list)
        for node in graph.node:
            for place, name in enumerate(node.input):
                self.readers[name].append((node, place))

    def rounded(self, name: str, through: Collection[str]) -> tuple[Any, list[Any]]:
        """Return the DequantizeLinear that a tensor comes from, or None, and what it passes through, the last first."""
        maker, passed = self.makers.get(name), []
        while maker is not None and maker.op_type in through:
            passed.append(maker)
            maker = self.makers.get(maker.input[0])
        return (maker if maker is not None and maker.op_type == "DequantizeLinear" else None), passed

    def constant(self, name: str) -> np.ndarray | None:
        """Return the array of the file that a tensor is, rounded or moved, or None."""
        while name not in self.arrays and name in self.makers and self.makers[name].input:
            if self.makers[name].op_type not in (*_MOVING, "QuantizeLinear", "DequantizeLinear"):
                return None
            name = self.makers[name].input[0]
        return self.arrays.get(name)

    def is_read_by(self, name: str, layers: Collection[tuple[str, int]]) -> bool:
        """Whether nothing reads a tensor but these layers, by the name of their output and the index of their input."""
        if name in self.outputs:
            return False
        return all(
            (node.output[0], place) in layers
            or (node.op_type in _KEEPING and place == 0 and self.is_read_by(node.output[0], layers))
            for node, place in self.readers[name]
        )


def read_onnx(path: Path, dtype: str) -> tuple[list[Found], list[str]]:
    """Return the scales of an ONNX file, and the names of its Dequantize layers that others read than what has these.

    A module's path is the name of its weight without the end, as torch's exporter keeps it; else that of the node,
    ``/model.0/conv/Conv``.

    Raises:
        CheckpointError: scales are none that TensorRT has, or a module has several for what it reads.
    """
    file = _File(path)
    found: dict[tuple[str, str], Found] = {}
    layers: set[tuple[str, int]] = set()
    for node in file.nodes:
        array = file.constant(node.input[1]) if node.op_type in _LAYERS else None
        if array is None:
            continue
        (read, _), (weight, moved) = file.rounded(node.input[0], _KEEPING), file.rounded(node.input[1], _MOVING)
        if read is None or weight is None:
            continue
        module, of_node = _onnx_path(node, file.makers, file.arrays)
        scales = [_scale(file, one, dtype) for one in (read, weight)]
        if scales[1].size > 1:
            _check_onnx_axis(node, moved, weight, array.ndim)
        normed = any(other.op_type == "BatchNormalization" and other.input[0] in node.output for other in file.nodes)
        axis = 1 if node.op_type == "ConvTranspose" else 0
        for one in (
            Found(module, "input", scales[0], of_node=of_node),
            Found(module, "weight", scales[1], axis, normed, of_node),
        ):
            _check_same(found.setdefault((module, one.what), one), one)
        layers |= {(node.output[0], 0), (node.output[0], 1)}
    left = [
        node.name or node.output[0]
        for node in file.nodes
        if node.op_type == "DequantizeLinear"
        and _onnx_type(node, file.makers, file.kinds) != "int32"  # biases, whose steps are as fine as their sums'
        and not file.is_read_by(node.output[0], layers)
    ]
    return list(found.values()), left


def _scale(file: _File, dequantize: Any, dtype: str) -> np.ndarray:
    """Return the scale of a DequantizeLinear."""
    name = dequantize.name or dequantize.output[0]
    if len(dequantize.input) > 2 and file.arrays.get(dequantize.input[2], np.zeros(1)).any():
        raise CheckpointError(
            f"{name} rounds around another number than 0", "TensorRT does not: quantise symmetrically"
        )
    kind = _onnx_type(dequantize, file.makers, file.kinds)
    if kind != _ONNX_TYPES[dtype]:
        raise other_type(name, kind.replace("float8e4m3fn", "fp8"), dtype)
    return positive(dequantize.input[1], file.arrays.get(dequantize.input[1], np.zeros(0)))


def _check_same(first: Found, other: Found) -> None:
    """Check that a module that is called several times has one scale for all calls."""
    if first.scale.shape != other.scale.shape or (first.scale != other.scale).any():
        what = "what it reads" if first.what == "input" else "its weights"
        raise CheckpointError(
            f"{first.path!r} has several scales for {what}: {first.scale.flat[0]:g} and {other.scale.flat[0]:g}",
            "a module has one for all of its calls: give each call a module of its own, or all one scale",
        )


def _check_onnx_axis(node: Any, moved: list[Any], dequantize: Any, ndim: int) -> None:
    """Check that the scales of weights are along the output channels.

    Args:
        node: which reads the weights.
        moved: what moves their dimensions before that, the last first.
        dequantize: what has the scales.
        ndim: of the weights.

    Raises:
        CheckpointError: they are along others, or nothing tells.
    """

    def attribute(of: Any, name: str, default: Any) -> Any:
        return next((one.i if not one.ints else list(one.ints) for one in of.attribute if one.name == name), default)

    places = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if attribute(node, "transB", 0) else 1, "MatMul": 1}
    channels = places[node.op_type]
    for one in moved:
        if one.op_type == "Reshape":
            raise CheckpointError(
                f"{node.name or node.output[0]} reshapes its rounded weights, which have several scales"
            )
        order = attribute(one, "perm", [1, 0])
        channels = order[channels]
    axis = attribute(dequantize, "axis", 1) % ndim
    if axis != channels:
        raise CheckpointError(
            f"{dequantize.name or dequantize.output[0]} has scales along axis {axis}, and the output channels of "
            f"{node.name or node.output[0]} are axis {channels}",
            "TensorRT takes one for each output channel",
        )


_ONNX_TYPES = {"int8": "int8", "fp8": "float8e4m3fn"}


def _onnx_type(dequantize: Any, makers: Mapping[str, Any], kinds: Mapping[str, str]) -> str:
    """Return the type that a DequantizeLinear reads, by ONNX's word in small letters.

    It is that of its zero point, else of the array that it reads, else what the QuantizeLinear before it says; which is
    uint8 where that says nothing (https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html).
    """
    for name in (*dequantize.input[2:3], dequantize.input[0]):
        if name in kinds:
            return kinds[name]
    maker = makers.get(dequantize.input[0])
    if maker is None or maker.op_type != "QuantizeLinear":
        return "a type that nothing tells"
    if len(maker.input) > 2 and maker.input[2] in kinds:
        return kinds[maker.input[2]]
    wanted = next((one.i for one in maker.attribute if one.name == "output_dtype"), 0)
    return _onnx_word(wanted) if wanted else "uint8"


def _onnx_word(data_type: int) -> str:
    import onnx

    return onnx.TensorProto.DataType.Name(data_type).lower()


def _onnx_path(node: Any, makers: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[str, bool]:
    """Return the path of a node's module, and whether it is of the node's name, not of its weight's."""
    name = node.input[1]
    while name not in arrays and name in makers and makers[name].input:
        name = makers[name].input[0]
    if name in arrays and name.endswith(".weight"):
        return name.removesuffix(".weight"), False
    return ".".join(part for part in node.name.split("/")[:-1] if part), True
