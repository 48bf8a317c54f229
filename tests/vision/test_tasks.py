"""Outputs of each task to detections: Ultralytics' own numbers, and plain loops."""

import numpy as np
import pytest
import torch

from tests.helpers import message_of
from tests.vision.tasks import CANVAS, crowd, obb, picture, pose, segment
from trtnn.errors import ArgumentError, ShapeError
from trtnn.vision import PIPELINES, Placement, box_iou, pipeline_of
from trtnn.vision.heads import END2END_POSE, YOLOV8, YOLOV8_POSE, YOLOV8_SEGMENT
from trtnn.vision.placing import place
from trtnn.vision.rotated import enclosing

AS_IT_IS = Placement(CANVAS, CANVAS, (1.0, 1.0), (0.0, 0.0))
SIZES = [(480, 640), (500, 333), (1080, 1920)]


def found_in(name, outputs, size=CANVAS, **options):
    pipeline = pipeline_of({"pipeline": name, "kpt_shape": [17, 3]})
    (found,) = pipeline.postprocess(outputs, [place("letterbox", size, CANVAS)], **options)
    return found


# -- the project's own numbers: how they were made is in tasks.py ------------------------------------------------------

# The pixels of each mask; at 500 × 333 three boxes lie wholly beside the image, and have none.
PIXELS = [
    [
        *(5064, 14513, 10209, 5455, 2646, 2077, 3462, 7638, 6387, 4762, 1225, 1977, 1449, 6618, 7283, 6272, 4746, 464),
        *(3722, 11965, 7878, 13333, 9048, 2390, 3118, 7527, 5945, 6745, 7335, 1624),
    ],
    [
        *(4558, 6805, 515, 1959, 1606, 1278, 459, 466, 3583, 2871, 747, 141, 4085, 4473, 2167, 384, 2273, 6806, 1166),
        *(3425, 5579, 2199, 380, 49, 3654, 4089, 3586),
    ],
    [
        *(29428, 130870, 82717, 17093, 24114, 12917, 12339, 69121, 45124, 27508, 11186, 7013, 6944, 59732, 20567),
        *(49246, 42339, 3759, 27718, 108130, 45121, 119968, 64786, 15464, 27584, 49071, 18482, 60642, 49677, 13921),
    ],
]


@pytest.mark.parametrize(("size", "pixels"), list(zip(SIZES, PIXELS, strict=True)))
def test_masks_have_ultralytics_pixels(size, pixels):
    prediction, prototypes = segment()
    found = found_in("yolov8-segment", {"prediction": prediction, "prototypes": prototypes}, size)
    assert found.classes.tolist() == [i for i in range(30) if size != (500, 333) or i not in (11, 16, 29)]
    # Where a cell is cut by the image's edge it is resized in two steps there, and a pixel or two is another.
    np.testing.assert_allclose([mask.sum() for mask in found.masks], pixels, rtol=0, atol=4 if size[1] == 333 else 0)


# Of every sixth: its score, the sums of x, y and visibility, and x and y of the fourth point.
POSES = [
    [
        (0.95, 5453.31, 7227.56, 9.31, 380.79, 450.61),
        (0.83, 1568.72, 7060.59, 9.31, 170.3, 398.43),
        (0.71, 9167.7, 6656.6, 9.25, 629.1, 329.85),
        (0.59, 5512.23, 5941.14, 9.12, 418.72, 250.9),
        (0.47, 1419.92, 4874.82, 8.95, 175.12, 168.78),
    ],
    [
        (0.95, 2840.9, 7111.36, 9.31, 214.02, 414.54),
        (0.83, 270.99, 6921.19, 9.31, 49.48, 373.77),
        (0.71, 5327.47, 6452.31, 9.25, 333.0, 320.19),
        (0.59, 2886.96, 5736.17, 9.12, 243.67, 258.52),
        (0.47, 247.98, 4870.95, 8.95, 53.25, 194.36),
    ],
    [
        (0.95, 16359.93, 16910.84, 9.31, 1142.38, 1080.0),
        (0.83, 4706.17, 16580.03, 9.31, 510.91, 1015.28),
        (0.71, 27503.11, 15678.08, 9.25, 1887.31, 809.54),
        (0.59, 16536.68, 14014.69, 9.12, 1256.17, 572.71),
        (0.47, 4259.75, 11418.07, 8.95, 525.35, 326.35),
    ],
]


