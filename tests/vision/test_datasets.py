"""Images with true boxes: COCO's annotations and YOLO's labels."""

import json

import numpy as np
import pytest

import trtnn.vision.datasets
from tests.helpers import message_of
from trtnn.errors import ArgumentError
from trtnn.vision import write_image
from trtnn.vision.coco import match_categories
from trtnn.vision.datasets import Measured, read_dataset


def image_at(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.zeros((10, 20, 3), np.uint8))
    return path


def annotations(**changes):
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": 20, "height": 10}, {"id": 3, "file_name": "b.png"}],
        "categories": [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 5, "bbox": [1, 2, 3, 4], "area": 6.5, "iscrowd": 1},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 2.5, 4]},
        ],
        **changes,
    }


@pytest.fixture
def coco(tmp_path):
    """A folder as COCO's own are."""
    for name in ("a.png", "b.png"):
        image_at(tmp_path / "val2017" / name)
    path = tmp_path / "annotations" / "instances_val2017.json"
    path.parent.mkdir()
    path.write_text(json.dumps(annotations()))
    return path


@pytest.fixture
def yolo(tmp_path):
    for name in ("a", "b"):
        image_at(tmp_path / "images" / "val" / f"{name}.png")
    labels = tmp_path / "labels" / "val"
    labels.mkdir(parents=True)
    (labels / "a.txt").write_text("1 0.5 0.5 0.2 0.4\n\n0 0.1 0.2 0.3 0.2 0.3 0.6\n")
    (tmp_path / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n")
    return tmp_path


def test_coco_s_annotations(coco):
    for place in (coco, coco.parent.parent):
        data = read_dataset(place)
        assert data.categories == {2: "cat", 5: "dog"}
        first, second = data.images
        assert (first.path, first.number, first.relative) == (coco.parent.parent / "val2017" / "a.png", 7, False)
        assert first.boxes.tolist() == [[1, 2, 3, 4], [0, 0, 2.5, 4]]
        assert (first.categories.tolist(), first.crowds.tolist()) == ([5, 2], [True, False])
        assert first.areas.tolist() == [6.5, 10]
        assert (second.number, second.boxes.shape) == (3, (0, 4))


@pytest.mark.parametrize("place", ["images", ".", "elsewhere"])
def test_where_coco_s_images_are(tmp_path, place):
    image_at(tmp_path / place / "a.png")
    path = tmp_path / "_annotations.coco.json"
    path.write_text(json.dumps(annotations()))
    if place == "elsewhere":
        with pytest.raises(ArgumentError, match=r"are not to be found: a\.png\n  looked in .*\n  --images says where"):
            read_dataset(path)
    data = read_dataset(tmp_path, tmp_path / place if place == "elsewhere" else None)
    assert data.images[0].path == tmp_path / place / "a.png"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": None}, "it has no list of images"),
        ({"images": []}, "an annotation is of image 7 and category 5, and one of them is missing"),
        ({"images": [{"id": 7, "file_name": "a.png"}] * 2}, "a number is there twice"),
        ({"images": [{"id": i, "file_name": "a.png"} for i in (7, 8)]}, "a file is there twice"),
        ({"images": [{"id": "7", "file_name": "a.png"}]}, "id is a whole number, not '7'"),
        ({"categories": [{"id": 5}]}, "name is text, not None"),
        ({"annotations": [{"image_id": 7, "category_id": 9, "bbox": [0, 0, 1, 1]}]}, "image 7 and category 9"),
        (
            {"annotations": [{"image_id": 7, "category_id": 5, "bbox": [0, 0, 1]}]},
            r"a bbox is four numbers, not \[0, 0, 1\]",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 5, "bbox": [0, 0, 1, 1], "area": "a"}]},
            "an area is a number",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 5, "bbox": [0, 0, 1, 1], "area": -1}]},
            "an area is a number from 0 up, not -1",  # COCO's tool leaves such an object out without a word
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 5, "bbox": [0, 0, 1, 1], "iscrowd": "0"}]},
            "iscrowd is 0 or 1, not '0'",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 5, "bbox": [0, 0, 1, 1], "iscrowd": 2}]},
            "iscrowd is 0 or 1, not 2",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 5, "bbox": [0, 0, 1, 10**400]}]},
            "a bbox is four numbers",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 5, "bbox": [9, 9, -5, 7]}]},
            r"a bbox is x, y, width and height, and \[9, 9, -5, 7\] has one below 0",
        ),
    ],
)
def test_damaged_annotations(coco, changes, words):
    coco.write_text(json.dumps(annotations(**changes)))
    with pytest.raises(ArgumentError, match=words):
        read_dataset(coco)


