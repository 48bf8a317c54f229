"""The command line: ``trtnn build | detect | convert | inspect | fp16 | demo``."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

import trtnn
from trtnn import checkpoint, models
from trtnn.detector import Detector
from trtnn.errors import ArgumentError, ImageError, TrtnnError
from trtnn.examples.digits.demo import run_demo
from trtnn.files import atomic_write, check_writable
from trtnn.fp16 import TOLERANCE
from trtnn.vision import COCO, Detections, draw, find_images, preprocess, read_image, write_image

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="TensorRT networks written as PyTorch-like modules: build engines, detect, convert and inspect.",
)
out, log = Console(), Console(stderr=True)

Weights = Annotated[Path, typer.Argument(help="A checkpoint: .pt, .pth, .safetensors, .npz or .wts.")]
ModelName = Annotated[
    str | None,
    typer.Option("--model", help="The model's name, such as yolov5s, where the checkpoint does not tell it."),
]
Size = Annotated[
    int | None, typer.Option(min=32, help="Height and width of the input in pixels.", show_default="the model's")
]
Batch = Annotated[int, typer.Option(min=1, help="Pictures at a time.")]
Half = Annotated[bool, typer.Option("--fp16", help="Compute in half precision.")]
KeepFloat = Annotated[
    list[str] | None,
    typer.Option(
        "--fp32-module",
        help="A module to keep in fp32, or a pattern; may be repeated. With auto, just as many as --samples show need.",
    ),
]
Tolerance = Annotated[
    float, typer.Option(min=0, help="The largest error of any output: rms(difference from fp32) / rms(output).")
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        help="A GPU to build for, such as sm89; may be repeated.",
        show_default="the one here, else sm86 sm89 sm120",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(help="A folder of engines: the same is built once. TensorRT's timing cache is kept there too."),
]


def _examples(*lines: str) -> str:
    """Return a help epilog that shows commands, each on a line of its own."""
    return "[bold]Examples[/bold]\n\n" + "\n\n".join(f"  $ {line}" for line in lines)


def _load_model(weights: Path, name: str | None) -> trtnn.Module:
    return models.from_state_dict(trtnn.load(weights), name)


def _inputs(model: trtnn.Module, size: int | None, batch: int) -> dict[str, trtnn.Input]:
    """The model's declared inputs at another batch and size."""
    resized = {}
    for name, spec in model.inputs.items():
        _, channels, height, width = spec.shape
        resized[name] = trtnn.Input((batch, channels, size or height, size or width), spec.dtype)
    return resized


@app.command(
    epilog=_examples(
        "trtnn build yolov5s.pt --fp16",
        "trtnn build yolov5s.pt -o yolov5s.engine --size 320 --batch 8 --target sm86 --target sm89",
        "trtnn build yolov5s.pt --cache ~/.cache/engines",
        "trtnn build yolov5s.pt --fp16 --fp32-module auto --samples photos/",
    )
)
def build(
    weights: Weights,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The engine file.", show_default="WEIGHTS with .engine")
    ] = None,
    model: ModelName = None,
    size: Size = None,
    batch: Batch = 1,
    fp16: Half = False,
    fp32_module: KeepFloat = None,
    samples: Annotated[
        str | None, typer.Option(help="For --fp32-module auto: a picture, a folder of them, or a quoted glob.")
    ] = None,
    tolerance: Tolerance = TOLERANCE,
    target: Targets = None,
    cache: Cache = None,
) -> None:
    """Build an engine of a checkpoint. With TensorRT-RTX this needs no GPU."""
    path = check_writable(output or weights.with_suffix(".engine"))
    network = _load_model(weights, model)
    inputs = _inputs(network, size, batch)
    engine = network.compile(
        inputs,
        fp16=fp16,
        fp32_modules="auto" if fp32_module == ["auto"] else fp32_module or (),
        samples=None if samples is None else _samples(samples, inputs),
        tolerance=tolerance,
        targets=target or None,
        cache_dir=cache,
    )
    engine.save(path)
    out.print(f"{path}  {path.stat().st_size / 1e6:.1f} MB", highlight=False)
    _print_description(engine)


