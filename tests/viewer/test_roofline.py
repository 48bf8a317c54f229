"""The roofline of a GPU against what NVIDIA's documents say of it."""

from __future__ import annotations

import pytest

import trtnn.viewer.roofline
from trtnn.viewer.roofline import RATES, gpu_roofline, rates_of

# For each GPU its capability, multiprocessors, boost clock in MHz, memory clock in MHz as the driver tells it and width
# of the bus, and the TFLOP/s, TOP/s and GB/s of the document, without sparsity.
DOCUMENTS = [
    # NVIDIA T4 Tensor Core GPU, data sheet
    ("Tesla T4", "sm75", 40, 1590, 5001, 256, {"float32": 8.1, "float16": 65, "int8": 130}, 320),
    # NVIDIA Turing GPU Architecture, white paper: reference, fp16 accumulated in fp16
    ("NVIDIA GeForce RTX 2080 Ti", "sm75", 68, 1545, 7000, 352, {"float16": 107.6, "int8": 215.2}, 616),
    # NVIDIA A100 Tensor Core GPU, data sheet: 40 GB, SXM
    ("NVIDIA A100-SXM4-40GB", "sm80", 108, 1410, 1215, 5120, {"float32": 156, "float16": 312, "int8": 624}, 1555),
    # NVIDIA A30 Tensor Core GPU, data sheet
    ("NVIDIA A30", "sm80", 56, 1440, 1215, 3072, {"float32": 82, "bfloat16": 165, "int8": 330}, 933),
    # NVIDIA Ampere GA102 GPU Architecture, white paper: RTX 3080 and RTX A6000
    (
        "NVIDIA GeForce RTX 3080", "sm86", 68, 1710, 9501, 320,
        {"float32": 29.8, "float16": 119, "bfloat16": 59.5, "int8": 238}, 760,
    ),
    (
        "NVIDIA RTX A6000", "sm86", 84, 1800, 8001, 384,
        {"float32": 77.4, "float16": 154.8, "bfloat16": 154.8, "int8": 309.7}, 768,
    ),
    # NVIDIA A10 Tensor Core GPU, data sheet
    (
        "NVIDIA A10", "sm86", 72, 1695, 6251, 384,
        {"float32": 62.5, "float16": 125, "bfloat16": 125, "int8": 250}, 600,
    ),
    # NVIDIA Ada GPU Architecture, white paper
    (
        "NVIDIA GeForce RTX 4090", "sm89", 128, 2520, 10501, 384,
        {"float32": 82.6, "float16": 330.3, "bfloat16": 165.2, "int8": 660.6, "float8_e4m3fn": 660.6}, 1008,
    ),
    # NVIDIA L4 Tensor Core GPU, data sheet, which has figures with sparsity: twice these
    (
        "NVIDIA L4", "sm89", 58, 2040, 6251, 192,
        {"float32": 60, "float16": 121, "bfloat16": 121, "int8": 242.5, "float8_e4m3fn": 242.5}, 300,
    ),
    # NVIDIA L40S, data sheet
    ("NVIDIA L40S", "sm89", 142, 2520, 9001, 384, {"float32": 183, "float16": 362.05, "float8_e4m3fn": 733}, 864),
    # NVIDIA H100 Tensor Core GPU, data sheet: SXM and PCIe
    (
        "NVIDIA H100 80GB HBM3", "sm90", 132, 1830, 2619, 5120,
        {"float32": 494, "float16": 989, "bfloat16": 989, "int8": 1979, "float8_e4m3fn": 1979}, 3350,
    ),
    ("NVIDIA H100 PCIe", "sm90", 114, 1620, 1593, 5120, {"float32": 378, "float16": 756, "int8": 1513}, 2039),
    # NVIDIA HGX B200, data sheet: an eighth of what eight do, without sparsity
    (
        "NVIDIA B200", "sm100", 148, 1850, 3996, 8192,
        {"float32": 1125, "float16": 2250, "int8": 4500, "float8_e4m3fn": 4500}, 8000,
    ),
    # NVIDIA RTX Blackwell GPU Architecture, white paper
    (
        "NVIDIA GeForce RTX 5090", "sm120", 170, 2407, 14001, 512,
        {"float32": 104.8, "float16": 419, "bfloat16": 209.5, "int8": 838, "float8_e4m3fn": 838}, 1792,
    ),
]  # fmt: skip


@pytest.fixture
def here(monkeypatch):
    """Return a function that puts a GPU here."""

    def put(name, capability, attributes):
        monkeypatch.setattr(trtnn.viewer.roofline, "gpus", lambda: (capability,) if capability else ())
        monkeypatch.setattr(trtnn.viewer.roofline, "gpu_name", lambda: name)
        monkeypatch.setattr(trtnn.viewer.roofline, "gpu_attribute", attributes.get)

    return put


@pytest.mark.parametrize(
    ("name", "capability", "count", "clock_mhz", "memory_mhz", "bus_bits", "tflops", "gigabytes"),
    DOCUMENTS,
    ids=[row[0] for row in DOCUMENTS],
)
def test_it_is_what_nvidia_says(here, name, capability, count, clock_mhz, memory_mhz, bus_bits, tflops, gigabytes):
    here(name, capability, {13: clock_mhz * 1000, 16: count, 36: memory_mhz * 1000, 37: bus_bits})
    roofline = gpu_roofline()
    assert roofline.name == name
    for dtype, value in tflops.items():
        assert roofline.flops_per_second[dtype] / 1e12 == pytest.approx(value, rel=0.015), dtype
    assert roofline.bytes_per_second / 1e9 == pytest.approx(gigabytes, rel=0.025)


def test_each_row_is_held_against_a_document():
    used = [rates_of(capability, name) for name, capability, *_ in DOCUMENTS]
    assert [rates.names for rates in RATES if rates not in used] == []


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA GeForce GTX 1660", "sm75"),  # it has no tensor cores
        ("NVIDIA T1000", "sm75"),
        ("NVIDIA H20", "sm90"),  # slower than others of its capability
        ("NVIDIA L20", "sm89"),
        ("Orin", "sm87"),
        ("NVIDIA H200", "sm999"),
        ("", ""),
    ],
)
def test_what_nothing_is_known_of_has_none(here, name, capability):
    here(name, capability, dict.fromkeys((13, 16, 36, 37), 1000))
    assert gpu_roofline() is None


def test_a_driver_that_does_not_tell_a_clock(here):
    here("NVIDIA H200", "sm90", {13: 1_980_000, 16: 132, 36: None, 37: 6144})
    assert gpu_roofline() is None
