"""Deep layer aggregation (https://arxiv.org/abs/1707.06484): DLA-34, and the way back up to its finest map.

The maps are joined through deformable convolutions, as CenterNet (https://arxiv.org/abs/1904.07850) does. Names are
those of CenterNet's checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

from trtnn import functional as F
from trtnn.graph.tensor import Tensor
from trtnn.models.blocks import TwoConvolutions
from trtnn.modules import DCN, BatchNorm2d, Conv2d, ConvTranspose2d, Identity, MaxPool2d, Module, ReLU, Sequential


def _unused(module: Module) -> Module:
    """Let checkpoints lack the parameters of what is there for its names alone."""
    for member in (*module.parameters(), *module.buffers()):
        member.optional = True
    return module


def _conv_bn_relu(c_in: int, c_out: int, k: int, s: int = 1) -> Sequential:
    return Sequential(Conv2d(c_in, c_out, k, s, k // 2, bias=False), BatchNorm2d(c_out), ReLU(inplace=True))


class BasicBlock(TwoConvolutions):
    """Two 3×3 convolutions, and a residual path that may come from elsewhere."""

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        return self.relu(self.convolve(x) + (x if residual is None else residual))


class Root(Module):
    """An aggregation node: what it joins, through a 1×1 convolution."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv = Conv2d(c_in, c_out, 1, bias=False)
        self.bn = BatchNorm2d(c_out)
        self.relu = ReLU(inplace=True)

    def forward(self, *xs: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(F.cat(xs, 1))))


class Tree(Module):
    """Hierarchical aggregation: a binary tree of blocks, whose last root joins the results of all depths.

    Args:
        levels: the depth; 1 is two blocks and their root.
        level_root: whether the root joins the tree's input as well.
        joined: channels that the root gets from outside, beside those of its own two blocks.
    """

    def __init__(
        self, levels: int, c_in: int, c_out: int, s: int = 1, level_root: bool = False, joined: int = 0
    ) -> None:
        super().__init__()
        self.levels, self.level_root = levels, level_root
        joined += c_in if level_root else 0
        if levels == 1:
            self.tree1 = BasicBlock(c_in, c_out, s)
            self.tree2 = BasicBlock(c_out, c_out)
            self.root = Root(2 * c_out + joined, c_out)
        else:
            self.tree1 = Tree(levels - 1, c_in, c_out, s)
            self.tree2 = Tree(levels - 1, c_out, c_out, joined=joined + c_out)
        self.downsample = MaxPool2d(s, s) if s > 1 else Identity()
        self.project = Identity()
        if c_in != c_out:  # on the residual path of the first block; a deeper tree leaves that to the trees within
            project = Sequential(Conv2d(c_in, c_out, 1, bias=False), BatchNorm2d(c_out))
            self.project = project if levels == 1 else _unused(project)

    def forward(self, x: Tensor, *joined: Tensor) -> Tensor:
        bottom = self.downsample(x)
        if self.level_root:
            joined = (*joined, bottom)
        if self.levels > 1:
            x1 = self.tree1(x)
            return self.tree2(x1, *joined, x1)
        x1 = self.tree1(x, self.project(bottom))
        return self.root(self.tree2(x1), x1, *joined)


class DLA34(Module):
    """Deep layer aggregation: two convolutions, then four trees, each on half the size of the one before.

    Shape: images (batch, 3, height, width) to a list of maps on strides 4, 8, 16 and 32, of ``channels``.
    """

    channels = (64, 128, 256, 512)

    def __init__(self) -> None:
        super().__init__()
        self.base_layer = _conv_bn_relu(3, 16, 7)
        self.level0 = _conv_bn_relu(16, 16, 3)
        self.level1 = _conv_bn_relu(16, 32, 3, 2)
        self.level2 = Tree(1, 32, 64, 2)
        self.level3 = Tree(2, 64, 128, 2, level_root=True)
        self.level4 = Tree(2, 128, 256, 2, level_root=True)
        self.level5 = Tree(1, 256, 512, 2, level_root=True)
        self.fc = _unused(Conv2d(512, 1000, 1))  # of ImageNet; the released checkpoints still have it

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [self.level1(self.level0(self.base_layer(images)))]
        for level in (self.level2, self.level3, self.level4, self.level5):
            maps.append(level(maps[-1]))
        return maps[1:]


class DeformConv(Module):
    """Deformable convolution, BatchNorm, ReLU."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.actf = Sequential(BatchNorm2d(c_out), ReLU(inplace=True))
        self.conv = DCN(c_in, c_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.actf(self.conv(x))


class IDAUp(Module):
    """Iterative deep aggregation: from the finest map on, each is joined with the next coarser, brought to its size.

    Args:
        c_out: channels of the finest map, and of every result.
        channels: of the coarser maps.
        factors: how many times smaller each of them is.
    """

    def __init__(self, c_out: int, channels: Sequence[int], factors: Sequence[int]) -> None:
        super().__init__()
        for i, (c, f) in enumerate(zip(channels, factors, strict=True), 1):
            self.add_module(f"proj_{i}", DeformConv(c, c_out))
            self.add_module(f"up_{i}", ConvTranspose2d(c_out, c_out, 2 * f, f, f // 2, groups=c_out, bias=False))
            self.add_module(f"node_{i}", DeformConv(c_out, c_out))

    def forward(self, finest: Tensor, *coarser: Tensor) -> list[Tensor]:
        joined = [finest]
        for i, x in enumerate(coarser, 1):
            proj, up, node = (getattr(self, f"{part}_{i}") for part in ("proj", "up", "node"))
            joined.append(node(up(proj(x)) + joined[-1]))
        return joined


class DLAUp(Module):
    """Aggregations that begin at the coarsest two maps and take in a finer one each time.

    Shape: maps on strides 4, 8, 16 and 32, of ``channels``, to as many of the same shapes.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        for i, c in enumerate(reversed(channels[:-1])):  # what was joined before has the channels of its finest
            self.add_module(f"ida_{i}", IDAUp(c, [channels[-1 - i]] * (i + 1), [2] * (i + 1)))

    def forward(self, *maps: Tensor) -> list[Tensor]:
        joined, results = [maps[-1]], [maps[-1]]
        for ida, finer in zip(self.children(), reversed(maps[:-1]), strict=True):
            joined = ida(finer, *joined)
            results.append(joined[-1])
        return results[::-1]


class DLASeg(Module):
    """DLA-34 and its aggregations: from images to a map of 64 channels on stride 4."""

    width = 64

    def __init__(self) -> None:
        super().__init__()
        self.base = DLA34()
        finest, *coarser = DLA34.channels[:-1]
        self.dla_up = DLAUp(DLA34.channels)
        self.ida_up = IDAUp(finest, coarser, (2, 4))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.dla_up(*self.base(images))
        return self.ida_up(*maps[:-1])[-1]
