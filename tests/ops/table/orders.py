"""Operations that put elements in order, look for them, and join what comes to one place."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from tests.ops.calls import (
    BOOLS,
    DTYPES,
    FLOAT,
    FLOATS,
    KEEPDIM,
    MATRICES,
    NUMBERS,
    POSITIVE,
    WHOLE,
    Array,
    arrays,
    case,
    dim,
    exactly,
    maybe,
    mostly,
    other,
    weights,
)
from tests.ops.table.places import summed
from tests.ops.table.reductions import APART, ONE_BOOL, keeps_all

REDUCTIONS = st.sampled_from(["sum", "prod", "mean", "amax", "amin", "median"])
SHARES = st.sampled_from([0.5, 0.0, 0.25, 0.3, 1.0])
HOW_BETWEEN = {
    "dim": maybe(dim),
    "keepdim": KEEPDIM,
    "interpolation": maybe(st.sampled_from(["linear", "lower", "higher", "nearest", "midpoint", "cubic"])),
}


def _in_order(x: Any) -> Any:
    return x.sort(-1)[0]


def _with_gaps(x: Any) -> Any:
    """Return numbers with NaN in place of 0."""
    return x.float() / x.float() * x.float()


@st.composite
def searched(draw: Any) -> Any:
    """A sequence and what is looked for in it, of one type."""
    kind = draw(st.sampled_from(NUMBERS))
    before = draw(st.sampled_from([(), (2,), (2, 3)]))
    sequence = draw(exactly(*before, draw(st.integers(1, 9)), kinds=[kind]))
    alike = draw(exactly(*before, draw(st.integers(1, 4)), kinds=[kind]))
    return [sequence, alike if before else draw(exactly(kinds=[kind]) | exactly(2, 2, kinds=[kind]))]


def rows(x: Array) -> Any:
    """Rows as long as those of another tensor, with one to three of them."""
    return st.integers(1, 3).flatmap(lambda n: exactly(*x.shape[:-2], n, x.shape[-1], kinds=[x.kind]))


CASES = {
    "msort": case(arrays(shape=(1, 2, 3), distinct=True)),
    "kthvalue": case(
        APART,
        k=lambda x: mostly(st.integers(1, min(x.shape or (1,))), st.integers(0, 5)),
        dim=maybe(dim),
        keepdim=KEEPDIM,
    ),
    **{name: case(APART, dim=maybe(dim), keepdim=KEEPDIM, exceeds=keeps_all) for name in ("median", "nanmedian")},
    **{
        f"{name}: what is none": case(
            arrays(WHOLE, (1, 2), low=-1, high=2),
            dim,
            function=lambda ops, x, d, name=name: getattr(ops, name)(_with_gaps(x), d)[0],
        )
        for name in ("median", "nanmedian")
    },
    **{name: case(arrays(FLOAT), SHARES, **HOW_BETWEEN, half=MATRICES) for name in ("quantile", "nanquantile")},
    **{
        f"{name}: of several": case(
            arrays(FLOAT), weights(2, low=0, high=1), dim=maybe(dim), keepdim=KEEPDIM, half=MATRICES
        )
        for name in ("quantile", "nanquantile")
    },
    **{
        f"{name}: what is none": case(
            arrays(WHOLE, (1, 2), low=-1, high=2),
            SHARES,
            dim=maybe(dim),
            function=lambda ops, x, q, dim=None, name=name: getattr(ops, name)(_with_gaps(x), q, dim),
        )
        for name in ("quantile", "nanquantile")
    },
    "mode": case(arrays(WHOLE, low=-2, high=2), dim=maybe(dim), keepdim=KEEPDIM),
    # -- running results
    "cumprod": case(
        arrays(low=-2, high=2),
        dim=dim,
        dtype=maybe(DTYPES),
        half=MATRICES,
        refuses={"cumprod of a bool tensor": lambda c: c.arguments.get("dtype") is torch.bool, **ONE_BOOL},
        exceeds=lambda c: c.spelling == ".{}_" and "dtype" in c.arguments,
    ),
    **{name: case(arrays(), dim=dim) for name in ("cummax", "cummin")},
    **{
        f"{name}: what is none": case(
            arrays(WHOLE, (1, 2), low=-1, high=2),
            dim,
            function=lambda ops, x, d, name=name: tuple(getattr(ops, name)(_with_gaps(x), d)),
        )
        for name in ("cummax", "cummin")
    },
    "logcumsumexp": case(arrays(FLOATS, high=40), dim=dim, half=MATRICES),
    # -- what is looked for
    "searchsorted": case(
        searched(),
        right=maybe(BOOLS),
        side=maybe(st.sampled_from(["left", "right"])),
        out_int32=maybe(BOOLS),
        function=lambda ops, given, **how: ops.searchsorted(_in_order(given[0]), given[1].to(given[0].dtype), **how),
    ),
    "searchsorted: by an order": case(
        exactly(2, 5, kinds=FLOAT, distinct=True),
        exactly(2, 3, kinds=FLOAT),
        function=lambda ops, a, v: ops.searchsorted(a, v, sorter=ops.argsort(a)),
    ),
    "bucketize": case(
        arrays(NUMBERS),
        arrays(NUMBERS, (1,)),
        right=maybe(BOOLS),
        out_int32=maybe(BOOLS),
        function=lambda ops, x, b, **how: ops.bucketize(x, _in_order(b), **how),
    ),
    "isin": case(
        arrays(WHOLE, low=-2, high=2),
        other(WHOLE, st.integers(-2, 2), low=-2, high=2),
        assume_unique=maybe(st.just(False)),
        invert=maybe(BOOLS),
    ),
    "histc": case(
        arrays(FLOAT),
        bins=maybe(st.integers(1, 6)),
        min=maybe(st.sampled_from([-1, 0, -2.5])),
        max=maybe(st.sampled_from([2, 0, -1.5])),
    ),
    # -- what comes to one place
    "scatter: joined": case(
        arrays(shape=(1, 2, 3), **POSITIVE),
        lambda x: summed(x, False),
        reduce=st.sampled_from(["add", "multiply"]),
        half=MATRICES,
    ),
    "scatter_reduce": case(
        arrays(shape=(1, 2, 3), **POSITIVE),
        lambda x: summed(x, False),
        reduce=REDUCTIONS,
        include_self=maybe(BOOLS),
        half=MATRICES,
    ),
    "index_reduce": case(
        arrays(shape=(1, 2, 3), **POSITIVE),
        lambda x: summed(x, True),
        reduce=REDUCTIONS,
        include_self=maybe(BOOLS),
        half=MATRICES,
        exceeds=lambda c: c.arrays[0].kind == "bool",
    ),
    "cdist": case(
        arrays(FLOAT, (2, 3)),
        rows,
        p=maybe(st.sampled_from([1.0, 3.0, 0.5, 0.0, float("inf"), -1.0])),
        half=MATRICES,
    ),
    "cdist: broadcast": case(exactly(2, 1, 3, 4, kinds=FLOAT), exactly(3, 2, 4, kinds=FLOAT), half=MATRICES),
}
