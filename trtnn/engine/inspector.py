"""The layers of an engine as TensorRT's inspector shows them, and the network's layers that each was made of.

The text is JSON (https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/engine-tools.html): for each
layer of the engine its name, in which the names of fused layers are joined, its type, and its outputs, each with its
name and ``Format/Datatype``. What lies between the layers that were fused into one is not in it.

trtnn names a layer after the module that made it, ``model.0.conv`` or ``model.0.conv/slice``, so the modules can be
read off an engine's layer; where its name tells nothing, as those of TensorRT 10's compiler do, the metadata that
TensorRT carries through a build does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from trtnn.errors import EngineError

# Layers that TensorRT makes by itself.
_ADDED = re.compile(
    r"\(Unnamed Layer\*|^(\[?trainStation|\[?HostToDeviceCopy|\[?DeviceToShapeHostCopy|shape_call|__my)|"
    r"^Reformatting CopyNode for Network "
)
# What TensorRT puts around the names of the layers that a layer is made of.
_AROUND = re.compile(
    r"^Reformatting CopyNode for (Input|Output) Tensor \d+ (to|from) |"
    r"\{ForeignNode\[|\]\}| copy$| (input|output) reformatter \d+$|\bPWN\(|[()]|"
    r"\b(copied_)?(re|un)?(shape|squeeze|transpose)(_node)?_(before|after)_|"
    r" *\[profile +\d+\]"  # of all optimisation profiles but the first
)
_QUANTISED = ("int8", "float8_e4m3fn")
_MOVING = ("Reformat", "NoOp", "Shuffle", "Constant")  # layers of an engine that compute nothing
_PROFILE = re.compile(r"\[profile +(\d+)\]")
_POINTWISE = re.compile(r"\bPWN\(|\)| *\[profile +\d+\]")
_BETWEEN = re.compile(r" \+ | \|\| |, |\.\.\.|[\x1e\x1f]")  # the last stand between the metadata of several layers
_PRECISIONS = {
    "float32": r"FP32|Float\b",
    "float16": r"FP16|Half",
    "bfloat16": r"BF16|BFloat16",
    "int8": r"Int8|INT8",
    "float8_e4m3fn": r"FP8",
    "int32": r"Int32|INT32",
    "int64": r"Int64|INT64",
    "bool": r"Bool|BOOL",
}


class Part(NamedTuple):
    """A layer of the network that an engine's layer was made of, or works for.

    Attributes:
        name: the network's layer; empty for what TensorRT added itself.
        is_whole: whether the engine's layer does what this one does. It does not where it only brings data into another
            form for it, or is a run of layers, of which TensorRT names the first and the last.
    """

    name: str
    is_whole: bool


def network_parts(text: str) -> list[Part]:
    """Return the layers of the network that a layer of an engine was made of.

    TensorRT joins names with `` + ``, those of layers side by side with `` || ``, and wraps what it computes point by
    point in ``PWN(...)``, with commas between.

    Args:
        text: TensorRT's name of the layer, or the metadata of the layers that it is made of.
    """
    parts = []
    for part in _BETWEEN.split(text):
        # A tensor is named after its layer: "model.0.conv:0".
        name = "" if _ADDED.search(part) else _AROUND.sub("", part).partition(":")[0]
        parts.append(Part(name, bool(name) and name == _POINTWISE.sub("", part)))
    return parts


def module_paths(text: str) -> tuple[str, ...]:
    """Return the paths of the modules that a layer of an engine comes from, ``""`` for the model's own forward.

    >>> module_paths("model.0.conv + PWN(PWN(model.0.act/activation), model.0.act)")
    ('model.0.conv', 'model.0.act')

    Args:
        text: as for :func:`network_parts`.
    """
    return tuple(dict.fromkeys(part.name.partition("/")[0] for part in network_parts(text) if part.name))


@dataclass(frozen=True)
class EngineLayer:
    """One layer of an engine, as TensorRT's inspector shows it.

    Attributes:
        name: TensorRT's own.
        paths: of the modules that it comes from; none where TensorRT added it for itself.
        kind: TensorRT's type of it, such as ``"CaskConvolution"``; empty where the engine does not tell.
        precision: the element type of its first output, such as ``"float16"``; empty where the engine does not tell.
        reads: likewise of its first input.
    """

    name: str
    paths: tuple[str, ...]
    kind: str = ""
    precision: str = ""
    reads: str = ""


def inspect_engine(engine: Any, trt: ModuleType) -> dict[str, Any]:
    """Return all that the inspector says of an ``ICudaEngine``: ``"Layers"`` in the order in which they run, and more.

    Engines that trtnn builds tell all of it; one built without detailed profiling verbosity tells names alone.

    Raises:
        EngineError: the inspector's text is not JSON.
    """
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        return read_information(text)
    except ValueError as error:
        raise EngineError("TensorRT's inspector gave what cannot be read", str(error)) from error


def read_information(text: str | bytes) -> dict[str, Any]:
    """Return the inspector's JSON of an engine, as ``trtexec --exportLayerInfo`` writes it.

    Raises:
        ValueError: it is none.
    """
    information = json.loads(text, strict=False)  # not strict: metadata holds a control character
    layers = information.get("Layers") if isinstance(information, dict) else None
    if not isinstance(layers, list) or not all(isinstance(row, (str, dict)) for row in layers):
        raise ValueError('it has no list of layers under "Layers"')
    return information


def inspect_layers(engine: Any, trt: ModuleType) -> list[EngineLayer]:
    """Return the layers of an ``ICudaEngine`` in the order in which they run; see :func:`inspect_engine`."""
    return [read_layer(row) for row in inspect_engine(engine, trt)["Layers"]]


def read_layer(row: Any) -> EngineLayer:
    """Return what the inspector says of a layer: its name alone, or a dict."""
    if isinstance(row, str):
        return EngineLayer(row, module_paths(row))
    reads, gives = (tensor_type([*layer_ends(row, side), {}][0]) for side in ("Inputs", "Outputs"))
    kind = str(row.get("LayerType", ""))
    return EngineLayer(str(row.get("Name", "")), module_paths(layer_names(row)), kind, gives, reads)


def layer_names(row: str | dict[str, Any]) -> str:
    """Return the text in which what the inspector says of a layer names the layers that it was made of."""
    return row if isinstance(row, str) else str(row.get("Metadata") or row.get("Name", ""))


def layer_profile(name: str) -> int:
    """Return the index of the optimisation profile that an engine's layer is of; names tell all but the first."""
    told = _PROFILE.search(name)
    return int(told[1]) if told else 0


