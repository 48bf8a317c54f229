"""What the GPU here can do at most, by what its driver tells and NVIDIA's figures of its architecture."""

from __future__ import annotations

from trtnn.cuda import gpu_attribute, gpu_name, gpus
from trtnn.viewer.facts import Roofline

# Floating-point operations of a multiprocessor in a clock, two for each multiply-and-add, without sparsity, by NVIDIA's
# white papers of Turing, Ampere, Ada, Hopper and Blackwell. What is in fp32 is multiplied as TF32, unless that is
# refused.
_PER_CLOCK = {
    "sm75": {"float32": 128, "float16": 1024, "int8": 2048},
    "sm80": {"float32": 1024, "float16": 2048, "bfloat16": 2048, "int8": 4096},
    "sm86": {"float32": 256, "float16": 1024, "bfloat16": 512, "int8": 2048},
    "sm89": {"float32": 256, "float16": 1024, "bfloat16": 512, "int8": 2048, "float8_e4m3fn": 2048},
    "sm90": {"float32": 2048, "float16": 4096, "bfloat16": 4096, "int8": 8192, "float8_e4m3fn": 8192},
    "sm100": {"float32": 4096, "float16": 8192, "bfloat16": 8192, "int8": 16384, "float8_e4m3fn": 16384},
    "sm120": {"float32": 256, "float16": 1024, "bfloat16": 512, "int8": 2048, "float8_e4m3fn": 2048},
}
_CLOCK_KHZ, _MULTIPROCESSORS, _MEMORY_CLOCK_KHZ, _BUS_BITS = 13, 16, 36, 37  # of CUdevice_attribute


def gpu_roofline() -> Roofline | None:
    """Return the roofline of the first GPU at the clocks that its driver names; None where either is not known.

    Its memory moves 2 · clock · width of the bus, as it is read at both edges of the clock.
    """
    here = gpus()[:1]
    told = [gpu_attribute(number) for number in (_CLOCK_KHZ, _MULTIPROCESSORS, _MEMORY_CLOCK_KHZ, _BUS_BITS)]
    if not here or here[0] not in _PER_CLOCK or not all(told):
        return None
    clock, count, memory_clock, bus = (value or 0 for value in told)
    operations = {name: each * count * clock * 1e3 for name, each in _PER_CLOCK[here[0]].items()}
    return Roofline(gpu_name() or here[0], operations, 2 * memory_clock * 1e3 * bus / 8)
