"""A symbolic tensor: what ``forward`` computes with while it is traced."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trtnn.dtypes import DType
from trtnn.errors import ArgumentError
from trtnn.symbolic import Length

if TYPE_CHECKING:
    from trtnn.graph import Graph


class Tensor:
    """A value in a network that is being traced: a TensorRT ``ITensor`` with its graph, shape and element type.

    It holds no numbers. Its operators and methods (``+``, ``[...]``, ``view``, ``permute``, ...) have torch's names and
    meanings; ``trtnn.functional`` defines them and binds them here.

    Attributes:
        graph: the graph it belongs to, which it keeps alive.
        raw: TensorRT's ITensor; of a Tensor that was postponed, its layer is added when this is first asked for.
        shape: a tuple of ints, with a :class:`trtnn.symbolic.Size` for what is known only when the network runs.
        dtype: the element type.
        make: adds the layer of a Tensor that was postponed, see :meth:`trtnn.graph.Graph.postpone`.
        unrounded: the fp32 Tensor that the graph made this fp16 one of, at an edge of precision, or None.
    """

    __slots__ = ("_raw", "dtype", "graph", "make", "shape", "unrounded")
    __array_ufunc__ = None  # so that ``numpy_array * tensor`` comes to Tensor.__rmul__
    __hash__ = object.__hash__

    def __init__(
        self,
        graph: Graph,
        raw: Any,
        shape: tuple[Length, ...],
        dtype: DType,
        make: Callable[..., Tensor] | None = None,
        unrounded: Tensor | None = None,
    ) -> None:
        self.graph = graph
        self._raw = raw
        self.shape = shape
        self.dtype = dtype
        self.make = make
        self.unrounded = unrounded

    def __repr__(self) -> str:
        name = f"name={self.name!r}" if self.is_there else "postponed"  # to look at it adds no layer
        return f"Tensor(shape={self.shape}, dtype={self.dtype.name}, {name})"

    @property
    def is_there(self) -> bool:
        """Whether its layer is in the network."""
        return self._raw is not None

    @property
    def unrounded_or_self(self) -> Tensor:
        """The Tensor before an edge of precision rounded it."""
        return self if self.unrounded is None else self.unrounded

    @property
    def raw(self) -> Any:
        self.ensure()
        return self._raw

    def ensure(self) -> None:
        """Add its layer to the network, if it is not there."""
        if self._raw is None:
            self.graph.settle()  # in the order of the calls; it may be this one
        if self._raw is None:
            self._raw = self.make().raw

    @property
    def name(self) -> str:
        return self.raw.name

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def dim(self) -> int:
        """Return the number of dimensions."""
        return len(self.shape)

    def size(self, dim: int | None = None) -> Length | tuple[Length, ...]:
        """Return the shape, or the length of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> Length:
        """Return the number of elements."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Any:
        if not self.shape:
            raise ArgumentError("a tensor of no dimensions cannot be iterated over")
        return (self[i] for i in range(self.shape[0]))

    def __bool__(self) -> bool:
        raise ArgumentError(
            "a Tensor has no truth value while it is traced",
            "its numbers are known only when the engine runs; decide by its shape, or by a Python value",
        )
