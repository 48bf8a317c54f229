"""The kernel's source, emulated on the CPU, against the definition; and what it says to bad parameters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.helpers import message_of
from tests.plugins.cases import CASES, FP16_TOLERANCE, FP32_TOLERANCE, Case, error_of, make_layer, random_tensors
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.plugins.dcnv2.kernel import DeformConv2d, Library

HALF_TILES, FLOAT_TILES = 18, 5
TILES = [(True, tile) for tile in range(HALF_TILES)] + [(False, tile) for tile in range(FLOAT_TILES)]


@pytest.mark.parametrize("half", [True, False], ids=["fp16", "fp32"])
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_definition(emulated, name, half):
    assert error_of(emulated, CASES[name], half) < (FP16_TOLERANCE if half else FP32_TOLERANCE)


@pytest.mark.parametrize(("half", "tile"), TILES)
def test_every_block_shape_agrees(emulated, half, tile):
    case = Case(channels=24, outputs=168, height=12, width=17)
    assert error_of(emulated, case, half, tile) < (FP16_TOLERANCE if half else FP32_TOLERANCE)


def test_the_block_shapes_are_those_tested(emulated):
    assert [len(emulated.tiles(half)) for half in (True, False)] == [HALF_TILES, FLOAT_TILES]


@pytest.mark.parametrize("half", [True, False], ids=["fp16", "fp32"])
def test_the_order_of_threads_does_not_matter(emulated, half, monkeypatch):
    """A barrier that is missing shows when the threads run from the last to the first."""
    monkeypatch.setenv("DCNV2_EMULATE_REVERSE", "1")
    several = dataclasses.replace(CASES["more slots than fit"], input_last=False, output_last=False)
    odd = Case(
        channels=16 if half else 8, offset_groups=2, kernel=5, padding=2, outputs=16
    )  # phases of 4, 3, 4, 3 k-tiles
    for tile in range(len(emulated.tiles(half))):
        for case in (several, odd):
            assert error_of(emulated, case, half, tile) < (FP16_TOLERANCE if half else FP32_TOLERANCE)


def test_infinity_in_the_picture_does_not_reach_samples_outside(emulated):
    case = Case(channels=8, outputs=8, kernel=1, padding=0, bias=False)
    x, offset, mask, weight, bias = random_tensors(case, True)
    x[:] = float("inf")
    offset[:] = 100.0
    output = make_layer(emulated, case, True, weight, bias)(x, offset, mask)
    assert torch.equal(output, torch.zeros_like(output))


def test_a_tap_that_is_not_a_number_counts_as_outside(emulated):
    case = Case(channels=8, outputs=8, kernel=1, padding=0, bias=False)
    x, offset, mask, weight, bias = random_tensors(case, False)
    layer = make_layer(emulated, case, False, weight, bias)
    offset[:, :, 2, 3] = float("nan")
    output = layer(x, offset, mask)
    assert torch.equal(output[:, :, 2, 3], torch.zeros(1, 8))
    assert output.isfinite().all()


HOPPER = {"s": "samples in shared memory", "r": "samples in registers"}


@pytest.mark.parametrize("kind", HOPPER)
@pytest.mark.parametrize("name", CASES)
def test_warpgroups_agree_with_the_definition(emulated, name, kind):
    """Each case with one of Hopper's block shapes of each kind; which one goes round."""
    tiles = [i for i, tile in enumerate(emulated.tiles(True)) if kind in tile.split("-")[0]]
    tile = tiles[list(CASES).index(name) % len(tiles)]
    assert error_of(emulated, CASES[name], True, tile) < FP16_TOLERANCE


@pytest.mark.parametrize("name", ["64x64", "128x64", "128x128s-f2b2", "128x160r-b1", "64x128r-k2b1"])
@pytest.mark.parametrize("output_last", [True, False])
def test_only_what_fills_no_multiprocessors_is_split(emulated, name, output_last, monkeypatch):
    """On a GPU of two multiprocessors most blocks are whole, and the rest are split; also of more than one group."""
    monkeypatch.setenv("DCNV2_EMULATE_MULTIPROCESSORS", "2")
    tile = emulated.tiles(True).index(name)
    for more in ({}, {"groups": 2, "outputs": 16}):
        case = Case(batch=2, height=23, width=25, splits=3, output_last=output_last, **more)
        assert error_of(emulated, case, True, tile) < FP16_TOLERANCE


