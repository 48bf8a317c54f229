"""What ``trtnn detect`` writes of its detections, image by image, in the formats of others."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from trtnn.cli.written import GrowingFile, ResultFolder
from trtnn.vision import COCO, COCO_91, Detections
from trtnn.vision.detections import label_of


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

    The second has the images and categories that the numbers in the first are of, as files of annotations do. An
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
        self._first = 0 if names == list(COCO_91) else 1
        self._ids = [COCO_91.index(name) for name in COCO] if names == list(COCO) else None
        numbers = [path.stem for path in paths or ()]
        whole = bool(numbers) and all(stem.isascii() and stem.isdecimal() for stem in numbers)
        self._by_name = whole and len(set(map(int, numbers))) == len(numbers)
        self._count = 0
        results, images = (folder.path / name for name in REPORTS[Format.coco])
        kept = [{"id": self._category(i), "name": n} for i, n in enumerate(names) if n != "background"]
        self._results = GrowingFile(folder, results, "[", "\n]\n", ",")
        head = f'{{"categories": {json.dumps([row for row in kept if row["name"] != "N/A"])}, "images": ['
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
            }
            for (x1, y1, x2, y2), score, index in result.detections
        ]
        if rows:
            self._results.add("\n" + ",\n".join(map(json.dumps, rows)))

    def close(self) -> None:
        self._results.close()
        self._images.close()


class Yolo:
    """A file of labels for each image: class, centre x, centre y, width and height in parts of the image, a line each.

    These are what YOLO is trained with, which has no place for scores. An image without detections has an empty file.
    ``classes.txt`` has the classes' names, where there are any.
    """

    def __init__(self, folder: ResultFolder, labels: Sequence[str] | None) -> None:
        self._folder = folder
        (name,) = REPORTS[Format.yolo]
        folder.write(folder.path / name, "".join(f"{label}\n" for label in labels or ()).encode())

    def add(self, result: Result) -> None:
        height, width = result.size
        lines = [
            f"{index} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} "
            f"{(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}\n"
            for (x1, y1, x2, y2), _, index in result.detections
        ]
        path = self._folder.path / LABELS / result.label_path
        self._folder.write(path, "".join(lines).encode())

    def close(self) -> None:
        pass


class Csv:
    """``detections.csv``: a row each detection, in px of its image."""

    COLUMNS = ("source", "frame", "class", "label", "score", "x1", "y1", "x2", "y2")

    def __init__(self, folder: ResultFolder, labels: Sequence[str] | None) -> None:
        (name,) = REPORTS[Format.csv]
        self._labels = labels
        self._file = GrowingFile(folder, folder.path / name, _line(self.COLUMNS), "", "")

    def add(self, result: Result) -> None:
        frame = "" if result.frame is None else result.frame
        rows = [
            (result.source, frame, index, label_of(index, self._labels) if self._labels else "", score, *box)
            for box, score, index in result.detections
        ]
        if rows:
            self._file.add("".join(map(_line, rows)))

    def close(self) -> None:
        self._file.close()


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
) -> Iterator[Writer]:
    """Yield a writer for each format, each once."""
    for format in dict.fromkeys(formats):
        if format is Format.coco:
            yield Coco(folder, labels, classes, paths)
        else:
            yield {Format.json: Json, Format.yolo: Yolo, Format.csv: Csv}[format](folder, labels)
