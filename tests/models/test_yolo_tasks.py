"""YOLOv8, YOLO11 and YOLO26 in all their tasks: names, sizes, numbers, precision, builds, and what is refused."""

import functools
import math
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

import trtnn
from benchmarks.twins import yolo_tasks as twins
from benchmarks.twins.scaling import pictures
from tests.helpers import ONE_TARGET, assert_close, message_of, strongly_typed, trace
from tests.models.checks import assert_outputs_close, zeros_of
from tests.models.names import digest
from trtnn import Dim, Input, models
from trtnn.checkpoint import StateDict
from trtnn.errors import ArgumentError, ShapeError, StateDictError
from trtnn.models.yolo_heads import Detect, Pose
from trtnn.structure import flatten

CLASSES = 3
FP32_TOLERANCE = 5e-5  # of a logit
FP16_TOLERANCE = 5e-2
SMALL, LARGE = (2, 64, 96), (1, 160, 128)  # batch, height, width: 126 cells, and 420

# How many parameters each model has once BatchNorm is folded, and the first digits of the digest of its state dict
# before. Ultralytics 8.4.190 gave both, by YOLO(f"{name}.yaml").model, with 1 class for the poses of YOLOv8, 1000 for
# images and 80 for all else: the elements of its parameters behind fuse(), which leaves the end-to-end branches of
# YOLO26 alone, and tests.models.names.digest of its state_dict() less the names with "semseg", "flow_model" and
# "cv4_sigma", which have a part in training alone.
PUBLISHED = {
    "yolov8n": (3_151_904, "77cb04ff20ec"),
    "yolov8s": (11_156_544, "b2a4ea5d42de"),
    "yolov8m": (25_886_080, "a03779f2191e"),
    "yolov8l": (43_668_288, "bde11b2242b3"),
    "yolov8x": (68_200_608, "59ccc0867aa6"),
    "yolov8n-seg": (3_404_320, "9222339c3ef4"),
    "yolov8s-seg": (11_810_560, "e0bb509e871e"),
    "yolov8m-seg": (27_268_704, "da3dc9c3f4c0"),
    "yolov8l-seg": (45_973_568, "55cde5642e87"),
    "yolov8x-seg": (71_797_696, "0158c4ce6a9b"),
    "yolov8n-pose": (3_289_964, "d5f613028f03"),
    "yolov8s-pose": (11_615_724, "c4580b1c2ea2"),
    "yolov8m-pose": (26_447_596, "1f70761d16a9"),
    "yolov8l-pose": (44_465_580, "c83b7e35e730"),
    "yolov8x-pose": (69_462_204, "f3f24865b1ff"),
    "yolov8n-obb": (3_223_475, "8e9065d8e6f8"),
    "yolov8s-obb": (11_442_531, "73544b0c2156"),
    "yolov8m-obb": (26_446_387, "008e2d19b5c8"),
    "yolov8l-obb": (44_516_739, "939c2cad73e5"),
    "yolov8x-obb": (69_526_131, "60a9901eb662"),
    "yolov8n-cls": (2_715_880, "67a7343f6e9d"),
    "yolov8s-cls": (6_356_200, "e5bba6f51df7"),
    "yolov8m-cls": (17_043_656, "f7a630b41fad"),
    "yolov8l-cls": (37_465_576, "f22fa86e5465"),
    "yolov8x-cls": (57_404_200, "6e8feda8406d"),
    "yolo11n": (2_616_248, "f70b16db56da"),
    "yolo11s": (9_443_760, "a59c6d6d4add"),
    "yolo11m": (20_091_712, "983054fef8ac"),
    "yolo11l": (25_340_992, "5fbf718c5bfe"),
    "yolo11x": (56_919_424, "788ae1ac854c"),
    "yolo11n-seg": (2_868_664, "0d1c3971453d"),
    "yolo11s-seg": (10_097_776, "e6424286361e"),
    "yolo11m-seg": (22_396_992, "de92a66e075d"),
    "yolo11l-seg": (27_646_272, "0e1e7471ba0b"),
    "yolo11x-seg": (62_094_528, "9086cbfe1343"),
    "yolo11n-pose": (2_900_369, "800f7667e9f4"),
    "yolo11s-pose": (9_933_513, "428f7da0dfc6"),
    "yolo11m-pose": (20_949_913, "b71d43f0b2f5"),
    "yolo11l-pose": (26_199_193, "1bbf7c485f55"),
    "yolo11x-pose": (58_842_553, "10ce531f3b7e"),
    "yolo11n-obb": (2_687_819, "ac365ed4cabf"),
    "yolo11s-obb": (9_729_747, "e1b8584e12a3"),
    "yolo11m-obb": (20_940_163, "797e2d3823e7"),
    "yolo11l-obb": (26_189_443, "08cb57ed29ea"),
    "yolo11x-obb": (58_828_003, "023a2c3633ac"),
    "yolo11n-cls": (2_807_024, "ff9423cc9273"),
    "yolo11s-cls": (6_715_128, "bccd99be627a"),
    "yolo11m-cls": (11_622_632, "edc59d5eb84a"),
    "yolo11l-cls": (14_099_432, "1eb0b64cf92a"),
    "yolo11x-cls": (29_613_416, "01df21e25b14"),
    "yolo26n": (2_408_932, "e7ae915d5649"),
    "yolo26s": (9_496_140, "77e58244aadd"),
    "yolo26m": (20_411_132, "94a6357cb3d2"),
    "yolo26l": (24_807_420, "906583dbd4df"),
    "yolo26x": (55_725_948, "b5f25a107484"),
    "yolo26n-seg": (2_722_980, "61590b9f2689"),
    "yolo26s-seg": (10_396_300, "972eaf1dcda5"),
    "yolo26m-seg": (23_569_148, "80788ddf51e9"),
    "yolo26l-seg": (27_965_436, "2efede6b5de9"),
    "yolo26x-seg": (62_819_132, "8a593422d29a"),
    "yolo26n-pose": (2_960_395, "76c61a1a9512"),
    "yolo26s-pose": (10_390_323, "550b2c7c5392"),
    "yolo26m-pose": (21_599_075, "b082aa8014bf"),
    "yolo26l-pose": (25_995_363, "ce017240f865"),
    "yolo26x-pose": (57_649_077, "68686572fdf1"),
    "yolo26n-obb": (2_480_503, "55e59f624e3e"),
    "yolo26s-obb": (9_782_127, "bc746de6c33a"),
    "yolo26m-obb": (21_259_583, "a82fd3309019"),
    "yolo26l-obb": (25_655_871, "bf7b0b160eea"),
    "yolo26x-obb": (57_634_527, "e1ef3993906a"),
    "yolo26n-cls": (2_807_024, "ff9423cc9273"),
    "yolo26s-cls": (6_715_128, "bccd99be627a"),
    "yolo26m-cls": (11_622_632, "edc59d5eb84a"),
    "yolo26l-cls": (14_099_432, "1eb0b64cf92a"),
    "yolo26x-cls": (29_613_416, "01df21e25b14"),
}
NAMES = [
    f"{family}{end}" for family in ("yolov8n", "yolo11n", "yolo26n") for end in ("", "-seg", "-pose", "-obb", "-cls")
]
END_TO_END = [name for name in NAMES if name.startswith("yolo26") and not name.endswith("-cls")]


