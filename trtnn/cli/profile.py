"""``trtnn profile``: the time of each layer of an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import trtnn
from trtnn.cli.options import EngineFile, Json, Picture, check_json_place, write_json
from trtnn.cli.program import command, log, print_line
from trtnn.cli.samples import example_inputs
from trtnn.errors import ArgumentError
from trtnn.files import resolved


def _written(help: str) -> Any:
    """Return an option for a file to write, which is told before the work begins where it cannot be."""
    return typer.Option(callback=lambda path: path and check_json_place(path), help=help)


LayerInfo = Annotated[Path | None, _written("A file for the layers, as trtexec --exportLayerInfo writes it.")]
Times = Annotated[Path | None, _written("A file for their times, as trtexec --exportProfile writes it.")]


@command(
    "trtnn profile yolov5s.engine",
    "trtnn profile yolov5s.engine --by-time --rows 10",
    "trtnn profile yolov5s.engine --depth 2 --json profile.json",
    "trtnn profile yolov5s.engine --layer-info layers.json --times times.json",
)
def profile(
    engine: EngineFile,
    picture: Picture = None,
    runs: Annotated[int, typer.Option(min=1, help="How many to measure.")] = 20,
    by_time: Annotated[bool, typer.Option("--by-time", help="The slowest first, not as executed.")] = False,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Sum up by module, told apart by this many names of its path.")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="The most rows to list.", show_default="all")] = None,
    json: Json = None,
    layer_info: LayerInfo = None,
    times: Times = None,
) -> None:
    """Show where an engine's time goes: each layer that TensorRT made, the module it comes from, its milliseconds.

    Layers are timed one at a time, so their sum is more than a call takes: look at the shares.

    --layer-info and --times write what trtexec --exportLayerInfo and --exportProfile write, for trtnn view on another
    machine and for NVIDIA's own tools.
    """
    files = [resolved(path) for path in (json, layer_info, times) if path is not None]
    if len({*files}) < len(files):
        raise ArgumentError("--json, --layer-info and --times are each a file of their own")
    loaded = trtnn.Engine.load(engine)
    loaded.check_runnable()
    inputs = example_inputs(loaded.inputs, picture, loaded.description)
    with log.status("profiling"):
        timing = loaded.timing(runs=runs, **inputs)
    print_line(timing.table(by_time, rows) if depth is None else timing.module_table(depth, by_time, rows))
    if json:
        write_json(json, {"engine": Path(engine).name, **timing.to_json()})
    if layer_info:
        loaded.save_layer_info(layer_info)
    if times:
        timing.save(times)
