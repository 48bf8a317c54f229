"""The safetensors format: a JSON header, then the arrays one after another.

The format (https://huggingface.co/docs/safetensors/index#format): 8 bytes with the header's length, little-endian; the
header, an object of ``{name: {"dtype", "shape", "data_offsets": [begin, end]}}``, where the name ``__metadata__`` is
taken by free text; the data, which the tensors cover without a hole. The library of that name copies every array it
hands to NumPy; here they are views of the file.

Of a tensor that a model holds under two names that library writes one, and the other into ``__metadata__``, as
``{other: name}``. What trtnn knows of a checkpoint beside its tensors is there as one JSON text under ``trtnn``.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from trtnn.checkpoint.damaged import damaged
from trtnn.checkpoint.json_cost import check_json_cost
from trtnn.checkpoint.mapped import BFLOAT16, FLOAT8, array_at, is_shape, is_size, map_file
from trtnn.checkpoint.state_dict import LEFT_OUT, SHARD, StateDict, check_metadata
from trtnn.errors import CheckpointError
from trtnn.strict_json import check_value, parse_object

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
    "F8_E4M3": FLOAT8["float8_e4m3fn"],
    "F8_E5M2": FLOAT8["float8_e5m2"],
    "F8_E8M0": FLOAT8["float8_e8m0fnu"],
    "F8_E4M3FNUZ": FLOAT8["float8_e4m3fnuz"],
    "F8_E5M2FNUZ": FLOAT8["float8_e5m2fnuz"],
}
_OTHER_BITS = {"C64": 64, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4}  # of types that no array has
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_METADATA = "__metadata__"
_OWN = "trtnn"  # the key of our text in it
_HEADER_LIMIT_BYTES = 100_000_000  # the library's own


def read(path: Path) -> StateDict:
    """Map a .safetensors file; the arrays are views of it, in the header's order."""
    data = map_file(path)
    header, start = _header(path, data)
    texts = _texts(path, header.pop(_METADATA, {}))
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
    arrays = {
        name: array_at(data, _DTYPES[entry["dtype"]], start + entry["data_offsets"][0], tuple(entry["shape"]))
        for name, entry in header.items()
        if entry["dtype"] in _DTYPES
    }
    left_out = {name: f"of the type {entry['dtype']}" for name, entry in header.items() if name not in arrays}
    arrays |= {alias: arrays[name] for alias, name in texts.items() if name in arrays and alias not in arrays}
    return StateDict(arrays, {**_own(path, texts), **({LEFT_OUT: left_out} if left_out else {})})


def _header(path: Path, data: mmap.mmap) -> tuple[dict[str, Any], int]:
    """Return the header and the offset of the data behind it."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, _HEADER_LIMIT_BYTES):
        raise damaged(path, "is not a safetensors file", f"its header would have {length:,} of {len(data):,} bytes")
    text = data[8 : 8 + length]
    check_json_cost(path, text, len(data))
    try:
        return parse_object(text), 8 + length
    except ValueError as error:
        raise damaged(path, "is not a safetensors file", f"its header is not sound JSON: {error}") from error


def _texts(path: Path, metadata: object) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise damaged(path, "is not a sound safetensors file", f"its {_METADATA} is no object of texts")
    return metadata


def _own(path: Path, texts: Mapping[str, str]) -> dict[str, object]:
    try:
        return check_metadata(parse_object(texts[_OWN].encode())) if _OWN in texts else {}
    except ValueError as error:
        raise damaged(path, "is not a sound safetensors file", f"trtnn's text in it is not sound: {error}") from error


def _span(path: Path, name: str, entry: object) -> tuple[int, int, str]:
    """Return (begin, end, name) of an entry whose every field is what the format asks for."""
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if (
        not (isinstance(dtype, str) and isinstance(shape, list) and isinstance(offsets, list))
        or not (is_shape(shape) and len(offsets) == 2 and all(map(is_size, offsets)))
    ):  # fmt: skip
        raise damaged(path, "is not a sound safetensors file", f"the header's entry for {name!r} is malformed")
    if dtype not in _DTYPES and dtype not in _OTHER_BITS:
        raise CheckpointError(f"{path}: {name} has the type {dtype}, which NumPy lacks", f"known: {', '.join(_DTYPES)}")
    bits = 8 * _DTYPES[dtype].itemsize if dtype in _DTYPES else _OTHER_BITS[dtype]
    expected_bytes = math.prod(shape) * bits // 8
    if offsets[1] - offsets[0] != expected_bytes:
        raise damaged(
            path,
            "is not a sound safetensors file",
            f"{name} is {dtype} {tuple(shape)}, {expected_bytes:,} bytes, but lies at {offsets[0]} to {offsets[1]}",
        )
    return offsets[0], offsets[1], name


def _text(metadata: Mapping[str, Any]) -> str:
    """Return metadata as the text that :func:`read` reads again, or nothing where there are none.

    Raises:
        CheckpointError: no file can hold them.
    """
    if not metadata:
        return ""
    try:
        check_value(dict(metadata), "metadata")
        text = json.dumps(metadata, separators=(",", ":"))
        check_metadata(parse_object(text.encode()))
    except ValueError as error:
        raise CheckpointError(f"no .safetensors file can hold these metadata: {error}") from error
    return text


def write(arrays: StateDict, file: BinaryIO) -> None:
    """Write the arrays as safetensors, the widest types first so that each is aligned; the header keeps their order."""
    if _METADATA in arrays:
        raise CheckpointError(f"a tensor in a .safetensors file cannot be called {_METADATA}", "give it another name")
    spans: dict[str, list[int]] = {}
    end = 0
    for name in (in_file := sorted(arrays, key=lambda name: -arrays[name].itemsize)):
        spans[name] = [end, end := end + arrays[name].nbytes]
    own = _text({key: value for key, value in arrays.metadata.items() if key not in (LEFT_OUT, SHARD)})
    metadata = {_METADATA: {_OWN: own}} if own else {}
    header = json.dumps(
        metadata
        | {
            name: {"dtype": _NAMES[array.dtype], "shape": array.shape, "data_offsets": spans[name]}
            for name, array in arrays.items()
        },
        separators=(",", ":"),
    ).encode()
    header += b" " * (-len(header) % 8)
    file.write(len(header).to_bytes(8, "little") + header)
    for name in in_file:
        file.write(arrays[name].reshape(-1).view(np.uint8).data)