@pytest.mark.parametrize(("size", "rows"), list(zip(SIZES, POSES, strict=True)))
def test_key_points_are_ultralytics(size, rows):
    found = found_in("yolov8-pose", {"any name": pose()}, size)
    assert len(found) == 30
    picked = found[::6]
    sums = picked.keypoints.sum(axis=1)
    actual = np.concatenate([picked.scores[:, None], sums, picked.keypoints[:, 3, :2]], axis=1)
    np.testing.assert_allclose(actual, rows, rtol=0, atol=0.006)  # they were rounded to 0.01


# By the order of their scores; a loop in which a box that is gone takes none with it drops fewer.
DROPPED = [
    *(29, 34, 38, 58, 69, 86, 89, 91, 96, 100, 103, 109, 120, 126, 128, 140, 146, 160, 163, 166, 177, 189, 191, 200),
    *(208, 209, 226, 246, 248, 254, 266, 271, 272, 284, 294, 297),
]
# Of every sixtieth that is kept: its class, centre, width, height and angle.
ROTATED = [
    [
        (0, 320.0, 440.0, 90.0, 180.0, 0.0),
        (0, 509.6899, 296.3917, 136.0013, 176.3532, -2.1847),
        (1, 384.8842, 107.2755, 94.4184, 63.4488, -0.6826),
        (0, 62.6341, 195.5981, 100.106, 116.3389, 0.1797),
        (1, 453.0397, 294.8677, 105.66, 178.5722, 1.014),
    ],
    [
        (0, 166.5, 406.25, 70.3521, 140.625, 0.0),
        (0, 314.7788, 294.056, 106.3109, 137.776, -2.1847),
        (1, 217.2194, 146.309, 73.806, 49.5694, -0.6826),
        (0, -34.6804, 215.3111, 78.2519, 90.8897, 0.1797),
        (1, 270.4958, 292.8654, 82.5934, 139.5096, 1.014),
    ],
    [
        (0, 960.0, 1140.0, 270.0, 540.0, 0.0),
        (0, 1529.0698, 709.175, 408.0039, 529.0596, -2.1847),
        (1, 1154.6526, 141.8264, 283.2553, 190.3465, -0.6826),
        (0, 187.9022, 406.7944, 300.3181, 349.0166, 0.1797),
        (1, 1359.119, 704.603, 316.98, 535.7167, 1.014),
    ],
]


@pytest.mark.parametrize(("size", "rows"), list(zip(SIZES, ROTATED, strict=True)))
def test_rotated_boxes_are_ultralytics(size, rows):
    found = found_in("yolov8-obb", {"any name": obb()}, size)
    kept = np.round((0.95 - found.scores) * 500).astype(int).tolist()
    assert sorted(set(range(300)) - set(kept)) == DROPPED
    picked = found[::60]
    actual = np.concatenate([picked.classes[:, None], picked.rotated], axis=1)
    # At 500 × 333 an image of 426.24 px is laid on 426: they divide by what it would be, we by what it is.
    np.testing.assert_allclose(actual, rows, rtol=0, atol=0.1 if size[1] == 333 else 2e-4)
    np.testing.assert_array_equal(found.angles, found.rotated[:, 4])
    height, width = size
    np.testing.assert_allclose(found.boxes, enclosing(found.rotated).clip(0, (width, height) * 2), atol=0.5)


