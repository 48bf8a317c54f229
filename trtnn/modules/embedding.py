"""Tables of vectors."""

from __future__ import annotations

from typing import Any

from trtnn import functional as F
from trtnn.errors import ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.modules.module import Module
from trtnn.modules.state import as_array
from trtnn.ops.embedding import refuse_max_norm
from trtnn.parameter import Parameter


def _table(weight: Any, rows: int, width: int) -> Parameter:
    """Return the parameter of a table, with what it was given to hold."""
    parameter = Parameter(rows, width)
    if weight is not None:
        parameter.data = as_array(weight)
        if parameter.data.shape != parameter.shape:
            raise ShapeError(f"a table of {rows} rows of {width} was given an array of shape {parameter.data.shape}")
    return parameter


def _lengths(embeddings: Any) -> tuple[int, int]:
    shape = tuple(as_array(embeddings).shape)
    if len(shape) != 2:
        raise ShapeError(f"a table is (rows, width), not {shape}")
    return shape


def _from_front(index: int | None, count: int) -> int | None:
    return index if index is None or index >= 0 else count + index


class Embedding(Module):
    """The rows of a table that indices name, as torch.nn.Embedding.

    Shape: integers of any shape to (..., embedding_dim).

    Args:
        padding_idx, norm_type, scale_grad_by_freq, sparse, _freeze: of training, where they have their effect.
        max_norm: None; torch shortens the rows that it looks up, and keeps them so.
        _weight: what the table holds until a state dict is loaded, or None.

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
        _weight: Any = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        refuse_max_norm(max_norm, "Embedding")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = _from_front(padding_idx, num_embeddings)
        self.weight = _table(_weight, num_embeddings, embedding_dim)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """Return an Embedding of a table that is there, (num_embeddings, embedding_dim)."""
        how = padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse
        return cls(*_lengths(embeddings), *how, _weight=embeddings)

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
        _weight: what the table holds until a state dict is loaded, or None.
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
        _weight: Any = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        refuse_max_norm(max_norm, "EmbeddingBag")
        self.num_embeddings, self.embedding_dim, self.mode = num_embeddings, embedding_dim, mode
        self.include_last_offset = include_last_offset
        self.padding_idx = _from_front(padding_idx, num_embeddings)
        self.weight = _table(_weight, num_embeddings, embedding_dim)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """Return an EmbeddingBag of a table that is there, (num_embeddings, embedding_dim)."""
        how = max_norm, norm_type, scale_grad_by_freq, mode, sparse, embeddings, include_last_offset, padding_idx
        return cls(*_lengths(embeddings), *how)

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
