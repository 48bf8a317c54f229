"""What a torch file says beside its weights: of the model as a whole, and of each of its modules.

A pickled module tells what a state dict does not: which activation it has and with what arguments, BatchNorm's eps,
strides, paddings, how it resizes. Training checkpoints tell the names of classes, the task and the size of images.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trtnn.checkpoint.class_names import read_class_names
from trtnn.checkpoint.places import mapping_of
from trtnn.checkpoint.state import walk_modules
from trtnn.checkpoint.tensors import Tensor
from trtnn.checkpoint.unpickle import Opaque
from trtnn.errors import CheckpointError

Numbers = Callable[[Tensor], "list | None"]

_TASKS = {
    "Detection": "detect",
    "Segmentation": "segment",
    "Pose": "pose",
    "OBB": "obb",
    "Classification": "classify",
}
_NAMES = ("names", "class_names", "classes", "CLASSES")
_IMAGE_SIZES = ("imgsz", "img_size", "image_size")
_VALUES_LIMIT = 400_000  # what is read of a file beside its weights, in values; a large model has a tenth of it
_TEXT_LIMIT_CHARACTERS = 500
_LONGEST = 10_000  # items
_TENSOR_LIMIT = 1000  # elements of one that is read as a list
# Of the modules that torch and torchvision have: their own attributes, less those that change no number in evaluation
# and those that the shapes of the parameters tell.
_LIBRARIES = ("torch.nn.modules.", "torch.ao.nn.", "torchvision.ops.", "torch.nn.")
_CONTAINERS = frozenset(
    ("Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict", "Module", "DataParallel")
)
_NOT_KEPT = frozenset(
    [
        *("training", "inplace", "momentum", "affine", "track_running_stats", "num_features", "in_channels", "p", "np"),
        *("out_channels", "in_features", "out_features", "transposed", "return_indices", "forward", "device", "dtype"),
        *("i", "type", "name"),
    ]
)
# of other projects' blocks: a residual path, the layers that a layer takes, along what it joins, how often it
# pools, how many key points it tells
_OF_BLOCKS = ("add", "f", "d", "n", "eps", "kpt_shape")
_MISSING = object()


def describe(path: Path, content: object, model: Opaque | None, numbers: Numbers) -> dict[str, Any]:
    """Return the metadata of a file, see :class:`trtnn.checkpoint.state_dict.StateDict`, less where the weights were.

    Args:
        path: the file, for messages.
        content: what the file holds.
        model: the pickled model that the weights are of, or None.
        numbers: returns the numbers of a tensor.
    """
    reader = _Reader(path, numbers)
    holder = mapping_of(content) or {}
    modules = list(walk_modules(path, model)) if model is not None else []
    outer = {} if model is None else _outer_attributes(modules)
    result = reader.of_model(outer, modules)
    result |= {key: value for key, value in reader.of_checkpoint(holder, outer, result).items() if key not in result}
    described = {prefix.removesuffix("."): said for prefix, module in modules if (said := reader.of_module(module))}
    if described:
        result["modules"] = described
    if reader.left < 0:
        raise CheckpointError(f"{path} says more of its model than {_VALUES_LIMIT:,} values: refused")
    return result


def _outer_attributes(modules: list[tuple[str, Opaque]]) -> dict[str, Any]:
    """Return the attributes of a model, and of what it wraps where it has none of its own."""
    entries: dict[str, Any] = {}
    for _, module in modules[:4]:
        for key, value in module.attributes.items():
            if isinstance(key, str) and value is not None:
                entries.setdefault(key, value)
        if len(module.attributes["_modules"]) > 2 or "yaml" in entries:
            break
    return entries


class _Reader:
    """Turns what a pickle holds into JSON values, as far as there is any use for them."""

    def __init__(self, path: Path, numbers: Numbers) -> None:
        self.path, self.numbers = path, numbers
        self.left = _VALUES_LIMIT

    def plain(self, value: object, depth: int = 4) -> Any:
        """Return a value as JSON, or ``_MISSING`` where it is none."""
        self.left -= 1
        if self.left < 0 or depth < 0:
            return _MISSING
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return value if abs(value) < 2**53 else _MISSING
        if isinstance(value, float):
            return value if math.isfinite(value) else _MISSING
        if isinstance(value, str):
            return value.encode("utf-8", "replace").decode() if len(value) <= _TEXT_LIMIT_CHARACTERS else _MISSING
        if isinstance(value, Tensor):
            return self.tensor(value)
        if isinstance(value, Opaque):
            return self.of_opaque(value, depth)
        if isinstance(value, (list, tuple)) and len(value) <= _LONGEST:
            items = [self.plain(item, depth - 1) for item in value]
            return _MISSING if any(item is _MISSING for item in items) else items
        if isinstance(value, dict) and len(value) <= _LONGEST:
            items = {str(key): self.plain(item, depth - 1) for key, item in value.items() if _is_key(key)}
            return {key: item for key, item in items.items() if item is not _MISSING}
        return _MISSING

    def of_opaque(self, value: Opaque, depth: int) -> Any:
        """Return a path as its text, a torch.Size as a list, and any object of a dict's kind as a dict."""
        package, _, name = value.kind.name.rpartition(".")
        if package.startswith("pathlib"):
            return "/".join(part for part in value.arguments if isinstance(part, str)).replace("//", "/")
        if value.kind.name == "torch.Size" and value.arguments:
            return self.plain(value.arguments[0], depth)
        if value.items is not None:
            return self.plain(value.items, depth)
        return self.plain(value.attributes, depth) if name.endswith(("Namespace", "Dict", "Config")) else _MISSING

    def tensor(self, value: Tensor) -> Any:
        if math.prod(value.shape) > _TENSOR_LIMIT:
            return _MISSING
        array = self.numbers(value)
        return _MISSING if array is None else self.plain(array)

    def fields(self, value: object) -> dict[str, Any]:
        """Return a dict, or the attributes of an object such as a Namespace, as JSON."""
        if isinstance(value, Opaque):
            value = value.items if value.items is not None else value.attributes
        entries = self.plain(value) if isinstance(value, dict) else {}
        return entries if isinstance(entries, dict) else {}

    def names(self, value: object, classes: object) -> list[str] | None:
        """Return the names of classes by index, from a list, or from a dict by index."""
        items = value.items if isinstance(value, Opaque) else value
        if isinstance(items, (list, tuple)):
            items = dict(enumerate(items))
        if not isinstance(items, dict):
            return None
        named = {key: self.plain(name, 0) for key, name in items.items()}
        return read_class_names(self.path, named, classes if isinstance(classes, int) else None)

    def of_model(self, outer: dict[str, Any], modules: list[tuple[str, Opaque]]) -> dict[str, Any]:
        """Return what a pickled model says of itself."""
        result: dict[str, Any] = {}
        if not modules:
            return result
        description = self.fields(outer.get("yaml"))
        own = [module.kind.name.rpartition(".")[2] for _, module in modules[:4]]
        started = self.fields(outer.get("args")).get("model")  # what the training began with: its name, or its weights
        started = started if isinstance(started, str) and "yolo" in started.lower() else None
        file = description.get("yaml_file") or self.plain(outer.get("yaml_file")) or started
        result["architecture"] = (
            _stem(file) if isinstance(file, str) else next((name for name in own if name.endswith("Model")), own[0])
        )
        tasks = [task for kind, task in _TASKS.items() for name in own if name.startswith(kind)]
        if isinstance(task := self.plain(outer.get("task")), str) or tasks:
            result["task"] = task if isinstance(task, str) else tasks[0]
        classes = description.get("nc", self.plain(outer.get("nc")))
        if isinstance(classes, int):
            result["classes"] = classes
        if names := self.names(outer.get("names"), classes):
            result["names"] = names
        if strides := self.strides(outer, modules):
            result |= {"stride": max(strides), "strides": strides}
            if anchors := self.anchors(modules, strides):
                result["anchors"] = anchors
        if any(_is_fused(module) for _, module in modules):
            result["fused"] = True
        if size := _image_size(self.fields(outer.get("args"))):
            result["imgsz"] = size
        return result

    def strides(self, outer: dict[str, Any], modules: list[tuple[str, Opaque]]) -> list[int] | None:
        """Return the strides of a head, the last module that has any, else the model's."""
        held = [module.attributes.get("stride") for _, module in modules[::-1] if "torch.nn" not in module.kind.name]
        for value in (*held, outer.get("stride")):
            numbers = self.tensor(value) if isinstance(value, Tensor) and len(value.shape) == 1 else None
            if isinstance(numbers, list) and all(isinstance(n, (int, float)) and n == int(n) > 0 for n in numbers):
                return [int(n) for n in numbers] or None
        return None

    def anchors(self, modules: list[tuple[str, Opaque]], strides: list[int]) -> list | None:
        """Return the anchors of a head in pixels by level; it holds them in cells, (levels, anchors, 2)."""
        for _, module in modules[::-1]:
            held = module.attributes["_buffers"].get("anchors")
            if (
                isinstance(held, Tensor)
                and len(held.shape) == 3
                and held.shape[0] == len(strides)
                and held.shape[2] == 2
            ):
                anchors = self.tensor(held)
                if isinstance(anchors, list):
                    return [
                        [[n * s for n in pair] for pair in level] for level, s in zip(anchors, strides, strict=True)
                    ]
        return None

    def of_checkpoint(self, holder: dict, outer: dict[str, Any], of_model: dict[str, Any]) -> dict[str, Any]:
        """Return what a training checkpoint says beside the model, and beside what that says itself."""
        result: dict[str, Any] = {}
        meta = self.fields(holder.get("meta"))
        for place in (holder, meta, meta.get("dataset_meta", {})):
            for key in _NAMES:
                value = place.get(key) if isinstance(place, dict) else None
                if (
                    "names" not in result | of_model
                    and (names := self.names(value, of_model.get("classes"))) is not None
                ):
                    result["names"] = names
        if anchors := _mmdetection_anchors(mapping_of(holder.get("meta")) or {}):
            result["anchors"] = anchors
        arguments = (
            self.fields(holder.get("train_args")) or self.fields(holder.get("opt")) or self.fields(holder.get("args"))
        )
        if arguments:
            result["train_args"] = {key: value for key, value in arguments.items() if not isinstance(value, dict)}
        if size := _image_size(arguments) or _image_size(self.fields(holder.get("hyper_parameters"))):
            result["imgsz"] = size
        if isinstance(task := arguments.get("task"), str):
            result["task"] = task
        version = self.plain(holder.get("version", outer.get("version")))
        if isinstance(version, str):
            result["version"] = version
        return result

    def of_module(self, module: Opaque) -> dict[str, Any]:
        """Return the class of a module and what of it changes its numbers; nothing of a container."""
        name, attributes = module.kind.name, module.attributes
        if name.startswith(_LIBRARIES) and name.rpartition(".")[2] in _CONTAINERS:
            kept = {"f": attributes["f"]} if "f" in attributes else {}
        elif name.startswith(_LIBRARIES) or not attributes["_modules"]:
            kept = {key: attributes[key] for key in attributes if isinstance(key, str) and _is_kept(key)}
        else:
            kept = {key: attributes[key] for key in _OF_BLOCKS if key in attributes}
            if not kept:
                return {}
        if not kept and attributes["_modules"]:
            return {}
        said = {key: self.plain(value, 2) for key, value in kept.items() if _is_argument(value)}
        return {"class": name, **{key: value for key, value in said.items() if value is not _MISSING}}


