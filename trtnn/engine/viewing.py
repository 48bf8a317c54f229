"""The facts of an engine for its page: TensorRT's layers with their times, and what the network tells of each."""

from __future__ import annotations

import dataclasses
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trtnn.dtypes import as_dtype
from trtnn.engine.file import SHOWN
from trtnn.engine.inspector import (
    layer_ends,
    layer_names,
    layer_profile,
    network_parts,
    read_information,
    read_layer,
    tensor_type,
)
from trtnn.engine.timing import EngineTiming, holder
from trtnn.errors import ArgumentError, DTypeError, EngineError
from trtnn.files import open_regular
from trtnn.shapes.call import Shapes
from trtnn.table import cell
from trtnn.viewer.facts import (
    Facts,
    ModuleFacts,
    RowFacts,
    TensorFacts,
    profile_facts,
    quantised_text,
    spec_facts,
)

_DETAILS = ("TacticName", "TacticValue", "ParameterType", "StreamId")  # of those that the inspector tells


def engine_facts(
    description: Mapping[str, Any],
    shapes: Shapes | None,
    plan_bytes: int,
    layers: Sequence[Any] | None,
    timing: EngineTiming | None,
    network: Facts | None,
    notes: Sequence[str],
) -> Facts:
    """Return the facts of an engine, as far as they are known.

    Args:
        description: of the engine.
        shapes: its inputs, outputs and profiles; None where only TensorRT can tell them, and it is not here.
        plan_bytes: of the plan.
        layers: what the inspector says of each layer; None where it is not here.
        timing: the time of each.
        network: the facts of the network that it was built from.
        notes: what cannot be shown, and why.

    Raises:
        EngineError: the times are of none of these layers.
        ArgumentError: the network is of another model, or has other inputs or outputs, than the engine.
    """
    if network is not None and shapes is not None:
        _check_network(network, shapes, description.get("model"))
    ends = [] if shapes is None else [*spec_facts({**shapes.inputs, **shapes.outputs}, shapes.profiles)]
    profile, of_profile = _of_one_profile(layers or (), timing)
    if len(of_profile) < len(layers or ()):
        others = " FLOPs are known of the first profile alone." if profile else ""
        notes = [*notes, f"Layers are those of optimisation profile {profile}: each has layers of its own.{others}"]
    tensors = _tensors(of_profile, {tensor.name: tensor for tensor in ends}, network)
    rows = [_row(row, tensors, profile) for row in of_profile]
    if timing is not None:
        rows = _timed(rows, timing)
    if network is not None:
        rows = _joined(rows, network)
        if profile:
            rows = [dataclasses.replace(row, flops=None) for row in rows]
    about = {key.replace("_", " "): cell(description[key]) for key in SHOWN if description.get(key)}
    quantised = description.get("quantized")
    if isinstance(quantised, Mapping) and quantised:
        about["quantised"] = quantised_text(map(str, quantised.values()))
    about["plan"] = f"{plan_bytes / 1e6:.1f} MB"
    if timing is not None:
        about["time of all layers"] = f"{timing.milliseconds:.4f} ms, {_runs(timing.runs)}"
    modules = list(network.modules) if network is not None else []
    known = {module.path for module in modules}
    paths = dict.fromkeys(path for row in rows for path in (row.module, *row.modules) if path is not None)
    return Facts(
        title=str(description.get("model") or "engine"),
        kind="engine",
        about=about,
        inputs=[] if shapes is None else list(shapes.inputs),
        outputs=[] if shapes is None else list(shapes.outputs),
        profiles=[] if shapes is None else profile_facts(shapes.profiles),
        modules=[*modules, *(ModuleFacts(path) for path in paths if path not in known)],
        tensors=list(tensors.values()),
        rows=rows,
        notes=[*notes, *_missing(rows, timing, network)],
    )


def read_layer_info(path: str | os.PathLike[str]) -> list[Any]:
    """Return what a file of ``trtexec --exportLayerInfo`` says of each layer.

    Raises:
        EngineError: it cannot be read, is no such file, or has no layers.
    """
    try:
        with open_regular(path) as file:
            layers = read_information(file.read())["Layers"]
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EngineError(
            f"{path} does not hold an engine's layers",
            reason,
            "trtexec --exportLayerInfo writes such a file, and engine.save_layer_info(path)",
        ) from error
    if not layers:
        raise EngineError(f"{path} holds no layers, so there is nothing to show of it")
    return layers


