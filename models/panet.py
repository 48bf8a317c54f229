"""How images go through YOLOv5 and YOLOv8: a backbone that halves them, and a PANet between its maps and the head.

A PANet (https://arxiv.org/abs/1803.01534) goes down the pyramid of maps, from the coarsest to the finest, and up again.
"""

from __future__ import annotations

from collections.abc import Iterable

from trtnn.graph.tensor import Tensor
from trtnn.modules import Module


def panet(layers: Iterable[Module], images: Tensor, levels: int, narrow: bool) -> list[Tensor]:
    """Call a network's modules one after another and return the maps for its head, the finest, on stride 8, first.

    Args:
        layers: a stem; for each of the strides 4, 8, 16, ... a convolution that halves, and a block; what pools the
            pyramid, or stands behind that; for each map on the way down an upsampling, a join with the backbone's map,
            and a block, before them with ``narrow`` a convolution; for each map on the way up a convolution that
            halves, a join with what the way down left there, and a block.
        levels: how many maps.
        narrow: whether a convolution comes before each upsampling; what it gave is what the way up joins.
    """
    following = iter(layers)

    def step(*xs: Tensor) -> Tensor:
        return next(following)(*xs)

    x = step(images)
    backbone: list[Tensor] = []
    for _ in range(levels + 1):  # strides 4, 8, 16, ...: halve, block
        x = step(step(x))
        backbone.append(x)
    x = step(x)

    lateral: list[Tensor] = []
    for finer in reversed(backbone[1:-1]):  # down the pyramid: narrow, upsample, join, block
        x = step(x) if narrow else x
        lateral.append(x)
        x = step(step(step(x), finer))

    maps = [x]
    for coarser in reversed(lateral):  # up again: halve, join, block
        maps.append(step(step(step(maps[-1]), coarser)))
    return maps


def sources(levels: int, narrow: bool) -> list[int | list[int]]:
    """Return the numbers of the layers that each layer of :func:`panet`, and the head behind it, takes."""
    layers: list[int | list[int]] = [-1]
    backbone: list[int] = []
    for _ in range(levels + 1):
        layers += [len(layers) - 1, len(layers)]
        backbone.append(len(layers) - 1)
    layers.append(len(layers) - 1)

    lateral: list[int] = []
    for finer in reversed(backbone[1:-1]):
        layers += [len(layers) - 1] if narrow else []
        lateral.append(len(layers) - 1)
        layers += [len(layers) - 1, [len(layers), finer], len(layers) + 1]

    maps = [len(layers) - 1]
    for coarser in reversed(lateral):
        layers += [len(layers) - 1, [len(layers), coarser], len(layers) + 1]
        maps.append(len(layers) - 1)
    return [*layers, maps]