def layer_ends(row: str | dict[str, Any], side: str) -> list[dict[str, Any]]:
    """Return the tensors among the ``"Inputs"`` or ``"Outputs"`` that the inspector shows of a layer."""
    ends = row.get(side) if isinstance(row, dict) else None
    return [end for end in ends if isinstance(end, dict)] if isinstance(ends, list) else []


def tensor_type(tensor: dict[str, Any]) -> str:
    """Return torch's name of the element type of a tensor that the inspector shows; empty where it does not tell."""
    # 8.6 has both in one text, "Channel major FP16 format where channel % 8 == 0"; 10 has them apart.
    text = str(tensor.get("Datatype") or tensor.get("Format/Datatype") or "")
    return next((dtype for dtype, pattern in _PRECISIONS.items() if re.search(rf"\b({pattern})", text)), "")


def quantized_as(layers: Iterable[EngineLayer], asked: Iterable[str]) -> dict[str, str]:
    """Return what the layers of modules that were to be quantised read in an engine, by path.

    Of a module with several layers, such as a convolution with what brings data into its format, it is int8 or fp8
    where one that computes reads that; empty where the engine has no layer of the module, or does not tell.

    Args:
        layers: of the engine.
        asked: the paths of the modules.
    """
    types: dict[str, str] = dict.fromkeys(asked, "")
    for built in layers:
        if built.kind in _MOVING:
            continue
        for path in built.paths:
            if path in types and types[path] not in _QUANTISED:
                types[path] = built.reads
    return types
