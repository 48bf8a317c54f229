"""``trtnn export``: an engine in the form that a server takes."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

import trtnn
from trtnn.cli.options import EngineFile
from trtnn.cli.program import command, print_line, print_note


class Form(str, Enum):
    """What an engine can be written as."""

    triton = "triton"


@command(
    "trtnn export triton yolov5s.engine models/",
    "trtnn export triton a.engine models/ --name street --max-queue-us 2000",
    "trtnn export triton a.engine models/ --with-detector --gpu 0 --gpu 1",
)
def export(
    form: Annotated[Form, typer.Argument(help="What is written: triton, a model repository.")],
    engine: EngineFile,
    repository: Annotated[Path, typer.Argument(help="The folder of models.")],
    name: Annotated[str | None, typer.Option(help="The model's name there.", show_default="the engine's own")] = None,
    max_queue_us: Annotated[
        int, typer.Option(min=0, help="Microseconds that a request waits for others to make a batch with.")
    ] = 500,
    instances: Annotated[int, typer.Option(min=1, help="Execution contexts on each GPU.")] = 1,
    gpu: Annotated[
        list[int] | None, typer.Option(min=0, help="A GPU's index; may be repeated.", show_default="all of them")
    ] = None,
    with_detector: Annotated[
        bool,
        typer.Option("--with-detector", help="Write NAME-detector as well: encoded pictures in, boxes out."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace models of that name, a detector too.")] = False,
) -> None:
    """Write an engine into a model repository of Triton Inference Server.

    The engine takes batches of one and more: trtnn build ... --batch 1,8,32. Requests that come within --max-queue-us
    become one batch. A detector needs trtnn in the Python that Triton runs.
    """
    assert form is Form.triton
    from trtnn.triton import write_repository

    opened = trtnn.Engine.load(engine)
    folders = write_repository(
        opened, repository, name, max_queue_us=max_queue_us, instances=instances, gpus=gpu or (),
        with_detector=with_detector, force=force,
    )  # fmt: skip
    for folder in folders:
        print_line(folder)
    if opened.description["backend"] == "tensorrt_rtx":
        print_note(
            "note",
            "yellow",
            "Triton runs plans by TensorRT, and this plan is TensorRT-RTX's: build it with the server's TensorRT",
        )
    print_line(f"serve it: tritonserver --model-repository={shlex.quote(str(repository))}")
    verb = "classify" if opened.description.get("task") == "classify" else "detect"
    print_line(f"use it:   trtnn {verb} photos/ --triton http://localhost:8000/{folders[0].name}")
