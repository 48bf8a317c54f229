"""Models and parts of models of transformers, in small configurations: vision, detection, depth, audio, language."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.zoo.torchvision_models import import_torchvision


class Config(NamedTuple):
    """A configuration: the name of its class, and what that is given, other configurations among it."""

    name: str
    options: dict[str, Any]


class Model(NamedTuple):
    """A model: the name of its class, its configuration, and a function that returns the example's arguments."""

    name: str
    config: Config
    example: Callable[[], dict[str, Any]]


# -- examples ---------------------------------------------------------------------------------------------------------


def _images(side: int = 64, channels: int = 3) -> dict[str, Any]:
    import torch

    return {"pixel_values": torch.rand(1, channels, side, side)}


def _video(frames: int, side: int = 64, name: str = "pixel_values") -> dict[str, Any]:
    import torch

    return {name: torch.rand(1, frames, 3, side, side)}


def _waves(samples: int = 3200) -> dict[str, Any]:
    import torch

    return {"input_values": torch.randn(1, samples)}


def _spectra(*shape: int, name: str = "input_features") -> dict[str, Any]:
    import torch

    return {name: torch.randn(1, *shape)}


def _tokens(length: int = 12) -> dict[str, Any]:
    import torch

    return {"input_ids": torch.randint(3, 90, (1, length))}


def _masked(length: int = 12) -> dict[str, Any]:
    import torch

    return {**_tokens(length), "attention_mask": torch.ones(1, length, dtype=torch.int64)}


def _both(side: int = 64, length: int = 8) -> dict[str, Any]:
    return {**_tokens(length), **_images(side)}


def _patch_list() -> dict[str, Any]:
    import torch

    return {
        "pixel_values": torch.rand(1, 16, 3 * 16 * 16),
        "pixel_attention_mask": torch.ones(1, 16, dtype=torch.int64),
        "spatial_shapes": torch.tensor([[4, 4]]),
    }


# -- configurations ---------------------------------------------------------------------------------------------------

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_LANGUAGE = {**_SMALL, "vocab_size": 100}
_DECODER = {**_LANGUAGE, "num_key_value_heads": 2, "use_cache": False, "max_position_embeddings": 64}
_OWN_HEAD = {**_DECODER, "head_dim": 8}
_PATCHES = {**_SMALL, "image_size": 64, "patch_size": 16}
_STAGES = {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]}
_SWIN = {"image_size": 64, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4]}
_SWIN_STAGES = {"image_size": 64, "embed_dim": 16, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8], "window_size": 4}
_SPEECH = {**_SMALL, "conv_dim": [32] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4}
_VITDET = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 64, "patch_size": 16,
           "pretrain_image_size": 64, "window_block_indices": [0, 2], "window_size": 2}  # fmt: skip
_SAM = {"hidden_size": 32, "num_hidden_layers": 2, "image_size": 64, "num_attention_heads": 4, "mlp_dim": 64,
        "output_channels": 16, "window_size": 2, "global_attn_indexes": [1]}  # fmt: skip
_RESNET = Config("ResNetConfig", {"embedding_size": 16, **_STAGES, "out_features": ["stage4"]})
_RESNET_3 = Config("ResNetConfig", {"embedding_size": 16, **_STAGES, "out_features": ["stage2", "stage3", "stage4"]})
_RT_RESNET = Config("RTDetrResNetConfig", {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1] * 4,
                    "out_features": ["stage2", "stage3", "stage4"]})  # fmt: skip
_HGNET = Config("HGNetV2Config", {"embedding_size": 16, "hidden_sizes": [32, 48, 64, 64], "depths": [1] * 4,
                "stem_channels": [3, 8, 16], "stage_in_channels": [16, 32, 48, 64],
                "stage_mid_channels": [8, 8, 16, 16], "stage_out_channels": [32, 48, 64, 64],
                "stage_num_blocks": [1] * 4, "stage_numb_of_layers": [2] * 4,
                "out_features": ["stage2", "stage3", "stage4"]})  # fmt: skip
_DETR = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_queries": 12}  # fmt: skip
_RT_DETR = {**_DETR, "encoder_layers": 1, "encoder_hidden_dim": 32, "encoder_in_channels": [32, 48, 64],
            "decoder_in_channels": [32, 32, 32], "num_labels": 7}  # fmt: skip
