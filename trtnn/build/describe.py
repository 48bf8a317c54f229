"""What an engine file says of the network that its engine was built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trtnn.engine.file import describe_plan
from trtnn.engine.metadata import numbered
from trtnn.graph.graph import Graph
from trtnn.shapes.profiles import profile_to_json
from trtnn.shapes.spec import TensorSpec


def describe(graph: Graph, targets: Sequence[str], metadata: Mapping[str, Any], plan: Any) -> dict[str, Any]:
    """Return the description of an engine built from ``graph``, as JSON values.

    Args:
        graph: what it was built from.
        targets: the GPUs that it is for, by compute capability.
        metadata: the model's own.
        plan: the serialised engine.
    """
    placement = graph.placement
    quantized = {} if placement is None else {path: placement.modules[path].name for path in placement.multiplying}
    return {
        **_class_keys(metadata),
        **metadata,
        **_image_keys(graph.inputs),  # the metadata may hold another image size: that of the training
        "precision": graph.precision.compute.name,
        "fp32_modules": list(graph.precision.fp32_modules),
        **({"fp16_attention": True} if graph.precision.fp16_attention else {}),
        "inner_outputs": graph.inner_outputs,
        **({"quantized": quantized} if quantized else {}),
        **({"plugins": sorted({made.plugin for made in graph.plugins.values()})} if graph.plugins else {}),
        **({"profiles": [profile_to_json(profile) for profile in graph.profiles]} if graph.profiles else {}),
        **describe_plan(graph.backend, targets, graph.inputs, graph.outputs, graph.structure, plan),
    }


def _image_keys(inputs: Mapping[str, TensorSpec]) -> dict[str, Any]:
    """Return the keys by which other tools know which images an engine takes, where it takes images.

    Of any size it is the one that it is fastest at, as in Ultralytics' files.
    """
    shapes = [spec.at_opt().shape for spec in inputs.values()]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        return {}
    batch, channels, *size = shapes[0]
    return {"batch": batch, "channels": channels, "imgsz": size}


def _class_keys(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what readers of Ultralytics' files do not do without, for a model of so many classes that has it not."""
    classes = metadata.get("classes")
    return {"stride": 1, "names": numbered(classes)} if isinstance(classes, int) else {}
