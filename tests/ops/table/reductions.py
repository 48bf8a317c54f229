"""Operations of many elements to one."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from tests.ops.calls import BOOLS, COMPARED, DTYPES, KEEPDIM, MATRICES, arrays, case, dim, dims, maybe, mostly, shapes

APART = arrays(distinct=True)


def count(c: Any) -> int:
    """How many elements become one."""
    shape, along = c.operands[0].shape, c.arguments.get("dim")
    along = range(len(shape)) if along in (None, ()) else along if isinstance(along, tuple) else (along,)
    return math.prod(shape[at] for at in along) if shape else 1


def too_few(c: Any) -> bool:
    return count(c) <= c.arguments.get("correction", 1)


def keeps_all(c: Any) -> bool:
    """Whether all dimensions are kept without being named, which torch knows of some reductions alone."""
    return "keepdim" in c.arguments and "dim" not in c.arguments


def of_many(c: Any) -> bool:
    """Whether it is a Frobenius norm along more dimensions than a matrix has."""
    along = c.arguments.get("dim")
    return c.arguments.get("p", "fro") == "fro" and isinstance(along, tuple) and len(along) > 2


def one_bool(c: Any) -> bool:
    """Whether it is one bool in place, which torch lets be, where it refuses several."""
    return c.spelling == ".{}_" and c.arrays[0].kind == "bool" and c.arrays[0].shape == ()


ONE_BOOL = {"cannot become int64 in place": one_bool}

CASES = {
    "sum": case(arrays(), dim=maybe(dims), keepdim=KEEPDIM, dtype=maybe(DTYPES), half=MATRICES, exceeds=keeps_all),
    "prod": case(
        arrays(shape=shapes(2, 1, 3, 0, most=2), low=-2, high=2),  # of many, fp16 would not hold what lies between
        dim=maybe(dim),
        keepdim=KEEPDIM,
        dtype=maybe(DTYPES),
        half=MATRICES,
        exceeds=keeps_all,
    ),
    "mean": case(arrays(), dim=maybe(dims), keepdim=KEEPDIM, dtype=maybe(DTYPES), half=MATRICES, exceeds=keeps_all),
    **{name: case(arrays(), dim=maybe(dims), keepdim=KEEPDIM) for name in ("amax", "amin")},
    **{name: case(arrays(**COMPARED), dim=maybe(dims), keepdim=KEEPDIM) for name in ("any", "all")},
    "count_nonzero": case(arrays(**COMPARED), dim=maybe(dims)),
    **{
        name: case(
            arrays(),
            dim=maybe(dims),
            correction=maybe(st.integers(0, 2)),
            keepdim=KEEPDIM,
            half=MATRICES,
            refuses={"the variance of": too_few},
        )
        for name in ("var", "std")
    },
    "norm": case(
        arrays(),
        p=maybe(st.sampled_from(["fro", 2, 1, 3, 0.5, 0, math.inf, -math.inf])),
        dim=maybe(dims),
        keepdim=KEEPDIM,
        half=MATRICES,
        exceeds=of_many,
    ),
    "logsumexp": case(arrays(high=40), dim=lambda x: dims(x).filter(lambda d: d not in (None, ())), keepdim=KEEPDIM),
    "cumsum": case(arrays(), dim=dim, half=MATRICES, refuses=ONE_BOOL),
    "cumsum: of a type": case(
        arrays(), dim=dim, dtype=DTYPES, half=MATRICES, function=lambda ops, x, **how: ops.cumsum(x, **how)
    ),
    **{name: case(APART, dim=maybe(dim), keepdim=KEEPDIM) for name in ("argmax", "argmin")},
    **{name: case(APART, dim=maybe(dim), keepdim=KEEPDIM, exceeds=keeps_all) for name in ("max", "min")},
    "topk": case(
        APART,
        k=lambda x: mostly(st.integers(1, min(x.shape or (1,))), st.integers(0 if x.shape else 1, 5)),
        dim=maybe(dim),
        largest=maybe(BOOLS),
    ),
    **{name: case(APART, dim=maybe(dim), descending=maybe(BOOLS)) for name in ("sort", "argsort")},
}