def _missing(rows: Sequence[RowFacts], timing: EngineTiming | None, network: Facts | None) -> list[str]:
    """Return what the page lacks for want of something that can be given."""
    if not rows:
        return [] if network is None else ["The network's own layers are on a page of its own: network.view()."]
    lines = []
    if timing is None:
        lines.append("Layers are without times: engine.timing(inputs) measures them on the engine's GPU.")
    if network is None:
        lines.append("FLOPs, weights and the user's lines are the network's, which was not given.")
    else:
        unknown = sum(row.flops is None for row in rows)
        if 0 < unknown < len(rows):
            lines.append(
                f"FLOPs of {unknown} of {len(rows)} layers are unknown: TensorRT does not tell which layers of the "
                "network they hold, or holds one in several."
            )
    return lines


def _runs(count: int) -> str:
    return "of one run" if count == 1 else f"medians of {count} runs"


def _check_network(network: Facts, shapes: Shapes, model: Any) -> None:
    """Raise ArgumentError for a network of another model, or of other inputs or outputs, than the engine's."""
    theirs = {tensor.name: tensor for tensor in network.tensors}
    ours = {tensor.name: tensor for tensor in spec_facts({**shapes.inputs, **shapes.outputs}, ())}
    name = network.about.get("model")
    same_ends = set(network.inputs) == set(shapes.inputs) and set(network.outputs) == set(shapes.outputs)
    same_shapes = same_ends and all(_may_be_equal(theirs[end].shape, one.shape) for end, one in ours.items())
    if not same_shapes or (model and name and model != name):
        raise ArgumentError(
            "the network is not the one that this engine was built from",
            f"the engine: {_ends_text(model, shapes.inputs, shapes.outputs, ours)}",
            f"the network: {_ends_text(name, network.inputs, network.outputs, theirs)}",
        )


def _may_be_equal(a: Sequence[int | str], b: Sequence[int | str]) -> bool:
    """Tell whether two shapes are of the same tensor; dynamic lengths may have other names."""
    static = [[length if isinstance(length, int) and length >= 0 else None for length in shape] for shape in (a, b)]
    return static[0] == static[1]


def _ends_text(model: Any, inputs: Iterable[str], outputs: Iterable[str], tensors: Mapping[str, TensorFacts]) -> str:
    """Return inputs and outputs in words: ``"yolov5n, images [1, 3, 640, 640] -> output [1, 25200, 85]"``."""
    sides = (", ".join(f"{name} [{', '.join(map(str, tensors[name].shape))}]" for name in s) for s in (inputs, outputs))
    return f"{f'{model}, ' if model else ''}{' -> '.join(sides)}"


def _tensors(layers: Sequence[Any], ends: Mapping[str, TensorFacts], network: Facts | None) -> dict[str, TensorFacts]:
    """Return the tensors by name; shapes are the network's where it has them, as it tells dynamic lengths too."""
    tensors = dict(ends)
    theirs = {tensor.name: tensor for tensor in network.tensors} if network is not None else {}
    for end in (end for row in layers for side in ("Inputs", "Outputs") for end in layer_ends(row, side)):
        name, dtype = str(end.get("Name", "")), tensor_type(end)
        if name in tensors:
            continue
        if name in theirs:
            tensors[name] = dataclasses.replace(theirs[name], dtype=dtype or theirs[name].dtype)
        else:
            tensors[name] = TensorFacts(name, dtype, _lengths(end.get("Dimensions")))
    return tensors


def _lengths(dimensions: Any) -> list[int]:
    """Return a shape as the inspector shows it; one length that is open where it shows none."""
    is_told = isinstance(dimensions, list) and all(type(length) is int for length in dimensions)
    return dimensions if is_told else [-1]


def _of_one_profile(layers: Sequence[Any], timing: EngineTiming | None) -> tuple[int, list[Any]]:
    """Return an optimisation profile and its layers: the one whose layers were timed, or the first."""
    profile = max((layer_profile(timed.name) for timed in timing.layers), default=0) if timing is not None else 0
    return profile, [row for row in layers if layer_profile(read_layer(row).name) == profile]


def _row(row: Any, tensors: Mapping[str, TensorFacts], profile: int) -> RowFacts:
    """Return what the inspector says of a layer of an optimisation profile."""
    one, parts = read_layer(row), network_parts(layer_names(row))
    layers = list(dict.fromkeys(part.name for part in parts)) if all(part.is_whole for part in parts) else []
    module = holder(one.paths) if one.paths else None
    if isinstance(row, str):
        return RowFacts(one.name, module, one.paths, one.kind, layers=layers)
    inputs, outputs = ([str(end.get("Name", "")) for end in layer_ends(row, side)] for side in ("Inputs", "Outputs"))
    written, read = (_sum([_size(tensors[name], profile) for name in names]) for names in (outputs, inputs))
    written = written if outputs else None  # every layer gives something: here it is not told
    held = _sum([_weight_size(row.get(key)) for key in ("Weights", "Bias")])
    return RowFacts(
        name=one.name,
        module=module,
        modules=one.paths,
        kind=one.kind,
        inputs=inputs,
        outputs=outputs,
        activation_bytes=written,
        moved_bytes=_sum([written, read, held]),
        built=_weight_type(row) or one.precision or None,
        layers=layers,
        details={key: str(row[key]) for key in _DETAILS if row.get(key) not in (None, "")},
    )


