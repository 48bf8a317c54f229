"""The interpreter: the layers of a definition as a list of steps, run one after another, and those of loops again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch

from trtnn.graph.definition import loop_ranges, present_inputs, read_layers
from trtnn.graph.plugin_layer import PluginLayer
from trtnn.reference import layers  # noqa: F401  (fills the registry)
from trtnn.reference.registry import function_of


class Step(NamedTuple):
    """One layer: its function, and the names of the tensors it reads and writes."""

    function: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


Results = tuple[torch.Tensor, ...]
Compute = Callable[[int, Step, list[torch.Tensor]], Results]


def run_step(function: Callable[..., Any], inputs: Iterable[torch.Tensor]) -> Results:
    """Return all that a layer's function gives."""
    result = function(*inputs)
    return result if isinstance(result, tuple) else (result,)


def _compute(index: int, step: Step, inputs: list[torch.Tensor]) -> Results:
    return run_step(step.function, inputs)


class _Loop(NamedTuple):
    """The indices of a loop's layers; its body is all between the first and the last that are not its boundary."""

    limit: int
    iterators: list[int]
    recurrences: list[int]
    body: list[int]
    scans: list[int]
    lasts: list[int]


def _read_loop(places: range, entries: Sequence[tuple[str, Any]]) -> _Loop:
    def of(*kinds: str) -> list[int]:
        return [index for index in places if entries[index][0] in kinds]

    (limit,), outputs = of("TRIP_LIMIT"), of("LOOP_OUTPUT")
    lasts = [index for index in outputs if entries[index][1].kind.name == "LAST_VALUE"]
    scans = [index for index in outputs if index not in lasts]
    body = [index for index in places if not hasattr(entries[index][1], "loop")]
    return _Loop(limit, of("ITERATOR"), of("RECURRENCE"), body, scans, lasts)


class Interpreter:
    """A network definition, read back once and ready to run.

    Args:
        definition: an ``INetworkDefinition`` whose layers stand in an order in which they can run, those of a loop
            together and of no other.
        trt: the TensorRT module that it came from.
        plugins: what its plugins were made of, by the names of their layers.

    Raises:
        UnsupportedError: it holds a layer that the reference does not know.
    """

    def __init__(self, definition: Any, trt: ModuleType, plugins: Mapping[str, PluginLayer]) -> None:
        entries = list(read_layers(definition, trt))
        self._steps = []
        for kind, layer in entries:
            inputs = tuple(layer.get_input(i).name for i in present_inputs(layer))
            outputs = tuple(layer.get_output(i).name for i in range(layer.num_outputs))
            self._steps.append(Step(function_of(kind, layer, plugins.get(layer.name)), inputs, outputs))
        loops = loop_ranges(entries)
        inside = {index for places in loops for index in places}
        alone = [range(index, index + 1) for index in range(len(entries)) if index not in inside]
        last_use: dict[str, int] = {}
        self._parts: list[tuple[int | _Loop, list[str]]] = []  # each with what nothing reads after it
        for places in sorted([*alone, *loops], key=lambda places: places.start):
            for step in self._steps[places.start : places.stop]:
                last_use |= dict.fromkeys((*step.inputs, *step.outputs), len(self._parts))
            self._parts.append((_read_loop(places, entries) if places in loops else places.start, []))
        for name, part in last_use.items():
            self._parts[part][1].append(name)

    def __call__(
        self, inputs: Mapping[str, torch.Tensor], wanted: Iterable[str], compute: Compute = _compute
    ) -> dict[str, torch.Tensor]:
        """Run every layer.

        Args:
            inputs: the network's inputs by name.
            wanted: the names of the tensors to return; others are freed once nothing reads them any more.
            compute: gives the outputs of each step from its index, itself and its inputs; its own function if not told.
        """
        wanted = frozenset(wanted)
        values = dict(inputs)
        with torch.inference_mode():
            for part, dead in self._parts:
                if isinstance(part, _Loop):
                    self._run_loop(part, values, compute)
                else:
                    values |= _run(part, self._steps[part], values, compute)
                for name in dead:
                    if name not in wanted:
                        del values[name]
        return {name: values[name] for name in wanted}

    def _run_loop(self, loop: _Loop, values: dict[str, torch.Tensor], compute: Compute) -> None:
        def run(index: int, which: slice = slice(None)) -> dict[str, torch.Tensor]:
            step = self._steps[index]
            return _run(index, step._replace(inputs=step.inputs[which]), values, compute)

        def reads(index: int) -> str:
            return self._steps[index].inputs[0]

        run(loop.limit)
        elements = {name: whole for index in loop.iterators for name, whole in run(index).items()}
        for index in loop.recurrences:
            values |= run(index, slice(1))
        scanned: dict[str, list[torch.Tensor]] = {reads(index): [] for index in loop.scans}
        for trip in range(int(values[reads(loop.limit)])):
            values |= {name: whole[trip] for name, whole in elements.items()}
            for index in loop.body:
                values |= run(index)
            for name, each in scanned.items():
                each.append(values[name])
            values |= {name: value for index in loop.recurrences for name, value in run(index, slice(1, 2)).items()}
        for index in loop.lasts:
            values |= run(index)
        values |= {name: torch.stack(each) for name, each in scanned.items()}
        for index in loop.scans:
            values |= run(index)


def _run(index: int, step: Step, values: Mapping[str, torch.Tensor], compute: Compute) -> dict[str, torch.Tensor]:
    results = compute(index, step, [values[name] for name in step.inputs])
    return dict(zip(step.outputs, results, strict=True))
