"""What the parts of a transformer cost on a GPU, and how exact its attention is, by the types that they are carried in.

A few blocks of a vision transformer, fp16, in a CUDA graph: as trtnn writes them, and with one part in another way;
and how far they are from what the CPU reference makes of the same network, in parts of the largest number.

ways:
  as it is      scores and their softmax in fp32, as F.scaled_dot_product_attention carries them
  fp16 scores   the query scaled before, the product in fp16, its softmax in fp32
  fp16 weights  the softmax in fp16 as well
  fp16 behind   the same, scaled behind the product: wrong numbers with three heads (TensorRT 8.6.0, docs/limits.md)
  fp16 both     the same, query and key scaled by the root: what fp16_attention=True does, and ONNX files from torch
  norm          layer_norm by hand, in fp32
  gelu          GELU in fp16
  relu          ReLU in place of GELU
  all           fp16 weights, norm and relu

Behind the times are the errors of attention alone, whose scores reach so far: the largest difference from float64, in
parts of the largest result.

examples:
  python benchmarks/attention.py --out attention.json
  python benchmarks/attention.py --out attention.json --sizes 197x768x12 --depth 2 --batch 1 8
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import trtnn
from trtnn import functional as F
from trtnn.engine.bench import circumstances, milliseconds
from trtnn.files import atomic_write
from trtnn.graph.tensor import Tensor
from trtnn.modules import Linear, Module, Sequential
from trtnn.parameter import Parameter

ALONE = ("as it is", "fp16 scores", "fp16 weights", "fp16 behind", "fp16 both")  # how attention is written
WAYS = (*ALONE, "norm", "gelu", "relu", "all")
REACH = (1.0, 16.0, 256.0, 4096.0, 1e6)  # of scores


def attend(way: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return attention in one of the ways."""
    if way in ("as it is", "norm", "gelu", "relu"):
        return F.scaled_dot_product_attention(q, k, v)
    scale, k = float(q.shape[-1]) ** -0.5, k.transpose(-2, -1)
    if way == "fp16 both":
        return ((q * scale**0.5) @ (k * scale**0.5)).softmax(-1) @ v
    scores = (q @ k) * scale if way == "fp16 behind" else (q * scale) @ k
    weights = scores.float().softmax(-1).to(q.dtype) if way == "fp16 scores" else scores.softmax(-1)
    return weights @ v


def half_gelu(x: Tensor) -> Tensor:
    """Return GELU, carried in fp16."""
    return x * 0.5 * (F.erf(x * 0.5**0.5) + 1)


class Norm(Module):
    """Layer normalisation, by TensorRT's layer or by hand."""

    def __init__(self, width: int, way: str) -> None:
        super().__init__()
        self.weight, self.bias, self.way = Parameter(width), Parameter(width), way

    def forward(self, x: Tensor) -> Tensor:
        if self.way not in ("norm", "all"):
            return F.layer_norm(x, (int(x.shape[-1]),), self.weight, self.bias)
        wide = x.float()
        centred = wide - wide.mean(-1, keepdim=True)
        scaled = centred / ((centred * centred).mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled.to(x.dtype) * self.weight + self.bias


class Block(Module):
    """A block of a vision transformer (https://arxiv.org/abs/2010.11929)."""

    def __init__(self, width: int, heads: int, way: str) -> None:
        super().__init__()
        self.heads, self.way = heads, way
        self.norm1, self.norm2 = Norm(width, way), Norm(width, way)
        self.qkv, self.proj = Linear(width, 3 * width), Linear(width, width)
        self.fc1, self.fc2 = Linear(width, 4 * width), Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        heads = attend(self.way, *parts.unbind(0))
        x = x + self.proj(heads.transpose(1, 2).flatten(2))
        inner = self.fc1(self.norm2(x))
        activation = {"relu": F.relu, "all": F.relu, "gelu": half_gelu}.get(self.way, F.gelu)
        return x + self.fc2(activation(inner))


class Attention(Module):
    """Attention alone."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(self.way, q, k, v)


def build(model: Module, inputs: dict[str, Any], args: argparse.Namespace) -> Any:
    network = model.trace(inputs, fp16=True)
    return network.build(optimization_level=args.level, timing_cache=args.timing, progress=False)


def blocks(way: str, size: tuple[int, int, int], batch: int, args: argparse.Namespace) -> dict[str, float]:
    """Return the milliseconds of some blocks, one after another, and how far they are from the CPU reference."""
    tokens, width, heads = size
    model = Sequential(*(Block(width, heads, way) for _ in range(args.depth)))
    random = np.random.default_rng(0)
    model.load_state_dict(
        {
            name: (random.standard_normal(p.shape) / np.sqrt(p.shape[-1])).astype(np.float32)
            for name, p in model.named_parameters()
        }
    )
    inputs = {"input": trtnn.Input((batch, tokens, width))}
    x = random.standard_normal((batch, tokens, width)).astype(np.float32)
    expected = model.trace(inputs).run(x)
    with build(model, inputs, args) as engine:
        difference = float(abs(engine(x) - expected).max() / abs(expected).max())
        return {
            f"batch {batch}, ms": milliseconds(engine.cuda_graph().bare(x)),
            f"batch {batch}, difference": difference,
        }


def errors(way: str, size: tuple[int, int, int], args: argparse.Namespace) -> dict[str, float]:
    """Return the errors of attention alone, by how far its scores reach."""
    tokens, width, heads = size
    shape = (1, heads, tokens, width // heads)
    half = trtnn.Input(shape, trtnn.float16)
    random = np.random.default_rng(0)
    q, k, v = (random.standard_normal(shape) for _ in range(3))
    found = {}
    with build(Attention(way), {"q": half, "k": half, "v": half}, args) as engine:
        for reach in REACH:
            scores = q @ k.swapaxes(2, 3) / np.sqrt(shape[-1])
            stretch = np.sqrt(reach / abs(scores).max())
            given = [(array * factor).astype(np.float16) for array, factor in ((q, stretch), (k, stretch), (v, 1))]
            wide = [array.astype(np.float64) for array in given]
            scores = wide[0] @ wide[1].swapaxes(2, 3) / np.sqrt(shape[-1])
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            expected = weights / weights.sum(-1, keepdims=True) @ wide[2]
            found[f"error at {reach:g}"] = float(abs(engine(*given) - expected).max() / abs(expected).max())
    return found


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file of figures")
    sizes = ["197x192x3", "197x768x12", "300x256x8"]
    parser.add_argument("--sizes", nargs="+", default=sizes, help=f"tokens, width, heads (default: {' '.join(sizes)})")
    parser.add_argument("--batch", nargs="+", type=int, default=[1], help="(default: 1)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, metavar="WAY", help="(default: all)")
    parser.add_argument("--depth", type=int, default=3, help="blocks (default: %(default)s)")
    parser.add_argument("--level", type=int, default=1, help="TensorRT's optimisation level (default: %(default)s)")
    parser.add_argument("--timing", type=Path, help="the folder of timing caches (default: trtnn's own)")
    args = parser.parse_args()
    figures: dict[str, Any] = {"about": circumstances()}
    for text in args.sizes:
        tokens, width, heads = map(int, text.split("x"))
        for way in args.ways:
            row: dict[str, float] = {}
            for batch in args.batch:
                row |= blocks(way, (tokens, width, heads), batch, args)
            if way in ALONE:
                row |= errors(way, (tokens, width, heads), args)
            figures[f"{text}, {way}"] = row
            print(f"{text:12} {way:14} " + "  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
            with atomic_write(args.out) as file:
                file.write(json.dumps(figures, indent=1).encode())


if __name__ == "__main__":
    main()
