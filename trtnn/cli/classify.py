"""``trtnn classify``: what pictures are of."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from trtnn.classifier import Classifier
from trtnn.cli.images import find_pictures, read_or_skip, tell_unread
from trtnn.cli.options import Json, MaxPixels, Names, given_names, write_json
from trtnn.cli.program import command, log, out, print_line
from trtnn.cli.runners import Recursive, Runner, Source, with_runner
from trtnn.cli.samples import chunks
from trtnn.cli.tables import MAX_ROWS
from trtnn.vision import PIPELINES
from trtnn.vision.detections import label_of
from trtnn.vision.images import MAX_PIXELS


@command(
    "trtnn classify cat.jpg --weights resnet50.pth --reference",
    "trtnn classify photos/ -r --engine resnet50.engine --names imagenet.txt",
    "trtnn classify photos/ --engine resnet50.engine --top 1 --json out.json",
)
@with_runner
def classify(
    runner: Runner,
    source: Source,
    top: Annotated[int, typer.Option(min=1, help="How many classes to show of each, the likeliest first.")] = 5,
    recursive: Recursive = False,
    names: Names = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            help=f"How pictures and outputs are read: {', '.join(k for k, v in PIPELINES.items() if not v.head)}.",
            show_default="what the model says",
        ),
    ] = None,
    json: Json = None,
    max_pixels: MaxPixels = MAX_PIXELS,
) -> None:
    """Classify pictures: the likeliest classes of each, with their probabilities.

    A picture that cannot be read is named and skipped, and the exit code is 1 at the end. What is found until Ctrl-C is
    kept in the file of --json.
    """
    paths = find_pictures(source, recursive)
    opened = runner.open()
    classifier = Classifier(opened, top, pipeline=pipeline)
    labels = classifier.labels if names is None else given_names(names, classifier.classes)
    ready = runner.ready(opened)
    if ready is not opened:
        classifier = Classifier(ready, top, pipeline=pipeline)

    rows: dict[str, list[dict[str, Any]]] = {}
    skipped: list[Path] = []
    quiet = not sys.stderr.isatty()
    try:
        for part in track(list(chunks(paths, classifier.batch)), "classifying", console=log, disable=quiet):
            images = read_or_skip(part, max_pixels, skipped)
            for path, best in zip(images, classifier(images.values()), strict=True):
                rows[str(path)] = [
                    {"class": index, **({"label": label_of(index, labels)} if labels else {}), "score": score}
                    for index, score in best
                ]
    finally:
        if json:
            write_json(json, rows)
    _print_table(rows)
    tell_unread(skipped, len(paths))


def _print_table(rows: dict[str, list[dict[str, Any]]]) -> None:
    shown = [(Path(path).name, row) for path, classes in rows.items() for row in classes]
    table = Table("picture", "class")
    table.add_column("score", justify="right")
    for name, row in shown[:MAX_ROWS]:
        table.add_row(name, str(row.get("label", row["class"])), f"{row['score']:.4f}")
    if shown:
        out.print(table)
    if len(shown) > MAX_ROWS:
        print_line(f"... and {len(shown) - MAX_ROWS:,} more")
