"""A symbolic tensor: what ``forward`` computes with while it is traced."""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trtnn.dtypes import DType
from trtnn.errors import ArgumentError, ShapeError
from trtnn.shapes.symbolic import Length

if TYPE_CHECKING:
    from trtnn.graph.beyond_half import Beyond
    from trtnn.graph.graph import Graph


class _Memory:
    """What a Tensor and its views share in torch: how often it was written to."""

    __slots__ = ("writes",)

    def __init__(self) -> None:
        self.writes = 0


class Value:
    """What a Tensor and its copies stand for, until one of them is overwritten.

    Attributes:
        raw: the ITensor; None while its layer is not in the network.
        make: adds that layer and returns its output, see :meth:`trtnn.graph.deferred.Deferred.postpone`.
        constant: whether its numbers depend on constants alone, so that they are known while tracing.
        unrounded: see :class:`Tensor`.
        beyond: what of it is beyond float16, so that arithmetic with it is carried in fp32; None where nothing is.
    """

    __slots__ = ("beyond", "constant", "make", "raw", "unrounded")

    def __init__(self, raw: Any = None, make: Callable[..., Tensor] | None = None, constant: bool = False) -> None:
        self.raw = raw
        self.make = make
        self.constant = constant
        self.unrounded: Tensor | None = None
        self.beyond: Beyond | None = None


