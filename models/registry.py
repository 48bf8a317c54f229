"""The table of families, and what is looked up in it: by a model's name, and by what a state dict tells."""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from trtnn.checkpoint.prefixes import unwrapped
from trtnn.checkpoint.state_dict import SHARD, StateDict, metadata_of
from trtnn.errors import ArgumentError, StateDictError, listed
from trtnn.models.names import unknown_name
from trtnn.models.strangers import stranger
from trtnn.modules.state import check_is_state_dict

if TYPE_CHECKING:
    from trtnn.models.family import Family

_FROM_TORCH = "of the torch module that they are of, trtnn.from_torch(module, example), or trtnn from-torch, makes one"

Identify = Callable[[Mapping[str, Any]], dict[str, Any] | None]  # Family.identify of one family

#: The file of each family and its class. They are imported when a model is first looked up, not before.
FAMILIES = (
    ("yolov5", "YOLOv5"),
    ("yolov5u", "YOLOv5u"),
    ("yolov8", "YOLOv8"),
    ("yolov9", "YOLOv9"),
    ("yolo11", "YOLO11"),
    ("yolo12", "YOLO12"),
    ("yolo26", "YOLO26"),
    ("yolov3", "YOLOv3"),
    ("yolov3u", "YOLOv3u"),
    ("resnet", "ResNet"),
    ("retinanet", "RetinaNet"),
    ("centernet", "CenterNet"),
    ("rtdetr", "RTDETR"),
    ("dfine", "DFINE"),
)


@functools.cache
def families() -> tuple[type[Family], ...]:
    """Return the class of each family."""
    return tuple(getattr(importlib.import_module(f"trtnn.models.{file}"), name) for file, name in FAMILIES)


@functools.cache
def by_name() -> dict[str, type[Family]]:
    """Return the family of each model, by the model's name."""
    return {name: family for family in families() for name in family.variants}


def by_task() -> dict[tuple[type[Family], str], list[str]]:
    """Return the names of the models of each family and task."""
    grouped: dict[tuple[type[Family], str], list[str]] = {}
    for name, family in by_name().items():
        grouped.setdefault((family, family.task_of(name)), []).append(name)
    return grouped


def create(name: str, **options: Any) -> Family:
    """Return the model of that name, such as ``create("yolov5s", classes=80)``.

    Raises:
        ArgumentError: there is none, with the nearest name, or it has no anchors that could be given.
    """
    make = cast("Callable[..., Family]", _family_of(name))  # a family's constructor takes more than Module's
    if options.get("anchors") is not None and "anchors" not in inspect.signature(make).parameters:
        raise ArgumentError(f"{name} has no anchors to give", "anchors are of YOLOv5 and YOLOv3")
    return make(name, **{key: value for key, value in options.items() if key != "anchors" or value is not None})


