"""LoRA adapters of PEFT's, merged into the weights that they were trained for."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trtnn.arrays import array_of_torch, is_torch
from trtnn.checkpoint.adapter import Adapter, LayerFactors, read_adapter
from trtnn.checkpoint.mapped import check_files, file_of
from trtnn.checkpoint.state_dict import ADAPTERS, StateDict, metadata_of
from trtnn.errors import (
    ArgumentError,
    CheckpointError,
    DTypeError,
    StateDictError,
    first_lines,
    harmless_text,
    is_number,
    nearest,
)


def merge_lora(state_dict: Mapping[str, Any], adapter: str | os.PathLike[str], scale: float = 1.0) -> StateDict:
    """Return a state dict with a LoRA adapter of PEFT's added: W + scale · alpha / r · B·A for each of its layers.

    >>> base = trtnn.load("model.safetensors")
    >>> model.load_state_dict(trtnn.merge_lora(base, "adapters/red"))

    Linear layers and transformers' ``Conv1D`` (``fan_in_fan_out``), convolutions and embeddings are merged; so are
    rank-stabilised adapters, ranks and alphas by layer, biases, and whole modules (``modules_to_save``), which take the
    place of the model's. Sums are computed in fp32, in fp64 where the weights are, and rounded to the weights' own
    type. Tensors that share their memory, as tied weights do, stay one. Several adapters are merged one after another.
    Scales of a quantised model stay as they are; a trace warns of weights that the adapter has beyond them.

    Args:
        state_dict: what the adapter was trained for, arrays or torch tensors by the names that it has there. It is left
            as it is.
        adapter: a ``.safetensors`` file with ``adapter_config.json`` beside it, or the folder of
            ``adapter_model.safetensors``.
        scale: what the adapter counts; -1 takes away one that was merged.

    Returns:
        All of the state dict, with new arrays where the adapter changes something.

    Raises:
        StateDictError: the adapter is for another model: what is not there, or of another shape, is listed.
        CheckpointError: it is no LoRA adapter, one that is no such sum, such as DoRA, or damaged; or the file that a
            weight is a view of was written to after it was loaded.
        DTypeError: a weight is no floating number, or becomes infinite.
        ArgumentError: ``scale`` is no finite number, or is none that whole modules can be scaled by.
    """
    if not is_number(scale) or not np.isfinite(scale):
        raise ArgumentError(f"scale is a finite number, not {scale!r}")
    if not isinstance(state_dict, Mapping):
        raise ArgumentError(f"merge_lora takes a state dict, not a {type(state_dict).__name__}")
    read = read_adapter(Path(adapter))
    if read.replaced and scale != 1:
        raise ArgumentError(
            f"{read.path} holds whole tensors beside its factors, which a scale of {scale:g} says nothing of",
            *first_lines(list(read.replaced)),
            "scale=1 takes them, or train the adapter without modules_to_save and bias",
        )
    arrays = _arrays(state_dict)
    merged = _merge(arrays, read, float(scale))
    check_files([*map(file_of, arrays.values())])
    said = metadata_of(state_dict)
    adapters = [*said.get(ADAPTERS, ()), harmless_text("/".join(read.path.parts[-2:]))]  # of no other folder of ours
    return StateDict({**arrays, **merged}, {**said, ADAPTERS: adapters})


def _arrays(state_dict: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return a state dict's arrays. Tensors that are one are one array, also of types that NumPy has not."""
    arrays: dict[str, np.ndarray] = {}
    held: dict[tuple, np.ndarray] = {}
    for name, value in state_dict.items():
        if is_torch(value):
            array = array_of_torch(value)
            place = value.device, value.data_ptr(), value.shape, value.stride(), value.dtype, value.is_neg()
            arrays[name] = held.setdefault(place, array)
        else:
            arrays[name] = np.asarray(value)
    return arrays


