"""Resizing with antialiasing, held against torch's, and against Pillow's where torch's own is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import assert_close, message_of, trace
from trtnn import Dim
from trtnn import functional as F
from trtnn.errors import ArgumentError, ShapeError, UnsupportedError

MODES = ("bilinear", "bicubic", "lanczos")
WAYS = {
    "smaller": {"size": (5, 7)},
    "a side larger": {"size": (40, 3)},
    "both larger": {"size": (41, 50)},
    "as it is": {"size": (17, 23)},
    "a side of 1": {"size": (1, 9)},
    "one number": {"size": 8},
    "a factor": {"scale_factor": 0.37},
    "two factors": {"scale_factor": (2.3, 0.6)},
    "a factor that leaves a side as it is": {"scale_factor": (1.05, 2.0)},
    "a factor anew": {"scale_factor": 0.37, "recompute_scale_factor": True},
    "corners": {"size": (5, 7), "align_corners": True},
    "corners of a side of 1": {"size": (1, 9), "align_corners": True},
}


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def of_torch(x, **options):
    return torch.nn.functional.interpolate(torch.from_numpy(x), antialias=True, **options)


def resized(x, **options):
    return trace(lambda x: F.interpolate(x, antialias=True, **options), x.shape).run(x)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", MODES)
def test_it_is_torch_s(mode, way):
    options = {"mode": mode, **WAYS[way]}
    if mode == "lanczos" and options.pop("align_corners", False):
        options = {"mode": mode, **WAYS[way], "align_corners": None}
    x = images(2, 3, 17, 23)
    assert_close(resized(x, **options), of_torch(x, **options), 1e-5, 5e-6)


@pytest.mark.parametrize("mode", MODES)
def test_a_column_is_pillow_s(mode):
    """torch 2.13 repeats the first number of a result that is one column."""
    x = images(1, 1, 8, 5)
    expected = np.asarray(Image.fromarray(x[0, 0]).resize((1, 3), getattr(Image, mode.upper())))
    np.testing.assert_allclose(resized(x, size=(3, 1), mode=mode)[0, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_it_is_torch_s_in_half(mode):
    x = images(1, 3, 32, 24)
    options = {"size": (7, 9), "mode": mode}
    found = trace(lambda x: F.interpolate(x, antialias=True, **options), x.shape, fp16=True).run(x)
    assert_close(found, of_torch(x, **options), 2e-3, 2e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_torch_s_where_the_kernel_reaches_it_and_nan_elsewhere(value):
    x = images(1, 1, 16, 12)
    x[0, 0, 5, 5] = value
    options = {"size": (6, 7), "mode": "bilinear"}
    found, expected = resized(x, **options), of_torch(x, **options).numpy()
    reached = ~np.isfinite(expected)
    assert 0 < reached.sum() < expected.size
    np.testing.assert_array_equal(found[reached], expected[reached])
    assert np.isnan(found[~reached]).all()


def test_batches_and_channels_may_be_dynamic():
    network = trace(
        lambda x: F.interpolate(x, size=(4, 6), mode="bilinear", antialias=True), (Dim("n", 1, 2, 4), 3, 9, 8)
    )
    for n in (1, 4):
        x = images(n, 3, 9, 8)
        assert_close(network.run(x), of_torch(x, size=(4, 6), mode="bilinear"), 1e-5, 5e-6)


REFUSED = {
    "a mode without": (
        (1, 3, 8, 8),
        {"size": 4, "mode": "nearest"},
        ArgumentError,
        "'bilinear', 'bicubic', 'lanczos', not",
    ),
    "one side": ((1, 3, 8), {"size": 4, "mode": "bilinear"}, ShapeError, "interpolate with antialias"),
    "neither": ((1, 3, 8, 8), {"mode": "bilinear"}, ArgumentError, "one of size and scale_factor"),
    "both": ((1, 3, 8, 8), {"size": 4, "scale_factor": 2, "mode": "bilinear"}, ArgumentError, "one of size"),
    "corners": (
        (1, 3, 8, 8),
        {"size": 4, "mode": "lanczos", "align_corners": True},
        ArgumentError,
        "align_corners does not go with lanczos",
    ),
    "dynamic": (
        (1, 3, Dim("h", 8, 8, 16), 8),
        {"size": 4, "mode": "bilinear"},
        UnsupportedError,
        "antialias of dynamic lengths, (h, 8) to (4, 4)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_says_why(case):
    shape, options, kind, said = REFUSED[case]
    assert said in message_of(kind, trace, lambda x: F.interpolate(x, antialias=True, **options), shape)
