"""The .wts text format of the tensorrtx examples.

The first line is the number of tensors. Each further line is one tensor: its name, its number of elements, and every
element as the hexadecimal digits of a big-endian float32, all separated by blanks. Leading zeros may be missing. The
format knows neither shapes nor types: what is read is flat, and all is float32.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from trtnn.checkpoint.damaged import damaged
from trtnn.checkpoint.state_dict import StateDict
from trtnn.errors import CheckpointError

_TENSOR_BYTES = 500  # what an array and its name take beside its numbers
_ALWAYS_ALLOWED_BYTES = 30_000_000
_PIECE = re.compile(rb".{1,100000}\S*", re.DOTALL)  # of a line, which ends where a word does


def read(path: Path) -> StateDict:
    """Read a .wts file into one-dimensional float32 arrays."""
    arrays: dict[str, np.ndarray] = {}
    with open(path, "rb") as file:
        count = _count(file.readline(64).strip())
        if count is None:
            raise damaged(path, "is not a .wts file", "its first line is not the number of its tensors")
        if count * _TENSOR_BYTES > path.stat().st_size + _ALWAYS_ALLOWED_BYTES:
            raise damaged(path, f"is not a sound .wts file: it promises {count:,} tensors")
        for number, line in enumerate(file, start=2):
            if not line.strip():
                continue
            try:
                name, values = _tensor(line)
            except ValueError as error:
                raise damaged(path, f"is not a sound .wts file: line {number}", str(error)) from error
            if len(arrays) == count:
                more = 1 + sum(bool(line.strip()) for line in file)
                raise damaged(path, f"has {count + more:,} tensors where its first line promises {count:,}")
            if name in arrays:
                raise damaged(path, f"is not a sound .wts file: line {number}", f"{name} occurs a second time")
            arrays[name] = values
    if len(arrays) != count:
        raise damaged(path, f"has {len(arrays)} tensors where its first line promises {count}")
    return StateDict(arrays)


def _tensor(line: bytes) -> tuple[str, np.ndarray]:
    name, *rest = line.split(None, 2)
    count = _count(rest[0]) if rest else None
    if count is None:
        raise ValueError("it does not begin with a name and a number of elements")
    text = rest[1].rstrip() if len(rest) > 1 else b""
    if text and not line.endswith(b"\n") and len(text.rpartition(b" ")[2]) < 8:
        raise ValueError(f"{name.decode()} ends the file with a value that may be cut short")
    # the usual case, words of 8 digits and single blanks, needs no list of words: 10 times less memory
    usual = len(text) == 9 * count - 1 and text[8::9] == b" " * (count - 1)
    packed = _unhex(text) if usual else b""
    if not usual or len(packed) != 4 * count:
        packed = _packed(name.decode(), count, text)
    return name.decode(), np.frombuffer(packed, ">u4").astype(np.uint32).view(np.float32)


def _packed(name: str, count: int, text: bytes) -> bytearray:
    """Return the bytes of words of any length, piece by piece: a list of all words would take 50 times the text."""
    values, packed = 0, bytearray()
    for piece in _PIECE.findall(text):
        words = piece.split()
        values += len(words)
        if any(len(word) > 8 for word in words):
            raise ValueError(f"{name} has a value of more than 8 hexadecimal digits")
        packed += _unhex(b" ".join(word.rjust(8, b"0") for word in words))
        if len(packed) != 4 * values:
            raise ValueError(f"{name} has a value that is not hexadecimal")
    if values != count:
        raise ValueError(f"{name} has {values:,} values where {count:,} are promised")
    return packed


def _unhex(text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        return b""


def _count(word: bytes) -> int | None:
    return int(word) if word.isdigit() and len(word) <= 18 else None


def write(arrays: Mapping[str, np.ndarray], file: BinaryIO) -> None:
    """Write the arrays as .wts: flat, and as float32 whatever their type."""
    file.write(b"%d\n" % len(arrays))
    for name, array in arrays.items():
        if name.split() != [name]:
            raise CheckpointError(f"a tensor in a .wts file cannot be called {name!r}", "the name must have no blanks")
        with np.errstate(over="ignore"):
            values = array.reshape(-1).astype(np.float32)
        if np.any(np.isinf(values) & np.isfinite(array.reshape(-1))):
            raise CheckpointError(
                f"{name} does not fit a .wts file: it has values beyond float32", "save it as .safetensors or .npz"
            )
        words = values.view(np.uint32).astype(">u4").tobytes().hex(" ", 4)
        file.write(f"{name} {array.size} {words}".rstrip().encode() + b"\n")
