"""Elements repeated: slices that stand still."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn.errors import ShapeError
from trtnn.ops.indexing import cut
from trtnn.ops.shaping import with_ndim
from trtnn.symbolic import Length, same, same_shape
from trtnn.tensor import Tensor


def expand(input: Tensor, *sizes: Length | Sequence[Length]) -> Tensor:
    """Repeat dimensions of length 1 to ``sizes``; -1 keeps a length, and further dimensions come in front.

    Raises:
        ShapeError: a dimension of another length would have to change, or sizes are fewer than dimensions.
    """
    wanted = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], Sequence) else tuple(sizes)
    new = len(wanted) - input.ndim
    lengths = (1,) * new + input.shape
    kept = [type(size) is int and size == -1 for size in wanted]
    if new < 0 or any(kept[:new]):
        raise ShapeError(f"cannot expand {input.shape} to {wanted} in {input.graph.where}")
    target = tuple(n if keep else size for n, size, keep in zip(lengths, wanted, kept, strict=True))
    if not all(size >= 1 and (same(n, 1) or same(n, size)) for n, size in zip(lengths, target, strict=True)):
        raise ShapeError(f"cannot expand {input.shape} to {wanted} in {input.graph.where}")
    whole = with_ndim(input, len(target))
    if same_shape(target, lengths):
        return whole
    strides = tuple(0 if same(n, 1) else 1 for n in lengths)
    return cut(whole, (0,) * len(target), target, strides)
