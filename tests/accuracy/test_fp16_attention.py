"""Attention whose scores are in fp16 too: what is traced, and its numbers against torch's in half and in double."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.helpers import ONE_TARGET, message_of, numbers, strongly_typed
from trtnn import Dim, Engine, Input, Module, Network, float16, float32, get_backend
from trtnn import functional as F
from trtnn.cli import app
from trtnn.cli.compare import trace_as
from trtnn.errors import ArgumentError
from trtnn.graph.definition import read_layers
from trtnn.graph.precision import HALF_SCORES
from trtnn.modules import MultiheadAttention
from trtnn.parameter import Buffer
from trtnn.quantization import quantize

SHAPE = (2, 4, 48, 32)
HALF = {"fp16": True, "fp16_attention": True}
SEEN = np.arange(48) % 3 > 0


class Attend(Module):
    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v)


class Causal(Module):
    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class Masked(Module):
    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, SEEN)


class Adds(Module):
    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, np.where(SEEN, 0.5, -np.inf).astype(np.float32))


class Holds(Module):
    """Attention, and a product before it that is no part of it."""

    def __init__(self):
        super().__init__()
        self.attend = Attend()

    def forward(self, q, k, v):
        return self.attend(q * 0.5, k, v)


def traced(module, **options) -> Network:
    return module.trace({name: Input(SHAPE, "float16" if options else "float32") for name in "qkv"}, **options)


def arrays(reach=1.0):
    """Query, key and value in fp16, whose scores reach so far."""
    q, k, v = (numbers(*SHAPE, seed=seed).astype(np.float64) for seed in range(3))
    stretch = np.sqrt(reach / abs(q @ k.swapaxes(2, 3) / np.sqrt(SHAPE[-1])).max())
    return [array.astype(np.float16) for array in (q * stretch, k * stretch, v)]


def layers_of(network):
    return list(read_layers(network.graph.definition, network.graph.trt))


def floating_types(network):
    """The types of the layers that compute, by their kind."""
    kinds = [kind for kind, _ in layers_of(network)]
    computing = ("MATRIX_MULTIPLY", "ELEMENTWISE", "SOFTMAX")
    return [(k, t) for k, t in zip(kinds, network.graph.layer_dtypes, strict=True) if k in computing]


def makers_before_softmax(network):
    """How the scores come about: the kinds of layers between the product and the softmax, and the product's reads."""
    makers = {layer.get_output(i).name: made for made in layers_of(network) for layer in made[1:] for i in range(1)}
    ((_, softmax),) = (made for made in layers_of(network) if made[0] == "SOFTMAX")
    behind, (kind, layer) = [], makers[softmax.get_input(0).name]
    while kind != "MATRIX_MULTIPLY":
        behind.append(kind)
        kind, layer = makers[layer.get_input(1 if kind == "SELECT" else 0).name]
    return behind, [makers.get(layer.get_input(i).name, ("INPUT", None)) for i in range(2)], makers


def seen_by(model):
    """Which key each query sees."""
    sees = torch.ones(48, 48, dtype=torch.bool)
    return {Causal: sees.tril(), Masked: sees & torch.from_numpy(SEEN)}.get(model, sees)


def error_of(result, given, sees):
    """The largest difference from torch in double, in parts of the largest number."""
    wide = [torch.from_numpy(array.astype(np.float64)) for array in given]
    exact = torch.nn.functional.scaled_dot_product_attention(*wide, sees).numpy()
    return np.abs(result - exact).max() / np.abs(exact).max()


@strongly_typed
def test_scores_and_their_softmax_are_in_the_type_asked_for():
    product, scaling = ("MATRIX_MULTIPLY", float32), ("ELEMENTWISE", float32)
    weighted = ("MATRIX_MULTIPLY", float16)
    assert floating_types(traced(Attend(), fp16=True)) == [product, scaling, ("SOFTMAX", float32), weighted]
    half = [("ELEMENTWISE", float16)] * 2 + [weighted, ("SOFTMAX", float16), weighted]
    assert floating_types(traced(Attend(), **HALF)) == half


