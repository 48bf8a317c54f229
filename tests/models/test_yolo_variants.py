"""YOLO12, YOLOv9, YOLOv5u, YOLOv3u and YOLOv8 with four levels: against their twins and against published facts.

How the facts were made: with Ultralytics 8.4.190 in an environment of its own, ``digest(model.state_dict())`` and the
sum of ``p.numel()`` of ``DetectionModel("yolo12n.yaml")`` and so on, with the classes of published checkpoints. There
each twin also gave the numbers of the model of Ultralytics with the same random weights, in double precision to 1e-11.
"""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.twins import numbered, yolo12, yolov3u, yolov5u, yolov8, yolov9
from benchmarks.twins.scaling import pictures
from tests.helpers import ONE_TARGET, assert_close, message_of, strongly_typed
from tests.models.checks import any_size, assert_boxes_close, outputs_of
from tests.models.names import digest
from trtnn import Input, models
from trtnn.errors import ShapeError, StateDictError
from trtnn.models.blocks import Bottleneck
from trtnn.models.yolo12 import A2C2f, ABlock
from trtnn.models.yolov9 import RepConv
from trtnn.modules import Sequential

CLASSES = 3
FP32_TOLERANCE, FP16_TOLERANCE = 1e-4, 0.1  # of a logit
CELL = 8 * 32
TWINS = {
    "yolo12n": (yolo12.YOLO12, 64),
    "yolov9t": (yolov9.YOLOv9, 64),
    "yolov5nu": (yolov5u.YOLOv5u, 64),
    "yolov5n6u": (yolov5u.YOLOv5u, 128),
    "yolov3-tinyu": (yolov3u.YOLOv3u, 64),
    "yolov8n-p2": (yolov8.YOLOv8, 64),
    "yolov8n-p6": (yolov8.YOLOv8, 128),
}
# Published counts are in millions; these are all of them, the 16 weights of the distribution as well.
COUNTS = {
    "yolo12n": (2_602_288, "e81629fd73405ba19d134e69dcb4e8a58177c226f9c00b9e1c354f46534935c3"),
    "yolo12s": (9_284_096, "37c3a2c91452ee31fb9a625f87d624262fe365bea8d928c6fa603065fe29876b"),
    "yolo12m": (20_199_168, "a3bfe721dd276e0437eb6f2ef131305a80aa92ad68dabb6945dcbc0cbdc388ab"),
    "yolo12l": (26_450_784, "87922822a37bee5c4784c61dccf79e0ad2b5bbe629f66e4e94eb3e391f01eb8b"),
    "yolo12x": (59_210_784, "f9b8c338f56a2b8ffa1518b70bda5cd30ceedb552d330233f9a450a31b23551d"),
    "yolov9t": (2_128_720, "8e8e2f92203c643a39d10bff0b8423221db7eb20e8d7d8ae12f8a0dabd4ff688"),
    "yolov9s": (7_318_368, "8b6f5f0f0ab2e1e8933909e31ddd157326a922d728b7501fa104fa6d8015c189"),
    "yolov9m": (20_216_160, "9fa9812a17f4ea2329dd8cdad2a84e1d9a655fc302910544d66e1232bcb882c4"),
    "yolov9c": (25_590_912, "5908f9e590272faef8ab9ef4c5d1a57eccfd524b1d08677f7b2129dbe3701111"),
    "yolov9e": (58_206_592, "b38ec9ce249ded871b56719e46fda0aa7d0f1a21b28f50af4f716cbe50c6e46b"),
    "yolov5nu": (2_654_816, "c2932a9ab199eccc7d44f2290bb10e30e4f54a2007d04b3d6ff0347bf2c85185"),
    "yolov5su": (9_153_152, "23b35b4b03d6671754b25644e2e29a7bd69a5f7759ab1f892628a62ee4316673"),
    "yolov5mu": (25_111_456, "cb14fd3153c363ede7f83d45226f660d80330cd27580c7501261649ad2d9817f"),
    "yolov5lu": (53_225_024, "38ab9f4cc72a5acc6f607f7188891ed240505f82467c09fe1442ec2e3d650fd1"),
    "yolov5xu": (97_276_448, "928ea82bd88521f1192195a85adb02475808553060d71b90a8e1693cfe2c6f40"),
    "yolov5n6u": (4_334_896, "165459a512aee097b102fb2a8e3966b464eb3047cc4a05fcc98d76051a93e0d7"),
    "yolov5s6u": (15_309_328, "e51f0f934404c1a90887f6b6cd886c0d5a311622b1b63c9f1b5ff9039c67aac9"),
    "yolov5m6u": (41_222_064, "9e1d7b99305375c1cb73789ef0d08cbb230db7772d224fcc4566fde9a5f2201b"),
    "yolov5l6u": (86_099_920, "3e4cbd27811be939fc614849a08c27f989e2d65fd263cb485d0acb10a9c70d80"),
    "yolov5x6u": (155_544_432, "ba63dd83bcc565db975099a307ac3256c547da7320c15bc5918b843cd372f2cb"),
    "yolov3u": (103_754_144, "1e4efeb6cab8fe3ff4e7a4ba5407a06997cb4471a824cc03018da049c6cffc64"),
    "yolov3-tinyu": (12_173_248, "47631c144f81b4cffd1f5fcba82b8046ca15630b694ca91915b5846605ca1307"),
    "yolov3-sppu": (104_803_744, "aa0836f0df8ed705ee0714af1d0454f50caff4d991ee6ea51311029d5fc8c75e"),
    "yolov8n-p2": (3_354_144, "320a968be54d0c32a159b4422fef4d454fd08e120f4e9170ee45419ebde53a10"),
    "yolov8s-p2": (10_884_336, "5658af99dbf914e7d0dfaf1fb42c7f173d16ac7071050eb20dbde597b580cc61"),
    "yolov8m-p2": (25_082_496, "a8117ba269daf5a9a236e3b65da3999c2b4428b274d7e8732abedc09ab581f1b"),
    "yolov8l-p2": (42_888_080, "3258d79f094ced9f746b5c3c74631c226e01852e4437e7e694a58798aef1a560"),
    "yolov8x-p2": (66_637_536, "3b1e83000c5bb5cf4fd807957d8effbfaf4dd3cc19b5bca6c3c0aaaa18acfc6a"),
    "yolov8n-p6": (4_984_352, "2c19b366212e3eef9a17825f4e7a39418e029c59424139e20c482d094f47d051"),
    "yolov8s-p6": (17_911_792, "6a4593ecea179f68f7e05e65765a5c8a5a54185b165a30f3eae4d2bf33412dac"),
    "yolov8m-p6": (44_887_488, "e8f2ce8e52cb8b16e52cfddfccb81acdff3d336e426707791ad6db6474de0bc2"),
    "yolov8l-p6": (62_384_016, "f3a25ed68eff0e7cc39d14033c314f5c5d8fd2f715ca556b26b1f116229d29ad"),
    "yolov8x-p6": (97_423_072, "894af2d6709b20741ead9ba711266fdc279fa5286227a257f1e7f81fc61176b1"),
    "yolov9c-seg": (27_897_120, "25d7a9b1f3058dc1b25accab9e6668a676f2ca3e25945880c566075f124b2c91"),
    "yolov9e-seg": (60_512_800, "6bf15ecfc5f70c4b1053292ec6d7f9473a4f4cf570a99cb579ce8f7ecd592016"),
    "yolov8n-seg-p6": (5_302_816, "25ae4e9c01f394287343371bb3b653dd11cdbdbff011aa0c1bfd29966ff17e66"),
    "yolov8x-pose-p6": (99_182_640, "148bbf7fee3c08000d81c3f756ffe658b58c782ebb07e4502c6e33b181ace40b"),
    "yolo12n-seg": (2_855_056, "5629b70a11dd38f5067935b6c92adf6757e323edf6add502a667c153a14f2f91"),
    "yolo12n-obb": (2_642_640, "7621b9b32ae3c96aef59fb704300f2a6b6b1031e18dc1cbd7713b1f8473f7419"),
    "yolo12x-pose": (61_043_244, "1c412d8286b40023b277a752afb77a1a658dafa3818eeada7e6c38844fd38ea8"),
    "yolo12l-cls": (16_737_160, "93b9504284caf78134ecc25c7ea277c71e032acc2826468196fb63c241abcc88"),
}


