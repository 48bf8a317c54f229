"""The functions of ``torch.fft``, as ``trtnn.functional.fft``: Fourier transforms as products of matrices.

The matrices are computed in float64 and kept in fp32, and so is what they give, also of half numbers: a spectrum is
larger than what it is made of. A transform of n places takes n² products, and is done up to 4096. Complex numbers are a
:class:`trtnn.ops.complex.Complex`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trtnn.dtypes import float32
from trtnn.errors import ArgumentError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Dims, normalize_dim, normalize_dims
from trtnn.ops._promotion import cast
from trtnn.ops.arithmetic import add, sub
from trtnn.ops.complex import Complex
from trtnn.ops.creation import typed_constant
from trtnn.ops.indexing import narrow
from trtnn.ops.matrix import matmul
from trtnn.ops.missing import explain
from trtnn.ops.shaping import movedim
from trtnn.ops.tiling import roll
from trtnn.shapes.symbolic import Length, Size, ranges

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]

LONGEST = 4096  # the side of the largest matrix
_NORMS = ("backward", "ortho", "forward")


def angles(n: int, rows: int, columns: int) -> np.ndarray:
    """Return 2π · i · k / n for rows i and columns k, each within one turn."""
    return 2 * np.pi / n * (np.outer(np.arange(rows), np.arange(columns)) % n)


def spectrum_matrix(n: int, rows: int, columns: int) -> np.ndarray:
    """Return what real numbers are multiplied by for their spectrum: (rows, 2 · columns), the real parts first."""
    turned = angles(n, rows, columns)
    return np.concatenate([np.cos(turned), -np.sin(turned)], 1)


def inverse_matrix(n: int, rows: int) -> np.ndarray:
    """Return what half a spectrum, its real and then its imaginary parts, is multiplied by for n times the numbers.

    Args:
        rows: how many places of it there are, at most n // 2 + 1; each but the first, and the middle one of an even n,
            stands for two.
    """
    turned = angles(n, rows, n)
    often = np.full((rows, 1), 2.0)
    often[0] = 1
    if n % 2 == 0 and rows > n // 2:
        often[n // 2] = 1
    return np.concatenate([often * np.cos(turned), -often * np.sin(turned)], 0)


def _scale(n: int, norm: str | None, inverse: bool) -> float:
    norm = norm or "backward"
    if norm not in _NORMS:
        raise ArgumentError(f"a Fourier transform knows no norm {norm!r}", f"known: {', '.join(_NORMS)}")
    if norm == "ortho":
        return n**-0.5
    return 1 / n if (norm == "backward") == inverse else 1.0


def _length(n: Length, input: Tensor, what: str) -> int:
    if isinstance(n, Size):
        raise UnsupportedError(
            f"{what} of a length of {n} in {input.graph.where}", "its matrix is made while tracing", ranges([n])
        )
    if n < 1:
        raise ArgumentError(f"{what} takes a length from 1 on, not {n}")
    if n > LONGEST:
        raise UnsupportedError(
            f"{what} of a length of {n} in {input.graph.where}", f"as a product of matrices it is done up to {LONGEST}"
        )
    return n


def _rows(input: Tensor, axis: int, most: int) -> Tensor:
    """Return at most so many elements along an axis, as fp32 and as the last dimension."""
    length = input.shape[axis]
    kept = narrow(input, axis, 0, most) if isinstance(length, int) and length > most else input
    return movedim(cast(kept, float32), axis, -1)


def _axis(input: Tensor | Complex, dim: int, what: str) -> int:
    if not input.shape:
        raise ArgumentError(f"{what} takes at least one dimension")
    return normalize_dim(dim, input.ndim)


def _static_length(input: Tensor, axis: int, what: str) -> int:
    return _length(input.shape[axis], input, what)


def _real_to_half(input: Tensor, n: int | None, dim: int, norm: str | None, what: str, whole: bool) -> Complex:
    axis = _axis(input, dim, what)
    length = _static_length(input, axis, what)
    n = length if n is None else _length(n, input, what)
    line = _rows(input, axis, n)
    count = n if whole else n // 2 + 1
    matrix = spectrum_matrix(n, line.shape[-1], count) * _scale(n, norm, False)
    spectrum = matmul(line, matrix.astype(np.float32))
    return Complex(*(movedim(narrow(spectrum, -1, start, count), -1, axis) for start in (0, count)))


def _complex_to_complex(input: Complex, n: int | None, dim: int, norm: str | None, what: str, inverse: bool) -> Complex:
    axis = _axis(input, dim, what)
    length = _static_length(input.real, axis, what)
    n = length if n is None else _length(n, input.real, what)
    real, imag = (_rows(part, axis, n) for part in (input.real, input.imag))
    matrix = (spectrum_matrix(n, real.shape[-1], n) * _scale(n, norm, inverse)).astype(np.float32)
    if inverse:
        matrix[:, n:] *= -1
    a, b = (matmul(part, matrix) for part in (real, imag))
    parts = (
        sub(narrow(a, -1, 0, n), narrow(b, -1, n, n)),
        add(narrow(a, -1, n, n), narrow(b, -1, 0, n)),
    )
    return Complex(*(movedim(part, -1, axis) for part in parts))


def fft(input: Tensor | Complex, n: int | None = None, dim: int = -1, norm: str | None = None) -> Complex:
    """Return the discrete Fourier transform along a dimension: Σ x[j] · exp(-2πi · j · k / n).

    Args:
        n: how long the input is taken to be, cut off or with zeros behind.
        norm: ``"backward"``, which leaves the sum as it is and divides the inverse by n; ``"forward"``, which divides
            it; or ``"ortho"``, which divides both by √n.

    Raises:
        UnsupportedError: the length is more than 4096, or known only when the network runs.
    """
    if isinstance(input, Complex):
        return _complex_to_complex(input, n, dim, norm, "fft", False)
    return _real_to_half(input, n, dim, norm, "fft", True)


def ifft(input: Tensor | Complex, n: int | None = None, dim: int = -1, norm: str | None = None) -> Complex:
    """Return the inverse of :func:`fft`: Σ x[k] · exp(2πi · j · k / n) / n.

    The arguments and errors are those of :func:`fft`.
    """
    if not isinstance(input, Complex):
        spectrum = _real_to_half(input, n, dim, None, "ifft", True)
        return spectrum.conj() * _scale(_static_length(spectrum.real, _axis(input, dim, "ifft"), "ifft"), norm, True)
    return _complex_to_complex(input, n, dim, norm, "ifft", True)


def rfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Complex:
    """Return the first n // 2 + 1 places of :func:`fft` of real numbers; the others are their conjugates."""
    return _real_to_half(input, n, dim, norm, "rfft", False)


