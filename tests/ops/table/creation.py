"""Operations that make tensors, of numbers or of another type."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from tests.helpers import TORCH
from tests.ops.calls import DTYPES, SCALARS, Case, arrays, case, maybe, mostly, other, shapes
from trtnn import get_backend

SIZES = shapes(0, 1, 2)
ENDS = st.integers(-5, 9) | st.sampled_from([0.0, 1.5, 4.0])


def made(name: str, *operands: Any, **arguments: Any) -> Case:
    """A tensor made within a trace; what it adds to an input is not looked at."""
    return case(*operands, **arguments, function=lambda ops, *given, **how: getattr(ops, name)(*given, **how))


def _is_cut(c: Any) -> bool:
    dtype = c.arguments.get("dtype", torch.float32)
    return not dtype.is_floating_point and not all(float(value).is_integer() for value in c.operands)


def _changed(x: Any, name: str, arguments: Any) -> list[Any]:
    return [x, getattr(x, name)(*arguments)]


CASES = {
    **{name: made(name, SIZES, dtype=maybe(DTYPES)) for name in ("zeros", "ones")},
    "full": made("full", SIZES, SCALARS, dtype=maybe(DTYPES)),
    **{name: case(arrays(), dtype=maybe(DTYPES)) for name in ("zeros_like", "ones_like")},
    "full_like": case(arrays(), SCALARS, dtype=maybe(DTYPES)),
    **{name: case(arrays(), SIZES, dtype=maybe(DTYPES)) for name in ("new_zeros", "new_ones")},
    "new_full": case(arrays(), SIZES, SCALARS, dtype=maybe(DTYPES)),
    "arange": made("arange", ENDS),
    "arange: from": made(
        "arange",
        ENDS,
        ENDS,
        mostly(st.sampled_from([1, 2, -1, 0.5, -1.5]), st.just(0)),
        dtype=maybe(DTYPES),
        refuses={"give whole numbers": _is_cut},
    ),
    "linspace": made("linspace", ENDS, ENDS, st.integers(1, 5)),
    "eye": made("eye", st.integers(1, 4), dtype=maybe(DTYPES)),
    "eye: wide": made("eye", st.integers(1, 4), st.integers(1, 4), dtype=maybe(DTYPES)),
    "tensor": made(
        "tensor",
        SCALARS | st.lists(st.integers(-3, 3), min_size=1) | st.lists(st.sampled_from([0.5, 2.0]), min_size=1),
        dtype=maybe(DTYPES),
    ),
    "meshgrid": case(
        arrays(shape=(0, 1)),
        st.integers(1, 3),
        indexing=st.sampled_from(["ij", "xy"]),
        function=lambda ops, x, n, indexing: ops.meshgrid(*[x] * n, indexing=indexing),
    ),
    "cast": case(arrays(), DTYPES, function=lambda ops, x, dtype: x.to(dtype) if ops is TORCH else ops.cast(x, dtype)),
    **{name: case(arrays(), DTYPES) for name in ("to", "type")},
    **{name: case(arrays(), arrays()) for name in ("to: like", "type_as")},
    **{name: case(arrays()) for name in ("int", "float", "bool", "clone", "detach", "contiguous")},
    "byte": case(arrays(low=0)),
    "long": case(arrays(), refuses={"has no int64": lambda _: not get_backend().capabilities.int64}),
    "half": case(arrays(), function=lambda ops, x: x.half().float()),
    **{
        name: case(arrays(), *more, function=lambda ops, x, *given, name=name: _changed(x.clone(), name, given))
        for name, more in {
            "fill_": [SCALARS],
            "zero_": [],
            "copy_": [other()],
            "clip_": [st.just(0), st.just(1)],
        }.items()
    },
}
