"""Comparisons of an engine with the reference: the figures, the first that is beyond, and what cannot be compared."""

import json
import math

import numpy as np
import pytest
import torch

import trtnn
from tests.helpers import ONE_TARGET, load_random, message_of, numbers, trace
from tests.standin import stand_in
from trtnn import modules
from trtnn.errors import ArgumentError


class Net(trtnn.Module):
    def __init__(self):
        super().__init__()
        self.inputs = {"images": (2, 3, 8, 8)}
        self.stem = modules.Sequential(modules.Conv2d(3, 4, 3), modules.ReLU())
        self.head = modules.Linear(4 * 36, 5)

    def forward(self, images):
        x = self.stem(images)
        return {"scores": self.head(x.flatten(1)), "map": x * 2}


IMAGES = numbers(2, 3, 8, 8)
IN_ORDER = ["stem.0", "stem.1", "stem", "head", "scores", "map"]


@pytest.fixture(scope="module")
def model():
    net = Net()
    twin = torch.nn.ModuleDict(
        {"stem": torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), "head": torch.nn.Linear(4 * 36, 5)}
    )
    net.load_state_dict(load_random(twin).state_dict())
    return net


@pytest.fixture(scope="module")
def network(model):
    return model.trace(outputs=["head", "*"])


def engine_that(network, change=lambda inner: None):
    """A stand-in that returns what the reference does, changed."""

    def engine(*args, **kwargs):
        result, inner = network.run(*args, **kwargs)
        change(inner)
        return result, inner

    return engine


def test_what_agrees(network):
    found = trtnn.compare(network, IMAGES, engine=engine_that(network))
    assert [row.name for row in found.outputs] == IN_ORDER
    assert [row.path for row in found.outputs] == ["stem.0", "stem.1", "stem", "head", "", ""]
    assert [(row.error, row.largest) for row in found.outputs] == [(0, 0)] * 6
    assert found.first is None
    lines = str(found).splitlines()
    assert lines[0].split() == ["module", "output", "error", "largest", "difference"]
    assert lines[2].split() == ["stem.0", "stem.0", "0.0e+00", "0"]
    assert lines[-1] == "all within 0.01: the largest error is 0.0e+00"


def test_the_figures(network):
    """Against their formulas: rms(difference) / rms(reference), and the largest difference."""
    noise = numbers(2, 4, 6, 6, seed=1)

    def change(inner):
        inner["stem.1"] += noise
        inner["head"] *= 1.001

    found = trtnn.compare(network, images=IMAGES, engine=engine_that(network, change), tolerance=1e-3)
    rows = {row.name: row for row in found.outputs}
    reference = network.run(IMAGES)[1]["stem.1"]
    assert rows["stem.1"].error == pytest.approx(np.sqrt((noise**2).mean() / (reference**2).mean()), rel=1e-5)
    assert rows["stem.1"].largest == pytest.approx(np.abs(noise).max(), rel=1e-5)
    assert rows["head"].error == pytest.approx(1e-3, rel=1e-2)
    assert found.first is rows["stem.1"]
    marked = [line for line in str(found).splitlines() if "<-" in line]
    assert len(marked) == 1
    assert marked[0].startswith("stem.1")
    assert marked[0].endswith("<- the first beyond 0.001")
    assert str(found).splitlines()[-1].startswith("they part in stem.1: error ")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite(network, value):
    def change(inner):
        inner["stem"][0, 0, 0, 0] = value

    found = trtnn.compare(network, IMAGES, engine=engine_that(network, change))
    assert found.first.path == "stem"
    assert (found.first.error, found.first.largest) == (math.inf, math.inf)
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert values["first"] == "stem"
    assert values["outputs"][2] == {"module": "stem", "output": "stem", "error": None, "largest_difference": None}


def test_what_is_not_finite_in_the_reference_does_not_count():
    network = trace(lambda x: 1 / x, (3,))
    x = np.float32([0, 1 / 3, 1 / 4])  # gives inf, 3, 4
    found = trtnn.compare(network, x, engine=lambda x: np.float32([7, 3, 4.5]))
    assert found.outputs[0].error == pytest.approx(0.5 / 5)
    assert found.outputs[0].largest == pytest.approx(0.5)


def test_a_few_rows_show_where_they_part(network):
    def change(inner):
        inner["head"] += 1

    found = trtnn.compare(network, IMAGES, engine=engine_that(network, change))
    lines = found.table(2).splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["stem", "head"]
    assert lines[4] == "... and 4 more"
    assert [line.split()[0] for line in found.table(100).splitlines()[2:6]] == ["stem.0", "stem.1", "stem", "head"]


def test_torch_tensors(network):
    found = trtnn.compare(network, torch.from_numpy(IMAGES), engine=engine_that(network))
    assert found.first is None


def test_integers():
    network = trace(lambda x: (x * 2).to(trtnn.int32), (3,))
    x = np.float32([-1, 1, 2])
    assert trtnn.compare(network, x, engine=lambda x: np.int32([-2, 2, 7])).outputs[0].largest == 3
    assert trtnn.compare(network, x, engine=lambda x: np.int32([-2, 2, 4])).first is None


def test_an_engine_is_built_where_none_is_given(model, monkeypatch):
    network = model.trace(outputs=["stem"])
    stand_in(monkeypatch, network)
    built = []
    build = trtnn.Network.build
    monkeypatch.setattr(trtnn.Network, "build", lambda self: built.append(self) or build(self, **ONE_TARGET))
    found = trtnn.compare(network, IMAGES)
    assert built == [network]
    assert [row.name for row in found.outputs] == ["stem", "scores", "map"]
    assert found.first is None


def test_a_saved_engine_s_own_outputs(model, tmp_path, monkeypatch):
    network = model.trace(fp16=True)
    path = network.build(**ONE_TARGET).save(tmp_path / "net.engine")
    stand_in(monkeypatch, network)
    found = trtnn.compare(model.trace(), IMAGES, engine=trtnn.Engine.load(path))  # with the reference in fp32
    assert [(row.path, row.name) for row in found.outputs] == [("", "scores"), ("", "map")]
    assert all(1e-6 < row.error < 2e-3 for row in found.outputs)
    marked = model.trace(outputs=["stem"])
    message = message_of(ArgumentError, trtnn.compare, marked, IMAGES, engine=trtnn.Engine.load(path))
    assert "the engine has other outputs than the network" in message
    assert "the engine: scores, map\n" in message
    assert "the network: scores, map, stem\n" in message
    assert "outputs=[...]" in message


def test_what_cannot_be_compared(network):
    def wrong(result):
        return message_of(ArgumentError, trtnn.compare, network, IMAGES, engine=lambda _: result)

    assert "expected a tuple of 2, received a ndarray" in wrong(IMAGES)
    result, inner = network.run(IMAGES)
    assert "the engine gives head as (5,), the network as (2, 5)" in wrong((result, {**inner, "head": np.zeros(5)}))
    message = message_of(ArgumentError, trtnn.compare, network, IMAGES, engine=engine_that(network), tolerance=-1)
    assert "a tolerance is a number from 0 up, not -1" in message


def test_where_nothing_is_finite_nothing_agrees():
    network = trace(lambda x: (1 / x, x + 1), (3,))
    message = message_of(ArgumentError, trtnn.compare, network, np.zeros(3, np.float32), engine=lambda x: (x, x + 1))
    assert message.startswith("no number of output_0 is finite in the reference")
