"""A backbone that halves images, and a PANet between its maps and the head, as the layers of most YOLOs are numbered.

A PANet (https://arxiv.org/abs/1803.01534) goes down the pyramid of maps, from the coarsest to the finest, and up again.
"""

from __future__ import annotations

from trtnn.models.numbered import Source


def sources(levels: int, narrow: bool, tops: int = 1, stages: int | None = None) -> list[Source]:
    """Return the numbers of the layers that each of a network's layers takes, and the head behind them.

    The layers are: a stem; for each of the strides 4, 8, 16, ... a convolution that halves, and a block; what stands on
    top of them, such as what pools the pyramid; for each map on the way down an upsampling, a join with the backbone's
    map, and a block, before them with ``narrow`` a convolution; for each map on the way up a convolution that halves, a
    join with what the way down left there, and a block.

    Args:
        levels: how many maps the head takes, the finest first.
        narrow: whether a convolution comes before each upsampling; what it gave is what the way up joins.
        tops: how many modules stand on top of the backbone.
        stages: how many strides there are, from 4 on; one more than levels where None, so that the finest map is on
            stride 8.
    """
    layers: list[Source] = [-1]
    backbone: list[int] = []
    for _ in range(levels + 1 if stages is None else stages):
        layers += [len(layers) - 1, len(layers)]
        backbone.append(len(layers) - 1)
    layers += range(len(layers) - 1, len(layers) - 1 + tops)

    lateral: list[int] = []
    for finer in reversed(backbone[-levels:-1]):
        layers += [len(layers) - 1] if narrow else []
        lateral.append(len(layers) - 1)
        layers += [len(layers) - 1, [len(layers), finer], len(layers) + 1]

    maps = [len(layers) - 1]
    for coarser in reversed(lateral):
        layers += [len(layers) - 1, [len(layers), coarser], len(layers) + 1]
        maps.append(len(layers) - 1)
    return [*layers, maps]
