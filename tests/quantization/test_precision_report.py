"""What each module's rounding does to the outputs, held against networks that are quantised in one module alone."""

from __future__ import annotations

import numpy as np
import pytest

import trtnn
from tests.helpers import message_of
from tests.quantization.networks import Block, detector, filled, images, quantize
from trtnn import functional as F
from trtnn.accuracy.rounding import PrecisionReport, PrecisionRow
from trtnn.errors import ArgumentError, ShapeError
from trtnn.modules import Conv2d, Module
from trtnn.quantization.choosing import Speed, not_faster
from trtnn.quantization.quantizing import _left_out, forget

SHAPE = (1, 4, 16, 16)


def rms(difference: np.ndarray, of: np.ndarray) -> float:
    return float(np.sqrt((difference.astype(np.float64) ** 2).sum() / (of.astype(np.float64) ** 2).sum()))


def error_of(samples, plain, **choice) -> float:
    """Return the error of a model that is quantised in some modules, by a trace of its own."""
    network = quantize(detector(), samples, method="max", **choice).trace()
    results = np.stack([network.run(x) for x in samples])
    return rms(results - plain, plain)


@pytest.mark.parametrize("fp16", [False, True])
def test_each_module_alone_and_all_of_them(fp16):
    samples = images(2, *SHAPE)
    plain = np.stack([detector().trace(fp16=fp16).run(x) for x in samples])
    report = quantize(detector(), samples, method="max").trace(fp16=fp16).precision_report(samples)
    by_path = {row.path: row for row in report.modules}
    assert list(by_path) == sorted(by_path, key=lambda path: -by_path[path].error)
    if not fp16:
        for path in ("first.conv", "second.conv", "head"):  # whose scales are the same alone
            alone = error_of(samples, plain, modules=[path])
            if path == "first.conv":  # alone its sum is not in int8 as well
                assert by_path[path].error >= alone * 0.9
            else:
                assert by_path[path].error == pytest.approx(alone, rel=1e-4)
        assert report.errors["output"] == pytest.approx(error_of(samples, plain), rel=1e-5)
    total = sum(row.error**2 for row in report.modules)
    for row in report.modules:
        assert row.share == pytest.approx(row.error**2 / total)
        assert row.dtype == "int8"
    assert report.samples == 2
    table = str(report)
    assert "error alone" in table
    assert "all of them, on 2 samples: error of output" in table
    assert "more" not in table
    assert "worse" not in report.table(2)


def test_just_enough_modules_are_left_out():
    samples = images(2, *SHAPE)
    report = quantize(detector(), samples).trace().precision_report(samples)
    whole = report.errors["output"]
    assert report.suggested_skip(whole * 1.01) == ()
    plain = np.stack([detector().trace().run(x) for x in samples])
    for part in (0.8, 0.5, 0.3):
        skip = report.suggested_skip(whole * part)
        assert skip
        left = [row.path for row in report.modules if row.path not in skip]
        assert max(report._trials.errors(left).values()) <= whole * part
        for paths in {("stem.conv", "stem.bn") if path.startswith("stem.") else (path,) for path in skip}:
            assert set(paths) <= set(skip)  # a first convolution and what is rounded behind it go together
            assert max(report._trials.errors([*left, *paths]).values()) > whole * part, f"{paths} was not needed"
    everything = report.suggested_skip(0.0)
    assert {row.path for row in report.modules if row.error} <= set(everything)
    model = quantize(detector(), samples, skip=report.suggested_skip(whole * 0.5))
    results = np.stack([model.trace().run(x) for x in samples])
    assert rms(results - plain, plain) < whole * 0.7  # scales are others where less is joined


def test_a_module_whose_error_another_cancels_is_quantised_again():
    """The worst is left out first; it is not needed where what the third loses makes up for it."""

    class Trials:
        paths, together = ("worst", "second", "third"), {}

        def errors(self, left):
            return {"y": 0.1 if set(left) == {"worst", "third"} else sum(alone[path] for path in left)}

    alone = {"worst": 0.5, "second": 0.45, "third": 0.4}
    rows = tuple(PrecisionRow(path, "int8", error, 0.0) for path, error in alone.items())
    report = PrecisionReport(rows, {"y": 1.35}, 1, Trials(), ())
    assert report.suggested_skip(0.42) == ("second",)


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_what_is_left_as_it_is_stays_so_by_what_a_report_suggests(dtype):
    """``skip`` names all that is left out, so that the last layers, which are left where nothing is said, are named."""
    samples = images(3, *SHAPE)
    plain = np.stack([detector().trace().run(x) for x in samples])
    model = trtnn.quantize(detector(), samples, dtype, adaptive_rounding=False, correct_bias=False)
    report = model.trace().precision_report(samples)
    scales = {name for name in model.state_dict() if name.endswith("scale")}
    assert "head.weight_scale" not in scales
    whole = report.suggested_skip(report.errors["output"] * 1.01)
    assert "head" in whole
    again = trtnn.quantize(detector(), samples, dtype, skip=whole, adaptive_rounding=False, correct_bias=False)
    assert {name for name in again.state_dict() if name.endswith("scale")} == scales
    most = report.errors["output"] * 0.8
    less = trtnn.quantize(
        detector(), samples, dtype, skip=report.suggested_skip(most), adaptive_rounding=False, correct_bias=False
    )
    assert 0 < rms(np.stack([less.trace().run(x) for x in samples]) - plain, plain) <= most * 1.1


