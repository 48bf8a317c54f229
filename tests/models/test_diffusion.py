"""The blocks of diffusion networks against their torch twins."""

import doctest

import numpy as np
import pytest
import torch

from benchmarks.twins import diffusion as twins
from tests.helpers import (
    ONE_TARGET,
    assert_close,
    check_dynamic,
    check_triangle,
    load_random,
    message_of,
    numbers,
    strongly_typed,
    trace,
)
from trtnn import Dim
from trtnn.errors import ArgumentError, StateDictError
from trtnn.models import diffusion
from trtnn.modules import Module

HALF = 5e-3

IMAGES = numbers(2, 32, 6, 4)
RESNETS = {  # where each channel is a group, as 32 of them are by default, the second norm takes out the embedding
    "usual": {},
    "32 groups": {"groups": 32, "out_channels": 64},
    "to other channels": {"out_channels": 64},
    "no embedding": {"temb_channels": None},
    "scale and shift": {"time_embedding_norm": "scale_shift", "out_channels": 64},
    "up": {"up": True},
    "down": {"down": True, "out_channels": 64},
    "gelu": {"non_linearity": "gelu", "skip_time_act": True},
    "mish": {"non_linearity": "mish", "output_scale_factor": 2.0**0.5},
    "relu": {"non_linearity": "relu", "eps": 0.3, "dropout": 0.1},
    "groups": {"groups": 4, "groups_out": 16, "non_linearity": "silu"},
}


@pytest.mark.parametrize("name", RESNETS)
def test_resnet_block(name):
    options = {"in_channels": 32, "temb_channels": 48, "groups": 8, **RESNETS[name]}
    arrays = [IMAGES] if options["temb_channels"] is None else [IMAGES, numbers(2, 48)]
    ours, theirs = diffusion.ResnetBlock2D(**options), twins.ResnetBlock2D(**options)
    check_triangle(ours, theirs, *arrays, build=name in ("usual", "scale and shift"), fp16_tolerance=HALF)


ATTENTIONS = {
    "usual": {"norm_num_groups": 32, "residual_connection": True, "bias": True},
    "no norm": {},
    "upcast": {"upcast_attention": True, "norm_num_groups": 8, "eps": 0.2},
    "one head": {"heads": 1, "dim_head": 32, "out_bias": False, "rescale_output_factor": 3.0, "dropout": 0.1},
}


@pytest.mark.parametrize("name", ATTENTIONS)
@pytest.mark.parametrize("shape", [(2, 32, 6, 4), (2, 24, 32)])
def test_attention(name, shape):
    options = {"heads": 4, "dim_head": 12, **ATTENTIONS[name]}
    ours, theirs = diffusion.Attention(32, **options), twins.Attention(32, **options)
    check_triangle(ours, theirs, numbers(*shape), build=name == "usual" and len(shape) == 4, fp16_tolerance=HALF)


@pytest.mark.parametrize("shape", [(2, 32, 6, 4), (2, 24, 32)])
def test_attention_to_other_features(shape):
    options = {"cross_attention_dim": 20, "heads": 2, "dim_head": 8}
    ours, theirs = diffusion.Attention(32, **options), twins.Attention(32, **options)
    check_triangle(ours, theirs, numbers(*shape), numbers(2, 7, 20), build=False, fp16_tolerance=HALF)


@pytest.mark.parametrize(
    "options",
    [{}, {"use_conv": True}, {"use_conv": True, "padding": 0, "out_channels": 5, "name": "op"}],
)
def test_downsample(options):
    ours, theirs = diffusion.Downsample2D(8, **options), twins.Downsample2D(8, **options)
    assert set(ours._state()) == set(theirs.state_dict())
    check_triangle(ours, theirs, numbers(2, 8, 6, 10), build=False)


@pytest.mark.parametrize("options", [{}, {"use_conv": True}, {"use_conv": True, "out_channels": 5}])
def test_upsample(options):
    ours, theirs = diffusion.Upsample2D(8, **options), twins.Upsample2D(8, **options)
    check_triangle(ours, theirs, numbers(2, 8, 3, 5), build=False)
    if not options:
        sized = lambda module: lambda x: module(x, (7, 9))  # noqa: E731
        check_triangle(sized(ours), sized(theirs), numbers(2, 8, 3, 5), build=False)


