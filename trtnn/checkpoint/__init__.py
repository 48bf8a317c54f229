"""Checkpoints: files to plain dicts of NumPy arrays, and back.

>>> state_dict = load("yolov5s.pt")
>>> save(state_dict, "yolov5s.safetensors")

======================= ============================================ ===================================
suffix                  what :func:`load` reads                      what :func:`save` writes
======================= ============================================ ===================================
``.safetensors``        views of the file, nothing copied            the same types
``.npz``                arrays                                       the same types, uncompressed
``.wts``                flat float32 arrays: it knows no shapes      float32, flat
``.pt .pth .ckpt``      views of the file; torch is not needed       the same types; torch is needed
``.weights``            Darknet's: one flat array without names      nothing
======================= ============================================ ===================================
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from trtnn.checkpoint import darknet, npz, safetensors, torch_file, wts
from trtnn.errors import ArgumentError, CheckpointError, DTypeError
from trtnn.files import atomic_write

__all__ = ["convert", "load", "save"]


class _Format(NamedTuple):
    read: Callable[[Path], dict[str, np.ndarray]]
    write: Callable[[Mapping[str, np.ndarray], BinaryIO], None]


_TORCH = _Format(torch_file.read, torch_file.write)
_FORMATS = {
    ".safetensors": _Format(safetensors.read, safetensors.write),
    ".npz": _Format(npz.read, npz.write),
    ".wts": _Format(wts.read, wts.write),
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".ckpt": _TORCH,
    ".weights": _Format(darknet.read, darknet.write),
}
_DATA_PARALLEL = "module."


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the state dict in a file, as NumPy arrays; the suffix says which format it is.

    Of a torch file, which may hold a state dict, a training checkpoint (with the weights under "ema", "model",
    "state_dict" or "model_state_dict", taken in this order) or a whole pickled model such as YOLOv5's, nothing is run
    and no class in it is needed.

    Every array is C-contiguous. bfloat16, which NumPy lacks, becomes float32; other types stay. Arrays of
    ``.safetensors`` and torch files are views of the file, read when touched; writing to one leaves the file as it is.
    Do not cut such a file short while its arrays are in use. Arrays of ``.wts`` are flat.
    A Darknet ``.weights`` file gives one array, ``"darknet"``: a family that was published so tells by its length which
    model it is of, and gives it names (``YOLOv3.canonical``).

    When every name begins with ``module.``, which torch's DataParallel puts there, the names lose it.

    Raises:
        CheckpointError: the file is missing, damaged, of an unknown kind, a pickle that names something harmful, or
            made to take much more memory than its own size.
    """
    path = Path(path)
    kind = _format(path)
    try:
        state_dict = kind.read(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    for name in state_dict:
        if not name.isprintable():  # save refuses it as well; on a terminal it could do anything
            raise CheckpointError(
                f"{path} has a tensor called {name!r}", "the names of a state dict are printable text"
            )
    if state_dict and all(name.startswith(_DATA_PARALLEL) for name in state_dict):
        return {name.removeprefix(_DATA_PARALLEL): array for name, array in state_dict.items()}
    return state_dict


def save(state_dict: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a state dict to a file; the suffix says in which format. An interrupted write leaves the old file whole.

    Args:
        state_dict: names to NumPy arrays or torch tensors on the CPU, of any boolean, integer or floating type.
            torch's bfloat16 is written as float32; ``.wts`` makes everything float32 and loses the shapes.
        path: the file; its folder must exist.

    Raises:
        CheckpointError: the suffix is unknown, or the format cannot hold a name or value.
        ArgumentError: a name is not printable text, or the path cannot be written.
        DTypeError: a value is not an array of a type that tensors have.
    """
    path = Path(path)
    kind = _format(path)
    if not isinstance(state_dict, Mapping):
        raise ArgumentError(f"save takes a state dict, not a {type(state_dict).__name__}", "give model.state_dict()")
    arrays = {name: _array(name, value) for name, value in state_dict.items()}
    with atomic_write(path) as file:
        kind.write(arrays, file)


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Write the state dict in ``source`` to ``target``, in the format that its suffix names.

    Raises:
        CheckpointError, ArgumentError: as :func:`load` and :func:`save`.
    """
    _format(Path(target))  # before the source is read
    save(load(source), target)


def _format(path: Path) -> _Format:
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise CheckpointError(f"{path} has no suffix of a checkpoint that is known", f"known: {', '.join(_FORMATS)}")
    return _FORMATS[suffix]


def _array(name: object, value: Any) -> np.ndarray:
    """Return a value of a state dict as a C-contiguous array in little-endian order."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ArgumentError(f"a tensor cannot be called {name!r}", "the names of a state dict are printable text")
    torch = sys.modules.get("torch")
    if torch and isinstance(value, torch.Tensor):
        value = _from_torch(name, value)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
        kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise DTypeError(f"{name} is {kind}, which a checkpoint cannot hold", "give booleans, integers or floats")
    return np.require(value, value.dtype.newbyteorder("<"), "CA")


def _from_torch(name: str, tensor: Any) -> np.ndarray:
    import torch

    if tensor.device.type != "cpu" or tensor.layout != torch.strided:
        raise DTypeError(
            f"{name} is a {tensor.layout} tensor on {tensor.device}, a checkpoint takes dense ones on the CPU",
            f"{name}.cpu(), or .to_dense() where it is sparse",
        )
    tensor = tensor.detach()
    try:
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    except (TypeError, RuntimeError) as error:
        raise DTypeError(f"{name} is a tensor of {tensor.dtype}, which NumPy lacks", str(error)) from error
