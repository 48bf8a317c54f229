"""``trtnn inspect``: what a checkpoint, a network or an engine holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import trtnn
from trtnn import models
from trtnn.cli.options import Batch, Half, Json, Size, refuse, resized_inputs, write_json
from trtnn.cli.program import command, print_line
from trtnn.cli.sources import check_exists, fill_empty, is_model, make_model
from trtnn.cli.tables import print_engine, print_state_dict
from trtnn.engine.file import SUFFIXES
from trtnn.errors import StateDictError, escape_controls


@command(
    "trtnn inspect yolov5s.pt",
    "trtnn inspect yolov5s --fp16 --depth 2",
    "trtnn inspect yolov5s.engine --json engine.json",
    "trtnn inspect yolov5s.engine --for sm86,driver=550,tensorrt=10.13",
    "trtnn inspect mine.py:Net",
)
def inspect(
    what: Annotated[str, typer.Argument(help="A checkpoint, an engine file, a model's name, or FILE.py:CLASS.")],
    size: Size = None,
    batch: Batch = None,
    fp16: Half = False,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Sum up by module, told apart by this many names of its path.")
    ] = None,
    there: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="MACHINE",
            help="For an engine: whether it will run there, such as sm86,driver=550,tensorrt=10.13; or here.",
        ),
    ] = None,
    json: Json = None,
) -> None:
    """Show what a checkpoint, a network or an engine holds.

    A checkpoint gives its tensors and the model they belong to, a model's name or FILE.py:CLASS the layers of its
    network, an engine file its description. --size, --batch, --fp16 and --depth are for models. With --for an engine
    that cannot run there is the exit status 1.
    """
    found = None
    if is_model(what):
        refuse({"--for": there}, "this is for an engine")
        model = fill_empty(make_model(what))
        network = model.trace(resized_inputs(model, size, batch), fp16=fp16)
        print_line(network.summary(depth))
        values = _network_values(network)
    else:
        check_exists(what)
        refuse({"--size": size, "--batch": batch, "--fp16": fp16, "--depth": depth}, "this is for a model")
        if Path(what).suffix.lower() in SUFFIXES:
            engine = trtnn.Engine.load(what)
            engine.check_plan()
            print_engine(engine)
            values = {**engine.description, "plan_bytes": engine.plan.nbytes}
            if there is not None:
                found = engine.can_run(None if there == "here" else there)
                print_line(escape_controls(str(found), keep="\n"))
                values["can_run"] = {"on": there, "can_run": bool(found), **dataclasses.asdict(found)}
        else:
            refuse({"--for": there}, "this is for an engine")
            state_dict = trtnn.load(what)
            print_state_dict(state_dict)
            values = _checkpoint_values(state_dict)
    if json:
        write_json(json, values)
    if found is not None and not found:
        raise typer.Exit(1)


def _network_values(network: trtnn.Network) -> dict[str, Any]:
    layers = [
        {
            "module": row.path,
            "layer": row.kind.lower(),
            "output": None if row.output is None else row.output.to_json(),
            "parameters": row.parameters,
            "flops": row.flops,
        }
        for row in network.layers()
    ]
    inputs, outputs = ({n: s.to_json() for n, s in table.items()} for table in (network.inputs, network.outputs))
    return {**network.metadata, "inputs": inputs, "outputs": outputs, "layers": layers}


def _checkpoint_values(state_dict: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tensors = {name: {"dtype": array.dtype.name, "shape": list(array.shape)} for name, array in state_dict.items()}
    metadata = getattr(state_dict, "metadata", {})
    model = None if models.other_sizes(state_dict) else models.identify(state_dict)
    if model is not None:
        try:
            models.check_told(state_dict, model["name"])
        except StateDictError:
            del model["classes"]
    return {"model": model, "metadata": metadata, "tensors": tensors}
