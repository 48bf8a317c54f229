"""Damaged files of every format give a CheckpointError or a dict of arrays, and nothing else."""

import contextlib
import functools
import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trtnn.checkpoint import load, save
from trtnn.errors import CheckpointError

KINDS = ["a.safetensors", "a.npz", "compressed.npz", "a.wts", "a.pt", "legacy.pt", "model.pt"]


@functools.cache
def sound_file(kind: str) -> bytes:
    tensors = {"conv.weight": torch.arange(6.0).view(2, 3).half(), "bn.bias": torch.ones(3), "n": torch.tensor(3)}
    buffer = io.BytesIO()
    match kind:
        case "a.pt":
            torch.save(tensors, buffer)
        case "legacy.pt":
            torch.save(tensors, buffer, _use_new_zipfile_serialization=False)
        case "model.pt":
            torch.save({"model": torch.nn.Sequential(torch.nn.BatchNorm2d(2)), "ema": None}, buffer)
        case "compressed.npz":
            np.savez_compressed(buffer, **{name: tensor.numpy() for name, tensor in tensors.items()})
        case _:
            with tempfile.TemporaryDirectory() as folder:
                save(tensors, Path(folder, kind))
                return Path(folder, kind).read_bytes()
    return buffer.getvalue()


@st.composite
def damages(draw) -> list[tuple[str, float, bytes]]:
    """Changes to a file: where, as a part of its length, and the bytes that overwrite, enter or end it there."""
    how = st.sampled_from(["overwrite", "overwrite", "overwrite", "insert", "remove", "truncate"])
    change = st.tuples(how, st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8))
    return draw(st.lists(change, min_size=1, max_size=4))


def damaged(content: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for how, part, new in changes:
        at = int(part * len(content))
        content = {
            "overwrite": content[:at] + new + content[at + len(new) :],
            "insert": content[:at] + new + content[at:],
            "remove": content[:at] + content[at + len(new) :],
            "truncate": content[:at],
        }[how]
    return content


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=damages())
def test_damage_gives_an_error_of_ours_or_a_state_dict(tmp_path, kind, changes):
    path = tmp_path / kind
    path.write_bytes(damaged(sound_file(kind), changes))
    with contextlib.suppress(CheckpointError):
        state_dict = load(path)
        assert all(isinstance(name, str) and type(array) is np.ndarray for name, array in state_dict.items())
        for array in state_dict.values():
            array.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_is_found(tmp_path, kind):
    path = tmp_path / kind
    content = sound_file(kind)
    for length in range(0, len(content) - 1, max(1, len(content) // 200)):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            load(path)
