"""transformers' models of language with masks, beside transformers itself, small and with random weights."""

from __future__ import annotations

import importlib.util
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import trtnn
from benchmarks.zoo import randomised
from benchmarks.zoo.torchvision_models import import_torchvision
from tests.helpers import assert_close, message_of
from trtnn.errors import UnsupportedError
from trtnn.from_torch.recording.experts import each_for_all_tokens
from trtnn.from_torch.verify import outputs_of

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed"),
    pytest.mark.filterwarnings("ignore"),
]
LENGTH = 8
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 90}
DECODER = {**SMALL, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0}
ENCODERS: dict[str, dict[str, Any]] = {
    "Bert": SMALL,
    "DistilBert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 90},
    "Roberta": SMALL,
    "MPNet": SMALL,
    "ModernBert": {**SMALL, "pad_token_id": 0, "local_attention": 4, "num_hidden_layers": 3},
    "T5Encoder": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 90},
    "CLIPText": {**SMALL, "max_position_embeddings": 16, "eos_token_id": 2},
}
DECODERS: dict[str, dict[str, Any]] = {
    "Llama": DECODER,
    "Qwen3": {**DECODER, "head_dim": 8},
    "Gemma3Text": {**DECODER, "head_dim": 8, "sliding_window": 4},
    "Mistral": {**DECODER, "sliding_window": 4},
    "Mixtral": {**DECODER, "num_local_experts": 4},
    "GptOss": {**DECODER, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 90},
}

SENT: dict[str, dict[str, Any]] = {  # experts that loop over the tokens which are sent to them
    "Dbrx": {
        "d_model": 32,
        "n_heads": 4,
        "n_layers": 2,
        "vocab_size": 90,
        "pad_token_id": 0,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32},
    },
    "SwitchTransformersEncoder": {
        "vocab_size": 90,
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 24,
        "num_layers": 2,
        "num_heads": 4,
        "num_experts": 4,
        "expert_capacity": 3,
        "num_sparse_encoder_layers": 1,
    },
    "JetMoe": {
        **{name: DECODER[name] for name in ("hidden_size", "num_hidden_layers", "vocab_size", "pad_token_id")},
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "kv_channels": 8,
        "intermediate_size": 24,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
    "NllbMoe": {
        "vocab_size": 90,
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "num_experts": 4,
        "encoder_sparse_step": 2,
        "decoder_sparse_step": 2,
        "moe_token_dropout": 0.2,
    },
}


def model_of(name: str, attention: str | None = None, suffix: str = "Model", **more: Any) -> nn.Module:
    if importlib.util.find_spec("torchvision"):
        import_torchvision()  # transformers imports it by itself, where it may not load
    import transformers

    torch.manual_seed(0)
    options = (ENCODERS | DECODERS | SENT)[name]
    config = getattr(transformers, f"{name.removesuffix('Encoder')}Config")(**options, **more)
    if attention is not None:
        config._attn_implementation = attention
    return randomised(getattr(transformers, f"{name}{suffix}")(config).eval())


def tokens(seed: int = 0) -> torch.Tensor:
    return torch.randint(3, 90, (2, LENGTH), generator=torch.Generator().manual_seed(seed))


def mask(*ends: tuple[int, int]) -> torch.Tensor:
    """Return a mask of ones from a place to another, for each row."""
    rows = torch.zeros(len(ends), LENGTH, dtype=torch.int64)
    for row, (first, last) in zip(rows, ends, strict=True):
        row[first:last] = 1
    return rows


ONES = mask((0, 8), (0, 8))
RIGHT, OTHER_RIGHT = mask((0, 8), (0, 5)), mask((0, 2), (0, 7))
LEFT = mask((3, 8), (0, 8))


