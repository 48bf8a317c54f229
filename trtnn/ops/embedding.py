"""The rows of a table that indices name."""

from __future__ import annotations

import math
from typing import Any

from trtnn.errors import ArgumentError, UnsupportedError
from trtnn.ops.arguments import Array, expect_ndim, shape_of_weights
from trtnn.ops.arithmetic import div, maximum, mul
from trtnn.ops.comparison import ne, where
from trtnn.ops.creation import tensor
from trtnn.ops.indexing import as_indices, take
from trtnn.ops.reduction import amax, any, mean, sum
from trtnn.ops.shaping import unsqueeze
from trtnn.tensor import Tensor


def embedding(input: Any, weight: Array, padding_idx: int | None = None) -> Tensor:
    """The rows of a table that indices name, as ``torch.nn.functional.embedding``.

    Args:
        input: indices from 0 on, of any shape.
        weight: (num_embeddings, embedding_dim); it takes the type that the network computes in.
        padding_idx: of training, where it has its effect.

    Returns:
        (..., embedding_dim).
    """
    shape_of_weights(weight, 2, "the weight of embedding")
    index = as_indices(input)
    index = index if isinstance(index, Tensor) else tensor(index)
    return take(index.graph.constant(weight, index.graph.compute_dtype), index, 0)


def embedding_bag(
    input: Any,
    weight: Array,
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
    """The rows of a table that each bag of indices names, as one row, as ``torch.nn.functional.embedding_bag``.

    Args:
        input: indices from 0 on, (bags, indices).
        weight: (num_embeddings, embedding_dim); it takes the type that the network computes in.
        offsets, include_last_offset: of bags of various lengths in one vector, which are not supported.
        norm_type, scale_grad_by_freq, sparse: of training, where they have their effect.
        mode: ``"sum"``, ``"mean"`` or ``"max"``; of no indices it is 0.
        per_sample_weights: (bags, indices), what each row counts; of ``"sum"`` alone.
        padding_idx: an index that does not count.

    Returns:
        (bags, embedding_dim).

    Raises:
        UnsupportedError: ``offsets``, a vector of indices, or ``max_norm``.
    """
    index = as_indices(input)
    index = index if isinstance(index, Tensor) else tensor(index)
    if offsets is not None or index.ndim == 1:
        raise UnsupportedError(
            "embedding_bag of a vector of indices with offsets",
            "how long each bag is would be known only when the engine runs",
            "give bags of one length, (bags, indices), filled up with padding_idx",
        )
    expect_ndim(index, (2,), "embedding_bag", "(bags, indices)")
    if max_norm is not None:
        raise UnsupportedError("embedding_bag with max_norm", "shorten the rows of the table before it is loaded")
    if mode not in ("sum", "mean", "max"):
        raise ArgumentError(f"the mode of embedding_bag is 'sum', 'mean' or 'max', not {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise ArgumentError(f"embedding_bag takes per_sample_weights with mode 'sum', not {mode!r}")
    rows = embedding(index, weight)
    if per_sample_weights is not None:
        rows = mul(rows, unsqueeze(per_sample_weights, -1))
    if padding_idx is None:
        return {"sum": sum, "mean": mean, "max": amax}[mode](rows, 1)
    count = weight.shape[0]
    if not -count <= padding_idx < count:
        raise ArgumentError(f"padding_idx {padding_idx} is out of range for {count} rows")
    counts = unsqueeze(ne(index, padding_idx % count), -1)
    if mode == "max":
        largest = amax(where(counts, rows, -math.inf), 1)
        return where(any(counts, 1), largest, 0.0)
    total = sum(where(counts, rows, 0.0), 1)
    return total if mode == "sum" else div(total, maximum(sum(counts, 1), 1))
