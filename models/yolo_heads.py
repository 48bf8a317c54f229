"""The heads of the YOLOs without anchors: boxes, masks, key points, rotated boxes, classes of whole images.

From each cell of its maps a head tells the distances from the cell's middle to the four sides of a box: each as a
distribution (https://arxiv.org/abs/2006.04388), or since YOLO26 as a number. Beside them it tells a score for each
class, and what the task asks for. All levels are joined before boxes are computed, in fp32 also where the rest is fp16.

A head that is trained end to end (https://arxiv.org/abs/2405.14458) has its branches twice: those of the first set name
each object many times, those of the second once, so that nothing has to be suppressed.

Module and parameter names are those of Ultralytics' checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from trtnn import functional as F
from trtnn.dtypes import finfo, float16
from trtnn.errors import ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.models.blocks import Conv
from trtnn.models.boxes import cells_of, join
from trtnn.modules import Conv2d, ConvTranspose2d, Linear, Module, ModuleList, Sequential
from trtnn.ops.ordering import leading
from trtnn.shapes.symbolic import bounds, is_static

BINS = 16  # a distance is told as how likely it is 0, 1, ... 15 cells
DETECTIONS = 300  # of a head that is trained end to end, at most
MANY, ONE = "", "one2one_"  # what stands before the names of the two sets of branches
COEFFICIENTS = 32  # of a mask, one for each prototype
_LARGEST_HALF = finfo(float16).max
_WHOLE_HALVES = 2048  # up to here fp16 holds every whole number


class DWConv(Conv):
    """A 3×3 convolution of each channel by itself, BatchNorm, activation."""

    def __init__(self, c: int) -> None:
        super().__init__(c, c, 3, g=c)


class DFL(Module):
    """The mean of a distribution over 0, 1, ... 15, those numbers being the weights of a 1×1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv2d(BINS, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (batch, 64, cells) into (batch, 4, cells)."""
        batch, _, cells = x.shape
        likely = x.view(batch, 4, BINS, cells).softmax(2)
        return (likely * self.conv.weight.numpy().reshape(BINS, 1)).sum(2)


class Grid(NamedTuple):
    """The cells of all levels, in one row: arrays where the image's size is known.

    Attributes:
        middles: (2, cells), x and y in pixels.
        strides: (1, cells), pixels.
        is_half: whether fp16 holds each of these numbers.
    """

    middles: Any
    strides: Any
    is_half: bool

    def at(self, cell: Tensor) -> Grid:
        """Return the same of cells (batch, count): (batch, 2, count) and (batch, 1, count), in fp32."""
        middles, strides = (self.of(part, cell).float().transpose(1, 2) for part in (self.middles, self.strides))
        return Grid(middles, strides, self.is_half)

    def of(self, part: Any, cell: Tensor) -> Tensor:
        """Return of sums and products of these numbers by 0 and 1, (numbers, cells), those of cells (batch, count).

        It is (batch, count, numbers).
        """
        dtype = cell.graph.compute_dtype if self.is_half else "float32"
        return F.embedding(cell, F.tensor(part.transpose(1, 0), dtype=dtype))


class Steps(NamedTuple):
    """How what is told of a box comes of outputs of the network: output · scales + offsets, or the output's sigmoid.

    Attributes:
        scales, offsets: (numbers, cells).
        is_sigmoid: of each number, whether it is the sigmoid; its scales and offsets are 0.
    """

    scales: Any
    offsets: Any
    is_sigmoid: tuple[bool, ...]

    @classmethod
    def joined(cls, parts: Sequence[Steps]) -> Steps:
        scales, offsets, is_sigmoid = zip(*parts, strict=True)
        return cls(join(scales, 0), join(offsets, 0), sum(is_sigmoid, ()))


class Detect(Module):
    """The head for upright boxes.

    With l, t, r, b the distances in cells from the middle of a cell to the left, top, right and bottom side:
    centre = (cell + ½ + ((r, b) - (l, t)) / 2) · stride and size = ((l, t) + (r, b)) · stride, in pixels.

    Args:
        channels: of the map of each level, the finest first.
        classes: how many.
        strides: pixels between the cells of each level.
        depthwise: whether the branch of the scores is made of depthwise convolutions, as since YOLO11.
        distribution: whether distances are told as distributions, as before YOLO26.
        branches: the sets of branches that there are, of ``MANY`` and ``ONE``.

    Attributes:
        more: numbers for each box behind its scores, which the task asks for.
    """

    more = 0

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        strides: tuple[int, ...],
        depthwise: bool = False,
        distribution: bool = True,
        branches: Sequence[str] = (MANY,),
    ) -> None:
        super().__init__()
        self.strides, self.distribution, self.branches = strides, distribution, tuple(branches)
        sides = 4 * BINS if distribution else 4
        c2, c3 = max(16, channels[0] // 4, sides), max(channels[0], min(classes, 100))
        self.add_branches("cv2", channels, lambda c: _branch(c, c2, sides))
        self.add_branches("cv3", channels, lambda c: (_depthwise_branch if depthwise else _branch)(c, c3, classes))
        if distribution:
            self.dfl = DFL()

    def add_more(self, channels: Sequence[int], more: int) -> None:
        """Add the branches of what the task asks for."""
        self.more = more
        width = max(channels[0] // 4, more)
        self.add_branches("cv4", channels, lambda c: _branch(c, width, more))

    def add_branches(self, name: str, channels: Sequence[int], make: Callable[[int], Module]) -> None:
        """Add to each set a list of branches, one for each level."""
        for prefix in self.branches:
            self.add_module(prefix + name, ModuleList(make(c) for c in channels))

    def let_lack(self, prefix: str) -> None:
        """Let a state dict lack one set of branches, which is not asked."""
        for name, member in (*self.named_parameters(), *self.named_buffers()):
            member.optional |= name.startswith(f"{prefix}cv")

    def forward(self, *levels: Tensor, head: str = "decoded") -> Any:
        """Return what the head tells of the maps of all levels.

        Args:
            levels: (batch, channels, rows, columns) each, the finest first.
            head: ``"raw"`` gives a list of maps (batch, outputs, rows, columns): distances, scores, and what
                the task has more. ``"decoded"`` gives (batch, 4 + classes + more, cells), the boxes' centre x, centre
                y, width, height in pixels first. ``"one-to-many"`` is the same, of a head that has both sets of
                branches, whose second one ``"end2end"`` asks: (batch, 300, 6 + more), as :meth:`best` describes them.
        """
        maps = self.maps(levels, ONE if head == "end2end" else MANY)
        if head == "raw":
            return [F.cat(level, 1) for level in zip(*maps, strict=True)]
        sides, scores, *more = (F.cat([x.flatten(2) for x in kind], 2) for kind in maps)
        grid = self.grid(levels)
        if head == "end2end":
            return self.best(self.dfl(sides.float()) if self.distribution else sides, scores, grid, *more)
        distances = self.dfl(sides.float()) if self.distribution else sides.float()
        rest = [self.rest(part.float(), grid) for part in more]
        return F.cat([self.boxes(distances, grid, *rest), scores.sigmoid().float(), *rest], 1)

    def maps(self, levels: Sequence[Tensor], prefix: str) -> list[list[Tensor]]:
        """Return for each kind of branch its maps of all levels: distances, scores, and what the task has more."""
        return [self.called(prefix + name, levels) for name in ("cv2", "cv3", *(["cv4"] if self.more else []))]

    def called(self, name: str, levels: Sequence[Tensor]) -> list[Tensor]:
        """Call each branch of a list with the map of its level."""
        return [branch(x) for branch, x in zip(getattr(self, name), levels, strict=True)]

    def grid(self, levels: Sequence[Tensor]) -> Grid:
        """Return the cells of the levels' maps."""
        cells = [cells_of(*x.shape[2:]) for x in levels]
        strides = [part[:, :1] * 0 + stride for part, stride in zip(cells, self.strides, strict=True)]
        middles = [(part + 0.5) * stride for part, stride in zip(cells, self.strides, strict=True)]
        # A middle is a multiple of half the largest power of two that divides its stride; fp16 holds 2048 of these.
        is_half = all(
            max(bounds(n)[1] for n in x.shape[2:]) * stride <= _WHOLE_HALVES * (stride & -stride) / 2
            for x, stride in zip(levels, self.strides, strict=True)
        )
        return Grid(join(middles, 0).transpose(1, 0), join(strides, 0).transpose(1, 0), is_half)

    def boxes(self, distances: Tensor, grid: Grid, *rest: Tensor) -> Tensor:
        """Turn distances (batch, 4, cells) into centre x, centre y, width, height in pixels."""
        near, far = distances.chunk(2, 1)
        return F.cat([(far - near) * (grid.strides / 2) + grid.middles, (near + far) * grid.strides], 1)

    def steps(self, grid: Grid) -> Steps:
        """Return how x1, y1, x2, y2 in pixels, the score, the class, and what the task has more come of outputs."""
        none = grid.strides * 0
        away = join([-grid.strides, -grid.strides, grid.strides, grid.strides], 0)
        corners = Steps(away, join([grid.middles, grid.middles], 0), (False,) * 4)
        score, label = Steps(none, none, (True,)), Steps(none + 1, none, (False,))
        return Steps.joined([corners, score, label, *self.more_steps(grid)])

    def more_steps(self, grid: Grid) -> list[Steps]:
        """Return how what the task has more comes of its outputs: as they are."""
        none = grid.strides * 0
        return [Steps(none + 1, none, (False,))] * self.more

    def rest(self, more: Tensor, grid: Grid) -> Tensor:
        """Turn what the task has more, (batch, more, cells), into what stands behind the scores of a box."""
        return more

    def best(self, distances: Tensor, scores: Tensor, grid: Grid, *more: Tensor) -> Tensor:
        """Return the boxes of the best scores, the best first: four numbers, score, class, and what they have more.

        A box may be there with several classes. Scores are ordered before the sigmoid, which is of the same order and
        makes near ones equal. What is told of the best is computed of their outputs alone.

        Args:
            distances: (batch, 4, cells).
            scores: (batch, classes, cells), before the sigmoid.
            grid: the cells.
            more: none, or (batch, more, cells).

        Returns:
            (batch, 300, 6 + more); where the image has fewer cells, as many rows as it has.

        Raises:
            ShapeError: the size is dynamic, and the smallest image has fewer cells than 300.
        """
        batch, classes, cells = scores.shape
        least, _ = bounds(cells)
        if least < DETECTIONS and not is_static([cells]):
            raise ShapeError(
                f"the end-to-end head gives {DETECTIONS} boxes, and the smallest image has {least} cells",
                "declare larger ones: 128 by 128 pixels have 336",
            )
        count = min(DETECTIONS, least)

        def of_each(part: Tensor, index: Tensor) -> Tensor:
            return part.gather(2, index.unsqueeze(1).expand(batch, part.shape[1], count))

        cell = leading(scores.amax(1), count)  # the 300 best pairs are of these
        logits = of_each(scores, cell).flatten(1)
        pair = leading(logits, count)
        # The class of each pair by a table: of indices TensorRT computes in fp32, and then all of this with it.
        labels = np.repeat(np.arange(int(classes), dtype=np.float32), count)
        labels = F.tensor(labels, dtype=scores.dtype if classes <= _WHOLE_HALVES else "float32")
        label = labels.unsqueeze(0).expand(batch, classes * count).gather(1, pair)
        cell = cell.unsqueeze(1).expand(batch, classes, count).flatten(1).gather(1, pair)
        told = (logits.gather(1, pair).unsqueeze(1), label.unsqueeze(1))
        outputs = F.cat([of_each(distances, cell), *told, *(of_each(part, cell) for part in more)], 1)
        return self.told(outputs.transpose(1, 2), cell, grid)

    def told(self, outputs: Tensor, cell: Tensor, grid: Grid) -> Tensor:
        """Turn outputs (batch, count, 6 + more) of some cells (batch, count) into what is told of a box, in fp32."""
        scales, offsets, is_sigmoid = self.steps(grid)
        parts = outputs, grid.of(scales, cell), grid.of(offsets, cell)
        # TensorRT 8.6 has a kernel of its own for a clip. Without one it orders in fp32 too, as it computes what is
        # told: 0.06 ms of the 0.87 of YOLO26s on an H200.
        outputs, by, to = (F.hardtanh(x, -_LARGEST_HALF, _LARGEST_HALF).float() for x in parts)
        return outputs * by + to + outputs.sigmoid() * F.tensor(np.array(is_sigmoid, np.float32), dtype="float32")


def _branch(c_in: int, c: int, c_out: int) -> Sequential:
    """Two 3×3 convolutions, and one to the outputs."""
    return Sequential(Conv(c_in, c, 3), Conv(c, c, 3), Conv2d(c, c_out, 1))


def _depthwise_branch(c_in: int, c: int, c_out: int) -> Sequential:
    """The same with each 3×3 convolution as a depthwise one and one of 1×1."""
    first, second = (Sequential(DWConv(a), Conv(a, c)) for a in (c_in, c))
    return Sequential(first, second, Conv2d(c, c_out, 1))


class Proto(Module):
    """Prototypes of masks, from the map of the finest level, twice as high and wide.

    Every mask is a sum of them (https://arxiv.org/abs/1904.02689).

    Args:
        channels: of the maps of all levels, the finest first.
        c: channels between.
    """

    def __init__(self, channels: Sequence[int], c: int) -> None:
        super().__init__()
        self.cv1 = Conv(channels[0], c, 3)
        self.upsample = ConvTranspose2d(c, c, 2, 2)
        self.cv2 = Conv(c, c, 3)
        self.cv3 = Conv(c, COEFFICIENTS)

    def forward(self, *levels: Tensor) -> Tensor:
        return self.cv3(self.cv2(self.upsample(self.cv1(levels[0]))))


class Segment(Detect):
    """The head for masks: each box has 32 coefficients behind its scores, by which prototypes add up to its mask.

    Args:
        prototypes: the channels between those of the prototypes.
        **options: of :class:`Detect`.
    """

    Prototypes: ClassVar[type[Proto]] = Proto

    def __init__(self, channels: Sequence[int], classes: int, *args: Any, prototypes: int, **options: Any) -> None:
        super().__init__(channels, classes, *args, **options)
        self.add_more(channels, COEFFICIENTS)
        self.proto = self.Prototypes(channels, prototypes)

    def forward(self, *levels: Tensor, head: str = "decoded") -> Any:
        """Return a dict of :class:`Detect`'s ``"prediction"``, and ``"prototypes"``, (batch, 32, rows, columns)."""
        return {"prediction": super().forward(*levels, head=head), "prototypes": self.proto(*levels)}


class Pose(Detect):
    """The head for key points: each box has them behind its scores, x and y in pixels, and whether it is seen.

    x and y are (2 · output + cell) · stride, and visibility is the sigmoid of an output.

    Args:
        kpt_shape: how many points, and 2 numbers for each or 3.
        **options: of :class:`Detect`.

    Attributes:
        kpt_shape: the same; Ultralytics' name.
    """

    def __init__(
        self, channels: Sequence[int], classes: int, *args: Any, kpt_shape: tuple[int, int], **options: Any
    ) -> None:
        super().__init__(channels, classes, *args, **options)
        self.kpt_shape = kpt_shape
        self.add_more(channels, math.prod(kpt_shape))

    def rest(self, more: Tensor, grid: Grid) -> Tensor:
        batch, _, cells = more.shape
        points = more.view(batch, *self.kpt_shape, cells)
        by, to = self.to_pixels(grid)
        places = points[:, :, :2] * by + to
        if self.kpt_shape[1] == 3:
            places = F.cat([places, points[:, :, 2:].sigmoid()], 2)
        return places.flatten(1, 2)

    def to_pixels(self, grid: Grid) -> tuple[Any, Any]:
        """Return what x and y of a point's outputs are multiplied by, (1, cells), and what is added, (2, cells)."""
        return grid.strides * 2, grid.middles - grid.strides / 2

    def more_steps(self, grid: Grid) -> list[Steps]:
        by, to = self.to_pixels(grid)
        none = grid.strides * 0
        seen = [Steps(none, none, (True,))] * (self.kpt_shape[1] - 2)
        return [Steps(join([by, by], 0), to, (False, False)), *seen] * self.kpt_shape[0]


class OBB(Detect):
    """The head for rotated boxes: each has its angle in radians, -π / 4 to 3 / 4 π, behind its scores.

    With a the angle, (σ - ¼) · π of an output's sigmoid σ, and (x, y) = ((r, b) - (l, t)) / 2, where distances are
    along the box's own axes: centre = (cell + ½ + (x · cos a - y · sin a, x · sin a + y · cos a)) · stride.
    """

    def __init__(self, channels: Sequence[int], classes: int, *args: Any, **options: Any) -> None:
        super().__init__(channels, classes, *args, **options)
        self.add_more(channels, 1)

    def rest(self, more: Tensor, grid: Grid) -> Tensor:
        return (more.sigmoid() - 0.25) * math.pi

    def boxes(self, distances: Tensor, grid: Grid, *rest: Tensor) -> Tensor:
        """Turn distances (batch, 4, cells) into centre x, centre y, width, height in pixels, before it is rotated."""
        (angle,), (near, far) = rest, distances.chunk(2, 1)
        x, y = ((far - near) * (grid.strides / 2)).chunk(2, 1)
        cos, sin = angle.cos(), angle.sin()
        rotated = F.cat([x * cos - y * sin, x * sin + y * cos], 1)
        return F.cat([rotated + grid.middles, (near + far) * grid.strides], 1)

    def told(self, outputs: Tensor, cell: Tensor, grid: Grid) -> Tensor:
        """Turn outputs into centre x, centre y, width, height, score, class and angle, in fp32."""
        distances, logits, label, angle = outputs.float().transpose(1, 2).split([4, 1, 1, 1], 1)
        here = grid.at(cell)
        angle = self.rest(angle, here)
        return F.cat([self.boxes(distances, here, angle), logits.sigmoid(), label, angle], 1).transpose(1, 2)


class Classify(Module):
    """The head for classes of whole images: (batch, channels, rows, columns) to (batch, classes)."""

    def __init__(self, c_in: int, classes: int) -> None:
        super().__init__()
        self.conv = Conv(c_in, 1280)
        self.linear = Linear(1280, classes)

    def forward(self, x: Tensor, head: str = "probabilities") -> Tensor:
        """Return ``"probabilities"``, the softmax of the ``"logits"``, or those."""
        logits = self.linear(self.conv(x).mean((2, 3)))
        return logits if head == "logits" else logits.float().softmax(1)


class Proto26(Proto):
    """Prototypes of all levels: what each coarser one says is added to the finest map before."""

    def __init__(self, channels: Sequence[int], c: int) -> None:
        super().__init__(channels, c)
        self.feat_refine = ModuleList(Conv(coarser, channels[0]) for coarser in channels[1:])
        self.feat_fuse = Conv(channels[0], channels[0], 3)

    def forward(self, *levels: Tensor) -> Tensor:
        x, *coarser = levels
        size = x.shape[2:]
        for refine, level in zip(self.feat_refine, coarser, strict=True):
            x = x + F.interpolate(refine(level), size)
        return super().forward(self.feat_fuse(x))


class Segment26(Segment):
    """The head for masks of YOLO26."""

    Prototypes = Proto26


class Pose26(Pose):
    """The head for key points of YOLO26: x and y are (output + cell + ½) · stride.

    Its branches end in features, of which one more convolution makes the key points, and in training another one how
    sure they are.
    """

    def add_more(self, channels: Sequence[int], more: int) -> None:
        self.more = more
        width = max(channels[0] // 4, more + 2 * self.kpt_shape[0])
        self.add_branches("cv4", channels, lambda c: Sequential(Conv(c, width, 3), Conv(width, width, 3)))
        self.add_branches("cv4_kpts", channels, lambda c: Conv2d(width, more, 1))

    def maps(self, levels: Sequence[Tensor], prefix: str) -> list[list[Tensor]]:
        *maps, features = super().maps(levels, prefix)
        return [*maps, self.called(f"{prefix}cv4_kpts", features)]

    def to_pixels(self, grid: Grid) -> tuple[Any, Any]:
        return grid.strides, grid.middles


class OBB26(OBB):
    """The head for rotated boxes of YOLO26, whose outputs are angles in radians as they are."""

    def rest(self, more: Tensor, grid: Grid) -> Tensor:
        return more
