"""torch.save's files (.pt, .pth, .ckpt), read without torch and without running anything in them.

Since torch 1.6 such a file is a zip archive, uncompressed: ``NAME/data.pkl``, a pickle in which every tensor refers to
a storage by its key, and ``NAME/data/KEY``, the storage's elements. Before, it was a row of pickles (a magic number, a
protocol, a description of the machine, the object, the storages' keys) with the storages behind them.
"""

from __future__ import annotations

import io
import mmap
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from trtnn.checkpoint.damaged import damaged
from trtnn.checkpoint.mapped import check_inflation, map_file
from trtnn.checkpoint.pickled import describe
from trtnn.checkpoint.state import find_state_dict
from trtnn.checkpoint.state_dict import LEFT_OUT, StateDict
from trtnn.checkpoint.tensors import TENSOR_CONSTRUCTORS, Storage, Tensor, persistent_storage, tensor_array
from trtnn.checkpoint.unpickle import unpickle
from trtnn.checkpoint.zip_directory import check_directory
from trtnn.errors import CheckpointError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_UTF8 = 1 << 11  # the flag of a zip entry whose name is UTF-8
_EXPANSION_LIMIT = 8  # expand() makes one element stand for many, and tensors may share
_COPIES_ALLOWED_BYTES = 2**23
_COPIES_LIMIT = 1  # of tensors whose elements do not lie in order, or are not of a type of NumPy's

_Spans = dict[str, tuple[int, int]]  # for a storage's key: where it begins in the file, and its bytes


def read(path: Path) -> StateDict:
    """Read the state dict of a file that torch.save wrote; the arrays are views of the file where strides allow.

    Tensors that are one in the file, as tied weights are, are one array.
    """
    data = map_file(path)
    if data[:4] == b"PK\x03\x04":
        content, spans = _read_zip(path, data)
    elif data[:1] == pickle.PROTO:
        content, spans = _read_legacy(path, data)
    else:
        raise damaged(path, "is not a file that torch.save wrote")
    tensors, model, metadata = find_state_dict(path, content)
    unreadable = {name: f"of the type {tensor.dtype}" for name, tensor in tensors.items() if not tensor.is_readable}
    if unreadable:
        metadata[LEFT_OUT] = {**metadata.get(LEFT_OUT, {}), **unreadable}
        tensors = {name: tensor for name, tensor in tensors.items() if name not in unreadable}
    if unreadable and not tensors:
        name, what = next(iter(unreadable.items()))
        raise CheckpointError(f"{path} has no tensor that NumPy has a type for: {name} is {what}")
    claimed_bytes = sum(tensor.size_bytes for tensor in tensors.values())
    contiguous = "save contiguous copies: {name: tensor.clone() for name, tensor in state_dict.items()}"
    check_inflation(path, len(data), claimed_bytes, _EXPANSION_LIMIT, contiguous)

    distinct = {tensor.place: (name, tensor) for name, tensor in tensors.items()}  # tied ones are one array
    copied_bytes = sum(tensor.stored_bytes for _, tensor in distinct.values() if not tensor.is_view)
    check_inflation(path, len(data), copied_bytes, _COPIES_LIMIT, contiguous, _COPIES_ALLOWED_BYTES)

    def numbers(tensor: Tensor) -> list | None:
        return tensor_array(path, "a tensor", tensor, data, spans).tolist() if tensor.is_readable else None

    held = {place: tensor_array(path, name, tensor, data, spans) for place, (name, tensor) in distinct.items()}
    arrays = {name: held[tensor.place] for name, tensor in tensors.items()}
    return StateDict(arrays, {**describe(path, content, model, numbers), **metadata})


