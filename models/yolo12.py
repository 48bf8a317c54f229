"""YOLO12 (https://arxiv.org/abs/2502.12524), with the names and numbers of Ultralytics' checkpoints.

The coarse half of the backbone is of area attention: each cell looks at a quarter of the map, and on the coarsest level
at all of it. The neck is a PANet (https://arxiv.org/abs/1803.01534), the head YOLO11's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.models.blocks import Concat, Conv
from trtnn.models.sizes import expect_multiples
from trtnn.models.yolo11 import SCALES, C3k, C3k2
from trtnn.models.yolo_family import TASKS, YOLO, Scale
from trtnn.modules import Identity, Module, ModuleList, Sequential, Upsample
from trtnn.parameter import Parameter

HEAD_CHANNELS = 32  # of each head of an attention


class AAttn(Module):
    """Attention of each cell to those of its area, a part of the rows, and a 7×7 convolution of the values.

    Args:
        c: channels.
        area: how many areas there are.

    Attributes:
        area, num_heads, head_dim: Ultralytics' names.
    """

    head_dim = HEAD_CHANNELS

    def __init__(self, c: int, area: int) -> None:
        super().__init__()
        self.area, self.num_heads = area, c // HEAD_CHANNELS
        self.qkv, self.proj = Conv(c, 3 * c, act=Identity), Conv(c, c, act=Identity)
        self.pe = Conv(c, c, 7, g=c, act=Identity)

    def forward(self, x: Tensor) -> Tensor:
        batch, c, rows, columns = x.shape
        heads, cells = self.num_heads, rows * columns
        qkv = self.qkv(x).view(batch, heads, 3 * HEAD_CHANNELS, cells)
        values = qkv[:, :, 2 * HEAD_CHANNELS :].reshape(batch, c, rows, columns)
        if self.area > 1:
            qkv = qkv.view(batch, heads, 3 * HEAD_CHANNELS, self.area, cells // self.area).transpose(2, 3)
        query, key, value = qkv.split(HEAD_CHANNELS, -2)  # (batch, heads, areas, 32, cells of one)
        weights = ((query * HEAD_CHANNELS**-0.5).transpose(-1, -2) @ key).softmax(-1)
        attended = value @ weights.transpose(-1, -2)
        if self.area > 1:
            attended = attended.transpose(2, 3)
        return self.proj(attended.reshape(batch, c, rows, columns) + self.pe(values))


class ABlock(Module):
    """An attention and a perceptron of two 1×1 convolutions, each with a residual path round it.

    Args:
        c: channels.
        hidden: channels within the perceptron.
        area: of the attention.
    """

    def __init__(self, c: int, hidden: int, area: int) -> None:
        super().__init__()
        self.attn = AAttn(c, area)
        self.mlp = Sequential(Conv(c, hidden), Conv(hidden, c, act=Identity))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.mlp(x)


class A2C2f(Module):
    """A residual ELAN: the input is narrowed, goes through blocks, and what each gives is joined.

    Args:
        c_in, c_out: channels.
        n: how many blocks.
        block: makes one of so many channels.
        residual: whether the input is added to the result, which is then multiplied with a number for each channel.
    """

    def __init__(self, c_in: int, c_out: int, n: int, block: Callable[[int], Module], residual: bool = False) -> None:
        super().__init__()
        c = c_out // 2
        self.cv1, self.cv2 = Conv(c_in, c), Conv((1 + n) * c, c_out)
        self.gamma = Parameter(c_out) if residual else None
        self.m = ModuleList(block(c) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        kept = [self.cv1(x)]
        for block in self.m:
            kept.append(block(kept[-1]))
        y = self.cv2(F.cat(kept, 1))
        return y if self.gamma is None else x + y * self.gamma.view(-1, 1, 1)


class YOLO12(YOLO):
    """YOLO12 in any of its sizes and tasks.

    Args:
        name: yolo12n, s, m, l or x, or with -seg, -pose, -obb or -cls behind it those of the other tasks.
        classes, head, names, fused, kpt_shape: as :class:`trtnn.models.yolov8.YOLOv8` has them.

    Shape: images (batch, 3, height, width), RGB in 0..1; height and width multiples of 32, for -cls too.
    """

    default_name = "yolo12s"
    variants = {f"yolo12{size}{suffix}": scale for suffix in TASKS for size, scale in SCALES.items()}
    tops = 0
    blocks = 2

    def backbone(self, scale: Scale) -> tuple[list[Module], list[int]]:
        c1, c2, c3, c4, c5 = map(scale.channels, (64, 128, 256, 512, 1024))
        few, many = map(scale.repeats, (2, 4))
        wide, large = scale.width >= 1, scale.depth >= 1

        def attend(area: int) -> Callable[[int], Module]:
            return lambda c: Sequential(*(ABlock(c, int(c * (1.2 if large else 2)), area) for _ in range(2)))

        layers: list[Module] = [
            Conv(3, c1, 3, 2),
            Conv(c1, c2, 3, 2),
            C3k2(c2, c3, few, wide, 0.25),
            Conv(c3, c3, 3, 2),
            C3k2(c3, c4, few, wide, 0.25),  # 4: stride 8
            Conv(c4, c4, 3, 2),
            A2C2f(c4, c4, many, attend(4), residual=large),  # 6: stride 16
            Conv(c4, c5, 3, 2),
            A2C2f(c5, c5, many, attend(1), residual=large),  # 8: stride 32
        ]
        return layers, [c4, c4, c5]

    def neck(self, scale: Scale, channels: Sequence[int]) -> tuple[list[Module], list[int]]:
        n = scale.repeats(2)
        c3, c4, c5 = map(scale.channels, (256, 512, 1024))
        layers: list[Module] = [
            Upsample(scale_factor=2),
            Concat(),
            A2C2f(c5 + c4, c4, n, C3k),
            Upsample(scale_factor=2),
            Concat(),
            A2C2f(c4 + c4, c3, n, C3k),
            Conv(c3, c3, 3, 2),
            Concat(),
            A2C2f(c3 + c4, c4, n, C3k),
            Conv(c4, c4, 3, 2),
            Concat(),
            C3k2(c4 + c5, c5, n, True),
        ]
        return layers, [c3, c4, c5]

    def head_options(self, variant: Scale) -> dict[str, Any]:
        return {"depthwise": True}

    def forward(self, images: Tensor) -> Any:
        expect_multiples(images.shape[2:], 32, self.name)  # also for a classifier, since areas are equal parts
        return super().forward(images)

    @classmethod
    def is_own(cls, state_dict: Mapping[str, Any], head: str) -> bool:
        return "model.6.m.0.0.attn.qkv.conv.weight" in state_dict
