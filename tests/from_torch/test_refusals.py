"""What no network can do is refused with the operation, the module's path and the user's line; never silently wrong."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import trtnn
from tests.from_torch.models import Residual, images
from tests.helpers import assert_close
from trtnn.errors import ArgumentError, ShapeError, UnsupportedError, VerificationError

X = images(2, 4)


class Holder(nn.Module):
    """Calls a function in the forward of an inner module."""

    class Inner(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function
            self.register_buffer("table", torch.ones(4))
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x):
            return self.function(self, x)

    def __init__(self, function):
        super().__init__()
        self.inner = self.Inner(function)

    def forward(self, x):
        return self.inner(x)


def refusal(function, *inputs, model=None, **options) -> str:
    with pytest.raises(UnsupportedError) as caught:
        trtnn.from_torch(model or Holder(function).eval(), *(inputs or (X,)), **options)
    return str(caught.value)


def _item(self, x):
    return x * x.max().item()  # here


def _truth(self, x):
    return x if x.sum() > 0 else -x  # here


def _loop(self, x):
    while x.abs().max() > 1:  # here
        x = x / 2
    return x


def _mask(self, x):
    return x[x > 0].sum()  # here


def _nonzero(self, x):
    return x.nonzero()[:1].float()  # here


def _where(self, x):
    return torch.where(x > 0)[0]  # here


def _numpy(self, x):
    return x + torch.from_numpy(np.sin(x.numpy()))  # here


def _array(self, x):
    return x + float(np.asarray(x).max())  # here


def _tolist(self, x):
    return x * x[0, 0].tolist()  # here


def _float(self, x):
    return x * float(x[0, 0])  # here


def _constant(self, x):
    self.table[0] = x[0, 0]  # here
    return x * self.table


def _counter(self, x):
    self.table += 1  # here
    return x * self.table


def _random(self, x):
    return x + torch.randn(2, 4)  # here


def _dropout(self, x):
    return F.dropout(x, 0.5, training=True)  # here


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, of script modules
    _scripted = torch.jit.script(nn.ReLU())


def _script(self, x):
    return _scripted(x)  # here


def _within(self, x):
    part = x[:, :2].t()
    part.mul_(2)  # here
    return x


CASES = {
    _item: r"torch\.Tensor\.item: once, in inner",
    _truth: r"torch\.Tensor\.__bool__: once, in inner",
    _loop: r"torch\.Tensor\.__bool__: \d+ times, in inner",
    _mask: r"torch\.Tensor\.__getitem__ of a mask: once, in inner",
    _nonzero: r"torch\.Tensor\.nonzero: once, in inner",
    _where: r"where of a mask: once, in inner",
    _numpy: r"torch\.Tensor\.numpy: once, in inner",
    _array: r"torch\.Tensor\.__array__: once, in inner",
    _tolist: r"torch\.Tensor\.tolist: once, in inner",
    _float: r"torch\.Tensor\.__float__: once, in inner",
    _constant: r"__setitem__: once, in inner: it changes inner\.table in place",
    _counter: r"(__iadd__|add_): once, in inner: it changes inner\.table in place",
    _random: r"aten\.randn\S*: once, in inner: an engine draws no random numbers",
    _dropout: r"dropout|bernoulli_",
    _script: r"aten\S*relu\S*: once, in inner: it runs where it cannot be recorded, such as in a script module",
}


@pytest.mark.parametrize("function", CASES, ids=lambda function: function.__name__)
def test_it_says_what_where_and_at_which_line(function):
    said = refusal(function)
    assert re.search(CASES[function], said), said
    first = function.__code__.co_firstlineno
    lines = Path(__file__).read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if text.endswith("# here") and number > first)
    assert f"{__file__}:{line}, in {function.__name__}" in said


def test_a_view_that_is_written_through_is_refused_with_its_line():
    said = refusal(_within)
    assert "shares memory with one that was changed in place" in said


def test_all_missing_operations_are_told_at_once():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(Holder(lambda self, x: torch.linalg.svdvals(x)[:, None] * x) for _ in range(5))

        def forward(self, x):
            for part in self.parts:
                x = part(x)
            return torch.special.i0(x)

    said = refusal(None, images(4, 4), model=Model().eval())
    assert "torch.linalg.svdvals: 5 times, in parts.0.inner, parts.1.inner, parts.2.inner and 2 more" in said
    assert re.search(r"special\S*i0: once, in the model's own forward", said)
    assert said.count(__file__) == 2


def test_the_parts_that_convert_are_named():
    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Residual()
            self.head = nn.Sequential(nn.Linear(5, 5), Holder(_mask))

        def forward(self, x):
            return self.head(self.backbone(x))

    said = refusal(None, images(1, 3, 8, 8), model=Detector().eval())
    assert "parts without it: backbone: from_torch(model.backbone, ...)" in said


def test_training_mode():
    with pytest.raises(UnsupportedError, match=r"in training mode: the model's own forward, stem, .* and \d+ more"):
        trtnn.from_torch(Residual(), images(1, 3, 8, 8))


def test_hooks():
    model = Residual().eval()
    model.stem.register_forward_hook(lambda module, args, output: output * 2)
    said = refusal(None, images(1, 3, 8, 8), model=model)
    assert "a hook of Conv2d: once, in the model's own forward: stem has one that does more than look; remove" in said


def test_a_hook_that_only_looks():
    model, seen = Residual().eval(), []
    model.stem.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    model.layer1.register_forward_pre_hook(lambda module, args: seen.append(len(args)))
    trtnn.from_torch(model, images(1, 3, 8, 8))
    assert len(seen) >= 2
    assert len(model.stem._forward_hooks) == 1


def test_a_module_that_changes_itself():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    said = refusal(None, model=Counts().eval())
    assert "Counts changes itself in forward" in said
    assert "calls was 1 and is 2" in said


def test_a_state_that_goes_from_call_to_call():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = {"hidden": torch.zeros(2, 4)}
            self.seen = None

        def forward(self, x):
            self.seen = x * 2  # which nobody reads
            self.last["hidden"] = torch.tanh(x + self.last["hidden"])
            return self.last["hidden"]

    said = refusal(None, model=Keeps().eval())
    assert (
        "Keeps changes itself in forward, and an engine stays as it is\n  last['hidden'] was a tensor and is a" in said
    )
    assert "seen" not in said


class Averages(nn.Module):
    """Keeps an average in one of the ways in which people do it, and counts its calls."""

    def __init__(self, way):
        super().__init__()
        self.way, self.calls, self.seen = way, 0, []
        self.fc = nn.Linear(4, 4)
        self.register_buffer("mean", torch.ones(4))

    def forward(self, x):
        y = self.fc(x)
        if self.way == "in place":
            self.mean.mul_(0.9).add_(y.mean(0), alpha=0.1)
        elif self.way == "a part":
            self.mean[:2] = y.mean(0)[:2]
        else:
            self.mean = 0.9 * self.mean + 0.1 * y.mean(0)
        if self.way == "fails":
            raise KeyError("five")
        self.calls += 1
        self.seen.append(1)
        return y - self.mean


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("in place", "calls was 1 and is 2\n"),
        ("a part", "seen[1] was not there, and is 1\n"),
        ("anew", "mean was a tensor and is another one\n"),
        ("fails", "KeyError: 'five'"),
    ],
)
def test_a_module_that_is_refused_is_left_as_it_was(way, words):
    model = Averages(way).eval()
    mean = model.mean
    with pytest.raises((UnsupportedError, ArgumentError)) as caught:
        trtnn.from_torch(model, X)
    assert words in str(caught.value)
    assert model.mean is mean
    assert torch.equal(mean, torch.ones(4))
    assert (model.calls, model.seen) == (0, [])


def test_what_a_cache_holds_is_needed_of_every_checkpoint():
    class Caches(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias, self.cache = nn.Parameter(torch.rand(4)), {}

        def forward(self, x):
            if "bias" not in self.cache:
                self.cache["bias"] = self.bias.exp()
            return x + self.cache["bias"]

    model = Caches().eval()
    assert "self.bias.exp()" in trtnn.from_torch(model, X).source
    source = trtnn.from_torch(model, X).source
    assert "self.constant = Buffer(4)\n" in source  # of a call before, and not optional


def test_what_is_made_in_the_first_call_and_kept_is_a_constant():
    class Caches(nn.Module):
        def __init__(self):
            super().__init__()
            self.length = None

        def forward(self, x):
            if self.length is None:
                self.length = 4
            return x * self.length

    assert "x * 4" in trtnn.from_torch(Caches().eval(), X).source.replace("self.length", "4")


def test_no_example():
    with pytest.raises(ArgumentError, match=r"needs an example of each input\n.*forward takes: x"):
        trtnn.from_torch(Residual().eval())


def test_an_example_of_the_wrong_shape():
    with pytest.raises(ArgumentError, match=r"torch's own forward raised RuntimeError: .*channels") as caught:
        trtnn.from_torch(Residual().eval(), images(1, 4, 8, 8))
    assert "models.py:" in str(caught.value)


def test_weights_and_examples_without_numbers():
    with pytest.raises(ArgumentError) as caught:
        trtnn.from_torch(Residual().eval().to("meta"), images(1, 3, 8, 8))
    said = str(caught.value)
    assert "Residual's stem.weight, stem.bias, layer1.0.conv1.weight and " in said
    assert " more are on torch's meta device, which holds no numbers" in said
    assert "model.to_empty(device='cpu') and load_state_dict give it weights" in said
    with pytest.raises(ArgumentError, match=r"the example is on torch's meta device.*\n  give tensors with numbers"):
        trtnn.from_torch(Residual().eval(), images(1, 3, 8, 8).to("meta"))


def test_an_example_without_elements():
    said = r"an input of the example has no elements: it is of shape \(0, 3, 8, 8\)\n  TensorRT has no tensors without"
    with pytest.raises(UnsupportedError, match=said):
        trtnn.from_torch(Residual().eval(), images(0, 3, 8, 8))


def test_what_is_no_module():
    with pytest.raises(ArgumentError, match=r"a torch module or a function, not <class .*\n.*from_torch\(Net\(\), x\)"):
        trtnn.from_torch(Residual, X)
    with pytest.raises(ArgumentError, match="a torch module or a function, not 3"):
        trtnn.from_torch(3, X)


def test_a_dynamic_length_that_a_branch_depends_on():
    def forward(self, x):
        if x.shape[0] > 2:  # here
            return x * 2
        return x

    said = refusal(forward, dynamic=trtnn.Dim("batch", 1, 2, 8))
    assert "Holder does something else where lengths are others\n  with x of (3, 4)" in said
    assert "in inner a comparison of lengths comes out otherwise: " in said
    assert "if x.shape[0] > 2:  # here" in said


def test_a_dynamic_length_that_a_branch_depends_on_beyond_the_second_example():
    def forward(self, x):
        return x * 2 if x.shape[0] <= 6 else x  # here

    with pytest.raises(ShapeError, match=r"whether batch <= 6 is known only when the network runs") as caught:
        trtnn.from_torch(Holder(forward).eval(), X, dynamic=trtnn.Dim("batch", 1, 2, 8))
    assert "return x * 2 if x.shape[0] <= 6 else x  # here" in str(caught.value)
    static = trtnn.from_torch(Holder(forward).eval(), X)
    assert "assert x.shape[0] <= 6" in static.source
    with pytest.raises(ShapeError, match="whether batch <= 6"):
        static.trace({"x": (trtnn.Dim("batch", 1, 2, 8), 4)})


def test_a_dynamic_length_that_python_counts_to():
    said = refusal(lambda self, x: sum(x[i] for i in range(x.shape[0])), dynamic=trtnn.Dim("batch", 1, 2, 8))
    assert "does something else where lengths are others" in said


@pytest.mark.parametrize(
    "function",
    [
        lambda self, x: x.repeat(x.shape[0] & 6, 1),
        lambda self, x: x.repeat(*map(int, (x.shape[0] * 0.5, 1))),
        lambda self, x: x * (1 if (x.shape[0] / 4).is_integer() else 2),
        lambda self, x: x + round(8 * x.shape[0], -1),
    ],
    ids=["masked", "mapped", "asked", "rounded"],
)
def test_a_dynamic_length_that_python_takes_as_a_plain_number(function):
    """The nearest other length, 3, gives the same numbers as the example's 2, but for the last; 4 does not."""
    said = refusal(function, dynamic=trtnn.Dim("batch", 1, 2, 8))
    assert "does something else where lengths are others" in said
    assert "in inner a length is taken as a plain number: " in said
    assert "lambda self, x: x" in said


