"""Torch modules converted: the source is read, executed, and compared with torch."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import trtnn
from tests import ROOT
from tests.from_torch.models import CASES, images, make
from tests.helpers import assert_close


def _plain(value):
    """Return what torch gave as the network gives it: dicts for dataclasses, without what is None."""
    if hasattr(value, "__dataclass_fields__"):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (tuple, list)):
        return type(value)(_plain(item) for item in value if item is not None)
    return value


def _inputs(args, kwargs):
    return [leaf for leaf in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_torch_does(name):
    model, args, kwargs = make(name)
    converted = trtnn.from_torch(model, *args, **kwargs)
    with torch.no_grad():
        expected = _plain(model(*args, **kwargs))
    got = converted.trace().run(*(tensor.numpy() for tensor in _inputs(args, kwargs)))
    assert_close(got, expected, 1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_state_dict_is_torchs(name):
    model, args, kwargs = make(name)
    converted = trtnn.from_torch(model, *args, verify=False, **kwargs)
    theirs = {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}
    optional = {key for key, member in converted._state().items() if member.optional}
    assert set(converted.state_dict()) - optional == theirs
    converted.load_state_dict(model.state_dict())


@pytest.mark.parametrize("name", CASES)
def test_the_source_is_as_a_formatter_leaves_it(name, tmp_path):
    model, args, kwargs = make(name)
    source = trtnn.from_torch(model, *args, verify=False, **kwargs).source
    file = tmp_path / "net.py"
    file.write_text(source)
    ruff = shutil.which("ruff", path=str(sys.executable).rpartition("/")[0]) or shutil.which("ruff")
    lint = [ruff, "check", "--isolated", "--line-length=120", "--select=E,F,W,I,B,UP,C4", "--target-version=py310"]
    done = subprocess.run([*lint, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + source
    layout = [ruff, "format", "--isolated", "--line-length=120", "--diff", file]
    done = subprocess.run(layout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["residual", "buffers", "several"])
def test_the_same_model_gives_the_same_bytes(name):
    first, second = (trtnn.from_torch(*make(name)[:1], *make(name)[1], **make(name)[2]).source for _ in range(2))
    assert first == second


def class_text(source: str, name: str) -> str:
    """Return the text of a class, without its docstring."""
    text = source[source.index(f"class {name}(") :].partition("\n\n\n")[0].rstrip()
    before, _, rest = text.partition('    """')
    return before + rest.partition('"""\n\n')[2]


def test_an_optional_child_is_an_argument():
    model, args, _ = make("residual")
    assert class_text(trtnn.from_torch(model, *args).source, "Block") == (
        "class Block(Module):\n"
        "    def __init__(self, in_channels, out_channels, stride=1, downsample=None):\n"
        "        super().__init__()\n"
        "        self.conv1 = Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)\n"
        "        self.bn1 = BatchNorm2d(out_channels)\n"
        "        self.relu = ReLU(inplace=True)\n"
        "        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1, bias=False)\n"
        "        self.bn2 = BatchNorm2d(out_channels)\n"
        "        self.downsample = downsample\n"
        "\n"
        "    def forward(self, x):\n"
        "        identity = x\n"
        "        out = self.conv1(x)\n"
        "        out = self.bn1(out)\n"
        "        out = self.relu(out)\n"
        "        out = self.conv2(out)\n"
        "        out = self.bn2(out)\n"
        "        if self.downsample is not None:\n"
        "            identity = self.downsample(x)\n"
        "        out += identity\n"
        "        return self.relu(out)"
    )


