"""SiLU in int8 networks on a GPU, written in several ways, each of the same numbers.

TensorRT 8.6 makes one kernel of a convolution and its SiLU where int8 comes out, and two where fp16 does. In a YOLOv5s
of 32 images in int8 that costs 3 % of its time: behind the first convolution, whose SiLU reads its int8 twice, and
before the head, which reads in fp16 what int8 layers read as well. Two networks show either alone, in a CUDA graph;
beside the times is the largest difference from what the CPU reference makes of the first way.

networks:
  first    a convolution of 6×6 of an image, and one of 3×3
  beside   a convolution of 1×1, which one of 3×3 in int8 reads and one of 1×1 in fp16, as a head's

ways:
  as it is    x · σ(x), as nn.SiLU writes it
  tanh        x · (1 + tanh(x / 2)) / 2
  division    x / (1 + exp(-x))
  clip        x · σ(x) of x within ±64, where rounding leaves all of it: one layer reads what is rounded
  once        as it is, and the convolution is computed once, in int8, for both that read it

examples:
  python benchmarks/silu.py --out silu.json
  python benchmarks/silu.py --out silu.json --networks beside --ways "as it is" tanh --engines engines
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import trtnn
from trtnn import functional as F
from trtnn.engine.bench import circumstances, milliseconds
from trtnn.files import atomic_write
from trtnn.graph import placement
from trtnn.graph.tensor import Tensor
from trtnn.models.blocks import Conv
from trtnn.modules import Conv2d, Module

SiLU = Callable[[Tensor], Tensor]
MOST = 64.0
WAYS: dict[str, SiLU] = {
    "as it is": F.silu,
    "tanh": lambda x: x * ((x * 0.5).tanh() * 0.5 + 0.5),
    "division": lambda x: x / ((-x).exp() + 1),
    "clip": lambda x: F.silu(F.hardtanh(x, -MOST, MOST)),
    "once": F.silu,
}


class First(Module):
    """An image's first convolution of YOLOv5, with SiLU, and the next."""

    def __init__(self, channels: int, silu: SiLU) -> None:
        super().__init__()
        self.first, self.next = Conv(3, channels // 4, 6, 2, 2), Conv(channels // 4, channels // 2, 3, 2)
        self.first.act = silu

    def forward(self, x: Tensor) -> Tensor:
        return self.next(self.first(x))


class Beside(Module):
    """A convolution with SiLU that an int8 layer reads and one that stays in fp16."""

    def __init__(self, channels: int, silu: SiLU) -> None:
        super().__init__()
        self.before, self.cv3 = Conv(channels, channels), Conv(channels, channels)
        self.down, self.m = Conv(channels, channels, 3, 2), Conv2d(channels, 255, 1)
        self.cv3.act = silu

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.cv3(self.before(x))
        return self.down(y), self.m(y)


NETWORKS: dict[str, Callable[[int, SiLU], Module]] = {"first": First, "beside": Beside}


def image(network: str, batch: int, channels: int, size: int) -> np.ndarray:
    """Return what a network reads for images of ``size`` pixels."""
    shape = (batch, 3, size, size) if network == "first" else (batch, channels, size // 8, size // 8)
    return np.random.default_rng(1).random(shape, np.float32)


def make(network: str, way: str, channels: int, size: int) -> Module:
    """Return a quantised network; all ways have the same weights and scales."""
    models = [NETWORKS[network](channels, silu) for silu in (F.silu, WAYS[way])]
    random = np.random.default_rng(0)
    state = {}
    for name, tensor in (*models[0].named_parameters(), *models[0].named_buffers()):
        fan_in = int(np.prod(tensor.shape[1:])) or 16
        drawn = (random.standard_normal(tensor.shape) * np.sqrt(2 / fan_in)).astype(np.float32)
        state[name] = np.abs(drawn) + 0.5 if name.endswith("running_var") else drawn
    models[0].load_state_dict(state)
    sample = image(network, 1, channels, size)
    models[0].inputs = {"x": trtnn.Input(sample.shape)}
    quantised = trtnn.quantize(models[0], [sample], skip=["m"] if network == "beside" else [])
    models[1].load_state_dict(quantised.state_dict())
    return models[1]


@contextmanager
def convolutions(way: str) -> Iterator[None]:
    """Have convolutions of 1×1 computed once, where the way is that."""
    usual = placement._convolutions_again
    if way == "once":
        placement._convolutions_again = lambda *given: set()
    try:
        yield
    finally:
        placement._convolutions_again = usual


def trace(network: str, way: str, batch: int, channels: int, size: int, fp16: bool = True) -> Any:
    """Return the network of one way."""
    model = make(network, way, channels, size)
    with convolutions(way):
        return model.trace({"x": trtnn.Input(image(network, batch, channels, size).shape)}, fp16=fp16)


def outputs(values: Any) -> list[np.ndarray]:
    """Return what a network gave, one by one."""
    return [np.asarray(value) for value in (values if isinstance(values, tuple) else (values,))]


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file of figures")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS, help="(default: both)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, metavar="WAY", help="(default: all)")
    parser.add_argument("--batch", nargs="+", type=int, default=[32, 8], help="(default: 32 8)")
    parser.add_argument("--channels", type=int, default=128, help="of YOLOv5s, the default, at stride 8")
    parser.add_argument("--level", type=int, default=1, help="TensorRT's optimisation level (default: %(default)s)")
    parser.add_argument("--engines", type=Path, help="a folder for the engines, of which kernels.py shows the kernels")
    args = parser.parse_args()
    if args.engines:
        args.engines.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {"about": circumstances()}
    for batch in args.batch:
        for name in args.networks:
            first = image(name, 1, args.channels, 640)
            expected = outputs(trace(name, "as it is", 1, args.channels, 640).run(x=first))
            x = image(name, batch, args.channels, 640)
            for way in args.ways:
                network = trace(name, way, batch, args.channels, 640)
                # Each network by itself, without a cache: TensorRT 8.6 drops one of another network in int8.
                options = {"optimization_level": args.level, "timing_cache": False, "max_aux_streams": 1}
                with network.build(progress=False, **options) as engine:
                    if args.engines:
                        engine.save(args.engines / f"{name}-{batch}-{way.replace(' ', '-')}.engine")
                    found = [result[:1] for result in outputs(engine(x=x))]
                    row = {
                        "ms": milliseconds(engine.cuda_graph().bare(x=x)),
                        "difference": max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True)),
                    }
                figures[f"{name}, {batch}, {way}"] = row
                print(f"{name:8} {batch:3} {way:10} {row['ms']:.4f} ms, {row['difference']:.3g} off", flush=True)
                with atomic_write(args.out) as file:
                    file.write(json.dumps(figures, indent=1).encode())


if __name__ == "__main__":
    main()
