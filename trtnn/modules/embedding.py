"""Tables of vectors."""

from __future__ import annotations

from typing import Any

from trtnn import functional as F
from trtnn.modules.module import Module
from trtnn.ops.embedding import refuse_max_norm
from trtnn.parameter import Parameter
from trtnn.tensor import Tensor


def _from_front(index: int | None, count: int) -> int | None:
    return index if index is None or index >= 0 else count + index


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
        refuse_max_norm(max_norm, "Embedding")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = _from_front(padding_idx, num_embeddings)
        self.weight = Parameter(num_embeddings, embedding_dim)

    def forward(self, input: Any) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class EmbeddingBag(Module):
    """The rows of a table that each bag of indices names, as one row, as torch.nn.EmbeddingBag.

    Shape: integers (bags, indices), or (indices,) with offsets, to (bags, embedding_dim); see
    :func:`trtnn.functional.embedding_bag`.

    Args:
        norm_type, scale_grad_by_freq, sparse: of training, where they have their effect.
        max_norm: None, as of :class:`Embedding`.
        mode: ``"sum"``, ``"mean"`` or ``"max"``.
        include_last_offset: whether the last of ``offsets`` is where the last bag ends.
        padding_idx: an index that does not count.

    Attributes:
        weight: (num_embeddings, embedding_dim).
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> None:
        super().__init__()
        refuse_max_norm(max_norm, "EmbeddingBag")
        self.num_embeddings, self.embedding_dim, self.mode = num_embeddings, embedding_dim, mode
        self.include_last_offset = include_last_offset
        self.padding_idx = _from_front(padding_idx, num_embeddings)
        self.weight = Parameter(num_embeddings, embedding_dim)

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Tensor | None = None) -> Tensor:
        return F.embedding_bag(
            input,
            self.weight,
            offsets,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}, mode={self.mode!r}{padding}"
