"""Complex numbers, Fourier transforms and regions of images, where the table of operations does not reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers import FP16_TOLERANCE, QUICKLY, assert_close, check_dynamic, message_of, numbers, run, trace
from trtnn import Dim, Input
from trtnn import functional as F
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError

TIME = Dim("time", 800, 1600, 4000)
BATCH = Dim("batch", 1, 2, 4)


def _rotated(ops: Any, x: Any, freqs_cis: Any) -> Any:
    """Rotary embeddings as language models write them."""
    pairs = ops.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return ops.view_as_real(pairs * freqs_cis).flatten(3).type_as(x)


@pytest.mark.parametrize("kind", ["NumPy", "torch"])
@pytest.mark.parametrize("ops", [F, torch], ids=["trtnn", "torch"])
def test_rotary_embeddings_as_they_are_written(kind: str, ops: Any) -> None:
    x = numbers(2, 3, 4, 6)
    freqs = torch.polar(torch.ones(4, 3), torch.from_numpy(numbers(4, 3)))
    given = freqs if kind == "torch" else freqs.numpy()
    assert_close(run(lambda x: _rotated(ops, x, given), x), _rotated(torch, torch.from_numpy(x), freqs))
    for fp16 in (False, True):
        trace(lambda x: _rotated(ops, x, given), x, fp16=fp16).build(**QUICKLY)


def _beside_numbers(ops: Any, x: Any) -> list[Any]:
    phase = 1j * x
    results = [
        phase, x * 2j, x + 1j, 0.5j + x, x - (1 + 2j), (1 + 2j) - x, x / (1 - 2j), (3 - 1j) / (x + 9), phase * (2 + 1j),
        ops.exp(phase), (phase - 0.5).exp(), x * (ops.cos(x) + 1j * ops.sin(x)), phase + 1j,
    ]  # fmt: skip
    return [ops.view_as_real(result) for result in results]


def test_complex_numbers_of_python() -> None:
    x = numbers(3, 4)
    assert_close(run(lambda x: _beside_numbers(F, x), x), _beside_numbers(torch, torch.from_numpy(x)))
    trace(lambda x: _beside_numbers(F, x), x, fp16=True).build(**QUICKLY)
    whole = np.arange(4)
    assert_close(run(lambda x: F.view_as_real(x * 2j), whole), torch.view_as_real(torch.from_numpy(whole) * 2j))


def _functions_of_parts(ops: Any, x: Any) -> list[Any]:
    z = x * (1 - 2j)
    results = [
        ops.permute(z, (2, 0, 1)), ops.transpose(z, 0, -1), ops.reshape(z, (4, -1)), ops.flatten(z, 1),
        ops.unsqueeze(z, 0), ops.squeeze(z[:1], 0), ops.select(z, 1, 2), ops.sum(z, dim=(0, 2), keepdim=True),
        ops.mean(z, axis=1), ops.clone(z),
    ]  # fmt: skip
    return [ops.view_as_real(result) for result in results]


def test_functions_that_are_done_with_both_parts_of_complex_numbers() -> None:
    x = numbers(2, 3, 4)
    assert_close(run(lambda x: _functions_of_parts(F, x), x), _functions_of_parts(torch, torch.from_numpy(x)))
    message = message_of(DTypeError, lambda: trace(lambda x: F.relu(x * 1j), numbers(3)))
    assert "relu takes a Tensor as input, not a trtnn.Complex" in message


def test_complex_numbers_of_python_beside_a_dynamic_batch() -> None:
    sizes = [(1, 3), (4, 3)]
    check_dynamic(lambda x: _beside_numbers(F, x), lambda x: _beside_numbers(torch, x), (BATCH, 3), sizes)


def test_rotary_embeddings_of_a_dynamic_batch() -> None:
    freqs = torch.polar(torch.ones(4, 3), torch.from_numpy(numbers(4, 3)))
    sizes = [(1, 3, 4, 6), (4, 3, 4, 6)]
    check_dynamic(lambda x: _rotated(F, x, freqs), lambda x: _rotated(torch, x, freqs), (BATCH, 3, 4, 6), sizes)


@pytest.mark.parametrize("n", [1, 2, 5, 127, 400, 1024, 4096])
def test_transforms_are_as_exact_as_fp32(n: int) -> None:
    x = numbers(3, n)

    def compared(ops: Any, x: Any) -> list[Any]:
        spectrum = ops.fft.rfft(x)
        whole = ops.fft.fft(x) if n <= 1024 else spectrum
        return [spectrum.real, spectrum.imag, spectrum.abs(), whole.imag, ops.fft.irfft(spectrum, n)]

    exact = [value.numpy() for value in compared(torch, torch.from_numpy(x).double())]
    scale = np.sqrt(np.mean(np.square(exact[2])))
    for result, expected in zip(run(lambda x: compared(F, x), x), exact, strict=True):
        assert np.abs(result - expected).max() < 1e-5 * max(scale, 1)  # processors add in orders of their own


def test_spectra_do_not_overflow_in_fp16() -> None:
    x = np.full((1, 512), 200, np.float32)
    result = trace(lambda x: F.fft.rfft(x).abs(), x, fp16=True).run(x)
    assert_close(result, torch.fft.rfft(torch.from_numpy(x)).abs(), absolute=1e-2)  # of 1e5, and of zeros beside it


def _spectrogram(ops: Any, x: Any) -> Any:
    return ops.stft(x, 400, 160, window=ops.hann_window(400), normalized=True, return_complex=True).abs() ** 2


def _there_and_back(ops: Any, x: Any) -> Any:
    window = ops.hann_window(400)
    return ops.istft(ops.stft(x, 400, 100, window=window, return_complex=True), 400, 100, window=window)


def test_torchs_own_functions_mean_the_same() -> None:
    x = numbers(2, 3, 8)

    def changed(x: Any) -> Any:
        return torch.fft.ifftshift(torch.fft.irfft(torch.fft.rfft(x) * 2j) + torch.abs(torch.fft.fft(x)), 1)

    assert_close(run(changed, x), changed(torch.from_numpy(x)))


@pytest.mark.parametrize(("function", "half"), [(_spectrogram, 2e-2), (_there_and_back, FP16_TOLERANCE)])
def test_signals_of_a_length_known_at_run_time(function: Any, half: float) -> None:
    sizes = [(2, 800), (2, 1601), (2, 4000)]
    check_dynamic(lambda x: function(F, x), lambda x: function(torch, x), (2, TIME), sizes, fp16_tolerance=half)


def test_a_signal_comes_back() -> None:
    x = numbers(2, 2000)
    assert_close(run(lambda x: _there_and_back(F, x), x), torch.from_numpy(x))
    assert_close(run(lambda x: F.istft(F.stft(x, 16, return_complex=False), 16, length=1990), x), x[:, :1990])


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (F.view_as_complex, ShapeError, "a last dimension of 2, not (3, 40)"),
        (lambda x: F.view_as_complex(x[:, :2]), ArgumentError, "of complex numbers view_as_real(x) is one"),
        (lambda x: F.view_as_complex(x[:, :2]).log(), AttributeError, "take x.real, x.imag or view_as_real(x)"),
        (lambda x: F.relu(F.view_as_complex(x[:, :2])), DTypeError, "relu takes a Tensor as input"),
        (lambda x: F.view_as_complex(x[:, :2]) + "a", DTypeError, "beside complex numbers"),
        (F.view_as_real, DTypeError, "takes complex numbers, not a trtnn.Tensor"),
        (F.imag, UnsupportedError, "imag of a real tensor"),
        (lambda x: F.fft.rfft(x, 5000), UnsupportedError, "done up to 4096"),
        (lambda x: F.fft.rfft(x, norm="half"), ArgumentError, "known: backward, ortho, forward"),
        (lambda x: F.fft.rfft(x, 0), ArgumentError, "a length from 1 on, not 0"),
        (lambda x: F.fft.rfft(F.fft.fft(x)), DTypeError, "rfft takes a Tensor as input, not a trtnn.Complex"),
        (lambda x: F.fft.hfft(x[0]), AttributeError, "trtnn.functional.fft has no hfft"),
        (lambda x: F.stft(x, 16), ArgumentError, "takes return_complex"),
        (lambda x: F.stft(x, 100, return_complex=True), ShapeError, "at most 39"),
        (lambda x: F.stft(x, 100, center=False, return_complex=True), ShapeError, "the signal is shorter"),
        (lambda x: F.stft(x, 16, window=F.ones(5), return_complex=True), ShapeError, "a window of win_length 16"),
        (lambda x: F.stft(x, 16, win_length=17, return_complex=True), ArgumentError, "a win_length from 1 to n_fft"),
        (lambda x: F.istft(F.stft(x, 16, return_complex=True), 8), ShapeError, "takes 5 places"),
        (
            lambda x: F.istft(
                F.stft(x, 16, return_complex=True, window=F.hann_window(16)), 16, window=F.hann_window(16), center=False
            ),
            ArgumentError,
            "places that none of them reaches",
        ),
        (lambda x: F.roi_align(x[None, None], x[:, :5], 2), UnsupportedError, "give a number from 1 on"),
        (lambda x: F.roi_align(x[None, None], x, 2, 1.0, 2), ShapeError, "boxes of (boxes, 5), not (3, 40)"),
        (lambda x: F.roi_align(x[None, None], [x], 2, 1.0, 2), ShapeError, "(boxes, 4) for each image"),
    ],
)
def test_errors(function: Any, error: type[Exception], words: str) -> None:
    assert words in message_of(error, trace, function, (3, 40))


def test_a_spectrum_of_a_length_known_at_run_time_is_refused() -> None:
    message = message_of(UnsupportedError, trace, lambda x: F.fft.rfft(x).abs(), Input((2, TIME)))
    assert "time is 800 to 4000" in message


# -- regions -----------------------------------------------------------------------------------------------------------


def _read(image: np.ndarray, y: float, x: float) -> Any:
    """Return an image's value at a place, as torchvision's kernel defines it."""
    height, width = image.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    (top, bottom, down), (left, right, across) = (
        (length - 1, length - 1, 0.0)
        if int(max(at, 0)) >= length - 1
        else (int(max(at, 0)), int(max(at, 0)) + 1, max(at, 0) % 1)
        for at, length in ((y, height), (x, width))
    )
    upper = image[:, top, left] * (1 - across) + image[:, top, right] * across
    lower = image[:, bottom, left] * (1 - across) + image[:, bottom, right] * across
    return upper * (1 - down) + lower * down


def _roi_align(x: np.ndarray, boxes: np.ndarray, size: Any, scale: float, ratio: int, aligned: bool) -> np.ndarray:
    """The published formula, one sample after the other, in float64."""
    rows, columns = size
    result = np.zeros((len(boxes), x.shape[1], rows, columns))
    for k, (image, *corners) in enumerate(boxes.astype(np.float64)):
        x1, y1, x2, y2 = (corner * scale - 0.5 * aligned for corner in corners)
        width, height = (n if aligned else max(n, 1.0) for n in (x2 - x1, y2 - y1))
        for i, j, u, v in np.ndindex(rows, columns, ratio, ratio):
            y = y1 + (i + (u + 0.5) / ratio) * height / rows
            at = x1 + (j + (v + 0.5) / ratio) * width / columns
            result[k, :, i, j] += _read(x[int(image)].astype(np.float64), y, at) / ratio**2
    return result


IMAGE = numbers(2, 3, 9, 7)
BOXES = np.float32(
    [
        [0, -3, -4, 5, 6],
        [1, 2, 3, 9, 12],
        [1, 0, 0, 0, 0],
        [0, 3, 2, 4.5, 8],
        [1, 6, 6, 20, 30],
        [0, 5, 5, 2, 3],
        [0, -1, -1, 7, 9],
    ]
)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(("size", "ratio", "scale"), [((2, 3), 2, 1.0), ((1, 1), 1, 0.5), ((4, 2), 3, 0.25)])
def test_regions(aligned: bool, size: Any, ratio: int, scale: float) -> None:
    expected = _roi_align(IMAGE, BOXES, size, scale, ratio, aligned).astype(np.float32)
    for fp16, tolerance in ((False, 1e-5), (True, 2e-3)):
        network = trace(lambda x, b: F.roi_align(x, b, size, scale, ratio, aligned), IMAGE, BOXES, fp16=fp16)
        assert_close(network.run(IMAGE, BOXES), expected, tolerance)
        network.build(**QUICKLY)


def test_regions_listed_by_image() -> None:
    numbered = BOXES.copy()
    numbered[:, 0] = [0, 0, 0, 1, 1, 1, 1]
    result = run(lambda x, b: F.roi_align(x, [b[:3], b[3:]], 2, 1.0, 2), IMAGE, BOXES[:, 1:].copy())
    assert_close(result, _roi_align(IMAGE, numbered, (2, 2), 1.0, 2, False).astype(np.float32))


def test_regions_of_sizes_known_at_run_time() -> None:
    boxes, height, width = Dim("boxes", 1, 7, 20), Dim("height", 4, 9, 20), Dim("width", 1, 7, 20)
    spec = Input((BATCH, 3, height, width)), Input((boxes, 5))
    network = trace(lambda x, b: F.roi_align(x, b, (2, 3), 1.0, 2), *spec)
    for image, some in ((IMAGE, BOXES), (IMAGE[:1, :, :4, :1].copy(), BOXES[:1])):
        expected = _roi_align(image, some, (2, 3), 1.0, 2, False).astype(np.float32)
        assert_close(network.run(image, some), expected)
    network.build(**QUICKLY)
