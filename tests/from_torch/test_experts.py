"""Experts that transformers sends tokens to: each of them computes all.

Its interface is written here once more, so that these tests need no transformers; test_language.py has the real one.
"""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import nn

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close
from trtnn.errors import UnsupportedError

TOKENS, CHANNELS, INNER, EXPERTS, K = 7, 6, 5, 4, 2


class ExpertsInterface:
    def get_interface(self, implementation, default):
        return {"own": own}.get(implementation, default)


def own(self, hidden_states, top_k_index, top_k_weights):
    hidden_states = hidden_states * top_k_weights.sum(1, keepdim=True)
    return hidden_states * 2


@pytest.fixture(autouse=True)
def transformers(monkeypatch):
    module = types.ModuleType("transformers.integrations.moe")
    module.ExpertsInterface = ExpertsInterface
    monkeypatch.setitem(sys.modules, module.__name__, module)


class Experts(nn.Module):
    """Experts with weights as transformers keeps them, that loop over those which tokens were sent to."""

    def __init__(self, gate=True, bias=False, transposed=False, norm=False, implementation=None):
        super().__init__()
        self.num_experts, self.implementation = EXPERTS, implementation
        self.has_gate, self.has_bias, self.has_post_expert_norm, self.is_transposed = gate, bias, norm, transposed
        up, down = (INNER * (2 if gate else 1), CHANNELS), (CHANNELS, INNER)
        name = "gate_up_proj" if gate else "up_proj"
        for key, (outputs, inputs) in ((name, up), ("down_proj", down)):
            shape = (inputs, outputs) if transposed else (outputs, inputs)
            self.register_parameter(key, nn.Parameter(torch.randn(EXPERTS, *shape)))
            if bias:
                self.register_parameter(f"{key}_bias", nn.Parameter(torch.randn(EXPERTS, outputs)))
        self.act_fn = nn.SiLU()
        if norm:
            self.post_expert_norm = nn.LayerNorm(CHANNELS)

    def _apply_gate(self, gate_up):
        gate, up = gate_up.chunk(2, dim=-1)
        return self.act_fn(gate) * up

    def forward(self, *args, **kwargs):
        return ExpertsInterface().get_interface(self.implementation, Experts.each)(self, *args, **kwargs)

    def linear(self, x, name, expert):
        weight = getattr(self, name)[expert]
        bias = getattr(self, f"{name}_bias")[expert] if self.has_bias else 0
        return x @ (weight if self.is_transposed else weight.T) + bias

    def each(self, hidden_states, top_k_index, top_k_weights):
        result = torch.zeros_like(hidden_states)
        for expert in top_k_index.unique().tolist():
            if expert == self.num_experts:
                continue
            token, k = torch.where(top_k_index == expert)
            x = self.linear(hidden_states[token], "gate_up_proj" if self.has_gate else "up_proj", expert)
            x = self.linear(self._apply_gate(x) if self.has_gate else self.act_fn(x), "down_proj", expert)
            if self.has_post_expert_norm:
                x = self.post_expert_norm(x)
            result.index_add_(0, token, x * top_k_weights[token, k, None])
        return result


class Mixture(nn.Module):
    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.gate = nn.Linear(CHANNELS, EXPERTS)
        self.experts = Experts(**options)

    def forward(self, x):
        weights, index = self.gate(x).softmax(-1).topk(K)
        return self.experts(x, index, weights)


KINDS = [
    {},
    {"bias": True, "transposed": True},
    {"gate": False, "bias": True, "norm": True},
    {"gate": False, "transposed": True},
]


@pytest.mark.parametrize("options", KINDS, ids=[" ".join(kind) or "plain" for kind in KINDS])
def test_every_expert_computes_all_tokens(options):
    model = Mixture(**options).eval()
    shape = (trtnn.Dim("tokens", 1, TOKENS, 16), CHANNELS)
    network = trtnn.from_torch(model, images(TOKENS, CHANNELS), dynamic={"x": shape}).trace()
    for tokens in (1, 5, 16):
        x = images(tokens, CHANNELS) * 4 - 2
        with torch.no_grad():
            expected = model(x)
        assert_close(network.run(x.numpy()), expected, 1e-5)
    assert ExpertsInterface().get_interface("eager", own) is own  # as it was


