"""Whether a module does the same where lengths are others: what it is recorded to do then has to be the same source."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from functools import partial

import torch

from trtnn.errors import UnsupportedError, where
from trtnn.from_torch.example import Example
from trtnn.from_torch.transcript import Transcript
from trtnn.from_torch.verify import second_example, with_second_example

_NUMBER = re.compile(r"[\d.]+(e-?\d+)?")
_KEPT = "convert the module before its first call, or empty what it keeps: it is computed in the source then"
_TAKEN = (
    "0.5 * h, math.log(h) and torch.FloatTensor(h) take plain numbers: "
    "write torch.zeros(h), or write h * 0.5, which keeps the length"
)


def check_other_lengths(transcript: Transcript, told: Callable[[str], None]) -> None:
    """Record calls with other lengths, where there are any: the source has to be the same.

    Lengths near the example's show what is odd or even, and twice as large ones what is rounded.

    Args:
        transcript: the call with the example.
        told: is called with each stage as it begins.

    Raises:
        UnsupportedError: it is not; the details say where the two part.
    """
    mine, shapes = transcript.example.tensors(), transcript.shapes()
    recorded = [[tensor.shape for tensor in mine]]
    for times in (1, 2):
        tensors = second_example(mine, shapes, times)
        lengths = [tensor.shape for tensor in tensors]
        if lengths not in recorded:
            recorded.append(lengths)
            told("recording a call with other lengths")
            with_second_example(partial(_check_lengths_of, transcript), mine, shapes, times)


def _check_lengths_of(mine: Transcript, tensors: Sequence[torch.Tensor]) -> None:
    shapes = ", ".join(f"{n} of {tuple(t.shape)}" for n, t in zip(mine.input_names(), tensors, strict=True))
    called = f"other lengths that the shapes allow: {shapes}"
    example = Example(*mine.example.with_tensors(tensors), mine.example.dynamic, called)
    other = Transcript(mine.module, example, mine.name, mine.constants.forced, mine.first)
    if _comparable(mine.source.text) == _comparable(other.source.text) and _have_same_constants(mine, other):
        return
    places = _where_lengths_decide(mine, other) or _first_difference(mine, other)
    raise UnsupportedError(
        f"{type(mine.module).__name__} does something else where lengths are others",
        f"with {shapes}",
        *places[:6],
        *_kept_from_before(mine, other),
    )


def _kept_from_before(mine: Transcript, other: Transcript) -> list[str]:
    """Return what the module keeps by lengths, and had from calls before the example's."""
    kept = [name for name in other.kept if name not in mine.kept] if mine.first is None else []
    return [f"calls before have left {', '.join(kept[:4])}: {_KEPT}"] if kept else []


def _where_lengths_decide(mine: Transcript, other: Transcript) -> list[str]:
    """Return the first comparison of lengths that comes out otherwise, and where lengths are plain numbers.

    What is held in a Buffer compares the lengths that it was made of.
    """
    held = [[guard for guard in transcript.tape.guards if guard.required] for transcript in (mine, other)]
    for one, another in zip(*held, strict=False):
        if one.right != another.right:
            return [f"in {where(one.scope.path)} of a length comes what trtnn cannot compute: {one.place}"]
    compared, elsewhere = (
        [(guard.sign, guard.outcome, guard.place, guard.scope.path) for guard in transcript.tape.guards]
        for transcript in (mine, other)
    )
    parted = next((a for a, b in zip(compared, elsewhere, strict=False) if a != b), None)
    places = [f"in {where(parted[3])} a comparison of lengths comes out otherwise: {parted[2]}"] if parted else []
    escapes = dict.fromkeys(mine.tape.escapes)
    return places + [f"in {where(path)} a length is taken as a plain number: {place}" for path, place in escapes]


def _first_difference(mine: Transcript, other: Transcript) -> list[str]:
    """Return the first line that is another, and the user's line that it came of."""
    pairs = zip(mine.source.text.splitlines(), other.source.text.splitlines(), strict=False)
    for number, (one, another) in enumerate(pairs, 1):
        steps = mine.source.places.get(number)
        if one != another and steps:
            same_but_for_numbers = _NUMBER.sub("", one) == _NUMBER.sub("", another)
            return [
                f"it was: {one.strip()}",
                f"and is: {another.strip()}",
                f"  {steps[-1].place}",
                *([_TAKEN] if same_but_for_numbers else []),
            ]
    return []


def _comparable(text: str) -> str:
    """Return source without what says the lengths of the example: docstrings, and the declared inputs."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.Module)) and node.body and isinstance(node.body[0], ast.Expr):
            node.body[0] = ast.Pass() if isinstance(node, ast.ClassDef) else ast.Expr(ast.Constant(""))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "self.inputs":
            node.value = ast.Constant(None)
    return "\n".join(line for line in ast.unparse(tree).splitlines() if not line.startswith(("from ", "import ")))


def _have_same_constants(one: Transcript, other: Transcript) -> bool:
    mine, yours = one.constants.tensors, other.constants.tensors
    return mine.keys() == yours.keys() and all(
        held.keys() == yours[path].keys()
        and all(t.shape == yours[path][n].shape and torch.equal(t, yours[path][n]) for n, t in held.items())
        for path, held in mine.items()
    )
