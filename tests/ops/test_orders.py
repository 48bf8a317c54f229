"""What is sorted in parts, what NaN and infinity become in order, and lengths that are known only at run time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers import (
    QUICKLY,
    TORCH,
    assert_close,
    check_dynamic,
    layers,
    message_of,
    numbers,
    run,
    trace,
)
from trtnn import Dim, Input
from trtnn import functional as F
from trtnn.errors import ArgumentError, DTypeError, ShapeError, TrtnnError, UnsupportedError

LONG = Dim("long", 3, 5, 40)


def _long(count: int, kind: str) -> np.ndarray:
    """Return two rows of numbers, most of which are there several times; with NaN and infinities where asked."""
    generator = np.random.default_rng(count)
    if kind == "int32":
        return generator.integers(-500, 500, (2, count), np.int32)
    values = generator.standard_normal((2, count)).astype(np.float32).round(2)
    if kind == "NaN":
        for odd in (np.nan, np.inf, -np.inf):
            values[:, generator.integers(0, count, 9)] = odd
    return values


@pytest.mark.parametrize("count", [3841, 7680, 9001])
@pytest.mark.parametrize("kind", ["int32", "float32", "NaN"])
@pytest.mark.parametrize("descending", [False, True])
def test_what_is_longer_than_the_layer_takes_is_sorted_in_parts(count: int, kind: str, descending: bool) -> None:
    x = _long(count, kind)
    values, indices = torch.from_numpy(x).sort(stable=True, dim=-1, descending=descending)
    network = trace(lambda x: [*F.sort(x, descending=descending), *F.topk(x, 3900 % count, largest=descending)], x)
    found = network.run(x)
    k = 3900 % count
    for result, expected in zip(found, (values, indices, values[:, :k], indices[:, :k]), strict=True):
        np.testing.assert_array_equal(result, expected.numpy())


def test_parts_along_another_dimension_are_built() -> None:
    x = _long(3845, "float32").T.copy()
    network = trace(lambda x: F.argsort(x, 0), x)
    np.testing.assert_array_equal(network.run(x), torch.from_numpy(x).argsort(dim=0, stable=True).numpy())
    assert len(layers(network, "TOPK")) == 1
    network.build(**QUICKLY)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("end", [np.inf, np.nan, -np.inf])
def test_parts_of_what_comes_last_alone(end: float, descending: bool) -> None:
    """The last part is filled up with infinity, which is then among its like."""
    x = np.full((2, 3845), end, np.float32)
    x[1, ::7] = 1
    network = trace(lambda x: F.argsort(x, descending=descending), (Dim("batch", 1, 2, 4), 3845))
    expected = torch.from_numpy(x).argsort(stable=True, descending=descending)
    np.testing.assert_array_equal(network.run(x), expected.numpy())


def test_a_few_of_many_take_one_layer() -> None:
    network = trace(lambda x: F.topk(x, 5).values, (1, 100_000))
    assert len(layers(network, "TOPK")) == 1


ODD = np.float32([[1, np.nan, -np.inf, 3, np.nan, np.inf], [2, 2, 0, -0.0, 5, 2], [np.nan] * 6])


@pytest.mark.parametrize(
    "function",
    [
        lambda ops, x: tuple(ops.median(x, 1)),
        lambda ops, x: ops.median(x),
        lambda ops, x: ops.nanmedian(x, 1)[0],
        lambda ops, x: ops.nanmedian(x),
        lambda ops, x: [ops.quantile(x, q, 1) for q in (0.0, 0.4, 1.0)],
        lambda ops, x: [ops.nanquantile(x[1], q) for q in (0.0, 0.4, 1.0)],
        lambda ops, x: ops.nanquantile(x[:, 3:5], 0.5, dim=0),
        lambda ops, x: tuple(ops.cummax(x, 1)),
        lambda ops, x: tuple(ops.cummin(x, 1)),
        lambda ops, x: ops.cumprod(x, 1),
        lambda ops, x: ops.logcumsumexp(x, 1),
        lambda ops, x: ops.searchsorted(x[1].sort(0)[0], x),
        lambda ops, x: ops.histc(x, 4, -1, 3),
        lambda ops, x: ops.isin(x, x[0]),
    ],
)
def test_what_is_no_number(function: Any) -> None:
    expected = function(TORCH, torch.from_numpy(ODD))
    result = run(lambda x: function(F, x), ODD)
    several = isinstance(expected, (tuple, list))
    for mine, theirs in zip(result if several else [result], expected if several else [expected], strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-6)


@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
def test_what_comes_to_one_place_changes_no_other(reduce: str, include_self: bool) -> None:
    index = np.array([[0, 1, 3, 1], [0, 0, 0, 2]]).T
    values = np.float32([[1, 2], [np.inf, -np.inf], [np.nan, 3], [-np.inf, 4]])
    x = numbers(4, 2)
    expected = torch.from_numpy(x).scatter_reduce(
        0, torch.from_numpy(index), torch.from_numpy(values), reduce, include_self=include_self
    )
    result = run(lambda x, y: F.scatter_reduce(x, 0, index, y, reduce, include_self=include_self), x, values)
    np.testing.assert_allclose(result, expected.numpy(), rtol=1e-6)


def test_near_rows_are_told_apart() -> None:
    """By way of a matrix product they would not be."""
    x = numbers(30, 8) + 1000
    y = x + np.float32(0.01) * numbers(30, 8, seed=1)
    expected = torch.cdist(torch.from_numpy(x).double(), torch.from_numpy(y).double())
    assert_close(run(F.cdist, x, y), expected.float(), 1e-6)


@pytest.mark.parametrize("p", [0, 1, 2, 3])
def test_distances_of_what_is_not_finite(p: float) -> None:
    x = np.float32([[0, np.nan], [1, 2], [np.inf, np.inf], [np.inf, 3]])
    rows = torch.from_numpy(x)
    np.testing.assert_array_equal(run(lambda x: F.pdist(x, p), x), torch.pdist(rows, p).numpy())
    np.testing.assert_array_equal(run(lambda x: F.cdist(x, x, p), x), torch.cdist(rows, rows, p).numpy())


def test_several_searches_of_one_long_sequence() -> None:
    sequence, values = np.sort(numbers(5000)), numbers(7, 9, seed=1)
    for right in (False, True):
        expected = torch.searchsorted(torch.from_numpy(sequence), torch.from_numpy(values), right=right)
        assert_close(run(lambda s, v, right=right: F.searchsorted(s, v, right=right), sequence, values), expected)


@pytest.mark.parametrize(
    "function",
    [
        lambda ops, x: ops.cumprod(x, 1),
        lambda ops, x: ops.logcumsumexp(x, -1),
        lambda ops, x: list(ops.cummax(x, 1)),
        lambda ops, x: list(ops.cummin(x, 0)),
        lambda ops, x: list(ops.topk(x, 3, 1)),
        lambda ops, x: ops.kthvalue(x, 2, 1)[0],
        lambda ops, x: ops.median(x, 0)[0],
        lambda ops, x: ops.quantile(x, 0.3, 0),
        lambda ops, x: ops.isin(x, x[0]),
        lambda ops, x: ops.histc(x, 5),
        lambda ops, x: ops.searchsorted(ops.msort(x[:, 0]), x),
        lambda ops, x: ops.cdist(x, x * 0.5),
        lambda ops, x: ops.scatter_reduce(x, 0, (x > 0).long(), x, "amax"),
    ],
)
def test_of_lengths_known_at_run_time(function: Any) -> None:
    check_dynamic(
        lambda x: function(F, x),
        lambda x: function(TORCH, x),
        (2, LONG),
        [(2, 3), (2, 16), (2, 40)],
        fp16_tolerance=1e9,
    )


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: F.kthvalue(x, 5), ArgumentError, "kthvalue of 5 along a dimension of 4"),
        (lambda x: F.quantile(x, 1.5), ArgumentError, "q from 0 to 1, not 1.5"),
        (lambda x: F.quantile(x, 0.5, interpolation="cubic"), ArgumentError, "knows no interpolation 'cubic'"),
        (lambda x: F.quantile(x, np.ones((1, 1), np.float32)), ShapeError, "a number or a vector, not of shape (1, 1)"),
        (lambda x: F.searchsorted(x, 1.0), ShapeError, "of one number takes a vector"),
        (lambda x: F.searchsorted(x, x[:2]), ShapeError, "shapes (3, 4) and (2, 4) do not fit"),
        (lambda x: F.searchsorted(x[0], x.int()), DTypeError, "searchsorted of int32 and float32"),
        (lambda x: F.searchsorted(x[0], x, side="left", right=True), ArgumentError, "they say the opposite"),
        (lambda x: F.bucketize(x, x), ShapeError, "a vector of boundaries"),
        (lambda x: F.histc(x, 0), ArgumentError, "bins from 1 on, not 0"),
        (lambda x: F.histc(x, 4, 2, 1), ArgumentError, "not from 2 to 1"),
        (lambda x: x.scatter_reduce(0, x.int() * 0, x, "median"), ArgumentError, "knows no reduce='median'"),
        (lambda x: x.scatter(0, x.int() * 0, x, reduce="mean"), ArgumentError, "known: add, multiply"),
        (lambda x: x.scatter(0, x.int() * 0), ArgumentError, "src or value, one of the two"),
        (lambda x: x.scatter_reduce(0, [[7]], x, "sum"), TrtnnError, "out of range"),
        (lambda x: x.index_reduce(0, [0], x, "prod"), ShapeError, "an index of (1,) and a source of (3, 4)"),
        (lambda x: F.cdist(x, x[:, :2]), ShapeError, "received (3, 4) and (3, 2)"),
        (lambda x: F.cdist(x, x, compute_mode="fast"), ArgumentError, "knows no compute_mode 'fast'"),
    ],
)
def test_errors(function: Any, error: type[Exception], words: str) -> None:
    assert words in message_of(error, trace, function, (3, 4))


def test_an_order_of_a_length_known_at_run_time_is_refused() -> None:
    for function in (F.sort, F.msort, lambda x: F.median(x, 1), lambda x: F.quantile(x, 0.5), lambda x: F.mode(x, 1)):
        message = message_of(UnsupportedError, trace, function, Input((LONG, LONG)))
        assert "long is 3 to 40" in message
