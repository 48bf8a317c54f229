"""Darknet's .weights, as YOLOv3 was published in it (https://github.com/pjreddie/darknet, src/parser.c).

A header of three little-endian int32, the format's major, minor and revision, and the number of pictures seen in
training: int32 in format 0.1, int64 in 0.2. Then float32 to the end of the file, layer by layer of the network's .cfg:
of a convolution with BatchNorm its bias, weight, mean, variance and kernel, of one without its bias and kernel. There
are no names and no lengths: only a model knows where one array ends and the next begins.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from trtnn.checkpoint.damaged import damaged
from trtnn.checkpoint.mapped import array_at, map_file
from trtnn.errors import CheckpointError

NAME = "darknet"  # of the one array that such a file gives
_SEEN_BYTES = {(0, 1): 4, (0, 2): 8}  # by the format, of the number of pictures


def read(path: Path) -> dict[str, np.ndarray]:
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
            f"known: {' or '.join(f'{major}, {minor}' for major, minor in _SEEN_BYTES)}, and any revision",
        )
    start = 12 + _SEEN_BYTES[version[:2]]
    count, rest = divmod(len(data) - start, 4)
    if count <= 0 or rest:
        raise damaged(
            path,
            "is not a sound Darknet .weights file",
            f"it has {len(data)} bytes: expected a header of {start}, then float32, 4 bytes each",
        )
    return {NAME: array_at(data, np.dtype("<f4"), start, (count,))}


def write(arrays: Mapping[str, np.ndarray], file: BinaryIO) -> None:
    """Refuse: the order of the layers is the model's, not the state dict's."""
    raise CheckpointError(
        "a state dict cannot be written as .weights", "the format has no names", "save it as .safetensors or .npz"
    )
