"""Torch modules of the kinds that people write, small."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.helpers import load_random


class Block(nn.Module):
    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: Any = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x):
        identity = x
        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)
        out = self.conv2(out)
        out = self.bn2(out)
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.layer1 = nn.Sequential(Block(8, 8), Block(8, 8), Block(8, 8))
        self.layer2 = nn.Sequential(Block(8, 16, 2, nn.Sequential(nn.Conv2d(8, 16, 1, 2), nn.BatchNorm2d(16))))
        self.layer3 = nn.Sequential(Block(16, 16), Block(16, 24, 2, nn.Sequential(nn.Conv2d(16, 24, 1, 2))))
        self.fc = nn.Linear(24, 5)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(0.1)

    def forward(self, x):
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attn = (q * self.scale) @ k.transpose(-2, -1)
        attn = attn.softmax(dim=-1)
        x = (attn @ v).transpose(1, 2).reshape(B, N, C)
        return self.proj_drop(self.proj(x))


class Layer(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 16, 4, 4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 16))
        self.pos_embed = nn.Parameter(torch.randn(1, 17, 16))
        self.blocks = nn.ModuleList(Layer(16, 4) for _ in range(3))
        self.norm = nn.LayerNorm(16)

    def forward(self, x):
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


class DenseLayer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)

    def forward(self, inputs):
        return torch.relu(self.conv(torch.cat(inputs, 1)))


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(3 + 4 * i) for i in range(4))

    def forward(self, x):
        features = [x]
        for layer in self.layers:
            new_features = layer(features)
            features.append(new_features)
        return torch.cat(features, 1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 8, num_layers=2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        output, (h, c) = self.lstm(x)
        return self.fc(output), h, c


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        return self.encoder(x)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.decoder = nn.Linear(8, 20, bias=False)
        self.decoder.weight = self.embed.weight

    def forward(self, tokens):
        return self.decoder(torch.tanh(self.embed(tokens)))


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.inner = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
        self.again = self.first

    def forward(self, x):
        x = self.again(torch.relu(self.first(x)))
        return self.inner["b"](self.inner["a"](x))


class Several(nn.Module):
    """Several inputs and outputs, in structures, some by name alone, some left out."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, pair, *, mask=None, extra: torch.Tensor | None = None):
        a, b = pair["a"], pair["b"][0]
        x = self.fc(a) + b
        if mask is not None:
            x = x.masked_fill(mask, 0.0)
        return {"sum": x, "parts": (a * 2, [b, None])}


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