def _merge(arrays: Mapping[str, np.ndarray], adapter: Adapter, scale: float) -> dict[str, np.ndarray]:
    missing, mismatched, sums = [], [], []
    transposed = _transposition(arrays, adapter)
    for entry in adapter.layers.values():
        pair = entry.pair()
        if pair is None:
            raise CheckpointError(
                f"{adapter.path} has one factor alone, or more than two, of {entry.path}: {', '.join(entry.factors)}"
            )
        name = _joined(entry.path, "weight")
        if name not in arrays:
            missing.append(name)
            continue
        delta = _product(*pair, entry, arrays[name].shape, transposed)
        if delta is None:
            shapes = " and ".join(str(factor.shape) for factor in pair)
            mismatched.append(f"{name} {arrays[name].shape} does not fit factors of {shapes}")
            continue
        factor = scale * adapter.scale_of(entry, pair[0].shape[0])
        sums.append((name, delta, factor))
        if "lora_B.bias" in entry.factors:
            bias, bias_name = entry.factors["lora_B.bias"], _joined(entry.path, "bias")
            if bias_name not in arrays:
                missing.append(bias_name)
            elif arrays[bias_name].shape != bias.shape:
                mismatched.append(f"{bias_name} {arrays[bias_name].shape} does not fit a bias of {bias.shape}")
            else:
                sums.append((bias_name, bias, factor))
    for name, array in adapter.replaced.items():
        if name not in arrays:
            missing.append(name)
        elif arrays[name].shape != array.shape:
            mismatched.append(f"{name} {arrays[name].shape} does not fit one of {array.shape}")
    if missing or mismatched:
        count = len(adapter.layers) + len(adapter.replaced)
        raise StateDictError(
            f"the adapter {adapter.path} is for another model: of its {count} layers and tensors {len(missing)} are "
            f"not in the state dict, and {len(mismatched)} are of other shapes; nothing was merged",
            *(f"not there: {harmless_text(line)}" for line in first_lines(missing)),
            *(nearest(missing[0], arrays) if missing else []),
            *map(harmless_text, first_lines(mismatched)),
            *_trained_for(adapter),
        )
    return _added(arrays, adapter.replaced, sums)


def _added(
    arrays: Mapping[str, np.ndarray], replaced: Mapping[str, np.ndarray], sums: list[tuple[str, np.ndarray, float]]
) -> dict[str, np.ndarray]:
    """Return the arrays that change, under each name that has the same memory: tied weights stay one."""
    aliases: defaultdict[tuple, list[str]] = defaultdict(list)
    for name, array in arrays.items():
        if isinstance(array, np.ndarray):
            aliases[array.__array_interface__["data"][0], array.shape, array.strides].append(name)

    def tied(name: str) -> list[str]:
        array = arrays[name]
        return aliases[array.__array_interface__["data"][0], array.shape, array.strides]

    result: dict[str, np.ndarray] = {}
    for name, array in replaced.items():
        result |= dict.fromkeys(tied(name), array)
    exact: dict[str, np.ndarray] = {}
    for name, delta, factor in sums:
        first = tied(name)[0]
        before = exact.get(first, result.get(first, arrays[first]))
        if before.dtype.kind != "f":
            raise DTypeError(f"{name} is of {before.dtype}, and an adapter is added to floating numbers")
        wide = np.float64 if before.dtype.itemsize > 4 else np.float32
        with np.errstate(over="ignore", invalid="ignore"):
            exact[first] = before.astype(wide) + delta.astype(wide) * wide(factor)
    for first, array in exact.items():
        dtype = arrays[first].dtype
        with np.errstate(over="ignore"):
            rounded = array.astype(dtype)
        if not np.isfinite(rounded).all() and np.isfinite(arrays[first]).all():
            largest = np.abs(array[~np.isnan(array)]).max(initial=0)
            raise DTypeError(
                f"{first} becomes infinite in {dtype}",
                f"the largest is {largest:g}, {dtype} ends at {np.finfo(dtype).max:g}",
                "give the weights in a wider type, or a smaller scale",
            )
        result |= dict.fromkeys(tied(first), rounded)
    return result


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _product(
    a: np.ndarray, b: np.ndarray, entry: LayerFactors, shape: tuple[int, ...], transposed: Mapping[str, bool]
) -> np.ndarray | None:
    """Return B·A in the shape of the weights, or None where it is of another.

    For a convolution A is a kernel (r, in, ...) and B one of a single point (out, r, 1, ...).
    """
    if b.ndim < 2 or a.ndim != b.ndim or b.shape[1] != a.shape[0] or any(length != 1 for length in b.shape[2:]):
        return None  # in a convolution with groups B has r / groups: what it gives is no kernel of one
    wide = np.float64 if np.result_type(a, b).itemsize > 4 else np.float32
    rank = a.shape[0]
    product = b.reshape(b.shape[0], rank).astype(wide) @ a.reshape(rank, -1).astype(wide)
    product = product.reshape(b.shape[0], *a.shape[1:])
    if entry.is_embedding or transposed.get(entry.path):
        product = product.T
    return product if product.shape == shape else None


