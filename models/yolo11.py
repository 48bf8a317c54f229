"""YOLO11, with the names and numbers of its official checkpoints (https://docs.ultralytics.com/models/yolo11).

It is YOLOv8 with other blocks: C3k2, whose bottlenecks may be cross-stage partial blocks of their own, attention over
the coarsest map (https://arxiv.org/abs/2405.14458), and a branch of depthwise convolutions for the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.models.blocks import SPPF, Bottleneck, Concat, Conv
from trtnn.models.yolo_family import TASKS, YOLO, Scale, is_named
from trtnn.modules import Identity, Module, ModuleList, Sequential, Upsample

SCALES = {
    "n": Scale(0.50, 0.25, 1024),
    "s": Scale(0.50, 0.50, 1024),
    "m": Scale(0.50, 1.00, 512),
    "l": Scale(1.00, 1.00, 512),
    "x": Scale(1.00, 1.50, 512),
}


class C3k(Module):
    """A cross-stage partial block: half of the channels go through two bottlenecks, half past them."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1 = Conv(c, c // 2)
        self.cv2 = Conv(c, c // 2)
        self.cv3 = Conv(c, c)
        self.m = Sequential(*(Bottleneck(c // 2, 3, True) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(F.cat([self.m(self.cv1(x)), self.cv2(x)], 1))


class Attention(Module):
    """Attention of each place of a map to all of them, in heads of 64 channels with keys of 32.

    A depthwise convolution of the values stands for where they are.
    """

    def __init__(self, c: int) -> None:
        super().__init__()
        self.num_heads = c // 64
        self.key_dim, self.head_dim = 32, 64
        self.qkv = Conv(c, 2 * c, act=Identity)
        self.proj = Conv(c, c, act=Identity)
        self.pe = Conv(c, c, 3, g=c, act=Identity)

    def forward(self, x: Tensor) -> Tensor:
        batch, c, rows, columns = x.shape
        qkv = self.qkv(x).view(batch, self.num_heads, 2 * self.key_dim + self.head_dim, rows * columns)
        q, k, v = qkv.split([self.key_dim, self.key_dim, self.head_dim], 2)
        likely = (q.transpose(2, 3) @ k * self.key_dim**-0.5).softmax(-1)
        seen = (v @ likely.transpose(2, 3)).reshape(batch, c, rows, columns)
        return self.proj(seen + self.pe(v.reshape(batch, c, rows, columns)))


class PSABlock(Module):
    """Attention, then two 1×1 convolutions, each with a residual path round it."""

    add = True

    def __init__(self, c: int) -> None:
        super().__init__()
        self.attn = Attention(c)
        self.ffn = Sequential(Conv(c, 2 * c), Conv(2 * c, c, act=Identity))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.ffn(x)


class C2PSA(Module):
    """A cross-stage partial block: half of the channels go through ``n`` blocks of attention, half past them."""

    def __init__(self, c: int, n: int) -> None:
        super().__init__()
        self.cv1 = Conv(c, c)
        self.cv2 = Conv(c, c)
        self.m = Sequential(*(PSABlock(c // 2) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        past, through = self.cv1(x).chunk(2, 1)
        return self.cv2(F.cat([past, self.m(through)], 1))


class C3k2(Module):
    """A cross-stage partial block: half of the channels go through ``n`` blocks, and what each gives is kept.

    Args:
        c_in, c_out: channels.
        n: how many blocks.
        c3k: whether a block is a :class:`C3k`, else a bottleneck that is half as wide within.
        part: the channels of a half, against ``c_out``.
        attention: whether each block is a bottleneck and attention.
    """

    def __init__(self, c_in: int, c_out: int, n: int, c3k: bool, part: float = 0.5, attention: bool = False) -> None:
        super().__init__()
        c = int(c_out * part)
        self.cv1 = Conv(c_in, 2 * c)
        self.cv2 = Conv((2 + n) * c, c_out)

        def block() -> Module:
            if c3k:
                return C3k(c)
            bottleneck = Bottleneck(c, 3, True, c // 2)
            return Sequential(bottleneck, PSABlock(c)) if attention else bottleneck

        self.m = ModuleList(block() for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        kept = [self.cv1(x)]
        x = kept[0][:, kept[0].shape[1] // 2 :]
        for block in self.m:
            x = block(x)
            kept.append(x)
        return self.cv2(F.cat(kept, 1))


class YOLO11(YOLO):
    """YOLO11 in any of its sizes and tasks.

    Args:
        name: yolo11n, s, m, l or x, or with -seg, -pose, -obb or -cls behind it those of the other tasks.
        classes, head, names, fused, kpt_shape: as :class:`trtnn.models.yolov8.YOLOv8` has them.

    Shape: images (batch, 3, height, width), RGB in 0..1; height and width multiples of 32, for -cls any.
    """

    default_name = "yolo11s"
    variants = {f"yolo11{size}{suffix}": scale for suffix in TASKS for size, scale in SCALES.items()}
    tops = 2
    blocks = 2

    def backbone(self, scale: Scale) -> tuple[list[Module], list[int]]:
        c1, c2, c3, c4, c5 = map(scale.channels, (64, 128, 256, 512, 1024))
        n, large = scale.repeats(2), scale.width >= 1
        layers: list[Module] = [
            Conv(3, c1, 3, 2),
            Conv(c1, c2, 3, 2),
            C3k2(c2, c3, n, large, 0.25),
            Conv(c3, c3, 3, 2),
            C3k2(c3, c4, n, large, 0.25),  # 4: stride 8
            Conv(c4, c4, 3, 2),
            C3k2(c4, c4, n, True),  # 6: stride 16
            Conv(c4, c5, 3, 2),
            C3k2(c5, c5, n, True),  # 8: stride 32
        ]
        if self.task == "classify":
            layers.append(C2PSA(c5, n))
        return layers, [c4, c4, c5]

    def neck(self, scale: Scale, channels: Sequence[int]) -> tuple[list[Module], list[int]]:
        n, large = scale.repeats(2), scale.width >= 1
        c3, c4, c5 = map(scale.channels, (256, 512, 1024))
        layers: list[Module] = [
            SPPF(c5, c5),
            C2PSA(c5, n),
            Upsample(scale_factor=2),
            Concat(),
            C3k2(c5 + c4, c4, n, large),
            Upsample(scale_factor=2),
            Concat(),
            C3k2(c4 + c4, c3, n, large),
            Conv(c3, c3, 3, 2),
            Concat(),
            C3k2(c3 + c4, c4, n, large),
            Conv(c4, c4, 3, 2),
            Concat(),
            C3k2(c4 + c5, c5, n, True),
        ]
        return layers, [c3, c4, c5]

    def head_options(self, variant: Any) -> dict[str, Any]:
        return {"depthwise": True}

    @classmethod
    def is_own(cls, state_dict: Mapping[str, Any], head: str) -> bool:
        if head == "model.10.":
            return "model.9.m.0.attn.qkv.conv.weight" in state_dict and not is_named(state_dict, "yolo26")
        return head == "model.23." and {"model.10.m.0.attn.qkv.conv.weight", f"{head}dfl.conv.weight"} <= {*state_dict}