def test_a_large_layer_takes_large_blocks_and_a_small_one_is_split(emulated):
    """The choice is by expected time; here only that it goes with the size."""
    layer = DeformConv2d(emulated, np.zeros((256, 256, 3, 3), np.float32), padding=1)
    large = layer.make_call(33, 32, 64, input_layout=1, output_layout=1)  # 528 blocks of 128 pixels: four waves
    small = layer.make_call(1, 10, 10, input_layout=1, output_layout=1)
    assert int(layer.choice(large)[0].split("x")[0]) >= 128
    assert layer.choice(large)[1] == 1
    assert layer.choice(small)[1] > 1


def weights(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weight": weights(6, 4, 3, 3), "groups": 4}, ["16 channels to 6", "4 groups"]),
        ({"weight": weights(4, 6, 3, 3), "offset_groups": 4}, ["6 channels", "4 offset groups"]),
        ({"weight": weights(4, 4, 3, 3), "stride": 0}, ["stride_h is 0"]),
        ({"weight": weights(4, 4, 3, 3), "padding": -1}, ["padding is -1 x -1"]),
        ({"weight": weights(4, 4, 3, 3), "mask": "none", "combined": True}, ["combined", "needs a mask"]),
        ({"weight": weights(4, 4, 3, 3), "mask": "sigmoid"}, ["'sigmoid'", "none, given, logits"]),
    ],
)
def test_bad_layers_are_named(emulated, arguments, words):
    message = message_of(ArgumentError, lambda: DeformConv2d(emulated, **arguments))
    assert all(word in message for word in words), message


def test_bad_weights_are_named(emulated):
    message = message_of(ShapeError, lambda: DeformConv2d(emulated, weights(4, 4, 3)))
    assert "(4, 4, 3)" in message


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": torch.zeros(1, 3, 9, 9)}, ShapeError, ["(1, 3, 9, 9)", "expected (batch, 8,"]),
        ({"x": torch.zeros(1, 8, 9, 9, dtype=torch.float16)}, DTypeError, ["float16", "computes in float32"]),
        ({"offset": torch.zeros(1, 9, 9, 9)}, ShapeError, ["offset is (1, 9, 9, 9)", "(1, 18, 9, 9)"]),
        ({"offset": torch.zeros(1, 18, 9, 9).half()}, DTypeError, ["both float32 or both float16"]),
        ({"mask": None}, ShapeError, ["mask is None", "(1, 9, 9, 9)"]),
        ({"x": torch.zeros(1, 8, 1, 0)}, ArgumentError, ["1 x 0 is smaller than the kernel (3 x 3"]),
        ({"tile": 99}, ArgumentError, ["tile 99"]),
        ({"splits": 99}, ArgumentError, ["splits is 99"]),
    ],
)
def test_bad_calls_are_named(emulated, change, error, words):
    layer = DeformConv2d(emulated, weights(4, 8, 3, 3), padding=1, half=False)
    given = {
        "x": torch.zeros(1, 8, 9, 9),
        "offset": torch.zeros(1, 18, 9, 9),
        "mask": torch.zeros(1, 9, 9, 9),
        **change,
    }
    message = message_of(error, lambda: layer(**given))
    assert all(word in message for word in words), message


def test_fp32_takes_no_fp16_offsets(emulated):
    layer = DeformConv2d(emulated, weights(4, 8, 3, 3), padding=1, half=False)
    x, offset, mask = torch.zeros(1, 8, 9, 9), torch.zeros(1, 18, 9, 9).half(), torch.zeros(1, 9, 9, 9).half()
    assert "fp32 x needs fp32 offset" in message_of(ArgumentError, lambda: layer(x, offset, mask))


def test_too_little_workspace_is_said(emulated):
    layer = DeformConv2d(emulated, weights(4, 8, 3, 3), padding=1)
    call = layer.make_call(1, 9, 9)
    buffer = np.zeros(1 << 16, np.uint8)
    place = buffer.ctypes.data + -buffer.ctypes.data % 16
    with pytest.raises(ArgumentError, match=r"the workspace has 16 bytes, 1536 are needed"):
        emulated.call("forward", layer.handle, call, place, place, place, place, place, 16, None)


def test_a_missing_library_says_how_to_build_it(tmp_path):
    message = message_of(ArgumentError, lambda: Library(tmp_path / "none.so"))
    assert "none.so" in message
    assert "build --kernel-only" in message
