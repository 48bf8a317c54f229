"""How results, engines and checkpoints are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

import trtnn
from trtnn import models
from trtnn.checkpoint.state_dict import metadata_of
from trtnn.cli.program import out, print_line
from trtnn.engine.metadata import class_names
from trtnn.errors import EngineError, StateDictError, harmless_text, listed
from trtnn.models.strangers import stranger
from trtnn.table import aligned
from trtnn.vision import Detection
from trtnn.vision.detections import label_of

MAX_ROWS = 50
_LONGEST_LINE = 160  # characters of one in a table's cell; training arguments are some thousands
_NOT_SHOWN = ("structure", "plan_bytes", "plan_digest", "modules", "refittable")


def counted(number: int, thing: str) -> str:
    """Return a number with its noun: ``1 picture``, ``2 pictures``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def megabytes(size_bytes: int) -> str:
    """Return a size in bytes as text."""
    return f"{size_bytes / 1e6:.1f} MB"


def print_detections(rows: Sequence[tuple[str, Detection]], total: int, labels: Sequence[str] | None) -> None:
    """Print a table of detections: picture, class, score and box in pixels.

    Args:
        rows: the first detections, each with its picture's name.
        total: how many there are.
        labels: the classes' names.
    """
    if not rows:
        return
    table = Table("picture", "class")
    for name in ("score", "x1", "y1", "x2", "y2"):
        table.add_column(name, justify="right")
    for name, (box, score, index) in rows[:MAX_ROWS]:
        table.add_row(name, label_of(index, labels), f"{score:.2f}", *(f"{value:.0f}" for value in box))
    out.print(table)
    if total > MAX_ROWS:
        print_line(f"... and {total - MAX_ROWS:,} more")


def print_engine(engine: trtnn.Engine) -> None:
    """Print what an engine's description says; what only TensorRT can tell is told where there is a GPU."""
    table = Table(show_header=False)
    try:
        profiles = {
            index: ", ".join(f"{dim.describe()}, fastest at {dim.opt}" for dim in profile.values())
            for index, profile in enumerate(engine.profiles)
        }
        tables = {"inputs": engine.inputs, "outputs": engine.outputs, "profiles": profiles or ""}
    except EngineError as error:
        tables = {"inputs": "\n".join(["not known here", *error.details])}
    shown = {**engine.description, **tables}
    if class_names(shown) is None:
        shown.pop("names", None)
    for key, value in shown.items():
        inner = value.items() if isinstance(value, dict) else ()
        text = "\n".join(_cut(f"{name}: {_shown(item)}") for name, item in inner) if inner else _shown(value)
        if text and key not in _NOT_SHOWN:
            table.add_row(key, text)
    table.add_row("plan", megabytes(engine.plan.nbytes))
    out.print(table)


def print_state_dict(state_dict: Mapping[str, np.ndarray]) -> None:
    """Print the tensors of a state dict, their sum, what its file says beside them, and the model they belong to."""
    rows = [("name", "type", "shape")]
    rows += [(n, a.dtype.name, "×".join(map(str, a.shape)) or "scalar") for n, a in state_dict.items()]
    print_line("\n".join(aligned(rows, left=3)))
    numbers = sum(array.size for array in state_dict.values())
    size_bytes = sum(array.nbytes for array in state_dict.values())
    print_line(f"\n{counted(len(state_dict), 'tensor')}, {counted(numbers, 'number')}, {megabytes(size_bytes)}")
    broken = [name for name, array in state_dict.items() if not _is_finite(array)]
    if broken:
        print_line(harmless_text(f"nan or inf in {listed(broken, 3)}"))
    for key, value in metadata_of(state_dict).items():
        if key not in _NOT_SHOWN:
            print_line(f"{key}: {harmless_text(_shown(value))}")
    print_line(harmless_text(f"model: {_model_of(state_dict)}"))


def _model_of(state_dict: Mapping[str, np.ndarray]) -> str:
    """Return which model a state dict is of in words."""
    arguments = models.identify(state_dict)
    if arguments is None:
        unknown = stranger(state_dict)
        return f"{unknown}, which trtnn has not" if unknown else "none that trtnn knows"
    if len(shape := arguments.get("kpt_shape", (0, 0))) == 1:
        arguments["kpt_shape"] = f"of {shape[0]} numbers, which nothing tells more of"
    untold = ""
    try:
        models.check_told(state_dict, arguments["name"])
    except StateDictError as error:
        del arguments["classes"]
        untold = f"; {error.summary}; {error.details[0]}"
    model = ", ".join(f"{key} {value}" for key, value in arguments.items()).removeprefix("name ")
    others = models.other_sizes(state_dict)
    return f"none that trtnn has, nearest {model}: other sizes of {listed(others, 3)}" if others else model + untold


def _is_finite(array: np.ndarray) -> bool:
    """Whether all numbers are; those of fewer than 16 bits are, and NumPy's own test knows not all others' types."""
    if array.dtype.kind in "biu" or array.dtype.itemsize < 2:
        return True
    return bool(np.isfinite(array if array.dtype.kind == "f" else array.astype(np.float32)).all())


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 4]} ..."


def _shown(value: Any) -> str:
    """Return a value of a file's metadata as one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
