"""State dicts: what one holds, read as arrays and matched with the parameters and buffers of a module."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from trtnn.arrays import array_of_torch, is_masked_array, is_torch
from trtnn.checkpoint.prefixes import unwrapped, within_wrappers
from trtnn.checkpoint.state_dict import ADAPTERS, SHARD, metadata_of
from trtnn.errors import ArgumentError, DTypeError, ShapeError, StateDictError, named
from trtnn.graph.quantization import BUFFERS, held_by
from trtnn.parameter import Buffer, Parameter

_MOST_LISTED = 10  # of each kind of what does not fit
_MOST_PLACES = 20  # of names whose class is looked up for a message
_COUNTER = "num_batches_tracked"  # of BatchNorm in training; an engine has no use for it
# What an array that is no numbers holds, by the kind of its type.
_NO_NUMBERS = {"c": "complex numbers", "O": "Python objects", "U": "text", "S": "text", "M": "dates", "m": "durations"}


@dataclass
class Match:
    """What of a state dict goes where, and what does not fit.

    Attributes:
        arrays: the parameters and buffers that are in the state dict, each with its array.
        missing: names that the module has and the state dict has not, in the module's order. A parameter with several
            names is there under one of them.
        unexpected: names that the state dict has and the module has not, in the state dict's order.
        mismatched: lines that say which entries have a wrong shape, in the module's order.
        refused: lines that say which entries are no numbers, or contradict each other, in the module's order.
    """

    arrays: list[tuple[Parameter, np.ndarray]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def note_new_weights(
    own: Mapping[str, Parameter], arrays: Sequence[tuple[Parameter, np.ndarray]], state_dict: Mapping[str, Any]
) -> None:
    """Note of each ``weight_scale`` that is older than the weights that are loaded.

    It is where it stays, and where it comes with weights that an adapter was merged into.

    Args:
        own: all parameters and buffers by name.
        arrays: those that are to take an array, each with that.
        state_dict: what they come of.
    """
    scales = [member for name, member in own.items() if name.endswith("weight_scale") and isinstance(member, Buffer)]
    if not scales:
        return
    taken = {id(member): array for member, array in arrays}
    is_learned = any(not isinstance(member, Buffer) and member.data is not array for member, array in arrays)
    for scale in scales:
        if id(scale) in taken and not _same(scale.data, taken[id(scale)]):
            held_by(scale, anew=True).is_older = ADAPTERS in metadata_of(state_dict)
        elif scale.data is not None and is_learned:
            held_by(scale).is_older = True


def _same(held: np.ndarray | None, other: np.ndarray) -> bool:
    return held is not None and np.array_equal(held, other)


def match(own: Mapping[str, Parameter], state_dict: Mapping[str, Any]) -> Match:
    """Match a state dict with the parameters and buffers of a module.

    Args:
        own: the module's by name; a shared one under each of its names.
        state_dict: what :func:`under_own_names` gives.
    """
    entries = {n: value for n, value in state_dict.items() if n in own or n.rpartition(".")[2] != _COUNTER}
    present = {id(member) for name, member in own.items() if name in entries}
    result = Match(
        missing=[name for name, member in own.items() if id(member) not in present and not member.optional],
        unexpected=[name for name in entries if name not in own],
    )
    left_out = metadata_of(state_dict).get("left_out", {})
    first_of: dict[int, tuple[str, np.ndarray]] = {}
    for name, member in own.items():
        if name not in entries:
            if name in left_out:
                result.refused.append(f"not taken: {name}: {left_out[name]}, which the file has in place of numbers")
            continue
        try:
            array = _converted(member, _shaped(member, as_array(entries[name])))
        except ShapeError as error:
            result.mismatched.append(f"wrong shape: {name}: {error.summary}")
            continue
        except DTypeError as error:
            result.refused.append(f"not taken: {': '.join((name, error.summary, *error.details))}")
            continue
        first, before = first_of.setdefault(id(member), (name, array))
        if first == name:
            result.arrays.append((member, array))
        elif (place := _first_difference(before, array)) is not None:
            result.refused.append(
                f"not taken: {first} and {name} are one parameter and differ: "
                f"at {place} the one has {before[place]!s}, the other {array[place]!s}"
            )
    return result


def under_own_names(own: Mapping[str, Parameter], state_dict: Any) -> Mapping[str, Any]:
    """Return what of a state dict has all that a module needs, where that is under a prefix or normalised there.

    Where the module's own names have one that files are read without, such as ``module.``, it is put back.

    Args:
        own: the module's parameters and buffers by name; a shared one under each of its names.
        state_dict: what is to be a mapping of names to arrays.

    Raises:
        ArgumentError: it is no mapping of strings.
        StateDictError: it holds a state dict instead of being one.
    """
    check_is_state_dict(own, state_dict)
    there = {id(member) for name, member in own.items() if name in state_dict}
    if not state_dict or all(id(member) in there or member.optional for member in own.values()):
        return state_dict
    for part in (within_wrappers(own, state_dict), *unwrapped(state_dict)):
        inside = {id(member) for name, member in own.items() if name in part}
        if all(id(member) in inside or member.optional for member in own.values()):
            return part
    return state_dict


def misfit(model: Any, own: Mapping[str, Parameter], state_dict: Mapping[str, Any], matched: Match) -> StateDictError:
    """Return the error of a state dict that does not fit a module, with the first of each kind of what does not."""
    hints = [model.explain_state_dict(state_dict), metadata_of(state_dict).get(SHARD) if matched.missing else None]
    if matched.missing and all(name.rpartition(".")[2] in BUFFERS for name in matched.missing):
        hints.append("the model is quantised, and these have not all its scales: strict=False keeps those that it has")
    refused = f", {len(matched.refused)} not taken" if matched.refused else ""
    wrong = [*matched.missing, *(line.split(": ")[1] for line in matched.mismatched)]
    places = dict.fromkeys(filter(None, (declared_at(model, name) for name in wrong[:_MOST_PLACES])))
    return StateDictError(
        f"the state dict does not fit {type(model).__name__}: {len(matched.missing)} missing, "
        f"{len(matched.unexpected)} unexpected, {len(matched.mismatched)} of the wrong shape{refused}; "
        "nothing was loaded",
        *filter(None, hints),
        *(f"missing: {name} {own[name].shape}" for name in matched.missing[:_MOST_LISTED]),
        *_more("missing", matched.missing),
        *(f"unexpected: {name} {describe(state_dict[name])}" for name in matched.unexpected[:_MOST_LISTED]),
        *_more("unexpected", matched.unexpected),
        *matched.mismatched[:_MOST_LISTED],
        *_more("wrong shape", matched.mismatched),
        *matched.refused[:_MOST_LISTED],
        *_more("not taken", matched.refused),
        *(f"declared in {place}" for place in places),
    )


def _more(kind: str, entries: Sequence[str]) -> list[str]:
    """Return a line that says how many more entries there are of a kind than are listed, or none."""
    return [f"{kind}: {len(entries) - _MOST_LISTED} more"] if len(entries) > _MOST_LISTED else []


def declared_at(model: Any, name: str) -> str | None:
    """Return the class of the user's own, with file and line, that declares what a state dict has under ``name``."""
    owner, rest, parts = model, name.split("."), name.split(".")
    module = model
    for i, part in enumerate(parts[:-1], 1):
        module = module._modules.get(part)
        if module is None:
            return None
        if not type(module).__module__.startswith("trtnn."):
            owner, rest = module, parts[i:]
    try:
        lines, first = inspect.getsourcelines(type(owner))
        file = inspect.getsourcefile(type(owner))
    except (OSError, TypeError):
        return None
    declares = re.compile(rf"\s*self\.{re.escape(rest[0])}\b.*=")
    at = next((i for i, line in enumerate(lines) if declares.match(line)), 0)
    return f"{type(owner).__name__}, {file}:{first + at}: {lines[at].strip()}"


