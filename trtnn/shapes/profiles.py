"""Optimisation profiles: the ranges that a network's dimensions may be in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from trtnn.errors import ArgumentError, ShapeError
from trtnn.shapes.spec import TensorSpec, as_input
from trtnn.shapes.symbolic import Dim, Length, is_static

Ranges = dict[str, Dim]  # by the names of the dimensions


def as_inputs(value: Any) -> tuple[TensorSpec, ...]:
    """Return what one input is declared as: a TensorSpec or a shape, or a list of them with one for each profile."""
    if (
        isinstance(value, (list, tuple))
        and value
        and all(isinstance(item, (TensorSpec, list, tuple)) for item in value)
    ):
        return tuple(map(as_input, value))
    return (as_input(value),)


def merge_profiles(inputs: Mapping[str, Sequence[TensorSpec]]) -> tuple[dict[str, TensorSpec], tuple[Ranges, ...]]:
    """Return the inputs of a network whose dimensions reach over all profiles, and the profiles.

    A dimension is fastest at what it is fastest at in the first profile. There are no profiles where every shape is
    static.

    Args:
        inputs: by name; for a dynamic one as many as there are profiles, for a static one a single one.

    Raises:
        ArgumentError: their numbers differ, the profiles differ in more than ranges, or one dimension has two ranges.
        ShapeError: a dynamic length is no Dim.
    """
    for name, specs in inputs.items():
        for length in (length for spec in specs for length in spec.shape):
            if not isinstance(length, (int, Dim)):
                raise ShapeError(f"input {name!r}: a dynamic length of an input is a trtnn.Dim, not {length}")
    dynamic = {name: specs for name, specs in inputs.items() if not is_static(specs[0].shape) or len(specs) > 1}
    counts = {name: len(specs) for name, specs in dynamic.items()}
    if len(set(counts.values())) > 1:
        raise ArgumentError(
            "every dynamic input takes as many Inputs as there are profiles",
            f"received {', '.join(f'{count} for {name!r}' for name, count in counts.items())}",
        )
    for name, specs in dynamic.items():
        if len({_form(spec) for spec in specs}) > 1:
            raise ArgumentError(
                f"the profiles of input {name!r} differ in more than the ranges of dimensions",
                f"received {', '.join(map(str, specs))}",
                "they have the same Dim names with the same multiple_of, and else the same lengths and type",
            )
    profiles = tuple(
        _dims_of({name: specs[index] for name, specs in dynamic.items()})
        for index in range(next(iter(counts.values()), 0))
    )
    widest = widest_dims(profiles)
    merged = {
        name: TensorSpec(tuple(widest[n.name] if isinstance(n, Dim) else n for n in specs[0].shape), specs[0].dtype)
        for name, specs in inputs.items()
    }
    return merged, profiles


def _form(spec: TensorSpec) -> tuple:
    return spec.dtype.name, *((n.name, n.multiple_of) if isinstance(n, Dim) else n for n in spec.shape)


def _dims_of(inputs: Mapping[str, TensorSpec]) -> Ranges:
    dims: Ranges = {}
    for spec in inputs.values():
        for dim in spec.shape:
            if isinstance(dim, Dim) and dims.setdefault(dim.name, dim).dims != dim.dims:
                raise ArgumentError(
                    f"dimension {dim.name!r} was given two ranges",
                    dims[dim.name].describe(),
                    dim.describe(),
                    "dimensions of one name are of one length; use another name where they are not",
                )
    return dims


def widest_dims(profiles: Sequence[Ranges]) -> Ranges:
    """Return the dimensions that reach over the ranges of all profiles."""
    return {
        name: Dim(
            name,
            min(profile[name].min for profile in profiles),
            first.opt,
            max(profile[name].max for profile in profiles),
            first.multiple_of,
        )
        for name, first in (profiles[0] if profiles else {}).items()
    }


def profile_to_json(profile: Ranges) -> dict[str, Any]:
    """Return a profile as JSON values."""
    return {
        name: {"min": dim.min, "opt": dim.opt, "max": dim.max, "multiple_of": dim.multiple_of}
        for name, dim in profile.items()
    }


def profiles_from_json(values: Sequence[Mapping[str, Mapping[str, int]]], names: Set[str]) -> tuple[Ranges, ...]:
    """Return the profiles that :func:`profile_to_json` gave.

    Args:
        values: the JSON values, one for each profile.
        names: of the dimensions that the inputs have.

    Raises:
        ValueError: the profiles are not of these dimensions, or there are none of them.
    """
    for value in values:
        if value.keys() != names:
            raise ValueError("its profiles are not of the dimensions that its inputs have")
    if names and not values:
        raise ValueError("its inputs have dimensions of which no profile tells")
    return tuple({name: Dim(name, **lengths) for name, lengths in value.items()} for value in values)


def lengths_in(profile: Ranges, shape: Sequence[Length], which: str) -> tuple[int, ...]:
    """Return a shape of an input at the ``min``, ``opt`` or ``max`` of a profile."""
    return tuple(getattr(profile[n.name], which) if isinstance(n, Dim) else int(n) for n in shape)