@pytest.mark.parametrize("is_strong", [True, False])
@pytest.mark.parametrize(
    ("model", "options", "fills"),
    [(Attend, {}, 0), (Causal, {}, 1), (Masked, {}, 1), (Attend, {"scale": -0.3}, 0), (Masked, {"scale": 2.0}, 1)],
)
def test_query_and_key_are_scaled_before_the_product_and_scores_never(model, options, fills, is_strong, monkeypatch):
    """TensorRT 8.6.0 gives wrong numbers where scores in fp16 are scaled behind the product."""
    if not is_strong:
        without_types(monkeypatch)
    monkeypatch.setattr(F, "scaled_dot_product_attention", partial(F.scaled_dot_product_attention, **options))
    network = traced(model(), **HALF)
    behind, reads, makers = makers_before_softmax(network)
    assert behind == ["SELECT"] * fills
    kinds = [kind for kind, _ in layers_of(network)]
    types = {t for kind, t in zip(kinds, network.graph.layer_dtypes, strict=True) if kind not in ("CAST", "IDENTITY")}
    assert types - {None} == {float16}
    scale = options.get("scale", SHAPE[-1] ** -0.5)
    for (kind, layer), root in zip(reads, (math.copysign(abs(scale) ** 0.5, scale), abs(scale) ** 0.5), strict=True):
        assert (kind, layer.op.name) == ("ELEMENTWISE", "PROD")
        of, constant = makers[layer.get_input(1).name]
        assert of == "CONSTANT"
        assert float(np.asarray(constant.weights).item()) == pytest.approx(root, rel=5e-4)
    exact, _, _ = makers_before_softmax(traced(model(), fp16=True))
    assert exact.count("ELEMENTWISE") == 1


@pytest.mark.parametrize("reach", [1.0, 16.0, 256.0])
@pytest.mark.parametrize("model", [Attend, Causal, Masked])
@strongly_typed
def test_numbers_are_those_of_half_step_by_step(model, reach):
    given, sees = arrays(reach), seen_by(model)
    q, k, v = map(torch.from_numpy, given)
    root = torch.tensor(SHAPE[-1] ** -0.25, dtype=torch.float16)
    scores = ((q * root) @ (k * root).mT).masked_fill(~sees, -torch.inf)
    expected = (torch.softmax(scores, -1) @ v).double().numpy()
    result = traced(model(), **HALF).run(*given)
    # Both round each score once, of sums that they take in other orders: seldom to different sides.
    near = np.abs(result - expected) < 2e-3 * abs(expected).max()
    assert near.mean() > {1.0: 0.9999, 16.0: 0.999, 256.0: 0.95}[reach]
    error = error_of(result, given, sees)
    assert error < {1.0: 2e-3, 16.0: 1e-2, 256.0: 0.2}[reach]
    if reach == 256:  # fp16's numbers are 1/8 apart there
        assert error > 5e-3


def without_types(monkeypatch):
    backend = get_backend()
    monkeypatch.setattr(backend, "capabilities", replace(backend.capabilities, strongly_typed=False, targets=False))


@pytest.mark.parametrize("model", [Attend, Causal, Masked])
def test_masks_hold_where_networks_carry_no_types(model, monkeypatch):
    """The reference computes all in fp32 there; the numbers that stand for -infinity are those of fp16."""
    without_types(monkeypatch)
    given = arrays(16)
    assert error_of(traced(model(), **HALF).run(*given), given, seen_by(model)) < 1e-5


