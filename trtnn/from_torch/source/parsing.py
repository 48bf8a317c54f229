"""From the text of an expression to its tree: what converters return."""

from __future__ import annotations

import ast
from typing import Any

from trtnn.from_torch.source.expressions import (
    Attribute,
    Binary,
    Call,
    Expression,
    Item,
    Negative,
    Number,
    Sequence,
    Slice,
    Starred,
    Text,
    literal,
)


def parse(source: str, names: dict[str, Expression]) -> Expression:
    """Return the tree of an expression's source; ``names`` are what stands for more than themselves."""
    return _Reader(names).visit(ast.parse(source, mode="eval").body)


_SIGNS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.MatMult: "@",
    ast.Pow: "**", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.LShift: "<<", ast.RShift: ">>",
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip


class _Reader(ast.NodeVisitor):
    """Reads calls, operators, literals, and what lies in brackets."""

    def __init__(self, names: dict[str, Expression]) -> None:
        self.names = names

    def generic_visit(self, node: ast.AST) -> Any:
        text = ast.unparse(node)
        raise SyntaxError(f"a converter gave {text}, of a kind that is not written: calls and operators are")

    def _all(self, nodes: list[Any]) -> tuple[Expression, ...]:
        return tuple(map(self.visit, nodes))

    def _maybe(self, node: Any) -> Any:
        return None if node is None else self.visit(node)

    def visit_Name(self, node: ast.Name) -> Expression:
        return self.names.get(node.id, Text(node.id))

    def visit_Constant(self, node: ast.Constant) -> Expression:
        if type(node.value) in (int, float):
            return Number(node.value)
        return Text("..." if node.value is ... else literal(node.value))

    def visit_Attribute(self, node: ast.Attribute) -> Expression:
        return Attribute(self.visit(node.value), node.attr)

    def visit_Subscript(self, node: ast.Subscript) -> Expression:
        index = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return Item(self.visit(node.value), self._all(index))

    def visit_Call(self, node: ast.Call) -> Expression:
        kwargs = tuple((str(keyword.arg), self.visit(keyword.value)) for keyword in node.keywords)
        return Call(self.visit(node.func), self._all(node.args), kwargs)

    def visit_BinOp(self, node: ast.BinOp) -> Expression:
        return Binary(self.visit(node.left), _SIGNS[type(node.op)], self.visit(node.right))

    def visit_Compare(self, node: ast.Compare) -> Expression:
        if len(node.ops) > 1:
            return self.generic_visit(node)
        return Binary(self.visit(node.left), _SIGNS[type(node.ops[0])], self.visit(node.comparators[0]))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Expression:
        if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            return Number(-node.operand.value)  # type: ignore[operator]
        return Negative(self.visit(node.operand), {ast.USub: "-", ast.Invert: "~"}[type(node.op)])  # type: ignore[index]

    def visit_Tuple(self, node: ast.Tuple) -> Expression:
        return Sequence(self._all(node.elts))

    def visit_List(self, node: ast.List) -> Expression:
        return Sequence(self._all(node.elts), "[]")

    def visit_Slice(self, node: ast.Slice) -> Expression:
        return Slice(self._maybe(node.lower), self._maybe(node.upper), self._maybe(node.step))

    def visit_Starred(self, node: ast.Starred) -> Expression:
        return Starred(self.visit(node.value))
