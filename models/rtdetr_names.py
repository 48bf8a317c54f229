"""The forms that weights of RT-DETR come in, brought under the names of transformers' module, and what they tell.

transformers' files have the names that its module had before version 5. The repository of RT-DETR's authors has others,
and a bias and a weight for the query, the key and the value of an attention together. Both are as in transformers'
conversion_mapping.py and convert_rt_detr_original_pytorch_checkpoint_to_hf.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from trtnn.checkpoint.state_dict import metadata_of

if TYPE_CHECKING:
    from trtnn.models.rtdetr import Variant

_STEM = "model.backbone.model.embedder.embedder.0.convolution.weight"
_AUTHORS_STEM = "backbone.conv1.conv1_1.conv.weight"
Table = Sequence[tuple[str, str]]  # patterns of a name, and what stands in their place
_STAGES = "model.backbone.model.encoder.stages"

# What transformers' files have otherwise than its module, but for the names within a feed-forward network.
COMMON: Table = (
    (r"^(class_embed|bbox_embed)\.", r"model.decoder.\1."),  # of the second version, which has them twice
    (r"\.out_proj\.", ".o_proj."),
    (r"^model\.encoder\.encoder\.", "model.encoder.aifi."),
)
_TRANSFORMERS: Table = (*COMMON, (r"\.layers\.(\d+)\.fc([12])\.", r".layers.\1.mlp.fc\2."))
_AUTHORS: Table = (
    (r"^backbone\.conv1\.conv1_1\.", "backbone.conv1.0."),
    (r"^backbone\.conv1\.conv1_2\.", "backbone.conv1.1."),
    (r"^backbone\.conv1\.conv1_3\.", "backbone.conv1.2."),
    (r"^backbone\.conv1\.", "model.backbone.model.embedder.embedder."),
    (r"^backbone\.res_layers\.(\d+)\.blocks\.(\d+)\.", rf"{_STAGES}.\1.layers.\2."),
    (r"\.short\.conv\.(conv|norm)\.", r".shortcut.1.\1."),
    (r"\.short\.", ".shortcut."),
    (r"\.branch2a\.", ".layer.0."),
    (r"\.branch2b\.", ".layer.1."),
    (r"\.branch2c\.", ".layer.2."),
    (r"^(model\.backbone\..*)\.conv\.", r"\1.convolution."),
    (r"^(model\.backbone\..*)\.norm\.", r"\1.normalization."),
    (r"^(encoder|decoder)\.input_proj\.(\d)\.(conv|0)\.", r"model.\1_input_proj.\2.0."),
    (r"^(encoder|decoder)\.input_proj\.(\d)\.(norm|1)\.", r"model.\1_input_proj.\2.1."),
    (r"^encoder\.encoder\.", "model.encoder.aifi."),
    (r"^encoder\.", "model.encoder."),
    (r"^decoder\.decoder\.", "model.decoder."),
    (r"^decoder\.query_pos_head\.", "model.decoder.query_pos_head."),
    (r"^decoder\.dec_score_head\.", "model.decoder.class_embed."),
    (r"^decoder\.dec_bbox_head\.", "model.decoder.bbox_embed."),
    (r"^decoder\.enc_output\.(proj|0)\.", "model.enc_output.0."),
    (r"^decoder\.enc_output\.(norm|1)\.", "model.enc_output.1."),
    (r"^decoder\.(enc_score_head|enc_bbox_head)\.", r"model.\1."),
    (r"\.cross_attn\.num_points_scale$", ".encoder_attn.n_points_scale"),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.linear([12])\.", r".mlp.fc\1."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"^(model\.decoder\..*)\.norm2\.", r"\1.encoder_attn_layer_norm."),
    (r"\.norm[23]\.", ".final_layer_norm."),
)
# What is for training, or is made anew for each size of images.
_IDLE = re.compile(
    r"^(model\.|decoder\.|model\.decoder\.)(denoising_class_embed\.weight|anchors|valid_mask)$|^encoder\.pos_embed\d$"
)
_TOGETHER = re.compile(r"(.*\.self_attn)\.in_proj_(weight|bias)")

# What transformers' config.json says of a network with the same weights, where it is another than this. What it does
# not say is so.
CONFIG: Mapping[str, Any] = {
    "activation_function": "silu",
    "batch_norm_eps": 1e-5,
    "decoder_activation_function": "relu",
    "decoder_attention_heads": 8,
    "decoder_method": "default",
    "decoder_n_points": 4,
    "decoder_offset_scale": 0.5,
    "encode_proj_layers": [2],
    "encoder_activation_function": "gelu",
    "encoder_attention_heads": 8,
    "eval_size": None,
    "layer_norm_eps": 1e-5,
    "learn_initial_query": False,
    "normalize_before": False,
    "num_feature_levels": 3,
    "positional_encoding_temperature": 10000,
    "with_box_refine": True,
}
_BACKBONE_CONFIG: Mapping[str, Any] = {
    "downsample_in_bottleneck": False,
    "downsample_in_first_stage": False,
    "hidden_act": "relu",
}
# What preprocessor_config.json says of images, likewise.
_PREPROCESSING: Mapping[str, Any] = {
    "do_normalize": False,
    "do_pad": False,
    "do_rescale": True,
    "do_resize": True,
    "resample": 2,  # bilinear
    "rescale_factor": 1 / 255,
}
# Sizes that it names where images keep their proportions.
_KEEPING_PROPORTIONS = ("shortest_edge", "longest_edge", "max_height", "max_width")


def canonical(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a state dict under the names of transformers' module, without what is for training; see RTDETR."""
    if _AUTHORS_STEM in state_dict:
        return renamed(state_dict, _AUTHORS)
    return renamed(state_dict, _TRANSFORMERS) if _STEM in state_dict else state_dict


