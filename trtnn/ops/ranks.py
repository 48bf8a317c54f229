"""The number of leading elements of an ordered dimension that satisfy a condition, by bisection."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trtnn.graph.tensor import Tensor
from trtnn.ops._promotion import index_dtype
from trtnn.ops.arithmetic import add, minimum, sub
from trtnn.ops.comparison import le, logical_and, where
from trtnn.ops.creation import full
from trtnn.ops.gathering import gather
from trtnn.ops.indexing import take
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import Length, bounds


def count_leading(ordered: Tensor, shape: Sequence[Length], holds: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the number of leading elements along the last dimension that satisfy a condition, (..., m).

    Where an element satisfies it, all elements before do. Of n elements this takes log2(n) + 1 rounds.

    Args:
        ordered: (..., n), whose dimensions but the last broadcast to those of the shape; or (n,).
        shape: of the result, (..., m).
        holds: takes elements in that shape, and returns which of them satisfy the condition.
    """
    length, kind = ordered.shape[-1], index_dtype(ordered.graph)
    if ordered.ndim > 1:
        ordered = expand(ordered, (*shape[:-1], length))
    count = full(tuple(shape), 0, dtype=kind)
    for power in reversed(range(bounds(length)[1].bit_length())):
        more = add(count, 1 << power)
        at = sub(minimum(more, length), 1)
        elements = gather(ordered, -1, at) if ordered.ndim > 1 else take(ordered, at, 0)
        count = where(logical_and(le(more, length), holds(elements)), more, count)
    return count
