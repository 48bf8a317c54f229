"""The torch twin of YOLOv5: sizes and names against the published ones, shapes, the decoding formula."""

import pytest
import torch

from benchmarks.twins.yolov5 import YOLOv5, well_scaled
from trtnn.errors import ArgumentError

PUBLISHED = {  # parameters with 80 classes, as the releases' own model summaries print them
    "yolov5n": 1_872_157,
    "yolov5s": 7_235_389,
    "yolov5m": 21_190_557,
    "yolov5l": 46_563_709,
    "yolov5x": 86_749_405,
}
PUBLISHED_MILLIONS = {"yolov5n6": 3.2, "yolov5s6": 12.6, "yolov5m6": 35.7, "yolov5l6": 76.8, "yolov5x6": 140.7}


def parameters(name: str, **options) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in YOLOv5(name, **options).parameters())


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_parameter_counts(name, count):
    assert parameters(name) == count


@pytest.mark.parametrize(("name", "millions"), PUBLISHED_MILLIONS.items())
def test_parameter_counts_of_p6(name, millions):  # the table counts some models before fusing BatchNorm, some after
    assert parameters(name) / 1e6 == pytest.approx(millions, abs=0.1)


def test_parameter_count_of_release_5():
    assert parameters("yolov5s", version="5.0") == 7_276_605
    assert parameters("yolov5s6", version="5.0") / 1e6 == pytest.approx(12.7, abs=0.06)


@pytest.mark.parametrize(("size", "width"), [("n", 0.25), ("x", 1.25)])
def test_deformable_convolutions_take_the_places_of_three(size, width):
    channels = [int(c * width) for c in (64, 128, 256, 512)]
    maps = sum(27 * (9 * c + 1) for c in channels[:3])  # the convolutions of offsets and masks
    norms = sum(2 * c for c in channels[1:])
    assert parameters(f"yolov5{size}-dcn") == PUBLISHED[f"yolov5{size}"] + maps + sum(channels[1:]) - norms


def test_a_deformable_convolution_starts_as_a_plain_one():
    """Its taps stand in their places with half their weights, and gradients reach what moves them."""
    layer = YOLOv5("yolov5n-dcn", classes=2).model[1]
    x = torch.rand(2, 16, 8, 8)
    plain = torch.nn.functional.conv2d(x, layer.weight / 2, layer.bias, 2, 1)
    result = layer(x)
    torch.testing.assert_close(result, plain, rtol=1e-5, atol=1e-6)
    result.square().sum().backward()
    assert (layer.conv_offset_mask.weight.grad.abs().amax((1, 2, 3)) > 0).all()


def test_depth_and_width_can_be_set():
    assert parameters("yolov5n", depth=0.33, width=0.5) == PUBLISHED["yolov5s"]
    assert parameters("yolov5n", channels=1) == PUBLISHED["yolov5n"] - 2 * 16 * 36


@pytest.mark.parametrize(
    ("name", "version", "shapes"),
    [
        (
            "yolov5n",
            "6.0",
            {
                "model.0.conv.weight": (16, 3, 6, 6),
                "model.0.bn.running_var": (16,),
                "model.2.m.0.cv2.conv.weight": (16, 16, 3, 3),
                "model.9.cv2.conv.weight": (256, 512, 1, 1),
                "model.23.cv3.bn.bias": (256,),
                "model.24.m.2.weight": (255, 256, 1, 1),
                "model.24.anchors": (3, 3, 2),
            },
        ),
        (
            "yolov5s",
            "5.0",
            {
                "model.0.conv.conv.weight": (32, 12, 3, 3),
                "model.4.m.2.cv1.conv.weight": (64, 64, 1, 1),
                "model.8.cv2.conv.weight": (512, 1024, 1, 1),
                "model.9.cv1.conv.weight": (256, 512, 1, 1),
                "model.24.anchor_grid": (3, 1, 3, 1, 1, 2),
            },
        ),
        (
            "yolov5n6",
            "6.0",
            {
                "model.7.conv.weight": (192, 128, 3, 3),
                "model.11.cv1.conv.weight": (128, 256, 1, 1),
                "model.29.cv1.conv.weight": (96, 256, 1, 1),
                "model.33.m.3.weight": (255, 256, 1, 1),
                "model.33.anchors": (4, 3, 2),
            },
        ),
        ("yolov5s6", "5.0", {"model.10.cv2.conv.weight": (512, 1024, 1, 1), "model.11.m.0.cv1.bn.weight": (256,)}),
    ],
)
def test_state_dict_has_the_official_names(name, version, shapes):
    with torch.device("meta"):
        state = YOLOv5(name, version=version).state_dict()
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    assert ("anchor_grid" in "".join(state)) == (version == "5.0")


