"""Scales that others measured or trained: of ModelOpt and pytorch-quantization, of torch.ao, and of ONNX files."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from trtnn.accuracy.sites import Site, Sites
from trtnn.checkpoint import load
from trtnn.errors import ArgumentError, CheckpointError, listed, nearest, where
from trtnn.graph.placement import Edges, channel_ranges, is_relu
from trtnn.graph.quantization import largest_of
from trtnn.modules import Module
from trtnn.modules.state import as_array
from trtnn.quantization.found import Found, other_type, positive
from trtnn.quantization.onnx_scales import read_onnx
from trtnn.quantization.quantizing import DTYPES, buffer, check_model, forget, held_range, least_range, restore
from trtnn.threads import without_warnings

M = TypeVar("M", bound=Module)
_Scales = tuple[np.ndarray, np.ndarray | None]  # of what a module reads, and of its weights where they have some

# What each project's names end in: of the range, that is the magnitude of the largest number, and of the scale itself.
# pytorch-quantization's quantisers have an underscore before theirs, ModelOpt's have not.
_RANGES = {
    f".{underscore}{what}_quantizer._amax": what for underscore in ("", "_") for what in ("input", "weight", "output")
}
_SCALES = {
    ".weight_fake_quant.scale": "weight",
    ".activation_post_process.scale": "output",
    ".input_scale": "input",
    ".weight_scale": "weight",
}
_ZERO_POINTS = (".weight_fake_quant.zero_point", ".activation_post_process.zero_point")
_MOST_STEPS = 130  # that torch.ao's int8 has for the largest number seen, 127.5, with room for how that is rounded
_OBSERVED = (".activation_post_process.min_val", ".activation_post_process.max_val")
_HISTOGRAM = ".activation_post_process.histogram"
_NUMBERED = re.compile(r"(.+\.)?activation_post_process_\d+\.")


def take_scales(model: M, source: Any, dtype: Literal["int8", "fp8"] = "int8") -> M:
    """Declare a model quantised by scales that others measured, or trained with, in place.

    >>> model.load_state_dict(trtnn.load("qat.pt"), strict=False)
    >>> trtnn.quantization.take_scales(model, "qat.pt")

    They are found by the paths of the modules: ``*_quantizer._amax`` of NVIDIA's ModelOpt and pytorch-quantization,
    ``weight_fake_quant`` and ``activation_post_process`` of torch.ao, and what Quantize layers of an ONNX file say of
    the convolutions and products behind them. torch.ao rounds what modules return: a layer that reads it is rounded by
    the same scale. Its observers without a fake quantisation tell a range and no scale, which is here the range by the
    largest number of the type. Weights without a scale get one for each output channel, by their largest magnitude.
    Where others round weights and have a BatchNorm behind, the scales here are those times its factors, since it is
    folded in. A state dict does not tell which quantisers were switched off: leave their ``_amax`` out.

    Args:
        model: its weights are loaded; scales that it has already are replaced.
        source: a state dict, or a file: a checkpoint, or an ONNX file, which takes the package onnx (``trtnn[onnx]``).
        dtype: what the scales are of; no state dict tells it.

    Returns:
        The model.

    Raises:
        ArgumentError: there are no scales, one is not of this model, or the half of a module's is missing.
        CheckpointError: numbers are rounded around another zero than 0, or to another type than ``dtype`` says, such
            as uint8, which TensorRT does not round to, or multiplied first; the calls of a module have several scales;
            or the file cannot be read.
    """
    check_model(model)
    if dtype not in DTYPES:
        raise ArgumentError(f"dtype {dtype!r}", *nearest(str(dtype), DTYPES), f"known: {', '.join(DTYPES)}")
    largest = largest_of(DTYPES[dtype])
    if isinstance(source, (str, os.PathLike)) and Path(source).suffix == ".onnx":
        (found, left_out), names = read_onnx(Path(source), dtype), list[str]()
        why = "others than convolutions and products by weights read what these round, which is not rounded here"
    else:
        state = load(source) if isinstance(source, (str, os.PathLike)) else source
        found, left_out, names = list(_read(state, largest, dtype)), _unread(state), list(state)
        why = "nothing is known that they are of, and what they round is not rounded here"
    if not found:
        ends = ", ".join((*_RANGES, *_SCALES, *_OBSERVED))
        raise ArgumentError(
            "there are no scales in it",
            f"known are names that end in {ends}, and Quantize layers of ONNX files",
            *_of_numbers(names),
        )
    before = forget(model)
    try:
        _declare(model, found, largest)
        model.trace()  # which checks all of them
    except BaseException:
        forget(model)
        restore(before)
        raise
    if left_out:
        warnings.warn(f"scales are left out: {listed(left_out, 5)}; {why}", stacklevel=2)
    return model


def _read(source: Any, largest: float, dtype: str) -> Iterator[Found]:
    if not isinstance(source, Mapping):
        raise ArgumentError(f"scales are in a state dict or a file, not in a {type(source).__name__}")
    for name, value in source.items():
        dotted = f".{name}"  # of the model itself there is no dot before
        for suffix, what in _RANGES.items():
            if dotted.endswith(suffix):
                scale = positive(name, value) / largest
                yield Found(dotted.removesuffix(suffix)[1:], what, scale, _axis_of(as_array(value).shape), True)
        for suffix, what in _SCALES.items():
            if dotted.endswith(suffix):
                path = dotted.removesuffix(suffix)[1:]
                fused = suffix == ".weight_scale" or f"{path}.bn.weight" in source  # a ConvBn2d of torch.ao
                yield Found(path, what, positive(name, value), None, not fused)
        if name.endswith(_ZERO_POINTS) and as_array(value).any():
            raise CheckpointError(
                f"{name} is {as_array(value).ravel()[0]}: it rounds around another number than 0",
                "TensorRT does not; train or measure with a symmetric scheme, torch.per_tensor_symmetric",
            )
        if name.endswith(_ZERO_POINTS):
            _check_steps(source, name.removesuffix(".zero_point"), dtype)
        if name.endswith(".quant_max") and float(as_array(value).item()) != largest:
            raise other_type(name, f"{as_array(value).item():g}", dtype)
    yield from _observed(source, largest)


def _unread(source: Mapping[str, Any]) -> list[str]:
    """Return the names of what NVIDIA's quantisers hold beside the ranges that are read.

    Raises:
        CheckpointError: it changes what is rounded.
    """
    unread = [name for name in source if "_quantizer._" in name and not f".{name}".endswith(tuple(_RANGES))]
    for name in unread:
        if name.endswith("._pre_quant_scale") and (as_array(source[name]) != 1).any():
            raise CheckpointError(
                f"{name.rpartition('.')[0]} multiplies by a pre_quant_scale first, as SmoothQuant and AWQ do",
                "fold it into the layer before, or measure again: trtnn.quantize(model, samples)",
            )
    return [name for name in unread if not name.endswith("._pre_quant_scale")]


def _of_numbers(names: Iterable[str]) -> list[str]:
    """Return what to do where names of scales are those of torch.ao's FX mode, which numbers what it puts in."""
    found = next(filter(_NUMBERED.match, names), None)
    return (
        [] if found is None else [f"no name such as {found} tells a module: from_torch takes what prepare_qat_fx made"]
    )


