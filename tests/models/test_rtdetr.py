"""RT-DETR against transformers' own module and against its torch twin, and the forms that its weights come in."""

import functools
import importlib.util
import json

import numpy as np
import pytest
import torch

from benchmarks.twins import rtdetr as twin
from benchmarks.zoo.torchvision_models import import_torchvision
from tests.helpers import ONE_TARGET, assert_close, message_of, strongly_typed, trace
from tests.models.checks import noise, zeros_of
from trtnn import Dim, Engine, Input, load, save
from trtnn.checkpoint import StateDict
from trtnn.detector import Detector
from trtnn.errors import ArgumentError, CheckpointError, ShapeError, StateDictError
from trtnn.models import create, from_state_dict, identify
from trtnn.models.query_detector import anchors_of, positions_of
from trtnn.models.rtdetr import RTDETR
from trtnn.vision.pipelines import PIPELINES

NAMES = list(RTDETR.variants)
CLASSES = 7
# At 448 pixels some places are too near an edge to count.
SMALL, WIDE = (1, 3, 160, 128), (2, 3, 64, 448)
# Of a logit and of a box, as seen: 8e-6 and 8e-7, and in fp16 1.4e-2 and 4e-3.
FP32_TOLERANCE = 1e-4
FP16_TOLERANCE = 5e-2

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def import_transformers():
    """Import transformers, which imports torchvision by itself, where it may not load."""
    if importlib.util.find_spec("torchvision"):
        import_torchvision()
    import transformers

    return transformers


def transformers_module(name, classes=CLASSES, **options):
    """transformers' module of a model, with its own random weights."""
    transformers = import_transformers()
    *_, expansion, repeats, width, inner, within, layers = twin.SIZES[name.rpartition("_")[2]]
    kind = "RTDetrV2" if "_v2_" in name else "RTDetr"
    backbone = transformers.RTDetrResNetConfig(
        layer_type="basic" if expansion == 1 else "bottleneck",
        hidden_sizes=[64 * expansion << i for i in range(4)],
        depths=list(repeats),
        out_features=["stage2", "stage3", "stage4"],
    )
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=backbone,
        encoder_in_channels=[128 * expansion << i for i in range(3)],
        decoder_in_channels=[width] * 3,
        encoder_hidden_dim=width,
        encoder_ffn_dim=inner,
        hidden_expansion=within / width,
        decoder_layers=layers,
        num_labels=classes,
        **options,
    )
    return getattr(transformers, f"{kind}ForObjectDetection")(config)


@functools.lru_cache(maxsize=2)
def twin_of(name):
    return twin.make(name, CLASSES)


def pair_of(name, head="decoded"):
    """Return our model with its twin's weights, and the twin with the same head."""
    theirs = twin_of(name)
    theirs.output = head
    return from_state_dict(theirs.state_dict(), head=head), theirs


def in_order_of(expected, result):
    """Bring queries, which follow their scores, into the order of others: where two are nearly one, either may lead."""
    expected = {key: np.asarray(value) for key, value in expected.items()}
    assert result.keys() == expected.keys()
    ordered = {key: np.empty_like(value) for key, value in result.items()}
    for image in range(len(next(iter(result.values())))):
        ours, theirs = (
            np.concatenate([part[key][image] for key in result], 1, dtype=np.float64) for part in (result, expected)
        )
        nearest = np.abs(ours[:, None] - theirs).max(-1).argmin(0)
        assert len({*nearest}) == len(ours), "two queries stand where one is expected"
        for key, value in result.items():
            ordered[key][image] = value[image, nearest]
    return ordered


def assert_queries_close(result, expected, tolerance=FP32_TOLERANCE):
    """Compare boxes in parts of an image, and scores or logits."""
    assert_close(in_order_of(expected, result), expected, tolerance, tolerance)


# -- against transformers ---------------------------------------------------------------------------------------------