@pytest.mark.parametrize("scale", [0.3, -0.3, 0, 0.0, -0.0, 2, np.float32(-0.125), 1e-9, -3e3])
def test_every_scale_is_torch_s(scale):
    """Of a negative one there is no root."""

    class Scaled(Module):
        def forward(self, q, k, v):
            return F.scaled_dot_product_attention(q, k, v, scale=scale)

    given = [array / np.float16(max(1, abs(scale)) ** 0.5) for array in arrays(1.0)[:2]] + arrays(1.0)[2:]
    network = traced(Scaled(), **HALF)
    assert HALF_SCORES in network.graph.choices
    wide = [torch.from_numpy(array.astype(np.float64)) for array in given]
    expected = torch.nn.functional.scaled_dot_product_attention(*wide, scale=float(scale)).numpy()
    np.testing.assert_allclose(network.run(*given), expected, rtol=0, atol=4e-3 * abs(expected).max())
    if abs(scale) > 0.1:  # a sign that was lost would be seen
        other = torch.nn.functional.scaled_dot_product_attention(*wide, scale=-float(scale)).numpy()
        assert abs(other - expected).max() > 4e-2 * abs(expected).max()


BLIND = np.concatenate([np.zeros((1, 48), np.bool_), np.tril(np.ones((47, 48), np.bool_))])


@pytest.mark.parametrize("is_strong", [True, False])
@pytest.mark.parametrize("kind", ["array", "buffer", "input", "numbers", "lowest"])
def test_rows_that_go_nowhere_give_what_they_do_else(kind, is_strong, monkeypatch):
    """Zeros; and where the lowest number stands for -infinity the mean of all that is to be seen."""
    if not is_strong:
        without_types(monkeypatch)
    numbers_of = np.where(BLIND, 0, -65504.0 if kind == "lowest" else -np.inf).astype(np.float32)

    class Blind(Module):
        def __init__(self):
            super().__init__()
            self.mask = Buffer(48, 48, data=BLIND)

        def forward(self, q, k, v, mask=None):
            given = {"array": BLIND, "buffer": self.mask, "input": mask}.get(kind, numbers_of)
            return F.scaled_dot_product_attention(q, k, v, given)

    inputs = {name: Input(SHAPE, "float16") for name in "qkv"}
    given = arrays(200.0)
    if kind == "input":
        inputs["mask"], given = Input(BLIND.shape, "bool"), [*given, BLIND]
    network = Blind().trace(inputs, **HALF)
    assert (HALF_SCORES in network.graph.choices) is (kind in ("array", "buffer", "input"))
    result, exact = network.run(*given), Blind().trace(inputs, fp16=True).run(*given)
    if kind != "lowest":
        np.testing.assert_array_equal(result[..., 0, :], 0)
        np.testing.assert_array_equal(exact[..., 0, :], 0)
    else:
        np.testing.assert_array_equal(result, exact)
    mask = torch.from_numpy(numbers_of if kind == "lowest" else BLIND)
    tensors = [torch.from_numpy(array.astype(np.float64)) for array in given[:3]]
    mask = mask if mask.dtype is torch.bool else mask.double()
    expected = torch.nn.functional.scaled_dot_product_attention(*tensors, mask).numpy()
    bound = 5e-2 if kind in ("array", "buffer", "input") else 2e-3
    np.testing.assert_allclose(result[..., 1:, :], expected[..., 1:, :], atol=bound * abs(expected).max(), rtol=0)


@strongly_typed
def test_scores_that_numbers_are_added_to_stay_exact():
    """-65504 less 16 is -infinity in fp16."""
    network = traced(Adds(), **HALF)
    assert ("SOFTMAX", float32) in floating_types(network)
    assert HALF_SCORES not in network.graph.choices
    given, sees = arrays(256), seen_by(Masked)
    assert error_of(network.run(*given), given, sees) < 1e-3


@strongly_typed
def test_what_forward_takes_to_fp32_stays_exact():
    class Wide(Module):
        def forward(self, q, k, v):
            return F.scaled_dot_product_attention(q.float(), k.float(), v)

    assert [kind for _, kind in floating_types(traced(Wide(), **HALF))][:3] == [float32] * 3
    behind, _, _ = makers_before_softmax(traced(Wide(), **HALF))
    assert "ELEMENTWISE" in behind


