"""``trtnn detect``: formats of results, and sources that are no folder of pictures."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.vision.test_sources import video
from trtnn.cli.results import Coco, Csv, Json, Result, Yolo
from trtnn.cli.written import MARKER, GrowingFile, ResultFolder
from trtnn.examples.digits import PICTURE, WEIGHTS
from trtnn.vision import COCO, COCO_91, Detections, read_image
from trtnn.vision.names import read_names

REFERENCE = ["--weights", WEIGHTS, "--reference", "--size", 320]
SMALL = ["--weights", WEIGHTS, "--reference", "--size", 32]
ALL = [word for name in ("json", "coco", "yolo", "csv") for word in ("--format", name)]
NAMES = ["zero", "one", "two", 'th"r,ee']


def report(folder):
    return json.loads((folder / "detections.json").read_text())


@pytest.fixture
def folder(tmp_path):
    return ResultFolder(tmp_path / "out")


def result(name="a/7.jpg", frame=None, count=2, first=0, size=(200, 100)):
    boxes = np.float32([[10, 20, 30, 60], [0, 0, 100, 200]])[:count]
    detections = Detections(boxes, [0.75, 0.5][:count], [first + 3, first][:count])
    return Result(name, frame, size, detections, None, Path("7.txt"))


# -- formats ----------------------------------------------------------------------------------------------------------


def test_a_file_of_results_is_whole_after_each(folder):
    for labels in (None, NAMES):
        writer, path = Json(folder, labels), folder.path / "detections.json"
        assert json.loads(path.read_text()) == {}
        for index in range(3):
            writer.add(result(f'"{index}".jpg', frame=index or None, count=index))
            rows = json.loads(path.read_text())
            assert list(rows) == ['"0".jpg', '"1".jpg#1', '"2".jpg#2'][: index + 1]
        assert rows['"2".jpg#2']["frame"] == 2
        first = {"box": [10.0, 20.0, 30.0, 60.0], "score": 0.75, "class": 3}
        assert rows['"2".jpg#2']["detections"][0] == first | ({"label": NAMES[3]} if labels else {})
        assert ResultFolder(folder.path).wrote(path)  # also where it ends here
        writer.close()
    assert ResultFolder(folder.path).wrote(path)
    path.write_text("mine")
    assert not ResultFolder(folder.path).wrote(path)


def test_a_disk_that_is_full_leaves_what_was_whole(folder, monkeypatch):
    file, path = GrowingFile(folder, folder.path / "a.json", "[", "\n]\n", ","), folder.path / "a.json"
    file.add("1")

    class Full:
        def __init__(self, inner):
            self.inner, self.times = inner, 0

        def write(self, data):
            self.times += 1
            return self.inner.write(data[:3] if self.times == 1 else data)

        def __getattr__(self, name):
            return getattr(self.inner, name)

    file._file = Full(file._file)
    with pytest.raises(OSError, match="No space left"):
        file.add("23456789")
    assert json.loads(path.read_text()) == [1]
    file.add("2")
    file.close()
    assert json.loads(path.read_text()) == [1, 2]


def test_coco_s_own_tool_reads_the_results(folder, tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    writer = Coco(folder, NAMES, 4, [Path("a/7.jpg"), Path("a/0012.jpg")])
    writer.add(result())
    writer.add(result("a/0012.jpg", count=0))
    images = json.loads((folder.path / "coco_images.json").read_text())
    assert images["categories"] == [{"id": index + 1, "name": name} for index, name in enumerate(NAMES)]
    assert images["images"][1] == {"id": 12, "file_name": "a/0012.jpg", "height": 200, "width": 100}
    writer.close()
    truth = coco.COCO()
    truth.dataset = images
    truth.createIndex()
    loaded = truth.loadRes(str(folder.path / "coco.json"))
    rows = loaded.loadAnns(loaded.getAnnIds())
    assert [(row["image_id"], row["category_id"], row["bbox"], row["score"]) for row in rows] == [
        (7, 4, [10, 20, 20, 40], 0.75),
        (7, 1, [0, 0, 100, 200], 0.5),
    ]


@pytest.mark.parametrize(
    ("labels", "classes", "category"),
    [(list(COCO), 80, 4), (list(COCO), 80, 90), (list(COCO_91), 91, 3), (None, 4, 4), (NAMES, None, 4)],
    ids=["COCO's 80", "the last of them", "COCO's 91", "none", "others"],
)
def test_categories_are_coco_s_own_where_the_names_are(folder, labels, classes, category):
    writer = Coco(folder, labels, classes, None)
    writer.add(result(first=76) if category == 90 else result())
    writer.close()
    rows = json.loads((folder.path / "coco.json").read_text())
    assert rows[0]["category_id"] == category
    assert rows[0]["image_id"] == 1
    known = {row["id"]: row["name"] for row in json.loads((folder.path / "coco_images.json").read_text())["categories"]}
    assert known[category] == (labels[76 + 3 if category == 90 else 3] if labels else "3")
    assert "N/A" not in known.values()
    assert "background" not in known.values()


def test_classes_of_any_name_have_a_category(folder):
    """Background and N/A are no classes among COCO's 91 numbers alone."""
    writer = Coco(folder, names := ["background", "N/A", "cat", "dog"], None, None)
    writer.add(result())
    writer.close()
    categories = json.loads((folder.path / "coco_images.json").read_text())["categories"]
    assert categories == [{"id": index + 1, "name": name} for index, name in enumerate(names)]
    assert {row["category_id"] for row in json.loads((folder.path / "coco.json").read_text())} == {4, 1}


