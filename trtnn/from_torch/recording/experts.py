"""Experts of transformers: while a call is recorded, each of them computes all tokens.

Which expert computes which token is known only when the network runs, and what transformers does by default sorts the
tokens by experts, or copies an expert's weights for each token. Instead all experts compute all tokens, and what the
router did not choose counts nothing: the same sum, in other order.

Most of its models ask one interface how to compute experts. The others have a forward of their own, for which another
stands in.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from trtnn.from_torch.recording.frames import stands_in
from trtnn.from_torch.recording.replacing import replaced

_OWNER = "transformers.integrations.moe"
_SAME = (None, "eager", "batched_mm", "grouped_mm", "deepgemm", "sonicmoe")  # what transformers says gives one result
_TOLD_BY = ("num_experts", "has_gate", "has_bias", "has_post_expert_norm", "is_transposed", "down_proj")


@contextmanager
def each_for_all_tokens() -> Iterator[None]:
    """Let transformers' experts compute all tokens, each of them."""
    with _asked_for_all(), _stood_in_for():
        yield


@contextmanager
def _stood_in_for() -> Iterator[None]:
    """Let functions of ours stand for those of transformers that loop over the tokens which an expert was sent."""
    with ExitStack() as stack:
        for (model, name, method), ours in _OF_MODELS.items():
            kind = getattr(sys.modules.get(f"transformers.models.{model}.modeling_{model}"), name, None)
            theirs = vars(kind).get(method) if isinstance(kind, type) else None
            # Another version's may mean something else by other arguments.
            if theirs is not None and _arguments(theirs) == _arguments(ours):
                stack.enter_context(replaced(kind, method, ours))
        yield


def _arguments(function: Callable[..., Any]) -> list[str]:
    return [*inspect.signature(function).parameters]


@contextmanager
def _asked_for_all() -> Iterator[None]:
    """Let modules that ask transformers how to compute experts be told so."""
    interface = getattr(sys.modules.get(_OWNER), "ExpertsInterface", None)
    original = getattr(interface, "get_interface", None)
    if interface is None or original is None:
        yield
        return

    def get_interface(self: Any, implementation: Any, default: Callable[..., Any]) -> Callable[..., Any]:
        if implementation not in _SAME:  # a user's own
            return original(self, implementation, default)

        def forward(module: Any, *args: Any, **kwargs: Any) -> Any:
            known = len(args) == 3 and not kwargs and all(hasattr(module, name) for name in _TOLD_BY)
            if known and all(isinstance(tensor, torch.Tensor) and tensor.ndim == 2 for tensor in args):
                return compute_each(module, *args)
            return original(self, implementation, default)(module, *args, **kwargs)

        return forward

    with replaced(interface, "get_interface", get_interface):
        yield


