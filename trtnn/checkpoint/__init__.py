"""Checkpoints: files to dicts of NumPy arrays with what the file says beside them, and back.

>>> state_dict = load("yolov5s.pt")
>>> save(state_dict, "yolov5s.safetensors")

======================= ============================================ ===================================
suffix                  what :func:`load` reads                      what :func:`save` writes
======================= ============================================ ===================================
``.safetensors``        views of the file, nothing copied            the same types, and the metadata
``.npz``                arrays                                       the same types, uncompressed
``.wts``                flat float32 arrays: it knows no shapes      float32, flat
``.pt .pth .ckpt .bin   views of the file; torch is not needed       the same types; torch is needed
.pth.tar``
``.index.json``         the shards that it names, in its folder      nothing
``.weights``            Darknet's: one flat array without names      nothing
======================= ============================================ ===================================
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from trtnn.arrays import array_of_torch
from trtnn.checkpoint import darknet, hugging_face, npz, safetensors, shards, torch_file, wts
from trtnn.checkpoint.mapped import check_files, file_of
from trtnn.checkpoint.prefixes import with_averages, without_wrappers
from trtnn.checkpoint.state_dict import LEFT_OUT, SHARD, StateDict, metadata_of
from trtnn.errors import ArgumentError, CheckpointError, DTypeError, check_switches, harmless_text, listed
from trtnn.files import atomic_write

__all__ = ["StateDict", "convert", "load", "save"]


class _Format(NamedTuple):
    read: Callable[[Path], dict[str, np.ndarray]]
    write: Callable[[StateDict, BinaryIO], None] | None


_TORCH = _Format(torch_file.read, torch_file.write)
_FORMATS = {
    ".safetensors": _Format(safetensors.read, safetensors.write),
    ".npz": _Format(npz.read, npz.write),
    ".wts": _Format(wts.read, wts.write),
    ".pt": _TORCH,
    ".pth": _TORCH,
    ".ckpt": _TORCH,
    ".bin": _TORCH,
    ".tar": _TORCH,
    ".weights": _Format(darknet.read, None),
}
_MOST_NAMED = 5  # files of a folder that is given in the place of one
_WRITTEN = [suffix for suffix in _FORMATS if suffix != ".weights"]  # which has no names
_FLAT = (".wts",)  # formats that know no shapes


def load(path: str | os.PathLike[str]) -> StateDict:
    """Return the state dict in a file, as NumPy arrays; the suffix says which format it is.

    Of a torch file, which may hold a state dict, a training checkpoint or a whole pickled model such as YOLOv5's,
    nothing is run and no class in it is needed. In a training checkpoint averaged weights ("ema", "state_dict_ema",
    "model_ema", ...) are taken before others. What the file says beside the weights is in ``metadata``, see
    :class:`trtnn.checkpoint.StateDict`: which weights were taken, the names of classes, the task, what a pickled model
    is made of. transformers says such things in a ``config.json`` in the folder of the file, which is read as well.

    Every array is C-contiguous. bfloat16 and 8-bit floats, which NumPy lacks, become float32; other types stay. Complex
    and quantised tensors, and what is no tensor, are left out. Arrays of ``.safetensors`` and torch files are views of
    the file, read when touched; writing to one leaves the file as it is. Do not cut such a file short while its arrays
    are in use. Arrays of ``.wts`` are flat. A Darknet ``.weights`` file gives one array, ``"darknet"``: a family that
    was published so tells by its length which model it is of, and gives it names (``YOLOv3.canonical``); of a ``.cfg``
    of the same name beside it the anchors are read.

    What torch's DataParallel, AveragedModel, compile and FSDP put before the names is left out.

    Raises:
        CheckpointError: the file is missing, damaged, of an unknown kind, a pickle that names something harmful, or
            made to take much more memory than its own size; or one of the weights has a name that is no printable text.
    """
    path = Path(path)
    reader = _reader(path)
    if path.exists() and not path.is_file() and not path.is_dir():  # what never ends, or never begins
        raise CheckpointError(f"cannot read {path}: it is no file")
    try:
        state_dict = reader(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {error.filename or path}: {error.strerror or error}") from error
    for name in state_dict:
        if not name.isprintable():  # save refuses it as well; on a terminal it could do anything
            raise CheckpointError(
                f"{path} has a tensor called {name!r}", "the names of a state dict are printable text"
            )
    state_dict = with_averages(without_wrappers(state_dict))
    return StateDict(state_dict, {**hugging_face.beside(path), **metadata_of(state_dict), **shards.beside(path)})


def save(state_dict: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a state dict to a file; the suffix says in which format. An interrupted write leaves the old file whole.

    Args:
        state_dict: names to NumPy arrays or torch tensors on the CPU, of any boolean, integer or floating type.
            torch's bfloat16 and 8-bit floats are written as float32; ``.wts`` makes everything float32 and loses the
            shapes. The metadata of what :func:`load` returned are kept in ``.safetensors`` alone.
        path: the file; its folder must exist.

    Raises:
        CheckpointError: the suffix is unknown, or the format cannot hold a name or value; or the file that an array is
            a view of was written to after it was loaded.
        ArgumentError: a name is not printable text, or the path cannot be written.
        DTypeError: a value is not an array of a type that tensors have.
    """
    path = Path(path)
    write = check_suffix(path)
    if not isinstance(state_dict, Mapping):
        raise ArgumentError(f"save takes a state dict, not a {type(state_dict).__name__}", "give model.state_dict()")
    arrays = {name: _array(name, value) for name, value in state_dict.items()}
    files = [*map(file_of, arrays.values())]
    check_files(files)
    with atomic_write(path) as file:
        write(StateDict(arrays, metadata_of(state_dict)), file)
        check_files(files)


