"""What ``trtnn detect`` writes of its detections, image by image, in the formats of others."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from trtnn.cli.written import GrowingFile, ResultFolder
from trtnn.errors import escape_controls
from trtnn.vision import COCO, COCO_91, Detections
from trtnn.vision.detections import SEEN, label_of


class Format(str, Enum):
    """A format of results."""

    json = "json"
    coco = "coco"
    yolo = "yolo"
    csv = "csv"


REPORTS = {
    Format.json: ("detections.json",),
    Format.coco: ("coco.json", "coco_images.json"),
    Format.yolo: ("classes.txt",),
    Format.csv: ("detections.csv",),
}
LABELS = "labels"  # the folder of YOLO's files


class Result(NamedTuple):
    """What was detected in one image.

    Attributes:
        source: what the image is of.
        frame: its number, from 0, where that is a video; else None.
        size: (height, width) in px.
        detections: in its own pixels.
        drawn: the file where they are drawn, None where they are not.
        label_path: of its file of labels, below :data:`LABELS`.
    """

    source: str
    frame: int | None
    size: tuple[int, int]
    detections: Detections
    drawn: Path | None
    label_path: Path

    @property
    def name(self) -> str:
        """Of the image: that of its source, and of a frame its number behind that."""
        return self.source if self.frame is None else f"{self.source}#{self.frame}"


class Json:
    """``detections.json``: an object of what was detected by image, valid JSON after each."""

    def __init__(self, folder: ResultFolder, labels: Sequence[str] | None) -> None:
        (name,) = REPORTS[Format.json]
        self._labels, self._file = labels, GrowingFile(folder, folder.path / name, "{", "\n}\n", ",")

    def add(self, result: Result) -> None:
        row = {
            **({} if result.frame is None else {"frame": result.frame}),
            **({} if result.drawn is None else {"drawn": str(result.drawn)}),
            **result.detections.to_dict(self._labels),
        }
        self._file.add(f"\n  {json.dumps(result.name)}: " + json.dumps(row, indent=2).replace("\n", "\n  "))

    def close(self) -> None:
        self._file.close()


class Coco:
    """``coco.json``, COCO's list of results (https://cocodataset.org/#format-results), and ``coco_images.json``.

    Masks are run lengths in ``segmentation``, and rotated boxes the polygons of their corners there; a key point's
    third number is its visibility in 0..1.

    The second file has the images and categories that the numbers in the first are of, as files of annotations do. An
    image's number is that in its file's name where all names are numbers, as COCO's are; else 1, 2, 3, ... in order. A
    category's number is COCO's where the names are COCO's; else the class's and 1.

    Args:
        folder: for the files.
        labels: the classes' names.
        classes: how many there are, None where nothing tells.
        paths: of all images, None where others are among the sources.
    """

    def __init__(
        self, folder: ResultFolder, labels: Sequence[str] | None, classes: int | None, paths: Sequence[Path] | None
    ) -> None:
        names = list(labels or map(str, range(classes or 0)))
        has_gaps = names == list(COCO_91)
        self._first = 0 if has_gaps else 1
        self._ids = [COCO_91.index(name) for name in COCO] if names == list(COCO) else None
        numbers = [path.stem for path in paths or ()]
        whole = bool(numbers) and all(stem.isascii() and stem.isdecimal() for stem in numbers)
        self._by_name = whole and len(set(map(int, numbers))) == len(numbers)
        self._count = 0
        results, images = (folder.path / name for name in REPORTS[Format.coco])
        kept = [i for i, name in enumerate(names) if not (has_gaps and name in ("background", "N/A"))]
        self._results = GrowingFile(folder, results, "[", "\n]\n", ",")
        categories = [{"id": self._category(i), "name": names[i]} for i in kept]
        head = f'{{"categories": {json.dumps(categories)}, "images": ['
        self._images = GrowingFile(folder, images, head, "\n]}\n", ",")

    def _category(self, index: int) -> int:
        return self._first + index if self._ids is None else self._ids[index]

    def add(self, result: Result) -> None:
        self._count += 1
        number = int(Path(result.source).stem) if self._by_name else self._count
        (height, width), name = result.size, result.name
        self._images.add("\n" + json.dumps({"id": number, "file_name": name, "height": height, "width": width}))
        rows = [
            {
                "image_id": number,
                "category_id": self._category(index),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
                **_coco_shape(result.detections, place),
            }
            for place, ((x1, y1, x2, y2), score, index) in enumerate(result.detections)
        ]
        if rows:
            self._results.add("\n" + ",\n".join(map(json.dumps, rows)))

    def close(self) -> None:
        self._results.close()
        self._images.close()


def _coco_shape(detections: Detections, place: int) -> dict[str, object]:
    """Return what COCO's results have beside a box."""
    shape: dict[str, object] = {}
    if detections.masks is not None:
        shape["segmentation"] = detections.masks.rle(place)
    if detections.corners is not None:
        shape["segmentation"] = [detections.corners[place].ravel().tolist()]
    if detections.keypoints is not None:
        points = detections.keypoints[place]
        seen = points[:, 2:] if points.shape[1] == 3 else np.ones((len(points), 1), np.float32)
        shape["keypoints"] = np.concatenate([points[:, :2], seen], axis=1).ravel().tolist()
    return shape


