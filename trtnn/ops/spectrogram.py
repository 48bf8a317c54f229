"""Spectra of short stretches of a signal, one after the other, and the signal of such."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trtnn.dtypes import float32
from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Array, expect_floating
from trtnn.ops._promotion import cast
from trtnn.ops.arithmetic import add
from trtnn.ops.complex import Complex, view_as_complex, view_as_real
from trtnn.ops.division import div
from trtnn.ops.fft import LONGEST, inverse_matrix, spectrum_matrix
from trtnn.ops.gathering import windows
from trtnn.ops.indexing import narrow
from trtnn.ops.matrix import matmul
from trtnn.ops.padding import pad
from trtnn.ops.shaping import movedim, reshape, squeeze, unsqueeze
from trtnn.ops.tiling import expand
from trtnn.shapes.symbolic import Length


def _expect_sizes(n_fft: int, hop_length: int, win_length: int, what: str) -> None:
    if not 1 <= win_length <= n_fft or hop_length < 1:
        raise ArgumentError(
            f"{what} takes a hop_length from 1 on and a win_length from 1 to n_fft",
            f"received n_fft {n_fft}, hop_length {hop_length}, win_length {win_length}",
        )
    if n_fft > LONGEST:
        raise UnsupportedError(f"{what} of n_fft {n_fft}", f"as a product of matrices it is done up to {LONGEST}")


def _window(window: Array | None, win_length: int, n_fft: int, like: Tensor, what: str) -> np.ndarray:
    """Return the window in the middle of n_fft places."""
    held = np.ones(win_length) if window is None else np.asarray(like.graph.held(window), np.float64)
    if held.shape != (win_length,):
        raise ShapeError(f"{what} takes a window of win_length {win_length}, not of shape {held.shape}")
    before = (n_fft - win_length) // 2
    return np.pad(held, (before, n_fft - win_length - before))


def stft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Array | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor | Complex:
    """Return the short-time Fourier transform: the spectra of windows of n_fft samples, carried in fp32.

    Each stretch is weighed by the window and multiplied by a matrix that was computed in float64.

    Args:
        input: (time,) or (batch, time).
        n_fft: up to 4096.
        hop_length: n_fft // 4 where None.
        win_length: n_fft where None.
        window: (win_length,), of numbers that are known while tracing; ones where None.
        center: whether the first stretch has its middle at the first sample, with n_fft // 2 put around by
            ``pad_mode``.
        normalized: whether spectra are divided by √n_fft.
        onesided: whether the n_fft // 2 + 1 places are given that the others mirror, as where None.
        return_complex: True for a :class:`trtnn.ops.complex.Complex`, False for a last dimension of 2.

    Returns:
        (places, stretches) or (batch, places, stretches), and 2 behind where ``return_complex`` is false.

    Raises:
        ArgumentError: no ``return_complex``, or sizes that do not fit together.
        UnsupportedError: n_fft is more than 4096, or ``align_to_window``.
        ShapeError: the input is no signal, or shorter than n_fft, or the window is of another length.
    """
    if return_complex is None:
        raise ArgumentError("stft takes return_complex, as in torch", "False gives a last dimension of 2")
    if align_to_window:
        raise UnsupportedError("stft with align_to_window", "it is left out where it is false")
    expect_floating(input, "stft")
    if input.ndim not in (1, 2):
        raise ShapeError(f"stft in {input.graph.where} takes (time,) or (batch, time), not {input.shape}")
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    _expect_sizes(n_fft, hop, length, "stft")
    signal = cast(input if input.ndim == 2 else unsqueeze(input, 0), float32)
    if center:
        signal = pad(signal, (n_fft // 2, n_fft // 2), pad_mode)
    if not signal.shape[1] >= n_fft:
        raise ShapeError(f"stft of n_fft {n_fft} in {input.graph.where}: the signal is shorter", f"{signal.shape[1]}")
    places = n_fft if onesided is False else n_fft // 2 + 1
    matrix = spectrum_matrix(n_fft, n_fft, places) * _window(window, length, n_fft, input, "stft")[:, None]
    if normalized:
        matrix /= math.sqrt(n_fft)
    spectra = matmul(windows(signal, 1, n_fft, hop), matrix.astype(np.float32))  # (batch, stretches, 2 · places)
    parts = [movedim(narrow(spectra, 2, start, places), 2, 1) for start in (0, places)]
    result = Complex(*(part if input.ndim == 2 else squeeze(part, 0) for part in parts))
    return result if return_complex else view_as_real(result)


def istft(
    input: Tensor | Complex,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Array | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """Return the signal whose :func:`stft` the input is, by overlapping and adding.

    Each spectrum goes back to its samples, which are weighed by the window and added up.

    The sum is divided by that of the windows' squares.

    Args:
        input: (..., places, stretches), or a Tensor with a last dimension of 2 for the two parts.
        length: how long the signal is, cut off or with zeros behind; what the stretches reach where None.

    Raises:
        ArgumentError: the windows leave places that none reaches.
    """
    if return_complex:
        raise UnsupportedError("istft with return_complex", "the signal is real")
    if not isinstance(input, Complex):
        input = view_as_complex(input)
    if input.ndim not in (2, 3):
        raise ShapeError(f"istft takes (places, stretches) or (batch, places, stretches), not {input.shape}")
    hop = n_fft // 4 if hop_length is None else hop_length
    win_length = n_fft if win_length is None else win_length
    _expect_sizes(n_fft, hop, win_length, "istft")
    places = n_fft // 2 + 1
    if onesided is None:
        onesided = input.shape[-2] != n_fft
    expected = places if onesided else n_fft
    if input.shape[-2] != expected:
        raise ShapeError(f"istft of n_fft {n_fft} takes {expected} places, not {input.shape}")
    weights = _window(window, win_length, n_fft, input.real, "istft")
    real, imag = (
        movedim(narrow(cast(part if part.ndim == 3 else unsqueeze(part, 0), float32), 1, 0, places), 1, 2)
        for part in (input.real, input.imag)
    )
    matrix = inverse_matrix(n_fft, places) * weights / (math.sqrt(n_fft) if normalized else n_fft)
    # Two products: TensorRT 8.6 gives other numbers where scaled parts are joined before one.
    of_real, of_imag = np.split(matrix.astype(np.float32), [places])
    frames = add(matmul(real, of_real), matmul(imag, of_imag))  # (batch, stretches, n_fft)
    count = frames.shape[1]
    total = _overlapped(frames, hop)
    if isinstance(count, int):
        envelope = input.real.graph.constant(_envelope(weights, hop, count)[None], float32)
    else:
        squares = input.real.graph.constant((weights**2)[None, None], float32)
        envelope = _overlapped(expand(squares, (1, count, n_fft)), hop)
    reach = n_fft + hop * (count - 1)
    start = n_fft // 2 if center else 0
    end = reach - n_fft // 2 if center else reach
    if length is not None:  # it may go on into what was put around
        end = start + length if start + length <= reach else reach
    _expect_reached(weights, hop, count, start, end)
    total, envelope = (narrow(part, 1, start, end - start) for part in (total, envelope))
    signal = div(total, envelope)
    if length is not None and not length <= end - start:
        signal = pad(signal, (0, length - (end - start)))
    return signal if input.ndim == 3 else squeeze(signal, 0)


def _overlapped(frames: Tensor, hop: int) -> Tensor:
    """Return the sum of stretches that begin ``hop`` apart, (batch, stretches, n), as (batch, samples).

    Each is cut into pieces of ``hop``, and piece r of all lies r pieces further on.
    """
    batch, count, n = frames.shape
    pieces = -(-n // hop)
    frames = pad(frames, (0, pieces * hop - n)) if pieces * hop > n else frames
    total: Any = None
    for r in range(pieces):
        piece = narrow(frames, 2, r * hop, hop)
        piece = pad(piece, (0, 0, r, pieces - 1 - r))
        total = piece if total is None else add(total, piece)
    return narrow(reshape(total, (batch, (count + pieces - 1) * hop)), 1, 0, n + hop * (count - 1))


def _envelope(weights: np.ndarray, hop: int, count: int) -> np.ndarray:
    """Return the sum of the squares of windows that begin ``hop`` apart."""
    envelope = np.zeros(len(weights) + hop * (count - 1))
    for i in range(count):
        envelope[i * hop : i * hop + len(weights)] += weights**2
    return envelope


def _expect_reached(weights: np.ndarray, hop: int, count: Length, start: Length, end: Length) -> None:
    """Raise where the windows' squares sum up to nothing at a place that is given."""
    envelope = _envelope(weights, hop, count if isinstance(count, int) else 2 * -(-len(weights) // hop))
    kept = envelope[start : end if isinstance(end, int) else len(envelope) - start]
    if not kept.size or np.abs(kept).min() <= 1e-11:
        raise ArgumentError("istft: the windows leave places that none of them reaches", "torch divides by their sum")