@needs_transformers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "shape"), [*((name, SMALL) for name in NAMES), ("rtdetr_r18", WIDE), ("rtdetr_v2_r18", WIDE)]
)
def test_queries_are_transformers(name, shape):
    theirs = twin.well_scaled(transformers_module(name))
    images = noise(*shape)
    with torch.no_grad():
        expected = theirs(images)
    ours = from_state_dict(theirs.state_dict(), head="raw")
    assert ours.name == name
    result = ours.trace({"images": shape}).run(images.numpy())
    assert_queries_close(result, {key: expected[key] for key in ("logits", "pred_boxes")})
    places = twin_of("rtdetr_r18").queries
    assert result["pred_boxes"].shape == (shape[0], places, 4)
    assert result["logits"].std(1).mean() > 0.1  # queries differ from one another
    assert result["pred_boxes"].std(1).mean() > 0.05


@needs_transformers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["rtdetr_r18", "rtdetr_v2_r50"])
def test_the_twin_is_transformers(name):
    theirs = twin.well_scaled(transformers_module(name))
    own = twin.RTDETR(name, CLASSES, "raw").eval()
    loaded = own.load_state_dict(theirs.state_dict(), strict=False)
    assert not loaded.missing_keys
    with torch.no_grad():
        expected, result = theirs(noise(*WIDE)), own(noise(*WIDE))
    result = {key: value.numpy() for key, value in result.items()}
    assert_queries_close(result, {key: expected[key] for key in result})


@needs_transformers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_names_shapes_and_counts_are_transformers(name):
    """But for what is for training: an embedding of the classes and one more, and what is learned of BatchNorm."""
    with torch.device("meta"):
        theirs = transformers_module(name, 80, freeze_backbone_batch_norms=False)
    ours = create(name, classes=80)
    shapes = {key: tuple(value.shape) for key, value in theirs.state_dict().items() if "num_batches" not in key}
    assert shapes.pop("model.denoising_class_embed.weight") == (81, 256)
    if "_v2_" in name:  # it has them twice
        twice = [key for key in shapes if key.startswith(("class_embed.", "bbox_embed."))]
        assert {f"model.decoder.{key}" for key in twice} <= shapes.keys()
        shapes = {key: shape for key, shape in shapes.items() if key not in twice}
    assert {key: member.shape for key, member in ours._state().items()} == shapes
    count = sum(parameter.numel() for parameter in theirs.parameters())
    assert sum(parameter.numel() for parameter in ours.parameters()) == count - 81 * 256


@pytest.mark.parametrize(("size", "millions"), [("r18", 20), ("r34", 31), ("r50", 42), ("r101", 76)])
def test_counts_are_the_published_ones(size, millions):
    """Those of the table in the authors' repository, https://github.com/lyuwenyu/RT-DETR; half a million is rounding.

    It counts 42 million for rtdetr_r50, of which transformers' module has 42.9.
    """
    for version in ("", "v2_"):
        model = create(f"rtdetr_{version}{size}", classes=80)
        assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.95)


# -- against the twin -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["decoded", "raw"])
@pytest.mark.parametrize("shape", [SMALL, WIDE])
@pytest.mark.parametrize("name", ["rtdetr_r18", "rtdetr_v2_r50"])
def test_queries_are_the_twins(name, shape, head):
    ours, theirs = pair_of(name, head)
    images = noise(*shape)
    with torch.no_grad():
        expected = theirs(images)
    network = ours.trace({"images": shape})
    assert_queries_close(network.run(images.numpy()), expected)
    boxes, rows = ("boxes", "scores") if head == "decoded" else ("pred_boxes", "logits")
    assert network.outputs == {boxes: Input((shape[0], 300, 4)), rows: Input((shape[0], 300, CLASSES))}
    if head == "decoded":
        assert list(network.outputs) == ["boxes", "scores"]


def test_places_near_an_edge_do_not_count():
    """All 588 places at 448 pixels are asked for, so such places are among the queries.

    Their boxes begin with sides of 1, and are moved by so much that it counts that they begin no further.
    """
    theirs = twin.make("rtdetr_r18", CLASSES, queries=588)
    for refine in theirs.model["decoder"]["bbox_embed"]:
        refine.layers[-1].bias.data -= 5
    ours = RTDETR("rtdetr_r18", CLASSES, queries=588)
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        expected = theirs(noise(1, *WIDE[1:]))
    result = ours.trace({"images": (1, *WIDE[1:])}).run(noise(1, *WIDE[1:]).numpy())
    for part in ("boxes", "scores"):  # equal places are equal queries: sorted, not matched
        assert_close(np.sort(result[part], 1), np.sort(expected[part].numpy(), 1), FP32_TOLERANCE, FP32_TOLERANCE)


