"""``trtnn val`` on a few images with the digits detector, beside COCO's own tool and our own measure."""

import contextlib
import io
import json
import sys

import numpy as np
import pytest

import trtnn
from tests.helpers import ONE_TARGET
from trtnn import models
from trtnn.examples.digits import PICTURE, WEIGHTS
from trtnn.examples.digits.picture import TRUTH
from trtnn.vision import mean_average_precision, read_image, write_image

pytest.importorskip("pycocotools")
REFERENCE = ["--reference", "--size", 320]
NAMES = [f"digit {i}" for i in range(10)]


def scenes():
    """Three images with their boxes and classes, one without any; the truth of the second is a little off."""
    rows = json.loads(TRUTH.read_text())
    boxes, classes = np.array([row["box"] for row in rows]), np.array([row["class"] for row in rows])
    image = read_image(PICTURE)
    small, off = image[::2, ::2], boxes + np.array([6, -5, 4, 3])
    empty = np.full_like(image, 90)
    return [
        (image, boxes, classes),
        (small, off / 2, (classes + (np.arange(len(classes)) == 0)) % 10),
        (empty, boxes[:0], classes[:0]),
    ]


@pytest.fixture(scope="module")
def yolo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("yolo")
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for number, (image, boxes, classes) in enumerate(scenes()):
        write_image(folder / "images" / f"{number}.png", image)
        height, width = image.shape[:2]
        middles, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        parts = np.concatenate([middles, sides], axis=1) / [width, height, width, height]
        lines = [
            f"{index} {x:.17g} {y:.17g} {w:.17g} {h:.17g}\n" for index, (x, y, w, h) in zip(classes, parts, strict=True)
        ]
        if lines:
            (folder / "labels" / f"{number}.txt").write_text("".join(lines))
    (folder / "data.yaml").write_text(f"val: images\nnames: {json.dumps(NAMES)}\n")
    return folder


