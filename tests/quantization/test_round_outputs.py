"""What int8 layers and others read, rounded for both: ``trtnn.quantize(..., round_outputs=[...])``."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers import message_of
from tests.quantization.networks import Block, filled, images, quantize
from trtnn import functional as F
from trtnn.errors import ArgumentError
from trtnn.modules import Conv2d, Module

SHAPE = (2, 16, 8, 8)


class Shared(Module):
    """What a block gives is read by a convolution that is quantised and by a head that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"x": SHAPE}
        self.before, self.down, self.last = Block(16, 16, 1), Conv2d(16, 8, 3, 2, 1), Conv2d(8, 4, 1)
        self.head = Conv2d(16, 4, 1)

    def forward(self, x):
        y = self.before(x)
        return self.last(self.down(y)), self.head(y)


SKIP = ["last", "head"]


def scaled(model: Module) -> set[str]:
    return {name.rpartition(".")[0] for name, _ in model.named_buffers() if name.endswith("_scale")}


def again(model: Module) -> list[str]:
    graph = model.trace().graph
    return [name for i in range(graph.definition.num_layers) if "again" in (name := graph.definition.get_layer(i).name)]


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_the_head_reads_what_was_rounded(dtype):
    (x,) = images(1, *SHAPE)
    plain = quantize(filled(Shared()), [x], dtype, "max", skip=SKIP)
    rounded = quantize(filled(Shared()), [x], dtype, "max", skip=SKIP, round_outputs=["before"])
    scale = rounded.before.act.output_scale.item()
    assert scale == rounded.down.input_scale.item()
    added = rounded.state_dict().keys() - plain.state_dict().keys()
    assert added == {"before.act.output_scale", "before.act.quant_max"}
    assert bool(again(plain)) == (dtype == "int8")
    assert not again(rounded)
    # What the head reads comes back out of it: an oracle of the rounding alone.
    eye = np.eye(16, dtype=np.float32)[:4, :, None, None]
    for model in (plain, rounded):
        model.head.weight.data, model.head.bias.data = eye, np.zeros(4, np.float32)
    (down, exact), (same, given) = (model.trace().run(x) for model in (plain, rounded))
    np.testing.assert_array_equal(same, down)
    steps = torch.from_numpy(exact) / scale
    held = steps.round().clamp(-128, 127) if dtype == "int8" else steps.clamp(-448, 448).to(torch.float8_e4m3fn).float()
    np.testing.assert_allclose(given, (held * scale).numpy(), rtol=0, atol=1e-6 * scale * 127)
    assert np.abs(given - exact).max() > scale / 4


class Joined(Module):
    """What is rounded is read through what passes numbers on."""

    def __init__(self, way) -> None:
        super().__init__()
        self.inputs, self.way = {"x": SHAPE}, way
        self.before, self.beside, self.head = Conv2d(16, 16, 1), Conv2d(16, 16, 1), Conv2d(16, 16, 1, bias=False)
        self.behind, self.last = Conv2d(32 if way == "cat" else 16, 8, 3), Conv2d(8, 4, 1)

    def forward(self, x):
        y = self.before(x)
        read = {
            "cat": lambda: F.cat([y, self.beside(x)], 1),
            "pool": lambda: F.max_pool2d(y, 2),
            "flip": lambda: y[:, :, ::2],
        }
        return self.last(self.behind(read[self.way]())), self.head(y)


@pytest.mark.parametrize("way", ["cat", "pool", "flip"])
def test_what_is_read_through_a_layer_that_passes_numbers_on(way):
    (x,) = images(1, *SHAPE)
    model = quantize(filled(Joined(way)), [x], method="max", skip=SKIP, round_outputs=["before"])
    scale = model.before.output_scale.item()
    assert scale == model.behind.input_scale.item()
    model.head.weight.data = np.eye(16, dtype=np.float32)[:, :, None, None]
    given = model.trace().run(x)[1] / scale
    np.testing.assert_allclose(given, np.round(given), atol=1e-4)
    assert len(np.unique(np.round(given))) > 20


def test_a_pattern_names_all_that_is_shared_and_no_more():
    rounded = quantize(filled(Shared()), images(1, *SHAPE), skip=SKIP, round_outputs=["*"])
    assert [name for name, _ in rounded.named_buffers() if name.endswith("output_scale")] == ["before.act.output_scale"]


def test_a_network_that_loads_such_scales_is_the_same():
    (x,) = images(1, *SHAPE)
    rounded, other = quantize(filled(Shared()), [x], skip=SKIP, round_outputs=["before"]), Shared()
    other.load_state_dict(rounded.state_dict())
    for ours, theirs in zip(other.trace().run(x), rounded.trace().run(x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_modules_that_are_chosen_leave_an_output_and_not_the_layers_in_its_module():
    """The rounding for the head costs the most, and what is quantised inside ``before`` nothing."""

    class Weighed(Shared):
        def forward(self, x):
            y = self.before(x)
            return self.head(y) + 1e-4 * self.down(y).mean((1, 2, 3), keepdim=True)

    model = filled(Weighed())
    generator = np.random.default_rng(3)
    kernel = generator.integers(-127, 128, (16, 16, 1, 1)).astype(np.float32)
    kernel[:, 0] = 127  # each channel's steps are of the same size, and each weight one of them
    model.before.conv.weight.data = kernel / 127
    for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1 - 1e-5)):
        getattr(model.before.bn, name).data = np.full(16, value, np.float32)
    x = generator.integers(-127, 128, SHAPE).astype(np.float32)
    x.flat[0] = 127
    how = {"method": "max", "skip": ["head"], "round_outputs": ["before"]}
    assert quantize(model, [x / 127], **how).before.act.output_scale is not None
    suggested = model.trace().precision_report([x / 127]).suggested_skip(1e-3)
    assert set(suggested) == {"head", "before.act"}
    for more in ({"modules": "auto", "tolerance": 1e-3}, {"skip": suggested}):
        quantize(model, [x / 127], **{**how, **more})
        assert scaled(model) == {"before.conv", "down"}


def test_what_no_quantised_layer_reads_is_refused():
    def refused(**how):
        return message_of(ArgumentError, lambda: quantize(filled(Shared()), images(1, *SHAPE), **how))

    message = refused(round_outputs=["befor"])
    assert "round_outputs names 'befor', which gives nothing that a quantised layer reads" in message
    assert "before.act" in message
    assert "those that can be: before.act" in message
    assert "round_outputs names 'head'" in refused(round_outputs=["head"])
    assert "round_outputs names 'before'" in refused(round_outputs=["before"], modules=["last"])
    assert "round_outputs takes a list of module paths, not the string 'before'" in refused(round_outputs="before")
