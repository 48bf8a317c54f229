"""Operations on each element by itself, and on two operands that broadcast and promote."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from tests.ops.calls import (
    BOOL,
    BOOLS,
    COMPARED,
    EXACT,
    FACTORS,
    FLOAT,
    FLOATS,
    KINDS,
    NUMBERS,
    POSITIVE,
    SCALARS,
    WHOLE,
    Array,
    arrays,
    case,
    maybe,
    mostly,
    other,
)

UNIT = {"low": -0.9, "high": 0.9}
UNARY = {
    **{
        name: case(arrays())
        for name in ("exp", "sin", "cos", "sinh", "cosh", "atan", "asinh", "erf", "square", "abs", "neg", "sign")
    },
    **{name: case(arrays(**POSITIVE)) for name in ("log", "sqrt", "rsqrt", "reciprocal")},
    **{name: case(arrays(**UNIT)) for name in ("asin", "acos", "atanh", "tan")},
    "acosh": case(arrays(low=1.5, high=4)),
    **{name: case(arrays(EXACT)) for name in ("ceil", "floor", "round", "trunc")},
    "round: halves": case(arrays(WHOLE), function=lambda ops, x: ops.round(x / 2)),
    "round: decimals": case(arrays(FLOATS), decimals=st.integers(-1, 3)),
    **{name: case(arrays()) for name in ("isnan", "isinf", "isfinite", "logical_not")},
    **{
        f"{name}: what is none": case(
            arrays(WHOLE, low=-1, high=1), function=lambda ops, x, name=name: getattr(ops, name)(x / x / x)
        )
        for name in ("isnan", "isinf", "isfinite")
    },
    **{
        f"bitwise_{side}_shift": case(arrays(WHOLE, low=-9, high=9), st.sampled_from([0, 1, 5, 30, 31, 40, 70]))
        for side in ("left", "right")
    },
    "bitwise_not": case(
        arrays(WHOLE + BOOL), refuses={"TensorRT has no bitwise arithmetic": lambda c: c.arrays[0].kind in WHOLE}
    ),
}


def _is_truth(value: Any) -> bool:
    return value.kind == "bool" if isinstance(value, Array) else isinstance(value, bool)


def _is_floating(value: Any) -> bool:
    return value.kind in FLOATS if isinstance(value, Array) else isinstance(value, float)


def of_bools(c: Any) -> bool:
    return all(array.kind == "bool" for array in c.arrays)


def either(kinds: Any = KINDS, numbers: Any = SCALARS, **how: Any) -> Any:
    """A first operand; a number leaves the tensor to the second."""
    return mostly(arrays(kinds, **how), numbers)


SEVERAL, NOT_ZERO = {"low": -7.75, "high": 7.75}, {"low": 1, "high": 5}
BITS = {"TensorRT has no bitwise arithmetic": lambda c: not all(_is_truth(value) for value in c.operands)}
TRUTHS = BOOL + WHOLE
BINARY = {
    **{name: case(either(), other(numbers=SCALARS)) for name in ("add", "sub", "mul")},
    **{f"{name}: scaled": case(arrays(), other(numbers=SCALARS), alpha=SCALARS) for name in ("add", "sub")},
    "add: scaled truths": case(arrays(WHOLE), other(BOOL), alpha=st.integers(0, 4)),
    "div": case(either(), other(numbers=FACTORS, **POSITIVE)),
    "div: rounded": case(
        arrays(EXACT, **SEVERAL),
        other(FLOAT + WHOLE, numbers=FACTORS, **NOT_ZERO),
        rounding_mode=mostly(st.sampled_from(["floor", "trunc", None]), st.just("up")),
    ),
    **{
        name: case(first, other(FLOAT + WHOLE, numbers=FACTORS, **NOT_ZERO))
        for first, names in (
            (either(EXACT, **SEVERAL), ("floor_divide", "remainder")),
            (arrays(EXACT, **SEVERAL), ("fmod",)),
        )
        for name in names
    },
    **{name: case(arrays(), other()) for name in ("maximum", "minimum")},
    "max: of two": case(arrays(), other()),
    "min: of two": case(arrays(), other()),
    "pow": case(
        either(**POSITIVE),
        other(numbers=SCALARS, **COMPARED),
        half=5e-3,
        refuses={"pow": lambda c: isinstance(c.operands[1], Array) and not any(map(_is_floating, c.operands))},
    ),
    "pow: of negative numbers": case(arrays(NUMBERS, low=-3, high=-1), st.integers(0, 7), half=1e-2),
    **{
        name: case(either(EXACT, **COMPARED), other(EXACT, numbers=SCALARS, **COMPARED))
        for name in ("eq", "ne", "lt", "le", "gt", "ge")
    },
    **{
        f"{name}: what is none": case(
            arrays(WHOLE, low=-1, high=1),
            st.sampled_from([0, 1, math.inf]),
            function=lambda ops, x, y, name=name: getattr(ops, name)(x / x / x, y),
        )
        for name in ("eq", "ne", "lt", "le", "gt", "ge")
    },
    **{name: case(arrays(**COMPARED), other(**COMPARED)) for name in ("logical_and", "logical_or", "logical_xor")},
    **{
        name: case(either(TRUTHS, BOOLS), other(TRUTHS, numbers=BOOLS | st.integers(0, 3)), refuses=BITS)
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor")
    },
    "where": case(
        arrays(BOOL),
        other(numbers=SCALARS),
        other(numbers=SCALARS),
        function=lambda ops, c, x, y: ops.where(c, x, y),
    ),
    "where: method": case(arrays(), other(BOOL), other(numbers=SCALARS), function=lambda ops, x, c, y: x.where(c, y)),
    "masked_fill": case(arrays(), other(BOOL), SCALARS),
    "clamp": case(
        arrays(),
        min=maybe(st.sampled_from([-1, 0, 0.5, None, True])),
        max=maybe(st.sampled_from([1, 2, 0.5, None])),
        exceeds=of_bools,
    ),
    "clamp: by tensors": case(arrays(), min=maybe(other()), max=maybe(other()), exceeds=of_bools),
    "clip": case(arrays(), st.sampled_from([-1, 0, 0.5]), st.sampled_from([1, 2, 0.5])),
}

CASES = UNARY | BINARY