@pytest.mark.parametrize("stems", [["7", "07"], ["7", "seven"], []])
def test_images_are_counted_where_their_names_are_no_numbers(folder, stems):
    writer = Coco(folder, None, None, [Path(f"{stem}.jpg") for stem in stems])
    for stem in ["7", "x"]:
        writer.add(result(f"{stem}.jpg"))
    writer.close()
    assert [row["image_id"] for row in json.loads((folder.path / "coco.json").read_text())] == [1, 1, 2, 2]


def test_yolo_s_labels_are_parts_of_the_image(folder):
    writer = Yolo(folder, NAMES)
    writer.add(result())
    assert (folder.path / "labels" / "7.txt").read_text().splitlines() == [
        "3 0.200000 0.200000 0.200000 0.200000",
        "0 0.500000 0.500000 1.000000 1.000000",
    ]
    assert (folder.path / "classes.txt").read_text().splitlines() == NAMES
    writer.add(result(count=0))
    assert (folder.path / "labels" / "7.txt").read_text() == ""


def test_a_name_is_a_line_of_classes_txt_whatever_is_in_it(folder):
    Yolo(folder, ["two\nlines", "a\rb", "tab\there", "\udcff", "plain one"])
    lines = (folder.path / "classes.txt").read_bytes().decode().splitlines()
    assert lines == ["two\\nlines", "a\\rb", "tab\\there", "\\udcff", "plain one"]
    assert read_names(folder.path / "classes.txt") == lines


def test_rows_of_csv(folder):
    writer = Csv(folder, NAMES)
    writer.add(result('a,"b.jpg'))
    writer.add(result("c.mp4", frame=5, count=1))
    writer.close()
    rows = list(csv.DictReader(io.StringIO((folder.path / "detections.csv").read_text())))
    assert [(row["source"], row["frame"], row["label"]) for row in rows] == [
        ('a,"b.jpg', "", NAMES[3]),
        ('a,"b.jpg', "", "zero"),
        ("c.mp4", "5", NAMES[3]),
    ]
    assert [float(rows[0][key]) for key in ("score", "x1", "y1", "x2", "y2")] == [0.75, 10, 20, 30, 60]


def test_a_row_of_a_file_whose_name_is_no_text(folder):
    name = os.fsdecode(b"a\xff.jpg")
    for writer, file in ((Csv(folder, NAMES), "detections.csv"), (Json(folder, NAMES), "detections.json")):
        writer.add(result(name, count=1))
        writer.close()
        assert "a\\udcff.jpg" in (folder.path / file).read_text(encoding="utf-8")
    assert list(report(folder.path)) == [name]


# -- masks, key points, rotated boxes ---------------------------------------------------------------------------------

MASK = np.zeros((2, 50, 80), bool)
MASK[0, 10:21, 20:41] = MASK[1, 0, 5] = True
KEYPOINTS = np.float32([[[40, 25, 0.9], [80, 0, 0.2]], [[8, 5, 0.5], [16, 10, 0.499]]])
TURNED = np.float32([[40, 25, 20, 10, np.pi / 2], [0, 25, 16, 10, 0]])


