"""Dynamic engines on a GPU: many shapes in one engine, several profiles, ``out=``, CUDA graphs and threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import trtnn
from tests.helpers import assert_close, load_random, message_of, numbers
from trtnn import Dim, Input
from trtnn.errors import ShapeError

TF = torch.nn.functional
TF32 = 2e-3


def images(batch, height, width):
    return Input((Dim("batch", *batch), 3, Dim("height", *height, multiple_of=8), Dim("width", *width, multiple_of=8)))


SMALL = images((1, 2, 4), (8, 16, 32), (8, 16, 32))
LARGE = images((1, 1, 2), (16, 64, 96), (16, 64, 96))
SIZES = [(1, 3, 8, 8), (4, 3, 32, 16), (2, 3, 16, 24), (4, 3, 32, 16)]
LARGE_SIZES = [(1, 3, 96, 64), (2, 3, 40, 96)]


class Small(trtnn.Module):
    """A convolution, and every way that a length gets into a network: reshapes, slices, counting, resizing, numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = trtnn.modules.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, images):
        x = trtnn.functional.silu(self.conv(images))
        batch, _, rows, columns = x.shape
        ramp = trtnn.functional.arange(columns, dtype="float32")
        up = trtnn.functional.interpolate(x[:, :2, 1:], size=(rows * 2, columns), mode="bilinear")
        cells = x.view(batch, 2, 2, rows, columns).permute(0, 1, 3, 4, 2)
        return {
            "ramp": x + ramp / columns,
            "up": up,
            "cells": cells[..., 1:].reshape(batch, -1),
            "edge": trtnn.functional.cat([x[:, :, : rows // 2], x[:, :, :, :1].expand(-1, -1, -1, columns)], 2),
        }


class Twin(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, images):
        x = TF.silu(self.conv(images))
        batch, _, rows, columns = x.shape
        cells = x.view(batch, 2, 2, rows, columns).permute(0, 1, 3, 4, 2)
        return {
            "ramp": x + torch.arange(columns, dtype=torch.float32) / columns,
            "up": TF.interpolate(x[:, :2, 1:], size=(rows * 2, columns), mode="bilinear"),
            "cells": cells[..., 1:].reshape(batch, -1),
            "edge": torch.cat([x[:, :, : rows // 2], x[:, :, :, :1].expand(-1, -1, -1, columns)], 2),
        }


@pytest.fixture(scope="module")
def twin():
    return load_random(Twin())


@pytest.fixture(scope="module")
def model(twin):
    model = Small()
    model.load_state_dict(twin.state_dict())
    return model


@pytest.fixture(scope="module")
def engine(model):
    return model.compile({"images": SMALL}, optimization_level=0)


@pytest.fixture(scope="module")
def two(model):
    return model.compile({"images": [SMALL, LARGE]}, optimization_level=0)


def check(call, twin, shape, seed=0):
    array = numbers(*shape, seed=seed)
    with torch.no_grad():
        expected = twin(torch.from_numpy(array))
    assert_close(call(array), expected, TF32)
    on_gpu = call(torch.from_numpy(array).cuda())
    assert all(value.is_cuda for value in on_gpu.values())
    assert_close({name: value.cpu().numpy() for name, value in on_gpu.items()}, expected, TF32)


def test_several_shapes_of_one_engine(engine, twin):
    for seed, shape in enumerate(SIZES):
        check(engine, twin, shape, seed)


def test_fp16(model, twin):
    half = model.compile({"images": SMALL}, fp16=True, optimization_level=0)
    for shape in SIZES:
        array = numbers(*shape)
        with torch.no_grad():
            assert_close(half(array), twin(torch.from_numpy(array)), 5e-3)


def test_two_profiles(two, twin):
    for shape in (*SIZES, *LARGE_SIZES, SIZES[0], LARGE_SIZES[1]):
        check(two, twin, shape)


def test_a_loaded_engine(two, twin, tmp_path):
    loaded = trtnn.Engine.load(two.save(tmp_path / "two.engine"))
    for shape in (SIZES[1], LARGE_SIZES[0]):
        check(loaded, twin, shape)


def test_out(engine, twin):
    for shape in SIZES:
        array = numbers(*shape)
        with torch.no_grad():
            expected = {name: value.numpy() for name, value in twin(torch.from_numpy(array)).items()}
        arrays = {name: np.zeros_like(value) for name, value in expected.items()}
        assert engine(array, out=arrays)["ramp"] is arrays["ramp"]
        assert_close(arrays, expected, TF32)
        tensors = {name: torch.zeros(value.shape, device="cuda") for name, value in expected.items()}
        assert engine(torch.from_numpy(array).cuda(), out=tensors)["up"] is tensors["up"]
        assert_close({name: value.cpu().numpy() for name, value in tensors.items()}, expected, TF32)
    message = message_of(ShapeError, engine, numbers(1, 3, 8, 8), out=arrays)
    assert "out 'ramp' has the wrong shape" in message
    assert "expected (1, 4, 4, 4)" in message


def test_a_cuda_graph_for_each_shape(two, twin):
    graphed = two.cuda_graph()
    for seed, shape in enumerate((*SIZES, *LARGE_SIZES, *SIZES)):
        check(graphed, twin, shape, seed)


def test_shapes_outside_the_profile(engine, two, twin):
    for call in (engine, engine.cuda_graph()):
        message = message_of(ShapeError, call, numbers(1, 3, 40, 8))
        assert "height is 8 to 32, a multiple of 8; received 40" in message
        on_gpu = torch.zeros(5, 3, 12, 8, device="cuda")
        message = message_of(ShapeError, call, on_gpu)
        assert "batch is 1 to 4; received 5" in message
        assert "received 12" in message
    assert "none of the 2 profiles" in message_of(ShapeError, two, numbers(4, 3, 96, 8))
    check(engine, twin, SIZES[0])


def test_threads_at_several_shapes(two):
    shapes = [*SIZES, *LARGE_SIZES] * 2
    arrays = [numbers(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    alone = [two(array) for array in arrays]

    def work(index):
        order = [(index + step) % len(arrays) for step in range(20)]
        return [(i, two(arrays[i])) for i in order]

    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(work, range(4)):
            for i, result in results:
                for name, value in result.items():
                    np.testing.assert_array_equal(value, alone[i][name])


def test_two_inputs_share_a_dimension():
    class Add(trtnn.Module):
        def forward(self, x, y):
            return x + y[:, :1]

    rows = Dim("rows", 1, 4, 16)
    engine = Add().compile({"x": (rows, 5), "y": (rows, Dim("columns", 2, 3, 4))}, optimization_level=0)
    for count, columns in ((1, 2), (16, 4), (7, 3)):
        x, y = numbers(count, 5), numbers(count, columns)
        assert_close(engine(x, y), torch.from_numpy(x + y[:, :1]))
    assert "'rows' has two lengths" in message_of(ShapeError, engine, numbers(2, 5), numbers(3, 2))
