"""Images with true boxes: COCO's annotations, and YOLO's files of labels with their data.yaml."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trtnn.errors import ArgumentError, BackendError, harmless_text
from trtnn.files import open_regular
from trtnn.strict_json import is_number, parse_object
from trtnn.vision.headers import Size
from trtnn.vision.images import find_images
from trtnn.vision.names import read_names
from trtnn.vision.truth import (
    POSE_SHARE,
    Outline,
    Outlines,
    coco_keypoints,
    coco_outline,
    label_keypoints,
    label_outline,
)

_MOST_BYTES = 1 << 31  # of annotations: those of COCO's training images have 450 MB
_MOST_LABEL_BYTES = 1 << 24  # of one image's labels
_SUFFIXES = (".yaml", ".yml")
_LINES = {  # of YOLO's labels, by what is measured
    "detect": "class x y width height, or class x1 y1 x2 y2 ...; key points want a data.yaml with kpt_shape",
    "segment": "class x1 y1 x2 y2 x3 y3 ...",
    "pose": "class x y width height, and of each key point x, y and visibility, or x and y alone",
}


@dataclass(frozen=True)
class TrueImage:
    """An image, and what is in it.

    Attributes:
        path: of the image.
        number: what tells it from others.
        boxes: (n, 4) float64: x1, y1, width and height in px; in parts of the image where it is ``relative``.
        categories: (n,) int64, their numbers.
        areas: (n,) float64, of the objects themselves, which may be smaller than the boxes; else the boxes' own.
        crowds: (n,) bool: whether a box is of many objects, which COCO's measure leaves out.
        relative: whether boxes, areas, outlines and key points are parts of the image.
        outlines: of each object, where masks are asked for.
        keypoints: (n, points, 3), x, y, and 0 for those that are not labelled, where they are asked for.
        size: the (height, width) in px that the annotations are of, None where they do not say it.
    """

    path: Path
    number: int
    boxes: np.ndarray
    categories: np.ndarray
    areas: np.ndarray
    crowds: np.ndarray
    relative: bool = False
    outlines: Sequence[Outline] | None = None
    keypoints: np.ndarray | None = None
    size: Size | None = None


@dataclass(frozen=True)
class Measured:
    """What is measured beside boxes, and has to be there.

    Attributes:
        task: ``"segment"`` wants outlines, ``"pose"`` key points.
        kpt_shape: how many key points there are, and how many numbers YOLO's labels have for each.
    """

    task: str = "detect"
    kpt_shape: Sequence[int] = (0, 0)


BOXES_ALONE = Measured()


@dataclass(frozen=True)
class DataSet:
    """Images with true boxes.

    Attributes:
        path: of the file or the folder that says so.
        images: at least one.
        categories: the names by number, ascending; None where nothing names them, and numbers are those of classes.
    """

    path: Path
    images: list[TrueImage]
    categories: dict[int, str] | None


def read_dataset(
    path: Path, images: Path | None = None, split: str = "val", measured: Measured = BOXES_ALONE
) -> DataSet:
    """Read a data set.

    Args:
        path: a JSON file with COCO's annotations; YOLO's data.yaml; or a folder with one of these, or with images and
            YOLO's labels: ``images/a.jpg`` and ``labels/a.txt``, or both beside each other.
        images: the folder that COCO's file names are from; where it is None, those where one usually lies are tried.
        split: which images of a data.yaml: ``train``, ``val`` or ``test``.
        measured: what is measured beside boxes.

    Raises:
        ArgumentError: there is none, it lacks what is measured, it can be read in several ways, or it is damaged.
        BackendError: it is YAML, and PyYAML is missing.
    """
    if not path.exists():
        raise ArgumentError(f"there is no data set at {path}", "give a JSON file, a data.yaml, or a folder with images")
    place = path if path.is_file() else _description_in(path)
    if place is not None and place.suffix.lower() == ".json":
        try:
            return _read_coco(place, images, measured)
        except ArgumentError as error:
            more = (
                [] if place == path else [f"it is the one JSON file in {path}: another data set there is given itself"]
            )
            raise ArgumentError(error.summary, *error.details, *more) from None
    if images is not None:
        raise ArgumentError("a folder of images goes with COCO's annotations", f"{place or path} has its own")
    if place is None:
        pictures = _pictures([path / "images" if (path / "images").is_dir() else path])
        return DataSet(path, _read_labels(path, pictures, None, measured, None), None)
    if place.suffix.lower() not in _SUFFIXES:
        raise ArgumentError(
            f"{place} is no data set", "a file of one is JSON with COCO's annotations, or YOLO's data.yaml"
        )
    names = dict(enumerate(read_names(place)))
    content = _read_yaml(place)
    shape = _keypoint_shape(place, content, measured)
    pictures = _pictures(_folders(place, content, split))
    return DataSet(place, _read_labels(place, pictures, names, measured, shape), names)


def _description_in(folder: Path) -> Path | None:
    """Return the file in a folder that says what the data set is, None where there is none."""
    named = [folder / name for name in ("data.yaml", "dataset.yaml") if (folder / name).is_file()]
    yaml = named[:1] or sorted(path for suffix in _SUFFIXES for path in folder.glob(f"*{suffix}"))
    annotations = folder / "annotations"
    json = sorted(annotations.glob("instances_*.json")) or sorted([*annotations.glob("*.json"), *folder.glob("*.json")])
    found = [*yaml, *json]
    if len(found) > 1:
        names = [str(path.relative_to(folder)) for path in found]
        raise ArgumentError(f"{folder} has several data sets", f"give one of them: {', '.join(names[:8])}")
    return found[0] if found else None


# -- COCO -------------------------------------------------------------------------------------------------------------


def _read_coco(path: Path, root: Path | None, measured: Measured) -> DataSet:
    data = _read(path, _MOST_BYTES)
    try:
        content = parse_object(data)
        listed, annotations, categories = (_rows(content, key) for key in ("images", "annotations", "categories"))
        files = {_whole(row, "id"): _text(row, "file_name") for row in listed}
        names = {_whole(row, "id"): harmless_text(_text(row, "name")) for row in categories}
        if len(files) < len(listed) or len(names) < len(categories):
            raise ValueError("a number is there twice")
        if len(set(files.values())) < len(files):
            raise ValueError("a file is there twice")
        by_image: dict[int, list[_Row]] = {number: [] for number in files}
        for row in annotations:
            image, category, box = _whole(row, "image_id"), _whole(row, "category_id"), row.get("bbox")
            if image not in files or category not in names:
                raise ValueError(
                    f"an annotation is of image {image} and category {category}, and one of them is missing"
                )
            if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
                raise ValueError(f"a bbox is four numbers, not {box!r:.80}")
            if box[2] < 0 or box[3] < 0:
                raise ValueError(f"a bbox is x, y, width and height, and {box!r:.80} has one below 0")
            area = row.get("area", box[2] * box[3])
            if not is_number(area) or area < 0:
                raise ValueError(f"an area is a number from 0 up, not {area!r:.80}")
            crowd = row.get("iscrowd", 0)
            if not isinstance(crowd, int) or crowd not in (0, 1):
                raise ValueError(f"iscrowd is 0 or 1, not {crowd!r:.80}")
            outline = coco_outline(row) if measured.task == "segment" else None
            points = coco_keypoints(row, measured.kpt_shape[0]) if measured.task == "pose" else None
            by_image[image].append(_Row(box, category, area, bool(crowd), outline, points))
    except ValueError as error:
        raise ArgumentError(f"{path} has no annotations as COCO's: {error}") from None
    if not files:
        raise ArgumentError(f"{path} has no images")
    folder = root or _image_folder(path, next(iter(files.values())))
    sizes = {_whole(row, "id"): _size_in(row) for row in listed}
    images = [
        replace(_true_image(folder / file, number, by_image[number], measured), size=sizes[number])
        for number, file in files.items()
    ]
    return DataSet(path, images, dict(sorted(names.items())))


class _Row(NamedTuple):
    """An object: its box, category and area, whether it is a crowd, and what is measured beside its box."""

    box: list[float]
    category: int
    area: float
    crowd: bool
    outline: Outline | None = None
    keypoints: np.ndarray | None = None


def _true_image(path: Path, number: int, rows: Sequence[_Row], measured: Measured, relative: bool = False) -> TrueImage:
    boxes, categories, areas, crowds, outlines, points = zip(*rows, strict=True) if rows else ([], [], [], [], [], [])
    return TrueImage(
        path,
        number,
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(categories, np.int64),
        np.array(areas, np.float64),
        np.array(crowds, bool),
        relative,
        [outline for outline in outlines if outline is not None] if measured.task == "segment" else None,
        np.array(points, np.float64).reshape(-1, measured.kpt_shape[0], 3) if measured.task == "pose" else None,
    )


def _image_folder(path: Path, first: str) -> Path:
    """Return the folder that holds the first image of COCO's annotations: beside them, or where COCO's own are."""
    split = path.stem.removeprefix("instances_")
    places = [path.parent, path.parent / "images"]
    places += [path.parent.parent / name for name in ("images", split, f"images/{split}", ".")]
    for place in places:
        if (place / first).is_file():
            return place
    tried = [str(place) for place in places]
    raise ArgumentError(
        f"the images of {path} are not to be found: {first}",
        f"looked in {', '.join(tried)}",
        "--images says where they are",
    )


def _rows(content: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    rows = content.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"it has no list of {key}")
    return rows


def _whole(row: Mapping[str, Any], key: str) -> int:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{key} is a whole number, not {value!r:.80}")
    return value


def _size_in(row: Mapping[str, Any]) -> Size | None:
    """Return the (height, width) that an image's row says, None where it says none."""
    height, width = row.get("height"), row.get("width")
    if type(height) is int and type(width) is int and height > 0 and width > 0:
        return height, width
    return None


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is text, not {value!r:.80}")
    return value


