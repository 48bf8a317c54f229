"""Names that something had before: they are found, with a warning, until 0.3."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

NEW_NAMES = {
    f"trtnn.{old}": f"trtnn.{new}"
    for old, new in {
        "bench": "engine.bench",
        "comparison": "compare",
        "cuda_graph": "engine.cuda_graph",
        "engine_cache": "build.engine_cache",
        "engine_file": "engine.file",
        "fingerprint": "build.fingerprint",
        "fp16": "accuracy.report",
        "inputs": "shapes.spec",
        "inspector": "engine.inspector",
        "memory": "engine.memory",
        "mixed": "accuracy.choice",
        "plan": "engine.plan",
        "plugin_layer": "graph.plugin_layer",
        "profiles": "shapes.profiles",
        "profiling": "engine.timing",
        "reading": "graph.definition",
        "session": "engine.session",
        "symbolic": "shapes.symbolic",
        "symbolic_floats": "shapes.floats",
        "tensor": "graph.tensor",
        "terms": "shapes.terms",
        "timing_cache": "build.timing_cache",
        "weak_typing": "build.pinning",
    }.items()
}


def warn_renamed(old: str, new: str) -> None:
    """Warn that what was asked for has another name now, in the name of the caller's caller."""
    warnings.warn(f"{old} is now {new}; the old name goes with trtnn 0.3", DeprecationWarning, stacklevel=3)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname in NEW_NAMES else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        warn_renamed(old, NEW_NAMES[old])
        sys.modules[old] = importlib.import_module(NEW_NAMES[old])  # the module itself, which the import then returns


def find_old_names() -> None:
    """Let imports find modules under their old names."""
    sys.meta_path.append(_Finder())


def found_in(module: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package that was a module, whose content is in the module named here."""

    def get(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(importlib.import_module(module), name)
        warn_renamed(f"{module.rpartition('.')[0]}.{name}", f"{module}.{name}")
        return value

    return get
