"""Darknet's .weights, as YOLOv3 was published in it (https://github.com/pjreddie/darknet, src/parser.c).

A header of three little-endian int32, the format's major, minor and revision, and the number of images seen in
training: int32 in formats 0.0 and 0.1, int64 in 0.2 and later ones. Then float32 to the end of the file, layer by layer
of the network's .cfg: of a convolution with BatchNorm its bias, weight, mean, variance and kernel, of one without its
bias and kernel. There are no names and no lengths: only a model knows where one array ends and the next begins.

The network's .cfg, where one of the same name lies beside the file, tells what the numbers do not: the anchors, how
many classes, the size of images.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from trtnn.checkpoint.damaged import damaged
from trtnn.checkpoint.mapped import array_at, map_file
from trtnn.checkpoint.state_dict import StateDict
from trtnn.errors import CheckpointError

NAME = "darknet"  # of the one array that such a file gives
_SEEN_BYTES = {(0, 0): 4, (0, 1): 4, (0, 2): 8, (0, 3): 8}  # by the format, of the number of images
_CFG_LIMIT_BYTES = 1_000_000


def read(path: Path) -> StateDict:
    """Read a .weights file into one flat float32 array, a view of the file."""
    data = map_file(path)
    if len(data) < 12:
        raise damaged(path, "is not a Darknet .weights file", f"it has {len(data)} bytes, less than its header takes")
    version = struct.unpack_from("<3i", data)
    if version[:2] not in _SEEN_BYTES:
        raise damaged(
            path,
            "is not a Darknet .weights file",
            f"its first three numbers, the version of the format, are {', '.join(map(str, version))}",
            "known: 0, 0 to 0, 3, and any revision",
        )
    start = 12 + _SEEN_BYTES[version[:2]]
    count, rest = divmod(len(data) - start, 4)
    if count <= 0 or rest:
        raise damaged(
            path,
            "is not a sound Darknet .weights file",
            f"it has {len(data)} bytes: expected a header of {start}, then float32, 4 bytes each",
        )
    return StateDict({NAME: array_at(data, np.dtype("<f4"), start, (count,))}, read_cfg(path.with_suffix(".cfg")))


def read_cfg(path: Path) -> dict[str, Any]:
    """Return the metadata that a .cfg tells, nothing where there is no such file.

    Raises:
        CheckpointError: a number in it is none, or its heads contradict one another.
    """
    if not path.is_file() or path.stat().st_size > _CFG_LIMIT_BYTES:
        return {}
    sections: list[tuple[str, dict[str, str]]] = []
    for line in path.read_text("utf-8", "replace").splitlines():
        text = line.partition("#")[0].partition(";")[0].strip()
        if text.startswith("["):
            sections.append((text.strip("[]").lower(), {}))
        elif "=" in text and sections:
            key, _, value = text.partition("=")
            sections[-1][1][key.strip()] = value.strip()
    heads = [options for name, options in sections if name == "yolo"]
    if not sections or not heads:
        return {}
    try:
        said = _of_heads(sections[0][1], heads)
    except ValueError as error:
        raise CheckpointError(
            f"{path}, which is the network of the weights beside it, is not understood", str(error)
        ) from error
    convolutions = [options for name, options in sections if name == "convolutional"]
    return {**said, "activations": sorted({options.get("activation", "logistic") for options in convolutions})}


def _of_heads(net: dict[str, str], heads: list[dict[str, str]]) -> dict[str, Any]:
    """Return what the sections of a .cfg say of the whole and of each head; Darknet's come the coarsest first."""
    classes = {int(head.get("classes", "20")) for head in heads}
    if len(classes) > 1:
        raise ValueError(f"its heads have {' and '.join(map(str, sorted(classes)))} classes")
    anchors = []
    for head in heads[::-1]:
        numbers = [float(number) for number in head.get("anchors", "").split(",") if number.strip()]
        pairs = [numbers[i : i + 2] for i in range(0, len(numbers), 2)]
        chosen = [int(i) for i in head.get("mask", "").split(",") if i.strip()] or range(len(pairs))
        if not all(0 <= i < len(pairs) and len(pairs[i]) == 2 for i in chosen):
            raise ValueError(f"a mask of {head.get('mask')} does not fit {len(pairs)} anchors")
        anchors.append([pairs[i] for i in chosen])
    size = [int(net[side]) for side in ("height", "width") if side in net]
    sides = {} if len(size) != 2 else {"imgsz": size[0] if size[0] == size[1] else size}
    is_plain = all(float(h.get("scale_x_y", "1")) == 1 and h.get("new_coords", "0") == "0" for h in heads)
    stretched = {} if is_plain else {"stretched": True}
    return {"classes": classes.pop(), "anchors": anchors, **sides, **stretched}