def test_the_source_has_parameters_and_variables_of_the_experts():
    source = trtnn.from_torch(Mixture().eval(), images(TOKENS, CHANNELS)).source
    assert "x = F.matmul(hidden_states, self.gate_up_proj.transpose(1, 2))" in source
    assert "is_chosen = top_k_index.unsqueeze(-1) == F.arange(self.num_experts)" in source


class Routed(nn.Module):
    """Experts of which the router's choice is given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.experts = Experts(gate=False)

    def forward(self, x, index, weights):
        return self.experts(x, index, weights)


def test_what_no_token_was_sent_to_counts_nothing_whatever_it_computes():
    """0 times infinity would be no number; an index of none of the experts is of another machine's."""
    model = Routed().eval()
    index, weights = torch.tensor([[0, 1], [1, 2], [0, EXPERTS]]), torch.tensor([[0.5, 0.5], [0.1, 0.9], [1.0, 0.0]])
    x = images(3, CHANNELS)
    network = trtnn.from_torch(model, x, index, weights).trace()
    model.experts.up_proj.data[3] = float("inf")
    with torch.no_grad():
        expected = model(x, index, weights)
    assert bool(expected.isfinite().all())
    network = trtnn.from_torch(model, x, index, weights, verify=False).trace()
    assert_close(network.run(x.numpy(), index.numpy(), weights.numpy()), expected, 1e-5)


def test_one_expert_that_is_chosen_twice_counts_twice():
    model = Routed().eval()
    index, weights = torch.tensor([[1, 1], [2, 0]]), torch.tensor([[0.25, 0.5], [0.5, 0.5]])
    x = images(2, CHANNELS)
    with torch.no_grad():
        expected = model(x, index, weights)
    network = trtnn.from_torch(model, x, index, weights).trace()
    assert_close(network.run(x.numpy(), index.numpy(), weights.numpy()), expected, 1e-5)


def test_an_implementation_of_the_users_own_is_recorded_as_it_is():
    model = Mixture(implementation="own").eval()
    converted = trtnn.from_torch(model, images(TOKENS, CHANNELS))
    assert "is_chosen" not in converted.source
    assert "return hidden_states * 2" in converted.source
    x = images(TOKENS, CHANNELS) - 0.5
    with torch.no_grad():
        assert_close(converted.trace().run(x.numpy()), model(x), 1e-6)


class Unlike(Experts):
    """Experts that keep their weights otherwise than transformers does."""

    def __init__(self):
        super().__init__()
        del self.is_transposed


def test_experts_of_another_kind_are_refused_with_what_to_write():
    model = Mixture()
    model.experts = Unlike()
    model.experts.linear = lambda x, name, expert: x @ getattr(model.experts, name)[expert].T
    with pytest.raises(UnsupportedError) as caught:
        trtnn.from_torch(model.eval(), images(TOKENS, CHANNELS))
    assert "torch.Tensor.unique: once, in experts" in str(caught.value)
    assert "where experts compute the tokens that are sent to them: let each compute all, and weigh" in str(
        caught.value
    )


class SwitchTransformersExperts(nn.Module):
    """One of another version of transformers: its forward takes something else."""

    def __init__(self):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.randn(CHANNELS, CHANNELS))

    def forward(self, hidden_states, router_mask, router_probs):
        return hidden_states @ self.gate_up_proj * router_mask * router_probs


def test_a_forward_with_other_arguments_than_known_is_recorded_as_it_is(monkeypatch):
    owner = types.ModuleType("transformers.models.switch_transformers.modeling_switch_transformers")
    owner.SwitchTransformersExperts = SwitchTransformersExperts
    monkeypatch.setitem(sys.modules, owner.__name__, owner)
    forward = SwitchTransformersExperts.forward
    x, mask, weights = images(3, CHANNELS), images(3, 1), images(3, 1)
    model = SwitchTransformersExperts().eval()
    network = trtnn.from_torch(model, x, mask, weights).trace()
    with torch.no_grad():
        assert_close(network.run(x.numpy(), mask.numpy(), weights.numpy()), model(x, mask, weights), 1e-5)
    assert SwitchTransformersExperts.forward is forward  # as it was