class Yolo:
    """A file of labels for each image: class, centre x, centre y, width and height in parts of the image, a line each.

    Behind the class stands the outline of a mask instead, or the four corners of a rotated box, cut to the image; and
    behind a box its key points, x and y and 2 for those that are seen, 0 for others. A mask has one outline, see
    :meth:`trtnn.vision.Masks.polygon`.

    These are what YOLO is trained with, which has no place for scores. An image without detections has an empty file.
    ``classes.txt`` has the classes' names, where there are any. As the other files of results are begun anew, the
    labels of an earlier run are removed, unless they were changed.

    Attributes:
        removed, kept: the files of labels that are removed, and those that are not.
    """

    def __init__(self, folder: ResultFolder, labels: Sequence[str] | None) -> None:
        self._folder = folder
        (name,) = REPORTS[Format.yolo]
        self.removed, kept = folder.clear(folder.path / LABELS)
        self.kept = [path for path in kept if path.suffix == ".txt"]
        lines = (f"{escape_controls(label)}\n" for label in labels or ())  # a name with two lines would be two
        folder.write(folder.path / name, "".join(lines).encode())

    def add(self, result: Result) -> None:
        found = result.detections
        lines = [f"{index} {_yolo_shape(found, place, result.size)}\n" for place, (_, _, index) in enumerate(found)]
        path = self._folder.path / LABELS / result.label_path
        self._folder.write(path, "".join(lines).encode())

    def close(self) -> None:
        pass


def _yolo_shape(detections: Detections, place: int, size: tuple[int, int]) -> str:
    """Return what stands behind the class in a label, in parts of an image of (height, width)."""
    height, width = size
    (x1, y1, x2, y2), _, _ = detections[place]
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    outline = detections.corners[place] if detections.corners is not None else None
    if detections.masks is not None:
        outline = detections.masks.polygon(place)
        outline = outline if len(outline) > 2 else corners  # a pixel or a line of them, of which no polygon comes
    if outline is not None:
        return " ".join(f"{number:.6f}" for number in (outline / (width, height)).clip(0, 1).ravel())
    (left, top), (right, bottom) = corners[0] / (width, height), corners[2] / (width, height)
    numbers = [f"{n:.6f}" for n in ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)]
    if detections.keypoints is not None:
        for x, y, *seen in detections.keypoints[place].tolist():
            numbers += [f"{x / width:.6f}", f"{y / height:.6f}", *("2" if value >= SEEN else "0" for value in seen)]
    return " ".join(numbers)


class Csv:
    """``detections.csv``: a row each detection, in px of its image.

    Outlines of masks and key points are numbers with spaces between, in one cell.
    """

    COLUMNS = ("source", "frame", "class", "label", "score", "x1", "y1", "x2", "y2")
    MORE: ClassVar[dict[str, tuple[str, ...]]] = {
        "segment": ("outline",),
        "pose": ("keypoints",),
        "obb": ("centre_x", "centre_y", "width", "height", "angle"),
    }

    def __init__(self, folder: ResultFolder, labels: Sequence[str] | None, task: str = "detect") -> None:
        (name,) = REPORTS[Format.csv]
        self._labels = labels
        columns = self.COLUMNS + self.MORE.get(task, ())
        self._file = GrowingFile(folder, folder.path / name, _line(columns), "", "")

    def add(self, result: Result) -> None:
        frame = "" if result.frame is None else result.frame
        rows = [
            (
                *(result.source, frame, index, label_of(index, self._labels) if self._labels else "", score, *box),
                *_csv_shape(result.detections, place),
            )
            for place, (box, score, index) in enumerate(result.detections)
        ]
        if rows:
            self._file.add("".join(map(_line, rows)))

    def close(self) -> None:
        self._file.close()


def _csv_shape(detections: Detections, place: int) -> list[object]:
    """Return the cells behind those of a box."""
    if detections.masks is not None:
        return [" ".join(f"{number:.0f}" for number in detections.masks.polygon(place).ravel())]
    if detections.keypoints is not None:
        return [" ".join(map(str, detections.keypoints[place].ravel().tolist()))]
    return [] if detections.rotated is None else detections.rotated[place].tolist()


def _line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


Writer = Json | Coco | Yolo | Csv


def open_writers(
    formats: Iterable[Format],
    folder: ResultFolder,
    labels: Sequence[str] | None,
    classes: int | None,
    paths: Sequence[Path] | None,
    task: str = "detect",
) -> Iterator[Writer]:
    """Yield a writer for each format, each once."""
    for format in dict.fromkeys(formats):
        if format is Format.coco:
            yield Coco(folder, labels, classes, paths)
        elif format is Format.csv:
            yield Csv(folder, labels, task)
        else:
            yield {Format.json: Json, Format.yolo: Yolo}[format](folder, labels)
