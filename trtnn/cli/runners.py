"""What runs in ``trtnn detect`` and ``classify``: an engine file, a server's model, or a checkpoint's network."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

import trtnn
from trtnn.cli.options import Batch, Cache, Half, ModelName, Size, refuse, resized_inputs
from trtnn.cli.sources import load_model
from trtnn.engine.engine import check_gpu
from trtnn.errors import ArgumentError
from trtnn.image_network import Runnable

CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors", ".npz", ".wts", ".weights")
_SETTLED = "this is settled when an engine is built; it goes with --weights"
Source = Annotated[str, typer.Argument(help="A picture, a folder of pictures, or a quoted glob.")]
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Take the pictures in subfolders of a folder as well.")
]


@dataclass(frozen=True)
class Runner:
    """What a command line says of the network to run: the options of the same names, which :func:`with_runner` gives.

    Args:
        command: the name of the command.

    Raises:
        ArgumentError: the options do not go together.
    """

    command: str
    engine: Annotated[Path | None, typer.Option("--engine", help="An engine file, run on the GPU.")] = None
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="A checkpoint; its engine is built first, or with --reference none."),
    ] = None
    triton: Annotated[
        str | None,
        typer.Option(
            "--triton", metavar="URL", help="A model on a Triton server, such as http://localhost:8000/yolov5s."
        ),
    ] = None
    reference: Annotated[bool, typer.Option("--reference", help="Run the network of --weights on the CPU.")] = False
    model: ModelName = None
    size: Size = None
    batch: Batch = None
    fp16: Half = False
    cache: Cache = None

    def __post_init__(self) -> None:
        several = sum(bool(place) for place in (self.engine, self.weights, self.triton)) > 1
        if several or not (self.engine or self.weights or self.triton or self.model):
            raise ArgumentError(f"{self.command} takes one of --engine, --weights and --triton")
        if self.engine is None and self.triton is None:
            if self.reference:
                refuse({"--cache": self.cache}, "--reference builds no engine")
            return
        if self.engine and self.engine.suffix.lower() in CHECKPOINTS:
            summary = f"{self.engine} is not an engine file: {self.engine.suffix} is the suffix of a checkpoint"
            raise ArgumentError(summary, "give it with --weights")
        if self.reference:
            reason = "an engine runs on a GPU alone" if self.engine else "a server's model runs where the server does"
            raise ArgumentError("--reference takes --weights", reason)
        build_options = {"--model": self.model, "--size": self.size, "--batch": self.batch}
        build_options |= {"--fp16": self.fp16, "--cache": self.cache}
        refuse(build_options, _SETTLED)

    def open(self, anchors: Any = None) -> trtnn.Engine | Runnable:
        """Return the engine of a file, a server's model, or the network that is yet to be built; all that keeps it from
        running is told.

        Args:
            anchors: of a checkpoint that has none, or None.

        Raises:
            TrtnnError: it cannot be read, or cannot run here.
        """
        if self.engine is not None or self.triton is not None:
            refuse({"--anchors": anchors}, _SETTLED)
        if self.engine is not None:
            engine = trtnn.Engine.load(self.engine)
            engine.check_runnable()
            return engine
        if self.triton is not None:
            from trtnn.triton import TritonModel

            return TritonModel(self.triton)
        if not self.reference:
            check_gpu()
        network = load_model(self.weights, self.model, anchors=anchors)
        return network.trace(resized_inputs(network, self.size, self.batch), fp16=self.fp16)

    def ready(self, opened: trtnn.Engine | Runnable) -> trtnn.Engine | Runnable:
        """Return what runs: an engine, which is built of a network unless it is to run on the CPU."""
        if self.reference or not isinstance(opened, trtnn.Network):
            return opened
        return opened.build(cache_dir=self.cache)


def with_runner(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a :class:`Runner` behind its source; it takes the runner as its first argument."""
    _, source, *own = inspect.signature(function, eval_str=True).parameters.values()
    _, *options = inspect.signature(Runner, eval_str=True).parameters.values()
    parameters = [source, *options, *own]

    @functools.wraps(function)
    def command(**arguments: Any) -> None:
        runner = Runner(function.__name__, **{option.name: arguments.pop(option.name) for option in options})
        function(runner, **arguments)

    taken = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    setattr(command, "__signature__", inspect.Signature(taken))  # noqa: B010  no type checker knows this attribute
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in taken}
    return command
