"""Networks and blocks of diffusers, in small configurations: U-nets, their blocks, autoencoders, transformers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.zoo.torchvision_models import import_torchvision


class Model(NamedTuple):
    """A model: its class, within diffusers, what that is given, and a function that returns the example's arguments."""

    name: str
    options: dict[str, Any]
    example: Callable[[], dict[str, Any]]


def _normal(**shapes: tuple[int, ...]) -> Callable[[], dict[str, Any]]:
    """Return a function that draws numbers of each name's shape; ``timestep`` is of two steps, as floats."""

    def example() -> dict[str, Any]:
        import torch

        drawn = {name: torch.randn(shape) for name, shape in shapes.items()}
        if "timestep" in drawn:
            drawn["timestep"] = torch.tensor([3.0, 500.0])
        return drawn

    return example


def _labelled() -> dict[str, Any]:
    import torch

    example = _normal(hidden_states=(2, 4, 16, 16))()
    return {**example, "timestep": torch.tensor([3, 500]), "class_labels": torch.tensor([1, 7])}


def _flux() -> dict[str, Any]:
    import torch

    example = _normal(hidden_states=(1, 16, 16), encoder_hidden_states=(1, 6, 32), pooled_projections=(1, 32))()
    places = torch.stack(torch.meshgrid(torch.zeros(1), torch.arange(4.0), torch.arange(4.0), indexing="ij"), -1)
    return {
        **example,
        "timestep": torch.rand(1),
        "img_ids": places.reshape(16, 3),
        "txt_ids": torch.zeros(6, 3),
    }