def describe(value: Any) -> str:
    """Return the shape of an entry of a state dict, or what it is in place of an array."""
    shape = () if isinstance(value, (bool, int, float)) else getattr(value, "shape", None)
    return str(tuple(shape)) if isinstance(shape, tuple) else f"({named(value)})"


def as_array(value: Any) -> np.ndarray:
    """Return the numbers of an entry of a state dict, as they are where NumPy can hold them so.

    bfloat16 and fp8 become float32, which holds the same numbers; foreign byte orders become this machine's.

    Raises:
        DTypeError: it is no array of numbers; the summary says what it is.
    """
    if type(value) is np.ndarray and value.dtype.kind in "biuf" and value.dtype.isnative:  # as nearly always
        return value
    try:
        if is_torch(value):
            value = array_of_torch(value)
        if is_masked_array(value) and np.ma.is_masked(value):
            raise DTypeError("a masked array, of which some numbers are missing", "fill them: x.filled(0)")
        if not isinstance(value, (bool, int, float, complex, np.generic)) and not hasattr(value, "__array__"):
            raise DTypeError(f"{named(value)}, which is no array")
        array = np.asarray(value)
    except DTypeError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:  # of what others make of their own arrays
        raise DTypeError(f"{named(value)}, which gives no array", str(error).partition("\n")[0]) from None
    if array.dtype.kind == "V" and array.dtype.names is None:  # ml_dtypes' types, which NumPy knows no kind of
        types = [kind for kind in (np.int8, np.float32) if np.can_cast(array.dtype, kind)]
        array = array.astype(types[0]) if types else array
    if array.dtype.kind not in "biuf":
        raise DTypeError(f"an array of {_NO_NUMBERS.get(array.dtype.kind, 'records')} ({array.dtype})")
    return array if array.dtype.isnative else array.astype(array.dtype.type)


