"""Fake quantisation beside torch's, exactly: halves, ends of the range, and what is no number."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers import check_triangle, message_of, run, trace
from trtnn import functional as F
from trtnn.errors import ArgumentError, DTypeError, ShapeError

INF, NAN = float("inf"), float("nan")
ODD = np.array([NAN, INF, -INF, 3e38, -3e38, 1e17, 0.0, -0.0, 0.05, 0.15, 0.25, -0.05, -0.15, 12.75, 1e-40], np.float32)
TIES = (np.arange(-600, 600) * 0.5).astype(np.float32)
SPREAD = np.random.default_rng(0).normal(0, 8, 4000).astype(np.float32)


@pytest.mark.parametrize("zero_point", [0, 3, -128])
@pytest.mark.parametrize("scale", [1.0, 0.1, 0.037, 3.0])
def test_each_number_is_torchs(scale, zero_point):
    x = np.concatenate([ODD, TIES, TIES * np.float32(scale), SPREAD])
    expected = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), scale, zero_point, -128, 127)
    got = run(lambda x: F.fake_quantize_per_tensor_affine(x, scale, zero_point, -128, 127), x)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind", ["int32", "float32"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_number_of_a_channel_is_torchs(axis, kind):
    x = np.concatenate([TIES, SPREAD[:1200]]).reshape(20, 6, 20)
    scales = np.linspace(0.02, 1, x.shape[axis], dtype=np.float32)
    zeros = (np.arange(x.shape[axis]) % 5 - 2).astype(kind) + np.zeros((), kind)
    zeros = zeros + np.float32(0.25) if kind == "float32" else zeros
    expected = torch.fake_quantize_per_channel_affine(*map(torch.from_numpy, (x, scales, zeros)), axis, -8, 7)
    got = run(lambda x: F.fake_quantize_per_channel_affine(x, scales, zeros, axis, -8, 7), x)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


def test_a_channel_goes_to_the_end_that_it_is_nearer_to():
    scale, zero = np.float32([0.1]), np.int32([3])
    got = run(lambda x: F.fake_quantize_per_channel_affine(x[None], scale, zero, 0, -8, 7)[0], ODD)
    np.testing.assert_array_equal(got, run(lambda x: F.fake_quantize_per_tensor_affine(x, scale, zero, -8, 7), ODD))


def test_scales_that_are_computed():
    x, half = SPREAD.reshape(4, 1000), np.float32([0.5])

    def function(x, scale):
        return F.fake_quantize_per_channel_affine(x, F.cat([scale, scale * 2] * 2), F.zeros(4), 0, -8, 7)

    expected = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(x), torch.tensor([0.5, 1, 0.5, 1]), torch.zeros(4), 0, -8, 7
    )
    np.testing.assert_array_equal(run(function, x, half), expected)
    got = run(lambda x, scale: F.fake_quantize_per_tensor_affine(x, scale, F.zeros(1, dtype="int32"), -8, 7), x, half)
    np.testing.assert_array_equal(got, torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), 0.5, 0, -8, 7))


def test_it_builds_and_runs_in_fp16():
    x = SPREAD[:64].reshape(4, 16).astype(np.float16).astype(np.float32)
    check_triangle(
        lambda x: F.fake_quantize_per_channel_affine(x, np.float32([0.1, 1, 2, 3]), np.int32([0, 1, 2, 3]), 0, -8, 7),
        lambda x: torch.fake_quantize_per_channel_affine(
            x, torch.tensor([0.1, 1, 2, 3]), torch.tensor([0, 1, 2, 3], dtype=torch.int32), 0, -8, 7
        ),
        x,
    )


WRONG = {
    "a zero point is not in the range from 0 to 15": (ArgumentError, "tensor", 1.0, -1, 0, 15),
    "from 5 to 3: the first is the larger": (ArgumentError, "tensor", 1.0, 4, 5, 3),
    "takes a whole zero point": (DTypeError, "tensor", 1.0, np.float32([1]), 0, 15),
    "1 scales and zero points, not shape (2,)": (ShapeError, "tensor", np.float32([1, 2]), 0, 0, 15),
    "2 scales and zero points, not shape (1,)": (ShapeError, "channel", np.float32([1]), np.int32([0]), 0, 0, 15),
    "the axis is from 0 to 1": (ArgumentError, "channel", np.float32([1]), np.int32([0]), -1, 0, 15),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_is_told(said):
    error, kind, *args = WRONG[said]
    function = getattr(F, f"fake_quantize_per_{kind}_affine")
    assert said in message_of(error, trace, lambda x: function(x, *args), SPREAD[:8].reshape(2, 4))


def test_whole_numbers_are_refused():
    said = message_of(DTypeError, trace, lambda x: F.fake_quantize_per_tensor_affine(x, 1.0, 0, 0, 15), np.arange(3))
    assert "takes floating-point input" in said
