"""RT-DETR (https://arxiv.org/abs/2304.08069) and RT-DETRv2 (https://arxiv.org/abs/2407.17140), with the names of
transformers' module.

A ResNet gives maps on strides 8, 16 and 32; what stands behind it is in :mod:`trtnn.models.query_detector`, but for the
layers of the decoder. The second version is trained in other ways, and its attention has the weight of its points as a
buffer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.models import rtdetr_names
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
from trtnn.modules import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Identity,
    LayerNorm,
    Linear,
    MaxPool2d,
    Module,
    ModuleList,
    ReLU,
    Sequential,
)

WIDTH = 256  # channels of the decoder
POINTS = 4  # of each head of an attention on each level


class Block(NamedTuple):
    """The kernels of a residual block's convolutions, which of them halves a map, and channels out for those within."""

    kernels: tuple[int, ...]
    halving: int
    expansion: int


BASIC, BOTTLENECK = Block((3, 3), 0, 1), Block((1, 3, 1), 1, 4)


class Variant(NamedTuple):
    """What makes a model.

    Attributes:
        block, repeats: of the ResNet.
        width, inner: channels of the encoder, and those within its feed-forward network.
        narrow: channels within a fusion's RepVGG blocks, as parts of ``width``.
        layers: of the decoder.
        version: 1 or 2.
    """

    block: Block
    repeats: tuple[int, ...]
    width: int
    inner: int
    narrow: float
    layers: int
    version: int


# -- backbone ---------------------------------------------------------------------------------------------------------


class Convolution(Module):
    """A convolution, BatchNorm and an activation, under the names of the backbone."""

    def __init__(self, c_in: int, c_out: int, k: int, s: int = 1, act: Make = ReLU) -> None:
        super().__init__()
        self.convolution = Conv2d(c_in, c_out, k, s, k // 2, bias=False)
        self.normalization = BatchNorm2d(c_out)
        self.activation = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.normalization(self.convolution(x)))


class Residual(Module):
    """A block of the ResNet; its shorter path halves a map by the mean of four places, not by leaving three out."""

    def __init__(self, block: Block, c_in: int, c_out: int, stride: int, shortens: bool) -> None:
        super().__init__()
        inner = c_out // block.expansion
        channels = [c_in, *[inner] * (len(block.kernels) - 1), c_out]
        last = len(block.kernels) - 1
        self.layer = Sequential(
            *(
                Convolution(
                    channels[i],
                    channels[i + 1],
                    k,
                    stride if i == block.halving else 1,
                    Identity if i == last else ReLU,
                )
                for i, k in enumerate(block.kernels)
            )
        )
        self.shortcut: Module = Identity()
        if shortens:
            narrow = Convolution(c_in, c_out, 1, act=Identity)
            self.shortcut = Sequential(AvgPool2d(2, 2), narrow) if stride == 2 else narrow
        self.activation = ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.layer(x) + self.shortcut(x))


class Backbone(Module):
    """A ResNet whose first convolution is three of 3×3 (https://arxiv.org/abs/1812.01187).

    Shape: images (batch, 3, height, width) to the maps on strides 8, 16 and 32.

    Attributes:
        channels: of each map.
    """

    def __init__(self, block: Block, repeats: tuple[int, ...]) -> None:
        super().__init__()
        stem = Sequential(Convolution(3, 32, 3, 2), Convolution(32, 32, 3), Convolution(32, 64, 3))
        self.embedder = Sequential({"embedder": stem, "pooler": MaxPool2d(3, 2, 1)})
        stages: list[Module] = []
        self.channels: list[int] = []
        c_in = 64
        for i, (c, n) in enumerate(zip((64, 128, 256, 512), repeats, strict=True)):
            c_out = c * block.expansion
            blocks = [Residual(block, c_out if j else c_in, c_out, 2 if i and not j else 1, not j) for j in range(n)]
            stages.append(Sequential({"layers": Sequential(*blocks)}))
            self.channels.append(c_out)
            c_in = c_out
        self.channels = self.channels[1:]
        self.encoder = Sequential({"stages": ModuleList(stages)})

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.embedder(images)
        maps: list[Tensor] = []
        for stage in self.encoder.stages:
            x = stage(x)
            maps.append(x)
        return maps[1:]


# -- decoder ----------------------------------------------------------------------------------------------------------


class DeformableAttention(Sampling):
    """:class:`Sampling` of maps that went through ``value_proj``, with another projection behind it."""

    def __init__(self, version: int) -> None:
        super().__init__(WIDTH, [POINTS] * len(STRIDES), "n_points_scale" if version == 2 else None)
        self.value_proj, self.output_proj = Linear(WIDTH, WIDTH), Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
        return self.output_proj(super().forward(x, maps, boxes))


