"""The tensors of a torch file: how its pickle describes them, and the arrays they stand for."""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trtnn.checkpoint.damaged import damaged
from trtnn.checkpoint.mapped import BFLOAT16, FLOAT8, array_at, is_shape, is_size
from trtnn.checkpoint.unpickle import Constructor, Global, Opaque
from trtnn.errors import CheckpointError

_DTYPES = {
    "bool": np.dtype("?"),
    "int8": np.dtype("<i1"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "uint8": np.dtype("<u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "bfloat16": BFLOAT16,
    **FLOAT8,
}
_STORAGES = {
    "BoolStorage": "bool",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "ByteStorage": "uint8",
    "UntypedStorage": "uint8",
    "HalfStorage": "float16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "BFloat16Storage": "bfloat16",
}
# kinds of storage whose elements NumPy, or a state dict, has no type for, and the bytes of an element
_OTHER_STORAGES = {
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
    "QInt8Storage": 1,
    "QUInt8Storage": 1,
    "QInt32Storage": 4,
}


@dataclass(eq=False)
class Storage:
    """A run of elements in the file, known by its key."""

    kind: str
    key: str
    count: int

    @property
    def itemsize(self) -> int | None:
        """Bytes an element; None for a kind of storage that is not known."""
        dtype = _DTYPES.get(_STORAGES.get(self.kind, ""))
        return dtype.itemsize if dtype else _OTHER_STORAGES.get(self.kind)


@dataclass(eq=False)
class Tensor:
    """A view of a storage. Offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    is_negated: bool = False  # whether each element has the other sign than in the storage, as in x.conj().imag

    def __post_init__(self) -> None:
        tuples = isinstance(self.shape, tuple) and isinstance(self.strides, tuple)
        same_rank = tuples and is_shape(self.shape) and len(self.shape) == len(self.strides)
        if not (same_rank and all(map(is_size, (self.offset, *self.strides)))):
            raise TypeError("it has a tensor whose shape, strides or offset are malformed")
        if self.is_negated and self.dtype == "bool":
            raise TypeError("it has a tensor of bools with a sign")

    @property
    def place(self) -> tuple:
        """What it has in common with the tensors that are the same elements, seen in the same way: tied weights."""
        return self.storage.key, self.offset, self.shape, self.strides, self.dtype, self.is_negated

    @property
    def is_readable(self) -> bool:
        """Whether its type is one that an array can have."""
        return self.dtype in _DTYPES

    @property
    def is_view(self) -> bool:
        """Whether its array is a view of the file, so that it takes no memory of its own."""
        expected, in_order = 1, True
        for size, stride in zip(self.shape[::-1], self.strides[::-1], strict=True):
            in_order = in_order and (size == 1 or stride == expected)
            expected *= size
        return in_order and _DTYPES[self.dtype].names is None and not self.is_negated

    @property
    def stored_bytes(self) -> int:
        """What its elements would take in the file, each for itself."""
        return math.prod(self.shape) * _DTYPES[self.dtype].itemsize

    @property
    def size_bytes(self) -> int:
        """What it takes as an array of its own; 0 for a type that NumPy lacks."""
        return math.prod(self.shape) * (_DTYPES[self.dtype].itemsize if self.dtype in _DTYPES else 0)


def persistent_storage(reference: object) -> object:
    """Return what a persistent id of torch stands for: a storage, or, in files before torch 1.6, a module's class."""
    match reference:
        case ("storage", Global() as kind, str(key), _, count) if is_size(count):
            return Storage(_last(kind), key, count)
        case ("storage", Global() as kind, str(key), _, count, None) if is_size(count):  # before torch 1.6
            return Storage(_last(kind), key, count)
        case ("module", Global() as kind, _, _):
            return kind
    raise TypeError("it refers to something that is not a storage")


def _last(kind: Global) -> str:
    return kind.name.rpartition(".")[2]


def _tensor(
    storage: object,
    offset: int,
    shape: tuple,
    strides: tuple,
    _grad: bool = False,
    _hooks: object = None,
    bits: object = None,
) -> Tensor:
    if not isinstance(storage, Storage):
        raise TypeError("it has a tensor without a storage")
    return Tensor(storage, offset, shape, strides, _STORAGES.get(storage.kind, storage.kind), _is_negated(bits))


def _tensor_v3(
    storage: object,
    offset: int,
    shape: tuple,
    strides: tuple,
    _grad: bool,
    _hooks: object,
    dtype: object,
    bits: object = None,
) -> Tensor:
    if not isinstance(storage, Storage) or not isinstance(dtype, Global):
        raise TypeError("it has a tensor without a storage or a type")
    return Tensor(storage, offset, shape, strides, _last(dtype), _is_negated(bits))


def _is_negated(bits: object) -> bool:
    """Return what the bits beside a tensor's elements (``torch._utils.get_tensor_metadata``) say of its sign."""
    return isinstance(bits, dict) and bool(bits.get("neg", False))


def _parameter(data: object, *_: object) -> object:
    return data


def _from_type(function: object, _type: object, arguments: tuple, _state: object) -> object:
    """Return the tensor under one that has Python attributes, or is of a class of its own."""
    if not isinstance(function, Global):
        raise TypeError("it has a tensor without a function that makes it")
    return _PLAIN[function.name](*arguments) if function.name in _PLAIN else Opaque(function)


_PLAIN: dict[str, Constructor] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
# what torch pickles of a tensor: a function of its own and the arguments to call it with
TENSOR_CONSTRUCTORS: dict[str, Constructor] = {**_PLAIN, "torch._tensor._rebuild_from_type_v2": _from_type}


def tensor_array(
    path: Path, name: str, tensor: Tensor, data: mmap.mmap, spans: Mapping[str, tuple[int, int]]
) -> np.ndarray:
    """Return the array of a tensor, a view of the file where its strides and its sign allow.

    Args:
        path: the file, for messages.
        name: the tensor's name, for messages.
        tensor: the tensor.
        data: the file's bytes.
        spans: where each storage begins in ``data``, and how many bytes it has.
    """
    dtype = _DTYPES.get(tensor.dtype)
    if dtype is None:
        raise CheckpointError(
            f"{path}: {name} has the type {tensor.dtype}, which NumPy lacks", f"known: {', '.join(_DTYPES)}"
        )
    storage = tensor.storage
    if storage.key not in spans:
        raise damaged(path, f"is damaged: the elements of {name} are missing")
    start, size_bytes = spans[storage.key]
    promised_bytes = storage.count * (storage.itemsize or 1)
    if promised_bytes > size_bytes:
        raise damaged(path, f"is damaged: {name} needs {promised_bytes:,} bytes, {size_bytes:,} are there")
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    available = promised_bytes // dtype.itemsize
    if tensor.size_bytes and last >= available:
        raise damaged(path, f"is damaged: {name} reaches to element {last:,} of a storage of {available:,}")
    strides = tuple(min(stride, available) for stride in tensor.strides)  # that of a size of 1 may be anything
    array = array_at(data, dtype, start + tensor.offset * dtype.itemsize, tensor.shape, strides)
    return np.asarray(np.negative(array)) if tensor.is_negated else array
