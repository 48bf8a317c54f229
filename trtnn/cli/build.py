"""``trtnn build``: a model's engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from trtnn.accuracy.report import TOLERANCE
from trtnn.cli.options import (
    Anchors,
    AuxStreams,
    Batch,
    Cache,
    Half,
    HalfAttention,
    Level,
    ModelName,
    Names,
    Size,
    Tf32,
    Weights,
    What,
    check_place,
    given_names,
    load_what,
    resized_inputs,
)
from trtnn.cli.program import command, print_line
from trtnn.cli.samples import Samples
from trtnn.cli.sources import source_path
from trtnn.cli.tables import counted, megabytes, print_engine
from trtnn.engine.file import looks_like_an_engine
from trtnn.errors import ArgumentError
from trtnn.files import check_writable, resolved


@command(
    "trtnn build yolov5s.pt --fp16",
    "trtnn build yolov5s.pt -o small.engine --size 320 --batch 8",
    "trtnn build yolov5s.pt --size 320,640,1280 --batch 1,4,8",
    "trtnn build yolov5s.pt --size 480x640 --names data.yaml",
    "trtnn build yolov5s.pt --target sm86 --target sm89",
    "trtnn build yolov5s.pt --cache ~/.cache/engines",
    "trtnn build yolov5s.pt --fp16 --fp32-module auto --samples photos/",
    "trtnn build yolov5s.pt --fp16 --lock yolov5s.lock",
    "trtnn build yolov5s.pt --fp16 --head raw",
    "trtnn build tiny.npz --anchors 10,14,23,27,37,58,81,82,135,169,344,319",
    "trtnn build mine.py:Net --weights net.safetensors",
)
def build(
    what: What,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The engine file.", show_default="the checkpoint or the file with .engine"),
    ] = None,
    weights: Weights = None,
    model: ModelName = None,
    anchors: Anchors = None,
    size: Size = None,
    batch: Batch = None,
    names: Names = None,
    head: Annotated[
        str | None,
        typer.Option(
            help="What the model gives, where it has several heads. Of raw, the maps of YOLOv5, a Detector makes "
            "boxes where there are objects alone.",
            show_default="boxes",
        ),
    ] = None,
    fp16: Half = False,
    fp32_module: Annotated[
        list[str] | None,
        typer.Option(
            help="A module to keep in fp32, or a pattern; may be repeated. "
            "With auto, just as many as --samples show need.",
        ),
    ] = None,
    fp16_attention: HalfAttention = False,
    samples: Annotated[
        str | None, typer.Option(help="For --fp32-module auto: a picture, a folder of them, or a quoted glob.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="For --fp32-module auto: the largest error of any output, rms(difference from fp32) / rms(output).",
            show_default=f"{TOLERANCE:g}",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="A GPU to build for, such as sm89; may be repeated.",
            show_default="the one here, else sm86 sm89 sm120",
        ),
    ] = None,
    tf32: Tf32 = True,
    level: Level = None,
    workspace: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="MIB",
            help="The most MiB of device memory that a layer may use for scratch.",
            show_default="all of it",
        ),
    ] = None,
    aux_streams: AuxStreams = None,
    refittable: Annotated[
        bool, typer.Option("--refittable", help="Build an engine that takes new weights; it may be slower.")
    ] = False,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="Build for all GPUs since Ampere; it may be slower.")
    ] = False,
    cache: Cache = None,
    lock: Annotated[
        Path | None,
        typer.Option(
            help="A file that holds the build: it is written where it is missing; else the build is done again with "
            "the same tactics, or what differs is an error.",
        ),
    ] = None,
) -> None:
    """Build an engine of a checkpoint, or of a model with its weights. With TensorRT-RTX this needs no GPU.

    A checkpoint tells which model it is. A model's name takes --weights; so does a Module in a file of your own,
    FILE.py:CLASS, unless it gives its parameters values itself.
    """
    network = load_what(what, weights, model, head, anchors)
    source = weights or source_path(what)
    path = output or source.with_suffix(".engine")
    if resolved(path) == resolved(source):
        raise ArgumentError(f"the engine would take the place of {source}", "give another file with --output")
    is_new = lock is not None and _is_new(lock, path)
    check_place(path, looks_like_an_engine, "engine")
    if names is not None:
        network.metadata = {**network.metadata, "names": given_names(names, network.metadata.get("classes"))}
    inputs = resized_inputs(network, size, batch)
    read = None if samples is None else Samples(samples, inputs, network.metadata)
    engine = network.compile(
        inputs,
        fp16=fp16,
        fp32_modules="auto" if fp32_module == ["auto"] else fp32_module or (),
        fp16_attention=fp16_attention,
        samples=read,
        tolerance=tolerance,
        targets=target or None,
        tf32=tf32,
        optimization_level=level,
        workspace_bytes=None if workspace is None else workspace << 20,
        max_aux_streams=aux_streams,
        refittable=refittable,
        hardware_compatible=hardware_compatible,
        cache_dir=cache,
        lock=lock,
    )
    engine.save(path)
    print_line(f"{path}, {megabytes(path.stat().st_size)}")
    if lock is not None:
        print_line(f"{lock}: {_told_of_lock(engine.description['lock'], is_new)}")
    print_engine(engine)
    if read is not None:
        read.tell_unread()


def _is_new(lock: Path, output: Path) -> bool:
    """Return whether a lock is to be written, which the engine must not replace, before the work begins."""
    if resolved(output) in (resolved(lock), resolved(Path(f"{lock}.timing"))):
        raise ArgumentError(f"the engine would take the place of the lock {lock}", "give another file with --output")
    if lock.exists():
        return False
    check_writable(lock)
    return True


def _told_of_lock(told: Mapping[str, Any], is_new: bool) -> str:
    """Return in words what an engine's description says of its lock."""
    layers = counted(told["tactics"], "layer") if "tactics" in told else None
    if is_new:
        return f"written, with the tactics of {layers}" if layers else "written; TensorRT-RTX tells no tactics"
    same = [f"the tactics of {layers} are the same" if layers else "what goes in is the same"]
    if told["new_weights"]:
        same.append(f"{counted(told['new_weights'], 'array')} of new weights")
    elif not layers:
        same.append(f"the plan {'is too' if told['same_plan'] else 'is not, and TensorRT-RTX tells no tactics'}")
    return "; ".join(same)