def renamed(state_dict: Mapping[str, Any], table: Table) -> Mapping[str, Any]:
    """Return a state dict with its names changed by patterns, one after another, and without what is for training.

    Where queries, keys and values are projected together, the three are parted.
    """
    arrays: dict[str, Any] = {}
    for name, array in state_dict.items():
        if _IDLE.match(name):
            continue
        new = name
        for pattern, replacement in table:
            new = re.sub(pattern, replacement, new)
        if together := _TOGETHER.fullmatch(new):
            third = array.shape[0] // 3
            for i, part in enumerate("qkv"):
                arrays[f"{together[1]}.{part}_proj.{together[2]}"] = array[i * third : (i + 1) * third]
        elif new == name or new not in state_dict:  # of two names for one thing, the one that the decoder reads
            arrays[new] = array
    return arrays


def identify(state_dict: Mapping[str, Any], variants: Mapping[str, Variant]) -> dict[str, Any] | None:
    """Return the arguments of the RT-DETR that a state dict's names and sizes tell of, or None."""
    if _STEM not in state_dict and _AUTHORS_STEM not in state_dict:
        return None
    own = canonical(state_dict)
    told = (
        count_of(own, f"{_STAGES}.0.layers.0.layer.{{}}.convolution.weight"),
        tuple(count_of(own, f"{_STAGES}.{i}.layers.{{}}.layer.0.convolution.weight") for i in range(4)),
        length_of(own, "model.encoder.lateral_convs.0.norm.weight"),
        length_of(own, "model.encoder.aifi.0.layers.0.mlp.fc1.bias"),
        length_of(own, "model.encoder.fpn_blocks.0.conv1.norm.weight"),
        count_of(own, "model.decoder.layers.{}.encoder_attn.sampling_offsets.bias"),
        length_of(own, "model.decoder.layers.0.encoder_attn.sampling_offsets.bias"),
        2 if "model.decoder.layers.0.encoder_attn.n_points_scale" in own else 1,
    )
    ours = {
        name: (
            len(variant.block.kernels),
            variant.repeats,
            variant.width,
            variant.inner,
            int(variant.width * variant.narrow),
            variant.layers,
            8 * 3 * 4 * 2,  # heads, levels, points, x and y
            variant.version,
        )
        for name, variant in variants.items()
    }
    return arguments(state_dict, own, told, ours)


def arguments(
    state_dict: Mapping[str, Any], own: Mapping[str, Any], told: Any, ours: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the arguments of the model whose numbers are those that a state dict tells, or None.

    Args:
        state_dict: as it came, with metadata.
        own: the same, under the model's names.
        told: the numbers.
        ours: those of each model, by name.
    """
    name, classes = next((n for n, numbers in ours.items() if numbers == told), None), "model.enc_score_head.bias"
    if name is None or classes not in own:
        return None
    queries = metadata_of(state_dict).get("config", {}).get("num_queries", 300)
    more = {"queries": queries} if queries != 300 else {}
    return {"name": name, "classes": length_of(own, classes), **more}


def differences(said: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield what transformers' files say otherwise than the network is: the key, its value and ours.

    Args:
        said: metadata.
        ours: what config.json would say of the network.
    """
    config: Mapping[str, Any] = said.get("config", {})
    backbone = config.get("backbone_config")
    parts: tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...] = (
        ("", config, ours),
        ("backbone_config.", cast("dict[str, Any]", backbone if isinstance(backbone, dict) else {}), _BACKBONE_CONFIG),
        ("preprocessor_config.", said.get("preprocessor_config", {}), _PREPROCESSING),
    )
    for prefix, theirs, expected in parts:
        for key, mine in expected.items():
            if theirs.get(key, mine) != mine:
                yield f"{prefix}{key}", theirs[key], mine
    size = said.get("preprocessor_config", {}).get("size")
    sides = cast("dict[str, Any]", size if isinstance(size, dict) else {})
    keeps = any(sides.get(key) is not None for key in _KEEPING_PROPORTIONS)
    if keeps or isinstance(size, (int, list)):  # of a number the shorter side is meant
        yield "preprocessor_config.size", size, "a height and a width, which images are stretched to"


def count_of(names: Mapping[str, Any], pattern: str) -> int:
    """Return how many numbers from 0 on stand in a name for ``{}``."""
    return next(i for i in range(len(names) + 1) if pattern.format(i) not in names)


def length_of(arrays: Mapping[str, Any], name: str) -> int:
    return math.prod(arrays[name].shape) if name in arrays else 0
