"""Whether an engine keeps in fp32 what a weakly typed network pinned there, as TensorRT's engine inspector shows it.

The text is that of ``get_layer_information`` in JSON
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/engine-tools.html): for each layer of the engine
its name, in which the names of fused layers are joined, and its outputs, each with its name and ``Format/Datatype``.
What lies between the layers that were fused into one is not in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from trtnn.errors import BuildError

_NARROW = re.compile(r"\b(FP16|BF16|Half)\b", re.IGNORECASE)
_MOST_SHOWN = 5


class PinnedLayer(NamedTuple):
    """A layer that was asked to stay in fp32: its name, and those of its floating outputs."""

    name: str
    outputs: tuple[str, ...]


def fused_names(name: str) -> list[str]:
    """Return the names of the network's layers that one of an engine's was made of.

    TensorRT joins them with `` + ``, and wraps those that it computes point by point in ``PWN(...)``, with commas
    between them. What it made itself, such as ``Reformatting CopyNode for Input Tensor 0 to a``, has names of its own.
    """
    return [part for part in re.split(r" \+ |, |PWN\(|\)", name) if part]


def narrowed(layers: Iterable[str], pinned: Sequence[PinnedLayer]) -> list[str]:
    """Return a line for each output of an engine's layer that should be in fp32 and is narrower.

    These are the outputs that carry the name of a pinned layer's, and all that a layer gives which was made of pinned
    ones alone. Where shapes are dynamic TensorRT 8.6 tells no formats, in a context with shapes either, but the type of
    a convolution's weights: it counts for layers of pinned ones alone, since else the weights may be another's. What
    TensorRT does not tell counts as right.

    Args:
        layers: what the inspector says of each, in JSON.
        pinned: the layers to look for.
    """
    names = {pin.name for pin in pinned}
    tensors = {output for pin in pinned for output in pin.outputs}
    found = []
    for text in layers:
        built = json.loads(text, strict=False)  # not strict: metadata holds a control character
        if not isinstance(built, dict):  # a lone name, where the engine was built without details
            continue
        whole = names.issuperset(fused_names(built["Name"]))
        for output in built.get("Outputs", ()):
            kind = str(output.get("Format/Datatype", ""))
            if whole and kind.startswith("N/A") and isinstance(built.get("Weights"), dict):
                kind = f"weights of type {built['Weights'].get('Type')}"
            if (whole or output.get("Name") in tensors) and _NARROW.search(kind):
                found.append(f"{built['Name']} gives {output.get('Name')} as: {kind}")
    return found


def check_pinned(engine: Any, trt: Any, pinned: Sequence[PinnedLayer]) -> None:
    """Check that an ``ICudaEngine``, built with ``ProfilingVerbosity.DETAILED``, has its pinned layers in fp32.

    Raises:
        BuildError: it has not, with the layers.
    """
    inspector = engine.create_engine_inspector()
    kind = trt.LayerInformationFormat.JSON
    lines = narrowed((inspector.get_layer_information(i, kind) for i in range(engine.num_layers)), pinned)
    if lines:
        more = [f"... and {len(lines) - _MOST_SHOWN} more"] if len(lines) > _MOST_SHOWN else []
        raise BuildError(
            f"TensorRT built {len(lines)} outputs in less than the fp32 that was asked for",
            *lines[:_MOST_SHOWN],
            *more,
            "build it in fp32, or keep the modules around these in fp32 as well: fp32_modules=(...)",
        )