def test_annotations_without_images_or_that_cannot_be_read(coco, monkeypatch):
    coco.write_text(json.dumps(annotations(images=[], annotations=[])))
    with pytest.raises(ArgumentError, match=r"instances_val2017\.json has no images"):
        read_dataset(coco)

    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("trtnn.vision.datasets.open_regular", refused)
    with pytest.raises(ArgumentError, match=r"cannot read .*instances_val2017.json: Permission denied"):
        read_dataset(coco)


def test_yolo_s_labels(yolo):
    for place in (yolo, yolo / "data.yaml"):
        data = read_dataset(place)
        assert data.categories == {0: "cat", 1: "dog"}
        first, second = data.images
        assert (first.path, first.relative) == (yolo / "images" / "val" / "a.png", True)
        np.testing.assert_allclose(first.boxes, [[0.4, 0.3, 0.2, 0.4], [0.1, 0.2, 0.2, 0.4]], atol=1e-12)
        np.testing.assert_allclose(first.areas, [0.08, 0.08])
        assert first.categories.tolist() == [1, 0]
        assert len(second.boxes) == 0
    (yolo / "data.yaml").unlink()
    assert read_dataset(yolo).categories is None


def test_labels_beside_images_and_lists_of_images(yolo):
    (yolo / "images" / "val").rename(yolo / "both")
    (yolo / "labels" / "val" / "a.txt").rename(yolo / "both" / "a.txt")
    assert len(read_dataset(yolo / "both").images[0].boxes) == 2
    (yolo / "some.txt").write_text("both/a.png\n")
    for value in ("some.txt", "[both, some.txt]", "../some.txt"):
        (yolo / "data.yaml").write_text(f"test: {value}\nnames: [cat, dog]\n")
        data = read_dataset(yolo, split="test")
        assert [image.path.name for image in data.images] == (["a.png", "b.png"] if "[" in value else ["a.png"])


def test_a_list_whose_images_are_not_there_as_seen_from_it(yolo):
    (yolo / "lists").mkdir()
    for text, words in (("images/val/a.png\n", "such as .*lists/images/val/a.png"), ("\n", "it is empty")):
        (yolo / "lists" / "some.txt").write_text(text)
        (yolo / "data.yaml").write_text("val: lists/some.txt\nnames: [cat, dog]\n")
        with pytest.raises(ArgumentError, match=rf"some\.txt names no image that is there\n  {words}"):
            read_dataset(yolo)


def test_a_label_that_stands_twice_counts_once_with_a_warning(yolo):
    for name in "ab":
        (yolo / "labels" / "val" / f"{name}.txt").write_text(
            "1 0.5 0.5 0.2 0.4\n0 0.5 0.5 0.2 0.4\n1 0.50 0.5 0.2 0.4\n"
        )
    with pytest.warns(UserWarning, match=r"2 labels stand in their file twice .*such as .*a\.txt:3") as caught:
        data = read_dataset(yolo)
    assert len(caught) == 1
    assert [image.categories.tolist() for image in data.images] == [[1, 0], [1, 0]]


def with_keypoints(yolo, shape, numbers):
    (yolo / "labels" / "val" / "a.txt").write_text(f"1 0.5 0.5 0.2 0.4 {' '.join(map(str, numbers))}\n")
    text = f"val: images/val\nnames: [cat, dog]\nkpt_shape: {shape}\n"
    (yolo / "data.yaml").write_text(text)


@pytest.mark.parametrize(("shape", "numbers"), [([2, 2], [0.1, 0.2, 0.9, 0.8]), ([2, 3], [0.1, 0.2, 2, 0.9, 0.8, 0])])
def test_boxes_of_labels_with_key_points_are_not_read_as_polygons(yolo, shape, numbers):
    with_keypoints(yolo, shape, numbers)
    (image, _) = read_dataset(yolo).images
    assert image.boxes.tolist() == [pytest.approx([0.4, 0.3, 0.2, 0.4])]
    assert image.areas.tolist() == [pytest.approx(0.2 * 0.4)]
    assert image.keypoints is None
    (image, _) = read_dataset(yolo, measured=Measured("pose", (2, 3))).images  # whatever the network's are
    assert image.areas.tolist() == [pytest.approx(0.53 * 0.2 * 0.4)]
    assert image.keypoints[0, :, :2].ravel().tolist() == [0.1, 0.2, 0.9, 0.8]
    assert image.keypoints[0, :, 2].tolist() == ([2, 2] if shape[1] == 2 else [2, 0])