def classes_of(name):
    """The classes of the models in the table."""
    if name.endswith("-cls"):
        return 1000
    return 1 if name.startswith("yolov8") and name.endswith("-pose") else 80


@functools.cache
def twin_of(name):
    return twins.make(name, CLASSES)


def pair_of(name, **options):
    """Ours and its twin, with the same weights and head."""
    ours, theirs = models.create(name, classes=CLASSES, **options), twin_of(name)
    ours.load_state_dict(theirs.state_dict())
    theirs.head = ours.head
    return ours, theirs


# -- names and sizes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_project(name):
    count, names = PUBLISHED[name]
    fused, model = (models.create(name, classes=classes_of(name), fused=fused) for fused in (True, False))
    assert sum(parameter.numel() for parameter in fused.parameters()) == count
    assert digest(model._state()).startswith(names)


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_are_the_twins(name):
    with torch.device("meta"):
        theirs = twins.YOLO(name, 120)  # more than the 100 that the branch of the scores grows with
    expected = {n: tuple(t.shape) for n, t in theirs.state_dict().items() if "num_batches_tracked" not in n}
    assert {n: parameter.shape for n, parameter in models.create(name, classes=120)._state().items()} == expected


@pytest.mark.parametrize(
    ("end", "task", "classes", "size", "outputs"),
    [
        ("", "detect", 80, 640, {"output": (1, 84, 8400)}),
        ("-seg", "segment", 80, 640, {"prediction": (1, 116, 8400), "prototypes": (1, 32, 160, 160)}),
        ("-pose", "pose", 1, 640, {"output": (1, 56, 8400)}),
        ("-obb", "obb", 15, 1024, {"output": (1, 20, 21504)}),
        ("-cls", "classify", 1000, 224, {"output": (1, 1000)}),
    ],
)
def test_what_a_task_gives(end, task, classes, size, outputs):
    for name, head in (("yolov8n", None), ("yolo11n", None), ("yolo26n", "one-to-many"), ("yolo26n", "end2end")):
        model = models.create(name + end, head=head if task != "classify" else None)
        for parameter in (*model.parameters(), *model.buffers()):
            parameter.data = np.broadcast_to(np.float32(0.01), parameter.shape)
        network = model.trace()
        best = model.head == "end2end"
        shapes = {
            key: (1, 300, shape[1] - classes + 2) if best and key != "prototypes" else shape
            for key, shape in outputs.items()
        }
        assert network.inputs == {"images": Input((1, 3, size, size))}
        assert network.outputs == {key: Input(shape) for key, shape in shapes.items()}
        pipeline = ("end2end" if best else "yolov8") + ("" if task == "detect" else f"-{task}")
        expected = {"model": name + end, "task": task, "classes": classes}
        expected["pipeline"] = "yolo-classify" if task == "classify" else pipeline
        expected |= {} if task == "classify" else {"stride": 32, "strides": [8, 16, 32]}
        expected |= {"kpt_shape": [17, 3]} if task == "pose" else {}
        assert model.metadata == expected


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "head"),
    [*((name, None) for name in NAMES), *((name, "one-to-many") for name in END_TO_END)]
    + [(f"{family}n-cls", "logits") for family in ("yolov8", "yolo11")],
)
def test_it_agrees_with_its_twin(name, head):
    ours, theirs = pair_of(name, head=head)
    for shape in (SMALL, LARGE):
        images = pictures(*shape)
        with torch.no_grad():
            expected = theirs(images)
        result = ours.trace({"images": tuple(images.shape)}).run(images.numpy())
        assert_outputs_close(ours, result, expected, FP32_TOLERANCE)