# -- YOLO -------------------------------------------------------------------------------------------------------------


def _read_yaml(path: Path) -> dict[str, Any]:
    """Return what a data.yaml says.

    Raises:
        BackendError: PyYAML is missing.
        ArgumentError: it cannot be read.
    """
    try:
        import yaml
    except ImportError:
        raise BackendError("data.yaml is read by PyYAML, which is missing", "pip install pyyaml") from None
    data = _read(path, _MOST_LABEL_BYTES)
    try:
        content = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError) as error:
        raise ArgumentError(
            f"{path} is no data set: {next(iter(str(error).splitlines()), 'it does not parse')}"
        ) from None
    return content if isinstance(content, dict) else {}


def _keypoint_shape(path: Path, content: Mapping[str, Any], measured: Measured) -> tuple[int, int] | None:
    """Return how many key points each label of a data.yaml has, and how many numbers of each; None where it has none.

    Raises:
        ArgumentError: it says something else, or the labels lack what is measured.
    """
    shape = content.get("kpt_shape")
    if shape is None:
        return None
    is_list = isinstance(shape, list) and len(shape) == 2 and all(type(n) is int and n > 0 for n in shape)
    if not is_list or shape[1] not in (2, 3):
        raise ArgumentError(f"kpt_shape of {path} is {shape!r:.80}", "[17, 3] is 17 points of x, y and visibility")
    if measured.task == "segment":
        raise ArgumentError(f"the labels of {path} are of key points, and masks are measured", "they have no outlines")
    if measured.task == "pose" and shape[0] != measured.kpt_shape[0]:
        raise ArgumentError(
            f"the labels of {path} have {shape[0]} key points, and the detector finds {measured.kpt_shape[0]}"
        )
    return shape[0], shape[1]


