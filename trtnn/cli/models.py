"""``trtnn models``: the networks that come with trtnn."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from trtnn import models as registry
from trtnn.cli.options import Json, Size, resized_inputs, write_json
from trtnn.cli.program import command, out, print_line
from trtnn.cli.sources import fill_empty, make_model
from trtnn.cli.values import Lengths
from trtnn.progress import progress_bar


@command("trtnn models", "trtnn models yolov5s yolov5m --size 320", "trtnn models --json models.json")
def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Names, or FILE.py:CLASS.", show_default="all of them"),
    ] = None,
    size: Size = None,
    json: Json = None,
) -> None:
    """List the networks that come with trtnn: what each is for, its parameters, its FLOPs and its input.

    FLOPs are those of convolutions and matrix products, two for each multiply-and-add, in one call at that input.
    """
    rows = {}
    wanted = names or list(registry.by_name())
    with progress_bar("tracing", len(wanted)) as advance:
        for name in wanted:
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
