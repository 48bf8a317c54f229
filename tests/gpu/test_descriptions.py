"""What an engine's file says, held against what TensorRT finds in the plan, on a GPU."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import trtnn
from tests.helpers import ENGINE_TOLERANCE, assert_close, message_of, needs_type, numbers, trace
from trtnn import Dim, Input
from trtnn.errors import EngineError

TF32 = 2e-3


def images(batch, height):
    return Input((Dim("batch", *batch), 3, Dim("height", *height, multiple_of=2), 8))


FIRST, SECOND = images((1, 2, 4), (8, 8, 16)), images((1, 1, 1), (16, 32, 64))


class Net(trtnn.Module):
    def forward(self, images, scale):
        x = trtnn.functional.max_pool2d(images, 2)
        return {"pooled": x * scale, "counts": (x > 0).sum((1, 2, 3))}


def expected(x, scale):
    pooled = torch.nn.functional.max_pool2d(torch.from_numpy(x), 2)
    return {"pooled": pooled * torch.from_numpy(scale), "counts": (pooled > 0).sum((1, 2, 3))}


SCALE = np.array([2.0], np.float32)


@pytest.fixture(scope="module")
def static():
    return Net().compile({"images": (2, 3, 8, 8), "scale": (1,)}, optimization_level=0)


@pytest.fixture(scope="module")
def dynamic():
    return Net().compile({"images": [FIRST, SECOND], "scale": (1,)}, optimization_level=0)


def loaded(engine, tmp_path, **changes):
    """The engine of a file of before, which has no digest over what it says."""
    text = json.dumps({**engine.description, **changes}).encode()
    path = tmp_path / "forged.engine"
    path.write_bytes(len(text).to_bytes(4, "little") + text + bytes(engine.plan))
    return trtnn.Engine.load(path)


def changed(table, name, **changes):
    return {**table, name: {**table[name], **changes}}


def test_what_is_true_loads_and_runs(static, dynamic, tmp_path):
    for engine, shapes in ((static, [(2, 3, 8, 8)]), (dynamic, [(1, 3, 8, 8), (4, 3, 16, 8), (1, 3, 64, 8)])):
        saved = trtnn.Engine.load(engine.save(tmp_path / "a.engine"))
        for shape in shapes:
            x = numbers(*shape)
            for one in (engine, saved, loaded(engine, tmp_path)):
                assert_close(one(x, SCALE), expected(x, SCALE), TF32)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda d: {"inputs": changed(d["inputs"], "images", shape=[2, 3, 8, 9])},
            "the shape [2, 3, 8, 9]; in the plan",
        ),
        (
            lambda d: {"inputs": changed(d["inputs"], "images", dtype="float16")},
            "'images' is float16; in the plan FLOAT",
        ),
        (lambda d: {"inputs": changed(d["inputs"], "scale", shape=[1, 1])}, "the shape [1, 1]; in the plan [1]"),
        (
            lambda d: {"outputs": changed(d["outputs"], "pooled", shape=[2, 3, 4, 3])},
            "[2, 3, 4, 3]; in the plan [2, 3, 4, 4]",
        ),
        (
            lambda d: {"outputs": changed(d["outputs"], "counts", dtype="bool")},
            "output 'counts' is bool; in the plan INT",
        ),
        (
            lambda d: {"inputs": {"x": d["inputs"]["images"], "scale": d["inputs"]["scale"]}},
            "its inputs are x, scale; in the plan images, scale",
        ),
        (
            lambda d: {"outputs": {"pooled": d["outputs"]["pooled"]}, "structure": "pooled"},
            "its outputs are pooled; in the plan ",
        ),
    ],
)
def test_a_static_engine_that_contradicts_its_plan(static, tmp_path, change, line):
    forged = loaded(static, tmp_path, **change(static.description))
    assert line in message_of(EngineError, forged._open)


def profile(height_max=16, batch_opt=2):
    return {
        "batch": {"min": 1, "opt": batch_opt, "max": 4, "multiple_of": 1},
        "height": {"min": 8, "opt": 8, "max": height_max, "multiple_of": 2},
    }


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda d: {"profiles": [profile(18), d["profiles"][1]]}, "(4, 3, 18, 8)] (min, opt, max); in the plan ["),
        (lambda d: {"profiles": [profile(batch_opt=3), d["profiles"][1]]}, "input 'images' goes in profile 0 by "),
        (lambda d: {"profiles": d["profiles"][::-1]}, "input 'images' goes in profile 1 by "),
        (lambda d: {"profiles": d["profiles"][:1]}, "it has 1 profiles; in the plan 2"),
        (
            lambda d: {"inputs": changed(d["inputs"], "images", shape=["height", 3, "batch", 8])},
            "input 'images' goes in profile 0 by ",
        ),
        (
            lambda d: {"outputs": changed(d["outputs"], "pooled", shape=["batch", 2, "height//2", 4])},
            "in the plan [-1, 3",
        ),
    ],
)
def test_a_dynamic_engine_that_contradicts_its_plan(dynamic, tmp_path, change, line):
    assert profile() == dynamic.description["profiles"][0]
    forged = loaded(dynamic, tmp_path, **change(dynamic.description))
    assert line in message_of(EngineError, forged._open)


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("captured", [False, True])
def test_a_dynamic_output_of_another_length(dynamic, tmp_path, on_gpu, captured):
    shape = ["batch", 3, "height//2 - 1", 4]
    forged = loaded(dynamic, tmp_path, outputs=changed(dynamic.description["outputs"], "pooled", shape=shape))
    x, scale = numbers(2, 3, 8, 8), SCALE
    if on_gpu:
        x, scale = torch.from_numpy(x).cuda(), torch.from_numpy(scale).cuda()
    call = forged.cuda_graph() if captured else forged
    message = message_of(EngineError, call, x, scale)
    assert "output 'pooled' has the shape (2, 3, 3, 4); in the plan (2, 3, 4, 4)" in message


def test_an_input_that_nothing_reads():
    """TensorRT keeps it."""
    engine = trace(lambda x, y: x * 2, (2, 3), (4, 5)).build(optimization_level=0)
    assert_close(engine(numbers(2, 3), numbers(4, 5)), torch.from_numpy(numbers(2, 3)) * 2)
    dims = Dim("rows", 1, 2, 4)
    engine = trace(lambda x, y: x * 2, (dims, 3), (dims, 5)).build(optimization_level=0)
    assert_close(engine(numbers(4, 3), numbers(4, 5)), torch.from_numpy(numbers(4, 3)) * 2)


def test_an_input_of_which_only_the_length_is_read():
    rows, columns = Dim("rows", 1, 2, 4), Dim("columns", 2, 3, 7)
    network = trace(lambda x, y: x.reshape(-1, 1).expand(-1, y.shape[0]), (rows,), (columns,))
    engine = network.build(optimization_level=0)
    x = numbers(3)
    assert_close(engine(x, numbers(5)), torch.from_numpy(x).reshape(-1, 1).expand(-1, 5).contiguous(), ENGINE_TOLERANCE)


def test_a_dimension_of_one_length():
    engine = trace(lambda x: x * 2, (Dim("rows", 4, 4, 4), Dim("columns", 1, 2, 3))).build(optimization_level=0)
    assert_close(engine(numbers(4, 3)), torch.from_numpy(numbers(4, 3)) * 2)
    engine = trace(lambda x: x * 2, (Dim("rows", 4, 4, 4), 3)).build(optimization_level=0)
    assert_close(engine(numbers(4, 3)), torch.from_numpy(numbers(4, 3)) * 2)


@pytest.mark.parametrize(
    "dtype",
    [
        "float16",
        "int32",
        "bool",
        pytest.param("uint8", marks=needs_type("uint8")),
        pytest.param("int8", marks=needs_type("int8")),
    ],
)
def test_inputs_and_outputs_of_every_type(dtype):
    x = np.arange(6).reshape(2, 3).astype(dtype)
    engine = trace(lambda x: (x, x.to("float32"), x > 0 if dtype != "bool" else ~x), x).build(optimization_level=0)
    same, floats, other = engine(x)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(floats, x.astype(np.float32))
    np.testing.assert_array_equal(other, x > 0 if dtype != "bool" else ~x)
