"""Which Quantize layers of ONNX files are taken, against ONNX's own evaluator; and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.helpers import assert_close, message_of
from tests.quantization.networks import filled, images
from trtnn import functional as F
from trtnn.errors import CheckpointError
from trtnn.modules import Conv2d, ConvTranspose2d, Linear, MaxPool2d, Module, ReLU, Sequential
from trtnn.quantization import take_scales

STEP = 2.0**-5  # powers of two, of which an evaluator that multiplies by the inverse makes the same


class File:
    """An ONNX file in the making, of one input x."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {}

    def held(self, name: str, array: Any) -> str:
        self.arrays[name] = np.asarray(array)
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=attributes.pop("name", ""), **attributes))
        return name

    def rounded(self, name: str, scale: Any = STEP, **axis: int) -> str:
        count = len(self.nodes)
        scale = np.asarray(scale, np.float32)
        both = self.held(f"s{count}", scale), self.held(f"z{count}", np.zeros(scale.shape, np.int8))
        return self.add("DequantizeLinear", self.add("QuantizeLinear", name, *both, **axis), *both, **axis)

    def layer(self, op: str, x: str, path: str, module: Any, axis: int = 0, **attributes: Any) -> str:
        """Add a layer of rounded weights."""
        weight = module.weight.data
        largest = np.abs(weight).max(tuple(i for i in range(weight.ndim) if i != axis))
        steps = 2.0 ** np.ceil(np.log2(largest / 127))
        name, bias = self.held(f"{path}.weight", weight), self.held(f"{path}.bias", module.bias.data)
        return self.add(op, x, self.rounded(name, steps, axis=axis), bias, **attributes)

    def run(self, folder: Path, output: str, x: np.ndarray) -> tuple[Path, np.ndarray]:
        """Write the file, and return its path and what the evaluator makes of x."""
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(array, name) for name, array in self.arrays.items()],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)]), path := folder / "a.onnx")
        (result,) = ReferenceEvaluator(str(path)).run(None, {"x": x})
        return path, result


def model_of(*parts: Module, shape: tuple[int, ...]) -> Sequential:
    model = filled(Sequential(*parts))
    model.inputs = {"input": shape}
    return model


def test_what_stands_between_a_rounding_and_its_layer(tmp_path):
    shape = (2, 4, 8, 8)
    (x,) = images(1, *shape)
    model = model_of(Conv2d(4, 8, 3, padding=1), MaxPool2d(2), ReLU(), ConvTranspose2d(8, 6, 2, 2), shape=shape)
    file = File(shape)
    y = file.layer("Conv", file.rounded("x"), "0", model[0], pads=[1, 1, 1, 1])
    y = file.add("MaxPool", file.rounded(y), kernel_shape=[2, 2], strides=[2, 2])
    y = file.layer("ConvTranspose", file.add("Relu", y), "3", model[3], axis=1, strides=[2, 2], kernel_shape=[2, 2])
    path, expected = file.run(tmp_path, y, x)
    take_scales(model, path)
    assert_close(model.trace().run(x), expected, 1e-5)


@pytest.mark.parametrize(("op", "axis"), [("MatMul", 1), ("MatMul", -1), ("Gemm", 0), ("Gemm", -2)])
def test_channels_are_counted_from_either_end(tmp_path, op, axis):
    (x,) = images(1, 5, 16)
    model, file = model_of(Linear(16, 8, bias=False), shape=(5, 16)), File((5, 16))
    weight = model[0].weight.data
    steps = 2.0 ** np.ceil(np.log2(np.abs(weight).max(1) / 127))
    held = file.held("onnx::7", weight if op == "Gemm" else np.ascontiguousarray(weight.T))
    extra = {"transB": 1} if op == "Gemm" else {}
    y = file.add(op, file.rounded("x"), file.rounded(held, steps, axis=axis), name=f"/0/{op}", **extra)
    path, expected = file.run(tmp_path, y, x)
    take_scales(model, path)
    assert_close(model.trace().run(x), expected, 1e-5)
    assert model[0].weight_scale.shape == (8,)


class Shared(Module):
    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.fc = {"x": (5, 16)}, Linear(16, 16)

    def forward(self, x):
        return self.fc(F.relu(self.fc(x)))


@pytest.mark.parametrize("second", [STEP, 4 * STEP])
def test_a_layer_that_is_called_twice_has_one_scale(tmp_path, second):
    (x,) = images(1, 5, 16)
    model, file = filled(Shared()), File((5, 16))
    y = file.layer("Gemm", file.rounded("x"), "fc", model.fc, transB=1)
    y = file.layer("Gemm", file.rounded(file.add("Relu", y), second), "fc", model.fc, transB=1)
    path, expected = file.run(tmp_path, y, x)
    if second == STEP:
        take_scales(model, path)
        assert_close(model.trace().run(x), expected, 1e-5)
    else:
        message = message_of(CheckpointError, lambda: take_scales(model, path))
        assert message.startswith("'fc' has several scales for what it reads: 0.03125 and 0.125")
        assert "input_scale" not in model.fc._buffers


@pytest.mark.parametrize("reader", ["Sigmoid", "Add", None])
def test_what_others_read_rounded_is_told(tmp_path, reader):
    shape = (2, 4, 8, 8)
    (x,) = images(1, *shape)
    model, file = model_of(Conv2d(4, 4, 1), shape=shape), File(shape)
    rounded = file.rounded("x")
    y = file.layer("Conv", rounded, "0", model[0])
    y = {"Add": lambda: file.add("Add", y, rounded), "Sigmoid": lambda: file.add("Sigmoid", file.rounded(y))}.get(
        reader or "", lambda: file.rounded(y)
    )()
    path, _ = file.run(tmp_path, y, x)
    with pytest.warns(
        UserWarning, match=r"scales are left out: t\d+; others than convolutions and products by weights"
    ):
        take_scales(model, path)
    assert model[0].input_scale.item() == STEP
