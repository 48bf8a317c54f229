"""``trtnn view``: a page that shows a network or an engine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

import trtnn
from trtnn.cli.compare import trace_as
from trtnn.cli.options import Batch, Half, Picture, Size, Weights, check_place, load_what, refuse, resized_inputs
from trtnn.cli.program import command, log, print_line, print_note
from trtnn.cli.samples import Samples, example_inputs
from trtnn.cli.sources import check_exists, fill_empty, is_model, make_model, source_path
from trtnn.cli.tables import megabytes
from trtnn.engine.file import SUFFIXES
from trtnn.engine.inspector import read_layer
from trtnn.engine.timing import EngineTiming
from trtnn.engine.viewing import read_layer_info
from trtnn.errors import ArgumentError, EngineError
from trtnn.viewer.facts import Facts
from trtnn.viewer.page import write_page


def _is_page(first: bytes) -> bool:
    return first.lstrip().lower().startswith(b"<!doctype html")


@command(
    "trtnn view yolov5s.pt",
    "trtnn view yolov5s.engine --network yolov5s.pt -o page.html --open",
    "trtnn view yolov5s.engine --against yolov5s-fp32.engine",
    "trtnn view yolov5s.engine --layer-info layers.json --times times.json",
)
def view(
    what: Annotated[str, typer.Argument(help="A checkpoint, an engine file, a model's name, or FILE.py:CLASS.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page.", show_default="in this folder, NAME.html")
    ] = None,
    against: Annotated[str | None, typer.Option(help="Another of these, to show beside it.")] = None,
    open: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    network: Annotated[
        str | None, typer.Option(help="Of an engine: the checkpoint or model that it was built from.")
    ] = None,
    layer_info: Annotated[
        Path | None, typer.Option(help="Of an engine that cannot run here: what trtexec --exportLayerInfo wrote.")
    ] = None,
    times: Annotated[
        Path | None, typer.Option(help="Of an engine that cannot run here: what trtexec --exportProfile wrote.")
    ] = None,
    samples: Annotated[
        str | None, typer.Option(help="Of a checkpoint: pictures to measure on what fp16 does to each module.")
    ] = None,
    picture: Picture = None,
    runs: Annotated[int, typer.Option(min=1, help="How many runs of an engine to measure.")] = 20,
    weights: Weights = None,
    size: Size = None,
    batch: Batch = None,
    fp16: Half = False,
) -> None:
    """Write a page that shows a network or an engine: a map, a graph and a table of its layers.

    It is one file of HTML that works without anything else. A network is shown by FLOPs, parameters and bytes; an
    engine, where it can run here, by the time of each layer as well.

    With --network an engine's page has the FLOPs, the weights and the source lines of what it was built from. An
    engine of another GPU or TensorRT is shown as far as its file and the files of trtexec tell. A network --against
    an engine is of the --size, --batch and --fp16 that are given.
    """
    is_engine = _is_engine(what)
    page = check_place(output or Path(f"{source_path(what).stem}.html"), _is_page, "page of HTML")
    if is_engine:
        of_model: dict[str, Any] = {"--samples": samples}
        if against is None or _is_engine(against):
            of_model |= {"--size": size, "--batch": batch, "--fp16": fp16}
        of_its_network = {"--weights": weights} if network is None else {}
        refuse({**of_model, **of_its_network}, f"{what} is an engine")
    else:
        of_engine = {"--network": network, "--layer-info": layer_info, "--times": times, "--picture": picture}
        refuse(of_engine, f"{what} is no engine")

    measured: list[Samples] = []

    def shown() -> list[Facts]:
        with log.status(f"looking at {what}"):
            first = (
                _engine(Path(what), network, weights, layer_info, times, picture, runs)
                if is_engine
                else _network(what, weights, samples, size, batch, fp16, measured)
            )
        if against is None:
            return [first]
        with log.status(f"looking at {against}"):
            second = (
                _engine(Path(against), None, None, None, None, None, runs)
                if _is_engine(against)
                else _network(against, None, None, size, batch, fp16, measured)
            )
        return [_with_origin(first, what), _with_origin(second, against)]

    write_page(page, shown, open)
    print_line(f"{page}, {megabytes(page.stat().st_size)}")
    for read in measured:
        read.tell_unread()


def _is_engine(what: str) -> bool:
    return Path(what).suffix.lower() in SUFFIXES


def _with_origin(facts: Facts, what: str) -> Facts:
    """Return facts with what they were read from: two engines of one model have the same title."""
    return dataclasses.replace(facts, about={"from": what, **facts.about})


def _network(
    what: str,
    weights: Path | None,
    samples: str | None,
    size: Any,
    batch: Any,
    fp16: bool,
    measured: list[Samples],
) -> Facts:
    """Return the facts of a network; a model that has no weights is shown without them.

    What is read of ``samples`` is added to ``measured``.
    """
    model, has_weights = _model(what, weights)
    inputs = resized_inputs(model, size, batch)
    reports = []
    if samples is not None:
        if not has_weights:
            raise ArgumentError("--samples is for a model with weights", "give its checkpoint, or --weights")
        measured.append(Samples(samples, inputs, model.metadata))
        reports.append(model.trace(inputs).fp16_report(measured[-1]))
    return model.trace(inputs, fp16=fp16).facts(reports, weights=has_weights)


def _model(what: str, weights: Path | None) -> tuple[trtnn.Module, bool]:
    """Return a model, and whether it has weights of its own or of a file."""
    if is_model(what) and weights is None:
        return fill_empty(make_model(what)), False
    return load_what(what, weights, None), True


def _engine(
    path: Path,
    network: str | None,
    weights: Path | None,
    layer_info: Path | None,
    times: Path | None,
    picture: Path | None,
    runs: int,
) -> Facts:
    """Return the facts of an engine, with its times where it can run here, or a file has them."""
    check_exists(str(path))
    engine = trtnn.Engine.load(path)
    traced = None
    if network is not None:
        model, has_weights = _model(network, weights)
        traced = trace_as(model, engine).facts(weights=has_weights)
    timing = None
    if times is not None:
        inspected = [] if layer_info is None else [read_layer(row) for row in read_layer_info(layer_info)]
        timing = EngineTiming.load(times, inspected)
    elif layer_info is None and _runs_here(engine):
        inputs = example_inputs(engine.inputs, picture, engine.description)
        try:
            timing = engine.timing(runs=runs, **inputs)
        except EngineError as error:  # it can be looked at without
            print_note("warning", "yellow", error)
    return engine.facts(timing, traced, layer_info=layer_info)


def _runs_here(engine: trtnn.Engine) -> bool:
    try:
        engine.check_runnable()
    except EngineError:  # the page says why
        return False
    return True
