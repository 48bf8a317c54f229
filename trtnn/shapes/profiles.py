"""Optimisation profiles: the ranges that a network's dimensions may be in, and the shapes of one call within them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from trtnn.errors import ArgumentError, ShapeError
from trtnn.shapes.spec import Input, as_input, check_array, check_is_array
from trtnn.shapes.symbolic import Dim, Length, evaluate, is_static

Ranges = dict[str, Dim]  # by the names of the dimensions


def as_inputs(value: Any) -> tuple[Input, ...]:
    """Return what a network was asked to take under one name: an Input or a shape, or a list of them, by profile."""
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, (Input, list, tuple)) for item in value):
        return tuple(map(as_input, value))
    return (as_input(value),)


def merge_profiles(inputs: Mapping[str, Sequence[Input]]) -> tuple[dict[str, Input], tuple[Ranges, ...]]:
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
        name: Input(tuple(widest[n.name] if isinstance(n, Dim) else n for n in specs[0].shape), specs[0].dtype)
        for name, specs in inputs.items()
    }
    return merged, profiles


def _form(spec: Input) -> tuple:
    return spec.dtype.name, *((n.name, n.multiple_of) if isinstance(n, Dim) else n for n in spec.shape)


def _dims_of(inputs: Mapping[str, Input]) -> Ranges:
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


@dataclass(frozen=True, eq=False)
class CallShapes:
    """The shapes of one call.

    Attributes:
        profile: the index of the first profile that holds them; 0 where everything is static.
        inputs, outputs: static Inputs by name.
    """

    profile: int
    inputs: Mapping[str, Input]
    outputs: Mapping[str, Input]


class Shapes:
    """All shapes that a network takes and gives.

    Args:
        inputs, outputs: by name.
        profiles: what the dimensions may be; none where everything is static.

    Attributes:
        names: of the inputs.
    """

    def __init__(self, inputs: Mapping[str, Input], outputs: Mapping[str, Input], profiles: Sequence[Ranges]) -> None:
        self.inputs, self.outputs, self.profiles = inputs, outputs, tuple(profiles)
        self.names = tuple(inputs)
        self._static = None if profiles else CallShapes(0, inputs, outputs)
        self._fit = functools.lru_cache(maxsize=256)(self._fit_profile)

    def of_call(self, given: Mapping[str, Any]) -> CallShapes:
        """Return the shapes of a call; of a static network always its own, which the arrays are yet to be checked for.

        Args:
            given: an array for each input, in order.

        Raises:
            DTypeError: something is not an array.
            ShapeError: the shapes are in no profile, or one dimension has two lengths.
        """
        if self._static is not None:
            return self._static
        for name, array in given.items():
            check_is_array(name, array)
        return self._fit(*(tuple(array.shape) for array in given.values()))

    def _fit_profile(self, *shapes: tuple[int, ...]) -> CallShapes:
        found: dict[str, tuple[int, str]] = {}  # the length of each dimension, and the input that it comes from
        for (name, spec), shape in zip(self.inputs.items(), shapes, strict=True):
            wrong = len(shape) != len(spec.shape)
            for expected, length in zip(spec.shape, shape, strict=False):
                if not isinstance(expected, Dim):
                    wrong |= expected != length
                elif found.setdefault(expected.name, (length, name))[0] != length:
                    first, other = found[expected.name]
                    raise ShapeError(
                        f"dimension {expected.name!r} has two lengths in one call",
                        f"{first} in input {other!r}, {length} in input {name!r}",
                    )
            if wrong:
                raise ShapeError(f"input {name!r} has the wrong shape", f"expected {spec.shape}", f"received {shape}")
        lengths = {name: length for name, (length, _) in found.items()}
        for index, profile in enumerate(self.profiles):
            if all(dim.holds(lengths[name]) for name, dim in profile.items()):
                return CallShapes(index, _at(self.inputs, lengths), _at(self.outputs, lengths))
        raise self._outside(lengths)

    def _outside(self, lengths: Mapping[str, int]) -> ShapeError:
        several = len(self.profiles) > 1
        details = []
        for index, profile in enumerate(self.profiles):
            outside = [
                f"{dim.describe()}; received {lengths[name]}"
                for name, dim in profile.items()
                if not dim.holds(lengths[name])
            ]
            details += [f"profile {index}: {line}" if several else line for line in outside]
        where = f"in none of the {len(self.profiles)} profiles" if several else "outside the profile"
        return ShapeError(f"the inputs' shapes are {where}", *details)


def _at(specs: Mapping[str, Input], lengths: Mapping[str, int]) -> dict[str, Input]:
    return {name: spec.with_shape(tuple(evaluate(n, lengths) for n in spec.shape)) for name, spec in specs.items()}


def check_arrays(shapes: Shapes, given: Mapping[str, Any]) -> CallShapes:
    """Check arrays or tensors on the host against a network's inputs, and return the shapes of the call."""
    call = shapes.of_call(given)
    for name, array in given.items():
        check_array(name, call.inputs[name], array)
    return call


def lengths_in(profile: Ranges, shape: Sequence[Length], which: str) -> tuple[int, ...]:
    """Return a shape of an input at the ``min``, ``opt`` or ``max`` of a profile."""
    return tuple(getattr(profile[n.name], which) if isinstance(n, Dim) else n for n in shape)
