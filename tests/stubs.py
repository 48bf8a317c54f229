"""Write the stubs in which type checkers see the methods that :mod:`trtnn.methods` gives to Tensors and Parameters.

python -m tests.stubs
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import trtnn.graph.tensor
import trtnn.parameter
from trtnn.methods import METHODS, METHODS_IN_PLACE

TENSOR, PARAMETER = Path(trtnn.graph.tensor.__file__), Path(trtnn.parameter.__file__)
# Where the names in annotations come from.
ROOT = Path(__file__).parents[1]  # not the folder of a stub: its types.py would hide that of Python
_IMPORTS = {
    "trtnn.dtypes": ("DType",),
    "trtnn.graph.beyond_half": ("Beyond",),
    "trtnn.graph.graph": ("Graph",),
    "trtnn.graph.tensor": ("Tensor",),
    "trtnn.ops._arguments": ("Array", "Dims", "Indices", "Number", "Operand", "Sides"),
    "trtnn.ops.complex": ("Complex",),
    "trtnn.ops.ordering": ("Extremes",),
    "trtnn.ops.statistics": ("MinMax",),
    "trtnn.parameter": ("Parameter",),
    "trtnn.shapes.symbolic": ("Length", "Size"),
}
_VALUE = """
class Value:
    raw: Any
    make: Callable[..., Tensor] | None
    unrounded: Tensor | None
    constant: builtins.bool
    beyond: Beyond | None
    def __init__(self, raw: Any = ..., make: Any = ..., constant: builtins.bool = ...) -> None: ...
"""
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


def _own(source: Path, name: str) -> tuple[list[str], list[str]]:
    """Return what a class says itself: its attributes, and its methods without their bodies; and their names."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    owner = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    lines, taken, overloaded = [], [], set()
    for node in owner.body:
        if isinstance(node, ast.FunctionDef):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            if "overload" in decorators:
                overloaded.add(node.name)
            elif node.name in overloaded:
                continue  # what its overloads say
            for argument in [*node.args.posonlyargs, *node.args.args, node.args.vararg, *node.args.kwonlyargs]:
                if argument is not None and argument.annotation is not None:
                    argument.annotation = ast.parse(_annotation(ast.unparse(argument.annotation)), mode="eval").body
            result = "" if node.returns is None else f" -> {_annotation(ast.unparse(node.returns))}"
            above = "".join(f"@{decorator}\n" for decorator in decorators)
            lines.append(f"{above}def {node.name}({ast.unparse(node.args)}){result}: ...")
            taken.append(node.name)
        elif isinstance(node, ast.AnnAssign):
            lines.append(f"{ast.unparse(node.target)}: {_annotation(ast.unparse(node.annotation))}")
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):  # ndimension = dim
            lines += [f"{target.id} = {node.value.id}" for target in node.targets if isinstance(target, ast.Name)]
    return lines, taken


def _class(source: Path, name: str, attributes: str, methods: dict[str, Any], base: str = "") -> str:
    own, taken = _own(source, name)
    bound = [_method(method, function) for method, function in methods.items() if method not in taken]
    return f"class {name}{base}:\n" + textwrap.indent("\n".join([attributes, *own, *bound]), "    ")


def _written(stub: Path, what: str, body: str, *defined: str) -> str:
    used = set(re.findall(r"[A-Za-z_]\w*", body)).difference(defined)
    imports = [
        f"from {module} import {', '.join(sorted(used.intersection(names)))}"
        for module, names in _IMPORTS.items()
        if used.intersection(names)
    ]
    typing = ", ".join(sorted({"Any", "overload"} & used))
    of_collections = ", ".join(sorted({"Callable", "Iterator", "Sequence"} & used))
    head = [
        f'"""What type checkers see of {what}; written by ``python -m tests.stubs``."""\n',
        "import builtins",
        f"from collections.abc import {of_collections}",
        f"from typing import {typing}\n",
        "import numpy as np\n",
    ]
    command = [sys.executable, "-m", "ruff", "format", "--quiet", "--stdin-filename", str(stub), "-"]
    text = "\n".join([*head, *imports, "", body, ""])
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def texts() -> dict[Path, str]:
    """Return what each stub has to be."""
    tensor, parameter = TENSOR.with_suffix(".pyi"), PARAMETER.with_suffix(".pyi")
    attributes = "graph: Graph\nvalue: Value\nshape: tuple[Any, ...]\ndtype: DType\nrepeats: builtins.bool"
    of_tensor = _class(TENSOR, "Tensor", attributes, METHODS | METHODS_IN_PLACE)
    attributes = "data: np.ndarray | None\nshape: tuple[builtins.int, ...]\ndtype: DType\noptional: builtins.bool\n"
    attributes += "requires_grad: builtins.bool\ndef __iter__(self) -> Iterator[Tensor]: ..."
    methods = {name: function for name, function in METHODS.items() if name not in ("data", "requires_grad")}
    of_parameter = _class(PARAMETER, "Parameter", attributes, methods)
    of_buffer = _class(PARAMETER, "Buffer", "", {}, "(Parameter)")
    return {
        tensor: _written(tensor, "Tensors", f"{_VALUE}\n{of_tensor}", "Value", "Tensor"),
        parameter: _written(parameter, "Parameters", f"{of_parameter}\n\n{of_buffer}", "Parameter", "Buffer"),
    }


if __name__ == "__main__":
    for stub, text in texts().items():
        stub.write_text(text, encoding="utf-8")