def check_is_state_dict(own: Mapping[str, Parameter], state_dict: Any) -> None:
    """Check that what is given as a state dict is one: a mapping of names to arrays.

    Args:
        own: the names of who takes it, none where they are not known.
        state_dict: what is given.

    Raises:
        ArgumentError: it is something else, such as a path or a module.
        StateDictError: it holds one under one of its names.
    """
    if not isinstance(state_dict, Mapping):
        hints = ['read a file by trtnn.load: model.load_state_dict(trtnn.load("weights.pt"))']
        if callable(getattr(state_dict, "state_dict", None)):
            hints = ["give what its state_dict() returns"]
        elif not isinstance(state_dict, (str, PurePath)):
            hints = []
        raise ArgumentError(f"a state dict is a mapping of names to arrays, not a {named(state_dict)}", *hints)
    if others := [name for name in state_dict if not isinstance(name, str)]:
        raise ArgumentError(f"the names in a state dict are strings, not {others[0]!r}")
    if any(name in own for name in state_dict):
        return
    inner = {name: {*_names_in(value)} for name, value in state_dict.items()}
    if any(inner.values()):
        best = max(inner, key=lambda name: len(inner[name] & own.keys()))  # the first of those that fit alike
        best = best if inner[best] & own.keys() else max(inner, key=lambda name: len(inner[name]))
        call = "" if isinstance(state_dict[best], Mapping) else ".state_dict()"
        raise StateDictError(
            f"this is no state dict, but holds one under {best!r}", f"load that: checkpoint[{best!r}]{call}"
        )


def _names_in(value: Any) -> Iterator[str]:
    """Yield the names of the arrays in what may be a state dict, or a module that has one."""
    if not isinstance(value, Mapping):
        value = value.state_dict() if callable(getattr(value, "state_dict", None)) else {}
    return (name for name, array in value.items() if isinstance(name, str) and hasattr(array, "shape"))


def _shaped(member: Parameter, array: np.ndarray) -> np.ndarray:
    if array.shape == member.shape:
        return array
    if array.ndim == 1 and array.size == member.numel():
        return array.reshape(member.shape)
    raise ShapeError(f"expected {member.shape}, received {array.shape}")


def _converted(member: Parameter, array: np.ndarray) -> np.ndarray:
    """Return floating numbers for what is floating, whole ones for what is whole; the width stays the array's.

    Raises:
        DTypeError: a number would become another.
    """
    declared = member.declared
    if declared is None or _kind(declared) == _kind(array.dtype):
        return array
    with np.errstate(invalid="ignore", over="ignore"):
        converted = array.astype(declared)
    if np.array_equal(_back(converted, array.dtype), array):
        return converted
    raise DTypeError(f"an array of {array.dtype}, of which {declared} does not hold every number")


def _kind(dtype: np.dtype) -> str:
    return "i" if dtype.kind == "u" else dtype.kind


def _back(converted: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return converted numbers in the type that they had; zero where that does not reach, for some CPUs saturate."""
    if dtype.kind not in "iu" or converted.dtype.kind != "f":
        return converted.astype(dtype)
    limits = np.iinfo(dtype)
    inside = (converted >= float(limits.min)) & (converted < float(limits.max) + 1)  # 2^64 - 1 is 2^64 as a float
    return np.where(inside, converted, 0).astype(dtype)


def _first_difference(one: np.ndarray, other: np.ndarray) -> tuple[int, ...] | None:
    """Return where two arrays of one shape differ first, bit by bit, or None."""
    if one is other:
        return None
    if one.dtype == other.dtype and one.dtype.itemsize <= 8:
        bits = f"u{one.dtype.itemsize}"
        differs = one.view(bits) != other.view(bits)
    else:
        differs = (one != other) & ~(np.isnan(one) & np.isnan(other))
    if not differs.any():
        return None
    return tuple(map(int, np.unravel_index(np.argmax(differs), one.shape)))