_D_FINE = {**_RT_DETR, "encoder_in_channels": [48, 64, 64], "backbone_config": _HGNET, "lqe_hidden_dim": 16}
_LW_DETR = {"d_model": 32, "decoder_layers": 2, "decoder_self_attention_heads": 4, "decoder_cross_attention_heads": 4,
            "decoder_ffn_dim": 64, "num_queries": 12, "group_detr": 2, "num_labels": 7}  # fmt: skip
_DINOV2 = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 70, "patch_size": 14,
           "out_features": ["stage1", "stage2", "stage3", "stage4"], "reshape_hidden_states": False}  # fmt: skip
_NECK = {"neck_hidden_sizes": [16, 16, 16, 16], "fusion_hidden_size": 16}
_DEPTH = {**_NECK, "backbone_config": Config("Dinov2Config", _DINOV2), "reassemble_hidden_size": 32,
          "head_hidden_size": 8}  # fmt: skip
_MASKS = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "encoder_feedforward_dim": 64,
          "encoder_layers": 2, "decoder_layers": 2, "num_attention_heads": 4, "dim_feedforward": 64,
          "num_queries": 10, "backbone_config": Config("SwinConfig", {**_SWIN_STAGES, "out_features":
          ["stage1", "stage2", "stage3", "stage4"]})}  # fmt: skip
_TEXT = {**_LANGUAGE, "max_position_embeddings": 16, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}