class Tensor:
    """A value in a network that is being traced: a TensorRT ``ITensor`` with its graph, shape and element type.

    It holds no numbers. Its operators and methods (``+``, ``[...]``, ``view``, ``permute``, ...) have torch's names and
    meanings; ``trtnn.functional`` defines them and binds them here.

    Attributes:
        graph: the graph it belongs to, which it keeps alive.
        value: what it stands for, which others may as well.
        raw: TensorRT's ITensor; of a Tensor that was postponed, its layer is added when this is first asked for.
        shape: a tuple of ints, with a :class:`trtnn.shapes.symbolic.Size` for what is known only when the network runs.
        dtype: the element type.
        unrounded: the fp32 Tensor that the graph made this fp16 one of, at an edge of precision, or None.
        repeats: whether several of its elements are one in torch's memory, as of what was expanded.
    """

    __slots__ = (
        "__weakref__", "_equals", "_memory", "_part_of", "_writes", "dtype", "graph", "repeats", "shape", "value",
    )  # fmt: skip
    __array_ufunc__ = None  # so that ``numpy_array * tensor`` comes to Tensor.__rmul__
    __hash__ = object.__hash__

    def __init__(self, graph: Graph, value: Value, shape: tuple[Length, ...], dtype: DType) -> None:
        self.graph = graph
        self.value = value
        self.shape = shape
        self.dtype = dtype
        self.repeats = False
        self._memory: _Memory | None = None  # until it has a view, or is one
        self._writes = 0
        self._part_of: tuple[Tensor, Any, int] | None = None  # what it is ``[index]`` of, and at which write
        self._equals: list[weakref.ref[Tensor]] | None = None  # the views of all of it as it is, and itself

    def copy(self) -> Tensor:
        """Return another Tensor of this value, which changes in place by itself."""
        return Tensor(self.graph, self.value, self.shape, self.dtype)

    def share_memory_of(self, other: Tensor) -> None:
        """Be a view of another Tensor: once one of the two is overwritten, the other is outdated."""
        if other._memory is None:
            other._memory = _Memory()
        self._memory, self._writes = other._memory, other._writes
        self.repeats |= other.repeats

    def view_of_all(self) -> Tensor:
        """Return a view of all of it as it is: what overwrites one of the two overwrites both, but for a shape."""
        result = self.copy()
        result.share_memory_of(self)
        self._equals = result._equals = [weakref.ref(self)] if self._equals is None else self._equals
        self._equals.append(weakref.ref(result))
        return result

    def reshape_alone(self, value: Tensor) -> None:
        """Stand for a view of itself from now on, wherever this Tensor is held; those of its views stay as they are."""
        if value.value is self.value:  # it has that shape already
            return
        if self._equals is not None:
            self._equals[:] = [equal for equal in self._equals if equal() is not self]
            self._equals = None
        self.value, self.shape = value.value, value.shape

    def be_part_of(self, whole: Tensor, index: Any) -> None:
        """Be ``whole[index]``, a view of it."""
        self.share_memory_of(whole)
        self._part_of = whole, index, self._writes

    def take_back(self, index: Any, part: object) -> None:
        """Be up to date again where ``part``, which is about to be put at ``index``, is all that made this outdated.

        It is so in ``x[index] += y``, where Python takes the part, changes it in place, and puts it back.
        """
        memory = self._memory
        if memory is None or not isinstance(part, Tensor) or part._part_of is None:
            return
        whole, place, before = part._part_of
        is_its_own = whole is self and _is_same(place, index)
        if is_its_own and part._writes == memory.writes == before + 1:
            self._writes = memory.writes

    def overwrite(self, value: Tensor) -> None:
        """Stand for another value from now on, of the same shape and type, wherever this Tensor is held."""
        if self._memory is not None:
            self._memory.writes += 1
        for tensor in [self] if self._equals is None else [equal() for equal in self._equals]:
            if tensor is None:  # nobody holds it any more
                continue
            tensor.value = value.value
            if self._memory is not None:
                tensor._writes = self._memory.writes

    def be_up_to_date(self) -> None:
        """Be as right as what was overwritten last in its memory: all of that was, this Tensor's part with it."""
        if self._memory is not None:
            self._writes = self._memory.writes

    @property
    def is_outdated(self) -> bool:
        """Whether a Tensor that it shares memory with was overwritten: a network has no memory to see that in."""
        return self._memory is not None and self._writes != self._memory.writes

    def __repr__(self) -> str:
        name = f"name={self.name!r}" if self.is_there else "postponed"  # to look at it adds no layer
        return f"Tensor(shape={self.shape}, dtype={self.dtype.name}, {name})"

    @property
    def is_there(self) -> bool:
        """Whether its layer is in the network."""
        return self.value.raw is not None

    @property
    def unrounded_or_self(self) -> Tensor:
        """The Tensor before an edge of precision rounded it."""
        return self if self.unrounded is None else self.unrounded

    @property
    def unrounded(self) -> Tensor | None:
        """The fp32 Tensor that an edge of precision made this one of, or None."""
        return self.value.unrounded

    @property
    def raw(self) -> Any:
        """TensorRT's ITensor; to ask for it adds the layer."""
        if self.value.raw is None:
            self.ensure()
        return self.value.raw

    def ensure(self) -> None:
        """Add its layer to the network, if it is not there."""
        value = self.value
        if value.raw is None:
            self.graph.deferred.settle()  # in the order of the calls; it may be this one
        if value.raw is None and value.make is not None:
            made = value.make()
            value.raw, value.make, value.constant = made.raw, None, made.value.constant

    @property
    def name(self) -> str:
        """The name of TensorRT's ITensor."""
        return self.raw.name

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def dim(self) -> int:
        """Return the number of dimensions."""
        return len(self.shape)

    ndimension = dim

    def size(self, dim: int | None = None) -> Length | tuple[Length, ...]:
        """Return the shape, or the length of one dimension.

        Raises:
            ShapeError: there is no such dimension.
        """
        if dim is None:
            return self.shape
        if not -len(self.shape) <= dim < len(self.shape):
            raise ShapeError(f"dimension {dim} of a tensor of shape {self.shape}")
        return self.shape[dim]

    def numel(self) -> Length:
        """Return the number of elements."""
        return math.prod(self.shape)

    nelement = numel

    def __len__(self) -> int:
        if not self.shape:
            raise ArgumentError("a tensor of no dimensions has no length")
        return operator.index(self.shape[0])  # of one that is known only when the network runs it raises a ShapeError

    def __iter__(self) -> Any:
        if not self.shape:
            raise ArgumentError("a tensor of no dimensions cannot be iterated over")
        return (self[i] for i in range(len(self)))  # pyright: ignore[reportIndexIssue]  (trtnn.methods gives it)


def _is_same(first: Any, second: Any) -> bool:
    """Whether two indices are one object, or slices of the same objects, which Python makes anew from 3.12 on."""
    if isinstance(first, slice) and isinstance(second, slice):
        return first.start is second.start and first.stop is second.stop and first.step is second.step
    return first is second
