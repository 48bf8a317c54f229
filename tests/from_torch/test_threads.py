"""Conversions in several threads take turns, and what one puts in torch's places it puts there for its own thread."""

from __future__ import annotations

import builtins
import math
import sys
import threading
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Distribution, Normal
from torch.nn import functional
from torch.nn.utils import rnn

import trtnn
from tests.from_torch.models import images
from tests.helpers import Turn, assert_close, message_of
from trtnn.errors import UnsupportedError
from trtnn.from_torch import declared
from trtnn.from_torch.recording import record
from trtnn.from_torch.recording.replacing import turn

X = images(2, 6)
PLACES = [
    (nn.Module, "__call__"),
    (torch.jit.ScriptFunction, "__call__"),
    (Distribution, "_validate_args"),
    (torch, "_check_tensor_all_with"),
    (torch.compiler, "is_compiling"),
    (torch.backends.mha, "get_fastpath_enabled"),
    (rnn.pack_padded_sequence, "__code__"),
    (rnn.pad_packed_sequence, "__code__"),
    (builtins, "min"),
    (builtins, "max"),
    (math, "sqrt"),
]


def own() -> list[Any]:
    """Return what a conversion may put others in the places of."""
    return [vars(owner).get(name, getattr(owner, name)) for owner, name in PLACES]


def aside(function: Callable[[], Any]) -> Any:
    """Return what a function gives in another thread."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


class Scaled(nn.Module):
    """A module with something that runs in its forward."""

    def __init__(self, meanwhile: Callable[[], Any] = lambda: None) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.meanwhile = meanwhile

    def forward(self, x):
        self.meanwhile()
        return self.layer(x) * math.sqrt(min(x.shape[1], 9))


def test_conversions_take_turns(monkeypatch):
    """The second comes while the first is in its forward, and begins once that is done; both are right."""
    before, waiting = own(), Turn(turn)
    monkeypatch.setattr(declared, "turn", waiting)
    order: list[str] = []

    def first() -> None:
        if not order:
            thread.start()
            assert waiting.comes.wait(60)
        order.append("first")

    models = Scaled(first).eval(), Scaled(lambda: order.append("second")).eval()
    sources: list[str] = []
    thread = threading.Thread(target=lambda: sources.append(trtnn.from_torch(models[1], X).source))
    converted = trtnn.from_torch(models[0], X)
    thread.join()
    assert order == sorted(order)
    assert order[-1] == "second"
    assert sources == [converted.source]
    assert own() == before
    assert_close(converted.trace().run(X.numpy()), models[0](X), 1e-5)


def is_compiled(x: torch.Tensor) -> bool:
    compiled = False
    if torch.jit.is_scripting():
        compiled = True
    return compiled


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, from 2.9 on
    SCRIPTED = torch.jit.script(is_compiled)


def scripted() -> bool:
    return SCRIPTED(X)


ENCODER = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 1).eval()
PADDING = torch.tensor([[False, False, True], [False, True, True]])


def validated() -> str:
    return message_of(ValueError, Normal, 0.0, -1.0)


def padded() -> list[bool]:
    with torch.no_grad():
        return (ENCODER(torch.ones(2, 3, 4), src_key_padding_mask=PADDING) == 0).all(-1).flatten().tolist()


def interface() -> bool:
    module = sys.modules["transformers.integrations.moe"]
    return module.ExpertsInterface().get_interface("eager", validated) is validated


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("function", [scripted, validated, padded, interface])
def test_other_threads_have_torchs_functions(function, monkeypatch):
    """In each call of a model, recorded or compared with, another thread gets what it gets without."""

    class ExpertsInterface:
        def get_interface(self, implementation, default):
            return default

    module = types.ModuleType("transformers.integrations.moe")
    module.ExpertsInterface = ExpertsInterface
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(torch.backends.mha, "_is_fastpath_enabled", True)
    monkeypatch.setattr(Distribution, "_validate_args", True)  # torch.compile turns it off for the whole process
    expected, found = function(), []
    plain = trtnn.from_torch(Scaled().eval(), X).source
    assert trtnn.from_torch(Scaled(lambda: found.append(aside(function))).eval(), X).source == plain
    assert len(found) > 1
    assert found == [expected] * len(found)


def test_other_threads_are_not_told_of_a_graph():
    """A function that decides by numbers is told that a graph is made of it, where it is called to record that."""
    told = []

    def decides(x):
        told.append((threading.current_thread() is threading.main_thread(), torch.compiler.is_compiling()))
        if not torch.compiler.is_compiling() and bool((x > 2).all()):
            return x * 0.0
        return torch.where((x > 2).all(), x * 0, x)

    class Model(nn.Module):
        def forward(self, x):
            aside(lambda: decides(torch.ones(2)))
            return decides(x)

    trtnn.from_torch(Model().eval(), X)
    assert (True, True) in told
    assert (False, False) in told
    assert (False, True) not in told


def test_other_threads_call_hooks_and_modules_as_they_are():
    """A hook that looks in one thread and changes the result in another, while the module is recorded."""
    main, found = threading.main_thread(), []

    class Part(nn.Module):
        def forward(self, x):
            if threading.current_thread() is main:
                found.append(aside(lambda: self(torch.ones(2)).tolist()))
            return x + 1

    model = nn.Sequential(Part(), nn.ReLU()).eval()
    hook = model[0].register_forward_hook(lambda m, args, y: None if threading.current_thread() is main else y * 2)
    source = trtnn.from_torch(model, X).source
    hook.remove()
    assert found == [[4.0, 4.0]] * len(found) != []
    assert source == trtnn.from_torch(model, X).source


def test_modules_in_threads_of_a_forward():
    """What they compute of the inputs is not seen, so that it would be a constant."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x):
            return aside(lambda: self.layer(x)).relu()

    for verify in (True, False):
        message = message_of(UnsupportedError, trtnn.from_torch, Model().eval(), X, verify=verify)
        assert "Linear in another thread: once, in the model's own forward: a network has no threads" in message