def _axis_of(shape: tuple[int, ...]) -> int | None:
    """Return the dimension of an amax that is as long as its channels, or None where it is alone, or all are 1."""
    long = [index for index, length in enumerate(shape) if length > 1]
    return long[0] if len(shape) > 1 and len(long) == 1 else None


def _check_steps(source: Mapping[str, Any], path: str, dtype: str) -> None:
    """Check that a fake quantisation of torch.ao, whose state dict does not tell its type, is no uint8's.

    uint8 rounds around 0 as well where no number is negative. Its scale is then a 255th of the largest number that its
    observer saw, of which int8 would hold half.

    Raises:
        CheckpointError: it is, or whole numbers are to be fp8.
    """
    if dtype != "int8":
        raise other_type(path, "int8", dtype)
    least, most = (source.get(f"{path}{name}") for name in _OBSERVED)
    if least is None or most is None or f"{path}.scale" not in source:
        return
    low, high, scale = as_array(least), as_array(most), as_array(source[f"{path}.scale"])
    if low.shape == high.shape and low.size == scale.size and (low > -scale.reshape(low.shape)).all():
        steps = float((high / scale.reshape(low.shape)).max(initial=0))
        if math.isfinite(steps) and steps > _MOST_STEPS:
            raise other_type(path, f"uint8, since its observer saw numbers of {steps:.0f} steps", dtype)


