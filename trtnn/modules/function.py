"""A module that is a function with its arguments kept: most of those that hold no parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from trtnn.graph.tensor import Tensor
from trtnn.modules.module import Module
from trtnn.ops._annotations import Plain, plain

_NOT_KEPT = ("input", "input1", "x1", "x2", "training", "dtype", "weight", "bias")


class FunctionModule(Module):
    """A function of Tensors; its other arguments are the constructor's, and attributes under their own names.

    A subclass names the ``function``, has a constructor of its own where the arguments stand otherwise there, and:

    Attributes:
        shown: what ``repr`` shows, with ``{name}`` for arguments; ``inplace`` is added where it is true.
    """

    function: Callable[..., Tensor]
    _kept: tuple[str, ...]
    _plain: Mapping[str, Plain]  # of those that are kept
    shown = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "function" not in vars(cls):  # one of a user's own, whose constructor may take anything
            return
        of_function = cls.__init__ is FunctionModule.__init__
        parameters = inspect.signature(cls.function if of_function else cls.__init__).parameters
        not_kept = _NOT_KEPT if of_function else ("self",)
        kept = [parameter for name, parameter in parameters.items() if name not in not_kept]
        cls._kept = tuple(parameter.name for parameter in kept)
        cls._plain = {parameter.name: one for parameter in kept if (one := plain(parameter)) is not None}
        cls.__signature__ = inspect.Signature(
            [parameter.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for parameter in kept]
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        arguments = type(self).__signature__.bind(*args, **kwargs)
        arguments.apply_defaults()
        for name, value in arguments.arguments.items():
            one = self._plain.get(name)
            if one is not None and type(value) not in one.exact:
                one.expect(value, type(self).__name__)
            setattr(self, name, value)

    def forward(self, *inputs: Tensor) -> Tensor:
        return type(self).function(*inputs, **{name: getattr(self, name) for name in self._kept})

    def extra_repr(self) -> str:
        parts = [self.shown.format(**vars(self)), "inplace=True" if getattr(self, "inplace", False) else ""]
        return ", ".join(filter(None, parts))
