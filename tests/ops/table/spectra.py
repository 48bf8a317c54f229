"""Operations of complex numbers, and Fourier transforms; what they give is compared as real numbers."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from tests.helpers import TORCH
from tests.ops.calls import BOOLS, FLOAT, MATRICES, Case, arrays, broadcasting, case, dim, exactly, maybe, mostly

SPECTRUM = 2e-2  # of the largest, in fp16, which the sums are made of
NORMS = maybe(st.sampled_from(["backward", "ortho", "forward", "none"]))
PAIRS = st.tuples(*[st.integers(1, 4)] * 2, st.just(2))


def _is_complex(value: Any) -> bool:
    return value.is_complex() if isinstance(value, torch.Tensor) else not hasattr(value, "dtype")


def parts(ops: Any, value: Any) -> Any:
    """Return complex numbers as real ones."""
    return ops.view_as_real(value.resolve_conj()) if _is_complex(value) else value


def given(ops: Any, x: Any, as_complex: bool) -> Any:
    """Return pairs of numbers as complex ones, or as they are."""
    return ops.view_as_complex(x.contiguous()) if as_complex else x


def of_complex(function: Any, *operands: Any, **arguments: Any) -> Case:
    """A row of a function of ``ops``, two tensors of complex numbers and a real one."""
    return case(
        arrays(FLOAT, PAIRS),
        lambda x: arrays(FLOAT, broadcasting(x.shape[:-1]).map(lambda shape: (*shape, 2))),
        function=lambda ops, a, b: parts(ops, function(ops, given(ops, a, True), given(ops, b, True), b[..., 0])),
        half=MATRICES,
    )


def transform(name: str, complex_too: bool = True, several: bool = False) -> Case:
    """A row of ``torch.fft``."""
    n = st.integers(1, 9) if not several else st.sampled_from([(3, 4), (5, -1), (2, 2)])
    return case(
        arrays(FLOAT, PAIRS if complex_too else st.tuples(*[st.integers(1, 8)] * 2)),
        as_complex=BOOLS if complex_too else st.just(False),
        norm=NORMS,
        **({"s": maybe(n)} if several else {"n": maybe(mostly(n, st.just(0))), "dim": maybe(dim)}),
        function=lambda ops, x, as_complex, **how: parts(
            ops, getattr(torch.fft if ops is TORCH else ops.fft, name)(given(ops, x, as_complex), **how)
        ),
        half=SPECTRUM,
    )


def shifted(name: str) -> Case:
    return case(
        arrays(shape=(2, 1, 3)),
        dim=maybe(dim),
        function=lambda ops, x, **how: getattr(torch.fft if ops is TORCH else ops.fft, name)(x, **how),
    )


FRAMES = {
    "hop_length": maybe(st.integers(1, 3)),
    "normalized": maybe(BOOLS),
    "center": maybe(BOOLS),
    "onesided": maybe(BOOLS),
}


def _there_and_back(ops: Any, x: Any, n: int, **how: Any) -> Any:
    window = ops.hamming_window(n, periodic=True) if ops is not TORCH else torch.hamming_window(n)
    spectra = ops.stft(x, n, window=window, return_complex=True, **how)
    return ops.istft(spectra * 2, n, window=window, **how)


CASES = {
    "view_as_complex": of_complex(lambda ops, a, b, r: a),
    "view_as_real": of_complex(lambda ops, a, b, r: [ops.view_as_real(a), ops.view_as_real(a.transpose(0, 1))][0]),
    "view_as_complex: sums": of_complex(lambda ops, a, b, r: (a + b) - (r - a) + (1 - b) + (r + a - 2j)),
    "view_as_complex: products": of_complex(lambda ops, a, b, r: a * b * r + r * a * 2 - a * 1j),
    "view_as_complex: quotients": of_complex(lambda ops, a, b, r: (a / (b + 8) + 1 / (b + 8)) / (r + 5)),
    "complex": of_complex(lambda ops, a, b, r: ops.complex(a.real, b.real) if a.shape == b.shape else a),
    "polar": of_complex(lambda ops, a, b, r: ops.polar(r, r)),
    "conj: of complex numbers": of_complex(lambda ops, a, b, r: ops.conj(a) * b.conj()),
    "abs: of complex numbers": of_complex(lambda ops, a, b, r: abs(a) + ops.abs(b) + b.abs()),
    "angle": case(arrays()),
    "angle: of complex numbers": of_complex(lambda ops, a, b, r: ops.angle(a) + a.angle()),
    "imag": of_complex(lambda ops, a, b, r: ops.imag(a) + ops.real(b) + b.imag),
    "imag: of real numbers": case(arrays(), function=lambda ops, x: ops.imag(x)),
    **{f"fft.{name}": transform(name) for name in ("fft", "ifft", "irfft")},
    "fft.rfft": transform("rfft", complex_too=False),
    **{f"fft.{name}": transform(name, several=True) for name in ("fft2", "ifft2", "irfft2", "fftn", "ifftn", "irfftn")},
    **{f"fft.{name}": transform(name, complex_too=False, several=True) for name in ("rfft2", "rfftn")},
    **{f"fft.{name}": shifted(name) for name in ("fftshift", "ifftshift")},
    **{
        f"fft.{name}": case(
            st.integers(1, 6),
            d=maybe(st.sampled_from([0.5, 2.0])),
            function=lambda ops, n, name=name, **how: getattr(torch.fft if ops is TORCH else ops.fft, name)(n, **how),
        )
        for name in ("fftfreq", "rfftfreq")
    },
    "stft": case(
        exactly(2, 20, kinds=FLOAT) | exactly(16, kinds=FLOAT),
        mostly(st.integers(4, 9), st.just(40)),
        **FRAMES,
        pad_mode=maybe(st.sampled_from(["reflect", "constant", "replicate", "circular"])),
        return_complex=mostly(BOOLS, st.none()),
        function=lambda ops, x, n, **how: parts(ops, ops.stft(x, n, **how)),
        half=SPECTRUM,
    ),
    "istft": case(
        exactly(2, 20, kinds=FLOAT) | exactly(16, kinds=FLOAT),
        st.integers(4, 9),
        **FRAMES,
        function=_there_and_back,
        half=SPECTRUM,
    ),
}
