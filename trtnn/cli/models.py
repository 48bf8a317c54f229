"""``trtnn models``: the networks that come with trtnn."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from trtnn import models as registry
from trtnn.cli.options import Json, Size, resized_inputs, write_json
from trtnn.cli.program import command, out, print_line
from trtnn.cli.sources import fill_empty, make_model
from trtnn.cli.values import Lengths
from trtnn.progress import progress_bar


@command("trtnn models", "trtnn models yolov5s yolov5m --size 320", 'trtnn models "yolo11*" --json models.json')
def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help='Names, patterns of names such as "yolov8*", or FILE.py:CLASS.',
            show_default="the names of all",
        ),
    ] = None,
    size: Size = None,
    json: Json = None,
) -> None:
    """List the networks that come with trtnn, by family and task; of those that are named, the parameters, the FLOPs
    and the input as well.

    FLOPs are those of convolutions and matrix products, two for each multiply-and-add, in one call at that input.
    """
    if names:
        _show(_matching(names), size, json)
    elif size:
        raise typer.BadParameter("it goes with the names of models", param_hint="--size")
    else:
        _overview(json)


def _matching(names: Iterable[str]) -> list[str]:
    """Return names with all that match in place of patterns; one that matches nothing stays."""
    known = registry.by_name()
    matching = [fnmatch.filter(known, name) if "*" in name or "?" in name else [name] for name in names]
    return list(dict.fromkeys(one for name, found in zip(names, matching, strict=True) for one in found or [name]))


def _overview(json: Path | None) -> None:
    table = Table(pad_edge=False, show_lines=True)
    table.add_column("family", no_wrap=True)
    table.add_column("task", no_wrap=True)
    table.add_column("models", overflow="fold")
    for (family, task), names in registry.by_task().items():
        table.add_row(family.__name__, task, ", ".join(names))
    out.print(table)
    print_line("trtnn models NAME... shows parameters, FLOPs and the input")
    if json:
        groups = registry.by_task()
        rows = {n: {"family": family.__name__, "task": task} for (family, task), names in groups.items() for n in names}
        write_json(json, rows)


def _show(names: list[str], size: tuple[Lengths, Lengths] | None, json: Path | None) -> None:
    rows = {}
    with progress_bar("tracing", len(names)) as advance:
        for name in names:
            rows[name] = _describe(name, size)
            advance()
    table = Table(pad_edge=False)
    table.add_column("model", overflow="fold", min_width=max(map(len, rows)))
    table.add_column("task")
    for title in ("parameters", "FLOPs", "input"):
        table.add_column(title, justify="right")
    for name, row in rows.items():
        shapes = ", ".join("×".join(map(str, spec["shape"])) for spec in row["inputs"].values())
        table.add_row(name, row["task"], f"{row['parameters']:,}", f"{row['flops'] / 1e9:,.2f} G", shapes)
    out.print(table)
    print_line("FLOPs: 2 for each multiply-and-add of convolutions and matrix products")
    if json:
        write_json(json, rows)


def _describe(name: str, size: tuple[Lengths, Lengths] | None) -> dict[str, object]:
    model = fill_empty(make_model(name))
    network = model.trace(resized_inputs(model, size, None))
    return {
        "family": type(model).__name__,
        "task": model.metadata.get("task", ""),
        "classes": model.metadata.get("classes"),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "flops": network.flops,
        "inputs": {n: spec.to_json() for n, spec in network.inputs.items()},
    }
