"""Masks and key points measured as COCO's own tool measures them from files; what annotations and labels have to be."""

import contextlib
import io
import json

import numpy as np
import pytest

from tests.helpers import message_of
from tests.vision.tasks import CANVAS, pose, segment
from trtnn.errors import ArgumentError
from trtnn.vision import Detections, pipeline_of, write_image
from trtnn.vision.coco import CocoResults
from trtnn.vision.datasets import Measured, read_dataset
from trtnn.vision.masks import Masks, read_lengths
from trtnn.vision.placing import place
from trtnn.vision.truth import coco_keypoints, coco_outline, label_keypoints, label_outline

pytest.importorskip("pycocotools")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
SIZES = [(480, 640), (270, 480)]


def detections(task):
    name, outputs = ("yolov8-segment", dict(zip(("prediction", "prototypes"), segment(), strict=True)))
    if task == "pose":
        name, outputs = "yolov8-pose", {"prediction": pose()}
    pipeline = pipeline_of({"pipeline": name, "kpt_shape": [17, 3]})
    found = [pipeline.postprocess(outputs, [place("letterbox", size, CANVAS)])[0] for size in SIZES]
    return [Detections(f.boxes, f.scores, f.classes % 3, f.masks, f.keypoints) for f in found]


def true_objects(task):
    """What was found, every third left out and the rest a little off, as annotations of COCO's."""
    rng, rows = np.random.default_rng(0), []
    for number, (found, (height, width)) in enumerate(zip(detections(task), SIZES, strict=True)):
        for index in range(len(found)):
            if index % 3 == 0:
                continue
            row = {"id": len(rows) + 1, "image_id": number, "category_id": int(found.classes[index]) + 5, "iscrowd": 0}
            x1, y1, x2, y2 = (found.boxes[index] + rng.uniform(-3, 3, 4)).tolist()
            row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            if task == "segment":
                polygon = found.masks.polygon(index) + rng.uniform(-4, 4, 2)
                if len(polygon) < 3:
                    continue
                row |= {"segmentation": [polygon.ravel().tolist()], "area": float(found.masks[index].sum())}
                if index % 7 == 1:  # as crowds have it
                    mask = np.roll(found.masks[index], 2, 1).T.ravel()
                    turns = np.flatnonzero(np.diff(mask)) + 1
                    lengths = np.diff([0, *turns, mask.size]).tolist()
                    counts = [0, *lengths] if mask[0] else lengths
                    row |= {"segmentation": {"size": [height, width], "counts": counts}}
                    row["iscrowd"] = int(index % 14 == 1)
            else:
                points = found.keypoints[index] + rng.normal(0, 6, (17, 3))
                points[:, 2] = np.where(rng.random(17) < 0.2, 0, 2)
                row |= {"keypoints": points.ravel().tolist(), "num_keypoints": int((points[:, 2] > 0).sum())}
            rows.append(row)
    return rows


@pytest.fixture
def coco(tmp_path):
    def write(rows):
        for number, size in enumerate(SIZES):
            write_image(tmp_path / f"{number}.png", np.zeros((*size, 3), np.uint8))
        images = [
            {"id": number, "file_name": f"{number}.png", "height": height, "width": width}
            for number, (height, width) in enumerate(SIZES)
        ]
        categories = [{"id": number, "name": f"c{number}"} for number in (5, 6, 7)]
        path = tmp_path / "a.json"
        path.write_text(json.dumps({"images": images, "categories": categories, "annotations": rows}))
        return path

    return write


def by_coco_s_tool(path, found, kind):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rows = []
    for number, one in enumerate(found):
        for index, (_, score, label) in enumerate(one):
            row = {"image_id": number, "category_id": label + 5, "score": score}
            if kind == "segm":
                row["segmentation"] = one.masks.rle(index)
            else:
                row["keypoints"] = one.keypoints[index].ravel().tolist()
            rows.append(row)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        results = path.with_name("found.json")
        results.write_text(json.dumps(rows))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize(("task", "kind"), [("segment", "segm"), ("pose", "keypoints")])
