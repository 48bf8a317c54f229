"""A small network and what TensorRT's inspector and profiler would say of its engine, with layers fused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tests.helpers import numbers
from trtnn import Dim, Input, Module, Network
from trtnn.graph.definition import present_inputs, read_layers
from trtnn.modules import BatchNorm2d, Conv2d, Linear, ReLU, Sequential


class Block(Module):
    """A convolution, a BatchNorm that is folded into it, and a ReLU that an engine fuses with both."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn = BatchNorm2d(outputs)
        self.act = ReLU()

    def forward(self, x: Any) -> Any:
        return self.act(self.bn(self.conv(x)))


class Net(Module):
    """Two blocks in a residual, another, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Block(3, 8, 2)
        self.body = Sequential(Block(8, 8), Block(8, 8))
        self.head = Linear(8, 5)
        self.inputs = {"images": Input((1, 3, 32, 32))}
        self.metadata = {"model": "small"}

    def forward(self, images: Any) -> Any:
        x = self.stem(images)
        x = self.body(x) + x
        return self.head(x.mean((2, 3)))


DYNAMIC = {"images": Input((Dim("batch", 1, 2, 4), 3, 32, 32))}


def loaded(scale: float = 0.3) -> Net:
    """Return the network's model with weights that differ."""
    net = Net()
    state = {name: numbers(*p.shape, seed=i, scale=scale) for i, (name, p) in enumerate(net.named_parameters())}
    state |= {name: np.abs(numbers(*b.shape)) + 1 for name, b in net.named_buffers() if b.data is None}
    net.load_state_dict({**net.state_dict(), **state})
    return net


def inspected(network: Network) -> list[dict[str, Any]]:
    """Return what the inspector would show of an engine of a network: each ReLU fused into what stands before it."""
    layers = list(read_layers(network.graph.definition, network.graph.trt))
    rows: list[dict[str, Any]] = [{"Name": "Reformatting CopyNode for Network Input images", "LayerType": "Reformat"}]
    for kind, layer in layers:
        if kind == "CONSTANT":
            continue
        end = _tensor(network, layer.get_output(0))
        if kind == "ACTIVATION":
            rows[-1] |= {"Name": f"{rows[-1]['Name']} + {layer.name}", "Outputs": [end]}
            continue
        row = {
            "Name": layer.name,
            "LayerType": "CaskConvolution" if kind == "CONVOLUTION" else kind.title(),
            "Inputs": [_tensor(network, layer.get_input(index)) for index in present_inputs(layer)],
            "Outputs": [end],
            "TacticName": "sm86_xmma_fprop",
        }
        if kind == "CONVOLUTION":
            row["Weights"] = {"Type": "Half", "Count": layer.kernel.size}
            row["Bias"] = {"Type": "Half", "Count": layer.num_output_maps}
        rows.append(row)
    return rows


def _tensor(network: Network, raw: Any) -> dict[str, Any]:
    lengths = [length if isinstance(length, int) else -1 for length in network.graph.shape_of(raw)]
    half = raw.dtype.name == "HALF"
    text = "Channel major FP16 format where channel % 8 == 0" if half else "Row major linear FP32"
    return {"Name": raw.name, "Location": "Device", "Dimensions": lengths, "Format/Datatype": text}


def times_of(rows: Iterable[dict[str, Any]], factor: float = 1.0) -> list[tuple[str, float]]:
    """Return a time for each layer that the inspector shows: 1, 2, 3, ... ms, times a factor."""
    return [(row["Name"], factor * (index + 1)) for index, row in enumerate(rows)]
