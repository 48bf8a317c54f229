"""Damaged and forged engine files, see :mod:`tests.fuzz.engine_files`.

``TRTNN_FUZZ=30 pytest tests/fuzz`` makes 30 times as many, others each time.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest

from tests import ROOT
from tests.fuzz.engine_files import CHANGES, PLAN, fuzz, networks
from trtnn.build.describe import describe

MORE = int(os.environ.get("TRTNN_FUZZ", "1"))
SEED = 1 if MORE == 1 else random.randrange(10**9)
COUNT = 2000


@pytest.mark.timeout(1200 * MORE)
def test_no_damaged_or_forged_file_is_taken_for_what_it_is_not():
    command = [sys.executable, "-m", "tests.fuzz.engine_files", str(SEED), str(COUNT * MORE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, f"seed {SEED}: {done.stderr[-3000:]}"
    found = json.loads(done.stdout)
    assert found["faults"] == []
    counts = found["counts"]
    assert sum(counts.values()) == COUNT * MORE
    # or the changes are too coarse, or too fine, to come far
    assert counts["forged: refused"] >= 0.3 * COUNT * MORE
    assert counts["forged: as good"] + counts["forged: the same"] >= 0.02 * COUNT * MORE
    assert counts["damaged: refused"] >= 0.2 * COUNT * MORE


def test_the_same_seed_gives_the_same_files(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr("tests.fuzz.engine_files.use", lambda path, sound: made.append(path.read_bytes()) or "the same")
    monkeypatch.setattr("tests.fuzz.engine_files.resource.setrlimit", lambda *_: None)
    for _ in range(2):
        assert fuzz(tmp_path, 7, 40)["faults"] == []
    assert made[:40] == made[40:]
    assert len(set(made)) > 35


def test_every_change_changes_something():
    described = [describe(network.graph, ("sm90",), {}, PLAN) for network in networks()]
    for change in {*CHANGES}:
        changed = 0
        for seed in range(30):
            own = json.loads(json.dumps(described[seed % 2]))
            try:
                change(random.Random(seed), own)
            except (IndexError, KeyError, ValueError):
                continue
            changed += own != described[seed % 2]
        assert changed >= 10, change
