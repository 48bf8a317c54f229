"""``trtnn fp16``: what half precision does to a model."""

from __future__ import annotations

from typing import Annotated

import typer

from trtnn.accuracy.report import TOLERANCE
from trtnn.cli.options import (
    Anchors,
    HalfAttention,
    ModelName,
    Size,
    Tolerance,
    Weights,
    What,
    load_what,
    resized_inputs,
)
from trtnn.cli.program import command, print_line
from trtnn.cli.samples import Samples


@command("trtnn fp16 yolov5s.pt --samples photos/", "trtnn fp16 yolov5s.pt --samples 'photos/*.png' --size 320")
def fp16(
    what: What,
    samples: Annotated[str, typer.Option(help="A picture, a folder of pictures, or a quoted glob.")],
    weights: Weights = None,
    model: ModelName = None,
    anchors: Anchors = None,
    size: Size = None,
    fp16_attention: HalfAttention = False,
    tolerance: Tolerance = TOLERANCE,
    rows: Annotated[int, typer.Option(min=1, help="The most modules to list.")] = 20,
) -> None:
    """Show what half precision does to each module of a model, and which have to stay in fp32.

    For each module: the largest value, how many overflow, how many are lost to zero, and the error that it alone
    brings. The CPU runs the network on the pictures in fp32, and each layer in fp16 beside it; no GPU is needed. Of
    several pictures one that cannot be read is named and left out, and the exit code is 1 at the end.
    """
    network = load_what(what, weights, model, anchors=anchors)
    inputs = resized_inputs(network, size, batch=None)
    read = Samples(samples, inputs, network.metadata)
    report = network.trace(inputs).fp16_report(read, fp16_attention=fp16_attention)
    print_line(report.table(rows))
    print_line(f"to stay in fp32: {', '.join(report.suggested_fp32_modules(tolerance)) or 'none'}")
    read.tell_unread()
