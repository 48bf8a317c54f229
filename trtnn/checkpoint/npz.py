"""NumPy's own .npz: a zip file of .npy files."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from trtnn.checkpoint.damaged import damaged
from trtnn.checkpoint.mapped import check_inflation, is_shape
from trtnn.checkpoint.state_dict import StateDict
from trtnn.checkpoint.zip_directory import check_directory
from trtnn.errors import CheckpointError

_INFLATION_LIMIT = 20  # weights do not shrink so much, zeros shrink a thousandfold
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what NumPy writes
_HEADERS = {b"\x01\x00": np.lib.format.read_array_header_1_0, b"\x02\x00": np.lib.format.read_array_header_2_0}
_UNSOUND = "is not a sound .npz file"


def read(path: Path) -> StateDict:
    """Read a .npz file, compressed or not; pickled objects in it are refused."""
    check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if not all(entry.compress_type in _METHODS for entry in entries):
                raise damaged(path, _UNSOUND, "it is compressed in a way that NumPy does not know")
            claimed_bytes = sum(entry.file_size for entry in entries)
            check_inflation(path, path.stat().st_size, claimed_bytes, _INFLATION_LIMIT, "save it with numpy.savez")
            arrays = {entry.filename.removesuffix(".npy"): _array(path, archive, entry) for entry in entries}
    except CheckpointError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds on bad content, none of them by contract
        raise damaged(path, _UNSOUND, f"NumPy says: {error or type(error).__name__}") from error
    if len(arrays) != len(entries):
        raise damaged(path, _UNSOUND, "a name occurs twice in it")
    return StateDict(arrays)


def _array(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """Return the array of an entry, in C order and in this machine's byte order."""
    name = entry.filename.removesuffix(".npy")
    with archive.open(entry) as stream:  # the header alone, as NumPy would allocate whatever it declares
        if stream.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            raise damaged(path, _UNSOUND, f"{name} in it is not an array")
        read_header = _HEADERS.get(version := stream.read(2))
        if read_header is None:
            raise damaged(path, _UNSOUND, f"{name} in it is of version {version!r} of NumPy's format")
        shape, _, dtype = read_header(stream)
        held_bytes = entry.file_size - stream.tell()
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise CheckpointError(f"{path}: {name} has the type {dtype}, which is no tensor's")
    if not is_shape(shape) or math.prod(shape) * dtype.itemsize != held_bytes:
        raise damaged(path, _UNSOUND, f"{name} is {dtype} {shape}, which does not fit the {held_bytes:,} bytes it has")
    with archive.open(entry) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    return np.require(array, dtype.newbyteorder("="), "C")


def write(arrays: Mapping[str, np.ndarray], file: BinaryIO) -> None:
    """Write the arrays as .npz, uncompressed."""
    # not numpy.savez: it takes the names as keyword arguments, so that an array cannot be called "file"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
