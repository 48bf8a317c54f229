"""Files of LoRA adapters of PEFT's, read and checked.

What a file holds and means: https://huggingface.co/docs/peft/developer_guides/checkpoint
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trtnn.checkpoint import safetensors
from trtnn.checkpoint.state_dict import metadata_of
from trtnn.errors import CheckpointError, first_lines
from trtnn.strict_json import is_number, parse_object

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


@dataclass
class LayerFactors:
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
class Adapter:
    """What an adapter's files hold.

    Attributes:
        path: of the factors.
        config: what ``adapter_config.json`` says, with what it leaves out as PEFT has it.
        layers: the factors, by the paths of the layers.
        replaced: whole tensors by name: biases, and those of modules_to_save.
    """

    path: Path
    config: dict[str, Any]
    layers: dict[str, LayerFactors]
    replaced: dict[str, np.ndarray]

    def scale_of(self, entry: LayerFactors, rank: int) -> float:
        """Return alpha / r, or alpha / sqrt(r) where the adapter is rank-stabilised (https://arxiv.org/abs/2312.03732)."""
        alpha = self.config["lora_alpha"]
        for pattern, own in self.config["alpha_pattern"].items():
            if re.match(rf"(.*\.)?({pattern})$", entry.path):
                alpha = own
                break
        return alpha / (math.sqrt(rank) if self.config["use_rslora"] else rank)


def read_adapter(path: Path) -> Adapter:
    """Read an adapter from a ``.safetensors`` file, or from the folder that it is in.

    Raises:
        CheckpointError: it is no LoRA adapter, one that is no sum of weights and two factors, or damaged.
    """
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
        lines = [f"{name}: {what}" for name, what in left_out.items()]
        raise CheckpointError(f"{path} holds what no array does", *first_lines(lines))
    layers, replaced = _sorted(path, tensors)
    if not layers and not replaced:
        raise CheckpointError(f"{path} holds nothing that could be merged", "its training saved no factors")
    _check_ranks(path, config, layers)
    return Adapter(path, config, layers, replaced)


def _sorted(path: Path, tensors: Mapping[str, np.ndarray]) -> tuple[dict[str, LayerFactors], dict[str, np.ndarray]]:
    """Return the layers that an adapter has factors for, and the whole tensors, by the model's own names."""
    layers: dict[str, LayerFactors] = {}
    replaced: dict[str, np.ndarray] = {}
    for name, array in tensors.items():
        if not name.startswith(_PREFIX) or not name.isprintable():
            raise CheckpointError(
                f"{path} is no adapter of PEFT's: it has {name!r}, which does not begin with {_PREFIX}",
                "diffusers and kohya-ss write others: load them there, and save with PEFT",
            )
        if array.dtype.kind != "f":
            raise CheckpointError(f"{path} holds {name} of {array.dtype}, and adapters are floating numbers")
        if not np.isfinite(array).all():
            raise CheckpointError(f"{path} holds {name} with NaN or infinity", "its training may have diverged")
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
            entry = layers.setdefault(factor[1] or "", LayerFactors(factor[1] or ""))
            entry.factors[factor[2]] = array
        elif "lora_" in own:
            raise CheckpointError(f"{path} holds {name}, which is no factor of LoRA's", "DoRA and others are not sums")
        else:
            own = _WRAPPERS.sub("", own)
            if not np.array_equal(replaced.setdefault(own, array), array):
                raise CheckpointError(f"{path} holds {own} twice, with other numbers")
    return layers, replaced


def _check_ranks(path: Path, config: Mapping[str, Any], layers: Mapping[str, LayerFactors]) -> None:
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
    if not all(is_number(value) for value in (settled["lora_alpha"], *patterns[1].values())):
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
