"""Attention written out in fp16 where networks are weakly typed: scores are scaled before their product."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import trtnn
from tests.helpers import layers, trace
from trtnn import functional as F
from trtnn.graph.graph import Graph
from trtnn.modules import Linear, Module, Softmax
from trtnn.ops import scores

SHAPE = (2, 3, 7, 16)
FACTOR = 0.3


@pytest.fixture(autouse=True)
def weakly_typed(monkeypatch):
    """What is traced here is strongly typed, but for this choice."""
    monkeypatch.setattr(Graph, "is_weakly_typed", True)


def drawn(*shapes):
    random = np.random.default_rng(0)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes or (SHAPE, SHAPE)]


def in_place(x):
    x *= FACTOR
    return x


SCALED = {
    "times": lambda x: x * FACTOR,
    "times, on the left": lambda x: FACTOR * x,
    "by": lambda x: x / (1 / FACTOR),
    "in place": in_place,
    "an int": lambda x: x * 2,
    "by an int": lambda x: x / 8,
}


@pytest.mark.parametrize("name", SCALED)
def test_scores_in_front_of_a_softmax_are_scaled_before_their_product(name):
    scaled = SCALED[name]

    def attention(q, k):
        return scaled(q @ k.transpose(-2, -1)).softmax(-1)

    q, k = drawn()
    network = trace(attention, q, k, fp16=True)
    (product,) = layers(network, "MATRIX_MULTIPLY")
    makers = {layer.get_output(0).name: layer for layer in layers(network)}
    read = [makers[product.get_input(i).name] for i in range(2)]
    # the key is transposed behind its factor or before it, by its own layer
    kinds = [str(layer.type).rpartition(".")[2] for layer in read]
    assert kinds == ["ELEMENTWISE", "ELEMENTWISE"]
    assert makers[layers(network, "SOFTMAX")[0].get_input(0).name].name == product.name
    assert len(layers(network, "ELEMENTWISE")) == 2
    assert scores.SCALED_BEFORE in network.summary()
    expected = attention(*map(torch.from_numpy, (q, k))).numpy()
    np.testing.assert_allclose(network.run(q, k), expected, rtol=2e-2, atol=1e-3)
    half = trace(attention, q, k)
    assert len(layers(half, "ELEMENTWISE")) == 1, "in fp32 all is as it is written"


NOT = {
    "no softmax": lambda q, k: (q @ k.transpose(-2, -1)) * FACTOR,
    "a mask between": lambda q, k: ((q @ k.transpose(-2, -1)) * FACTOR + 1.0).softmax(-1),
    "scores in fp32": lambda q, k: ((q @ k.transpose(-2, -1)) * FACTOR).float().softmax(-1),
    "a negative factor": lambda q, k: ((q @ k.transpose(-2, -1)) * -FACTOR).softmax(-1),
    "no factor": lambda q, k: ((q * FACTOR) @ k.transpose(-2, -1)).softmax(-1),
    "a factor of each head": lambda q, k: ((q @ k.transpose(-2, -1)) * np.full((3, 1, 1), 0.5, np.float32)).softmax(-1),
    "weights": lambda q, k: ((q @ np.ones((16, 5), np.float32)) * FACTOR).softmax(-1),
    "a BatchNorm": lambda q, k: F.batch_norm(q @ k.transpose(-2, -1), np.zeros(3, np.float32), np.ones(3, np.float32)),
    "a factor that fp16 does not hold": lambda q, k: ((q @ k.transpose(-2, -1)) * 1e5).softmax(-1),
    "zero": lambda q, k: ((q @ k.transpose(-2, -1)) * 0.0).softmax(-1),
    "infinity": lambda q, k: ((q @ k.transpose(-2, -1)) / math.inf).softmax(-1),
}


@pytest.mark.parametrize("name", NOT)
def test_all_else_is_as_it_is_written(name, monkeypatch):
    q, k = drawn()
    network = trace(NOT[name], q, k, fp16=True)
    assert scores.SCALED_BEFORE not in network.summary()
    monkeypatch.setattr(Graph, "is_weakly_typed", False)
    plain = trace(NOT[name], q, k, fp16=True)
    assert sorted(layer.name for layer in layers(network)) == sorted(layer.name for layer in layers(plain))
    np.testing.assert_array_equal(network.run(q, k), plain.run(q, k))


def test_what_is_read_elsewhere_too_is_there():
    """The product, the scaled scores, and both where the operands change in place behind them."""

    def forward(q, k):
        product = q @ k.mT
        scaled = product * FACTOR
        weights = scaled.softmax(-1)
        q += 1.0
        return {"weights": weights, "scaled": scaled, "product": product, "q": q}

    def theirs(q, k):
        product = q @ k.mT
        return {"weights": (product * FACTOR).softmax(-1), "scaled": product * FACTOR, "product": product, "q": q + 1.0}

    q, k = drawn()
    results = trace(forward, q, k, fp16=True).run(q, k)
    for name, expected in theirs(*map(torch.from_numpy, (q, k))).items():
        np.testing.assert_allclose(results[name], expected.numpy(), rtol=2e-2, atol=2e-2, err_msg=name)


def test_a_product_that_nothing_scales_keeps_its_place_and_path():
    class Inner(Module):
        def forward(self, q, k):
            return q @ k.mT

    class Outer(Module):
        def __init__(self) -> None:
            super().__init__()
            self.inputs = {"q": SHAPE, "k": SHAPE}
            self.inner, self.softmax, self.last = Inner(), Softmax(-1), Linear(7, 4)

        def forward(self, q, k):
            return self.last(self.softmax(self.inner(q, k) * FACTOR)) + self.inner(k, q).sum()

    model = Outer()
    random = np.random.default_rng(1)
    model.load_state_dict({n: random.normal(size=p.shape).astype(np.float32) for n, p in model.named_parameters()})
    network = model.trace(fp16=True)
    paths = {layer.name: path for layer, path in zip(layers(network), network.graph.layer_paths, strict=True)}
    products = [layer.name for layer in layers(network, "MATRIX_MULTIPLY")]
    assert [paths[name] for name in products] == ["inner", "last", "inner"]
    assert not network.graph.folded
    q, k = drawn()
    tq, tk = map(torch.from_numpy, (q, k))
    linear = torch.nn.functional.linear
    w, b = (torch.from_numpy(getattr(model.last, name).numpy()) for name in ("weight", "bias"))
    expected = linear((tq @ tk.mT * FACTOR).softmax(-1), w, b) + (tk @ tq.mT).sum()
    np.testing.assert_allclose(network.run(q, k), expected.numpy(), rtol=2e-2, atol=0.2)


def test_a_quantised_product_is_as_its_scales_were_measured(monkeypatch):
    class Attention(Module):
        def __init__(self) -> None:
            super().__init__()
            self.inputs, self.first = {"q": SHAPE, "k": SHAPE}, Linear(16, 16)

        def forward(self, q, k):
            return ((self.first(q) @ k.mT) * FACTOR).softmax(-1) @ k

    q, k = drawn()
    model = Attention()
    random = np.random.default_rng(1)
    model.load_state_dict({n: random.normal(size=p.shape).astype(np.float32) for n, p in model.named_parameters()})
    trtnn.quantize(model, [{"q": q, "k": k}], skip=())
    assert model.product_scale.shape == (2, 2)
    network = model.trace(fp16=True)
    assert scores.SCALED_BEFORE not in network.summary()
    monkeypatch.setattr(Graph, "is_weakly_typed", False)
    np.testing.assert_array_equal(network.run(q=q, k=k), model.trace(fp16=True).run(q=q, k=k))