def test_a_scale_of_lengths_that_are_not_known_stays_exact():
    class Lengths(Module):
        def forward(self, q):
            return F.scaled_dot_product_attention(q, q, q, scale=q.shape[-1] ** -0.5)

    inputs = {"q": Input((1, 2, 8, Dim("e", 8, 16, 32)), "float16")}
    network = Lengths().trace(inputs, **HALF)
    assert HALF_SCORES not in network.graph.choices
    q = numbers(1, 2, 8, 16).astype(np.float16)
    wide = torch.from_numpy(q.astype(np.float64))
    expected = torch.nn.functional.scaled_dot_product_attention(wide, wide, wide).numpy()
    np.testing.assert_allclose(network.run(q), expected, atol=2e-3 * abs(expected).max(), rtol=0)


def test_a_scale_that_is_computed_stays_exact():
    class Computed(Module):
        def forward(self, q, t):
            return F.scaled_dot_product_attention(q, q, q, scale=t.sum())

    network = Computed().trace({"q": Input((1, 2, 8, 16), "float16"), "t": Input((2,))}, **HALF)
    assert HALF_SCORES not in network.graph.choices
    q = numbers(1, 2, 8, 16).astype(np.float16)
    wide = torch.from_numpy(q.astype(np.float64))
    for t in ([-0.5, 0.2], [0.3, 0.1]):
        expected = torch.nn.functional.scaled_dot_product_attention(wide, wide, wide, scale=sum(t)).numpy()
        result = network.run(q, np.array(t, np.float32))
        np.testing.assert_allclose(result, expected, atol=2e-3 * abs(expected).max(), rtol=0)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_heads_of_the_query_share_those_of_key_and_value(heads):
    class Shared(Module):
        def forward(self, q, k, v):
            return F.scaled_dot_product_attention(q, k, v, SEEN, enable_gqa=True)

    q, k, v = arrays(8)
    k, v = k[:, :heads], v[:, :heads]
    shapes = {name: Input(array.shape, "float16") for name, array in zip("qkv", (q, k, v), strict=True)}
    wide = [torch.from_numpy(array.astype(np.float64)) for array in (q, k, v)]
    expected = torch.nn.functional.scaled_dot_product_attention(
        *wide, torch.from_numpy(SEEN).expand(48, 48), enable_gqa=True
    )
    for options, most in (({"fp16": True}, 1e-3), (HALF, 4e-3)):
        result = Shared().trace(shapes, **options).run(q, k, v)
        np.testing.assert_allclose(result, expected, atol=most * abs(expected).max(), rtol=0)


def test_a_summary_names_the_modules_that_do():
    half = Holds().trace(dict.fromkeys("qkv", SHAPE), **HALF).summary()
    assert half.endswith("scores of attention in fp16: attend")
    assert "scores of attention" not in Holds().trace(dict.fromkeys("qkv", SHAPE), fp16=True).summary()
    assert Attend().trace(dict.fromkeys("qkv", SHAPE), **HALF).summary().endswith("in fp16: (forward)")


def test_products_that_have_scales_are_not_multiplied_before():
    shapes = dict.fromkeys("qkv", SHAPE)
    model = Holds()
    model.inputs = shapes
    quantize(model, [[array.astype(np.float32) for array in arrays()]], method="max")
    message = message_of(ArgumentError, model.trace, **HALF)
    assert "attend has scales for products of matrices, and fp16_attention multiplies what they read" in message
    assert "fp16_attention=False, or trtnn.quantize(..., skip=[...])" in message
    model.trace(fp16=True)


@strongly_typed
def test_modules_that_stay_in_fp32_have_exact_scores():
    """TF32 rounds what is scaled before a product, and nothing of numbers that were fp16."""
    network = Holds().trace(dict.fromkeys("qkv", SHAPE), **HALF, fp32_modules=["attend"])
    behind, _, _ = makers_before_softmax(network)
    assert "ELEMENTWISE" in behind
    assert HALF_SCORES not in network.graph.choices