@pytest.mark.parametrize("name", ["yolov8n-pose", "yolo11n-seg", "yolo11n-obb"])
def test_maps_as_they_are(name):
    ours, theirs = pair_of(name, head="raw")
    images = pictures(*SMALL)
    with torch.no_grad():
        expected = theirs(images)
    result = ours.trace({"images": tuple(images.shape)}).run(images.numpy())
    if ours.task == "segment":
        result, expected = result["prediction"], expected["prediction"]
    assert [level.shape[2:] for level in result] == [(8, 12), (4, 6), (2, 3)]
    assert_close(result, expected, FP32_TOLERANCE)


@pytest.mark.parametrize("name", ["yolo11n-pose", "yolo26n-pose"])
def test_key_points_without_visibility(name):
    theirs = twins.make(name, 1, (4, 2))
    ours = models.from_state_dict(theirs.state_dict(), kpt_shape=(4, 2))
    assert ours.metadata["kpt_shape"] == [4, 2]
    images = pictures(*SMALL)
    with torch.no_grad():
        expected = theirs(images)
    result = ours.trace({"images": tuple(images.shape)}).run(images.numpy())
    assert_outputs_close(ours, result, expected, FP32_TOLERANCE)


@pytest.mark.parametrize("name", ["yolov8n-obb", "yolo26n-obb"])
def test_a_rotated_box_by_hand(name):
    """A cell's middle, and the distances of the box along its own axes, by complex numbers."""
    ours, theirs = pair_of(name, head=None if name.startswith("yolov8") else "one-to-many")
    theirs.head = "raw"
    images = pictures(1, 64, 64)
    with torch.no_grad():
        level = theirs(images)[2][0].double().numpy()  # of stride 32, (sides + classes + 1, 2, 2)
    result = ours.trace({"images": (1, 3, 64, 64)}).run(images.numpy())[0, :, -4:]
    for index, (row, column) in enumerate(np.ndindex(2, 2)):
        sides, angle = level[: -CLASSES - 1, row, column], level[-1, row, column]
        if len(sides) == 64:
            sides = [np.exp(s) @ np.arange(16) / np.exp(s).sum() for s in sides.reshape(4, 16)]
            angle = (1 / (1 + np.exp(-angle)) - 0.25) * math.pi
        left, top, right, bottom = sides
        middle = complex(column + 0.5, row + 0.5) + complex(right - left, bottom - top) / 2 * np.exp(1j * angle)
        expected = np.array([middle.real, middle.imag, left + right, top + bottom]) * 32
        np.testing.assert_allclose(result[:4, index], expected, rtol=1e-4, atol=5e-3)
        np.testing.assert_allclose(result[-1, index], angle, rtol=1e-4, atol=1e-5)


