"""What an engine keeps of the plugin: bytes that come back, and no others."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from trtnn.plugins.dcnv2.kernel import _Layer

HEADER = 96


@pytest.fixture(scope="module")
def blob(emulated):
    layer = _Layer(6, 4, 3, 3, 2, 2, 1, 1, 1, 1, 2, 3, 0, 1, 0)
    weight, bias = np.arange(4 * 3 * 9, dtype=np.float32), np.arange(4, dtype=np.float32)
    size, write = ctypes.c_size_t(), emulated.functions.dcnv2_write_blob
    arguments = ctypes.byref(layer), ctypes.c_void_p(weight.ctypes.data), ctypes.c_void_p(bias.ctypes.data)
    assert write(*arguments, None, ctypes.byref(size)) == 0
    buffer = ctypes.create_string_buffer(size.value)
    assert write(*arguments, buffer, ctypes.byref(size)) == 0
    assert size.value == HEADER + 4 * (weight.size + bias.size)
    return buffer.raw


def refusal(library, data: bytes) -> str | None:
    """Return what is said against these bytes; None where they are taken."""
    if library.functions.dcnv2_check_blob(data, ctypes.c_size_t(len(data))) == 0:
        return None
    return library.functions.dcnv2_error().decode()


def test_every_byte_is_looked_at(emulated, blob):
    """Also what says nothing about lengths, such as the stride: a layer that computes something else is refused."""
    assert refusal(emulated, blob) is None
    for at in range(len(blob)):
        for bit in range(8) if at < HEADER else (at % 8,):
            damaged = bytearray(blob)
            damaged[at] ^= 1 << bit
            assert refusal(emulated, bytes(damaged)), f"byte {at}, bit {bit}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda blob: b"", "0 bytes, less than its header: it is truncated"),
        (lambda blob: blob[: HEADER - 1], "less than its header: it is truncated"),
        (lambda blob: blob[:HEADER], "it is truncated"),
        (lambda blob: blob[:-1], "it should have"),
        (lambda blob: blob + b"\0", "it should have"),
        (lambda blob: b"other" + blob[5:], "not trtnn's DCNv2: its first bytes are foreign"),
        (
            lambda blob: blob[:8] + b"\x01" + blob[9:],
            "has version 1, this library reads version 2: build the engine again",
        ),
        (lambda blob: blob[:-1] + b"\x55", "damaged: its checksum is wrong"),
    ],
)
def test_what_is_wrong_is_said(emulated, blob, change, words):
    assert words in refusal(emulated, change(blob))
