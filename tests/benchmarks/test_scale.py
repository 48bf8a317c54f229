"""The benchmark of several GPUs, on the CPU: it measures what it says, and keeps what it measured."""

import json
import sys

import pytest

import benchmarks.scale


@pytest.mark.parametrize("readers", [[], ["--readers", "2"]])
def test_on_the_cpu(tmp_path, monkeypatch, readers):
    monkeypatch.setattr(benchmarks.scale, "DIFFERENT", 3)
    out = tmp_path / "scale.json"
    arguments = ["--out", str(out), "--reference", "--pictures", "10", "--only", "memory", "files", *readers]
    monkeypatch.setattr(sys, "argv", ["scale.py", *arguments])
    asked, usual = [], benchmarks.scale.read_frames
    monkeypatch.setattr(
        benchmarks.scale, "read_frames", lambda *args, **kwargs: asked.append(kwargs) or usual(*args, **kwargs)
    )
    benchmarks.scale.main()
    assert asked == [{"processes": 2 if readers else None}]
    rows = json.loads(out.read_text())
    assert rows["command"].endswith(" ".join(arguments))
    assert rows["memory, 1 GPUs: stream"] > 0
    assert rows["files, 1 GPUs: stream"] > 0


def test_workers_at_their_pace():
    """Two parts of 100 in 10 s each; one worker begins late, and the last part of each is done in no time."""
    first = [30.0, 40.0, 50.0, 60.0, 70.0, 71.0]
    second = [44.0, 54.0, 64.0, 74.0, 84.0, 85.0]
    assert benchmarks.scale.steady([first], 100) == pytest.approx(10)
    assert benchmarks.scale.steady([first, second], 100) == pytest.approx(20)
    # Of what is faster in between, the share that lies between 44 s and 70 s counts.
    assert benchmarks.scale.steady([[30.0, 40.0, 45.0, 50.0, 60.0, 70.0, 71.0], second], 100) == pytest.approx(
        (100 * (1 / 5 + 3) + 100 * 2.6) / 26
    )


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ([[1.0, 2.0, 3.0], [1.0, 2.0]], "a worker had fewer than three parts"),
        ([[1.0, 2.0, 3.0], [2.5, 3.0, 4.0]], "some workers had ended before others were at their pace"),
    ],
)
def test_too_few_parts_give_no_rate(ends, words):
    with pytest.raises(ValueError, match=words):
        benchmarks.scale.steady(ends, 100)