def test_dynamic_shapes_that_do_not_fit():
    with pytest.raises(ArgumentError, match=r"the example of x has shape \(2, 4\), which is none of"):
        trtnn.from_torch(Holder(lambda self, x: x * 2).eval(), X, dynamic={"x": (trtnn.Dim("n", 3, 3, 3), 4)})
    with pytest.raises(ArgumentError, match=r"dynamic names 'y', which is no input\n.*the inputs: x"):
        trtnn.from_torch(Holder(lambda self, x: x * 2).eval(), X, dynamic={"y": (2, 4)})


def test_a_wrong_converter_is_caught_by_the_comparison():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.i0(x)

    trtnn.from_torch.converter(torch.special.i0)(lambda input: f"F.exp({input})")
    try:
        with pytest.raises(VerificationError, match=r"on the example output differs from torch's by"):
            trtnn.from_torch(Odd().eval(), X)
    finally:
        from trtnn.from_torch.operations.converters import _REGISTERED

        del _REGISTERED[torch.special.i0]


def test_weights_that_a_call_puts_in_place():
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            other = {"weight": self.linear.weight * 2}
            return torch.func.functional_call(self.linear, other, (x,)) + self.linear(x)  # here

    said = refusal(None, model=Doubled().eval())
    assert "Linear, whose weight is put in its place for the call" in said
    assert "# here" in said


