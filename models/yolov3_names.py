"""The forms that weights of YOLOv3 come in, brought under the model's own names, which are mmdetection's.

Darknet's files have no names: their order is that of the network's .cfg. Ultralytics number the layers of theirs in the
same order, but for the last convolution of each level, which are together in the head, the finest level first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trtnn.checkpoint import darknet
from trtnn.errors import StateDictError
from trtnn.models.blocks import Conv
from trtnn.modules import Module

_OF_CONV = ("bn.bias", "bn.weight", "bn.running_mean", "bn.running_var", "conv.weight")  # as in a Darknet file
_OF_CONV2D = ("bias", "weight")


def _ultralytics_layers() -> list[str]:
    """Return the layers of Ultralytics' yolov3 in order; a layer of a single block has no number inside."""
    layers = ["0"]
    for i, n in enumerate((1, 2, 8, 8, 4)):
        blocks = [f"{2 * i + 2}.{j}" if n > 1 else f"{2 * i + 2}" for j in range(n)]
        layers += [f"{2 * i + 1}", *(f"{block}.{cv}" for block in blocks for cv in ("cv1", "cv2"))]
    layers += ["11.cv1", "11.cv2", "12", "13", "14", "15", "16", "19.cv1", "19.cv2", "20.cv1", "20.cv2", "21", "22"]
    return [*layers, "23", "26.cv1", "26.cv2", "27.0.cv1", "27.0.cv2", "27.1.cv1", "27.1.cv2"]


# By model: Ultralytics' head, and their layers of a convolution, BatchNorm and activation, in the order of the .cfg.
ULTRALYTICS = {
    "yolov3": ("model.28", _ultralytics_layers()),
    "yolov3-tiny": ("model.20", ["0", "2", "4", "6", "8", "10", "13", "14", "15", "16", "19"]),
}
# By model: how many numbers a Darknet file holds without classes, and how many for each class.
LENGTHS = {"yolov3": (61_570_957, 5_385), "yolov3-tiny": (8_673_934, 2_310)}
# By model: a name of our own that the other lacks.
_OWN = {"yolov3": "backbone.conv_res_block5.conv.conv.weight", "yolov3-tiny": "backbone.conv7.conv.weight"}


def identify(state_dict: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the name, the classes and, where it can be told, the version of the YOLOv3 of a state dict, or None.

    The model's own names tell no version: they may be mmdetection's, or anyone's once they are brought under these.
    """
    if darknet.NAME in state_dict:
        for name, (fixed, per_class) in LENGTHS.items():
            classes, rest = divmod(math.prod(state_dict[darknet.NAME].shape) - fixed, per_class)
            if classes > 0 and not rest:
                return {"name": name, "classes": classes, "version": "darknet"}
    for name, (head, layers) in ULTRALYTICS.items():
        own, theirs = state_dict.get("bbox_head.convs_pred.0.bias"), state_dict.get(f"{head}.m.0.bias")
        if own is not None and _OWN[name] in state_dict:
            fused = {"fused": True} if _OWN[name].replace(".weight", ".bias") in state_dict else {}
            return {"name": name, "classes": math.prod(own.shape) // 3 - 5, **fused}
        if theirs is not None and all(f"model.{layer}.conv.weight" in state_dict for layer in layers):
            version = "9.0" if f"{head}.anchor_grid" in state_dict else "9.6"
            fused = {} if f"model.{layers[0]}.bn.weight" in state_dict else {"fused": True}
            return {"name": name, "classes": math.prod(theirs.shape) // 3 - 5, "version": version, **fused}
    return None


def canonical(state_dict: Mapping[str, Any], make: Callable[..., Module]) -> dict[str, Any]:
    """Return a state dict in any of the forms under our own names; ``make`` makes the model of what it tells.

    Raises:
        StateDictError: the length of what a Darknet file holds is that of no YOLOv3.
    """
    arguments = identify(state_dict)
    if darknet.NAME in state_dict:
        array = state_dict[darknet.NAME].reshape(-1)
        if arguments is None:
            raise StateDictError(
                f"a Darknet file of {len(array):,} numbers is of no YOLOv3: it is cut short, or of another network",
                *(f"{name}: {n + 80 * each:,} for 80 classes, {each:,} a class" for name, (n, each) in LENGTHS.items()),
            )
        return _from_darknet(array, make(**arguments))
    if arguments is None or "version" not in arguments:
        return dict(state_dict)
    return _from_ultralytics(state_dict, make(**arguments))


def _in_order(model: Module) -> list[tuple[str, tuple[str, ...]]]:
    """Return the path of each convolution in the order of the .cfg, neck and head level by level, and what it holds."""
    levels = len(model.strides)
    order = ["backbone."]
    for i in range(levels):
        order += [f"neck.conv{i}", f"neck.detect{i + 1}.", f"bbox_head.convs_bridge.{i}", f"bbox_head.convs_pred.{i}"]
    holds = {path: _OF_CONV for path, module in model.named_modules() if isinstance(module, Conv)}
    holds |= {f"bbox_head.convs_pred.{i}": _OF_CONV2D for i in range(levels)}
    rank = {path: next(i for i, prefix in enumerate(order) if path.startswith(prefix)) for path in holds}
    return sorted(holds.items(), key=lambda item: rank[item[0]])


def _from_darknet(array: np.ndarray, model: Module) -> dict[str, np.ndarray]:
    """Cut the flat array of a Darknet file into a model's parameters, which are views of it."""
    members = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    state_dict: dict[str, np.ndarray] = {}
    start = 0
    for path, holds in _in_order(model):
        for name in holds:
            member = members[f"{path}.{name}"]
            state_dict[f"{path}.{name}"] = array[start : start + member.numel()].reshape(member.shape)
            start += member.numel()
    return state_dict


def _from_ultralytics(state_dict: Mapping[str, Any], model: Module) -> dict[str, Any]:
    """Rename a state dict of Ultralytics'; a name that is not theirs stays, and the anchors in pixels are left out."""
    head, layers = ULTRALYTICS[model.name]
    convs = [path for path, holds in _in_order(model) if holds is _OF_CONV]
    renamed = {
        f"model.{theirs}.{name}": f"{ours}.{name}"
        for theirs, ours in zip(layers, convs, strict=True)
        for name in (*_OF_CONV, "bn.num_batches_tracked", "conv.bias")
    }
    levels = len(model.strides)
    for i in range(levels):
        renamed |= {f"{head}.m.{levels - 1 - i}.{name}": f"bbox_head.convs_pred.{i}.{name}" for name in _OF_CONV2D}
    renamed[f"{head}.anchors"] = "bbox_head.anchors"
    return {renamed.get(name, name): array for name, array in state_dict.items() if name != f"{head}.anchor_grid"}
