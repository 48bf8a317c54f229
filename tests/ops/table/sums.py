"""Operations that add up products, differences and areas, and tensors of numbers that follow a formula."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import strategies as st

from tests.helpers import TORCH
from tests.ops.calls import (
    BOOL,
    BOOLS,
    DTYPES,
    FACTORS,
    FLOAT,
    FLOATS,
    KEEPDIM,
    MATRICES,
    NUMBERS,
    SCALARS,
    WHOLE,
    Array,
    Case,
    arrays,
    broadcasting,
    case,
    dim,
    dims,
    exactly,
    maybe,
    mostly,
    shapes,
)
from tests.ops.table.creation import SIZES, made
from tests.ops.table.reductions import of_many, too_few

NUMBER = FACTORS.filter(lambda factor: factor is not True)
SCALED = {"beta": maybe(NUMBER | st.just(0)), "alpha": maybe(NUMBER)}
ORDERS = st.sampled_from([2, 1, 3, 0.5, 0, math.inf, -math.inf])
OF_MATRICES = st.sampled_from(["fro", 1, -1, math.inf, -math.inf, 2, "nuc"])
SINGULAR = {"needs singular values": lambda c: c.arguments.get("ord") in (2, "nuc")}


def added(
    name: str, result: tuple[int, ...], first: tuple[int, ...], second: tuple[int, ...], less: bool = True
) -> Case:
    """beta · input + alpha · a product."""
    return case(
        exactly(*result, kinds=FLOAT) | exactly(*result[-1:] if less else result, kinds=FLOAT),
        mostly(exactly(*first, kinds=FLOAT), exactly(*first, 2, kinds=FLOAT)),
        exactly(*second, kinds=FLOAT),
        half=MATRICES,
        **SCALED,
    )


def of_linalg(name: str, *operands: Any, **arguments: Any) -> Case:
    return case(*operands, function=lambda ops, *given, **how: getattr(ops.linalg, name)(*given, **how), **arguments)


@st.composite
def contracted(draw: Any) -> list[Any]:
    """Two tensors and the dimensions over which they are summed up."""
    n = draw(st.integers(0, 2))
    shared = draw(shapes(n))
    before, after = draw(shapes(0, 1, 2)), draw(shapes(0, 1))
    return [draw(exactly(*before, *shared)), draw(exactly(*shared, *after)), n]


def threes(x: Array) -> Any:
    return exactly(*x.shape, kinds=[x.kind]) | arrays([x.kind], st.just((*x.shape[:-1], 3)))


def _of_vectors(c: Any) -> bool:
    """Whether a norm is one of vectors: along one dimension, named or the only one."""
    along, n = c.arguments.get("dim"), c.arrays[0].ndim
    return n == 1 if along is None else isinstance(along, int) or len(along) == 1


def squares() -> Any:
    """Square matrices that are far from singular."""
    sides = st.sampled_from([(1, 1), (2, 2), (3, 3), (2, 3, 3), (2, 2, 2), (4, 4), (2, 4, 4), (2, 3)])
    return sides.flatmap(lambda shape: exactly(*shape, kinds=FLOAT, distinct=True, low=-3, high=4))


def _zeros(place: Any, name: str) -> Any:
    """Return a function that makes what nobody asked for the content of; in torch zeros, as here."""
    is_torch = place is TORCH or isinstance(place, torch.Tensor)
    return getattr(place, name.replace("empty", "zeros") if is_torch else name)


WITH_THREE = st.tuples(st.integers(1, 2), st.sampled_from([3, 3, 2]))
BACK = {"correction": maybe(st.integers(0, 2)), "keepdim": KEEPDIM}

CASES = {
    "baddbmm": added("baddbmm", (2, 3, 5), (2, 3, 4), (2, 4, 5)),
    "addbmm": added("addbmm", (3, 5), (2, 3, 4), (2, 4, 5), less=False),
    "addmv": added("addmv", (3,), (3, 4), (4,)),
    "addr": added("addr", (3, 4), (3,), (4,)),
    "addr: of truths": case(
        exactly(3, 4, kinds=BOOL), exactly(3, kinds=BOOL), exactly(4, kinds=BOOL), beta=maybe(BOOLS), alpha=maybe(BOOLS)
    ),
    "ger": case(arrays(shape=(1,)), arrays(shape=(1,))),
    "vdot": case(exactly(3), lambda x: exactly(3, kinds=[x.kind]), half=MATRICES),
    "inner": case(arrays(FLOATS, (0, 1, 2)), lambda x: exactly(2, *x.shape[-1:], kinds=[x.kind]), half=MATRICES),
    "tensordot": case(
        contracted(),
        function=lambda ops, given: ops.tensordot(given[0], given[1].to(given[0].dtype), given[2]),
        half=MATRICES,
    ),
    "tensordot: by lists": case(
        exactly(2, 3, 4, kinds=FLOAT),
        exactly(4, 2, 5, kinds=FLOAT),
        st.sampled_from([([0], [1]), ([2, 0], [0, 1]), ((-1,), (0,)), ([1], [0])]),
        function=lambda ops, a, b, d: ops.tensordot(a, b, d),
        half=MATRICES,
    ),
    "tensordot: of 1": case(
        exactly(1, 3, kinds=FLOAT),
        exactly(2, 1, kinds=FLOAT),
        st.sampled_from([([0], [0]), ([1], [1]), ([0, 1], [0, 1])]),
        function=lambda ops, a, b, d: ops.tensordot(a, b, d),
        half=MATRICES,
    ),
    "kron": case(arrays(), arrays(shape=(0, 1, 2))),
    "cross": case(arrays(NUMBERS, WITH_THREE), threes, dim=maybe(st.sampled_from([-1, 1, 0])), half=MATRICES),
    "linalg.cross": of_linalg("cross", arrays(NUMBERS, WITH_THREE), threes, half=MATRICES),
    "linalg.vecdot": of_linalg(
        "vecdot", arrays(FLOATS, (1, 2, 3)), lambda x: exactly(*x.shape, kinds=[x.kind]), half=MATRICES
    ),
    "norm: of a type": case(
        arrays(FLOATS),
        dim=maybe(dims),
        dtype=st.sampled_from([torch.float32, torch.float16]),
        half=MATRICES,
        exceeds=of_many,
    ),
    "linalg.vector_norm": of_linalg(
        "vector_norm", arrays(), ord=maybe(ORDERS), dim=maybe(dims), keepdim=KEEPDIM, half=MATRICES
    ),
    "linalg.matrix_norm": of_linalg(
        "matrix_norm",
        arrays(shape=(1, 2, 3)),
        ord=maybe(OF_MATRICES),
        keepdim=KEEPDIM,
        half=MATRICES,
        refuses=SINGULAR,
    ),
    "linalg.norm": of_linalg(
        "norm",
        arrays(shape=(1, 2, 3)),
        ord=maybe(OF_MATRICES),
        dim=maybe(dims),
        keepdim=KEEPDIM,
        half=MATRICES,
        refuses={"needs singular values": lambda c: c.arguments.get("ord") in (2, "nuc") and not _of_vectors(c)},
    ),
    "linalg.diagonal": of_linalg("diagonal", arrays(shape=(2, 3)), offset=maybe(st.integers(-2, 2))),
    "linalg.matmul": of_linalg("matmul", exactly(2, 3, kinds=FLOAT), exactly(3, 2, kinds=FLOAT), half=MATRICES),
    "linalg.multi_dot": of_linalg(
        "multi_dot",
        st.sampled_from(
            [((2, 3), (3, 4), (4, 1)), ((3,), (3, 2)), ((2, 3), (3,)), ((3,), (3, 3), (3,)), ((2, 3), (2,))]
        )
        .flatmap(lambda found: st.tuples(*(exactly(*shape, kinds=FLOAT) for shape in found)))
        .map(list),
        half=2e-2,
    ),
    "linalg.matrix_power": of_linalg(
        "matrix_power", exactly(2, 3, 3, kinds=FLOAT) | exactly(2, 3, kinds=FLOAT), st.integers(0, 5), half=5e-2
    ),
    "linalg.det": of_linalg("det", squares(), half=5e-2),
    "linalg.inv": case(squares(), function=lambda ops, x: ops.linalg.inv(x + ops.eye(x.shape[-1], dtype=x.dtype) * 16)),
    "linalg.solve_triangular": case(
        exactly(2, 5, 5, kinds=FLOAT),
        exactly(5, 5, kinds=FLOAT),
        upper=BOOLS,
        left=maybe(BOOLS),
        unitriangular=maybe(BOOLS),
        function=lambda ops, a, b, **how: ops.linalg.solve_triangular(a / 8 + ops.eye(5, dtype=a.dtype) * 4, b, **how),
        half=MATRICES,
    ),
    "det": case(squares(), half=5e-2),
    "inverse": case(squares(), function=lambda ops, x: ops.inverse(x + ops.eye(x.shape[-1], dtype=x.dtype) * 16)),
    "matrix_power": case(exactly(2, 3, 3, kinds=FLOAT) | exactly(2, 3, kinds=FLOAT), st.integers(0, 4), half=5e-2),
    **{
        name: case(arrays(), dim=maybe(dims), **BACK, half=MATRICES, refuses={"the variance of": too_few})
        for name in ("var_mean", "std_mean")
    },
    "aminmax": case(arrays(), dim=maybe(dim), keepdim=KEEPDIM),
    "nansum": case(  # what infinity is as a whole number is open in torch
        arrays(),
        dim=maybe(dims),
        keepdim=KEEPDIM,
        dtype=maybe(DTYPES.filter(lambda dtype: dtype.is_floating_point)),
        half=MATRICES,
    ),
    "nanmean": case(arrays(), dim=maybe(dims), keepdim=KEEPDIM, half=MATRICES),
    **{
        f"{name}: what is none": case(
            arrays(WHOLE, low=0, high=2), function=lambda ops, x, name=name: getattr(ops, name)(x / x, -1)
        )
        for name in ("nansum", "nanmean")
    },
    "dist": case(arrays(FLOATS), lambda x: arrays([x.kind], broadcasting(x.shape)), p=maybe(ORDERS), half=MATRICES),
    "pdist": case(arrays(FLOAT, (1, 2)), p=maybe(st.sampled_from([2, 1, 3, 0, math.inf])), half=MATRICES),
    "diff": case(arrays(), n=maybe(st.integers(0, 2)), dim=maybe(dim)),
    "diff: of none and more": case(arrays(shape=(1, 2)), function=lambda ops, x: ops.diff(x, 0, prepend=x)),
    "diff: of more": case(
        arrays(shape=(1, 2)),
        function=lambda ops, x: [ops.diff(x, prepend=x), ops.diff(x, dim=0, append=x, prepend=x)],
    ),
    **{
        name: case(arrays(NUMBERS, (1, 2, 3)), dim=maybe(dim), dx=maybe(st.sampled_from([0.5, 2])), half=MATRICES)
        for name in ("trapezoid", "trapz", "cumulative_trapezoid")
    },
    "trapezoid: at places": case(
        arrays(NUMBERS, (1, 2)),
        lambda x: exactly(*x.shape, kinds=FLOAT) | exactly(x.shape[-1], kinds=FLOAT),
        half=MATRICES,
    ),
    # -- numbers that follow a formula
    **{
        name: made(name, mostly(st.integers(1, 9), st.just(0)), periodic=maybe(BOOLS), dtype=maybe(DTYPES))
        for name in ("hann_window", "hamming_window", "bartlett_window", "kaiser_window")
    },
    "blackman_window": case(  # whose ends come near 0
        st.integers(1, 9), periodic=maybe(BOOLS), function=lambda ops, n, **how: ops.blackman_window(n, **how) + 1
    ),
    "logspace": made(
        "logspace",
        st.sampled_from([0, -1.0, 0.5]),
        st.sampled_from([1, 2.0]),
        st.integers(1, 5),
        base=maybe(st.sampled_from([2.0, 3])),
        dtype=maybe(DTYPES),
    ),
    "scalar_tensor": made("scalar_tensor", SCALARS, dtype=maybe(DTYPES)),
    "empty": case(SIZES, dtype=maybe(DTYPES), function=lambda ops, *given, **how: _zeros(ops, "empty")(*given, **how)),
    "empty_like": case(
        arrays(), dtype=maybe(DTYPES), function=lambda ops, x, **how: _zeros(ops, "empty_like")(x, **how)
    ),
    "new_empty": case(arrays(), SIZES, function=lambda ops, x, size: _zeros(x, "new_empty")(size)),
    "upsample": case(
        exactly(1, 2, 3, 4), scale_factor=st.just(2), mode=st.sampled_from(["nearest", "bilinear"]), half=MATRICES
    ),
    "upsample_nearest": case(exactly(1, 2, 3, 4), size=st.sampled_from([5, (2, 3)])),
    "upsample_bilinear": case(exactly(1, 2, 3, 4), size=st.sampled_from([5, (2, 3)]), half=MATRICES),
}
