"""LoRA adapters of PEFT's, merged into the weights that they were trained for.

What a file holds and means: https://huggingface.co/docs/peft/developer_guides/checkpoint
"""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trtnn.arrays import array_of_torch, is_torch
from trtnn.checkpoint import safetensors
from trtnn.checkpoint.state_dict import StateDict, metadata_of
from trtnn.errors import ArgumentError, CheckpointError, DTypeError, StateDictError, harmless_text, nearest
from trtnn.strict_json import parse_object

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_CONFIG_LIMIT_BYTES, _CONFIG_VALUES = 4_000_000, 200_000
_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(?:(.*)\.)?(lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_A|lora_embedding_B)")
_WRAPPERS = re.compile(r"\b(?:base_layer|modules_to_save)\.")  # which bias="all" leaves in the names of biases
_OF_THE_MODEL = "original_module."  # what stands in the model beside a module of modules_to_save
_NOT_SUMS = {  # options with which an adapter is no sum of the weights and B·A
    "use_dora": "DoRA divides each row by its norm",
    "use_qalora": "QA-LoRA averages what goes in",
    "use_bdlora": "its factors are in blocks",
    "alora_invocation_tokens": "it counts from certain tokens on",
    "arrow_config": "a router chooses among several adapters",
    "monteclora_config": "its factors are drawn at random",
    "velora_config": "its factors are compressed",
    "kasa_config": "it has singular values beside its factors",
    "layer_replication": "the model has layers several times",
    "trainable_token_indices": "it replaces rows of an embedding",
    "target_parameters": "it is of parameters that are no layer's weights",
}
_INITIALISED = (True, False, None, "gaussian", "eva", "orthogonal")  # ways that leave the model's weights as they are
_QUANTIFIERS = re.compile(r"[*+?{]")
_MOST_SHOWN = 10