MODELS: dict[str, Model] = {
    # encoders of images
    "vit": Model("ViTModel", Config("ViTConfig", _PATCHES), _images),
    "deit": Model("DeiTModel", Config("DeiTConfig", _PATCHES), _images),
    "beit": Model("BeitModel", Config("BeitConfig", {**_PATCHES, "use_relative_position_bias": True}), _images),
    "data2vec-vision": Model("Data2VecVisionModel", Config("Data2VecVisionConfig", _PATCHES), _images),
    "ijepa": Model("IJepaModel", Config("IJepaConfig", _PATCHES), _images),
    "vit-msn": Model("ViTMSNModel", Config("ViTMSNConfig", _PATCHES), _images),
    "vit-mae-encoder": Model("ViTMAEModel", Config("ViTMAEConfig", _PATCHES),
                             lambda: {**_images(), **_spectra(16, name="noise")}),
    "vitdet": Model("VitDetModel", Config("VitDetConfig", _VITDET), _images),
    "vitpose-backbone": Model("VitPoseBackbone", Config("VitPoseBackboneConfig", {"hidden_size": 32,
                              "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": [64, 48],
                              "patch_size": [16, 16]}), lambda: _spectra(3, 64, 48, name="pixel_values")),
    "dinov2": Model("Dinov2Model", Config("Dinov2Config", _PATCHES), _images),
    "dinov2-registers": Model("Dinov2WithRegistersModel", Config("Dinov2WithRegistersConfig", _PATCHES), _images),
    "dinov3-vit": Model("DINOv3ViTModel", Config("DINOv3ViTConfig", {**_PATCHES, "num_register_tokens": 2}), _images),
    "dinov3-convnext": Model("DINOv3ConvNextModel", Config("DINOv3ConvNextConfig", _STAGES), _images),
    "clip-vision": Model("CLIPVisionModel", Config("CLIPVisionConfig", _PATCHES), _images),
    "clip": Model("CLIPModel", Config("CLIPConfig", {"text_config": _TEXT, "vision_config": _PATCHES,
                  "projection_dim": 16}), _both),
    "siglip-vision": Model("SiglipVisionModel", Config("SiglipVisionConfig", _PATCHES), _images),
    "siglip": Model("SiglipModel", Config("SiglipConfig", {"text_config": {**_TEXT, "max_position_embeddings": 8},
                    "vision_config": _PATCHES}), _both),
    "siglip2-vision": Model("Siglip2VisionModel", Config("Siglip2VisionConfig", {**_SMALL, "patch_size": 16,
                            "num_patches": 16}), _patch_list),
    "aimv2-vision": Model("Aimv2VisionModel", Config("Aimv2VisionConfig", _PATCHES), _images),
    "blip-vision": Model("BlipVisionModel", Config("BlipVisionConfig", {**_PATCHES, "initializer_range": 0.02}),
                         _images),
    "chinese-clip-vision": Model("ChineseCLIPVisionModel", Config("ChineseCLIPVisionConfig", _PATCHES), _images),
    "metaclip2-vision": Model("MetaClip2VisionModel", Config("MetaClip2VisionConfig", _PATCHES), _images),
    "owlvit-vision": Model("OwlViTVisionModel", Config("OwlViTVisionConfig", _PATCHES), _images),
    "swin": Model("SwinModel", Config("SwinConfig", _SWIN), _images),
    "swinv2": Model("Swinv2Model", Config("Swinv2Config", {**_SWIN, "window_size": 4}), _images),
    "donut-swin": Model("DonutSwinModel", Config("DonutSwinConfig", {**_SWIN, "window_size": 4}), _images),
    "convnext": Model("ConvNextModel", Config("ConvNextConfig", _STAGES), _images),
    "convnextv2": Model("ConvNextV2Model", Config("ConvNextV2Config", _STAGES), _images),
    "resnet": Model("ResNetModel", Config("ResNetConfig", {"embedding_size": 16, **_STAGES}), _images),
    "regnet": Model("RegNetModel", Config("RegNetConfig", {"embedding_size": 16, **_STAGES, "groups_width": 8}),
                    _images),
    "bit": Model("BitModel", Config("BitConfig", {"embedding_size": 16, **_STAGES, "num_groups": 4}), _images),
    "poolformer": Model("PoolFormerModel", Config("PoolFormerConfig", _STAGES), _images),
    "pvt": Model("PvtModel", Config("PvtConfig", {"image_size": 64, **_STAGES, "num_attention_heads": [1, 2, 3, 4]}),
                 _images),
    "pvt-v2": Model("PvtV2Model", Config("PvtV2Config", {**_STAGES, "num_attention_heads": [1, 2, 3, 4]}), _images),
    "cvt": Model("CvtModel", Config("CvtConfig", {"embed_dim": [16, 32, 48], "num_heads": [1, 2, 3],
                 "depth": [1, 2, 3]}), _images),
    "focalnet": Model("FocalNetModel", Config("FocalNetConfig", {"image_size": 64, "embed_dim": 16,
                      "hidden_sizes": [16, 32, 64, 64], "depths": [1, 1, 2, 1]}), _images),
    "levit": Model("LevitModel", Config("LevitConfig", {"image_size": 64}), _images),
    "swiftformer": Model("SwiftFormerModel", Config("SwiftFormerConfig", {"image_size": 64, "depths": [1, 1, 2, 1],
                         "embed_dims": [16, 24, 32, 48]}), _images),
    "mobilenet-v1": Model("MobileNetV1Model", Config("MobileNetV1Config", {"depth_multiplier": 0.25}), _images),
    "mobilenet-v2": Model("MobileNetV2Model", Config("MobileNetV2Config", {"depth_multiplier": 0.35}), _images),
    "mobilevit": Model("MobileViTModel", Config("MobileViTConfig", {"image_size": 64}), _images),
    "mobilevitv2": Model("MobileViTV2Model", Config("MobileViTV2Config", {"image_size": 64, "width_multiplier": 0.5,
                         "base_attn_unit_dims": [32, 48, 64]}), _images),
    "efficientnet": Model("EfficientNetModel", Config("EfficientNetConfig", {"width_coefficient": 0.5,
                          "depth_coefficient": 0.5, "hidden_dim": 640, "image_size": 64}), _images),
    "hgnet-v2": Model("HGNetV2Backbone", _HGNET, _images),
    "textnet": Model("TextNetModel", Config("TextNetConfig", {"stem_out_channels": 16,
                     "conv_layer_kernel_sizes": [[[3, 3]], [[3, 3], [1, 3]], [[3, 1]], [[3, 3]]],
                     "conv_layer_strides": [[1], [2, 1], [2], [2]], "hidden_sizes": [16, 16, 32, 32, 48]}), _images),
    "hiera": Model("HieraModel", Config("HieraConfig", {"image_size": [64, 64], "embed_dim": 16,
                   "depths": [1, 1, 2, 1]}), _images),
    "sam-encoder": Model("SamVisionModel", Config("SamVisionConfig", _SAM), _images),
    "sam-hq-encoder": Model("SamHQVisionModel", Config("SamHQVisionConfig", {**_SAM, "initializer_range": 0.02}),
                            _images),
    "sam2-encoder": Model("Sam2VisionModel", Config("Sam2VisionConfig", {"backbone_config": Config(
                          "Sam2HieraDetConfig", {"hidden_size": 16, "image_size": [64, 64],
                          "window_positional_embedding_background_size": [4, 4], "blocks_per_stage": [1, 1, 2, 1],
                          "embed_dim_per_stage": [16, 32, 64, 128], "num_attention_heads_per_stage": [1, 2, 4, 8],
                          "window_size_per_stage": [4, 2, 4, 2], "global_attention_blocks": [3]}),
                          "backbone_channel_list": [128, 64, 32, 16], "fpn_hidden_size": 16,
                          "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]]}), _images),
    "videomae": Model("VideoMAEModel", Config("VideoMAEConfig", {**_PATCHES, "num_frames": 4}), lambda: _video(4)),
    "timesformer": Model("TimesformerModel", Config("TimesformerConfig", {**_PATCHES, "num_frames": 4}),
                         lambda: _video(4)),
    "vivit": Model("VivitModel", Config("VivitConfig", {**_SMALL, "image_size": 64, "num_frames": 4}),
                   lambda: _video(4)),
    "swin2sr": Model("Swin2SRForImageSuperResolution", Config("Swin2SRConfig", {"image_size": 16, "embed_dim": 16,
                     "depths": [2, 2], "num_heads": [2, 2], "window_size": 4}), lambda: _images(16)),
    "vitmatte": Model("VitMatteForImageMatting", Config("VitMatteConfig", {"hidden_size": 32, "backbone_config": Config(
                      "VitDetConfig", {**_VITDET, "num_channels": 4, "out_features": ["stage4"]}),
                      "convstream_hidden_sizes": [8, 12, 16], "fusion_hidden_sizes": [32, 16, 12, 8]}),
                      lambda: _images(64, 4)),
    # detection
    "detr": Model("DetrForObjectDetection", Config("DetrConfig", {**_DETR, "backbone_config": _RESNET}), _images),
    "conditional-detr": Model("ConditionalDetrForObjectDetection", Config("ConditionalDetrConfig", {**_DETR,
                              "backbone_config": _RESNET}), _images),
    "dab-detr": Model("DabDetrForObjectDetection", Config("DabDetrConfig", {"hidden_size": 32, "encoder_layers": 2,
                      "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
                      "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_queries": 12, "backbone_config": _RESNET}),
                      _images),
    "deformable-detr": Model("DeformableDetrForObjectDetection", Config("DeformableDetrConfig", {**_DETR,
                             "backbone_config": _RESNET_3, "disable_custom_kernels": True}), lambda: _images(96)),
    "deformable-detr-two-stage": Model("DeformableDetrForObjectDetection", Config("DeformableDetrConfig", {**_DETR,
                                       "backbone_config": _RESNET_3, "disable_custom_kernels": True, "two_stage": True,
                                       "with_box_refine": True, "two_stage_num_proposals": 12}),
                                       lambda: _images(96)),
    "table-transformer": Model("TableTransformerForObjectDetection", Config("TableTransformerConfig", {**_DETR,
                               "backbone_config": _RESNET}), _images),
    "rt-detr-backbone": Model("RTDetrResNetBackbone", _RT_RESNET, _images),
    "rt-detr": Model("RTDetrForObjectDetection", Config("RTDetrConfig", {**_RT_DETR, "backbone_config": _RT_RESNET}),
                     _images),
    "rt-detr-v2": Model("RTDetrV2ForObjectDetection", Config("RTDetrV2Config", {**_RT_DETR,
                        "backbone_config": _RT_RESNET}), _images),
    "d-fine": Model("DFineForObjectDetection", Config("DFineConfig", _D_FINE), _images),
    "deimv2": Model("Deimv2ForObjectDetection", Config("Deimv2Config", _D_FINE), _images),
    "lw-detr": Model("LwDetrForObjectDetection", Config("LwDetrConfig", {**_LW_DETR, "projector_scale_factors": [1.0],
                     "backbone_config": Config("LwDetrViTConfig", {"hidden_size": 32, "num_hidden_layers": 4,
                     "num_attention_heads": 4, "image_size": 64, "pretrain_image_size": 64, "patch_size": 16,
                     "num_windows": 4, "window_block_indices": [0, 2], "out_features": ["stage2", "stage4"]})}),
                     _images),
    "rf-detr": Model("RfDetrForObjectDetection", Config("RfDetrConfig", {**_LW_DETR, "backbone_config": Config(
                     "RfDetrDinov2Config", {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4,
                     "image_size": 64, "patch_size": 16, "num_windows": 2, "out_features": ["stage2", "stage4"]})}),
                     _images),
    "yolos": Model("YolosForObjectDetection", Config("YolosConfig", {**_PATCHES, "image_size": [64, 64],
                   "num_detection_tokens": 4}), _images),
    "owlvit": Model("OwlViTForObjectDetection", Config("OwlViTConfig", {"text_config": _TEXT,
                    "vision_config": _PATCHES, "projection_dim": 32}), _both),
    # segmentation
    "segformer": Model("SegformerForSemanticSegmentation", Config("SegformerConfig", {
                       "hidden_sizes": [16, 32, 40, 64], "decoder_hidden_size": 32}), _images),
    "beit-segmentation": Model("BeitForSemanticSegmentation", Config("BeitConfig", {**_PATCHES,
                               "num_hidden_layers": 4, "out_indices": [1, 2, 3, 4]}), _images),
    "mobilevit-segmentation": Model("MobileViTForSemanticSegmentation", Config("MobileViTConfig", {"image_size": 64,
                                    "output_stride": 16}), _images),
    "dpt-segmentation": Model("DPTForSemanticSegmentation", Config("DPTConfig", {**_PATCHES, **_NECK,
                              "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3]}), _images),
    "upernet": Model("UperNetForSemanticSegmentation", Config("UperNetConfig", {"hidden_size": 16,
                     "auxiliary_channels": 16, "auxiliary_in_channels": 48, "backbone_config": Config("ConvNextConfig",
                     {**_STAGES, "out_features": ["stage1", "stage2", "stage3", "stage4"]})}), _images),
    "maskformer": Model("MaskFormerForInstanceSegmentation", Config("MaskFormerConfig", {"fpn_feature_size": 32,
                        "mask_feature_size": 32, "backbone_config": Config("SwinConfig", {**_SWIN_STAGES,
                        "out_features": ["stage1", "stage2", "stage3", "stage4"]}),
                        "decoder_config": Config("DetrConfig", _DETR)}), _images),
    "mask2former-pixel-decoder": Model("Mask2FormerPixelLevelModule", Config("Mask2FormerConfig", _MASKS), _images),
    "mask2former": Model("Mask2FormerForUniversalSegmentation", Config("Mask2FormerConfig", _MASKS), _images),
    "oneformer-pixel-decoder": Model("OneFormerPixelLevelModule", Config("OneFormerConfig", {"conv_dim": 32,
                                     "mask_dim": 32, "hidden_dim": 32, "encoder_feedforward_dim": 64,
                                     "encoder_layers": 2, "num_attention_heads": 4,
                                     "backbone_config": _MASKS["backbone_config"]}), _images),
    "eomt": Model("EomtForUniversalSegmentation", Config("EomtConfig", {"hidden_size": 32, "num_hidden_layers": 4,
                  "num_attention_heads": 4, "image_size": 64, "patch_size": 16, "num_blocks": 2, "num_queries": 10}),
                  _images),
    "clipseg": Model("CLIPSegForImageSegmentation", Config("CLIPSegConfig", {"text_config": _TEXT,
                     "vision_config": {**_PATCHES, "num_hidden_layers": 3}, "projection_dim": 32,
                     "extract_layers": [0, 1, 2], "reduce_dim": 16, "decoder_intermediate_size": 32}), _both),
    # depth
    "depth-anything": Model("DepthAnythingForDepthEstimation", Config("DepthAnythingConfig", _DEPTH),
                            lambda: _images(70)),
    "prompt-depth-anything": Model("PromptDepthAnythingForDepthEstimation", Config("PromptDepthAnythingConfig", _DEPTH),
                                   lambda: {**_images(70), **_spectra(1, 20, 20, name="prompt_depth")}),
    "dpt": Model("DPTForDepthEstimation", Config("DPTConfig", {**_PATCHES, **_NECK, "num_hidden_layers": 4,
                 "backbone_out_indices": [0, 1, 2, 3]}), _images),
    "glpn": Model("GLPNForDepthEstimation", Config("GLPNConfig", {"hidden_sizes": [16, 32, 40, 64],
                  "decoder_hidden_size": 16}), _images),
    "zoedepth": Model("ZoeDepthForDepthEstimation", Config("ZoeDepthConfig", {**_NECK, "bottleneck_features": 16,
                      "num_relative_features": 8, "bin_embedding_dim": 16, "num_attractors": [4, 2, 2, 1],
                      "bin_configurations": [{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0}],
                      "backbone_config": Config("BeitConfig", {**_PATCHES, "num_hidden_layers": 4,
                      "use_relative_position_bias": True, "out_features": ["stage1", "stage2", "stage3", "stage4"],
                      "reshape_hidden_states": False})}), _images),
    # audio
    "whisper-encoder": Model("WhisperEncoder", Config("WhisperConfig", {"d_model": 32, "encoder_layers": 2,
                             "decoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 64,
                             "num_mel_bins": 16, "max_source_positions": 50}), lambda: _spectra(16, 100)),
    "wav2vec2": Model("Wav2Vec2Model", Config("Wav2Vec2Config", _SPEECH), _waves),
    "wav2vec2-ctc": Model("Wav2Vec2ForCTC", Config("Wav2Vec2Config", {**_SPEECH, "vocab_size": 30}), _waves),
    "wav2vec2-conformer": Model("Wav2Vec2ConformerModel", Config("Wav2Vec2ConformerConfig", _SPEECH), _waves),
    "wav2vec2-bert": Model("Wav2Vec2BertModel", Config("Wav2Vec2BertConfig", {**_SMALL,
                           "feature_projection_input_dim": 20}), lambda: _spectra(24, 20)),
    "hubert": Model("HubertModel", Config("HubertConfig", _SPEECH), _waves),
    "wavlm": Model("WavLMModel", Config("WavLMConfig", _SPEECH), _waves),
    "data2vec-audio": Model("Data2VecAudioModel", Config("Data2VecAudioConfig", {**_SMALL, "conv_dim": [32] * 7,
                            "conv_pos_kernel_size": 3, "num_conv_pos_embedding_groups": 4}), _waves),
    "unispeech": Model("UniSpeechModel", Config("UniSpeechConfig", _SPEECH), _waves),
    "sew": Model("SEWModel", Config("SEWConfig", {**_SMALL, "num_conv_pos_embeddings": 8,
                 "num_conv_pos_embedding_groups": 4}), _waves),
    "ast": Model("ASTModel", Config("ASTConfig", {**_SMALL, "max_length": 64, "num_mel_bins": 32}),
                 lambda: _spectra(64, 32, name="input_values")),
    "clap-audio": Model("ClapAudioModel", Config("ClapAudioConfig", {"spec_size": 64, "num_mel_bins": 16,
                        "window_size": 4, "depths": [1, 1], "num_attention_heads": [2, 4], "hidden_size": 32,
                        "patch_embeds_hidden_size": 16}), lambda: _spectra(1, 256, 16)),
    "speech-to-text-encoder": Model("Speech2TextEncoder", Config("Speech2TextConfig", {"d_model": 32,
                                    "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 64,
                                    "conv_channels": 32, "input_feat_per_channel": 16, "max_source_positions": 64}),
                                    lambda: _spectra(40, 16)),
    "parakeet-encoder": Model("ParakeetEncoder", Config("ParakeetEncoderConfig", {**_SMALL, "num_mel_bins": 16,
                              "subsampling_conv_channels": 16}), lambda: _spectra(64, 16)),
    "moonshine-encoder": Model("MoonshineEncoder", Config("MoonshineConfig", {"hidden_size": 32,
                               "intermediate_size": 64, "encoder_num_hidden_layers": 2, "decoder_num_hidden_layers": 2,
                               "encoder_num_attention_heads": 4, "decoder_num_attention_heads": 4}),
                               lambda: _waves(4000)),
    "encodec-encoder": Model("EncodecEncoder", Config("EncodecConfig", {"num_filters": 8, "hidden_size": 32}),
                             lambda: _spectra(1, 1600, name="hidden_states")),
    "dac-encoder": Model("DacEncoder", Config("DacConfig", {"encoder_hidden_size": 8, "decoder_hidden_size": 64}),
                         lambda: _spectra(1, 1024, name="hidden_state")),
    # language
    "clip-text": Model("CLIPTextModel", Config("CLIPTextConfig", _TEXT), _tokens),
    "bert": Model("BertModel", Config("BertConfig", _LANGUAGE), _tokens),
    "roberta": Model("RobertaModel", Config("RobertaConfig", _LANGUAGE), _tokens),
    "distilbert": Model("DistilBertModel", Config("DistilBertConfig", {"dim": 32, "n_layers": 2, "n_heads": 4,
                        "hidden_dim": 64, "vocab_size": 100}), _tokens),
    "electra": Model("ElectraModel", Config("ElectraConfig", {**_LANGUAGE, "embedding_size": 32}), _tokens),
    "albert": Model("AlbertModel", Config("AlbertConfig", {**_LANGUAGE, "embedding_size": 16}), _tokens),
    "mpnet": Model("MPNetModel", Config("MPNetConfig", _LANGUAGE), _tokens),
    "deberta-v2": Model("DebertaV2Model", Config("DebertaV2Config", {**_LANGUAGE, "relative_attention": True,
                        "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]}), _masked),
    "modernbert": Model("ModernBertModel", Config("ModernBertConfig", {**_LANGUAGE, "pad_token_id": 0}), _tokens),
    "squeezebert": Model("SqueezeBertModel", Config("SqueezeBertConfig", {**_LANGUAGE, "embedding_size": 32,
                         "pad_token_id": None}), _tokens),
    "t5-encoder": Model("T5EncoderModel", Config("T5Config", {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2,
                        "num_heads": 4, "vocab_size": 100}), _tokens),
    "gpt2": Model("GPT2Model", Config("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100,
                  "use_cache": False}), _tokens),
    "gpt-neox": Model("GPTNeoXModel", Config("GPTNeoXConfig", {**_LANGUAGE, "use_cache": False}), _tokens),
    "opt": Model("OPTModel", Config("OPTConfig", {**_DECODER, "ffn_dim": 64, "word_embed_proj_dim": 32}), _tokens),
    "bloom": Model("BloomModel", Config("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4,
                   "vocab_size": 100, "use_cache": False}), _tokens),
    "llama": Model("LlamaModel", Config("LlamaConfig", _DECODER), _tokens),
    "mistral": Model("MistralModel", Config("MistralConfig", _DECODER), _tokens),
    "qwen2": Model("Qwen2Model", Config("Qwen2Config", _DECODER), _tokens),
    "qwen3": Model("Qwen3Model", Config("Qwen3Config", _OWN_HEAD), _tokens),
    "gemma": Model("GemmaModel", Config("GemmaConfig", _OWN_HEAD), _tokens),
    "gemma2": Model("Gemma2Model", Config("Gemma2Config", {**_OWN_HEAD, "sliding_window": 8}), _tokens),
    "phi": Model("PhiModel", Config("PhiConfig", _DECODER), _tokens),
    "phi3": Model("Phi3Model", Config("Phi3Config", {**_DECODER, "pad_token_id": 0}), _tokens),
    "stablelm": Model("StableLmModel", Config("StableLmConfig", _DECODER), _tokens),
    "olmo2": Model("Olmo2Model", Config("Olmo2Config", _DECODER), _tokens),
}  # fmt: skip


def load() -> None:
    """Import what the models are of."""
    import_torchvision()  # transformers imports it by itself, where it may not load
    importlib.import_module("transformers.modeling_utils")


def names() -> list[str]:
    """Return the names of the tables."""
    return list(_models())


def _models() -> dict[str, Model]:
    from benchmarks.zoo.transformers_others import OTHERS  # which has parts of this file

    return MODELS | OTHERS


def make(name: str) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return a model, and an example."""
    load()
    import transformers

    model = _models()[name]
    config = _made(model.config)
    kind = getattr(transformers, model.name, None)
    if kind is None:  # a part of a model is where the model is
        kind = getattr(
            importlib.import_module(type(config).__module__.replace("configuration_", "modeling_")), model.name
        )
    return kind(config), (), model.example()


def _made(value: Any) -> Any:
    """Return a configuration, made with those that it holds."""
    import transformers

    if isinstance(value, Config):
        options = {name: _made(option) for name, option in value.options.items()}
        return getattr(transformers, value.name)(**options)
    return value
