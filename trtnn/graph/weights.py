"""The arrays that a network's layers were given: copies of weights, and weights that something was folded into."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trtnn.arrays import array_of_torch, is_torch
from trtnn.checkpoint.mapped import check_files, file_of
from trtnn.dtypes import DType, float16, float32
from trtnn.errors import ArgumentError, DTypeError, where
from trtnn.files import MappedFile
from trtnn.graph.loans import Loan
from trtnn.parameter import Buffer, Parameter
from trtnn.threads import processors

_MOST_THREADS = 8  # more do not multiply faster than memory takes the products
_ENOUGH_FOR_THREADS = 1 << 22  # bytes; less is filled before a thread has started
_SMALL = 1 << 16  # bytes of an array that is copied at once: TensorRT may look at numbers that make a shape


class Weights:
    """Arrays as TensorRT takes them: contiguous, in its type, and alive as long as the network that they are in.

    They are copies in any case: TensorRT reads them when the engine is built, and what becomes of a model's weights
    after its trace is not in the network.

    Attributes:
        arrays: all of them.
    """

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self._unfilled: list[Callable[[], None]] = []  # what fills those of them that are empty
        self._unfilled_bytes = 0
        self._lasting: dict[int, Any] = {}  # what holds the arrays of Parameters, by its id
        self._learned: set[int] = set()  # the ids of those of them that no Buffer holds
        self._converted: dict[tuple, np.ndarray] = {}  # copies of those, by address, shape and types
        self._loans: list[Loan] = []  # what TensorRT was given
        self._files: dict[int, MappedFile] = {}  # that arrays are views of, by id

    def held(self, value: Any, path: str) -> np.ndarray:
        """Return a NumPy array as it is, or the one that a Parameter or a torch tensor holds.

        Args:
            path: of the module that it is for, for the message.

        Raises:
            ArgumentError: the Parameter is empty.
            DTypeError: NumPy cannot hold what torch's tensor does.
            CheckpointError: the file that it is a view of was written to after it was loaded.
        """
        is_parameter = isinstance(value, Parameter)
        data = value.data if is_parameter else value
        if data is None:
            elsewhere = (
                "it is a constant that torch's checkpoints have not: "
                "load the .safetensors that save_source wrote first, then other weights"
            )
            raise ArgumentError(
                f"a parameter of shape {value.shape} in {where(path)} is empty",
                elsewhere if value.optional else "load a state dict",
            )
        if type(data) is not np.ndarray:
            data = array_of_torch(data) if is_torch(data) else np.asarray(data)
        if (file := file_of(data)) is not None and id(file) not in self._files:
            self._files[id(file)] = file
            check_files([file])
        if is_parameter and id(data) not in self._lasting:
            for owner in (data, data.base):  # of views NumPy names the owner
                self._lasting[id(owner)] = owner
                if not isinstance(value, Buffer):
                    self._learned.add(id(owner))
        return data

    def is_learned(self, data: np.ndarray) -> bool:
        """Return whether an array, or what it is a view of, is held by a Parameter that is no Buffer."""
        return id(data) in self._learned or (data.base is not None and id(data.base) in self._learned)

    def array(self, data: np.ndarray, dtype: DType, stored: DType, path: str, later: bool) -> np.ndarray:
        """Return a copy of an array; of what a Parameter holds there is one for all layers.

        Args:
            data: what :meth:`held` returned, or a view of it.
            dtype: the type that it is used in, which it has to fit in.
            stored: the type that the network has for that.
            path: of the module that it is for, for the message.
            later: whether it may be empty until :meth:`fill`.

        Raises:
            DTypeError: a finite value becomes infinite, or a whole number another.
        """
        if id(data) in self._lasting:
            key = (id(data), dtype.name)
        elif data.base is not None and id(data.base) in self._lasting:  # a part of it, or in another shape
            key = (data.__array_interface__["data"][0], data.shape, data.strides, data.dtype.char, dtype.name)
        else:  # it may hold other numbers soon
            return self._copied(data, dtype, stored, path, False)
        if key not in self._converted:
            self._converted[key] = self._copied(data, dtype, stored, path, later)
        elif not later:
            self.fill()
        return self._converted[key]

    def _copied(self, data: np.ndarray, dtype: DType, stored: DType, path: str, later: bool) -> np.ndarray:
        copied = _convert(data, dtype, stored, path)
        if copied is data or np.may_share_memory(copied, data):
            if later and data.nbytes > _SMALL:
                copied = np.empty_like(copied)  # of its type: a pickled array has one that is equal and not the same
                self._later(copied, functools.partial(np.copyto, copied, data))
            else:
                copied = copied.copy()
        self.arrays.append(copied)
        return copied

    def scaled(self, data: np.ndarray, factors: np.ndarray, dtype: DType, stored: DType, path: str) -> np.ndarray:
        """Return data · factors, multiplied in fp32; it is empty until :meth:`fill`.

        Args:
            data: of floating numbers.
            factors: of a shape that broadcasts to that of ``data``.
            dtype, stored, path: as for :meth:`array`.
        """
        product = np.empty(data.shape, stored.numpy)

        def fill() -> None:
            exact = product if dtype is float32 else np.empty(data.shape, np.float32)
            # Where rows of one factor are shorter than NumPy's buffer, it fills that with a factor for each element,
            # which takes as long as the product. With a small one it takes the factors as they are.
            usual = np.setbufsize(16)
            try:
                np.multiply(np.asarray(data, np.float32), factors, out=exact)
            finally:
                np.setbufsize(usual)
            if exact is not product:
                product[...] = _convert(exact, dtype, stored, path)

        self.arrays.append(product)
        self._later(product, fill)
        return product

    def _later(self, array: np.ndarray, fill: Callable[[], None]) -> None:
        self._unfilled.append(fill)
        self._unfilled_bytes += array.nbytes

    def fill(self) -> None:
        """Fill the arrays that were left empty, on several cores where there is much to do."""
        fills, self._unfilled = self._unfilled, []
        size, self._unfilled_bytes = self._unfilled_bytes, 0
        workers = min(len(fills), processors(), _MOST_THREADS)
        if workers < 2 or size < _ENOUGH_FOR_THREADS:
            _run(fills)
            return
        from concurrent.futures import ThreadPoolExecutor  # not for who only imports trtnn: 10 ms

        with ThreadPoolExecutor(workers) as pool:  # neighbours, which are often of one size, go to different threads
            for _ in pool.map(_run, [fills[first::workers] for first in range(workers)]):
                pass  # it raises what was raised there

    def lend(self, array: np.ndarray) -> np.ndarray:
        """Return an array as TensorRT is given it: its memory, which :meth:`free_with` may take back."""
        loan = Loan(array)
        self._loans.append(loan)
        return np.asarray(loan)

    def free_with(self, owner: Any) -> None:
        """Free the arrays when nobody holds an object any more, even where TensorRT still holds what it was given.

        In the bindings of TensorRT 8.6.0 a network and the Python objects of its layers hold each other, and the
        network all arrays that it was given: it is never freed, and no garbage collector sees it. 8.6.1 mended that.

        Args:
            owner: what everybody holds who reads the network: the graph of a trace that is nobody else's.
        """
        weakref.finalize(owner, _take_back, self._loans).atexit = False

    def finish(self) -> None:
        """Fill what is empty, and keep nothing but the arrays.

        Raises:
            CheckpointError: a file that one was copied of was written to after it was loaded.
        """
        self.fill()
        check_files(self._files.values())
        self._files.clear()
        self._converted.clear()
        self._lasting.clear()
        self._learned.clear()


def _take_back(loans: Sequence[Loan]) -> None:
    for loan in loans:
        loan.array = None


def _run(functions: Sequence[Callable[[], None]]) -> None:
    for function in functions:
        function()


def _convert(data: np.ndarray, dtype: DType, stored: DType, path: str) -> np.ndarray:
    """Return weights of the module at ``path`` in the type that they are stored in, checked for that they are used in.

    Raises:
        DTypeError: a finite value becomes infinite, or a whole number another.
    """
    converted = _convert_to(data, dtype, path)
    return converted if stored is dtype else _convert_to(data, stored, path)


def _convert_to(data: np.ndarray, dtype: DType, path: str) -> np.ndarray:
    if data.dtype is dtype.numpy and data.flags.c_contiguous:  # TensorRT takes no other object that is equal
        return data
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            converted = np.asarray(data, dtype.numpy, order="C")  # ascontiguousarray would make a 0-d array 1-d
    except OverflowError as error:  # Python's ints have no end
        raise DTypeError(f"weights of {where(path)} do not fit in {dtype.name}", f"such as {data.max()}") from error
    if dtype.is_floating_point and np.isfinite(converted).all():  # as nearly always: one pass
        return converted
    lost = np.isinf(converted) & np.isfinite(data) if dtype.is_floating_point else converted != data
    if lost.any():
        limits = np.finfo(dtype.numpy) if dtype.is_floating_point else np.iinfo(dtype.numpy)
        raise DTypeError(
            f"weights of {where(path)} do not fit in {dtype.name}",
            f"the largest is {np.abs(data[lost]).max():g}, {dtype.name} ends at {limits.max:g}"
            if dtype.is_floating_point
            else f"such as {data[lost].flat[0]:g}: {dtype.name} has whole numbers from {limits.min} to {limits.max}",
            *([f'keep the module in fp32: fp32_modules=("{path}",)'] if path and dtype is float16 else []),
        )
    return converted
