"""Sequences of several lengths in one batch: padded as they come, with the lengths beside them.

torch packs them, so that each step holds those sequences alone that are as long. A network's loops take a rectangle: it
keeps the padding, and steps that lie behind a sequence's end leave its state as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.dtypes import bool_
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Indices
from trtnn.ops._promotion import cast, index_dtype
from trtnn.ops.comparison import lt, where
from trtnn.ops.creation import arange, as_tensor
from trtnn.ops.indexing import getitem
from trtnn.ops.padding import pad
from trtnn.ops.shaping import transpose, unsqueeze
from trtnn.shapes.symbolic import Length, Size, same

_NO_STEPS = (
    "torch packs its sequences, and a network keeps their padding",
    "compute it of the padded sequence, before pack_padded_sequence or behind pad_packed_sequence",
)


class PackedSequence:
    """Sequences of several lengths while a network is traced: what ``pack_padded_sequence`` gives and recurrent modules
    take and give.

    No input or output of a network is one: give ``pad_packed_sequence`` of it.

    Attributes:
        padded: (length, batch, ...).
        lengths: (batch,), int64, or int32 where TensorRT has no int64 (8.6).
        longest: the longest of them, or None where that is known only when the network runs.
        mask: (length, batch, 1), of the steps that are there; None where all are.
    """

    __slots__ = ("lengths", "longest", "mask", "padded")

    def __init__(self, padded: Tensor, lengths: Tensor, longest: Length | None, mask: Tensor | None) -> None:
        self.padded, self.lengths, self.longest, self.mask = padded, lengths, longest, mask

    def with_steps(self, padded: Tensor) -> PackedSequence:
        """Return what a network gives at each step, of the same lengths."""
        return PackedSequence(padded, self.lengths, self.longest, self.mask)

    def __repr__(self) -> str:
        return f"PackedSequence(shape={self.padded.shape}, of={self.padded.dtype.name})"

    def __getattr__(self, name: str) -> Any:
        if name in ("data", "batch_sizes", "sorted_indices", "unsorted_indices"):
            raise UnsupportedError(f"{name} of a packed sequence", *_NO_STEPS)
        raise AttributeError(f"a packed sequence has no {name!r}")


def pack_padded_sequence(
    input: Tensor, lengths: Indices | Sequence[Length], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Join a padded batch and how long its sequences are, as ``torch.nn.utils.rnn.pack_padded_sequence``.

    The sequences may stand in any order in a network; of lengths that Python knows ``enforce_sorted`` checks it.

    Args:
        input: (length, batch, ...), or with ``batch_first`` (batch, length, ...).
        lengths: how many steps each sequence has: numbers, or a Tensor of integers, (batch,). In a Tensor 0 is a
            sequence of none, and what goes beyond the input one of all. An array, as a Buffer holds, is one.

    Raises:
        ShapeError: the input has no batch, or there is not a length for each sequence.
        ArgumentError: a length is below 1 or beyond the input's, or they are not in the order that is asked for.
        DTypeError: the lengths are no whole numbers.
    """
    if input.ndim < 2:
        raise ShapeError(f"pack_padded_sequence takes (length, batch, ...), not {input.shape}")
    padded = transpose(input, 0, 1) if batch_first else input
    steps, batch = padded.shape[:2]
    if isinstance(lengths, (Tensor, np.ndarray)):
        return _packed(padded, _as_lengths(as_tensor(lengths), batch), None)
    _check(lengths, steps, batch, enforce_sorted)
    told = as_tensor(list(lengths), dtype=index_dtype(padded.graph))
    if all(same(length, steps) for length in lengths):
        return PackedSequence(padded, told, steps, None)
    longest = lengths[0]
    if not any(isinstance(length, Size) for length in lengths):
        longest = max(lengths)
    return _packed(padded, told, longest)


def _packed(padded: Tensor, lengths: Tensor, longest: Length | None) -> PackedSequence:
    mask = unsqueeze(lt(unsqueeze(arange(padded.shape[0], dtype=lengths.dtype), 1), lengths), -1)
    return PackedSequence(padded, lengths, longest, mask)


def _as_lengths(lengths: Tensor, batch: Length) -> Tensor:
    if lengths.dtype.is_floating_point or lengths.dtype is bool_:
        raise DTypeError(f"pack_padded_sequence takes lengths that are integers, not {lengths.dtype.name}")
    if lengths.ndim != 1 or not same(lengths.shape[0], batch):
        raise ShapeError(f"pack_padded_sequence takes ({batch},) lengths, one a sequence, not {lengths.shape}")
    return cast(lengths, index_dtype(lengths.graph))


def _check(lengths: Sequence[Length], steps: Length, batch: Length, enforce_sorted: bool) -> None:
    if not same(len(lengths), batch):
        raise ShapeError(
            f"pack_padded_sequence was given {len(lengths)} lengths for a batch of {batch}",
            "one a sequence; where the batch is dynamic, a Tensor of lengths",
        )
    known = [length for length in lengths if not isinstance(length, Size)]
    beyond = [n for n in known if n < 1 or (not isinstance(steps, Size) and n > steps)]
    if beyond:
        raise ArgumentError(f"pack_padded_sequence takes lengths from 1 to {steps}, not {beyond[0]}")
    if len(known) < len(lengths) and not all(same(length, lengths[0]) for length in lengths):
        raise ArgumentError(
            f"pack_padded_sequence was given lengths of which the engine knows the longest: {tuple(lengths)}",
            "give a Tensor of them",
        )
    if enforce_sorted and known != sorted(known, reverse=True):
        raise ArgumentError(
            f"pack_padded_sequence takes lengths from the longest on, not {tuple(lengths)}", "or enforce_sorted=False"
        )


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: Length | None = None
) -> tuple[Tensor, Tensor]:
    """Return the steps of sequences with padding behind, as ``torch.nn.utils.rnn.pad_packed_sequence``.

    Where the lengths are a Tensor, the result has as many steps as the padded batch had, of which the longest sequence
    may leave some to padding: torch gives so with ``total_length``, and else as many as the longest sequence has.

    Args:
        sequence: what ``pack_padded_sequence`` or a recurrent module gave.
        batch_first: whether the batch comes before the steps.
        padding_value: what stands behind a sequence's end.
        total_length: how many steps there are to be.

    Returns:
        (length, batch, ...), and the lengths.

    Raises:
        ArgumentError: ``total_length`` is below the longest length that Python knows.
    """
    padded, steps = sequence.padded, sequence.padded.shape[0]
    if sequence.mask is not None:
        mask = sequence.mask
        for _ in range(padded.ndim - 3):
            mask = unsqueeze(mask, -1)
        padded = where(mask if padded.ndim > 2 else getitem(mask, (..., 0)), padded, padding_value)
    longest = steps if sequence.longest is None else sequence.longest
    total = longest if total_length is None else total_length
    are_known = sequence.longest is not None and not isinstance(total, Size) and not isinstance(longest, Size)
    if are_known and total < longest:
        raise ArgumentError(f"pad_packed_sequence takes a total_length from {longest} on, not {total}")
    if not same(total, steps):
        padded = pad(padded, (*(0, 0) * (padded.ndim - 1), 0, total - steps), value=padding_value)
    return transpose(padded, 0, 1) if batch_first else padded, sequence.lengths
