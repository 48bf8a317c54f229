"""Progress bars on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def make_bar(show: bool, *texts: str) -> Progress:
    """Return a bar with its description, the time that has passed and further texts in rich's notation.

    Args:
        show: whether there is anything to be seen.
        *texts: such as ``"{task.fields[phase]}"``.
    """
    from rich.console import Console  # not for who only imports trtnn: 30 ms
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), *map(TextColumn, texts))
    # What other threads print to standard output stays there.
    return Progress(*columns, console=Console(stderr=True), redirect_stdout=False, disable=not show)


@contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """Show a bar, if standard error is a terminal, and give what to call after each piece of work.

    Args:
        title: what the bar is called.
        total: the number of pieces, None where nobody can tell.
    """
    with make_bar(sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)
