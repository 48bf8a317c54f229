"""Who has a tensor, and the memory that it lies in: what is let go of while a call is recorded.

Python counts who has a tensor's object, torch who has the tensor itself, as its views do, and the memory.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence

import torch

from trtnn.from_torch.recording.steps import Listed, Value


def _references(value: Value) -> int:
    return sys.getrefcount(value.tensor)


def _tensors(value: Value) -> int:
    """Return who has the tensor itself: its Python object, and its views."""
    return value.tensor._use_count()  # pyright: ignore[reportAttributeAccessIssue]


def _counted() -> Iterator[int]:
    """Yield the references to a tensor that only its Value has, first without a view and then with one."""
    value = Value(torch.empty(2))
    yield _references(value)
    _view = value.tensor[:1]
    yield _references(value)


_ALONE, _WITH_VIEWS = _counted()
_IS_COUNTED = hasattr(torch.Tensor, "_use_count") and hasattr(torch._C, "_storage_Use_Count")  # not so in older ones


def bytes_of(tensor: torch.Tensor) -> int:
    """Return how much memory of the CPU or a GPU a tensor lies in, which can be let go of."""
    try:
        with torch._C.DisableTorchFunction():
            return 0 if tensor.is_meta or not _IS_COUNTED else tensor.untyped_storage().nbytes()
    except (NotImplementedError, RuntimeError):  # it has none of its own
        return 0


def is_others(tensor: torch.Tensor) -> bool:
    """Return whether a tensor lies in memory that others have as well, such as a NumPy array's."""
    try:
        with torch._C.DisableTorchFunction():
            return not tensor.is_meta and not tensor.untyped_storage().resizable()
    except (NotImplementedError, RuntimeError):  # it has none of its own
        return False


def have_same_bits(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors of one shape and type hold the same, not numbers among it."""
    bits = (t.resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8) for t in (tensor, other))
    return torch.equal(*bits)


def is_of_its_value_alone(value: Value) -> bool:
    """Return whether no Python object but a Value has a tensor; other tensors may, its views."""
    return _references(value) == (_WITH_VIEWS if _tensors(value) > 1 else _ALONE)


def is_of_these_alone(listed: Sequence[Listed]) -> bool:
    """Return whether nobody has a list but what was recorded of it."""
    return sys.getrefcount(listed[0].source) == len(listed) + _ALONE - 1


def memory_of_these_alone(values: Sequence[Value]) -> torch.UntypedStorage | None:
    """Return the memory that tensors share, or None where others share it that may be read.

    Args:
        values: each is of its Value alone, see :func:`is_of_its_value_alone`.
    """
    known = {id(value.tensor) for value in values}
    views: Counter[int] = Counter()
    inner: dict[int, Value] = {}  # bases of views that torch's functions gave, which no operation took
    for value in values:
        base = value.tensor._base
        views[id(base)] += 1
        if base is not None and id(base) not in known:
            inner[id(base)] = Value(base)
        del base  # who has it is counted
    bases = list(inner.values())
    if not all(map(is_of_its_value_alone, bases)):
        return None
    if any(_tensors(value) != 1 + views[id(value.tensor)] for value in (*values, *bases)):
        return None
    memory = values[0].tensor.untyped_storage()
    # Counted are the tensors, and the name here.
    are_all = torch._C._storage_Use_Count(memory._cdata) == len(values) + len(bases) + 1
    return memory if are_all and memory.resizable() else None