@functools.cache
def twin_of(name):
    network, size = TWINS[name]
    return numbered.make(network, name, CLASSES, size)


def pair_of(name, head="decoded"):
    ours = models.create(name, classes=CLASSES, head=head)
    ours.load_state_dict(twin_of(name).state_dict())
    return ours, twin_of(name)


@pytest.mark.parametrize("name", TWINS)
def test_it_agrees_with_its_twin(name):
    ours, theirs = pair_of(name)
    raw, _ = pair_of(name, "raw")
    step = ours.strides[-1]
    for shape in ((1, 2 * step, 3 * step), (2, step, 2 * step)):
        images = pictures(*shape)
        boxes, maps = outputs_of(theirs, images)
        inputs = {"images": tuple(images.shape)}
        assert_boxes_close(ours.trace(inputs).run(images.numpy()), boxes, FP32_TOLERANCE, dim=1, cell=8 * step)
        assert_close(raw.trace(inputs).run(images.numpy()), maps, FP32_TOLERANCE)


def test_two_backbones():
    """That of yolov9e, whose maps come together on five levels."""
    theirs = numbered.make(yolov9.YOLOv9, "yolov9e", CLASSES)
    ours = models.from_state_dict(theirs.state_dict())
    assert ours.name == "yolov9e"
    images = pictures(1, 64, 32)
    boxes, _ = outputs_of(theirs, images)
    network = ours.trace({"images": tuple(images.shape)})
    assert_boxes_close(network.run(images.numpy()), boxes, FP32_TOLERANCE, dim=1, cell=CELL)