@pytest.mark.parametrize("sizes", [[(8, 56), (4, 28), (2, 14)], [(100, 304), (50, 152), (25, 76)], [(9, 50)]])
def test_anchors(sizes):
    """The place at 0.5 / 50 is 0.01, and does not count."""
    anchors, counts = anchors_of(sizes)
    expected, inside = twin.anchors_of(*sizes)
    here = inside[:, 0].numpy()
    np.testing.assert_array_equal((np.ones((len(here), 1)) if counts is None else counts)[:, 0] > 0, here)
    assert 0 < here.sum() < len(here)
    assert_close(anchors[here], expected[inside[:, 0]], 1e-5, 1e-6)
    assert (anchors[~here] == 1e4).all()  # of which the sigmoid is 1, as of torch's largest number


def test_all_places_count_in_small_images():
    anchors, counts = anchors_of([(20, 16), (10, 8), (5, 4)])
    assert counts is None
    assert_close(anchors, twin.anchors_of((20, 16), (10, 8), (5, 4))[0], 1e-5, 1e-6)


def test_anchors_and_positions_of_any_size():
    rows, columns = Dim("rows", 2, 8, 30), Dim("columns", 2, 50, 60)

    def both(x):
        anchors, counts = anchors_of([x.shape[:2]])
        return anchors, counts, positions_of(*x.shape[:2], 256)

    network = trace(both, Input((rows, columns)))
    for size in ((5, 50), (30, 60), (2, 2)):
        expected, inside = twin.anchors_of(size)
        anchors, counts, positions = network.run(np.zeros(size, np.float32))
        np.testing.assert_array_equal(counts > 0, inside.numpy())
        here = inside[:, 0].numpy()
        assert_close(anchors[here], expected[inside[:, 0]], 1e-5, 1e-6)
        assert_close(positions, positions_of(*size, 256), 1e-4, 1e-5)


def test_positions():
    y, x, omega = 3, 2, 1e4 ** -(np.arange(64) / 64)
    expected = np.concatenate([np.sin(y * omega), np.cos(y * omega), np.sin(x * omega), np.cos(x * omega)])
    assert_close(positions_of(5, 4, 256)[y * 4 + x], expected.astype(np.float32), 1e-6)


def test_a_repvgg_block_is_one_convolution():
    ours, _ = pair_of("rtdetr_r18")
    kinds = [(row.path, row.kind) for row in ours.trace({"images": SMALL}).layers()]
    within = [kind for path, kind in kinds if path.startswith("model.encoder.fpn_blocks.0.bottlenecks.1")]
    assert within.count("CONVOLUTION") == 1
    assert not any("class_embed.0" in path or "class_embed.1" in path for path, _ in kinds)  # for training


# -- half precision, building, dynamic shapes -------------------------------------------------------------------------


@strongly_typed
@pytest.mark.parametrize("name", ["rtdetr_r18", "rtdetr_v2_r18"])
def test_fp16_is_near_fp32(name):
    """Places at the end of the 300 may be others: nine in ten queries have one near them, in both directions."""
    ours, theirs = pair_of(name)
    with torch.no_grad():
        expected = theirs(noise(*SMALL))
    result = ours.trace({"images": SMALL}, fp16=True).run(noise(*SMALL).numpy())
    assert {value.dtype for value in result.values()} == {np.dtype(np.float32)}
    ours, theirs = (np.concatenate([part[key][0] for key in ("boxes", "scores")], 1) for part in (result, expected))
    distance = np.abs(ours[:, None] - theirs).max(-1)
    for axis in (0, 1):
        assert (distance.min(axis) < FP16_TOLERANCE).mean() > 0.9


