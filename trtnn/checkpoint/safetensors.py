"""The safetensors format: a JSON header, then the arrays one after another.

The format (https://huggingface.co/docs/safetensors/index#format): 8 bytes with the header's length, little-endian; the
header, an object of ``{name: {"dtype", "shape", "data_offsets": [begin, end]}}``, where the name ``__metadata__`` is
taken by free text; the data, which the tensors cover without a hole. The library of that name copies every array it
hands to NumPy; here they are views of the file.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from trtnn.checkpoint.damaged import damaged
from trtnn.checkpoint.mapped import BFLOAT16, array_at, is_shape, is_size, map_file
from trtnn.errors import CheckpointError
from trtnn.strict_json import parse_object

_DTYPES = {
    "BOOL": np.dtype("?"),
    "I8": np.dtype("<i1"),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("<u1"),
    "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
    "U64": np.dtype("<u8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "BF16": BFLOAT16,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_METADATA = "__metadata__"
_HEADER_LIMIT_BYTES = 100_000_000  # the library's own


def read(path: Path) -> dict[str, np.ndarray]:
    """Map a .safetensors file; the arrays are views of it, in the header's order."""
    data = map_file(path)
    header, start = _header(path, data)
    header.pop(_METADATA, None)
    spans = sorted(_span(path, name, entry) for name, entry in header.items())
    end = 0
    for begin, next_end, name in spans:
        if begin != end:
            raise damaged(
                path, "is not a sound safetensors file", f"{name} begins at byte {begin} of the data, not {end}"
            )
        end = next_end
    if start + end != len(data):
        raise damaged(path, f"has {len(data):,} bytes where its header promises {start + end:,}")
    return {
        name: array_at(data, _DTYPES[entry["dtype"]], start + entry["data_offsets"][0], tuple(entry["shape"]))
        for name, entry in header.items()
    }


def _header(path: Path, data: mmap.mmap) -> tuple[dict[str, object], int]:
    """Return the header and the offset of the data behind it."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, _HEADER_LIMIT_BYTES):
        raise damaged(path, "is not a safetensors file", f"its header would have {length:,} of {len(data):,} bytes")
    try:
        return parse_object(data[8 : 8 + length]), 8 + length
    except ValueError as error:
        raise damaged(path, "is not a safetensors file", f"its header is not sound JSON: {error}") from error


def _span(path: Path, name: str, entry: object) -> tuple[int, int, str]:
    """Return (begin, end, name) of an entry whose every field is what the format asks for."""
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    lists = isinstance(dtype, str) and isinstance(shape, list) and isinstance(offsets, list)
    if not (lists and is_shape(shape) and len(offsets) == 2 and all(map(is_size, offsets))):
        raise damaged(path, "is not a sound safetensors file", f"the header's entry for {name!r} is malformed")
    if dtype not in _DTYPES:
        raise CheckpointError(f"{path}: {name} has the type {dtype}, which NumPy lacks", f"known: {', '.join(_DTYPES)}")
    expected_bytes = math.prod(shape) * _DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != expected_bytes:
        raise damaged(
            path,
            "is not a sound safetensors file",
            f"{name} is {dtype} {tuple(shape)}, {expected_bytes:,} bytes, but lies at {offsets[0]} to {offsets[1]}",
        )
    return offsets[0], offsets[1], name


def write(arrays: Mapping[str, np.ndarray], file: BinaryIO) -> None:
    """Write the arrays as safetensors, the widest types first so that each is aligned; the header keeps their order."""
    if _METADATA in arrays:
        raise CheckpointError(f"a tensor in a .safetensors file cannot be called {_METADATA}", "give it another name")
    spans: dict[str, list[int]] = {}
    end = 0
    for name in (in_file := sorted(arrays, key=lambda name: -arrays[name].itemsize)):
        spans[name] = [end, end := end + arrays[name].nbytes]
    header = json.dumps(
        {
            name: {"dtype": _NAMES[array.dtype], "shape": array.shape, "data_offsets": spans[name]}
            for name, array in arrays.items()
        },
        separators=(",", ":"),
    ).encode()
    header += b" " * (-len(header) % 8)
    file.write(len(header).to_bytes(8, "little") + header)
    for name in in_file:
        file.write(arrays[name].reshape(-1).view(np.uint8))
