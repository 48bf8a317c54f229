"""Distances between every two rows."""

from __future__ import annotations

import numpy as np

from trtnn.errors import ArgumentError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import expect_floating
from trtnn.ops._promotion import cast, expect_one_type, wide
from trtnn.ops.arithmetic import sub
from trtnn.ops.comparison import isnan, ne, where
from trtnn.ops.norms import norm
from trtnn.ops.reduction import sum
from trtnn.ops.shaping import unsqueeze
from trtnn.shapes.symbolic import broadcast, same

_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


def cdist(
    x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = "use_mm_for_euclid_dist_if_necessary"
) -> Tensor:
    """Return the p-norm of the difference of every row of one tensor and every row of another, carried in fp32.

    The differences are taken one by one: by way of a matrix product, as torch does from 25 rows on, what is near would
    be lost in rounding. This computes P · R · features numbers, and holds as many where TensorRT does not fuse them.

    Args:
        compute_mode: one of torch's names, which all mean the same here.

    Shape: (..., P, features) and (..., R, features), the rest broadcast, to (..., P, R).

    Raises:
        ShapeError: the tensors do not fit together.
        DTypeError: they are of different types, or hold no fractions.
        ArgumentError: ``p`` is below 0, or the ``compute_mode`` is none of torch's.
    """
    if compute_mode is not None and compute_mode not in _MODES:
        raise ArgumentError(f"cdist knows no compute_mode {compute_mode!r}", f"known: {', '.join(_MODES)}")
    for tensor in (x1, x2):
        expect_floating(tensor, "cdist")
    expect_one_type("cdist", x1, x2)
    if not p >= 0:
        raise ArgumentError(f"cdist takes p from 0 on, not {p}")
    ndim = max(x1.ndim, x2.ndim) - 2
    batches = [(1,) * (ndim + 2 - tensor.ndim) + tensor.shape[:-2] for tensor in (x1, x2)]
    if min(x1.ndim, x2.ndim) < 2 or not same(x1.shape[-1], x2.shape[-1]) or broadcast(*batches) is None:
        raise ShapeError(
            f"cdist in {x1.graph.where} takes (..., P, features) and (..., R, features)",
            f"received {x1.shape} and {x2.shape}",
        )
    differences = sub(unsqueeze(wide(x1), -2), unsqueeze(wide(x2), -3))
    return cast(_length(differences, p), x1.dtype)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """Return the p-norm of the difference of every two rows, as ``torch.nn.functional.pdist``, carried in fp32.

    Shape: (n, features) to (n · (n - 1) / 2,).

    Raises:
        ShapeError: the input is no matrix of at least two rows, or has a dynamic number of them.
        DTypeError: it holds no fractions.
        ArgumentError: ``p`` is below 0.
    """
    expect_floating(input, "pdist")
    if not p >= 0:
        raise ArgumentError(f"pdist takes p from 0 on, not {p}")
    if input.ndim != 2:
        raise ShapeError(f"pdist in {input.graph.where} takes (n, features), not {input.shape}")
    count = input.shape[0]
    if not isinstance(count, int):
        raise ShapeError(f"pdist of {count} rows: how many pairs there are is not known while tracing")
    if count < 2:
        raise ShapeError(f"pdist of {count} row holds nothing")
    first, second = np.triu_indices(count, 1)
    rows = wide(input)
    return cast(_length(sub(rows[first], rows[second]), p), input.dtype)


def _length(differences: Tensor, p: float) -> Tensor:
    """Return the p-norm along the last dimension, NaN of NaN also where p is 0, for which ``norm`` counts 1."""
    if p == 0:
        return sum(where(isnan(differences), differences, cast(ne(differences, 0), differences.dtype)), -1)
    return norm(differences, p, -1)