def _transposition(arrays: Mapping[str, np.ndarray], adapter: Adapter) -> dict[str, bool]:
    """Return for each layer of two dimensions whether its weights are (in, out), as transformers' Conv1D has them.

    The shape tells. For a square one the adapter does, which says it once for all of its layers: PEFT finds it out for
    each layer of a model that has both, and writes down that of the last.

    Raises:
        StateDictError: the shapes of other layers contradict what the adapter says, or the model has layers of both
            kinds.
    """
    said = bool(adapter.config["fan_in_fan_out"])
    square, told = [], {}
    for entry in adapter.layers.values():
        pair, name = entry.pair(), _joined(entry.path, "weight")
        if pair is None or name not in arrays or entry.is_embedding or pair[0].ndim != 2 or pair[1].ndim != 2:
            continue
        outer = (pair[1].shape[0], pair[0].shape[1])
        if outer[0] == outer[1]:
            square.append(entry.path)
        else:
            told[entry.path] = arrays[name].shape == outer[::-1]
    contradicting = [path for path, is_transposed in told.items() if is_transposed != said]
    if square and contradicting:
        raise StateDictError(
            f"{adapter.path} says fan_in_fan_out={said}, and the weights of some of its layers lie the other way",
            *(f"the other way: {harmless_text(path)}" for path in first_lines(contradicting)),
            *(f"square, which could be either: {harmless_text(path)}" for path in first_lines(square)),
            "train Linear and Conv1D layers in two adapters, and merge one after the other",
        )
    if square and len(square) + len(told) > 1 and _lie(arrays) == {True, False}:
        raise StateDictError(
            f"{adapter.path} says fan_in_fan_out={said}, and the model has Linear layers and Conv1D's, whose weights "
            "lie the other way",
            *(f"square, which could be either: {harmless_text(path)}" for path in first_lines(square)),
            "merge it with PEFT: model.merge_and_unload(), and save the state dict",
        )
    return {**told, **dict.fromkeys(square, said)}


def _lie(arrays: Mapping[str, np.ndarray]) -> set[bool]:
    """Return which ways a model's weights of two dimensions lie, (in, out) or not, as their biases (out,) tell."""
    ways = set[bool]()
    for name, array in arrays.items():
        bias = arrays.get(f"{name.removesuffix('weight')}bias") if name.endswith("weight") else None
        if bias is not None and array.ndim == 2 and bias.ndim == 1 and array.shape[0] != array.shape[1]:
            ways |= {array.shape[1] == len(bias)} if len(bias) in array.shape else set()
    return ways


def _trained_for(adapter: Adapter) -> list[str]:
    base = adapter.config.get("base_model_name_or_path")
    return [f"it was trained for {harmless_text(base)}"] if isinstance(base, str) and base else []
