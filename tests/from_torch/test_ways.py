"""A module that is called in several ways: its forward gets arguments that may be left out, as its author wrote it."""

from __future__ import annotations

import ast
import re

import pytest
import torch
from torch import nn

import trtnn
from tests.from_torch.models import images
from tests.from_torch.test_from_torch import class_text
from tests.from_torch.test_idioms import converted
from tests.helpers import assert_close

X = images(2, 3, 4)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(4, 4)
        self.kv = nn.Linear(4, 8)

    def forward(self, x, context=None, mask=None, scale=1.0):
        if context is None:
            context = x
        q = self.q(x)
        k, v = self.kv(context).chunk(2, -1)
        attn = q @ k.transpose(-2, -1) * scale
        if mask is not None:
            attn = attn + mask
        return attn.softmax(-1) @ v


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.attn = Attention()

    def forward(self, x, mask=None, twice=False):
        x = x + self.attn(self.norm(x), mask=mask)
        if twice:
            x = x * 2
        return x


class Shared(nn.Module):
    """One module in several ways, layers of one class in several ways, and what they pass on."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(3))
        self.cross = Attention()

    def forward(self, x, mask):
        for layer in self.layers:
            x = layer(x, mask)
        for layer in self.layers[1:]:
            x = layer(x)
        x = self.layers[0](x, twice=True)
        x = self.cross(x, x.flip(1), scale=0.5)
        return self.cross(x, mask=mask)


@pytest.fixture(scope="module")
def shared() -> str:
    return converted(Shared(), X, images(2, 3, 3)).source


def test_an_argument_that_is_none_elsewhere(shared):
    assert class_text(shared, "Attention").partition("\n\n")[2] == (
        "    def forward(self, x, context=None, mask=None, scale=1.0):\n"
        "        if context is None:\n"
        "            context = x\n"
        "        q = self.q(x)\n"
        "        k, v = self.kv(context).chunk(2, -1)\n"
        "        attn = q @ k.transpose(-2, -1) * scale\n"
        "        if mask is not None:\n"
        "            attn = attn + mask\n"
        "        return attn.softmax(-1) @ v"
    )


def test_an_argument_that_is_passed_on_and_a_truth(shared):
    assert class_text(shared, "Layer").partition("\n\n")[2] == (
        "    def forward(self, x, mask=None, twice=False):\n"
        "        x = x + self.attn(self.norm(x), mask=mask)\n"
        "        if twice:\n"
        "            x = x * 2\n"
        "        return x"
    )
    assert class_text(shared, "Shared").partition("    def forward")[2] == (
        "(self, x, mask):\n"
        "        for layer in self.layers:\n"
        "            x = layer(x, mask=mask)\n"
        "        for layer in self.layers[1:]:\n"
        "            x = layer(x)\n"
        "        x = self.layers[0](x, twice=True)\n"
        "        x = self.cross(x, context=x.flip(1), scale=0.5)\n"
        "        return self.cross(x, mask=mask)"
    )
    assert len(re.findall(r"^class ", shared, re.M)) == 3


class Calls(nn.Module):
    """Calls one module, whose forward is a function, with the arguments of several calls."""

    class Inner(nn.Module):
        def __init__(self, forward):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.side = nn.ModuleDict({"left": nn.Linear(4, 4), "right": nn.Linear(4, 4)})
            self.levels = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
            self.scale = 3.0
            self.forward = forward.__get__(self)

    def __init__(self, forward, *calls):
        super().__init__()
        self.inner, self.calls = self.Inner(forward), calls

    def forward(self, x):
        for call in self.calls:
            y = self.inner(x, **{key: x.sin() if value is ... else value for key, value in call.items()})
            x = sum(y) if isinstance(y, tuple) else y
        return x


def forward_of(forward, *calls) -> str:
    """Return the forward that is written of one with several calls, where ``...`` is a tensor."""
    text = class_text(converted(Calls(forward, *calls), X).source, "Inner")
    return text[text.index("    def forward") :]


def test_a_string_that_decides():
    def forward(self, x, mode):
        if mode == "tanh":
            return self.fc(x).tanh()
        return self.fc(x).tanh() * 2 if mode == "twice" else self.fc(x.abs())

    assert forward_of(forward, {"mode": "tanh"}, {"mode": "abs"}, {"mode": "twice"}, {"mode": "tanh"}) == (
        "    def forward(self, x, mode):\n"
        '        if mode == "tanh":\n'
        "            return self.fc(x).tanh()\n"
        '        if mode == "abs":\n'
        "            return self.fc(x.abs())\n"
        "        return self.fc(x).tanh() * 2"
    )


def test_what_two_of_three_values_do():
    def forward(self, x, mode="a"):
        x = self.fc(x)
        if mode != "a":
            x = x.relu()
        return x

    assert '        if mode != "a":\n            x = x.relu()\n' in forward_of(
        forward, {}, {"mode": "b"}, {"mode": "c"}
    )


def test_an_item_that_an_argument_picks():
    def forward(self, x, level, side="left"):
        return self.side[side](self.levels[level](x))

    assert forward_of(forward, {"level": 0}, {"level": 1, "side": "right"}, {"level": 2}) == (
        '    def forward(self, x, level, side="left"):\n        return self.side[side](self.levels[level](x))'
    )


def test_numbers_that_are_passed_and_one_that_is_not():
    def forward(self, x, factor=1.0, twice=False):
        x = self.fc(x) * factor + self.scale
        return x * (4 if twice else 5)

    assert forward_of(forward, {}, {"factor": 0.5}, {"twice": True}) == (
        "    def forward(self, x, factor=1.0, twice=False):\n"
        "        x = self.fc(x) * factor + self.scale\n"
        "        if twice:\n"
        "            return x * 4\n"
        "        return x * 5"
    )


def test_what_forward_returns():
    def forward(self, x, both=False):
        y = self.fc(x)
        return (y, x) if both else y

    assert forward_of(forward, {"both": True}, {}).endswith(
        "        if both:\n            return y, x\n        return y"
    )


def test_two_arguments_that_may_be_none():
    def forward(self, x, first=None, second=None):
        x = self.fc(x)
        if first is not None:
            first = first * 2
            x = x * first
        if second is not None:
            x = x - second.cos()
        return x

    assert forward_of(forward, {}, {"first": ...}, {"first": ..., "second": ...}) == (
        "    def forward(self, x, first=None, second=None):\n"
        "        x = self.fc(x)\n"
        "        if first is not None:\n"
        "            first = first * 2\n"
        "            x = x * first\n"
        "        if second is not None:\n"
        "            x = x - second.cos()\n"
        "        return x"
    )


def test_a_tensor_or_a_number():
    def forward(self, x, scale=2.0):
        return self.fc(x) * scale

    assert forward_of(forward, {}, {"scale": ...}) == (
        "    def forward(self, x, scale=2.0):\n        return self.fc(x) * scale"
    )


def test_more_named_arguments():
    def forward(self, x, **options):
        x = self.fc(x)
        return x + options["bias"] if "bias" in options else x

    assert forward_of(forward, {}, {"bias": ...}) == (
        "    def forward(self, x, bias=None):\n"
        "        x = self.fc(x)\n"
        "        if bias is not None:\n"
        "            return x + bias\n"
        "        return x"
    )


def test_what_several_arguments_decide_together_stands_in_the_forward_around():
    def forward(self, x, first=False, second=False):
        return self.fc(x) * 2 if first and second else self.fc(x)

    ways = [{"first": a, "second": b} for a in (False, True) for b in (False, True)]
    assert_in_forward_around(forward, *ways)


def assert_in_forward_around(forward, *calls):
    """Assert that what a module does in its calls stands in the forward of the module that calls it."""
    model = Calls(forward, *calls)
    source = converted(model, X).source
    assert "def forward" not in class_text(source, "Inner")
    assert class_text(source, "Calls").count("self.inner.fc(") == len(calls)
    other = {name: tensor * 0.5 + 0.1 for name, tensor in model.state_dict().items()}
    result = trtnn.from_torch(model, X)
    model.load_state_dict(other)
    result.load_state_dict(other)
    assert_close(result.trace().run(X.numpy()), model(X), 1e-5)


def test_an_argument_that_is_another_once_it_decides():
    """Whether ``context`` is None is known at first; where the last line asks, it is a tensor in any case."""

    def forward(self, x, context=None):
        alone = context is None
        context = x.cos() if alone else context
        x = self.fc(context)
        return x if alone else x * 2

    assert_in_forward_around(forward, {}, {"context": ...})


def test_a_number_that_was_passed_once_its_name_is_another_value():
    def forward(self, x, factor=1.0):
        times = factor
        factor = self.fc(x * factor)
        return factor + times

    assert_in_forward_around(forward, {}, {"factor": 0.5})


def test_several_values_that_do_the_same():
    def forward(self, x, tag=0):
        return self.fc(x) if tag in (1, 4) else self.fc(x) * 2

    text = forward_of(forward, {"tag": 1}, {"tag": 2}, {"tag": 3}, {"tag": 4})
    assert "        if tag in (1, 4):\n            return self.fc(x)\n        return self.fc(x) * 2" in text


def test_what_no_literal_says():
    def forward(self, x, dtype=torch.float32, device=None):
        x = self.fc(x)
        return x if dtype is torch.float32 else x * 2

    assert_in_forward_around(forward, {}, {"dtype": torch.float64})


def test_one_and_true_are_not_told_apart():
    def forward(self, x, flag):
        return self.fc(x) * 2 if flag is True else self.fc(x)

    assert_in_forward_around(forward, {"flag": True}, {"flag": 1})


def test_the_source_is_the_same_each_time():
    model = Shared().eval()
    texts = {trtnn.from_torch(model, X, images(2, 3, 3), verify=False).source for _ in range(3)}
    assert len(texts) == 1
    ast.parse(texts.pop())


class Regional(nn.Module):
    """Instances of one class, some with a mask and some without."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Layer() for _ in range(4))

    def forward(self, x):
        mask = x @ x.transpose(1, 2)
        for i, block in enumerate(self.blocks):
            x = block(x, mask) if i % 2 else block(x)
        return x


