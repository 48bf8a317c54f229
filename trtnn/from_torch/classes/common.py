"""What the constructors of two instances have in common: one tree, with Slots where the modules themselves differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from trtnn.from_torch.source.expressions import (
    NOTHING,
    Call,
    Expression,
    IfThere,
    Item,
    Member,
    New,
    Number,
    Slot,
    Text,
    blank,
)

# Modules that hold no weights and take few words, so that a constructor may be given one, and two children be one.
_LIGHT = frozenset(("Identity", "Dropout", "ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish",
                    "Hardswish", "Hardsigmoid", "Hardtanh", "Sigmoid", "Tanh", "Softplus", "Softmax"))  # fmt: skip


def is_light(node: Expression) -> bool:
    """Whether a module holds no weights and takes few words, or is none."""
    made = isinstance(node, Call) and isinstance(node.function, Text) and node.function.text in _LIGHT
    return made or node == NOTHING


def _fits(node: Expression) -> bool:
    """Whether a module is made in so few words that a constructor may be given it."""
    if isinstance(node, New):
        return all(is_light(value) or not isinstance(value, (New, Call)) for _, value in node.args)
    return is_light(node)


def in_common(a: Expression, b: Expression, name: str = "") -> Expression | None:
    """Return the tree that two are instances of, or None; ``name`` is the child or argument that they are."""
    if isinstance(a, Slot) or isinstance(b, Slot):
        slot, other = (a, b) if isinstance(a, Slot) else (b, a)
        assert isinstance(slot, Slot)
        return replace(slot, optional=slot.optional or other == NOTHING) if slot.optional or _fits(other) else None
    merged = _of_one_kind(a, b)
    if merged is None and name and (NOTHING in (a, b) or (_fits(a) and _fits(b))):
        return Slot(name, NOTHING in (a, b))
    return merged


def _of_one_kind(a: Expression, b: Expression) -> Expression | None:
    """Return the tree that two are instances of where both make the same kind of module, or None."""
    if isinstance(a, Number) and isinstance(b, Number):
        return a
    if isinstance(a, New) and isinstance(b, New) and a.group is b.group:
        pairs = zip(a.args, b.args, strict=True)
        args = [(key, in_common(value, other, key)) for (key, value), (_, other) in pairs]
        return New(a.group, tuple(args)) if all(node is not None for _, node in args) else None  # type: ignore[arg-type]
    if isinstance(a, Call) and isinstance(b, Call) and a.function == b.function and _are_as_long(a, b):
        if [key for key, _ in a.kwargs] != [key for key, _ in b.kwargs]:
            return None
        nodes = [_item_in_common(x, y) for x, y in itertools.zip_longest(a.args, b.args, fillvalue=NOTHING)]
        pairs = zip(a.kwargs, b.kwargs, strict=True)
        kwargs = [(key, in_common(value, other)) for (key, value), (_, other) in pairs]
        if any(node is None for node in (*nodes, *(node for _, node in kwargs))):
            return None
        return Call(a.function, tuple(nodes), tuple(kwargs))  # type: ignore[arg-type]
    return a if blank(a) == blank(b) else None


def _are_as_long(a: Call, b: Call) -> bool:
    """Whether two calls have as many items, but for an activation at the end of one."""
    longer, shorter = sorted((a.args, b.args), key=len, reverse=True)
    if len(longer) == len(shorter):
        return True
    last = longer[-1]
    return (
        len(longer) == len(shorter) + 1 and len(shorter) > 0 and (isinstance(last, (IfThere, Slot)) or is_light(last))
    )


def _item_in_common(a: Expression, b: Expression) -> Expression | None:
    """Return what two items of a Sequential are instances of: of two activations, or of one and none, a Slot."""
    if isinstance(a, IfThere) or isinstance(b, IfThere):
        one, other = (a, b) if isinstance(a, IfThere) else (b, a)
        return one if isinstance(other, IfThere) or is_light(other) else None
    if NOTHING in (a, b):
        return IfThere(Slot("activation"))
    if isinstance(a, Slot) or isinstance(b, Slot):
        return in_common(a, b)
    return Slot("activation") if a != b and is_light(a) and is_light(b) else in_common(a, b)


def captured(template: Expression, tree: Expression) -> Iterator[Expression]:
    """Yield what stands in a tree where what it is an instance of has a Number or a Slot."""
    if isinstance(template, (Number, Slot)):
        yield tree
        return
    if isinstance(template, IfThere) and not isinstance(tree, IfThere):
        yield tree
        return
    if isinstance(template, Item) and isinstance(tree, Member):  # of a place in a container that an argument says
        yield from captured(template.base, tree.base)
        return
    own = list(tree.parts())
    if isinstance(template, Call) and isinstance(tree, Call) and len(tree.args) < len(template.args):
        own.insert(1 + len(tree.args), NOTHING)  # behind the function
    for part, mine in zip(template.parts(), own, strict=True):
        yield from captured(part, mine)
