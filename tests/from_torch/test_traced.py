"""Modules of torch.jit.trace: their classes, variables and lines are the author's; control flow is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import trtnn
from tests.from_torch.models import OPERATIONS, OneMemory, Operation, images, make
from tests.helpers import assert_close, message_of
from trtnn.errors import ArgumentError, UnsupportedError, VerificationError
from trtnn.from_torch.graphs import torchscript

# torch says that TorchScript is at its end, and of each length that a trace keeps as a number.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")

NAMES = (
    "residual",
    "transformer",
    "dense",
    "tied",
    "shared",
    "buffers",
    "in place",
    "passes",
    "wrapped",
    "stage",
    "names",
)


def traced(name: str):
    model, args, _ = make(name)
    return model, torch.jit.trace(model, args), args


@pytest.mark.parametrize("name", NAMES)
def test_it_computes_what_torch_does(name):
    model, trace, args = traced(name)
    converted = trtnn.from_torch(trace, *args)
    assert converted.source.startswith(f'"""{type(model).__name__}, converted from tests.from_torch.models.')
    with torch.no_grad():
        assert_close(converted.trace().run(*(tensor.numpy() for tensor in args)), model(*args), 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_checkpoint_of_the_module_loads(name):
    model, trace, args = traced(name)
    converted = trtnn.from_torch(trace, *args, verify=False)
    converted.load_state_dict(model.state_dict(), strict=name not in ("shared", "buffers"))
    converted.load_state_dict(trace.state_dict())  # with one name for one module, and all buffers


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_that_a_trace_has_otherwise(name):
    x, model = images(2, 3, 7, 6), Operation(name)
    network = trtnn.from_torch(torch.jit.trace(model.eval(), x), x).trace()
    other = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(3))
    assert_close(network.run(other.numpy()), model(other), 1e-5)


class Attends(nn.Module):
    """A shared MLP, a block that is called twice, and an Identity, as channel attention has them."""

    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.Conv2d(4, 2, 1), nn.Identity(), nn.ReLU(), nn.Conv2d(2, 4, 1))
        self.block, self.skip = Scales(), nn.Identity()
        self.fuse = nn.ModuleList([nn.ModuleList([nn.Conv2d(4, 4, 1), None]), nn.ModuleList([None, Scales()])])

    def forward(self, x):
        weights = self.mlp(F.adaptive_avg_pool2d(x, 1)) + self.mlp(F.adaptive_max_pool2d(x, 1))
        x = self.skip(self.block(self.block(x)) * weights.sigmoid())
        return self.fuse[0][0](x) + self.fuse[1][1](x)


class Scales(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.conv, self.drop = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.Identity()

    def forward(self, x):
        return x + self.drop(self.conv(self.norm(x))).relu()


def test_what_is_called_twice_is_called_twice():
    torch.manual_seed(0)
    model, x = Attends().eval(), images(2, 4, 5, 5)
    converted = trtnn.from_torch(torch.jit.trace(model, x), x)
    assert "self.mlp = Sequential(Conv2d(4, 2, 1), Identity(), ReLU(), Conv2d(2, 4, 1))" in converted.source
    assert converted.source.count("self.mlp(") == 2
    assert "self.block(self.block(x))" in converted.source
    with torch.no_grad():
        assert_close(converted.trace().run(x.numpy()), model(x), 1e-5)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_weights_that_a_norm_computes(norm):
    """A hook computes them around the module, which its trace is given them as an argument."""
    torch.manual_seed(0)
    model, x = (
        nn.Sequential(nn.Conv2d(3, 4, 3), norm(nn.Conv2d(4, 4, 1)), norm(nn.Conv2d(4, 2, 1))).eval(),
        images(2, 3, 5, 5),
    )
    network = trtnn.from_torch(torch.jit.trace(model, x), x).trace()
    with torch.no_grad():
        assert_close(network.run(x.numpy()), model(x), 1e-5)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, *gradients):
        return gradients