def test_the_numbers_are_those_of_coco_s_tool_from_files(coco, task, kind):
    path, found = coco(true_objects(task)), detections(task)
    data = read_dataset(path, measured=Measured(task, (17, 3)))
    results = CocoResults(data, [5, 6, 7])
    for image, size, one in zip(data.images, SIZES, found, strict=True):
        results.add(image, size, one)
    evaluation = results.evaluate(kind)
    expected = by_coco_s_tool(path, found, kind)
    actual = [-1 if value is None else value for value in evaluation.statistics.values()]
    np.testing.assert_allclose(actual, expected, atol=1e-9)
    assert 0.1 < evaluation.statistics["map50_95"] < evaluation.statistics["map50"] < 1
    assert list(evaluation.statistics)[:2] == ["map50_95", "map50"]
    boxes = results.evaluate()
    assert boxes.statistics["map50"] > 0.3
    assert "ar_100" in boxes.statistics


def labels_of(task, kpt_shape=(17, 3)):
    """The same objects as YOLO's labels, by image."""
    files = {}
    for row in true_objects(task):
        height, width = SIZES[row["image_id"]]
        x, y, w, h = row["bbox"]
        if task == "segment":
            if isinstance(row["segmentation"], dict):
                continue
            numbers = (np.reshape(row["segmentation"][0], (-1, 2)) / (width, height)).clip(0, 1).ravel()
        else:
            points = np.reshape(row["keypoints"], (17, 3)) / (width, height, 1)
            points[:, :2] = points[:, :2].clip(0, 1)
            box = np.array([(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]).clip(0, 1)
            numbers = [*box, *points[: kpt_shape[0], : kpt_shape[1]].ravel()]
        line = " ".join(f"{number:.9g}" for number in numbers)
        files.setdefault(row["image_id"], []).append(f"{row['category_id'] - 5} {line}\n")
    return files


@pytest.mark.parametrize(
    ("task", "kind", "shape"),
    [("segment", "segm", (0, 0)), ("pose", "keypoints", (17, 3)), ("pose", "keypoints", (6, 2))],
)
def test_yolo_s_labels_are_measured_too(tmp_path, task, kind, shape):
    found = detections(task)
    if shape == (6, 2):
        found = [Detections(f.boxes, f.scores, f.classes, keypoints=f.keypoints[:, :6, :2]) for f in found]
    for number, size in enumerate(SIZES):
        write_image(tmp_path / f"{number}.png", np.zeros((*size, 3), np.uint8))
        (tmp_path / f"{number}.txt").write_text("".join(labels_of(task, shape)[number]))
    data = read_dataset(tmp_path, measured=Measured(task, shape))
    results = CocoResults(data, [0, 1, 2])
    for image, size, one in zip(data.images, SIZES, found, strict=True):
        results.add(image, size, one)
    assert 0.2 < results.evaluate(kind).statistics["map50"] < 1
    perfect = CocoResults(data, [0, 1, 2])
    for image, size in zip(data.images, SIZES, strict=True):
        unit, count = np.array(size[::-1] * 2), len(image.boxes)
        boxes = image.boxes * unit
        boxes[:, 2:] += boxes[:, :2]
        more = {}
        if task == "pose":
            more["keypoints"] = image.keypoints[..., :2] * size[::-1]
        perfect.add(image, size, Detections(boxes, np.linspace(1, 0.5, count), image.categories, **more))
    if task == "pose":
        assert perfect.evaluate(kind).statistics["map50_95"] == pytest.approx(1)
    assert perfect.evaluate().statistics["map50_95"] == pytest.approx(1)


def test_areas_of_labels(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((50, 100, 3), np.uint8))
    (tmp_path / "a.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.3\n")
    (image,) = read_dataset(tmp_path, measured=Measured("segment")).images
    assert image.areas.tolist() == [pytest.approx(0.5 * 0.4 * 0.2)]
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2 0.4 0.4 0.4 2\n")
    (image,) = read_dataset(tmp_path, measured=Measured("pose", (1, 3))).images
    assert image.areas.tolist() == [pytest.approx(0.53 * 0.2 * 0.4)]
    assert image.keypoints.tolist() == [[[0.4, 0.4, 2]]]


def test_run_lengths_are_read_as_they_are_written():
    rng = np.random.default_rng(0)
    for shape in ((1, 40, 60), (1, 3, 3), (1, 1, 1), (1, 300, 1)):
        for share in (0.1, 0.5, 1.0, 0.0):
            masks = Masks.of_array(rng.random(shape) < share)
            lengths = read_lengths(masks.rle(0)["counts"])
            assert sum(lengths) == shape[1] * shape[2]
            assert coco_outline({"segmentation": masks.rle(0)})["counts"] == lengths


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [],
        "a",
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, 3, 4, 5, "6"]],
        [[1, 2, 3, 4, 5, float("nan")]],
        {"size": [2, 3], "counts": [5]},
        {"size": [2, 3], "counts": [-1, 7]},
        {"size": [2, 3, 1], "counts": [6]},
        {"size": [2, 3]},
        {"size": [True, 6], "counts": [6]},
        {"size": [2, 3], "counts": "6"[:0]},
        {"size": [2, 3], "counts": "Pp"},
        {"size": [2, 3], "counts": "\x00"},
        {"size": [2, 3], "counts": "o" * 20},
    ],
    ids=str,
)
def test_what_is_no_segmentation(segmentation):
    with pytest.raises(ValueError, match=r"a segmentation is polygons|counts "):
        coco_outline({"segmentation": segmentation})


