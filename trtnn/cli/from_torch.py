"""``trtnn from-torch``: a torch module as trtnn source."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

import trtnn
from trtnn.cli.program import command, log, out, print_line
from trtnn.cli.sources import import_file
from trtnn.errors import ArgumentError, StateDictError, nearest
from trtnn.files import atomic_write
from trtnn.shapes.symbolic import Dim
from trtnn.torch_import import import_with_torch

_INPUT = re.compile(r"(?:(?P<name>\w+)=)?(?P<shape>[A-Za-z0-9_]+)(?::(?P<dtype>\w+))?")
_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_COUNTER = "num_batches_tracked"


@command(
    "trtnn from-torch torchvision.models:resnet18 --input 1x3x224x224",
    "trtnn from-torch net.py:make --input 1x3x224x224:float16 -o new.py",
    "trtnn from-torch net.py:make --input 1x3x224x224 --dynamic batch=1,4,8",
    "trtnn from-torch net.py:make --input 1x3x224x224 --side-by-side net.html",
)
def from_torch(
    factory: Annotated[
        str,
        typer.Argument(metavar="MODULE:FACTORY", help="What makes the module: package.module:name, or FILE.py:name."),
    ],
    input: Annotated[
        list[str] | None,
        typer.Option(
            help="An input, in forward's order: 1x3x224x224, of another type 1x77:int64, by name mask=1x77:bool; a "
            "letter for a length that --dynamic tells of.",
            show_default=False,
        ),
    ] = None,
    dynamic: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=MIN,OPT,MAX[,MULTIPLE]",
            help="A length that is known only when the network runs; batch is the first of every input, unless an "
            "input says otherwise.",
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A checkpoint to load into the torch module first.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The source to write; the weights go beside it.", show_default="FACTORY.py"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    verify: Annotated[bool, typer.Option(help="Compare with torch on the example and on a second input.")] = True,
    side_by_side: Annotated[
        Path | None,
        typer.Option(metavar="PAGE.html", help="A page to write, of torch's source beside ours, class by class."),
    ] = None,
) -> None:
    """Convert a torch module to trtnn source, which is read, changed and built without torch.

    The module is called on random inputs of the shapes given, in evaluation.
    """
    torch = import_with_torch("torch", "from-torch needs")
    dims = dict(map(_read_dim, dynamic or ()))
    inputs = [_read_input(text, dims) for text in input or ()]
    path = output or Path(f"{factory.rpartition(':')[2]}.py")
    made = _make(factory, torch).eval()
    if weights is not None:
        _load(made, weights, torch)
    halves = {dtype for _, _, dtype in inputs if dtype in ("float16", "bfloat16")}
    if halves and not any(dtype == "float32" for _, _, dtype in inputs):
        made = made.to(getattr(torch, halves.pop()))
    from trtnn.from_torch.declared import convert
    from trtnn.from_torch.saving import check_free, save_source
    from trtnn.from_torch.side_by_side import side_by_side as page_of

    check_free(path, force)
    if side_by_side is not None and side_by_side.exists() and not force:
        raise ArgumentError(f"{side_by_side} would be overwritten", "give another name, or --force")
    generator = torch.Generator().manual_seed(0)
    examples = [(name, _example(shape, dtype, torch, generator)) for name, shape, dtype in inputs]
    args = tuple(tensor for name, tensor in examples if name is None)
    kwargs = {name: tensor for name, tensor in examples if name is not None}

    def told(stage: str) -> None:
        log.print(stage, markup=False, highlight=False)

    conversion, model = convert(made, args, kwargs, partial(_shapes, inputs, dims), told, verify)
    save_source(model, path, force)
    if side_by_side is not None:
        with atomic_write(side_by_side) as file:
            file.write(page_of(conversion).encode())
    network = conversion.network or model.trace()
    _print_result(conversion, model, len(network.graph.layer_paths), path)


def _read_dim(text: str) -> tuple[str, Dim]:
    name, _, lengths = text.partition("=")
    parts = lengths.split(",")
    if not name.isidentifier() or len(parts) not in (3, 4) or not all(part.strip().isdigit() for part in parts):
        raise ArgumentError(f"a dynamic length is NAME=MIN,OPT,MAX or NAME=MIN,OPT,MAX,MULTIPLE, not {text}")
    return name, Dim(name, *map(int, parts))


def _read_input(text: str, dims: Mapping[str, Dim]) -> tuple[str | None, list[Any], str]:
    match = _INPUT.fullmatch(text)
    lengths = _lengths(match["shape"], dims) if match else None
    if match is None or lengths is None:
        known = f", with {', '.join(dims)} as lengths" if dims else ""
        raise ArgumentError(f"an input is lengths with an x between them{known}, such as 1x3x224x224, not {text}")
    dtype = match["dtype"] or "float32"
    if dtype not in ("float32", "float16", "bfloat16", "int64", "int32", "bool"):
        raise ArgumentError(f"an input is of float32, float16, bfloat16, int64, int32 or bool, not {dtype}")
    return match["name"], lengths, dtype


def _lengths(text: str, dims: Mapping[str, Dim]) -> list[Any] | None:
    """Return the lengths that a shape's text names, or None; a name may hold an x of its own."""
    if not text:
        return None
    for name in sorted(dims, key=len, reverse=True):
        if text == name:
            return [dims[name]]
        if text.startswith(f"{name}x") and (rest := _lengths(text[len(name) + 1 :], dims)) is not None:
            return [dims[name], *rest]
    number, _, rest_text = text.partition("x")
    if not number.isdigit() or int(number) < 1:
        return None
    if number == text:
        return [int(number)]
    rest = _lengths(rest_text, dims)
    return None if rest is None else [int(number), *rest]


