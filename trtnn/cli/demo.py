"""``trtnn demo``: the digits detector, from its weights to an engine and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trtnn.cli.program import command, log, print_line
from trtnn.cli.tables import megabytes, print_detections
from trtnn.examples.digits import PICTURE
from trtnn.examples.digits.demo import run_demo
from trtnn.files import make_folder


@command("trtnn demo", "trtnn demo --output /tmp/demo")
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the engine and the picture.")] = Path(
        "trtnn-demo"
    ),
) -> None:
    """Build an engine of a trained YOLOv5 and show what it detects in a picture of digits. No GPU is needed."""
    result = run_demo(make_folder(output), log.status)
    print_detections([(PICTURE.name, row) for row in result.detections], len(result.detections), None)
    print_line(f"picture  {result.picture_path}")
    print_line(f"engine   {result.engine_path}, {megabytes(result.engine_path.stat().st_size)}")
    print_line(f"GPUs     {', '.join(result.targets)}")
    print_line(f"\nLargest difference from torch, over all {result.boxes:,} boxes that the network predicts:")
    print_line(f"fp32     {result.fp32_difference}")
    print_line(f"fp16     {result.fp16_difference}")
