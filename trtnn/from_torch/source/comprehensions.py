"""What repeats in a constructor: modules of a container that are alike, or whose numbers grow, are a comprehension."""

from __future__ import annotations

from trtnn.from_torch.source.expressions import (
    Binary,
    Call,
    Comprehension,
    Dictionary,
    Expression,
    New,
    Number,
    Sequence,
    Starred,
    Text,
    blank,
)


def contents(kind: str, items: dict[str, Expression]) -> tuple[Expression, ...]:
    """Return what a container's constructor takes; what repeats is a comprehension."""
    counted = all(name == str(i) for i, name in enumerate(items))
    if kind == "ModuleDict" or not counted:
        return (_named_items(items),) if items else ()
    parts = _repeated(list(items.values()))
    if kind == "Sequential":
        return tuple(parts)
    if len(parts) == 1 and isinstance(parts[0], Starred):
        return (parts[0].operand,)
    return (Sequence(tuple(parts), "[]"),)


def _named_items(items: dict[str, Expression]) -> Expression:
    names = list(items)
    stem = names[0].rstrip("0123456789")
    first = names[0][len(stem) :]
    if len(names) > 2 and first and names == [f"{stem}{int(first) + i}" for i in range(len(names))]:
        item = _progression(list(items.values()))
        if item is not None:
            start = int(first)
            number = f"i + {start}" if start else "i"
            count = Call(Text("range"), (Number(len(names), "depth"),))
            stem = stem.replace("{", "{{").replace("}", "}}")
            return Comprehension(item, "i", count, f'f"{stem}{{{number}}}"')
    return Dictionary(tuple(items.items()))


def _repeated(items: list[Expression]) -> list[Expression]:
    """Return the items with runs of three or more, or two long ones, as comprehensions."""
    written: list[Expression] = []
    i = 0
    while i < len(items):
        best = 1
        for j in range(len(items), i + 1, -1):
            if j - i >= 2 and _progression(items[i:j]) is not None:
                best = j - i
                break
        same = best > 1 and all(item == items[i] for item in items[i : i + best])
        if best >= 3 or (best == 2 and same and isinstance(items[i], New)):
            item = _progression(items[i : i + best])
            assert item is not None
            variable = "_" if same else "i"
            count = Call(Text("range"), (Number(best, "depth"),))
            written.append(Starred(Comprehension(item, variable, count)))
            i += best
        else:
            written.append(items[i])
            i += 1
    return written


def _progression(items: list[Expression]) -> Expression | None:
    """Return the item that all are at ``i`` = 0, 1, 2, ..., or None."""
    numbers = [[node for node in item.walk() if isinstance(node, Number)] for item in items]
    blanks = [blank(item) for item in items]
    if any(other != blanks[0] for other in blanks[1:]):
        return None
    trees: list[Expression] = []
    for column in zip(*numbers, strict=True):
        values = [node.value for node in column]
        if all(value == values[0] for value in values):
            trees.append(column[0])
            continue
        if len(values) < 3 or any(type(value) is not int for value in values):
            return None
        step = values[1] - values[0]
        if any(value != values[0] + i * step for i, value in enumerate(values)):
            return None
        growth: Expression = Text("i") if step == 1 else Binary(Number(step, "growth"), "*", Text("i"))
        trees.append(growth if values[0] == 0 else Binary(Number(values[0], column[0].hint), "+", growth))
    it = iter(trees)
    return items[0].map(lambda node: next(it) if isinstance(node, Number) else None)
