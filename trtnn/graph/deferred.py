"""Layers that are added late: when the next one comes, which may be folded into them, or when something reads them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from trtnn.dtypes import DType
from trtnn.errors import ShapeError, TrtnnError
from trtnn.graph.failures import outdated, user_line
from trtnn.graph.precision import Scope
from trtnn.graph.tensor import Tensor, Value
from trtnn.shapes.symbolic import Length, bounds

if TYPE_CHECKING:
    from trtnn.graph.graph import Graph

BATCH_NORM = "a BatchNorm"


class Deferred:
    """The layers of a graph that are yet to be added; at most one waits to have something folded into it."""

    def __init__(self, graph: Graph) -> None:
        self._owner = weakref.ref(graph)  # no circle: a network goes when nobody holds it
        self._waiting: Tensor | None = None
        self._waits_for = ""

    @property
    def _graph(self) -> Graph:
        graph = self._owner()
        if graph is None:
            raise TrtnnError("a Tensor outlived the network that it belongs to")
        return graph

    def postpone(
        self, make: Callable[..., Tensor], shape: Sequence[Length], dtype: DType, waits_for: str = BATCH_NORM
    ) -> Tensor:
        """Return the Tensor of a layer that is added just before the next one, so that the next may be folded into it.

        What reads it after something was folded into it gets a layer of its own, without the fold.

        Args:
            make: adds the layer and returns its output, under the path of the module that is running now. It takes what
                is to be folded in, see :meth:`fold`, or nothing. What it reads is a :meth:`snapshot`.
            shape: of the output.
            dtype: of the output.
            waits_for: what may be folded into it.
        """
        self.settle()
        tensor = self.later(make, tuple(shape), dtype)
        if any(bounds(length)[0] < 1 for length in shape):
            tensor.ensure()  # it raises
        self._waiting, self._waits_for = tensor, waits_for
        return tensor

    def nothing(self, shape: Sequence[Length], dtype: DType, why: str) -> Tensor:
        """Return a Tensor of no elements, which TensorRT does not have: only ``cat`` takes it, and leaves it out.

        Args:
            shape: of it, with a length of 0.
            dtype: of it.
            why: it is empty, for the message to whoever else reads it.
        """

        def refuse() -> Tensor:
            raise ShapeError(why, "TensorRT has no tensors without elements; cat takes them, and nothing else")

        return self.later(refuse, tuple(shape), dtype)

    def snapshot(self, what: str, tensor: Tensor) -> Tensor:
        """Return a copy of a Tensor as it is now: it may change in place until a layer that is added late reads it.

        Args:
            what: the layer, or what takes the copy, for the message.

        Raises:
            UnsupportedError: it shares memory with one that was changed in place.
        """
        if tensor.is_outdated:
            raise outdated(what, self._graph.scopes[-1].path)
        return tensor.copy()

    def later(
        self, make: Callable[..., Tensor], shape: tuple[Length, ...], dtype: DType, constant: bool = False
    ) -> Tensor:
        """Return a Tensor whose layer is added when something asks for it, in the module that is running now."""
        scope = Scope(self._graph.scopes[-1].path, self._graph.scopes[-1].compute, user_line())

        def make_there(*folded: Any) -> Tensor:
            self._graph.scopes.append(scope)
            try:
                return make(*folded)
            finally:
                self._graph.scopes.pop()

        return Tensor(self._graph, Value(make=make_there, constant=constant), shape, dtype)

    def settle(self) -> None:
        """Add the layer that was postponed, if there is one."""
        tensor, self._waiting = self._waiting, None
        if tensor is not None:
            tensor.ensure()

    def claim(self, tensor: Tensor, waits_for: str) -> Callable[..., Tensor] | None:
        """Return what adds the postponed layer that gives ``tensor``, and let it wait no longer.

        A layer in fp32 whose output only leaves it as fp16 takes it in fp32, and its output is fp32.

        Args:
            tensor: an input of what may be folded into it.
            waits_for: that.

        Returns:
            None where the tensor is not that of a postponed layer that waits for this, or something has used it.
        """
        source = tensor.unrounded_or_self.value
        is_waiting = self._waiting is not None and source is self._waiting.value and self._waits_for == waits_for
        if not is_waiting or source.make is None or tensor.is_outdated:
            return None
        self._waiting = None
        return source.make

    def fold(self, tensor: Tensor, *what: Any) -> Tensor | None:
        """Add the postponed layer that gives ``tensor`` with a BatchNorm folded in, and return its output.

        Returns:
            None where :meth:`claim` gives nothing.
        """
        make = self.claim(tensor, BATCH_NORM)
        if make is None:
            return None
        result = make(*what)
        # The last: before it may stand a cast of its input, which was postponed elsewhere.
        self._graph.folded.append((self._graph.layer_paths[-1], self._graph.scopes[-1].path))
        return result
