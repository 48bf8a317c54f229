"""fp16 that can be trusted: the report against NumPy, and "auto" on networks that overflow or lose too much."""

import dataclasses
import itertools
import warnings

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.helpers import ONE_TARGET, Function, layers, load_random, message_of, numbers, strongly_typed
from trtnn import Input, float32, functional, get_backend
from trtnn.cli import app
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.examples.digits.demo import PICTURE, WEIGHTS
from trtnn.modules import BatchNorm2d, Conv2d, Linear, Module, ModuleDict, ReLU, Sequential, Sigmoid, SiLU, Softmax

pytestmark = strongly_typed
TOLERANCE = 1e-2


class Apply(Module):
    """A function of one Tensor, as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Residual(Module):
    """A composite with a module inside and a sum of its own."""

    def __init__(self, inner, back):
        super().__init__()
        self.inner, self.back = inner, back

    def forward(self, x):
        return self.back(x * 6e4 + self.inner(x))


def conv(c_in, c_out, k, scale=1.0, seed=0):
    module = Conv2d(c_in, c_out, k, padding=k // 2, bias=False)
    weight = numbers(c_out, c_in, k, k, seed=seed) * np.float32(scale / (c_in * k * k) ** 0.5)
    module.load_state_dict({"weight": weight})
    return module


def model(*modules, shape=(1, 3, 8, 8)):
    sequence = Sequential(*modules)
    sequence.inputs = {"input": Input(shape)}
    return sequence


def times(factor):
    return Apply(lambda x: x * factor)


def square():
    return Apply(lambda x: x * x)


def image(shape=(1, 3, 8, 8), seed=0):
    return numbers(*shape, seed=seed)


def rms(x):
    return np.sqrt(np.square(x.astype(np.float64)).mean())


def relative(result, expected):
    return rms(result.astype(np.float64) - expected) / rms(expected)


def fp16_fails(module, fp32_modules, samples, expected):
    """Whether an fp16 network overflows, is further from fp32 than the tolerance, or cannot even be traced."""
    try:
        network = module.trace(fp16=True, fp32_modules=fp32_modules)
    except DTypeError:  # weights beyond fp16, see Graph.array
        return True
    results = np.stack([network.run(sample) for sample in samples])
    return not np.isfinite(results).all() or relative(results, np.stack(expected)) > TOLERANCE


OVERFLOWING = {
    "a square, scaled back": (lambda: model(times(1e3), square(), times(1e-6), SiLU()), ("1", "2")),
    "between two modules": (
        lambda: model(conv(3, 8, 3), times(6e4), conv(8, 8, 3, 1e2), conv(8, 4, 1, 1e-6), conv(4, 4, 1)),
        ("1", "2", "3"),
    ),
    "inside a Sequential": (
        lambda: model(conv(3, 4, 1, 100), Sequential(times(3e4), ReLU(), times(1e-6)), SiLU()),
        ("1.0", "1.1", "1.2"),
    ),
    "hidden by a sigmoid": (lambda: model(times(1e3), square(), Sigmoid(), conv(3, 3, 1)), ("1", "2")),
    "a weight": (lambda: model(conv(3, 3, 1, 1e-3), conv(3, 3, 1, 1e6), conv(3, 3, 1, 1e-3)), ("1",)),
    "a composite's own sum": (
        lambda: model(conv(3, 3, 1), Residual(conv(3, 3, 1, 2e4), times(1e-5)), conv(3, 3, 1)),
        ("1",),
    ),
    "the input": (lambda: model(times(1e-6), SiLU()), ("0",)),
}


@pytest.mark.parametrize("name", OVERFLOWING)
def test_a_network_that_overflows_comes_out_right(name):
    make, chosen = OVERFLOWING[name]
    module = make()
    scale = 1e6 if name == "the input" else 1.0
    samples = [image(seed=seed) * np.float32(scale) for seed in range(2)]
    exact = module.trace()
    expected = [exact.run(sample) for sample in samples]
    network = module.trace(fp16=True, fp32_modules="auto", samples=samples)
    results = [network.run(sample) for sample in samples]
    assert all(np.isfinite(result).all() for result in results)
    assert relative(np.stack(results), np.stack(expected)) <= TOLERANCE
    assert network.graph.precision.fp32_modules == chosen
    assert exact.fp16_report(samples).errors == {"output": np.inf}
    if name not in ("a weight", "hidden by a sigmoid"):
        assert not np.isfinite(module.trace(fp16=True).run(samples[0])).all()
    if name != "hidden by a sigmoid":  # which is the reason why every tensor is looked at, not the outputs alone
        assert fp16_fails(module, (), samples, expected)
        for dropped in chosen:
            rest = tuple(path for path in chosen if path != dropped)
            assert fp16_fails(module, rest, samples, expected), dropped


def test_compile_builds_what_auto_chose():
    make, chosen = OVERFLOWING["a square, scaled back"]
    engine = make().compile(fp16=True, fp32_modules="auto", samples=[image()], **ONE_TARGET)
    assert engine.description["fp32_modules"] == list(chosen)
    assert engine.description["precision"] == "float16"


def cancelling():
    """Adds 1000 and takes it off again, in two modules: fp16 keeps 3 of 11 bits."""
    return model(conv(3, 3, 1), Apply(lambda x: x + 1000), ReLU(), Apply(lambda x: x - 1000), conv(3, 3, 1))


def test_modules_that_bring_too_much_error_are_kept_and_no_others():
    module, samples = cancelling(), [image(seed=seed) for seed in range(3)]
    exact = module.trace()
    expected = [exact.run(sample) for sample in samples]
    assert fp16_fails(module, (), samples, expected)
    chosen = module.trace(fp16=True, fp32_modules="auto", samples=samples).graph.precision.fp32_modules
    assert chosen == ("1", "2", "3")
    assert not fp16_fails(module, chosen, samples, expected)
    for dropped in chosen:
        rest = tuple(path for path in chosen if path != dropped)
        assert fp16_fails(module, rest, samples, expected), dropped


def test_a_module_inside_is_enough_where_the_composite_around_brings_error_that_does_not_matter():
    class Composite(Module):
        def __init__(self):
            super().__init__()
            self.big = Apply(lambda x: x * 6e4 * 6e4 * (1 / 6e4) * (1 / 6e4))

        def forward(self, x):
            return self.big(x) + ((x + 3000) - 3000) * 1e-6

    module, x = model(Composite(), Apply(lambda x: (x + 1000) - 1000)), image()
    report = module.trace().fp16_report([x])
    assert [row.path for row in report.modules] == ["0.big", "0", "1"]
    assert report.suggested_fp32_modules() == ("0.big", "1")


def test_a_tensor_that_reaches_a_module_past_its_arguments_keeps_the_model():
    class Outer(Module):
        def __init__(self):
            super().__init__()
            self.inputs = {"x": (1, 3, 8, 8)}
            self.first, self.inner = times(1e3), Apply(lambda x: x + (self.held * self.held) * 1e-6)

        def forward(self, x):
            self.held = self.first(x)
            return self.inner(x)

    network = Outer().trace(fp16=True, fp32_modules="auto", samples=[image()])
    assert network.graph.precision.fp32_modules == ("",)
    assert relative(network.run(image()), Outer().trace().run(image())) < 1e-6


def test_the_tolerance_decides():
    report = cancelling().trace().fp16_report([image()])
    error = report.errors["output"]
    assert report.suggested_fp32_modules(tolerance=error) == ()
    assert report.suggested_fp32_modules(tolerance=error * 0.99) != ()
    # Any rounding at all is too much, and the input is exact in fp16: what reads it needs fp32 for its result.
    assert report.suggested_fp32_modules(tolerance=0) == ("0", "1", "2", "3", "4")
    network = cancelling().trace(fp16=True, fp32_modules="auto", samples=[image()], tolerance=1.0)
    assert network.graph.precision.fp32_modules == ()
    assert "a tolerance is a number from 0 up" in message_of(ArgumentError, report.suggested_fp32_modules, -1)


def healthy():
    torch_model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.SiLU(), torch.nn.Conv2d(8, 4, 1)
    )
    module = model(Conv2d(3, 8, 3), BatchNorm2d(8), SiLU(), Conv2d(8, 4, 1))
    module.load_state_dict(load_random(torch_model).state_dict())
    return module


def test_a_healthy_network_stays_in_fp16_and_the_reported_error_is_the_true_one():
    module, samples = healthy(), [image(seed=seed) for seed in range(3)]
    exact, half = module.trace(), module.trace(fp16=True, fp32_modules="auto", samples=samples)
    assert half.graph.precision.fp32_modules == ()
    assert float32 not in half.graph.layer_dtypes
    report = exact.fp16_report(samples)
    true = relative(*(np.stack([network.run(sample) for sample in samples]) for network in (half, exact)))
    assert report.errors == {"output": pytest.approx(true, rel=1e-3)}
    assert 1e-5 < true < 1e-3
    assert [row.path for row in report.layers] == ["0", "2", "2", "3"]  # the BatchNorm is folded
    assert not any(row.overflow for row in report.layers)


@pytest.mark.parametrize("kept", [(), ("0",), ("2",), ("1", "2"), ("1", "3"), ("",)])
def test_trials_are_what_the_traced_network_does(kept):
    module, x = cancelling(), image()
    exact, half = module.trace(), module.trace(fp16=True, fp32_modules=kept)
    report = exact.fp16_report([x])
    trial = report._comparison.trial(report._precision.mixed(kept), lambda: None)
    assert trial.error == pytest.approx(relative(half.run(x), exact.run(x)), rel=1e-9)


def test_values_lost_to_zero_and_overflowing_are_counted_as_numpy_counts_them():
    edges = np.array([0, 2.0**-25, np.nextafter(np.float32(2.0**-25), np.float32(1)), 65519.99, 65520, -65520, 3e38])
    spread = 10.0 ** np.random.default_rng(0).uniform(-12, 8, 1000)
    x = np.concatenate([edges, spread]).astype(np.float32).reshape(1, -1)
    weight = np.eye(x.size, dtype=np.float32)
    (row,) = Function(functional.relu).trace({"x": x.shape}).fp16_report([x, x]).layers
    with np.errstate(over="ignore"):
        half = np.maximum(x, 0).astype(np.float16)
        read = np.isinf(x.astype(np.float16)).sum()
    assert row.lost == 2 * np.sum((x > 0) & (half == 0)) > 2
    assert row.overflow == 2 * (read + np.isinf(half).sum()) > 4
    assert row.largest == x.max()
    assert row.error == np.inf
    weight[0, :9] = [1e-8, 1e-8, 0, 1e5, -1e5, 1e-7, np.inf, 6e4, 2.0**-25]
    (held, _) = Function(lambda x: functional.linear(x, weight)).trace({"x": x.shape}).fp16_report([x * 0]).layers
    assert (held.kind, held.lost, held.overflow) == ("CONSTANT", 3 + 3, 2 + 2)  # as weights, and as the layer's result


def test_infinity_in_fp32_is_no_overflow():
    mask = np.array([0, 0, -np.inf, 0], np.float32)
    module = model(Apply(lambda x: x + mask), Softmax(1), shape=(2, 4))
    report = module.trace().fp16_report([image((2, 4))])
    assert sum(row.overflow for row in report.layers) == 0
    assert report.layers[1].largest == np.abs(image((2, 4))[:, [0, 1, 3]]).max()
    assert max(row.error for row in report.layers) < 1e-3
    assert report.suggested_fp32_modules() == ()


def test_the_error_of_one_layer_is_that_of_an_independent_computation():
    linear = Linear(64, 5)
    weight = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32) / 8
    linear.load_state_dict({"weight": weight, "bias": np.zeros(5, np.float32)})
    module = model(times(1 / 3), linear, shape=(7, 64))
    samples = [np.random.default_rng(seed).standard_normal((7, 64)).astype(np.float32) for seed in (1, 2)]
    rows = [row for row in module.trace().fp16_report(samples).layers if row.kind == "MATRIX_MULTIPLY"]
    x = np.concatenate(samples) * np.float32(1 / 3)  # the true input, whatever fp16 made of it before
    exact = x.astype(np.float64) @ weight.T.astype(np.float64)
    product = x.astype(np.float16).astype(np.float64) @ weight.astype(np.float16).T.astype(np.float64)
    expected = relative(product.astype(np.float16), exact)
    assert [row.error for row in rows] == [pytest.approx(expected, rel=1e-3)]
    assert rows[0].largest == pytest.approx(np.abs(exact).max(), rel=1e-6)


def test_modules_add_up_their_layers():
    report = model(times(1 / 3), SiLU()).trace().fp16_report([image()])
    own = [row for row in report.layers if row.path == "1"]
    (module,) = [row for row in report.modules if row.path == "1"]
    assert module.kind == "ACTIVATION, ELEMENTWISE"
    assert module.error == pytest.approx(np.sqrt(sum(row.error**2 for row in own)))
    assert module.largest == max(row.largest for row in own)


def test_what_a_model_itself_keeps_in_fp32_is_neither_listed_nor_chosen():
    module = model(conv(3, 3, 1), SiLU(), Apply(lambda x: (x.float() * 1e6) ** 2 * 1e-12))
    report = module.trace().fp16_report([image()])
    assert [row.path for row in report.layers] == ["0", "1", "1"]
    assert report.suggested_fp32_modules() == ()
    assert np.isfinite(module.trace(fp16=True).run(image())).all()


def test_float_takes_the_result_of_a_kept_module_as_it_was():
    class Composite(Module):
        def __init__(self):
            super().__init__()
            self.big = Apply(lambda x: x * 6e4 * 6e4)

        def forward(self, x):
            return self.big(x).float() * 1e-9

    module = model(Composite(), conv(3, 3, 1))
    network = module.trace(fp16=True, fp32_modules="auto", samples=[image()])
    assert network.graph.precision.fp32_modules == ("0.big",)
    assert relative(network.run(image()), module.trace().run(image())) < 1e-3


def test_layers_of_modules_made_within_forward_belong_to_the_module_around():
    module = model(conv(3, 3, 1), Apply(lambda x: times(1e6)(x) * 1e-6), conv(3, 3, 1))
    report = module.trace().fp16_report([image()])
    assert {row.path for row in report.layers} == {"0", "1", "2"}
    assert report.suggested_fp32_modules() == ("1",)


def test_layers_of_the_models_own_forward_keep_the_model():
    network = Function(lambda x: x * 1e6 * 1e-6).trace(
        {"x": (1, 4)}, fp16=True, fp32_modules="auto", samples=[[image((1, 4))]]
    )
    assert network.graph.precision.fp32_modules == ("",)
    np.testing.assert_allclose(network.run(image((1, 4))), image((1, 4)), rtol=1e-6)


def test_names_that_look_like_patterns():
    class Named(Module):
        def __init__(self):
            super().__init__()
            self.inputs = {"x": (1, 4)}
            self.parts = ModuleDict({"a[0]": Apply(lambda x: x * 6e4 * 6e4), "a0": times(1e-6)})

        def forward(self, x):
            return self.parts["a0"](self.parts["a[0]"](x))

    network = Named().trace(fp16=True, fp32_modules="auto", samples=[image((1, 4))])
    assert network.graph.precision.fp32_modules == ("parts.a[[]0]", "parts.a0")
    assert np.isfinite(network.run(image((1, 4)))).all()


def test_without_strong_typing_the_same_modules_are_chosen(monkeypatch):
    weak = dataclasses.replace(get_backend().capabilities, strongly_typed=False)
    monkeypatch.setattr(get_backend(), "capabilities", weak)
    for name in ("a square, scaled back", "inside a Sequential", "a composite's own sum", "a weight"):
        make, chosen = OVERFLOWING[name]
        network = make().trace(fp16=True, fp32_modules="auto", samples=[image()])
        assert network.graph.precision.fp32_modules == chosen
        assert layers(network, "CAST") == []
        pairs = zip(network.graph.layer_paths, network.graph.layer_dtypes, strict=True)
        pinned = {path.split(".")[0] for path, dtype in pairs if dtype is float32}
        assert pinned == {path.split(".")[0] for path in chosen}


def two_inputs():
    module = Function(lambda first, second: first * 2 + second)
    module.inputs = {"first": (1, 4), "second": (1, 4)}
    return module.trace()


def test_samples_come_in_every_form(capsys):
    a, b = image((1, 4)), image((1, 4), seed=1)
    network = two_inputs()
    forms = [(a, b), [a, b], {"second": b, "first": a}, (torch.from_numpy(a), torch.from_numpy(b))]
    reports = [network.fp16_report(iter([form])) for form in forms]
    assert all(report.errors == reports[0].errors and report.layers == reports[0].layers for report in reports)
    assert reports[0].samples == 1
    again = np.empty_like(a)
    refilled = (again.__setitem__(..., x) or (torch.from_numpy(again), torch.from_numpy(b)) for x in (b, a))
    of_two = network.fp16_report([(b, b), (a, b)])
    assert of_two.errors != reports[0].errors
    assert network.fp16_report(refilled).errors == of_two.errors
    single = model(times(3.0), shape=(1, 4)).trace()
    assert single.fp16_report([a]) == single.fp16_report([torch.from_numpy(a)]) == single.fp16_report([{"input": a}])
    assert capsys.readouterr().err == ""  # a bar is for terminals


def test_the_table_has_the_worst_first():
    report = OVERFLOWING["a square, scaled back"][0]().trace().fp16_report([image(), image(seed=1)])
    lines = str(report).splitlines()
    assert lines[0].split() == ["module", "layers", "max", "|x|", "overflow", "lost", "to", "zero", "error"]
    assert [line.split()[0] for line in lines[2:6]] == [row.path for row in report.modules]
    assert {line.split()[0] for line in lines[2:4]} == {"1", "2"}
    assert lines[2].endswith("inf")
    assert lines[-1] == "all in fp16, on 2 samples: error of output inf"
    assert len({len(line) for line in lines[:6]}) == 1
    assert "... and 3 better ones" in report.table(1)
    assert report.table(4) == report.table()


def test_messages_of_bad_input():
    module = healthy()
    network, x = module.trace(), image()
    auto = {"fp16": True, "fp32_modules": "auto"}
    assert "samples=[images, ...]" in message_of(ArgumentError, module.trace, **auto)
    assert "samples=[images, ...]" in message_of(ArgumentError, module.compile, **auto)
    assert "go together" in message_of(ArgumentError, module.trace, fp16=True, samples=[x])
    for function in (module.trace, module.compile):
        told = message_of(ArgumentError, function, fp16=True, tolerance=0.1)
        assert "a tolerance is of modules that are chosen by it" in told
        assert 'fp32_modules="auto" with samples' in told
    assert "pass fp16=True as well" in message_of(ArgumentError, module.trace, fp32_modules="auto", samples=[x])
    assert "not the string '0'" in message_of(ArgumentError, module.trace, fp16=True, fp32_modules="0")
    assert "there are no samples" in message_of(ArgumentError, network.fp16_report, [])
    assert "there are no samples" in message_of(ArgumentError, module.trace, **auto, samples=[])
    for wrong, kind in ((x, "ndarray"), ({"input": x}, "dict"), (None, "NoneType")):
        message = message_of(ArgumentError, network.fp16_report, wrong)
        assert f"not a {kind}" in message
        assert "samples=[images]" in message
    message = message_of(ShapeError, network.fp16_report, [x, x[0]])
    assert message.startswith("sample 1: input 'input' has the wrong shape")
    assert "received (3, 8, 8)" in message
    assert "sample 0: input 'input' has the wrong type" in message_of(DTypeError, network.fp16_report, [x.astype(int)])
    assert "sample 0: no input is called 'y'" in message_of(ArgumentError, network.fp16_report, [{"y": x}])
    message = message_of(ArgumentError, module.trace(fp16=True).fp16_report, [x])
    assert "traced in float16" in message
    assert "model.trace().fp16_report(samples)" in message


def test_attention_has_the_same_layers_in_either_precision():
    attention = Apply(lambda x: functional.scaled_dot_product_attention(x, x, x * 2))
    x = numbers(1, 4, 8)
    report = model(attention, shape=(1, 4, 8)).trace().fp16_report([x])
    assert "matrix_multiply" in str(report)
    expected = torch.nn.functional.scaled_dot_product_attention(*map(torch.from_numpy, (x, x, x * 2)))
    half = model(attention, shape=(1, 4, 8)).trace(fp16=True).run(x)
    assert 0 < np.abs(half - expected.numpy()).max() < 1e-2


def test_a_forward_that_depends_on_the_precision_has_the_error_that_it_has():
    module = model(Apply(lambda x: (x * 3 if x.dtype.name == "float16" else x) + 1), shape=(1, 4))
    report = module.trace().fp16_report([image((1, 4))])
    assert report.errors == {"output": pytest.approx(relative(3 * image((1, 4)) + 1, image((1, 4)) + 1), rel=1e-2)}
    assert [row.kind for row in report.layers] == ["CONSTANT", "ELEMENTWISE"]


def test_a_model_that_fp16_breaks_for_another_reason_keeps_its_error():
    def forward(x):
        if x.dtype.name == "float16":
            raise DTypeError("only fp32 here")
        return x * 2

    network = model(Apply(forward)).trace({"input": (1, 4)})
    assert message_of(DTypeError, network.fp16_report, [image((1, 4))]) == "only fp32 here"


def test_command_line(tmp_path):
    invoke = CliRunner().invoke
    result = invoke(app, ["fp16", str(WEIGHTS), "--samples", str(PICTURE), "--size", "64", "--rows", "2"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].split()[:2] == ["module", "layers"]
    assert lines[4].startswith("... and ")
    assert "on 1 sample: error of output" in result.output
    assert lines[-1] == "to stay in fp32: none"
    engine = tmp_path / "digits.engine"
    options = ["--size", "64", "--batch", "2", "--fp16", "--fp32-module", "auto", "--samples", str(PICTURE)]
    result = invoke(app, ["build", str(WEIGHTS), "-o", str(engine), *options, "--target", "sm86"])
    assert result.exit_code == 0, result.output
    assert engine.stat().st_size > 1e6


def test_samples_that_tell_nothing_are_told():
    network, x = healthy().trace(), image()
    with pytest.warns(
        UserWarning, match="2 of 3 samples make no number of an output finite.*: sample 1 of output"
    ) as told:
        network.fp16_report([x, np.full_like(x, np.nan), np.full_like(x, np.inf)])
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.fp16_report([x])


def test_the_network_in_fp16_is_traced_once_for_a_report():
    model = Sequential(Conv2d(3, 4, 3), ReLU(), Conv2d(4, 2, 1))
    twin = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1))
    model.load_state_dict(load_random(twin).state_dict())
    network, asked = model.trace({"input": (1, 3, 8, 8)}), []

    def retrace(precision, **options):
        asked.append(precision.fp32_modules)
        return network.retrace(precision, **options)

    counted = dataclasses.replace(network, retrace=retrace)
    report = counted.fp16_report([numbers(1, 3, 8, 8)])
    assert asked == [()]
    assert report.suggested_fp32_modules(1e-9) != ()
    assert all(one != other for one, other in itertools.pairwise(asked[1:]))  # each choice is another