def test_what_goes_on_after_a_recording():
    """A generator that was recorded calls int with lengths, and goes on with the code that it began with."""
    kept = []

    class Model(nn.Module):
        def forward(self, x):
            def counting():
                while True:
                    yield int(x.shape[1] * 0.5)

            kept.append(counting())
            return x[:, : next(kept[-1])]

    model = trtnn.from_torch(Model().eval(), X, dynamic={"x": (2, trtnn.Dim("n", 2, 6, 16))})
    assert "math.floor(x.shape[1] * 0.5)" in model.source
    assert {next(generator) for generator in kept} <= {1, 2, 3, 4, 5, 6, 7, 8}
    assert len(kept) > 2


@pytest.mark.parametrize("times", [1, 4])
def test_another_thread_draws_random_numbers(times, monkeypatch):
    """While an operation runs that may draw some, and draws none."""
    states, looks = record._states_of_randomness, []

    def looked_at() -> list[torch.Tensor]:
        looks.append(len(looks) < 2 * times and len(looks) % 2)  # before each of several runs, and behind it
        if looks[-1]:
            aside(lambda: torch.rand(1))
        return states()

    monkeypatch.setattr(record, "_states_of_randomness", looked_at)
    x = images(1, 2, 5, 8)
    model = trtnn.from_torch(lambda x: functional.scaled_dot_product_attention(x, x, x), x)
    assert sum(looks) == times
    assert_close(model.trace().run(x.numpy()), functional.scaled_dot_product_attention(x, x, x), 1e-5)


def test_what_draws_random_numbers_is_refused():
    message = message_of(UnsupportedError, trtnn.from_torch, lambda x: functional.dropout(x, 0.5, training=True), X)
    assert "an engine draws no random numbers: give them as an input" in message
