"""Layers that are numbered, each with the numbers of those that it takes, as Ultralytics number theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtnn.graph.tensor import Tensor
from trtnn.modules import Module

Source = int | list[int]  # the number of the layer, or the numbers, that a layer takes; -1 are the images


class Layers:
    """Layers that are appended one by one.

    Attributes:
        modules: they themselves.
        sources: what each takes.
    """

    def __init__(self) -> None:
        self.modules: list[Module] = []
        self.sources: list[Source] = []

    def append(self, layer: Module, *sources: int) -> int:
        """Append a layer that takes those of the numbers ``sources``, or the one before, and return its number.

        A number below 0 is counted back from the new layer: -1 is the one before.
        """
        number = len(self.modules)
        taken = [source + number if source < 0 else source for source in sources or (-1,)]
        self.modules.append(layer)
        self.sources.append(taken if len(taken) > 1 else taken[0])
        return number


def call(layers: Sequence[Module], sources: Sequence[Source], images: Tensor) -> list[Any]:
    """Call layers one after another, each with what those gave that it takes.

    Args:
        layers: all but the head.
        sources: of each, and of the head behind them.
        images: what stands for the number -1.

    Returns:
        What the head takes.
    """
    outputs: list[Any] = []

    def taken(source: Source) -> list[Any]:
        numbers = source if isinstance(source, list) else [source]
        return [images if number < 0 else outputs[number] for number in numbers]

    *inner, last = sources
    for layer, source in zip(layers, inner, strict=True):
        outputs.append(layer(*taken(source)))
    return taken(last)