@pytest.mark.parametrize(("name", "fp16"), [("rtdetr_r18", False), ("rtdetr_r18", True), ("rtdetr_v2_r50", True)])
def test_it_builds(name, fp16):
    ours, _ = pair_of(name)
    engine = ours.compile({"images": SMALL}, fp16=fp16, **ONE_TARGET)
    assert engine.outputs == {"boxes": Input((1, 300, 4)), "scores": Input((1, 300, CLASSES))}
    assert engine.description["pipeline"] == "rtdetr"


def dynamic(most):
    height, width = (Dim(name, 128, 160, most, multiple_of=32) for name in ("height", "width"))
    return {"images": (Dim("batch", 1, 1, 2), 3, height, width)}


def test_one_network_for_every_size():
    ours, theirs = pair_of("rtdetr_v2_r18")
    network = ours.trace(dynamic(448))
    for shape in ((1, 3, 128, 128), (2, 3, 160, 448), (1, 3, 448, 128)):
        with torch.no_grad():
            expected = theirs(noise(*shape))
        assert_queries_close(network.run(noise(*shape).numpy()), expected)


def test_one_engine_for_every_size_builds(tmp_path):
    ours, _ = pair_of("rtdetr_r18")
    engine = ours.compile(dynamic(256), fp16=True, **ONE_TARGET)
    loaded = Engine.load(engine.save(tmp_path / "rtdetr.engine"))
    assert str(loaded.inputs["images"]) == "float32[batch, 3, height, width]"
    assert str(loaded.outputs["boxes"]) == "float32[batch, 300, 4]"


# -- checkpoints ------------------------------------------------------------------------------------------------------


def zeros(name, classes=CLASSES):
    with torch.device("meta"):
        return zeros_of(twin.RTDETR(name, classes))


