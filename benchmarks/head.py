"""The head of YOLOv5 alone on a GPU, with its rows made in several ways, each of the same numbers.

A map (batch, anchors · outputs, rows, columns) becomes a row for each box, (batch, anchors · rows · columns, outputs):
what is next to each other in one is far apart in the other. In a YOLOv5s of 32 images that and joining the levels are
a quarter of all its time (TensorRT 8.6.0, an H200). Each way stands behind a convolution with SiLU on each level, as in
the model, fp16, in a CUDA graph; beside the times is the largest difference from what the CPU reference makes of the
first way, which is the fastest (benchmarks/RESULTS.md, "int8 and fp8").

ways:
  as it is        as models/boxes.py writes it
  three           (batch · anchors, outputs, cells) transposed: three dimensions in place of four
  anchors         a convolution for each anchor, and its map transposed
  cells first     (batch, cells, anchors · outputs) first, then the anchors before the cells
  fp32 first      the map in fp32 before it is transposed
  padded          88 outputs of an anchor in place of 85, which are cut off behind
  parts           8 images at a time

examples:
  python benchmarks/head.py --out head.json
  python benchmarks/head.py --out head.json --batch 32 --ways "as it is" three parts --engines engines
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import trtnn
from trtnn import functional as F
from trtnn.engine.bench import circumstances, milliseconds
from trtnn.files import atomic_write
from trtnn.graph.tensor import Tensor
from trtnn.models.blocks import Conv
from trtnn.models.yolov5 import Detect
from trtnn.modules import Module, ModuleList

WAYS = ("as it is", "three", "anchors", "cells first", "fp32 first", "padded", "parts")
PART = 8  # images
STRIDES, CLASSES, ANCHORS = (8, 16, 32), 80, 3


class Head(Detect):
    """YOLOv5's head, whose rows are made in one of the ways."""

    def __init__(self, way: str, channels: list[int]) -> None:
        anchors = np.arange(10, 10 + 2 * ANCHORS * len(STRIDES), dtype=np.float32).reshape(len(STRIDES), ANCHORS, 2)
        super().__init__(channels, CLASSES, anchors, STRIDES)
        self.way = way

    def forward(self, *levels: Tensor, decode: bool = True) -> Tensor:
        if self.way not in ("anchors", "padded"):
            return super().forward(*levels, decode=decode)
        width = -(-self.outputs // 8) * 8 if self.way == "padded" else self.outputs
        maps = []
        for conv, x in zip(self.m, levels, strict=True):
            weight = conv.weight.numpy().reshape(ANCHORS, self.outputs, -1)
            bias = conv.bias.numpy().reshape(ANCHORS, self.outputs)
            weight = np.pad(weight, ((0, 0), (0, width - self.outputs), (0, 0)))[..., None, None]
            bias = np.pad(bias, ((0, 0), (0, width - self.outputs)))
            if self.way == "padded":
                maps.append(F.conv2d(x, weight.reshape(-1, *weight.shape[2:]), bias.reshape(-1)))
            else:
                maps.append([F.conv2d(x, *one) for one in zip(weight, bias, strict=True)])
        return self.boxes(maps)

    def boxes(self, maps: Sequence[Any]) -> Tensor:
        if self.way != "anchors":
            return super().boxes(maps)
        self.joined = {id(parts[0]): parts for parts in maps}
        return super().boxes([parts[0] for parts in maps])

    def rows(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        cells, outputs = height * width, channels // ANCHORS
        if self.way == "three":
            return x.view(batch * ANCHORS, outputs, cells).permute(0, 2, 1).reshape(batch, -1, outputs)
        if self.way == "anchors":
            return F.cat([part.flatten(2).transpose(1, 2) for part in self.joined[id(x)]], 1)
        if self.way == "cells first":
            x = x.view(batch, channels, cells).permute(0, 2, 1).reshape(batch, cells, ANCHORS, outputs)
            return x.permute(0, 2, 1, 3).reshape(batch, -1, outputs)
        if self.way == "padded":
            rows = x.view(batch, ANCHORS, outputs, cells).permute(0, 1, 3, 2).reshape(batch, -1, outputs)
            return rows[..., : self.outputs]
        if self.way == "parts":
            return F.cat([super(Head, self).rows(part) for part in x.split(PART)], 0)
        return super().rows(x.float() if self.way == "fp32 first" else x)


class End(Module):
    """A convolution with SiLU on each level, and the head.

    Args:
        way: of the head.
        channels: of each level, the finest first.
    """

    def __init__(self, way: str, channels: list[int]) -> None:
        super().__init__()
        self.before = ModuleList(Conv(c, c) for c in channels)
        self.head = Head(way, channels)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Tensor:
        return self.head(*(conv(x) for conv, x in zip(self.before, (fine, middle, coarse), strict=True)))


def make(way: str, channels: list[int]) -> End:
    """Return one of the ways, all with the same random weights."""
    model, random = End(way, channels), np.random.default_rng(0)
    state = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        fan_in = tensor.shape[1] if len(tensor.shape) > 1 else 16
        drawn = (random.standard_normal(tensor.shape) / np.sqrt(fan_in)).astype(np.float32)
        state[name] = np.abs(drawn) + 0.5 if name.endswith("running_var") else drawn
    state["head.anchors"] = model.head.anchors.data
    model.load_state_dict(state)
    return model


def inputs_of(channels: list[int], size: int, batch: int) -> dict[str, Any]:
    """Return maps as fp16, by name."""
    random = np.random.default_rng(1)
    shapes = [(batch, c, size // s, size // s) for c, s in zip(channels, STRIDES, strict=True)]
    names = ("fine", "middle", "coarse")
    return {n: random.standard_normal(s).astype(np.float16) for n, s in zip(names, shapes, strict=True)}


def trace(way: str, channels: list[int], arrays: dict[str, Any], fp16: bool = True) -> Any:
    """Return the network of one way."""
    return make(way, channels).trace({n: trtnn.Input(a.shape, a.dtype) for n, a in arrays.items()}, fp16=fp16)


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file of figures")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, metavar="WAY", help="(default: all)")
    parser.add_argument("--batch", nargs="+", type=int, default=[32, 8, 1], help="(default: 32 8 1)")
    parser.add_argument("--channels", nargs=3, type=int, default=[128, 256, 512], help="(default: YOLOv5s's)")
    parser.add_argument("--level", type=int, default=1, help="TensorRT's optimisation level (default: %(default)s)")
    parser.add_argument("--engines", type=Path, help="a folder for the engines, of which kernels.py shows the kernels")
    args = parser.parse_args()
    if args.engines:
        args.engines.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {"about": circumstances()}
    for batch in args.batch:
        arrays = inputs_of(args.channels, 640, batch)
        first = {name: array[:1] for name, array in arrays.items()}
        expected = trace(WAYS[0], args.channels, first).run(**first)
        for way in args.ways:
            network = trace(way, args.channels, arrays)
            with network.build(optimization_level=args.level, progress=False) as engine:
                if args.engines:
                    engine.save(args.engines / f"head-{batch}-{way.replace(' ', '-')}.engine")
                row = {
                    "ms": milliseconds(engine.cuda_graph().bare(**arrays)),
                    "difference": float(np.abs(engine(**arrays)[:1] - expected).max()),
                }
            figures[f"{batch}, {way}"] = row
            print(f"{batch:3} {way:12} {row['ms']:.4f} ms, at most {row['difference']:.3g} off", flush=True)
            with atomic_write(args.out) as file:
                file.write(json.dumps(figures, indent=1).encode())


if __name__ == "__main__":
    main()
