"""The parts of transformers that are measured: each way computes what torch does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.attention import WAYS, Attention, Block, Norm
from tests.helpers import assert_close
from tests.quantization.networks import filled
from trtnn import Input
from trtnn.graph.definition import read_layers

SHAPE = (2, 17, 32)


def torch_block(model, way):
    layer = torch.nn.TransformerEncoderLayer(
        SHAPE[-1],
        4,
        4 * SHAPE[-1],
        0.0,
        "relu" if way in ("relu", "all") else "gelu",
        batch_first=True,
        norm_first=True,
    ).eval()
    names = {"self_attn.in_proj": "qkv", "self_attn.out_proj": "proj", "linear1": "fc1", "linear2": "fc2"}
    state = {}
    for name in layer.state_dict():
        own = name.replace("_weight", ".weight").replace("_bias", ".bias")
        for theirs, ours in names.items():
            own = own.replace(theirs, ours)
        state[name] = torch.from_numpy(np.array(model.state_dict()[own]))
    layer.load_state_dict(state)
    return layer


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("fp16", "bound"), [(False, 1e-5), (True, 5e-3)])
def test_each_way_computes_a_block_as_torch(way, fp16, bound):
    model = filled(Block(SHAPE[-1], 4, way))
    images = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    found = model.trace({"x": Input(SHAPE)}, fp16=fp16).run(images)
    with torch.no_grad():
        expected = torch_block(model, way)(torch.from_numpy(images))
    assert_close(found, expected, bound, bound * float(expected.abs().max()))


def test_fp16_both_is_what_fp16_attention_writes():
    def layers(way, **options):
        graph = Attention(way).trace(dict.fromkeys("qkv", (1, 3, 17, 16)), fp16=True, **options).graph
        kinds = [kind for kind, _ in read_layers(graph.definition, graph.trt)]
        return list(zip(kinds, graph.layer_dtypes, strict=True))

    assert layers("as it is", fp16_attention=True) == layers("fp16 both") != layers("as it is")


@pytest.mark.parametrize("way", ["as it is", "norm"])
def test_norms_are_torch_s(way):
    model = filled(Norm(SHAPE[-1], way))
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32) * 3 + 1
    state = {name: torch.from_numpy(np.array(array)) for name, array in model.state_dict().items()}
    expected = torch.nn.functional.layer_norm(torch.from_numpy(x), SHAPE[-1:], **state)
    assert_close(model.trace({"x": Input(SHAPE)}).run(x), expected, 1e-5, 1e-5)
