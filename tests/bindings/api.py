"""A TensorRT's Python API as data, and the stubs that its bindings are imported with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import ROOT
from tests.bindings.uses import Steps, Use
from tests.bindings.versions import Bindings

# All that the bindings of 8.6, 10 and 11 want of the libraries; none is called by an import.
_FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
    "_ZN11nvuffparser15createUffParserEv",
    "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi",
    "_ZN14nvcaffeparser117createCaffeParserEv",
    "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
)
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser", "nvparsers")


def make_stubs(folder: Path) -> Path:
    """Write empty libraries under the names of all versions' into ``folder``, and return it."""
    stub, source = folder / "stub.so", folder / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _FUNCTIONS))
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(stub), str(source)], check=True)
    for library in _LIBRARIES:
        for major in (8, 10, 11):
            (folder / f"lib{library}.so.{major}").symlink_to(stub)
    return folder


Thing = tuple[str, Any]  # what a path leads to: ("class" | "instance", class name) or ("method", (signatures, bound))
MODULE: Thing = ("class", "")


@dataclass(frozen=True)
class Api:
    """What a TensorRT offers; see :mod:`tests.bindings.describe`."""

    version: str
    capabilities: dict[str, bool]
    dtypes: dict[str, str | None]
    weights: dict[str, bool]
    layers: dict[str, str | None]
    classes: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, bindings: Bindings | None, stubs: Path | None = None) -> Api:
        """Import bindings beside stubs, or the TensorRT that is installed, in another process."""
        command = [sys.executable, "-W", "ignore", "-m", "tests.bindings.describe"]
        environment = dict(os.environ)
        if bindings is not None:
            command.append(str(bindings.folder))
            environment["LD_LIBRARY_PATH"] = f"{stubs}:{environment.get('LD_LIBRARY_PATH', '')}"
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return cls(**json.loads(done.stdout))

    def root(self, name: str) -> Thing | None:
        """Return where a path begins: ``trt``, an instance of a class, or a layer by ``LayerType.`` and its member."""
        if name == "trt":
            return MODULE
        if name.startswith("LayerType."):
            name = self.layers.get(name.removeprefix("LayerType.")) or ""
        return ("instance", name) if name in self.classes and name else None

    def follow(self, path: Steps) -> Thing | None:
        """Return what a path of attributes and calls leads to, or None where that cannot be told."""
        thing = self.root(path[0])
        for step in path[1:]:
            thing = self._call(thing) if step == "()" else self._get(thing, step)
        return thing

    def _get(self, thing: Thing | None, name: str) -> Thing | None:
        found = None if thing is None or thing[0] == "method" else self.classes[thing[1]].get(name)
        if found is None:
            return None
        if "class" in found:
            return "class", found["class"]
        if "signatures" in found:
            return "method", (found["signatures"], thing[0] == "instance")
        return self._instance(found["type"])

    def _call(self, thing: Thing | None) -> Thing | None:
        if thing is None or thing[0] == "instance":
            return None
        if thing[0] == "class":
            return self._instance(thing[1])
        returned = {signature["returns"] for signature in thing[1][0]}
        return self._instance(returned.pop()) if len(returned) == 1 else None

    def _instance(self, name: str) -> Thing | None:
        return ("instance", name) if name in self.classes and name else None

    def name_of(self, use: Use) -> str:
        """Return a use as ``Class.attribute``, or ``Class`` of the module's; its text where its class is unknown."""
        *before, step = use.path
        thing = self.follow(tuple(before))
        return use.text if thing is None or thing[0] == "method" else f"{thing[1]}.{step}".removeprefix(".")

    # -- checks -------------------------------------------------------------------------------------------------------

    def problem(self, use: Use) -> str | None:
        """Return what is wrong with a use in this TensorRT, or None."""
        *before, step = use.path
        thing = self.follow(tuple(before))
        if thing is None:
            return None if self.root(before[0]) else f"there is no {before[0]}"
        if step == "()":
            return self._problem_of_call(thing, use)
        found = None if thing[0] == "method" else self.classes[thing[1]].get(step)
        if found is None:
            return f"{thing[1] or 'the module'} has no {step}"
        if use.is_set and not found.get("settable", True):
            return f"{thing[1]}.{step} cannot be set"
        return None if use.overrides is None else self._problem_of_class(found["class"], dict(use.overrides))

    def _problem_of_call(self, thing: Thing, use: Use) -> str | None:
        overloads = self._overloads(thing)
        if not overloads or any(self._accepts(parameters, use) for parameters in overloads):
            return None
        takes = " or ".join(
            "(" + ", ".join(f"{p['name']}: {p['type']}{' = ...' * p['optional']}" for p in parameters) + ")"
            for parameters in overloads
        )
        given = [self._type_of(argument) or "?" for argument in use.arguments] + [f"{name}=?" for name in use.keywords]
        return f"it takes {takes}, not ({', '.join(given)})"

    def _accepts(self, parameters: list[dict[str, Any]], use: Use) -> bool:
        by_position, by_name = parameters[: len(use.arguments)], parameters[len(use.arguments) :]
        types = zip(by_position, map(self._type_of, use.arguments), strict=False)
        return (
            len(use.arguments) <= len(parameters)
            and all(p["type"] == given for p, given in types if given and p["type"] in self.classes)
            and all(p["optional"] or p["name"] in use.keywords for p in by_name)
            and {p["name"] for p in by_name}.issuperset(use.keywords)
        )

    def _type_of(self, path: Steps | None) -> str | None:
        thing = self.follow(path) if path else None
        return thing[1] if thing and thing[0] == "instance" else None

    def _overloads(self, thing: Thing) -> list[list[dict[str, Any]]]:
        """Return the parameters of each overload of what is called, without self; none where they are not known."""
        if thing[0] == "instance":
            return []
        constructor = {"signatures": []} if thing[0] == "method" else self.classes[thing[1]]["__init__"]
        signatures, bound = thing[1] if thing[0] == "method" else (constructor["signatures"], True)
        return [signature["parameters"][bound:] for signature in signatures]

    def _problem_of_class(self, base: str, overrides: dict[str, int]) -> str | None:
        """Return which method of a base class is not overridden as TensorRT calls it."""
        for name, attribute in self.classes[base].items():
            if attribute.get("signatures") and not name.startswith("_"):
                wanted = len(attribute["signatures"][0]["parameters"]) - 1
                if overrides.get(name) != wanted:
                    return f"{base}.{name} takes {wanted} arguments, and its override {overrides.get(name)}"
        return None