def test_instances_of_one_class():
    source = converted(Regional(), X).source
    assert re.findall(r"^class (\w+)", source, re.M) == ["Attention", "Layer", "Regional"]
    assert "        x = self.blocks[0](x)\n        x = self.blocks[1](x, mask=mask)\n" in source


# -- what lengths decide ----------------------------------------------------------------------------------------------


class Levels(nn.Module):
    """One module for lengths of several kinds.

    Args:
        forward: of the inner module.
        lengths: of what it is called with, one call for each.
    """

    def __init__(self, forward, *lengths) -> None:
        super().__init__()
        self.inner = type("Inner", (nn.Module,), {"forward": forward})()
        self.inner.fc = nn.Linear(4, 4)
        self.lengths = lengths

    def forward(self, x):
        return [self.inner(x[:, :length]) for length in self.lengths]


def lengths_decide(forward, *lengths, dynamic=None) -> str:
    """Convert a module that is called with several lengths, compare it with torch, and return its forward."""
    model, x = Levels(forward, *lengths).eval(), images(2, 6, 4)
    result = trtnn.from_torch(model, x, dynamic=dynamic)
    with torch.no_grad():
        expected = model(x)
    for ours, theirs in zip(result.trace().run(x.numpy()), expected, strict=True):
        assert_close(ours, theirs, 1e-5)
    assert result.source.count("(Module):") == 2
    text = class_text(result.source, "Inner" if "def forward" in class_text(result.source, "Inner") else "Levels")
    return text[text.index("    def forward") :].rstrip()


