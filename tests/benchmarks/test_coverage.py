"""The run over models of others, with models of our own in their place, and the table that is written of it."""

from __future__ import annotations

import argparse
import json

import pytest
import torch
from torch import nn

from benchmarks import coverage, zoo
from benchmarks.zoo import timm_models
from benchmarks.zoo.torchvision_models import import_torchvision
from trtnn.from_torch.operations.converters import _REGISTERED


class Sum(nn.Module):
    """The sum of a linear layer's outputs, behind a ReLU, and numbers that no input changes."""

    def __init__(self, bias: float = 100.0, scale: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.bias, self.scale = bias, scale

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (self.linear(x) * self.scale + self.bias).relu(), torch.arange(3.0, device=x.device)


class Large(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ones(2**28)[:4] + x


class Masked(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[x > 0]


class Halved(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 2


class Holds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Halved()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + 1


@pytest.fixture
def made(monkeypatch):
    """Return a function that puts a model in the place of all others."""
    threads = torch.get_num_threads()

    def put(model: nn.Module) -> None:
        monkeypatch.setattr(zoo, "make", lambda name, settled: (model.eval(), (torch.rand(2, 4),), {}))

    yield put
    torch.set_num_threads(threads)


def test_what_is_right_is_equal(made):
    made(Sum())
    row = coverage.convert("ours:sum", None)
    assert row["outcome"] == "equal"
    assert (row["parameters"], row["outputs"], row["still"], row["classes"]) == (15, 2, 1, 1)
    assert row["difference"] < 1e-6
    assert row["change"] > 1e-4
    assert "fp16" not in row


@pytest.mark.parametrize("model", [Sum(bias=-100), Sum(scale=0), Sum(scale=1e-5)], ids=["zero", "constant", "nearly"])
def test_outputs_that_no_input_changes_are_unclear(made, model):
    made(model)
    row = coverage.convert("ours:sum", 1e9)
    assert row["outcome"] == "unclear"
    assert row["why"].startswith("no output changes with the input by more than ")


def test_an_unclear_model_is_made_again_with_settled_statistics(monkeypatch):
    def make(name: str, settled: bool):
        return Sum(bias=100.0 if settled else -100.0).eval(), (torch.rand(2, 4),), {}

    monkeypatch.setattr(zoo, "make", make)
    row = coverage.convert("ours:sum", None)
    assert (row["outcome"], row["settled"]) == ("equal", True)


def test_statistics_settle_on_those_of_the_example():
    x = torch.rand(8, 4) * 3
    model = nn.Sequential(nn.BatchNorm1d(4), nn.ReLU(), nn.BatchNorm1d(4)).eval()
    zoo.settle(model, (x,), {})
    torch.testing.assert_close(model[0].running_mean, x.mean(0))
    torch.testing.assert_close(model[0].running_var, x.var(0))
    seen = torch.batch_norm(x, torch.full((4,), 0.5), None, None, None, True, 0, 1e-5, False).relu()
    torch.testing.assert_close(model[2].running_mean, seen.mean(0))
    assert not any(module.training for module in model.modules())
    assert model[0].momentum == 0.1


def test_statistics_settle_on_several_images_where_the_example_is_one():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3)).eval()
    zoo.settle(model, (torch.rand(1, 3, 8, 8),), {})  # of which the second meets one number for each channel
    assert bool((model[2].running_var > 1e-3).all())
    assert bool((model[2].running_var < 1).all())


def test_signals_do_not_fade_in_random_models():
    model = nn.Sequential(*(nn.Linear(32, 32) for _ in range(8)))
    for layer in model:
        nn.init.normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
    assert model(torch.ones(2, 32)).std() < 1e-5
    zoo.randomised(model)
    assert model(torch.ones(2, 32)).std() > 0.1


@pytest.mark.parametrize("left", [1e21, float("-inf"), float("nan")])
def test_parameters_that_were_never_set_are_drawn(left):
    model = nn.Linear(3, 4)
    with torch.no_grad():
        model.weight[1, 2] = left
    zoo.randomised(model)
    assert bool((model.weight.abs() < 5).all())
    assert model.weight.unique().numel() == 12


class Codebook(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("embed", torch.zeros(4, 3))


def test_codebooks_that_were_never_trained_are_drawn():
    model = nn.Sequential(Codebook())
    zoo.randomised(model)
    assert model[0].embed.unique().numel() == 12


class Columns(nn.Module):
    """Each column has a table of its own length."""

    def __init__(self):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(length, 3) for length in (50, 2))

    def forward(self, x):
        return self.tables[0](x[:, 0]) + self.tables[1](x[:, 1])


def test_whether_outputs_change_is_told_by_the_second_input_that_was_compared(monkeypatch):
    """What is drawn of all numbers is no place in the shorter table."""
    rows = torch.tensor([[49, 1], [7, 0], [20, 1]])
    monkeypatch.setattr(zoo, "make", lambda name, settled: (Columns().eval(), (rows,), {}))
    row = coverage.convert("ours:columns", None)
    assert row["outcome"] == "equal", row
    assert row["change"] > 0.1


def test_what_no_network_can_is_refused(made):
    made(Masked())
    row = coverage.convert("ours:masked", None)
    assert row["outcome"] == "refused"
    assert "__getitem__ of a mask" in row["why"]


def test_another_result_is_wrong(made, monkeypatch):
    made(Holds())
    monkeypatch.setitem(_REGISTERED, Halved, lambda module: "Identity()")
    row = coverage.convert("ours:holds", None)
    assert row["outcome"] == "wrong"
    assert "differs from torch's" in row["why"]


def test_an_error_of_the_package_is_told(monkeypatch):
    def fail(name: str, settled: bool) -> None:
        raise RuntimeError(f"no {name}")

    monkeypatch.setattr(zoo, "make", fail)
    assert coverage.convert("ours:none", None)["why"] == "RuntimeError: no ours:none"


def test_engines_are_built_of_models_up_to_a_size(made):
    pytest.importorskip("tensorrt_rtx")
    made(Sum())
    assert "fp16" not in coverage.convert("ours:sum", 14)
    row = coverage.convert("ours:sum", 15)
    assert (row["fp32"], row["fp16"]) == ("built", "built")


@pytest.mark.parametrize(("one", "other", "by"), [
    ([1.0, -4.0], [1.0, -3.0], 0.25), ([0.0, 0.0], [0.0, 0.0], 0.0), ([float("inf"), 2.0], [1.0, 1.0], 0.5),
    ([float("nan")], [1.0], 0.0), ([1, 2], [1, 2], 0.0), ([True, False], [False, False], 1.0),
])  # fmt: skip
def test_how_much_an_output_changes(one, other, by):
    assert coverage.changed(torch.tensor(one), torch.tensor(other)) == by


# -- the run ----------------------------------------------------------------------------------------------------------


def options(**more):
    plain = {"sources": ["transformers"], "most": None, "seed": 0, "again": [], "build": False, "build_most": 1000.0}
    return argparse.Namespace(**{**plain, "timeout": 600.0, "memory": 32.0, **more})


def test_a_run_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "names", lambda source: [f"{source}:{name}" for name in "abcd"])
    results = tmp_path / "rows.jsonl"
    rows = [("a", "failed"), ("b", "equal"), ("c", "wrong"), ("c", "equal")]
    results.write_text("".join(json.dumps({"model": f"timm:{n}", "outcome": o}) + "\n" for n, o in rows))
    read = coverage.read(results)
    assert coverage.wanted_of(options(sources=["timm"]), read) == ["timm:d"]
    assert coverage.wanted_of(options(sources=["timm"], again=["failed", "wrong"]), read) == ["timm:a", "timm:d"]
    assert coverage.wanted_of(options(sources=["timm:b"]), read) == ["timm:b"]


def test_each_model_gets_a_row(tmp_path, made, capsys):
    made(Sum())
    results = tmp_path / "of" / "rows.jsonl"
    coverage.run(["ours:sum"], results, options())
    row = coverage.read(results)["ours:sum"]
    assert row["outcome"] == "equal"
    assert row["commit"]
    assert row["date"].startswith("20")
    assert "1/1 ours:sum: equal" in capsys.readouterr().out


@pytest.mark.parametrize(("more", "why"), [
    ({"timeout": 0.0}, "took more than 0 s"), ({"memory": 1e-4}, "allocate memory"),
])  # fmt: skip
def test_a_model_that_takes_too_much_fails_alone(tmp_path, made, more, why):
    made(Large())
    results = tmp_path / "rows.jsonl"
    coverage.run(["ours:sum", "ours:other"], results, options(**more))
    rows = coverage.read(results)
    assert [row["outcome"] for row in rows.values()] == ["failed", "failed"]
    assert why in rows["ours:sum"]["why"]


def test_timm_is_drawn_from_all_of_its_files():
    try:
        import_torchvision()
        import timm
    except ImportError:
        pytest.skip("torchvision and timm are not installed here")
    drawn = timm_models.chosen(400, 0)
    assert len(set(drawn)) == 400
    assert drawn == timm_models.chosen(400, 0)
    assert drawn != timm_models.chosen(400, 1)
    for module in timm.list_modules():
        variants = set(timm.list_models(module=module))
        assert variants & set(drawn), module
    assert sum(map(timm_models.is_large, timm_models.chosen(50, 0))) < 5  # of files that hold no other


# -- the table --------------------------------------------------------------------------------------------------------

ROW = {"parameters": 2_500_000, "seconds": 1.5, "lines": 90, "classes": 4, "layers": 70, "difference": 3e-7,
       "outcome": "equal", "change": 0.5, "outputs": 2, "still": 0, "fp32": "built", "fp32_seconds": 2.0,
       "fp16": "built", "fp16_seconds": 3.0, "commit": "abc", "date": "2030-01-02T03:04+00:00"}  # fmt: skip


def test_the_table_tells_all():
    why = [
        "Net does what no network can", "  item: once", "    /home/me/net.py:3, in f: x.item()", "long " * 60,
        "  parts without it: body: from_torch(model.body, ...)",
    ]  # fmt: skip
    refused = {"outcome": "refused", "why": "\n".join(why), "commit": "def", "date": "2030-02-03T00:00+00:00"}
    text = coverage.report({
        "timm:one": {**ROW, "model": "timm:one"},
        "timm:two": {**ROW, "still": 1, "fp16": "BuildError: no tactic"},
        "torchvision:detection.ssd": refused,
        "torchvision:detection.ssd.backbone": {**ROW, "fp32": "x", "fp16": "x"},
        "torchvision:none": {"outcome": "not made"},
    })  # fmt: skip
    assert "2030-01-02 to 2030-02-03, torch " in text.replace("\n", " ")
    assert "rows from abc (3), def (1); a plus" in text.replace("\n", " ")
    assert "| timm | 2 | 2 (100.0%) | 0 | 0 | 0 | 0 | 2 of 2 | 1 of 2 |" in text
    assert "| torchvision | 1 | 1 (100.0%) | 0 | 0 | 0 | 0 | 0 of 1 | 0 of 1 |" in text
    assert "| torchvision, whole detectors | 1 | 0 (0.0%) | 0 | 0 | 1 | 0 |  |  |" in text
    assert "- `torchvision:detection.ssd`: refused: Net does what no network can; item: once; long long" in text
    assert " …; parts without it: body: from_torch(model.body, ...)\n" in text
    assert "/home" not in text
    assert "- `timm:two` in fp16: BuildError: no tactic\n" in text
    assert "- `torchvision:detection.ssd.backbone` in fp32 and fp16: x\n" in text
    assert "Built were models of up to so many parameters: 2.5 million of timm, 2.5 million of torchvision." in text
    assert "| timm:one | 2.5 | 90 | 4 | 70 | 3e-07 |  | 1.5 | 2.0 | 3.0 |" in text
    assert "| timm:two | 2.5 | 90 | 4 | 70 | 3e-07 | 1 of 2 | 1.5 | 2.0 | no |" in text
    assert "torchvision:none" not in text
