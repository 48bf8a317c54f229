"""Upsample and interpolate against torch's."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.helpers import check_triangle, message_of, numbers, run, trace
from trtnn import functional as F
from trtnn.errors import ArgumentError, ShapeError
from trtnn.modules import Upsample

UPSAMPLES = [
    ({"scale_factor": 2}, (1, 3, 4, 5)),
    ({"scale_factor": 2.0, "mode": "nearest"}, (2, 3, 1, 7)),
    ({"scale_factor": (1.5, 3)}, (1, 3, 4, 5)),
    ({"scale_factor": 0.5}, (1, 3, 7, 8)),
    ({"size": 7}, (1, 3, 4, 5)),
    ({"size": (3, 11)}, (1, 3, 4, 5)),
    ({"scale_factor": 2, "mode": "bilinear"}, (1, 3, 4, 5)),
    ({"scale_factor": 2, "mode": "bilinear", "align_corners": True}, (1, 3, 4, 5)),
    ({"scale_factor": 2, "mode": "bilinear", "align_corners": False}, (1, 3, 4, 5)),
    ({"scale_factor": (2.5, 0.5), "mode": "bilinear"}, (1, 3, 5, 8)),
    ({"size": (9, 3), "mode": "bilinear"}, (1, 3, 4, 5)),
    ({"size": (9, 3), "mode": "bilinear", "align_corners": True}, (1, 3, 4, 5)),
    ({"size": (1, 1), "mode": "bilinear", "align_corners": True}, (1, 3, 4, 5)),
    ({"size": (4, 5), "mode": "bilinear"}, (1, 3, 4, 5)),
]


@pytest.mark.parametrize(("options", "shape"), UPSAMPLES)
def test_upsample(options, shape):
    ours, theirs = Upsample(**options), torch.nn.Upsample(**options)
    check_triangle(ours, theirs, numbers(*shape))
    assert repr(ours) == repr(theirs)


LENGTHS = st.tuples(st.integers(1, 9), st.integers(1, 9))


HOW = [(mode, aligned) for mode in ("bilinear", "bicubic") for aligned in (True, False)]


@settings(deadline=None, max_examples=100)
@given(LENGTHS, LENGTHS, st.sampled_from([("nearest", None), ("nearest-exact", None), ("area", None), *HOW]))
def test_any_size(lengths, size, how):
    mode, align_corners = how
    x = numbers(1, 2, *lengths)
    expected = torch.nn.functional.interpolate(torch.from_numpy(x), size, mode=mode, align_corners=align_corners)
    result = run(lambda x: F.interpolate(x, size, mode=mode, align_corners=align_corners), x)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 200), st.integers(5, 400))
def test_lengths_by_any_factor_are_torchs(length, percent):
    factor = percent / 100  # a few of these products differ between single and double precision
    assume(math.floor(length * factor) >= 1)
    expected = torch.nn.functional.interpolate(torch.zeros(1, 1, length, 1), scale_factor=(factor, 1.0))
    network = trace(lambda x: F.interpolate(x, scale_factor=(factor, 1)), (1, 1, length, 1))
    assert network.outputs["output"].shape == expected.shape


@pytest.mark.parametrize(("length", "factor"), [(100, 0.29), (100, 0.59), (200, 0.53), (25, 1.16)])
def test_lengths_that_single_precision_would_miss(length, factor):
    check_triangle(
        lambda x: F.interpolate(x, scale_factor=(factor, 1), mode="bilinear"),
        lambda x: torch.nn.functional.interpolate(x, scale_factor=(factor, 1.0), mode="bilinear"),
        np.linspace(0, 1, length, dtype=np.float32).reshape(1, 1, length, 1),
    )


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, ArgumentError, ["one of size and scale_factor"]),
        ({"size": 4, "scale_factor": 2}, ArgumentError, ["one of size and scale_factor"]),
        ({"scale_factor": 2, "mode": "lanczos"}, ArgumentError, ["'lanczos'", "'bicubic'"]),
        (
            {"scale_factor": 2, "align_corners": False},
            ArgumentError,
            ["align_corners goes with modes that interpolate"],
        ),
        ({"scale_factor": (1, 2, 3)}, ArgumentError, ["scale_factor takes a number or 2"]),
        ({"size": (1, 2, 3)}, ArgumentError, ["size takes an int or two"]),
        ({"scale_factor": 0.2}, ShapeError, ["0.2 leaves nothing of a length of 4"]),
        ({"scale_factor": 0}, ArgumentError, ["a scale_factor is a number above 0, not 0.0"]),
    ],
)
def test_errors(options, error, words):
    message = message_of(error, trace, lambda x: F.interpolate(x, **options), (1, 3, 4, 5))
    for word in words:
        assert word in message


def test_three_dimensions_are_an_error():
    message = message_of(ShapeError, trace, Upsample(scale_factor=2, mode="bilinear"), (3, 4, 5))
    assert "interpolate with mode 'bilinear' in function takes (batch, channels, height, width)" in message
    assert "float32[3, 4, 5]" in message


@settings(deadline=None, max_examples=200)
@given(
    st.integers(1, 60), st.sampled_from([*range(40, 400, 10), 125, 333]), st.sampled_from(["nearest", "nearest-exact"])
)
@example(8, 170, "nearest-exact")
@example(13, 170, "nearest")
def test_the_nearest_by_any_factor_is_torchs(length, percent, mode):
    # By 1.7, the place at 8 is 8.5 / 1.7 = 5: what rounds the factor to float32 on the way may come to 4.
    factor = percent / 100
    assume(math.floor(length * factor) >= 1)
    x = np.arange(length * 3, dtype=np.float32).reshape(1, 1, length, 3)
    for factors in (factor, 1.0), (factor, 2.0):
        expected = torch.nn.functional.interpolate(torch.from_numpy(x), scale_factor=factors, mode=mode)
        result = run(lambda x, by=factors: F.interpolate(x, scale_factor=by, mode=mode), x)
        np.testing.assert_array_equal(result, expected)