def test_one_class_for_blocks_that_differ_in_children_sizes_and_a_flag():
    model, args, _ = make("mobile")
    source = trtnn.from_torch(model, *args).source
    assert [line for line in source.splitlines() if line.startswith("class ")] == [
        "class NormAct(Module):",
        "class Squeeze(Module):",
        "class Inverted(Module):",
        "class Mobile(Module):",
    ]
    assert class_text(source, "Inverted") == (
        "class Inverted(Module):\n"
        "    def __init__(self, in_channels, act, kernel_size, out_channels, stride=1, se=None, has_skip=False):\n"
        "        super().__init__()\n"
        "        self.has_skip = has_skip\n"
        "        self.conv_pw = Conv2d(in_channels, 3 * in_channels, 1, bias=False)\n"
        "        self.bn1 = NormAct(3 * in_channels, act=act)\n"
        "        self.conv_dw = Conv2d(\n"
        "            3 * in_channels,\n"
        "            3 * in_channels,\n"
        "            kernel_size,\n"
        "            stride=stride,\n"
        "            padding=kernel_size // 2,\n"
        "            groups=3 * in_channels,\n"
        "            bias=False,\n"
        "        )\n"
        "        self.bn2 = NormAct(3 * in_channels, act=act)\n"
        "        self.se = se\n"
        "        self.conv_pwl = Conv2d(3 * in_channels, out_channels, 1, bias=False)\n"
        "        self.bn3 = NormAct(out_channels)\n"
        "\n"
        "    def forward(self, x):\n"
        "        shortcut = x\n"
        "        x = self.bn1(self.conv_pw(x))\n"
        "        x = self.bn2(self.conv_dw(x))\n"
        "        if self.se is not None:\n"
        "            x = self.se(x)\n"
        "        x = self.bn3(self.conv_pwl(x))\n"
        "        if self.has_skip:\n"
        "            x = x + shortcut\n"
        "        return x"
    )


def test_one_class_for_activations_and_branches_that_may_be_there():
    model, args, _ = make("branches")
    source = trtnn.from_torch(model, *args).source
    assert source.count("\nclass ") == 3
    assert class_text(source, "ConvNormAct") == (
        "class ConvNormAct(Sequential):\n"
        "    def __init__(self, in_channels, out_channels, kernel_size, activation=None):\n"
        "        super().__init__(\n"
        "            Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),\n"
        "            BatchNorm2d(out_channels),\n"
        "            *([activation] if activation is not None else []),\n"
        "        )"
    )
    assert class_text(source, "Block").partition("    def forward")[2] == (
        "(self, x):\n"
        "        if self.identity is not None:\n"
        "            identity = self.identity(x)\n"
        "        x = self.wide(x) + self.narrow(x)\n"
        "        if self.identity is not None:\n"
        "            x += identity\n"
        "        return F.relu(x)"
    )
    assert "self.auxiliary = Block(6, identity=BatchNorm2d(6))" in source  # which nobody calls


def test_a_line_depends_on_the_child_that_all_have_who_have_the_line():
    class Block(nn.Module):
        def __init__(self, act, extra):
            super().__init__()
            self.fc, self.act, self.extra = nn.Linear(4, 4), act, extra

        def forward(self, x):
            x = self.fc(x)
            if self.act is not None:
                x = self.act(x)
            if self.extra is not None:
                side = self.extra(x)
                x = side - x
            return x

    blocks = [(nn.GELU(), nn.LayerNorm(4)), (None, nn.LayerNorm(4)), (None, None), (nn.GELU(), None)]
    for order in itertools.permutations(blocks):
        model, x = nn.Sequential(*(Block(*children) for children in order)).eval(), images(2, 4)
        converted = trtnn.from_torch(model, x)
        with torch.no_grad():
            assert_close(converted.trace().run(x.numpy()), model(x), 1e-5)
        assert (
            "        if self.extra is not None:\n            side = self.extra(x)\n            x = side - x\n"
            in converted.source
        )


def test_two_widths_that_a_block_goes_through_have_two_names():
    class Bottleneck(nn.Module):
        def __init__(self, inside, middle, out):
            super().__init__()
            self.first, self.last = nn.Conv2d(inside, middle, 1), nn.Conv2d(middle, out, 1)

        def forward(self, x):
            return self.last(torch.relu(self.first(x)))

    model = nn.Sequential(Bottleneck(3, 5, 7), Bottleneck(7, 4, 3)).eval()
    source = trtnn.from_torch(model, images(1, 3, 4, 4)).source
    assert "def __init__(self, in_channels, mid_channels, out_channels):" in source
    assert "self.last = Conv2d(mid_channels, out_channels, 1)" in source


