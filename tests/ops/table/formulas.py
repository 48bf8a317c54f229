"""Operations on each element by formulas: logarithms, angles, signs, what is not finite, and what lies between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from tests.helpers import FP16_TOLERANCE
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
    Case,
    arrays,
    case,
    exactly,
    maybe,
    mostly,
    other,
    weights,
)
from tests.ops.table import elementwise

UNIT = {"low": 0.1, "high": 0.4}
SMALL = {"low": -0.3, "high": 0.3}


def like(first: Array, **how: Any) -> Any:
    """An operand of the same type, and rarely of another."""
    return mostly(other([first.kind], **how)(first), other(**how)(first))


def of_one_type(name: str, *more: Any, kinds: Any = KINDS, half: float = FP16_TOLERANCE, **how: Any) -> Case:
    return case(arrays(kinds, **COMPARED), lambda x, *_: like(x, **COMPARED), *more, half=half, **how)


# Of each further name, the row that it has under the first.
ALIASES = {
    "absolute": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh", "arctan": "atan",
    "arctanh": "atanh", "divide": "div", "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le",
    "multiply": "mul", "negative": "neg", "not_equal": "ne", "subtract": "sub", "fix": "trunc", "sgn": "sign",
}  # fmt: skip
# What is infinite, NaN, or of either sign, out of whole numbers from -1 to 1.
ODD = arrays(WHOLE, low=-1, high=1)


def _odd(name: str, *more: Any) -> Case:
    return case(ODD, ODD, function=lambda ops, x, y: getattr(ops, name)(x / x / x, y / y / y, *more))


def _of_tensors(row: Case) -> Case:
    """Return a row whose first operand is a tensor: what stands for an operator is called by name alone."""
    first = row.operands[0] if len(row.operands) == 1 else arrays(EXACT, **COMPARED)
    return replace(row, operands=(first, *row.operands[1:]))


def _of_zeros(ops: Any, name: str, zeros: Any) -> Any:
    """A function of zeros of either sign."""
    function = getattr(ops, name)
    return function(zeros) if name == "signbit" else [function(1.0 - zeros, zeros), function(zeros, zeros - 1.0)]


CASES = {
    **{alias: _of_tensors(elementwise.CASES[name]) for alias, name in ALIASES.items()},
    "true_divide": case(arrays(), other(numbers=FACTORS, **POSITIVE)),
    "rsub": case(arrays(), other(numbers=SCALARS), alpha=maybe(st.integers(1, 3))),
    "positive": case(arrays()),
    **{name: case(arrays()) for name in ("conj", "conj_physical", "resolve_conj", "resolve_neg")},
    "real": case(arrays(), function=lambda ops, x: ops.real(x)),
    "real: property": case(arrays(), function=lambda ops, x: x.real),
    "is_complex": case(arrays(), function=lambda ops, x: x * int(ops.is_complex(x))),
    "is_tensor": case(arrays(), function=lambda ops, x: x * int(ops.is_tensor(x)) + int(ops.is_tensor(1))),
    "numel": case(arrays(), function=lambda ops, x: x * ops.numel(x)),
    "broadcast_shapes": case(
        arrays(shape=(0, 1)), function=lambda ops, x: x.expand(ops.broadcast_shapes((2, 1), x.shape, 1))
    ),
    "clamp_min": case(arrays(), other(numbers=SCALARS), exceeds=elementwise.of_bools),
    "clamp_max": case(arrays(), other(numbers=SCALARS), exceeds=elementwise.of_bools),
    **{name: case(arrays()) for name in ("expm1", "exp2", "deg2rad", "rad2deg", "erfc", "signbit", "isreal")},
    "sinc": case(arrays(), function=lambda ops, x: ops.sinc(x) + 1),  # of whole numbers it comes near 0
    "sinc: method": case(arrays(FLOATS), function=lambda ops, x: x.sinc()),
    "expm1: near 0": case(arrays(FLOAT, **SMALL)),
    "log1p": case(arrays(low=-0.9, high=5)),
    "log1p: near 0": case(arrays(FLOAT, **SMALL)),
    **{name: case(arrays(**POSITIVE)) for name in ("log2", "log10")},
    "logit": case(arrays(FLOATS, **UNIT), eps=maybe(st.sampled_from([0.01, 0.2])), half=1e-2),
    "logit: of whole numbers": case(arrays(WHOLE + BOOL), eps=st.just(0.1)),
    "xlogy": case(arrays(), other(numbers=st.integers(1, 4), **POSITIVE)),
    **{name: of_one_type(name, half=5e-3) for name in ("logaddexp", "logaddexp2", "hypot")},
    "atan2": case(arrays(), other()),
    "arctan2": case(arrays(), other()),
    **{f"{name}: what is none": _odd(name) for name in ("atan2", "hypot", "logaddexp", "fmax", "fmin")},
    "copysign": case(arrays(), other(numbers=SCALARS)),
    **{
        f"{name}: by the sign of 0": case(
            ODD, st.sampled_from([1.0, -1.0]), function=lambda ops, x, y, name=name: _of_zeros(ops, name, x * y * 0.0)
        )
        for name in ("copysign", "atan2", "signbit")
    },
    "heaviside": of_one_type("heaviside"),
    "frac": case(arrays()),
    "ldexp": case(arrays(FLOAT), other(("int32", *FLOAT))),
    **{name: case(arrays(), other(), exceeds=elementwise.of_bools) for name in ("fmax", "fmin")},
    **{name: case(arrays()) for name in ("isposinf", "isneginf")},
    **{
        f"{name}: what is none": case(ODD, function=lambda ops, x, name=name: getattr(ops, name)(x / x / x))
        for name in ("isposinf", "isneginf", "nan_to_num", "log1p", "expm1", "erfc", "exp2")
    },
    "nan_to_num": case(arrays()),
    "nan_to_num: by others": case(
        ODD,
        st.none() | st.sampled_from([0.0, 2.5, 3]),
        maybe(st.none() | st.just(7.0)),
        maybe(st.none() | st.just(-7.0)),
        function=lambda ops, x, *values: ops.nan_to_num(x / x / x, *(v for v in values if isinstance(v, (float, int)))),
    ),
    "isclose": of_one_type(
        "isclose",
        kinds=EXACT,
        rtol=maybe(st.sampled_from([0, 0.5, 0.1, -1.0])),
        atol=maybe(st.sampled_from([0, 1.0])),
        equal_nan=maybe(BOOLS),
    ),
    "isclose: what is none": case(
        ODD, ODD, BOOLS, function=lambda ops, x, y, nan: ops.isclose(x / x / x, y / y / y, equal_nan=nan)
    ),
    "fake_quantize_per_tensor_affine": case(
        arrays(FLOATS), st.sampled_from([0.25, 0.1, 0.037]), st.integers(-3, 4), st.just(-8), st.sampled_from([7, 20])
    ),
    "fake_quantize_per_tensor_affine: held": case(
        arrays(FLOATS),
        weights(1, **POSITIVE),
        exactly(1, kinds=("int32",), weights=True, low=-8, high=7),
        st.just(-8),
        st.just(7),
        function=lambda ops, *args: ops.fake_quantize_per_tensor_affine(*args),
    ),
    "fake_quantize_per_channel_affine": case(
        arrays(FLOATS, (1, 2, 3)),
        lambda x: weights(x.shape[0], **POSITIVE),
        lambda x, _: exactly(x.shape[0], kinds=("int32", "float32"), weights=True, low=-2.75, high=3.25),
        st.just(0),
        st.sampled_from([-8, -4]),
        st.just(7),
    ),
    "lerp": case(
        arrays(),
        like,
        lambda x, _: mostly(st.sampled_from([0.25, 0.75, 0.5, 2.0, 0]), like(x)),
        half=1e-2,
    ),
    **{
        name: case(
            arrays(NUMBERS),
            other(NUMBERS),
            other(NUMBERS, **POSITIVE),
            value=maybe(st.sampled_from([2, -1, 0.5])),
            half=1e-2,
        )
        for name in ("addcmul", "addcdiv")
    },
}
