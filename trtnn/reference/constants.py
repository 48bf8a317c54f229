"""What depends on constants alone in a definition that is still being written, computed at once."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch

from trtnn.graph.definition import present_inputs, read_layers
from trtnn.reference import layers  # noqa: F401  (fills the registry)
from trtnn.reference.interpreter import run_step
from trtnn.reference.registry import function_of


def evaluate(definition: Any, trt: ModuleType, tensor: Any) -> np.ndarray:
    """Return the numbers of an ITensor that no input of the network has a part in; bfloat16 as float32.

    Args:
        definition: the ``INetworkDefinition``, whose arrays are all filled.
        trt: the TensorRT module that it came from.
        tensor: the ITensor.
    """
    makers: dict[str, tuple[str, Any]] = {}
    for kind, layer in read_layers(definition, trt):
        makers |= {layer.get_output(i).name: (kind, layer) for i in range(layer.num_outputs)}
    wanted, needed = [tensor.name], {}
    while wanted:
        kind, layer = makers[wanted.pop()]
        if layer.name not in needed:
            needed[layer.name] = kind, layer
            wanted += [layer.get_input(i).name for i in present_inputs(layer)]
    values: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        for kind, layer in makers.values():  # in the order in which they were added, which is one that can be run
            if layer.name in needed and layer.get_output(0).name not in values:
                inputs = [values[layer.get_input(i).name] for i in present_inputs(layer)]
                results = run_step(function_of(kind, layer, None), inputs)
                values |= {layer.get_output(i).name: result for i, result in enumerate(results)}
    result = values[tensor.name]
    return (result.float() if result.dtype == torch.bfloat16 else result).numpy().copy()