def test_other_processes_give_the_same_bytes():
    code = (
        "import trtnn; from tests.from_torch.models import make\n"
        "for name in ('mobile', 'residual', 'names'):\n"
        "    model, args, _ = make(name); print(trtnn.from_torch(model, *args, verify=False).source)"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(texts) == 1


def test_two_classes_of_one_name():
    class Block(torch.nn.Module):
        def forward(self, x):
            return x.square() + 1

    model, args, _ = make("residual")
    both = torch.nn.Sequential(model, Block()).eval()
    source = trtnn.from_torch(both, *args).source
    assert "class Block(Module)" in source
    assert "class Block2(Module)" in source


def test_an_operation_of_atens_that_is_called_itself():
    """In a process of its own: nothing else there has registered what ATen's operations are."""
    code = (
        "import torch, trtnn\n"
        "weights = [torch.rand(3) + 1 for _ in range(4)]\n"
        "x = torch.rand(2, 3, 4)\n"
        "print(trtnn.from_torch(lambda x: torch.ops.aten.batch_norm(x, *weights, False, 0.1, 1e-5, False), x).source)"
    )
    source = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "F.batch_norm(x, " in source


def test_a_child_that_is_called_self():
    class Attention(torch.nn.Module):
        def __init__(self, act):
            super().__init__()
            self.self = act
            self.output = torch.nn.Linear(4, 4)

        def forward(self, x):
            return self.output(self.self(x))

    model = torch.nn.Sequential(Attention(torch.nn.GELU()), Attention(torch.nn.SiLU())).eval()
    source = trtnn.from_torch(model, images(2, 4)).source
    assert "def __init__(self, self2):\n        super().__init__()\n        self.self = self2\n" in source


def test_names_are_the_authors():
    model, args, _ = make("transformer")
    source = trtnn.from_torch(model, *args).source
    assert class_text(source, "Attention").partition("    def forward")[2] == (
        "(self, x):\n"
        "        B, N, C = x.shape\n"
        "        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads).permute(2, 0, 3, 1, 4)\n"
        "        q, k, v = qkv.unbind(0)\n"
        "        attn = q * self.scale @ k.transpose(-2, -1)\n"
        "        attn = attn.softmax(dim=-1)\n"
        "        x = (attn @ v).transpose(1, 2).reshape(B, N, C)\n"
        "        return self.proj(x)"
    )
    assert (
        "        x = F.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)\n"
        "        x = x + self.pos_embed\n"
        "        for block in self.blocks:\n"
        "            x = block(x)\n"
    ) in source
    assert "self.blocks = ModuleList(Layer() for _ in range(3))" in source


def test_what_repeats_is_a_loop():
    model, args, _ = make("dense")
    source = trtnn.from_torch(model, *args).source
    assert "self.layers = ModuleList(DenseLayer(3 + 4 * i) for i in range(4))" in source
    assert class_text(source, "Dense").partition("    def forward")[2] == (
        "(self, x):\n"
        "        features = [x]\n"
        "        for layer in self.layers:\n"
        "            new_features = layer(features)\n"
        "            features.append(new_features)\n"
        "        return F.cat(features, 1)"
    )


def test_a_wrapper_is_the_module_that_it_wraps():
    model, args, _ = make("wrapped")
    source = trtnn.from_torch(model, *args).source
    assert source.count("class ") == 1
    assert "self.norm = LayerNorm(6)\n        self.act = GELU()\n" in source
    assert "drop" not in source


def test_constants_are_written_where_the_author_computes_them():
    model, args, _ = make("buffers")
    source = trtnn.from_torch(model, *args).source
    assert "bias = self.bias_table[self.index]" in source
    assert "ramp = F.arange(x.shape[0]).unsqueeze(1)" in source
    assert "self.table = Buffer(6, 4, optional=True)" in source
    assert "self.anchors = Buffer(4, optional=True)" in source


def test_weights_are_shared_with_torch():
    model, args, _ = make("residual")
    converted = trtnn.from_torch(model, *args, verify=False)
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert np.shares_memory(converted.state_dict()[name], tensor.numpy())


def test_a_function_becomes_a_module():
    def soft_cap(x, y):
        return torch.tanh(x / 5) * 5 + y

    converted = trtnn.from_torch(soft_cap, images(2, 3), images(3))
    assert "class SoftCap(Module)" in converted.source
    assert converted.source.startswith(
        f'"""SoftCap, converted from {__name__}.test_a_function_becomes_a_module.<locals>.'
    )
    assert "return F.tanh(x / 5) * 5 + y" in converted.source


@pytest.mark.parametrize(
    "module",
    [torch.nn.Linear(3, 2), torch.nn.GELU(), torch.nn.LayerNorm(3), torch.nn.Sequential(torch.nn.Linear(3, 2))],
    ids=lambda module: type(module).__name__,
)
def test_a_module_of_torchs_own(module):
    converted = trtnn.from_torch(module.eval(), images(4, 3))
    with torch.no_grad():
        assert_close(converted.trace().run(images(4, 3).numpy()), module(images(4, 3)), 1e-5)
    converted.load_state_dict(module.state_dict())


TORCHS_OWN = {
    "LSTM": (nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True), (images(2, 5, 3),)),
    "LSTM with a state": (nn.LSTM(3, 4), (images(5, 2, 3), (images(1, 2, 4), images(1, 2, 4) + 1))),
    "GRU": (nn.GRU(3, 4), (images(5, 2, 3),)),
    "RNN": (nn.RNN(3, 4, nonlinearity="relu"), (images(5, 2, 3),)),
    "LSTMCell": (nn.LSTMCell(3, 4), (images(2, 3),)),
    "MultiheadAttention": (nn.MultiheadAttention(8, 2, batch_first=True), (images(2, 3, 8),) * 3),
    "MaxPool2d": (nn.MaxPool2d(2, return_indices=True), (images(1, 2, 6, 6),)),
    "Dropout": (nn.Dropout(0.5), (images(2, 3),)),
}