@pytest.mark.parametrize(
    ("size", "means", "pixels"),
    [
        ((300, 500), (127.306, 127.362, 127.518), [[247, 19, 240], [62, 203, 87], [34, 171, 226]]),
        ((500, 300), (127.54, 127.492, 127.517), [[26, 191, 240], [141, 12, 90], [178, 166, 221]]),
        ((101, 150), (129.033, 125.912, 127.275), [[92, 58, 245], [173, 128, 35], [171, 9, 209]]),
    ],
)
def test_images_are_prepared_for_classifiers_as_ultralytics_does(size, means, pixels):
    """Its Pillow rounds to bytes between rows and columns, so that a byte may be the next one."""
    (planes,), _ = PIPELINES["yolo-classify"].preprocess([picture(*size)], 224)
    np.testing.assert_allclose(255 * planes.mean((1, 2)), means, rtol=0, atol=0.006)
    at = np.array([planes[:, y, x] for y, x in ((0, 0), (100, 50), (223, 200))])
    np.testing.assert_allclose(255 * at, pixels, rtol=0, atol=1.001)


# -- beside plain boxes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"multi_label": True, "confidence": 0.5}, {"classes": [1, 7]}, {"iou": 0.1}])
def test_what_is_picked_does_not_depend_on_what_stands_beside_it(options):
    columns = crowd(200, 9, 0)
    columns[5] = np.where(columns[4] > 0, 0.7 * columns[4], columns[5])  # a second class for some
    plain = found_in("yolov8", {"x": columns[None]}, **options)
    rng = np.random.default_rng(0)
    coefficients = rng.standard_normal((32, 200)).astype(np.float32)
    prototypes = np.ones((1, 32, 160, 160), np.float32)
    masked = np.concatenate([columns, coefficients])[None]
    found = found_in("yolov8-segment", {"prediction": masked, "prototypes": prototypes}, **options)
    positive = coefficients.sum(0) > 0  # all of the mask, or nothing
    by_box = {box: k for k, box in enumerate(map(tuple, _xyxy(columns)))}
    kept = [by_box[tuple(box)] for box in plain.boxes]
    expected = plain[positive[kept]]
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.classes, expected.classes)
    for mask, (x1, y1, x2, y2) in zip(found.masks, found.boxes, strict=True):
        inside = np.zeros(CANVAS, bool)
        inside[int(np.ceil(y1)) : int(np.ceil(y2)), int(np.ceil(x1)) : int(np.ceil(x2))] = True
        np.testing.assert_array_equal(mask, inside)
    points = rng.uniform(0, 640, (51, 200)).astype(np.float32)
    points[2::3] /= 640
    posed = found_in("yolov8-pose", {"x": np.concatenate([columns, points])[None]}, **options)
    np.testing.assert_array_equal(posed.boxes, plain.boxes)
    np.testing.assert_array_equal(posed.keypoints, points[:, kept].T.reshape(-1, 17, 3))


def _xyxy(columns):
    centre, half = columns[:2].T, columns[2:4].T / 2
    return np.concatenate([centre - half, centre + half], 1).clip(0, 640)


def test_outputs_that_are_picked_already():
    placement = Placement((100, 200), (64, 64), (0.5, 0.5), (-5.0, 4.0))
    box = [[10, 20, 30, 40, 0.3, 2], [10, 20, 30, 41, 0.8, 7]]
    points = np.arange(8.0).reshape(2, 2, 2) * 4 + 6
    rows = np.concatenate([box, points.reshape(2, 4)], 1)[None].astype(np.float32)
    pipeline = pipeline_of({"pipeline": "end2end-pose", "kpt_shape": [2, 2]})
    (found,) = pipeline.postprocess({"x": rows}, [placement])
    np.testing.assert_allclose(found.boxes, [[30, 32, 70, 74], [30, 32, 70, 72]])
    np.testing.assert_allclose(found.keypoints, np.clip((points[::-1] - (-5, 4)) / 0.5, 0, (200, 100)))
    turned = np.zeros((1, 300, 7), np.float32)
    turned[0, :2] = [[20, 30, 10, 6, 0.3, 2, 0.1], [20, 30, 10, 6, 0.8, 7, -0.4]]
    (found,) = PIPELINES["end2end-obb"].postprocess({"x": turned}, [placement])
    np.testing.assert_allclose(found.rotated, [[50, 52, 20, 12, -0.4], [50, 52, 20, 12, 0.1]], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, enclosing(found.rotated), rtol=1e-5)
    assert found.classes.tolist() == [7, 2]
    coefficients = np.zeros((1, 2, 32), np.float32)
    coefficients[0, :, 0] = 1, -1
    masked = np.concatenate([np.float32([box]), coefficients], 2)
    prototypes = np.ones((1, 32, 16, 16), np.float32)
    (found,) = PIPELINES["end2end-segment"].postprocess({"a": prototypes, "b": masked}, [placement])
    assert (len(found), found.classes.tolist()) == (1, [2])  # the other has no pixel
    assert found.masks[0].sum() == 40 * 40
    assert found.masks[0][32:72, 30:70].all()


