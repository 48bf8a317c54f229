"""The package as griffe reads it: in one folder, and with the signatures that functions and classes have when asked.

griffe reads source and runs none. Many functions and modules are made by others, and have no source of their own.
"""

from __future__ import annotations

import inspect
import shutil
import textwrap
from typing import Any

from website.public import INNER, ROOT, Name, methods_of, names_in

DOCUMENTED = ROOT / "build" / "documented"

# The modules whose names are written as definitions, and the file of each.
_MADE = {"trtnn.functional": "functional/__init__", "trtnn.modules": "modules/__init__"} | {
    module: module.removeprefix("trtnn.").replace(".", "/") for module in INNER
}


def write_documented() -> None:
    """Put the package together anew in ``build/documented``."""
    shutil.rmtree(DOCUMENTED, ignore_errors=True)
    package = DOCUMENTED / "trtnn"
    for folder in ("functional", "modules"):
        (package / folder).mkdir(parents=True)
    for path in (ROOT / "trtnn").iterdir():
        if path.name not in ("functional.py", "modules", "__pycache__"):
            (package / path.name).symlink_to(path)
    for path in (ROOT / "trtnn" / "modules").glob("[!_]*.py"):
        (package / "modules" / path.name).symlink_to(path)
    for folder in ("models", "plugins", "examples"):
        (package / folder).symlink_to(ROOT / folder)
    for module, file in _MADE.items():
        source = "\n\n".join(map(definition, names_in(module)))
        (package / f"{file}.py").write_text(source, encoding="utf-8")


def definition(name: Name) -> str:
    """Return a function or a class as Python source without bodies."""
    if inspect.isclass(name.value):
        return _class(name.short, name.value, name.text)
    return _function(name.short, inspect.signature(name.value), name.text)


class _AsWritten:
    """An annotation or a default that a signature shows as it is written."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _annotation(value: Any) -> Any:
    if value is inspect.Parameter.empty:
        return value
    return _AsWritten(value if isinstance(value, str) else getattr(value, "__name__", str(value)))


def _default(value: Any) -> Any:
    if value is inspect.Parameter.empty or isinstance(value, (bool, int, float, str, type(None), tuple, list)):
        return value
    return _AsWritten(getattr(value, "__name__", "..."))


def _function(name: str, signature: inspect.Signature, text: str) -> str:
    parameters = [
        p.replace(annotation=_annotation(p.annotation), default=_default(p.default))
        for p in signature.parameters.values()
    ]
    signature = signature.replace(parameters=parameters, return_annotation=_annotation(signature.return_annotation))
    return f"def {name}{signature}:\n{_docstring(text)}"


def _class(name: str, kind: type, text: str) -> str:
    """Return a class with what calls it, and with those of its own methods that are documented."""
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    called = inspect.signature(kind)
    called = called.replace(parameters=[itself, *called.parameters.values()], return_annotation=called.empty)
    body = [_function("__init__", called, "")]
    for method in methods_of(kind):
        value = vars(kind)[method]
        documented = inspect.getdoc(value)
        if documented and isinstance(value, property):
            body.append("@property\n" + _function(method, inspect.Signature([itself]), documented))
        elif documented:
            body.append(_function(method, inspect.signature(getattr(kind, method)), documented))
    return f"class {name}:\n{_docstring(text)}\n" + textwrap.indent("\n".join(body), "    ")


def _docstring(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"""', "'''")
    return textwrap.indent(f'"""{escaped}\n"""\n', "    ")