def _shapes(inputs: list[Any], dims: Mapping[str, Dim], names: list[str]) -> dict[str, Any] | None:
    """Return the shapes with Dims by the names of the inputs."""
    used = {length.name for _, shape, _ in inputs for length in shape if isinstance(length, Dim)}
    idle = [name for name in dims if name not in used]
    if any(name != "batch" for name in idle):
        name = next(name for name in idle if name != "batch")
        raise ArgumentError(f"no input has the length {name}", f"write it in one: --input 1x3x{name}x224")
    ordered = [*(item for item in inputs if item[0] is None), *(item for item in inputs if item[0] is not None)]
    shapes = {name: tuple(shape) for name, (_, shape, _) in zip(names, ordered, strict=False)}
    if idle:
        shapes = {name: (dims["batch"], *shape[1:]) for name, shape in shapes.items()}
    return shapes if dims else None


def _example(shape: list[Any], dtype: str, torch: Any, generator: Any) -> Any:
    lengths = [length.opt if isinstance(length, Dim) else length for length in shape]
    if dtype == "bool":
        return torch.ones(lengths, dtype=torch.bool)
    if dtype.startswith("int"):
        return torch.randint(0, 2, lengths, dtype=getattr(torch, dtype), generator=generator)
    return torch.rand(lengths, generator=generator).to(getattr(torch, dtype))


def _make(factory: str, torch: Any) -> Any:
    place, _, name = factory.rpartition(":")
    if not place or not name:
        raise ArgumentError(f"{factory} names no factory", "such as torchvision.models:resnet18, or net.py:make")
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise ArgumentError(f"there is no file {place}")
        module = import_file(Path(place))
    else:
        sys.path.insert(0, "")
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not place.startswith(error.name):
                raise
            raise ArgumentError(
                f"there is no module {place}", "it is imported as Python does, or give FILE.py"
            ) from None
    if not hasattr(module, name):
        raise ArgumentError(f"{place} has no {name}", *nearest(name, vars(module), most=3))
    found = getattr(module, name)
    if not isinstance(found, torch.nn.Module):
        found = _called(factory, found)
    if not isinstance(found, torch.nn.Module):
        raise ArgumentError(f"{factory} gives no torch module, but {type(found).__name__}")
    return found


def _called(factory: str, function: Any) -> Any:
    """Return what a factory makes.

    Raises:
        ArgumentError: it is none, or needs arguments.
    """
    if not callable(function):
        return function
    try:
        needed = [
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.default is parameter.empty and parameter.kind not in _ANY_NUMBER
        ]
    except ValueError:  # of what is not Python's nothing is said
        needed = []
    advice = "write a function without any that gives them, in a file: net.py:make"
    if needed:
        raise ArgumentError(f"{factory} needs arguments: {', '.join(needed)}", advice)
    try:
        return function()
    except TypeError as error:
        if "required positional argument" not in str(error):
            raise
        raise ArgumentError(f"{factory} needs arguments: {error}", advice) from error  # torch.nn.LSTM hides its own


def _load(module: Any, weights: Path, torch: Any) -> None:
    """Load a checkpoint into the torch module.

    Raises:
        StateDictError: names are missing or unexpected.
    """
    state = {name: torch.from_numpy(np.array(array)) for name, array in trtnn.load(weights).items()}
    result = module.load_state_dict(state, strict=False)
    missing = [name for name in result.missing_keys if not name.endswith(_COUNTER)]
    if missing or result.unexpected_keys:
        raise StateDictError(
            f"{weights} does not fit: {len(missing)} missing, {len(result.unexpected_keys)} unexpected",
            *(f"missing: {name}" for name in missing[:8]),
            *(f"unexpected: {name}" for name in result.unexpected_keys[:8]),
        )


def _print_result(conversion: Any, model: trtnn.Module, layers: int, path: Path) -> None:
    table = Table(show_header=False)
    rows = {
        "modules": sum(1 for _ in conversion.torch_module.modules()),
        "classes": len(conversion.source.classes),
        "lines": conversion.source.text.count("\n"),
        "layers": layers,
        "largest difference": "not compared"
        if conversion.difference is None
        else f"{conversion.difference:.1e} of the largest magnitude, on two inputs",
    }
    quantised = sum(1 for module in model.modules() if "quant_max" in module._buffers)
    if quantised:
        rows["quantised"] = f"{quantised} modules, as torch rounds"
    if conversion.int8_sums:
        paths = ", ".join(path or "the model" for path in conversion.int8_sums)
        rows["quantised"] += f"; sums read int8 as well, in {paths}"
    if conversion.in_forward is not None:
        rows["quantised"] = f"in forward, by operations: {conversion.in_forward}"
    if conversion.notes:
        rows["note"] = "\n".join(conversion.notes)
    for name, value in rows.items():
        table.add_row(name, str(value))
    out.print(table)
    weights = path.with_suffix(".safetensors")
    print_line(f"{path}, {weights}")
    built = f"{path}:{conversion.source.classes[-1]}"
    print_line(f"trtnn build {shlex.quote(built)} --weights {shlex.quote(str(weights))}")
