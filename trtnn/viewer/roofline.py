"""What the GPU here can do at most, by what its driver tells and NVIDIA's figures of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from trtnn.cuda import MULTIPROCESSORS, gpu_attribute, gpu_name, gpus
from trtnn.viewer.facts import Roofline


class Rates(NamedTuple):
    """What a multiprocessor computes in a clock, on GPUs of one architecture and of names that have a pattern in them.

    Attributes:
        capability: of the GPUs.
        names: the pattern. GPUs of one capability differ: some have no tensor cores, and GeForce's accumulate in fp32
            at half of the rate of others.
        per_clock: floating-point operations, two for each multiply-and-add, without sparsity. What is in fp32 is
            multiplied as TF32 where the GPU has it, and fp16 is accumulated in fp16, the fastest that it has.
    """

    capability: str
    names: str
    per_clock: Mapping[str, int]


_WITHOUT_TF32 = {"float32": 128, "float16": 1024, "int8": 2048}
_GEFORCE = {"float32": 256, "float16": 1024, "bfloat16": 512, "int8": 2048}
_WORKSTATION = {"float32": 512, "float16": 1024, "bfloat16": 1024, "int8": 2048}
_FP8 = {"float8_e4m3fn": 2048}
_A100 = {"float32": 1024, "float16": 2048, "bfloat16": 2048, "int8": 4096}
_H100 = {"float32": 2048, "float16": 4096, "bfloat16": 4096, "int8": 8192, "float8_e4m3fn": 8192}
_B200 = {"float32": 4096, "float16": 8192, "bfloat16": 8192, "int8": 16384, "float8_e4m3fn": 16384}

# By the figures of NVIDIA's documents, divided by clock and multiprocessors; tests/viewer/test_roofline.py has them.
RATES = (
    Rates("sm75", r"\bT4\b|RTX", _WITHOUT_TF32),  # T4's data sheet, the white paper of Turing
    Rates("sm80", r"\bA100|\bA30\b", _A100),  # their data sheets
    Rates("sm86", r"GeForce RTX 30", _GEFORCE),  # the white paper of GA102
    Rates("sm86", r"\bA(2|10|40)\b|RTX A\d000\b", _WORKSTATION),  # their data sheets, the white paper of GA102
    Rates("sm89", r"GeForce RTX 40", {**_GEFORCE, **_FP8}),  # the white paper of Ada
    Rates("sm89", r"\bL4\b|\bL40S?\b|RTX 6000 Ada", {**_WORKSTATION, **_FP8}),  # their data sheets
    Rates("sm90", r"H100|H200", _H100),  # their data sheets
    Rates("sm100", r"B200", _B200),  # the data sheet of HGX B200
    Rates("sm120", r"GeForce RTX 50", {**_GEFORCE, **_FP8}),  # the white paper of RTX Blackwell
)
_CLOCK_KHZ, _MEMORY_CLOCK_KHZ, _BUS_BITS = 13, 36, 37  # of CUdevice_attribute


def rates_of(capability: str, name: str) -> Rates | None:
    """Return the rates of a GPU by its compute capability and its name, or None where they are not known."""
    return next((one for one in RATES if one.capability == capability and re.search(one.names, name)), None)


def gpu_roofline() -> Roofline | None:
    """Return the roofline of the first GPU at the clocks that its driver names; None where it is not known.

    Its memory moves 2 · clock · width of the bus, as it is read at both edges of the clock.
    """
    here, name = gpus()[:1], gpu_name()
    rates = rates_of(here[0], name) if here else None
    told = [gpu_attribute(number) for number in (_CLOCK_KHZ, MULTIPROCESSORS, _MEMORY_CLOCK_KHZ, _BUS_BITS)]
    if rates is None or not all(told):
        return None
    clock, count, memory_clock, bus = (value or 0 for value in told)
    operations = {dtype: each * count * clock * 1e3 for dtype, each in rates.per_clock.items()}
    return Roofline(name, operations, 2 * memory_clock * 1e3 * bus / 8)
