"""What RT-DETR and D-FINE share: the encoder, where queries begin, how decoders look at maps, and the family's options.

Attention among the places of the coarsest map and two passes of convolutions through all of them make the encoder. The
decoder begins with the best places and refines a box for each, looking at the maps where its deformable attention
(https://arxiv.org/abs/2010.04159) points. Nothing is suppressed afterwards. Names are those of transformers' modules.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from trtnn import functional as F
from trtnn.errors import ArgumentError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.models import rtdetr_names
from trtnn.models.boxes import Numbers, count, join
from trtnn.models.family import Family
from trtnn.models.sizes import expect_multiples
from trtnn.modules import BatchNorm2d, Conv2d, Identity, LayerNorm, Linear, Module, ModuleList, ReLU, Sequential, SiLU
from trtnn.ops.ordering import leading
from trtnn.parameter import Buffer
from trtnn.shapes.symbolic import Length, is_static

STRIDES = (8, 16, 32)
HEADS = 8  # of an attention
_FAR = 1e4  # a logit whose sigmoid is 1, also in fp16, whatever a head adds to it
MOST = math.log((1 - 1e-5) / 1e-5)  # of a logit: a coordinate that is refined lies in 1e-5 .. 1 - 1e-5

Make = Callable[[], Module]


# -- encoder ----------------------------------------------------------------------------------------------------------


class ConvNorm(Module):
    """A convolution, BatchNorm and an activation, under the names of the encoder."""

    def __init__(self, c_in: int, c_out: int, k: int = 1, s: int = 1, act: Make = SiLU, groups: int = 1) -> None:
        super().__init__()
        self.conv = Conv2d(c_in, c_out, k, s, k // 2, groups=groups, bias=False)
        self.norm = BatchNorm2d(c_out)
        self.activation = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x)))


class RepVGG(Module):
    """The sum of a 3×3 and a 1×1 convolution (https://arxiv.org/abs/2101.03697), in the network one of 3×3."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(c, c, 3, act=Identity)
        self.conv2 = ConvNorm(c, c, 1, act=Identity)
        self.activation = SiLU()

    def forward(self, x: Tensor) -> Tensor:
        (kernel, bias), (centre, more) = (_folded(x, part) for part in (self.conv1, self.conv2))
        kernel[:, :, 1, 1] += centre[:, :, 0, 0]
        return self.activation(F.conv2d(x, kernel, bias + more, padding=1))


def _folded(x: Tensor, part: ConvNorm) -> tuple[np.ndarray, np.ndarray]:
    """Return the kernel and the bias of a convolution with its BatchNorm folded in."""
    norm, held = part.norm, x.graph.held
    scale = held(norm.weight) / np.sqrt(np.add(held(norm.running_var), norm.eps, dtype=np.float64))
    shift = held(norm.bias) - held(norm.running_mean) * scale
    kernel = held(part.conv.weight) * scale.astype(np.float32)[:, None, None, None]
    return kernel, shift.astype(np.float32)


class Fusion(Module):
    """RepVGG blocks, and a path round them.

    Args:
        c_in, c_out, inner: channels of what comes in, two maps joined, of what goes out, and of the blocks.
        blocks: how many.
    """

    def __init__(self, c_in: int, c_out: int, inner: int, blocks: int = 3) -> None:
        super().__init__()
        self.conv1 = ConvNorm(c_in, inner)
        self.conv2 = ConvNorm(c_in, inner)
        self.bottlenecks = Sequential(*(RepVGG(inner) for _ in range(blocks)))
        self.conv3: Module = Identity() if inner == c_out else ConvNorm(inner, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.bottlenecks(self.conv1(x)) + self.conv2(x))


class SelfAttention(Module):
    """Attention of eight heads among places or queries, whose positions the queries and the keys are told."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.k_proj, self.v_proj, self.q_proj, self.o_proj = (Linear(c, c) for _ in range(4))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        placed = x + positions
        query, key, value = (
            projected.unflatten(2, (HEADS, -1)).transpose(1, 2)
            for projected in (self.q_proj(placed), self.k_proj(placed), self.v_proj(x))
        )
        heads = F.scaled_dot_product_attention(query, key, value)
        return self.o_proj(heads.transpose(1, 2).flatten(2))


class EncoderLayer(Module):
    """Attention among the places of a map, and a feed-forward network."""

    def __init__(self, c: int, mlp: Module) -> None:
        super().__init__()
        self.self_attn, self.self_attn_layer_norm = SelfAttention(c), LayerNorm(c)
        self.mlp, self.final_layer_norm = mlp, LayerNorm(c)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        x = self.self_attn_layer_norm(x + self.self_attn(x, positions))
        return self.final_layer_norm(x + self.mlp(x))


class Encoder(Module):
    """Attention within the coarsest map, then from coarse to fine and back, each map joined with its neighbour.

    Args:
        layer: that attention.
        ways: how many neighbours there are.
        lateral, fuse, down: make what a map goes through before it is enlarged, what two that are joined go through,
            and what halves one.
    """

    def __init__(self, layer: EncoderLayer, ways: int, lateral: Make, fuse: Make, down: Make) -> None:
        super().__init__()
        self.aifi = ModuleList([Sequential({"layers": ModuleList([layer])})])
        self.lateral_convs = ModuleList(lateral() for _ in range(ways))
        self.fpn_blocks = ModuleList(fuse() for _ in range(ways))
        self.downsample_convs = ModuleList(down() for _ in range(ways))
        self.pan_blocks = ModuleList(fuse() for _ in range(ways))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        x = maps[-1]
        channels, rows, columns = x.shape[1:]
        positions = F.tensor(positions_of(rows, columns, int(channels))).to(x.dtype)
        places = self.aifi[0].layers[0](x.flatten(2).transpose(1, 2), positions)
        x = places.transpose(1, 2).unflatten(2, (rows, columns))
        narrowed: list[Tensor] = []
        for finer, lateral, block in zip(maps[-2::-1], self.lateral_convs, self.fpn_blocks, strict=True):
            narrowed.append(lateral(x))
            x = block(F.cat([F.interpolate(narrowed[-1], scale_factor=2.0), finer], 1))
        result = [x]
        for coarser, down, block in zip(narrowed[::-1], self.downsample_convs, self.pan_blocks, strict=True):
            result.append(block(F.cat([down(result[-1]), coarser], 1)))
        return result


def positions_of(rows: Length, columns: Length, channels: int) -> Numbers:
    """Return where each place of a map is, (rows · columns, channels): an array where the map is static.

    A quarter of the channels each holds sin(y · ω), cos(y · ω), sin(x · ω) and cos(x · ω), with ω from 1 down to 1e-4.
    """
    quarter = channels // 4
    omega = 1e4 ** -(np.arange(quarter) / quarter)
    if is_static((rows, columns)):
        y, x = np.meshgrid(np.arange(int(rows)), np.arange(int(columns)), indexing="ij")
        angles = [axis.reshape(-1, 1) * omega for axis in (y, x)]
        return np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)], 1).astype(np.float32)
    y, x = F.arange(rows, dtype="float32").reshape(-1, 1, 1), F.arange(columns, dtype="float32").reshape(1, -1, 1)
    angles = [axis * omega.astype(np.float32) for axis in (y, x)]
    parts = [f(angle).expand(rows, columns, quarter) for angle in angles for f in (F.sin, F.cos)]
    return F.cat(parts, 2).reshape(-1, channels)


# -- decoder ----------------------------------------------------------------------------------------------------------


class Sampling(Module):
    """Each query's mean of what lies at some points of each map, for each head; points and weights are the query's.

    A point is the centre of the query's box, and an offset in halves of the box's sides, divided by how many points
    there are on the level.

    Args:
        c: channels of a query.
        points: of each head, on each level.
        scale: the name of the buffer of what offsets are multiplied by, if there is one.
    """

    def __init__(self, c: int, points: Sequence[int], scale: str | None) -> None:
        super().__init__()
        self.points, self.scale, total = tuple(points), scale, HEADS * sum(points)
        self.sampling_offsets, self.attention_weights = Linear(c, 2 * total), Linear(c, total)
        if scale is not None:
            self.register_buffer(scale, Buffer(sum(points)))

    def forward(self, x: Tensor, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Return the means, (batch, queries, channels).

        Args:
            x: queries, (batch, queries, c).
            maps: what is sampled, of each level, (batch, channels, rows, columns).
            boxes: of the queries, (batch, queries, 4), in parts of the image.
        """
        batch, queries = x.shape[:2]
        offsets = self._offsets(x).unflatten(2, (HEADS, -1, 2))
        centre, side = boxes[:, :, None, None, :2], boxes[:, :, None, None, 2:]
        grid = offsets.float() * side + (centre * 2 - 1)  # from -1 to 1, as grid_sample takes it
        grid = grid.to(x.dtype).transpose(1, 2).flatten(0, 1)
        weights = self.attention_weights(x).unflatten(2, (HEADS, -1)).softmax(-1)
        weights = weights.transpose(1, 2).reshape(batch * HEADS, 1, queries, -1)
        samples: list[Tensor] = []
        for y, end, n in zip(maps, itertools.accumulate(self.points), self.points, strict=True):
            heads = y.unflatten(1, (HEADS, -1)).flatten(0, 1)
            samples.append(F.grid_sample(heads, grid[:, :, end - n : end], align_corners=False))
        mean = (F.cat(samples, 3) * weights).sum(3)
        return mean.reshape(batch, -1, queries).transpose(1, 2)

    def _offsets(self, x: Tensor) -> Tensor:
        """Return offsets so that a side of 1, which is 2 in a grid, is all that they are to be multiplied by."""
        weight, bias = (x.graph.held(p) for p in (self.sampling_offsets.weight, self.sampling_offsets.bias))
        if self.scale is None:
            each = np.repeat([1 / n for n in self.points], self.points)
        else:
            each = x.graph.held(getattr(self, self.scale))
        scale = np.tile(np.repeat(each, 2), HEADS).astype(np.float32)
        return F.linear(x, weight * scale[:, None], bias * scale)


class Perceptron(Module):
    """Linear layers with an activation between them."""

    def __init__(self, *channels: int, act: Make = ReLU) -> None:
        super().__init__()
        self.layers = ModuleList(Linear(c_in, c_out) for c_in, c_out in itertools.pairwise(channels))
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(self.act(x) if i else x)
        return x


# -- network ----------------------------------------------------------------------------------------------------------


def anchors_of(sizes: Sequence[Sequence[Length]]) -> tuple[Numbers, Numbers | None]:
    """Return the box that each place begins with, as logits (places, 4), and which places count, or None where all do.

    A box is at its place's centre, with sides of 0.05 on the finest map, of 0.1 on the next, and so on. Places whose
    centre is within 0.01 of an edge do not count: 0 in (places, 1), else 1.
    """
    static = is_static([length for size in sizes for length in size])
    levels = [_anchors_of_map(size, 0.05 * 2**level, static) for level, size in enumerate(sizes)]
    anchors, counts = (join(parts, 0) for parts in zip(*levels, strict=True))
    all_count = isinstance(counts, np.ndarray) and bool(counts.all())
    return anchors, None if all_count else counts


def _anchors_of_map(size: Sequence[Length], side: float, static: bool) -> tuple[Numbers, Numbers]:
    logits: list[Numbers] = []
    counts: list[Numbers] = []
    for length, shape in zip(size, ((-1, 1, 1), (1, -1, 1)), strict=True):
        odd = count(length, static).reshape(*shape) * 2 + 1  # the centre lies at odd / (2 · length)
        rest = odd * -1 + 2 * length
        logits.append(np.log(odd / rest) if isinstance(odd, np.ndarray) else (odd / rest).log())
        nearest = F.minimum(odd, rest) if isinstance(odd, Tensor) else np.minimum(odd, rest)
        counts.append((nearest * 50 - length).clip(0, 1))  # whole numbers: exact, where 0.01 is not
    (y, x), axes = logits, np.eye(4, dtype=np.float32)
    inside = counts[0] * counts[1]
    boxes = x * axes[0] + y * axes[1] + (axes[2] + axes[3]) * np.float32(math.log(side / (1 - side)))
    anchors = boxes * inside + (inside * -1 + 1) * np.float32(_FAR)
    return anchors.reshape(-1, 4), inside.reshape(-1, 1)


class Network(Module):
    """Backbone, encoder and decoder; transformers calls it ``model``.

    Args:
        backbone: from images to maps.
        channels: of these maps.
        encoder, decoder: of that many levels.
        projections: what each map goes through between them.
        encoder_width, width: channels of the encoder and of the decoder.
        classes, queries: how many.
    """

    def __init__(
        self,
        backbone: Module,
        channels: Sequence[int],
        encoder: Encoder,
        decoder: Module,
        projections: Sequence[Module],
        encoder_width: int,
        width: int,
        classes: int,
        queries: int,
    ) -> None:
        super().__init__()
        self.queries, self.width = queries, width
        self.backbone = Sequential({"model": backbone})
        self.encoder_input_proj = ModuleList(projection(c, encoder_width) for c in channels)
        self.encoder = encoder
        self.enc_output = Sequential(Linear(width, width), LayerNorm(width))
        self.enc_score_head = Linear(width, classes)
        self.enc_bbox_head = Perceptron(width, width, width, 4)
        self.decoder_input_proj = ModuleList(projections)
        self.decoder = decoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = [project(x) for project, x in zip(self.encoder_input_proj, self.backbone(images), strict=True)]
        maps = [project(x) for project, x in zip(self.decoder_input_proj, self.encoder(maps), strict=True)]
        x, boxes = self._queries(maps)
        return self.decoder(x, maps, boxes)

    def _queries(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the places whose best class has the highest scores, and these places' boxes."""
        anchors, counts = anchors_of([x.shape[2:] for x in levels])
        places = F.cat([x.flatten(2) for x in levels], 2).transpose(1, 2)
        if not self.queries <= places.shape[1]:
            raise ShapeError(
                f"{self.queries} queries begin at as many places, and images of this size have {places.shape[1]}",
                "give larger images, or fewer queries: queries=...",
            )
        features = self.enc_output(places if counts is None else places * F.tensor(counts).to(places.dtype))
        best = leading(self.enc_score_head(features).amax(-1), self.queries)
        x = features.gather(1, best.unsqueeze(-1).expand(-1, -1, self.width))
        begin = F.embedding(best, F.tensor(anchors, dtype="float32"))
        boxes = self.enc_bbox_head(x).float() + begin
        # What is beyond _FAR means the same. TensorRT 8.6 has a kernel of its own for this, and so tunes what comes
        # before it and the decoder one by one: of both together it makes slower kernels.
        return x, F.hardtanh(boxes, -_FAR, _FAR)


def projection(c_in: int, c_out: int) -> Sequential:
    return Sequential(Conv2d(c_in, c_out, 1, bias=False), BatchNorm2d(c_out))


# -- family -----------------------------------------------------------------------------------------------------------


class QueryDetector(Family):
    """What the families of such detectors share: the options, the outputs, and what transformers' files say."""

    pipeline = "rtdetr"

    def declare_queries(
        self,
        name: str,
        classes: int,
        head: str,
        queries: int,
        names: Sequence[str] | Mapping[int, str] | None,
        strides: Sequence[int],
    ) -> None:
        """Check the options, and set what :meth:`Family.declare` sets, ``head`` and ``queries``.

        Raises:
            ArgumentError: one of them is not what it may be.
        """
        if isinstance(queries, bool) or not isinstance(queries, Integral) or not 1 <= queries <= 3840:
            raise ArgumentError(f"queries is an int from 1 to 3840, not {queries!r}")
        self.head, self.queries = head, int(queries)
        self.declare(name, classes, head, names, 640, strides)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        expect_multiples(images.shape[2:], STRIDES[-1], self.name)
        logits, boxes = self.model(images)
        if self.head == "raw":
            return {"logits": logits, "pred_boxes": boxes}
        return {"boxes": boxes, "scores": logits.float().sigmoid()}

    def config(self) -> Mapping[str, Any]:
        """Return what transformers' config.json says of this network, but for what shapes tell."""
        return rtdetr_names.CONFIG

    def check(self, state_dict: Mapping[str, Any], said: Mapping[str, Any]) -> None:
        """Check that what a file says of its network, transformers' config.json among it, is true of this one.

        Raises:
            StateDictError: it is not; with both.
        """
        super().check(state_dict, said)
        for key, theirs, ours in rtdetr_names.differences(said, {**self.config(), "num_queries": self.queries}):
            self._contradict(key, theirs, ours)