def _is_argument(value: object) -> bool:
    """Whether a value may be an argument of a module, and not something that it keeps for itself."""
    items = value if isinstance(value, (list, tuple)) else [value]
    return len(items) <= 16 and all(item is None or isinstance(item, (bool, int, float, str)) for item in items)


def _is_kept(key: str) -> bool:
    return not key.startswith("_") and key not in _NOT_KEPT


def _stem(path: str) -> str:
    """Return the name of a file without its folder, of whatever system, and without its suffix."""
    return re.split(r"[\\/]", path)[-1].rpartition(".")[0] or path


def _is_key(key: object) -> bool:
    return (isinstance(key, str) and len(key) <= _TEXT_LIMIT_CHARACTERS) or (type(key) is int and abs(key) < 2**53)


def _is_fused(module: Opaque) -> bool:
    """Whether a block of Ultralytics' calls a method that knows no BatchNorm, bound in place of its own."""
    forward = module.attributes.get("forward")
    if not isinstance(forward, Opaque) or forward.kind.name != "builtins.getattr":
        return False
    return (forward.arguments or ())[1:] == ("forward_fuse",)


def _mmdetection_anchors(meta: dict) -> list | None:
    """Return the anchors that mmdetection's configuration, a Python file as text, gives YOLOv3, the finest first."""
    text = meta.get("cfg")
    if not isinstance(text, str) or len(text) > 1_000_000:
        return None
    base_sizes = re.search(r"base_sizes=(\[[\[\](), .\d\s]{1,2000}\])", text)
    strides = re.search(r"strides=\[([\d, ]{1,100})\]", text[base_sizes.end() :]) if base_sizes else None
    pairs = re.findall(r"\[?\(\s*([\d.]+),\s*([\d.]+)\s*\)\s*(\]?)", base_sizes[1]) if base_sizes else []
    levels: list[list[list[float]]] = [[]]
    for width, height, end in pairs:
        levels[-1].append([float(width), float(height)])
        levels += [[]] if end else []
    levels = [level for level in levels if level]
    coarsest_first = strides is None or int(strides[1].split(",")[0]) > 8 * len(levels) // 2
    return (levels[::-1] if coarsest_first else levels) or None


def _image_size(arguments: dict[str, Any]) -> int | list[int] | None:
    """Return the size of images from training arguments; of YOLOv5's old pair the first is that of training."""
    for key in _IMAGE_SIZES:
        size = arguments.get(key)
        if isinstance(size, list) and len(size) in (1, 2) and all(map(_is_side, size)):
            return size[0] if key == "img_size" or len({*size}) == 1 else size
        if _is_side(size):
            return size
    return None


def _is_side(length: Any) -> bool:
    return type(length) is int and 0 < length < 2**16