@pytest.mark.parametrize("name", TORCHS_OWN)
def test_the_model_is_a_module_that_trtnn_has(name):
    module, args = TORCHS_OWN[name]
    converted = trtnn.from_torch(module.eval(), *args)
    others = [tensor * 2 - 1 for tensor in _inputs(args, {})]  # and no longer the same tensor
    with torch.no_grad():
        taken = torch.utils._pytree.tree_unflatten(others, torch.utils._pytree.tree_structure(args))
        assert_close(converted.trace().run(*(tensor.numpy() for tensor in others)), module(*taken), 1e-5)
    converted.load_state_dict(module.state_dict())
    assert f"class {type(module).__name__}Net({type(module).__name__}):" in converted.source


def test_what_a_module_returns_is_returned_as_it_is():
    source = trtnn.from_torch(*[TORCHS_OWN["LSTM"][0].eval(), *TORCHS_OWN["LSTM"][1]]).source
    assert "        return super().forward(input)\n" in source


class Pools(nn.Module):
    """As SegNet does: what a pooling took is put back where it was."""

    def __init__(self):
        super().__init__()
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        y, at = self.pool(x)
        z, within = F.max_pool2d(y, 2, stride=1, return_indices=True)
        top, _ = F.adaptive_max_pool2d(y, 1, return_indices=True)
        return self.unpool(self.conv(y), at), z, within, top


class Unsayable(nn.Module):
    """Names that Python takes for others, or for none."""

    def __init__(self):
        super().__init__()
        self.register_parameter("in", nn.Parameter(torch.rand(4)))
        self.register_buffer("1x1", torch.rand(4))
        self.register_buffer("def", torch.rand(4), persistent=False)
        self.params = nn.ParameterDict({"is": nn.Parameter(torch.rand(4)), "a-b": nn.Parameter(torch.rand(4))})
        self.add_module("1", nn.Linear(4, 4))

    def forward(self, **named):
        x = named["lambda"] * getattr(self, "in") + getattr(self, "1x1") + getattr(self, "def") * self.params["is"]
        return getattr(self, "1")(x + self.params["a-b"])


def test_names_that_python_has_taken():
    x, model = images(2, 4), type("class", (Unsayable,), {})().eval()
    converted = trtnn.from_torch(model, **{"lambda": x})
    converted.load_state_dict(model.state_dict())
    assert "class class_(Module):" in converted.source
    assert list(converted.inputs) == ["lambda_"]
    with torch.no_grad():
        assert_close(converted.trace().run(x.numpy()), model(**{"lambda": x}), 1e-5)


