"""The benchmark of several GPUs, on the CPU: it measures what it says, and keeps what it measured."""

import json
import sys

import benchmarks.scale


def test_on_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks.scale, "DIFFERENT", 3)
    out = tmp_path / "scale.json"
    arguments = ["--out", str(out), "--reference", "--pictures", "10", "--only", "memory", "files"]
    monkeypatch.setattr(sys, "argv", ["scale.py", *arguments])
    benchmarks.scale.main()
    rows = json.loads(out.read_text())
    assert rows["command"].endswith(" ".join(arguments))
    assert rows["memory, 1 GPUs: stream"] > 0
    assert rows["files, 1 GPUs: stream"] > 0