@stands_in
def compute_each(
    self: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """Return, for each token, the sum of what the experts that are chosen for it give, by their weights.

    Args:
        self: transformers' experts.
        hidden_states: the tokens, (tokens, channels).
        top_k_index: the chosen experts, (tokens, k).
        top_k_weights: their weights, (tokens, k).
    """
    weight = self.gate_up_proj if self.has_gate else self.up_proj
    x = torch.matmul(hidden_states, weight if self.is_transposed else weight.transpose(1, 2))
    if self.has_bias:
        bias = self.gate_up_proj_bias if self.has_gate else self.up_proj_bias
        x = x + bias.unsqueeze(1)
    x = self._apply_gate(x) if self.has_gate else self.act_fn(x)
    x = torch.matmul(x, self.down_proj if self.is_transposed else self.down_proj.transpose(1, 2))
    if self.has_bias:
        x = x + self.down_proj_bias.unsqueeze(1)
    if self.has_post_expert_norm:
        x = self.post_expert_norm(x)
    is_chosen = top_k_index.unsqueeze(-1) == torch.arange(self.num_experts, device=top_k_index.device)
    return _weighed_sum(x, is_chosen, top_k_weights).to(hidden_states.dtype)


@stands_in
def _weighed_sum(x: torch.Tensor, is_chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return, for each token, the sum of what experts give, by the weights of those of its choices that they are.

    Args:
        x: (experts, tokens, channels).
        is_chosen: (tokens, choices, experts).
        weights: the choices' weights, (tokens, choices).
    """
    expert_weights = torch.where(is_chosen, weights.unsqueeze(-1), 0).sum(1)
    x = x * expert_weights.transpose(0, 1).unsqueeze(-1)
    is_used = is_chosen.any(1).transpose(0, 1).unsqueeze(-1)
    return torch.where(is_used, x, 0).sum(0)


@stands_in
def _dbrx(
    self: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    batch_size = hidden_states.shape[0]
    hidden_states = hidden_states.reshape(-1, self.hidden_size)
    split_expert_shape = (-1, self.ffn_hidden_size, self.hidden_size)
    w1 = self.mlp.w1.view(split_expert_shape)
    v1 = self.mlp.v1.view(split_expert_shape)
    w2 = self.mlp.w2.view(split_expert_shape)
    x = torch.stack([self.mlp(hidden_states, w1[i], v1[i], w2[i]) for i in range(self.num_experts)])
    is_chosen = top_k_index.unsqueeze(-1) == torch.arange(self.num_experts, device=top_k_index.device)
    return _weighed_sum(x, is_chosen, top_k_weights).view(batch_size, -1, self.hidden_size)


@stands_in
def _switch(
    self: Any, hidden_states: torch.Tensor, selected_experts: torch.Tensor, routing_weights: torch.Tensor
) -> torch.Tensor:
    x = torch.stack([self[f"expert_{i}"](hidden_states) for i in range(self.num_experts)])
    return _weighed_sum(x, selected_experts != 0, routing_weights).to(hidden_states.dtype)


@stands_in
def _nllb(
    self: Any, hidden_states: torch.Tensor, router_mask: torch.Tensor, router_probs: torch.Tensor
) -> torch.Tensor:
    x = torch.stack([self[f"expert_{i}"](hidden_states) for i in range(self.num_experts)])
    # transformers takes the numbers of its mask, 0 and 1, for the experts that compute a token.
    is_chosen = router_mask.unsqueeze(-1) == torch.arange(self.num_experts, device=router_mask.device)
    x = _weighed_sum(x, is_chosen, router_probs)
    if self.moe_token_dropout > 0:
        x = x * (1 - self.moe_token_dropout)
    return x.to(hidden_states.dtype)


@stands_in
def _jetmoe_gating(self: Any, hidden_states: torch.Tensor) -> tuple[Any, ...]:
    """Return the chosen experts, (tokens, k), and their weights in the places of those that are sorted by experts."""
    logits = self.layer(hidden_states).float()
    top_k_logits, top_k_indices = logits.topk(self.top_k, dim=1)
    top_k_gates = torch.softmax(top_k_logits, dim=1).type_as(hidden_states)
    return top_k_indices, None, top_k_gates, None, logits


@stands_in
def _jetmoe_experts(self: Any, inputs: torch.Tensor, expert_size: Any) -> torch.Tensor:
    """Return what all experts give of tokens, or each of its own: (experts, tokens, channels)."""
    return torch.matmul(inputs, self.weight.transpose(1, 2))


@stands_in
def _chosen(x: torch.Tensor, top_k_indices: torch.Tensor) -> torch.Tensor:
    """Return (tokens, k, channels), what those experts give that are chosen, of (experts, tokens, channels)."""
    return torch.gather(x.transpose(0, 1), 1, top_k_indices.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


@stands_in
def _jetmoe(self: Any, layer_input: torch.Tensor) -> torch.Tensor:
    bsz, length, emb_size = layer_input.size()
    layer_input = layer_input.reshape(-1, emb_size)
    top_k_indices, _, top_k_gates, expert_size, _ = self.router(layer_input)
    hidden_states = self.input_linear(layer_input, expert_size)
    chunked_hidden_states = hidden_states.chunk(2, dim=-1)
    hidden_states = self.activation(chunked_hidden_states[0]) * chunked_hidden_states[1]
    expert_outputs = _chosen(self.output_linear(hidden_states, expert_size), top_k_indices)
    layer_output = (expert_outputs * top_k_gates.unsqueeze(-1)).sum(1)
    layer_output = layer_output.view(bsz, length, self.input_size)
    return layer_output + self.bias


@stands_in
def _jetmoe_map(self: Any, layer_input: torch.Tensor) -> tuple[Any, ...]:
    bsz, length, emb_size = layer_input.size()
    layer_input = layer_input.reshape(-1, emb_size)
    top_k_indices, _, top_k_gates, expert_size, router_logits = self.router(layer_input)
    layer_output = _chosen(self.input_linear(layer_input, expert_size), top_k_indices)
    layer_output = layer_output.view(bsz, length, self.top_k, -1)
    return layer_output, router_logits, (top_k_indices, top_k_gates, expert_size)


@stands_in
def _jetmoe_reduce(self: Any, layer_input: torch.Tensor, topo_info: tuple[Any, ...]) -> torch.Tensor:
    bsz, length, k, hidden_size = layer_input.size()
    layer_input = layer_input.reshape(-1, hidden_size)
    top_k_indices, top_k_gates, expert_size = topo_info
    expert_outputs = self.output_linear(layer_input, expert_size)
    expert_outputs = _chosen(expert_outputs, top_k_indices.reshape(-1, 1)).view(-1, k, self.input_size)
    layer_output = (expert_outputs * top_k_gates.unsqueeze(-1)).sum(1)
    layer_output = layer_output.view(bsz, length, self.input_size)
    return layer_output + self.bias


# What stands for which methods of transformers' models, whose arguments have these names.
_OF_MODELS: dict[tuple[str, str, str], Callable[..., Any]] = {
    ("dbrx", "DbrxExperts", "forward"): _dbrx,
    ("switch_transformers", "SwitchTransformersExperts", "forward"): _switch,
    ("nllb_moe", "NllbMoeExperts", "forward"): _nllb,
    ("jetmoe", "JetMoeTopKGating", "forward"): _jetmoe_gating,
    ("jetmoe", "JetMoeParallelExperts", "forward"): _jetmoe_experts,
    ("jetmoe", "JetMoeMoE", "forward"): _jetmoe,
    ("jetmoe", "JetMoeMoA", "map"): _jetmoe_map,
    ("jetmoe", "JetMoeMoA", "reduce"): _jetmoe_reduce,
}