@app.command(
    epilog=_examples(
        "trtnn detect street.jpg --engine yolov5s.engine",
        "trtnn detect photos/ --weights yolov5s.pt --reference --size 320",
        "trtnn detect 'photos/*.png' --engine digits.engine --names 0,1,2,3,4,5,6,7,8,9 -o found",
    )
)
def detect(
    source: Annotated[str, typer.Argument(help="A picture, a folder of pictures, or a quoted glob.")],
    engine: Annotated[Path | None, typer.Option(help="An engine file, run on the GPU.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A checkpoint; its engine is built first, or with --reference none.")
    ] = None,
    reference: Annotated[bool, typer.Option("--reference", help="Run the network of --weights on the CPU.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for pictures and detections.json.")] = Path(
        "detections"
    ),
    model: ModelName = None,
    size: Size = None,
    batch: Batch = 1,
    fp16: Half = False,
    cache: Cache = None,
    confidence: Annotated[float, typer.Option(min=0, max=1, help="The lowest score to keep.")] = 0.25,
    iou: Annotated[float, typer.Option(min=0, max=1, help="Boxes of one class that overlap more are one.")] = 0.45,
    max_detections: Annotated[int, typer.Option(min=1, help="The most to keep in one picture.")] = 300,
    names: Annotated[
        str | None,
        typer.Option(help="Class names with commas, or a file of them.", show_default="COCO's for 80"),
    ] = None,
) -> None:
    """Detect objects in pictures: draws them into copies and writes detections.json.

    A picture that cannot be read is named and skipped, and the exit code is 1 at the end.
    """
    if (engine is None) == (weights is None):
        raise ArgumentError("detect takes one of --engine and --weights")
    if reference and weights is None:
        raise ArgumentError("--reference runs a network on the CPU", "it takes --weights, an engine needs a GPU")
    paths = find_images(source)
    output.mkdir(parents=True, exist_ok=True)
    check_writable(output / "detections.json")
    if engine is not None:
        runner: Any = trtnn.Engine.load(engine)
        runner.check_runnable()
    else:
        network = _load_model(weights, model)
        runner = network.trace(_inputs(network, size, batch), fp16=fp16)
        runner = runner if reference else runner.build(cache_dir=cache)
        if not reference:
            runner.check_runnable()
    detector = Detector(runner, confidence=confidence, iou=iou, max_detections=max_detections)
    labels = _labels(names, detector.classes)

    results, written, failed = {}, [], []
    for chunk in track(list(_chunks(paths, detector.batch)), "detecting", console=log, disable=not sys.stderr.isatty()):
        images = {}
        for path in chunk:
            try:
                images[path] = read_image(path)
            except ImageError as error:
                failed.append(path)
                log.print(f"[yellow]skipped:[/yellow] {escape(str(error))}", highlight=False, soft_wrap=True)
        for (path, image), found in zip(images.items(), detector(images.values()), strict=True):
            drawn = _free_path(output / f"{path.stem}.png", {*paths, *written})
            write_image(drawn, draw(image, found, labels))
            written.append(drawn)
            results[str(path)] = found
    _write_json(output / "detections.json", {path: found.to_dict(labels) for path, found in results.items()})
    out.print(detection_table(results, labels))
    out.print(f"{len(results)} pictures, {sum(map(len, results.values()))} detections: {output}", highlight=False)
    if failed:
        log.print(f"{len(failed)} of {len(paths)} pictures could not be read", highlight=False)
        raise typer.Exit(1)


@app.command(epilog=_examples("trtnn convert yolov5s.pt yolov5s.safetensors", "trtnn convert model.wts model.npz"))
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A checkpoint.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; its suffix chooses the format.")],
) -> None:
    """Convert a checkpoint between .pt, .pth, .safetensors, .npz and .wts."""
    with log.status(f"converting {source}"):
        checkpoint.convert(source, target)
    out.print(f"{target}  {target.stat().st_size / 1e6:.1f} MB", highlight=False)


@app.command(
    epilog=_examples("trtnn inspect yolov5s.pt", "trtnn inspect yolov5s --fp16", "trtnn inspect yolov5s.engine")
)
def inspect(
    what: Annotated[str, typer.Argument(help="A checkpoint, an engine file, or a model's name.")],
    size: Size = None,
    batch: Batch = 1,
    fp16: Half = False,
) -> None:
    """Show what a checkpoint, a network or an engine holds.

    A checkpoint gives its tensors and the model they belong to, a model's name the layers of its network, an engine
    file its description.
    """
    if what in models.NAMES:
        network = models.create(what)
        network.load_state_dict({name: np.broadcast_to(np.float32(0), shape) for name, shape in _shapes(network)})
        out.print(network.trace(_inputs(network, size, batch), fp16=fp16).summary(), highlight=False, soft_wrap=True)
    elif Path(what).suffix == ".engine":
        _print_description(trtnn.Engine.load(what))
    elif Path(what).exists():
        _print_state_dict(trtnn.load(what))
    else:
        raise ArgumentError(f"there is no file {what}, and no model of that name", f"models: {', '.join(models.NAMES)}")


@app.command(
    epilog=_examples(
        "trtnn fp16 yolov5s.pt --samples photos/", "trtnn fp16 yolov5s.pt --samples 'photos/*.png' --size 320"
    )
)
def fp16(
    weights: Weights,
    samples: Annotated[str, typer.Option(help="A picture, a folder of pictures, or a quoted glob.")],
    model: ModelName = None,
    size: Size = None,
    tolerance: Tolerance = TOLERANCE,
    rows: Annotated[int, typer.Option(min=1, help="The most modules to list.")] = 20,
) -> None:
    """Show what half precision does to each module of a checkpoint's model, and which have to stay in fp32.

    For each module: the largest value, how many overflow, how many are lost to zero, and the error that it alone
    brings. The CPU runs the network on the pictures in fp32, and each layer in fp16 beside it; no GPU is needed.
    """
    network = _load_model(weights, model)
    inputs = _inputs(network, size, batch=1)
    report = network.trace(inputs).fp16_report(_samples(samples, inputs))
    out.print(report.table(rows), highlight=False, markup=False, soft_wrap=True)
    kept = report.suggested_fp32_modules(tolerance)
    out.print(f"to stay in fp32: {', '.join(kept) or 'none'}", highlight=False, markup=False, soft_wrap=True)