def test_each_image_has_its_own_prototypes_and_placement():
    prediction, prototypes = segment()
    both = {
        "prediction": np.concatenate([prediction, prediction[..., ::-1]]),
        "prototypes": np.concatenate([prototypes, -prototypes]),
    }
    placements = [place("letterbox", size, CANVAS) for size in ((640, 640), (1080, 1920))]
    first, second = PIPELINES["yolov8-segment"].postprocess(both, placements)
    (alone,) = PIPELINES["yolov8-segment"].postprocess(
        {"prediction": prediction, "prototypes": -prototypes}, placements[1:]
    )
    assert first.masks.size == (640, 640)
    np.testing.assert_array_equal(second.classes, alone.classes)
    assert [second.masks.rle(i) for i in range(len(second))] == [alone.masks.rle(i) for i in range(len(alone))]


def test_half_precision_is_computed_in_single():
    prediction, prototypes = (array.astype(np.float16) for array in segment())
    single = {"prediction": prediction.astype(np.float32), "prototypes": prototypes.astype(np.float32)}
    half = found_in("yolov8-segment", {"prediction": prediction, "prototypes": prototypes})
    full = found_in("yolov8-segment", single)
    np.testing.assert_array_equal(half.boxes, full.boxes)
    np.testing.assert_array_equal(half.masks, full.masks)
    rows = np.zeros((1, 300, 7), np.float16)
    rows[0, 0] = [20, 30, 10, 6, 0.75, 2, 0.5]
    rows[0, 1] = [601, 403.5, 55.5, 31, 0.5, 1, 0.7]
    found = found_in("end2end-obb", {"x": rows})
    np.testing.assert_allclose(found.boxes, enclosing(rows[0, :2, [0, 1, 2, 3, 6]].T.astype(np.float64)), atol=1e-4)


def test_what_is_not_finite_is_left_out():
    columns = crowd(4, 1, 51)
    columns[:2], columns[2:4] = [[100, 200, 300, 400]] * 2, 40
    columns[4], columns[5:] = 0.9, 0.5
    columns[7, 1], columns[4, 2], columns[0, 3] = np.nan, np.inf, -np.inf
    with pytest.warns(UserWarning, match="scores are nan or inf"):
        found = found_in("yolov8-pose", {"x": columns[None]})
    assert len(found) == 1
    assert found.boxes[0].tolist() == [80, 80, 120, 120]


# -- RT-DETR ----------------------------------------------------------------------------------------------------------


def queries(seed=0, classes=5):
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.uniform(0.2, 0.8, (2, 300, 2)), rng.uniform(0.05, 0.5, (2, 300, 2))], 2)
    return {"boxes": boxes.astype(np.float32), "scores": rng.random((2, 300, classes)).astype(np.float32)}


