"""ResNet against its torch twin, and against what torchvision publishes."""

import functools
from collections import Counter

import numpy as np
import pytest
import torch

from benchmarks.twins import resnet as twin
from tests.helpers import ONE_TARGET, assert_close, message_of, strongly_typed
from tests.models.checks import noise, zeros_of
from tests.models.names import digest
from trtnn import Dim, Input
from trtnn.errors import ArgumentError, ShapeError, StateDictError
from trtnn.models import create, from_state_dict, identify
from trtnn.models.resnet import Backbone, ResNet
from trtnn.modules import FrozenBatchNorm2d

CLASSES = 7
# In parts of the largest magnitude, as seen: 2e-6 and 5e-3.
FP32_TOLERANCE = 1e-4  # 5e-5 was seen, in maps of magnitudes about 1
FP16_TOLERANCE = 2e-2
STAGES = ["layer1", "layer2", "layer3", "layer4"]

# Parameters and operations (at 224 pixels) that torchvision 0.29.1 publishes beside its weights, and the digest of
# ``torchvision.models.get_model(name, weights=None).state_dict()`` there.
PUBLISHED = {
    "resnet18": (11_689_512, 1.814e9, "2bb53b15765c4651c9f371fb47d78ca6d34a306e7a0b11007b6c2c2ce195baac"),
    "resnet34": (21_797_672, 3.664e9, "b945021fb00b779b6e5e1810908ed0ef3755e6ed6078ecf8cb2ae2ed2f49cf3d"),
    "resnet50": (25_557_032, 4.089e9, "cf11dad974eadeaaacacc7af8f712d7e05766d1627d3c8842ab8e5f421ecb9eb"),
    "resnet101": (44_549_160, 7.801e9, "d916ed2068e1af5d7277ff4803fe46da4a1c2dd87e85c80ebf6de738e1f6bcdf"),
    "resnet152": (60_192_808, 11.514e9, "2fe195791c8ffb5f3ae9393dbeebb0c9dcf05c5962e6d24b81f3346d76688c71"),
}


@functools.lru_cache(maxsize=2)
def twin_of(name):
    return twin.well_scaled(twin.ResNet(name, CLASSES), 64)


def pair_of(name, head="logits"):
    """Return our model with its twin's weights, and the twin with the same head."""
    theirs = twin_of(name)
    theirs.head = head
    ours = ResNet(name, CLASSES, head)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_depth_agrees_with_its_twin(name):
    ours, theirs = pair_of(name)
    for shape in ((1, 3, 64, 64), (2, 3, 65, 95)):
        images = noise(*shape)
        with torch.no_grad():
            theirs.head = "logits"
            logits = theirs(images)
            theirs.head = "features"
            maps = theirs(images)
        result, inner = ours.trace({"images": shape}, outputs=STAGES).run(images.numpy())
        assert_close(result, logits, FP32_TOLERANCE)
        assert_close(inner, maps, FP32_TOLERANCE)


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_counts_are_torchvisions(name):
    count, operations, names = PUBLISHED[name]
    model = ResNet(name)
    assert digest(model._state()) == names
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    for member in (*model.parameters(), *model.buffers()):
        member.data = np.broadcast_to(np.float32(0.01), member.shape)
    assert sum(row.flops for row in model.trace().layers()) / 2 == pytest.approx(operations, rel=1e-3)


def test_some_names():
    shapes = {name: member.shape for name, member in ResNet("resnet50")._state().items()}
    assert list(shapes)[:3] == ["conv1.weight", "bn1.weight", "bn1.bias"]
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer2.0.conv2.weight"] == (128, 128, 3, 3)
    assert shapes["layer2.0.downsample.0.weight"] == (512, 256, 1, 1)
    assert shapes["layer4.2.bn3.running_var"] == (2048,)
    assert shapes["fc.weight"] == (1000, 2048)


def test_features_are_a_dict_of_maps():
    ours, theirs = pair_of("resnet18", "features")
    images = noise(2, 3, 64, 96)
    with torch.no_grad():
        expected = theirs(images)
    network = ours.trace({"images": tuple(images.shape)})
    assert list(network.outputs) == STAGES
    assert_close(network.run(images.numpy()), expected, FP32_TOLERANCE)


def test_a_backbone_with_another_norm():
    theirs = twin.well_scaled(twin.ResNet("resnet18", 0, "features", twin.Frozen), 64)
    ours = Backbone("resnet18", FrozenBatchNorm2d)
    ours.load_state_dict(theirs.state_dict())
    assert ours.channels == [64, 128, 256, 512]
    assert not any("bn" in name for name, _ in ours.named_parameters())
    images = noise(1, 3, 64, 64)
    with torch.no_grad():
        expected = list(theirs(images).values())
    assert_close(ours.trace({"images": (1, 3, 64, 64)}).run(images.numpy()), expected, FP32_TOLERANCE)
    assert "no model is called 'resnet5'" in message_of(ArgumentError, Backbone, "resnet5")


def test_no_layer_that_is_not_needed():
    ours, _ = pair_of("resnet50")
    counts = Counter(row.kind for row in ours.trace({"images": (1, 3, 64, 64)}).layers())
    assert counts == {
        "CONVOLUTION": 53, "ACTIVATION": 49, "POOLING": 1, "REDUCE": 1, "ELEMENTWISE": 16 + 1,
        "MATRIX_MULTIPLY": 1, "CONSTANT": 2,
    }  # fmt: skip


