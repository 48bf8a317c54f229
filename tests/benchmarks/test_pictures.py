"""The run of the pictures' benchmark: what it keeps and leaves out; nothing is measured here."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

from benchmarks import pictures
from benchmarks.pictures import PARTS, Rows
from tests import ROOT


def test_rows_are_printed_and_kept_as_they_come(tmp_path, capsys):
    rows = Rows(tmp_path / "rows.json", math.inf)
    rows.add("kernel", "32 pictures", 1.2345)
    assert json.loads((tmp_path / "rows.json").read_text())["kernel"] == {"32 pictures [ms]": 1.2345}
    rows.add("kernel", "CV-CUDA", "is not installed")
    kept = json.loads((tmp_path / "rows.json").read_text())
    assert kept["kernel"] == {"32 pictures [ms]": 1.2345, "CV-CUDA": "is not installed"}
    assert set(kept["about"]) == {"gpu", "date", "cores", "command"}
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["kernel", "32", "pictures", "1.234", "ms"]
    assert second.endswith("is not installed")


def test_a_part_that_fails_leaves_the_others(tmp_path, monkeypatch):
    done = []

    def fail(rows, args):
        raise RuntimeError("no memory\nmore")

    for part in PARTS:
        monkeypatch.setattr(pictures, f"part_{part}", lambda rows, args, part=part: done.append(part))
    monkeypatch.setattr(pictures, "part_kernel", fail)
    monkeypatch.setattr(sys, "argv", ["pictures.py", "--out", str(tmp_path / "rows.json"), "--only", "kernel", "one"])
    pictures.main()
    assert done == ["one"]
    assert json.loads((tmp_path / "rows.json").read_text())["kernel"] == {"failed": "no memory"}


def test_nothing_is_begun_after_the_time_is_up(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pictures.py", "--out", str(tmp_path / "rows.json"), "--seconds", "-1"])
    pictures.main()
    kept = json.loads((tmp_path / "rows.json").read_text())
    assert {part: kept[part] for part in PARTS} == {part: {"left out": "after -1 s"} for part in PARTS}


def test_the_help_has_examples():
    command = [sys.executable, str(ROOT / "benchmarks" / "pictures.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "python benchmarks/pictures.py --out pictures.json --only kernel suppress one --seconds 120" in done.stdout


@pytest.mark.parametrize("count", [1, 500])
def test_a_prediction_has_as_many_candidates_as_it_says(count):
    rows = pictures.prediction(count, 1000)
    best = (rows[0, :, 5:] * rows[0, :, 4:5]).max(1)
    assert (best > 0.25).sum() == count


def test_steps_are_timed_and_left_as_they_were():
    class Steps:
        def prepare(self, images, first):
            return [images, first]

        def compute(self, prepared):
            return [*prepared, 3]

        def finish(self, computed):
            return [*computed, 4]

    steps, found = Steps(), []
    parts = pictures.busy(steps, lambda: found.extend(steps.finish(steps.compute(steps.prepare(1, 2)))))
    assert found == [1, 2, 3, 4]
    assert list(parts) == ["prepare", "compute", "finish"]
    assert 0 < sum(parts.values()) <= 100
    assert vars(steps) == {}
