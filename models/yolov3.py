"""YOLOv3 (https://arxiv.org/abs/1804.02767) and YOLOv3-tiny, with mmdetection's names.

The backbone of yolov3 is Darknet-53, its neck goes down a pyramid of three levels, its head has three anchors a cell.
yolov3-tiny has seven convolutions with pooling between them and two levels; its names are formed like the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from trtnn import functional as F
from trtnn.errors import ArgumentError, StateDictError
from trtnn.graph.tensor import Tensor
from trtnn.models import yolov3_names
from trtnn.models.blocks import Conv, without_norms
from trtnn.models.boxes import ANCHORS, AnchorHead, Anchors, cells_of, check_anchors_told, join
from trtnn.models.family import Family
from trtnn.models.sizes import expect_multiples
from trtnn.modules import Conv2d, LeakyReLU, Module, ModuleList, Sequential, SiLU

MakeConv = Callable[..., Conv]  # with BatchNorm's eps and the activation of a version


class Residual(Module):
    """A 1×1 convolution to half of the channels and a 3×3 one back, with a residual path round them."""

    def __init__(self, c: int, conv: MakeConv) -> None:
        super().__init__()
        self.conv1 = conv(c, c // 2)
        self.conv2 = conv(c // 2, c, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x))


class Darknet53(Module):
    """Five times a convolution of stride 2 and residual blocks; gives strides 8, 16 and 32."""

    def __init__(self, conv: MakeConv) -> None:
        super().__init__()
        self.conv1 = conv(3, 32, 3)
        for i, (c, n) in enumerate(zip((64, 128, 256, 512, 1024), (1, 2, 8, 8, 4), strict=True), 1):
            blocks = {f"res{j}": Residual(c, conv) for j in range(n)}
            self.add_module(f"conv_res_block{i}", Sequential({"conv": conv(c // 2, c, 3, 2), **blocks}))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.conv_res_block2(self.conv_res_block1(self.conv1(x)))
        fine = self.conv_res_block3(x)
        middle = self.conv_res_block4(fine)
        return fine, middle, self.conv_res_block5(middle)


class TinyDarknet(Module):
    """Seven convolutions with pooling between them; gives strides 16 and 32.

    The last pool keeps the size, by a column and a row behind the map. In Darknet they never win, as copies of the edge
    do not; Ultralytics' are zeros.
    """

    def __init__(self, edge: str, conv: MakeConv) -> None:
        super().__init__()
        self.edge = edge
        for i in range(7):
            self.add_module(f"conv{i + 1}", conv(8 << i if i else 3, 16 << i, 3))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.conv1(x)
        for conv in (self.conv2, self.conv3, self.conv4, self.conv5):
            x = conv(F.max_pool2d(x, 2))
        top = self.conv6(F.max_pool2d(x, 2))
        return x, self.conv7(F.max_pool2d(F.pad(top, (0, 1, 0, 1), self.edge), 2, 1))


def alternating(c_in: int, c: int, n: int, conv: MakeConv) -> Sequential:
    """Return ``n`` convolutions, 1×1 to ``c`` channels and 3×3 to twice as many in turn."""
    shapes = [(c_in if i == 0 else 2 * c, c, 1) if i % 2 == 0 else (c, 2 * c, 3) for i in range(n)]
    return Sequential({f"conv{i}": conv(*shape) for i, shape in enumerate(shapes, 1)})


class Neck(Module):
    """Down the pyramid from the coarsest level: narrow, upsample, join with the next finer one."""

    def __init__(self, conv: MakeConv) -> None:
        super().__init__()
        self.detect1 = alternating(1024, 512, 5, conv)
        self.conv1 = conv(512, 256)
        self.detect2 = alternating(256 + 512, 256, 5, conv)
        self.conv2 = conv(256, 128)
        self.detect3 = alternating(128 + 256, 128, 5, conv)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> tuple[Tensor, ...]:
        coarse = self.detect1(coarse)
        middle = self.detect2(F.cat([F.interpolate(self.conv1(coarse), scale_factor=2), middle], 1))
        fine = self.detect3(F.cat([F.interpolate(self.conv2(middle), scale_factor=2), fine], 1))
        return coarse, middle, fine


class TinyNeck(Module):
    """The neck of yolov3-tiny: one convolution on the coarse level, none on the fine one."""

    def __init__(self, conv: MakeConv) -> None:
        super().__init__()
        self.detect1 = alternating(1024, 256, 1, conv)
        self.conv1 = conv(256, 128)

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, ...]:
        coarse = self.detect1(coarse)
        return coarse, F.cat([F.interpolate(self.conv1(coarse), scale_factor=2), fine], 1)


class Head(AnchorHead):
    """The head: a 3×3 and a 1×1 convolution on each level, the coarsest first, and the boxes that the maps mean.

    With t a map and σ its sigmoid, centre = (σ + cell) · stride and size = exp(t) · anchor, in pixels (section 2.1 of
    the paper). Ultralytics' versions have YOLOv5's formula.
    """

    def __init__(self, variant: Variant, classes: int, original: bool, conv: MakeConv) -> None:
        super().__init__(classes, np.array(variant.anchors, np.float32), variant.strides)
        self.original = original
        self.convs_bridge = ModuleList(conv(c_in, c, 3) for c_in, c in variant.channels)
        self.convs_pred = ModuleList(Conv2d(c, ANCHORS * self.outputs, 1) for _, c in variant.channels)

    def forward(self, *levels: Tensor, decode: bool = True) -> Any:
        both = zip(self.convs_bridge, self.convs_pred, levels, strict=True)
        maps = [pred(bridge(x)) for bridge, pred, x in both][::-1]
        return self.boxes(maps) if decode else maps

    def boxes(self, maps: Sequence[Tensor]) -> Tensor:
        if not self.original:
            return super().boxes(maps)
        y = F.cat([self.rows(x) for x in maps], 1)
        levels = [self._constants(level, cells_of(*x.shape[2:])) for level, x in enumerate(maps)]
        strides, corners, anchors = (join(parts, 0) for parts in zip(*levels, strict=True))
        scores = y.float().sigmoid()
        centre, size = scores[..., :2] * strides + corners, y[..., 2:4].float().exp() * anchors
        return F.cat([centre, size, scores[..., 4:]], -1)

    def _constants(self, level: int, cells: np.ndarray | Tensor) -> list[np.ndarray | Tensor]:
        """Return stride (boxes, 1), corner of the cell (boxes, 2) and anchor (boxes, 2) of each box, in pixels."""
        stride, anchors = self.strides[level], self.anchors_px(level)
        parts = [[cells[:, :1] * 0 + stride, cells * stride, cells * 0 + anchor] for anchor in anchors]
        return [join(of_each, 0) for of_each in zip(*parts, strict=True)]


class Variant(NamedTuple):
    """What a name stands for."""

    strides: tuple[int, ...]  # of each level, the finest first
    anchors: tuple[tuple[tuple[int, int], ...], ...]  # (levels, anchors, 2), widths and heights in pixels
    channels: tuple[tuple[int, int], ...]  # of the head's 3×3 convolution on each level, the coarsest first


class YOLOv3(Family):
    """YOLOv3 and YOLOv3-tiny.

    Args:
        name: yolov3 or yolov3-tiny.
        classes: the number of classes.
        version: who trained the checkpoint: ``"darknet"`` for Darknet and mmdetection; ``"9.0"`` for Ultralytics 9.0 to
            9.5, with other boxes, BatchNorm's eps 1e-3 and zeros at the edge of the tiny model's last pool; ``"9.6"``
            for theirs from 9.6 on, with SiLU as well.
        head: ``"decoded"`` gives (batch, boxes, 5 + classes): centre x, centre y, width, height in pixels, objectness
            and class scores in 0..1; at 416 pixels 10647 boxes, the tiny model 2535. ``"raw"`` gives a list of maps
            (batch, 3 · (5 + classes), rows, columns), one for each stride, the finest first.
        names: of the classes, for the engine file.
        fused: whether BatchNorm was folded into the convolutions, as Ultralytics' checkpoints may have it.
        anchors: by level, the finest first, widths and heights in pixels; in place of the usual ones, where neither the
            checkpoint nor a .cfg beside it tells them; or ``"usual"``, which says that it was trained with these.

    Shape: images (batch, 3, height, width), RGB in 0..1, both multiples of 32: usually 416, and 640 with Ultralytics.
    """

    pipeline = "yolov5"
    variants = {
        "yolov3": Variant(
            (8, 16, 32),
            (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326))),
            ((512, 1024), (256, 512), (128, 256)),
        ),
        "yolov3-tiny": Variant(
            (16, 32),
            (((10, 14), (23, 27), (37, 58)), ((81, 82), (135, 169), (344, 319))),
            ((256, 512), (384, 256)),
        ),
    }

    def __init__(
        self,
        name: str = "yolov3",
        classes: int = 80,
        version: str = "darknet",
        head: str = "decoded",
        names: Sequence[str] | Mapping[int, str] | None = None,
        fused: bool = False,
        anchors: Anchors | None = None,
    ) -> None:
        variant = self.variants.get(name, self.variants["yolov3"])
        original = version == "darknet"
        super().__init__()
        self.declare(name, classes, head, names, 416 if original else 640, variant.strides)
        if version not in ("darknet", "9.0", "9.6"):
            raise ArgumentError(f"YOLOv3 version {version!r}", "known: 'darknet', and Ultralytics' '9.0' and '9.6'")
        self.head, self.version = head, version
        self.metadata |= {"preprocessing": {"fill": (127.5,) * 3}} if original else {}  # Darknet's grey
        act = SiLU if version == "9.6" else partial(LeakyReLU, 0.1)
        conv = partial(Conv, eps=1e-5 if original else 1e-3, act=act)
        tiny = name == "yolov3-tiny"
        self.backbone = TinyDarknet("replicate" if original else "constant", conv) if tiny else Darknet53(conv)
        self.neck = TinyNeck(conv) if tiny else Neck(conv)
        self.bbox_head = Head(variant, classes, original, conv)
        if anchors is not None:
            self.bbox_head.set_anchors(anchors)
        self.fused = fused
        if fused:
            without_norms(self)

    def forward(self, images: Tensor) -> Any:
        expect_multiples(images.shape[2:], self.strides[-1], self.name)
        return self.bbox_head(*self.neck(*self.backbone(images)), decode=self.head == "decoded")

    def check(self, state_dict: Mapping[str, Any], said: Mapping[str, Any]) -> None:
        """Check that a state dict is of this version; others compute differently with the same names.

        Raises:
            StateDictError: it is not.
        """
        identified = self.identify(state_dict) or {}
        if identified.get("version", self.version) != self.version:
            raise StateDictError(
                f'the state dict does not fit YOLOv3 of version "{self.version}"; nothing was loaded',
                self.explain_state_dict(state_dict),
            )
        if unknown := {*said.get("activations", ())} - {"leaky", "linear"}:
            raise StateDictError(
                f"the .cfg beside the weights has the activation {', '.join(sorted(unknown))}, YOLOv3 here has leaky; "
                "nothing was loaded",
            )
        if said.get("stretched"):
            raise StateDictError(
                "the .cfg beside the weights has heads that stretch what they say of a centre (scale_x_y, new_coords), "
                "as YOLOv4's do and YOLOv3's do not; nothing was loaded",
            )
        super().check(state_dict, said)

    @classmethod
    def identify(cls, state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the arguments of the YOLOv3 that a state dict in any form tells of, or None.

        The model's own names tell no version: they may be mmdetection's, or anyone's by :meth:`canonical`.
        """
        return yolov3_names.identify(state_dict)

    @classmethod
    def check_told(cls, state_dict: Mapping[str, Any]) -> None:
        """Check that a state dict of Ultralytics', which has anchors, tells how many a cell has.

        Raises:
            StateDictError: it does not.
        """
        for head, _ in yolov3_names.ULTRALYTICS.values():
            if f"{head}.m.0.bias" in state_dict:
                check_anchors_told(state_dict, head, "YOLOv3")

    @classmethod
    def comes_with_anchors(cls, state_dict: Mapping[str, Any]) -> bool:
        """Whether a whole state dict under names like these has anchors: mmdetection's has none."""
        return not any(name.startswith("bbox_head.") for name in state_dict)

    @classmethod
    def canonical(cls, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return a state dict under the model's own names, which are mmdetection's; arrays are not copied.

        Known are what :func:`trtnn.load` gives of a Darknet ``.weights`` file and Ultralytics' names of releases from
        9.0 on; what has the model's own names, or unknown ones, stays as it is.

        Raises:
            StateDictError: the length of what a Darknet file holds is that of no YOLOv3.
        """
        return yolov3_names.canonical(state_dict, cls)
