"""What a page shows of a network or of an engine, as plain values that go into the page as JSON.

A *row* is what is drawn: a layer of a network, or a layer of an engine, which may have been fused of several of the
network's. What is not known is None, and the page says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trtnn.errors import escape_controls
from trtnn.shapes.profiles import Ranges
from trtnn.shapes.spec import TensorSpec
from trtnn.shapes.symbolic import Length, at_opt, evaluate, is_static


@dataclass(frozen=True)
class TensorFacts:
    """A tensor between rows.

    Attributes:
        name: in the definition or the plan.
        dtype: torch's name of its element type; empty where nothing tells.
        shape: the lengths, symbolic ones as text, -1 for one that nothing tells.
        ranges: for each optimisation profile the shape at its ``min``, ``opt`` and ``max``; none of a static tensor.
    """

    name: str
    dtype: str
    shape: Sequence[int | str]
    ranges: Sequence[Mapping[str, Sequence[int]]] = ()


@dataclass(frozen=True)
class WeightFacts:
    """An array that a layer holds, as it is in the network: a BatchNorm that was folded into it is in its numbers.

    Attributes:
        name: what it is, such as ``"kernel"``.
        dtype, shape: of the array.
        least, largest: of its finite numbers; None where there are none.
        counts: how many of its finite numbers are in each of equal parts of that range; none where all are one number.
        not_finite: how many numbers are infinite or NaN.
    """

    name: str
    dtype: str
    shape: Sequence[int]
    least: float | None
    largest: float | None
    counts: Sequence[int]
    not_finite: int


@dataclass(frozen=True)
class RowFacts:
    """A layer of a network or of an engine; figures of dynamic ones are at the lengths that are fastest.

    Attributes:
        name: in the definition or the plan.
        module: the path of the innermost module that holds all of it; None for what TensorRT added.
        modules: the paths of all modules that it was made of.
        kind: TensorRT's type of it.
        inputs, outputs: the names of its tensors.
        line: ``file:line`` of the user's code that made it.
        flops: two for each multiply-and-add of convolutions and matrix products, as ``Network.flops``.
        parameters: the numbers that it holds.
        activation_bytes: what its outputs take.
        moved_bytes: what it reads and writes, weights among it, where nothing stays in the GPU's caches.
        asked: the type that it was traced in, or that its inputs are quantised to.
        built: what TensorRT chose: the type of its weights, or where that is not told of its first output.
        milliseconds, share: its time, and the part that is of the time of all.
        weights: what it holds.
        layers: of an engine's row the names of the network's layers that it was made of.
        details: what else TensorRT tells, as text by name.
    """

    name: str
    module: str | None
    modules: Sequence[str]
    kind: str
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    line: str | None = None
    flops: int | None = None
    parameters: int | None = None
    activation_bytes: int | None = None
    moved_bytes: int | None = None
    asked: str | None = None
    built: str | None = None
    milliseconds: float | None = None
    share: float | None = None
    weights: Sequence[WeightFacts] = ()
    layers: Sequence[str] = ()
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModuleFacts:
    """A module: its path, its class, ``file:line`` where the class is defined, and errors by what they are of."""

    path: str
    kind: str = ""
    defined: str | None = None
    errors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Roofline:
    """What a GPU can do at most.

    Attributes:
        name: of the GPU, or where the figures are from.
        flops_per_second: floating-point operations by the name of the element type that is multiplied.
        bytes_per_second: that its memory moves.
    """

    name: str
    flops_per_second: Mapping[str, float]
    bytes_per_second: float


@dataclass(frozen=True)
class Facts:
    """All that a page shows of one network or engine.

    Attributes:
        title: its name.
        kind: ``"network"`` or ``"engine"``.
        about: what is said of the whole, as text by name.
        notes: what cannot be shown, and why.
        inputs, outputs: the names of its tensors.
        profiles: for each optimisation profile the range of each dimension, as text.
        modules: in the order in which they run.
        tensors, rows: in the order in which they are made.
        roofline: of the GPU, where it is known.
    """

    title: str
    kind: str
    about: Mapping[str, str]
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    profiles: Sequence[Mapping[str, str]] = ()
    modules: Sequence[ModuleFacts] = ()
    tensors: Sequence[TensorFacts] = ()
    rows: Sequence[RowFacts] = ()
    notes: Sequence[str] = ()
    roofline: Roofline | None = None

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values; a number that is not finite is text, and no text steers who shows it."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return escape_controls(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {escape_controls(str(key)): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def tensor_facts(name: str, shape: Sequence[Length], dtype: str, profiles: Sequence[Ranges]) -> TensorFacts:
    """Return a tensor's facts, with its shape at the ends of each profile where it is dynamic."""
    shown = [length if isinstance(length, int) else str(length) for length in shape]
    ranges = [] if is_static(shape) else [_ends(shape, profile) for profile in profiles]
    return TensorFacts(name, dtype, shown, ranges)


def _ends(shape: Sequence[Length], profile: Ranges) -> dict[str, list[int]]:
    ends = {which: {name: getattr(dim, which) for name, dim in profile.items()} for which in ("min", "opt", "max")}
    return {which: [evaluate(length, lengths) for length in shape] for which, lengths in ends.items()}


def spec_facts(specs: Mapping[str, TensorSpec], profiles: Sequence[Ranges]) -> list[TensorFacts]:
    """Return the facts of inputs or outputs."""
    return [tensor_facts(name, spec.shape, spec.dtype.name, profiles) for name, spec in specs.items()]


def profile_facts(profiles: Sequence[Ranges]) -> list[dict[str, str]]:
    """Return in words what each dimension may be, profile by profile."""
    return [{name: f"{dim.describe()}, fastest at {dim.opt}" for name, dim in profile.items()} for profile in profiles]


def quantised_text(types: Iterable[str]) -> str:
    """Return in words how many modules are quantised, of the type that each is quantised to."""
    return ", ".join(f"{name}: {count} module{'s' * (count != 1)}" for name, count in Counter(types).items())


def size_at_opt(shape: Iterable[Length], itemsize: int) -> int:
    """Return the bytes of a tensor at the lengths that are fastest."""
    return math.prod(map(at_opt, shape)) * itemsize
