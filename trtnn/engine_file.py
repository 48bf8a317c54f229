"""Engine files: a 4-byte little-endian length, that many bytes of JSON, and TensorRT's plan.

That is the layout of Ultralytics' exporter (https://docs.ultralytics.com/integrations/tensorrt/), so tools that read
theirs read ours: the description holds the keys that they look for. Theirs are read here as well, and so are bare
plans, as ``trtexec`` writes them; what those are is known once TensorRT has loaded them.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
import math
import mmap
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trtnn.backend import INSTALL, Backend, gpu_name
from trtnn.errors import EngineError, harmless_text
from trtnn.files import atomic_write
from trtnn.fingerprint import digest
from trtnn.graph import Graph
from trtnn.inputs import Input
from trtnn.plan import looks_like_a_plan
from trtnn.profiles import Shapes, profile_from_json, profile_to_json, widest_dims
from trtnn.strict_json import parse_object
from trtnn.structure import unflatten
from trtnn.symbolic import bounds

MAX_DESCRIPTION_BYTES = 1 << 24
_MAX_ELEMENTS = 1 << 40  # of one input or output; no GPU holds so many
_MOST_CLASSES = 1 << 16
_MOST_LITERAL = 1 << 17  # characters
_OWN = "trtnn"  # the key that only our descriptions have
_TYPES = {
    "backend": str,
    "tensorrt": str,
    "targets": list,
    "inputs": dict,
    "outputs": dict,
    "structure": (str, dict),
    "plan_bytes": int,
    "plan_digest": str,
}


def describe(graph: Graph, targets: Sequence[str], metadata: Mapping[str, Any], plan: Any) -> dict[str, Any]:
    """Return the description of an engine built from ``graph``, as JSON values.

    Args:
        graph: what it was built from.
        targets: the GPUs that it is for, by compute capability.
        metadata: the model's own.
        plan: the serialised engine.
    """
    return {
        **_picture_keys(graph.inputs),
        **_class_keys(metadata),
        **metadata,
        "precision": graph.precision.compute.name,
        "fp32_modules": list(graph.precision.fp32_modules),
        "inner_outputs": graph.inner_outputs,
        **({"plugins": sorted({made.plugin for made in graph.plugins.values()})} if graph.plugins else {}),
        **({"profiles": [profile_to_json(profile) for profile in graph.profiles]} if graph.profiles else {}),
        **describe_plan(graph.backend, targets, graph.inputs, graph.outputs, graph.structure, plan),
    }


def describe_plan(
    backend: Backend,
    targets: Sequence[str],
    inputs: Mapping[str, Input],
    outputs: Mapping[str, Input],
    structure: Any,
    plan: Any,
) -> dict[str, Any]:
    """Return what a description has to hold for its engine to run.

    The plan's digest is there because TensorRT's parser is not made for damaged plans, and a changed weight would pass
    it unseen.
    """
    return {
        _OWN: importlib.metadata.version("trtnn"),
        "backend": backend.name,
        "tensorrt": backend.version,
        "targets": list(targets),
        # What is built for named targets does not depend on the GPU that happens to be here.
        **({"gpu": gpu_name()} if not backend.capabilities.targets else {}),
        "inputs": {name: spec.to_json() for name, spec in inputs.items()},
        "outputs": {name: spec.to_json() for name, spec in outputs.items()},
        "structure": structure,
        "plan_bytes": memoryview(plan).nbytes,
        "plan_digest": digest(plan),
    }


def _picture_keys(inputs: Mapping[str, Input]) -> dict[str, Any]:
    """Return the keys by which other tools know what pictures an engine takes, where it takes pictures.

    Of any size it is the one that it is fastest at, as in Ultralytics' files.
    """
    shapes = [spec.at_opt().shape for spec in inputs.values()]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        return {}
    batch, channels, *size = shapes[0]
    return {"batch": batch, "channels": channels, "imgsz": size}


def _class_keys(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what readers of Ultralytics' files do not do without, for a model of so many classes that has it not."""
    classes = metadata.get("classes")
    return {"stride": 1, "names": _numbered(classes)} if isinstance(classes, int) else {}


def _numbered(classes: int) -> list[str]:
    """Return the names of classes that nobody named, as Ultralytics calls them."""
    return [f"class{index}" for index in range(classes)]


def told(description: Mapping[str, Any], key: str) -> Any:
    """Return what a description says under a key, None where it says nothing.

    ONNX keeps metadata as text, in Python's notation; who makes an engine of it may leave it so: ``"{0: 'cat'}"``.
    """
    value = description.get(key)
    if not isinstance(value, str) or len(value) > _MOST_LITERAL:
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def class_names(description: Mapping[str, Any]) -> list[str] | None:
    """Return the names of the classes of an engine or a network by its metadata, None where nobody named them."""
    names = _all_names(description)
    return None if names is None or names == _numbered(len(names)) else names


def class_count(description: Mapping[str, Any]) -> int | None:
    """Return how many classes an engine or a network has by its metadata, None where they do not tell."""
    names, classes = _all_names(description), told(description, "classes")
    if names is not None:
        return len(names)
    return classes if isinstance(classes, int) and not isinstance(classes, bool) else None