def authors_names(state_dict, version):
    """Give a state dict the names of the authors' repository, with an attention's projections together."""
    conv, norm = ("conv", "norm") if version == 2 else ("0", "1")
    linear = ("proj", "norm") if version == 2 else ("0", "1")
    renamed = {}
    for key, value in state_dict.items():
        new = key.removeprefix("model.")
        if new.startswith("backbone."):
            new = new.replace("convolution", "conv").replace("normalization", "norm")
            for i in range(3):
                new = new.replace(f"backbone.model.embedder.embedder.{i}.", f"backbone.conv1.conv1_{i + 1}.")
                new = new.replace(f".layer.{i}.", f".branch2{'abc'[i]}.")
            new = new.replace("backbone.model.encoder.stages.", "backbone.res_layers.").replace(".layers.", ".blocks.")
            new = new.replace(".shortcut.1.", ".short.conv.").replace(".shortcut.", ".short.")
        for part in ("encoder", "decoder"):
            for i in range(3):
                new = new.replace(f"{part}_input_proj.{i}.0.", f"{part}.input_proj.{i}.{conv}.")
                new = new.replace(f"{part}_input_proj.{i}.1.", f"{part}.input_proj.{i}.{norm}.")
        new = new.replace("encoder.aifi.0.", "encoder.encoder.0.").replace("decoder.layers.", "decoder.decoder.layers.")
        new = new.replace("enc_output.0.", f"decoder.enc_output.{linear[0]}.")
        new = new.replace("enc_output.1.", f"decoder.enc_output.{linear[1]}.")
        new = new.replace("class_embed", "dec_score_head").replace("bbox_embed", "dec_bbox_head")
        if new.startswith(("enc_score_head", "enc_bbox_head")):
            new = f"decoder.{new}"
        new = new.replace("o_proj", "out_proj").replace("mlp.fc", "linear").replace("attn.n_points", "attn.num_points")
        new = new.replace("self_attn_layer_norm", "norm1").replace("encoder_attn_layer_norm", "norm2")
        new = new.replace("final_layer_norm", "norm2" if new.startswith("encoder.") else "norm3")
        renamed[new.replace("encoder_attn", "cross_attn")] = value
    for key in [key for key in renamed if ".q_proj." in key]:
        parts = [renamed.pop(key.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
        renamed[key.replace("q_proj.", "in_proj_")] = np.concatenate(parts)
    idle = {"decoder.denoising_class_embed.weight": np.zeros((CLASSES + 1, 256), np.float32)}
    if version == 2:
        idle |= {
            "decoder.anchors": np.zeros((1, 8400, 4), np.float32),
            "decoder.valid_mask": np.ones((1, 8400, 1), bool),
        }
    return renamed | idle


def older_names(state_dict, version):
    """Give a state dict the names of transformers' files, which its module had before version 5."""
    renamed = {}
    for key, value in state_dict.items():
        new = key.replace("encoder.aifi.", "encoder.encoder.").replace("o_proj", "out_proj").replace("mlp.fc", "fc")
        if version == 2 and key.startswith(("model.decoder.class_embed", "model.decoder.bbox_embed")):
            new = new.removeprefix("model.decoder.")
        renamed[new] = value
    return renamed | {"model.denoising_class_embed.weight": np.zeros((CLASSES + 1, 256), np.float32)}


@pytest.mark.parametrize("form", [authors_names, older_names])
@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_tells_its_model(name, form):
    state = form(zeros(name), 2 if "_v2_" in name else 1)
    assert not any(".aifi." in key or ".o_proj." in key for key in state)
    assert identify(state) == {"name": name, "classes": CLASSES}
    assert type(from_state_dict(state)) is RTDETR


@pytest.mark.parametrize("name", ["rtdetr_r18", "rtdetr_v2_r50"])
@pytest.mark.parametrize("form", [authors_names, older_names])
def test_arrays_under_other_names(name, form):
    state = {key: value.numpy() for key, value in twin_of(name).state_dict().items() if "num_batches" not in key}
    loaded = from_state_dict(form(state, 2 if "_v2_" in name else 1)).state_dict()
    assert loaded.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(loaded[key], value)


def test_of_two_names_that_of_the_decoder_is_read():
    state, other = zeros("rtdetr_v2_r18"), {"class_embed.0.bias": np.ones(CLASSES, np.float32)}
    for both in (state | other, other | state):
        assert not RTDETR.canonical(both)["model.decoder.class_embed.0.bias"].any()


def test_a_checkpoint_of_the_authors_training(tmp_path):
    state = {key: torch.from_numpy(np.array(value)) for key, value in authors_names(zeros("rtdetr_r18"), 1).items()}
    torch.save({"date": "", "last_epoch": 71, "ema": {"module": state, "updates": 3}}, tmp_path / "rtdetr_r18vd.pth")
    assert from_state_dict(load(tmp_path / "rtdetr_r18vd.pth")).name == "rtdetr_r18"


@needs_transformers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["rtdetr_r18", "rtdetr_v2_r18"])
def test_a_folder_of_transformers(name, tmp_path):
    labels = {i: f"animal {i}" for i in range(CLASSES)}
    theirs = twin.well_scaled(transformers_module(name, num_queries=200, id2label=labels))
    theirs.save_pretrained(tmp_path)
    processor = {"do_normalize": False, "rescale_factor": 1 / 255, "size": {"height": 160, "width": 128}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    state = load(tmp_path / "model.safetensors")
    assert any(".out_proj." in key for key in state)  # the file has the older names
    assert identify(state) == {"name": name, "classes": CLASSES, "queries": 200}
    model = from_state_dict(state)
    assert model.metadata["names"] == list(labels.values())
    assert model.metadata["checkpoint"]["architecture"] == type(theirs).__name__
    assert model.inputs == {"images": Input(SMALL)}
    with torch.no_grad():
        expected = theirs(noise(*SMALL))
    result = model.trace().run(noise(*SMALL).numpy())
    assert_queries_close(result, {"boxes": expected.pred_boxes, "scores": expected.logits.sigmoid()})


@needs_transformers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source", [(1200, 1600), (97, 131), (721, 333), (320, 192), (1, 9)])
def test_images_are_prepared_as_by_transformers(source):
    """As by its processor that uses torchvision, to the byte; by Pillow's within one, as other sums are rounded."""
    transformers = import_transformers()
    image = np.random.default_rng(0).integers(0, 256, (*source, 3), np.uint8)
    ours, _ = PIPELINES["rtdetr"].preprocess([image], (320, 192))
    for name, most in (("RTDetrImageProcessor", 0.001), ("RTDetrImageProcessorPil", 1.001)):
        processor = getattr(transformers, name)(size={"height": 320, "width": 192})
        # Of one row or column it would guess which axis has the channels.
        theirs = processor(images=image, return_tensors="np", input_data_format="channels_last")["pixel_values"]
        assert theirs.shape == ours.shape
        assert np.abs(255 * (ours - theirs)).max() < most


@needs_transformers
@pytest.mark.filterwarnings("ignore")
def test_a_detector_finds_what_transformers_does():
    transformers = import_transformers()
    theirs = twin.well_scaled(transformers_module("rtdetr_r18"))
    processor = transformers.RTDetrImageProcessor(size={"height": 160, "width": 192})
    coarse = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    image = coarse.repeat(97, 0).repeat(83, 1)
    with torch.no_grad():
        output = theirs(**processor(images=image, return_tensors="pt"))
    sizes = [image.shape[:2]]
    expected = processor.post_process_object_detection(output, threshold=0.5, target_sizes=sizes)[0]
    found = Detector(from_state_dict(theirs.state_dict()).trace({"images": (1, 3, 160, 192)}))([image])[0]
    assert len(found) == len(expected["scores"]) > 100
    height, width = image.shape[:2]
    inside = np.clip(expected["boxes"].numpy(), 0, np.float32([width, height] * 2))
    apart = np.abs(found.boxes[:, None] - inside).max(-1)
    apart[found.classes[:, None] != expected["labels"].numpy()] = np.inf
    nearest = apart.argmin(1)
    assert len({*nearest}) > 0.98 * len(found)  # at the threshold, or the end of 300, others may be taken
    assert np.quantile(apart.min(1), 0.98) < 1.0  # px
    assert np.quantile(np.abs(found.scores - expected["scores"].numpy()[nearest]), 0.98) < 5e-3


CONFIG = {
    "model_type": "rt_detr",
    "architectures": ["RTDetrForObjectDetection"],
    "id2label": {str(i): f"animal {i}" for i in range(CLASSES)},
}


def folder(path, config=CONFIG, preprocessor=None):
    save(zeros("rtdetr_r18"), path / "model.safetensors")
    (path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if preprocessor is not None:
        (path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return load(path / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decoder_n_points": 8}, "decoder_n_points: 8 in the file, 4 here"),
        ({"decoder_method": "discrete"}, "decoder_method: discrete in the file, default here"),
        ({"encoder_activation_function": "relu"}, "encoder_activation_function: relu in the file, gelu here"),
        ({"layer_norm_eps": 1e-6}, "layer_norm_eps: 1e-06 in the file, 1e-05 here"),
        ({"backbone_config": {"hidden_act": "gelu"}}, "backbone_config.hidden_act: gelu in the file, relu here"),
        ({"id2label": {"0": "cat", "1": "dog"}}, f"names of classes: 2 in the file, {CLASSES} here"),
    ],
)
def test_a_config_that_says_otherwise_is_refused(changes, words, tmp_path):
    message = message_of(StateDictError, from_state_dict, folder(tmp_path, CONFIG | changes))
    assert f"the checkpoint does not fit rtdetr_r18: {words}; nothing was loaded" in message


STRETCHED = "in the file, a height and a width, which images are stretched to here"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"do_normalize": True}, "do_normalize: True in the file, False here"),
        ({"resample": 3}, "resample: 3 in the file, 2 here"),
        (
            {"size": {"shortest_edge": 480, "longest_edge": 640}},
            "size: {'shortest_edge': 480, 'longest_edge': 640} " + STRETCHED,
        ),
        (
            {"size": {"max_height": 480, "max_width": 640, "height": None}},
            "size: {'max_height': 480, 'max_width': 640, 'height': None} " + STRETCHED,
        ),
        ({"size": 480}, "size: 480 " + STRETCHED),
    ],
)
def test_images_that_are_prepared_otherwise_are_refused(changes, words, tmp_path):
    state = folder(tmp_path, CONFIG, changes)
    message = message_of(StateDictError, from_state_dict, state)
    assert f"preprocessor_config.{words}; nothing was loaded" in message
    assert "model.load_state_dict(dict(state_dict))" in message
    assert from_state_dict(dict(state)).name == "rtdetr_r18"


