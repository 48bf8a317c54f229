"""What engines make of the numbers of tests/ops/test_numbers.py: a few of many outputs, each held against torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

import trtnn
from tests.graph.test_beyond_half import FILL, SUMS, mask, x
from tests.helpers import TORCH, strongly_typed, trace
from tests.ops.test_numbers import (
    ACTIVATIONS,
    DIVISORS,
    NORMAL,
    SELECTING,
    SPECIAL,
    UNUSUAL,
    beside_multiples,
    expected_rests,
    spread,
)
from trtnn import functional as F
from trtnn import modules

TF = torch.nn.functional


def engine_of(outputs: Mapping[str, Any], *arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Build one engine that computes all of these functions of the arrays, and return what it gives."""
    network = trace(lambda *xs: {name: function(*xs) for name, function in outputs.items()}, *arrays)
    return network.build(optimization_level=0)(*arrays)


def differences(
    results: Mapping[str, Any], expected: Mapping[str, Any], rtol: float = 0.0, atol: float = 0.0
) -> dict[str, str]:
    """Return, for each output that differs, how many of its numbers do, and the first of them."""
    found = {}
    for name in expected:
        mine, theirs = (np.asarray(values[name], np.float64) for values in (results, expected))
        right = np.isclose(mine, theirs, rtol=rtol, atol=atol, equal_nan=True)
        if not right.all():
            shown = [f"{a:.9g}, not {b:.9g}" for a, b in zip(mine[~right][:4], theirs[~right][:4], strict=True)]
            found[name] = f"{(~right).sum()} of {right.size}: {'; '.join(shown)}"
    return found


def assert_same(results: Mapping[str, Any], expected: Mapping[str, Any], **bounds: float) -> None:
    """Check outputs as :func:`differences` does, and show all that differ."""
    found = differences(results, expected, **bounds)
    assert not found, "\n".join(f"{name}: {what}" for name, what in found.items())


def test_remainders_are_exact():
    a = np.concatenate(
        [spread(2000, -60, 126), spread(1000, -3, 30), SPECIAL, *map(beside_multiples, (0.1, 2 * math.pi))]
    )
    b = spread(len(a), -20, 20, 1)
    outputs, expected = {}, {}
    for of in (F.remainder, F.fmod):
        for divisor in DIVISORS:
            outputs[f"{of.__name__} {divisor}"] = lambda x, y, of=of, divisor=divisor: of(x, divisor)
            expected[f"{of.__name__} {divisor}"] = expected_rests(a, divisor, of)
        outputs[of.__name__], expected[of.__name__] = of, expected_rests(a, b, of)
    results = engine_of(outputs, a, b)
    for of in (F.remainder, F.fmod):  # beyond 2^64 it may be NaN, and near it is
        far = np.isnan(results[of.__name__]) & (np.abs(a / np.float64(b)) > 2.0**64)
        expected[of.__name__] = np.where(far, math.nan, expected[of.__name__])
    assert_same(results, expected)


@strongly_typed
def test_remainders_in_half_are_exact():
    a = np.random.default_rng(0).permutation(NORMAL)[:8192]
    b = np.random.default_rng(1).permutation(NORMAL)[:8192]
    x, y = torch.from_numpy(a).half(), torch.from_numpy(b).half()
    outputs = {str(c): lambda x, y, c=c: (x.half() % c).float() for c in (1e-4, 3.0, -0.3, 2 * math.pi, 16.0)}
    expected = {name: (x % float(name)).float().numpy() for name in outputs}
    outputs["tensors"], expected["tensors"] = lambda x, y: (x.half() % y.half()).float(), (x % y).float().numpy()
    assert_same(engine_of(outputs, a, b), expected)


def test_integers_divide_exactly():
    generator = np.random.default_rng(0)
    a = np.concatenate([generator.integers(-(2**31) + 1, 2**31, 5000), generator.integers(-99, 99, 999), [18542495]])
    b = np.concatenate([generator.integers(1, 2**31, 3000), generator.integers(1, 99, 2999), [32]])
    b *= generator.choice([-1, 1], len(b))
    a, b = a.astype(np.int32), b.astype(np.int32)
    functions = {
        "remainder": lambda ops, x, y: ops.remainder(x, y),
        "fmod": lambda ops, x, y: ops.fmod(x, y),
        "floor": lambda ops, x, y: ops.floor_divide(x, y),
        "trunc": lambda ops, x, y: ops.div(x, y, rounding_mode="trunc"),
    }
    outputs, expected = {}, {}
    for name, function in functions.items():
        for divisor in (32, -32, 7, 1000003, None):
            title = f"{name} {divisor}"
            outputs[title] = lambda x, y, f=function, d=divisor: f(F, x, y if d is None else d)
            by = torch.from_numpy(b) if divisor is None else divisor
            expected[title] = function(TORCH, torch.from_numpy(a), by).numpy()
    assert_same(engine_of(outputs, a, b), expected)


