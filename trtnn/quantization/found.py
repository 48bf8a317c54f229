"""A scale that others measured, as it is read, and what is wrong with some."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trtnn.errors import ArgumentError, CheckpointError
from trtnn.modules.state import as_array


class Found(NamedTuple):
    """A scale: of the input, the weight or the output of the module at a path.

    Attributes:
        path: of the module.
        what: ``"input"``, ``"weight"`` or ``"output"``.
        scale: (1,), or (channels,).
        axis: of weights, the dimension that it is along; None where nothing tells.
        before_norm: of weights, whether they are those without a BatchNorm that is behind them.
        of_node: whether the path is that of an ONNX node, which may go on behind that of the module.
    """

    path: str
    what: str
    scale: np.ndarray
    axis: int | None = None
    before_norm: bool = False
    of_node: bool = False


def positive(name: str, value: Any) -> np.ndarray:
    array = as_array(value).astype(np.float32).reshape(-1)
    if not array.size or not ((array > 0) & np.isfinite(array)).all():
        shown = array[~((array > 0) & np.isfinite(array))][:1]
        raise ArgumentError(f"{name} holds {f'{shown[0]:g}' if shown.size else 'nothing'}", "a scale is positive")
    return array


def other_type(name: str, what: str, dtype: str) -> CheckpointError:
    """Return the error of scales whose type is not the one that was named."""
    hints = [
        *(["TensorRT rounds to no uint8: quantise symmetrically, to int8"] if what.startswith("uint8") else []),
        *(['dtype="fp8" takes scales of fp8'] if dtype == "int8" and not what.startswith("uint8") else []),
        *(['dtype="int8" takes scales of int8'] if dtype == "fp8" else []),
    ]
    return CheckpointError(f"{name} is of {what}, and not of {dtype}", *hints)