def of_a_task(**more) -> Result:
    detections = Detections([[20, 10, 41, 21], [5, 0, 6, 1]], [0.75, 0.5], [3, 0], **more)
    return Result("7.jpg", None, (50, 80), detections, None, Path("7.txt"))


def written_by(writer, folder, result, name):
    writer.add(result)
    writer.close()
    return (folder.path / name).read_text()


def test_labels_of_masks_are_outlines(folder):
    lines = written_by(Yolo(folder, NAMES), folder, of_a_task(masks=MASK), "labels/7.txt").splitlines()
    index, *numbers = lines[0].split()
    points = np.array(numbers, float).reshape(-1, 2) * (80, 50)
    assert index == "3"
    assert sorted(map(tuple, points.round(3).tolist())) == [(20, 10), (20, 20), (40, 10), (40, 20)]
    assert lines[1].split()[0] == "0"  # of a single pixel it is the box
    corners = np.array(lines[1].split()[1:], float).reshape(-1, 2) * (80, 50)
    np.testing.assert_allclose(corners, [[5, 0], [6, 0], [6, 1], [5, 1]], atol=1e-4)


def test_labels_of_key_points_follow_the_box(folder):
    lines = written_by(Yolo(folder, NAMES), folder, of_a_task(keypoints=KEYPOINTS), "labels/7.txt").splitlines()
    assert lines == [
        "3 0.381250 0.310000 0.262500 0.220000 0.500000 0.500000 2 1.000000 0.000000 0",
        "0 0.068750 0.010000 0.012500 0.020000 0.100000 0.100000 2 0.200000 0.200000 0",
    ]
    two = written_by(Yolo(folder, NAMES), folder, of_a_task(keypoints=KEYPOINTS[..., :2]), "labels/7.txt")
    assert two.splitlines()[0].endswith(" 0.220000 0.500000 0.500000 1.000000 0.000000")


def test_labels_of_rotated_boxes_are_corners_within_the_image(folder):
    lines = written_by(Yolo(folder, NAMES), folder, of_a_task(rotated=TURNED), "labels/7.txt").splitlines()
    corners = np.array(lines[0].split()[1:], float).reshape(4, 2) * (80, 50)
    np.testing.assert_allclose(corners, [[45, 15], [45, 35], [35, 35], [35, 15]], atol=1e-4)
    corners = np.array(lines[1].split()[1:], float).reshape(4, 2) * (80, 50)
    np.testing.assert_allclose(corners, [[0, 20], [8, 20], [8, 30], [0, 30]], atol=1e-4)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_coco_s_results_of_tasks_are_read_by_coco_s_tool(folder):
    coco = pytest.importorskip("pycocotools.coco")
    writer = Coco(folder, NAMES, None, [Path("7.jpg")])
    rows = json.loads(written_by(writer, folder, of_a_task(masks=MASK, keypoints=KEYPOINTS), "coco.json"))
    np.testing.assert_allclose(rows[0]["keypoints"], KEYPOINTS[0].ravel(), rtol=1e-6)
    truth = coco.COCO()
    truth.dataset = json.loads((folder.path / "coco_images.json").read_text())
    truth.createIndex()
    loaded = truth.loadRes(str(folder.path / "coco.json"))
    for annotation, mask in zip(loaded.loadAnns(loaded.getAnnIds()), MASK, strict=True):
        np.testing.assert_array_equal(loaded.annToMask(annotation), mask)
    rows = json.loads(
        written_by(Coco(folder, NAMES, None, None), folder, of_a_task(keypoints=KEYPOINTS[..., :2]), "coco.json")
    )
    assert rows[0]["keypoints"] == [40, 25, 1, 80, 0, 1]
    rows = json.loads(written_by(Coco(folder, NAMES, None, None), folder, of_a_task(rotated=TURNED), "coco.json"))
    np.testing.assert_allclose(rows[0]["segmentation"], [[45, 15, 45, 35, 35, 35, 35, 15]], atol=1e-5)


