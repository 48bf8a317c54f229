"""YOLOv5, with the names and numbers of its official checkpoints (https://doi.org/10.5281/zenodo.3908559).

The backbone is CSPDarknet (https://arxiv.org/abs/1911.11929), the neck a PANet (https://arxiv.org/abs/1803.01534), the
head three anchors a cell on strides 8, 16, 32 and, in the P6 models, 64. In the models with "-dcn" behind their names
the first three convolutions of stride 2 behind the stem are deformable (https://arxiv.org/abs/1811.11168).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from trtnn import functional as F
from trtnn.errors import ArgumentError, is_number
from trtnn.graph.tensor import Tensor
from trtnn.models.blocks import SPP, SPPF, Bottleneck, Concat, Conv, without_norms
from trtnn.models.boxes import ANCHORS, AnchorHead, Anchors, check_anchors_told, other_anchors
from trtnn.models.family import Family
from trtnn.models.numbered import call
from trtnn.models.panet import sources
from trtnn.models.sizes import expect_multiples
from trtnn.modules import DCN, Conv2d, Module, ModuleList, Sequential, Upsample
from trtnn.ops.convolution import kept_apart
from trtnn.parameter import Buffer
from trtnn.shapes.symbolic import at_opt


class C3(Module):
    """A cross-stage partial block: half of the channels go through ``n`` bottlenecks, half past them."""

    def __init__(self, c_in: int, c_out: int, n: int, shortcut: bool = True) -> None:
        super().__init__()
        c = c_out // 2
        self.cv1 = Conv(c_in, c)
        self.cv2 = Conv(c_in, c)
        self.cv3 = Conv(2 * c, c_out)
        self.m = Sequential(*(Bottleneck(c, 1, shortcut) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.m(self.cv1(x))
        with nullcontext() if self._is_faster_joined(x) else kept_apart():
            outer = self.cv2(x)
        return self.cv3(F.cat([inner, outer], 1))

    def _is_faster_joined(self, x: Tensor) -> bool:
        """Whether cv1 and cv2 are to be one convolution, whose activations are kernels of their own then.

        Kernels have tiles of 128 channels, of which two convolutions may waste more than one. Where there is much to do
        that counts for more than the activations: a C3 of YOLOv5x at batch 8 takes up to 5 % less, while those of
        YOLOv5s take up to a fifth more at every batch, and those of YOLOv5x 2 % more at batch 1 (TensorRT 8.6, H200).
        """
        channels = self.cv1.conv.out_channels
        batch, _, *sides = map(at_opt, x.shape)
        return channels > 64 and channels % 128 != 0 and batch * math.prod(sides) * channels > 1 << 21


class Focus(Module):
    """Each 2×2 square of pixels becomes one cell of four times the channels, then a convolution."""

    def __init__(self, c_in: int, c_out: int, k: int) -> None:
        super().__init__()
        self.conv = Conv(4 * c_in, c_out, k)

    def forward(self, x: Tensor) -> Tensor:
        corners = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        return self.conv(F.cat(corners, 1))


class Detect(AnchorHead):
    """The head: a 1×1 convolution on each level, and the boxes that its maps mean."""

    def __init__(self, channels: list[int], classes: int, anchors: np.ndarray, strides: tuple[int, ...]) -> None:
        super().__init__(classes, anchors, strides)
        self.m = ModuleList(Conv2d(c, anchors.shape[1] * self.outputs, 1) for c in channels)

    def forward(self, *levels: Tensor, decode: bool = True) -> Any:
        maps = [conv(x) for conv, x in zip(self.m, levels, strict=True)]
        return self.boxes(maps) if decode else maps


class Variant(NamedTuple):
    """How deep and wide a model is, against yolov5l."""

    depth: float
    width: float


SIZES = {
    "n": Variant(0.33, 0.25),
    "s": Variant(0.33, 0.50),
    "m": Variant(0.67, 0.75),
    "l": Variant(1.00, 1.00),
    "x": Variant(1.33, 1.25),
}
_ANCHORS_P5 = (
    (10, 13, 16, 30, 33, 23),
    (30, 61, 62, 45, 59, 119),
    (116, 90, 156, 198, 373, 326),
)
_ANCHORS_P6 = (
    (19, 27, 44, 40, 38, 94),
    (96, 68, 86, 152, 180, 137),
    (140, 301, 303, 264, 238, 542),
    (436, 615, 739, 380, 925, 792),
)


class Layers(NamedTuple):
    """All layers before the head.

    Args:
        depth, width: multiples of the size.
        levels: 3, or 4 in the P6 models.
        version: ``"6.0"`` or ``"5.0"``.
        deformable: how many of the backbone's halvings behind the stem are.
    """

    depth: float
    width: float
    levels: int
    version: str = "6.0"
    deformable: int = 0

    @property
    def head_channels(self) -> list[int]:
        """The channels of the maps that the head takes, the finest first."""
        return [self._channels(c) for c in self._stages[1:]]

    def make(self) -> list[Module]:
        """Return them."""
        *lower, top = self._stages
        return [*self._backbone(self._stages), *self._neck(lower[1:], top)]

    @property
    def _stages(self) -> list[int]:
        return [128, 256, 512, *([768] if self.levels == 4 else []), 1024]

    def _channels(self, c: int) -> int:
        return math.ceil(c * self.width / 8) * 8

    def _repeats(self, n: int) -> int:
        return max(round(n * self.depth), 1)

    def _c3(self, c_in: int, c_out: int, n: int, shortcut: bool = True) -> C3:
        return C3(self._channels(c_in), self._channels(c_out), self._repeats(n), shortcut)

    def _conv(self, c_in: int, c_out: int, k: int, s: int = 1) -> Conv:
        return Conv(self._channels(c_in), self._channels(c_out), k, s)

    def _halve(self, stage: int, c_in: int, c_out: int) -> Module:
        """Return a convolution of stride 2; a deformable one has neither norm nor activation behind it."""
        if stage < self.deformable:
            return DCN(self._channels(c_in), self._channels(c_out), 3, 2, 1)
        return self._conv(c_in, c_out, 3, 2)

    def _backbone(self, stages: list[int]) -> list[Module]:
        """Return a stem, then for each stage a convolution of stride 2 and a C3; pyramid pooling at the end."""
        old = self.version == "5.0"
        stem, top = self._channels(64), self._channels(stages[-1])
        layers: list[Module] = [Focus(3, stem, 3) if old else Conv(3, stem, 6, 2, 2)]
        repeats = (3, 9, 9, 3, 3) if old else (3, 6, 9, 3, 3)
        for stage, (c_in, c_out, n) in enumerate(zip([64, *stages], stages, repeats, strict=False)):
            layers += [self._halve(stage, c_in, c_out), self._c3(c_out, c_out, n)]
        if old:  # the pyramid stands before the last C3, which has no residual paths
            layers[-1] = SPP(top, top, (5, 9, 13) if len(stages) == 4 else (3, 5, 7))
            return [*layers, self._c3(stages[-1], stages[-1], 3, shortcut=False)]
        return [*layers, SPPF(top, top)]

    def _neck(self, lower: list[int], top: int) -> list[Module]:
        """Down from the coarsest level to the finest, and up again; each step joins what the other way left there."""
        layers: list[Module] = []
        current = top
        for c in reversed(lower):
            layers += [self._conv(current, c, 1), Upsample(scale_factor=2), Concat(), self._c3(2 * c, c, 3, False)]
            current = c
        for c, above in zip(lower, [*lower[1:], top], strict=True):
            layers += [self._conv(c, c, 3, 2), Concat(), self._c3(2 * c, above, 3, False)]
        return layers


class YOLOv5(Family):
    """YOLOv5 in any of its sizes.

    Args:
        name: yolov5n, s, m, l or x, or with a 6 behind it the P6 models for images of 1280 pixels, or with -dcn those
            of deformable convolutions, which are of version 6.0 alone.
        classes: the number of classes.
        version: ``"6.0"`` (also 6.x and 7.0) or ``"5.0"``, by the release that trained the checkpoint.
        head: ``"decoded"`` gives (batch, boxes, 5 + classes): centre x, centre y, width, height in pixels, objectness
            and class scores in 0..1, with 25200 boxes at 640 pixels. ``"raw"`` gives a list of maps
            (batch, 3 · (5 + classes), rows, columns), one for each stride; the metadata of its network name the
            pipeline ``"yolov5-raw"``, and have the ``strides``, and the ``anchors`` in pixels that the weights have
            when it is traced.
        depth, width: in place of the size's own multiples.
        names: of the classes, for the engine file.
        fused: whether BatchNorm was folded into the convolutions, as checkpoints may have it.
        anchors: by level, the finest first, widths and heights in pixels; in place of the usual ones, where the
            checkpoint does not tell them; or ``"usual"``, which says that it was trained with these.

    Shape: images (batch, 3, height, width), RGB in 0..1; height and width multiples of the largest stride.
    """

    pipeline = "yolov5"
    variants = {f"yolov5{size}{kind}": variant for kind in ("", "6", "-dcn") for size, variant in SIZES.items()}

    def __init__(
        self,
        name: str = "yolov5s",
        classes: int = 80,
        version: str = "6.0",
        head: str = "decoded",
        depth: float | None = None,
        width: float | None = None,
        names: Sequence[str] | Mapping[int, str] | None = None,
        fused: bool = False,
        anchors: Anchors | None = None,
    ) -> None:
        p6 = name.endswith("6")
        super().__init__()
        self.declare(name, classes, head, names, 1280 if p6 else 640, (8, 16, 32, 64) if p6 else (8, 16, 32))
        if version not in ("5.0", "6.0"):
            raise ArgumentError(f"YOLOv5 version {version!r}", "known: '6.0', which 6.x and 7.0 share, and '5.0'")
        if name.endswith("-dcn") and version != "6.0":
            raise ArgumentError(f"{name} in version {version!r}", "known: '6.0'")
        self.head, self.version = head, version
        multiples: dict[str, Any] = {"depth": depth, "width": width}
        for option, value in multiples.items():
            if value is not None and not (is_number(value) and value > 0):
                raise ArgumentError(f"{option} is a number above 0, not {value!r}")
        self.depth, self.width = depth or self.variants[name].depth, width or self.variants[name].width
        usual = np.array(_ANCHORS_P6 if p6 else _ANCHORS_P5, np.float32).reshape(-1, ANCHORS, 2)
        layers = Layers(self.depth, self.width, len(self.strides), version, 3 if name.endswith("-dcn") else 0)
        self.model = ModuleList([*layers.make(), Detect(layers.head_channels, classes, usual, self.strides)])
        if anchors is not None:
            self.model[-1].set_anchors(anchors)
        if version == "5.0":  # those checkpoints hold the anchors twice, here in pixels
            self.model[-1].anchor_grid = Buffer(len(usual), 1, ANCHORS, 1, 1, 2, optional=True)
        self.sources = sources(len(self.strides), narrow=True)
        self.fused = fused
        if fused:
            without_norms(self)

    def forward(self, images: Tensor) -> Any:
        expect_multiples(images.shape[2:], self.strides[-1], self.name)
        *layers, detect = self.model
        return detect(*call(layers, self.sources, images), decode=self.head == "decoded")

    def _network_metadata(self) -> Mapping[str, Any]:
        if self.head != "raw" or self.metadata.get("pipeline") != self.pipeline:
            return self.metadata
        anchors = [self.model[-1].anchors_px(level).tolist() for level in range(len(self.strides))]
        return {**self.metadata, "pipeline": "yolov5-raw", "strides": list(self.strides), "anchors": anchors}

    @classmethod
    def identify(cls, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments of the YOLOv5 that a state dict's names and sizes tell of, or None."""
        old = "model.0.conv.conv.weight" in state_dict
        stem = state_dict.get("model.0.conv.conv.weight" if old else "model.0.conv.weight")
        p6 = "model.33.m.0.bias" in state_dict
        bias = state_dict.get("model.33.m.0.bias" if p6 else "model.24.m.0.bias")
        kind = "-dcn" if "model.1.conv_offset_mask.weight" in state_dict else "6" if p6 else ""
        has_masks = any(name.startswith(("model.24.proto.", "model.33.proto.")) for name in state_dict)
        if stem is None or bias is None or has_masks or _anchors_of(state_dict) not in (None, ANCHORS):
            return None
        outputs, rest = divmod(math.prod(bias.shape), ANCHORS)
        if rest or outputs < 6:  # a box, objectness and a class
            return None
        width = math.prod(stem.shape) / 108 / 64  # either stem has 108 weights a channel
        depth = sum(f"model.2.m.{i}.cv1.conv.weight" in state_dict for i in range(16)) / 3
        size = min(SIZES, key=lambda s: abs(SIZES[s].width - width) + abs(SIZES[s].depth - depth))
        fused = {} if f"{'model.0.conv' if old else 'model.0'}.bn.weight" in state_dict else {"fused": True}
        return {"name": f"yolov5{size}{kind}", "classes": outputs - 5, "version": "5.0" if old else "6.0", **fused}

    @classmethod
    def check_told(cls, state_dict: Mapping[str, Any]) -> None:
        """Check that a state dict tells how many anchors a cell has.

        Raises:
            StateDictError: it does not.
        """
        check_anchors_told(state_dict, "model.33" if "model.33.m.0.bias" in state_dict else "model.24", "YOLOv5")

    @classmethod
    def canonical(cls, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a state dict as it is.

        Raises:
            StateDictError: it has another number of anchors, by which its channels are others' numbers.
        """
        anchors = _anchors_of(state_dict)
        if anchors not in (None, ANCHORS):
            raise other_anchors("YOLOv5", anchors)
        return state_dict


def _anchors_of(state_dict: Mapping[str, Any]) -> int | None:
    """Return how many anchors a cell has in the head of a state dict, None where nothing tells."""
    for levels, layer in ((3, 24), (4, 33)):
        anchors = state_dict.get(f"model.{layer}.anchors")
        if anchors is not None and f"model.{layer}.m.0.bias" in state_dict:
            return math.prod(anchors.shape) // (2 * levels)
    return None