def test_queries_of_the_config(tmp_path):
    state = folder(tmp_path, CONFIG | {"num_queries": 100})
    message = message_of(StateDictError, RTDETR("rtdetr_r18", CLASSES).load_state_dict, state)
    assert "num_queries: 100 in the file, 300 here" in message
    assert from_state_dict(state).queries == 100


def test_what_a_config_says_is_kept(tmp_path):
    state = folder(tmp_path, CONFIG, {"size": {"height": 480, "width": 640}})
    (tmp_path / "copy").mkdir()
    save(state, tmp_path / "copy" / "a.safetensors")
    again = load(tmp_path / "copy" / "a.safetensors")
    assert again.metadata == state.metadata
    assert state.metadata["names"] == list(CONFIG["id2label"].values())
    assert state.metadata["imgsz"] == [480, 640]
    assert from_state_dict(again).inputs == {"images": Input((1, 3, 480, 640))}
    state = folder(tmp_path, CONFIG, {"size": {"height": 320, "width": 640, "shortest_edge": None}})
    assert from_state_dict(state).inputs == {"images": Input((1, 3, 320, 640))}


@pytest.mark.parametrize(
    ("config", "metadata"),
    [
        ({"version": 3}, set()),  # another program's file
        ("[1, 2", set()),
        ({**CONFIG, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, {"config", "architecture"}),
        ({"model_type": "rt_detr", "id2label": [1], "architectures": "a", "backbone_config": "b"}, {"config"}),
    ],
)
def test_configs_that_name_no_classes(config, metadata, tmp_path):
    state = folder(tmp_path, config)
    assert state.metadata.keys() == metadata
    assert from_state_dict(state).classes == CLASSES


def test_names_of_a_config_that_are_odd_are_told(tmp_path):
    from_1 = {str(number): f"animal {number}" for number in range(1, CLASSES + 1)}
    with pytest.warns(UserWarning, match=r"config.json, names of classes: they are counted from 1, and taken in their"):
        state = folder(tmp_path, CONFIG | {"id2label": from_1})
    assert from_state_dict(state).metadata["names"] == list(from_1.values())
    with pytest.warns(UserWarning, match="are left out, since their numbers are 0, 7, and those of the 2 classes 0 to"):
        state = folder(tmp_path, CONFIG | {"id2label": {"0": "cat", "7": "dog"}})
    assert "names" not in from_state_dict(state).metadata


def test_a_config_that_is_damaged(tmp_path):
    message = message_of(CheckpointError, folder, tmp_path, json.dumps(CONFIG)[:-3])
    assert "config.json, which tells what the weights beside it are of, is not sound JSON" in message
    assert "mend it, or move the weights to another folder" in message


def test_an_image_size_that_is_none(tmp_path):
    state = folder(tmp_path, CONFIG, {"size": {"height": 0, "width": "wide"}})
    assert "imgsz" not in state.metadata


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"model.decoder.lqe_layers.0.reg_conf.layers.0.weight": (64, 20)}, "D-FINE in another form"),
        (
            {"model.backbone.model.encoder.stages.2.layers.2.layer.0.convolution.weight": (256,)},
            "an RT-DETR in another",
        ),
        ({"model.decoder.layers.3.encoder_attn.sampling_offsets.bias": (192,)}, "an RT-DETR in another form"),
        ({"model.decoder.layers.0.encoder_attn.sampling_offsets.bias": (96,)}, "an RT-DETR in another form"),
    ],
)
def test_a_form_that_is_not_here_is_named(changes, what):
    state = zeros("rtdetr_r18") | {name: np.zeros(shape, np.float32) for name, shape in changes.items()}
    if "D-FINE" in what:
        del state["model.enc_score_head.bias"]
    message = message_of(StateDictError, from_state_dict, state)
    assert message.startswith(f"this looks like {what}")


