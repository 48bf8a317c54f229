"""Casts to float32 and back, which do nothing where a module is recorded, and much in half precision.

``x.float()`` gives x itself there. In a network of fp16 it is what keeps a square of 300 from becoming infinite.
"""

from __future__ import annotations

from types import FrameType
from typing import Any

import torch

from trtnn.from_torch.recording.frames import caller, is_written, last_loaded
from trtnn.from_torch.recording.steps import Callee, Scope, Value
from trtnn.from_torch.recording.tape import Tape

_TO_FLOAT = Callee("function", torch.Tensor.float, "float", "torch.Tensor")
_BACK = Callee("function", torch.Tensor.type_as, "type_as", "torch.Tensor")
_CASTS = ("float", "to", "type", "type_as")
_SAYS_FLOAT = (("float32",), ("float",))  # as the last name of torch.float32 and torch.float


def note_wide(scope: Scope | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Note what an operation took that was told to compute in float32, as ``softmax(x, -1, dtype=torch.float32)``."""
    if scope is not None and kwargs.get("dtype") is torch.float32 and args and _is_float(args[0]):
        scope.widened = args[0]


def cast_of(
    tape: Tape, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callee, tuple[Value, ...]] | None:
    """Return the cast that a call is which gave its input, a float32 tensor, as it is, or None where it is none.

    ``y.to(x.dtype)`` is ``y.type_as(x)``. Of ``y.to(dtype)`` nothing tells whose type it is: that of what the last cast
    to float32 in the same forward took.

    Args:
        tape: what was recorded until now.
        args, kwargs: what was passed, with Values for tensors.
    """
    scope = tape.scope
    if scope is None or name not in _CASTS or not _is_float(args[0]):
        return None
    others = (*args[1:], *kwargs.values())
    like = next((value for value in others if isinstance(value, Value)), None)
    if like is None and name != "float":
        frame = caller()
        is_cast = any(isinstance(value, (torch.dtype, str)) for value in others)  # and not to another device
        if not is_cast or frame is None or is_written(frame):  # a graph has float32 for a cast and for one back
            return None
        names = last_loaded(frame)
        if names[-1:] not in _SAYS_FLOAT:
            like = _whose(tape, frame, names) or scope.widened
            if like is None:
                return None
    if like is None:
        scope.widened = args[0]
        return _TO_FLOAT, (args[0],)
    return None if like is args[0] else (_BACK, (args[0], like))


def _whose(tape: Tape, frame: FrameType, names: tuple[str, ...]) -> Value | None:
    """Return the tensor of the model's inputs whose type ``x.dtype`` is, or None."""
    if len(names) != 2 or names[1] != "dtype":
        return None
    value = tape.values.get(id(frame.f_locals.get(names[0])))
    return value if _is_float(value) else None


def _is_float(value: Any) -> bool:
    return isinstance(value, Value) and value.depends and value.tensor.dtype is torch.float32
