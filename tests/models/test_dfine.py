"""D-FINE against transformers' own module, and the forms that its weights come in."""

import functools

import numpy as np
import pytest
import torch

from benchmarks.twins.rtdetr import well_scaled
from tests.helpers import ONE_TARGET, assert_close, message_of, strongly_typed
from tests.models.checks import noise
from tests.models.test_rtdetr import (
    FP16_TOLERANCE,
    assert_queries_close,
    dynamic,
    import_transformers,
    needs_transformers,
)
from trtnn import Engine, Input, load
from trtnn.checkpoint import StateDict
from trtnn.errors import ArgumentError, ShapeError, StateDictError
from trtnn.models import create, from_state_dict, identify
from trtnn.models.dfine import DFINE, distances_of

NAMES = list(DFINE.variants)
CLASSES = 7
EXPANSION = {"dfine_n": 0.34, "dfine_s": 0.5}
DEPTH = {"dfine_n": 0.5, "dfine_s": 0.34, "dfine_m": 0.67}

pytestmark = [pytest.mark.filterwarnings("ignore"), needs_transformers]


def transformers_module(name, classes=CLASSES, **options):
    """transformers' module of a model, as its config.json on the hub says it, with its own random weights."""
    transformers = import_transformers()
    variant = DFINE.variants[name]
    n = variant.levels
    backbone = transformers.HGNetV2Config(
        stem_channels=[3, *variant.stem],
        stage_in_channels=[variant.stem[1], *variant.out[:-1]],
        stage_mid_channels=list(variant.within),
        stage_out_channels=list(variant.out),
        stage_num_blocks=list(variant.blocks),
        stage_numb_of_layers=[variant.depth] * 4,
        use_learnable_affine_block=variant.affine,
        hidden_sizes=list(variant.out),
        out_indices=list(range(5 - n, 5)),
    )
    config = transformers.DFineConfig(
        backbone_config=backbone,
        num_labels=classes,
        encoder_in_channels=list(variant.out[-n:]),
        encoder_hidden_dim=variant.width,
        encoder_ffn_dim=variant.inner,
        encode_proj_layers=[n - 1],
        feat_strides=[8, 16, 32][-n:],
        hidden_expansion=EXPANSION.get(name, 1.0),
        depth_mult=DEPTH.get(name, 1.0),
        num_feature_levels=n,
        d_model=variant.decoder,
        decoder_in_channels=[variant.width] * n,
        decoder_ffn_dim=variant.decoder_inner,
        decoder_layers=variant.layers,
        decoder_n_points=list(variant.points),
        **options,
    )
    return transformers.DFineForObjectDetection(config)


@functools.lru_cache(maxsize=2)
def twin_of(name):
    return well_scaled(transformers_module(name))


def pair_of(name, head="decoded"):
    """Return our model with the weights of transformers' module, and that."""
    return from_state_dict(twin_of(name).state_dict(), head=head), twin_of(name)


def expected_of(module, images):
    with torch.no_grad():
        output = module(images)
    return {"boxes": output.pred_boxes, "scores": output.logits.sigmoid()}


# The smallest has no map on stride 8, so that 300 places take larger images.
SHAPES = {"dfine_n": [(1, 3, 256, 288), (2, 3, 288, 256)]}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_queries_are_transformers(name, which):
    shape = SHAPES.get(name, [(1, 3, 160, 128), (2, 3, 160, 192)])[which]
    ours, theirs = pair_of(name, "raw")
    assert ours.name == name
    images = noise(*shape)
    with torch.no_grad():
        expected = theirs(images)
    result = ours.trace({"images": shape}).run(images.numpy())
    assert_queries_close(result, {key: expected[key] for key in ("logits", "pred_boxes")})
    assert result["logits"].std(1).mean() > 0.1  # queries differ from one another
    assert result["pred_boxes"].std(1).mean() > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_names_shapes_and_counts_are_transformers(name):
    """But for what is for training: an embedding of the classes and one more, and what is learned of BatchNorm."""
    with torch.device("meta"):
        theirs = transformers_module(name, 80, freeze_backbone_batch_norms=False)
    ours = create(name, classes=80)
    shapes = {key: tuple(value.shape) for key, value in theirs.state_dict().items() if "num_batches" not in key}
    width = ours.variants[name].decoder
    assert shapes.pop("model.denoising_class_embed.weight") == (81, width)
    twice = [key for key in shapes if key.startswith(("class_embed.", "bbox_embed."))]
    assert {f"model.decoder.{key}" for key in twice} <= shapes.keys()
    assert {key: member.shape for key, member in ours._state().items()} == {
        key: shape for key, shape in shapes.items() if key not in twice
    }
    count = sum(parameter.numel() for parameter in theirs.parameters())
    assert sum(parameter.numel() for parameter in ours.parameters()) == count - 81 * width


@pytest.mark.parametrize(("size", "millions"), [("n", 4), ("s", 10), ("m", 19), ("l", 31), ("x", 62)])
def test_counts_are_the_published_ones(size, millions):
    """Those of the table in the authors' repository, https://github.com/Peterande/D-FINE."""
    model = create(f"dfine_{size}", classes=80)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.7)


def test_distances():
    """Against transformers' function, with its usual numbers and others."""
    import_transformers()
    from transformers.models.d_fine.modeling_d_fine import weighting_function

    for up, scale in ((0.5, 4.0), (0.25, 8.0)):
        expected = weighting_function(32, torch.tensor([up]), torch.tensor([scale]))
        assert_close(distances_of(up, scale), expected, 1e-5)