def test_the_places_of_maxima():
    model, x = Pools().eval(), images(2, 3, 8, 8)
    converted = trtnn.from_torch(model, x, dynamic=trtnn.Dim("batch", 1, 2, 4))
    assert "z, within = F.max_pool2d(y, 2, stride=1, return_indices=True)" in converted.source
    other = images(3, 3, 8, 8) + 1
    with torch.no_grad():
        assert_close(converted.trace().run(other.numpy()), model(other), 1e-5)


def test_shifts():
    def function(x):
        y = x << 3
        y >>= 1
        return y, x >> 31, torch.bitwise_right_shift(x, 2) + x.bitwise_left_shift(1)

    x = torch.tensor([-(2**31), -7, -1, 0, 5, 2**30], dtype=torch.int32)
    converted = trtnn.from_torch(function, x)
    assert "y = x << 3" in converted.source
    assert "y >>= 1" in converted.source
    assert_close(converted.trace().run(x.numpy()), function(x))


def test_numbers_as_many_as_a_dynamic_length():
    def function(x):
        n = x.shape[0]
        down, between = torch.arange(n - 1, -1, -1), torch.linspace(-1, 2, n)
        return x + down[:, None], between, torch.linspace(0, 1, n) * 0.5, torch.arange(2 * n, -n, -2)

    converted = trtnn.from_torch(function, images(2, 3), dynamic=trtnn.Dim("batch", 1, 2, 9))
    for batch in (1, 2, 3, 8, 9):
        other = images(batch, 3)
        assert_close(converted.trace().run(other.numpy()), function(other), 1e-6)


def test_a_dynamic_batch():
    model, args, _ = make("residual")
    converted = trtnn.from_torch(model, *args, dynamic=trtnn.Dim("batch", 1, 2, 8))
    assert 'self.inputs = {"x": Input((Dim("batch", 1, 2, 8), 3, 16, 16))}' in converted.source
    x = images(7, 3, 16, 16)
    with torch.no_grad():
        assert_close(converted.trace().run(x.numpy()), model(x), 1e-5)


def test_arithmetic_of_lengths_is_pythons():
    def function(x):
        n = x.shape[0]
        rounded, kept, divided, rest = round(8 * n, -1), round(8 * n, 2), *divmod(9 * n, 4)
        return x + rounded + 10 * kept + 100 * divided + 1000 * rest + 10000 * abs(3 - 4 * n) + (n << 1)

    x = images(4, 3)
    for verify in (True, False):
        converted = trtnn.from_torch(function, x, verify=verify)
        assert_close(converted.trace().run(x.numpy()), function(x), 1e-5)