def test_what_is_no_key_points():
    for value in (None, [1, 2, 0], [1, 2, float("inf")] * 2, ["1"] * 6):
        with pytest.raises(ValueError, match="keypoints are 2 times x, y and visibility"):
            coco_keypoints({"keypoints": value}, 2)
    with pytest.raises(ValueError, match="8 numbers are no class, box and 1 key points of 2 numbers"):
        label_keypoints([0] * 7, (1, 2))
    with pytest.raises(ValueError, match="5 numbers are no class with an outline"):
        label_outline([0] * 4)


def test_annotations_that_lack_what_is_measured_are_named(coco):
    rows = true_objects("pose")
    path = coco(rows)
    message = message_of(ArgumentError, read_dataset, path, measured=Measured("segment"))
    assert message.startswith(f"{path} has no annotations as COCO's: a segmentation is polygons")
    message = message_of(ArgumentError, read_dataset, path, measured=Measured("pose", (5, 3)))
    assert "keypoints are 5 times x, y and visibility, not [" in message


def test_outlines_that_reach_beyond_the_image_are_measured_as_by_coco_s_tool(coco):
    """Points that are moved to the image's edge would turn the lines to them."""
    rows, found, rng = true_objects("segment"), detections("segment"), np.random.default_rng(1)
    for row in rows:
        if isinstance(row["segmentation"], list):
            polygon = np.reshape(row["segmentation"][0], (-1, 2))
            polygon[:: len(polygon) // 3] += rng.uniform(-400, 400, polygon[:: len(polygon) // 3].shape)
            row["segmentation"] = [polygon.ravel().tolist()]
    path = coco(rows)
    data = read_dataset(path, measured=Measured("segment"))
    results = CocoResults(data, [5, 6, 7])
    for image, size, one in zip(data.images, SIZES, found, strict=True):
        results.add(image, size, one)
    expected = by_coco_s_tool(path, found, "segm")
    actual = [-1 if value is None else value for value in results.evaluate("segm").statistics.values()]
    np.testing.assert_allclose(actual, expected, atol=1e-9)
    assert 0.01 < expected[0] < 0.9


def test_an_outline_far_beside_its_image(coco):
    rows = true_objects("segment")[:1]
    rows[0]["segmentation"] = [[0, 0, 1e9, 0, 1e9, 1e9]]
    data = read_dataset(coco(rows), measured=Measured("segment"))
    results = CocoResults(data, [5, 6, 7])
    message = message_of(ArgumentError, results.add, data.images[0], SIZES[0], detections("segment")[0])
    assert "lies far beside its image" in message


def test_a_mask_of_another_size_than_its_image(coco):
    rows = true_objects("segment")[:1]
    rows[0]["segmentation"] = {"size": [3, 4], "counts": [12]}
    data = read_dataset(coco(rows), measured=Measured("segment"))
    results = CocoResults(data, [5, 6, 7])
    message = message_of(ArgumentError, results.add, data.images[0], SIZES[0], detections("segment")[0])
    assert message.endswith("the mask is 3×4, the image 480×640")