def check_suffix(path: Path) -> Callable[[StateDict, BinaryIO], None]:
    """Return what writes a file of this suffix. Call it before long work whose result goes there.

    Raises:
        CheckpointError: the suffix is unknown, or of a format that is not written.
    """
    write = _format(path, _WRITTEN).write
    if write is None:
        raise CheckpointError(
            f"a state dict cannot be written as {path.suffix}",
            "the format has no names",
            "save it as .safetensors or .npz",
        )
    return write


def convert(
    source: str | os.PathLike[str], target: str | os.PathLike[str], model: str | None = None, force: bool = False
) -> list[str]:
    """Write the state dict in ``source`` to ``target``, in the format that its suffix names.

    Arrays of a format that knows no shapes get those of the model that they belong to.

    Args:
        source: a checkpoint.
        target: the file to write.
        model: the name of the model, where the weights do not tell it.
        force: whether a file that is there may be overwritten.

    Returns:
        Sentences that say what the target does not hold of the source.

    Raises:
        CheckpointError, ArgumentError: as :func:`load` and :func:`save`; the target is there, or the source is; the
            shapes are not known.
    """
    check_switches(force=force)
    source, target = Path(source), Path(target)
    check_suffix(target)  # before the source is read
    if target.exists() and not force:
        raise ArgumentError(f"{target} is there already", "give another name, or overwrite it: --force or force=True")
    state_dict = load(source)
    suffix = target.suffix.lower()
    if source.suffix.lower() in _FLAT and suffix not in _FLAT:
        state_dict = _shaped(state_dict, source, model)
    save(state_dict, target)
    kept = [key for key in state_dict.metadata if key not in ("taken", "others", LEFT_OUT, SHARD)]
    notes = []
    if SHARD in state_dict.metadata:
        notes.append(f"these are not all weights of the model: {state_dict.metadata[SHARD]}")
    if suffix != ".safetensors" and kept:
        notes.append(
            f"{suffix} does not hold what {source.name} says beside the weights ({', '.join(kept)}): "
            "a model made of it has the usual activations and no names; .safetensors holds it"
        )
    if left_out := state_dict.metadata.get(LEFT_OUT):
        notes.append(f"left out: {', '.join(f'{name} ({what})' for name, what in list(left_out.items())[:10])}")
    return list(map(harmless_text, notes))


def _shaped(state_dict: StateDict, source: Path, model: str | None) -> StateDict:
    """Return the arrays in the shapes, and under the names, of the model that they belong to."""
    from trtnn import models  # which knows the formats here

    shaped = models.shaped(state_dict, model)
    if shaped is None:
        raise CheckpointError(
            f"{source} knows no shapes, and its tensors are of no model that trtnn knows: their shapes would be lost",
            "say which model it is: --model NAME or convert(..., model=NAME)",
            "or load it into a Module of your own, and save its state_dict()",
        )
    return shaped


def _reader(path: Path) -> Callable[[Path], dict[str, np.ndarray]]:
    """Return what reads a file: an index of shards, or the format of its suffix.

    Raises:
        CheckpointError: it is a folder, or its suffix is unknown.
    """
    if path.is_dir():
        inside = sorted(entry.name for entry in path.iterdir() if _is_checkpoint(entry))
        raise CheckpointError(
            f"{path} is a folder, not a checkpoint",
            f"in it: {listed(inside, _MOST_NAMED)}" if inside else "there is no checkpoint in it",
        )
    if path.name.lower().endswith(shards.SUFFIX):
        return lambda index: shards.read(index, lambda shard: _format(shard).read(shard))
    return _format(path).read


def _is_checkpoint(path: Path) -> bool:
    return path.suffix.lower() in _FORMATS or path.name.lower().endswith(shards.SUFFIX)


def _format(path: Path, known: Sequence[str] = (*_FORMATS, shards.SUFFIX)) -> _Format:
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise CheckpointError(f"{path} has no suffix of a checkpoint that is known", f"known: {', '.join(known)}")
    return _FORMATS[suffix]


def _array(name: object, value: Any) -> np.ndarray:
    """Return a value of a state dict as a C-contiguous array in little-endian order."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ArgumentError(f"a tensor cannot be called {name!r}", "the names of a state dict are printable text")
    torch = sys.modules.get("torch")
    if torch and isinstance(value, torch.Tensor):
        value = _from_torch(name, value)
    if isinstance(value, np.generic):  # as NumPy gives what an index takes out of an array
        value = np.asarray(value)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
        kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        instead = "give an array or a tensor of booleans, integers or floats"
        raise DTypeError(f"{name} is {kind}, which a checkpoint cannot hold", instead)
    return np.require(value, value.dtype.newbyteorder("<"), ("C", "A"))


def _from_torch(name: str, tensor: Any) -> np.ndarray:
    import torch

    if tensor.device.type != "cpu" or tensor.layout != torch.strided:
        raise DTypeError(
            f"{name} is a {tensor.layout} tensor on {tensor.device}, a checkpoint takes dense ones on the CPU",
            f"{name}.cpu(), or .to_dense() where it is sparse",
        )
    try:
        return array_of_torch(tensor)
    except DTypeError as error:
        raise DTypeError(f"{name} is {error.summary}, which a checkpoint cannot hold", *error.details) from error
    except (TypeError, RuntimeError) as error:
        raise DTypeError(f"{name} is a tensor of {tensor.dtype}, which NumPy lacks", str(error)) from error