@pytest.mark.parametrize("confidence", [0.5, 0.0])
def test_rtdetr_takes_the_best_pairs_of_query_and_class(confidence):
    outputs, size = queries(), (480, 800)
    placements = [place("stretch", source, (640, 640)) for source in (size, (100, 50))]
    found = PIPELINES["rtdetr"].postprocess(outputs, placements, confidence=confidence)
    for detections, boxes, scores, (height, width) in zip(
        found, torch.from_numpy(outputs["boxes"]), torch.from_numpy(outputs["scores"]), (size, (100, 50)), strict=True
    ):
        best, flat = scores.flatten().topk(300)  # as its own and transformers' post-processing say it
        centre, half = boxes[flat // 5, :2], boxes[flat // 5, 2:] / 2
        expected = torch.cat([centre - half, centre + half], 1) * torch.tensor([width, height, width, height])
        good = (best > confidence).numpy()
        np.testing.assert_allclose(detections.scores, best.numpy()[good])
        assert detections.classes.tolist() == (flat % 5).numpy()[good].tolist()
        limits = (width, height, width, height)
        np.testing.assert_allclose(detections.boxes, expected.numpy()[good].clip(0, limits), atol=1e-3)


def test_rtdetr_s_classes_and_numbers_that_are_none():
    outputs, placement = queries(1), place("stretch", (480, 640), (640, 640))
    one = {name: array[:1].copy() for name, array in outputs.items()}
    (found,) = PIPELINES["rtdetr"].postprocess(one, [placement], classes=[2], max_detections=9)
    assert found.classes.tolist() == [2] * 9
    np.testing.assert_allclose(found.scores, np.sort(one["scores"][0, :, 2])[::-1][:9])
    one["scores"][0, 3, 1], one["boxes"][0, 4, 0] = np.nan, np.inf
    with pytest.warns(UserWarning, match="^1 of 1500 scores are nan or inf"):
        (found,) = PIPELINES["rtdetr"].postprocess(one, [placement], confidence=0.0, max_detections=2000)
    assert len(found) == 1500 - 1 - 5
    assert np.isfinite(found.boxes).all()
    one["scores"][0] = 4 * np.nan_to_num(one["scores"][0])
    assert "what would be scores is" in message_of(ArgumentError, PIPELINES["rtdetr"].postprocess, one, [placement])
    assert box_iou(found.boxes[:1], found.boxes[:1]) == 1
    with pytest.raises(ShapeError, match="for 1 pictures"):
        PIPELINES["rtdetr"].postprocess(queries(), [placement])


# -- forms ------------------------------------------------------------------------------------------------------------


def test_forms_are_told_with_what_metadata_say():
    shapes = {"output1": (1, 32, 160, 160), "output0": (1, 116, 8400)}
    assert str(YOLOV8_SEGMENT.renamed(shapes)) == (
        "outputs 'output0' (batch, 4 + classes + 32, boxes), 'output1' (batch, 32, rows, columns)"
    )
    assert YOLOV8_SEGMENT.renamed(shapes).read(shapes) == {"classes": 80}
    assert YOLOV8_SEGMENT.renamed({"a": (1, 2), "b": (1, 2)}) is YOLOV8_SEGMENT
    assert YOLOV8_SEGMENT.read({"prediction": (1, 36, 8400), "prototypes": (1, 32, 9, 9)}) is None
    assert YOLOV8.renamed({"x": (1, 84, 8400)}) is YOLOV8
    head = YOLOV8_POSE.with_metadata({"kpt_shape": (5, 2)})
    assert str(head) == "one output (batch, 4 + classes + 10, boxes)"
    assert (head.read({"x": (1, 17, 9)}), head.read({"x": (1, 14, 9)})) == ({"classes": 3}, None)
    assert END2END_POSE.with_metadata({"kpt_shape": [5, 2]}).read({"x": (1, 300, 16)}) == {}
    assert END2END_POSE.with_metadata({"kpt_shape": [5, 2]}).read({"x": (1, 300, 57)}) is None


def test_visibilities_are_no_logits():
    columns = pose()
    columns[0, 7, 3] = 4.0
    message = message_of(ArgumentError, found_in, "yolov8-pose", {"x": columns})
    assert message.startswith("what would be visibilities is ")


def test_key_points_of_a_pipeline_without_their_number():
    message = message_of(ArgumentError, PIPELINES["yolov8-pose"].postprocess, {"x": pose()}, [AS_IT_IS])
    assert message.startswith("nothing tells how many key points there are\n")
