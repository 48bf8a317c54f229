"""Networks of random layers: what tracing makes of neighbours, such as folding, joining and casts, changes no numbers.

TRTNN_EXAMPLES=30 draws 30 times as many, others each time.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.helpers import EXAMPLES, MORE, QUICKLY, TORCH, load_random
from trtnn import Dim, Network, modules
from trtnn import functional as F

ACTIVATIONS = ("silu", "relu", "gelu", "hardswish", "leaky_relu", "mish", "elu", "softplus", "sigmoid")


class Draft:
    """Layers by name and arguments, and steps that make a tensor each of those before.

    Attributes:
        shapes: channels, rows and columns of each tensor, the input first.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.shapes = [(3, random.choice([8, 16]), random.choice([8, 12, 16]))]
        self.layers: list[tuple[str, tuple, dict]] = []
        self.steps: list[Callable[[Any, Any, list], Any]] = []
        for _ in range(random.randint(3, 14)):
            at = random.choice([len(self.steps)] * 3 + list(range(len(self.shapes))))
            random.choice(KINDS)(self, at, *self.shapes[at])

    def add(self, step: Callable[[Any, Any, list], Any], channels: int, rows: int, columns: int) -> None:
        """Take a function of the functions of torch or of trtnn, the layers and the tensors before."""
        self.steps.append(step)
        self.shapes.append((channels, rows, columns))

    def add_layer(self, at: int, shape: tuple[int, int, int], name: str, *args: Any, **options: Any) -> None:
        number = self.layer(name, *args, **options)
        self.add(lambda f, layers, tensors: layers[number](tensors[at]), *shape)

    def layer(self, name: str, *args: Any, **options: Any) -> int:
        self.layers.append((name, args, options))
        return len(self.layers) - 1

    def stride(self, h: int, w: int) -> int:
        """Return 1 or 2, where every tensor is a whole fraction of the input then, whatever its size."""
        return self.random.choice([1, 1, 2]) if h % 2 == w % 2 == 0 else 1

    def of_shape(self, fits: Callable[[tuple[int, int, int]], bool]) -> int:
        return self.random.choice([i for i, shape in enumerate(self.shapes) if fits(shape)])

    def module(self, of: Any, functions: Any) -> Any:
        """Make the network of torch's modules or of trtnn's; it returns its last two tensors."""
        draft = self

        class Drafted(of.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = of.ModuleList([getattr(of, name)(*args, **how) for name, args, how in draft.layers])

            def forward(self, x: Any) -> Any:
                tensors = [x]
                for step in draft.steps:
                    tensors.append(step(functions, self.layers, tensors))
                return tensors[-1], tensors[-2]

        return Drafted()


def convolution(draft: Draft, at: int, c: int, h: int, w: int) -> None:
    k, dilation, stride = draft.random.choice([1, 1, 3, 5]), draft.random.choice([1, 1, 2]), draft.stride(h, w)
    padding, groups = k // 2 * dilation, draft.random.choice([1, 1, 1, c])
    outputs = draft.random.choice([c, 2 * c]) if groups > 1 else draft.random.choice([4, 6, 8])
    shape = (outputs, h // stride, w // stride)
    how = {"groups": groups, "bias": draft.random.random() < 0.5}
    draft.add_layer(at, shape, "Conv2d", c, outputs, k, stride, padding, dilation, **how)
    for follow in (batch_norm, activation):
        if draft.random.random() < 0.5:
            follow(draft, len(draft.steps), *shape)


def transposed(draft: Draft, at: int, c: int, h: int, w: int) -> None:
    if c * h * w < 4000:
        draft.add_layer(at, (4, 2 * h, 2 * w), "ConvTranspose2d", c, 4, 2, 2)


def batch_norm(draft: Draft, at: int, *shape: int) -> None:
    draft.add_layer(at, shape, "BatchNorm2d", shape[0])


def activation(draft: Draft, at: int, *shape: int) -> None:
    name = draft.random.choice(ACTIVATIONS)
    draft.add(lambda f, layers, tensors: getattr(f, name)(tensors[at]), *shape)


def pool(draft: Draft, at: int, c: int, h: int, w: int) -> None:
    stride = draft.stride(h, w)
    name, options = draft.random.choice([("MaxPool2d", {}), ("AvgPool2d", {"count_include_pad": False})])
    draft.add_layer(at, (c, h // stride, w // stride), name, 3, stride, 1, **options)


def resize(draft: Draft, at: int, c: int, h: int, w: int) -> None:
    mode = draft.random.choice(["nearest", "bilinear"])
    if c * h * w < 4000:
        draft.add(lambda f, _, tensors: f.interpolate(tensors[at], scale_factor=2, mode=mode), c, 2 * h, 2 * w)


def arithmetic(draft: Draft, at: int, *shape: int) -> None:
    other, kind = draft.of_shape(lambda s: s == shape), draft.random.choice(["sum", "difference", "product", "number"])
    factor, offset = draft.random.choice([2.0, -0.5, 0.1]), draft.random.choice([0.0, 1.0, -3.0])
    steps = {
        "sum": lambda f, _, tensors: tensors[at] + tensors[other],
        "difference": lambda f, _, tensors: tensors[at] - tensors[other] * factor,
        "product": lambda f, _, tensors: tensors[at] * f.sigmoid(tensors[other]),
        "number": lambda f, _, tensors: tensors[at] * factor + offset,
    }
    draft.add(steps[kind], *shape)


def join(draft: Draft, at: int, c: int, h: int, w: int) -> None:
    others = [draft.of_shape(lambda s: s[1:] == (h, w)) for _ in range(draft.random.choice([1, 2]))]
    channels = c + sum(draft.shapes[other][0] for other in others)
    if channels <= 64:
        draft.add(lambda f, _, tensors: f.cat([tensors[i] for i in (at, *others)], 1), channels, h, w)


def part(draft: Draft, at: int, c: int, h: int, w: int) -> None:
    if c % 2 == 0:
        half, step = draft.random.choice([0, 1]), draft.random.choice([1, 2])
        if step == 1:
            draft.add(lambda f, _, tensors: tensors[at].chunk(2, 1)[half], c // 2, h, w)
        else:
            draft.add(lambda f, _, tensors: tensors[at][:, half::2], c // 2, h, w)


def gate(draft: Draft, at: int, c: int, h: int, w: int) -> None:
    conv = draft.layer("Conv2d", c, c, 1)
    draft.add(
        lambda f, layers, tensors: tensors[at] * f.sigmoid(layers[conv](tensors[at].mean((2, 3), keepdim=True))),
        c,
        h,
        w,
    )


def channels_last(draft: Draft, at: int, c: int, h: int, w: int) -> None:
    linear = draft.layer("Linear", c, 4)
    draft.add(lambda f, layers, tensors: layers[linear](tensors[at].permute(0, 2, 3, 1)).permute(0, 3, 1, 2), 4, h, w)


def attention(draft: Draft, at: int, c: int, h: int, w: int) -> None:
    def step(f: Any, _: Any, tensors: list) -> Any:
        rows = tensors[at].flatten(2).transpose(1, 2)
        mixed = f.softmax(rows @ rows.transpose(1, 2) * c**-0.5, -1) @ rows
        return mixed.transpose(1, 2).reshape(tensors[at].shape)

    if h * w <= 256:
        draft.add(step, c, h, w)


def shuffle(draft: Draft, at: int, c: int, h: int, w: int) -> None:
    if c % 4 == 0:
        draft.add(lambda f, _, tensors: f.pixel_shuffle(tensors[at], 2), c // 4, 2 * h, 2 * w)
    elif h % 2 == w % 2 == 0:
        draft.add(lambda f, _, tensors: f.pixel_unshuffle(tensors[at], 2), 4 * c, h // 2, w // 2)


KINDS = [convolution] * 4 + [arithmetic] * 3 + [activation, batch_norm, join] * 2
KINDS += [transposed, pool, resize, part, gate, channels_last, attention, shuffle]


def check(network: Network, twin: torch.nn.Module, x: np.ndarray, tolerance: float) -> None:
    """Compare with torch in fp64, in parts of the largest magnitude; what torch's fp32 is off by may be so here."""
    with torch.no_grad():
        plain, precise = twin.float()(torch.from_numpy(x)), twin.double()(torch.from_numpy(x).double())
    for mine, single, double in zip(network.run(x), plain, precise, strict=True):
        assert mine.shape == double.shape
        allowed = tolerance * double.abs().max() + 10 * (single - double).abs().max()
        assert np.abs(mine - double.numpy()).max() <= allowed


@settings(max_examples=40 * MORE, phases=[Phase.generate], **EXAMPLES)
@given(seed=st.integers(0, 2**32))
@pytest.mark.filterwarnings("ignore")
def test_random_networks(seed):
    draft = Draft(Random(seed))
    twin = load_random(draft.module(torch.nn, TORCH), seed)
    model = draft.module(modules, F)
    model.load_state_dict(twin.state_dict())
    random = np.random.default_rng(seed)
    channels, rows, columns = draft.shapes[0]
    sides = {"rows": rows, "columns": columns}
    dims = [Dim("batch", 1, 2, 4), *(Dim(name, n, n, 2 * n, multiple_of=n) for name, n in sides.items())]
    others = [(1, rows, 2 * columns), (3, 2 * rows, columns)]
    for shape, sizes in (((2, rows, columns), [(2, rows, columns)]), (dims, others)):
        inputs = {"x": (shape[0], channels, *shape[1:])}
        for fp16, tolerance in ((False, 1e-4), (True, 0.1)):
            network = model.trace(inputs, fp16=fp16)
            for batch, *sides in sizes:
                check(network, twin, random.standard_normal((batch, channels, *sides), np.float32), tolerance)
            network.build(progress=False, **QUICKLY)
