"""Tensors of numbers that follow a formula: the windows of signal processing, and powers at equal distances."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from trtnn.dtypes import as_dtype, bool_
from trtnn.errors import ArgumentError, DTypeError
from trtnn.graph.tensor import Tensor
from trtnn.ops.creation import tensor


def logspace(start: float, end: float, steps: int, base: float = 10.0, *, dtype: Any = None) -> Tensor:
    """Return ``steps`` powers of ``base``, whose exponents go from start to end at equal distances.

    Raises:
        ArgumentError: ``steps`` is below 1.
        DTypeError: the ``dtype`` is bool.
    """
    if steps < 1:
        raise ArgumentError(f"logspace of {steps} numbers holds nothing")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ArgumentError(f"logspace from {start} to {end}: its ends are finite")
    kind = None if dtype is None or steps == 1 else as_dtype(dtype)
    if kind is bool_:
        raise DTypeError("logspace as bool", "it takes a type of numbers")
    if kind is not None and not kind.is_floating_point:
        start, end = int(start), int(end)  # as torch, whose exponents are of the result's type
    return tensor(np.power(float(base), np.linspace(start, end, steps)), dtype=dtype)


def _window(length: int, periodic: bool, dtype: Any, what: str, formula: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """Return a window from its formula of where a place lies, 0 at the start and 1 at the end.

    Raises:
        ArgumentError: it holds nothing.
        DTypeError: it is not to be floating.
    """
    if length < 1:
        raise ArgumentError(f"{what} of {length} places holds nothing")
    if dtype is not None and not as_dtype(dtype).is_floating_point:
        raise DTypeError(f"{what} is floating, not {as_dtype(dtype).name}")
    if length == 1:
        return tensor(np.ones(1), dtype=dtype)
    return tensor(formula(np.arange(length) / (length if periodic else length - 1)), dtype=dtype)


def _cosine(at: np.ndarray, times: int = 1) -> np.ndarray:
    return np.cos(2 * np.pi * times * at)


def hann_window(window_length: int, periodic: bool = True, *, dtype: Any = None) -> Tensor:
    """Return 1/2 - 1/2 · cos(2πn / N) for n = 0, 1, ..., window_length - 1.

    Args:
        periodic: whether N is window_length, so that the window goes on in the next one; else window_length - 1.

    Raises:
        ArgumentError: a length below 1.
        DTypeError: a dtype that holds no fractions.
    """
    return _window(window_length, periodic, dtype, "hann_window", lambda at: 0.5 - 0.5 * _cosine(at))


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *, dtype: Any = None
) -> Tensor:
    """Return alpha - beta · cos(2πn / N); N as of :func:`hann_window`."""
    return _window(window_length, periodic, dtype, "hamming_window", lambda at: alpha - beta * _cosine(at))


def blackman_window(window_length: int, periodic: bool = True, *, dtype: Any = None) -> Tensor:
    """Return 0.42 - 0.5 · cos(2πn / N) + 0.08 · cos(4πn / N); N as of :func:`hann_window`."""
    return _window(
        window_length, periodic, dtype, "blackman_window", lambda at: 0.42 - 0.5 * _cosine(at) + 0.08 * _cosine(at, 2)
    )


def bartlett_window(window_length: int, periodic: bool = True, *, dtype: Any = None) -> Tensor:
    """Return 1 - |2n / N - 1|, a triangle; N as of :func:`hann_window`."""
    return _window(window_length, periodic, dtype, "bartlett_window", lambda at: 1 - np.abs(2 * at - 1))


def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None) -> Tensor:
    """Return I0(beta · sqrt(1 - (2n / N - 1)²)) / I0(beta); N as of :func:`hann_window`."""

    def formula(at: np.ndarray) -> np.ndarray:
        return np.i0(beta * np.sqrt(np.maximum(0, 1 - (2 * at - 1) ** 2))) / np.i0(beta)

    return _window(window_length, periodic, dtype, "kaiser_window", formula)
