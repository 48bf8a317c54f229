"""The interpreter: the layers of a definition as a list of steps, run one after another."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import torch

from trtnn.plugins.layer import PluginLayer
from trtnn.reading import present_inputs, read_layers
from trtnn.reference import layers  # noqa: F401  (fills the registry)
from trtnn.reference.registry import function_of


class Step(NamedTuple):
    """One layer: its function, the names of the tensors it reads and writes, and those that nothing reads after it."""

    function: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dead: tuple[str, ...]


Results = tuple[torch.Tensor, ...]


def run_step(function: Callable[..., Any], inputs: Iterable[torch.Tensor]) -> Results:
    """Return all that a layer's function gives."""
    result = function(*inputs)
    return result if isinstance(result, tuple) else (result,)


def _compute(index: int, step: Step, inputs: list[torch.Tensor]) -> Results:
    return run_step(step.function, inputs)


class Interpreter:
    """A network definition, read back once and ready to run.

    Args:
        definition: an ``INetworkDefinition`` whose layers stand in an order in which they can run.
        trt: the TensorRT module that it came from.
        plugins: what its plugins were made of, by the names of their layers.

    Raises:
        UnsupportedError: it holds a layer that the reference does not know.
    """

    def __init__(self, definition: Any, trt: ModuleType, plugins: Mapping[str, PluginLayer]) -> None:
        steps = []
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            for kind, layer in read_layers(definition, trt):
                inputs = tuple(layer.get_input(i).name for i in present_inputs(layer))
                outputs = tuple(layer.get_output(i).name for i in range(layer.num_outputs))
                steps.append((function_of(kind, layer, plugins.get(layer.name)), inputs, outputs))
        last_use = {name: i for i, (_, inputs, outputs) in enumerate(steps) for name in (*outputs, *inputs)}
        self._steps = [
            Step(*step, dead=tuple(n for n in {*step[1], *step[2]} if last_use[n] == i)) for i, step in enumerate(steps)
        ]

    def __call__(
        self,
        inputs: Mapping[str, torch.Tensor],
        wanted: Iterable[str],
        compute: Callable[[int, Step, list[torch.Tensor]], Results] = _compute,
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
            for index, step in enumerate(self._steps):
                results = compute(index, step, [values[name] for name in step.inputs])
                values.update(zip(step.outputs, results, strict=True))
                for name in step.dead:
                    if name not in wanted:
                        del values[name]
        return {name: values[name] for name in wanted}