def test_a_length_decides():
    def forward(self, x):
        h = self.fc(x)
        h = h[:, :3] * 2 if x.shape[1] > 3 else h.relu()
        return h.tanh()

    assert lengths_decide(forward, 6, 2, 5, 3) == (
        "    def forward(self, x):\n"
        "        h = self.fc(x)\n"
        "        if x.shape[1] > 3:\n"
        "            h = h[:, :3] * 2\n"
        "        else:\n"
        "            h = h.relu()\n"
        "        return h.tanh()"
    )


def test_a_length_that_is_more_equal_or_less():
    def forward(self, x):
        if x.shape[1] > 3:
            x = x[:, :3]
        elif x.shape[1] < 3:
            x = nn.functional.pad(x, (0, 0, 0, 3 - x.shape[1]))
        return self.fc(x)

    text = lengths_decide(forward, 6, 2, 3)
    assert "if x.shape[1] > 3:" in text
    assert "if x.shape[1] < 3:" in text
    assert "elif" in text
    assert "assert" not in text
    two = lengths_decide(forward, 6, 2)
    assert "        assert x.shape[1] != 3\n" in two  # which nobody saw
    assert "else:" not in two


def test_a_length_that_decides_within_a_branch_stands_in_the_forward_around():
    def forward(self, x):
        n = x.shape[1]
        if n > 1:
            x = self.fc(x)
            if n == 6:
                x = x.exp()
        return x.sum(1)

    assert lengths_decide(forward, 6, 5, 1) == (
        "    def forward(self, x):\n"
        "        x2 = x[:, :6]\n"
        "        assert x2.shape[1] > 1\n"
        "        n = x2.shape[1]\n"
        "        x2 = self.inner.fc(x2)\n"
        "        assert n == 6\n"
        "        x2 = x2.exp()\n"
        "        x3 = x[:, :5]\n"
        "        assert x3.shape[1] > 1\n"
        "        n = x3.shape[1]\n"
        "        x3 = self.inner.fc(x3)\n"
        "        assert n != 6\n"
        "        x = x[:, :1]\n"
        "        assert x.shape[1] <= 1\n"
        "        return [x2.sum(1), x3.sum(1), x.sum(1)]"
    )


