"""Lines of at most 120 columns, broken as a formatter would break them."""

from __future__ import annotations

from collections.abc import Sequence

from trtnn.from_torch.source.expressions import (
    WIDTH,
    Attribute,
    Binary,
    Call,
    Comprehension,
    Dictionary,
    Expression,
    Item,
    Member,
    New,
    Starred,
    Text,
    as_call,
    quoted,
    text_of,
)
from trtnn.from_torch.source.expressions import Sequence as Items
from trtnn.from_torch.source.lines import Line


def statement(line: Line, indent: int) -> list[str]:
    """Return the text of a line that is no loop."""
    node, place = line.expression, line.place
    assert node is not None
    if line.kind == "assign":
        names = ", ".join(line.targets)
        return _broken(f"{names}{',' if line.unpacks and len(line.targets) == 1 else ''} = ", node, "", indent)
    if line.kind == "set" and place is not None:
        return _broken(f"{text_of(place)} = ", node, "", indent)
    if line.kind == "augment" and place is not None:
        return _broken(f"{text_of(place)} {line.sign}= ", node, "", indent)
    if line.kind == "append" and place is not None:
        return _broken("", Call(Attribute(place, "append"), (node,)), "", indent)
    if line.kind in ("return", "assert"):
        if isinstance(node, Items) and node.brackets == "()" and len(node.items) > 1:
            one = f"{' ' * indent}return {', '.join(map(text_of, node.items))}"
            if len(one) <= WIDTH:
                return [one]
        return _broken(f"{line.kind} ", node, "", indent)
    return _broken("", node, "", indent)


def _broken(before: str, node: Expression, after: str, indent: int) -> list[str]:
    """Return a line, or several where one is too long: the outermost brackets are opened first."""
    one = f"{' ' * indent}{before}{text_of(node)}{after}"
    if len(one) <= WIDTH:
        return [one]
    node = as_call(node) if isinstance(node, New) else node
    if isinstance(node, Comprehension):
        source = f"for {node.variable} in {text_of(node.source)}"
        if node.key:
            inner = [*_broken(f"{node.key}: ", node.item, "", indent + 4), f"{' ' * (indent + 4)}{source}"]
            return [f"{' ' * indent}{before}{{", *inner, f"{' ' * indent}}}{after}"]
        return [*_broken(before, node.item, "", indent), f"{' ' * indent}{source}{after}"]
    opened = None if _is_chain(node) else _brackets(node)
    if opened is None:
        if isinstance(node, (Attribute, Text, Member)):
            return [one]
        inner = f"{' ' * (indent + 4)}{text_of(node)}"
        inside = [inner] if len(inner) <= WIDTH else _at_operators(node, indent + 4)
        return [f"{' ' * indent}{before}(", *inside, f"{' ' * indent}){after}"]
    head, items, tail = opened
    lines = [f"{' ' * indent}{before}{head}"]
    together = f"{' ' * (indent + 4)}{', '.join(key + text_of(item) for key, item in items)}"
    if isinstance(node, (Call, Starred)) and len(together) <= WIDTH:
        lines.append(together)
    else:
        for key, item in items:
            comma = "" if len(items) == 1 and isinstance(item, Comprehension) else ","
            lines += _broken(key, item, comma, indent + 4)
    return [*lines, f"{' ' * indent}{tail}{after}"]


def _is_chain(node: Expression) -> bool:
    """Whether formatters break a call at its dots: where two are behind brackets."""
    dots = 0
    while isinstance(node, (Call, Attribute, Item, Member)):
        dots += isinstance(node, Attribute) and isinstance(node.base, (Call, Item, Member))
        node = node.function if isinstance(node, Call) else node.base
    return dots > 1


def _at_operators(node: Expression, indent: int) -> list[str]:
    if not isinstance(node, Binary):
        return [f"{' ' * indent}{text_of(node)}"]
    parts: list[tuple[str, Expression]] = []
    left: Expression = node
    while isinstance(left, Binary) and left.sign in "+-":
        parts.append((f"{left.sign} ", left.right))
        left = left.left
    if not parts:
        return [f"{' ' * indent}{text_of(node)}"]
    lines = _broken("", left, "", indent)
    for sign, part in reversed(parts):
        lines += _broken(sign, part, "", indent)
    return lines


def _brackets(node: Expression) -> tuple[str, list[tuple[str, Expression]], str] | None:
    """Return what stands before the items of the outermost brackets, the items with their keys, and what is behind."""
    if isinstance(node, Call) and (node.args or node.kwargs):
        items = [("", arg) for arg in node.args] + [(f"{name}=", value) for name, value in node.kwargs]
        return f"{text_of(node.function, 14)}(", items, ")"
    if isinstance(node, Items) and node.items:
        return node.brackets[0], [("", item) for item in node.items], node.brackets[1]
    if isinstance(node, Dictionary) and node.items:
        return "{", [(f"{quoted(key)}: ", item) for key, item in node.items], "}"
    if isinstance(node, Starred) and isinstance(node.operand, Comprehension):
        return "*(", [("", node.operand)], ")"
    return None


def signature(name: str, arguments: Sequence[str]) -> list[str]:
    """Return the text of a method's first line: its name, ``self`` and other arguments."""
    one = f"    def {name}({', '.join(['self', *arguments])}):"
    if len(one) <= WIDTH:
        return [one]
    inner = f"        {', '.join(['self', *arguments])}"
    if len(inner) <= WIDTH:
        return [f"    def {name}(", inner, "    ):"]
    return [f"    def {name}(", "        self,", *(f"        {item}," for item in arguments), "    ):"]