@pytest.mark.parametrize(
    ("shape", "measured", "words"),
    [
        ([2, 2], Measured("pose", (17, 3)), "have 2 key points, and the detector finds 17"),
        ([2, 2], Measured("segment"), "are of key points, and masks are measured"),
        ([3, 2], Measured(), "9 numbers are no class, box and 3 key points of 2 numbers"),
        ([2, 4], Measured(), r"kpt_shape of .*data.yaml is \[2, 4\]"),
        ("many", Measured(), "kpt_shape of .*data.yaml is 'many'"),
    ],
)
def test_key_points_that_do_not_fit(yolo, shape, measured, words):
    with_keypoints(yolo, shape, [0.1, 0.2, 0.9, 0.8])
    with pytest.raises(ArgumentError, match=words):
        read_dataset(yolo, measured=measured)


def key_point_lines(rng, each, count=40):
    """Lines as of people: boxes in the image, most points in them, some a bit outside, some not labelled."""
    lines = []
    for _ in range(count):
        size = rng.uniform(0.05, 0.4, 2)
        centre = rng.uniform(size / 2, 1 - size / 2)
        points = centre + rng.uniform(-0.5, 0.5, (6, 2)) * size
        points[rng.random(6) < 0.2] = 0
        if rng.random() < 0.2:
            points[0] = centre + size  # outside
        columns = [points] if each == 2 else [points, np.ones((6, 1))]
        lines.append([*centre, *size, *np.concatenate(columns, axis=1).clip(0, 1).ravel()])
    return lines


def outline_lines(rng, points, count=40):
    """Lines of polygons with as many corners each, around their middles."""
    lines = []
    for _ in range(count):
        radius = rng.uniform(0.03, 0.15)
        centre, turn = rng.uniform(radius, 1 - radius, 2), rng.uniform(0, 6.3)
        angles = turn + np.arange(points) * 2 * np.pi / points
        lines.append((centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)).ravel())
    return lines


def write_lines(yolo, lines):
    text = "".join(f"0 {' '.join(f'{number:.6f}' for number in line)}\n" for line in lines)
    (yolo / "labels" / "val" / "a.txt").write_text(text)


@pytest.mark.parametrize("each", [2, 3])
def test_labels_that_are_outlines_or_key_points_are_refused_unless_something_says_which(yolo, each):
    write_lines(yolo, key_point_lines(np.random.default_rng(each), each))
    described = (yolo / "data.yaml").read_text()
    (yolo / "data.yaml").unlink()
    readings = r"an outline of \d+ points, or a box and \d+ key points of x and y" + (", or 6 of" if each == 3 else "")
    with pytest.raises(ArgumentError, match=rf"can be read in two ways, .*\n  .*a\.txt:1 .*{readings}"):
        read_dataset(yolo)
    (yolo / "data.yaml").write_text(described)
    assert len(read_dataset(yolo).images[0].boxes) == 40
    (yolo / "data.yaml").write_text(f"{described}kpt_shape: [6, {each}]\n")
    assert read_dataset(yolo).images[0].boxes.shape == (40, 4)
    (yolo / "data.yaml").unlink()
    shape = read_dataset(yolo, measured=Measured("pose", (6, each))).images[0].keypoints.shape
    assert shape == (40, 6, 3)
    assert len(read_dataset(yolo, measured=Measured("segment")).images[0].outlines) == 40


@pytest.mark.parametrize("points", [3, 4, 8, 20])
def test_outlines_are_told_from_key_points(yolo, points):
    (yolo / "data.yaml").unlink()
    lines = outline_lines(np.random.default_rng(points), points)
    write_lines(yolo, lines)
    assert len(read_dataset(yolo).images[0].boxes) == 40
    # Lines of several counts are no key points, wherever they lie; boxes beside lines of one count tell nothing.
    write_lines(yolo, [[0.3, 0.3, 0.4, 0.4, 0.3, 0.3], [0.3, 0.3, 0.4, 0.4, 0.3, 0.3, 0.4, 0.4]])
    assert len(read_dataset(yolo).images[0].boxes) == 2
    write_lines(yolo, [[0.3, 0.3, 0.4, 0.4], [0.3, 0.3, 0.4, 0.4, 0.3, 0.3]])
    with pytest.raises(ArgumentError, match=r"a\.txt:2 has a class and 6 numbers: an outline of 3"):
        read_dataset(yolo)
    write_lines(yolo, [[0.3, 0.3, 0.4, 0.4]])
    assert len(read_dataset(yolo).images[0].boxes) == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 0.5 0.5 0.2 0.4", "2 is no class of 0 to 1"),
        ("0.5 0.5 0.5 0.2 0.4", "0.5 is no class"),
        ("-1 0.5 0.5 0.2 0.4", "-1 is no class"),
        ("1 0.5 0.5 0.2", "4 numbers are neither a box nor a polygon"),
        ("1 0.5 0.5 0.2 0.4 0.9", "six numbers are a detection with its score, and labels have five"),
        ("1 250 100 20 40", "what stands behind the class is in 0..1"),
        ("cat 0.5 0.5 0.2 0.4", "could not convert string to float"),
        ("nan 0.5 0.5 0.2 0.4", "cannot convert float NaN"),
        ("1 nan 0.5 0.2 0.4", "what stands behind the class is in 0..1"),
    ],
)
def test_lines_that_are_no_labels(yolo, line, words):
    (yolo / "labels" / "val" / "a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(ArgumentError, match=rf"a\.txt:2 is no label: .*{words}"):
        read_dataset(yolo)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("names: [cat, dog]\ntrain: images/val\n", "names no images for val\n  it has train"),
        ("names: [cat, dog]\nval: 3\n", "names no images for val\n  it has val"),
        ("names: [cat, dog]\nval: gone\n", "names images that are not there\n  looked at .*gone"),
        ("val: images/val\n", "gives no names of classes: it has no names"),
    ],
)
def test_descriptions_that_say_too_little(yolo, text, words):
    (yolo / "data.yaml").write_text(text)
    with pytest.raises(ArgumentError, match=words):
        read_dataset(yolo)


