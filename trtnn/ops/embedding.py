"""The rows of a table that indices name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trtnn.dtypes import bool_
from trtnn.errors import ArgumentError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Array, expect_ndim, shape_of_weights
from trtnn.ops.arithmetic import div, maximum, mul
from trtnn.ops.comparison import logical_and, ne, where
from trtnn.ops.creation import tensor
from trtnn.ops.indexing import as_indices, take
from trtnn.ops.reduction import amax, any, mean, sum
from trtnn.ops.shaping import unsqueeze


def embedding(
    input: Any,
    weight: Array | Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Return the rows of a table that indices name, as ``torch.nn.functional.embedding``.

    Args:
        input: indices from 0 on, of any shape.
        weight: (num_embeddings, embedding_dim); it takes the type that the network computes in.
        padding_idx, norm_type, scale_grad_by_freq, sparse: of training, where they have their effect.
        max_norm: None.

    Returns:
        (..., embedding_dim).

    Raises:
        ArgumentError: ``padding_idx`` is no row.
        UnsupportedError: ``max_norm``.
    """
    count, _ = shape_of_weights(weight, 2, "the weight of embedding")
    refuse_max_norm(max_norm, "embedding")
    if padding_idx is not None and not -count <= padding_idx < count:
        raise ArgumentError(f"padding_idx {padding_idx} is out of range for {count} rows")
    index = as_indices(input)
    index = index if isinstance(index, Tensor) else tensor(index)
    table = weight if isinstance(weight, Tensor) else index.graph.constant(weight, index.graph.compute_dtype)
    return take(table, index, 0)


def embedding_bag(
    input: Any,
    weight: Array | Tensor,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Return one row for each bag of indices, made of the rows of a table that they name.

    As ``torch.nn.functional.embedding_bag``.

    Args:
        input: indices from 0 on, (bags, indices), or a vector of them with ``offsets``.
        weight: (num_embeddings, embedding_dim); it takes the type that the network computes in.
        offsets: where each bag begins in a vector of indices, as numbers that are known while tracing: an array or a
            list, from 0 on and in order. The bags are filled up to the longest, and what fills them does not count.
        include_last_offset: whether the last offset is where the last bag ends.
        norm_type, scale_grad_by_freq, sparse: of training, where they have their effect.
        mode: ``"sum"``, ``"mean"`` or ``"max"``; of no indices it is 0.
        per_sample_weights: in the shape of ``input``, what each row counts; of ``"sum"`` alone.
        padding_idx: an index that does not count.

    Returns:
        (bags, embedding_dim).

    Raises:
        ArgumentError: ``offsets`` are not in order, or do not go with the input.
        UnsupportedError: ``offsets`` that are a Tensor, a vector of indices of dynamic length, or ``max_norm``.
    """
    index = as_indices(input)
    index = index if isinstance(index, Tensor) else tensor(index)
    counts = None  # which indices do
    if index.ndim == 1:
        places, inside = _bags(index, offsets, include_last_offset)
        counts = None if inside.all() else index.graph.constant(inside, bool_)
        index, *taken = (take(t, places, 0) for t in (index, per_sample_weights) if t is not None)
        per_sample_weights = taken[0] if taken else None
    elif offsets is not None:
        raise ArgumentError("embedding_bag takes offsets with a vector of indices", f"received {index.shape}")
    expect_ndim(index, (2,), "embedding_bag", "(bags, indices)")
    refuse_max_norm(max_norm, "embedding_bag")
    if mode not in ("sum", "mean", "max"):
        raise ArgumentError(f"the mode of embedding_bag is 'sum', 'mean' or 'max', not {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise ArgumentError(f"embedding_bag takes per_sample_weights with mode 'sum', not {mode!r}")
    rows = embedding(index, weight)
    if per_sample_weights is not None:
        rows = mul(rows, unsqueeze(per_sample_weights, -1))
    if padding_idx is not None:
        count = weight.shape[0]
        if not -count <= padding_idx < count:
            raise ArgumentError(f"padding_idx {padding_idx} is out of range for {count} rows")
        is_index = ne(index, padding_idx % count)
        counts = is_index if counts is None else logical_and(counts, is_index)
    if counts is None:
        return {"sum": sum, "mean": mean, "max": amax}[mode](rows, 1)
    counts = unsqueeze(counts, -1)
    if mode == "max":
        largest = amax(where(counts, rows, -math.inf), 1)
        return where(any(counts, 1), largest, 0.0)
    total = sum(where(counts, rows, 0.0), 1)
    return total if mode == "sum" else div(total, maximum(sum(counts, 1), 1))


def refuse_max_norm(max_norm: float | None, what: str) -> None:
    if max_norm is not None:
        raise UnsupportedError(f"{what} with max_norm", "shorten the rows of the table before it is loaded")


def _bags(index: Tensor, offsets: Any, include_last_offset: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return where in a vector the indices of each bag are, (bags, longest), and which of the places are in the bag."""
    (count,) = index.shape
    if isinstance(offsets, Tensor) or not isinstance(count, int):
        raise UnsupportedError(
            "embedding_bag of bags that are not known while tracing",
            f"received offsets of type {type(offsets).__name__} for {count} indices",
            "give bags of one length, (bags, indices), filled up with padding_idx",
        )
    begins = np.asarray([] if offsets is None else offsets)
    fits = begins.ndim == 1 and begins.dtype.kind in "iu" and len(begins) > include_last_offset
    if not fits or begins[0] != 0 or begins.max() > count:
        raise ArgumentError(
            f"embedding_bag of {count} indices takes offsets from 0 up to {count}, not {offsets!r}",
            "one for each bag, and with include_last_offset the end of the last",
        )
    if (np.diff(begins) < 0).any():
        raise ArgumentError(f"embedding_bag takes offsets in order, not {offsets!r}")
    ends = begins[1:] if include_last_offset else np.append(begins[1:], count)
    starts = begins[: len(ends)]
    places = starts[:, None] + np.arange(max(1, (ends - starts).max()))
    return np.minimum(places, count - 1), places < ends[:, None]
