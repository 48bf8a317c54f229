"""How far the numbers of a layer are off in half precision, and how many of them are lost."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trtnn.reference.interpreter import Results


@dataclass
class Deviation:
    """How far values are from true ones, added up piece by piece.

    Attributes:
        squares: the sum of the squares of the true values.
        squared_differences: that of the differences; where the true value is not finite, neither counts.
    """

    squares: float = 0.0
    squared_differences: float = 0.0

    def add(self, true: torch.Tensor, value: torch.Tensor) -> None:
        finite = true.isfinite()
        true = true.double().where(finite, 0)
        self.squares += float(true.square().sum())
        self.squared_differences += float((value.double().where(finite, 0) - true).square().sum())

    @property
    def error(self) -> float:
        """The root mean square of the differences by that of the true values; infinite where a value is not finite."""
        if self.squared_differences == 0:
            return 0.0
        if self.squares == 0 or not math.isfinite(self.squared_differences):
            return math.inf
        return math.sqrt(self.squared_differences / self.squares)


@dataclass
class Tally:
    """What fp16 does to one layer that is given its true inputs, added up over all samples.

    Attributes:
        largest: the largest magnitude of its results in fp32, of those that are finite.
        overflow: how many values that it reads, holds or gives are finite in fp32 and not in fp16.
        lost: how many values that it holds or gives are not zero in fp32, and are in fp16.
        deviation: of its results.
    """

    largest: float
    overflow: int
    lost: int
    deviation: Deviation

    @classmethod
    def of_weights(cls, arrays: Sequence[np.ndarray]) -> Tally:
        overflow = lost = 0
        for array in arrays:
            if array.dtype == np.float32:
                weights = torch.from_numpy(np.array(array))
                overflow += count_nonfinite(weights.half()) - count_nonfinite(weights)
                lost += _count_lost(weights)
        return cls(0.0, overflow, lost, Deviation())

    def add(self, reads: Sequence[torch.Tensor], results: Results, in_half: Results) -> None:
        """Take in one sample: what the layer read, what it gives in fp32 and what in fp16."""
        self.overflow += sum(count_nonfinite(rounded(read)) - count_nonfinite(read) for read in reads)
        for true, half in zip(results, in_half, strict=True):
            if not true.is_floating_point():  # indices and truths are right or wrong, not near
                continue
            if count_nonfinite(half):
                self.overflow += int((true.isfinite() & ~half.isfinite()).sum())
            self.lost += _count_lost(true) if true.dtype == torch.float32 else 0
            self.largest = max(self.largest, float(true.float().where(true.isfinite(), 0).abs().max()))
            self.deviation.add(true, half)


def never_finite(true: Mapping[str, torch.Tensor]) -> list[str]:
    """Return the names of outputs without one finite number: what is none does not count, so that nothing of them does.

    Args:
        true: the outputs by name.
    """
    return [name for name, value in true.items() if value.numel() and not bool(value.isfinite().any())]


def warn_of_never_finite(true: Sequence[Mapping[str, torch.Tensor]]) -> None:
    """Warn once of the samples that make no number of an output finite, and so tell nothing of it.

    Args:
        true: the outputs by name, of each sample.
    """
    told = [(number, names) for number, one in enumerate(true) if (names := never_finite(one))]
    if told:
        number, names = told[0]
        warnings.warn(
            f"{len(told)} of {len(true)} samples make no number of an output finite, and errors tell nothing of it "
            f"there: sample {number} of {names[0]}. Look for NaN and infinity in samples and weights",
            stacklevel=2,
        )


def rounded(value: torch.Tensor) -> torch.Tensor:
    """Return floating numbers as fp16 holds them."""
    return value.half() if value.dtype == torch.float32 else value


def _count_lost(value: torch.Tensor) -> int:
    """Return how many values are not zero and become zero in fp16."""
    return int(value.count_nonzero() - value.half().count_nonzero())


def count_nonfinite(value: torch.Tensor) -> int:
    """Return how many values are not finite."""
    # A finite sum tells at once that every value is finite, ten times as fast as looking at each.
    if not value.is_floating_point() or math.isfinite(value.sum(dtype=torch.float32)):
        return 0
    return value.numel() - int(value.isfinite().sum())