def test_several_data_sets_and_none(yolo):
    (yolo / "a.json").touch()
    with pytest.raises(ArgumentError, match=r"has several data sets\n  give one of them: data\.yaml, a\.json"):
        read_dataset(yolo)
    with pytest.raises(ArgumentError, match="there is no data set at"):
        read_dataset(yolo / "gone")
    with pytest.raises(ArgumentError, match="is no data set\n  a file of one is JSON"):
        read_dataset(yolo / "images" / "val" / "a.png")
    with pytest.raises(ArgumentError, match="a folder of images goes with COCO's annotations"):
        read_dataset(yolo / "data.yaml", yolo)
    (yolo / "labels" / "val" / "a.txt").unlink()
    with pytest.raises(ArgumentError, match=r"have no labels\n  .* a file of its own, such as .*labels/val/a\.txt for"):
        read_dataset(yolo / "data.yaml")


def test_another_file_in_a_folder_is_told_of_as_what_was_taken(tmp_path):
    (tmp_path / "detections.json").write_text("{}")
    with pytest.raises(ArgumentError, match=r"detections\.json has no annotations as COCO's") as caught:
        read_dataset(tmp_path)
    assert caught.value.details[-1] == f"it is the one JSON file in {tmp_path}: another data set there is given itself"
    with pytest.raises(ArgumentError) as caught:
        read_dataset(tmp_path / "detections.json")
    assert "the one JSON file" not in str(caught.value)


# -- classes and categories -------------------------------------------------------------------------------------------

NAMES = {2: "cat", 5: "dog"}


@pytest.mark.parametrize(
    ("categories", "labels", "classes", "expected"),
    [
        (NAMES, ["dog", "bird", "cat"], 3, [5, None, 2]),
        (NAMES, ["N/A", "cat", "N/A", "dog"], 4, [None, 2, None, 5]),
        (NAMES, None, 2, [2, 5]),
        (NAMES, None, None, [2, 5]),
        (None, ["a", "b", "c"], 3, [0, 1, 2]),
        (None, None, None, [0, 1]),
    ],
)
def test_classes_are_matched_by_name_and_else_by_order(categories, labels, classes, expected):
    assert match_categories(categories, labels, classes, 1) == expected


@pytest.mark.parametrize(
    ("categories", "labels", "classes", "words"),
    [
        (NAMES, ["dog", "bird"], 2, "not once: cat\n  the detector's classes are dog, bird\n  --names gives"),
        (NAMES, ["dog", "cat", "dog"], 3, "not once: dog"),
        ({1: "cat", 2: "cat"}, ["cat"], 1, "not each one of the detector's classes"),
        (NAMES, None, 3, "has 2 categories, the detector 3 classes, without names\n  the data set's are cat, dog"),
        (None, None, 1, "the labels have class 1, and the detector has 1: 0 to 0"),
    ],
)
def test_classes_that_cannot_be_matched(categories, labels, classes, words):
    with pytest.raises(ArgumentError, match=words):
        match_categories(categories, labels, classes, 1)


def test_annotations_that_are_not_read_are_told_once(coco, monkeypatch):
    monkeypatch.setattr(trtnn.vision.datasets, "_MOST_BYTES", 9)
    assert message_of(ArgumentError, read_dataset, coco) == f"{coco} has more than 9 bytes"