class FeedForward(Module):
    """Two linear layers with an activation between them."""

    def __init__(self, c: int, inner: int, act: Make) -> None:
        super().__init__()
        self.fc1, self.fc2 = Linear(c, inner), Linear(inner, c)
        self.activation = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class DecoderLayer(Module):
    """Attention among the queries, attention to the maps, and a feed-forward network."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.self_attn, self.self_attn_layer_norm = SelfAttention(WIDTH), LayerNorm(WIDTH)
        self.encoder_attn, self.encoder_attn_layer_norm = DeformableAttention(version), LayerNorm(WIDTH)
        self.mlp, self.final_layer_norm = FeedForward(WIDTH, 4 * WIDTH, ReLU), LayerNorm(WIDTH)

    def forward(self, x: Tensor, positions: Tensor, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
        x = self.self_attn_layer_norm(x + self.self_attn(x, positions))
        x = self.encoder_attn_layer_norm(x + self.encoder_attn(x + positions, maps, boxes))
        return self.final_layer_norm(x + self.mlp(x))


class Decoder(Module):
    """Layers that refine queries and their boxes.

    Shape: queries (batch, queries, 256), maps, and the logits of boxes (batch, queries, 4), to the logits of classes
    (batch, queries, classes), and to boxes in parts of the image, these in fp32.
    """

    def __init__(self, classes: int, layers: int, version: int) -> None:
        super().__init__()
        self.layers = ModuleList(DecoderLayer(version) for _ in range(layers))
        self.query_pos_head = Perceptron(4, 2 * WIDTH, WIDTH)
        self.bbox_embed = ModuleList(Perceptron(WIDTH, WIDTH, WIDTH, 4) for _ in range(layers))
        self.class_embed = ModuleList(Linear(WIDTH, classes) for _ in range(layers))  # all but the last for training

    def forward(self, x: Tensor, maps: Sequence[Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
        for layer, refine, values in zip(self.layers, self.bbox_embed, self._values(maps), strict=True):
            placed = boxes.sigmoid()
            x = layer(x, self.query_pos_head(placed.to(x.dtype)), values, placed)
            boxes = boxes.clamp(-MOST, MOST) + refine(x).float()
        return self.class_embed[-1](x), boxes.sigmoid()

    def _values(self, maps: Sequence[Tensor]) -> Sequence[Sequence[Tensor]]:
        """Return what each layer samples: its ``value_proj`` of each map, by one convolution of a map for all layers.

        TensorRT 8.6 takes products of the joined places longer, as it brings their results into maps again.
        """
        projections = [layer.encoder_attn.value_proj for layer in self.layers]
        weight, bias = (
            np.concatenate([maps[0].graph.held(getattr(projection, name)) for projection in projections])
            for name in ("weight", "bias")
        )
        of_maps = [F.conv2d(x, weight[:, :, None, None], bias).chunk(len(projections), 1) for x in maps]
        return list(zip(*of_maps, strict=True))


# -- family -----------------------------------------------------------------------------------------------------------

_SIZES = {
    "r18": (BASIC, (2, 2, 2, 2), 256, 1024, 0.5, 3),
    "r34": (BASIC, (3, 4, 6, 3), 256, 1024, 0.5, 4),
    "r50": (BOTTLENECK, (3, 4, 6, 3), 256, 1024, 1.0, 6),
    "r101": (BOTTLENECK, (3, 4, 23, 3), 384, 2048, 1.0, 6),
}


class RTDETR(QueryDetector):
    """RT-DETR or RT-DETRv2 on a ResNet.

    Args:
        name: rtdetr_r18, r34, r50 or r101, or rtdetr_v2_r18 and so on.
        classes: the number of classes.
        head: ``"decoded"`` gives a dict of ``"boxes"`` (batch, queries, 4), centre x, centre y, width and height in
            0..1 of the image, and ``"scores"`` (batch, queries, classes) in 0..1. ``"raw"`` gives a dict of what
            transformers' model returns: ``"logits"`` (batch, queries, classes) and ``"pred_boxes"``, which are the
            boxes.
        queries: how many boxes there are, at most 3840; no checkpoint tells it but by transformers' config.json.
        names: of the classes, for the engine file.

    Shape: images (batch, 3, height, width), RGB in 0..1, which were stretched to the size of training, 640×640; height
    and width multiples of 32.

    Weights of the second version that were trained with discrete sampling look like the others; they are refused where
    a config.json says it.

    In fp16 places of nearly one score follow one another in another order, and so do the queries, which are the same
    but for fp16's rounding. ``fp16_report`` and ``fp16="auto"``, which compare query by query, take that for an error:
    give ``fp16=True``.
    """

    variants = {
        f"rtdetr_{'v2_' if version == 2 else ''}{size}": Variant(*numbers, version=version)
        for version in (1, 2)
        for size, numbers in _SIZES.items()
    }

    def __init__(
        self,
        name: str = "rtdetr_r50",
        classes: int = 80,
        head: str = "decoded",
        queries: int = 300,
        names: Sequence[str] | Mapping[int, str] | None = None,
    ) -> None:
        super().__init__()
        self.declare_queries(name, classes, head, queries, names, STRIDES)
        variant = self.variants[name]
        c, inner = variant.width, int(variant.width * variant.narrow)
        backbone = Backbone(variant.block, variant.repeats)
        encoder = Encoder(
            EncoderLayer(c, FeedForward(c, variant.inner, GELU)),
            len(STRIDES) - 1,
            lateral=lambda: ConvNorm(c, c),
            fuse=lambda: Fusion(2 * c, c, inner),
            down=lambda: ConvNorm(c, c, 3, 2),
        )
        decoder = Decoder(classes, variant.layers, variant.version)
        projections = [projection(c, WIDTH) for _ in STRIDES]
        self.model = Network(
            backbone, backbone.channels, encoder, decoder, projections, c, WIDTH, classes, self.queries
        )

    @classmethod
    def canonical(cls, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a state dict under the names of transformers' module, without what is for training.

        The names in transformers' files, which are older, are known, and those of the repository of RT-DETR's authors.
        """
        return rtdetr_names.canonical(state_dict)

    @classmethod
    def identify(cls, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments of the RT-DETR that a state dict's names and sizes tell of, or None."""
        return rtdetr_names.identify(state_dict, cls.variants)