def _read_zip(path: Path, data: mmap.mmap) -> tuple[object, _Spans]:
    check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:  # zipfile raises a dozen kinds on a damaged directory, none of them by contract
        raise damaged(path, "is damaged: its zip directory cannot be read", str(error)) from error
    names = {entry.filename for entry in entries}
    if len(names) != len(entries):
        raise damaged(path, "is damaged: a name occurs twice in its zip directory")
    roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise damaged(path, "is a zip file, but not one that torch.save wrote")
    root = roots[0]
    if f"{root}constants.pkl" in names:
        raise CheckpointError(
            f"{path} is a TorchScript program, not a checkpoint",
            'give the .pt file it was exported from, or: torch.save(torch.jit.load(path).state_dict(), "weights.pt")',
        )
    spans = {entry.filename: _entry_span(path, data, entry) for entry in entries}
    if f"{root}byteorder" in spans and _bytes(data, spans[f"{root}byteorder"]) != b"little":
        raise CheckpointError(f"{path} was written on a big-endian machine", "save it again on a little-endian one")
    stream = io.BytesIO(_bytes(data, spans[f"{root}data.pkl"]))
    content = unpickle(path, stream, TENSOR_CONSTRUCTORS, persistent_storage, len(data))
    prefix = f"{root}data/"
    return content, {name.removeprefix(prefix): span for name, span in spans.items() if name.startswith(prefix)}


def _entry_span(path: Path, data: mmap.mmap, entry: zipfile.ZipInfo) -> tuple[int, int]:
    """Return where a zip entry's bytes begin in the file, and how many they are."""
    header = data[entry.header_offset : entry.header_offset + 30] if entry.header_offset >= 0 else b""
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise CheckpointError(
            f"{path} is compressed, which torch.save never does", "unpack it and zip it with: zip -0, or save it again"
        )
    # the local header repeats the name and has padding of its own: their lengths are its last two numbers
    name_end = entry.header_offset + 30 + int.from_bytes(header[26:28], "little")
    start = name_end + int.from_bytes(header[28:30], "little")
    name = data[entry.header_offset + 30 : name_end].decode("utf-8" if entry.flag_bits & _UTF8 else "cp437", "replace")
    sound = len(header) == 30 and header[:4] == b"PK\x03\x04" and name == entry.orig_filename
    if not sound or start + entry.file_size > len(data):
        raise damaged(path, f"is damaged: its zip entry {entry.filename} is not where it should be")
    return start, entry.file_size


def _bytes(data: mmap.mmap, span: tuple[int, int]) -> bytes:
    start, size_bytes = span
    return data[start : start + size_bytes]


def _read_legacy(path: Path, data: mmap.mmap) -> tuple[object, _Spans]:
    storages: dict[str, Storage] = {}

    def persistent_load(reference: object) -> object:
        thing = persistent_storage(reference)
        return storages.setdefault(thing.key, thing) if isinstance(thing, Storage) else thing

    def read_one() -> object:
        return unpickle(path, data, TENSOR_CONSTRUCTORS, persistent_load, len(data) // 5)

    if read_one() != _LEGACY_MAGIC:
        raise damaged(path, "is not a file that torch.save wrote")
    protocol, machine, content, keys = (read_one() for _ in range(4))
    if protocol != _LEGACY_PROTOCOL or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise CheckpointError(
            f"{path} was written by a torch, or on a machine, that is not known here",
            "load it with torch and save it again: torch.save(torch.load(path), path)",
        )
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in storages for key in keys):
        raise damaged(path, "is damaged: its list of storages does not fit its tensors")
    spans: _Spans = {}
    for key in keys:
        itemsize = storages[key].itemsize
        if itemsize is None:
            raise CheckpointError(f"{path} has a {storages[key].kind}, which NumPy has no type for")
        count = int.from_bytes(data.read(8), "little")
        spans[key] = (data.tell(), count * itemsize)
        if data.tell() + count * itemsize > len(data):
            raise damaged(path, "is damaged: it ends before its last tensor")
        data.seek(count * itemsize, io.SEEK_CUR)
    return content, spans


def write(arrays: Mapping[str, np.ndarray], file: BinaryIO) -> None:
    """Write the arrays as a state dict of torch tensors with torch.save; needs torch."""
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(
            "writing a torch checkpoint needs torch", "pip install torch", "or save it as .safetensors, which does not"
        ) from error
    # from_numpy warns of arrays that are not writable, hence the copy of those
    tensors = {name: torch.from_numpy(np.require(array, requirements="W")) for name, array in arrays.items()}
    try:
        torch.save(tensors, file)
    except RuntimeError as error:  # torch's zip writer hides what the file said, such as that the disk is full
        while error is not None and not isinstance(error, OSError):
            error = error.__context__
        if error is None:
            raise
        raise error from None
