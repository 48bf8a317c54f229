"""``trtnn bench``: how long a model takes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

import trtnn
from trtnn.cli.options import (
    Anchors,
    AuxStreams,
    Batch,
    Half,
    HalfAttention,
    Json,
    Level,
    ModelName,
    Size,
    Weights,
    load_what,
    refuse,
    resized_inputs,
    write_json,
)
from trtnn.cli.program import command, log, print_line
from trtnn.cli.samples import example_inputs
from trtnn.engine.bench import ROUNDS, RUNS, bench_engine, circumstances
from trtnn.engine.engine import check_gpu
from trtnn.engine.file import SUFFIXES


@command(
    "trtnn bench yolov5s.engine",
    "trtnn bench yolov5s.pt --fp16 --batch 8",
    "trtnn bench yolov5s.pt --fp16 --aux-streams 1",
    "trtnn bench yolov5s.engine --runs 200 --json bench.json",
)
def bench(
    what: Annotated[
        str,
        typer.Argument(
            help="An engine file; or a checkpoint, a model's name or FILE.py:CLASS, whose engine is built first."
        ),
    ],
    weights: Weights = None,
    model: ModelName = None,
    anchors: Anchors = None,
    size: Size = None,
    batch: Batch = None,
    fp16: Half = False,
    fp16_attention: HalfAttention = False,
    level: Level = None,
    aux_streams: AuxStreams = None,
    runs: Annotated[int, typer.Option(min=1, help="Calls in a round.")] = RUNS,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")] = ROUNDS,
    json: Json = None,
) -> None:
    """Time an engine: TensorRT's execution alone, calls with CUDA tensors and with arrays, plain and as CUDA graphs.

    ms is the median over rounds of the mean of many calls in a row; the percentiles are those of single calls, each
    waited for. --json writes them with the GPU, the versions, the date and the command.
    """
    about: dict[str, Any] = {}
    if Path(what).suffix.lower() in SUFFIXES:
        options = {"--weights": weights, "--model": model, "--anchors": anchors, "--size": size, "--batch": batch}
        options |= {"--fp16": fp16, "--fp16-attention": fp16_attention, "--level": level, "--aux-streams": aux_streams}
        refuse(options, "this is settled when an engine is built; it goes with a checkpoint")
        engine = trtnn.Engine.load(what)
        engine.check_runnable()
    else:
        check_gpu()
        net = load_what(what, weights, model, anchors=anchors)
        network = net.trace(resized_inputs(net, size, batch), fp16=fp16, fp16_attention=fp16_attention)
        start = time.perf_counter()
        engine = network.build(optimization_level=level, max_aux_streams=aux_streams)
        about = {"build_seconds": time.perf_counter() - start, "network_layers": len(network.layers())}
    with log.status("timing"):
        benchmark = bench_engine(engine, example_inputs(engine.inputs, None, {}), rounds, runs)
    about |= {"engine_layers": len(engine.layers()), "plan_bytes": engine.plan.nbytes}
    print_line(repr(engine))
    print_line(str(benchmark))
    print_line(", ".join(f"{key.replace('_', ' ')} {value:,.6g}" for key, value in about.items()))
    if json:
        keys = ("model", "precision", "fp32_modules", "fp16_attention", "inputs")
        description = {key: engine.description.get(key) for key in keys}
        write_json(json, {**circumstances(), **description, **about, **benchmark.to_json()})
