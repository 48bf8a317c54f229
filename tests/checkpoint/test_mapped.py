"""Arrays that are views of a file, when that file is written to, replaced or deleted."""

from __future__ import annotations

import copy
import os

import numpy as np
import pytest

import trtnn
from tests.helpers import assert_close, message_of
from trtnn.engine.refitting import own_copy
from trtnn.errors import CheckpointError
from trtnn.modules import Linear, Module
from trtnn.modules.refitting import Retracer

ONES = np.ones((1, 200), np.float32)
SUFFIXES = [".pt", ".safetensors"]


def weights(value: float) -> dict[str, np.ndarray]:
    return {"layer.weight": np.full((200, 200), value, np.float32), "layer.bias": np.zeros(200, np.float32)}


class Net(Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = Linear(200, 200)
        self.inputs = {"x": trtnn.Input((1, 200))}

    def forward(self, x):
        return self.layer(x)


def loaded(path) -> Net:
    model = Net()
    model.load_state_dict(trtnn.load(path))
    return model


def write_into(path, value: float) -> None:
    """Write other numbers into a file, as torch.save does, at another time whatever the clock's steps are."""
    other = path.with_name(f"other{path.suffix}")
    trtnn.save(weights(value), other)
    before = path.stat().st_mtime_ns
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(before + 1, before + 1))


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    trtnn.save(weights(1.0), tmp_path / f"weights{request.param}")
    return tmp_path / f"weights{request.param}"


def test_what_was_written_into_is_not_traced(path):
    model = loaded(path)
    write_into(path, 2.0)
    message = message_of(CheckpointError, model.trace)
    assert f"{path} was written to after it was loaded, and its arrays are views of it" in message
    assert "copy.deepcopy(trtnn.load(path))" in message
    assert_close(loaded(path).trace().run(ONES), np.full((1, 200), 400, np.float32))


def test_what_was_cut_short_is_not_read(path):
    """To read it would end the process."""
    model, state_dict = loaded(path), trtnn.load(path)
    path.write_bytes(b"short")
    message_of(CheckpointError, model.trace)
    message_of(CheckpointError, trtnn.save, state_dict, path.with_name("copy.npz"))


def test_what_was_written_into_is_not_saved(path):
    state_dict, target = trtnn.load(path), path.with_name("copy.npz")
    write_into(path, 2.0)
    assert "was written to" in message_of(CheckpointError, trtnn.save, state_dict, target)
    assert not target.exists()


def test_what_was_renamed_and_then_written_into_is_not_saved(path):
    state_dict, renamed = trtnn.load(path), path.with_name(f"renamed{path.suffix}")
    path.rename(renamed)
    write_into(renamed, 2.0)
    assert "was written to" in message_of(CheckpointError, trtnn.save, state_dict, path)


def test_what_is_written_into_while_it_is_saved(path, monkeypatch):
    state_dict, target = trtnn.load(path), path.with_name("copy.npz")
    before = path.stat().st_mtime_ns
    meanwhile = lambda *given: os.utime(path, ns=(before + 1, before + 1))  # noqa: E731
    monkeypatch.setattr("trtnn.checkpoint.check_suffix", lambda _: meanwhile)
    assert "was written to" in message_of(CheckpointError, trtnn.save, state_dict, target)
    assert not target.exists()


def test_what_was_written_into_is_not_merged(path, tmp_path):
    factors = {
        "layer.lora_A.weight": np.ones((2, 200), np.float32),
        "layer.lora_B.weight": np.ones((200, 2), np.float32),
    }
    trtnn.save({f"base_model.model.{name}": array for name, array in factors.items()}, tmp_path / "adapter.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
    state_dict = trtnn.load(path)
    assert trtnn.merge_lora(state_dict, tmp_path / "adapter.safetensors")["layer.weight"][0, 0] == 3
    write_into(path, 2.0)
    message = message_of(CheckpointError, trtnn.merge_lora, state_dict, tmp_path / "adapter.safetensors")
    assert "was written to" in message


def test_what_is_written_while_it_is_copied(path, monkeypatch):
    """The arrays are copied when a trace ends."""
    model = loaded(path)

    def forward(x):
        y = model.layer(x)
        write_into(path, 2.0)
        return y

    monkeypatch.setattr(model, "forward", forward)
    assert "was written to" in message_of(CheckpointError, model.trace)


@pytest.mark.parametrize("becomes", ["replaced", "deleted", "copied"])
def test_what_stays_as_it_was_loaded(path, becomes):
    state_dict, model = trtnn.load(path), Net()
    if becomes == "copied":
        state_dict = copy.deepcopy(state_dict)
    model.load_state_dict(state_dict)
    if becomes == "replaced":
        trtnn.save(weights(2.0), path)
    elif becomes == "deleted":
        path.unlink()
    else:
        write_into(path, 2.0)
    assert_close(model.trace().run(ONES), np.full((1, 200), 200, np.float32))


@pytest.mark.parametrize("of", [dict, loaded])
def test_what_was_written_into_is_no_engines_new_weights(path, of):
    """A refit copies them, in the background before it returns."""
    given, retracer = (loaded(path) if of is loaded else trtnn.load(path)), Retracer(loaded(path), True)
    write_into(path, 2.0)
    for take in (own_copy, lambda weights: retracer.traced(weights).__enter__()):
        assert "was written to" in message_of(CheckpointError, take, given)
