"""``x.as_strided(size, stride)`` by what it reads of each dimension: windows, steps, and other orders of dimensions.

A network's tensors have no places in memory. Where each stride is so many steps along one dimension of x, and no
dimension is read beyond its end, the elements are known without them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import torch


class _Walk(NamedTuple):
    """How a dimension of the result goes through one of the input: so many steps of so many elements."""

    place: int
    count: Any
    step: int


def read_by_dimensions(
    x: torch.Tensor, size: Sequence[Any], stride: Sequence[int], run: Callable[..., torch.Tensor], *, is_dynamic: bool
) -> torch.Tensor | None:
    """Return what ``x.as_strided(size, stride)`` is, by other functions; None where it is not that of dimensions.

    Args:
        x: the tensor.
        size, stride: as of ``as_strided``; lengths may know where they come from.
        run: calls a function with arguments, and notes it.
        is_dynamic: whether lengths may be others, of which as many are read as the size says.
    """
    found = next(filter(None, (_with_walks(x, merged, size, stride) for merged in _mergings(x))), None)
    if found is None:
        return None
    merged, walks = found
    for first, last in reversed(merged):
        if first != last:
            x = run(torch.Tensor.flatten, (x, first, last))
    order: list[int] = []
    windows: list[int] = []
    for axis, those in enumerate(walks):
        if len(those) == 2:
            outer, inner = those
            x = run(torch.Tensor.unfold, (x, axis, inner.count, outer.step))
            windows.append(inner.place)
        else:
            (outer,) = those
            if outer.step > 1:
                x = run(torch.Tensor.__getitem__, (x, (*[slice(None)] * axis, slice(None, None, outer.step))))
        order.append(outer.place)
        if is_dynamic or int(x.shape[axis]) != int(outer.count):
            x = run(torch.Tensor.narrow, (x, axis, 0, outer.count))
    order += windows  # unfold puts each behind all others
    places = [order.index(place) for place in range(len(order))]
    return x if places == sorted(places) else run(torch.Tensor.permute, (x, *places))


def _mergings(x: torch.Tensor) -> Iterator[list[tuple[int, int]]]:
    """Yield the ways to take dimensions of a tensor for one that lie in memory as one, by the first and last of each.

    That of no dimensions together is the first.
    """
    may = [x.stride(axis) == x.stride(axis + 1) * x.shape[axis + 1] for axis in range(x.ndim - 1)]
    for count in range(sum(may) + 1):
        for joined in combinations([axis for axis, fits in enumerate(may) if fits], count):
            merged: list[tuple[int, int]] = []
            for axis in range(x.ndim):
                if axis - 1 in joined:
                    merged[-1] = merged[-1][0], axis
                else:
                    merged.append((axis, axis))
            yield merged


def _with_walks(
    x: torch.Tensor, merged: list[tuple[int, int]], size: Sequence[Any], stride: Sequence[int]
) -> tuple[list[tuple[int, int]], list[list[_Walk]]] | None:
    """Return dimensions as they were merged, and of each the one or two of the result that go through it.

    Of two the coarser is the first. None is for what does not go through each dimension so.
    """
    own = [int(x.stride(last)) for _, last in merged]
    lengths = [math.prod(map(int, x.shape[first : last + 1])) for first, last in merged]
    walks: list[list[_Walk]] = [[] for _ in own]
    for place, (count, by) in enumerate(zip(size, stride, strict=True)):
        fitting = [axis for axis, n in enumerate(own) if 0 < n <= by and by % n == 0]
        if not fitting:
            return None
        axis = max(fitting, key=lambda axis: (own[axis], not walks[axis]))
        walks[axis].append(_Walk(place, count, int(by) // own[axis]))
    for those, length in zip(walks, lengths, strict=True):
        those.sort(key=lambda walk: walk.step, reverse=True)
        last = sum((int(walk.count) - 1) * walk.step for walk in those)
        is_windows = len(those) == 2 and those[1].step == 1
        if not (len(those) == 1 or is_windows) or last >= length:
            return None
    return merged, walks
