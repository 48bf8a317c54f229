"""The arguments that torch's modules with parameters take beside ours: where the parameters are made, and as what."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


def factory_arguments(init: Callable[..., None]) -> Callable[..., None]:
    """Let a constructor take ``device`` and ``dtype`` as torch's does, at the end of what goes by position.

    They have no effect: parameters are made nowhere, hold what a state dict brings in the type that it has there, and
    ``trace`` says what is computed in.
    """
    signature = inspect.signature(init)
    own = list(signature.parameters.values())
    positional = [p for p in own if p.kind is p.POSITIONAL_OR_KEYWORD]
    more = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None) for n in ("device", "dtype")]

    @functools.wraps(init)
    def taking_both(self: Any, *args: Any, device: Any = None, dtype: Any = None, **kwargs: Any) -> None:
        beside = len(args) + 1 - len(positional)  # self is one of ours
        init(self, *(args[:-beside] if beside in (1, 2) else args), **kwargs)

    taking_both.__signature__ = signature.replace(parameters=[*positional, *more, *own[len(positional) :]])
    return taking_both
