"""Experts of transformers: while a call is recorded, each of them computes all tokens.

Which expert computes which token is known only when the network runs, and what transformers does by default sorts the
tokens by experts, or copies an expert's weights for each token. Instead all experts compute all tokens, and what the
router did not choose counts nothing: the same sum, in other order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from trtnn.from_torch.recording.frames import stands_in
from trtnn.from_torch.recording.replacing import replaced

_OWNER = "transformers.integrations.moe"
_SAME = (None, "eager", "batched_mm", "grouped_mm", "deepgemm", "sonicmoe")  # what transformers says gives one result
_TOLD_BY = ("num_experts", "has_gate", "has_bias", "has_post_expert_norm", "is_transposed", "down_proj")


@contextmanager
def each_for_all_tokens() -> Iterator[None]:
    """Let modules that ask transformers how to compute experts compute all tokens by each of them."""
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
    expert_weights = torch.where(is_chosen, top_k_weights.unsqueeze(-1), 0).sum(1)
    x = x * expert_weights.transpose(0, 1).unsqueeze(-1)
    is_used = is_chosen.any(1).transpose(0, 1).unsqueeze(-1)
    return torch.where(is_used, x, 0).sum(0).to(hidden_states.dtype)
