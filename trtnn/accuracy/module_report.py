"""What the reports on the precision of a network's modules have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from trtnn.table import MOST_IN_NOTEBOOK, Content, render, render_html


class ModuleRow(Protocol):
    """One module in a report: its path, its error, and the cells of a table behind its path."""

    @property
    def path(self) -> str: ...

    @property
    def error(self) -> float: ...

    def _cells(self) -> tuple[str, ...]: ...


class ModuleReport:
    """What a lower precision does to a network on samples, by module.

    Attributes:
        errors: how far each output is off with all modules in it: rms(difference) / rms(output).
        samples: their number.
    """

    errors: dict[str, float]
    samples: int
    _caption: ClassVar[str]
    _header: ClassVar[tuple[str, ...]]
    _all: ClassVar[str]  # what the errors of the outputs are of

    def _worst_first(self) -> Sequence[ModuleRow]:
        raise NotImplementedError

    @property
    def module_errors(self) -> dict[str, float]:
        """The error of each module of :attr:`modules`, by its path."""
        return {row.path: row.error for row in self._worst_first()}

    def table(self, limit: int | None = None) -> str:
        """Return a table of the modules, the worst first, and the error of the whole below it.

        Args:
            limit: the most rows to show; all where None.
        """
        return render(**self._content(limit))

    def _repr_html_(self) -> str:
        return render_html(self._caption, **self._content(MOST_IN_NOTEBOOK))

    def _content(self, limit: int | None) -> Content:
        cells = [(row.path or "(forward)", *row._cells()) for row in self._worst_first()]
        errors = ", ".join(f"{name} {error:.1e}" for name, error in self.errors.items())
        samples = "1 sample" if self.samples == 1 else f"{self.samples} samples"
        total = f"{self._all}, on {samples}: error of {errors}"
        header = ("module", *self._header)
        return {"header": header, "rows": cells, "left": 2, "total": total, "limit": limit, "rest": "better ones"}

    def __str__(self) -> str:
        return self.table()
