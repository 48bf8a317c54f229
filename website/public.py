"""The public names: where each is imported from, what it is, and what documents it."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from trtnn import errors, models
from trtnn import functional as F
from trtnn.dtypes import DType
from trtnn.errors import TrtnnError
from trtnn.graph.tensor import Tensor

ROOT = Path(__file__).parents[1]  # of the repository
INNER = {"trtnn.functional.fft": F.fft, "trtnn.functional.linalg": F.linalg}
OTHERS = ("trtnn.reference", "trtnn.ray", "trtnn.triton")  # packages of few names


class Name(NamedTuple):
    """A public name.

    Attributes:
        path: where it is imported from, such as ``trtnn.functional.relu``.
        value: what it is.
    """

    path: str
    value: Any

    @property
    def short(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def text(self) -> str:
        """What documents it: its docstring; of data the comment ``#:`` above it."""
        if inspect.isclass(self.value):
            return inspect.cleandoc(vars(self.value).get("__doc__") or "")
        if callable(self.value):
            return inspect.getdoc(self.value) or ""
        if isinstance(self.value, DType):
            return f"an element type of {8 * self.value.itemsize} bits, TensorRT's `{self.value.tensorrt}`"
        return _comment_of(*self.path.rsplit(".", 1))

    @property
    def is_data(self) -> bool:
        """Whether it is neither a class nor to be called."""
        return not callable(self.value)

    @property
    def entry(self) -> str:
        """The name of its entry on the site, which is where griffe finds it."""
        if self.path == "trtnn.from_torch":
            return "trtnn.from_torch._FromTorch.__call__"
        if self.path == "trtnn.save_source" or self.path.startswith(("trtnn.models.", "trtnn.plugins.")):
            return f"{self.value.__module__}.{self.value.__qualname__}"
        return self.path


def _comment_of(package: str, name: str) -> str:
    """Return the comment ``#:`` above the assignment of a name, in the package's file or one beside it."""
    folder = Path(importlib.import_module(package).__file__ or "").parent
    for path in sorted(folder.glob("*.py")):
        match = re.search(rf"((?:^#: ?.*\n(?:^#.*\n)*))^{name} = ", path.read_text(encoding="utf-8"), re.MULTILINE)
        if match:
            return " ".join(line.lstrip("#: ") for line in match[1].splitlines())
    return ""


def names_in(package: str, *others: str) -> list[Name]:
    """Return what a package names in its ``__all__``, and others that it has."""
    module = INNER.get(package) or importlib.import_module(package)
    return [Name(f"{package}.{name}", getattr(module, name)) for name in dict.fromkeys((*module.__all__, *others))]


@functools.cache
def public_names() -> dict[str, list[Name]]:
    """Return the public names by the page of the API that they stand on."""
    raised = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, TrtnnError)]
    elsewhere = {*raised, errors, F, models, importlib.import_module("trtnn.modules")}
    package = [
        name
        for name in names_in("trtnn", "from_torch", "save_source")
        if not (isinstance(name.value, (type, ModuleType)) and name.value in elsewhere)
    ]
    return {
        "trtnn": package,
        "functional": [name for module in ("trtnn.functional", *INNER) for name in names_in(module)],
        "modules": names_in("trtnn.modules"),
        "vision": names_in("trtnn.vision"),
        "models": [*names_in("trtnn.models"), *(Name(f"trtnn.models.{k.__name__}", k) for k in models.families())],
        "plugins": names_in("trtnn.plugins.dcnv2"),
        "others": [name for other in OTHERS for name in names_in(other)],
        "errors": [Name(f"trtnn.errors.{kind.__name__}", kind) for kind in raised],
    }


def undocumented() -> Iterator[str]:
    """Yield every public name, and every public method that a public class has of its own, that nothing documents."""
    for name in (name for names in public_names().values() for name in names):
        if not name.text:
            yield name.path
        if inspect.isclass(name.value):
            members = methods_of(name.value)
            yield from (f"{name.path}.{m}" for m in members if not inspect.getdoc(getattr(name.value, m)))
    for method in tensor_methods():
        if method not in OF_THE_TRACE and not first_sentence(inspect.getattr_static(Tensor, method)):
            yield f"trtnn.Tensor.{method}"


@functools.cache
def entries() -> dict[str, str]:
    """Return what docstrings may link to: the names of entries by the paths that things are imported from."""
    paths = {}
    for name in (name for names in public_names().values() for name in names if not name.is_data):
        paths[name.path] = name.entry
        if inspect.isclass(name.value) and name.path != "trtnn.Tensor":  # whose methods stand in a table
            paths |= {f"{name.path}.{method}": f"{name.entry}.{method}" for method in methods_of(name.value)}
    return paths


def methods_of(kind: type) -> list[str]:
    """Return the names of the public methods and properties of a class's own, in the order of its source."""
    source = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind)))
    (node,) = (child for child in source.body if isinstance(child, ast.ClassDef))
    functions = [child.name for child in node.body if isinstance(child, ast.FunctionDef)]
    return [name for name in dict.fromkeys(functions) if not name.startswith("_")]


# Of what a trace keeps of a Tensor, for the code that writes networks.
OF_THE_TRACE = frozenset({
    "be_part_of", "be_up_to_date", "copy", "ensure", "is_outdated", "is_there", "name", "overwrite", "raw",
    "reshape_alone", "share_memory_of", "take_back", "unrounded", "unrounded_or_self", "view_of_all",
})  # fmt: skip


@functools.cache
def tensor_methods() -> list[str]:
    """Return the names of the public methods and properties of Tensors, as type checkers see them."""
    tree = ast.parse((ROOT / "trtnn" / "graph" / "tensor.pyi").read_text(encoding="utf-8"))
    (stub,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Tensor")
    names = dict.fromkeys(node.name for node in stub.body if isinstance(node, ast.FunctionDef))
    return [name for name in names if not name.startswith("_")]


def first_sentence(value: Any) -> str:
    """Return the first paragraph of what documents a value, in one line that a table takes."""
    text = inspect.getdoc(value) or ""
    return text.split("\n\n")[0].replace("\n", " ").replace("``", "`").replace("|", "\\|")