class Dataclass(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        return Output(self.fc(x))


class Buffers(nn.Module):
    """Constants of every kind: registered or not, made in forward, and computed of parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.rand(4))
        self.register_buffer("table", torch.rand(6, 4), persistent=False)
        self.bias_table = nn.Parameter(torch.rand(5, 4))
        self.anchors = torch.rand(4)
        self.register_buffer("index", torch.tensor([0, 2, 4, 1, 3, 0]))

    def forward(self, x):
        bias = self.bias_table[self.index]
        ramp = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
        return x * self.scale + self.table + bias + self.anchors + ramp


class InPlace(nn.Module):
    def forward(self, x):
        y = x * 2
        y[:, 1:3] = 0.5
        y[:, 0] += x[:, 3]
        y.clamp_(-1, 1)
        y *= 3
        z = torch.zeros_like(x)
        z[:, :2] = y[:, 2:4]
        return F.relu(y, inplace=True) + z


class Passes(nn.Module):
    """Lengths that go from one module to another, as those of hierarchical transformers do."""

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dw = nn.Conv2d(4, 4, 3, 1, 1, groups=4)

        def forward(self, x, H, W):
            B, _, C = x.shape
            x = x.transpose(1, 2).view(B, C, H, W)
            return self.dw(x).flatten(2).transpose(1, 2), (H // 2, W // 2)

    def __init__(self) -> None:
        super().__init__()
        self.inner = self.Inner()

    def forward(self, x):
        _, _, H, W = x.shape
        x, (h, w) = self.inner(x.flatten(2).transpose(1, 2), H, W)
        return x.transpose(1, 2).reshape(x.shape[0], -1, h, 2, w, 2).amax((3, 5))


class OwnNorm(nn.LayerNorm):
    def forward(self, x):
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class OwnAct(nn.Module):
    def forward(self, x):
        return F.gelu(x)


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = OwnNorm(6)
        self.act = OwnAct()
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        return self.drop(self.act(self.norm(x)))


class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.add_module("lambda", nn.Linear(4, 4))
        self.blocks = nn.ModuleDict({"in": nn.Linear(4, 4), "2": nn.ReLU()})

    def forward(self, x):
        x = getattr(self, "lambda")(x)
        return self.blocks["2"](self.blocks["in"](x))


class Bypasses(nn.Module):
    """Hidden states that are kept aside, and read by a module around."""

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

        def forward(self, x):
            self.hidden = []
            for layer in self.layers:
                x = torch.relu(layer(x))
                self.hidden.append(x * 2)
            return x

    class Outer(nn.Module):
        def __init__(self, inner) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x) + 1

    def __init__(self) -> None:
        super().__init__()
        self.outer = self.Outer(self.Inner())

    def forward(self, x):
        out = self.outer(x)
        return out + self.outer.inner.hidden[0], self.outer.inner.hidden[2]


class Stage(nn.Module):
    """Lines that are too long for one, of every kind: calls, chains, sums, dicts and comprehensions."""

    class Long(nn.Module):
        def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
            super().__init__()
            pad = kernel_size // 2
            self.first_convolution_of_the_block = nn.Conv2d(
                in_channels, out_channels, kernel_size, stride, pad, bias=False
            )
            self.second_convolution_of_the_block = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.act = nn.SiLU()
            self.silent = nn.Sigmoid()

        def forward(self, features_of_the_stage_before):
            first_half_of_all_features = self.first_convolution_of_the_block(features_of_the_stage_before)
            second_half_of_all_features = self.second_convolution_of_the_block(features_of_the_stage_before)
            weighted_sum_of_both_halves = (
                first_half_of_all_features * self.silent(second_half_of_all_features)
                + second_half_of_all_features * self.silent(first_half_of_all_features)
                + self.act(first_half_of_all_features)
            )
            return torch.cat(
                [weighted_sum_of_both_halves, first_half_of_all_features, second_half_of_all_features], dim=1
            )

    class Named(nn.ModuleDict):
        def __init__(self, channels: int) -> None:
            def branch(k: int) -> nn.Module:
                return nn.Conv2d(channels, 2 * channels, k, padding=k // 2, groups=channels, bias=False)

            super().__init__({f"branch_{i}": branch(k) for i, k in enumerate((3, 5, 7))})

        def forward(self, x):
            return torch.cat([branch(x) for branch in self.values()], 1)

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            self.Long(4, 4, 3, 1), self.Long(12, 4, 5, 2), self.Long(12, 4, 5, 2), self.Long(12, 4, 5, 2)
        )
        self.named = nn.Sequential(self.Named(12), nn.Conv2d(72, 6, 1), self.Named(6))

    def forward(self, x):
        return self.named(self.blocks(x))


class Names(nn.Module):
    """Numbers that differ between instances, beside children of the names that they would get."""

    class Inner(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.inputs = scale
            self.value = nn.Linear(4, 4)

        def forward(self, x):
            return self.value(x) / self.inputs**2

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(self.Inner(scale) for scale in (2.0, 3.0, 5.0))

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return x


class Mobile(nn.Module):
    """Blocks of one class that differ in sizes, in which activation and which children they have, and in a flag."""

    class NormAct(nn.Module):
        def __init__(self, channels: int, act: Any = None) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(channels)
            self.act = act

        def forward(self, x):
            x = self.norm(x)
            if self.act is not None:
                x = self.act(x)
            return x

    class Squeeze(nn.Module):
        def __init__(self, channels: int, reduced: int) -> None:
            super().__init__()
            self.reduce = nn.Conv2d(channels, reduced, 1)
            self.expand = nn.Conv2d(reduced, channels, 1)

        def forward(self, x):
            return x * self.expand(torch.relu(self.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()

    class Inverted(nn.Module):
        def __init__(self, inside: int, out: int, kernel: int, stride: int, act: Any, se: bool = False) -> None:
            super().__init__()
            self.has_skip = stride == 1 and inside == out
            self.conv_pw = nn.Conv2d(inside, 3 * inside, 1, bias=False)
            self.bn1 = Mobile.NormAct(3 * inside, act())
            self.conv_dw = nn.Conv2d(3 * inside, 3 * inside, kernel, stride, kernel // 2, groups=3 * inside, bias=False)
            self.bn2 = Mobile.NormAct(3 * inside, act())
            self.se = Mobile.Squeeze(3 * inside, 4) if se else None
            self.conv_pwl = nn.Conv2d(3 * inside, out, 1, bias=False)
            self.bn3 = Mobile.NormAct(out)

        def forward(self, x):
            shortcut = x
            x = self.bn1(self.conv_pw(x))
            x = self.bn2(self.conv_dw(x))
            if self.se is not None:
                x = self.se(x)
            x = self.bn3(self.conv_pwl(x))
            if self.has_skip:
                x = x + shortcut
            return x

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            self.Inverted(4, 6, 3, 2, nn.ReLU),
            self.Inverted(6, 6, 3, 1, nn.ReLU, True),
            self.Inverted(6, 8, 5, 2, nn.Hardswish, True),
            self.Inverted(8, 8, 5, 1, nn.Hardswish),
            self.Inverted(8, 8, 5, 1, nn.Hardswish),
        )

    def forward(self, x):
        return self.blocks(x)


def _with_more(forward: Any) -> Any:
    """Return a forward that takes one argument by position, and gives it others by name, as transformers has them."""

    @functools.wraps(forward)
    def call(self: nn.Module, x: torch.Tensor, more: bool = True, **kwargs: Any) -> Any:
        return forward(self, x, more=more, **kwargs)

    return call


class Decorated(nn.Module):
    """Arguments that come by name alone; a module without weights, never called, of two names; a Buffer returned."""

    class Loss(nn.Module):
        def __init__(self, matcher: nn.Module) -> None:
            super().__init__()
            self.matcher = matcher
            self.register_buffer("empty", torch.ones(3))

    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        @_with_more
        def forward(self, x, more=False, scale=None):
            x = self.linear(x) * scale
            return x + 1 if more else x

    def __init__(self) -> None:
        super().__init__()
        self.inner = self.Inner()
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.1)
        self.matcher = nn.Module()
        self.criterion = self.Loss(self.matcher)
        self.register_buffer("places", torch.arange(6.0).reshape(2, 3))

    def forward(self, x):
        x = self.inner(x, more=False, scale=x.shape[0])
        held = self.attention
        out, _ = torch.nn.functional.multi_head_attention_forward(
            x, x, x, 4, 2, held.in_proj_weight, held.in_proj_bias, None, None, False, 0.1, held.out_proj.weight,
            held.out_proj.bias, training=self.training,
        )  # fmt: skip
        return out, self.places


class ConvNormAct(nn.Sequential):
    def __init__(self, inside: int, out: int, kernel: int, act: Any = None) -> None:
        layers = [nn.Conv2d(inside, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out)]
        super().__init__(*layers, *([act()] if act is not None else []))


class Branches(nn.Module):
    """A Sequential with another activation, or none, and a branch that some blocks have; one is called by nobody."""

    class Block(nn.Module):
        def __init__(self, inside: int, out: int) -> None:
            super().__init__()
            self.identity = nn.BatchNorm2d(inside) if inside == out else None
            self.wide = ConvNormAct(inside, out, 3)
            self.narrow = ConvNormAct(inside, out, 1, nn.SiLU)

        def forward(self, x):
            identity = self.identity(x) if self.identity is not None else None
            x = self.wide(x) + self.narrow(x)
            if identity is not None:
                x += identity
            return torch.relu(x)

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, 4, 3, nn.ReLU)
        self.blocks = nn.Sequential(self.Block(4, 6), self.Block(6, 6))
        self.auxiliary = self.Block(6, 6)

    def forward(self, x):
        return self.blocks(self.stem(x))


class Queried(nn.Module):
    """A head that is called on learned queries alone, and then on what they become."""

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Residue(4) for _ in range(2))

        def forward(self, queries, features):
            for layer in self.layers:
                queries = layer(queries)
            return queries @ features

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Embedding(3, 4)
        self.head = self.Head()
        self.project = nn.Linear(5, 4)

    def forward(self, x):
        first = self.head(self.queries.weight, x)
        return first, self.head(self.project(first), x)


class OneMemory(nn.Module):
    """Tensors in one place of a memory: floats, their bits, and the same with the other sign, one as a parameter."""

    def __init__(self) -> None:
        super().__init__()
        floats = torch.tensor([1.5, -2.0, 3.25, 4.0])
        self.floats, self.minus = nn.Parameter(floats), nn.Parameter(torch._neg_view(floats))
        self.register_buffer("bits", floats.view(torch.int32))
        self.register_buffer("opposite", torch._neg_view(floats), persistent=False)

    def forward(self, x):
        return x * self.floats + self.bits % 7, x + self.minus, x * self.opposite


class Residue(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, x):
        return x + self.linear(x).relu()


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


CASES: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "residual": (Residual, (images(2, 3, 16, 16),), {}),
    "transformer": (Transformer, (images(2, 3, 16, 16),), {}),
    "dense": (Dense, (images(1, 3, 6, 6),), {}),
    "recurrent": (Recurrent, (images(2, 5, 6),), {}),
    "encoder": (Encoder, (images(2, 5, 16),), {}),
    "tied": (Tied, (torch.arange(10).reshape(2, 5),), {}),
    "shared": (Shared, (images(3, 4),), {}),
    "several": (
        Several,
        ({"a": images(2, 4), "b": [images(2, 4) + 1]},),
        {"mask": torch.tensor([[True, False, True, False]])},
    ),
    "dataclass": (Dataclass, (images(3, 4),), {}),
    "buffers": (Buffers, (images(6, 4),), {}),
    "in place": (InPlace, (images(2, 5),), {}),
    "passes": (Passes, (images(2, 4, 4, 6),), {}),
    "wrapped": (Wrapped, (images(3, 6),), {}),
    "bypasses": (Bypasses, (images(3, 4),), {}),
    "stage": (Stage, (images(1, 4, 16, 16),), {}),
    "names": (Names, (images(3, 4),), {}),
    "mobile": (Mobile, (images(1, 4, 16, 16),), {}),
    "branches": (Branches, (images(1, 3, 8, 8),), {}),
    "keywords": (Keywords, (images(3, 4),), {}),
    "queried": (Queried, (images(4, 5),), {}),
    "decorated": (Decorated, (images(3, 1, 4),), {}),
}


def make(name: str) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """Return a model in evaluation, with random weights and statistics, and its example."""
    kind, args, kwargs = CASES[name]
    torch.manual_seed(0)
    return load_random(kind()), args, kwargs


# -- operations whose arguments ATen has in another order, or under another name ---------------------------------------


def _resized(x):
    x3 = x.flatten(1, 2)
    return (
        F.interpolate(x, scale_factor=2.0, mode="bicubic"), F.interpolate(x, (9, 5), mode="nearest-exact"),
        F.interpolate(x3, size=11, mode="linear"), F.interpolate(x3, scale_factor=2.0),
        F.interpolate(x[:, None], scale_factor=2.0, mode="trilinear", align_corners=True),
        F.interpolate(x, (3, 3), mode="bilinear", antialias=True),
    )  # fmt: skip


def _sampled(x):
    grid = x[:, :2].permute(0, 2, 3, 1).tanh()
    theta = torch.tensor([[[0.9, 0.1, 0.2], [-0.1, 0.8, 0.0]]]).expand(x.shape[0], 2, 3)
    return (
        F.grid_sample(x, grid, align_corners=False),
        F.grid_sample(x, grid, "nearest", "border", align_corners=True),
        F.grid_sample(x, F.affine_grid(theta, [2, 4, 5, 5], align_corners=False), align_corners=False),
    )


def _windows(x):
    columns = F.unfold(x, 3, padding=1, stride=2)
    return columns, F.fold(columns, x.shape[2:], 3, padding=1, stride=2), x.unfold(2, 3, 2), x.unfold(3, 2, 1).sum(-1)


def _of_the_largest(x):
    return (
        F.adaptive_max_pool2d(x, 1), F.adaptive_max_pool2d(x, (2, 3), return_indices=True),
        F.adaptive_max_pool1d(x.flatten(1, 2), 4), F.elu(x, 0.7), F.selu(x), F.celu(x, 0.7), F.logsigmoid(x),
        torch.tensordot(x, x[0, 0], dims=([3], [1])),
    )  # fmt: skip


def _transforms(x):
    spectrum = torch.fft.rfft2(x, norm="ortho")
    power = (spectrum * spectrum.conj()).real
    back = torch.fft.irfft(torch.fft.rfft(x, dim=2), n=x.shape[2], dim=2)
    return power, back, torch.fft.fftshift(x, dim=2), torch.linalg.norm(x, dim=(2, 3)), torch.roll(x, 3)


def _properties(x):
    return x @ x.mT, x[0, 0].T, x.sum((0, 1)).mH


def _written(x):
    y, mask = x.clone(), x > 0.3
    y[mask] = 0.5
    y[x < -1] = torch.tensor(-1.0)
    y[:, [0, 2]] = y[:, [2, 0]]
    y[mask] = x[mask]
    return y


def _constants(x):
    least, two = torch.tensor(-0.25), torch.tensor(2)
    side = torch.as_tensor(x.shape[2]).float()
    return (
        torch.where(x > 0, x, least), torch.maximum(x, least), x * two, two.float().exp() + x, x / side, least - x,
        torch.stack([least, least * 2]) + x[..., :2],
    )  # fmt: skip


def _computed_lengths(x):
    _, _, h, w = x.shape
    half = -(-h // 2)
    side = int(math.sqrt(h * w * 4) / 2)
    return x[:, :, :half], x[:, :, -half:], x.flatten(2)[..., :side], x / (1 / h), x * abs(h - w), x * (h > 3)


OPERATIONS = {
    function.__name__.strip("_"): function
    for function in (
        _resized, _sampled, _windows, _of_the_largest, _transforms, _properties, _written, _constants,
        _computed_lengths,
    )
}  # fmt: skip


class Operation(nn.Module):
    """One of these functions as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = OPERATIONS[name]

    def forward(self, x):
        return self.function(x)