def test_a_residual_block_of_the_large_yolo12():
    """It multiplies what it adds with a number for each channel."""
    theirs = yolo12.A2C2f(64, 64, 2, 4, True, 1.2).eval()
    generator = torch.Generator().manual_seed(0)
    for tensor in theirs.state_dict().values():
        if tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator)
            tensor.copy_((drawn - 0.5) * (12 / tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else drawn + 0.5)
    ours = A2C2f(64, 64, 2, lambda c: Sequential(ABlock(c, 38, 4), ABlock(c, 38, 4)), residual=True)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 64, 4, 6, generator=generator)
    with torch.no_grad():
        expected = theirs(x)
        assert (expected - x).abs().mean() > 0.1
    assert_close(ours.trace({"x": (2, 64, 4, 6)}).run(x.numpy()), expected, 1e-4, 1e-4)


def test_which_blocks_of_yolov3u_have_residual_paths():
    blocks = {path: m.add for path, m in models.create("yolov3-sppu").named_modules() if isinstance(m, Bottleneck)}
    assert len(blocks) == 1 + 2 + 8 + 8 + 4 + 6
    assert {path for path, add in blocks.items() if not add} == {
        f"model.{layer}" for layer in ("11", "19", "20", "26", "27.0", "27.1")
    }


@pytest.mark.parametrize("name", COUNTS)
def test_names_shapes_and_counts_are_the_published(name):
    model, (count, names) = models.create(name), COUNTS[name]
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert digest(model._state()) == names
    found = models.identify(model._state())
    assert found == {"name": name, "classes": model.classes}


@pytest.mark.parametrize(
    ("name", "head"),
    [  # numbers of the layers that the head takes, as Ultralytics print them
        ("yolo12n", [14, 17, 20]),
        ("yolov9t", [15, 18, 21]),
        ("yolov9e", [35, 38, 41]),
        ("yolov5nu", [17, 20, 23]),
        ("yolov5n6u", [23, 26, 29, 32]),
        ("yolov3u", [27, 22, 15]),
        ("yolov3-tinyu", [19, 15]),
        ("yolov8n-p2", [18, 21, 24, 27]),
        ("yolov8n-p6", [20, 23, 26, 29]),
        ("yolov8n-pose-p6", [20, 23, 26, 29]),
    ],
)
def test_the_numbers_of_the_layers(name, head):
    model = models.create(name)
    assert model.sources[-1] == head
    assert len(model.sources) == len(model.model)
    levels = {"yolov3-tinyu": (16, 32), "yolov8n-p2": (4, 8, 16, 32)}
    assert model.strides == levels.get(name, (8, 16, 32, 64)[: len(head)])
    (images,) = model.inputs.values()
    assert images.shape[2:] == ((1280, 1280) if model.strides[-1] == 64 else (640, 640))


@pytest.mark.parametrize("name", ["yolo12n", "yolov9t", "yolov8n-p2"])
def test_one_network_for_every_size(name):
    ours, theirs = pair_of(name)
    network = ours.trace(any_size())
    for shape in ((1, 32, 32), (2, 64, 96)):
        images = pictures(*shape)
        boxes, _ = outputs_of(theirs, images)
        assert_boxes_close(network.run(images.numpy()), boxes, FP32_TOLERANCE, dim=1, cell=CELL)


@strongly_typed
@pytest.mark.parametrize("name", ["yolo12n", "yolov9t"])
def test_fp16_is_near_fp32(name):
    ours, _ = pair_of(name)
    images = pictures(1, 96, 64).numpy()
    full, half = (ours.trace({"images": images.shape}, fp16=fp16).run(images) for fp16 in (False, True))
    assert np.abs(half - full).max() > 0
    assert_boxes_close(half, full, FP16_TOLERANCE, dim=1, cell=CELL)


