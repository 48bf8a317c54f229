"""More of transformers' models: mixtures of experts, state spaces, documents, vision and language, audio, series."""

from __future__ import annotations

from typing import Any

from benchmarks.zoo.transformers_models import (
    _DECODER,
    _DETR,
    _LANGUAGE,
    _MASKS,
    _OWN_HEAD,
    _PATCHES,
    _SAM,
    _SMALL,
    _SWIN,
    _SWIN_STAGES,
    _TEXT,
    MODELS,
    Config,
    Model,
    _both,
    _images,
    _masked,
    _patch_list,
    _spectra,
    _tokens,
    _waves,
)

# -- examples ---------------------------------------------------------------------------------------------------------


def _pair() -> dict[str, Any]:
    return {**_tokens(), "decoder_input_ids": _tokens(5)["input_ids"]}


def _decoded(example: dict[str, Any]) -> dict[str, Any]:
    return {**example, "decoder_input_ids": _tokens(5)["input_ids"]}


def _boxed(length: int = 12) -> dict[str, Any]:
    import torch

    corner = torch.randint(0, 400, (1, length, 2))
    return {**_tokens(length), "bbox": torch.cat([corner, corner + torch.randint(1, 400, (1, length, 2))], -1)}


def _pictured(places: int, token: int = 99) -> dict[str, Any]:
    """Return an image, and tokens of which some stand for it."""
    import torch

    ids = torch.randint(3, 90, (1, places + 6))
    ids[:, 1 : 1 + places] = token
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **_images()}


def _prefixed(places: int) -> dict[str, Any]:
    import torch

    example = _pictured(places)
    kinds = torch.zeros_like(example["input_ids"])
    kinds[:, -4:] = 1
    return {**example, "token_type_ids": kinds}


def _table() -> dict[str, Any]:
    import torch

    kinds = torch.zeros(1, 12, 7, dtype=torch.int64)
    kinds[..., 0] = torch.arange(12) // 6
    kinds[..., 1:3] = torch.randint(0, 4, (12, 2))
    return {**_tokens(), "token_type_ids": kinds}


def _placed_patches() -> dict[str, Any]:
    import torch

    places = torch.arange(16)[None, :, None]
    return {"flattened_patches": torch.cat([places // 4 + 1.0, places % 4 + 1.0, torch.randn(1, 16, 48)], -1)}


def _pointed() -> dict[str, Any]:
    import torch

    labels = torch.ones(1, 1, 2, dtype=torch.int64)
    return {**_images(), "input_points": torch.rand(1, 1, 2, 2) * 60, "input_labels": labels}


def _grounded() -> dict[str, Any]:
    import torch

    places = torch.tensor([[0, 1, 1, 1, 1, *[0] * 7]])
    return {**_tokens(12), **_images(), "image_embeds_position_mask": places}


def _noised() -> dict[str, Any]:
    return {**_spectra(7, 16), **_spectra(7, 8, name="noise_sequence")}


def _codes() -> dict[str, Any]:
    import torch

    return {"input_ids": torch.randint(0, 30, (2, 6)), **_spectra(5, 32, name="encoder_hidden_states")}


def _series() -> dict[str, Any]:
    import torch

    past, future = _spectra(11, 2, name="past_time_features"), _spectra(4, 2, name="future_time_features")
    past |= {"past_values": torch.randn(1, 11), "past_observed_mask": torch.ones(1, 11)}
    return {**past, **future, "future_values": torch.randn(1, 4)}


# -- configurations ---------------------------------------------------------------------------------------------------

_ROUTED = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_DEEPSEEK = {**_DECODER, "num_key_value_heads": 4, "moe_intermediate_size": 16, "n_routed_experts": 8,
             "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "q_lora_rank": 16, "kv_lora_rank": 8,
             "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "first_k_dense_replace": 1,
             "n_shared_experts": 1}  # fmt: skip
_DELTA = {"layer_types": ["linear_attention", "full_attention"], "linear_key_head_dim": 8, "linear_value_head_dim": 8,
          "linear_num_key_heads": 2, "linear_num_value_heads": 4}  # fmt: skip
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}
_STATES = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 100, "use_cache": False}
_PAIR = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "vocab_size": 100,
         "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "use_cache": False,
         "max_position_embeddings": 64}  # fmt: skip
