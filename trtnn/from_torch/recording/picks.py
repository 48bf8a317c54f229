"""What masks pick, ``x[mask]``: how many elements there are depends on numbers, but not what they are put back as.

``x[mask] = f(y[mask])`` is ``x[...] = where(mask, f(y), x)``, where ``f`` takes each element by itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from trtnn.from_torch.recording.arguments import Arguments
from trtnn.from_torch.recording.steps import Refusal, Scope, Value, steps_within, tensors_in, version_of
from trtnn.from_torch.recording.tape import Tape

_OF_TWO = ("add", "sub", "mul", "div", "true_divide", "floor_divide", "remainder", "fmod", "pow", "maximum", "minimum")
_OF_ONE = (
    "neg", "abs", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal", "square",
    "sin", "cos", "tan", "atan", "tanh", "sigmoid", "relu", "relu6", "gelu", "silu", "leaky_relu", "elu", "softplus",
    "hardtanh", "clamp", "clip", "clamp_min", "clamp_max", "floor", "ceil", "round", "trunc", "sign", "erf", "float",
)  # fmt: skip
_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
_ELEMENTWISE = frozenset((
    *_OF_TWO, *_OF_ONE, "__neg__", *(f"__{r}{name}__" for name in _OPERATORS for r in ("", "r")),
))  # fmt: skip


class Picked(NamedTuple):
    """What a mask picked, or was computed of that element by element.

    Attributes:
        tensors: the elements, what they would be were all picked, and the mask.
        versions: of these, so that it shows whether one was written to.
        refusals: what was noted against it.
    """

    tensors: tuple[Any, ...]
    versions: tuple[int, ...]
    refusals: tuple[Refusal, ...]

    def is_as_it_was(self) -> bool:
        """Whether nothing was written to what it is of."""
        return self.versions == tuple(map(version_of, self.tensors))


def picked(tensors: tuple[Any, ...], *refusals: Refusal) -> Picked:
    """Return what a mask picked, of the tensors as they are now."""
    return Picked(tensors, tuple(map(version_of, tensors)), refusals)


def of_each_element(func: Any, name: str) -> Any:
    """Return the function that computes anew what one computes of each element by itself; None of all others."""
    if name in _ELEMENTWISE:
        return func
    if name.startswith("__i") and f"__{name[3:]}" in _ELEMENTWISE:
        return getattr(torch.Tensor, f"__{name[3:]}")
    return getattr(torch.Tensor, name[:-1], None) if name.endswith("_") and name[:-1] in _ELEMENTWISE else None


def are_same_masks(a: Value, b: Value, scope: Scope | None) -> bool:
    """Whether two masks hold the same: one, or what one comparison gives twice, with no write between."""
    if a is b:
        return True
    one, two = a.step, b.step
    if one is None or two is None or scope is None or (one.name, one.owner) != (two.name, two.owner):
        return False
    same = len(one.args) == len(two.args) and not one.kwargs and not two.kwargs and all(
        x is y or (type(x) is type(y) and type(x) in (int, float, bool) and x == y)
        for x, y in zip(one.args, two.args, strict=True)
    )  # fmt: skip
    ends = sorted((one.number, two.number))
    return same and not any(s.writes is not None for s in steps_within(scope) if ends[0] < s.number < ends[1])


class Places:
    """Where masks are true, as tensors of indices: what these pick is what the mask picks.

    Args:
        tape: what was noted against them, and is taken back where they are no more than that.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._found: dict[int, Picked] = {}  # by the id of each tensor of indices

    def note(self, name: str, before: Arguments, args: tuple[Any, ...], result: Any) -> None:
        """Note the places that an operation gives, a tensor for each dimension of a mask; it was refused before."""
        gives = name == "where" and len(before.args) == 1
        if name == "nonzero":
            gives = True in before.args[1:] or before.kwargs.get("as_tuple") is True
        if gives and before.depends and args[0].dtype is torch.bool:
            found = picked((*result, args[0]), self.tape.refusals[-1])
            self._found.update((id(places), found) for places in result)

    def as_mask(self, index: Any) -> Any:
        """Return the mask whose places an index holds, ``x[torch.where(mask)]``, and others as they are."""
        places = index if isinstance(index, tuple) else (index,)
        found = self._found.get(id(places[0])) if len(places) else None
        if found is None or not found.is_as_it_was():
            return index
        *those, mask = found.tensors
        if len(those) != len(places) or any(a is not b for a, b in zip(those, places, strict=True)):
            return index
        self.tape.take_back(found.refusals)
        return mask

    def refuse(self, values: Any) -> None:
        """Note again what was taken back against places that are used for more than to pick by them."""
        if not self._found:
            return
        for found in [self._found[id(tensor)] for tensor in tensors_in(values) if id(tensor) in self._found]:
            self.tape.refusals += [refusal for refusal in found.refusals if refusal not in self.tape.refusals]
            self._found = {key: other for key, other in self._found.items() if other is not found}
