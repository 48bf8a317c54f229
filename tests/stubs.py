"""Write ``trtnn/graph/tensor.pyi`` and ``trtnn/parameter.pyi``, where type checkers see the methods that
:mod:`trtnn.methods` gives to Tensors and Parameters.

python -m tests.stubs
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trtnn.graph.tensor
import trtnn.parameter
from trtnn.methods import METHODS, METHODS_IN_PLACE

ROOT = Path(__file__).parents[1]
# Where the names in annotations come from.
_IMPORTS = {
    "trtnn.dtypes": ("DType",),
    "trtnn.graph.graph": ("Graph",),
    "trtnn.graph.tensor": ("Tensor",),
    "trtnn.ops._arguments": ("Array", "Number", "Operand"),
    "trtnn.ops._windows": ("Sides",),
    "trtnn.ops.complex": ("Complex",),
    "trtnn.ops.indexing": ("Indices",),
    "trtnn.ops.ordering": ("Extremes",),
    "trtnn.ops.reduction": ("Dims",),
    "trtnn.ops.statistics": ("MinMax",),
    "trtnn.parameter": ("Parameter",),
    "trtnn.shapes.symbolic": ("Length", "Size"),
}
_VALUE = """
class Value:
    raw: Any
    make: Callable[..., Tensor] | None
    unrounded: Tensor | None
    known: builtins.bool
    def __init__(self, raw: Any = ..., make: Any = ..., known: builtins.bool = ...) -> None: ...
"""
_FIELDS = {
    "Tensor": ("graph: Graph", "value: Value", "shape: tuple[Any, ...]", "dtype: DType"),
    "Parameter": (
        "shape: tuple[builtins.int, ...]",
        "data: np.ndarray | None",
        "optional: builtins.bool",
        "requires_grad: builtins.bool",
        "declared: np.dtype | None",
        "dtype: DType",
    ),
    "Buffer": (),
}
_TO_TENSOR = {"T", "mT", "H", "mH", "data", "real", "imag"}
_TYPES = {
    "device": "Any", "is_cuda": "builtins.bool", "requires_grad": "builtins.bool",
    "__bool__": "builtins.bool", "__float__": "builtins.float", "__int__": "builtins.int",
    "__index__": "builtins.int", "__array__": "np.ndarray", "is_contiguous": "builtins.bool",
}  # fmt: skip
_BUILTINS = ("bool", "float", "int", "type", "abs", "all", "any", "max", "min", "pow", "round", "sum")


def _annotation(text: Any, default: str = "Any") -> str:
    """Return an annotation, with Python's own names apart from methods of the same name."""
    if not isinstance(text, str):
        return default
    return re.sub(rf"(?<![\w.])({'|'.join(_BUILTINS)})(?!\w)", r"builtins.\1", text)


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    default = "" if parameter.default is parameter.empty else " = ..."
    return f"{stars}{parameter.name}: {_annotation(parameter.annotation)}{default}"


def _method(name: str, function: Any) -> str:
    if isinstance(function, property):
        result = _TYPES.get(name, "Tensor" if name in _TO_TENSOR else "Any")
        return f"@property\ndef {name}(self) -> {result}: ..."
    signature = inspect.signature(function)
    _, *parameters = signature.parameters.values()
    if parameters and parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        shown = ["self", "*", *map(_parameter, parameters)]
    else:
        shown, starred = ["self"], False
        for parameter in parameters:
            if parameter.kind is parameter.KEYWORD_ONLY and not starred:
                shown.append("*")
            starred = starred or parameter.kind in (parameter.VAR_POSITIONAL, parameter.KEYWORD_ONLY)
            shown.append(_parameter(parameter))
    returned = signature.return_annotation
    result = _TYPES.get(name) or _annotation(returned, "None" if name == "__setitem__" else "Tensor")
    ignore = "  # pyright: ignore[reportIncompatibleMethodOverride]" if name in ("__eq__", "__ne__") else ""
    return f"def {name}({', '.join(shown)}) -> {result}: ...{ignore}"


def _own(owner: ast.ClassDef) -> tuple[list[str], list[str]]:
    """Return a class's own methods without their bodies, and their names."""
    methods, taken = [], []
    for node in owner.body:
        if isinstance(node, ast.FunctionDef):
            decorators = "".join(f"@{ast.unparse(d)}\n" for d in node.decorator_list)
            for argument in (*node.args.args, node.args.vararg, *node.args.kwonlyargs):
                if argument is not None and argument.annotation is not None:
                    argument.annotation = ast.parse(_annotation(ast.unparse(argument.annotation)), mode="eval").body
            result = "" if node.returns is None else f" -> {_annotation(ast.unparse(node.returns))}"
            methods.append(f"{decorators}def {node.name}({ast.unparse(node.args)}){result}: ...")
            taken.append(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):  # ndimension = dim
            methods += [f"{target.id} = {node.value.id}" for target in node.targets if isinstance(target, ast.Name)]
    return methods, taken


def _class(owner: ast.ClassDef, bound: Mapping[str, Any]) -> str:
    fields = _FIELDS[owner.name]
    own, taken = _own(owner)
    taken += [field.partition(":")[0] for field in fields]
    methods = [_method(name, function) for name, function in bound.items() if name not in taken]
    bases = f"({', '.join(map(ast.unparse, owner.bases))})" if owner.bases else ""
    return f"class {owner.name}{bases}:\n" + textwrap.indent("\n".join([*fields, *own, *methods]), "    ")


def _stub(source: Path, what: str, bound: Mapping[str, Mapping[str, Any]], before: str = "") -> str:
    """Return the stub of a file: its classes that are in ``bound``, with the methods that are bound to each."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    owners = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in bound]
    body = before + "\n".join(_class(owner, bound[owner.name]) for owner in owners)
    used = set(re.findall(r"[A-Za-z_]\w*", body)) - {owner.name for owner in owners}
    imports = [
        f"from {module} import {', '.join(sorted(used.intersection(names)))}"
        for module, names in _IMPORTS.items()
        if used.intersection(names)
    ]
    head = f'"""What type checkers see of {what}; written by ``python -m tests.stubs``."""\n'
    python = f"import builtins\nfrom collections.abc import {'Callable, ' if 'Callable' in used else ''}Sequence\n"
    typing = f"from typing import Any{', overload' if 'overload' in used else ''}\n"
    written = "\n".join([head, f"{python}{typing}\nimport numpy as np\n", *imports, "", body, ""])
    command = [
        sys.executable,
        "-m",
        "ruff",
        "format",
        "--quiet",
        "--stdin-filename",
        str(source.with_suffix(".pyi")),
        "-",
    ]
    return subprocess.run(command, input=written, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def stubs() -> dict[Path, str]:
    """Return what each stub has to be."""
    tensor, parameter = (Path(module.__file__) for module in (trtnn.graph.tensor, trtnn.parameter))
    of_parameter = {name: function for name, function in METHODS.items() if hasattr(trtnn.parameter.Parameter, name)}
    return {
        tensor.with_suffix(".pyi"): _stub(tensor, "Tensors", {"Tensor": METHODS | METHODS_IN_PLACE}, _VALUE),
        parameter.with_suffix(".pyi"): _stub(parameter, "Parameters", {"Parameter": of_parameter, "Buffer": {}}),
    }


if __name__ == "__main__":
    for path, text in stubs().items():
        path.write_text(text, encoding="utf-8")