def test_a_function_with_a_gradient_of_its_own():
    trace = torch.jit.trace(lambda x: Doubled.apply(x) + 1, images(2, 3))
    said = message_of(ArgumentError, trtnn.from_torch, trace, images(2, 3))
    assert "a torch.autograd.Function in the model's own forward, whose operations a trace does not hold" in said
    assert "test_traced.py" in said


class Differs(nn.Module):
    """What a block is called with the second time is of another shape, which its trace keeps."""

    def __init__(self):
        super().__init__()
        self.rows = nn.Sequential(Rows())

    def forward(self, x):
        return self.rows(x), self.rows(x[:, :2])


class Rows(nn.Module):
    def forward(self, x):
        return x + torch.zeros(x.shape[1:]).add(len(x.shape) + x.shape[1])


def test_a_second_call_that_does_something_else():
    model, x = Differs().eval(), images(2, 4, 3)
    network = trtnn.from_torch(torch.jit.trace(model, x), x).trace()
    assert_close(network.run(x.numpy()), model(x), 1e-5)


def test_the_source_is_as_the_author_wrote_it():
    _, trace, args = traced("transformer")
    source = trtnn.from_torch(trace, *args).source
    assert (
        "    def forward(self, x):\n"
        "        B, N, C = x.shape\n"
        "        qkv = self.qkv(x).reshape(B, N, 3, 4, C // 4).permute(2, 0, 3, 1, 4)\n"
        "        q, k, v = qkv.unbind()\n"
        "        attn = q * 0.5 @ k.transpose(-2, -1)\n"
        "        attn = attn.softmax(-1)\n"
        "        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))\n"
    ) in source
    assert "self.blocks = ModuleList(Layer() for _ in range(3))" in source
    assert "for block in self.blocks[1:]:" in source
    assert "self.mlp = Sequential(Linear(16, 32), GELU(), Linear(32, 16))" in source


def test_modules_of_torchs_own_are_its_own():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    ).eval()
    x = images(1, 3, 12, 12)
    source = trtnn.from_torch(torch.jit.trace(model, x), x).source
    assert source.count("class ") == 1
    for line in (
        "Conv2d(3, 4, 3)",
        "MaxPool2d(3, stride=2, padding=1)",
        "MaxPool2d(2, ceil_mode=True)",
        "ReLU()",
        "AdaptiveAvgPool2d(1)",
    ):
        assert line in source


def test_a_dynamic_batch():
    model, trace, args = traced("transformer")
    converted = trtnn.from_torch(trace, *args, dynamic=trtnn.Dim("batch", 1, 2, 8))
    other = images(5, 3, 16, 16)
    with torch.no_grad():
        assert_close(converted.trace().run(other.numpy()), model(other), 1e-5)


def test_one_that_was_saved(tmp_path):
    model, trace, args = traced("residual")
    trace.save(tmp_path / "net.pt")
    converted = trtnn.from_torch(torch.jit.load(tmp_path / "net.pt"), *args)
    with torch.no_grad():
        assert_close(converted.trace().run(*(tensor.numpy() for tensor in args)), model(*args), 1e-5)


def test_it_is_compared_with_the_trace_itself(monkeypatch):
    trace = torch.jit.trace(lambda x: x - 2, images(2, 3))
    monkeypatch.setitem(torchscript._SIGNS, "sub", "+")
    with pytest.raises(VerificationError, match="on the example output differs from torch's"):
        trtnn.from_torch(trace, images(2, 3))


def test_what_a_trace_computes_of_lengths():
    def function(x):
        n, rows = x.shape[1] / 2, x.shape[0]
        y = x.t().contiguous()
        y.mul_(2)
        y[:, 0] += 1
        return (
            x[:, : int(n)] * 3,
            y[int(x.shape[1] * 0.5) :].reshape(-1, rows),
            x[:, [0, 2]] - rows,
            torch.add(x, x, alpha=2),
        )

    x, other = images(2, 6), images(5, 6)
    converted = trtnn.from_torch(torch.jit.trace(function, x), x, dynamic=trtnn.Dim("batch", 2, 2, 8))
    assert_close(converted.trace().run(other.numpy()), function(other), 1e-6)