def test_a_length_that_returns_early_and_names_that_not_all_calls_read():
    def forward(self, x):
        B, N, C = x.shape
        if N == 1:
            return self.fc(x)
        if N > 4 and B > 1:
            x = x[:, : N // 2]
            N = x.shape[1]
        return (self.fc(x) * (C / N)).mean(1, keepdim=True)

    assert lengths_decide(forward, 6, 1, 3) == (
        "    def forward(self, x):\n"
        "        B, N, C = x.shape\n"
        "        if N == 1:\n"
        "            return self.fc(x)\n"
        "        if N > 4:\n"
        "            assert B > 1\n"
        "            x = x[:, : N // 2]\n"
        "            N = x.shape[1]\n"
        "        return (self.fc(x) * (C / N)).mean(1, keepdim=True)"
    )


def test_a_name_that_one_call_has_for_something_else_is_not_bound_for_it():
    """Whoever needs no ``C`` of the shape may have a ``C`` of its own."""

    def forward(self, x):
        C = self.fc(x).sum()
        if x.shape[1] > 4:
            B, N, C = x.shape
            return x * C + B
        B, N, _ = x.shape
        return x * C + N + B

    lengths_decide(forward, 6, 3)


def test_a_length_whose_name_is_another_value_once_it_decides():
    def forward(self, x):
        long = x.shape[1] > 3
        x = self.fc(x).flatten(1)[:, None]
        return x * 2 if long else x

    assert lengths_decide(forward, 6, 2) == (
        "    def forward(self, x):\n"
        "        x2 = x[:, :6]\n"
        "        assert x2.shape[1] > 3\n"
        "        x2 = self.inner.fc(x2).flatten(1)[:, None]\n"
        "        x = x[:, :2]\n"
        "        assert x.shape[1] <= 3\n"
        "        x = self.inner.fc(x).flatten(1)[:, None]\n"
        "        return [x2 * 2, x]"
    )


def test_comparisons_that_come_out_together_are_asserted():
    """Where the one is true and the other is not, nobody saw what the module does."""

    def forward(self, x):
        B, N, _ = x.shape
        x = x * 2 if N > 3 else x
        return self.fc(x) if N * B > 8 else x.relu()

    assert lengths_decide(forward, 6, 2) == (
        "    def forward(self, x):\n"
        "        B, N, _ = x.shape\n"
        "        if N > 3:\n"
        "            x = x * 2\n"
        "            assert N * B > 8\n"
        "            return self.fc(x)\n"
        "        assert N * B <= 8\n"
        "        return x.relu()"
    )


def test_comparisons_of_which_not_all_outcomes_are_seen_together_stand_in_the_forward_around():
    def forward(self, x):
        x = x * 2 if x.shape[1] > 3 else x
        return self.fc(x) if x.shape[1] > 4 else x.relu()

    text = lengths_decide(forward, 6, 4, 2)
    assert text.count("assert") == 6
    assert text.endswith("        return [self.inner.fc(x2), x3.relu(), x.relu()]")


def test_a_length_and_an_argument_that_are_not_seen_together_stand_in_the_forward_around():
    def forward(self, x, flag=False):
        return self.fc(x) if x.shape[1] > 1 and flag else x.relu()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Levels(forward).inner

        def forward(self, x):
            return self.inner(x, True), self.inner(x[:, :1], True), self.inner(x[:, :1])

    text = class_text(converted(Net(), X).source, "Net")
    assert text.count("self.inner.fc(") == 1
    assert text.count("assert") == 3


def test_instances_of_a_class_that_lengths_tell_apart_stay_apart():
    """What else differs between them may decide as well."""

    class Crop(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(x[:, :3] if x.shape[1] > 3 else x)

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Crop(), Crop()

        def forward(self, x):
            return self.first(x) + self.second(x[:, :3])

    source = converted(Pair(), images(2, 6, 4)).source
    assert "class Crop2(Module):" in source
    assert "assert x.shape[1] > 3" in source
    assert "assert x.shape[1] <= 3" in source


def test_a_dynamic_length_that_decides_is_asked_of_its_range():
    def forward(self, x):
        return self.fc(x) * 2 if x.shape[1] > 3 else self.fc(x)

    text = lengths_decide(forward, 6, 2, dynamic={"x": (2, trtnn.Dim("n", 4, 6, 9), 4)})
    assert "if x.shape[1] > 3:" in text
    model = Levels(forward, None, 2).eval()
    with pytest.raises(trtnn.errors.ShapeError, match="whether n > 3 is known only when the network runs") as caught:
        trtnn.from_torch(model, images(2, 6, 4), dynamic={"x": (2, trtnn.Dim("n", 2, 6, 9), 4)}, verify=False).trace()
    assert "n is 2 to 9" in str(caught.value)


class Joined(nn.Module):
    """Takes tensors of any number of dimensions, as the layers of einops do, and what it computes of lengths."""

    def forward(self, x, n=1):
        *batch, a, b = x.shape
        return x.reshape(*batch, a * b // n, n), a * b


class Ranks(nn.Module):
    def __init__(self):
        super().__init__()
        self.join, self.fc = Joined(), nn.Linear(3, 3)

    def forward(self, x):
        y, n = self.join(self.fc(x))
        z, m = self.join(y[:, None] * 2, n // 3)
        return z, y + m


class Several(nn.Module):
    """Layers of one class, each with a module that is called in several ways."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Ranks() for _ in range(2))

    def forward(self, x):
        return [layer(x) for layer in self.layers]


def test_a_module_for_tensors_of_several_ranks_stands_in_the_forward_around():
    dim = trtnn.Dim("n", 1, 2, 5)
    result = trtnn.from_torch(Several().eval(), images(2, 4, 3), dynamic=dim)
    assert "Joined" not in result.source
    assert "        z = x.reshape(x.shape[0], x.shape[1], a * b // n, n)\n" in class_text(result.source, "Ranks")
    model = Several().eval()
    result.load_state_dict(model.state_dict())
    for n in (1, 5):
        x = images(n, 4, 3)
        for ours, theirs in zip(result.trace().run(x.numpy()), model(x), strict=True):
            for a, b in zip(ours, theirs, strict=True):
                assert_close(a, b, 1e-5)
