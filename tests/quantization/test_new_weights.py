"""Weights that are loaded into a quantised model without scales: what its scales cut off of them is told."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import trtnn
from tests.helpers import message_of
from tests.quantization.networks import filled, images, quantize
from trtnn.errors import StateDictError
from trtnn.modules import BatchNorm2d, Conv2d, ConvTranspose2d, Linear, Module, ReLU, Sequential
from trtnn.modules.refitting import Retracer

SHAPE = (1, 4, 16, 16)


def two() -> Sequential:
    model = filled(Sequential(Conv2d(4, 8, 3, bias=False), BatchNorm2d(8), ReLU(), Conv2d(8, 4, 1)))
    model.inputs = {"input": SHAPE}
    return model


def told(model: Module) -> list[str]:
    """Return what a trace warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.trace()
    return [str(one.message) for one in caught]


def grown(model: Module, times: float, *names: str) -> dict[str, np.ndarray]:
    """Return the weights of a model, some of them multiplied, without its scales."""
    state = {name: array for name, array in model.state_dict().items() if "scale" not in name and name[-4:] != "_max"}
    return {name: array * np.float32(times if name in names else 1) for name, array in state.items()}


def largest(model: Sequential, index: int) -> float:
    """Return by NumPy the largest |w| of a convolution, by what its scale holds; the first has a BatchNorm behind."""
    weight = np.abs(model[index].weight.data.astype(np.float64)).max((1, 2, 3))
    if index == 0:
        weight = weight * np.abs(model[1].weight.data) / np.sqrt(model[1].running_var.data + 1e-5)
    return float((weight / (127 * model[index].weight_scale.data)).max())


@pytest.mark.parametrize("is_traced", [True, False])
def test_weights_that_outgrow_their_scales_are_told_once_for_each_load(is_traced):
    model = quantize(two(), images(2, *SHAPE))
    state = model.state_dict()
    if not is_traced:  # scales of a file, which nobody has looked at before
        model = two()
        model.load_state_dict(state)
    model.load_state_dict(grown(model, 1.5, "3.weight"), strict=False)
    (message,) = told(model)
    assert message.startswith(
        "weights go beyond what their scales hold, and are cut off there: 3 1.5 times; quantise again"
    )
    assert told(model) == []
    model.load_state_dict(grown(model, 1.0), strict=False)
    assert len(told(model)) == 1  # again, for another load
    model.load_state_dict(state)
    assert told(model) == []


def test_weights_that_are_assigned_are_told_as_well():
    model = quantize(two(), images(2, *SHAPE))
    model[3].weight.data = model[3].weight.data * np.float32(1.5)
    assert "3 1.5 times" in told(model)[0]
    assert told(model) == []


def test_plain_weights_are_told_apart_from_those_of_another_model():
    model = quantize(two(), images(2, *SHAPE))
    hint = "the model is quantised, and these have not all its scales: strict=False keeps those that it has"
    assert hint in message_of(StateDictError, lambda: model.load_state_dict(two().state_dict()))
    other = {name: array for name, array in two().state_dict().items() if name != "3.bias"}
    assert hint not in message_of(StateDictError, lambda: model.load_state_dict(other))


def test_what_a_batchnorm_multiplies_by_counts():
    model = quantize(two(), images(2, *SHAPE))
    model.load_state_dict(grown(model, 1.25, "1.weight"), strict=False)
    (message,) = told(model)
    assert re.search(r"there: 0 1\.25 times;", message)
    assert largest(model, 0) == pytest.approx(1.25, rel=1e-4)
    smaller = quantize(two(), images(2, *SHAPE))
    state = grown(smaller, 2.0, "0.weight")
    state["1.weight"] = state["1.weight"] / 2
    smaller.load_state_dict(state, strict=False)
    assert told(smaller) == []


def test_scales_that_cut_off_on_purpose_are_not_told_but_for_what_goes_beyond():
    model = quantize(two(), images(2, *SHAPE))
    model.trace()
    clipping = model.state_dict()
    clipping["3.weight_scale"] = clipping["3.weight_scale"] * np.float32(0.5)
    model.load_state_dict(clipping)
    assert told(model) == []
    model.load_state_dict(grown(model, 0.9, "3.weight"), strict=False)
    assert largest(model, 3) == pytest.approx(1.8, rel=1e-4)
    assert told(model) == []
    model.load_state_dict(grown(model, 1.2, "3.weight"), strict=False)
    (message,) = told(model)
    assert "3 2.16 times" in message


def test_scales_that_are_far_too_small_are_told_whatever_they_came_with():
    model = quantize(two(), images(2, *SHAPE))
    state = model.state_dict()
    for divisor in (9, 127):
        other = two()
        other.load_state_dict({**state, "3.weight_scale": state["3.weight_scale"] / np.float32(divisor)})
        messages = told(other)
        assert ["there: 3 127 times; quantise" in message for message in messages] == [True] * (divisor == 127)
        assert told(other) == []