def test_a_function():
    def soft_cap(x, y):
        top, _ = (torch.tanh(x / 5) * 5 + y).topk(2, dim=1)
        return top, x.to(torch.float64).mean((0, 1), keepdim=True)

    args = (images(2, 3), images(3))
    converted = trtnn.from_torch(torch.jit.trace(soft_cap, args), *args)
    assert "class SoftCap(Module)" in converted.source
    top, mean = soft_cap(*args)
    assert_close(converted.trace().run(*(tensor.numpy() for tensor in args)), (top, mean.float()), 1e-5)


def test_what_is_missing_is_told_with_the_authors_line():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 4), Odd())

        def forward(self, x):
            return self.inner(x)

    class Odd(nn.Module):
        def forward(self, x):
            x = x + 1
            return torch.linalg.svdvals(x) * 2  # here

    with pytest.raises(UnsupportedError) as caught:
        trtnn.from_torch(torch.jit.trace(Model().eval(), images(4, 4)), images(4, 4))
    said = str(caught.value)
    assert "Model takes what is not there\n  torch.ops.aten.linalg_svdvals: once, in inner.1: " in said
    assert f"{__file__}:" in said
    assert "# here" in said


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        if x.sum() > 0:  # here
            x = self.fc(x)
        return x


def test_control_flow_of_a_script():
    with pytest.raises(ArgumentError) as caught:
        trtnn.from_torch(torch.jit.script(Branches().eval()), images(2, 4))
    said = str(caught.value)
    assert "prim::If in the model's own forward: of torch.jit.script, whose control flow no trace shows" in said
    assert "if x.sum() > 0:  # here" in said
    assert "give the nn.Module that it was made of, or torch.export.export of that" in said


def test_a_trace_in_training():
    with pytest.raises(UnsupportedError, match="in training mode"):
        trtnn.from_torch(torch.jit.trace(nn.Sequential(nn.Linear(4, 4)), images(2, 4)), images(2, 4))


class Around(nn.Module):
    """A module with traces within, one of them in two places."""

    def __init__(self, part):
        super().__init__()
        self.pre = nn.Linear(4, 4)
        self.part = part
        self.rows = nn.ModuleList([nn.Sequential(nn.Tanh(), part), nn.Linear(4, 2)])

    def forward(self, x):
        x = self.part(self.pre(x))
        for row in self.rows:
            x = row(x)
        return x


def test_traces_within_a_model():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4)).eval()
    model = Around(torch.jit.trace(inner, torch.rand(2, 4))).eval()
    parts = [type(module) for module in model.modules()]
    result = trtnn.from_torch(model, torch.rand(2, 4), dynamic=trtnn.Dim("batch", 1, 2, 8))
    assert parts == [type(module) for module in model.modules()]  # the model stays as it is
    assert set(result.state_dict()) == set(model.state_dict())
    x = torch.rand(5, 4) - 0.5
    assert_close(result.trace().run(x.numpy()), model(x), 1e-5)
    with torch.no_grad():
        inner[0].weight.mul_(-2)  # which the trace shares
    result.load_state_dict(model.state_dict())
    assert_close(result.trace().run(x.numpy()), model(x), 1e-5)


def test_control_flow_of_a_script_within_a_model_is_told_where_it_is_called():
    model = Around(torch.jit.script(Branches())).eval()
    said = message_of(ArgumentError, trtnn.from_torch, model, torch.rand(2, 4))
    assert said.startswith("prim::If in part: of torch.jit.script, whose control flow no trace shows")
    assert "give the nn.Module that it was made of" in said
    model.forward = model.pre.forward
    x = torch.rand(2, 4)
    assert_close(trtnn.from_torch(model, x).trace().run(x.numpy()), model(x), 1e-5)


def test_tensors_that_lie_in_one_place():
    """By addresses, shapes and strides alone they were one."""
    model, x = OneMemory().eval(), images(2, 4)
    network = trtnn.from_torch(torch.jit.trace(model, x), x).trace()
    assert_close([*network.run((x - 1).numpy())], [*model(x - 1)], 1e-6)
