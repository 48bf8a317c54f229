"""The arguments and options that more than one command has, and what they stand for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import trtnn
from trtnn.build.config import MOST_STREAMS
from trtnn.cli.sources import check_exists, is_model, load_model
from trtnn.cli.values import Lengths, read_anchors, read_batch, read_share, read_size
from trtnn.errors import ArgumentError
from trtnn.files import atomic_write, check_writable, open_regular
from trtnn.shapes.profiles import as_inputs
from trtnn.vision import PIPELINES
from trtnn.vision.names import read_names, split_names

_MOST_FIRST = 64  # bytes that tell what a file is


def check_place(path: Path, is_kind: Callable[[bytes], bool], kind: str) -> Path:
    """Return a path where a file of a kind can be written: one that is there is of that kind, and is replaced.

    Args:
        path: of the file.
        is_kind: tells by its first bytes whether a file is of the kind.
        kind: in words.

    Raises:
        ArgumentError: the path takes no file, or has one of another kind, such as weights, which would be lost.
    """
    check_writable(path)
    if path.exists():
        try:
            with open_regular(path) as file:
                first = file.read(_MOST_FIRST)
        except OSError as error:
            raise ArgumentError(f"cannot see what {path} is, which would be lost: {error.strerror}") from error
        if first.strip() and not is_kind(first):
            raise ArgumentError(
                f"{path} is there, and is no {kind}: it would be lost", "give another name, or remove it"
            )
    return path


def check_json_place(path: Path) -> Path:
    """Return a path where JSON can be written, as :func:`check_place`."""
    return check_place(path, lambda first: first.lstrip().startswith((b"{", b"[")), "file of JSON")


What = Annotated[
    str,
    typer.Argument(
        help="A checkpoint (.pt, .pth, .safetensors, .npz, .wts, .weights), a model's name, or FILE.py:CLASS."
    ),
]
Weights = Annotated[Path | None, typer.Option(help="The checkpoint, where a name or FILE.py:CLASS is given.")]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="The model's name, or FILE.py:CLASS, where the checkpoint does not tell it."),
]

Anchors = Annotated[
    tuple | None,
    typer.Option(
        parser=read_anchors,
        metavar="usual|W,H,W,H,...",
        help="Anchors of a YOLOv5 or YOLOv3 whose checkpoint has none: widths and heights in pixels, three of each a "
        "level, the finest first; or usual, for those that are published.",
        show_default="the checkpoint's",
    ),
]


def _share(help: str, shown: str) -> Any:
    """Return an option that takes a number in 0..1."""
    return typer.Option(parser=read_share, metavar="SHARE", help=help, show_default=shown)


Confidence = Annotated[float | None, _share("The lowest score to keep.", "the model's")]
Overlap = Annotated[float | None, _share("Boxes of one class that overlap more are one.", "the model's, if any")]
Size = Annotated[
    tuple | None,
    typer.Option(
        parser=read_size,
        metavar="N|HxW|MIN,OPT,MAX",
        help="Height and width of the input in pixels: a number for both, or height x width, such as 480x640; three "
        "numbers for any from MIN to MAX, fastest at OPT.",
        show_default="the model's",
    ),
]
Batch = Annotated[
    tuple | None,
    typer.Option(
        parser=read_batch,
        metavar="N|MIN,OPT,MAX",
        help="Pictures at a time; three numbers for any from MIN to MAX, fastest at OPT.",
        show_default="the model's",
    ),
]
Names = Annotated[
    str | None,
    typer.Option(
        help="The classes' names: a data.yaml, a JSON file, a text file with one a line, or names with commas.",
        show_default="the model's",
    ),
]
PipelineName = Annotated[
    str | None,
    typer.Option(
        "--pipeline",
        help=f"How outputs are read: {', '.join(name for name, reader in PIPELINES.items() if reader.head)}.",
        show_default="what the model says",
    ),
]
MaxPixels = Annotated[
    int, typer.Option(min=1, help="The most pixels that a picture may have; it is not decoded where it has more.")
]
Half = Annotated[bool, typer.Option("--fp16", help="Compute in half precision.")]
HalfAttention = Annotated[
    bool,
    typer.Option("--fp16-attention", help="Keep the scores of attention in fp16 too: faster, and less exact."),
]
Tolerance = Annotated[
    float, typer.Option(min=0, help="The largest error of any output: rms(difference from fp32) / rms(output).")
]
Level = Annotated[
    int | None, typer.Option(min=0, max=5, help="TensorRT's optimisation level.", show_default="TensorRT's own")
]
AuxStreams = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=MOST_STREAMS - 1,
        help="The most CUDA streams for layers side by side; 1 is worth a try at small batches.",
        show_default="TensorRT's own",
    ),
]
Tf32 = Annotated[bool, typer.Option(help="Let fp32 be multiplied as TF32, with 10 bits of mantissa.")]
EngineFile = Annotated[Path, typer.Argument(help="An engine file.")]
Picture = Annotated[
    Path | None, typer.Option(help="What the input shows.", show_default="random numbers, always the same")
]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        callback=lambda path: path and check_json_place(path),  # before the work begins
        help="A file for all of it, as JSON.",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(help="A folder of engines: the same is built once. TensorRT's timing cache is kept there too."),
]

_NAMES_SUFFIXES = (".txt", ".names", ".yaml", ".yml", ".json", ".csv")


def load_what(
    what: str, weights: Path | None, model: str | None, head: str | None = None, anchors: Any = None
) -> trtnn.Module:
    """Return the model that a command is given, with its weights: a checkpoint's, or one with ``--weights``.

    Args:
        head: what the model gives, None for its own choice.
        anchors: of a checkpoint that has none, or None.
    """
    if is_model(what):
        refuse({"--model": model}, f"{what} is the model")
        return load_model(weights, what, head, anchors)
    check_exists(what)
    refuse({"--weights": weights}, f"{what} is a checkpoint, not a model")
    return load_model(Path(what), model, head, anchors)


def resized_inputs(model: trtnn.Module, size: tuple[Lengths, Lengths] | None, batch: Lengths | None) -> dict[str, Any]:
    """Return the inputs that a model declares, at another batch, height and width: of three numbers each, dynamic ones.

    Height and width are then multiples of the model's stride, and each has its own length in a call.

    Raises:
        ArgumentError: an input is no batch of pictures.
    """
    declared = {name: as_inputs(spec) for name, spec in model.inputs.items()}
    if size is None and batch is None:
        return {name: [first, *more] if more else first for name, (first, *more) in declared.items()}
    resized = {}
    stride = model.metadata.get("stride", 1)
    for name, (spec, *_) in declared.items():
        if len(spec.shape) != 4:
            raise ArgumentError(
                "--size and --batch are for networks that take pictures, (batch, channels, height, width)",
                f"the input {name!r} is {spec}",
            )
        count, channels, *sides = spec.shape
        if batch:
            count = _dimension("batch", batch)
        if size:
            names = ("height", "width")
            sides = [_dimension(name, lengths, stride) for name, lengths in zip(names, size, strict=True)]
        resized[name] = trtnn.Input((count, channels, *sides), spec.dtype)
    return resized


def _dimension(name: str, lengths: Lengths, multiple_of: int = 1) -> int | trtnn.Dim:
    return lengths[0] if len(lengths) == 1 else trtnn.Dim(name, *lengths, multiple_of=multiple_of)


def given_names(names: str, classes: int | None) -> list[str]:
    """Return the names that ``--names`` gives: a file's, or those with commas between.

    Raises:
        ArgumentError: there is no such file, it is none of names, or there is not one for each class.
    """
    is_path = os.sep in names or Path(names).suffix.lower() in _NAMES_SUFFIXES
    try:
        labels = read_names(names) if is_path or os.path.exists(names) else split_names(names)
    except ArgumentError as error:
        raise ArgumentError(f"--names {error.summary}", *error.details) from None
    except (ValueError, OSError) as error:  # an OSError for a list that is too long to be a file's name
        raise ArgumentError(f"--names {names!r}: {error}", "it takes names with commas between, or a file") from None
    if classes is not None and len(labels) != classes:
        count = f"{len(labels):,} name{'' if len(labels) == 1 else 's'}"
        raise ArgumentError(f"--names gives {count} for {classes} classes", f"received: {', '.join(labels[:8])}")
    return labels


def write_json(path: Path, values: Any) -> None:
    """Write JSON values to a file, whole or not at all."""
    with atomic_write(path) as file:
        file.write(json.dumps(values, indent=2).encode() + b"\n")


def refuse(options: Mapping[str, Any], reason: str) -> None:
    """Raise an error that names the options that were given and would change nothing.

    Args:
        options: values by option; None and False are those that were not.
        reason: why they would not.

    Raises:
        ArgumentError: there is one.
    """
    names = [name for name, value in options.items() if value is not None and value is not False]
    if names:
        raise ArgumentError(f"{', '.join(names)} would change nothing here", reason)