@pytest.mark.parametrize("version", ["5.0", "6.0"])
@pytest.mark.parametrize(("name", "strides"), [("yolov5n", (8, 16, 32)), ("yolov5n6", (8, 16, 32, 64))])
def test_shapes_of_both_heads(name, version, strides):
    model = well_scaled(YOLOv5(name, classes=2, version=version), (64, 128))
    images = torch.rand(2, 3, 64, 128)
    with torch.no_grad():
        decoded = model(images)
        model.head = "raw"
        raw = model(images)
    assert decoded.shape == (2, sum(3 * (64 // s) * (128 // s) for s in strides), 7)
    assert [tuple(level.shape) for level in raw] == [(2, 21, 64 // s, 128 // s) for s in strides]
    assert [tuple(level.shape) for level in model.train()(images)] == [tuple(level.shape) for level in raw]


def test_decoding_formula():
    detect = YOLOv5("yolov5n", classes=1).detect
    raw = [torch.zeros(1, 18, 64 // s, 64 // s) for s in (8, 16, 32)]
    raw[1][0, 6 : 6 + 6, 2, 3] = torch.logit(torch.tensor([0.7, 0.4, 0.6, 0.9, 0.8, 0.3]))  # the second anchor
    row = 3 * 8 * 8 + 1 * 4 * 4 + 2 * 4 + 3  # a level, an anchor, two rows, three cells
    expected = [(1.4 - 0.5 + 3) * 16, (0.8 - 0.5 + 2) * 16, 1.2**2 * 62, 1.8**2 * 45, 0.8, 0.3]
    decoded = detect.decode(raw)
    torch.testing.assert_close(decoded[0, row], torch.tensor(expected))
    torch.testing.assert_close(decoded[0, 0], torch.tensor([4, 4, 10, 13, 0.5, 0.5]))


def test_focus_orders_its_slices_by_columns():
    focus = YOLOv5("yolov5n", version="5.0", channels=1).model[0]
    focus.conv = torch.nn.Identity()
    image = torch.arange(4.0).view(1, 1, 2, 2)
    assert focus(image).flatten().tolist() == [0, 2, 1, 3]


def test_well_scaled_is_seeded_and_varied():
    first, second = (well_scaled(YOLOv5("yolov5n", classes=4), 96) for _ in range(2))
    images = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        scores = first(images)[..., 4:]
        torch.testing.assert_close(second(images)[..., 4:], scores, rtol=0, atol=1e-5)  # of the last bits no promise
    assert not first.training
    assert scores.std(dim=1).min() > 0.1
    assert scores.min() < 0.2
    assert scores.max() > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "yolov8n"}, "no YOLOv5 named 'yolov8n'"),
        ({"name": "yolov5n", "version": "4.0"}, "no YOLOv5 architecture '4.0'"),
        ({"name": "yolov5n", "head": "boxes"}, "no YOLOv5 head 'boxes'"),
        ({"name": "yolov5n-dcn", "version": "5.0"}, "no yolov5n-dcn of release 5.0"),
        ({"name": "yolov5n6-dcn"}, "no YOLOv5 named 'yolov5n6-dcn'"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        YOLOv5(**arguments)
