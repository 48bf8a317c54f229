"""The forms that weights of D-FINE come in, brought under the names of transformers' module, and what they tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trtnn.models.rtdetr_names import COMMON, CONFIG, Table, arguments, count_of, length_of, renamed

if TYPE_CHECKING:
    from trtnn.models.dfine import Variant

_STEM = "model.backbone.model.embedder.stem1.convolution.weight"
_STAGES = "model.backbone.model.encoder.stages"
_FILES: Table = (
    *COMMON,
    (r"\.layers\.(\d+)\.fc1\.", r".layers.\1.mlp.layers.0."),
    (r"\.layers\.(\d+)\.fc2\.", r".layers.\1.mlp.layers.1."),
)

# What transformers' config.json says of a network with the same weights, where it is another than these, by the model.
_ELSE: Mapping[str, Any] = {
    "eval_idx": -1,
    "layer_scale": 1.0,
    "max_num_bins": 32,
    "top_prob_values": 4,
    "lqe_layers": 2,
}


def config_of(variant: Variant) -> Mapping[str, Any]:
    """Return what config.json would say of a model."""
    points, levels = list(variant.points), variant.levels
    return {
        **CONFIG,
        **_ELSE,
        "decoder_n_points": points,
        "encode_proj_layers": [levels - 1],
        "num_feature_levels": levels,
    }


def canonical(state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a state dict under the names of transformers' module, without what is for training; see DFINE."""
    return renamed(state_dict, _FILES) if _STEM in state_dict else state_dict


def identify(state_dict: Mapping[str, Any], variants: Mapping[str, Variant]) -> dict[str, Any] | None:
    """Return the arguments of the D-FINE that a state dict's names and sizes tell of, or None."""
    if _STEM not in state_dict:
        return None
    own = canonical(state_dict)
    told = (
        length_of(own, "model.backbone.model.embedder.stem4.normalization.weight"),
        tuple(count_of(own, f"{_STAGES}.{i}.blocks.{{}}.aggregation.0.convolution.weight") for i in range(4)),
        count_of(own, f"{_STAGES}.0.blocks.0.layers.{{}}.convolution.weight"),
        "model.backbone.model.embedder.stem1.lab.scale" in own,
        count_of(own, "model.encoder_input_proj.{}.0.weight"),
        length_of(own, "model.encoder.lateral_convs.0.norm.weight"),
        length_of(own, "model.encoder.fpn_blocks.0.csp_rep1.conv1.norm.weight"),
        count_of(own, "model.encoder.fpn_blocks.0.csp_rep1.bottlenecks.{}.conv1.norm.weight"),
        count_of(own, "model.decoder.lqe_layers.{}.reg_conf.layers.0.weight"),
        length_of(own, "model.decoder.layers.0.encoder_attn.num_points_scale"),
    )
    ours = {
        name: (
            variant.stem[1],
            variant.blocks,
            variant.depth,
            variant.affine,
            variant.levels,
            variant.width,
            variant.within_fusion,
            variant.repeats,
            variant.layers,
            sum(variant.points),
        )
        for name, variant in variants.items()
    }
    return arguments(state_dict, own, told, ours)