def _observed(source: Mapping[str, Any], largest: float) -> Iterator[Found]:
    """Yield the scales of observers of torch.ao, which hold the least and the largest number that they saw.

    A HistogramObserver takes less than that for its range, which is found by its own search.
    """
    for name, least in source.items():
        path = name.removesuffix(_OBSERVED[0])
        inner = path.endswith((".activation_post_process", ".weight_fake_quant"))  # a fake quantisation's own
        if path == name or inner or f"{path}.activation_post_process.scale" in source:
            continue
        ends = as_array(least), as_array(source[path + _OBSERVED[1]])
        if all(end.size == 1 for end in ends):
            reach = np.maximum(-ends[0], ends[1])
            if path + _HISTOGRAM in source:
                reach = _searched(reach, *ends, as_array(source[path + _HISTOGRAM]))
            yield Found(path, "output", positive(name, reach) / largest)


def _searched(reach: np.ndarray, least: np.ndarray, most: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the range of a HistogramObserver of int8 around 0: that of the least squared error by its own search."""
    if counts.ndim != 1 or not counts.any() or not np.isfinite(reach).all():
        return reach
    with without_warnings():  # torch.ao's, of its future
        from torch.ao.quantization.observer import HistogramObserver

        observer = HistogramObserver(
            len(counts), dtype=torch.qint8, qscheme=torch.per_tensor_symmetric, quant_min=-128, quant_max=127
        )
        for name, value in (("histogram", counts), ("min_val", least.reshape(())), ("max_val", most.reshape(()))):
            getattr(observer, name).resize_(value.shape).copy_(torch.from_numpy(np.array(value, np.float32)))
        scale, _ = observer.calculate_qparams()
    return scale.numpy() * 127.5  # its steps of the range


def _declare(model: Module, found: list[Found], largest: float) -> None:
    graph = model.trace().graph
    sites = Sites(graph)
    modules = dict(model.named_modules(remove_duplicate=False))
    first = {id(module): path for path, module in reversed(modules.items())}  # of a module of several names
    scales: dict[str, dict[str, np.ndarray]] = {}
    found = [_at_layer(one, sites) if one.of_node and one.path not in sites.by_path else one for one in found]
    found = [one._replace(path=first[id(modules[one.path])]) if one.path in modules else one for one in found]
    weights = {one.path: one for one in found if one.what == "weight"}
    for path, what, scale, *_ in found:
        if path not in modules:
            stub = (
                "a stub that gives what it is given, such as QuantStub, is an Identity of the model; from_torch leaves"
            )
            raise ArgumentError(
                f"a scale is of the module {path!r}, which the model has not",
                *nearest(path, modules, most=3),
                *([f"{stub} such out"] if what == "output" else []),
            )
        if what != "weight" and scale.size != 1:
            raise ArgumentError(f"the {what} of {path!r} has {scale.size} scales", "TensorRT takes one for a tensor")
        scales.setdefault(path, {})[what] = scale
    returned = {
        raw.name: path
        for path, calls in graph.module_outputs.calls.items()
        for raw in calls
        if hasattr(raw, "name") and "output" in scales.get(path, {})
    }
    edges, given = Edges(graph), dict[str, _Scales]()
    left_out = {path for path, own in scales.items() if own.keys() & {"input", "weight"}}
    for path, site in sites.by_path.items():
        own = scales.get(path, {})
        if not site.weights:
            continue
        if len(site.weights) > 1 and own:
            raise ArgumentError(
                f"{path!r} has layers of several weights, and scales for one", "trtnn.quantize has more"
            )
        behind = returned_by(edges, site.inputs[0][0], returned)
        scale = own.get("input")
        if scale is None and behind is not None:
            scale = scales[behind]["output"]
        if scale is not None and (own.get("weight") is not None or "input" in own or behind is not None):
            left_out.discard(path)
            weight = _of_weights(modules[path], site, edges, weights[path], largest) if path in weights else None
            given[path] = scale, weight
        elif "weight" in own:
            raise ArgumentError(f"{path!r} has a scale for its weights, and none for what it reads")
    _give(modules, sites, given, largest)
    for path, own in scales.items():
        if "output" in own:
            modules[path].output_scale = buffer(own["output"].reshape(()))
            modules[path].quant_max = buffer(largest)
    if left_out:
        warnings.warn(
            f"scales are left out of {listed([*map(where, sorted(left_out))], 5)}, which have no layer with weights: "
            "what they read is not rounded",
            stacklevel=3,
        )


def _at_layer(found: Found, sites: Sites) -> Found:
    """Return a scale for the layer whose path a node's begins with: fused nodes are ``/fc/MatMul/MatMulAddFusion``."""
    path = found.path
    while path and path not in sites.by_path:
        path = path.rpartition(".")[0]
    return found._replace(path=path) if path else found


def _of_weights(module: Module, site: Site, edges: Edges, found: Found, most: float) -> np.ndarray:
    """Return the scales of a layer's weights as trtnn has them: for output channels, with a BatchNorm folded in.

    Args:
        module, site: the layer.
        edges: of the network.
        found: the scales as others have them.
        most: the largest number of the type.

    Raises:
        ArgumentError: they are of input channels, or may be.
    """
    path, scale = found.path, found.scale
    kind = next(edge.kind for edge in edges.layers if edge.name in site.layers)
    axis = 1 if kind == "DECONVOLUTION" else 0
    held = getattr(module, "weight", None)
    own = None if held is None or held.data is None else np.asarray(held.data)
    if scale.size > 1 and found.axis not in (None, axis):
        raise ArgumentError(
            f"the scales of {path!r} are along axis {found.axis} of its weights, whose output channels are axis {axis}",
            "TensorRT takes one for each output channel: measure them so",
        )
    if scale.size > 1 and axis and found.axis is None and own is not None and own.shape[0] == own.shape[1]:
        raise ArgumentError(
            f"the scales of {path!r} may be of its input channels or of its output channels, {own.shape[0]} each",
            f"give them in a shape that tells, such as {(1, own.shape[1], *[1] * (own.ndim - 2))}",
        )
    if not found.before_norm or own is None or own.ndim <= axis:
        return scale
    largest = np.abs(np.moveaxis(own, axis, 0).reshape(own.shape[axis], -1)).max(1)
    folded = np.abs(site.weights[0]).max(1)
    if largest.shape != folded.shape:
        return scale
    factor = np.where((largest > 0) & (folded > least_range(most)), folded / np.where(largest > 0, largest, 1), 1)
    is_folded = bool((np.abs(factor - 1) > 1e-6).any())
    return (scale * factor).astype(np.float32) if is_folded else scale


def returned_by(edges: Edges, name: str, returned: Mapping[str, str]) -> str | None:
    """Return the module, of those whose output is rounded, that a tensor's numbers come from as they are, or as 0.

    Args:
        edges: of the network.
        name: of the tensor.
        returned: the paths of the modules by the names of the tensors that they return.
    """
    while name not in returned:
        index = edges.maker.get(name)
        if index is None:
            return None
        if not keeps_rounded(edges, index):
            return None
        name = edges.layers[index].reads[0]
    return returned[name]


def keeps_rounded(edges: Edges, index: int) -> bool:
    """Whether a layer of one input gives the numbers that it was given, or 0."""
    edge = edges.layers[index]
    return is_relu(edge.kind, edge.layer) or (edges.passes_on(index) and len(edges.data_reads(index)) == 1)


def _give(modules: Mapping[str, Module], sites: Sites, given: Mapping[str, _Scales], largest: float) -> None:
    """Give modules the scales of their input and weights; where those have none, by the largest magnitudes."""
    ranges = channel_ranges({path: sites.by_path[path].weights for path in given})
    for path, (scale, weight) in given.items():
        module = modules[path]
        module.input_scale = buffer(scale.reshape(()))
        module.weight_scale = buffer(held_range(ranges[path], largest) / largest if weight is None else weight)
        module.quant_max = buffer(largest)
