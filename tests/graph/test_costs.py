"""What tracing and loading cost: work grows with the number of layers, and weights are not copied."""

from __future__ import annotations

import tracemalloc

import numpy as np

import trtnn
from tests.helpers import lines_run
from trtnn import Module, Parameter
from trtnn.modules import Conv2d, ReLU, Sequential


def chain(count: int) -> Module:
    """Convolutions and activations one after another, ``count`` layers in all."""
    made = Sequential(*(Conv2d(2, 2, 1) if i % 2 == 0 else ReLU() for i in range(count)))
    made.inputs = {"input": (1, 2, 4, 4)}
    made.load_state_dict({name: np.ones(p.shape, np.float32) for name, p in made.named_parameters()})
    return made


def test_the_cost_of_a_trace_grows_with_the_layers():
    few, many = (lines_run(chain(count).trace) for count in (100, 1000))
    assert many < 11 * few, f"{few} lines for 100 layers, {many} for 1000"  # 100 times as many where not linear


class Large(Module):
    """200 MB of weights in ten parameters."""

    def __init__(self) -> None:
        super().__init__()
        for index in range(10):
            setattr(self, f"weight{index}", Parameter(2500, 2000))


def allocated_bytes(work) -> int:
    """The most that Python and NumPy allocate at once while ``work`` runs."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_load_state_dict_and_state_dict_copy_nothing():
    model = Large()
    given = {name: np.zeros(p.shape, np.float32) for name, p in model.named_parameters()}
    assert sum(array.nbytes for array in given.values()) == 200_000_000
    assert allocated_bytes(lambda: (model.load_state_dict(given), model.state_dict())) < 100_000
    for name, array in model.state_dict().items():
        assert array is given[name]
    flat = {name: array.reshape(-1) for name, array in given.items()}  # as a .wts has them
    assert allocated_bytes(lambda: model.load_state_dict(flat)) < 100_000
    assert all(np.shares_memory(array, flat[name]) for name, array in model.state_dict().items())


def test_a_file_is_mapped_and_not_copied(tmp_path):
    model = Large()
    for path in (tmp_path / "weights.safetensors", tmp_path / "weights.pt"):
        trtnn.save({name: np.zeros(p.shape, np.float32) for name, p in model.named_parameters()}, path)
        loaded = {}
        assert allocated_bytes(lambda: loaded.update(trtnn.load(path))) < 1_000_000  # noqa: B023
        assert allocated_bytes(lambda: model.load_state_dict(loaded)) < 100_000  # noqa: B023
        assert all(np.shares_memory(array, loaded[name]) for name, array in model.state_dict().items())
        path.unlink()
