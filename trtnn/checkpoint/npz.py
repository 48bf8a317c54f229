"""NumPy's own .npz: a zip file of .npy files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from trtnn.checkpoint.damaged import damaged
from trtnn.errors import CheckpointError


def read(path: Path) -> dict[str, np.ndarray]:
    """Read a .npz file, compressed or not; pickled objects in it are refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name.removesuffix(".npy"): archive[name] for name in names}
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds on bad content, none of them by contract
        raise damaged(path, "is not a sound .npz file", f"NumPy says: {error or type(error).__name__}") from error
    if len(arrays) != len(names):
        raise damaged(path, "is not a sound .npz file", "a name occurs twice in it")
    return {name: _usual(path, name, array) for name, array in arrays.items()}


def _usual(path: Path, name: str, array: object) -> np.ndarray:
    """Return the array in C order and in this machine's byte order."""
    if not isinstance(array, np.ndarray):
        raise damaged(path, "is not a sound .npz file", f"{name} in it is not an array")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise CheckpointError(f"{path}: {name} has the type {array.dtype}, which is no tensor's")
    return np.require(array, array.dtype.newbyteorder("="), "C")


def write(arrays: Mapping[str, np.ndarray], file: BinaryIO) -> None:
    """Write the arrays as .npz, uncompressed."""
    # not numpy.savez: it takes the names as keyword arguments, so that an array cannot be called "file"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