def _size(tensor: TensorFacts, profile: int) -> int | None:
    """Return the bytes of a tensor at a profile's fastest lengths, without what formats pad; None where unknown."""
    lengths = tensor.ranges[profile]["opt"] if profile < len(tensor.ranges) else tensor.shape
    numbers = [length for length in lengths if isinstance(length, int) and length >= 0]
    itemsize = _itemsize(tensor.dtype)
    return math.prod(numbers) * itemsize if itemsize is not None and len(numbers) == len(lengths) else None


def _itemsize(name: str) -> int | None:
    if name == "float8_e4m3fn":
        return 1
    try:
        return as_dtype(name).itemsize if name else None
    except DTypeError:
        return None


def _weight_type(row: Mapping[str, Any]) -> str:
    """Return the element type of a layer's weights, which it multiplies in; its output may be of another."""
    weights = row.get("Weights")
    return tensor_type({"Datatype": weights.get("Type")}) if isinstance(weights, dict) and weights.get("Count") else ""


def _weight_size(held: Any) -> int | None:
    """Return the bytes of weights as the inspector shows them: ``{"Type": "Half", "Count": 864}``; 0 where none are."""
    if not isinstance(held, dict) or held.get("Count") == 0:
        return 0
    count, itemsize = held.get("Count"), _itemsize(tensor_type({"Datatype": held.get("Type")}))
    return count * itemsize if isinstance(count, int) and itemsize is not None else None


def _sum(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _timed(rows: list[RowFacts], timing: EngineTiming) -> list[RowFacts]:
    """Return the rows with their times; layers that were timed and that the inspector does not show come at the end."""
    times: dict[str, tuple[float, float]] = {}
    for timed in timing.layers:  # one within a loop is reported each time that it runs
        milliseconds, share = times.get(timed.name, (0.0, 0.0))
        times[timed.name] = milliseconds + timed.milliseconds, share + timed.share
    names = Counter(row.name for row in rows)
    if rows and times.keys().isdisjoint(names):
        raise EngineError(
            "the times are not of this engine's layers",
            f"the engine has such as {rows[0].name}",
            f"the times are of such as {timing.layers[0].name}",
        )
    result = []
    for row in rows:  # of layers of one name nobody can tell whose the time is: it comes as a row of its own
        milliseconds, share = times.pop(row.name, (None, None)) if names[row.name] == 1 else (None, None)
        result.append(dataclasses.replace(row, milliseconds=milliseconds, share=share))
    for timed in timing.layers:
        if timed.name in times:
            milliseconds, share = times.pop(timed.name)
            result.append(
                RowFacts(
                    timed.name,
                    holder(timed.paths) if timed.paths else None,
                    timed.paths,
                    timed.kind,
                    built=timed.precision or None,
                    milliseconds=milliseconds,
                    share=share,
                )
            )
    return result


def _joined(rows: Sequence[RowFacts], network: Facts) -> list[RowFacts]:
    """Return the rows with what the network says of the layers that each was made of.

    Figures are sums over these, and only where TensorRT names all of them and no other row holds one of them too.
    """
    by_name = {row.name: row for row in network.rows}
    holders = Counter(name for row in rows for name in set(row.layers))
    return [_joined_row(row, by_name, holders) for row in rows]


def _joined_row(row: RowFacts, by_name: Mapping[str, RowFacts], holders: Mapping[str, int]) -> RowFacts:
    made_of = [by_name[name] for name in row.layers if name in by_name]
    asked = dict.fromkeys(one.asked for one in made_of if one.asked)
    lines = dict.fromkeys(one.line for one in made_of if one.line)
    is_whole = len(made_of) == len(row.layers) > 0 and all(holders[name] == 1 for name in row.layers)
    return dataclasses.replace(
        row,
        asked=", ".join(asked) or None,
        line=", ".join(lines) or None,
        flops=sum(one.flops or 0 for one in made_of) if is_whole else None,
        parameters=sum(one.parameters or 0 for one in made_of) if is_whole else None,
        weights=[weight for one in made_of for weight in one.weights],
    )
