"""Lengths read from their text, such as ``height//8 + 1`` in an engine file, which may be hostile."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from trtnn.shapes.symbolic import LARGEST_POWER, Length, Size, sym_max, sym_min
from trtnn.shapes.terms import Pair

_TEXT_LIMIT = 1000  # of a length that is read: a file could hold one that takes forever
# Of all lengths that are read together: by monomials, each with what is in its floors, that operations take and give.
# All lengths of a detector's modules come to 300 at most; a unit of the worst takes 0.13 ms.
_WORK_LIMIT = 10_000


class LengthReader:
    """Read the lengths of one file, each text once; what takes more work than the lengths of networks do is refused.

    Args:
        dims: the dimensions by the names that stand in the texts.
    """

    def __init__(self, dims: Mapping[str, Length]) -> None:
        self._dims = dims
        self._parsed: dict[str, Length] = {}
        self._text = ""  # that is being read
        self._work = 0

    def __call__(self, text: str) -> Length:
        """Return the length whose ``str`` is this text.

        Raises:
            ValueError: the text is no length, names an unknown dimension, or is too complicated.
        """
        if text not in self._parsed:
            self._parsed[text] = self._parse(text)
        return self._parsed[text]

    def _parse(self, text: str) -> Length:
        try:
            if len(text) > _TEXT_LIMIT:
                raise ValueError(f"it has {len(text):,} characters, {_TEXT_LIMIT:,} are read")
            self._text = text
            self._charge(1 + len(text) // 16)
            return self._value(ast.parse(text, mode="eval").body)
        except (
            SyntaxError,
            ZeroDivisionError,
            RecursionError,
            MemoryError,
        ) as error:  # of nesting Python raises the last
            raise ValueError(f"{text[:_TEXT_LIMIT]!r} is no length: {error or type(error).__name__}") from error

    def _value(self, node: ast.expr) -> Length:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name) and node.id in self._dims:
            return self._dims[node.id]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self._value(node.operand)
        operation, operands = None, []
        if isinstance(node, ast.BinOp):
            operation, operands = _OPERATIONS.get(type(node.op)), [node.left, node.right]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            operation, operands = _EXTREMES.get(node.func.id), node.args
        if operation is None or len(operands) != 2:
            raise ValueError(f"{ast.unparse(node)!r} in the length {self._text!r}")
        left, right = map(self._value, operands)
        self._charge(_weight(left) * _weight(right))  # what they come to could be of any size
        result = operation(left, right)
        self._charge(_weight(result))
        return result

    def _charge(self, work: int) -> None:
        self._work += work
        if self._work > _WORK_LIMIT:
            raise ValueError("the lengths are too complicated")


_OPERATIONS: dict[type, Callable[[Any, Any], Length]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
}
_EXTREMES: dict[str, Callable[[Length, Length], Length]] = {"min": sym_min, "max": sym_max}


def _weight(length: Length) -> int:
    """Return how many monomials there are in a length and in its floors.

    Raises:
        ValueError: one of them is of a power that no length has.
    """
    if isinstance(length, int):
        return 1
    if max(map(len, length._terms), default=0) > LARGEST_POWER:
        raise ValueError("the lengths are too complicated")
    return sum(
        1 + sum(_weight(Size(dict(part))) for atom in monomial if isinstance(atom, Pair) for part in atom[1:])
        for monomial in length._terms
    )