def test_a_box_may_be_there_with_several_classes():
    ours, _ = pair_of("yolo26n")
    images = pictures(*LARGE)
    (rows,) = ours.trace({"images": tuple(images.shape)}).run(images.numpy())
    boxes = {tuple(box) for box in rows[:, :4]}
    assert (rows.shape, len({(*box, label) for *box, _, label in rows})) == ((300, 6), 300)
    assert len(boxes) < 300


# -- precision and building -------------------------------------------------------------------------------------------


@strongly_typed
@pytest.mark.parametrize("name", ["yolo11n-obb", "yolo26n-obb", "yolo26n-pose", "yolo26n-seg", "yolo11n-cls"])
def test_fp16_is_near_fp32_and_boxes_are_computed_in_fp32(name):
    ours, _ = pair_of(name)
    images = pictures(*SMALL).numpy()
    full, network = (ours.trace({"images": images.shape}, fp16=fp16) for fp16 in (False, True))
    expected, result = full.run(images), network.run(images)
    assert_outputs_close(ours, result, expected, FP16_TOLERANCE)
    pairs = zip(flatten(result)[0].values(), flatten(expected)[0].values(), strict=True)
    assert all(np.abs(half - whole).max() > 0 for half, whole in pairs)
    for row in network.layers():
        if row.kind == "CONVOLUTION":
            assert row.output.dtype.name == "float16", row
        is_key = len(row.output.shape) == 2  # what is ordered
        if row.kind in ("ELEMENTWISE", "UNARY") and row.path == f"model.{len(ours.model) - 1}" and not is_key:
            assert row.output.dtype.name == "float32", row


def test_orders_of_scores_do_not_overflow_fp16():
    ours, _ = pair_of("yolo26n")
    images = pictures(*SMALL).numpy()
    report = ours.trace({"images": images.shape}).fp16_report([images])
    assert [row.path for row in report.layers if row.overflow] == []


@strongly_typed
@pytest.mark.parametrize(
    ("stride", "columns", "is_half"),
    [(8, 1024, True), (8, 1025, False), (12, 341, True), (12, 342, False), (1, 1024, True), (1, 1025, False)],
)
def test_places_of_large_images_are_exact_in_fp16(stride, columns, is_half):
    head = Detect((16,), 1, (stride,), branches=("one2one_",))
    grids = []

    def best(sides, scores):
        grids.append(head.grid([scores.view(1, 1, 1, columns)]))
        return head.best(sides, scores, grids[0])

    sides, scores = np.zeros((1, 4, columns), np.float32), np.arange(columns, dtype=np.float32)[None, None]
    (rows,) = trace(best, sides, scores, fp16=True).run(sides, scores)  # fp16 holds these scores
    count = min(300, columns)
    middles = (np.arange(columns)[::-1][:count] + 0.5) * stride
    np.testing.assert_array_equal(rows[:, 0], middles)
    np.testing.assert_array_equal(rows[:, 2], middles)
    assert (rows[:, [1, 3]] == stride / 2).all()
    (grid,) = grids
    assert grid.is_half is is_half is bool((grid.middles.astype(np.float16) == grid.middles).all())


