"""``trtnn inspect``: what a checkpoint, a network or an engine holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import trtnn
from trtnn.cli.options import ENGINE_SUFFIXES, Batch, Half, Size, refuse, resized_inputs
from trtnn.cli.program import command, print_line
from trtnn.cli.sources import check_exists, fill_empty, is_model, make_model
from trtnn.cli.tables import print_engine, print_state_dict


@command(
    "trtnn inspect yolov5s.pt",
    "trtnn inspect yolov5s --fp16",
    "trtnn inspect yolov5s.engine",
    "trtnn inspect mine.py:Net",
)
def inspect(
    what: Annotated[str, typer.Argument(help="A checkpoint, an engine file, a model's name, or FILE.py:CLASS.")],
    size: Size = None,
    batch: Batch = None,
    fp16: Half = False,
) -> None:
    """Show what a checkpoint, a network or an engine holds.

    A checkpoint gives its tensors and the model they belong to, a model's name or FILE.py:CLASS the layers of its
    network, an engine file its description. --size, --batch and --fp16 are for models.
    """
    if is_model(what):
        model = fill_empty(make_model(what))
        print_line(model.trace(resized_inputs(model, size, batch), fp16=fp16).summary())
        return
    check_exists(what)
    refuse({"--size": size, "--batch": batch, "--fp16": fp16}, "this is for a model")
    if Path(what).suffix.lower() in ENGINE_SUFFIXES:
        engine = trtnn.Engine.load(what)
        engine.check_plan()
        print_engine(engine)
    else:
        print_state_dict(trtnn.load(what))
