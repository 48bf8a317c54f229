"""What torch does in place to the shape alone: a Tensor takes another shape under every name that it has."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from trtnn.graph.tensor import Tensor


def reshaping_in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function that lets its first argument be what ``function`` gives, a view of it.

    No element is written to, so that other views of the same memory stay what they are.
    """

    @functools.wraps(function)
    def changed(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result = function(input, *args, **kwargs)
        input.reshape_alone(result)
        return input

    return changed
