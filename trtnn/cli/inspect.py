"""``trtnn inspect``: what a checkpoint, a network or an engine holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import trtnn
from trtnn import models
from trtnn.cli.options import ENGINE_SUFFIXES, Batch, Half, Size, refuse, resized_inputs
from trtnn.cli.program import command, print_line
from trtnn.cli.tables import print_engine, print_state_dict
from trtnn.errors import ArgumentError
from trtnn.models.names import unknown_name


@command("trtnn inspect yolov5s.pt", "trtnn inspect yolov5s --fp16", "trtnn inspect yolov5s.engine")
def inspect(
    what: Annotated[str, typer.Argument(help="A checkpoint, an engine file, or a model's name.")],
    size: Size = None,
    batch: Batch = None,
    fp16: Half = False,
) -> None:
    """Show what a checkpoint, a network or an engine holds.

    A checkpoint gives its tensors and the model they belong to, a model's name the layers of its network, an engine
    file its description. --size, --batch and --fp16 are for a model's name.
    """
    if what in models.NAMES:
        network = models.create(what)
        shapes = {n: member.shape for n, member in (*network.named_parameters(), *network.named_buffers())}
        network.load_state_dict({name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()})
        print_line(network.trace(resized_inputs(network, size, batch), fp16=fp16).summary())
        return
    if not Path(what).exists():
        details = unknown_name(what, models.NAMES).details
        raise ArgumentError(f"there is no file {what}, and no model of that name", *details)
    refuse({"--size": size, "--batch": batch, "--fp16": fp16}, "this is for a model's name")
    if Path(what).suffix.lower() in ENGINE_SUFFIXES:
        print_engine(trtnn.Engine.load(what))
    else:
        print_state_dict(trtnn.load(what))