def test_scores_beyond_half_are_lost_and_samples_tell_which_module_to_keep():
    q, k, v = (array.astype(np.float32) for array in arrays(8e4))
    shapes = dict.fromkeys("qkv", SHAPE)
    assert not np.isfinite(Holds().trace(shapes, **HALF).run(q * 8, k * 8, v)).all()
    report = Holds().trace(shapes).fp16_report([(q * 8, k * 8, v)], fp16_attention=True)
    assert report.suggested_fp32_modules() == ("attend",)
    assert Holds().trace(shapes).fp16_report([(q * 8, k * 8, v)]).suggested_fp32_modules() == ()
    network = Holds().trace(shapes, **HALF, fp32_modules="auto", samples=[(q * 8, k * 8, v)])
    assert network.graph.precision.fp32_modules == ("attend",)
    assert [kind for _, kind in floating_types(network)] == [float16, float32, float32, float32, float32]
    exact = Holds().trace(shapes).run(q * 8, k * 8, v)
    np.testing.assert_allclose(network.run(q * 8, k * 8, v), exact, atol=2e-3 * abs(exact).max())


def test_attention_of_modules():
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    model = MultiheadAttention(16, 4, batch_first=True)
    model.load_state_dict(theirs.state_dict())
    half = model.trace({"query": (2, 6, 16), "key": (2, 6, 16), "value": (2, 6, 16)}, **HALF)
    assert ("SOFTMAX", float16) in floating_types(half)
    x = numbers(2, 6, 16)
    with torch.no_grad():
        expected = theirs(*[torch.from_numpy(x)] * 3)[0].numpy()
    np.testing.assert_allclose(half.run(x, x, x)[0], expected, atol=2e-3)


def test_without_half_it_means_nothing():
    message = message_of(ArgumentError, Attend().trace, dict.fromkeys("qkv", SHAPE), fp16_attention=True)
    assert "fp16_attention is about what is in fp16" in message
    assert "fp16=True" in message
    message = message_of(ArgumentError, Attend().trace, dict.fromkeys("qkv", SHAPE), fp16=True, fp16_attention="yes")
    assert "fp16_attention is True or False, not 'yes'" in message


def test_an_engine_knows_it(tmp_path):
    shapes = dict.fromkeys("qkv", SHAPE)
    engine = Attend().compile(shapes, **HALF, **ONE_TARGET)
    again = Engine.load(engine.save(tmp_path / "a.engine"))
    assert again.description["fp16_attention"] is True
    assert ("SOFTMAX", float16) in floating_types(trace_as(Attend(), again))
    assert "fp16_attention" not in Attend().compile(shapes, fp16=True, **ONE_TARGET).description
    assert "fp16 attention" in engine._repr_html_()


FILE = """import trtnn
from trtnn import functional as F


class Net(trtnn.Module):
    def __init__(self):
        super().__init__()
        self.inputs = {name: (1, 2, 8, 16) for name in "qkv"}

    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v)
"""


def test_the_command_line(tmp_path):
    (tmp_path / "net.py").write_text(FILE)
    what, out = f"{tmp_path / 'net.py'}:Net", tmp_path / "a.engine"
    target = [] if "targets" not in ONE_TARGET else ["--target", *ONE_TARGET["targets"]]
    refused = CliRunner().invoke(app, ["build", what, "-o", str(out), "--fp16-attention", *target])
    assert refused.exit_code == 1
    assert "fp16_attention is about what is in fp16" in str(refused.exception)
    result = CliRunner().invoke(app, ["build", what, "-o", str(out), "--fp16", "--fp16-attention", *target])
    assert result.exit_code == 0, result.output
    assert Engine.load(out).description["fp16_attention"] is True