def test_cells_of_tasks(folder):
    def rows(task, **more):
        text = written_by(Csv(folder, NAMES, task), folder, of_a_task(**more), "detections.csv")
        return list(csv.DictReader(io.StringIO(text)))

    assert sorted(map(float, rows("segment", masks=MASK)[0]["outline"].split())) == [10, 10, 20, 20, 20, 20, 40, 40]
    wide = np.zeros((2, 1, 1 << 20), bool)  # as wide as pictures are that OpenCV reads
    wide[:, 0, 1000001:1048575] = True
    assert {*rows("segment", masks=wide)[0]["outline"].split()} == {"1000001", "1048574", "0"}
    points = np.array(rows("pose", keypoints=KEYPOINTS)[1]["keypoints"].split(), np.float32)
    np.testing.assert_array_equal(points, KEYPOINTS[1].ravel())
    row = rows("obb", rotated=TURNED)[0]
    turned = [float(row[key]) for key in ("centre_x", "centre_y", "width", "height", "angle")]
    np.testing.assert_allclose(turned, TURNED[0], rtol=1e-6)
    assert rows("segment", masks=MASK)[0].keys() == {*Csv.COLUMNS, "outline"}


def test_all_formats_say_the_same(run, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):  # they overwrite what they wrote
        done = run("detect", PICTURE, *REFERENCE, *ALL, "-o", out, "--names", ",".join(map(str, range(10, 20))))
        assert (done.code, done.err) == (0, "")
    height, width, _ = read_image(PICTURE).shape
    expected = report(out)[str(PICTURE)]["detections"]
    coco = json.loads((out / "coco.json").read_text())
    rows = list(csv.DictReader(io.StringIO((out / "detections.csv").read_text())))
    labels = [line.split() for line in (out / "labels" / "picture.txt").read_text().splitlines()]
    assert len(expected) == len(coco) == len(rows) == len(labels) == 11
    for one, other, row, words in zip(expected, coco, rows, labels, strict=True):
        x, y, w, h = other["bbox"]
        np.testing.assert_allclose([x, y, x + w, y + h], one["box"], atol=1e-3)
        np.testing.assert_allclose([float(row[key]) for key in ("x1", "y1", "x2", "y2")], one["box"])
        x, y, w, h = (float(word) * side for word, side in zip(words[1:], (width, height) * 2, strict=True))
        np.testing.assert_allclose([x - w / 2, y - h / 2, x + w / 2, y + h / 2], one["box"], atol=1e-3)
        assert other["category_id"] - 1 == int(row["class"]) == int(words[0]) == one["class"]
        assert row["label"] == one["label"] == str(10 + one["class"])
    assert (out / "classes.txt").read_text().splitlines() == list(map(str, range(10, 20)))


def test_only_what_was_asked_for_is_written(run, tmp_path):
    assert run("detect", PICTURE, *SMALL, "--format", "csv", "--no-draw", "-o", tmp_path).code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"detections.csv", MARKER}
    wrong = run("detect", PICTURE, *SMALL, "--format", "xml")
    assert wrong.code == 2
    assert "'xml' is not one of" in wrong.err


