"""What a TensorRT's Python module offers, as JSON: run in a process of its own, since every version has one name.

``python -m tests.bindings.describe [folder]``: of the bindings in that folder, or of the TensorRT that is installed.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import sys
from types import ModuleType
from typing import Any

import numpy as np

from trtnn.backend import Backend, get_backend
from trtnn.dtypes import ALL, DType, as_dtype
from trtnn.errors import DTypeError
from trtnn.graph.definition import _layer_classes, flat_array

_BRACKETS = {"(": 1, "[": 1, "{": 1, "<": 1, ")": -1, "]": -1, "}": -1, ">": -1}


def describe(backend: Backend) -> dict[str, Any]:
    """Return the version, the capabilities, and every class with its attributes; those of the module are at ``""``.

    An attribute is a dict: of a class ``{"class": name}``, of a method ``{"signatures": [...]}``, of a property
    ``{"type": name, "settable": bool}``, of a constant such as an enum's member ``{"type": name}``.
    """
    trt = backend.trt
    classes: dict[str, dict[str, Any]] = {"": {}}
    _add_attributes(trt, "", classes)
    layers = _layer_classes(trt)
    kinds = {kind: layers.get(kind.replace("_", "")) for kind in trt.LayerType.__members__}
    return {
        "version": backend.version,
        "capabilities": dataclasses.asdict(backend.capabilities),
        "dtypes": {name: _dtype_name(member) for name, member in trt.DataType.__members__.items()},
        "weights": {dtype.name: _shows_weights(trt, dtype) for dtype in ALL if _is_known(trt, dtype)},
        "layers": {kind: found and found.__name__ for kind, found in kinds.items()},
        "classes": classes,
    }


def _is_known(trt: ModuleType, dtype: DType) -> bool:
    return dtype.numpy is not None and dtype.tensorrt in trt.DataType.__members__


def _shows_weights(trt: ModuleType, dtype: DType) -> bool:
    """Whether an array of a type that NumPy has comes back from TensorRT as it was given."""
    array = np.arange(6).astype(dtype.numpy)
    return np.array_equal(flat_array(trt.Weights(array).numpy()), array)


def _dtype_name(member: Any) -> str | None:
    try:
        return as_dtype(member).name
    except DTypeError:
        return None


def _add_attributes(owner: Any, key: str, classes: dict[str, dict[str, Any]]) -> None:
    for name in dir(owner):
        value = inspect.getattr_static(owner, name)  # a static property's value may be asked of the library
        if inspect.isclass(value) and value.__module__.startswith("tensorrt"):
            classes[key][name] = {"class": value.__qualname__}
            if value.__qualname__ not in classes:
                classes[value.__qualname__] = {}
                _add_attributes(value, value.__qualname__, classes)
        elif isinstance(value, property):
            classes[key][name] = {"type": _returned(value.fget.__doc__ or ""), "settable": value.fset is not None}
        elif callable(value) or isinstance(value, staticmethod):
            classes[key][name] = {"signatures": _signatures(name, value.__doc__ or "")}
        else:
            classes[key][name] = {"type": type(value).__qualname__}


def _signatures(name: str, doc: str) -> list[dict[str, Any]]:
    """Return the overloads that a docstring of pybind11 begins with; none where it shows none."""
    heads = re.findall(rf"^(?:\d+\. )?{name}\(.*\).*$", doc, re.MULTILINE)
    if len(heads) > 1:
        heads = heads[1:]  # the first says only that there are several
    return [{"parameters": _parameters(head), "returns": _returned(head)} for head in heads]


def _parameters(head: str) -> list[dict[str, Any]]:
    text, parts, depth = head[head.index("(") + 1 :].replace("->", "  "), [""], 1
    for letter in text:
        depth += _BRACKETS.get(letter, 0)
        if depth == 0:
            break
        if letter == "," and depth == 1:
            parts.append("")
        else:
            parts[-1] += letter
    found = []
    for part in filter(None, map(str.strip, parts)):
        name, _, rest = part.partition(":")
        kind, default, _ = rest.partition(" = ")
        found.append({"name": name.strip(), "type": _plain(kind), "optional": bool(default)})
    return found


def _returned(head: str) -> str:
    return _plain(head.partition("\n")[0].rpartition("->")[2])


def _plain(kind: str) -> str:
    """Return a type's name without its module and without None beside it."""
    kind = re.sub(r"^(?:typing\.)?Optional\[(.*)\]$", r"\1", kind.strip()).removesuffix(" | None")
    return re.sub(r"^(?:tensorrt\w*\.)+", "", kind)


def _load(folder: str) -> ModuleType:
    sys.modules["tensorrt_libs"] = None  # else the bindings load the true libraries where those are installed
    sys.path.insert(0, folder)
    return importlib.import_module("tensorrt_bindings")


if __name__ == "__main__":
    backend = Backend("tensorrt", _load(sys.argv[1])) if len(sys.argv) > 1 else get_backend()
    json.dump(describe(backend), sys.stdout)
