"""What runs in ``trtnn detect`` and ``classify``: an engine file, or a checkpoint's network, built or on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

import trtnn
from trtnn.cli.options import refuse, resized_inputs
from trtnn.cli.sources import load_model
from trtnn.cli.values import Lengths
from trtnn.engine.engine import check_gpu
from trtnn.errors import ArgumentError

_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors", ".npz", ".wts", ".weights")
EngineOption = Annotated[Path | None, typer.Option("--engine", help="An engine file, run on the GPU.")]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", help="A checkpoint; its engine is built first, or with --reference none."),
]
Reference = Annotated[bool, typer.Option("--reference", help="Run the network of --weights on the CPU.")]
Source = Annotated[str, typer.Argument(help="A picture, a folder of pictures, or a quoted glob.")]
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Take the pictures in subfolders of a folder as well.")
]


@dataclass(frozen=True)
class Runner:
    """What a command line says of the network to run; see the options of the same names.

    Raises:
        ArgumentError: the options do not go together.
    """

    command: str
    engine: Path | None
    weights: Path | None
    reference: bool
    model: str | None
    size: tuple[Lengths, Lengths] | None
    batch: Lengths | None
    fp16: bool
    cache: Path | None

    def __post_init__(self) -> None:
        if (self.engine and self.weights) or not (self.engine or self.weights or self.model):
            raise ArgumentError(f"{self.command} takes one of --engine and --weights")
        if self.engine is None:
            if self.reference:
                refuse({"--cache": self.cache}, "--reference builds no engine")
            return
        if self.engine.suffix.lower() in _CHECKPOINTS:
            summary = f"{self.engine} is not an engine file: {self.engine.suffix} is the suffix of a checkpoint"
            raise ArgumentError(summary, "give it with --weights")
        if self.reference:
            raise ArgumentError("--reference takes --weights", "an engine runs on a GPU alone")
        build_options = {"--model": self.model, "--size": self.size, "--batch": self.batch}
        build_options |= {"--fp16": self.fp16, "--cache": self.cache}
        refuse(build_options, "this is settled when an engine is built; it goes with --weights")

    def open(self) -> trtnn.Engine | trtnn.Network:
        """Return the engine of a file, or the network that is yet to be built; all that keeps it from running is told.

        Raises:
            TrtnnError: it cannot be read, or cannot run here.
        """
        if self.engine is not None:
            engine = trtnn.Engine.load(self.engine)
            engine.check_runnable()
            return engine
        if not self.reference:
            check_gpu()
        network = load_model(self.weights, self.model)
        return network.trace(resized_inputs(network, self.size, self.batch), fp16=self.fp16)

    def ready(self, opened: trtnn.Engine | trtnn.Network) -> trtnn.Engine | trtnn.Network:
        """Return what runs: an engine, which is built of a network unless it is to run on the CPU."""
        if isinstance(opened, trtnn.Engine) or self.reference:
            return opened
        return opened.build(cache_dir=self.cache)