_FLAT = {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "vocab_size": 100, "max_position_embeddings": 64}
_LAYOUT = {**_LANGUAGE, "coordinate_size": 4, "shape_size": 8, "has_relative_attention_bias": True,
           "has_spatial_attention_bias": True}  # fmt: skip
_TABLES = {**_LANGUAGE, "max_position_embeddings": 64, "type_vocab_sizes": [3, 16, 16, 2, 2, 10, 10]}
_LATENTS = {"num_latents": 8, "d_latents": 32, "d_model": 32, "num_blocks": 1, "num_self_attends_per_block": 2,
            "num_self_attention_heads": 4, "num_cross_attention_heads": 4}  # fmt: skip
_SIGLIP = {**_PATCHES, "model_type": "siglip_vision_model", "vision_use_head": False}
_CLIP = {**_PATCHES, "model_type": "clip_vision_model"}
_LLAMA = {"model_type": "llama", **_DECODER}
_OPT = {"model_type": "opt", **_DECODER, "ffn_dim": 64, "word_embed_proj_dim": 32}
_QFORMER = {**_LANGUAGE, "encoder_hidden_size": 32, "cross_attention_frequency": 1}
_TROCR = {"model_type": "trocr", "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4,
          "decoder_ffn_dim": 64, "vocab_size": 100, "max_position_embeddings": 64, "use_cache": False}  # fmt: skip
_PIX = {"hidden_size": 32, "patch_embed_hidden_size": 48, "d_ff": 64, "d_kv": 8, "num_hidden_layers": 2,
        "num_attention_heads": 4, "seq_len": 16}  # fmt: skip
_DAVIT = {"embed_dim": [8, 16, 32, 64], "num_heads": [1, 2, 4, 8], "num_groups": [1, 2, 4, 8], "depths": [1] * 4,
          "window_size": 4, "projection_dim": 32}  # fmt: skip
