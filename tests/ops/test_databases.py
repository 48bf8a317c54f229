"""torch's own databases of operations and modules: every sample is as in torch, or refused for a reason in the docs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from tests.ops.databases import (
    ALL,
    MODULES,
    NO_TENSORS,
    OPERATIONS,
    USUAL,
    Outcome,
    differences,
    fits,
    module_outcome,
    module_samples,
    outcome,
    samples_of,
    ways_of,
)
from tests.ops.refusals import PAGE, missing, missing_reason, reason_for
from trtnn import get_backend, modules
from trtnn.modules.missing import MISSING as MISSING_MODULES

EVERYTHING = os.environ.get("TRTNN_DATABASES") == "all"
MOST = None if EVERYTHING else 3  # samples of each operation, type and spelling
TYPES = ALL if EVERYTHING else USUAL
HERE = [name for name, op in OPERATIONS.items() if ways_of(op) and op.name not in NO_TENSORS]

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not get_backend().capabilities.int64, reason="torch's indices are int64"),
]


def problems_of(what: str, result: Outcome | None) -> Iterator[str]:
    """Yield what is wrong with an outcome."""
    if result is None:
        return
    yield from (f"{what}: {problem}" for problem in result.problems)
    if result.refusal is not None:
        reason = reason_for(result.refusal)
        if reason is None:
            yield f"{what}: refused without a reason in tests/ops/refusals.py: {result.refusal}"
        elif reason.why not in PAGE.read_text(encoding="utf-8"):
            yield f"{what}: docs/torch_databases.md does not say: {reason.why}"


@pytest.mark.parametrize("name", HERE)
def test_operations(name: str) -> None:
    op, problems = OPERATIONS[name], []
    for dtype in TYPES:
        if getattr(torch, dtype) not in op.dtypes:
            continue
        ways, samples = ways_of(op), samples_of(op, dtype, MOST)
        for way in ways:
            usable = [sample for sample in samples if fits(way, sample)]
            for number, sample in enumerate(usable):
                what = f"{way.name} in {dtype}, sample {number}"
                build = number == 0 and way is ways[0] and (EVERYTHING or dtype in ("float32", "int64"))
                problems += problems_of(what, outcome(op, way, sample, build))
    assert problems == []


@pytest.mark.parametrize("name", [name for name in MODULES if hasattr(modules, name)])
def test_modules(name: str) -> None:
    info = MODULES[name]
    samples = module_samples(info)[:MOST]
    problems = []
    for number, sample in enumerate(samples):
        problems += problems_of(f"sample {number}", module_outcome(info, sample, build=number == 0))
    assert problems == []


def test_what_is_missing_is_accounted_for() -> None:
    lacking = [name for name, op in OPERATIONS.items() if not ways_of(op) and missing_reason(op.name) is None]
    assert lacking == []
    assert [name for name in MODULES if not hasattr(modules, name) and name not in MISSING_MODULES] == []


def test_the_page_names_what_is_missing() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = [
        f"| {why} | {instead} | {', '.join(f'`{name}`' for name in names)} |"
        for (why, instead), names in missing().items()
    ]
    assert [row for row in rows if row not in text] == [], "run python -m tests.ops.refusals"


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (torch.ones(3), torch.ones(3).long(), "torch.float32, not torch.int64"),
        (torch.ones(2), torch.ones(3), "shape (2,), not (3,)"),
        ([torch.ones(2)], torch.ones(2), "1 results, not 1"),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), "1 of 2 differ, such as 2 in place of 3 at (1,)"),
        (torch.tensor([1.0, 1.001]), torch.ones(2), "1 of 2 differ"),
        (torch.tensor([1.0, 3e-5]), torch.tensor([1.0, 1e-5]), "1 of 2 differ"),
        (torch.tensor([0.0]), torch.tensor([float("nan")]), "0 in place of nan"),
        (torch.tensor([float("inf")]), torch.tensor([1.0]), "inf in place of 1"),
    ],
)
def test_the_comparison_sees_differences(ours, theirs, words) -> None:
    assert words in " ".join(differences(ours, theirs))


def test_the_comparison_takes_what_is_equal() -> None:
    odd = torch.tensor([float("nan"), float("inf"), -0.0, 1.0])
    assert differences((odd, torch.ones(2)), (odd.clone(), torch.full((2,), 1 + 1e-6))) == []
    assert differences(torch.ones(2), torch.ones(2).half()) == []
