"""Tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return rows of cells as lines whose columns stand under each other.

    Args:
        rows: of equal length, the header among them.
        left: how many columns, from the first on, are flush left; the others are flush right, as numbers are.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = enumerate(zip(row, widths, strict=True))
        return "  ".join(text.ljust(width) if i < left else text.rjust(width) for i, (text, width) in cells).rstrip()

    return [line(row) for row in rows]
