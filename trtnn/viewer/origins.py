"""Where layers come from: the user's line that made each, and the class of each module, told during a trace."""

from __future__ import annotations

import functools
import inspect
import os
from typing import Any

from trtnn.graph.failures import user_line
from trtnn.graph.graph import Graph


class Origins:
    """What :func:`trtnn.graph.graph.watching` tells of a trace that is run where this is made.

    Attributes:
        lines: ``file:line`` of the innermost code of the user's for each layer, or None where it is not within forward;
            of the graph that was written last, as that of a quantised network is written twice.
        classes: for each module's path the name of its class.
        defined: for each module's path ``file:line`` where its class is defined, where Python can tell.
    """

    def __init__(self) -> None:
        self._outside = user_line()  # who asks for the trace: no layer comes from there
        self._graph: Graph | None = None
        self.lines: list[str | None] = []
        self.classes: dict[str, str] = {}
        self.defined: dict[str, str | None] = {}

    def layer(self, graph: Graph) -> None:
        """Take a layer that was added just now."""
        if graph is not self._graph:
            self._graph, self.lines = graph, []
        line = graph.scopes[-1].line or user_line()
        self.lines.append(None if line is None or line == self._outside else _shown(line))

    def module(self, path: str, module: Any) -> None:
        """Take a module that is about to run."""
        self.classes.setdefault(path, type(module).__name__)
        self.defined.setdefault(path, _definition(type(module)))


@functools.cache
def _shown(line: str) -> str:
    """Return ``file:line`` with the file from the folder that Python runs in, where it lies below that."""
    return os.path.abspath(line).removeprefix(os.path.join(os.getcwd(), ""))


@functools.cache
def _definition(kind: type) -> str | None:
    try:
        return _shown(f"{inspect.getsourcefile(kind)}:{inspect.getsourcelines(kind)[1]}")
    except (OSError, TypeError):  # a class that was made without a file
        return None