def scales_of(model) -> dict[str, np.ndarray]:
    return {name: array for name, array in model.state_dict().items() if name.endswith(("_scale", "quant_max"))}


@pytest.mark.parametrize(
    "skip",
    [
        ("stem.bn",), ("second.act",), ("stem.bn", "second.conv"), ("second.conv", "join.conv"), ("stem",),
        ("head", "second.act"),
    ],
)  # fmt: skip
def test_an_output_that_was_left_as_it_is_stays_so(skip):
    """What a sum reads, and what is rounded before an activation, are modules of their own."""
    samples = images(3, *SHAPE)
    model = quantize(detector(), samples, skip=skip)
    report = model.trace().precision_report(samples)
    suggested = report.suggested_skip(report.errors["output"] * 1.01)
    assert set(suggested).isdisjoint({row.path for row in report.modules})
    again = quantize(detector(), samples, skip=suggested)
    expected, received = scales_of(model), scales_of(again)
    assert received.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(received[name], array)
    assert set(suggested) < set(report.suggested_skip(report.errors["output"] * 0.5))


class Branches(Module):
    """A sum of two that are both read in int8, until what reads the one beside it is left as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"x": (1, 8, 16, 16)}
        self.stem, self.a, self.b, self.c = (Block(8, 8) for _ in range(4))
        self.head = Conv2d(16, 6, 1)

    def forward(self, x):
        x = self.stem(x)
        y = self.a(x)
        return self.head(F.cat([self.c(x + y), self.b(y)], 1))


def test_what_is_rounded_since_another_is_left_can_be_left_as_well():
    samples = images(3, 1, 8, 16, 16)
    assert "a.act.output_scale" not in scales_of(quantize(filled(Branches()), samples))
    model = quantize(filled(Branches()), samples, skip=["b"])
    assert "a.act.output_scale" in scales_of(model)
    report = model.trace().precision_report(samples)
    alone = {row.path: row.error for row in report.modules}
    assert "a.act" in alone
    suggested = report.suggested_skip(alone["c.conv"])
    assert {"a.act", "b.conv"} <= set(suggested)
    assert "c.conv" not in suggested
    less = quantize(filled(Branches()), samples, skip=suggested)
    assert {name.rpartition(".")[0] for name in scales_of(less)} == alone.keys() - set(suggested)
    plain = np.stack([filled(Branches()).trace().run(x) for x in samples])
    tolerance = report.errors["output"] * 0.4
    chosen = quantize(filled(Branches()), samples, modules="auto", tolerance=tolerance)
    assert scales_of(chosen)
    assert 0 < rms(np.stack([chosen.trace().run(x) for x in samples]) - plain, plain) <= tolerance
    words = message_of(ArgumentError, lambda: quantize(filled(Branches()), samples, skip=["a.bn"]))
    assert words.startswith("skip names 'a.bn', which is nothing that can be quantised\n  near: a.conv\n")


def test_bad_input():
    assert "no module of this network is quantised" in message_of(
        ArgumentError, lambda: detector().trace().precision_report(images(1, *SHAPE))
    )
    network = quantize(detector(), images(1, *SHAPE)).trace()
    assert "there are no samples" in message_of(ArgumentError, lambda: network.precision_report([]))
    assert "sample 1" in message_of(
        ShapeError, lambda: network.precision_report([*images(1, *SHAPE), *images(1, 1, 4, 8, 8)])
    )
    report = network.precision_report(images(1, *SHAPE))
    assert "a tolerance is a number from 0 up" in message_of(ArgumentError, lambda: report.suggested_skip(-1))


def test_samples_that_tell_nothing_are_told():
    network = quantize(detector(), images(1, *SHAPE)).trace()
    nan = np.full(SHAPE, np.nan, np.float32)
    with pytest.warns(UserWarning, match="1 of 2 samples make no number of an output finite.*: sample 1 of "):
        network.precision_report([*images(1, *SHAPE), nan])


# -- what is chosen by itself -----------------------------------------------------------------------------------------


def test_a_tolerance_that_leaves_nothing_is_told():
    samples = images(2, 1, 4, 16, 16)
    with pytest.warns(UserWarning, match="nothing is quantised: the tolerance leaves no module"):
        model = quantize(detector(), samples, modules="auto", tolerance=0.0, correct_bias=True)
    plain = detector().state_dict()
    assert model.state_dict().keys() == plain.keys()
    assert all((value == plain[name]).all() for name, value in model.state_dict().items())


def test_a_choice_is_tried_by_the_scales_that_come_of_it():
    """Where less is joined, scales are others: here the second ones are too large for one module."""
    samples, model, declared = images(2, *SHAPE), detector(), list[list[str]]()
    plain = np.stack([model.trace().run(x) for x in samples])
    paths = ["stem.conv", "first.conv", "second.conv", "join.conv", "head"]

    def declare(skipped) -> list[str]:
        forget(model)
        left = [path for path in paths if path not in skipped]
        if left:
            quantize(model, samples, modules=left, skip=["stem.bn"] if "stem.conv" in left else [])
        if len(declared) > 0 and "join.conv" in left:
            model.join.conv.input_scale.data = model.join.conv.input_scale.data * 16
        declared.append(left)
        return left

    declare(())
    tolerance = error_of(samples, plain) * 0.8
    found = _left_out(model, declare, samples, tolerance)
    assert "join.conv" in found
    assert set(declared[-1]) == {path for path in paths if path not in found}
    assert 0 < rms(np.stack([model.trace().run(x) for x in samples]) - plain, plain) <= tolerance


def test_auto_keeps_within_the_tolerance():
    samples = images(4, *SHAPE)
    plain = np.stack([detector().trace().run(x) for x in samples])
    whole = error_of(samples, plain)
    model = quantize(detector(), samples, modules="auto", tolerance=whole / 2)
    results = np.stack([model.trace().run(x) for x in samples])
    assert 0 < rms(results - plain, plain) < whole * 0.7
    count = sum(name.endswith("weight_scale") for name in model.state_dict())
    assert 0 < count < 5
    everything = quantize(detector(), samples, modules="auto", tolerance=1.0)
    assert sum(name.endswith("weight_scale") for name in everything.state_dict()) == 5
    assert "a tolerance is a number from 0 up" in message_of(
        ArgumentError, lambda: quantize(detector(), samples, modules="auto", tolerance=-1)
    )
    told = message_of(ArgumentError, lambda: quantize(detector(), samples, tolerance=0.1))
    assert "a tolerance is of modules that are chosen by it" in told
    assert 'modules="auto" or modules="fastest" chooses them' in told


class Clock:
    """Times a model by the types of its modules: what each takes in int8 and in fp16."""

    def __init__(self, model, in_int8: dict[str, float], extra: float = 0.0) -> None:
        self.model, self.in_int8, self.extra, self.asked = model, in_int8, extra, 0

    def __call__(self, model) -> Speed:
        self.asked += 1
        quantised = {path: hasattr(m, "input_scale") for path, m in model.named_modules()}
        times = {path: self.in_int8[path] if quantised[f"{path}.conv"] else 1.0 for path in self.in_int8}
        return Speed(sum(times.values()) + self.extra * any(quantised.values()), times)


def chosen(in_int8: dict[str, float], extra: float = 0.0) -> tuple[list[str], float]:
    """Return what is quantised in the end, and its time."""
    samples, model = images(1, *SHAPE), detector()

    def declare(skipped) -> list[str]:
        forget(model)
        left = [path for path in in_int8 if f"{path}.conv" not in skipped]
        if left:
            quantize(model, samples, modules=left)
        return [f"{path}.conv" for path in left]

    clock = Clock(model, in_int8, extra)
    skipped = not_faster(model, declare, lambda: forget(model), clock)
    left = declare(skipped)
    return left, clock(model).milliseconds


def test_what_is_no_faster_is_given_back():
    left, time = chosen({"stem": 2.0, "first": 0.4, "second": 0.5, "join": 1.5})
    assert left == ["first.conv", "second.conv"]
    assert time == pytest.approx(2.9)


def test_the_whole_is_never_slower_than_fp16():
    assert chosen({"stem": 0.9, "first": 0.9}, extra=1.0) == ([], 2.0)
    assert chosen({"stem": 3.0, "first": 3.0}) == ([], 2.0)
    assert chosen({"stem": 0.5, "first": 0.5})[0] == ["stem.conv", "first.conv"]
