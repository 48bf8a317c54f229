"""Small networks with weights, and numbers for them."""

from __future__ import annotations

import functools

import numpy as np

import trtnn.quantization
from trtnn import functional as F
from trtnn.modules import BatchNorm2d, Conv2d, Identity, MaxPool2d, Module, SiLU, Upsample
from trtnn.parameter import Buffer


def filled(model: Module, seed: int = 0) -> Module:
    """Give a model normal weights of variance 1 / fan-in, and BatchNorms ordinary statistics."""
    rng = np.random.default_rng(seed)
    for _, parameter in model.named_parameters():
        fan_in = max(int(np.prod(parameter.shape[1:])), 1)
        parameter.data = (rng.standard_normal(parameter.shape) / np.sqrt(fan_in)).astype(np.float32)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.data = rng.uniform(0.2, 1.5, buffer.shape).astype(np.float32)
    return model


def images(count: int, *shape: int, seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(count)]


quantize = functools.partial(trtnn.quantization.quantize, skip=())  # the last layers as well


class Rounded(Module):
    """Rounds what it is given, between two layers that change nothing.

    Args:
        scale, largest: of the type that it rounds to.
        shape: of its input x.
    """

    def __init__(self, scale: float, largest: float, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.inputs, self.inner = {"x": shape}, Identity()
        self.inner.output_scale = Buffer((), data=np.float32(scale))
        self.inner.quant_max = Buffer((), data=np.float32(largest))

    def forward(self, x):
        return self.inner(x * 1.0) * 1.0


class Block(Module):
    """A convolution with BatchNorm and SiLU."""

    def __init__(self, c_in: int, c_out: int, k: int = 3) -> None:
        super().__init__()
        self.conv, self.bn, self.act = Conv2d(c_in, c_out, k, 1, k // 2, bias=False), BatchNorm2d(c_out), SiLU()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class Detector(Module):
    """What detectors are made of: a residual sum, a pool, a resize, a concatenation, and a head without activation."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"x": (1, 4, 16, 16)}
        self.stem, self.first, self.second = Block(4, 8), Block(8, 8, 1), Block(8, 8)
        self.pool, self.up = MaxPool2d(2), Upsample(scale_factor=2)
        self.join, self.head = Block(24, 8, 1), Conv2d(8, 6, 1)

    def forward(self, x):
        x = self.stem(x)
        y = x + self.second(self.first(x))
        z = self.up(self.pool(y))
        return self.head(self.join(F.cat([x, y, z], 1)))


def detector() -> Module:
    return filled(Detector())