@pytest.mark.parametrize(
    ("name", "fp16"),
    [("yolo12n", False), ("yolo12n", True), ("yolov9t", False), ("yolov9t", True), ("yolov8n-p6", True)],
)
def test_it_builds(name, fp16):
    ours, _ = pair_of(name)
    engine = ours.compile({"images": (2, 3, 64, 128)}, fp16=fp16, **ONE_TARGET)
    assert engine.outputs == {"output": Input((2, 4 + CLASSES, 170 if ours.strides[-1] == 64 else 168))}
    assert (engine.description["model"], engine.description["pipeline"]) == (name, "yolov8")


def test_one_engine_of_every_size_builds():
    engine = pair_of("yolo12n")[0].compile(any_size(), fp16=True, **ONE_TARGET)
    assert str(engine.outputs["output"]) == f"float32[batch, {4 + CLASSES}, 21*height*width//1024]"


def filled(model):
    for member in (*model.parameters(), *model.buffers()):
        member.data = np.full(member.shape, 0.01, np.float32)
    return model


@pytest.mark.parametrize(("name", "ours_most", "onnx"), [("yolo12n", 489, 1413), ("yolov9t", 659, 1637)])
def test_layers_are_fewer_than_by_the_onnx_road(name, ours_most, onnx):
    """At 640 pixels in fp16; the twin's ONNX file, which TensorRT-RTX 1.7 parsed, had that many."""
    assert sum(1 for _ in filled(models.create(name)).trace(fp16=True).layers()) <= ours_most < onnx


# -- fused convolutions -----------------------------------------------------------------------------------------------


def fused(twin):
    """Fold BatchNorm, and the two convolutions of YOLOv9's into one, as Ultralytics' fuse does."""
    for module in twin.modules():
        if hasattr(module, "bn"):
            module.conv = nn.utils.fusion.fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = nn.Identity()
    for module in twin.modules():
        if isinstance(module, yolov9.RepConv):
            one, other = module.conv1.conv, module.conv2.conv
            module.conv = nn.Conv2d(one.in_channels, one.out_channels, 3, padding=1)
            kernel = one.weight.detach().clone()
            kernel[:, :, 1:2, 1:2] += other.weight.detach()
            module.conv.weight, module.conv.bias = nn.Parameter(kernel), nn.Parameter(one.bias + other.bias)
            del module.conv1, module.conv2
    return twin


@pytest.mark.parametrize("name", TWINS)
def test_a_fused_state_dict_is_a_fused_model(name):
    network, _ = TWINS[name]
    theirs = twin_of(name)
    boxes, _ = outputs_of(theirs, images := pictures(1, 64, 128))
    copy = network(name, CLASSES)
    copy.load_state_dict(theirs.state_dict())
    state = fused(copy.eval()).state_dict()
    assert not any(key.endswith("bn.weight") for key in state)
    assert models.identify(state) == {"name": name, "classes": CLASSES, "fused": True}
    result = models.from_state_dict(state).trace({"images": tuple(images.shape)}).run(images.numpy())
    assert_boxes_close(result, boxes, FP32_TOLERANCE, dim=1, cell=8 * 64)
    message = message_of(StateDictError, models.create(name, classes=CLASSES).load_state_dict, state)
    assert f'this looks like {type(models.create(name)).__name__}("{name}", classes={CLASSES}, fused=True)' in message
    assert "BatchNorm is folded into its convolutions: create the model with fused=True" in message


def test_a_pair_of_convolutions_is_one_layer():
    model, _ = pair_of("yolov9t")
    pairs = [path for path, module in model.named_modules() if isinstance(module, RepConv)]
    layers = [row for row in model.trace({"images": (1, 3, 64, 64)}).layers() if row.path in pairs]
    assert len(pairs) == 6 * 8 - 6
    assert [row.kind for row in layers].count("CONVOLUTION") == len(pairs)


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "stride"), [("yolo12n", 32), ("yolov9t", 32), ("yolov5n6u", 64), ("yolov8n-p6", 64)])
def test_images_of_the_wrong_size(name, stride):
    message = message_of(ShapeError, pair_of(name)[0].trace, {"images": (1, 3, stride, stride + 16)})
    assert f"{name} takes pictures whose height and width are multiples of {stride}" in message


def test_a_classifier_of_the_wrong_size():
    model = filled(models.create("yolo12n-cls"))
    message = message_of(ShapeError, model.trace, {"images": (1, 3, 224, 200)})
    assert "yolo12n-cls takes pictures whose height and width are multiples of 32" in message