def assert_converted(model: nn.Module, example: torch.Tensor) -> None:
    """Check the network of an example against transformers, with masks that no example had.

    Tokens under a mask have no meaning, and are compared too: they are the same.
    """
    network = trtnn.from_torch(model, input_ids=tokens(), attention_mask=example).trace()
    assert [*network.inputs] == ["input_ids", "attention_mask"]
    firsts = []
    for other in (ONES, RIGHT, OTHER_RIGHT, LEFT):
        inputs = {"input_ids": tokens(1), "attention_mask": other}
        with torch.no_grad():
            expected = model(**inputs)
        result = network.run(**{name: tensor.numpy() for name, tensor in inputs.items()})
        for name in result:
            assert_close(result[name], expected[name], 1e-5)
        firsts.append(expected[0])
    assert min(float((first - firsts[0]).abs().max()) for first in firsts[1:]) > 1e-2  # the masks do tell


@pytest.mark.parametrize(
    ("name", "attention"),
    [*((name, None) for name in ENCODERS | DECODERS), ("Bert", "eager"), ("T5Encoder", "eager"), ("Llama", "eager")],
)
def test_a_mask_of_ones_gives_a_network_that_reads_zeros(name, attention):
    """transformers makes no mask where all are ones, and the network has to make one."""
    assert_converted(model_of(name, attention), ONES)


@pytest.mark.parametrize("name", ["Bert", "Llama"])
@pytest.mark.parametrize("example", [RIGHT, LEFT])
def test_a_padded_example(name, example):
    assert_converted(model_of(name), example)


