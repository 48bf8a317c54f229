"""D-FINE (https://arxiv.org/abs/2410.13842), with the names of transformers' module.

It is an RT-DETR on an HGNetV2, with other blocks in the encoder. Where a side of a box lies is a distribution, which
each layer of the decoder refines: its mean over 33 distances is what the side is off the first layer's box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.models import dfine_names
from trtnn.models.query_detector import (
    MOST,
    STRIDES,
    ConvNorm,
    Encoder,
    EncoderLayer,
    Fusion,
    Make,
    Network,
    Perceptron,
    QueryDetector,
    Sampling,
    SelfAttention,
    projection,
)
from trtnn.modules import GELU, BatchNorm2d, Conv2d, Identity, LayerNorm, Linear, Module, ModuleList, ReLU, Sequential
from trtnn.parameter import Parameter

BINS = 33  # distances that a side may have
LIKELY = 4  # of them, whose probabilities tell how sure a box is


class Variant(NamedTuple):
    """What makes a size.

    Attributes:
        stem: channels within the stem and behind it.
        within, out: channels within the blocks of each stage, and of what it gives.
        blocks: of each stage; each has ``depth`` layers.
        affine: whether a scale and a bias follow the activations of the backbone.
        levels: maps that the encoder takes, the coarsest of the backbone.
        width, inner: channels of the encoder, and those within its feed-forward network.
        within_fusion: channels of its halves.
        repeats: RepVGG blocks in each half of a fusion.
        decoder, decoder_inner: channels of the decoder, and those within its feed-forward networks.
        layers: of the decoder.
        points: of each head on each level.
    """

    stem: tuple[int, int]
    within: tuple[int, ...]
    out: tuple[int, ...]
    blocks: tuple[int, ...]
    depth: int
    affine: bool
    levels: int
    width: int
    inner: int
    within_fusion: int
    repeats: int
    decoder: int
    decoder_inner: int
    layers: int
    points: tuple[int, ...]


# -- backbone ---------------------------------------------------------------------------------------------------------


class Affine(Module):
    """A scale and a bias for all channels."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.bias = Parameter(1), Parameter(1)

    def forward(self, x: Tensor) -> Tensor:
        c = int(x.shape[1])
        scale, bias = (np.repeat(x.graph.held(p), c) for p in (self.scale, self.bias))
        return F.batch_norm(x, np.zeros(c, np.float32), np.ones(c, np.float32), scale, bias, eps=0.0)  # one layer