_SAM_PARTS = {"prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "patch_size": 16,
              "image_embedding_size": 4, "mask_input_channels": 8}, "mask_decoder_config": {"hidden_size": 32,
              "mlp_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "iou_head_hidden_dim": 32}}  # fmt: skip
_GROUNDED = {**_DETR, "num_queries": 10, "backbone_config": Config("SwinConfig", {**_SWIN_STAGES, "out_features":
             ["stage2", "stage3", "stage4"]}), "text_config": {"model_type": "bert", **_LANGUAGE},
             "disable_custom_kernels": True, "max_text_len": 16}  # fmt: skip
_SEAMLESS = {"hidden_size": 32, "speech_encoder_layers": 2, "speech_encoder_attention_heads": 4,
             "speech_encoder_intermediate_size": 64, "feature_projection_input_dim": 20, "encoder_layers": 2,
             "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64,
             "decoder_ffn_dim": 64, "vocab_size": 100, "use_cache": False, "max_position_embeddings": 64}  # fmt: skip
_VITS = {**_SMALL, "vocab_size": 38, "ffn_dim": 64, "flow_size": 32, "spectrogram_bins": 17,
         "upsample_initial_channel": 32}  # fmt: skip
_CODEC = {"num_filters": 8, "hidden_size": 16, "upsampling_ratios": [4, 2], "codebook_size": 32,
          "target_bandwidths": [24.0]}  # fmt: skip
_MIMI = {"hidden_size": 32, "num_filters": 8, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 4, "head_dim": 8, "intermediate_size": 64, "upsampling_ratios": [4, 2],
         "codebook_size": 32, "codebook_dim": 16, "vector_quantization_hidden_dimension": 16, "num_quantizers": 4,
         "sliding_window": 16, "upsample_groups": 32, "frame_rate": None}  # fmt: skip
_DAC = {"encoder_hidden_size": 8, "downsampling_ratios": [2, 4], "upsampling_ratios": [4, 2], "n_codebooks": 2,
        "decoder_hidden_size": 32, "codebook_size": 32, "codebook_dim": 4, "hidden_size": 32}  # fmt: skip
_PATCH_SERIES = {"num_input_channels": 2, "context_length": 32, "patch_length": 4, "patch_stride": 4, "d_model": 32,
                 "num_attention_heads": 4, "num_hidden_layers": 2, "ffn_dim": 64}  # fmt: skip
_TIMES = {"prediction_length": 4, "context_length": 8, "lags_sequence": [1, 2, 3], "num_time_features": 2,
          "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
          "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "use_cache": False}  # fmt: skip
_POSE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": [64, 48],
         "patch_size": [16, 16], "out_indices": [2]}  # fmt: skip

OTHERS: dict[str, Model] = {
    # mixtures of experts
    "mixtral": Model("MixtralModel", Config("MixtralConfig", {**_DECODER, "num_local_experts": 4}), _tokens),
    "qwen2-moe": Model("Qwen2MoeModel", Config("Qwen2MoeConfig", {**_DECODER, **_ROUTED,
                       "shared_expert_intermediate_size": 32}), _tokens),
    "qwen3-moe": Model("Qwen3MoeModel", Config("Qwen3MoeConfig", {**_OWN_HEAD, **_ROUTED}), _tokens),
    "qwen3-next": Model("Qwen3NextModel", Config("Qwen3NextConfig", {**_OWN_HEAD, **_ROUTED, **_DELTA,
                        "shared_expert_intermediate_size": 16}), _tokens),
    "qwen3.5": Model("Qwen3_5TextModel", Config("Qwen3_5TextConfig", {**_OWN_HEAD, **_DELTA}), _tokens),
    "qwen3.5-moe": Model("Qwen3_5MoeTextModel", Config("Qwen3_5MoeTextConfig", {**_OWN_HEAD, **_ROUTED, **_DELTA,
                         "shared_expert_intermediate_size": 16}), _tokens),
    "olmoe": Model("OlmoeModel", Config("OlmoeConfig", {**_DECODER, **_ROUTED}), _tokens),
    "granitemoe": Model("GraniteMoeModel", Config("GraniteMoeConfig", {**_DECODER, "num_local_experts": 4}), _tokens),
    "granitemoehybrid": Model("GraniteMoeHybridModel", Config("GraniteMoeHybridConfig", {**_DECODER, **_MAMBA,
                              "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 32,
                              "layer_types": ["mamba", "attention"]}), _tokens),
    "deepseek-v2": Model("DeepseekV2Model", Config("DeepseekV2Config", {**_DEEPSEEK,
                         "topk_method": "group_limited_greedy"}), _tokens),
    "deepseek-v3": Model("DeepseekV3Model", Config("DeepseekV3Config", _DEEPSEEK), _tokens),
    "gpt-oss": Model("GptOssModel", Config("GptOssConfig", {**_OWN_HEAD, "num_local_experts": 4,
                     "num_experts_per_tok": 2, "sliding_window": 8}), _tokens),
    "phimoe": Model("PhimoeModel", Config("PhimoeConfig", {**_DECODER, "num_local_experts": 4,
                    "num_experts_per_tok": 2}), _tokens),
    "llama4-text": Model("Llama4TextModel", Config("Llama4TextConfig", {**_OWN_HEAD, "intermediate_size_mlp": 64,
                         "num_local_experts": 4, "interleave_moe_layer_step": 1}), _tokens),
    "glm4-moe": Model("Glm4MoeModel", Config("Glm4MoeConfig", {**_OWN_HEAD, "moe_intermediate_size": 16,
                      "n_routed_experts": 4, "num_experts_per_tok": 2}), _tokens),
    "lfm2-moe": Model("Lfm2MoeModel", Config("Lfm2MoeConfig", {**_DECODER, **_ROUTED, "num_dense_layers": 1,
                      "layer_types": ["conv", "full_attention"]}), _tokens),
    "ernie4.5-moe": Model("Ernie4_5_MoeModel", Config("Ernie4_5_MoeConfig", {**_DECODER, "moe_num_experts": 4,
                          "moe_k": 2, "moe_intermediate_size": 16}), _tokens),
    "minimax-m2": Model("MiniMaxM2Model", Config("MiniMaxM2Config", {**_OWN_HEAD, "num_local_experts": 4,
                        "num_experts_per_tok": 2}), _tokens),
    "jamba": Model("JambaModel", Config("JambaConfig", {**_DECODER, "num_experts": 4, "attn_layer_period": 2,
                   "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1, "mamba_dt_rank": 4,
                   "mamba_d_state": 8, "use_mamba_kernels": False}), _tokens),
    # state spaces and recurrences
    "mamba": Model("MambaModel", Config("MambaConfig", {**_STATES, "state_size": 8}), _tokens),
    "mamba2": Model("Mamba2Model", Config("Mamba2Config", {**_STATES, "state_size": 8, "num_heads": 8, "head_dim": 8,
                    "n_groups": 1, "chunk_size": 8}), _tokens),
    "bamba": Model("BambaModel", Config("BambaConfig", {**_DECODER, **_MAMBA, "attn_layer_indices": [1]}), _tokens),
    "falcon-h1": Model("FalconH1Model", Config("FalconH1Config", {**_OWN_HEAD, **_MAMBA, "mamba_d_ssm": 64}), _tokens),
    "zamba2": Model("Zamba2Model", Config("Zamba2Config", {**_LANGUAGE, "num_hidden_layers": 4, "chunk_size": 8,
                    "num_key_value_heads": 4, "layers_block_type": ["mamba", "hybrid"] * 2, "mamba_d_state": 8,
                    "mamba_headdim": 8, "n_mamba_heads": 8, "mamba_ngroups": 1, "use_mamba_kernels": False,
                    "use_cache": False, "adapter_rank": 8}), _tokens),
    "rwkv": Model("RwkvModel", Config("RwkvConfig", {**_STATES, "context_length": 64}), _tokens),
    "xlstm": Model("xLSTMModel", Config("xLSTMConfig", {**_STATES, "embedding_dim": 32, "num_blocks": 2,
                   "num_heads": 4, "chunk_size": 8, "mode": "inference"}), _tokens),
    "recurrent-gemma": Model("RecurrentGemmaModel", Config("RecurrentGemmaConfig", {**_LANGUAGE, "lru_width": 32,
                             "num_hidden_layers": 3, "attention_window_size": 8, "use_cache": False}), _tokens),
    # language
    "longformer": Model("LongformerModel", Config("LongformerConfig", {**_LANGUAGE, "attention_window": [4, 4],
                        "max_position_embeddings": 64}), _tokens),
    "led": Model("LEDModel", Config("LEDConfig", {**{name: value for name, value in _PAIR.items() if name !=
                 "max_position_embeddings"}, "attention_window": [4, 4], "max_encoder_position_embeddings": 64,
                 "max_decoder_position_embeddings": 64}), _pair),
    "bigbird": Model("BigBirdModel", Config("BigBirdConfig", {**_LANGUAGE, "attention_type": "block_sparse",
                     "block_size": 4, "num_random_blocks": 2, "max_position_embeddings": 64}), lambda: _tokens(48)),
    "longt5-encoder": Model("LongT5EncoderModel", Config("LongT5Config", {"d_model": 32, "d_kv": 8, "d_ff": 64,
                            "num_layers": 2, "num_heads": 4, "vocab_size": 100, "local_radius": 3}), _tokens),
    "xlm": Model("XLMModel", Config("XLMConfig", {**_FLAT, "n_words": 100}), _tokens),
    "flaubert": Model("FlaubertModel", Config("FlaubertConfig", {**_FLAT, "n_words": 100}), _tokens),
    "xlnet": Model("XLNetModel", Config("XLNetConfig", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64,
                   "vocab_size": 100}), _tokens),
    "fnet": Model("FNetModel", Config("FNetConfig", _LANGUAGE), _tokens),
    "funnel": Model("FunnelModel", Config("FunnelConfig", {"vocab_size": 100, "block_sizes": [1, 1], "d_model": 32,
                    "num_decoder_layers": 1, "n_head": 4, "d_head": 8, "d_inner": 64}), _tokens),
    "reformer-local": Model("ReformerModel", Config("ReformerConfig", {"hidden_size": 32, "attention_head_size": 8,
                            "num_attention_heads": 4, "feed_forward_size": 64, "attn_layers": ["local"] * 2,
                            "vocab_size": 100, "axial_pos_embds": False, "local_attn_chunk_length": 4,
                            "max_position_embeddings": 64, "is_decoder": False, "use_cache": False}), _tokens),
    "nystromformer": Model("NystromformerModel", Config("NystromformerConfig", {**_LANGUAGE, "num_landmarks": 4,
                           "segment_means_seq_len": 12}), _tokens),
    "yoso": Model("YosoModel", Config("YosoConfig", _LANGUAGE), _tokens),
    "mra": Model("MraModel", Config("MraConfig", _LANGUAGE), _tokens),
    "luke": Model("LukeModel", Config("LukeConfig", {**_LANGUAGE, "entity_vocab_size": 20, "entity_emb_size": 16}),
                  _tokens),
    "canine": Model("CanineModel", Config("CanineConfig", {**_SMALL, "local_transformer_stride": 8,
                    "num_hash_buckets": 64, "downsampling_rate": 4, "upsampling_kernel_size": 4}), lambda: _tokens(16)),
    "perceiver": Model("PerceiverModel", Config("PerceiverConfig", _LATENTS), lambda: _spectra(12, 32, name="inputs")),
    "perceiver-text": Model("PerceiverForMaskedLM", Config("PerceiverConfig", {**_LATENTS, "vocab_size": 100,
                            "max_position_embeddings": 16}), lambda: {"inputs": _tokens(16)["input_ids"]}),
    "tapas": Model("TapasModel", Config("TapasConfig", _TABLES), _table),
    "marian": Model("MarianModel", Config("MarianConfig", {**_PAIR, "pad_token_id": 0}), _pair),
    "m2m100": Model("M2M100Model", Config("M2M100Config", _PAIR), _pair),
    "pegasus": Model("PegasusModel", Config("PegasusConfig", _PAIR), _pair),
    "pegasus-x": Model("PegasusXModel", Config("PegasusXConfig", {**_PAIR, "block_size": 4, "num_global_tokens": 4}),
                       _pair),
    "prophetnet": Model("ProphetNetModel", Config("ProphetNetConfig", {"hidden_size": 32, "encoder_ffn_dim": 64,
                        "decoder_ffn_dim": 64, "num_encoder_layers": 2, "num_decoder_layers": 2, "vocab_size": 100,
                        "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4,
                        "max_position_embeddings": 64, "use_cache": False}), _pair),
    # documents
    "layoutlm": Model("LayoutLMModel", Config("LayoutLMConfig", _LANGUAGE), _boxed),
    "layoutlmv3": Model("LayoutLMv3Model", Config("LayoutLMv3Config", {**_LAYOUT, "input_size": 64, "patch_size": 16,
                        "max_position_embeddings": 64}), lambda: {**_boxed(), **_images()}),
    "lilt": Model("LiltModel", Config("LiltConfig", {**_LANGUAGE, "channel_shrink_ratio": 2, "hidden_size": 48}),
                  _boxed),
    "bros": Model("BrosModel", Config("BrosConfig", {**_LANGUAGE, "hidden_size": 64}),
                  lambda: {**_tokens(), **_spectra(12, 8, name="bbox")}),
    "trocr": Model("VisionEncoderDecoderModel", Config("VisionEncoderDecoderConfig", {"encoder": {"model_type": "vit",
                   **_PATCHES}, "decoder": _TROCR}), lambda: _decoded(_images())),
    "donut": Model("VisionEncoderDecoderModel", Config("VisionEncoderDecoderConfig", {"encoder": {"model_type":
                   "donut-swin", **_SWIN, "window_size": 4}, "decoder": {"model_type": "mbart", **_PAIR}}),
                   lambda: _decoded(_images())),
    "pix2struct": Model("Pix2StructForConditionalGeneration", Config("Pix2StructConfig", {"vision_config": _PIX,
                        "text_config": {"vocab_size": 100, "hidden_size": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2,
                        "num_heads": 4, "use_cache": False}}), lambda: _decoded(_placed_patches())),
    "mgp-str": Model("MgpstrForSceneTextRecognition", Config("MgpstrConfig", {"hidden_size": 32,
                     "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": [32, 64], "max_token_length": 8,
                     "num_character_labels": 10, "num_bpe_labels": 12, "num_wordpiece_labels": 12}),
                     lambda: _spectra(3, 32, 64, name="pixel_values")),
    # vision and language
    "blip": Model("BlipModel", Config("BlipConfig", {"text_config": _TEXT, "vision_config": _PATCHES,
                  "projection_dim": 16}), _both),
    "blip-caption": Model("BlipForConditionalGeneration", Config("BlipConfig", {"text_config": {**_TEXT,
                          "encoder_hidden_size": 32, "is_decoder": True, "use_cache": False},
                          "vision_config": _PATCHES}), _both),
    "blip2": Model("Blip2ForConditionalGeneration", Config("Blip2Config", {"vision_config": _PATCHES,
                   "qformer_config": _QFORMER, "text_config": _OPT, "num_query_tokens": 4, "image_token_index": 99}),
                   lambda: _pictured(4)),
    "instructblip": Model("InstructBlipForConditionalGeneration", Config("InstructBlipConfig", {"vision_config":
                          _PATCHES, "qformer_config": _QFORMER, "text_config": _OPT, "num_query_tokens": 4,
                          "image_token_index": 99}),
                          lambda: {**_pictured(4), "qformer_input_ids": _tokens(5)["input_ids"]}),
    "siglip2": Model("Siglip2Model", Config("Siglip2Config", {"text_config": _TEXT, "vision_config": {**_SMALL,
                     "patch_size": 16, "num_patches": 16}}), lambda: {**_tokens(8), **_patch_list()}),
    "florence2": Model("Florence2Model", Config("Florence2Config", {"vision_config": _DAVIT, "text_config":
                       {"model_type": "bart", **_PAIR}, "image_token_id": 99}), lambda: _decoded(_pictured(5))),
    "paligemma": Model("PaliGemmaModel", Config("PaliGemmaConfig", {"vision_config": {**_SIGLIP, "projection_dim": 32},
                       "text_config": {"model_type": "gemma", **_OWN_HEAD}, "projection_dim": 32,
                       "image_token_index": 99}), lambda: _prefixed(16)),
    "gemma3": Model("Gemma3Model", Config("Gemma3Config", {"vision_config": _SIGLIP, "text_config": {**_OWN_HEAD,
                    "sliding_window": 8}, "mm_tokens_per_image": 4, "image_token_index": 99}), lambda: _pictured(4)),
    "llava": Model("LlavaForConditionalGeneration", Config("LlavaConfig", {"vision_config": _CLIP, "text_config":
                   _LLAMA, "image_token_index": 99}), lambda: _pictured(16)),
    "internvl": Model("InternVLModel", Config("InternVLConfig", {"vision_config": {**_PATCHES, "image_size": [64, 64],
                      "patch_size": [16, 16]}, "text_config": {"model_type": "qwen2", **_DECODER},
                      "image_token_id": 99}), lambda: _pictured(4)),
    "kosmos2": Model("Kosmos2Model", Config("Kosmos2Config", {"vision_config": _PATCHES, "text_config": {
                     "embed_dim": 32, "layers": 2, "ffn_dim": 64, "attention_heads": 4, "vocab_size": 100,
                     "max_position_embeddings": 64, "use_cache": False}, "latent_query_num": 4}), _grounded),
    "groupvit": Model("GroupViTModel", Config("GroupViTConfig", {"text_config": _TEXT, "vision_config": {
                      "hidden_size": 32, "intermediate_size": 64, "depths": [1, 1, 1], "num_group_tokens": [8, 4, 0],
                      "num_output_groups": [8, 4, 4], "num_attention_heads": 4, "image_size": 64},
                      "projection_dim": 16, "projection_intermediate_dim": 32}), _both),
    # detection, segmentation, pose
    "owlv2": Model("Owlv2ForObjectDetection", Config("Owlv2Config", {"text_config": _TEXT, "vision_config": _PATCHES,
                   "projection_dim": 32}), _both),
    "grounding-dino": Model("GroundingDinoForObjectDetection", Config("GroundingDinoConfig", _GROUNDED),
                            lambda: {**_images(96), **_masked(8)}),
    "mm-grounding-dino": Model("MMGroundingDinoForObjectDetection", Config("MMGroundingDinoConfig", _GROUNDED),
                               lambda: {**_images(96), **_masked(8)}),
    "oneformer": Model("OneFormerForUniversalSegmentation", Config("OneFormerConfig", {"conv_dim": 32, "mask_dim": 32,
                       "hidden_dim": 32, "encoder_feedforward_dim": 64, "dim_feedforward": 64, "encoder_layers": 2,
                       "decoder_layers": 2, "num_attention_heads": 4, "num_queries": 10, "text_encoder_width": 32,
                       "text_encoder_num_layers": 1, "text_encoder_context_length": 8, "task_seq_len": 8,
                       "text_encoder_vocab_size": 100, "is_training": False,
                       "backbone_config": _MASKS["backbone_config"]}),
                       lambda: {**_images(), "task_inputs": _tokens(8)["input_ids"]}),
    "sam": Model("SamModel", Config("SamConfig", {"vision_config": {**_SAM, "output_channels": 32,
                 "num_pos_feats": 16}, **_SAM_PARTS}), _pointed),
    "sam2": Model("Sam2Model", Config("Sam2Config", {"vision_config": Config("Sam2VisionConfig", {
                  **MODELS["sam2-encoder"].config.options, "fpn_hidden_size": 32}), **_SAM_PARTS}), _pointed),
    "vitpose": Model("VitPoseForPoseEstimation", Config("VitPoseConfig", {"num_labels": 17, "backbone_config":
                     Config("VitPoseBackboneConfig", _POSE)}), lambda: _spectra(3, 64, 48, name="pixel_values")),
    # audio
    "whisper": Model("WhisperForConditionalGeneration", Config("WhisperConfig", {**{name: value for name, value in
                     _PAIR.items() if name != "max_position_embeddings"}, "num_mel_bins": 16, "pad_token_id": 0,
                     "max_source_positions": 50, "max_target_positions": 32, "decoder_start_token_id": 1,
                     "bos_token_id": 1, "eos_token_id": 2}), lambda: _decoded(_spectra(16, 100))),
    "moonshine": Model("MoonshineForConditionalGeneration", Config("MoonshineConfig", {"hidden_size": 32,
                       "intermediate_size": 64, "encoder_num_hidden_layers": 2, "decoder_num_hidden_layers": 2,
                       "encoder_num_attention_heads": 4, "decoder_num_attention_heads": 4, "vocab_size": 100,
                       "use_cache": False}), lambda: _decoded(_waves(4000))),
    "seamless-speech-encoder": Model("SeamlessM4TSpeechEncoder", Config("SeamlessM4TConfig", _SEAMLESS),
                                     lambda: _spectra(24, 20)),
    "seamless-v2-speech-encoder": Model("SeamlessM4Tv2SpeechEncoder", Config("SeamlessM4Tv2Config", _SEAMLESS),
                                        lambda: _spectra(24, 20)),
    "clap": Model("ClapModel", Config("ClapConfig", {"audio_config": {"spec_size": 64, "num_mel_bins": 16,
                  "window_size": 4, "depths": [1, 1], "num_attention_heads": [2, 4], "hidden_size": 32,
                  "patch_embeds_hidden_size": 16}, "text_config": {**_LANGUAGE, "projection_dim": 16},
                  "projection_dim": 16}), lambda: {**_tokens(), **_spectra(1, 256, 16)}),
    "encodec-decoder": Model("EncodecDecoder", Config("EncodecConfig", _CODEC),
                             lambda: _spectra(16, 20, name="hidden_states")),
    "dac": Model("DacModel", Config("DacConfig", _DAC), lambda: _spectra(1, 320, name="input_values")),
    "mimi": Model("MimiModel", Config("MimiConfig", _MIMI), lambda: _spectra(1, 320, name="input_values")),
    "mimi-decoder": Model("MimiDecoder", Config("MimiConfig", _MIMI), lambda: _spectra(32, 20, name="hidden_states")),
    "moshi": Model("MoshiModel", Config("MoshiConfig", {**_OWN_HEAD, "ffn_dim": 64, "num_codebooks": 4,
                   "audio_vocab_size": 32, "sliding_window": 8}), _tokens),
    "musicgen-decoder": Model("MusicgenForCausalLM", Config("MusicgenDecoderConfig", {"vocab_size": 32,
                              "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64,
                              "num_codebooks": 2, "max_position_embeddings": 64, "use_cache": False,
                              "pad_token_id": 31}), _codes),
    "vits-text-encoder": Model("VitsTextEncoder", Config("VitsConfig", {**_VITS, "vocab_size": 100}),
                               lambda: {**_tokens(8), "padding_mask": _spectra(8, 1, name="mask")["mask"]}),
    "vits-decoder": Model("VitsHifiGan", Config("VitsConfig", _VITS), lambda: _spectra(32, 10, name="spectrogram")),
    "speecht5-vocoder": Model("SpeechT5HifiGan", Config("SpeechT5HifiGanConfig", {"model_in_dim": 16,
                              "upsample_initial_channel": 32, "upsample_rates": [4, 4],
                              "upsample_kernel_sizes": [8, 8]}), lambda: _spectra(10, 16, name="spectrogram")),
    "univnet": Model("UnivNetModel", Config("UnivNetConfig", {"model_in_channels": 8, "model_hidden_channels": 8,
                     "num_mel_bins": 16, "kernel_predictor_hidden_channels": 8}), _noised),
    # series
    "patchtst": Model("PatchTSTForPrediction", Config("PatchTSTConfig", {**_PATCH_SERIES, "prediction_length": 8,
                      "loss": "mse"}), lambda: _spectra(32, 2, name="past_values")),
    "patchtsmixer": Model("PatchTSMixerForPrediction", Config("PatchTSMixerConfig", {"num_input_channels": 2,
                          "context_length": 32, "patch_length": 4, "patch_stride": 4, "d_model": 16, "num_layers": 2,
                          "prediction_length": 8, "loss": "mse"}), lambda: _spectra(32, 2, name="past_values")),
    "time-series-transformer": Model("TimeSeriesTransformerModel", Config("TimeSeriesTransformerConfig", _TIMES),
                                     _series),
    "autoformer": Model("AutoformerModel", Config("AutoformerConfig", {**_TIMES, "moving_average": 3,
                        "autocorrelation_factor": 1, "label_length": 4}), _series),
}  # fmt: skip