@pytest.mark.parametrize("name", ["Bert", "Mistral", "Mixtral"])
def test_dynamic_lengths(name):
    """Mistral's window is no longer than any sequence."""
    model = model_of(name)
    shape = (trtnn.Dim("batch", 1, 2, 4), trtnn.Dim("length", 4, LENGTH, 16))
    shapes = {"input_ids": shape, "attention_mask": shape}
    network = trtnn.from_torch(model, input_ids=tokens(), attention_mask=ONES, dynamic=shapes).trace()
    for batch, length in ((1, 5), (3, 13)):
        ids = torch.randint(3, 90, (batch, length), generator=torch.Generator().manual_seed(2))
        some = torch.ones_like(ids)
        some[-1, length // 2 :] = 0
        with torch.no_grad():
            expected = model(input_ids=ids, attention_mask=some)
        result = network.run(input_ids=ids.numpy(), attention_mask=some.numpy())
        assert_close(result["last_hidden_state"], expected[0], 1e-5)


@pytest.mark.parametrize("name", ["Llama", "GPT2"])
def test_a_cache_that_is_filled_by_the_way_is_left_out(name):
    """use_cache is transformers' default: modules hand the cache on, and no network returns it."""
    model = model_of(name, suffix="ForCausalLM" if name == "Llama" else "LMHeadModel")
    assert model.config.use_cache
    converted = trtnn.from_torch(model, input_ids=tokens(), attention_mask=ONES)
    result = converted.trace().run(tokens(1).numpy(), RIGHT.numpy())
    assert [*result] == ["logits"]
    with torch.no_grad():
        assert_close(result["logits"], model(input_ids=tokens(1), attention_mask=RIGHT).logits, 1e-5)
    assert "Cache" not in converted.source


@pytest.mark.parametrize("name", ["Mixtral", "GptOss"])
@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
def test_experts_compute_all_tokens_whatever_implementation_is_set(name, implementation):
    model = model_of(name)
    model.set_experts_implementation(implementation)
    assert "is_chosen = top_k_index.unsqueeze(-1) ==" in trtnn.from_torch(model, input_ids=tokens()).source


@pytest.mark.parametrize("name", ["Dbrx", "SwitchTransformersEncoder", "JetMoe"])
def test_experts_that_loop_over_tokens_compute_all(name):
    """Switch Transformers' experts take so many tokens of a sequence, and what is beyond is computed by none."""
    model = model_of(name)
    assert_converted(model, ONES)
    shape = (trtnn.Dim("batch", 1, 2, 4), trtnn.Dim("length", 2, LENGTH, 16))
    shapes = {"input_ids": shape, "attention_mask": shape}
    network = trtnn.from_torch(model, input_ids=tokens(), attention_mask=ONES, dynamic=shapes).trace()
    for batch, length in ((1, 5), (3, 16)):
        ids = torch.randint(3, 90, (batch, length), generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            expected = model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
        assert_close(network.run(ids.numpy(), np.ones(ids.shape, np.int64))["last_hidden_state"], expected, 1e-5)


def test_experts_of_other_threads_stay_theirs():
    """JetMoE's methods hand each other tuples, and ours have another length."""
    model, ids, found = model_of("JetMoe"), tokens(), []

    def run():
        with torch.no_grad():
            return model(input_ids=ids)[0]

    expected = run()
    mixture = next(module for module in model.modules() if type(module).__name__ == "JetMoeMoA")
    lengths = []
    with each_for_all_tokens():
        for target in (lambda: lengths.append(len(mixture.map(torch.ones(1, 3, 32))[2])), lambda: found.append(run())):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        lengths.append(len(mixture.map(torch.ones(1, 3, 32))[2]))
    assert lengths[0] != lengths[1]
    assert_close(found[0].numpy(), expected, 1e-6)


def test_nllbs_experts_compute_all_tokens():
    model = model_of("NllbMoe")
    inputs = {"input_ids": tokens(), "attention_mask": ONES, "decoder_input_ids": tokens(1)}
    network = trtnn.from_torch(model, **inputs).trace()
    inputs = {"input_ids": tokens(2), "attention_mask": RIGHT, "decoder_input_ids": tokens(3)}
    with torch.no_grad():
        expected = model(**inputs)
    result = network.run(**{name: tensor.numpy() for name, tensor in inputs.items()})
    assert_close(result["last_hidden_state"], expected.last_hidden_state, 1e-5)
    assert_close(result["encoder_last_hidden_state"], expected.encoder_last_hidden_state, 1e-5)


@pytest.mark.parametrize("is_full", [True, False])
def test_a_cache_that_is_given_is_refused(is_full):
    model = model_of("Llama")
    from transformers import DynamicCache

    cache = DynamicCache()
    if is_full:
        with torch.no_grad():
            model(input_ids=tokens(), past_key_values=cache)
    message = message_of(UnsupportedError, trtnn.from_torch, model, input_ids=tokens(), past_key_values=cache)
    assert message.splitlines() == [
        "LlamaModel keeps tensors in an object that it is called with",
        "  past_key_values is a DynamicCache: its tensors are no inputs, and would be constants",
        "  leave it out; tensors in tuples, lists, dicts and dataclasses are inputs",
    ]


@pytest.mark.parametrize("name", ["Bert", "Llama"])
def test_an_exported_program(name):
    model = model_of(name, use_cache=False)
    inputs = {"input_ids": tokens(), "attention_mask": ONES}
    network = trtnn.from_torch(torch.export.export(model, (), inputs), **inputs).trace()
    with torch.no_grad():
        expected = model(input_ids=tokens(1), attention_mask=RIGHT)[0]
    result = network.run(tokens(1).numpy(), RIGHT.numpy())
    _, first = next(outputs_of(result))
    assert_close(first, expected, 1e-5)


def test_an_exported_mixture_that_groups_tokens_by_experts():
    model = model_of("Mixtral", use_cache=False)
    inputs = {"input_ids": tokens(), "attention_mask": ONES}
    converted = trtnn.from_torch(torch.export.export(model, (), inputs), **inputs)
    assert "F.grouped_mm(" in converted.source
    with torch.no_grad():
        expected = model(input_ids=tokens(1), attention_mask=RIGHT)[0]
    _, first = next(outputs_of(converted.trace().run(tokens(1).numpy(), RIGHT.numpy())))
    assert_close(first, expected, 1e-5)
