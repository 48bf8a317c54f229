"""Numbers where formulas lose them: large quotients, small sums, half precision, and what is not finite."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import trtnn
from tests.helpers import TORCH, layers, load_random, message_of, numbers, run, strongly_typed, trace
from trtnn import Dim, Input
from trtnn import functional as F
from trtnn.dtypes import float16
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from trtnn.reference.registry import LAYERS

INF, NAN = math.inf, math.nan
SPECIAL = np.array([0.0, -0.0, 1, -1, 5, -5, INF, -INF, NAN, 1e8, -1e8, 1e-30, 2.0**24 + 2], np.float32)
HALVES = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)


def spread(count: int, low: float, high: float, seed: int = 0) -> np.ndarray:
    """Numbers of every magnitude from 2^low to 2^high, of either sign."""
    generator = np.random.default_rng(seed)
    return (np.exp2(generator.uniform(low, high, count)) * generator.choice([-1, 1], count)).astype(np.float32)


def beside_multiples(divisor: float) -> np.ndarray:
    """Multiples of a number, and the numbers next to them."""
    with np.errstate(over="ignore"):
        multiples = (np.float32(divisor) * np.arange(-40, 41)).astype(np.float32)
    return np.concatenate([multiples, *(np.nextafter(multiples, np.float32(end)) for end in (-INF, INF))])


def true_remainder(a: float, b: float, of: Any) -> float:
    """What Python makes of exact numbers, rounded once; of other numbers NaN, or ``a`` by infinity."""
    if math.isnan(a) or math.isnan(b) or math.isinf(a) or b == 0:
        return NAN
    rest = math.fmod(a, b)
    return rest + b if of is F.remainder and rest and (rest < 0) != (b < 0) else rest


def expected_rests(a: np.ndarray, b: Any, of: Any) -> np.ndarray:
    pairs = np.broadcast_arrays(a.astype(np.float64), np.asarray(b, np.float32).astype(np.float64))
    return np.array([true_remainder(float(x), float(y), of) for x, y in zip(*pairs, strict=True)]).astype(np.float32)


def in_fp32(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """FLOOR_DIV of integers as TensorRT 10.7 was reported to compute it."""
    return torch.floor(a.float() / b.float()).double().to(a.dtype)


def rough(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """DIV of floats, two units in the last place off."""
    quotient = a / b
    two = torch.from_numpy(np.random.default_rng(0).choice([-2.0, 0.0, 2.0], quotient.shape)).float() * 2.0**-24
    return torch.where(quotient.isfinite(), quotient + quotient * two, quotient)


@pytest.fixture
def replace(monkeypatch):
    """Return a function that gives the reference another elementwise operation."""

    def change(name: str, function: Any) -> None:
        right = LAYERS["ELEMENTWISE"]
        monkeypatch.setitem(LAYERS, "ELEMENTWISE", lambda layer: function if layer.op.name == name else right(layer))

    return change


DIVISORS = [6.283185307179586, 3.0, -3.0, 0.1, 1.0, 16.0, -4.0, 0.25, 1e10, 1e38, 1.9999999, 4097.0, 1e-25, INF, -INF]


@pytest.mark.parametrize("of", [F.remainder, F.fmod], ids=["remainder", "fmod"])
@pytest.mark.parametrize("divisor", [*DIVISORS, 0.0, NAN])
def test_remainders_by_a_number_are_exact(divisor, of):
    near = beside_multiples(divisor) if math.isfinite(divisor) else SPECIAL
    a = np.concatenate([spread(2000, -60, 126.9), spread(1000, -3, 30), SPECIAL, near[np.abs(near) < 1e38]])
    np.testing.assert_array_equal(run(lambda x: of(x, divisor), a), expected_rests(a, divisor, of))


@pytest.mark.parametrize("of", [F.remainder, F.fmod], ids=["remainder", "fmod"])
def test_remainders_by_a_tensor_are_exact_or_nan(of):
    by = np.where(np.float32(1e-30) == SPECIAL, np.float32(1e-3), SPECIAL)
    pairs = np.repeat(SPECIAL, len(by)), np.tile(by, len(SPECIAL))
    a = np.concatenate([spread(4000, -40, 40), spread(2000, 50, 126.9, 1), spread(2000, -3, 3, 2), pairs[0]])
    b = np.concatenate([spread(4000, -20, 20, 3), spread(2000, 70, 114, 4), spread(2000, -3, 3, 5), pairs[1]])
    np.testing.assert_array_equal(run(of, a, b), expected_rests(a, b, of))
    generator = np.random.default_rng(0)  # just above the half of 64 divisors, which 12 bits would round up to 2
    b = (2 - generator.integers(2, 2048, 5000) * 2.0**-23).astype(np.float32)
    a = (b / 2 + generator.integers(0, 2000, 5000) * 2.0**-24).astype(np.float32)
    np.testing.assert_array_equal(run(of, a, b / 64), expected_rests(a, b / 64, of))
    beyond = run(of, np.float32([1e38, 1e30, 1.0, 1e37, 1e30]), np.float32([0.01, 0.01, 1e-30, 1e36, 1e36]))
    np.testing.assert_array_equal(beyond, np.float32([NAN, NAN, NAN, NAN, 1e30]))


@strongly_typed
@pytest.mark.parametrize("of", [F.remainder, F.fmod], ids=["remainder", "fmod"])
@pytest.mark.parametrize("divisor", [1e-4, 3.0, -0.3, 6.283185307179586, 6e-8, None])
def test_remainders_in_half_are_what_torch_gives(divisor, of):
    theirs, other = getattr(torch, of.__name__), np.random.default_rng(0).permutation(HALVES)
    inputs = [HALVES, other] if divisor is None else [HALVES]
    for dtype in (torch.float16, torch.bfloat16):
        tensors = [torch.from_numpy(array).to(dtype) for array in inputs]
        expected = theirs(*tensors, *([] if divisor is None else [divisor])).float().numpy()
        if dtype is torch.bfloat16:  # which holds smaller numbers than the steps are for
            expected = np.where(np.isnan(expected), NAN, expected)
        given = [] if divisor is None else [divisor]
        result = run(lambda *xs, dtype=dtype, given=given: of(*(x.to(dtype) for x in xs), *given).float(), *inputs)
        np.testing.assert_array_equal(result, expected)


@strongly_typed
def test_remainders_in_a_half_network_of_what_enters_in_fp32():
    a, b = spread(2000, -3, 12), spread(2000, -3, 3, 1)  # neither is rounded on the way
    expected = expected_rests(a, b, F.fmod).astype(np.float16)
    np.testing.assert_array_equal(run(F.fmod, a, b, fp16=True), expected)


@pytest.mark.parametrize("divisor", [3.0, 0.1, -0.7, 2.0, None])
def test_remainders_bear_a_division_that_rounds_otherwise(divisor, replace):
    replace("DIV", rough)
    a, b = np.concatenate([spread(4000, -10, 60), beside_multiples(divisor or 3.0)]), spread(4243, -4, 4, 1)
    if divisor is None:
        np.testing.assert_array_equal(run(F.remainder, a, b), expected_rests(a, b, F.remainder))
    else:
        np.testing.assert_array_equal(run(lambda x: x % divisor, a), expected_rests(a, divisor, F.remainder))


@pytest.mark.parametrize("divisor", [*DIVISORS[:-2], None])
def test_floor_divide_of_floats_is_the_floor_of_the_exact_quotient(divisor):
    b = spread(3000, -3, 3, 1) if divisor is None else np.full(3000, divisor, np.float32)
    with np.errstate(over="ignore"):
        a = (b * spread(3000, -2, 40, 2)).astype(np.float32)
        a[:1000] = (b[:1000] * np.random.default_rng(0).integers(-4000, 4000, 1000)).astype(np.float32)
    b, a = b[np.isfinite(a)], a[np.isfinite(a)]
    result = run(F.floor_divide, a, b) if divisor is None else run(lambda x: x // divisor, a)
    true = [math.floor(Fraction(float(x)) / Fraction(float(y))) for x, y in zip(a, b, strict=True)]
    small = np.abs(np.float64(true)) < 2**23
    np.testing.assert_array_equal(result[small], np.float32(true)[small])
    np.testing.assert_allclose(result, np.float32(true), rtol=1.2e-7)


@pytest.mark.parametrize("divisor", [3.0, -3.0, 2.0, 0.0, INF, -INF, NAN])
@pytest.mark.parametrize("mode", ["floor", "trunc"])
def test_rounded_quotients_of_what_is_special(divisor, mode):
    divided = torch.div(torch.from_numpy(SPECIAL), divisor, rounding_mode=mode).numpy()
    other = np.full_like(SPECIAL, divisor)
    for result in (
        run(lambda x: F.div(x, divisor, rounding_mode=mode), SPECIAL),
        run(lambda x, y: F.div(x, y, rounding_mode=mode), SPECIAL, other),
    ):
        np.testing.assert_allclose(result, divided, rtol=1.2e-7)  # of 1e8 torch rounds the dividend as well


@pytest.mark.parametrize("wrong", [False, True], ids=["right", "in fp32"])
@pytest.mark.parametrize("divisor", [32, -32, 7, 1000003, None])
def test_integers_divide_rightly_whatever_floor_div_rounds(divisor, wrong, replace):
    generator = np.random.default_rng(0)
    a = np.concatenate([generator.integers(-(2**31) + 1, 2**31, 5000), generator.integers(-99, 99, 1000), [18542495]])
    b = np.concatenate([generator.integers(1, 2**31, 3000), generator.integers(1, 99, 3000), [32]])
    b *= generator.choice([-1, 1], len(b))
    a, b = a.astype(np.int32), b.astype(np.int32)
    if wrong:
        replace("FLOOR_DIV", in_fp32)
    for function in (
        lambda ops, x, y: ops.remainder(x, y),
        lambda ops, x, y: ops.fmod(x, y),
        lambda ops, x, y: ops.floor_divide(x, y),
        lambda ops, x, y: ops.div(x, y, rounding_mode="trunc"),
    ):
        x, y = torch.from_numpy(a), torch.from_numpy(b) if divisor is None else divisor
        expected = function(TORCH, x, y).numpy()
        inputs = (a, b) if divisor is None else (a,)
        given = [] if divisor is None else [divisor]
        result = run(lambda *xs, function=function, given=given: function(F, *xs, *given), *inputs)
        np.testing.assert_array_equal(result, expected)


QUOTIENTS = {
    "%": lambda ops, x, y: ops.remainder(x, y),
    "fmod": lambda ops, x, y: ops.fmod(x, y),
    "//": lambda ops, x, y: ops.floor_divide(x, y),
    "div, trunc": lambda ops, x, y: ops.div(x, y, rounding_mode="trunc"),
}


@pytest.mark.parametrize("kind", ["uint8", "int8", "int32", "int64"])
@pytest.mark.parametrize("name", QUOTIENTS)
def test_integers_divide_rightly_to_the_ends_of_their_types(name, kind):
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    ends = {low, low + 1, low // 2, -7, -3, -2, -1, 0, 1, 2, 3, 7, 100, high // 2, high // 2 + 1, high - 1, high}
    each = np.array([n for n in sorted(ends) if n >= low], kind)
    a, b = np.repeat(each, len(each)), np.tile(each, len(each))
    fits = (b != 0) & ((kind == "int8") | (a != low) | (b != -1) | (low == 0))  # torch itself stops at the quotient
    a, b = a[fits], b[fits]
    expected = QUOTIENTS[name](TORCH, torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_array_equal(run(lambda x, y: QUOTIENTS[name](F, x, y), a, b), expected)


@pytest.mark.parametrize("divisor", [-1, -2, -3, -7, -100, -255, 3, 300])
@pytest.mark.parametrize("name", QUOTIENTS)
def test_bytes_divide_by_what_a_number_is_as_a_byte(name, divisor):
    x = np.arange(256).astype(np.uint8)
    expected = QUOTIENTS[name](TORCH, torch.from_numpy(x), divisor).numpy()
    np.testing.assert_array_equal(run(lambda x: QUOTIENTS[name](F, x, divisor), x), expected)


def test_bytes_are_clamped_in_the_type_that_both_ends_come_to():
    x = np.array([0, 1, 2, 200, 255], np.uint8)
    for ends in ((-1, 2.0), (0.5, 200), (-3.5, 1), (1, 100)):
        expected = torch.from_numpy(x).clamp(*ends).numpy()
        result = run(lambda x, ends=ends: x.clamp(*ends), x)
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)


def assigned_300(x):
    x = x * 1
    x[1] = 300
    return x


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.masked_fill(x > 1, 300),
        lambda x: F.where(x > 1, x, 300),
        lambda x: F.where(x > 1, 300, x),
        lambda x: x.clamp(0, 300),
        lambda x: x.clamp(min=-300),
        lambda x: F.pad(x, (1, 1), value=300),
        lambda x: x.index_fill(0, np.array([0]), 300),
        lambda x: (x * 1).fill_(300),
        lambda x: (x * 1).copy_(300),
        lambda x: F.full((2,), 300, dtype="uint8") + x[:2],
        lambda x: F.full_like(x, 300) + x,
        lambda x: x.new_full((3,), 300) + x,
        lambda x: F.tensor([1, 2, 300], dtype="uint8") + x,
        assigned_300,
    ],
)
def test_numbers_that_no_byte_is_are_not_put_among_bytes(function):
    assert "00, which uint8 does not hold" in message_of(ArgumentError, trace, function, Input((3,), "uint8"))
    x = np.array([0, 1, 200], np.uint8)
    np.testing.assert_array_equal(run(lambda x: x.masked_fill(x > 1, -1), x), np.array([0, 1, 255], np.uint8))


@pytest.mark.parametrize("p", [100.0, -100.0, 0.01, 1, 3, -2])
def test_the_norm_of_one_element_is_its_magnitude(p):
    x = np.float32([[0.3], [-50.0], [1e-20], [3e38]])
    for dim in (1, (), None):
        given = x if dim == 1 else x[1]
        expected = torch.linalg.vector_norm(torch.from_numpy(given), p, dim).numpy()
        np.testing.assert_allclose(run(lambda x, dim=dim: F.linalg.vector_norm(x, p, dim), given), expected, rtol=1e-6)


@pytest.mark.parametrize("eps", [None, 0.1, 0.5, 0.7, 1.0])
def test_logit_clamps_as_torch_does(eps):
    x = np.float32([0, 0.05, 0.3, 0.5, 0.72, 0.95, 1, NAN])
    expected = torch.logit(torch.from_numpy(x), eps).numpy()
    np.testing.assert_allclose(run(lambda x: F.logit(x, eps), x), expected, rtol=1e-6, atol=1e-6)


def test_divisions_that_have_no_result():
    integers = Input((3,), "int32")
    assert "integers by 0" in message_of(ArgumentError, trace, lambda x: x % 0, integers)
    ones = np.ones(3, np.int32)
    network = trace(lambda x, y: x % y, ones, ones)
    assert "integers by 0" in message_of(ArgumentError, network.run, ones, ones * 0)
    assert "no normal numbers" in message_of(UnsupportedError, trace, lambda x: x % 1e-35, (3,))
    assert "remainder of a bool" in message_of(DTypeError, trace, lambda x: (x > 0) % (x > 0), (3,))


def test_how_many_layers_a_remainder_takes():
    for divisor, most in ((16.0, 6), (3.0, 40), (2 * math.pi, 80)):
        network = trace(lambda x, divisor=divisor: x % divisor, (3,))
        assert len(layers(network, "ELEMENTWISE", "UNARY")) <= most


# -- activations -------------------------------------------------------------------------------------------------------

NORMAL = HALVES[np.isfinite(HALVES)]


def _soft(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def _mish(x: np.ndarray) -> np.ndarray:
    u = np.exp(np.minimum(x, 50))
    return x * (u * (u + 2) / (u * (u + 2) + 2))


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * torch.special.erfc(torch.from_numpy(-x / math.sqrt(2))).numpy() / 2


def _of_torch(name: str, **arguments: Any) -> Any:
    return lambda x: getattr(torch.nn.functional, name)(torch.from_numpy(x), **arguments).numpy()


ACTIVATIONS = {
    "softplus": (F.softplus, _soft),
    "softplus, scaled": (lambda x: F.softplus(x, 2.0, 5.0), lambda x: np.where(x * 2 > 5, x, _soft(2 * x) / 2)),
    "logsigmoid": (F.logsigmoid, lambda x: -_soft(-x)),
    "mish": (F.mish, _mish),
    "gelu": (F.gelu, _gelu),
    "gelu, tanh": (lambda x: F.gelu(x, "tanh"), _of_torch("gelu", approximate="tanh")),
    "tanhshrink": (F.tanhshrink, lambda x: x - np.tanh(x)),
    "elu": (F.elu, _of_torch("elu")),
    "celu": (lambda x: F.celu(x, 0.7), _of_torch("celu", alpha=0.7)),
    "selu": (F.selu, _of_torch("selu")),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_in_half_keep_three_digits(name):
    ours, theirs = ACTIVATIONS[name]
    expected = theirs(NORMAL.astype(np.float64))
    types = []

    def forward(x: Any) -> Any:
        result = ours(x.half())
        types.append(result.dtype)
        return result.float()

    result = run(forward, NORMAL)
    assert types == [float16]
    seen = (np.abs(expected) > 6.2e-5) & (np.abs(expected) < 65504)  # what fp16 holds with all its bits
    tolerance = 1.2e-3 if name == "gelu" else 1e-3  # 1 + erf(-3) has these digits in fp32
    np.testing.assert_allclose(result[seen], expected[seen], rtol=tolerance)


@pytest.mark.parametrize("name", ["softplus", "softplus, scaled", "logsigmoid", "mish"])
def test_activations_keep_six_digits(name):
    ours, theirs = ACTIVATIONS[name]
    x = np.concatenate([np.linspace(-30, 30, 6001), spread(2000, -30, 6)]).astype(np.float32)
    np.testing.assert_allclose(run(ours, x), theirs(x.astype(np.float64)), rtol=1e-6, atol=1e-37)


SELECTING = {
    **{
        name: lambda ops, x, name=name: getattr(ops, name)(x)
        for name in (
            "relu", "relu6", "hardtanh", "leaky_relu", "rrelu", "elu", "selu", "celu", "hardsigmoid", "hardswish",
            "silu", "softplus", "logsigmoid", "mish", "softsign", "tanhshrink", "hardshrink", "softshrink", "sigmoid",
            "sign", "abs", "trunc", "round", "ceil", "floor", "sqrt", "reciprocal", "isnan", "isfinite",
        )
    },
    "threshold": lambda ops, x: ops.threshold(x, 0.5, -9.0),
    "clamp": lambda ops, x: ops.clamp(x, -1, 1),
    "maximum": lambda ops, x: ops.maximum(x[:, None], x[None]),
    "minimum": lambda ops, x: ops.minimum(x[:, None], x[None]),
    "powers": lambda ops, x: [ops.pow(x, e) for e in (0, 1, 2, 3, 0.5, -1, -2, 1.5, INF, -INF, NAN)],
    "powers of numbers": lambda ops, x: [b**x for b in (0.0, 1.0, 2.0, 0.5, INF)],
    "powers of tensors": lambda ops, x: x[:, None] ** x[None],
    "decimals": lambda ops, x: [ops.round(x * 1.2345, decimals=d) for d in (2, 0, -1)],
    "sums": lambda ops, x: [ops.logsumexp(x.reshape(6, 3), dim=1), ops.softmax(x.reshape(6, 3), dim=1)],
    "norms": lambda ops, x: [ops.norm(x.reshape(6, 3), p, dim=1) for p in (0, 1, 2, 3, INF, -INF)],
    "extremes": lambda ops, x: [ops.amax(x.reshape(6, 3), dim=1), ops.amin(x.reshape(6, 3), dim=1)],
    "pooling": lambda ops, x: ops.max_pool2d(x.reshape(1, 1, 6, 3), 2),
    "logarithms of softmax": lambda ops, x: ops.log_softmax(x.reshape(6, 3), dim=1),
}  # fmt: skip
UNUSUAL = [0.0, -0.0, 1, INF, 2.5, -2.5, 0.5, NAN, -0.5, -INF, -INF, -INF, 1e-7, 3, 3e4, 7.5, -8, -1]


@pytest.mark.parametrize("name", SELECTING)
def test_what_is_not_finite_is_what_torch_gives(name):
    function, x = SELECTING[name], np.array(UNUSUAL, np.float32)
    expected = function(TORCH, torch.from_numpy(x))
    result = run(lambda x: function(F, x), x)
    several = isinstance(expected, list)
    for mine, theirs in zip(result if several else [result], expected if several else [expected], strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("exponent", [4, 7, 100, 1000, -3, -9])
def test_powers_of_many_factors_in_half(exponent):
    base = np.array([0.9902, 1.001, 1.0098, -1.0, 1.0], np.float16)
    result = run(lambda x: x.half().pow(exponent).float(), base.astype(np.float32))
    np.testing.assert_allclose(result, base.astype(np.float64) ** exponent, rtol=6e-4)


def test_logarithms_of_softmax_of_large_numbers():
    x = np.array([[30000, 29990, 29995], [-60000, -60001, -60002]], np.float32)
    expected = torch.log_softmax(torch.from_numpy(x).double(), 1).numpy()
    np.testing.assert_allclose(run(lambda x: x.log_softmax(1), x), expected, rtol=1e-6, atol=1e-7)


# -- attention ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deviation", [1, 6, 20])
def test_attention_in_half_rounds_no_scores(deviation):
    generator = np.random.default_rng(0)
    scales = (math.sqrt(deviation), math.sqrt(deviation), 1)
    q, k, v = (generator.standard_normal((2, 4, 64, 32)).astype(np.float16) * np.float16(s) for s in scales)
    tensors = [torch.from_numpy(array) for array in (q, k, v)]
    expected = torch.nn.functional.scaled_dot_product_attention(*(t.double() for t in tensors)).numpy()
    arrays = [array.astype(np.float32) for array in (q, k, v)]
    result = run(lambda *xs: F.scaled_dot_product_attention(*(x.half() for x in xs)).float(), *arrays)
    assert np.abs(result - expected).max() < 1e-3 * np.abs(expected).max()


def test_scores_of_attention_in_half_may_pass_what_half_holds():
    x = np.full((1, 1, 2, 64), 60.0, np.float32)
    result = run(lambda x: F.scaled_dot_product_attention(x.half(), x.half() * 1000, x.half()).float(), x)
    np.testing.assert_array_equal(result, x)


@pytest.mark.parametrize("dtype", [np.bool_, np.float32])
@pytest.mark.parametrize("hold", [np.asarray, torch.from_numpy, lambda mask: trtnn.Buffer(5, 6, data=mask)])
def test_a_mask_of_attention_is_what_its_type_says_whatever_holds_it(hold, dtype):
    q, k, v = (torch.from_numpy(numbers(1, 2, length, 8, seed=seed)) for seed, length in enumerate((5, 6, 6)))
    mask = (np.arange(30).reshape(5, 6) % 4 > 0).astype(dtype)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, torch.from_numpy(mask)).numpy()
    result = run(lambda *xs: F.scaled_dot_product_attention(*xs, attn_mask=hold(mask)), *(x.numpy() for x in (q, k, v)))
    np.testing.assert_allclose(result, expected, atol=1e-6)


PADDING = np.array([[False, False, True, True], [False] * 4])
LAYERS_OF_ATTENTION = {
    "TransformerEncoderLayer": lambda module, x, mask: module(x, src_key_padding_mask=mask),
    "TransformerDecoderLayer": lambda module, x, mask: module(
        x, x, tgt_key_padding_mask=mask, memory_key_padding_mask=mask
    ),
    "MultiheadAttention": lambda module, x, mask: module(x, x, x, mask)[0],
    "MultiheadAttention without weights": lambda module, x, mask: module(x, x, x, mask, need_weights=False)[0],
}


@pytest.mark.parametrize("name", LAYERS_OF_ATTENTION)
def test_attention_in_half_within_fp32_stays_half(name):
    call, kind = LAYERS_OF_ATTENTION[name], name.split()[0]
    arguments = (8, 2, 16) if "Layer" in kind else (8, 2)
    theirs = load_random(getattr(torch.nn, kind)(*arguments, batch_first=True))
    ours = getattr(trtnn.modules, kind)(*arguments, batch_first=True)
    ours.load_state_dict(theirs.state_dict())
    x, types = np.random.default_rng(0).standard_normal((2, 4, 8)).astype(np.float16), []

    def forward(x: Any, mask: Any) -> Any:
        result = call(ours, x.half(), mask)
        types.append(result.dtype)
        return result.float()

    with torch.no_grad():
        expected = call(theirs.half(), torch.from_numpy(x), torch.from_numpy(PADDING)).float().numpy()
    result = run(forward, x.astype(np.float32), PADDING)
    assert types == [float16]
    np.testing.assert_allclose(result[:, :2], expected[:, :2], atol=4e-3)


# -- arguments ---------------------------------------------------------------------------------------------------------

X = np.arange(6, dtype=np.float32).reshape(2, 3) ** 2


@pytest.mark.parametrize("name", ["var", "std"])
def test_a_bool_in_the_place_of_a_dimension_is_unbiased(name):
    for value in (False, True):
        expected = getattr(torch, name)(torch.from_numpy(X), value).numpy()
        np.testing.assert_allclose(run(lambda x, value=value: getattr(F, name)(x, value), X), expected, rtol=1e-6)
        np.testing.assert_allclose(run(lambda x, value=value: getattr(x, name)(value), X), expected, rtol=1e-6)


def test_a_correction_may_be_a_fraction_of_a_length_that_is_dynamic():
    network = trace(lambda x: x.var(1, correction=0.5), Input((2, Dim("n", 2, 3, 5))))
    np.testing.assert_allclose(network.run(X), torch.from_numpy(X).var(1, correction=0.5).numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: x.sum(True), ArgumentError, "a dimension is an int, not True"),
        (lambda x: x.softmax(True), DTypeError, "softmax takes an int or None as dim, not True"),
        (lambda x: x.unsqueeze(False), DTypeError, "unsqueeze takes an int as dim, not False"),
        (lambda x: x.std(False, keepdim=True), ArgumentError, "stands for unbiased"),
        (lambda x: x.var(1, False, correction=0), ArgumentError, "not both"),
        (lambda x: F.movedim(x, (0, 1), (1, 1)), ShapeError, "each of them once"),
        (lambda x: F.movedim(x, (0, 0), (0, 1)), ShapeError, "each of them once"),
        (lambda x: F.movedim(x, (0, 1), (1,)), ShapeError, "as many of both"),
        (lambda x: F.rrelu(x, 0.5, 0.2), ArgumentError, "the first is the larger"),
        (lambda x: F.prelu(x, np.ones((1, 3), "f")), ShapeError, "prelu"),
        (lambda x: F.max_unpool1d(x, x[:, :2].int(), 2), ShapeError, "got indices of shape (2, 2)"),
        (lambda x: x.gather(0, np.array([[2, 0, 0]])), ShapeError, "index 2 is out of range for a dimension of 2"),
        (lambda x: x.gather(0, np.array([[-1, 0, 0]])), ShapeError, "index -1 is out of range"),
        (lambda x: x.scatter(0, np.array([[7, 0, 0]]), 1.0), ShapeError, "index 7 is out of range"),
        (lambda x: x.scatter_add(0, np.array([[7, 0, 0]]), x), ShapeError, "index 7 is out of range"),
        (lambda x: x.index_add(0, np.array([0, 2]), x), ShapeError, "index 2 is out of range"),
        (lambda x: x.index_select(0, np.array([0, 2])), ShapeError, "index 2 is out of range"),
        (lambda x: x.int().round(decimals=1), DTypeError, "round with decimals"),
    ],
)
def test_what_torch_refuses(function, error, words):
    assert words in message_of(error, trace, function, (2, 3))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, i: x.gather(0, i),
        lambda x, i: x.scatter(0, i, x),
        lambda x, i: x.index_select(0, i[0]),
        lambda x, i: F.embedding(i, X),
    ],
)
def test_the_reference_tells_indices_that_are_out_of_range(function):
    index = np.array([[0, 7, 0], [0, 0, 0]], np.int32)
    network = trace(function, X, index)
    assert "index 7 is out of range for a dimension of 2" in message_of(ShapeError, network.run, X, index)
    assert "index -1 is out of range" in message_of(ShapeError, network.run, X, -(index > 0).astype(np.int32))


@pytest.mark.parametrize(
    "function",
    [
        lambda ops, x, i: ops.gather(x, 0, i),
        lambda ops, x, i: ops.gather(x, 0, i.reshape(1)),
        lambda ops, x, i: ops.scatter(x, 0, i, 2.5),
        lambda ops, x, i: ops.scatter_add(x, 0, i, x),
        lambda ops, x, i: ops.index_add(x, 0, i.reshape(1), x, alpha=2),
        lambda ops, x, i: ops.cosine_similarity(x, x, dim=0),
        lambda ops, x, i: ops.movedim(x, 0, 0),
        lambda ops, x, i: x.unfold(0, 1, 1),
    ],
)
def test_tensors_of_no_dimension_count_as_vectors(function):
    x, i = np.array(3.0, np.float32), np.array(0, np.int64)
    expected = function(TORCH, torch.tensor(3.0), torch.tensor(0)).numpy()
    result = run(lambda x, i: function(F, x, i), x, i.astype(np.int32))
    np.testing.assert_array_equal(result, expected)
    assert result.shape == expected.shape


@pytest.mark.parametrize("name", ["hardtanh", "softshrink"])
def test_ends_beyond_half_cut_nothing_off(name):
    """Of numbers that float16 holds: torch in float32, which takes such ends, is the oracle."""
    ends = {"hardtanh": (-1e9, 1e9), "softshrink": (1e9,)}[name]
    x = np.float32([-65504, -3, 0, 2.5, 65504])
    expected = getattr(torch.nn.functional, name)(torch.from_numpy(x), *ends)
    for fp16 in (False, True):
        np.testing.assert_array_equal(run(lambda x: getattr(F, name)(x, *ends), x, fp16=fp16), expected)