def test_key_points_of_an_end_to_end_head_are_those_of_the_other():
    """Of YOLOv8's formula, (2 · output + cell) · stride, which no end-to-end model has yet."""
    head = Pose((16,), 1, (8,), branches=("one2one_",), kpt_shape=(2, 3))
    generator = np.random.default_rng(5)
    sides, scores, more = (generator.normal(size=(2, n, 6)).astype(np.float32) for n in (4, 1, 6))

    def best(sides, scores, more):
        return head.best(sides, scores, head.grid([scores.view(2, 1, 2, 3)]), more)

    rows = trace(best, sides, scores, more).run(sides, scores, more)
    order = np.argsort(-scores[:, 0], 1)
    cells = np.stack([order % 3, order // 3], -1)[:, :, None]
    outputs = np.take_along_axis(more, order[:, None], 2).transpose(0, 2, 1).reshape(2, 6, 2, 3)
    expected = np.concatenate([(2 * outputs[..., :2] + cells) * 8, 1 / (1 + np.exp(-outputs[..., 2:]))], -1)
    np.testing.assert_allclose(rows[:, :, 6:].reshape(2, 6, 2, 3), expected, rtol=1e-5, atol=1e-5)


@strongly_typed
def test_classes_that_fp16_does_not_hold():
    head = Detect((16,), 2100, (8,), branches=("one2one_",))
    scores = np.zeros((1, 2100, 4), np.float32)
    labels = [2099, 2051, 2049, 3]
    scores[0, labels, [2, 0, 3, 1]] = [9, 8, 7, 6]
    sides = np.zeros((1, 4, 4), np.float32)

    def best(sides, scores):
        return head.best(sides, scores, head.grid([scores[:, :1].view(1, 1, 2, 2)]))

    (rows,) = trace(best, sides, scores, fp16=True).run(sides, scores)
    assert rows[:, 5].tolist() == labels
    assert rows[:, :2].tolist() == [[4, 12], [4, 4], [12, 12], [12, 4]]


FP32, FP16 = ("yolo26n-seg", "yolo26n-obb"), ("yolo11n", "yolo26n", "yolo26n-pose", "yolo11n-cls")


@pytest.mark.parametrize(("name", "fp16"), [*((name, False) for name in FP32), *((name, True) for name in FP16)])
def test_it_builds(name, fp16):
    ours, _ = pair_of(name)
    network = ours.trace({"images": (2, 3, 64, 96)}, fp16=fp16)
    engine = network.build(**ONE_TARGET)
    assert engine.outputs == network.outputs
    assert {key: engine.description[key] for key in ("model", "task", "pipeline")} == {
        key: ours.metadata[key] for key in ("model", "task", "pipeline")
    }


@pytest.mark.parametrize("name", ["yolo11n-seg", "yolo26n-pose"])
def test_one_network_for_every_size(name):
    ours, theirs = pair_of(name)
    height, width = (Dim(side, 128, 160, 192, multiple_of=32) for side in ("height", "width"))
    network = ours.trace({"images": (Dim("batch", 1, 2, 3), 3, height, width)})
    for shape in ((1, 128, 128), (2, 128, 160)):
        images = pictures(*shape)
        with torch.no_grad():
            expected = theirs(images)
        assert_outputs_close(ours, network.run(images.numpy()), expected, FP32_TOLERANCE)


# -- checkpoints ------------------------------------------------------------------------------------------------------


def fused(state):
    """A state dict with BatchNorm folded into the convolutions, as far as names and shapes go."""
    norms = {name.removesuffix(".bn.weight") for name in state if name.endswith(".bn.weight")}
    biases = {f"{block}.conv.bias": state[f"{block}.bn.bias"] for block in norms}
    return {name: array for name, array in state.items() if ".bn." not in name} | biases


@pytest.mark.parametrize("name", NAMES)
def test_a_fused_checkpoint_tells_its_model(name):
    with torch.device("meta"):
        state = fused(zeros_of(twins.YOLO(name, CLASSES)))
    network = name.replace("yolo26", "yolo11") if name.endswith("-cls") else name
    arguments = {"name": network, "classes": CLASSES, "fused": True}
    if name not in END_TO_END:
        assert models.identify(state) == arguments
        assert models.from_state_dict(state).heads[0] == models.from_state_dict(state).head
        return
    many = {key: array for key, array in state.items() if "one2one" not in key}
    one = {
        key: array
        for key, array in state.items()
        if not key.startswith(("model.23.cv2", "model.23.cv3", "model.23.cv4"))
    }
    assert models.identify(one) == arguments
    assert models.identify(many) == {"name": name, "classes": CLASSES, "head": "one-to-many", "fused": True}
    assert models.from_state_dict(one).head == "end2end"
    assert models.from_state_dict(many).metadata["pipeline"].startswith("yolov8")


@pytest.mark.parametrize("name", END_TO_END)
def test_one_set_of_branches_is_enough(name):
    whole = dict(twin_of(name).state_dict())
    branches = ("model.23.cv2", "model.23.cv3", "model.23.cv4")
    for left_out, head in (("model.23.one2one_", "one-to-many"), (branches, "end2end")):
        state = {key: array for key, array in whole.items() if not key.startswith(left_out)}
        model = models.from_state_dict(state)
        assert model.head == head
        model.trace({"images": (1, 3, 64, 64)})
        other = "end2end" if head == "one-to-many" else "one-to-many"
        message = message_of(StateDictError, models.create(name, classes=CLASSES, head=other).load_state_dict, state)
        assert "missing: model.23." in message
        assert f'\n  it has the branches of one head alone: create the model with head="{head}"\n' in message
    message = message_of(
        StateDictError, models.create(name, classes=CLASSES).load_state_dict, {"a": whole.popitem()[1]}
    )
    assert "branches of one head" not in message


@pytest.fixture
def pose_model(monkeypatch):
    """A class as Ultralytics', whose models say their key points themselves."""
    module = ModuleType("ultralytics.nn.tasks")
    module.PoseModel = type("PoseModel", (twins.YOLO,), {"__module__": module.__name__})
    for name in ("ultralytics", "ultralytics.nn", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    return module.PoseModel


def test_a_pickled_model_says_its_key_points(tmp_path, pose_model):
    twin = twins.make("yolo26n-pose", 1, (4, 3))
    twin.__class__, twin.kpt_shape, twin.model[-1].kpt_shape = pose_model, [4, 3], [4, 3]
    torch.save({"model": twin}, tmp_path / "a.pt")
    state = trtnn.load(tmp_path / "a.pt")
    model = models.from_state_dict(state)
    assert (model.name, model.kpt_shape) == ("yolo26n-pose", (4, 3))
    message = message_of(
        StateDictError, models.create("yolo26n-pose", classes=1, kpt_shape=(6, 2)).load_state_dict, state
    )
    assert 'this looks like YOLO26("yolo26n-pose", classes=1, kpt_shape=(4, 3))' in message


def test_key_points_of_as_many_numbers_are_told_by_what_the_file_says(tmp_path, pose_model):
    twin = twins.make("yolov8n-pose", 1, (4, 3))
    twin.__class__, twin.kpt_shape, twin.model[-1].kpt_shape = pose_model, [4, 3], [4, 3]
    torch.save({"model": twin}, tmp_path / "a.pt")
    model = models.create("yolov8n-pose", classes=1, kpt_shape=(6, 2))
    message = message_of(StateDictError, model.load_state_dict, trtnn.load(tmp_path / "a.pt"))
    assert "kpt_shape is [4, 3] in the file, (6, 2) here" in message


def test_what_has_a_part_in_training_alone_is_left_out():
    state = dict(twin_of("yolo26n-pose").state_dict())
    for name in ("flow_model.loc", "flow_model.s.0.0.weight", "cv4_sigma.0.weight", "one2one_cv4_sigma.2.bias"):
        state[f"model.23.{name}"] = np.zeros(2, np.float32)
    assert models.from_state_dict(state).name == "yolo26n-pose"
    state = dict(twin_of("yolo26n-seg").state_dict())
    state["model.23.proto.semseg.0.conv.weight"] = np.zeros(2, np.float32)
    assert models.from_state_dict(state).name == "yolo26n-seg"


@pytest.mark.parametrize(("shape", "told"), [((21, 3), (21, 3)), ((5, 2), (5, 2)), ((4, 3), (12,)), ((21, 2), (42,))])
def test_a_state_dict_tells_key_points_where_it_can(shape, told):
    for name in ("yolov8n-pose", "yolo11n-pose", "yolo26n-pose"):
        state = models.create(name, classes=1, kpt_shape=shape)._state()
        assert models.identify(state) == {"name": name, "classes": 1, "kpt_shape": told}
    state["model.23.cv4_sigma.0.bias"] = np.zeros(2 * shape[0])
    assert models.identify(state)["kpt_shape"] == shape
    state = models.create("yolov8n-pose", classes=1, kpt_shape=shape)._state()
    said = StateDict(
        state, {"modules": {"model.22": {"class": "ultralytics.nn.modules.head.Pose", "kpt_shape": [*shape]}}}
    )
    assert models.identify(said)["kpt_shape"] == shape


def test_key_points_that_may_be_read_two_ways():
    state = zeros_of(twins.YOLO("yolo11n-pose", 1, (4, 3)))
    message = message_of(ArgumentError, models.from_state_dict, state)
    assert message == (
        "the weights have 12 numbers for the key points of a box\n  say which: kpt_shape=(6, 2) or kpt_shape=(4, 3)\n"
        "  the checkpoint that Ultralytics wrote says it itself; a class of yours may: --model FILE.py:CLASS"
    )
    assert models.from_state_dict(state, kpt_shape=(4, 3)).kpt_shape == (4, 3)


def test_a_classifier_that_two_families_share():
    state = models.create("yolo26n-cls", classes=CLASSES)._state()
    assert models.identify(state)["name"] == "yolo11n-cls"
    for architecture, name in (("yolo26n-cls", "yolo26n-cls"), ("yolo11n-cls", "yolo11n-cls")):
        assert models.identify(StateDict(state, {"architecture": architecture}))["name"] == name


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["-seg", "-pose", "-obb", "-cls"])
@pytest.mark.parametrize("family", ["yolov8", "yolo11"])
def test_a_checkpoint_of_another_task(family, end):
    state = zeros_of(twins.YOLO(f"{family}n{end}", CLASSES))
    message = message_of(StateDictError, models.create(f"{family}n").load_state_dict, state)
    task = twins.TASKS[end[1:]]
    assert f'this looks like {family.upper().replace("YOLOV", "YOLOv")}("{family}n{end}", classes=3' in message
    assert f"its task is {task}, that of {family}n is detect" in message
    if end != "-cls":  # what is said behind, as a classifier lacks most of what a detector has
        message = message_of(
            StateDictError, models.create(f"{family}n").load_state_dict, StateDict(state, {"task": task})
        )
        assert f"task: {task} in the file, detect here" in message


def test_a_fused_checkpoint_for_a_model_that_is_not():
    state = fused(zeros_of(twins.YOLO("yolo11n", CLASSES)))
    message = message_of(StateDictError, models.create("yolo11n", classes=CLASSES).load_state_dict, state)
    assert 'this looks like YOLO11("yolo11n", classes=3, fused=True)' in message
    assert "BatchNorm is folded into its convolutions: create the model with fused=True" in message
    whole = zeros_of(twins.YOLO("yolo11n", CLASSES))
    message = message_of(StateDictError, models.create("yolo11n", classes=CLASSES, fused=True).load_state_dict, whole)
    assert "BatchNorm is not folded into its convolutions: create the model without fused=True" in message


def test_names_that_do_not_match_the_classes():
    state = StateDict(zeros_of(twins.YOLO("yolo26n-obb", CLASSES)), {"names": ["plane", "ship"]})
    message = message_of(StateDictError, models.create("yolo26n-obb", classes=CLASSES).load_state_dict, state)
    assert "names of classes: 2 in the file, 3 here" in message
    assert "2 names for 3 classes" in message_of(
        ArgumentError, models.create, "yolo11n-seg", classes=CLASSES, names=["cat", "dog"]
    )


def resized(state, name, length, other):
    """A state dict in which one name's arrays have another length in the place of each one of ``length``."""
    return {
        key: np.zeros([other if side == length else side for side in array.shape], np.float32) if name in key else array
        for key, array in state.items()
    }


@pytest.mark.parametrize(
    ("name", "part", "length", "other", "first"),
    [
        ("yolov8n", "model.", 16, 24, "model.0.conv.weight, model.0.bn.weight, model.0.bn.bias and "),  # width 0.375
        ("yolov8n-seg", "proto.cv", 64, 128, "model.22.proto.cv1.conv.weight"),  # npr
        ("yolo11n-seg", "proto.cv3", 32, 16, "model.23.proto.cv3.conv.weight"),  # nm
    ],
)
def test_other_widths_and_heads_than_the_published_are_told(name, part, length, other, first):
    state = resized(zeros_of(twins.YOLO(name, CLASSES)), part, length, other)
    message = message_of(StateDictError, models.from_state_dict, state)
    described = models.describe(state)
    assert f'("{name}", classes=3)' in described
    assert f"\n  of the models here {described} is nearest, and {first}" in message
    assert "are of other sizes: this has another width, depth or head\n" in message
    assert "\n  trtnn.from_torch(module, example), or trtnn from-torch, takes the torch module as it is\n" in message
    assert "this looks like" not in message
    other_family = message_of(StateDictError, models.create("resnet18").load_state_dict, state)
    assert f"{described} is nearest" in other_family
    assert "makes that model" not in other_family


def test_sizes_that_are_no_multiple():
    for name in ("yolo11n-pose", "yolo26n"):
        ours, _ = pair_of(name)
        message = message_of(ShapeError, ours.trace, {"images": (1, 3, 48, 64)})
        assert f"{name} takes pictures whose height and width are multiples of 32" in message
    ours, _ = pair_of("yolo11n-cls")
    assert ours.trace({"images": (1, 3, 50, 70)}).outputs == {"output": Input((1, CLASSES))}


def test_sizes_with_too_few_cells():
    ours, _ = pair_of("yolo26n")
    images = (1, 3, Dim("height", 32, 64, 128, multiple_of=32), Dim("width", 32, 64, 128, multiple_of=32))
    message = message_of(ShapeError, ours.trace, {"images": images})
    assert "the end-to-end head gives 300 boxes, and the smallest image has 21 cells" in message


def test_bad_arguments():
    message = message_of(ArgumentError, models.create, "yolo26n", head="decoded")
    assert message == "YOLO26 head 'decoded'\n  known: 'end2end', 'one-to-many'"
    message = message_of(ArgumentError, models.create, "yolo26n-cls", head="end2end")
    assert message == "YOLO26 head 'end2end'\n  known: 'probabilities', 'logits'"
    for name in ("yolo11n", "yolov9t"):
        message = message_of(ArgumentError, models.create, name, kpt_shape=(17, 3))
        assert message == f"{name} has no key points\n  received kpt_shape=(17, 3)"
    for shape in ((17, 4), (0, 3), (17.0, 3), (1, 2, 3), (17,), 17, "6"):
        message = message_of(ArgumentError, models.create, "yolo11n-pose", kpt_shape=shape)
        assert message == f"kpt_shape is how many key points, and 2 or 3 numbers for each, not {shape}"
