"""``trtnn val``: how good a detector is, and how fast, on images whose boxes are known."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.progress import track

import trtnn
from trtnn.cli.images import note_unread, tell_unread
from trtnn.cli.options import (
    Anchors,
    Batch,
    Cache,
    Confidence,
    Half,
    Json,
    MaxPixels,
    ModelName,
    Names,
    Overlap,
    PipelineName,
    Size,
    given_names,
    write_json,
)
from trtnn.cli.program import command, log, print_line, print_note
from trtnn.cli.runners import CHECKPOINTS, Runner
from trtnn.cli.samples import example_inputs
from trtnn.detector import Detector
from trtnn.engine.bench import bench_engine
from trtnn.errors import ArgumentError, ImageError
from trtnn.files import resolved
from trtnn.table import render
from trtnn.vision.coco import KINDS, CocoEvaluation, CocoResults, check_pycocotools, match_categories
from trtnn.vision.datasets import DataSet, Measured, read_dataset
from trtnn.vision.frames import read_frames
from trtnn.vision.images import MAX_PIXELS
from trtnn.vision.sources import file_source

_BENCH_ROUNDS, _BENCH_RUNS = 5, 30
_THINGS = {"bbox": "boxes", "segm": "masks", "keypoints": "poses"}  # by the word of COCO's tool


@command(
    "trtnn val yolov5s.engine --data coco/",
    "trtnn val yolov5s.pt --data pets/data.yaml --reference --size 320",
    "trtnn val a.engine --data instances_val2017.json --images val2017/",
    "trtnn val a.engine --data pets/ --split test --json val.json",
)
def val(
    what: Annotated[Path, typer.Argument(help="An engine file; or a checkpoint, whose engine is built first.")],
    data: Annotated[
        Path,
        typer.Option(help="COCO's annotations in JSON, YOLO's data.yaml, or a folder with either or with labels."),
    ],
    images: Annotated[
        Path | None, typer.Option(help="The images of COCO's annotations.", show_default="beside them")
    ] = None,
    split: Annotated[str, typer.Option(help="Which images of a data.yaml: train, val or test.")] = "val",
    reference: Annotated[bool, typer.Option("--reference", help="Run the network of a checkpoint on the CPU.")] = False,
    model: ModelName = None,
    anchors: Anchors = None,
    size: Size = None,
    batch: Batch = None,
    fp16: Half = False,
    cache: Cache = None,
    confidence: Confidence = None,
    iou: Overlap = None,
    names: Names = None,
    pipeline: PipelineName = None,
    json: Json = None,
    max_pixels: MaxPixels = MAX_PIXELS,
) -> None:
    """Measure a detector's mean average precision as COCO does, by pycocotools, and its speed in the same run.

    Detections are picked as each project does for this: YOLOv5's with a confidence of 0.001, an overlap of 0.6 and all
    labels of a box. Classes are matched with the data set's by their names. Images that cannot be read, or are not of
    the size that their annotations say, are named and left out, and the exit code is 1 at the end. Of networks that
    segment or find poses masks or key points are measured too, and the data have to have those.

    The time is from images in memory to boxes; of an engine the execution alone is timed too.
    """
    check_pycocotools()
    is_checkpoint = what.suffix.lower() in CHECKPOINTS
    if reference and not is_checkpoint:
        raise ArgumentError("--reference takes a checkpoint", "an engine runs on a GPU alone")
    files = (None, what) if is_checkpoint else (what, None)
    runner = Runner("val", *files, reference=reference, model=model, size=size, batch=batch, fp16=fp16, cache=cache)
    opened = runner.open(anchors)
    given = {"confidence": confidence, "iou": iou, "pipeline": pipeline}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    first = Detector(opened, **chosen)
    if first.task not in KINDS:
        raise ArgumentError(
            f"val measures {', '.join(KINDS)}, and the task of this network is {first.task}",
            "pycocotools measures upright boxes, masks and key points",
        )
    head = first.pipeline.head
    assert head is not None  # Detector says so
    truth = read_dataset(data, images, split, Measured(first.task, head.kpt_shape or (0, 0)))
    if json is not None and resolved(json) == resolved(truth.path):
        raise ArgumentError(f"the results would take the place of {truth.path}", "give another file with --json")
    thresholds = {**head.evaluation, **chosen}
    detector = Detector(opened, **thresholds)
    labels = detector.labels if names is None else given_names(names, detector.classes)
    highest = max((int(image.categories.max(initial=-1)) for image in truth.images), default=-1)
    categories = match_categories(truth.categories, labels, detector.classes, highest)
    if truth.categories is not None and labels is None:
        print_note("note", "cyan", "the detector's classes have no names: they are matched by order")
    ready = runner.ready(opened)
    if ready is not opened:
        detector = Detector(ready, **thresholds)

    results, unread = CocoResults(truth, categories), []
    seconds = _detect(detector, truth, results, unread, max_pixels)
    if len(unread) == len(truth.images):
        tell_unread(unread, len(truth.images))
    evaluations = {kind: results.evaluate(kind) for kind in KINDS[detector.task]}
    for kind, evaluation in evaluations.items():
        print_line(_table(evaluation, truth, _THINGS[kind]))
    speed: dict[str, Any] = {"batch": detector.batch, "ms_per_image": 1e3 * median(seconds)}
    rate = f"{1e3 / speed['ms_per_image']:,.1f} images a second"
    milliseconds = f"{speed['ms_per_image']:.{2 if speed['ms_per_image'] < 10 else 0}f}"
    print_line(f"{milliseconds} ms an image from memory to boxes, {rate}, batch {detector.batch}")
    if isinstance(ready, trtnn.Engine):
        with log.status("timing"):
            benchmark = bench_engine(ready, example_inputs(ready.inputs, None, {}), _BENCH_ROUNDS, _BENCH_RUNS)
        print_line(str(benchmark))
        speed["engine"] = benchmark.to_json()
    if json:
        write_json(json, _report(evaluations, truth, what, detector, speed, unread))
    tell_unread(unread, len(truth.images))


def _detect(
    detector: Detector, truth: DataSet, results: CocoResults, unread: list[str], max_pixels: int
) -> list[float]:
    """Detect in all images, and return the seconds that each batch took for one image."""
    by_name = {str(image.path): image for image in truth.images}
    sources, skip = [file_source(image.path) for image in truth.images], partial(note_unread, unread)
    frames = read_frames(sources, skip, max_pixels, check_size=detector.check_image_size)
    seconds = []
    with_progress = track(frames, "measuring", total=len(truth.images), console=log, disable=not sys.stderr.isatty())
    while part := list(itertools.islice(with_progress, detector.batch)):
        pixels: list[Any] = [frame.image for _, frame in part]
        start = time.perf_counter()
        found = detector(pixels)
        seconds.append((time.perf_counter() - start) / len(part))
        for (source, frame), detections in zip(part, found, strict=True):
            try:
                results.add(by_name[source.name], frame.size, detections)
            except ImageError as error:
                note_unread(unread, source, error)
    return seconds


def _name(truth: DataSet, number: int) -> str:
    return str(number) if truth.categories is None else truth.categories[number]


def _table(evaluation: CocoEvaluation, truth: DataSet, things: str) -> str:
    rows = [
        (_name(truth, number), f"{evaluation.boxes[number]:,}", f"{ap50:.4f}", f"{evaluation.ap50_95[number]:.4f}")
        for number, ap50 in evaluation.ap50.items()
    ]
    whole = [f"{evaluation.statistics[name] or 0:.4f}" for name in ("map50", "map50_95")]
    total = ("all", f"{sum(evaluation.boxes.values()):,}", *whole)
    return render(("class", things, "mAP50", "mAP50-95"), rows, 1, total)


def _report(
    evaluations: Mapping[str, CocoEvaluation],
    truth: DataSet,
    what: Path,
    detector: Detector,
    speed: dict[str, Any],
    unread: list[str],
) -> dict[str, Any]:
    beside = {_THINGS[kind]: _numbers(evaluations[kind], truth) for kind in evaluations if kind != "bbox"}
    return {
        "what": str(what),
        "data": str(truth.path),
        "images": len(truth.images) - len(unread),
        "skipped": unread,
        "thresholds": detector.thresholds,
        **_numbers(evaluations["bbox"], truth),
        **beside,
        "speed": speed,
    }


def _numbers(evaluation: CocoEvaluation, truth: DataSet) -> dict[str, Any]:
    return {
        **evaluation.statistics,
        "classes": [
            {
                "category": number,
                "name": _name(truth, number),
                "boxes": evaluation.boxes[number],
                "ap50": ap50,
                "ap50_95": evaluation.ap50_95[number],
            }
            for number, ap50 in evaluation.ap50.items()
        ],
    }
