"""What a detector found in one image."""

from __future__ import annotations

import importlib
import itertools
import math
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, overload

import numpy as np

from trtnn.errors import ArgumentError, BackendError, ShapeError, named
from trtnn.vision.boxes import check_boxes, class_indices, floats, places_of
from trtnn.vision.masks import Masks
from trtnn.vision.placing import Placement, Size
from trtnn.vision.rotated import check_rotated, corners_of

SEEN = 0.5  # the least visibility of a key point that is drawn


class Detection(NamedTuple):
    """One thing that was found, in plain Python numbers.

    Attributes:
        box: x1, y1, x2, y2 in px.
        score: the confidence in 0..1.
        class_index: the class's index.
    """

    box: tuple[float, float, float, float]
    score: float
    class_index: int


class _Found(NamedTuple):
    """Where detections were found: nothing of it is compared or pickled.

    Attributes:
        image: held weakly, so that detections keep none alive; None where it is no array of the host.
        size: its (height, width) in px, also once it is gone; None where nothing tells.
        labels: the classes' names, None where there are none.
    """

    image: weakref.ref[np.ndarray] | None = None
    size: Size | None = None
    labels: Sequence[str] | None = None


@dataclass(frozen=True, eq=False)
class Detections:
    """All that was found in one image; iteration yields a :class:`Detection` each.

    ``found[0]`` is one of these, and ``found[found.scores > 0.5]``, a slice or a list of indices picks several.
    Detections are equal where all their numbers are, in the same order, and masks by pixels; as NumPy's, NaN equals
    nothing. :meth:`merge` joins several.

    Attributes:
        boxes: (n, 4) float32 xyxy in px; of rotated boxes the upright ones around them.
        scores: (n,) float32 in 0..1, from the highest downwards where NMS made them.
        classes: (n,) int64 indices of classes.
        masks: :class:`trtnn.vision.Masks` where the network segments instances, else None. An array (n, height, width)
            bool becomes them.
        keypoints: (n, points, 3) float32, x and y in px and the visibility in 0..1, or (n, points, 2) without it, where
            the network finds poses, else None.
        rotated: (n, 5) float32, centre x, centre y, width, height in px, and the angle in radians by which the width's
            side is turned from the x axis, clockwise, where the network finds rotated boxes, else None.

    Raises:
        ShapeError: the arrays do not fit together.
        DTypeError: they are no numbers, or classes no whole ones.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: Masks | None = None
    keypoints: np.ndarray | None = None
    rotated: np.ndarray | None = None

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        put("boxes", check_boxes(floats("boxes", self.boxes)))
        put("scores", floats("scores", self.scores))
        put("classes", class_indices(self.classes))
        if not self.scores.shape == self.classes.shape == (len(self.boxes),):
            raise ShapeError(
                "detections need one score and one class for every box",
                f"expected: scores and classes of shape ({len(self.boxes)},) for {len(self.boxes)} boxes",
                f"received: scores {self.scores.shape}, classes {self.classes.shape}",
            )
        if self.masks is not None and not isinstance(self.masks, Masks):
            put("masks", Masks.of_array(self.masks))
        if self.keypoints is not None:
            put("keypoints", floats("key points", self.keypoints))
            if self.keypoints.ndim != 3 or self.keypoints.shape[2] not in (2, 3):
                raise ShapeError(
                    "key points have the shape (n, points, 3): x, y and visibility, or (n, points, 2)",
                    f"received: {self.keypoints.shape}",
                )
        if self.rotated is not None:
            put("rotated", check_rotated(floats("rotated boxes", self.rotated)))
        for name in _MORE:
            value = getattr(self, name)
            if value is not None and len(value) != len(self):
                raise ShapeError(
                    f"detections need as many {name} as boxes", f"received: {len(self)} boxes, {len(value)} {name}"
                )

    @property
    def angles(self) -> np.ndarray | None:
        """(n,) the angles of rotated boxes in radians, None where there are none."""
        return None if self.rotated is None else self.rotated[:, 4]

    @property
    def corners(self) -> np.ndarray | None:
        """(n, 4, 2) x and y of the corners of rotated boxes in px, None where there are none."""
        return None if self.rotated is None else corners_of(self.rotated)

    _found_in: ClassVar[_Found] = _Found()

    def found_in(self, image: Any, labels: Sequence[str] | None = None) -> Detections:
        """Remember the image and the labels that a notebook shows these with, as long as something holds the image.

        Its size and the labels are what :meth:`merge` compares.

        Returns:
            These detections.
        """
        if isinstance(image, np.ndarray):  # no other holds pixels of the host
            object.__setattr__(self, "_found_in", _Found(weakref.ref(image), image.shape[:2], labels))
        else:
            object.__setattr__(self, "_found_in", _Found(labels=labels))
        return self

    def __getstate__(self) -> dict[str, object]:
        """Return what is pickled and copied: all but the image that these were found in, which is no part of them."""
        return {name: value for name, value in self.__dict__.items() if name != "_found_in"}

    def _repr_html_(self) -> str:
        from trtnn.vision.notebook import detections_html

        held, _, labels = self._found_in
        image = held and held()
        return detections_html(self, image, labels, is_gone=held is not None and image is None)

    @classmethod
    def of_arrays(cls, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> Detections:
        """Return detections of arrays that are what they should be, without a look at them."""
        made = object.__new__(cls)
        columns = made.__dict__  # one by one: keywords for an update take longer
        columns["boxes"], columns["scores"], columns["classes"] = boxes, scores, classes
        return made

    @classmethod
    def empty(cls) -> Detections:
        """Return none: what :meth:`merge` joins with any."""
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0))

    @classmethod
    def merge(cls, several: Iterable[Detections]) -> Detections:
        """Join detections in one image, such as those of two networks or of its parts, one behind the other.

        Nothing is sorted and nothing suppressed: what several found alike is there several times. Boxes have to be in
        px of the same image: those of its parts are moved first.

        >>> both = trtnn.vision.Detections.merge([found, others])

        Args:
            several: any number of them. Those without detections and without masks, key points and rotated boxes, as
                :meth:`empty`, fit all others; of no Detections comes :meth:`empty`.

        Returns:
            All of them in this order, with what each has. A notebook shows them in the image of all where it is one.

        Raises:
            ArgumentError: one is no Detections; some have masks, key points or rotated boxes that others lack; or, as
                far as it is known, which it is of a Detector's call, their classes have other names.
            ShapeError: other numbers of key points; or images of other sizes, which masks know, and a Detector's call.
        """
        if isinstance(several, Detections):
            raise ArgumentError("Detections.merge takes a list of Detections", "received: one; [it] is a list")
        given = list(several)
        for place, each in enumerate(given):
            if not isinstance(each, Detections):
                raise ArgumentError(
                    "Detections.merge takes a list of Detections", f"received: {named(each)} at index {place}"
                )
        found = _common_origin(given)
        more = {name: _joined(name, given) for name in _MORE}
        given = given or [cls.empty()]
        boxes, scores = (np.concatenate([getattr(each, name) for each in given]) for name in ("boxes", "scores"))
        merged = cls(boxes, scores, np.concatenate([each.classes for each in given]), **more)
        object.__setattr__(merged, "_found_in", found)
        return merged

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        for name in ("boxes", "scores", "classes", "keypoints", "rotated"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if (ours is None) != (theirs is None) or not (ours is None or np.array_equal(ours, theirs)):
                return False
        return self.masks == other.masks

    __hash__ = None  # type: ignore[assignment]  # arrays change

    def is_empty(self) -> bool:
        """Tell whether nothing was found."""
        return not len(self)

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        for box, score, index in zip(self.boxes.tolist(), self.scores.tolist(), self.classes.tolist(), strict=True):
            yield Detection(tuple(box), score, index)

    @overload
    def __getitem__(self, index: int) -> Detection: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | np.ndarray) -> Detections: ...
    def __getitem__(self, index: Any) -> Detection | Detections:
        picked = places_of(index, len(self))
        if picked.ndim == 0:
            return Detection(
                tuple(self.boxes[picked].tolist()), self.scores[picked].item(), self.classes[picked].item()
            )
        more = {name: value[picked] for name in _MORE if (value := getattr(self, name)) is not None}
        several = Detections(self.boxes[picked], self.scores[picked], self.classes[picked], **more)
        object.__setattr__(several, "_found_in", self._found_in)
        return several

    def scaled(self, placement: Placement) -> Detections:
        """Return the same detections mapped from the canvas to px of the image, and clipped to it.

        Rotated boxes are not clipped, which would turn them.
        """
        keypoints = self.keypoints
        if keypoints is not None:
            keypoints = np.concatenate([placement.points_to_source(keypoints[..., :2]), keypoints[..., 2:]], axis=2)
        return Detections(
            placement.to_source(self.boxes),
            self.scores,
            self.classes,
            None if self.masks is None else self.masks.scaled(placement),
            keypoints,
            None if self.rotated is None else placement.rotated_to_source(self.rotated),
        )

    def to_dict(self, labels: Sequence[str] | None = None) -> dict[str, list[dict[str, object]]]:
        """Return them for JSON: ``{"detections": [{"box": [x1, y1, x2, y2], "score": ..., "class": ...}, ...]}``.

        Where there are some, each also has its ``"mask"`` in COCO's run-length encoding (``{"size": [height, width],
        "counts": "..."}``), its ``"keypoints"`` (``[[x, y, visibility], ...]``), or its ``"rotated"`` box (``[centre x,
        centre y, width, height, angle]``) and the ``"corners"`` of that (``[[x, y], ...]``).

        Args:
            labels: the classes' names; with them every detection also has a ``"label"``.

        Raises:
            ArgumentError: a class has no name in ``labels``.
        """
        rows = []
        for place, (box, score, index) in enumerate(self):
            row: dict[str, object] = {"box": list(box), "score": score, "class": index}
            if labels is not None:
                row["label"] = label_of(index, labels)
            if self.masks is not None:
                row["mask"] = self.masks.rle(place)
            if self.keypoints is not None:
                row["keypoints"] = self.keypoints[place].tolist()
            if self.rotated is not None:
                row["rotated"] = self.rotated[place].tolist()
                row["corners"] = corners_of(self.rotated[place : place + 1])[0].tolist()
            rows.append(row)
        return {"detections": rows}

    def to_supervision(self, labels: Sequence[str] | None = None) -> Any:
        """Return them as ``supervision.Detections``, Roboflow's, which draws, tracks, counts and saves them.

        Masks become its ``mask``, the corners of rotated boxes its ``data["xyxyxyxy"]``, and key points
        ``data["keypoints"]``, (n, points, 2 or 3).

        Args:
            labels: the classes' names; with them ``data["class_name"]`` has the name of each.

        Raises:
            BackendError: supervision is not installed.
            ArgumentError: a class has no name in ``labels``.
        """
        try:
            theirs = importlib.import_module("supervision").Detections
        except ImportError as error:
            raise BackendError(f"supervision cannot be imported: {error}", "pip install supervision") from error
        data = {}
        if labels is not None:
            data = {"class_name": np.array([label_of(index, labels) for index in self.classes.tolist()], str)}
        if self.rotated is not None:
            data["xyxyxyxy"] = corners_of(self.rotated)
        if self.keypoints is not None:
            data["keypoints"] = self.keypoints
        masks = {} if self.masks is None else {"mask": np.asarray(self.masks)}
        return theirs(xyxy=self.boxes, confidence=self.scores, class_id=self.classes, data=data, **masks)


_MORE = ("masks", "keypoints", "rotated")  # what there is for some tasks alone


def _joined(name: str, given: Sequence[Detections]) -> Any:
    """Return an attribute of some tasks of several detections behind each other, None where none has it.

    Raises:
        ArgumentError: some have it, and others have other attributes or detections without it.
        ShapeError: it has other shapes.
    """
    there = [place for place, each in enumerate(given) if getattr(each, name) is not None]
    if not there:
        return None
    bare = {place for place, each in enumerate(given) if not len(each) and all(getattr(each, n) is None for n in _MORE)}
    for place in range(len(given)):
        if place not in there and place not in bare:
            raise ArgumentError(
                f"detections with {name} and without cannot be joined: networks of other tasks found them",
                f"received: {name} at index {there[0]}, none at index {place}",
                "to join boxes alone: Detections(found.boxes, found.scores, found.classes)",
            )
    values = [getattr(given[place], name) for place in there]
    if name == "masks":
        return Masks.merge(values)
    shapes = dict.fromkeys(value.shape[1:] for value in values)
    if len(shapes) > 1:
        received = " and ".join(f"(n, {', '.join(map(str, shape))})" for shape in shapes)
        raise ShapeError(f"{name} of other shapes cannot be joined", f"received: {received}")
    return np.concatenate(values)


def _common_origin(given: Sequence[Detections]) -> _Found:
    """Return the image, its size and labels that several detections have in common, as far as it is known.

    Raises:
        ShapeError: images of other sizes.
        ArgumentError: other labels.
    """
    origins = [each._found_in for each in given]
    sizes = dict.fromkeys(origin.size for origin in origins if origin.size is not None)
    if len(sizes) > 1:
        raise ShapeError(
            "detections in images of other sizes cannot be joined: their boxes are in px of each",
            f"received: {', '.join(f'{height}×{width}' for height, width in sizes)} px",
            "of parts of one image: move boxes to its px first, and make Detections of them",
        )
    named_alike: Sequence[str] | None = None
    for labels in (origin.labels for origin in origins if origin.labels is not None):
        both = () if named_alike is None or labels is named_alike else (_by_index(named_alike), _by_index(labels))
        if both and both[0] != both[1]:
            place = min(i for i in {**both[0], **both[1]} if both[0].get(i) != both[1].get(i))
            names = [repr(each[place]) if place in each else "none" for each in both]
            raise ArgumentError(
                "detections whose classes have other names cannot be joined: their indices mean others",
                f"received: class {place} is {names[0]} and {names[1]}",
                "give the classes indices in common, and make Detections of them",
            )
        named_alike = labels
    references = [each._found_in.image for each in given if len(each)]
    images = {id(reference()) if reference else None for reference in references}
    image = references[0] if len(images) == 1 else None
    return _Found(image, next(iter(sizes), None), named_alike)


def _by_index(labels: Sequence[str] | Mapping[int, str]) -> dict[int, str]:
    return dict(labels) if isinstance(labels, Mapping) else dict(enumerate(labels))


#: Detections of several images, for another process: how many each has, and each attribute of all of them: behind each
#: other where they are arrays, else one by one.
Packed = tuple[list[int], dict[str, Any]]


def pack(found: Sequence[Detections]) -> Packed:
    """Return the detections of several images as few arrays: to pickle one takes longer than to copy it."""
    columns = {}
    for name in ("boxes", "scores", "classes", *_MORE):
        each = [getattr(one, name) for one in found]
        are_arrays = bool(each) and all(isinstance(value, np.ndarray) for value in each)
        columns[name] = np.concatenate(each) if are_arrays else each
    return [len(one) for one in found], columns


def unpack(packed: Packed) -> list[Detections]:
    """Return the detections that :func:`pack` was given; none keeps another's memory."""
    counts, columns = packed
    parts = [slice(end - count, end) for count, end in zip(counts, itertools.accumulate(counts), strict=True)]
    split = [_parts_of(column, parts) if isinstance(column, np.ndarray) else column for column in columns.values()]
    found = [object.__new__(Detections) for _ in counts]
    for one, *values in zip(found, *split, strict=True):
        one.__dict__.update(zip(columns, values, strict=True))
    return found


def _parts_of(column: np.ndarray, parts: Sequence[slice]) -> list[np.ndarray]:
    """Return parts of an array, each in memory of its own.

    A row is copied as one element: for more than 500 of them NumPy gives up Python's lock, and waits for it again.
    """
    shape = column.shape[1:]
    row = np.dtype((np.void, column.itemsize * math.prod(shape)))
    rows = np.ndarray(len(column), row, np.ascontiguousarray(column))
    return [np.ndarray((part.stop - part.start, *shape), column.dtype, rows[part].copy()) for part in parts]


def label_of(class_index: int, labels: Sequence[str] | Mapping[int, str] | None) -> str:
    """Return the class's name, or its index as text where there are no ``labels``: a list, or a dict by index.

    Raises:
        ArgumentError: ``labels`` has no such index.
    """
    if labels is None:
        return str(class_index)
    if class_index not in (labels if isinstance(labels, Mapping) else range(len(labels))):
        raise ArgumentError(
            f"class {class_index} has no name: there are {len(labels)} labels",
            "give the labels that the network was trained with, or none",
        )
    return labels[class_index]