class Convolution(Module):
    """A convolution, BatchNorm, an activation, and perhaps an affine map of that."""

    def __init__(
        self, c_in: int, c_out: int, k: int, s: int = 1, groups: int = 1, act: Make = ReLU, affine: bool = False
    ) -> None:
        super().__init__()
        self.convolution = Conv2d(c_in, c_out, k, s, (k - 1) // 2, groups=groups, bias=False)
        self.normalization = BatchNorm2d(c_out)
        self.activation = act()
        self.lab: Module = Affine() if affine and act is not Identity else Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.lab(self.activation(self.normalization(self.convolution(x))))


class Stem(Module):
    """From images to a map on stride 4."""

    def __init__(self, inner: int, c: int, affine: bool) -> None:
        super().__init__()
        self.stem1 = Convolution(3, inner, 3, 2, affine=affine)
        self.stem2a = Convolution(inner, inner // 2, 2, affine=affine)
        self.stem2b = Convolution(inner // 2, inner, 2, affine=affine)
        self.stem3 = Convolution(2 * inner, inner, 3, 2, affine=affine)
        self.stem4 = Convolution(inner, c, 1, affine=affine)

    def forward(self, images: Tensor) -> Tensor:
        x = F.pad(self.stem1(images), (0, 1, 0, 1))
        y = self.stem2b(F.pad(self.stem2a(x), (0, 1, 0, 1)))
        return self.stem4(self.stem3(F.cat([F.max_pool2d(x, 2, 1), y], 1)))


class Block(Module):
    """Layers one after another, all of whose maps are joined at the end."""

    def __init__(self, c_in: int, c: int, c_out: int, depth: int, k: int, light: bool, affine: bool, add: bool) -> None:
        super().__init__()
        layers: list[Module] = []
        for i in range(depth):
            first = c if i else c_in
            if light:
                narrow = Convolution(first, c, 1, act=Identity)
                layers.append(Sequential({"conv1": narrow, "conv2": Convolution(c, c, k, groups=c, affine=affine)}))
            else:
                layers.append(Convolution(first, c, k, affine=affine))
        self.layers = ModuleList(layers)
        self.aggregation = Sequential(
            Convolution(c_in + depth * c, c_out // 2, 1, affine=affine),
            Convolution(c_out // 2, c_out, 1, affine=affine),
        )
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        y = self.aggregation(F.cat(maps, 1))
        return y + x if self.add else y


class Backbone(Module):
    """HGNetV2.

    Shape: images (batch, 3, height, width) to the maps of the last so many stages, on strides up to 32.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.levels = variant.levels
        self.embedder = Stem(*variant.stem, affine=variant.affine)
        stages: list[Module] = []
        c_in = variant.stem[1]
        for i, (c, c_out, n) in enumerate(zip(variant.within, variant.out, variant.blocks, strict=True)):
            k, light = (5, True) if i > 1 else (3, False)
            half: Module = Convolution(c_in, c_in, 3, 2, c_in, Identity) if i else Identity()
            blocks = (
                Block(c_out if j else c_in, c, c_out, variant.depth, k, light, variant.affine, add=bool(j))
                for j in range(n)
            )
            stages.append(Sequential({"downsample": half, "blocks": Sequential(*blocks)}))
            c_in = c_out
        self.encoder = Sequential({"stages": ModuleList(stages)})

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [self.embedder(images)]
        for stage in self.encoder.stages:
            maps.append(stage(maps[-1]))
        return maps[-self.levels :]


# -- encoder ----------------------------------------------------------------------------------------------------------


class Aggregation(Module):
    """Two maps, joined along the channels, to one: halves of them and what comes of one half, twice, are joined."""

    def __init__(self, c: int, inner: int, repeats: int) -> None:
        super().__init__()
        self.width = c
        self.conv1, self.conv4 = ConvNorm(2 * c, 2 * c), ConvNorm(2 * c + 2 * inner, c)
        self.csp_rep1, self.csp_rep2 = Fusion(c, inner, inner, repeats), Fusion(inner, inner, inner, repeats)
        self.conv2, self.conv3 = ConvNorm(inner, inner, 3), ConvNorm(inner, inner, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        y = self.conv2(self.csp_rep1(x[:, self.width :]))
        return self.conv4(F.cat([x, y, self.conv3(self.csp_rep2(y))], 1))


def _down(c: int) -> Sequential:
    parts = {"conv1": ConvNorm(c, c, act=Identity), "conv2": ConvNorm(c, c, 3, 2, act=Identity, groups=c)}
    return Sequential(parts)


# -- decoder ----------------------------------------------------------------------------------------------------------


class Gate(Module):
    """A sum of two tensors with weights that both of them tell."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.gate, self.norm = Linear(2 * c, 2 * c), LayerNorm(c)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        first, second = self.gate(F.cat([x, y], -1)).sigmoid().chunk(2, -1)
        return self.norm(first * x + second * y)


class DecoderLayer(Module):
    """Attention among the queries, sampling of the maps, and a feed-forward network."""

    def __init__(self, c: int, inner: int, points: Sequence[int]) -> None:
        super().__init__()
        self.self_attn, self.self_attn_layer_norm = SelfAttention(c), LayerNorm(c)
        self.encoder_attn, self.gateway = Sampling(c, points, "num_points_scale"), Gate(c)
        self.mlp, self.final_layer_norm = Perceptron(c, inner, c), LayerNorm(c)

    def forward(self, x: Tensor, positions: Tensor, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
        x = self.self_attn_layer_norm(x + self.self_attn(x, positions))
        x = self.gateway(x, self.encoder_attn(x + positions, maps, boxes))
        return self.final_layer_norm((x + self.mlp(x)).clamp(-65504.0, 65504.0))


class Quality(Module):
    """What the distributions of a box's sides add to its scores: the more certain they are, the more."""

    def __init__(self) -> None:
        super().__init__()
        self.reg_conf = Perceptron(4 * (LIKELY + 1), 64, 1)

    def forward(self, shares: Tensor) -> Tensor:
        likely = shares.topk(LIKELY)[0]
        return self.reg_conf(F.cat([likely, likely.mean(-1, keepdim=True)], -1).flatten(2))


class Decoder(Module):
    """Layers that refine queries, and how far the sides of their boxes are off those of the first layer.

    Shape: queries (batch, queries, channels), maps, and the logits of boxes (batch, queries, 4), to the logits of
    classes (batch, queries, classes), and to boxes in parts of the image, these in fp32.
    """

    def __init__(self, variant: Variant, classes: int) -> None:
        super().__init__()
        c, n = variant.decoder, variant.layers
        self.up, self.reg_scale = Parameter(1), Parameter(1)
        self.layers = ModuleList(DecoderLayer(c, variant.decoder_inner, variant.points) for _ in range(n))
        self.query_pos_head = Perceptron(4, 2 * c, c)
        self.pre_bbox_head = Perceptron(c, c, c, 4)
        self.bbox_embed = ModuleList(Perceptron(c, c, c, 4 * BINS) for _ in range(n))
        self.class_embed = ModuleList(Linear(c, classes) for _ in range(n))  # all but the last for training
        self.lqe_layers = ModuleList(Quality() for _ in range(n))  # likewise

    def forward(self, x: Tensor, maps: Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        up, scale = (abs(float(x.graph.held(p)[0])) for p in (self.up, self.reg_scale))
        distances = distances_of(up, scale)
        x = self._layer(0, x, maps, boxes.sigmoid())
        first = (boxes.clamp(-MOST, MOST) + self.pre_bbox_head(x).float()).sigmoid()
        sides, before = self.bbox_embed[0](x), x
        shares = sides.unflatten(2, (4, BINS)).softmax(-1)
        for i in range(1, len(self.layers)):
            x = self._layer(i, x, maps, _moved(first, F.linear(shares.float(), distances), scale))
            sides, before = sides + self.bbox_embed[i](x + before), x
            shares = sides.unflatten(2, (4, BINS)).softmax(-1)
        logits = self.class_embed[-1](x) + self.lqe_layers[-1](shares)
        return logits, _moved(first, F.linear(shares.float(), distances), scale)

    def _layer(self, i: int, x: Tensor, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
        return self.layers[i](x, self.query_pos_head(boxes.to(x.dtype)).clamp(-10.0, 10.0), maps, boxes)


def distances_of(up: float, scale: float) -> np.ndarray:
    """Return the distances that a side may be off, (33,), close to one another about 0 and far apart at the ends.

    W(n) of the paper, section 4.1: 0 in the middle, ±(step^i - 1) from there, ±2 · up · scale at the ends.
    """
    most, half = up * scale, BINS // 2
    step = (most + 1) ** (2 / (BINS - 3))
    right = [*(step ** np.arange(1, half) - 1), 2 * most]
    return np.array([*(-value for value in right[::-1]), 0.0, *right], np.float32)


def _moved(boxes: Tensor, distances: Tensor, scale: float) -> Tensor:
    """Move the left, top, right and bottom of boxes outwards by distances, in parts of the sides / scale."""
    low, high = distances[..., :2], distances[..., 2:]
    centre, side = boxes[..., :2], boxes[..., 2:]
    unit = side * (1 / scale)
    return F.cat([centre + (high - low) * unit * 0.5, side + (high + low) * unit], -1)


# -- family -----------------------------------------------------------------------------------------------------------

_S = Variant(
    stem=(16, 16),
    within=(16, 32, 64, 128),
    out=(64, 256, 512, 1024),
    blocks=(1, 1, 2, 1),
    depth=3,
    affine=True,
    levels=3,
    width=256,
    inner=1024,
    within_fusion=64,
    repeats=1,
    decoder=256,
    decoder_inner=1024,
    layers=3,
    points=(3, 6, 3),
)
_N = _S._replace(
    levels=2, width=128, inner=512, within_fusion=21, repeats=2, decoder=128, decoder_inner=512, points=(6, 6)
)
_M = _S._replace(
    stem=(24, 32),
    within=(32, 64, 128, 256),
    out=(96, 384, 768, 1536),
    blocks=(1, 1, 3, 1),
    depth=4,
    within_fusion=128,
    repeats=2,
    layers=4,
)
_L = _M._replace(
    stem=(32, 48),
    within=(48, 96, 192, 384),
    out=(128, 512, 1024, 2048),
    depth=6,
    affine=False,
    repeats=3,
    layers=6,
)
_X = _L._replace(
    stem=(32, 64), within=(64, 128, 256, 512), blocks=(1, 2, 5, 2), width=384, inner=2048, within_fusion=192
)


class DFINE(QueryDetector):
    """D-FINE in any size.

    Args:
        name: dfine_n, dfine_s, dfine_m, dfine_l or dfine_x.
        classes, head, queries, names: as of :class:`~trtnn.models.rtdetr.RTDETR`, and so are the outputs.

    Shape: images as of RTDETR.

    Weights are known under the names of transformers' module and of its files, not under those of D-FINE's authors.
    """

    variants = {"dfine_n": _N, "dfine_s": _S, "dfine_m": _M, "dfine_l": _L, "dfine_x": _X}

    def __init__(
        self,
        name: str = "dfine_s",
        classes: int = 80,
        head: str = "decoded",
        queries: int = 300,
        names: Sequence[str] | Mapping[int, str] | None = None,
    ) -> None:
        super().__init__()
        strides = STRIDES[1:] if name == "dfine_n" else STRIDES
        self.declare_queries(name, classes, head, queries, names, strides)
        variant = self.variants[name]
        c, width, n = variant.width, variant.decoder, variant.levels
        encoder = Encoder(
            EncoderLayer(c, Perceptron(c, variant.inner, c, act=GELU)),
            n - 1,
            lateral=lambda: ConvNorm(c, c, act=Identity),
            fuse=lambda: Aggregation(c, variant.within_fusion, variant.repeats),
            down=lambda: _down(c),
        )
        projections = [Identity() if c == width else projection(c, width) for _ in strides]
        decoder, channels = Decoder(variant, classes), variant.out[-n:]
        self.model = Network(
            Backbone(variant), channels, encoder, decoder, projections, c, width, classes, self.queries
        )

    @classmethod
    def canonical(cls, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a state dict under the names of transformers' module, without what is for training."""
        return dfine_names.canonical(state_dict)

    @classmethod
    def identify(cls, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments of the D-FINE that a state dict's names and sizes tell of, or None."""
        return dfine_names.identify(state_dict, cls.variants)

    def config(self) -> Mapping[str, Any]:
        """Return what transformers' config.json says of this network."""
        return dfine_names.config_of(self.variants[self.name])
