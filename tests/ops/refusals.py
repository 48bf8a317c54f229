"""Why trtnn refuses what torch's own samples ask for, and the page that says so, docs/torch_databases.md.

>>> python -m tests.ops.refusals
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import NamedTuple

import torch

from tests import ROOT
from tests.ops.databases import (
    MODULES,
    NO_TENSORS,
    OPERATIONS,
    USUAL,
    fits,
    module_outcome,
    module_samples,
    outcome,
    samples_of,
    ways_of,
)
from trtnn import modules
from trtnn.modules.missing import MISSING as MISSING_MODULES
from trtnn.ops.missing import MISSING

PAGE = ROOT / "docs" / "torch_databases.md"
HEAD = """# torch's own samples in trtnn

torch tests itself by databases of sample inputs: `op_db`, with some 700 entries for its operations, and `module_db`,
with some 100 for its modules. `tests/ops/test_databases.py` runs them through trtnn: as functions, methods, in place
and as operators, traced, run on the CPU reference, held against torch element by element, and built. `make test` draws
three samples of each by a fixed seed; `TRTNN_DATABASES=all pytest tests/ops/test_databases.py` takes all of them, in
every type that TensorRT has. Nothing is wrong, and nothing is refused but for a reason that stands here.
`python -m tests.ops.refusals` writes this page.
"""


class Reason(NamedTuple):
    """Why samples are refused, and by which words of the error they are known."""

    why: str
    instead: str
    words: str


REASONS = (
    Reason(
        "a tensor without elements, which TensorRT has not",
        "leave it out; cat passes over a slice that leaves nothing",
        r"holds positive ints|leaves nothing|holds nothing|do not lie within dimension|from 1 on, not 0"
        r"|at least 1, not 0|may leave nothing|cannot (?:repeat|expand|reshape) .*\b0\b|without elements"
        r"|returned nothing that"
        r"|a number of times from 1 on",
    ),
    Reason(
        "float64, int16 or complex numbers, which TensorRT has not",
        "float32, int32, or two real tensors",
        r"no element type|has no float64|no complex|promote to int16",
    ),
    Reason(
        "TensorRT computes this in floating types alone",
        "cast with .float(), and back",
        r"takes floating-point input, not",
    ),
    Reason(
        "TensorRT has no bitwise arithmetic",
        "where and comparisons, or products with powers of 2",
        r"TensorRT has no bitwise arithmetic",
    ),
    Reason(
        "numbers that decide a shape, or weights of a convolution, and that only the engine knows",
        "Parameters, Buffers and arrays, or what is computed of them alone",
        r"known only when the engine runs|not known while tracing",
    ),
    Reason("statistics of a batch", "track_running_stats=True", r"an engine's result depends on no batch"),
    Reason("what belongs to training", "leave it out", r"for training|with max_norm|with dropout"),
    Reason(
        "singular values, or an inverse beyond 4 by 4, of which TensorRT has no layer",
        "compute them outside the engine",
        r"p='nuc'|singular values|up to \d by \d",
    ),
    Reason("numbers below 0 as bytes", "int8, or int32", r"uint8 has whole numbers from 0"),
    Reason("whole numbers made of fractions", "give whole numbers, or cast the result", r"give whole numbers"),
    Reason(
        "a tensor that would get another shape in place", "the function that returns it", r"cannot become .* in place"
    ),
)


def reason_for(refusal: str) -> Reason | None:
    """Return why a sample was refused by its message, or None where no reason is known."""
    return next((reason for reason in REASONS if re.search(reason.words, refusal)), None)


def missing_reason(name: str) -> tuple[str, str] | None:
    """Return why an operation of the database is not here, and what to use, or None where nothing says so."""
    plain = name.removeprefix("nn.functional.").removeprefix("torch.")
    for known in (plain, plain.rstrip("_"), plain.rpartition(".")[2], plain.split(".")[0]):
        if known in MISSING:
            return MISSING[known]
    if plain.endswith("_backward"):
        return "of gradients, and a network has none", "leave it out: nothing is learned in an engine"
    if plain.startswith(("masked.", "signal.", "_", "ops.", "jiterator", "sparse.", "slice")):
        return "what torch keeps for itself, or for its experiments", "the functions that it is made of"
    return None


def refused(most: int | None = None) -> dict[str, set[str]]:
    """Return the names of what is refused by each reason; of what has none, under its message."""
    found: dict[str, set[str]] = defaultdict(set)
    for op in OPERATIONS.values():
        for dtype in USUAL if op.name not in NO_TENSORS else ():
            if getattr(torch, dtype) not in op.dtypes:
                continue
            for way in ways_of(op):
                for sample in filter(lambda sample, way=way: fits(way, sample), samples_of(op, dtype, most)):
                    result = outcome(op, way, sample)
                    if result is not None and result.refusal is not None:
                        reason = reason_for(result.refusal)
                        found[reason.why if reason else result.refusal].add(op.name)
    for name, info in MODULES.items():
        if hasattr(modules, name):
            for sample in module_samples(info):
                result = module_outcome(info, sample)
                if result is not None and result.refusal is not None:
                    reason = reason_for(result.refusal)
                    found[reason.why if reason else result.refusal].add(name)
    return found


def missing() -> dict[tuple[str, str], list[str]]:
    """Return the names that trtnn lacks, by why and what to use instead."""
    found = defaultdict(set)
    for op in OPERATIONS.values():
        if not ways_of(op):
            found[missing_reason(op.name) or ("", "")].add(op.name)
    for name in MODULES:
        if not hasattr(modules, name):
            found[MISSING_MODULES.get(name, ("", ""))].add(name)
    return {reason: sorted(names) for reason, names in found.items()}


def _rows(title: str, table: list[tuple[str, str, list[str]]]) -> list[str]:
    rows = [f"| {why} | {instead} | {', '.join(f'`{name}`' for name in names)} |" for why, instead, names in table]
    return [f"## {title}", "", "| why | instead | what |", "|---|---|---|", *rows, ""]


def page() -> str:
    """Return the page's text; it runs every sample, which takes minutes."""
    by_reason = refused()
    known = [(reason.why, reason.instead, sorted(by_reason.pop(reason.why, ()))) for reason in REASONS]
    if by_reason:
        raise AssertionError(f"refused without a reason: {dict(by_reason)}")
    lacking = [(why, instead, names) for (why, instead), names in sorted(missing().items())]
    return "\n".join([HEAD, *_rows("Samples that are refused", known), *_rows("What is not here", lacking)])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
