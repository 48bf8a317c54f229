"""Poolings against torch's."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers import (
    HEIGHT,
    IMAGES,
    WIDTH,
    assert_close,
    check_dynamic,
    check_triangle,
    message_of,
    numbers,
    run,
    trace,
)
from trtnn import functional as F
from trtnn import modules
from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.modules import MaxPool2d

POOLS = [
    ((2,), {}, (1, 3, 8, 8)),
    ((2,), {}, (1, 3, 7, 9)),
    ((5, 1, 2), {}, (1, 3, 6, 4)),
    ((13, 1, 6), {}, (2, 2, 2, 3)),  # windows larger than the input
    (((3, 2),), {"stride": (1, 3), "padding": (1, 0)}, (1, 3, 8, 11)),
    ((3,), {"stride": 2, "ceil_mode": True}, (1, 3, 8, 7)),
    ((3,), {"stride": 2, "padding": 1, "ceil_mode": True}, (1, 3, 7, 8)),
    ((2,), {"stride": 3, "ceil_mode": True}, (1, 3, 9, 10)),  # a last window would start behind the input
    ((3,), {"stride": 5, "padding": 1, "ceil_mode": True}, (1, 1, 6, 12)),
    ((1,), {}, (1, 1, 1, 1)),
]


@pytest.mark.parametrize(("arguments", "options", "shape"), POOLS)
def test_max_pool2d(arguments, options, shape):
    ours, theirs = MaxPool2d(*arguments, **options), torch.nn.MaxPool2d(*arguments, **options)
    check_triangle(ours, theirs, numbers(*shape) - 5)  # negative, so that a zero of the padding would win
    assert repr(ours) == repr(theirs)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_max_pool2d_of_any_arguments(data):
    sides = []
    for _ in range(2):
        kernel = data.draw(st.integers(1, 6))
        sides.append((data.draw(st.integers(1, 14)), kernel, data.draw(st.integers(1, 7))))
    lengths, kernel, stride = zip(*sides, strict=True)
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    assume(all(n + 2 * p >= k for n, p, k in zip(lengths, padding, kernel, strict=True)))
    options = {"stride": stride, "padding": padding, "ceil_mode": data.draw(st.booleans())}
    x = numbers(1, 2, *lengths) - 5
    expected = torch.nn.functional.max_pool2d(torch.from_numpy(x), kernel, **options)
    np.testing.assert_array_equal(run(lambda x: F.max_pool2d(x, kernel, **options), x), expected)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_max_pools_with_dilation_and_indices(data):
    n = data.draw(st.integers(1, 3))
    kernel, dilation = (data.draw(st.lists(st.integers(1, 3), min_size=n, max_size=n)) for _ in range(2))
    options = {
        "stride": data.draw(st.none() | st.integers(1, 3)),
        "padding": tuple(data.draw(st.integers(0, k // 2)) for k in kernel),
        "dilation": tuple(dilation),
        "ceil_mode": data.draw(st.booleans()),
    }
    lengths = [data.draw(st.integers(d * (k - 1) + 1, 8)) for k, d in zip(kernel, dilation, strict=True)]
    batch = data.draw(st.sampled_from([(2,), ()]))
    x = np.round(numbers(*batch, 2, *lengths)) - 5  # with equal ones: the first wins
    indices, name = data.draw(st.booleans()), f"max_pool{n}d"
    expected = getattr(torch.nn.functional, name)(torch.from_numpy(x), kernel, return_indices=indices, **options)
    assert_close(run(lambda x: getattr(F, name)(x, kernel, return_indices=indices, **options), x), expected, 0)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_adaptive_max_pools_with_indices(data):
    n = data.draw(st.integers(1, 3))
    lengths = data.draw(st.lists(st.integers(1, 7), min_size=n, max_size=n))
    sizes = data.draw(st.lists(st.integers(1, 8), min_size=n, max_size=n))
    x, name = np.round(numbers(2, 1, *lengths)), f"adaptive_max_pool{n}d"
    expected = getattr(torch.nn.functional, name)(torch.from_numpy(x), sizes, return_indices=True)
    assert_close(run(lambda x: getattr(F, name)(x, sizes, return_indices=True), x), expected, 0)


def test_indices_where_nothing_is_above_the_padding():
    x = np.full((1, 1, 5, 4), -np.inf, np.float32)
    values, indices = run(lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True), x)
    expected = torch.nn.functional.max_pool2d(torch.from_numpy(x), 3, 2, 1, return_indices=True)
    np.testing.assert_array_equal(values, expected[0])
    np.testing.assert_array_equal(indices, expected[1])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_unpooling_undoes_pooling(n):
    shape, size = (2, 3, 7, 6, 5)[: 2 + n], (7, 6, 5)[:n]
    even = (slice(4),) * n

    def function(nn):
        pool = getattr(nn, f"MaxPool{n}d")(2, return_indices=True)
        unpool = getattr(nn, f"MaxUnpool{n}d")(2)

        def undone(x):
            values, indices = pool(x)
            return [unpool(values, indices, size), unpool(values, indices, shape), unpool(*pool(x[(..., *even)]))]

        return undone

    check_triangle(function(modules), function(torch.nn), numbers(*shape))
    ours, theirs = (getattr(nn, f"MaxUnpool{n}d")(3, 2, 1) for nn in (modules, torch.nn))
    assert repr(ours) == repr(theirs)


def test_indices_and_dilation_over_dynamic_lengths():
    def function(ops):
        return lambda x: [
            ops.max_pool2d(x, 3, 2, 1, return_indices=True)[1],
            ops.max_pool2d(x, 3, 2, 1, (2, 3)),
            ops.max_unpool2d(*ops.max_pool2d(x, 2, return_indices=True), 2),
            ops.adaptive_max_pool2d(x, 1, True)[1],
        ]

    check_dynamic(function(F), function(torch.nn.functional), IMAGES, [(1, 4, 8, 16), (3, 4, 40, 24)])


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_mean_of_any_window(data):
    n = data.draw(st.integers(1, 3))
    kernel = data.draw(st.lists(st.integers(1, 4), min_size=n, max_size=n))
    padding = [data.draw(st.integers(0, k // 2)) for k in kernel]
    lengths = [data.draw(st.integers(k, 8)) for k in kernel]
    options = {"stride": data.draw(st.none() | st.integers(1, 4)), "padding": padding}
    options |= {"ceil_mode": data.draw(st.booleans()), "count_include_pad": data.draw(st.booleans())}
    if n > 1:
        options["divisor_override"] = data.draw(st.none() | st.integers(1, 9))
    x = numbers(1, 2, *lengths)
    expected = getattr(torch.nn.functional, f"avg_pool{n}d")(torch.from_numpy(x), kernel, **options)
    result = run(lambda x: getattr(F, f"avg_pool{n}d")(x, kernel, **options), x)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_number_of_windows(data):
    n, kind = data.draw(st.integers(1, 3)), data.draw(st.sampled_from(["avg", "max"]))
    lengths = data.draw(st.lists(st.integers(1, 7), min_size=n, max_size=n))
    sizes = data.draw(st.lists(st.integers(1, 8), min_size=n, max_size=n))
    x, name = numbers(2, 1, *lengths), f"adaptive_{kind}_pool{n}d"
    expected = getattr(torch.nn.functional, name)(torch.from_numpy(x), sizes)
    result = run(lambda x: getattr(F, name)(x, sizes), x)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


def test_windows_in_ceil_mode_build():
    def pools(function, x):
        return [
            function(x, kernel, stride, padding, ceil_mode=True)
            for kernel in (1, 2, 3, 5)
            for stride in (1, 2, 3, 4)
            for padding in range(kernel // 2 + 1)
        ]

    check_triangle(
        lambda x: pools(F.max_pool2d, x), lambda x: pools(torch.nn.functional.max_pool2d, x), numbers(1, 2, 9, 6) - 5
    )


def test_windows_of_several_sizes_build():
    """TensorRT-RTX 1.7 builds no products whose axes were moved before, where a volume has one channel."""
    for shape in ((3, 1, 4, 4, 5), (2, 3, 5, 4, 7)):
        check_triangle(
            lambda x: F.adaptive_avg_pool3d(x, (3, 2, 3)),
            lambda x: torch.nn.functional.adaptive_avg_pool3d(x, (3, 2, 3)),
            numbers(*shape),
        )


@pytest.mark.parametrize(
    ("function", "shape", "error", "words"),
    [
        (lambda x: F.max_pool2d(x, 5), (1, 3, 4, 8), ShapeError, ["(5, 5) is larger", "(1, 3, 4, 8)"]),
        (lambda x: F.max_pool2d(x, 2), (4, 8), ShapeError, ["(batch, channels, height, width)", "[4, 8]"]),
        (lambda x: F.max_pool2d(x, 3, padding=2), (1, 3, 8, 8), ArgumentError, ["half of kernel_size", "(2, 2)"]),
        (lambda x: F.max_pool2d(x, 3, dilation=4), (1, 3, 8, 8), ShapeError, ["(9, 9) is larger"]),
        (
            lambda x: F.adaptive_max_pool2d(x, (1, None), return_indices=True),
            (1, 3, HEIGHT, WIDTH),
            UnsupportedError,
            ["adaptive_max_pool2d with return_indices to (1, width)"],
        ),
        (
            lambda x: F.max_unpool1d(x, F.zeros(1, 3, 4, dtype="int64"), 2, output_size=(10,)),
            (1, 3, 4),
            ArgumentError,
            ["max_unpool1d to (10,)", "less than (2,) from (8,)"],
        ),
        (lambda x: F.max_pool2d(x, (1, 2, 3)), (1, 3, 8, 8), ArgumentError, ["kernel_size takes an int or two"]),
    ],
)
def test_errors(function, shape, error, words):
    message = message_of(error, trace, function, shape)
    for word in words:
        assert word in message
