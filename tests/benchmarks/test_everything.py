"""The row of all benchmarks: what runs beside what, on which GPU, until when, and what is not run again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks import everything
from benchmarks.everything import ALL, ALONE, ONE, STEPS, Run, Step, chosen
from tests import ROOT

ENVIRONMENT = "os.environ.get('CUDA_VISIBLE_DEVICES'), '{gpus}', os.environ.get('OMP_NUM_THREADS')"
WRITES = f'''{{python}} -c "import json, os; print(json.dumps([{ENVIRONMENT}]))"'''
FAILS, SLEEPS = '{trt} -c "raise SystemExit(3)"', '{python} -c "import time; time.sleep(60)"'


def run(tmp_path, *steps, gpus=("0", "1", "2"), seconds=60.0):
    made = Run(tmp_path, sys.executable, gpus, time.monotonic() + seconds)
    made.run(steps)
    return made


def said(tmp_path, name):
    return json.loads((tmp_path / f"{name}.log").read_text())


def test_steps_have_the_gpus_that_they_ask_for(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    done = run(tmp_path, Step("last", WRITES, 20, ALL), Step("a", WRITES, 20), Step("quiet", WRITES, 20, ALONE))
    assert done.failed == []
    assert said(tmp_path, "quiet") == ["0", "1", None]
    gpu, _, threads = said(tmp_path, "a")
    assert gpu in ("0", "1", "2")
    assert threads == "21"  # what three steps side by side share
    assert said(tmp_path, "last") == ["0,1,2", "1 2 3", None]


def test_folders_may_hold_spaces(tmp_path):
    out = tmp_path / "my results"
    out.mkdir()
    writes = "{python} -c 'import sys; open(sys.argv[1], \"w\")' {out}/figures.json"
    assert run(out, Step("a", writes, 20)).failed == []
    assert (out / "figures.json").exists()


def test_nothing_runs_beside_what_is_to_run_alone(monkeypatch, tmp_path):
    under_way, beside, lock = [], {}, threading.Lock()

    def run_for(command, seconds, log, environment, folder):
        name = log.stem
        with lock:
            under_way.append(name)
        if name.startswith("one"):
            barrier.wait(30)  # two at once, or it breaks
        with lock:
            beside[name] = {*under_way} - {name}
            under_way.remove(name)
        return 0

    barrier = threading.Barrier(2)
    monkeypatch.setattr(everything, "run_for", run_for)
    kinds = {"alone": ALONE, "one": ONE, "all": ALL}
    run(tmp_path, *(Step(f"{k}{i}", "x", 9, how) for i in range(2) for k, how in kinds.items()), gpus=("4", "5"))
    assert {name for name, others in beside.items() if others} <= {"one0", "one1"}
    assert beside.keys() == {"alone0", "alone1", "one0", "one1", "all0", "all1"}


def test_what_is_done_is_not_run_again_and_what_failed_is(tmp_path, capsys):
    first = run(tmp_path, Step("good", WRITES, 60), Step("bad", FAILS, 60))
    assert first.failed == ["bad"]
    before = (tmp_path / "good.log").read_text()
    second = run(tmp_path, Step("good", FAILS, 60), Step("bad", WRITES, 60))
    assert second.failed == []
    assert (tmp_path / "good.log").read_text() == before
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines if line.startswith("bad")] == [
        f"{'bad':32} ended with 3", f"{'bad':32} ended with 0",
    ]  # fmt: skip
    assert f"{'good':32} was done before" in lines


def test_steps_end_after_their_time_and_leave_time_for_the_last(tmp_path, capsys):
    short = run(tmp_path, Step("long", SLEEPS, 0.2 + 1), Step("last", WRITES, 20, ALL))
    assert short.failed == ["long"]
    assert "ran out of time" in capsys.readouterr().out
    done = run(tmp_path, Step("other", WRITES, 60), Step("end", WRITES, 60, ALL), seconds=50)
    assert done.failed == []
    assert f"{'other':32} left out: no time" in capsys.readouterr().out
    assert said(tmp_path, "end")


def test_steps_are_chosen_by_patterns_in_their_order():
    names = [step.name for step in chosen(["scale", "pictures*"])]
    assert names[0] == "scale"
    assert "pictures-torch" in names
    assert chosen(None) == [*STEPS]
    assert len({step.name for step in STEPS}) == len(STEPS)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_each_step_is_a_command_that_its_script_takes(step):
    """Options that a script does not have would be found out on a GPU alone."""
    command = step.command.format(python="P", trt="T", out="/out", gpus="1 2").split()
    assert command[0] in "PT"
    if command[1] == "-m":
        assert command[2] == "pytest"
        return
    script = ROOT / command[1]
    assert script.is_file()
    text = script.read_text()
    for option in (word for word in command[2:] if word.startswith("--")):
        assert f'"{option}"' in text, f"{script.name} has no {option}"


def test_the_command_line(tmp_path):
    def call(*arguments):
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "3"}
        command = [sys.executable, str(Path(ROOT) / "benchmarks/everything.py"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert "pictures-torch" in call("--list").stdout
    assert "no step is named so: pictures," in call("--only", "nothing", "--list").stderr
    assert "--out FOLDER" in call().stderr
    assert "no more than CUDA_VISIBLE_DEVICES=3 names" in call("--out", str(tmp_path), "--gpus", "2").stderr