def test_scales_that_come_with_the_weights_and_new_ones_are_not_told():
    model = quantize(two(), images(2, *SHAPE))
    model.trace()
    other = two()
    other[3].weight.data = other[3].weight.data * 4
    quantize(other, images(2, *SHAPE))
    model.load_state_dict(other.state_dict())
    assert told(model) == []
    model.load_state_dict(grown(model, 3.0, "0.weight"), strict=False)
    assert len(told(quantize(model, images(2, *SHAPE)))) == 0


@pytest.mark.parametrize("is_saved", [False, True])
@pytest.mark.parametrize("times", [0.0, 1.0])
def test_weights_that_an_adapter_was_merged_into_are_newer_than_the_scales_beside_them(tmp_path, is_saved, times):
    model = quantize(two(), images(2, *SHAPE))
    names, rank = {"lora_A": np.zeros((4, 8, 1, 1)), "lora_B": np.zeros((4, 4, 1, 1))}, 4
    names["lora_A"][np.arange(4), np.arange(4)] = 1
    names["lora_B"] += np.eye(4)[:, :, None, None] * 3  # 3 more of four of the weights
    factors = {f"base_model.model.3.{name}.weight": array.astype(np.float32) for name, array in names.items()}
    trtnn.save(factors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(f'{{"peft_type": "LORA", "r": {rank}, "lora_alpha": {rank}}}')
    merged = trtnn.merge_lora(model.state_dict(), tmp_path, times)
    assert merged.metadata["adapters"] == [f"{tmp_path.name}/adapter_model.safetensors"]
    if is_saved:
        trtnn.save(merged, tmp_path / "merged.safetensors")
        merged = trtnn.load(tmp_path / "merged.safetensors")
    other = two()
    other.load_state_dict(merged)
    messages = told(other)
    assert messages == [] if times == 0 else f"there: 3 {largest(other, 3):.3g} times; quantise" in messages[0]
    quantize(other, images(2, *SHAPE))  # which measures them anew
    assert told(other) == []


def test_scales_with_room_are_not_told():
    model = quantize(two(), images(2, *SHAPE))
    roomy = model.state_dict()
    roomy["3.weight_scale"] = roomy["3.weight_scale"] * np.float32(2)
    model.load_state_dict(roomy)
    assert told(model) == []
    model.load_state_dict(grown(model, 1.5, "3.weight"), strict=False)
    assert told(model) == []


def test_the_same_scales_given_again_are_not_new():
    model = quantize(two(), images(2, *SHAPE))
    model.trace()
    state = {name: array.copy() for name, array in model.state_dict().items()}
    state["0.weight"] *= 2
    model.load_state_dict(state)
    (message,) = told(model)
    assert "0 2 times" in message


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_every_kind_of_layer_and_type(dtype):
    model = filled(Sequential(Conv2d(4, 6, 3), ConvTranspose2d(6, 6, 2, groups=2), Linear(15, 5)))
    model.inputs = {"input": SHAPE}
    quantize(model, images(2, *SHAPE), dtype, adaptive_rounding=False, correct_bias=False)
    assert told(model) == []
    names = ("0.weight", "1.weight", "2.weight")
    model.load_state_dict(grown(model, 1.5, *names), strict=False)
    (message,) = told(model)
    assert "there: 0 1.5 times, 1 1.5 times, 2 1.5 times;" in message


def test_what_was_rounded_adaptively_is_not_told():
    model = quantize(two(), images(4, *SHAPE), adaptive_rounding=True, correct_bias=True)
    model.load_state_dict(grown(model, 1.0), strict=False)
    assert told(model) == []


def test_five_are_named_and_the_others_counted():
    model = filled(Sequential(*(Conv2d(4, 4, 1) for _ in range(7))))
    model.inputs = {"input": SHAPE}
    quantize(model, images(1, *SHAPE))
    model.load_state_dict(grown(model, 2.0, *(f"{index}.weight" for index in range(7))), strict=False)
    (message,) = told(model)
    assert "there: 0 2 times, 1 2 times, 2 2 times, 3 2 times, 4 2 times and 2 more; quantise" in message


def test_a_refit_tells_it():
    model = quantize(two(), images(2, *SHAPE))
    network = model.trace()
    for keeps in (True, False):
        retracer = Retracer(model, keeps)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with retracer.traced(grown(model, 1.5, "3.weight")) as fresh:
                assert fresh.inputs == network.inputs
        assert ["3 1.5 times" in str(one.message) for one in caught] == [True]