def test_ultralytics_form_is_named():
    state = {
        "model.28.dec_score_head.0.weight": np.zeros((80, 256)),
        "model.0.stem1.conv.weight": np.zeros((32, 3, 3, 3)),
    }
    message = message_of(StateDictError, from_state_dict, state)
    assert message.startswith("this looks like Ultralytics' RT-DETR, which trtnn has no model for")


def test_the_wrong_checkpoint_is_recognised():
    message = message_of(StateDictError, RTDETR("rtdetr_r50").load_state_dict, zeros("rtdetr_v2_r34"))
    assert f'this looks like RTDETR("rtdetr_v2_r34", classes={CLASSES})' in message
    message = message_of(StateDictError, RTDETR("rtdetr_r18").load_state_dict, zeros("rtdetr_r18"))
    assert f"expected (80, 256), received ({CLASSES}, 256)" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"head": "boxes"}, ["RTDETR head 'boxes'", "known: 'decoded', 'raw'"]),
        ({"classes": 3, "names": ["cat"]}, ["1 names for 3 classes"]),
        ({"queries": 0}, ["queries is an int from 1 to 3840, not 0"]),
        ({"queries": 3841}, ["queries is an int from 1 to 3840, not 3841"]),
        ({"queries": True}, ["RTDETR takes an int as queries, not True"]),
    ],
)
def test_unknown_options(options, words):
    message = message_of(ArgumentError, RTDETR, **options)
    assert all(word in message for word in words)


