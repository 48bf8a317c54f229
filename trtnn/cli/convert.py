"""``trtnn convert``: one format of checkpoints into another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from trtnn import checkpoint
from trtnn.cli.program import command, log, print_line
from trtnn.cli.tables import megabytes


@command("trtnn convert yolov5s.pt yolov5s.safetensors", "trtnn convert model.wts model.npz")
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A checkpoint.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; its suffix chooses the format.")],
) -> None:
    """Convert a checkpoint between .pt, .pth, .safetensors, .npz and .wts."""
    with log.status(f"converting {escape(str(source))}"):
        checkpoint.convert(source, target)
    print_line(f"{target}, {megabytes(target.stat().st_size)}")