def identify(state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments of :func:`create` that a state dict's names and sizes tell of, or None."""
    recognised = _recognise(state_dict)
    return None if recognised is None else recognised[1]


def check_told(state_dict: Mapping[str, Any], name: str) -> None:
    """Check that a state dict of a model of that name tells what :func:`identify` returns, and not one of several.

    Raises:
        StateDictError: it may be of several numbers of anchors and classes.
    """
    family = _family_of(name)
    family.check_told(own_part(family.identify, state_dict))


def describe(state_dict: Mapping[str, Any]) -> str | None:
    """Return the call that makes the model which a state dict belongs to, such as ``YOLOv5("yolov5s", classes=80)``."""
    recognised = _recognise(state_dict)
    if recognised is None:
        return None
    family, arguments = recognised
    name, *options = (json.dumps(value) if isinstance(value, str) else repr(value) for value in arguments.values())
    options = [f"{key}={value}" for key, value in zip(list(arguments)[1:], options, strict=True)]
    return f"{family.__name__}({', '.join([name, *options])})"


def other_sizes(state_dict: Mapping[str, Any]) -> list[str]:
    """Return the names of the arrays that are of other sizes in the model which :func:`identify` tells.

    There are some where a network has another width, depth or head than those that are published.
    """
    recognised = _recognise(state_dict)
    if recognised is None:
        return []
    family, arguments = recognised
    try:
        model = create(**arguments)
    except ArgumentError:  # two may be meant, which its own error says
        return []
    own = family.canonical(own_part(family.identify, state_dict))
    members = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    return [name for name, member in members if name in own and math.prod(own[name].shape) != member.numel()]


def from_state_dict(state_dict: Mapping[str, Any], name: str | None = None, **options: Any) -> Family:
    """Return a model with the weights of a state dict, which itself tells what it belongs to.

    Args:
        state_dict: what :func:`trtnn.load` returned.
        name: the model's name, where it is not to be told by the state dict.
        **options: arguments of the model, in place of what the state dict tells.

    Raises:
        ArgumentError: it is no state dict, but a path or a module, or the ``anchors`` are others than it has itself.
        StateDictError: no family knows these names, they do not fit the model, or may be of several numbers of anchors
            and classes.
    """
    check_is_state_dict({}, state_dict)
    identified = _arguments(state_dict, name)
    if identified is None and name is None:
        raise _unknown(state_dict)
    anchors = options.get("anchors")
    counted = anchors is not None and metadata_of(state_dict).keys().isdisjoint(("names", "classes"))
    if identified is not None and "classes" not in options and not counted:
        check_told(state_dict, name or identified["name"])
    arguments = {**(identified or {}), **({"name": name} if name else {}), **options}
    model = create(**arguments)
    model.load_state_dict(state_dict)
    if anchors is not None:
        model.check_anchors(anchors)
    return model


def shaped(state_dict: Mapping[str, Any], name: str | None = None) -> StateDict | None:
    """Return a state dict with the shapes, and the names, of the model that it belongs to; None where it is of none.

    Args:
        state_dict: what a file holds, with or without shapes.
        name: the model's name, where it is not to be told by the state dict.

    Raises:
        StateDictError: it does not fit that model.
    """
    identified = _arguments(state_dict, name)
    if identified is None and name is None:
        return None
    model = create(**{**(identified or {}), **({"name": name} if name else {})})
    model.load_state_dict(state_dict)
    own = type(model).canonical(own_part(type(model).identify, state_dict))
    members = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    shapes = {path: member.shape for path, member in members}
    arrays = {path: array.reshape(shapes.get(path, array.shape)) for path, array in own.items()}
    return StateDict(arrays, metadata_of(state_dict))


def own_part(identify: Identify, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what of a state dict a family identifies, without what wrappers put before its names; else all of it."""
    parts = (part for part in unwrapped(state_dict) if identify(part) is not None)
    return next(parts, state_dict)


def check_is_there_once(part: Mapping[str, Any], state_dict: Mapping[str, Any]) -> None:
    """Check that a state dict has no other network of the names of a part of it, such as a teacher beside a student.

    Raises:
        StateDictError: it has; with what stands before the names of each.
    """
    if len(part) == len(state_dict):
        return
    name = next(iter(part))
    fronts = [key.removesuffix(name) for key in state_dict if key.endswith(name)]
    fronts = [front for front in fronts if all(front + key in state_dict for key in part)]
    if len(fronts) > 1:
        raise StateDictError(
            f"this holds the same network {len(fronts)} times, its names behind {listed(list(map(repr, fronts)), 5)}",
            f"give one: {{name.removeprefix({fronts[0]!r}): array for name, array in state_dict.items() "
            f"if name.startswith({fronts[0]!r})}}",
        )


def _arguments(state_dict: Mapping[str, Any], name: str | None) -> dict[str, Any] | None:
    if name is None:
        return identify(state_dict)
    family = _family_of(name)
    return family.identify(own_part(family.identify, state_dict))


def _unknown(state_dict: Mapping[str, Any]) -> StateDictError:
    """Return the error for a state dict of no model that is known, with what it is, where that can be told."""
    for family in families():
        family.canonical(state_dict)  # raises where the names are of a form it knows, and the numbers are not
    shard = filter(None, [metadata_of(state_dict).get(SHARD)])
    if network := stranger(state_dict):
        return StateDictError(
            f"this looks like {network}, which trtnn has no model for",
            *shard,
            "trtnn models lists those that it has",
            _FROM_TORCH,
        )
    if not state_dict:
        return StateDictError("the state dict is empty", *shard)
    sample = ", ".join(list(state_dict)[:3])
    return StateDictError(
        f"no model of trtnn has parameters named like these: {sample}, ...",
        *shard,
        f"known: {', '.join(name for _, name in FAMILIES)}; trtnn models lists their models",
        _FROM_TORCH,
    )


def _family_of(name: str) -> type[Family]:
    families = by_name()
    if name not in families:
        raise unknown_name(name, families)
    return families[name]


def _recognise(state_dict: Mapping[str, Any]) -> tuple[type[Family], dict[str, Any]] | None:
    parts = [(part, family) for part in unwrapped(state_dict) for family in families()]
    identified = ((family, family.identify(part)) for part, family in parts)
    return next(((family, arguments) for family, arguments in identified if arguments is not None), None)
