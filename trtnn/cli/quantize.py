"""``trtnn quantize``: a checkpoint in int8 or fp8, with its scales."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

import trtnn
from trtnn.checkpoint import check_suffix
from trtnn.checkpoint.state_dict import StateDict, metadata_of
from trtnn.cli.options import Anchors, ModelName, Size, Weights, What, load_what, resized_inputs
from trtnn.cli.program import command, print_line
from trtnn.cli.samples import Samples
from trtnn.cli.sources import source_path
from trtnn.cli.tables import counted, megabytes
from trtnn.errors import ArgumentError
from trtnn.files import check_writable, resolved
from trtnn.graph.quantization import TOLERANCE


class DTypeName(str, Enum):
    """The types that are quantised to."""

    int8 = "int8"
    fp8 = "fp8"


class Method(str, Enum):
    """How a range comes of what was seen."""

    max = "max"
    percentile = "percentile"
    entropy = "entropy"
    mse = "mse"


@command(
    "trtnn quantize yolov5s.pt --samples photos/ -o yolov5s-int8.safetensors",
    "trtnn quantize yolov5s.pt --samples 'photos/*.jpg' --skip model.24",
)
def quantize(
    what: What,
    samples: Annotated[str, typer.Option(help="A picture, a folder of pictures, or a quoted glob.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The checkpoint to write.", show_default="beside WHAT, -int8.safetensors"),
    ] = None,
    weights: Weights = None,
    model: ModelName = None,
    anchors: Anchors = None,
    dtype: Annotated[DTypeName, typer.Option(help="The type to quantise to.")] = DTypeName.int8,
    method: Annotated[
        Method | None,
        typer.Option(help="How a range comes of the numbers that were seen.", show_default="mse for int8, max for fp8"),
    ] = None,
    module: Annotated[
        list[str] | None,
        typer.Option(
            help="A module to quantise, or a pattern; may be repeated. auto: all that --tolerance allows. "
            "fastest: of these all that are faster so on the GPU here.",
            show_default="all that can be",
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            help="A module not to quantise, or a pattern; may be repeated. none: quantise all.",
            show_default="the last layer of each result, for fp8 the last four; convolutions over up to 4 channels "
            "where int8 has no fast kernel, for fp8 all",
        ),
    ] = None,
    round_output: Annotated[
        list[str] | None,
        typer.Option(
            help="A module, or a pattern, whose output is rounded for what stays in floating point as well; may be "
            "repeated.",
            show_default="none",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0, help="For auto and fastest: the largest error of any output.", show_default=f"{TOLERANCE:g}"
        ),
    ] = None,
    correct_bias: Annotated[
        bool | None,
        typer.Option(
            "--correct-bias/--keep-bias",
            help="Take from the biases what rounding adds on average, or leave them.",
            show_default="corrected for fp8, kept for int8",
        ),
    ] = None,
    adaptive_rounding: Annotated[
        bool | None,
        typer.Option(
            "--adaptive-rounding/--nearest",
            help="Round weights so that the layers' outputs stay, or each to its nearest number.",
            show_default="adaptive for fp8, nearest for int8",
        ),
    ] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Run the pictures by an engine, not on the CPU.")] = False,
    size: Size = None,
    calibration: Annotated[
        Path | None, typer.Option(help="A file that keeps what was seen, so that an interrupted command goes on.")
    ] = None,
) -> None:
    """Measure the ranges of a model's numbers on pictures, and write a checkpoint that is quantised.

    What is written is a checkpoint like any other: trtnn build --fp16, trtnn val and the rest take it. Its scales stand
    beside the weights. The CPU runs the network on the pictures; a few hundred are usual, and no GPU is needed. What
    cannot be read is named and left out, and the exit code is 1 at the end.
    """
    network = load_what(what, weights, model, anchors=anchors)
    source = weights or source_path(what)
    path = check_writable(output or source.with_name(f"{source.stem}-{dtype.value}.safetensors"))
    if resolved(path) == resolved(source):
        raise ArgumentError(f"the checkpoint would take the place of {source}", "give another file with --output")
    check_suffix(path)
    inputs = resized_inputs(network, size, batch=None)
    read = Samples(samples, inputs, network.metadata)
    declared, network.inputs = network.inputs, inputs
    chosen = module[0] if module in (["auto"], ["fastest"]) else module or None
    for option, words, given in (("--module", ("auto", "fastest"), module), ("--skip", ("none",), skip)):
        alone = next((word for word in words if word in (given or ()) and len(given or ()) > 1), None)
        if alone is not None:
            raise ArgumentError(f"{option} {alone} stands alone", f"or name modules without it: {option} PATH")
    trtnn.quantize(
        network, read, dtype.value, None if method is None else method.value, chosen,
        () if skip == ["none"] else skip or None, round_outputs=round_output or (), tolerance=tolerance,
        correct_bias=correct_bias, adaptive_rounding=adaptive_rounding, on_gpu=gpu,
        calibration_cache=calibration,
    )  # fmt: skip
    network.inputs = declared
    said = metadata_of(trtnn.load(source)) if source.exists() and source.suffix != ".py" else {}
    trtnn.save(StateDict(network.state_dict(), said), path)
    scales = sum(name.endswith(".weight_scale") for name in network.state_dict())
    print_line(f"{path}, {megabytes(path.stat().st_size)}, {counted(scales, 'module')} in {dtype.value}")
    read.tell_unread()
