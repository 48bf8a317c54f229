"""``trtnn detect``: objects in pictures."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

import trtnn
from trtnn.cli.options import (
    Batch,
    Cache,
    Half,
    ModelName,
    Size,
    chunks,
    refuse,
    resized_inputs,
    write_json,
)
from trtnn.cli.program import command, log, print_line, print_note
from trtnn.cli.sources import load_model
from trtnn.cli.tables import counted, print_detections
from trtnn.detector import Detector
from trtnn.engine import check_gpu
from trtnn.errors import ArgumentError, ImageError
from trtnn.files import check_writable, make_folder
from trtnn.vision import COCO, COCO_91, Detections, draw, find_images, read_image, write_image


@command(
    "trtnn detect street.jpg --engine yolov5s.engine",
    "trtnn detect photos/ --weights yolov5s.pt --reference --size 320",
    "trtnn detect 'photos/*.png' --engine pets.engine --names cat,dog -o found",
)
def detect(
    source: Annotated[str, typer.Argument(help="A picture, a folder of pictures, or a quoted glob.")],
    engine: Annotated[Path | None, typer.Option(help="An engine file, run on the GPU.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A checkpoint; its engine is built first, or with --reference none.")
    ] = None,
    reference: Annotated[bool, typer.Option("--reference", help="Run the network of --weights on the CPU.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for pictures and detections.json.")] = Path(
        "detections"
    ),
    model: ModelName = None,
    size: Size = None,
    batch: Batch = None,
    fp16: Half = False,
    cache: Cache = None,
    confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="The lowest score to keep.", show_default="the model's")
    ] = None,
    iou: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Boxes of one class that overlap more are one.", show_default="the model's, if any"
        ),
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option(min=1, help="The most to keep in one picture.", show_default="the model's")
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            help="Class names with commas, or a file with one a line.", show_default="the model's, COCO's for 80 or 91"
        ),
    ] = None,
) -> None:
    """Detect objects in pictures: draws them into copies and writes detections.json.

    A picture that cannot be read is named and skipped, and the exit code is 1 at the end.
    """
    if (engine and weights) or not (engine or weights or model):
        raise ArgumentError("detect takes one of --engine and --weights")
    if engine is not None:
        if reference:
            raise ArgumentError("--reference takes --weights", "an engine runs on a GPU alone")
        build_options = {"--model": model, "--size": size, "--batch": batch, "--fp16": fp16, "--cache": cache}
        refuse(build_options, "this is settled when an engine is built; it goes with --weights")
    elif reference:
        refuse({"--cache": cache}, "--reference builds no engine")
    paths = find_images(source)

    # All that can be known to fail is found out before an engine is built, and all of that before a picture is read.
    if engine is not None:
        runner = trtnn.Engine.load(engine)
        runner.check_runnable()
    else:
        if not reference:
            check_gpu()
        network = load_model(weights, model)
        runner = network.trace(resized_inputs(network, size, batch), fp16=fp16)
    given = {"confidence": confidence, "iou": iou, "max_detections": max_detections}
    thresholds = {name: value for name, value in given.items() if value is not None}
    detector = Detector(runner, **thresholds)
    labels = _labels(names, detector)
    report = check_writable(make_folder(output) / "detections.json")
    if engine is None and not reference:
        detector = Detector(runner.build(cache_dir=cache), **thresholds)

    found = _detect(paths, detector, labels, output)
    rows = {
        str(path): {"drawn": str(found.drawn[path]), **detections.to_dict(labels)}
        for path, detections in found.detections.items()
    }
    write_json(report, rows)
    print_detections(found.detections, labels)
    total = sum(map(len, found.detections.values()))
    print_line(f"{counted(len(rows), 'picture')}, {counted(total, 'detection')}: {output}")
    if found.skipped:
        print_note("error", "bold red", f"{len(found.skipped)} of {counted(len(paths), 'picture')} could not be read")
        raise typer.Exit(1)


@dataclass
class _Found:
    """By source: what was detected, and where it is drawn; and the sources that could not be read."""

    detections: dict[Path, Detections] = field(default_factory=dict)
    drawn: dict[Path, Path] = field(default_factory=dict)
    skipped: list[Path] = field(default_factory=list)


def _detect(paths: list[Path], detector: Detector, labels: Sequence[str] | None, folder: Path) -> _Found:
    """Detect in pictures, a batch at a time, and draw each into ``folder``."""
    found = _Found()
    taken = {path.resolve() for path in paths}
    batches = list(chunks(paths, detector.batch))
    for batch in track(batches, "detecting", console=log, disable=not sys.stderr.isatty()):
        images = {}
        for path in batch:
            try:
                images[path] = read_image(path)
            except ImageError as error:
                found.skipped.append(path)
                print_note("skipped", "yellow", error)
        for (path, image), detections in zip(images.items(), detector(images.values()), strict=True):
            drawn = _free_path(folder / f"{path.stem}.png", taken)
            write_image(drawn, draw(image, detections, labels))
            taken.add(drawn.resolve())
            found.drawn[path], found.detections[path] = drawn, detections
    return found


def _free_path(path: Path, taken: set[Path]) -> Path:
    """Return ``path``, or with a number behind its stem where it is a source or was written for another."""
    number, free = 2, path
    while free.resolve() in taken:
        number, free = number + 1, path.with_stem(f"{path.stem}-{number}")
    return free


def _labels(names: str | None, detector: Detector) -> Sequence[str] | None:
    """Return a name for each class, or None where there are none to show."""
    classes = detector.classes
    if names is None:
        known = [detector.labels, COCO, COCO_91]
        return next((labels for labels in known if labels and len(labels) == classes), None)
    labels = names.split(",")
    if os.path.isfile(names):
        try:
            labels = Path(names).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise ArgumentError(f"--names {names} is not a text file", "it takes one name a line, in UTF-8") from None
    labels = [label.strip() for label in labels if label.strip()]
    if classes is not None and len(labels) != classes:
        raise ArgumentError(
            f"--names gives {counted(len(labels), 'name')} for {classes} classes", f"received: {', '.join(labels[:8])}"
        )
    return labels
