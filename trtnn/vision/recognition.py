"""What a network's metadata say of its outputs, held against their shapes; and which pipeline it has that names none.

Other tools' engines name no pipeline. What they do say (the task, whether boxes are already picked, the classes) is
believed first; shapes decide only where one reading is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trtnn.engine.metadata import CONTRADICTION, class_count, told
from trtnn.errors import ArgumentError
from trtnn.vision.heads import YOLOV5, YOLOV8, Head
from trtnn.vision.pipelines import PIPELINES, pipelines_of

Shapes = Mapping[str, Sequence[int]]

_TASKS = ("detect", "segment", "pose", "obb")
_SAY_WHICH = "say which it is: Detector(source, pipeline=...), or trtnn detect --pipeline"
TO_CLASSIFY = "trtnn.Classifier(...) and trtnn classify name what is in a picture"
TO_DETECT = "trtnn.Detector(...) and trtnn detect find boxes"
_STRIDES = (8, 16, 32)  # of YOLOv8's maps
_ANCHORED_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (16, 32))  # of YOLOv5, its P6 models, and the tiny YOLOv3
_ANCHORS = 3  # a cell


def check_metadata(metadata: Mapping[str, Any], task: str | None = None) -> str | None:
    """Return the task of a network by its metadata, None where they do not tell.

    Args:
        metadata: of the network.
        task: that of the pipeline by which its outputs are to be read, None where that is not known yet.
            ``"classify"`` is of one that finds no boxes.

    Raises:
        ArgumentError: it is none that a Detector reads, or another one than the pipeline's.
    """
    told_task, name = metadata.get("task"), metadata.get("model", "this network")
    if told_task == task == "classify":
        return told_task
    if told_task is not None and told_task not in _TASKS:
        classifies = told_task == "classify"
        if classifies and task is not None:
            raise other_task(name, task, told_task)
        other = f"a Detector reads {', '.join(_TASKS)}; call the engine or the network itself for its outputs"
        raise ArgumentError(f"{name} is not a detector: its task is {told_task}", TO_CLASSIFY if classifies else other)
    has_points, said = "kpt_shape" in metadata, None
    if has_points and told_task in (None, "detect"):
        said, told_task = f"its task is pose, by its kpt_shape {metadata['kpt_shape']}", "pose"
    if task is not None and told_task is not None and task != told_task:
        raise other_task(name, task, told_task, said)
    return told_task


def other_task(name: str, task: str, told_task: str, said: str | None = None) -> ArgumentError:
    """Return the error for a pipeline of another task than the network's.

    Args:
        name: of the network.
        task: that of the pipeline.
        told_task: the network's.
        said: what tells that, None for its metadata's ``task``.
    """
    own = pipelines_of(told_task)
    ways = [TO_CLASSIFY] if told_task == "classify" else [TO_DETECT] if own and task == "classify" else []
    return ArgumentError(
        f"{name} is not read by a pipeline for the task {task}: {said or f'its task is {told_task}'}",
        f"pipelines for that: {', '.join(own)}" if own else "call the engine or the network itself for its outputs",
        *ways,
    )


def check_classes(metadata: Mapping[str, Any], classes: int | None, shapes: Shapes) -> None:
    """Check that outputs are of as many classes as the metadata have names.

    Args:
        metadata: of a network.
        classes: that the outputs are of, None where shapes do not tell.
        shapes: of the outputs.

    Raises:
        ArgumentError: they are not; with both.
    """
    count = class_count(metadata)
    if None not in (count, classes) and count != classes:
        raise ArgumentError(
            CONTRADICTION,
            f"its metadata are of {count} classes",
            f"its output is of {classes}: {_in_words(shapes)}",
        )


def recognise(metadata: Mapping[str, Any], size: Sequence[int], shapes: Shapes) -> str:
    """Return the name of the pipeline of a network whose metadata name none.

    Args:
        metadata: of the network: ``task``, ``names``, ``imgsz``, ``kpt_shape``, ``end2end``, ``nms`` and ``args.nms``
            count.
        size: (height, width) of the input in px.
        shapes: of the outputs by name.

    Raises:
        ArgumentError: metadata and shapes contradict each other, or leave no reading or more than one.
    """
    _check_size(metadata, size)
    task = check_metadata(metadata)
    picked, classes = _are_picked(metadata), class_count(metadata)
    if task == "detect" or (task is None and len(shapes) < 2):
        readings = _readings(size, shapes, picked, classes if "task" in metadata else None)
    else:
        readings = _task_readings(task or "segment", metadata, size, shapes, picked, classes)
    if len(readings) == 1:
        return next(iter(readings))
    if readings:
        raise ArgumentError(
            "the outputs of this network can be read in more than one way",
            f"received {_in_words(shapes)}",
            *(f"{name}: {meaning}" for name, meaning in readings.items()),
            _SAY_WHICH,
        )
    received = f"received {_in_words(shapes)}"
    summary = CONTRADICTION
    if picked:
        said = "its metadata say that its boxes are picked (end2end, nms)"
        name = "end2end" if task in (None, "detect") else f"end2end-{task}"
        raise ArgumentError(summary, said, f"expected {_head(name, metadata)}", received)
    if task not in (None, "detect"):
        count = "" if classes is None else f" and {classes} classes"
        raise ArgumentError(
            summary,
            f"its metadata are of the task {task}{count}",
            f"expected {_head(f'yolov8-{task}', metadata)}, or {_head(f'end2end-{task}', metadata)}",
            received,
        )
    if "task" in metadata and classes is not None:
        raise ArgumentError(summary, f"its metadata are of the task detect and {classes} classes", received, _SAY_WHICH)
    raise ArgumentError(
        "this is not a detector", f"expected {YOLOV8}, with a box for each cell, or {YOLOV5}", received, _SAY_WHICH
    )


def _readings(size: Sequence[int], shapes: Shapes, picked: bool | None, classes: int | None) -> dict[str, str]:
    """Return what outputs may be: the names of pipelines, and what each would make of them.

    A map's cells are told by the input's size, so that a box for each, or three, is as good as a name. So is the number
    of classes where a tool says that it is a detector's.
    """
    if len(shapes) != 1 or any(len(shape) != 3 for shape in shapes.values()):
        return {}
    ((_, rows, columns),) = shapes.values()
    cells = _cells(size, _STRIDES)
    readings = {}
    if not picked and rows > 4 and (columns == cells or rows - 4 == classes):
        readings["yolov8"] = f"{columns} boxes, {rows - 4} classes"
    if not picked and columns > 5 and rows in [_ANCHORS * _cells(size, strides) for strides in _ANCHORED_STRIDES]:
        readings["yolov5"] = f"{rows} boxes, {columns - 5} classes"
    if picked is not False and columns == 6 and (picked or rows <= cells):
        readings["end2end"] = f"{rows} boxes that are picked: x1, y1, x2, y2, score, class"
        if picked is None and classes is None:
            readings["centernet"] = f"{rows} peaks, on pictures as CenterNet prepares them"
    return readings


def _task_readings(
    task: str,
    metadata: Mapping[str, Any],
    size: Sequence[int],
    shapes: Shapes,
    picked: bool | None,
    classes: int | None,
) -> dict[str, str]:
    """Return what the outputs of a task may be: the names of pipelines, and what each would make of them.

    A map's cells are told by the input's size, and so is the number of classes by names; each is as good.
    """
    cells, readings = _cells(size, _STRIDES), {}
    for name in (f"yolov8-{task}", f"end2end-{task}"):
        head = _head(name, metadata).renamed(shapes)
        read, named = head.read(shapes), head.name_outputs(shapes)
        if read is None or named is None:
            continue
        prediction = next(shape for shape in named.values() if len(shape) == 3)
        if "classes" not in read:
            if picked is not False and (picked or prediction[1] <= cells):
                readings[name] = f"{prediction[1]} that are picked"
        elif not picked and (prediction[2] == cells or read["classes"] == classes):
            readings[name] = f"{prediction[2]} boxes, {read['classes']} classes"
    return readings


def _head(name: str, metadata: Mapping[str, Any]) -> Head:
    head = PIPELINES[name].head
    assert head is not None  # it is a detector's pipeline
    return head.with_metadata(metadata)


def _cells(size: Sequence[int], strides: Sequence[int]) -> int:
    return sum(math.prod(-(-side // stride) for side in size) for stride in strides)


def _are_picked(metadata: Mapping[str, Any]) -> bool | None:
    """Whether metadata say that non-maximum suppression is done, or was never needed; None where they do not say."""
    arguments = told(metadata, "args")
    flags = [
        told(metadata, "end2end"),
        told(metadata, "nms"),
        arguments.get("nms") if isinstance(arguments, Mapping) else None,
    ]
    flags = [value for value in flags if isinstance(value, bool)]
    return any(flags) if flags else None


def _check_size(metadata: Mapping[str, Any], size: Sequence[int]) -> None:
    imgsz = told(metadata, "imgsz")
    sides = [imgsz, imgsz] if isinstance(imgsz, int) else imgsz
    if isinstance(sides, list) and len(sides) == 2 and list(sides) != list(size):
        raise ArgumentError(
            "what this network says of itself and its input contradict each other",
            f"its metadata have imgsz {imgsz}",
            f"its input is of height {size[0]}, width {size[1]}",
        )


def _in_words(shapes: Shapes) -> str:
    return ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
