"""Operations by formulas where drawn numbers do not reach: near 0, at the ends of the types, NaN, signed zeros."""

import itertools

import numpy as np
import pytest
import torch

from tests.helpers import (
    FP16_TOLERANCE,
    QUICKLY,
    TORCH,
    assert_close,
    layers,
    load_random,
    message_of,
    needs_type,
    numbers,
    run,
    strongly_typed,
    trace,
)
from trtnn import functional as F
from trtnn import modules
from trtnn.dtypes import float16
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError

ODD = [0.0, -0.0, 1.0, -1.0, 2.5, -3.0, np.inf, -np.inf, np.nan]
PAIRS = np.float32(list(itertools.product(ODD, ODD))).T
TINY = np.float32([1e-30, -1e-20, 1e-10, -1e-8, 3e-7, 1e-4, -0.01, 0.1, -0.24, 0.26, -0.6])
LARGE = np.float32([3e38, -3e38, 1e20, -1e20, 1e10, 88.0, -88.0, 100.0, 1e-38])


def signs(values):
    """Numbers and their signs, so that -0.0 is not 0.0; that of NaN has no meaning."""
    values = np.asarray(values)
    return np.where(np.isnan(values), 0, np.signbit(values))


@pytest.mark.parametrize("name", ["atan2", "hypot", "copysign", "fmax", "fmin", "logaddexp", "logaddexp2", "xlogy"])
def test_pairs_of_what_is_odd(name):
    x, y = PAIRS
    if name == "copysign":  # the sign of NaN is not seen
        x, y = PAIRS[:, ~np.isnan(PAIRS[1])]
    expected = getattr(torch, name)(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    result = trace(getattr(F, name), x, y).run(x, y)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=2e-8)
    if name in ("atan2", "copysign"):
        np.testing.assert_array_equal(signs(result), signs(expected))


@pytest.mark.parametrize(
    "name",
    [
        "nan_to_num",
        "isposinf",
        "isneginf",
        "signbit",
        "erfc",
        "sinc",
        "expm1",
        "log1p",
        "exp2",
        "log2",
        "log10",
        "logit",
    ],
)
def test_what_is_odd(name):
    x = np.float32(ODD[:-1] if name == "signbit" else ODD)
    if name == "sinc":
        x = x[~np.isinf(x)]
    np.testing.assert_allclose(run(getattr(F, name), x), getattr(torch, name)(torch.from_numpy(x)), rtol=1e-6)


@pytest.mark.parametrize("name", ["expm1", "log1p"])
def test_all_digits_near_0(name):
    expected = getattr(np, name)(TINY.astype(np.float64))
    np.testing.assert_allclose(run(getattr(F, name), TINY), expected, rtol=4e-7)


def test_the_complement_of_the_error_function_near_0():
    x = np.linspace(-4, 9, 200, dtype=np.float32)
    expected = torch.from_numpy(x.astype(np.float64)).erfc().numpy()
    np.testing.assert_allclose(run(F.erfc, x), expected, rtol=1e-5)


@pytest.mark.parametrize(("base", "least"), [(2, -126), (10, -37)])
def test_logarithms_of_powers_are_whole(base, least):
    exponents = np.arange(least, 38 if base == 10 else 128)
    powers = (float(base) ** exponents).astype(np.float32)
    np.testing.assert_array_equal(run(getattr(F, f"log{base}"), powers), exponents)


def test_logarithms_next_to_a_power_are_not_whole():

    x = np.float32([8.0001, 0.9999999, 1.0000001, 1024.1])
    np.testing.assert_allclose(run(F.log2, x), np.log2(x.astype(np.float64)), rtol=2e-6)