def test_quotients_rounded_down():
    b = spread(3000, -3, 3, 1)
    a = (b * np.random.default_rng(0).integers(-4000, 4000, 3000)).astype(np.float32)
    outputs = {str(c): lambda x, y, c=c: x // c for c in (3.0, 0.1, -0.7, 16.0)} | {"tensors": F.floor_divide}
    by = {name: b.astype(np.float64) if name == "tensors" else float(np.float32(name)) for name in outputs}
    expected = {name: np.floor_divide(a.astype(np.float64), divisor) for name, divisor in by.items()}
    assert_same(engine_of(outputs, a, b), expected, rtol=1.2e-7)


def test_activations_in_half_keep_three_digits():
    x = NORMAL[np.abs(NORMAL) < 1e4]
    outputs = {name: lambda x, ours=ours: ours(x.half()).float() for name, (ours, _) in ACTIVATIONS.items()}
    expected = {name: theirs(x.astype(np.float64)) for name, (_, theirs) in ACTIVATIONS.items()}
    assert_same(engine_of(outputs, x), expected, rtol=1.5e-3, atol=2.5e-7)


def test_activations_keep_their_digits():
    x = np.concatenate([np.linspace(-30, 30, 6001), spread(2000, -30, 6)]).astype(np.float32)
    kept = ("softplus", "softplus, scaled", "logsigmoid", "mish")
    near_one = ("elu", "selu")  # TensorRT's layers take 1 from an exponential
    outputs = {name: ACTIVATIONS[name][0] for name in kept + near_one}
    expected = {name: ACTIVATIONS[name][1](x.astype(np.float64)) for name in outputs}
    results = engine_of(outputs, x)
    for names, atol in ((kept, 1e-30), (near_one, 3e-7)):
        assert_same(results, {name: expected[name] for name in names}, rtol=1e-5, atol=atol)


def test_powers_in_half():
    x = np.array([0.9902, 1.001, 1.0098, -1.0, 1.0], np.float16)
    outputs = {str(e): lambda x, e=e: x.half().pow(e).float() for e in (2, 3, 7, 100, 1000, -3)}
    expected = {name: x.astype(np.float64) ** int(name) for name in outputs}
    assert_same(engine_of(outputs, x.astype(np.float32)), expected, rtol=1.5e-3)


def test_attention_in_half_rounds_no_scores():
    generator = np.random.default_rng(0)
    outputs, expected, arrays = {}, {}, []
    for deviation in (1, 6, 20):
        scales = (math.sqrt(deviation), math.sqrt(deviation), 1)
        drawn = [generator.standard_normal((2, 4, 64, 32)).astype(np.float16) * np.float16(s) for s in scales]
        places = slice(len(arrays), len(arrays) + 3)
        outputs[str(deviation)] = lambda *xs, places=places: F.scaled_dot_product_attention(
            *(x.half() for x in xs[places])
        ).float()
        expected[str(deviation)] = TF.scaled_dot_product_attention(*(torch.from_numpy(a).double() for a in drawn))
        arrays += [array.astype(np.float32) for array in drawn]
    assert_same(engine_of(outputs, *arrays), expected, atol=4e-3)


@pytest.mark.parametrize("way", ["einsum", "matmul", "normalised"])
def test_attention_in_half_of_keys_and_values_that_differ_in_width(way):
    """Of its own layer for einsum TensorRT 8.6.0 made a kernel that was 0.55 of the largest number off."""

    def attend(q: Any, k: Any, v: Any) -> Any:
        q, k, v = q.half(), k.half(), v.half()
        if way == "normalised":  # layers that one kernel is made of with what is behind them
            width = (q.shape[-1],)
            return F.scaled_dot_product_attention(F.layer_norm(q, width), F.layer_norm(k, width), v).float()
        root = q.shape[-1] ** -0.25
        if way == "matmul":
            return (((q * root) @ (k * root).mT).softmax(-1) @ v).float()
        weights = F.einsum("bhic,bhjc->bhij", q * root, k * root).softmax(-1)
        return F.einsum("bhij,bhjc->bhci", weights, v).mT.float()

    generator = np.random.default_rng(0)
    drawn = [generator.standard_normal((2, 4, 400, c)).astype(np.float16).astype(np.float32) for c in (32, 32, 64)]
    wide = [torch.from_numpy(array).double() for array in drawn]
    if way == "normalised":
        wide[:2] = [TF.layer_norm(array, (32,)) for array in wide[:2]]
    engine = trace(attend, *drawn, fp16=True, fp16_attention=way == "normalised").build(optimization_level=1)
    assert_same({way: engine(*drawn)}, {way: TF.scaled_dot_product_attention(*wide)}, atol=4e-3)


class Block(trtnn.Module):
    """Attention as many forwards write it out: one Linear for all three, its result permuted and unbound.

    Args:
        scale: a function of (scores before any scale, the width of a head).
    """

    def __init__(self, scale: Any, width: int = 192, heads: int = 3) -> None:
        super().__init__()
        self.scale, self.heads = scale, heads
        self.norm, self.qkv = modules.LayerNorm(width), modules.Linear(width, 3 * width)
        self.proj = modules.Linear(width, width)

    def forward(self, x: Any) -> Any:
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        y = self.scale(q @ k.transpose(-2, -1), width // self.heads).softmax(-1) @ v
        return x + self.proj(y.transpose(1, 2).reshape(batch, tokens, width))


@pytest.mark.parametrize("way", ["times", "by"])
def test_attention_in_half_that_scales_scores_behind_their_product(way):
    """Built as it is written, TensorRT 8.6.0 made kernels of it that were 0.148 of the largest number off."""
    scale = {"times": lambda x, width: x * width**-0.5, "by": lambda x, width: x / math.sqrt(width)}[way]
    model = modules.Sequential(*(Block(scale) for _ in range(3)))
    model.inputs = {"input": (2, 197, 192)}
    generator = np.random.default_rng(0)
    state = {}
    for name, parameter in model.named_parameters():
        drawn = generator.standard_normal(parameter.shape) / math.sqrt(parameter.shape[-1])
        state[name] = (1 + 0.1 * drawn if "norm" in name else 2 * drawn).astype(np.float32)
    model.load_state_dict(state)
    x = generator.standard_normal((2, 197, 192)).astype(np.float32)
    expected = model.trace().run(x)  # held against torch in tests/ops/test_scores.py
    engine = model.trace(fp16=True).build(optimization_level=1)
    assert_same({way: engine(x)}, {way: expected}, atol=1e-2 * float(np.abs(expected).max()))


# TensorRT's layers that pass over NaN, as seen with 8.6.0 on an H200: RELU, CLIP, HARD_SIGMOID, and the extremes of two
# numbers or of many. SIGN keeps it, where torch gives 0.
PASSES_OVER_NAN = {
    "sign", "relu", "relu6", "hardtanh", "hardsigmoid", "clamp", "maximum", "minimum", "extremes", "pooling", "norms",
}  # fmt: skip


def test_what_is_not_finite_is_what_torch_gives():
    x = np.array(UNUSUAL, np.float32)
    outputs, expected = {}, {}
    for name, function in SELECTING.items():
        theirs = function(TORCH, torch.from_numpy(x))
        several = isinstance(theirs, list)
        for index, value in enumerate(theirs if several else [theirs]):
            title = f"{name} {index}"
            outputs[title] = lambda x, f=function, several=several, i=index: f(F, x)[i] if several else f(F, x)
            expected[title] = value.numpy()
    results = engine_of(outputs, x)
    for title, value in expected.items():
        if title.rpartition(" ")[0] in PASSES_OVER_NAN:
            results[title] = np.where(np.isnan(value) | np.isnan(results[title]), value, results[title])
    assert_same(results, expected, rtol=1e-5, atol=1e-30)


def test_extremes_along_a_dimension():
    rows = np.array([[1, -0.5, 3], [-math.inf, 2, math.inf], [-math.inf, 1, 1], [3, 3, 3]], np.float32)
    functions = {
        f"{name}, {what}": lambda ops, x, name=name, at=at: getattr(ops, name)(x, dim=1)[at]
        for name in ("max", "min")
        for at, what in enumerate(("value", "index"))
    } | {name: lambda ops, x, name=name: getattr(ops, name)(x, dim=1) for name in ("argmax", "argmin", "amax", "amin")}
    outputs = {name: lambda x, f=function: f(F, x) for name, function in functions.items()}
    expected = {name: function(torch, torch.from_numpy(rows)).numpy() for name, function in functions.items()}
    assert_same(engine_of(outputs, rows), expected)


def test_what_is_longer_than_the_layer_takes_is_sorted():
    """In parts, the last of which is filled up with infinity."""
    x = np.random.default_rng(0).standard_normal((2, 3845)).astype(np.float32).round(2)
    x[:, [5, 2000, 3844]] = [np.inf, -np.inf, np.inf]
    ways = {"up": False, "down": True}
    results = engine_of({name: lambda x, d=down: F.argsort(x, descending=d) for name, down in ways.items()}, x)
    rows = torch.from_numpy(x)
    assert_same(results, {name: rows.argsort(stable=True, descending=down) for name, down in ways.items()})


def test_orders_of_infinities():
    """TensorRT 8.6's layer alone gives -1 for the index of infinity where it comes last."""
    x = np.random.default_rng(0).standard_normal((4, 50)).astype(np.float32)
    x[:2, [5, 20, 44]], x[1, 0] = [np.inf, -np.inf, np.inf], np.nan
    x[2], x[3] = -np.inf, np.inf
    rows = torch.from_numpy(x)
    outputs, expected = {}, {}
    for largest in (False, True):
        way, few = ("largest", F.argmax) if largest else ("smallest", F.argmin)
        ordered = rows.sort(dim=1, descending=largest, stable=True)
        for at, part in enumerate(("value", "index")):
            outputs[f"sort, {way}, {part}"] = lambda x, at=at, down=largest: F.sort(x, 1, down)[at]
            expected[f"sort, {way}, {part}"] = ordered[at].numpy()
            for k in (3, 50):  # of these NaN stands among infinities, in their order
                outputs[f"{way} {k}, {part}"] = lambda x, at=at, k=k, down=largest: F.topk(x[[0, 2, 3]], k, 1, down)[at]
                expected[f"{way} {k}, {part}"] = ordered[at][[0, 2, 3], :k].numpy()
        outputs[few.__name__] = lambda x, few=few: few(x[[0, 2, 3]], 1)
        expected[few.__name__] = ordered[1][[0, 2, 3], 0].numpy()
    outputs["nanmedian"], expected["nanmedian"] = lambda x: F.nanmedian(x, 1)[0], rows.nanmedian(1)[0].numpy()
    assert_same(engine_of(outputs, x), expected)


@pytest.mark.parametrize("fp16", [False, True])
def test_orders_at_the_ends_of_half(fp16):
    x = np.float32([[65504, np.inf, -65504, -np.inf, 1, 65504], [-np.inf, -65504, -np.inf, -65504, np.inf, 0]])
    network = trace(lambda x: [*F.sort(x, 1), *F.topk(x, 4), F.argmin(x, 1)], x, fp16=fp16)
    rows = torch.from_numpy(x)
    down = rows.sort(dim=1, descending=True, stable=True)
    expected = [*rows.sort(dim=1, stable=True), *(part[:, :4] for part in down), torch.tensor([3, 0])]
    for result, right in zip(network.build(optimization_level=0)(x), expected, strict=True):
        np.testing.assert_array_equal(result, right.numpy())


def test_constants_that_are_not_finite():
    x = np.array([-3.5, 0.0, 2e38, math.inf], np.float32)
    outputs, expected = {}, {}
    constants = {
        "inf": math.inf,
        "-inf": -math.inf,
        "nan": math.nan,
        "one inf": np.float32([math.inf]),
        "one nan": np.float32([[math.nan]]),
        "several": np.float32([math.nan, -math.inf, math.inf, 1]),
    }
    functions = {
        "sum": lambda ops, x, c: x + c,
        "difference": lambda ops, x, c: c - x,
        "product": lambda ops, x, c: x * c,
        "choice": lambda ops, x, c: ops.where(x > 0, c, x),
        "equal": lambda ops, x, c: (x == c) * 1.0,
        "less": lambda ops, x, c: (x < c) * 1.0,
    }
    for name, value in constants.items():
        for what, function in functions.items():
            outputs[f"{what}, {name}"] = lambda x, f=function, c=value: f(F, x, c)
            expected[f"{what}, {name}"] = function(torch, torch.from_numpy(x), torch.as_tensor(value))
    assert_same(engine_of(outputs, x), expected)


@pytest.mark.filterwarnings(FILL)
def test_masks_that_half_does_not_hold():
    """Fills stand at its end; what is added or multiplied with such numbers is fp32 up to the softmax."""
    m = mask.astype(np.float32)
    outputs = {name: lambda ops, x, m, sums=sums: sums(ops, x, m).softmax(-1) for name, sums in SUMS.items()}
    outputs["masked_fill"] = lambda ops, x, m: x.masked_fill(m > 0, -1e9).softmax(-1)
    outputs["a fill, added"] = lambda ops, x, m: (x + ops.where(m > 0, -65536.0, 0.0)).softmax(-1)
    outputs["filled"] = lambda ops, x, m: x.masked_fill(m > 0, -65536.0) * (1 / 64)
    network = trace(lambda x, m: {name: function(F, x, m) for name, function in outputs.items()}, x, m, fp16=True)
    expected = {
        name: function(torch, torch.from_numpy(x), torch.from_numpy(m)).numpy() for name, function in outputs.items()
    }
    engine = network.build(optimization_level=0)
    assert_same(network.run(x, m), expected, rtol=2e-3, atol=1e-3)
    assert_same(engine(x, m), expected, rtol=2e-3, atol=1e-3)