_BLOCKS = "models.unets.unet_2d_blocks."
_SMALL = {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 4}
_CROSS = {"cross_attention_dim": 24, "attention_head_dim": 8}
_CROSS_BLOCKS = {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
                 "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}  # fmt: skip
_BLOCK = {"temb_channels": 32, "resnet_groups": 4}
_CODER = {"block_out_channels": (16, 32), "norm_num_groups": 4, "down_block_types": ("DownEncoderBlock2D",) * 2,
          "up_block_types": ("UpDecoderBlock2D",) * 2}  # fmt: skip
_LATENT = {"sample": (2, 4, 16, 16), "timestep": (2,), "encoder_hidden_states": (2, 6, 24)}
_DIT = {"num_attention_heads": 4, "attention_head_dim": 8, "num_layers": 2, "sample_size": 16}

MODELS: dict[str, Model] = {
    # U-nets
    "unet-2d": Model("UNet2DModel", {**_SMALL, "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
                     "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}, _normal(sample=(2, 3, 16, 16), timestep=(2,))),
    "unet-2d-condition": Model("UNet2DConditionModel", {**_SMALL, **_CROSS, **_CROSS_BLOCKS}, _normal(**_LATENT)),
    "unet-2d-condition-linear": Model("UNet2DConditionModel", {**_SMALL, **_CROSS, **_CROSS_BLOCKS,
                                      "use_linear_projection": True, "transformer_layers_per_block": 2,
                                      "resnet_time_scale_shift": "scale_shift"}, _normal(**_LATENT)),
    "unet-1d": Model("UNet1DModel", {"sample_size": 256, "block_out_channels": (32, 32, 64), "extra_in_channels": 64},
                     _normal(sample=(2, 2, 256), timestep=(2,))),
    "unet-3d-condition": Model("UNet3DConditionModel", {**_SMALL, **_CROSS,
                               "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
                               "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D")},
                               _normal(**{**_LATENT, "sample": (2, 4, 3, 16, 16)})),
    "unet-spatio-temporal": Model("UNetSpatioTemporalConditionModel", {"block_out_channels": (32, 64),
                                  "layers_per_block": 1, "num_attention_heads": (2, 4), "cross_attention_dim": 24,
                                  "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
                                  "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
                                  "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 24},
                                  _normal(sample=(2, 3, 8, 16, 16), timestep=(2,), encoder_hidden_states=(2, 1, 24),
                                  added_time_ids=(2, 3))),
    "controlnet": Model("ControlNetModel", {**_SMALL, **_CROSS,
                        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
                        "conditioning_embedding_out_channels": (8, 16)},
                        _normal(**_LATENT, controlnet_cond=(2, 3, 32, 32))),
    "t2i-adapter": Model("T2IAdapter", {"channels": [16, 32, 48, 48]}, _normal(x=(1, 3, 64, 64))),
    # their blocks
    "resnet-block": Model("models.resnet.ResnetBlock2D", {"in_channels": 16, "out_channels": 32, "temb_channels": 32,
                          "groups": 4}, _normal(input_tensor=(1, 16, 16, 16), temb=(1, 32))),
    "resnet-block-scale-shift": Model("models.resnet.ResnetBlock2D", {"in_channels": 16, "temb_channels": 32,
                                      "groups": 4, "time_embedding_norm": "scale_shift", "down": True},
                                      _normal(input_tensor=(1, 16, 16, 16), temb=(1, 32))),
    "down-block": Model(_BLOCKS + "DownBlock2D", {**_BLOCK, "in_channels": 16, "out_channels": 32},
                        _normal(hidden_states=(1, 16, 16, 16), temb=(1, 32))),
    "attention-down-block": Model(_BLOCKS + "AttnDownBlock2D", {**_BLOCK, "in_channels": 16, "out_channels": 32,
                                  "attention_head_dim": 8}, _normal(hidden_states=(1, 16, 16, 16), temb=(1, 32))),
    "cross-attention-down-block": Model(_BLOCKS + "CrossAttnDownBlock2D", {**_BLOCK, "in_channels": 16,
                                        "out_channels": 32, "num_attention_heads": 4, "cross_attention_dim": 24},
                                        _normal(hidden_states=(1, 16, 16, 16), temb=(1, 32),
                                        encoder_hidden_states=(1, 6, 24))),
    "middle-block": Model(_BLOCKS + "UNetMidBlock2DCrossAttn", {**_BLOCK, "in_channels": 32, "num_attention_heads": 4,
                          "cross_attention_dim": 24}, _normal(hidden_states=(1, 32, 8, 8), temb=(1, 32),
                          encoder_hidden_states=(1, 6, 24))),
    "transformer-block": Model("models.attention.BasicTransformerBlock", {"dim": 32, "num_attention_heads": 4,
                               "attention_head_dim": 8, "cross_attention_dim": 24},
                               _normal(hidden_states=(1, 16, 32), encoder_hidden_states=(1, 6, 24))),
    "transformer-2d": Model("Transformer2DModel", {"num_attention_heads": 4, "attention_head_dim": 8,
                            "in_channels": 32, "norm_num_groups": 4, "cross_attention_dim": 24},
                            _normal(hidden_states=(1, 32, 8, 8), encoder_hidden_states=(1, 6, 24))),
    # autoencoders
    "vae": Model("AutoencoderKL", _CODER, _normal(sample=(1, 3, 32, 32))),
    "vae-encoder": Model("models.autoencoders.vae.Encoder", {"out_channels": 4, "block_out_channels": (16, 32),
                         "down_block_types": ("DownEncoderBlock2D",) * 2, "norm_num_groups": 4},
                         _normal(sample=(1, 3, 32, 32))),
    "vae-decoder": Model("models.autoencoders.vae.Decoder", {"in_channels": 4, "block_out_channels": (16, 32),
                         "up_block_types": ("UpDecoderBlock2D",) * 2, "norm_num_groups": 4},
                         _normal(sample=(1, 4, 16, 16))),
    "vae-tiny": Model("AutoencoderTiny", {"encoder_block_out_channels": (16, 16), "num_encoder_blocks": (1, 1),
                      "decoder_block_out_channels": (16, 16), "num_decoder_blocks": (1, 1)},
                      _normal(sample=(1, 3, 32, 32))),
    "vae-temporal-decoder": Model("models.autoencoders.autoencoder_kl_temporal_decoder.TemporalDecoder",
                                  {"block_out_channels": (32, 64)}, lambda: {**_normal(sample=(4, 4, 8, 8),
                                  image_only_indicator=(2, 2))(), "num_frames": 2}),
    "vq-model": Model("VQModel", {**_CODER, "latent_channels": 4, "num_vq_embeddings": 32},
                      _normal(sample=(1, 3, 32, 32))),
    "dc-ae": Model("AutoencoderDC", {"latent_channels": 4, "attention_head_dim": 8,
                   "encoder_block_types": ("ResBlock", "EfficientViTBlock"),
                   "decoder_block_types": ("ResBlock", "EfficientViTBlock"), "encoder_block_out_channels": (16, 32),
                   "decoder_block_out_channels": (16, 32), "encoder_layers_per_block": (1, 1),
                   "decoder_layers_per_block": (1, 1), "encoder_qkv_multiscales": ((), (5,)),
                   "decoder_qkv_multiscales": ((), (5,))}, _normal(sample=(1, 3, 32, 32))),
    "audio-oobleck": Model("AutoencoderOobleck", {"encoder_hidden_size": 8, "downsampling_ratios": [2, 4],
                           "channel_multiples": [1, 2], "decoder_channels": 8, "decoder_input_channels": 4},
                           _normal(sample=(1, 2, 256))),
    # transformers
    "dit": Model("DiTTransformer2DModel", {**_DIT, "norm_num_groups": 4, "num_embeds_ada_norm": 10}, _labelled),
    "pixart": Model("PixArtTransformer2DModel", {**_DIT, "cross_attention_dim": 32, "caption_channels": 24,
                    "use_additional_conditions": False}, _normal(hidden_states=(2, 4, 16, 16), timestep=(2,),
                    encoder_hidden_states=(2, 6, 24))),
    "sd3": Model("SD3Transformer2DModel", {"sample_size": 16, "num_layers": 2, "attention_head_dim": 8,
                 "num_attention_heads": 4, "joint_attention_dim": 24, "caption_projection_dim": 32,
                 "pooled_projection_dim": 24, "pos_embed_max_size": 16}, _normal(hidden_states=(2, 16, 16, 16),
                 encoder_hidden_states=(2, 6, 24), pooled_projections=(2, 24), timestep=(2,))),
    "flux": Model("FluxTransformer2DModel", {"in_channels": 16, "num_layers": 1, "num_single_layers": 1,
                  "attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 32,
                  "pooled_projection_dim": 32, "axes_dims_rope": (4, 4, 8)}, _flux),
    "sana": Model("SanaTransformer2DModel", {"in_channels": 4, "out_channels": 4, "num_attention_heads": 4,
                  "attention_head_dim": 8, "num_layers": 2, "num_cross_attention_heads": 4,
                  "cross_attention_head_dim": 8, "cross_attention_dim": 32, "caption_channels": 24,
                  "sample_size": 16}, _normal(hidden_states=(2, 4, 16, 16), encoder_hidden_states=(2, 6, 24),
                  timestep=(2,))),
    "auraflow": Model("AuraFlowTransformer2DModel", {"sample_size": 16, "num_mmdit_layers": 1,
                      "num_single_dit_layers": 1, "attention_head_dim": 8, "num_attention_heads": 4,
                      "joint_attention_dim": 24, "caption_projection_dim": 32, "pos_embed_max_size": 64},
                      _normal(hidden_states=(2, 4, 16, 16), encoder_hidden_states=(2, 6, 24), timestep=(2,))),
    "prior": Model("PriorTransformer", {"num_attention_heads": 4, "attention_head_dim": 8, "num_layers": 2,
                   "embedding_dim": 24, "num_embeddings": 6}, _normal(hidden_states=(2, 24), timestep=(2,),
                   proj_embedding=(2, 24), encoder_hidden_states=(2, 6, 24))),
}  # fmt: skip


def load() -> None:
    """Import what the models are of."""
    import_torchvision()  # diffusers imports transformers, and that torchvision
    importlib.import_module("diffusers.models.modeling_utils")


def names() -> list[str]:
    """Return the names of the table."""
    return list(MODELS)


def make(name: str) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return a model, and an example."""
    load()
    model = MODELS[name]
    module, _, kind = f"diffusers.{model.name}".rpartition(".")
    return getattr(importlib.import_module(module), kind)(**model.options), (), model.example()
