"""Padding."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn.dtypes import bool_, int32
from trtnn.errors import ArgumentError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._promotion import cast, filler
from trtnn.ops.indexing import cut, narrow
from trtnn.ops.joining import cat
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import Length, bounds, same, same_shape, sym_max

# Of torch's modes, the name of TensorRT's slice mode.
SLICE_MODES = {"constant": "FILL", "reflect": "REFLECT", "replicate": "CLAMP", "circular": "WRAP"}


def _is_none(side: tuple[Length, Length]) -> bool:
    return same(side[0], 0) and same(side[1], 0)


def _widened(input: Tensor, sides: Sequence[tuple[Length, Length]], mode: str) -> Tensor:
    if all(map(_is_none, sides)):
        return input
    if input.dtype is bool_:  # TensorRT 8.6 puts nothing around bools
        return cast(_widened(cast(input, int32), sides, mode), bool_)
    start = tuple(-before for before, _ in sides)
    size = tuple(before + length + after for (before, after), length in zip(sides, input.shape, strict=True))
    return cut(input, start, size, (1,) * input.ndim, mode)


def _with_blocks(input: Tensor, sides: Sequence[tuple[Length, Length]], value: float) -> Tensor:
    for axis, side in enumerate(sides):
        block, length = filler(value, input, "pad"), input.shape[axis]
        # A block of a length that may be 0 is as long as it ever is, and cut to it.
        counts = [count if bounds(count)[0] else bounds(count)[1] for count in side]
        first, last = (
            [] if same(count, 0) else [expand(block, (*input.shape[:axis], count, *input.shape[axis + 1 :]))]
            for count in counts
        )
        input = cat([*first, input, *last], axis)
        if not same_shape(counts, side):
            start = tuple(counts[0] - side[0] if i == axis else 0 for i in range(input.ndim))
            size = (*input.shape[:axis], side[0] + length + side[1], *input.shape[axis + 1 :])
            input = cut(input, start, size, (1,) * input.ndim)
    return input


def _cut_off(input: Tensor, sides: Sequence[tuple[Length, Length]]) -> Tensor:
    """Return what paddings below 0 leave."""
    for axis, side in enumerate(sides):
        before, after = (sym_max(0, -end) for end in side)
        if not _is_none((before, after)):
            input = narrow(input, axis, before, input.shape[axis] - before - after)
    return input


def _put_around(input: Tensor, sides: Sequence[tuple[Length, Length]], mode: str, value: float | None) -> Tensor:
    """Apply the paddings above 0."""
    sides = [(sym_max(0, before), sym_max(0, after)) for before, after in sides]
    most = {"reflect": [n - 1 for n in input.shape], "circular": input.shape}.get(mode)
    for side, limit in zip(sides, most or (), strict=False):
        for count in side:
            if not same(count, 0) and count > limit:
                raise ShapeError(f"padding by {count} in mode {mode!r} in {input.graph.where}", f"at most {limit}")
    if mode == "constant" and value:
        return _with_blocks(input, sides, value)
    return _widened(input, sides, SLICE_MODES[mode])


def lengthened(input: Tensor, shape: Sequence[Length]) -> Tensor:
    """Return a tensor with zeros behind its elements, up to a shape."""
    rest = [n - m for n, m in zip(shape, input.shape, strict=True)]
    return pad(input, [end for length in rest[::-1] for end in (0, length)])


def pad(input: Tensor, pad: Sequence[Length], mode: str = "constant", value: float | None = None) -> Tensor:
    """Put elements around a tensor, as ``torch.nn.functional.pad``.

    Args:
        pad: how many before and after the last dimension, then the one before it, and so on; below 0 cuts off. Sizes
            may come to 0: ``pad(x, (0, -x.shape[-1] % 8))`` makes the last dimension a multiple of 8.
        mode: ``"constant"``; ``"reflect"``, without the edge itself; ``"replicate"``, the edge; or ``"circular"``.
        value: of ``"constant"``; 0 where None, as it has to be for other modes.

    Raises:
        ArgumentError: ``pad`` is no list of pairs, or the mode is unknown or takes no value.
        ShapeError: more is to be put than the mode can take from the input, or nothing is left.
    """
    if mode not in SLICE_MODES:
        raise ArgumentError(f"no padding mode {mode!r}", f"known: {', '.join(SLICE_MODES)}")
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ArgumentError(f"pad takes pairs, at most {input.ndim} of them, not {tuple(pad)}")
    if mode != "constant" and value:
        raise ArgumentError(f"padding mode {mode!r} takes no value")
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    sides = [(0, 0)] * (input.ndim - len(pairs)) + pairs[::-1]
    if mode == "circular":  # what goes round is what is left
        return _put_around(_cut_off(input, sides), sides, mode, value)
    return _cut_off(_put_around(input, sides, mode, value), sides)
