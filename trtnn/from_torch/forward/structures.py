"""Python's own structures and literals as expressions: what operations are called with besides Tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from trtnn.from_torch.operations.converters import Missing, dtype_text
from trtnn.from_torch.recording.lengths import Real, Whole, plain
from trtnn.from_torch.recording.steps import Listed, Value
from trtnn.from_torch.source.expressions import Call, Dictionary, Expression, Number, Sequence, Slice, Text, literal

# What source has a form of, and what an operation is refused for that takes it.
_SAID = (
    Value, Whole, Real, type(None), bool, int, float, str, type(...), slice, tuple, dict, range,
    torch.dtype, torch.device, torch.layout, torch.memory_format,
)  # fmt: skip

Spell = Callable[[Any, str], Expression]  # of a value, and what an argument of it would be called


def structure(value: Any, hint: str, express: Spell, number: Spell) -> Expression:
    """Return the expression of a value that is no Tensor.

    Args:
        value: what was recorded.
        hint: what an argument of it would be called.
        express: says what a part of it is.
        number: says what a number is, or a tuple or list of numbers.

    Raises:
        Missing: source has none.
    """
    if value is None or isinstance(value, (bool, str, complex)):
        return Text(literal(value))
    if value is Ellipsis:
        return Text("...")
    if isinstance(value, torch.dtype):
        return dtype_text(value)
    if isinstance(value, (Whole, Real)):
        return number(plain(value), hint)
    if isinstance(value, (int, float)):  # NaN equals nothing, so that none could be told to be the same
        return Text(literal(value)) if math.isnan(value) else number(value, hint)
    if isinstance(value, slice):
        ends = [None if end is None else express(end, hint) for end in (value.start, value.stop, value.step)]
        if ends[2] is not None and value.step == 1:
            ends[2] = None
        return Slice(*ends)
    if isinstance(value, tuple):
        brackets = "[]" if isinstance(value, Listed) else "()"
        if value and all(type(item) in (int, float) for item in value):
            return number(list(value) if brackets == "[]" else tuple(value), hint)
        return Sequence(tuple(express(item, hint) for item in value), brackets)
    if isinstance(value, dict):
        return Dictionary(tuple((str(key), express(item, hint)) for key, item in value.items() if item is not None))
    if isinstance(value, range):
        return Call(Text("range"), tuple(map(Number, (value.start, value.stop, value.step))))
    if isinstance(value, (torch.device, torch.layout, torch.memory_format)):
        raise Missing(f"an argument of {value}")
    raise Missing(f"an argument of type {type(value).__name__}")


def is_object(value: Any) -> bool:
    """Whether a value is an object of which source knows nothing, such as a cache; tensors in it are reached beside."""
    return not isinstance(value, _SAID)