def _folders(path: Path, content: Mapping[str, Any], split: str) -> list[Path]:
    """Return the folders and lists of images that a data.yaml names for a split."""
    value = content.get(split)
    entries = [entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, str)]
    if not entries or (isinstance(value, list) and len(entries) < len(value)):
        keys = ", ".join(key for key in ("train", "val", "test") if content.get(key))
        raise ArgumentError(f"{path} names no images for {split}", f"it has {keys or 'none of train, val and test'}")
    root = content.get("path")
    roots = [path.parent / root, path.parent] if isinstance(root, str) else [path.parent]
    folders = []
    for entry in entries:
        # Some exports say ../val/images where val lies beside the file.
        names = [entry, *([entry[3:]] if entry.startswith("../") else [])]
        tried = [place / name for place in roots for name in names]
        there = next((place for place in tried if place.exists()), None)
        if there is None:
            raise ArgumentError(f"{path} names images that are not there", f"looked at {', '.join(map(str, tried))}")
        folders.append(there)
    return folders


def _pictures(places: Iterable[Path]) -> list[Path]:
    """Return all images in folders, below them too, and in lists of images."""
    paths: list[Path] = []
    for place in places:
        if place.is_file() and place.suffix.lower() == ".txt":
            lines = _read(place, _MOST_BYTES).decode("utf-8-sig", "replace").splitlines()
            listed = [place.parent / line.strip() for line in lines if line.strip()]
            if not any(path.is_file() for path in listed):
                such = f"such as {listed[0]}: a line is a path as seen from the list" if listed else "it is empty"
                raise ArgumentError(f"the list {place} names no image that is there", such)
            paths += listed
        else:
            paths += find_images(place, recursive=True)
    return list(dict.fromkeys(paths))


def _read_labels(
    source: Path,
    paths: Sequence[Path],
    names: Mapping[int, str] | None,
    measured: Measured,
    shape: tuple[int, int] | None,
) -> list[TrueImage]:
    """Return images with the labels beside them; one without a file of labels has nothing in it.

    Args:
        source: what names them.
        paths: of the images.
        names: of the classes by index, where they have any.
        measured: what is measured beside boxes.
        shape: how many key points each label has, and how many numbers of each, where that is said.

    Raises:
        ArgumentError: none has any, or nothing tells outlines from key points.
    """
    # A data.yaml, which has names, says kpt_shape where there are key points; so does what is measured.
    outlines = Outlines() if names is None and shape is None and measured.task == "detect" else None
    reader = _LabelReader(names, measured, shape, outlines)
    images, files = [], 0
    for number, path in enumerate(paths, 1):
        label_path = _label_path(path)
        rows = []
        if label_path.is_file():
            files += 1
            rows = reader.read(label_path)
        images.append(_true_image(path, number, rows, measured, relative=True))
    if not files:
        where = f"such as {_label_path(paths[0])} for {paths[0]}"
        raise ArgumentError(f"the images of {source} have no labels", f"each has a file of its own, {where}")
    if outlines is not None and outlines.unclear:
        raise ArgumentError(
            f"the labels of {source} can be read in two ways, and no data.yaml says which",
            outlines.unclear,
            "a data.yaml beside the images says so: val and names for outlines; kpt_shape too for key points, such as "
            "[17, 2]",
        )
    if reader.twice:
        several = f"{len(reader.twice)} labels stand in their file twice and count once"
        warnings.warn(f"{several}, such as {reader.twice[0]}", stacklevel=2)
    return images


