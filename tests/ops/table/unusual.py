"""Which unusual numbers stand among those that are drawn for a row: all of them, but for what is named here and why."""

from __future__ import annotations

import math

from tests.ops.table import networks, orders, products, reductions, spectra, sums

SPECIAL = (0.0, -0.0, math.inf, -math.inf, math.nan)
TINY = (1e-40, -1e-45, 1.5e-38)  # the first two are denormal in fp32
HUGE = (3e38, -1e30)

# Of what adds up or multiplies several numbers: in one order it passes the end of fp32 and in another it does not.
SUMS = {name for table in (networks, orders, products, reductions, spectra, sums) for name in table.CASES}

_PRODUCTS = "a product with a matrix of constants: 0 times infinity is NaN, where torch goes another way"
_HALF = "torch's eps is 0 in fp16 and a vector of zeros NaN; here it is carried in fp32"
FINITE = {
    **dict.fromkeys(
        (
            "fold", "interpolate", "stft", "istft",
            *(f"fft.{name}" for name in ("fft", "fft2", "fftn", "ifft", "ifft2", "ifftn")),
            *(f"fft.{name}" for name in ("rfft", "rfft2", "rfftn", "irfft", "irfft2", "irfftn")),
        ),
        _PRODUCTS,
    ),
    **dict.fromkeys(("cosine_similarity", "normalize"), _HALF),
    "scaled_dot_product_attention": "torch's kernels find no maximum beside NaN, each in its way",
    "gelu": "torch's kernel for vectors gives NaN for infinity, and that for the numbers that are left does not",
    "cdist": "torch's maximum forgets NaN for p=inf",
    **dict.fromkeys(("linalg.matrix_power", "matrix_power", "linalg.multi_dot"), "infinity or NaN: by the order"),
    "linalg.solve_triangular": "infinity or NaN: by the order",
    **dict.fromkeys(
        (
            *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
            *("conv1d: computed", "conv2d: computed", "conv3d: computed"),
            *("conv_transpose1d: computed", "conv_transpose2d: computed", "conv_transpose3d: computed"),
        ),
        "what no input reaches is left out, or multiplied by 0, which makes NaN of infinity",
    ),
    **dict.fromkeys(
        ("view_as_complex: sums", "view_as_complex: products", "view_as_complex: quotients"),
        "torch multiplies the part that is 0 as well, and divides by its own scaling",
    ),
    "fake_quantize_per_channel_affine": "torch takes what is beyond int64 for the least number: here it is the nearest",
    "std_mean": "torch's mean is NaN here beside infinity, and infinity when it is asked for alone",
    "var_mean": "as std_mean",
    "searchsorted": "a sequence with these in between is not in order",
    "trapezoid": "torch takes half of the ends off the sum, so infinity at an end is NaN; here it stays",
    "trapz": "as trapezoid",
    "histc": "torch refuses a range that is not finite, which is not known while tracing",
}  # fmt: skip

_QUOTIENTS = "by a number below 2^-86 the result is NaN, as is said there, and a quotient that is rounded to 0 is 0"
NOT_TINY = {
    **dict.fromkeys(("div: rounded", "floor_divide", "fmod", "remainder"), _QUOTIENTS),
    **dict.fromkeys(
        ("cumprod", "prod", "scatter: joined"), "a product of two of them is 0 in one order, and times infinity NaN"
    ),
    "expm1: near 0": "the least of all numbers is 0 after any multiplication by less than 1",
    **dict.fromkeys(
        (name for name in SUMS if "norm" in name or "dist" in name),
        "its square is 0, but torch takes one number for its own norm",
    ),
}


def unusual(name: str, fp16: bool = False) -> tuple[float, ...]:
    """Return what is drawn for a row beside the numbers of its ranges; in an fp16 network, what fp16 has as well."""
    if name in FINITE:
        return ()
    return SPECIAL if fp16 or name in NOT_TINY else SPECIAL + TINY if name in SUMS else SPECIAL + TINY + HUGE