@pytest.mark.parametrize(("name", "nearest"), [("rtdetr_r18vd", "rtdetr_r18"), ("rtdetr-v2-r50", "rtdetr_v2_r50")])
def test_an_unknown_name_has_a_nearest(name, nearest):
    for make in (RTDETR, create):
        message = message_of(ArgumentError, make, name)
        assert f"no model is called {name!r}" in message
        assert f"nearest: {nearest}" in message


def test_pictures_of_the_wrong_size_or_channels():
    ours, _ = pair_of("rtdetr_r18")
    height = Dim("height", 128, 160, 256, multiple_of=16)
    for shape, advice in (
        ((1, 3, 160, 136), "nearest: (160, 128) and (160, 160)"),
        ((1, 3, height, 160), "declare it: trtnn.Dim(..., multiple_of=32)"),
    ):
        message = message_of(ShapeError, ours.trace, {"images": shape})
        assert message.splitlines() == [
            "rtdetr_r18 takes pictures whose height and width are multiples of 32",
            f"  received {shape[2:]}",
            f"  {advice}",
        ]
    message = message_of(ShapeError, ours.trace, {"images": (1, 4, 160, 160)})
    assert "model.backbone.model.embedder.embedder.0.convolution" in message
    assert "expected 3" in message


def test_pictures_with_fewer_places_than_queries():
    ours, _ = pair_of("rtdetr_r18")
    message = message_of(ShapeError, ours.trace, {"images": (1, 3, 96, 96)})
    assert message.splitlines() == [
        "300 queries begin at as many places, and images of this size have 189",
        "  give larger images, or fewer queries: queries=...",
    ]
    height = Dim("height", 64, 160, 256, multiple_of=32)
    message = message_of(ShapeError, ours.trace, {"images": (1, 3, height, 160)})
    assert "it never holds for height up to 64, and always holds for height from 96 on" in message


def test_inputs_and_metadata():
    model = RTDETR("rtdetr_v2_r101", classes=2, names=("cat", "dog"))
    assert model.inputs == {"images": Input((1, 3, 640, 640))}
    known = {"model": "rtdetr_v2_r101", "task": "detect", "classes": 2, "pipeline": "rtdetr", "stride": 32}
    assert model.metadata == {**known, "strides": [8, 16, 32], "names": ["cat", "dog"]}


def test_a_state_dict_without_metadata_is_taken_as_it_is():
    assert identify(StateDict(zeros("rtdetr_r18"))) == {"name": "rtdetr_r18", "classes": CLASSES}
