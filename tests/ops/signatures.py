"""What torch's functions take: the names of their arguments in order, and their defaults.

Functions in Python say it themselves. Those in C++ have schemas in torch's dispatcher, one for each overload.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch

REQUIRED = inspect.Parameter.empty
# Where the result is to be and how it is to be kept, which a network decides by itself; and the names of results.
_OF_NO_NETWORK = {
    "device",
    "layout",
    "memory_format",
    "out",
    "pin_memory",
    "requires_grad",
    "_stacklevel",
    "implicit",
    "out_dtype",
}
_PLACES = {"": (torch.nn.functional, torch, torch.nn.utils.rnn), "fft": (torch.fft,), "linalg": (torch.linalg,)}


_OF_TORCHSCRIPT = {"a", "i", "idx", "l", "t"}  # arguments of overloads for Python's own numbers and lists


class Argument(NamedTuple):
    """An argument.

    Attributes:
        default: REQUIRED where there is none; an empty list as None, and equal numbers for all sides as one.
    """

    name: str
    default: Any
    by_name_alone: bool


def _plain(default: Any) -> Any:
    if isinstance(default, (list, tuple)) and len(set(default)) <= 1:
        return default[0] if default else None
    return tuple(default) if isinstance(default, list) else default


def of_function(function: Any) -> list[Argument]:
    """Return the arguments of a Python function."""
    return [
        Argument("input" if p.name == "self" else p.name, _plain(p.default), p.kind is p.KEYWORD_ONLY)
        for p in inspect.signature(function).parameters.values()
        if p.name not in _OF_NO_NETWORK
    ]


def _of_schema(schema: Any) -> list[Argument]:
    return [
        Argument(
            "input" if a.name == "self" else a.name,
            _plain(a.default_value) if a.has_default_value() else REQUIRED,
            a.kwarg_only,
        )
        for a in schema.arguments
        if not a.is_out and a.name not in _OF_NO_NETWORK
    ]


def of_torch(name: str) -> list[list[Argument]]:
    """Return the arguments of each overload of a function such as ``"conv2d"`` or ``"fft.rfft"``; none if unknown."""
    folder, _, last = name.rpartition(".")
    for place in _PLACES[folder]:
        for spelled in (f"{last}_with_indices", last):  # the first has the signature of both kinds of a pooling
            function = getattr(place, spelled, None)
            if inspect.isfunction(function):
                return [of_function(function)]
    packet = getattr(torch.ops.aten, f"{folder}_{last}" if folder else last, None)
    overloads = [getattr(packet, overload) for overload in packet.overloads()] if packet is not None else []
    schemas = [overload._schema for overload in overloads]
    return [
        _of_schema(schema)
        for schema in schemas
        if schema.returns
        and not any(argument.is_out for argument in schema.arguments)
        and _OF_TORCHSCRIPT.isdisjoint(argument.name for argument in schema.arguments)
    ]


def takes(ours: list[Argument], theirs: list[Argument]) -> bool:
    """Return whether what calls one overload of torch's by these names and in this order means the same of ours.

    Ours may have further arguments, which have defaults, and a default where the overload asks for a value.
    """
    defaults = {argument.name: argument.default for argument in ours}
    names = {argument.name for argument in theirs}
    same_defaults = all(a.default is REQUIRED or defaults.get(a.name, REQUIRED) == a.default for a in theirs)
    ordered = [a.name for a in theirs if not a.by_name_alone]
    in_order = ordered == [a.name for a in ours if a.name in ordered]
    return (
        names <= defaults.keys()
        and same_defaults
        and in_order
        and all(a.default is not REQUIRED for a in ours if a.name not in names)
    )
