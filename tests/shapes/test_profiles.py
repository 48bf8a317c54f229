"""Optimisation profiles: how they are declared, and what a call's shapes are held against."""

import numpy as np
import pytest
import torch

from tests.helpers import ONE_TARGET, assert_close, message_of, numbers, trace
from trtnn import Dim, Engine, Input
from trtnn.build.build import BuildConfig, _make_settings, resolve_targets
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.shapes.call import Shapes
from trtnn.shapes.profiles import as_inputs, merge_profiles
from trtnn.shapes.reading import LengthReader
from trtnn.shapes.symbolic import same_shape


def images(batch=(1, 2, 4), height=(32, 64, 128), **options):
    height = Dim("height", *height, **{"multiple_of": 32, **options})
    return Input((Dim("batch", *batch), 3, height, Dim("width", 8, 8, 16)))


SMALL, LARGE = images(), images((1, 1, 2), (96, 160, 256))
OTHER = Input((Dim("batch", 1, 2, 4), 5))


def add_columns(x, y):
    return x + y[:, :1, None, None]


@pytest.fixture(scope="module")
def network():
    """Two inputs that share the batch, in one profile."""
    return trace(add_columns, SMALL, OTHER)


@pytest.fixture(scope="module")
def two():
    return trace(lambda x: x * 2, [SMALL, LARGE])


def zeros(*shape):
    return np.zeros(shape, np.float32)


def test_what_an_input_may_be():
    assert as_inputs((1, 3)) == as_inputs([1, 3]) == as_inputs(Input((1, 3))) == (Input((1, 3)),)
    assert as_inputs([SMALL, LARGE]) == (SMALL, LARGE)
    assert as_inputs(SMALL.shape) == (SMALL,)
    assert as_inputs([SMALL.shape, LARGE.shape]) == (SMALL, LARGE)


