"""Operations that multiply matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.calls import (
    FACTORS,
    FLOAT,
    FLOATS,
    MATRICES,
    NUMBERS,
    Array,
    Case,
    arrays,
    broadcasting,
    case,
    exactly,
    maybe,
    mostly,
    weights,
)

INTEGER_PRODUCTS = {"takes floating-point input": lambda c: c.whole}


@st.composite
def factor_of(draw: Any, x: Array, ndims: tuple[int, ...] = (1, 2, 3), kinds: Any = FLOATS) -> Array:
    """What a tensor can be multiplied with as a matrix."""
    length = draw(mostly(st.just(x.shape[-1]), st.integers(1, 4)))
    n = draw(st.sampled_from(ndims))
    columns = draw(st.integers(1, 4))
    batch = draw(broadcasting(x.shape[:-2])) if n > 2 else ()
    if n > 2 and not batch:
        batch = (draw(st.integers(1, 3)),)
    return draw(exactly(*((length,) if n == 1 else (*batch, length, columns)), kinds=kinds))


def product(first: int, second: int, kinds: Any = FLOATS) -> Case:
    return case(
        arrays(kinds, (first,)),
        lambda x: factor_of(x, (second,), kinds=[x.kind]),
        half=MATRICES,
        refuses=INTEGER_PRODUCTS,
    )


EQUATIONS = [
    ("bij,bkj->bik", "xx"),
    ("bij->bji", "x"),
    ("bij->", "x"),
    ("bij->j", "x"),
    ("ij, kj", "yy"),
    ("...ij,...kj->...ik", "xx"),
    ("i,j->ij", "zz"),
    ("Bij,Bij->B", "xx"),
    ("ij,kj,lj->ikl", "yyy"),
    ("...i,...i", "xx"),
    ("bij,j->bi", "xz"),
    ("bij,ij->b", "xy"),
    ("...ij,j", "xz"),
    ("bij,ij", "xx"),
    ("ij->k", "y"),
]


def einsum(ops: Any, x: Any, equation: tuple[str, str]) -> Any:
    operands = {"x": x, "y": x[0], "z": x[0, 0]}
    return ops.einsum(equation[0], *(operands[name] for name in equation[1]))


CASES = {
    "matmul": case(
        arrays(NUMBERS, (1, 2, 3)), lambda x: factor_of(x, kinds=[x.kind]), half=MATRICES, refuses=INTEGER_PRODUCTS
    ),
    "mm": product(2, 2),
    "mv": product(2, 1),
    "dot": product(1, 1),
    "bmm": case(arrays(FLOATS, (3,)), lambda x: exactly(x.shape[0], x.shape[2], 2, kinds=[x.kind]), half=MATRICES),
    "grouped_mm": case(
        exactly(7, 8, kinds=FLOAT),
        exactly(3, 8, 8, kinds=FLOAT),
        offs=st.sampled_from([(2, 2, 7), (0, 3, 7), (7, 7, 7), (1, 4, 7)]).map(lambda ends: np.array(ends, np.int32)),
        half=MATRICES,
    ),
    "outer": case(arrays(shape=(1,)), arrays(shape=(1,))),
    "addmm": case(
        exactly(2, 3, kinds=FLOAT) | exactly(3, kinds=FLOAT) | exactly(1, kinds=FLOAT),
        exactly(2, 4, kinds=FLOAT),
        exactly(4, 3, kinds=FLOAT),
        beta=maybe(FACTORS),
        alpha=maybe(FACTORS),
        half=MATRICES,
    ),
    "einsum": case(arrays(FLOATS, (3,)), st.sampled_from(EQUATIONS), function=einsum, half=MATRICES),
    "linear": case(arrays(FLOAT, (1, 2, 3)), lambda x: weights(3, x.shape[-1]), bias=maybe(weights(3)), half=MATRICES),
    "linear: a vector": case(arrays(FLOAT, (1, 2, 3)), lambda x: weights(x.shape[-1]), half=MATRICES),
    "bilinear": case(
        exactly(2, 3, kinds=FLOAT), exactly(2, 4, kinds=FLOAT), weights(5, 3, 4), bias=maybe(weights(5)), half=MATRICES
    ),
}