# -- names ------------------------------------------------------------------------------------------------------------


def test_names():
    block = diffusion.ResnetBlock2D(in_channels=32, out_channels=64)
    assert {name: p.shape for name, p in block.named_parameters()} == {
        "norm1.weight": (32,),
        "norm1.bias": (32,),
        "conv1.weight": (64, 32, 3, 3),
        "conv1.bias": (64,),
        "time_emb_proj.weight": (64, 512),
        "time_emb_proj.bias": (64,),
        "norm2.weight": (64,),
        "norm2.bias": (64,),
        "conv2.weight": (64, 64, 3, 3),
        "conv2.bias": (64,),
        "conv_shortcut.weight": (64, 32, 1, 1),
        "conv_shortcut.bias": (64,),
    }
    attention = diffusion.Attention(32, bias=True, norm_num_groups=32)
    assert sorted(attention._state()) == sorted(
        f"{part}.{kind}" for part in ("group_norm", "to_q", "to_k", "to_v", "to_out.0") for kind in ("weight", "bias")
    )
    assert not any(name.endswith("bias") for name in diffusion.Attention(32, out_bias=False)._state())
    assert sorted(diffusion.Downsample2D(4, True)._state()) == [
        "Conv2d_0.bias",
        "Conv2d_0.weight",
        "conv.bias",
        "conv.weight",
    ]
    assert sorted(diffusion.Upsample2D(4, True)._state()) == ["conv.bias", "conv.weight"]


class Mid(Module):
    def __init__(self):
        super().__init__()
        self.attention = diffusion.Attention(32, heads=1, dim_head=32, bias=True, norm_num_groups=32)

    def forward(self, x):
        return self.attention(x)


def test_former_names():
    theirs = load_random(twins.Attention(32, heads=1, dim_head=32, bias=True, norm_num_groups=32))
    new = {f"attention.{name}": tensor.numpy() for name, tensor in theirs.state_dict().items()}
    pairs = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, array in new.items():
        now = next((part for part in pairs if f".{part}." in name), None)
        old[name.replace(now, pairs[now]) if now else name] = array
    assert {"attention.proj_attn.bias", "attention.query.weight", "attention.group_norm.weight"} <= old.keys()
    assert diffusion.current_names(old).keys() == new.keys() == diffusion.current_names(new).keys()
    assert diffusion.current_names({"query.weight": 1, "value": 2, "a.key": 3, "key.b.weight": 4}) == {
        "to_q.weight": 1,
        "value": 2,
        "a.key": 3,
        "key.b.weight": 4,
    }
    ours = Mid()
    assert "unexpected: attention.proj_attn.weight" in message_of(StateDictError, ours.load_state_dict, old)
    ours.load_state_dict(diffusion.current_names(old))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(IMAGES))
    assert_close(trace(ours, IMAGES).run(IMAGES), expected)


# -- half precision, dynamic shapes -----------------------------------------------------------------------------------


@strongly_typed
def test_large_activations_do_not_overflow():
    """Their squares would in fp16; the difference from fp32 stays that of rounding."""
    images = numbers(1, 32, 6, 4, scale=4000.0)
    assert np.abs(images).max() > 10_000
    cases = (
        (diffusion.ResnetBlock2D, twins.ResnetBlock2D, {"in_channels": 32, "temb_channels": None}),
        (diffusion.Attention, twins.Attention, {"query_dim": 32, "heads": 2, "norm_num_groups": 32}),
    )
    for make, make_twin, options in cases:
        theirs = load_random(make_twin(**options))
        ours = make(**options)
        ours.load_state_dict(theirs.state_dict())
        with torch.no_grad():
            expected = theirs(torch.from_numpy(images))
        network = trace(ours, images, fp16=True)
        assert_close(network.run(images), expected, HALF)
        kinds = {row.output.dtype.name for row in network.layers() if row.kind == "NORMALIZATION"}
        assert kinds == {"float32"}