@pytest.mark.parametrize("name", ["vmap", "grad", "jacrev"])
def test_transforms_of_functions(name):
    def function(self, x):
        if name == "vmap":
            return torch.vmap(torch.dot)(x, x + 1)[:, None] * x  # here
        return getattr(torch.func, name)(lambda r: (r * r).sum())(x)  # here

    said = refusal(function)
    assert re.search(f"torch.func.{'vmap' if name == 'vmap' else 'grad'}: .* in inner: it calls a function with", said)
    assert "# here" in said


def test_a_transform_of_constants():
    def function(self, x):
        mask = torch.vmap(lambda i: torch.arange(4) <= i)(torch.arange(4))
        return x.masked_fill(~mask[:2], 0.0)

    converted = trtnn.from_torch(Holder(function).eval(), X)
    np.testing.assert_array_equal(converted.trace().run(X.numpy()), function(None, X))


def test_branches_of_torch():
    def function(self, x):
        return torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x, (x,))  # here

    said = refusal(function)
    assert "torch.cond: in inner: which way it goes is known only when it runs" in said
    assert "# here" in said


def test_of_several_operations_in_a_line_the_one_that_is_refused_is_told():
    def function(self, x):
        return (x.exp() + torch.logspace(0, 1, x.shape[0])[:, None]).relu() * 2  # here

    with pytest.raises(trtnn.TrtnnError) as caught:
        trtnn.from_torch(Holder(function).eval(), X, dynamic=trtnn.Dim("n", 1, 2, 9))
    assert "recorded in inner, of torch's logspace" in str(caught.value)
    assert "# here" in str(caught.value)


