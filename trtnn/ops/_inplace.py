"""What torch does in place: a Tensor becomes another value under every name that it has.

Its views do not change with it. They are outdated, and reading one is an error.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar
from typing import cast as cast_to

import numpy as np

from trtnn.arrays import is_torch
from trtnn.dtypes import bool_
from trtnn.errors import DTypeError, ShapeError
from trtnn.graph.tensor import Tensor
from trtnn.ops._promotion import cast
from trtnn.parameter import Parameter
from trtnn.shapes.symbolic import same_shape

Activation = TypeVar("Activation", bound=Callable[..., Tensor])


def overwrite(input: Tensor, result: Tensor) -> Tensor:
    """Give ``input`` the value ``result``, cast to its own type, and return it.

    Raises:
        ShapeError: the result has another shape.
        DTypeError: the result is floating and ``input`` is not, or a number and ``input`` bool.
        UnsupportedError: the result shares memory with a Tensor that was changed in place.
    """
    where = input.graph.where
    result = input.graph.deferred.snapshot("a change in place", result)
    if not same_shape(result.shape, input.shape):
        raise ShapeError(f"{input.shape} cannot become {result.shape} in place, in {where}")
    kinds = [(dtype.is_floating_point, dtype is not bool_) for dtype in (result.dtype, input.dtype)]
    if kinds[0] > kinds[1]:
        raise DTypeError(f"{input.dtype.name} cannot become {result.dtype.name} in place, in {where}")
    input.overwrite(cast(result, input.dtype))
    return input


def in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function that overwrites its first argument with what ``function`` gives."""

    @functools.wraps(function)
    def changed(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return overwrite(input, function(input, *args, **kwargs))

    return changed


def if_asked(function: Activation) -> Activation:
    """Return a function that has an argument ``inplace``, and does so."""
    position = list(inspect.signature(function).parameters).index("inplace") - 1

    @functools.wraps(function)
    def changed(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result = function(input, *args, **kwargs)
        asked = args[position] if len(args) > position else kwargs.get("inplace", False)
        return overwrite(input, result) if asked else result

    return cast_to(Activation, changed)


def viewing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose results share the memory of its first argument, as torch's views do."""

    @functools.wraps(function)
    def view(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = function(input, *args, **kwargs)
        for tensor in (result,) if isinstance(result, Tensor) else result:
            tensor.share_memory_of(input)
        return result

    return view


def viewing_parts(function: Callable[[Tensor, Any], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    """Return :func:`viewing` for ``input[index]``, which is a copy where lists, arrays or Tensors pick elements."""

    @functools.wraps(function)
    def part(input: Tensor, index: Any) -> Tensor:
        result = function(input, index)
        items = index if isinstance(index, tuple) else (index,)
        picks = any(isinstance(item, (list, range, np.ndarray, Tensor, Parameter)) or is_torch(item) for item in items)
        if not picks and result is not input:
            result.be_part_of(input, index)
        return result

    return part
