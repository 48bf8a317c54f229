"""A module that is a function with its arguments kept: most of those that hold no parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from trtnn.graph.tensor import Tensor
from trtnn.modules.module import Module

_NOT_KEPT = ("input", "input1", "x1", "x2", "training", "dtype", "weight", "bias")


class FunctionModule(Module):
    """A function of Tensors; its other arguments are the constructor's, and attributes under their own names.

    A subclass names the ``function``, and:

    Attributes:
        order: the constructor's arguments where they do not stand as in the function.
        shown: what ``repr`` shows, with ``{name}`` for arguments; ``inplace`` is added where it is true.
    """

    function: Callable[..., Tensor]
    _kept: tuple[str, ...]
    order: tuple[str, ...] | None = None
    shown = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not hasattr(cls, "function"):
            return
        known = inspect.signature(cls.function).parameters
        cls._kept = cls.order or tuple(name for name in known if name not in _NOT_KEPT)
        kept = [known[name].replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in cls._kept]
        cls.__signature__ = inspect.Signature(kept)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        arguments = type(self).__signature__.bind(*args, **kwargs)
        arguments.apply_defaults()
        for name, value in arguments.arguments.items():
            setattr(self, name, value)

    def forward(self, *inputs: Tensor) -> Tensor:
        return type(self).function(*inputs, **{name: getattr(self, name) for name in self._kept})

    def extra_repr(self) -> str:
        parts = [self.shown.format(**vars(self)), "inplace=True" if getattr(self, "inplace", False) else ""]
        return ", ".join(filter(None, parts))
