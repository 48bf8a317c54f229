"""Builds under a lock, with a TensorRT that measures on the GPU."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.helpers import message_of, numbers
from trtnn import get_backend
from trtnn.build.timing_cache import unpack
from trtnn.cuda import driver_version
from trtnn.errors import BuildError
from trtnn.files import CACHE_ENVIRONMENT
from trtnn.modules import Conv2d, ReLU, Sequential

pytestmark = pytest.mark.skipif(
    get_backend().capabilities.targets, reason="this TensorRT measures nothing while it builds"
)
FAST = {"progress": False, "optimization_level": 1, "fp16": True, "max_aux_streams": 1}


@pytest.fixture
def path(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_ENVIRONMENT, str(tmp_path / "cache"))
    return tmp_path / "net.lock"


def net(seed=0):
    module = Sequential(Conv2d(3, 16, 3), ReLU(), Conv2d(16, 32, 3, stride=2), ReLU(), Conv2d(32, 8, 1))
    module.inputs = {"input": (1, 3, 64, 64)}
    named = module.named_parameters()
    module.load_state_dict({n: numbers(*p.shape, seed=seed + i, scale=0.1) for i, (n, p) in enumerate(named)})
    return module


def both(path):
    return path.read_bytes(), path.with_name("net.lock.timing").read_bytes()


def test_builds_have_the_tactics_of_the_lock(path):
    images = numbers(1, 3, 64, 64)
    with net().compile(lock=path, **FAST) as first:
        expected = first(images)
    told, files = json.loads(path.read_bytes()), both(path)
    assert told["driver"] == driver_version()
    assert told["build"]["gpu"]["name"]
    assert told["build"]["gpu"]["multiprocessors"] > 1
    assert any(row.get("tactic") and row.get("value") for row in told["tactics"])
    settings = net().trace().graph.builder.create_builder_config()
    assert len(unpack(files[1])) > len(bytes(settings.create_timing_cache(b"").serialize()))
    for _ in range(3):
        with net().compile(lock=path, **FAST) as again:
            assert again.description["lock"]["tactics"] == len(told["tactics"])
            np.testing.assert_array_equal(again(images), expected)
    with net(7).compile(lock=path, **FAST) as trained:
        assert trained.description["lock"]["new_weights"] == 6
    assert both(path) == files
    assert not list((path.parent / "cache").glob("timing-*"))  # which other builds share


def test_other_builds_change_nothing(path):
    net().compile(**FAST)
    net().compile(lock=path, **FAST)
    files = both(path)
    other = Sequential(Conv2d(3, 24, 5), ReLU())
    other.inputs = {"input": (1, 3, 48, 48)}
    other.load_state_dict({name: numbers(*p.shape) for name, p in other.named_parameters()})
    other.compile(**FAST)
    net().compile(lock=path, **FAST)
    assert both(path) == files


def test_other_tactics_are_an_error(path):
    net().compile(lock=path, **FAST)
    told = json.loads(path.read_bytes())
    (row, *_) = (row for row in told["tactics"] if row.get("tactic"))
    ours, row["tactic"] = row["tactic"], "another_tactic"
    path.write_text(json.dumps(told))
    lines = message_of(BuildError, net().compile, lock=path, **FAST).splitlines()
    assert lines[1].strip() == f"{row['layer']}: tactic another_tactic in the lock, tactic {ours} in this build"
    assert len(lines) == 3


def test_what_differs_is_told_before_the_build(path):
    net().compile(lock=path, **FAST)
    text = message_of(BuildError, net().compile, lock=path, **{**FAST, "max_aux_streams": 0, "fp16": False})
    assert "options.max_aux_streams: 1 in the lock, 0 in this build" in text
    assert "options.precision: float16 in the lock, float32 in this build" in text
    assert ("pinned_to_fp16" in text) is not get_backend().capabilities.strongly_typed
