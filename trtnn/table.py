"""Tables as plain text, and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict


def cell(value: Any) -> str:
    """Return a value as the text of a cell: of a list its parts, with commas between them."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


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


class Content(TypedDict, total=False):
    """What :func:`render` and :func:`render_html` take."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int
    total: Sequence[str] | str
    limit: int | None
    hidden: int
    rest: str


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


def render_html(
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: int,
    total: Sequence[str] | str = (),
    limit: int | None = None,
    hidden: int = 0,
    rest: str = "more",
) -> str:
    """Return a table as HTML, for the ``_repr_html_`` by which notebooks show objects.

    Args:
        caption: what stands above it.
        header, rows, left, total, limit, hidden, rest: as for :func:`render`.
    """
    from html import escape

    from trtnn.errors import escape_controls

    def line(cells: Sequence[Any], tag: str) -> str:
        sides = ("left" if index < left else "right" for index in range(len(cells)))
        made = (
            f'<{tag} style="text-align:{side};white-space:pre-wrap">{escape(escape_controls(str(cell)))}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )
        return f"<tr>{''.join(made)}</tr>"

    def whole(text: str) -> str:
        return f'<tr><td colspan="{len(header)}" style="text-align:left">{escape(escape_controls(text))}</td></tr>'

    shown = rows[:limit]
    hidden += len(rows) - len(shown)
    body = [line(row, "td") for row in shown] + ([whole(f"... and {hidden} {rest}")] if hidden else [])
    end = whole(total) if isinstance(total, str) and total else line(total, "th") if total else ""
    return (
        f'<table><caption style="text-align:left">{escape(escape_controls(caption))}</caption>'
        f"<thead>{line(header, 'th')}</thead><tbody>{''.join(body)}</tbody><tfoot>{end}</tfoot></table>"
    )


MOST_IN_NOTEBOOK = 30  # rows of a table that a notebook shows of an object
