"""The error that the fp16 report tells is that of the network in fp16, whatever layers an operation has there."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.helpers import EXAMPLES, numbers, strongly_typed, trace
from tests.ops.calls import Call, calls
from tests.ops.table import CASES
from trtnn import float16, get_backend
from trtnn import functional as F
from trtnn.errors import TrtnnError
from trtnn.graph.definition import read_layers
from trtnn.graph.tensor import Tensor
from trtnn.modules import Conv2d, LayerNorm, Module, Softplus

pytestmark = strongly_typed


def error_of(result, exact):
    """The rms of the differences by that of the exact numbers, of those that are finite."""
    result, exact = (np.asarray(x, np.float64) for x in (result, exact))
    finite = np.isfinite(exact)
    with np.errstate(over="ignore", invalid="ignore"):
        differences = np.square(np.where(finite, result - np.where(finite, exact, 0), 0)).sum()
    truth = np.square(np.where(finite, exact, 0)).sum()
    return 0.0 if differences == 0 else np.sqrt(differences / truth) if truth and np.isfinite(differences) else np.inf


def flat(results):
    return [item for result in results for item in flat(result)] if isinstance(results, (list, tuple)) else [results]


def check(exact, half, inputs):
    report = exact.fp16_report([tuple(inputs)])
    pairs = zip(report.errors.items(), flat(exact.run(*inputs)), flat(half.run(*inputs)), strict=True)
    for (name, told), truth, result in pairs:
        if truth.dtype.kind == "f":
            assert told == pytest.approx(error_of(result, truth), rel=1e-6, abs=1e-12), name
    return report


def in_fp16(x):
    """Return what an operation is given: a tensor that is in fp16 where the network is, and no input of it."""
    return x * 1.0 if isinstance(x, Tensor) and x.dtype.is_floating_point else x


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_every_operation(name):
    @settings(max_examples=1, phases=[Phase.generate], database=None, **EXAMPLES)
    @given(data=st.data())
    def draw(data):
        call: Call = data.draw(calls(name, CASES[name]))
        inputs = call.inputs or [np.zeros(1, np.float32)]

        def function(*tensors):
            return call(F, *map(in_fp16, tensors))

        try:
            exact, half = trace(function, *inputs), trace(function, *inputs, fp16=True)
        except TrtnnError:  # of other tests
            return
        check(exact, half, inputs)

    draw()


X = numbers(3, 4, 5, scale=4.0)

OTHER_LAYERS = {  # in fp16 than in fp32
    "softplus": lambda x: x * F.softplus(x).tanh(),
    "logsigmoid": lambda x: F.logsigmoid(x) * x,
    "remainder": lambda x: (x * 3) % 0.7 + x,
    "remainder of tensors": lambda x: (x * 3) % (x.flip(0) + 0.1) + x,
    "fmod": lambda x: F.fmod(x * 3, 0.7) + x,
    "floor_divide": lambda x: x // (x.flip(0) + 0.1) + x,
    "div by floors": lambda x: F.div(x, x.flip(0) + 0.1, rounding_mode="floor") + x,
}


@pytest.mark.parametrize("name", OTHER_LAYERS)
def test_operations_that_have_other_layers_in_fp16(name):
    def function(x):
        return OTHER_LAYERS[name](x * 0.37)

    exact, half = trace(function, X), trace(function, X, fp16=True)
    assert exact.graph.definition.num_layers != half.graph.definition.num_layers
    report = check(exact, half, [X])
    assert report.errors["output"] > 1e-5
    # What the operation carries in fp32 is no row, and what is around it is.
    assert [row.kind for row in report.layers][:2] == ["CONSTANT", "ELEMENTWISE"]
    assert report.layers[-1].kind == "ELEMENTWISE"
    kinds = [kind for kind, _ in read_layers(half.graph.definition, half.graph.trt)]
    in_half = [kind for kind, dtype in zip(kinds, half.graph.layer_dtypes, strict=True) if dtype is float16]
    assert [row.kind for row in report.layers] == [kind for kind in in_half if kind != "CAST"]
    for row in report.layers:
        assert row.error < 1e-3


class Casts(Module):
    """Modules whose layers are in fp32, one behind the other, with a rounding to fp16 between them."""

    def __init__(self, forward):
        super().__init__()
        self.inputs = {"x": (2, 4, 6, 8)}
        self.a, self.norm, self.b = Conv2d(4, 4, 3, padding=1), LayerNorm(8), Conv2d(4, 4, 1)
        self.soft, self.run = Softplus(), forward
        rng = np.random.default_rng(0)
        for _, parameter in self.named_parameters():
            parameter.data = (rng.standard_normal(parameter.shape) / 4).astype(np.float32)

    def forward(self, x):
        return self.run(self, x)


FORWARDS = {
    "the end": lambda m, x: F.gelu(m.b(F.gelu(m.a(x)))),
    "gelu and a norm": lambda m, x: m.b(m.norm(F.gelu(m.a(x)))),
    "log_softmax and a norm": lambda m, x: m.norm(F.log_softmax(m.a(x), 1)),
    "a module of other layers": lambda m, x: m.b(m.soft(m.norm(m.soft(m.a(x))))),
}


@pytest.mark.parametrize("kept", [(), ("a",), ("b",), ("norm",), ("soft",), ("norm", "soft"), ("",)])
@pytest.mark.parametrize("name", FORWARDS)
def test_a_trial_rounds_where_the_network_does(name, kept):
    module, samples = Casts(FORWARDS[name]), [numbers(2, 4, 6, 8, seed=seed) for seed in range(2)]
    exact = module.trace()
    kept = tuple(path for path in kept if path in {*exact.graph.layer_paths, ""})  # not each forward calls all
    half = module.trace(fp16=True, fp32_modules=kept)
    report = exact.fp16_report(samples)
    truth, results = (np.stack([network.run(sample) for sample in samples]) for network in (exact, half))
    trial = report._comparison.trial(report._precision.mixed(kept), lambda: None)
    assert trial.error == pytest.approx(error_of(results, truth), rel=1e-6, abs=1e-12)
    assert (trial.error > 1e-5) == (kept != ("",))


def test_what_overflows_between_two_layers_in_fp32_names_who_cast_it():
    class Wide(Module):
        def forward(self, x):
            return (x.float() * 1e6).to(x.dtype)

    class Norm(Module):
        def forward(self, x):
            return F.normalize(x)

    class Model(Module):
        def __init__(self):
            super().__init__()
            self.inputs, self.wide, self.norm = {"x": (2, 8)}, Wide(), Norm()

        def forward(self, x):
            return self.norm(self.wide(x))

    module, samples = Model(), [numbers(2, 8)]
    report = module.trace().fp16_report(samples)
    assert report.errors == {"output": np.inf}
    kept = report.suggested_fp32_modules()
    assert kept == ("wide",)
    exact, half = module.trace(), module.trace(fp16=True, fp32_modules=kept)
    assert error_of(half.run(samples[0]), exact.run(samples[0])) < 1e-3


@pytest.mark.filterwarnings("ignore:float16 ends")
@pytest.mark.parametrize("kept", [(), ("a",), ("b",), ("",)])
def test_weakly_typed_networks_are_rounded_as_they_were_traced(kept, monkeypatch):
    """Their layers are in fp32, and what was traced in fp16 is what the builder may take there."""
    module, x = Casts(lambda m, x: m.b(F.relu(m.a(x)).masked_fill(x[:, :1] > 9, -1e9).softmax(1))), numbers(2, 4, 6, 8)
    exact, half = module.trace(), module.trace(fp16=True, fp32_modules=kept)
    expected = error_of(half.run(x), exact.run(x))
    backend = get_backend()
    monkeypatch.setattr(backend, "capabilities", replace(backend.capabilities, strongly_typed=False))
    assert error_of(module.trace(fp16=True, fp32_modules=kept).run(x), exact.run(x)) == 0
    report = module.trace().fp16_report([x])
    trial = report._comparison.trial(report._precision.mixed(kept), lambda: None)
    assert trial.error == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert (trial.error > 1e-5) == (kept != ("",))
