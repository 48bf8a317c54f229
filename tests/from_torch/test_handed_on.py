"""What a module reads of another that it was not passed: weights, and what another forward computed and kept."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import trtnn
from tests.from_torch.models import images
from tests.helpers import assert_close


class Bias(nn.Module):
    """A table that is looked up by places, as T5's bias is."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 4)

    def forward(self, n):
        places = torch.arange(n)
        return self.table((places[None] - places[:, None]).clamp(-4, 4) + 4).mean(0)


class Layer(nn.Module):
    """A layer that calls a module which it is passed, as layers of x-transformers do."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x, bias=None):
        x = self.fc(x)
        return x if bias is None else x + bias(x.shape[1])


class Passed(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = Bias()
        self.layers = nn.ModuleList(Layer() for _ in range(3))

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            x = layer(x, self.bias if i else None)
        return x


class Holder(nn.Module):
    """Reads the weight of a module that is not among its own."""

    def __init__(self, other):
        super().__init__()
        self.others = [other]

    def forward(self, x):
        return x @ self.others[0].weight


class Tied(nn.Module):
    """Between the two is a Sequential, which takes the weight for what it holds."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(4, 6)
        self.decoder = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh(), Holder(self.encoder)))

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Memory(nn.Module):
    """Keeps what it computes of its weights, or of the input."""

    def __init__(self, of_input):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.of_input = of_input

    def forward(self, x):
        self.kept = self.fc(x) if self.of_input else self.fc.weight.sin()
        return x


class Reader(nn.Module):
    def __init__(self, memory):
        super().__init__()
        self.memory = [memory]

    def forward(self, x):
        return x @ self.memory[0].kept.mT


class Remembers(nn.Module):
    """Two modules of which the one reads what the other keeps, each within a module."""

    def __init__(self, of_input):
        super().__init__()
        memory = Memory(of_input)
        self.first = nn.Sequential(memory, nn.ReLU())
        self.second = nn.Sequential(nn.Identity(), Reader(memory))

    def forward(self, x):
        return self.second(self.first(x))


class Scalar(nn.Module):
    """Reads one number that another forward computed of its weights."""

    class Of(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([0.5, 2.0]))

        def forward(self, x):
            self.largest = self.weight.amax()
            return x * self.weight[0]

    class By(nn.Module):
        def __init__(self, of):
            super().__init__()
            self.of = [of]

        def forward(self, x):
            return x / self.of[0].largest

    def __init__(self):
        super().__init__()
        self.of = self.Of()
        self.by = self.By(self.of)

    def forward(self, x):
        return self.by(self.of(x))


@pytest.mark.parametrize(
    "make",
    [Passed, Tied, lambda: Remembers(False), lambda: Remembers(True), Scalar],
    ids=["a module that is passed", "a tied weight", "kept of weights", "kept of the input", "a number"],
)
def test_other_weights_are_those_of_the_module_that_has_them(make):
    torch.manual_seed(0)
    model, x = make().eval(), images(2, 5, 4)
    converted = trtnn.from_torch(model, x)
    assert set(converted.state_dict()) == set(model.state_dict())  # no copy of a weight is a Buffer
    assert_close(converted.trace().run(x.numpy()), model(x), 1e-5)
    other = {name: tensor * 0.3 + 0.1 for name, tensor in model.state_dict().items()}
    model.load_state_dict(other)
    converted.load_state_dict(other)
    assert_close(converted.trace().run(x.numpy()), model(x), 1e-5)


def test_a_weight_of_another_module_is_an_argument():
    source = trtnn.from_torch(Passed().eval(), images(2, 5, 4)).source
    assert "    def forward(self, x, table_weight=None):\n" in source
    assert "self.bias.table.weight" in source