class Sizes(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x * self.scale, x.shape[0] * 2


class TakesALength(nn.Module):
    """Of a call it takes the number alone, and of a tensor the length alone."""

    def __init__(self):
        super().__init__()
        self.sizes = Sizes()

    def forward(self, x):
        _, rows = self.sizes(x)
        wide = torch.cat([x, x], 0)
        return x.repeat(4, 1)[: wide.shape[0]].reshape(rows, -1)


def test_what_only_a_length_is_taken_of():
    x = images(2, 3)
    converted = trtnn.from_torch(TakesALength().eval(), x, dynamic=trtnn.Dim("batch", 1, 2, 8))
    assert "= self.sizes(x)" in converted.source
    assert ".shape[0]]" in converted.source
    other = images(5, 3)
    assert_close(converted.trace().run(other.numpy()), TakesALength()(other), 1e-5)


def test_dynamic_lengths_by_name():
    model, args, _ = make("passes")
    sizes = (trtnn.Dim("batch", 1, 2, 4), 4, trtnn.Dim("height", 4, 4, 16, 2), trtnn.Dim("width", 2, 6, 12, 2))
    converted = trtnn.from_torch(model, *args, dynamic={"x": sizes})
    x = images(3, 4, 10, 2)
    with torch.no_grad():
        assert_close(converted.trace().run(x.numpy()), model(x), 1e-5)


def test_files_that_need_no_torch(tmp_path):
    model, args, _ = make("residual")
    trtnn.save_source(trtnn.from_torch(model, *args), tmp_path / "net.py")
    code = (
        "import sys, numpy, trtnn\n"
        "from net import Residual\n"
        "model = Residual()\n"
        "model.load_state_dict(trtnn.load('net.safetensors'))\n"
        "assert model.trace().outputs\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_an_edit_that_weights_no_longer_fit_is_told_with_class_and_line(tmp_path, monkeypatch):
    model, args, _ = make("residual")
    path = tmp_path / "edited.py"
    trtnn.save_source(trtnn.from_torch(model, *args), path)
    text = path.read_text().replace("out_channels, out_channels, 3,", "out_channels, out_channels, 5,")
    path.write_text(text.replace("self.fc = Linear(24, 5)", "self.classes = Linear(24, 5)"))
    monkeypatch.syspath_prepend(tmp_path)
    import edited

    with pytest.raises(trtnn.errors.StateDictError) as caught:
        edited.Residual().load_state_dict(trtnn.load(path.with_suffix(".safetensors")))
    said = str(caught.value)
    for line in ("self.conv2 = Conv2d(out_channels, out_channels, 5, padding=1", "self.classes = Linear(24, 5)"):
        number = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if line in text)
        kind = "Block" if "conv2" in line else "Residual"
        assert f"declared in {kind}, {path}:{number}: {line}" in said


def test_files_that_are_there_stay(tmp_path):
    model, args, _ = make("residual")
    converted = trtnn.from_torch(model, *args)
    trtnn.save_source(converted, tmp_path / "net.py")
    with pytest.raises(trtnn.errors.ArgumentError, match=r"net\.py and .*net\.safetensors would be overwritten"):
        trtnn.save_source(converted, tmp_path / "net.py")
    trtnn.save_source(converted, tmp_path / "net.py", force=True)
    with pytest.raises(trtnn.errors.ArgumentError, match="what from_torch returned, not a Linear"):
        trtnn.save_source(trtnn.modules.Linear(2, 2), tmp_path / "other.py")
    with pytest.raises(trtnn.errors.ArgumentError, match=r"ends in \.py"):
        trtnn.save_source(converted, tmp_path / "net.txt")


def test_it_is_imported_when_it_is_asked_for():
    code = "import sys, trtnn; assert not {'trtnn.from_torch', 'torch'} & set(sys.modules); trtnn.from_torch.converter"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_complex_constants_stay_in_forward():
    def turned(x):
        angles = torch.outer(torch.arange(5.0), torch.tensor([1.0, 0.1]) ** 2 + 0.5) * 2 - 1
        return torch.view_as_real(torch.view_as_complex(x.reshape(2, 5, 2, 2)) * torch.polar(torch.ones(5, 2), angles))

    x, other = torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    assert_close(trtnn.from_torch(turned, x).trace().run(other.numpy()), turned(other), 1e-5)


class OddNames(torch.nn.Module):
    """A module and a weight that are of two names, the second no name in Python."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(4, 4)
        self.other = torch.nn.Linear(4, 4)
        self.add_module("a-b", self.first)
        self.other.register_parameter("bias-of-it", self.first.bias)

    def forward(self, x):
        x = torch.relu(getattr(self, "a-b")(self.first(x)))
        return self.other(x) + getattr(self.other, "bias-of-it")


def test_what_has_a_second_name_that_is_none_in_python():
    model, x = OddNames().eval(), torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    converted = trtnn.from_torch(model, x)
    assert 'setattr(self, "a-b", self.first)' in converted.source
    with torch.no_grad():
        assert_close(converted.trace().run((x + 1).numpy()), model(x + 1), 1e-5)


class NumbersForSwitches(nn.Module):
    """What torch's own code in Python takes for True and False."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8, elementwise_affine=1)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=1, add_zero_attn=1)
        self.groups = nn.GroupNorm(2, 4, affine="yes")
        self.act = nn.ELU(inplace=1)

    def forward(self, x):
        y, _ = self.attention(x, x, x, need_weights=0)
        return self.act(self.groups(self.norm(y))) + F.interpolate(x, scale_factor=1.0, recompute_scale_factor=1)


def test_numbers_that_torch_takes_for_switches():
    """trtnn takes no number for one; torch does, and what it computes is told by its truth."""
    model, x = NumbersForSwitches().eval(), torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    converted = trtnn.from_torch(model, x)
    assert "add_zero_attn=True" in converted.source
    assert "need_weights=False" in converted.source
    with torch.no_grad():
        assert_close(converted.trace().run((x + 1).numpy()), model(x + 1), 1e-5)
