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


def render(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: int,
    total: Sequence[str] | str = (),
    limit: int | None = None,
    hidden: int = 0,
    rest: str = "more",
) -> str:
    """Return a table with a rule under its header, and another one above its last line.

    Args:
        header: the names of the columns.
        rows: of as many cells.
        left: how many columns are flush left, see :func:`aligned`.
        total: the cells of the last line, or its text; the table ends with its rows where there are none.
        limit: the most rows to show; all where None. A line tells how many more there are.
        hidden: how many rows there are beside these.
        rest: what the line calls the rows that are not shown.
    """
    shown = rows[:limit]
    hidden += len(rows) - len(shown)
    cells = [header, *shown]
    if total and not isinstance(total, str):
        cells.append(total)
    lines = aligned(cells, left)
    rule = "-" * max(map(len, lines))
    last = [total] if isinstance(total, str) else lines[1 + len(shown) :]
    more = [f"... and {hidden} {rest}"] if hidden else []
    return "\n".join([lines[0], rule, *lines[1 : 1 + len(shown)], *more, *([rule, *last] if last else [])])
