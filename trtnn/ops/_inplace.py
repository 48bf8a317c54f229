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
from trtnn.errors import DTypeError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._promotion import cast
from trtnn.parameter import Parameter
from trtnn.shapes.symbolic import same, same_shape

Activation = TypeVar("Activation", bound=Callable[..., Tensor])


def overwrite(input: Tensor, result: Tensor) -> Tensor:
    """Give ``input`` the value ``result``, cast to its own type, and return it.

    Raises:
        ShapeError: the result has another shape.
        DTypeError: the result is floating and ``input`` is not, or a number and ``input`` bool.
        UnsupportedError: the result shares memory with a Tensor that was changed in place, or several elements of
            ``input`` are one in memory.
    """
    where = input.graph.where
    if input.repeats:
        raise UnsupportedError(
            f"a change in place, in {where}, of what was expanded or unfolded",
            "several of its elements are one in memory, and in torch all of them would change",
            "change a clone() of it",
        )
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


def seen(input: Tensor, result: Tensor) -> Tensor:
    """Return a result as a view of ``input``, and as another Tensor where it is ``input`` itself."""
    if result is input:
        return input.view_of_all()
    result.share_memory_of(input)
    return result


def viewing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose results share the memory of its first argument, as torch's views do."""

    @functools.wraps(function)
    def view(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = function(input, *args, **kwargs)
        if isinstance(result, Tensor):
            return seen(input, result)
        return type(result)(seen(input, tensor) for tensor in result)

    return view


def repeating(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return :func:`viewing` for what may hold an element of its input several times."""

    @functools.wraps(function)
    def repeated(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result = seen(input, function(input, *args, **kwargs))
        result.repeats |= not same(result.numel(), input.numel())
        return result

    return repeated


def joining(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return :func:`viewing` for what torch copies where it joins dimensions that an element is repeated along."""

    @functools.wraps(function)
    def joined(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result = seen(input, function(input, *args, **kwargs))
        result.repeats = result.repeats and _longer_than_one(result) >= _longer_than_one(input)
        return result

    return joined


def _longer_than_one(tensor: Tensor) -> int:
    return sum(not same(n, 1) for n in tensor.shape)


def viewing_parts(function: Callable[[Tensor, Any], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    """Return :func:`viewing` for ``input[index]``, which is a copy where lists, arrays or Tensors pick elements."""

    @functools.wraps(function)
    def part(input: Tensor, index: Any) -> Tensor:
        result = function(input, index)
        items = index if isinstance(index, tuple) else (index,)
        picks = any(isinstance(item, (list, range, np.ndarray, Tensor, Parameter)) or is_torch(item) for item in items)
        if picks:
            return result
        if result is input:
            return input.view_of_all()
        result.be_part_of(input, index)
        return result

    return part
