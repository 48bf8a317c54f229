"""``trtnn compare``: an engine beside the CPU reference of its network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import trtnn
from trtnn.accuracy.report import TOLERANCE
from trtnn.cli.options import (
    Anchors,
    Batch,
    Half,
    Json,
    ModelName,
    Picture,
    Size,
    Tf32,
    Weights,
    What,
    load_what,
    refuse,
    resized_inputs,
    write_json,
)
from trtnn.cli.program import command, log, print_line
from trtnn.cli.samples import example_inputs
from trtnn.engine.engine import check_gpu
from trtnn.errors import ArgumentError


@command(
    "trtnn compare yolov5s.pt --fp16",
    "trtnn compare yolov5s.pt --fp16 --picture street.jpg --rows 20",
    "trtnn compare yolov5s.pt --module 'model.24*' --module model.9",
    "trtnn compare yolov5s.pt --engine yolov5s.engine",
)
def compare(
    what: What,
    engine: Annotated[
        Path | None, typer.Option(help="An engine file of the same model; only its own outputs are compared.")
    ] = None,
    module: Annotated[
        list[str] | None,
        typer.Option(help="A module to compare, or a pattern; may be repeated.", show_default="all of them"),
    ] = None,
    picture: Picture = None,
    weights: Weights = None,
    model: ModelName = None,
    anchors: Anchors = None,
    size: Size = None,
    batch: Batch = None,
    fp16: Half = False,
    tf32: Tf32 = True,
    tolerance: Annotated[
        float, typer.Option(min=0, help="The largest error, rms(difference) / rms(reference), that is no concern.")
    ] = TOLERANCE,
    rows: Annotated[
        int | None, typer.Option(min=1, help="The most rows to list, up to where they part.", show_default="all")
    ] = None,
    json: Json = None,
) -> None:
    """Show where an engine parts from the CPU reference of the same network, module by module.

    An engine is built that gives every module's output as well; it and the network on the CPU get the same input. The
    first module whose error is beyond the tolerance is marked, and the exit code is 1 then.

    TensorRT fuses no layers across an output, so this engine is not quite the usual one: name fewer modules with
    --module, or compare an engine that is there with --engine.
    """
    loaded = None
    if engine is None:
        check_gpu()
    else:
        reason = "this is settled when an engine is built"
        refuse({"--module": module, "--size": size, "--batch": batch, "--fp16": fp16, "--no-tf32": not tf32}, reason)
        loaded = trtnn.Engine.load(engine)
        loaded.check_runnable()
    net = load_what(what, weights, model, anchors=anchors)
    if loaded is None:
        network = net.trace(resized_inputs(net, size, batch), fp16=fp16, outputs=module or ["*"])
    else:
        network = trace_as(net, loaded)
    inputs = example_inputs(network.inputs, picture, network.metadata)
    built = loaded or network.build(tf32=tf32)
    with log.status("comparing"):
        comparison = trtnn.compare(network, engine=built, tolerance=tolerance, **inputs)
    print_line(comparison.table(rows))
    if json:
        write_json(json, comparison.to_json())
    if comparison.first:
        raise typer.Exit(1)


def trace_as(model: trtnn.Module, engine: trtnn.Engine) -> trtnn.Network:
    """Trace a model with the inputs, the precision and the outputs of an engine.

    Raises:
        ArgumentError: its file does not tell the precision, as those of other tools do not.
    """
    d = engine.description
    if "precision" not in d:
        raise ArgumentError(
            "the engine file does not say in what precision it was built", "trtnn build writes one that does"
        )
    return model.trace(
        engine.inputs,
        fp16=d["precision"] == "float16",
        fp32_modules=d.get("fp32_modules", ()),
        fp16_attention=d.get("fp16_attention", False),
        outputs=d.get("inner_outputs", ()),
    )
