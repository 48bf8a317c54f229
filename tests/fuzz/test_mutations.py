"""Mutated files of every format: an error of ours or a sound load, nothing runs, memory and time stay small.

Each kind of file is read in a process of its own, see :mod:`tests.fuzz.confined`. The seed is fixed, so that a fault
comes up again; ``python -m tests.fuzz.confined fuzz FILE SEED COUNT`` looks further.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from tests.fuzz.confined import confined
from tests.fuzz.mutations import ANY, MUTATIONS
from tests.helpers import ONE_TARGET
from trtnn import Dim, Engine, Module
from trtnn.checkpoint import load, save
from trtnn.errors import CheckpointError

SEED = 20
COUNT = 1200  # of each kind: 10,800 in all
# The part of mutated files that is refused at least. Where zip has no say over it, damaged numbers are numbers too.
REFUSED = {
    "a.safetensors": 0.85,
    "a.npz": 0.6,
    "compressed.npz": 0.6,
    "a.wts": 0.7,
    "a.pt": 0.6,
    "model.pt": 0.6,
    "legacy.pth": 0.8,
    "static.engine": 0.75,
    "dynamic.engine": 0.75,
}
CHECKPOINTS = [kind for kind in REFUSED if not kind.endswith(".engine")]


class Net(Module):
    def __init__(self) -> None:
        super().__init__()
        self.metadata = {"model": "tiny", "names": ["cat", "dog"], "stride": 32}

    def forward(self, images):
        return {"a": images.relu(), "b": [images * 2, images.flatten(1)]}


def save_as_before(engine: Engine, path: Path) -> None:
    """Write an engine file without a digest of its description, which would refuse nearly all that is mutated."""
    text = json.dumps(engine.description).encode()
    path.write_bytes(len(text).to_bytes(4, "little") + text + bytes(engine.plan))


def sound_file(kind: str, folder: Path) -> Path:
    """Write a small sound file of a kind."""
    tensors = {"conv.weight": torch.arange(6.0).view(2, 3).half(), "bn.bias": torch.ones(3), "n": torch.tensor(3)}
    path, buffer = folder / kind, io.BytesIO()
    match kind:
        case "a.pt":
            torch.save({**tensors, "b": torch.ones(2).bfloat16()}, buffer)
        case "legacy.pth":
            torch.save(tensors, buffer, _use_new_zipfile_serialization=False)
        case "model.pt":
            torch.save({"model": torch.nn.Sequential(torch.nn.BatchNorm2d(2)), "ema": None}, buffer)
        case "compressed.npz":
            np.savez_compressed(buffer, **{name: tensor.numpy() for name, tensor in tensors.items()})
        case "static.engine":
            save_as_before(Net().compile({"images": (1, 3, 8, 8)}, **ONE_TARGET), path)
        case "dynamic.engine":
            shape = (Dim("batch", 1, 2, 4), 3, Dim("height", 8, 16, 40, multiple_of=8), 8)
            save_as_before(Net().compile({"images": shape}, **ONE_TARGET), path)
        case _:
            save(tensors, path)
    if not path.exists():
        path.write_bytes(buffer.getvalue())
    return path


@pytest.mark.parametrize("kind", REFUSED)
def test_mutated_files(tmp_path, kind):
    found = confined("fuzz", sound_file(kind, tmp_path), SEED, COUNT)
    assert found["faults"] == []
    assert found["different"] >= 0.9 * COUNT
    assert found["refused"] >= REFUSED[kind] * COUNT
    assert found["loaded"] >= 0.02 * COUNT  # or the mutations are too coarse to come far
    assert found["peak_bytes"] < 200 * 2**20


def test_a_mutation_is_the_same_each_time_and_each_kind_changes_something(tmp_path):
    for kind in ("a.safetensors", "a.npz", "a.wts", "a.pt", "legacy.pth", "static.engine"):
        content = sound_file(kind, tmp_path).read_bytes()
        for mutation in {*ANY, *MUTATIONS[Path(kind).suffix]}:
            made = [mutation(Random(seed), content) for seed in range(20)]
            assert made == [mutation(Random(seed), content) for seed in range(20)]
            assert sum(one != content for one in made) >= 10, mutation


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_every_truncation_is_found(tmp_path, kind):
    path = sound_file(kind, tmp_path)
    content = path.read_bytes()
    for length in range(0, len(content) - 1, max(1, len(content) // 200)):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            load(path)