def test_autocast():
    def function(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return x @ x.mT  # here

    said = refusal(function)
    assert "autocast: 2 times, in inner" in said
    assert "# here" in said


def test_autocast_that_is_off():
    def function(self, x):
        with torch.autocast("cpu", enabled=False):
            return x.float() @ self.weight

    trtnn.from_torch(Holder(function).eval(), X)


def test_complex_weights():
    def function(self, x):
        return torch.view_as_real(torch.view_as_complex(x.reshape(-1, 2, 2)) * self.turn)  # here

    model = Holder(function).eval()
    model.inner.register_buffer("turn", torch.tensor([1 + 1j, 2j]))
    said = refusal(None, torch.rand(2, 4), model=model)
    assert "a complex weight" in said
    assert "in inner" in said
    assert "# here" in said


def test_an_output_that_shares_memory_with_what_was_changed():
    def function(self, x):
        x = x * 2
        view = x.t()
        view[0] = 1
        return x, view

    said = refusal(function)
    assert "shares memory" in said
    assert "view[0] = 1" in said


def test_a_dynamic_length_that_a_returned_operation_wants_plain():
    def function(self, x):
        return x + torch.logspace(0, 1, x.shape[0])[:, None]  # here

    with pytest.raises(trtnn.TrtnnError) as caught:
        trtnn.from_torch(Holder(function).eval(), X, dynamic=trtnn.Dim("n", 1, 2, 9))
    assert "recorded in inner" in str(caught.value)
    assert "# here" in str(caught.value)


class Named(nn.Module):
    """Members with the names of what trtnn's modules have, and torch's have not."""

    def __init__(self, *names):
        super().__init__()
        self.names = names
        for i, name in enumerate(names):
            setattr(self, name, (nn.Linear(4, 4), nn.Parameter(torch.randn(4)))[i % 2])

    def forward(self, x):
        for name in self.names:
            member = getattr(self, name)
            x = member(x) if isinstance(member, nn.Module) else x * member
        return x


@pytest.mark.parametrize("name", ["trace", "inputs", "metadata", "source", "_state"])
def test_names_that_trtnns_modules_need(name):
    with pytest.raises(ArgumentError) as caught:
        trtnn.from_torch(Named(name).eval(), X)
    assert str(caught.value).startswith(f"the model has a member named {name!r}, which trtnn's modules have for")
    assert ("or convert a module that holds this one" in str(caught.value)) is (name != "_state")


def test_within_a_model_names_are_free_of_what_is_asked_of_the_model():
    torch.manual_seed(0)
    model = nn.Sequential(Named("trace", "inputs", "metadata", "source")).eval()
    result = trtnn.from_torch(model, X)
    assert set(result.state_dict()) == set(model.state_dict())
    assert_close(result.trace().run(X.numpy()), model(X), 1e-5)
    with pytest.raises(ArgumentError, match="0 has a member named '_walk', which"):
        trtnn.from_torch(nn.Sequential(Named("_walk")).eval(), X)


class TakesNumbers(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("is_ready", torch.tensor(True))
        self.register_buffer("unread", torch.tensor(3.0))

    def forward(self, x):
        if self.is_ready:
            x = x / float(self.scale)  # here
        x = self.fc(x)
        return x if self.fc.weight.detach().abs().max() > 1e9 else x * float(torch.tensor(2.0))


def test_numbers_of_weights_that_stay_in_the_source_are_told():
    with pytest.warns(UserWarning, match="Python takes numbers of is_ready, scale, fc.weight, and what it") as caught:
        trtnn.from_torch(TakesNumbers().eval(), X)
    (said,) = [str(warning.message) for warning in caught if "Python takes numbers" in str(warning.message)]
    assert "convert a model with the weights that are meant" in said
    assert "x = x / float(self.scale)  # here" in said
    assert said.count(__file__) == 3  # and none of the constant


def test_a_number_that_knows_its_parameter_stays_in_the_source_as_that():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, x):
            return x * self.scale.item()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = trtnn.from_torch(Scaled().eval(), X)
    result.load_state_dict({"scale": np.float32(-3)})
    assert_close(result.trace().run(X.numpy()), X * -3, 1e-6)


def test_a_forward_that_gives_something_else_each_time():
    numbers = np.random.default_rng(0)

    class Draws(nn.Module):
        def forward(self, x):
            return x * (1 + numbers.random())

    with pytest.raises(VerificationError) as caught:
        trtnn.from_torch(Draws().eval(), X)
    assert "torch's own forward gives something else each time, so that nothing can be compared" in str(caught.value)
    assert "a network draws no random numbers, as of NumPy or Python's random" in str(caught.value)