@pytest.fixture(scope="module")
def coco(tmp_path_factory, yolo):
    folder = tmp_path_factory.mktemp("coco")
    annotations = [
        {"image_id": 10 + number, "category_id": 3 * int(index) + 1, "iscrowd": 0,
         "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
        for number, (_, boxes, classes) in enumerate(scenes())
        for (x1, y1, x2, y2), index in zip(boxes.tolist(), classes, strict=True)
    ]  # fmt: skip
    content = {
        "images": [{"id": 10 + number, "file_name": f"{number}.png"} for number in range(3)],
        "categories": [{"id": 3 * index + 1, "name": name} for index, name in enumerate(NAMES)],
        "annotations": [{"id": number + 1, **row} for number, row in enumerate(annotations)],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"


@pytest.fixture(scope="module")
def detections():
    network = models.from_state_dict(trtnn.load(WEIGHTS)).trace({"images": (1, 3, 320, 320)})
    detector = trtnn.Detector(network, confidence=0.001, iou=0.6, multi_label=True)
    return detector([image for image, _, _ in scenes()])


@pytest.fixture(scope="module")
def expected(coco, detections, tmp_path_factory):
    """What COCO's own tool says of these detections, by files as it takes them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rows = [
        {"image_id": 10 + number, "category_id": 3 * index + 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
        for number, found in enumerate(detections)
        for (x1, y1, x2, y2), score, index in found
    ]
    path = tmp_path_factory.mktemp("found") / "found.json"
    path.write_text(json.dumps(rows))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(coco))
        evaluation = COCOeval(truth, truth.loadRes(str(path)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def check(report, expected, categories):
    assert 0.3 < report["map50_95"] < report["map50"] < 1
    names = ["map50_95", "map50", "map75", "map_small", "map_medium", "map_large"]
    names += ["ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"]
    for name, value in zip(names, expected.stats, strict=True):
        assert report[name] == (None if value < 0 else pytest.approx(value, abs=1e-9)), name
    precision = expected.eval["precision"][:, :, :, 0, -1]
    present = [i for i in range(10) if precision[0, 0, i] > -1]
    assert [row["category"] for row in report["classes"]] == [categories[i] for i in present]
    assert [row["name"] for row in report["classes"]] == [NAMES[i] for i in present]
    np.testing.assert_allclose([row["ap50"] for row in report["classes"]], precision[0, :, present].mean(1), atol=1e-9)
    np.testing.assert_allclose(
        [row["ap50_95"] for row in report["classes"]], precision[:, :, present].mean((0, 1)), atol=1e-9
    )


@pytest.mark.parametrize("batch", [1, 2])
def test_coco_s_annotations_give_coco_s_numbers(run, coco, yolo, expected, tmp_path, batch):
    options = ["--data", coco, "--images", yolo / "images", "--json", tmp_path / "a.json", "--names", ",".join(NAMES)]
    done = run("val", WEIGHTS, *REFERENCE, *options, "--batch", batch)
    assert (done.code, done.err) == (0, "")
    report = json.loads((tmp_path / "a.json").read_text())
    if batch == 1:  # a network of another batch rounds differently
        check(report, expected, [3 * i + 1 for i in range(10)])
    assert report["images"] == 3
    assert report["thresholds"]["multi_label"] is True
    assert report["speed"]["batch"] == batch
    assert report["speed"]["ms_per_image"] > 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["class", "boxes", "mAP50", "mAP50-95"]
    total = next(line for line in lines if line.startswith("all "))
    assert total.split() == ["all", "22", f"{report['map50']:.4f}", f"{report['map50_95']:.4f}"]
    assert "images a second" in lines[-1]


def test_yolo_s_labels_give_the_same(run, yolo, expected, detections, tmp_path):
    options = ["--data", yolo, "--json", tmp_path / "a.json"]
    done = run("val", WEIGHTS, *REFERENCE, *options, "--names", ",".join(NAMES))
    assert (done.code, done.err) == (0, "")
    report = json.loads((tmp_path / "a.json").read_text())
    check(report, expected, list(range(10)))
    # Our own measure counts all detections, and these are few enough for COCO's to do so.
    assert max(len(found) for found in detections) <= 100
    ours = mean_average_precision(detections, [(boxes, classes) for _, boxes, classes in scenes()])
    assert report["map50"] == pytest.approx(ours.map50, abs=1e-9)
    assert report["map50_95"] == pytest.approx(ours.map50_95, abs=1e-9)


def test_thresholds_of_ones_own(run, yolo, tmp_path):
    options = ["--data", yolo, "--json", tmp_path / "a.json", "--names", ",".join(NAMES)]
    assert run("val", WEIGHTS, *REFERENCE, *options, "--confidence", 0.9, "--iou", 0.3).code == 0
    thresholds = json.loads((tmp_path / "a.json").read_text())["thresholds"]
    assert (thresholds["confidence"], thresholds["iou"]) == (0.9, 0.3)


def test_an_image_that_cannot_be_read_is_left_out_and_named(run, yolo, tmp_path):
    import shutil

    folder = tmp_path / "data"
    shutil.copytree(yolo, folder)
    options = ["--data", folder, "--json", tmp_path / "a.json", "--names", ",".join(NAMES)]
    (folder / "images" / "1.png").write_bytes(b"none")
    done = run("val", WEIGHTS, *REFERENCE, *options)
    assert done.code == 1
    assert done.err.startswith(f"skipped: cannot read the picture {folder / 'images' / '1.png'}: it does not decode")
    assert done.err.endswith("error: 1 of 3 pictures could not be read\n")
    report = json.loads((tmp_path / "a.json").read_text())
    assert (report["images"], report["skipped"]) == (2, [str(folder / "images" / "1.png")])
    assert sum(row["boxes"] for row in report["classes"]) == 11  # of the first alone


def test_the_results_take_no_place_of_the_annotations(run, coco, yolo):
    before = coco.read_bytes()
    for data in (coco, coco.parent):
        done = run("val", WEIGHTS, *REFERENCE, "--data", data, "--images", yolo / "images", "--json", coco)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"error: the results would take the place of {coco}\n")
    assert coco.read_bytes() == before


def test_an_image_whose_annotations_lie_on_their_side(run, coco, yolo, tmp_path):
    content = json.loads(coco.read_text())
    height, width = scenes()[0][0].shape[:2]
    content["images"][0] |= {"height": width, "width": height}
    (tmp_path / "a.json").write_text(json.dumps(content))
    done = run("val", WEIGHTS, *REFERENCE, "--data", tmp_path / "a.json", "--images", yolo / "images")
    assert done.code == 1
    words = f"and it has {height}×{width}, as its EXIF turns it, or they have them in the other order"
    assert words in done.err


def test_an_image_of_another_size_than_its_annotations_is_left_out_and_named(run, coco, yolo, tmp_path):
    content = json.loads(coco.read_text())
    height, width = scenes()[0][0].shape[:2]
    content["images"][0] |= {"height": height, "width": width}
    content["images"][1] |= {"height": height, "width": width}  # it is half as large
    content["images"][2] |= {"height": 0, "width": None}
    (tmp_path / "a.json").write_text(json.dumps(content))
    options = ["--data", tmp_path / "a.json", "--images", yolo / "images", "--json", tmp_path / "b.json"]
    done = run("val", WEIGHTS, *REFERENCE, *options, "--names", ",".join(NAMES))
    assert done.code == 1
    assert done.err.startswith(
        f"skipped: {yolo / 'images' / '1.png'} is not of the size that its annotations are of\n"
        f"  they say height and width are {height}×{width}, and it has {(height + 1) // 2}×{(width + 1) // 2}\n"
    )
    report = json.loads((tmp_path / "b.json").read_text())
    assert report["images"] == 2
    assert sum(row["boxes"] for row in report["classes"]) == 11


def test_names_that_do_not_match_are_refused(run, yolo):
    done = run("val", WEIGHTS, *REFERENCE, "--data", yolo, "--names", ",".join("abcdefghij"))
    assert (done.code, done.out) == (1, "")
    assert (
        "the data set's categories are not each one of the detector's classes\n  not once: digit 0, digit 1" in done.err
    )


def test_what_is_settled_before(run, yolo, tmp_path, monkeypatch):
    (tmp_path / "a.engine").touch()
    assert run("val", tmp_path / "a.engine", "--reference", "--data", yolo).err == (
        "error: --reference takes a checkpoint\n  an engine runs on a GPU alone\n"
    )
    assert "there is no data set at" in run("val", WEIGHTS, *REFERENCE, "--data", tmp_path / "gone").err
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    done = run("val", WEIGHTS, *REFERENCE, "--data", yolo)
    assert done.err.startswith("error: mAP is measured by pycocotools, which cannot be imported: ")
    assert done.err.endswith('  pip install "trtnn[val]"\n')


@pytest.mark.skipif(not ONE_TARGET, reason="this TensorRT builds for its own GPU alone")
def test_an_engine_is_timed_too(run, yolo, tmp_path, monkeypatch):
    """The reference stands in for the engine's computation, and its timings for those of a GPU."""
    model = models.from_state_dict(trtnn.load(WEIGHTS))
    network = model.trace({"images": (1, 3, 320, 320)})
    path = network.build(**ONE_TARGET).save(tmp_path / "a.engine")

    class Benchmark:
        def __str__(self):
            return "a table of timings"

        def to_json(self):
            return {"timings": {}}

    monkeypatch.setattr(trtnn.Engine, "check_runnable", lambda self: None)
    monkeypatch.setattr(trtnn.Engine, "run_flat", lambda self, pixels: network.run_flat(pixels))
    monkeypatch.setattr("trtnn.cli.val.bench_engine", lambda engine, inputs, *_: Benchmark())
    options = ["--data", yolo, "--json", tmp_path / "a.json", "--names", ",".join(NAMES)]
    done = run("val", path, *options)
    assert done.code == 0, done.err
    assert done.out.endswith("a table of timings\n")
    assert json.loads((tmp_path / "a.json").read_text())["speed"]["engine"] == {"timings": {}}


def test_crowds_alone_are_nothing_to_measure_against(run, coco, yolo, tmp_path):
    content = json.loads(coco.read_text())
    for row in content["annotations"]:
        row["iscrowd"] = 1
    (tmp_path / "crowds.json").write_text(json.dumps(content))
    options = ["--data", tmp_path / "crowds.json", "--images", yolo / "images", "--names", ",".join(NAMES)]
    done = run("val", WEIGHTS, *REFERENCE, *options)
    assert done.code == 1
    assert "0.0000" not in done.out
    assert "have no boxes but those of crowds, which do not count: there is nothing to measure against" in done.err