@strongly_typed
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_fp16_is_near_fp32(name):
    ours, theirs = pair_of(name)
    images = noise(2, 3, 64, 96)
    with torch.no_grad():
        expected = theirs(images)
    assert_close(ours.trace({"images": (2, 3, 64, 96)}, fp16=True).run(images.numpy()), expected, FP16_TOLERANCE)


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_it_builds(name, fp16):
    ours, _ = pair_of(name)
    engine = ours.compile({"images": (2, 3, 64, 96)}, fp16=fp16, **ONE_TARGET)
    assert engine.outputs == {"output": Input((2, CLASSES))}
    known = {"model": name, "task": "classify", "classes": CLASSES, "pipeline": "imagenet"}
    assert engine.description.items() >= known.items()


def test_one_network_for_every_size():
    ours, theirs = pair_of("resnet50")
    shape = (Dim("batch", 1, 1, 3), 3, Dim("height", 32, 64, 128), Dim("width", 32, 64, 128))
    network = ours.trace({"images": shape})
    for size in ((1, 3, 33, 64), (3, 3, 96, 47)):
        images = noise(*size)
        with torch.no_grad():
            assert_close(network.run(images.numpy()), theirs(images), FP32_TOLERANCE)


def test_inputs_and_metadata():
    model = ResNet("resnet34", classes=2, names=("cat", "dog"))
    assert model.inputs == {"images": Input((1, 3, 224, 224))}
    known = {"model": "resnet34", "task": "classify", "classes": 2, "pipeline": "imagenet", "names": ["cat", "dog"]}
    assert model.metadata == known


# -- checkpoints, and what is wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_checkpoint_tells_its_model(name):
    with torch.device("meta"):
        state = zeros_of(twin.ResNet(name, 7))
    assert identify(state) == {"name": name, "classes": 7}
    assert identify({key: value.reshape(-1) for key, value in state.items()}) == identify(state)
    assert isinstance(from_state_dict(state), ResNet)


def test_networks_that_share_its_names_are_not_taken_for_it():
    with torch.device("meta"):
        state = zeros_of(twin.ResNet("resnet50"))
    wide = {**state, "layer1.0.conv1.weight": np.zeros((128, 64, 1, 1))}  # ResNeXt-50 and Wide ResNet-50
    assert ResNet.identify(wide) is None
    deep = {**state, "layer3.6.conv1.weight": state["layer3.5.conv1.weight"]}
    assert ResNet.identify(deep) is None
    assert ResNet.identify({name: value for name, value in state.items() if not name.startswith("fc")}) is None


@pytest.mark.parametrize(
    "names",
    [
        ("total_ops", "total_params"),
        ("n_averaged", "mean"),
        ("std", "criterion.weight"),
        ("relu.total_ops", "avgpool.total_ops"),
        ("conv1.total_ops", "layer1.0.relu.total_params"),
        ("layer2.0.downsample.total_ops", "layer2.total_params"),
        ("layer1.0.conv1._input_quantizer._amax", "conv1.weight_fake_quant.scale"),
    ],
)
def test_names_beside_a_resnet_s_own_and_counters_make_no_other_of_it(names):
    with torch.device("meta"):
        state = zeros_of(twin.ResNet("resnet18", 5))
    state |= {name: np.zeros(1, np.float32) for name in names}
    assert identify(state) == {"name": "resnet18", "classes": 5}
    for name in (None, "resnet18"):
        message = message_of(StateDictError, from_state_dict, state, name)
        assert message.startswith(
            "the state dict does not fit ResNet: 0 missing, 2 unexpected, 0 of the wrong shape; nothing was loaded\n"
        )
        assert "in another form" not in message
    assert 'this looks like ResNet("resnet18", classes=5)' in message


@pytest.mark.parametrize(
    "name",
    [
        *("conv1.0.weight", "bn1.0.weight", "stem.0.weight", "layer0.conv1.weight", "layer1.0.se.fc1.weight"),
        *("layer1.0.downsample.2.bias", "layer4.1.conv2.0.weight", "layer1.0.relu.alpha", "layer1.0.gain"),
    ],
)
def test_names_within_its_stem_and_blocks_are_of_another_form(name):
    with torch.device("meta"):
        state = zeros_of(twin.ResNet("resnet18", 5))
    state[name] = np.zeros(1, np.float32)
    assert identify(state) is None
    assert "this looks like a ResNet in another form" in message_of(StateDictError, from_state_dict, state)


def test_the_wrong_checkpoint_is_recognised():
    message = message_of(StateDictError, ResNet("resnet50").load_state_dict, twin_of("resnet18").state_dict())
    assert message.startswith("the state dict does not fit ResNet: ")
    assert f'this looks like ResNet("resnet18", classes={CLASSES})' in message
    message = message_of(StateDictError, ResNet("resnet18").load_state_dict, twin_of("resnet18").state_dict())
    assert "0 missing, 0 unexpected, 2 of the wrong shape; nothing was loaded" in message
    assert f"wrong shape: fc.bias: expected (1000,), received ({CLASSES},)" in message
    message = message_of(StateDictError, ResNet("resnet18").load_state_dict, {"model.0.conv.weight": np.zeros(2)})
    assert "this does not look like a ResNet" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"head": "boxes"}, ["ResNet head 'boxes'", "known: 'logits', 'features'"]),
        ({"classes": 3, "names": ["cat"]}, ["1 names for 3 classes"]),
    ],
)
def test_unknown_options(options, words):
    message = message_of(ArgumentError, ResNet, "resnet18", **options)
    assert all(word in message for word in words)


def test_an_unknown_name_has_a_nearest():
    for make in (ResNet, create):
        message = message_of(ArgumentError, make, "resnet_50")
        assert "no model is called 'resnet_50'" in message
        assert "nearest: resnet50" in message


def test_pictures_of_the_wrong_channels():
    message = message_of(ShapeError, pair_of("resnet18")[0].trace, {"images": (1, 4, 64, 64)})
    assert "conv1" in message
    assert "expected 3" in message
    assert "received 4" in message