def test_the_network_reaches_over_all_profiles():
    merged, profiles = merge_profiles({"x": (SMALL, LARGE), "y": (Input((1, 2)),)})
    batch, _, height, width = merged["x"].shape
    assert [(d.min, d.opt, d.max) for d in (batch, height, width)] == [(1, 2, 4), (32, 64, 256), (8, 8, 16)]
    assert height.multiple_of == 32
    assert merged["y"] == Input((1, 2))
    assert [profile["height"].max for profile in profiles] == [128, 256]
    assert merge_profiles({"y": (Input((1, 2)),)}) == ({"y": Input((1, 2))}, ())


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        ({"x": (SMALL, LARGE), "y": (OTHER,)}, ArgumentError, "as many Inputs as there are profiles"),
        ({"x": (SMALL, images(multiple_of=1))}, ArgumentError, "the profiles of input 'x' differ in more"),
        ({"x": (SMALL, Input(SMALL.shape, "float16"))}, ArgumentError, "differ in more than"),
        ({"x": (SMALL, Input((1, 3, 32, 8)))}, ArgumentError, "differ in more than"),
        ({"x": (Input((1, 3)), Input((2, 3)))}, ArgumentError, "differ in more than"),
        ({"x": (SMALL,), "y": (Input((Dim("batch", 1, 2, 5), 5)),)}, ArgumentError, "'batch' was given two ranges"),
        ({"x": (Input((SMALL.shape[2] // 2,)),)}, ShapeError, "is a trtnn.Dim, not height//2"),
    ],
)  # fmt: skip
def test_profiles_that_do_not_fit(inputs, error, words):
    assert words in message_of(error, merge_profiles, inputs)


def test_two_ranges_of_one_dimension_are_shown():
    message = message_of(ArgumentError, trace, add_columns, SMALL, Input((Dim("batch", 1, 2, 5), 5)))
    assert "batch is 1 to 4" in message
    assert "batch is 1 to 5" in message


def test_calls_within_a_profile(network):
    for batch, height, width in ((1, 32, 8), (4, 128, 16), (3, 96, 11)):
        x, y = numbers(batch, 3, height, width), numbers(batch, 5)
        assert_close(network.run(x, y), torch.from_numpy(x) + torch.from_numpy(y)[:, :1, None, None])


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (
            [(1, 3, 160, 8), (1, 5)],
            "outside the profile\n  height is 32 to 128, a multiple of 32; received 160",
        ),
        ([(1, 3, 100, 8), (1, 5)], "height is 32 to 128, a multiple of 32; received 100"),
        (
            [(5, 3, 32, 7), (5, 5)],
            "outside the profile\n  batch is 1 to 4; received 5\n  width is 8 to 16; received 7",
        ),
        ([(2, 3, 32, 8), (1, 5)], "dimension 'batch' has two lengths in one call\n  2 in input 'x0', 1 in input 'x1'"),
        ([(2, 4, 32, 8), (2, 5)], "input 'x0' has the wrong shape\n  expected (batch, 3, height, width)"),
        ([(3, 32, 8), (2, 5)], "expected (batch, 3, height, width)\n  received (3, 32, 8)"),
        ([(1, 3, 32, 8), (1, 5, 1)], "input 'x1' has the wrong shape"),
    ],
)  # fmt: skip
def test_calls_outside(network, shapes, words):
    assert words in message_of(ShapeError, network.run, *(zeros(*shape) for shape in shapes))


def test_what_is_no_array_or_of_another_type(network):
    x, y = zeros(1, 3, 32, 8), zeros(1, 5)
    assert "not list" in message_of(DTypeError, network.run, x, y.tolist())
    assert "not NoneType" in message_of(DTypeError, network.run, None, y)
    assert "expected float32\n  received float64" in message_of(DTypeError, network.run, x.astype("float64"), y)


def test_the_first_profile_that_holds_the_shapes(two):
    shapes = Shapes(two.inputs, two.outputs, two.profiles)

    def profile(batch, height):
        return shapes.of_call({"x0": zeros(batch, 3, height, 8)}).profile

    assert [profile(1, 32), profile(4, 128), profile(1, 96), profile(2, 256)] == [0, 0, 0, 1]
    call = shapes.of_call({"x0": zeros(2, 3, 160, 9)})
    assert call.inputs == {"x0": Input((2, 3, 160, 9))}
    assert call.outputs == {"output": Input((2, 3, 160, 9))}
    assert shapes.of_call({"x0": zeros(2, 3, 160, 9)}) is call
    message = message_of(ShapeError, profile, 4, 256)
    assert message.startswith(
        "the inputs' shapes are in none of the 2 profiles\n  profile 0: height is 32 to 128, a mul"
    )
    assert "profile 1: batch is 1 to 2; received 4" in message


def test_tensorrt_is_told_every_profile(two, network):
    for traced, count in ((two, 2), (network, 1), (trace(lambda x: x * 2, (2, 3)), 0)):
        config = BuildConfig(**ONE_TARGET)
        settings, _ = _make_settings(traced.graph, config, resolve_targets(traced.graph.backend, config.targets))
        assert settings.num_optimization_profiles == count


def test_several_profiles_in_one_engine(two, tmp_path):
    engine = Engine.load(two.build(**ONE_TARGET).save(tmp_path / "two.engine"))
    assert [profile["height"]["max"] for profile in engine.description["profiles"]] == [128, 256]
    assert len(engine.profiles) == 2
    assert same_shape(engine.inputs["x0"].shape, two.inputs["x0"].shape)
    assert engine.outputs == two.outputs
    assert_close(two.run(numbers(2, 3, 256, 8)), torch.from_numpy(numbers(2, 3, 256, 8)) * 2)


def test_json(network):
    dims = {n.name: n for n in SMALL.shape if not isinstance(n, int)}
    for spec in (SMALL, Input((SMALL.shape[0] * 3 + 1, SMALL.shape[2] // 8)), Input((2, 3), "int32")):
        assert Input.from_json(spec.to_json(), LengthReader(dims)) == spec
    assert SMALL.to_json() == {"shape": ["batch", 3, "height", "width"], "dtype": "float32"}
    with pytest.raises(ValueError, match="'depth' in the length"):
        Input.from_json({"shape": ["depth"], "dtype": "float32"}, LengthReader(dims))
    assert SMALL.at_opt() == Input((2, 3, 64, 8))
    assert SMALL != LARGE
    assert Input((SMALL.shape[0],)) != Input((SMALL.shape[2],))
    assert hash(SMALL) == hash(images())
    assert "a shape holds positive ints" in message_of(ShapeError, Input, (SMALL.shape[0] - 1,))