def _label_path(path: Path) -> Path:
    """Return where an image's labels are: in ``labels`` in place of ``images``, or beside it."""
    parts = list(path.parts)
    at = next((i for i in range(len(parts) - 2, -1, -1) if parts[i] == "images"), None)
    if at is not None:
        parts[at] = "labels"
    return Path(*parts).with_suffix(".txt")


class _LabelReader:
    """The rows of files of labels: class, centre x, centre y, width and height; or class and a polygon.

    Behind the box stand key points, where those are measured, or ``shape`` says that there are some: numbers of one
    line do not tell them from a polygon's, and ``outlines`` takes all lines.

    Attributes:
        twice: the places of lines that stand in their file before; they count once, as Ultralytics counts them.
    """

    def __init__(
        self,
        names: Mapping[int, str] | None,
        measured: Measured,
        shape: tuple[int, int] | None,
        outlines: Outlines | None,
    ) -> None:
        if shape is None and measured.task == "pose":
            shape = measured.kpt_shape[0], measured.kpt_shape[1]
        self._names, self._measured, self._shape, self._outlines = names, measured, shape, outlines
        self.twice: list[str] = []

    def read(self, path: Path) -> list[_Row]:
        """Read a file.

        Raises:
            ArgumentError: a line is no label.
        """
        rows: dict[tuple[float, ...], _Row] = {}
        text = _read(path, _MOST_LABEL_BYTES).decode("utf-8-sig", "replace")
        for line, words in enumerate(map(str.split, text.splitlines()), 1):
            if not words:
                continue
            try:
                numbers = [float(word) for word in words]
                row = self._row(words[0], numbers)
            except (ValueError, OverflowError) as error:
                raise ArgumentError(
                    f"{path}:{line} is no label: {error}", _LINES.get(self._measured.task, _LINES["detect"])
                ) from None
            if rows.setdefault(tuple(numbers), row) is not row:
                self.twice.append(f"{path}:{line}")
            elif self._outlines is not None:
                self._outlines.add(numbers[1:], f"{path}:{line}")
        return list(rows.values())

    def _row(self, word: str, numbers: Sequence[float]) -> _Row:
        """Return what the numbers of a line are, whose first word is ``word``.

        Raises:
            ValueError, OverflowError: they are no label.
        """
        names, task = self._names, self._measured.task
        index = int(numbers[0])
        if index != numbers[0] or index < 0 or (names is not None and index not in names):
            raise ValueError(f"{word} is no class" + (f" of 0 to {len(names) - 1}" if names else ""))
        if len(numbers) == 6:
            raise ValueError("six numbers are a detection with its score, and labels have five")
        outline = label_outline(numbers[1:]) if task == "segment" else None
        points = None if self._shape is None else label_keypoints(numbers[1:], self._shape)
        if points is None and len(numbers) != 5 and (len(numbers) < 7 or len(numbers) % 2 == 0):
            raise ValueError(f"{len(numbers)} numbers are neither a box nor a polygon")
        parts = numbers[1:] if points is None else [*numbers[1:5], *points[:, :2].ravel().tolist()]
        if not all(-1e-3 <= number <= 1.001 for number in parts):
            raise ValueError("what stands behind the class is in 0..1, in parts of the image")
        if len(numbers) == 5 or points is not None:
            x, y, width, height = numbers[1:5]
            box = [x - width / 2, y - height / 2, width, height]
        else:
            xs, ys = numbers[1::2], numbers[2::2]
            box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
        area = box[2] * box[3] * (POSE_SHARE if task == "pose" else 1)
        if outline is not None:
            (x, y) = np.reshape(numbers[1:], (-1, 2)).T
            area = abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2  # Gauss's formula of a polygon's
        return _Row(box, index, area, False, outline, points if task == "pose" else None)


def _read(path: Path, most: int) -> bytes:
    try:
        with open_regular(path) as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ArgumentError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > most:
        raise ArgumentError(f"{path} has more than {most:,} bytes")
    return data