def test_what_bounds_the_distances_is_read():
    theirs = well_scaled(transformers_module("dfine_s", up=0.25, reg_scale=8.0))
    ours = from_state_dict(theirs.state_dict())
    images = noise(1, 3, 160, 128)
    assert_queries_close(ours.trace({"images": (1, 3, 160, 128)}).run(images.numpy()), expected_of(theirs, images))


@strongly_typed
def test_fp16_is_near_fp32():
    """Places at the end of the 300 may be others: nine in ten queries have one near them, in both directions."""
    ours, theirs = pair_of("dfine_s")
    expected = expected_of(theirs, noise(1, 3, 160, 128))
    result = ours.trace({"images": (1, 3, 160, 128)}, fp16=True).run(noise(1, 3, 160, 128).numpy())
    assert {value.dtype for value in result.values()} == {np.dtype(np.float32)}
    ours, theirs = (np.concatenate([part[key][0] for key in ("boxes", "scores")], 1) for part in (result, expected))
    distance = np.abs(ours[:, None] - theirs).max(-1)
    for axis in (0, 1):
        assert (distance.min(axis) < FP16_TOLERANCE).mean() > 0.9


@pytest.mark.parametrize(("name", "fp16"), [("dfine_n", False), ("dfine_s", True)])
def test_it_builds(name, fp16):
    ours, _ = pair_of(name)
    engine = ours.compile({"images": (1, 3, 256, 288)}, fp16=fp16, **ONE_TARGET)
    assert engine.outputs == {"boxes": Input((1, 300, 4)), "scores": Input((1, 300, CLASSES))}
    assert engine.description["pipeline"] == "rtdetr"


def test_one_network_and_one_engine_for_every_size(tmp_path):
    ours, theirs = pair_of("dfine_s")
    network = ours.trace(dynamic(256))
    for shape in ((1, 3, 128, 128), (2, 3, 160, 256)):
        assert_queries_close(network.run(noise(*shape).numpy()), expected_of(theirs, noise(*shape)))
    engine = ours.compile(dynamic(256), fp16=True, **ONE_TARGET)
    loaded = Engine.load(engine.save(tmp_path / "dfine.engine"))
    assert str(loaded.outputs["scores"]) == f"float32[batch, 300, {CLASSES}]"


# -- checkpoints, and what is wrong -----------------------------------------------------------------------------------


def zeros(name):
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in transformers_module(name).state_dict().items()}
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items() if "num_batches" not in key}


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_tells_its_model(name):
    state = zeros(name)
    assert identify(state) == {"name": name, "classes": CLASSES}
    assert type(from_state_dict(state)) is DFINE
    wider = {**state, "model.encoder.lateral_convs.0.norm.weight": np.zeros(512, np.float32)}
    message = message_of(StateDictError, from_state_dict, wider)
    assert message.startswith("this looks like D-FINE in another form, which trtnn")


def test_a_folder_of_transformers(tmp_path):
    theirs = well_scaled(transformers_module("dfine_s", num_queries=200, id2label={i: f"a{i}" for i in range(CLASSES)}))
    theirs.save_pretrained(tmp_path)
    state = load(tmp_path / "model.safetensors")
    assert any(".fc1." in key for key in state)  # the file has the older names
    assert identify(state) == {"name": "dfine_s", "classes": CLASSES, "queries": 200}
    model = from_state_dict(state)
    assert model.metadata["names"] == [f"a{i}" for i in range(CLASSES)]
    images = noise(1, 3, 160, 128)
    result = model.trace({"images": (1, 3, 160, 128)}).run(images.numpy())
    assert_queries_close(result, expected_of(theirs, images))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"eval_idx": 1}, "eval_idx: 1 in the file, -1 here"),
        ({"decoder_n_points": [6, 3, 3]}, "decoder_n_points: [6, 3, 3] in the file, [3, 6, 3] here"),
        ({"decoder_method": "discrete"}, "decoder_method: discrete in the file, default here"),
    ],
)
def test_a_config_that_says_otherwise_is_refused(changes, words):
    state = StateDict(zeros("dfine_s"), {"config": {"model_type": "d_fine", **changes}})
    message = message_of(StateDictError, from_state_dict, state)
    assert f"the checkpoint does not fit dfine_s: {words}; nothing was loaded" in message


def test_options_and_metadata():
    model = DFINE("dfine_n", classes=2, names=("cat", "dog"))
    known = {"model": "dfine_n", "task": "detect", "classes": 2, "pipeline": "rtdetr", "stride": 32}
    assert model.metadata == {**known, "strides": [16, 32], "names": ["cat", "dog"]}
    assert DFINE("dfine_x").metadata["strides"] == [8, 16, 32]
    assert "queries is an int from 1 to 3840, not 0" in message_of(ArgumentError, DFINE, queries=0)
    assert "nearest: dfine_s" in message_of(ArgumentError, create, "dfine-s")
    ours, _ = pair_of("dfine_n")
    message = message_of(ShapeError, ours.trace, {"images": (1, 3, 160, 160)})
    assert message.startswith("300 queries begin at as many places, and images of this size have 125")
    message = message_of(ShapeError, ours.trace, {"images": (1, 3, 256, 280)})
    assert "dfine_n takes pictures whose height and width are multiples of 32" in message
