"""Tables of vectors."""

from __future__ import annotations

from typing import Any

from trtnn import functional as F
from trtnn.errors import UnsupportedError
from trtnn.modules.module import Module
from trtnn.parameter import Parameter
from trtnn.tensor import Tensor


class Embedding(Module):
    """The rows of a table that indices name, as torch.nn.Embedding.

    Shape: integers of any shape to (..., embedding_dim).

    Args:
        padding_idx, norm_type, scale_grad_by_freq, sparse: of training, where they have their effect.
        max_norm: None; torch shortens the rows that it looks up, and keeps them so.

    Attributes:
        weight: (num_embeddings, embedding_dim).
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        if max_norm is not None:
            raise UnsupportedError("Embedding with max_norm", "shorten the rows of the table before it is loaded")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        whole = padding_idx is None or padding_idx >= 0
        self.padding_idx = padding_idx if whole else num_embeddings + padding_idx
        self.weight = Parameter(num_embeddings, embedding_dim)

    def forward(self, input: Any) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