def irfft(input: Tensor | Complex, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """Return the real numbers whose :func:`rfft` the input is.

    Args:
        n: how many real numbers come; 2 · (places - 1) where None.
    """
    axis = _axis(input, dim, "irfft")
    real, imag = (input.real, input.imag) if isinstance(input, Complex) else (input, None)
    places = _static_length(real, axis, "irfft")
    n = _length(2 * (places - 1) if n is None else n, real, "irfft")
    parts = [_rows(part, axis, n // 2 + 1) for part in (real, imag) if part is not None]
    count = parts[0].shape[-1]
    matrix = (inverse_matrix(n, count) * _scale(n, norm, True)).astype(np.float32)
    numbers = matmul(parts[0], matrix[:count])
    if imag is not None:
        numbers = add(numbers, matmul(parts[1], matrix[count:]))
    return movedim(numbers, -1, axis)


def _sizes(input: Tensor | Complex, s: Sequence[int] | None, dim: Dims, what: str) -> list[tuple[int | None, int]]:
    """Return how long the input is taken to be along each dimension, and which that is."""
    if dim is None:
        dims = range(input.ndim) if s is None else range(input.ndim - len(s), input.ndim)
    else:
        dims = (dim,) if isinstance(dim, int) else tuple(dim)
        normalize_dims(dims, input.ndim)
    sizes = [None] * len(dims) if s is None else [None if n == -1 else n for n in s]
    if len(sizes) != len(dims) or not dims:
        raise ArgumentError(f"{what} takes a size for each dimension, not {s} for {tuple(dims)}")
    return list(zip(sizes, dims, strict=True))


def _along(
    transform: Callable[[Any, int | None, int, str | None], Complex],
    input: Tensor | Complex,
    sizes: Sequence[tuple[int | None, int]],
    norm: str | None,
) -> Complex:
    """Return an input that was transformed along dimensions, the last first."""
    *others, (n, axis) = sizes
    spectrum = transform(input, n, axis, norm)
    for n, axis in reversed(others):
        spectrum = transform(spectrum, n, axis, norm)
    return spectrum


def fftn(
    input: Tensor | Complex,
    s: Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Complex:
    """Return :func:`fft` along several dimensions, or along all where ``dim`` is None.

    Args:
        s: how long the input is taken to be along each; -1 leaves it.
    """
    return _along(fft, input, _sizes(input, s, dim, "fftn"), norm)


def ifftn(
    input: Tensor | Complex,
    s: Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Complex:
    """Return the inverse of :func:`fftn`."""
    return _along(ifft, input, _sizes(input, s, dim, "ifftn"), norm)


def rfftn(
    input: Tensor,
    s: Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Complex:
    """Return :func:`rfft` along the last of several dimensions, then :func:`fft` along the others."""
    *others, (n, axis) = _sizes(input, s, dim, "rfftn")
    half = rfft(input, n, axis, norm)
    return _along(fft, half, others, norm) if others else half


def irfftn(
    input: Tensor | Complex,
    s: Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Tensor:
    """Return the real numbers whose :func:`rfftn` the input is."""
    *others, (last, axis) = _sizes(input, s, dim, "irfftn")
    for n, other in others:
        input = ifft(input, n, other, norm)
    return irfft(input, last, axis, norm)


def fft2(
    input: Tensor | Complex,
    s: Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Complex:
    """Return :func:`fftn` along the last two dimensions."""
    return fftn(input, s, dim, norm)


def ifft2(
    input: Tensor | Complex,
    s: Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Complex:
    """Return :func:`ifftn` along the last two dimensions."""
    return ifftn(input, s, dim, norm)


def rfft2(
    input: Tensor, s: Sequence[int] | None = None, dim: int | Sequence[int] = (-2, -1), norm: str | None = None
) -> Complex:
    """Return :func:`rfftn` along the last two dimensions."""
    return rfftn(input, s, dim, norm)


def irfft2(
    input: Tensor | Complex,
    s: Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Tensor:
    """Return :func:`irfftn` along the last two dimensions."""
    return irfftn(input, s, dim, norm)


def _shifted(input: Tensor | Complex, dim: int | Sequence[int] | None, back: bool) -> Any:
    if isinstance(input, Complex):
        return Complex(*(_shifted(part, dim, back) for part in (input.real, input.imag)))
    axes = normalize_dims(dim, input.ndim)
    return roll(input, [(input.shape[axis] + back) // 2 for axis in axes], axes)


def fftshift(input: Tensor | Complex, dim: int | Sequence[int] | None = None) -> Tensor | Complex:
    """Move the frequency 0 to the middle of each of ``dim``, or of all dimensions where None."""
    return _shifted(input, dim, False)


def ifftshift(input: Tensor | Complex, dim: int | Sequence[int] | None = None) -> Tensor | Complex:
    """Move the frequency 0 from the middle back to the front, which undoes :func:`fftshift`."""
    return _shifted(input, dim, True)


def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None) -> Tensor:
    """Return the frequency of each place of :func:`fft`: 0, 1, ..., then those below 0, by 1 / (n · d)."""
    return typed_constant(np.fft.fftfreq(n, d), 0.0, dtype)


def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None) -> Tensor:
    """Return the frequency of each place of :func:`rfft`: 0, 1, ..., by 1 / (n · d)."""
    return typed_constant(np.fft.rfftfreq(n, d), 0.0, dtype)


def __getattr__(name: str) -> Any:
    raise AttributeError(explain("trtnn.functional.fft", name, () if name.startswith("_") else __all__, "fft."))
