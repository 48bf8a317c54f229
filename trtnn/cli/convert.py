"""``trtnn convert``: one format of checkpoints into another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from trtnn import checkpoint
from trtnn.cli.program import command, log, print_line, print_note
from trtnn.cli.tables import megabytes


@command("trtnn convert yolov5s.pt yolov5s.safetensors", "trtnn convert model.wts model.npz --model yolov5s")
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A checkpoint.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; its suffix chooses the format.")],
    model: Annotated[
        str | None, typer.Option(help="The model's name, where IN has no shapes and its names do not tell it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite OUT where it is there.")] = False,
) -> None:
    """Convert a checkpoint between .pt, .pth, .safetensors, .npz and .wts.

    What a checkpoint says beside its weights, such as the names of classes, is kept in .safetensors alone.
    """
    with log.status(f"converting {escape(str(source))}"):
        notes = checkpoint.convert(source, target, model, force)
    print_line(f"{target}, {megabytes(target.stat().st_size)}")
    for note in notes:
        print_note("warning", "yellow", note)