@pytest.mark.parametrize("name", ["normalize", "cosine_similarity", "pairwise_distance"])
@pytest.mark.parametrize("size", [0.0, 3e-13, 3e-9, 1e-6])
def test_what_keeps_short_vectors_from_0(name, size):
    """Vectors about as long as each eps, by default and where it is given."""
    x = np.float32([[1, -2, 2], [0, 0, 0]]) * np.float32(size)
    for how in ({}, {"eps": 1e-3}):

        def function(ops, x, how=how):
            return ops.normalize(x, **how) if name == "normalize" else getattr(ops, name)(x, x.flip(-1), **how)

        expected = function(TORCH, torch.from_numpy(x)).numpy()
        result = run(lambda x, function=function: function(F, x), x)
        np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_gelu_by_its_published_constants():
    """https://arxiv.org/abs/1606.08415, section 2, in float64."""
    x = np.linspace(-4, 4, 801, dtype=np.float32)
    wide = x.astype(np.float64)
    expected = 0.5 * wide * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
    np.testing.assert_allclose(run(lambda x: F.gelu(x, "tanh"), x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("row", [[np.inf, 1], [-np.inf, 1], [-np.inf, -np.inf], [np.inf, -np.inf], [np.nan, np.inf]])
def test_logarithms_of_sums_with_infinity(row):
    x = np.float32([row, [200, 201]])
    expected = torch.from_numpy(x).logsumexp(1).numpy()
    np.testing.assert_allclose(run(lambda x: F.logsumexp(x, 1), x), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["hypot", "logaddexp", "atan2"])
def test_large_numbers_do_not_overflow(name):
    expected = getattr(torch, name)(torch.from_numpy(LARGE), torch.from_numpy(LARGE[::-1].copy()))
    np.testing.assert_allclose(run(lambda x: getattr(F, name)(x, x.flip(0)), LARGE), expected, rtol=1e-6)


@strongly_typed
def test_half_numbers_are_carried_in_fp32():
    x = numbers(64, scale=2)

    def function(ops, x):
        x = x.half()
        found = [
            *(getattr(ops, name)(x) for name in ("expm1", "exp2", "sinc", "erfc", "deg2rad")),
            *(getattr(ops, name)(abs(x) + 1) for name in ("log1p", "log2", "log10")),
            *(getattr(ops, name)(x, x.flip(0)) for name in ("atan2", "hypot", "logaddexp")),
            ops.lerp(x, x * 3, 0.3), ops.addcmul(x, x, x, value=0.3), ops.addcdiv(x, x, abs(x) + 1, value=0.3),
        ]  # fmt: skip
        return [value.float() for value in found]

    for mine, theirs in zip(run(lambda x: function(F, x), x), function(TORCH, torch.from_numpy(x)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-6)  # one rounding


def test_sums_that_would_overflow_in_half():
    x = np.full((4,), 300.0, np.float32)
    result = run(
        lambda x: [F.hypot(x.half(), x.half()).float(), F.addcmul(x.half(), -x.half(), x.half(), value=0.1).float()], x
    )
    np.testing.assert_allclose(result[0], 300 * 2**0.5, rtol=1e-3)
    np.testing.assert_allclose(result[1], 300 - 9000, rtol=1e-3)


def test_lerp_meets_both_ends():
    x, y = np.float32([1e8, 3.0, -1e-8]), np.float32([1.0, 1e8, 1e8])
    first, last = trace(lambda x, y: [F.lerp(x, y, 0.0), F.lerp(x, y, 1.0)], x, y).run(x, y)
    np.testing.assert_array_equal(first, x)
    np.testing.assert_array_equal(last, y)


def test_nan_becomes_the_numbers_of_its_type():
    x = np.float32([np.nan, np.inf, -np.inf, 1])
    result = run(lambda x: [F.nan_to_num(x), F.nan_to_num(x.half()).float(), F.nan_to_num(x, 1.0, 2.0, 3.0)], x)
    most, half = np.finfo(np.float32).max, np.finfo(np.float16).max
    for mine, expected in zip(result, ([0, most, -most, 1], [0, half, -half, 1], [1, 2, 3, 1]), strict=True):
        np.testing.assert_array_equal(mine, np.float32(expected))


def test_masked_scatter_counts_what_is_true():
    x, source = np.zeros((3, 4), np.float32), np.arange(12, dtype=np.float32).reshape(3, 4) + 1
    for mask in (np.eye(3, 4), np.ones((3, 4)), np.zeros((3, 4)), np.tri(3, 4)[::-1].copy()):
        expected = torch.from_numpy(x).masked_scatter(torch.from_numpy(mask > 0), torch.from_numpy(source))
        given = (x, mask.astype(np.float32), source)
        assert_close(trace(lambda x, m, s: x.masked_scatter(m > 0, s), *given).run(*given), expected)


def test_what_a_mask_hides_does_not_spread():
    x, bad = numbers(3, 3), np.full((3,), np.nan, np.float32)

    def function(ops, x, bad):
        spread = [ops.diag_embed(bad), ops.diagonal_scatter(x, bad), ops.index_fill(x, 0, index(ops, 1), 2.0)]
        return [
            *spread,
            ops.select_scatter(x, bad, 1, -1),
            ops.nansum(bad),
            ops.xlogy(x * 0, x),
            ops.nansum(x / x * bad),
        ]

    def index(ops, *places):
        return torch.tensor(places) if ops is TORCH else np.array(places)

    expected = function(TORCH, torch.from_numpy(x), torch.from_numpy(bad))
    for mine, theirs in zip(trace(lambda x, b: function(F, x, b), x, bad).run(x, bad), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_what_is_multiplied_by_a_beta_of_0_is_not_looked_at():
    bad, x = np.full((3, 3), np.nan, np.float32), numbers(3, 3)

    def function(ops, bad, x):
        return [
            ops.baddbmm(bad[None], x[None], x[None], beta=0), ops.addbmm(bad, x[None], x[None], beta=0),
            ops.addmv(bad[0], x, x[0], beta=0), ops.addr(bad, x[0], x[1], beta=0), ops.addmm(bad, x, x, beta=0),
        ]  # fmt: skip

    expected = function(TORCH, torch.from_numpy(bad), torch.from_numpy(x))
    assert_close(trace(lambda b, x: function(F, b, x), bad, x).run(bad, x), expected)


def test_a_bias_is_added_to_a_product_by_the_sum_alone():
    """A layer that expands it takes time, and TensorRT-RTX 1.7.1 does not build GPT-2 with it."""
    x, weight, bias = numbers(3, 4), numbers(4, 5), numbers(5)
    network = trace(lambda x: F.addmm(bias, x, weight, beta=2), x)
    assert not layers(network, "SLICE")
    assert_close(network.run(x), torch.addmm(*map(torch.from_numpy, (bias, x, weight)), beta=2))
    message = message_of(ShapeError, lambda: trace(lambda x: F.addmm(numbers(3), x, weight), x))
    assert "cannot expand (3,) to (3, 5)" in message
    longer = numbers(2, 3, 5)
    assert "cannot expand" in message_of(ShapeError, lambda: trace(lambda x: F.addmm(longer, x, weight), x))


def test_a_bool_mask_keeps_attention_half():
    x, blind = numbers(3, 2, 4), np.array([[False, False, True], [True, False, False]])
    nn = modules.MultiheadAttention(4, 2)
    nn.load_state_dict(load_random(torch.nn.MultiheadAttention(4, 2)).state_dict())

    def function(x, mask):
        found = nn(x.half(), x.half(), x.half(), mask > 0)
        return [value.float() for value in found if value.dtype is float16]

    given = (x, blind.astype(np.float32))
    assert len(trace(function, *given).run(*given)) == 2


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_small_inverses(side):
    x = numbers(5, side, side, seed=side)
    result = run(lambda x: [F.inverse(x), F.det(x), F.linalg.matrix_power(x, -2)], x)
    exact = np.linalg.inv(x.astype(np.float64))
    for mine, expected in zip(result, (exact, np.linalg.det(x.astype(np.float64)), exact @ exact), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("side", [1, 2, 5, 7, 64])
@pytest.mark.parametrize("upper", [False, True])
def test_triangular_systems_of_any_side(side, upper):
    """The other triangle is not read, and of a diagonal of ones neither that."""
    generator = np.random.default_rng(side)
    a = generator.standard_normal((2, 3, side, side)).astype(np.float32) / side
    other = np.tril(np.ones((side, side), bool), -1) if upper else np.triu(np.ones((side, side), bool), 1)
    a[..., other] = np.inf
    b = generator.standard_normal((3, side, 4)).astype(np.float32)
    exact = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    for ones in (False, True):
        if not ones:
            a = np.where(np.eye(side, dtype=bool), 1.5, a).astype(np.float32)
            exact = torch.from_numpy(a).double(), exact[1]
        given = np.where(np.eye(side, dtype=bool), np.nan, a).astype(np.float32) if ones else a
        how = {"upper": upper, "unitriangular": ones}
        ours = run(lambda x, y, how=how: F.linalg.solve_triangular(x, y, **how), given, b)
        assert_close(ours, torch.linalg.solve_triangular(*exact, **how).float(), 1e-5)


def test_views_are_outdated_by_what_changes_them():
    views = {
        "diagonal": lambda x: x.diagonal(), "ravel": lambda x: x.ravel(),
        "tensor_split": lambda x: x.tensor_split(2)[0],
        "swapaxes": lambda x: x.swapaxes(0, 1), "moveaxis": lambda x: x.moveaxis(0, 1),
        "adjoint": lambda x: x.adjoint(),
        "hsplit": lambda x: x.hsplit(2)[1], "broadcast_to": lambda x: x.broadcast_to((2, 4, 4)),
        "broadcast_tensors": lambda x: F.broadcast_tensors(x, F.zeros(2, 4, 4))[0], "atleast_3d": F.atleast_3d,
    }  # fmt: skip

    def function(view):
        def forward(x):
            x = x * 1
            seen = view(x)
            x.add_(1)
            return seen * 1

        return forward

    for view in views.values():
        assert "changed in place" in message_of(UnsupportedError, trace, function(view), (4, 4))


def test_what_is_no_view_stays():
    def forward(ops, x):
        x = x * 1
        kept = [x.rot90(0), x.diag(), ops.nan_to_num(x.int()), x.diff(n=0), x.sum_to_size(3, 3) * 1]
        x.add_(1)
        return [value * 1 for value in kept]

    x = numbers(3, 3)
    assert_close(run(lambda x: forward(F, x), x), forward(TORCH, torch.from_numpy(x)))


TAKE_ONE_TYPE = {
    "scatter": lambda f, x, y: x.scatter(1, x.argsort(1), y),
    "scatter_add": lambda f, x, y: x.scatter_add(1, (x > 0).long(), y),
    "scatter_reduce": lambda f, x, y: x.scatter_reduce(1, (x > 0).long(), y, "amax"),
    "index_add": lambda f, x, y: x.index_add(0, f.tensor([0, 1, 1]), y, alpha=2),
    "index_copy": lambda f, x, y: x.index_copy(0, f.tensor([2, 0, 1]), y),
    "index_put": lambda f, x, y: x.index_put((f.tensor([2, 0, 1]),), y),
    "masked_scatter": lambda f, x, y: x.masked_scatter(x > 0, y),
    "lerp": lambda f, x, y: f.lerp(x, y, 0.3),
    "complex": lambda f, x, y: f.complex(x, y).abs(),
    "polar": lambda f, x, y: f.view_as_real(f.polar(x, y)),
    "searchsorted": lambda f, x, y: f.searchsorted(x.sort(1)[0], y),
    "isclose": lambda f, x, y: f.isclose(x, y, atol=1.0),
    "cdist": lambda f, x, y: f.cdist(x, y),
    "heaviside": lambda f, x, y: f.heaviside(x, y),
    "quantile": lambda f, x, y: f.quantile(x, y[0].sigmoid()),
    "cartesian_prod": lambda f, x, y: f.cartesian_prod(x[0], y[1]),
}


@needs_type("int64")
@pytest.mark.parametrize("wide_first", [False, True])
@pytest.mark.parametrize("function", TAKE_ONE_TYPE.values(), ids=TAKE_ONE_TYPE)
def test_in_half_precision_floats_of_any_width_are_of_one_type(function, wide_first):
    """As where an author asked for fp32: torch saw one type, and so does an fp32 network."""

    def forward(f, x):
        y = f.exp(x.float() / 2)
        return function(f, y, x * 1) if wide_first else function(f, x, y)

    x = numbers(3, 4)
    for fp16, tolerance in ((False, 1e-5), (True, FP16_TOLERANCE)):
        result = run(lambda x: forward(F, x), x, fp16=fp16)
        expected = forward(torch, torch.from_numpy(x))
        assert_close(result, expected.numpy().astype(result.dtype), tolerance)
    network = trace(lambda x: forward(F, x), x, fp16=True)
    assert network.build(**QUICKLY).plan.nbytes > 0


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (
            lambda x: F.frac(x.int()),
            DTypeError,
            "frac in the model's own forward takes floating-point input, not int32",
        ),
        (lambda x: F.group_norm(x.int(), 2), DTypeError, "group_norm in the model's own forward takes floating-point"),
        (lambda x: F.layer_norm(x.int(), (4,)), DTypeError, "layer_norm in the model's own forward takes floating"),
        (lambda x: F.instance_norm(x[None].int()), DTypeError, "instance_norm in the model's own forward takes float"),
        (lambda x: F.glu(x, 2), ShapeError, "2"),
        (lambda x: F.hypot(x.int(), x.int()), DTypeError, "hypot in the model's own forward takes floating-point"),
        (lambda x: F.lerp(x, x.half(), 0.5), DTypeError, "lerp of float32 and float16"),
        (lambda x: F.addcdiv(x, x.int(), x.int()), DTypeError, "addcdiv of int32 by int32"),
        (lambda x: F.heaviside(x, x.int()), DTypeError, "heaviside of float32 and int32"),
        (lambda x: F.isclose(x, x.int()), DTypeError, "isclose of float32 and int32"),
        (lambda x: F.isclose(x, x, rtol=-1.0), ArgumentError, "tolerances from 0 on, not rtol=-1.0"),
        (lambda x: F.positive(x > 0), DTypeError, "positive of a bool tensor"),
        (lambda x: x.baddbmm(x[None], x[None]), ShapeError, "(1, 3, 4) and (1, 3, 4) do not fit"),
        (lambda x: x.addmv(x, x[0]), ShapeError, "cannot expand (3, 4) to (3,)"),
        (lambda x: x.addr(x, x[0]), ShapeError, "addr takes two vectors, not tensors of shapes (3, 4) and (4,)"),
        (
            lambda x: F.tensordot(x, x, 1),
            ShapeError,
            "tensordot of shapes (3, 4) and (3, 4) over dimensions [1] and [0]",
        ),
        (lambda x: F.tensordot(x, x, 3), ArgumentError, "tensordot over 3 dimensions"),
        (lambda x: F.cross(x[:2], x[:2]), ShapeError, "no dimension is 3 long"),
        (lambda x: F.linalg.cross(x, x), ShapeError, "dimension -1 is not 3 long in both"),
        (lambda x: F.linalg.matrix_norm(x, "nuc"), UnsupportedError, "ord='nuc'"),
        (lambda x: F.linalg.matrix_norm(x, 3), ArgumentError, "knows no ord=3"),
        (lambda x: F.linalg.matrix_norm(x, dim=(0, 0)), ShapeError, "two different dimensions, not (0, 0)"),
        (lambda x: F.linalg.norm(x[None], 1), ShapeError, "takes a vector or a matrix, not (1, 3, 4)"),
        (lambda x: F.linalg.norm(x, 1, (0,) * 3), ShapeError, "along one dimension or two, not (0, 0, 0)"),
        (lambda x: F.linalg.solve_triangular(x, x, upper=True), ShapeError, "takes square matrices, not (3, 4)"),
        (
            lambda x: F.linalg.solve_triangular(x[:, :3], x[:2], upper=True),
            ShapeError,
            "A of (3, 3) takes no B of (2, 4)",
        ),
        (lambda x: F.linalg.multi_dot([x]), ArgumentError, "at least two tensors, not 1"),
        (lambda x: F.linalg.multi_dot([x, x[None]]), ShapeError, "not a tensor of shape (1, 3, 4)"),
        (F.inverse, ShapeError, "inv in the model's own forward takes square matrices, not (3, 4)"),
        (lambda x: F.det(F.zeros(5, 5)), UnsupportedError, "det of matrices of 5 by 5"),
        (lambda x: x.diag(5), ShapeError, "diagonal 5 of a matrix of 3 by 4 holds nothing"),
        (lambda x: x.diagonal(dim1=1), ShapeError, "diagonal takes two dimensions, not 1 and 1 of 2"),
        (lambda x: x.diagonal_scatter(x), ShapeError, "shape (3, 4) into a diagonal of shape (3,)"),
        (lambda x: x.diag_embed(0, 1, 1), ShapeError, "in two dimensions, not 1 and 1"),
        (lambda x: F.fliplr(x[0]), ShapeError, "fliplr in the model's own forward takes at least two dimensions"),
        (lambda x: x.rot90(1, (0, 0)), ArgumentError, "two different dimensions, not (0, 0)"),
        (lambda x: x.tensor_split(0), ArgumentError, "tensor_split into 0 parts"),
        (lambda x: x.hsplit(3), ShapeError, "hsplit cuts a length of 4 into equal parts, not into 3"),
        (lambda x: x[0].vsplit(1), ShapeError, "vsplit in the model's own forward takes at least 2 dimensions"),
        (lambda x: F.hstack([]), ArgumentError, "hstack takes at least one tensor"),
        (lambda x: F.block_diag(x, x[None]), ShapeError, "block_diag takes matrices, not a tensor of shape (1, 3, 4)"),
        (lambda x: F.broadcast_tensors(x, x[:2]), ShapeError, "shapes (3, 4), (2, 4) do not broadcast together"),
        (lambda x: x.sum_to_size(3, 2), ShapeError, "sum_to_size of (3, 4) to (3, 2)"),
        (F.cartesian_prod, ShapeError, "cartesian_prod takes vectors, not a tensor of shape (3, 4)"),
        (lambda x: F.cartesian_prod(x[0], x[0].int()), DTypeError, "cartesian_prod of float32 and int32"),
        (lambda x: F.combinations(x[0], 5), ArgumentError, "combinations of 5 of 4 elements"),
        (lambda x: F.tril_indices(1, 1, -1), ArgumentError, "tril_indices of a matrix of (1, 1) holds nothing"),
        (lambda x: x.index_copy(0, np.array([5]), x[:1]), ShapeError, "index 5 is out of range for a dimension of 3"),
        (lambda x: x.index_copy(0, np.array([-1]), x[:1]), ShapeError, "indices from 0 on, not -1"),
        (lambda x: x.index_copy(0, np.array([0]), x), ShapeError, "takes a source of (1, 4), not of (3, 4)"),
        (lambda x: x.index_fill(0, np.array([[0]]), 1), ShapeError, "takes a vector of indices"),
        (lambda x: x.index_put((x > 0,), x), UnsupportedError, "values of shape (3, 4) where a mask is true"),
        (lambda x: x.index_put((np.array([0]),), x.int()), DTypeError, "index_put of int32 and float32"),
        (lambda x: x.index_put((x[:, :3] > 0,), x[0, 0]), ShapeError, "a mask of shape (3, 3) does not fit"),
        (lambda x: x.masked_scatter(x, x), DTypeError, "a bool mask, not float32"),
        (lambda x: x.select_scatter(x[0], 0, 3), ShapeError, "index 3 is out of range"),
        (lambda x: x.slice_scatter(x, 0, 1), ShapeError, "takes a src of (2, 4), not of (3, 4)"),
        (lambda x: x[0, 0].diff(), ShapeError, "diff in the model's own forward takes at least one dimension"),
        (lambda x: x.diff(n=-1), ArgumentError, "0 times or more, not -1"),
        (lambda x: F.trapezoid(x, x, dx=2.0), ArgumentError, "takes x or dx, not both"),
        (lambda x: F.pdist(x[:1]), ShapeError, "pdist of 1 row holds nothing"),
        (lambda x: F.hann_window(0), ArgumentError, "hann_window of 0 places holds nothing"),
        (lambda x: F.hann_window(3, dtype="int32"), DTypeError, "hann_window is floating, not int32"),
        (lambda x: F.logspace(0, 1, 0), ArgumentError, "logspace of 0 numbers"),
        (lambda x: F.broadcast_shapes((2,), (3,)), ShapeError, "shapes (2,), (3,) do not broadcast"),
        (lambda x: x.clone().fill_diagonal_(1, wrap=True), UnsupportedError, "fill_diagonal with wrap"),
        (lambda x: x[None].clone().fill_diagonal_(1), ShapeError, "dimensions of one length, not (1, 3, 4)"),
    ],
)
def test_errors(function, error, words):
    assert words in message_of(error, trace, function, (3, 4))


def _attend(x, **changed):
    eye = np.eye(4, dtype=np.float32)
    given = {
        "in_proj_weight": np.concatenate([eye] * 3),
        "in_proj_bias": None,
        "bias_k": None,
        "bias_v": None,
    } | changed
    how = {"add_zero_attn": False, "dropout_p": 0.0, "out_proj_weight": eye, "out_proj_bias": None}
    return F.multi_head_attention_forward(x, x, x, 4, 2, **(how | given))


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"is_causal": True}, ArgumentError, "is_causal as a hint beside attn_mask"),
        ({"attn_mask": np.zeros((2, 3), bool)}, ShapeError, "attn_mask of shape (2, 3)"),
        ({"key_padding_mask": np.zeros(4, bool)}, ShapeError, "key_padding_mask of shape (1, 4)"),
    ],
)
def test_errors_of_attention(changed, error, words):
    assert words in message_of(error, trace, lambda x: _attend(x, **changed), (3, 4))


def test_attention_with_keys_that_are_given():
    x, k = numbers(3, 2, 4), numbers(4, 5, 2)

    def function(ops, x, k):
        eye = torch.eye(4) if ops is TORCH else np.eye(4, dtype=np.float32)
        three = torch.cat([eye] * 3) if ops is TORCH else np.concatenate([eye] * 3)
        given = (three, None, None, None, False, 0.0, eye, None, False)
        return list(ops.multi_head_attention_forward(x, x, x, 4, 2, *given, static_k=k, static_v=k * 2))

    expected = function(TORCH, torch.from_numpy(x), torch.from_numpy(k))
    assert_close(trace(lambda x, k: function(F, x, k), x, k).run(x, k), expected)
