"""What a trace asks of a module before ``forward`` runs: that it holds its arrays, and which inputs there are."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trtnn.errors import ArgumentError, ShapeError, first_lines, listed
from trtnn.graph.quantization import held_by
from trtnn.modules.module import Module
from trtnn.shapes.profiles import as_inputs
from trtnn.shapes.spec import Input

_FAR = 10.0  # times what a scale holds: nobody cuts off so much on purpose
_GROWN = 1.01  # times what a scale held before, or its range: rounding to the nearest step is no more than this


def check_is_filled(module: Module, walked: Sequence[tuple[str, Module]]) -> None:
    """Check that all parameters and buffers of a module hold arrays of their shapes, but for those that need not.

    Args:
        module: that is traced.
        walked: itself and what is inside it, by path.

    Raises:
        ArgumentError: some are empty.
        ShapeError: somebody gave one an array of another shape, past ``load_state_dict``.
    """
    tables = [
        (f"{path}." if path else "", table)
        for path, part in walked
        for table in (part._parameters, part._buffers)
        if table
    ]
    empty = [
        f"{start}{name} {member.shape}"
        for start, table in tables
        for name, member in table.items()
        if member is not None and member.data is None and not member.optional
    ]
    if empty:
        raise ArgumentError(
            f"{len(empty)} parameters of {type(module).__name__} are empty",
            'load them first: model.load_state_dict(trtnn.load("weights.pt"))',
            *first_lines(empty),
        )
    others = [
        f"{start}{name} is declared {member.shape} and holds {np.shape(member.data)}"
        for start, table in tables
        for name, member in table.items()
        if member is not None and member.data is not None and np.shape(member.data) != member.shape
    ]
    if others:
        raise ShapeError(
            f"parameters of {type(module).__name__} hold arrays of other shapes than they are declared with",
            *first_lines(others),
            "declare it anew for another shape: module.weight = trtnn.Parameter(...)",
        )


def warn_of_cut_off_weights(modules: Mapping[str, Module], largest: Mapping[str, float]) -> None:
    """Warn once for each load of weights that grew beyond what their scale holds, so that int8 or fp8 cuts them off.

    A scale may cut off a few weights on purpose. What it cut off of the weights that it came with is therefore no
    fault, unless it is far too small for them, and only what goes beyond that is; where these were never traced, it is
    what goes beyond the scale.

    Args:
        modules: by path.
        largest: the largest |w| / (largest q · scale) of the modules that have a ``weight_scale``, by path.
    """
    grown: list[str] = []
    for path, ratio in largest.items():
        held = held_by(modules[path]._buffers["weight_scale"])
        if held.first is None:
            held.first = 1.0 if held.is_older or ratio > _FAR else ratio
        if ratio > max(held.first, 1.0) * _GROWN and (held.is_older or ratio != held.last):
            grown.append(f"{path or 'the model'} {ratio:.3g} times")
        held.last, held.is_older = ratio, False
    if grown:
        warnings.warn(
            f"weights go beyond what their scales hold, and are cut off there: {listed(grown, 5)}; "
            "quantise again, trtnn.quantize(model, samples), or load scales with the weights",
            stacklevel=3,
        )


def resolve_inputs(module: Module, inputs: Mapping[str, Any] | None) -> dict[str, tuple[Input, ...]]:
    """Return the inputs that a module is traced with, as many for each argument of ``forward`` as there are profiles.

    Raises:
        ArgumentError: they are no shapes by name, or some are unknown or missing.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    variadic = any(p.kind is p.VAR_KEYWORD for p in parameters)
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = [p.name for p in parameters if p.name in names and p.default is p.empty]
    example = ", ".join(f'"{name}": (1, 3, 640, 640)' for name in required or names or ["x"])
    if not isinstance(inputs, Mapping | None):
        received = inputs if isinstance(inputs, (tuple, Input)) else f"a {type(inputs).__name__}"
        raise ArgumentError(f"inputs are shapes by name, such as inputs={{{example}}}, not {received}")
    merged = {**module.inputs, **(inputs or {})}
    unknown = [name for name in merged if name not in names and not variadic]
    missing = [name for name in required if name not in merged]
    if unknown or missing or not merged:
        raise ArgumentError(
            f"the inputs of {type(module).__name__} are "
            + (f"unknown: {', '.join(map(str, unknown))}" if unknown else f"missing: {', '.join(missing) or 'all'}"),
            f"its forward takes: {', '.join(names) or 'no names of its own'}",
            f"pass inputs={{{example}}}, or declare self.inputs in __init__",
        )
    order = [name for name in names if name in merged] + [name for name in merged if name not in names]
    return {name: as_inputs(merged[name]) for name in order}
