"""``trtnn detect``: objects in pictures."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track

from trtnn.cli.images import find_sources, read_or_skip, tell_skipped
from trtnn.cli.options import (
    Confidence,
    MaxPixels,
    Names,
    Overlap,
    chunks,
    given_names,
)
from trtnn.cli.program import command, log, print_line, print_note
from trtnn.cli.runners import Recursive, Runner, Source, with_runner
from trtnn.cli.tables import counted, print_detections
from trtnn.cli.written import ResultFolder
from trtnn.detector import Detector
from trtnn.errors import ArgumentError
from trtnn.vision import PIPELINES, SUFFIXES, Detections
from trtnn.vision import draw as draw_boxes
from trtnn.vision.images import MAX_PIXELS, encode_image

REPORT = "detections.json"


class Format(str, Enum):
    """The format of drawn pictures."""

    jpg = "jpg"
    png = "png"


@command(
    "trtnn detect street.jpg --engine yolov5s.engine",
    "trtnn detect photos/ -r --weights yolov5s.pt --reference --size 320",
    "trtnn detect photos/ --engine yolov5s.engine --no-draw",
    "trtnn detect 'photos/*.png' --engine pets.engine --names cat,dog -o found",
    "trtnn detect photos/ --engine other.engine --names data.yaml",
)
@with_runner
def detect(
    runner: Runner,
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", help=f"The folder for pictures and {REPORT}.")] = Path(
        "detections"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that detect did not write.")] = False,
    recursive: Recursive = False,
    draw: Annotated[Format | None, typer.Option(help="The format of drawn pictures.", show_default="theirs")] = None,
    no_draw: Annotated[bool, typer.Option("--no-draw", help=f"Draw no pictures: write {REPORT} alone.")] = False,
    confidence: Confidence = None,
    iou: Overlap = None,
    max_detections: Annotated[
        int | None, typer.Option(min=1, help="The most to keep in one picture.", show_default="the model's")
    ] = None,
    names: Names = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            help=f"How outputs are read: {', '.join(name for name, reader in PIPELINES.items() if reader.head)}.",
            show_default="what the model says",
        ),
    ] = None,
    max_pixels: MaxPixels = MAX_PIXELS,
) -> None:
    """Detect objects in pictures: draws them into copies and writes detections.json.

    Copies have the format of their pictures. A picture that cannot be read is named and skipped, and the exit code is 1
    at the end. What is found until Ctrl-C is kept. Nothing is overwritten but what detect wrote before.
    """
    if draw and no_draw:
        raise ArgumentError("detect takes one of --draw and --no-draw")
    paths = find_sources(source, recursive)

    # All that can be known to fail is found out before an engine is built, and all of that before a picture is read.
    opened = runner.open()
    thresholds = {"confidence": confidence, "iou": iou, "max_detections": max_detections}
    options: dict[str, Any] = {name: value for name, value in thresholds.items() if value is not None}
    options |= {} if pipeline is None else {"pipeline": pipeline}
    detector = Detector(opened, **options)
    labels = detector.labels if names is None else given_names(names, detector.classes)
    folder, report = ResultFolder(output), output / REPORT
    drawn = {} if no_draw else _targets(paths, Path(source), output, draw and f".{draw.value}")
    folder.check([report, *drawn.values()], force)
    ready = runner.ready(opened)
    if ready is not opened:
        detector = Detector(ready, **options)

    results = _Detected(folder, report, drawn, labels)
    try:
        for part in track(list(chunks(paths, detector.batch)), "detecting", console=log, disable=_is_quiet()):
            images = read_or_skip(part, max_pixels, results.skipped)
            for (path, image), detections in zip(images.items(), detector(images.values()), strict=True):
                results.keep(path, image, detections)
    except KeyboardInterrupt:
        print_note(
            "interrupted", "yellow", f"{len(results.detections)} of {counted(len(paths), 'picture')} are in {report}"
        )
        raise
    finally:
        results.write_report()
    print_detections(results.detections, labels)
    total = sum(map(len, results.detections.values()))
    print_line(f"{counted(len(results.detections), 'picture')}, {counted(total, 'detection')}: {output}")
    tell_skipped(results.skipped, paths)


@dataclass
class _Detected:
    """What was detected, by picture: each is drawn at once, and all of it is one report, whenever it ends."""

    folder: ResultFolder
    report: Path
    drawn: dict[Path, Path]
    labels: Sequence[str] | None
    rows: dict[str, Any] = field(default_factory=dict)
    detections: dict[Path, Detections] = field(default_factory=dict)
    skipped: list[Path] = field(default_factory=list)

    def keep(self, path: Path, image: Any, detections: Detections) -> None:
        row = detections.to_dict(self.labels)
        target = self.drawn.get(path)
        if target is not None:
            self.folder.write(target, encode_image(target, draw_boxes(image, detections, self.labels)))
            row = {"drawn": str(target), **row}
        self.rows[str(path)], self.detections[path] = row, detections

    def write_report(self) -> None:
        self.folder.write(self.report, json.dumps(self.rows, indent=2).encode() + b"\n")


def _is_quiet() -> bool:
    return not sys.stderr.isatty()


def _targets(paths: Iterable[Path], source: Path, output: Path, suffix: str | None) -> dict[Path, Path]:
    """Return where each picture is drawn: at its own path in a folder, with a number where that is a source, or taken.

    Args:
        paths: of the pictures.
        source: what they were found in.
        output: the folder for them.
        suffix: of the drawn ones, None for their own.
    """
    targets: dict[Path, Path] = {}
    taken = {path.resolve() for path in paths}
    for path in paths:
        own = path.suffix if path.suffix.lower() in SUFFIXES else ".png"
        inner = path.relative_to(source) if source.is_dir() else Path(path.name)
        first = output / inner.with_suffix(suffix or own)
        numbered = (first.with_stem(f"{first.stem}-{number}") for number in itertools.count(2))
        targets[path] = next(target for target in itertools.chain([first], numbered) if target.resolve() not in taken)
        taken.add(targets[path].resolve())
    return targets