@pytest.mark.parametrize(
    "name", ["coco.json", "coco_images.json", "detections.csv", "classes.txt", "labels/picture.txt"]
)
def test_no_file_of_results_that_is_not_ours_is_overwritten(run, tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"mine")
    done = run("detect", PICTURE, *SMALL, *ALL, "-o", tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: this would overwrite a file that it did not write: {path}\n")
    assert path.read_bytes() == b"mine"


def test_a_run_replaces_the_results_of_an_earlier_one_in_each_format(run, tmp_path, film):
    """Labels too, of pictures and of frames that it has not; what was changed, or is another's, is kept and named."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in "abc":
        shutil.copy(PICTURE, photos / f"{name}.jpg")
    assert run("detect", photos, film, *SMALL, *ALL, "-o", out).code == 0
    labels = out / "labels"
    paths = {path.relative_to(labels).as_posix() for path in labels.rglob("*.txt")}
    assert paths == {"a.txt", "b.txt", "c.txt", *(f"film/{frame:06}.txt" for frame in range(3))}
    (labels / "b.txt").write_text("3 0.5 0.5 0.1 0.1\n")
    (labels / "mine.txt").write_text("")
    (labels / "notes").write_text("")
    second = run("detect", photos / "a.jpg", *SMALL, *ALL, "-o", out)
    assert second.code == 0
    assert {path.name for path in labels.rglob("*") if path.is_file()} == {"a.txt", "b.txt", "mine.txt", "notes"}
    assert (labels / "b.txt").read_text() == "3 0.5 0.5 0.1 0.1\n"
    words = " ".join(second.err.split())
    assert f"4 label files of an earlier run removed, of other pictures: {labels / 'c.txt'}, " in words
    assert f"2 label files kept that detect did not write as it is: {labels / 'b.txt'}, {labels / 'mine.txt'}" in words
    for rows in (report(out), json.loads((out / "coco_images.json").read_text())["images"]):
        assert len(rows) == 1
    assert (out / "c.jpg").exists()  # it was drawn, and is nothing that is read as a whole


def test_labels_are_called_as_their_pictures_and_where_two_would_have_one_it_is_said(run, tmp_path, film):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in ("a.jpg", "b.jpg", "b.jpeg"):
        shutil.copy(PICTURE, photos / name)
    shutil.copy(film, photos / "a.avi")  # a folder of frames stands beside the file of labels
    shutil.copy(film, photos / "c.avi")
    shutil.copy(film, photos / "c.mkv")
    done = run("detect", photos, *SMALL, "--format", "yolo", "--no-draw", "-o", out)
    assert done.code == 0
    names = {path.relative_to(out / "labels").as_posix() for path in (out / "labels").rglob("*.txt")}
    frames = [f"{number:06}.txt" for number in range(3)]
    videos = {f"{folder}/{frame}" for folder in ("a", "c", "c-2") for frame in frames}
    assert names == {"a.txt", "b.txt", "b-2.txt", *videos}
    words = " ".join(done.err.split())
    assert "2 sources with labels of another name, since two would have one: " in words
    assert f"{photos / 'b.jpg'}: b-2.txt, {photos / 'c.mkv'}: c-2.txt" in words


def test_a_run_of_the_same_says_nothing_of_labels(run, tmp_path, film):
    for _ in range(2):
        done = run("detect", PICTURE, film, *SMALL, "--format", "yolo", "-o", tmp_path / "out")
        assert (done.code, done.err) == (0, "")
    assert run("detect", PICTURE, *SMALL, "--format", "csv", "-o", tmp_path / "out").code == 0
    assert len(list((tmp_path / "out" / "labels").rglob("*.txt"))) == 4  # those of a format that this run has not


# -- sources ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def film(tmp_path):
    """A video of three frames of the picture, each turned over."""
    path, image = tmp_path / "film.avi", cv2.cvtColor(read_image(PICTURE), cv2.COLOR_RGB2BGR)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 8, image.shape[1::-1])
    for frame in (image, image[:, ::-1], image):
        writer.write(frame)
    writer.release()
    return path


def test_a_video_in_is_a_video_out(run, tmp_path, film):
    out = tmp_path / "out"
    done = run("detect", film, *REFERENCE, *ALL, "-o", out, "--batch", 2)
    assert (done.code, done.err) == (0, "")
    rows = report(out)
    assert list(rows) == [f"{film}#{index}" for index in range(3)]
    assert [row["frame"] for row in rows.values()] == [0, 1, 2]
    assert {row["drawn"] for row in rows.values()} == {str(out / "film.mp4")}
    assert [len(row["detections"]) for row in rows.values()][::2] == [11, 11]
    assert {path.name for path in (out / "labels" / "film").iterdir()} == {f"{index:06}.txt" for index in range(3)}
    drawn = cv2.VideoCapture(str(out / "film.mp4"))
    assert (drawn.get(cv2.CAP_PROP_FPS), drawn.get(cv2.CAP_PROP_FRAME_COUNT)) == (8, 3)
    image = cv2.cvtColor(drawn.read()[1], cv2.COLOR_BGR2RGB)
    before = read_image(PICTURE)
    for x1, y1, x2, _ in (row["box"] for row in rows[f"{film}#0"]["detections"]):
        edge = np.s_[round(y1), round(x1) : round(x2)]
        assert np.abs(image[edge].astype(int) - before[edge]).max(1).mean() > 30
    assert done.out.splitlines()[-1].startswith("3 pictures, ")
    assert {path.name for path in out.iterdir()} >= {"film.mp4"}
    assert not [path for path in out.iterdir() if "tmp" in path.name]
    assert run("detect", film, *SMALL, "-o", out).code == 0  # it may overwrite its own


def test_several_sources_each_once(run, tmp_path, film):
    album = tmp_path / "album"
    album.mkdir()
    shutil.copy(PICTURE, album / "a.jpg")
    (tmp_path / "list.txt").write_text(f"album/a.jpg\n{PICTURE}\n")
    again = album / ".." / "album" / "a.jpg"
    done = run("detect", album, tmp_path / "list.txt", f"{album}/*.jpg", again, film, *SMALL, "-o", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert list(report(tmp_path / "out")) == [str(album / "a.jpg"), str(PICTURE), *(f"{film}#{i}" for i in range(3))]


def test_two_links_to_one_picture_are_two_sources_and_empty_text_is_none(run, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).symlink_to(PICTURE)
    assert run("detect", tmp_path / "a.jpg", tmp_path / "b.jpg", *SMALL, "-o", tmp_path / "out").code == 0
    assert len(report(tmp_path / "out")) == 2
    done = run("detect", "", *SMALL, "-o", tmp_path / "other")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: {sources} is empty text\n")


def test_what_ends_early_or_is_none_is_named_and_the_rest_kept(run, tmp_path, film):
    data = video(tmp_path / "long.avi", 60).read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    (tmp_path / "none.mp4").write_bytes(b"none")
    done = run("detect", tmp_path / "none.mp4", tmp_path / "cut.avi", 98, film, *SMALL, "-o", tmp_path / "out")
    assert done.code == 1
    notes = [line for line in done.err.splitlines() if line.startswith("skipped: ")]
    assert notes[0] == f"skipped: cannot open the video {tmp_path / 'none.mp4'}"
    assert notes[1].startswith(f"skipped: the video {tmp_path / 'cut.avi'} ended early: ")
    assert notes[2] == "skipped: cannot open the camera 98"
    assert done.err.endswith("error: 3 of 4 sources could not be read, or not to their end\n")
    names = [name.partition("#")[0] for name in report(tmp_path / "out")]
    assert names.count(str(film)) == 3
    assert names.count(str(tmp_path / "cut.avi")) > 10
    assert cv2.VideoCapture(str(tmp_path / "out" / "cut.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) > 10


def test_a_picture_on_standard_input(tmp_path):
    command = [sys.executable, "-c", "from trtnn.cli import main; main()", "detect", "-", *map(str, SMALL)]
    with open(PICTURE, "rb") as file:
        done = subprocess.run([*command, "-o", str(tmp_path)], stdin=file, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(report(tmp_path)) == ["-"]
    assert read_image(tmp_path / "stdin.png").shape == read_image(PICTURE).shape


def test_a_process_that_is_killed_leaves_what_it_wrote(tmp_path, film):
    """Whole JSON, and files that the next run knows as its own."""
    code = """if True:
        import os, sys
        from trtnn.cli import main, detect
        keep, seen = detect._Detected.keep, []
        def kept(*arguments):
            keep(*arguments)
            seen.append(1)
            if len(seen) == 2:
                os.kill(os.getpid(), 9)
        detect._Detected.keep = kept
        main()"""
    options = [sys.executable, "-c", code, "detect", str(film), *map(str, [*SMALL, *ALL]), "-o", str(tmp_path / "out")]
    assert subprocess.run(options, check=False).returncode == -9
    assert list(report(tmp_path / "out")) == [f"{film}#0", f"{film}#1"]
    json.loads((tmp_path / "out" / "coco.json").read_text())
    assert len(json.loads((tmp_path / "out" / "coco_images.json").read_text())["images"]) == 2
    folder = ResultFolder(tmp_path / "out")
    assert all(folder.wrote(folder.path / name) for name in ("detections.json", "coco.json", "detections.csv"))


def test_standard_input_is_there_once(run):
    assert run("detect", "-", "-", *SMALL).err == "error: standard input is there once\n"


def test_a_camera_is_drawn_as_a_video(run, tmp_path, monkeypatch):
    from trtnn.vision import sources

    def camera(place, name, max_pixels):
        assert (place, name) == (0, "0")
        yield from (sources.Frame(read_image(PICTURE), index, 0.0) for index in range(2))

    monkeypatch.setattr(sources, "_read_video", camera)
    monkeypatch.chdir(tmp_path)
    assert run("detect", 0, *SMALL, "--every-frame").code == 0  # else it depends on the time which frames there are
    assert sorted(os.listdir("detections")) == [MARKER, "camera-0.mp4", "detections.json"]
    assert list(report(tmp_path / "detections")) == ["0#0", "0#1"]