@app.command(epilog=_examples("trtnn demo", "trtnn demo --output /tmp/demo"))
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the engine and the picture.")] = Path(
        "trtnn-demo"
    ),
) -> None:
    """Build an engine of a trained YOLOv5 and show what it detects in a picture of digits. No GPU is needed."""
    output.mkdir(parents=True, exist_ok=True)
    result = run_demo(output)
    out.print(f"\n[bold]engine[/bold]     {result.engine_path}  {result.engine_path.stat().st_size / 1e6:.1f} MB")
    out.print(f"[bold]GPUs[/bold]       {', '.join(result.targets)}")
    out.print(detection_table({str(result.picture_path): result.detections}, None))
    out.print(f"[bold]picture[/bold]    {result.picture_path}", soft_wrap=True)
    out.print(f"[bold]difference from torch[/bold]  fp32 {result.fp32_difference}, fp16 {result.fp16_difference}")


def detection_table(results: dict[str, Detections], labels: Sequence[str] | None) -> Table:
    """Return a table of detections: picture, class, score and box in pixels."""
    table = Table("picture", "class", "score", "x1", "y1", "x2", "y2")
    for path, found in results.items():
        for box, score, index in found:
            label = labels[index] if labels else str(index)
            table.add_row(Path(path).name, label, f"{score:.2f}", *(f"{value:.0f}" for value in box))
    return table


def _samples(source: str, inputs: Mapping[str, trtnn.Input]) -> list[np.ndarray]:
    """Return the pictures at ``source`` as batches for a network; the last is filled up with its own again."""
    specs = list(inputs.values())
    if len(specs) != 1 or specs[0].shape[1:2] != (3,) or len(specs[0].shape) != 4:
        raise ArgumentError("samples are pictures", f"this network takes {', '.join(map(str, specs))}")
    batch, _, *size = specs[0].shape
    batches = []
    for chunk in _chunks(find_images(source), batch):
        images = itertools.islice(itertools.cycle(map(read_image, chunk)), batch)
        batches.append(preprocess(images, tuple(size), specs[0].dtype.numpy)[0])
    return batches


def _chunks(paths: list[Path], size: int) -> Iterator[list[Path]]:
    return (paths[start : start + size] for start in range(0, len(paths), size))


def _free_path(path: Path, taken: set[Path]) -> Path:
    """Return ``path``, or with a number behind its stem where it is taken: two sources may share a name."""
    number, free = 2, path
    while free.resolve() in {other.resolve() for other in taken}:
        number, free = number + 1, path.with_stem(f"{path.stem}-{number}")
    return free


def _shapes(model: trtnn.Module) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, member.shape) for name, member in (*model.named_parameters(), *model.named_buffers())]


def _labels(names: str | None, classes: int) -> Sequence[str] | None:
    if names is None:
        return COCO if classes == len(COCO) else None
    labels = Path(names).read_text(encoding="utf-8").splitlines() if Path(names).is_file() else names.split(",")
    if len(labels) < classes:
        raise ArgumentError(f"--names gives {len(labels)} names for {classes} classes")
    return labels


def _write_json(path: Path, value: Any) -> None:
    with atomic_write(path) as file:
        file.write(json.dumps(value, indent=2).encode() + b"\n")


def _print_description(engine: trtnn.Engine) -> None:
    table = Table(show_header=False)
    shown = {**engine.description, "inputs": engine.inputs, "outputs": engine.outputs}
    for key, value in shown.items():
        if isinstance(value, dict):
            text = "\n".join(f"{name}: {item}" for name, item in value.items())
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        table.add_row(key, text)
    table.add_row("plan", f"{engine.plan.nbytes / 1e6:.1f} MB")
    out.print(table)


def _print_state_dict(state_dict: dict[str, np.ndarray]) -> None:
    table = Table("name", "type", "shape")
    for name, array in state_dict.items():
        table.add_row(name, array.dtype.name, "×".join(map(str, array.shape)) or "scalar")
    out.print(table)
    total = sum(array.size for array in state_dict.values())
    size = sum(array.nbytes for array in state_dict.values())
    out.print(f"{len(state_dict)} tensors, {total:,} numbers, {size / 1e6:.1f} MB", highlight=False)
    found = models.identify(state_dict)
    out.print("model: " + (f"{found}" if found else "none that trtnn knows"), highlight=False)


def main() -> None:
    """Run the command line; trtnn's own errors are told in their words, without a traceback."""
    try:
        app()
    except TrtnnError as error:
        log.print(f"[bold red]error:[/bold red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
