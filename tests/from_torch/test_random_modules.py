"""Random torch modules: what is converted computes what torch does, and what is refused is refused with its line."""

from __future__ import annotations

import linecache
import random
import re
from types import ModuleType

import pytest
import torch

import trtnn
from tests.helpers import MORE, assert_close
from trtnn.errors import TrtnnError, VerificationError

WIDTH = 8
COUNT = 40 * MORE
DYNAMIC = trtnn.Dim("batch", 1, 2, 5)


class Writer:
    """Writes the source of a module: each statement reads variables that are there, all of shape (batch, 8)."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = ["x"]
        self.layers: list[str] = []

    def pick(self) -> str:
        return self.random.choice(self.names)

    def target(self) -> str:
        name = self.random.choice([*self.names, f"v{len(self.names)}"])
        if name not in self.names:
            self.names.append(name)
        return name

    def layer(self) -> str:
        if self.layers and self.random.random() < 0.4:
            return self.random.choice(self.layers)  # shared
        self.layers.append(f"fc{len(self.layers)}")
        return self.layers[-1]

    def statement(self) -> list[str]:
        a, b, c = self.pick(), self.pick(), self.pick()
        n, k = self.random.randrange(1, 4), self.random.randrange(0, 5)
        kinds = [
            lambda: [f"{self.target()} = torch.relu({a}) - {b}"],
            lambda: [f"{self.target()} = {a} * {n} + {b}"],
            lambda: [f"{self.target()} = self.{self.layer()}({a})"],
            lambda: [f"{self.target()} = F.gelu(self.{self.layer()}({a} + {b}))"],
            lambda: [f"{self.target()} = {a}"],
            lambda: [f"{self.target()} = {a}.clone()"],
            lambda: [f"{a} = {a} + {b}"],
            lambda: [f"{a} += {b}.tanh()"],
            lambda: [f"{a}.mul_(0.{n}).clamp_(-2, 2)"],
            lambda: [f"F.relu({a}, inplace=True)"],
            lambda: [f"{self.target()} = self.act({a})"],
            lambda: [f"{a}[:, {k}:{k + 2}] = {b}[:, {n}:{n + 2}].clone()"],  # an overlap is not defined in torch
            lambda: [f"{a}[:, {k}] += {b}[:, {n}]"],
            lambda: [f"{a}[:, {k}:{k + n}].zero_()"],
            lambda: [
                "B, C = " + f"{a}.shape",
                f"{self.target()} = {b}.view(B, 2, C // 2).transpose(1, 2).reshape(B, C)",
            ],
            lambda: [f"p, q = {a}.chunk(2, dim=1)", f"{self.target()} = torch.cat([q, p * {n}], dim=1)"],
            lambda: [f"p = {a}[:, :4]", f"p.add_({n})", f"{self.target()} = torch.cat((p, {b}[:, 4:]), 1)"],
            lambda: [f"if {a}.shape[0] > {n}:", f"    {b} = {b} / {n + 1}", "else:", f"    {b} = -{b}"],
            lambda: [
                "outs = []",
                "for i in range(3):",
                f"    outs.append({a} * i)",
                f"{self.target()} = sum(outs) + outs[1]",
            ],
            lambda: ["for layer in self.layers:", f"    {a} = layer({a}) + {a}"],
            lambda: [f"{self.target()}, extra = self.pair({a}, {b}, {a}.shape[1] // 2)", f"{c} = {c} + extra[1]"],
            lambda: ["for block in self.blocks:", f"    {a} = block({a})"],
            lambda: [f"{self.target()} = self.blocks[{k % 3}]({a})"],
            lambda: [f"{self.target()} = self.blocks[{k % 3}]({a}{self.options(b)})"],
            lambda: ["for block in self.blocks[1:]:", f"    {a} = block({a}{self.options(b)})"],
            lambda: [f"{self.target()} = self.outer({a}{self.options(b)})"],
            lambda: [f"{self.target()} = torch.where({a} > 0.{k}, {a}, {b})"],
            lambda: [f"{self.target()} = ({a} @ self.weight.t()).softmax(-1) * self.scale"],
            lambda: [f"z = torch.zeros_like({a})", f"z[:, {k}:] = {b}[:, {k}:]", f"{self.target()} = z + {c}"],
            lambda: [f"{self.target()} = {a} * {b}.abs().mean(dim=1, keepdim=True)"],
            lambda: [f"{self.target()} = {a} + self.levels({b}[:, :{2 * n}]).repeat(1, 4)"],
            lambda: [f"{self.target()} = {a} - self.levels({b}).repeat(1, 4) * self.levels({c}[:, :{2 * n}]).sum()"],
            lambda: [f"k = int({a}.shape[0] / {n}) + min(*{b}.shape, {k})", f"{self.target()} = {b} * k"],
        ]
        if self.random.random() < 0.02:
            kinds = [lambda: [f"{a} = {a} * float({b}.sum())"], lambda: [f"if {a}.sum() > 0:", f"    {a} = -{a}"]]
        return self.random.choice(kinds)()

    def options(self, other: str) -> str:
        """Return some of the arguments that a block may be called without."""
        given = {
            "other": other,
            "twice": self.random.choice(["True", "False"]),
            "factor": self.random.choice(["0.5", "1.0", "3"]),
            "mode": self.random.choice(["'sum'", "'product'", "'difference'"]),
        }
        named = self.random.sample(sorted(given), self.random.randrange(1, 3))
        return "".join(f", {name}={given[name]}" for name in named)

    def block(self) -> str:
        """Return a block that differs from others in its sizes, in which children it has, and in a flag."""
        pick = self.random.choice
        act = pick(["None", "None", "nn.ReLU()", "nn.GELU()", "nn.Sequential(nn.SiLU(), nn.Linear(8, 8))"])
        extra = pick(["None", "nn.Linear(8, 8)", "nn.LayerNorm(8)", "nn.ReLU(inplace=True)"])
        return f"Block({pick([3, 8, 16])}, {act}, {extra}, {pick([True, False])}, {pick([1.0, 0.5])}, {pick([1, 2])})"

    def levels(self) -> list[str]:
        """Return what a module does that is called with several lengths: they decide some of it."""
        lines: list[str] = []
        for _ in range(self.random.randrange(1, 4)):
            sign, n = self.random.choice(["<", "<=", "==", "!=", ">", ">="]), self.random.randrange(1, 5)
            length = self.random.choice(["n", "x.shape[1]"])
            change = self.random.choice(["x = x * 2", "x = x[:, :2]", "x = self.fc(x)", "x = x.tanh()", "x += n"])
            lines += [f"if {length} {sign} {n}:", f"    {change}"]
            if self.random.random() < 0.4:
                lines += ["else:", f"    x = x - {n}"]
            if self.random.random() < 0.3:
                lines.append("n = x.shape[1]")
        return lines

    def module(self) -> str:
        body = [line for _ in range(self.random.randrange(2, 12)) for line in self.statement()]
        result = self.random.choice([self.pick(), f"{self.pick()}, {self.pick()}", f"{{'a': {self.pick()}, 'b': x}}"])
        init = [f"self.{name} = nn.Linear(8, 8)" for name in self.layers]
        return "\n".join(
            [
                "import torch",
                "from torch import nn",
                "from torch.nn import functional as F",
                "class Pair(nn.Module):",
                "    def __init__(self):",
                "        super().__init__()",
                "        self.fc = nn.Linear(8, 8, bias=False)",
                "    def forward(self, a, b, n):",
                "        both = self.fc(a) + b",
                "        return both, (n, both[:, :n].repeat(1, 2))",
                "class Block(nn.Module):",
                "    def __init__(self, width, act, extra, skip, scale, times):",
                "        super().__init__()",
                "        self.skip, self.scale, self.times = skip, scale, times",
                "        self.fc1, self.fc2 = nn.Linear(8, width), nn.Linear(width, 8)",
                "        self.act, self.extra = act, extra",
                "    def forward(self, x, other=None, twice=False, factor=1.0, mode=None):",
                "        shortcut = x",
                "        if other is None and mode is not None:",
                "            other = x * 0.5",
                "        x = self.fc2(torch.tanh(self.fc1(x)))",
                "        if mode == 'sum':",
                "            x = x + other",
                "        elif mode == 'product':",
                "            x = x * other",
                "        elif other is not None:",
                "            x = x - other",
                "        if twice:",
                "            x = x * 2",
                "        if self.act is not None:",
                "            x = self.act(x)",
                "        if self.extra is not None:",
                "            side = self.extra(x)",
                "            x = side - x",
                "        if self.skip:",
                "            x += shortcut",
                "        return x * self.scale * factor if self.times == 1 else x * self.scale + x",
                "class Levels(nn.Module):",
                "    def __init__(self):",
                "        super().__init__()",
                "        self.fc = nn.Linear(2, 2)",
                "    def forward(self, x):",
                "        x = self.fc(x.reshape(x.shape[0], -1, 2))",
                "        n = x.shape[1]",
                *(f"        {line}" for line in self.levels()),
                "        return x.mean(1)",
                "class Outer(nn.Module):",
                "    def __init__(self, block):",
                "        super().__init__()",
                "        self.block = block",
                "    def forward(self, x, other=None, **options):",
                "        if options.get('mode') == 'sum':",
                "            x = F.silu(x)",
                "        return self.block(x, other, **options)",
                "class Net(nn.Module):",
                "    def __init__(self):",
                "        super().__init__()",
                "        self.act = nn.SiLU(inplace=True)",
                "        self.pair, self.levels = Pair(), Levels()",
                "        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))",
                f"        self.blocks = nn.ModuleList([{', '.join(self.block() for _ in range(4))}])",
                f"        self.outer = Outer({self.block()})",
                "        self.weight = nn.Parameter(torch.randn(8, 8))",
                "        self.register_buffer('scale', torch.rand(8))",
                *(f"        {line}" for line in init),
                "    def forward(self, x):",
                *(f"        {line}" for line in body),
                f"        return {result}",
                "",
            ]
        )


def make(seed: int) -> tuple[str, torch.nn.Module]:
    """Return the source of a random module, and the module."""
    source = Writer(seed).module()
    file = f"/random/{seed}.py"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    namespace = ModuleType("random_module")
    exec(compile(source, file, "exec"), namespace.__dict__)
    torch.manual_seed(seed)
    return source, namespace.Net().eval()


@pytest.mark.parametrize("seed", range(COUNT))
def test_it_agrees_or_is_refused(seed):
    source, model = make(seed)
    x = torch.randn(2, WIDTH)
    with torch.no_grad():
        try:
            model(x.clone())
        except RuntimeError:
            return  # torch itself refuses it
    try:
        converted = trtnn.from_torch(model, x.clone(), dynamic=DYNAMIC if seed % 2 else None)
    except VerificationError as error:
        pytest.fail(f"{source}\n{error}")
    except TrtnnError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert re.search(rf"/random/{seed}\.py:\d+, in \w+: \S", said), f"{source}\n{said}"
        return
    other = torch.randn(5 if seed % 2 else 2, WIDTH)
    with torch.no_grad():
        expected = model(other.clone())
    assert_close(converted.trace().run(other.numpy()), expected, 1e-5)
    compile(converted.source, "net.py", "exec")


def test_most_are_converted():
    refused = 0
    for seed in range(COUNT, COUNT + 20):
        _, model = make(seed)
        try:
            trtnn.from_torch(model, torch.randn(2, WIDTH), verify=False)
        except (TrtnnError, RuntimeError):
            refused += 1
    assert refused <= 10