@dataclass
class _Layer:
    """What an adapter has for one layer: the factors by name, A (r, in) and B (out, r), or in the shapes of kernels."""

    path: str
    factors: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def is_embedding(self) -> bool:
        return "lora_embedding_A" in self.factors

    def pair(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return A and B, or None where one is not there, or both of two kinds are."""
        kinds = (("lora_A.weight", "lora_B.weight"), ("lora_embedding_A", "lora_embedding_B"))
        there = [kind for kind in kinds if any(name in self.factors for name in kind)]
        if len(there) != 1 or any(name not in self.factors for name in there[0]):
            return None
        first, second = there[0]
        return self.factors[first], self.factors[second]


@dataclass
class _Adapter:
    path: Path
    config: dict[str, Any]
    layers: dict[str, _Layer]
    replaced: dict[str, np.ndarray]  # whole tensors: biases, and those of modules_to_save

    def scale_of(self, entry: _Layer, rank: int) -> float:
        """Return alpha / r, or alpha / sqrt(r) where the adapter is rank-stabilised (https://arxiv.org/abs/2312.03732)."""
        alpha = self.config["lora_alpha"]
        for pattern, own in self.config["alpha_pattern"].items():
            if re.match(rf"(.*\.)?({pattern})$", entry.path):
                alpha = own
                break
        return alpha / (math.sqrt(rank) if self.config["use_rslora"] else rank)


def merge_lora(state_dict: Mapping[str, Any], adapter: str | os.PathLike[str], scale: float = 1.0) -> StateDict:
    """Return a state dict with a LoRA adapter of PEFT's added: W + scale · alpha / r · B·A for each of its layers.

    >>> base = trtnn.load("model.safetensors")
    >>> model.load_state_dict(trtnn.merge_lora(base, "adapters/red"))

    Linear layers and transformers' ``Conv1D`` (``fan_in_fan_out``), convolutions and embeddings are merged; so are
    rank-stabilised adapters, ranks and alphas by layer, biases, and whole modules (``modules_to_save``), which take the
    place of the model's. Sums are computed in fp32, in fp64 where the weights are, and rounded to the weights' own
    type. Tensors that share their memory, as tied weights do, stay one. Several adapters are merged one after another.

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
        CheckpointError: it is no LoRA adapter, one that is no such sum, such as DoRA, or damaged.
        DTypeError: a weight is no floating number, or becomes infinite.
        ArgumentError: ``scale`` is no finite number, or is none that whole modules can be scaled by.
    """
    if (
        isinstance(scale, bool)
        or not isinstance(scale, (int, float, np.floating, np.integer))
        or not np.isfinite(scale)
    ):
        raise ArgumentError(f"scale is a finite number, not {scale!r}")
    if not isinstance(state_dict, Mapping):
        raise ArgumentError(f"merge_lora takes a state dict, not a {type(state_dict).__name__}")
    read = _read(Path(adapter))
    if read.replaced and scale != 1:
        raise ArgumentError(
            f"{read.path} holds whole tensors beside its factors, which a scale of {scale:g} says nothing of",
            *_shown(list(read.replaced)),
            "scale=1 takes them, or train the adapter without modules_to_save and bias",
        )
    arrays = {
        name: array_of_torch(value) if is_torch(value) else np.asarray(value) for name, value in state_dict.items()
    }
    merged = _merge(arrays, read, float(scale))
    return StateDict({**arrays, **merged}, metadata_of(state_dict))


def _merge(arrays: Mapping[str, np.ndarray], adapter: _Adapter, scale: float) -> dict[str, np.ndarray]:
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
            *(f"not there: {harmless_text(line)}" for line in _shown(missing)),
            *(nearest(missing[0], arrays) if missing else []),
            *map(harmless_text, _shown(mismatched)),
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
        exact[first] = before.astype(wide) + delta.astype(wide) * wide(factor)
    for first, array in exact.items():
        dtype = arrays[first].dtype
        with np.errstate(over="ignore"):
            rounded = array.astype(dtype)
        if np.isinf(rounded).any() and np.isfinite(arrays[first]).all():
            raise DTypeError(
                f"{first} becomes infinite in {dtype}",
                f"the largest is {np.abs(array).max():g}, {dtype} ends at {np.finfo(dtype).max:g}",
                "give the weights in float32, or a smaller scale",
            )
        result |= dict.fromkeys(tied(first), rounded)
    return result


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _product(
    a: np.ndarray, b: np.ndarray, entry: _Layer, shape: tuple[int, ...], transposed: Mapping[str, bool]
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


def _transposition(arrays: Mapping[str, np.ndarray], adapter: _Adapter) -> dict[str, bool]:
    """Return for each layer of two dimensions whether its weights are (in, out), as transformers' Conv1D has them.

    The shape tells. For a square one the adapter does, which says it once for all of its layers.

    Raises:
        StateDictError: the shapes of other layers contradict what the adapter says.
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
            *(f"the other way: {harmless_text(path)}" for path in _shown(contradicting)),
            *(f"square, which could be either: {harmless_text(path)}" for path in _shown(square)),
            "train Linear and Conv1D layers in two adapters, and merge one after the other",
        )
    return {**told, **dict.fromkeys(square, said)}


def _trained_for(adapter: _Adapter) -> list[str]:
    base = adapter.config.get("base_model_name_or_path")
    return [f"it was trained for {harmless_text(base)}"] if isinstance(base, str) and base else []


def _shown(lines: list[str]) -> list[str]:
    more = [f"... and {len(lines) - _MOST_SHOWN} more"] if len(lines) > _MOST_SHOWN else []
    return [*lines[:_MOST_SHOWN], *more]


# -- reading ----------------------------------------------------------------------------------------------------------


def _read(path: Path) -> _Adapter:
    if path.is_dir():
        path /= _WEIGHTS
    if path.suffix.lower() != ".safetensors":
        raise CheckpointError(f"{path} is no .safetensors file", "PEFT writes one: model.save_pretrained(folder)")
    try:
        tensors = safetensors.read(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    config = _read_config(path.parent / _CONFIG)
    if left_out := metadata_of(tensors).get("left_out"):
        raise CheckpointError(f"{path} holds what no array does", *(f"{n}: {what}" for n, what in left_out.items()))
    layers, replaced = _sorted(path, tensors)
    _check_ranks(path, config, layers)
    return _Adapter(path, config, layers, replaced)


def _sorted(path: Path, tensors: Mapping[str, np.ndarray]) -> tuple[dict[str, _Layer], dict[str, np.ndarray]]:
    """Return the layers that an adapter has factors for, and the whole tensors, by the model's own names."""
    layers: dict[str, _Layer] = {}
    replaced: dict[str, np.ndarray] = {}
    for name, array in tensors.items():
        if not name.startswith(_PREFIX) or not name.isprintable():
            raise CheckpointError(
                f"{path} is no adapter of PEFT's: it has {name!r}, which does not begin with {_PREFIX}",
                "diffusers and kohya-ss write others: load them there, and save with PEFT",
            )
        if array.dtype.kind != "f":
            raise CheckpointError(f"{path} holds {name} of {array.dtype}, and adapters are floating numbers")
        own = name.removeprefix(_PREFIX)
        factor = _FACTOR.fullmatch(own)
        if "base_layer." in own and "lora_" in own:
            raise CheckpointError(
                f"{path} holds {name}: of a MultiheadAttention, which PEFT merges otherwise than it runs it",
                "train the adapter for its Linear layers by themselves",
            )
        if _OF_THE_MODEL in own:
            continue
        if factor:
            entry = layers.setdefault(factor[1] or "", _Layer(factor[1] or ""))
            entry.factors[factor[2]] = array
        elif "lora_" in own:
            raise CheckpointError(f"{path} holds {name}, which is no factor of LoRA's", "DoRA and others are not sums")
        else:
            own = _WRAPPERS.sub("", own)
            if not np.array_equal(replaced.setdefault(own, array), array):
                raise CheckpointError(f"{path} holds {own} twice, with other numbers")
    return layers, replaced


def _check_ranks(path: Path, config: Mapping[str, Any], layers: Mapping[str, _Layer]) -> None:
    ranks = {config["r"], *config["rank_pattern"].values()}
    for entry in layers.values():
        pair = entry.pair()
        if pair is not None and (not pair[0].ndim or pair[0].shape[0] not in ranks):
            raise CheckpointError(
                f"{path} is not what the {_CONFIG} beside it tells of: {entry.path} has factors of "
                f"{pair[0].shape} and {pair[1].shape}, and the ranks there are {', '.join(map(str, sorted(ranks)))}"
            )


def _read_config(path: Path) -> dict[str, Any]:
    """Return what ``adapter_config.json`` says, with what it leaves out as PEFT has it."""
    if not path.is_file():
        raise CheckpointError(f"there is no {path}, which tells what an adapter is scaled by")
    if path.stat().st_size > _CONFIG_LIMIT_BYTES:
        raise CheckpointError(f"{path} has more than {_CONFIG_LIMIT_BYTES:,} bytes")
    try:
        config = parse_object(path.read_bytes(), _CONFIG_VALUES)
    except ValueError as error:
        raise CheckpointError(f"{path} is not sound JSON: {error}") from error
    kind = config.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"{path} is of an adapter of the kind {kind!s:.100}", "merge_lora merges those of LORA")
    for key, why in _NOT_SUMS.items():
        if config.get(key):
            raise CheckpointError(
                f"{path} says {key}: {why}, so it is no sum of weights and two factors",
                "merge it with PEFT: model.merge_and_unload(), and save the state dict",
            )
    if (start := config.get("init_lora_weights", True)) not in _INITIALISED:
        raise CheckpointError(
            f"{path} says init_lora_weights={start!s:.100}, which may change the model's own weights as well",
            "save it as a usual one with PEFT: save_pretrained(..., path_initial_model_for_weight_conversion=...)",
        )
    defaults = {
        "r": 8,
        "lora_alpha": 8,
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_rslora": False,
        "fan_in_fan_out": False,
    }
    settled = {**config, **{key: config[key] if config.get(key) is not None else own for key, own in defaults.items()}}
    patterns = (settled["rank_pattern"], settled["alpha_pattern"])
    if not all(isinstance(table, dict) for table in patterns):
        raise CheckpointError(f"{path} has a rank_pattern or an alpha_pattern that is no object")
    if not all(_is_rank(value) for value in (settled["r"], *patterns[0].values())):
        raise CheckpointError(f"{path} has a rank that is no positive whole number")
    if not all(_is_number(value) for value in (settled["lora_alpha"], *patterns[1].values())):
        raise CheckpointError(f"{path} has a lora_alpha that is no number")
    if not all(isinstance(settled[key], bool) for key in ("use_rslora", "fan_in_fan_out")):
        raise CheckpointError(f"{path} has a use_rslora or fan_in_fan_out that is neither true nor false")
    _check_patterns(path, patterns[1])
    return settled


def _check_patterns(path: Path, patterns: Mapping[str, Any]) -> None:
    """Check that expressions cannot take longer than the names that they are held against: they are the file's."""
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise CheckpointError(f"{path} has {pattern!r} in its alpha_pattern, no expression: {error}") from error
        if _QUANTIFIERS.search(pattern):
            raise CheckpointError(
                f"{path} has {pattern!r} in its alpha_pattern, and expressions that repeat something are not read",
                "name the modules one by one there",
            )


def _is_rank(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**20


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