@strongly_typed
def test_scores_in_fp32_do_not_overflow():
    theirs = load_random(twins.Attention(32, heads=2, dim_head=16))
    with torch.no_grad():
        theirs.to_q.weight.mul_(300.0)
        theirs.to_k.weight.mul_(300.0)
    finite = []
    for upcast in (False, True):
        ours = diffusion.Attention(32, heads=2, dim_head=16, upcast_attention=upcast)
        ours.load_state_dict(theirs.state_dict())
        finite.append(bool(np.isfinite(trace(ours, IMAGES, fp16=True).run(IMAGES)).all()))
    assert finite == [True, True]


def test_any_size():
    sides = [Dim(name, 4, 8, 12, multiple_of=2) for name in ("height", "width")]
    options = {"norm_num_groups": 8, "heads": 2, "dim_head": 8, "residual_connection": True}
    ours = [diffusion.Attention(32, **options), diffusion.ResnetBlock2D(in_channels=32, temb_channels=None, down=True)]
    theirs = [twins.Attention(32, **options), twins.ResnetBlock2D(32, temb_channels=None, down=True)]
    for mine, other in zip(ours, theirs, strict=True):
        sizes = [(1, 32, 4, 6), (2, 32, 12, 8)]
        spec = (Dim("batch", 1, 1, 2), 32, *sides)
        check_dynamic(mine, other, spec, sizes, build=False, fp16_tolerance=HALF)


def test_the_stage_of_the_docstring():
    names = dict(vars(diffusion))
    example = doctest.DocTestFinder().find(diffusion, "diffusion", globs=names)[0]
    assert not doctest.DocTestRunner().run(example, clear_globs=False).failed
    stage = example.globs["stage"]
    theirs = torch.nn.Module()
    theirs.resnet = twins.ResnetBlock2D(32, 64, temb_channels=128)
    theirs.attention = twins.Attention(64, heads=8, dim_head=8, bias=True, norm_num_groups=32, residual_connection=True)
    theirs.downsampler = twins.Downsample2D(64, use_conv=True, name="op")
    stage.load_state_dict(load_random(theirs).state_dict())
    sample, temb = numbers(1, 32, 32, 32), numbers(1, 128)
    with torch.no_grad():
        kept = theirs.attention(theirs.resnet(torch.from_numpy(sample), torch.from_numpy(temb)))
        expected = theirs.downsampler(kept), kept
    assert_close(stage.trace().run(sample, temb), expected)
    for fp16 in (False, True):
        assert stage.compile(fp16=fp16, **ONE_TARGET).outputs["output_1"].shape == (1, 64, 32, 32)


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: diffusion.ResnetBlock2D(in_channels=32, non_linearity="tanh"), "known: swish, silu, mish"),
        (lambda: diffusion.ResnetBlock2D(in_channels=32, time_embedding_norm="spatial"), "'default', 'scale_shift'"),
        (
            lambda: diffusion.ResnetBlock2D(in_channels=32, time_embedding_norm="scale_shift", temb_channels=None),
            "needs temb_channels",
        ),
        (lambda: diffusion.ResnetBlock2D(in_channels=32, up=True, down=True), "up or down, not both"),
        (lambda: diffusion.ResnetBlock2D(in_channels=40), "40 channels do not divide into 32 groups"),
        (lambda: diffusion.Downsample2D(8, out_channels=4), "from 8 to 4 channels needs use_conv=True"),
    ],
)
def test_arguments(make, words):
    assert words in message_of(ArgumentError, make)


@pytest.mark.parametrize(
    ("channels", "arrays", "words"), [(48, 1, "48, temb is missing"), (None, 2, "None, temb is given")]
)
def test_an_embedding_too_few_and_too_many(channels, arrays, words):
    ours = diffusion.ResnetBlock2D(in_channels=32, temb_channels=channels)
    ours.load_state_dict(load_random(twins.ResnetBlock2D(32, temb_channels=channels)).state_dict())
    given = (IMAGES, numbers(2, 48))[:arrays]
    assert f"temb_channels={words}" in message_of(ArgumentError, trace, ours, *given)