def _all_names(description: Mapping[str, Any]) -> list[str] | None:
    """Return ``names`` by index: Ultralytics' files hold a dict, in any order; what it leaves out is numbered."""
    names = told(description, "names")
    if isinstance(names, Mapping):
        try:
            by_index = {int(index): str(name) for index, name in names.items()}
        except (TypeError, ValueError):
            return None
        if not by_index or min(by_index) < 0 or max(by_index) >= _MOST_CLASSES:
            return None
        return [by_index.get(index, f"class{index}") for index in range(max(by_index) + 1)]
    return [*map(str, names)] if isinstance(names, (list, tuple)) else None


def read_shapes(description: Mapping[str, Any]) -> Shapes:
    """Return what a description of ours says of inputs, outputs and profiles."""
    profiles = tuple(map(profile_from_json, description.get("profiles", ())))
    dims = widest_dims(profiles)
    tables = (description["inputs"], description["outputs"])
    inputs, outputs = ({name: Input.from_json(value, dims) for name, value in table.items()} for table in tables)
    return Shapes(inputs, outputs, profiles)


def is_described(description: Mapping[str, Any]) -> bool:
    """Whether a description is one of ours, which says all that running an engine takes."""
    return _OWN in description


def write(path: str | os.PathLike[str], description: Mapping[str, Any], plan: memoryview) -> None:
    """Write an engine file, whole or not at all."""
    text = json.dumps(description).encode()
    with atomic_write(path) as file:
        file.write(struct.pack("<i", len(text)))
        file.write(text)
        file.write(plan)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], memoryview]:
    """Return the description and the plan of an engine file; the plan stays on disk until it is used.

    The description is empty for a bare plan, and another tool's for its file; see :func:`is_described`.

    Raises:
        EngineError: there is no such file, it is of no such kind, or it is damaged where that can be told at once.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EngineError(f"cannot read the engine file {path}: {reason}") from error
    if looks_like_a_plan(data):
        return {}, data
    try:
        return _take_apart(data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = harmless_text(f"{type(error).__name__}: {error}")
        raise EngineError(f"{path} is not an engine file, or is damaged", problem) from error


def _take_apart(data: memoryview) -> tuple[dict[str, Any], memoryview]:
    length = struct.unpack("<i", data[:4])[0] if len(data) >= 4 else -1
    if not 0 < length <= min(MAX_DESCRIPTION_BYTES, len(data) - 4):
        raise ValueError(f"a description of {length} bytes in a file of {len(data)}")
    plan = data[4 + length :]
    try:
        description = parse_object(bytes(data[4 : 4 + length]))
    except ValueError as error:
        raise ValueError(f"its description is not sound JSON: {error}") from error
    if not is_described(description):
        if not looks_like_a_plan(plan):
            raise ValueError("its description is not trtnn's, and no plan is behind it")
        return description, plan
    _check(description)
    if plan.nbytes != description["plan_bytes"]:
        raise ValueError(f"a plan of {plan.nbytes} bytes, where {description['plan_bytes']} were written")
    return description, plan


def _check(description: Mapping[str, Any]) -> None:
    """Raise one of several errors where a description of ours cannot be true."""
    missing = [key for key in _TYPES if key not in description]
    if missing:
        raise ValueError(f"its description lacks {', '.join(missing)}")
    for key, kind in _TYPES.items():
        if not isinstance(description[key], kind):
            raise TypeError(f"its {key} is a {type(description[key]).__name__}")
    if description["backend"] not in INSTALL:
        raise ValueError(f"its backend is {description['backend']}")
    if not all(isinstance(target, str) for target in description["targets"]):
        raise TypeError("its targets are not all strings")
    plugins = description.get("plugins", [])
    if not isinstance(plugins, list) or not all(isinstance(plugin, str) for plugin in plugins):
        raise TypeError(f"its plugins are not a list of strings: {plugins!r}")
    shown = [description["tensorrt"], description["plan_digest"], *description["targets"], *plugins]
    for text in (*shown, *description["inputs"], *description["outputs"]):
        if not text.isprintable():
            raise ValueError(f"it has a text that cannot be printed: {text!r}")
    shapes = read_shapes(description)
    for name, spec in (*shapes.inputs.items(), *shapes.outputs.items()):
        if math.prod(bounds(length)[1] for length in spec.shape) > _MAX_ELEMENTS:
            raise ValueError(f"its {name} would have more than {_MAX_ELEMENTS:,} elements")
    unflatten(description["structure"], shapes.outputs)


def check_plan(plan: memoryview, description: Mapping[str, Any]) -> None:
    """Check every byte of a plan against the digest in its description; this takes about 1 ms for each MB.

    Raises:
        EngineError: it is not what was written.
    """
    found = digest(plan)
    if found != description["plan_digest"]:
        raise EngineError(
            "the plan of this engine is damaged",
            f"expected the digest {description['plan_digest']}",
            f"found {found}",
            "build it again, or copy the file again",
        )
