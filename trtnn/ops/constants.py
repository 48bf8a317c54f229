"""Tensors whose numbers are known while tracing, since they depend on constants alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.torch_import import import_with_torch


def constant_array(tensor: Tensor) -> np.ndarray | None:
    """Return the numbers of a Tensor that depends on constants alone, computed by the CPU reference; else None."""
    tensor = tensor.graph.deferred.snapshot("a look at numbers", tensor)
    tensor = tensor if tensor.value.beyond is None else tensor.unrounded_or_self
    tensor.ensure()
    if not tensor.value.constant:
        return None
    tensor.graph.fill()
    # torch is imported by who needs numbers
    constants = import_with_torch("trtnn.reference.constants", "to compute the numbers of a Tensor takes")
    return constants.evaluate(tensor.graph.definition, tensor.graph.trt, tensor.raw)


def numbers_of(input: Tensor, what: str) -> np.ndarray:
    """Return the numbers of a Tensor that are known while tracing.

    Args:
        what: who asks for them, for the message.

    Raises:
        UnsupportedError: they are known only when the engine runs.
    """
    numbers = constant_array(input)
    if numbers is None:
        raise UnsupportedError(
            f"{what} of a trtnn Tensor in {input.graph.where} whose numbers are known only when the engine runs",
            "what depends on constants alone is known while tracing; lengths are x.shape[i]",
        )
    return numbers


def item(input: Tensor) -> bool | int | float:
    """Return the one number of a tensor that depends on constants alone, as Python's.

    Raises:
        ArgumentError: it holds several.
        UnsupportedError: it is known only when the engine runs.
    """
    if any(isinstance(length, int) and length != 1 for length in input.shape):
        raise ArgumentError(f"item of a tensor of shape {input.shape}", "it holds more than one number")
    return numbers_of(input, "item").item()


def tolist(input: Tensor) -> Any:
    """Return the numbers of a tensor that depends on constants alone, as nested lists."""
    return numbers_of(input, "tolist").tolist()


def numpy(input: Tensor) -> np.ndarray:
    """Return the numbers of a tensor that depends on constants alone, as an array."""
    return numbers_of(input, "numpy")


def truth(input: Tensor) -> bool:
    """Return whether the one number of a tensor that depends on constants alone is true, as ``bool(tensor)``.

    Raises:
        ArgumentError: it is known only when the engine runs, or there are several.
    """
    if not input.value.constant:
        raise ArgumentError(
            "a trtnn Tensor has no truth value while it is traced",
            "its numbers are known only when the engine runs; decide by its shape, or by a Python value",
        )
    return bool(item(input))


def index(input: Tensor) -> int:
    """Return the one whole number of a tensor that depends on constants alone, where Python asks for an index.

    Raises:
        ArgumentError: it holds no whole number.
    """
    if input.dtype.is_floating_point:
        raise ArgumentError(f"a tensor of {input.dtype.name} as an index", "cast it to a type of whole numbers")
    return int(item(input))
