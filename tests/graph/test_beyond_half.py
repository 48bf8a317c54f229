"""Numbers that float16 does not hold, in fp16 networks: fills at its end, and what is carried in fp32."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import trtnn
from tests.helpers import ONE_TARGET, assert_close, layers, message_of, numbers, strongly_typed, trace
from trtnn import Buffer, Parameter, get_backend
from trtnn import functional as F
from trtnn.errors import DTypeError, UnsupportedError
from trtnn.graph.definition import read_layers
from trtnn.modules import Linear, Module, ReLU, Sequential

LEAST = float(torch.finfo(torch.float32).min)
END = 65504.0
FILL = "ignore:float16 ends at 65504:UserWarning"
x = numbers(2, 4, 6) * np.float32(40)
x[1] -= 200  # what is less than -16 beside -65504 is -infinity in fp16
x = x.astype(np.float16).astype(np.float32)
mask = np.zeros((2, 4, 6), bool)
mask[0, :, 3:] = mask[1] = True  # of the second all is masked


def written(x, mask, value):
    x = x.clone()
    x[mask] = value
    return x


def columns(x, value):
    return x.index_fill(-1, torch.tensor([1, 4]) if isinstance(x, torch.Tensor) else np.array([1, 4]), value)


# What puts one number into a tensor, as trtnn and torch both take it: of operations, tensors and the number.
FILLS = {
    "masked_fill": lambda ops, x, mask, value: x.masked_fill(mask, value),
    "masked_fill in place": lambda ops, x, mask, value: (x + 0).masked_fill_(mask, value),
    "where": lambda ops, x, mask, value: ops.where(mask, value, x),
    "where of the other": lambda ops, x, mask, value: ops.where(~mask, x, value),
    "x.where": lambda ops, x, mask, value: x.where(~mask, value),
    "where of one dimension": lambda ops, x, mask, value: ops.where(mask[0, 0], value, x),
    "where of two numbers": lambda ops, x, mask, value: ops.where(mask, value, 1.5),
    "a mask as an index": lambda ops, x, mask, value: written(x, mask, value),
    "a place as an index": lambda ops, x, mask, value: written(x, (slice(None), 1), value),
    "index_fill": lambda ops, x, mask, value: columns(x, value),
    "pad": lambda ops, x, mask, value: (F if ops is F else torch.nn.functional).pad(x, (1, 2), value=value),
    "moved afterwards": lambda ops, x, mask, value: ops.where(mask, value, x)[:, 1:].reshape(2, 18).transpose(0, 1),
}


@strongly_typed
@pytest.mark.parametrize("value", [-1e9, LEAST, 7e4, -65520, 10**6])
@pytest.mark.parametrize("name", FILLS)
def test_a_fill_stands_at_the_end_of_fp16(name, value):
    with pytest.warns(UserWarning, match="float16 ends at 65504") as caught:
        network = trace(lambda x, mask: FILLS[name](F, x, mask, value), x, mask, fp16=True)
    (warning,) = caught
    assert f"{value:g} stands at {math.copysign(END, value):g} in the model's own forward" in str(warning.message)
    assert warning.filename.endswith("helpers.py")  # the line that called trtnn, which is theirs
    half = torch.from_numpy(x).half().float()
    expected = FILLS[name](torch, half, torch.from_numpy(mask), math.copysign(END, value))
    np.testing.assert_array_equal(network.run(x, mask), expected.numpy())
    assert all(layer.get_output(0).dtype.name == "HALF" for layer in layers(network, "SELECT"))


@strongly_typed
@pytest.mark.parametrize(
    "kind", [np.float32, np.array, lambda v: np.full((1, 1), v), torch.tensor, lambda v: torch.full((1,), v)]
)
def test_a_fill_may_be_an_array_of_one_element(kind):
    with pytest.warns(UserWarning, match="-1e\\+09 stands at -65504"):
        network = trace(lambda x, mask: F.where(mask, kind(-1e9), x), x, mask, fp16=True)
    expected = np.where(mask, -END, x.astype(np.float16))
    np.testing.assert_array_equal(network.run(x, mask), expected)


@strongly_typed
@pytest.mark.parametrize("value", [65519.0, -65504.0, -1e4, math.inf, -math.inf])
@pytest.mark.parametrize("name", FILLS)
def test_a_fill_that_fp16_holds_is_what_it_is_without_a_word(name, value):
    network = trace(lambda x, mask: FILLS[name](F, x, mask, value), x, mask, fp16=True)
    half = torch.from_numpy(x).half()
    expected = FILLS[name](torch, half, torch.from_numpy(mask), float(np.float16(value)))
    np.testing.assert_array_equal(network.run(x, mask), expected.float().numpy())


class Attention(Module):
    """Masks scores by a number."""

    def __init__(self, value=-1e9):
        super().__init__()
        self.value = value

    def forward(self, x, mask):
        return x.masked_fill(mask, self.value)


class Layers(Module):
    """Several of them, in modules of their own."""

    def __init__(self, *values):
        super().__init__()
        self.inputs = {"x": x.shape, "mask": trtnn.Input(mask.shape, "bool")}
        for i, value in enumerate(values):
            setattr(self, f"layer{i}", Attention(value))
        self.count = len(values)

    def forward(self, x, mask):
        return [getattr(self, f"layer{i}")(x, mask) for i in range(self.count)]


def test_one_warning_names_the_modules_the_numbers_and_the_way_to_keep_them():
    with pytest.warns(UserWarning, match="float16 ends at 65504") as caught:
        Layers(-1e9, 1e5, -1e9, -3.0).trace(fp16=True)
    (warning,) = caught
    assert str(warning.message) == (
        "float16 ends at 65504, so a number that fills a tensor is not what it was: "
        "-1e+09 stands at -65504 in layer0, layer2; 100000 stands at 65504 in layer1. "
        "To keep it: fp32_modules=['layer0', 'layer1', 'layer2']"
    )
    assert warning.filename == __file__


def test_a_warning_of_many_modules_is_short():
    with pytest.warns(UserWarning, match="in layer0, layer1, layer2, layer3, layer4, layer5 and 4 more") as caught:
        Layers(*[-1e9] * 10).trace(fp16=True)
    assert "layer6" not in str(caught[0].message)


def test_fp32_modules_keep_what_the_warning_names():
    network = Layers(-1e9, 1e5).trace(fp16=True, fp32_modules=["layer0", "layer1"])
    kept, other = network.run(x, mask)
    assert (kept[mask] == np.float32(-1e9)).all()
    assert (other[mask] == np.float32(1e5)).all()
    with pytest.warns(UserWarning, match="100000 stands at 65504 in layer1. To keep it: fp32_modules=\\['layer1'\\]"):
        kept, other = Layers(-1e9, 1e5).trace(fp16=True, fp32_modules=["layer0"]).run(x, mask)
    assert (kept[mask] == np.float32(-1e9)).all()
    assert (other[mask] == END).all()


def test_fp32_and_float_keep_a_fill_without_a_word():
    (result,) = Layers(-1e9).trace().run(x, mask)
    np.testing.assert_array_equal(result, np.where(mask, np.float32(-1e9), x))
    network = trace(lambda x, mask: x.float().masked_fill(mask, LEAST), x, mask, fp16=True)
    np.testing.assert_array_equal(network.run(x, mask), np.where(mask, np.float32(LEAST), x))


@pytest.mark.filterwarnings(FILL)
def test_whole_numbers_are_no_fill():
    """What torch makes of 1e9 as a whole number is that, whatever floating type the network computes in."""

    def write(y):
        y = y.int()
        y[y > 1] = 1e9
        return y.masked_fill(y < 0, 10**8)

    y = np.float32([[3, 0, -2]])
    np.testing.assert_array_equal(trace(write, y, fp16=True).run(y), [[10**9, 0, 10**8]])


@strongly_typed
def test_a_number_that_is_computed_with_is_no_fill():
    """A product with 1e6 is not one with 65504."""
    function = lambda x: F.scatter(x, 1, np.array([[0, 2]]), value=1e6, reduce="multiply")  # noqa: E731
    assert "do not fit in float16" in message_of(DTypeError, trace, function, (1, 3), fp16=True)


# -- carried in fp32 --------------------------------------------------------------------------------------------------

additive = np.where(numbers(4, 6, seed=3) > 0, np.float32(-1e9), np.float32(0))
additive[0] = -1e9

# What adds a mask to scores, as trtnn and torch both take it: of operations, scores and 1 where they are masked.
SUMS = {
    "a product": lambda ops, x, m: x + m * -1e9,
    "one less": lambda ops, x, m: x + (1 - (1 - m)) * LEAST,
    "a product by a tensor": lambda ops, x, m: x + ops.tensor(-1e9) * m,
    "a difference": lambda ops, x, m: x - 1e9 * m,
    "two masks": lambda ops, x, m: x + (m * -1e9 + (1 - m) * -1e7),
    "a negative": lambda ops, x, m: x + -(m * 1e9),
    "moved": lambda ops, x, m: (x[:, None] + (m * -1e9)[:, None]).reshape(8, 6),
    "joined": lambda ops, x, m: ops.cat([x + m * -1e9, x], 1),
    "full": lambda ops, x, m: ops.where(m > 0, ops.full((), LEAST), x),
    "full, added": lambda ops, x, m: x + ops.where(m > 0, ops.full((1,), -1e9), ops.tensor(0.0)),
    "full_like": lambda ops, x, m: ops.where(m > 0, ops.full_like(x, -1e9), x),
    "no less than": lambda ops, x, m: ops.maximum(x + m * -1e9, ops.tensor(LEAST)),
    "scaled": lambda ops, x, m: (x + m * -1e9) / 1e6,
    "in place": lambda ops, x, m: (x + 0).add_(m * -1e9),
    "an array": lambda ops, x, m: x + (torch.from_numpy(additive) if ops is torch else additive),
}


@strongly_typed
@pytest.mark.parametrize("name", SUMS)
def test_sums_are_carried_in_fp32_up_to_a_softmax(name):
    network = trace(lambda x, m: SUMS[name](F, x, m).softmax(-1), x, mask.astype(np.float32), fp16=True)
    expected = SUMS[name](torch, torch.from_numpy(x).half().float(), torch.from_numpy(mask).float()).softmax(-1)
    result = network.run(x, mask.astype(np.float32))
    assert expected.isfinite().all()
    np.testing.assert_allclose(result, expected.numpy(), rtol=1e-3, atol=1e-4)
    (softmax,) = layers(network, "SOFTMAX")
    assert softmax.get_output(0).dtype.name == "FLOAT"
    behind = trace(lambda x, m: SUMS[name](F, x, m).softmax(-1) * 2, x, mask.astype(np.float32), fp16=True)
    assert behind.graph.layer_dtypes[-2].name == "float16"  # the rest is in fp16; the last casts the output


@strongly_typed
@pytest.mark.filterwarnings(FILL)
def test_a_score_and_a_fill_are_added_in_fp32():
    """In fp16 each would be -infinity, and its softmax NaN; so it is where several masks and a bias come together."""
    bias = numbers(4, 6, seed=5) * np.float32(30) - 100

    def scores(ops, x, mask, fill, bias):
        other = ops.where(mask, fill, 0.0)
        return (x + other[:, None].expand(2, 2, 4, 6).reshape(4, 4, 6)[1:3] + bias + other).softmax(-1)

    network = trace(lambda x, mask: scores(F, x, mask, -1e9, bias), x, mask, fp16=True)
    given = torch.from_numpy(x).half().float()
    half = torch.from_numpy(bias).half().float()
    expected = scores(torch, given, torch.from_numpy(mask), -END, half)
    result = network.run(x, mask)
    assert expected.isfinite().all()
    assert (expected[0, :, 3:] == 0).all()
    np.testing.assert_allclose(result, expected.numpy(), rtol=2e-3, atol=1e-4)
    assert layers(network, "SOFTMAX")[0].get_output(0).dtype.name == "FLOAT"


@strongly_typed
@pytest.mark.filterwarnings(FILL)
def test_a_fill_before_a_softmax_stays_in_fp16():
    network = trace(lambda x, mask: x.masked_fill(mask, -1e9).reshape(8, 6).softmax(-1) * 1, x, mask, fp16=True)
    assert layers(network, "SOFTMAX")[0].get_output(0).dtype.name == "HALF"
    assert layers(network, "ELEMENTWISE")[0].get_output(0).dtype.name == "HALF"  # behind it there is no fill
    expected = torch.from_numpy(x).masked_fill(torch.from_numpy(mask), -1e9).reshape(8, 6).softmax(-1)
    np.testing.assert_allclose(network.run(x, mask), expected.numpy(), rtol=1e-3, atol=1e-4)


@strongly_typed
@pytest.mark.filterwarnings(FILL)
def test_a_fill_is_not_compared_with_numbers_beyond():
    """It stands for -1e9, and is not equal to it."""
    for compare in (
        lambda y: y == -1e9,
        lambda y: y > -1e6,
        lambda y: (y + 1).reshape(8, 6) < -1e6,
        lambda y: F.where(y > 0, y, F.full((), 1e6)) == -1e9,
    ):
        message = message_of(
            DTypeError, trace, lambda x, mask, c=compare: c(x.masked_fill(mask, -1e9)), x, mask, fp16=True
        )
        assert "numbers of the model's own forward do not fit in float16" in message
    near = trace(lambda x, mask: x.masked_fill(mask, -1e9) < -1e4, x, mask, fp16=True)
    np.testing.assert_array_equal(near.run(x, mask), mask)
    exact = trace(lambda x: x < -1e6, x, fp16=True)
    assert not exact.run(x).any()


@strongly_typed
def test_what_a_module_in_fp32_has_filled_is_carried_behind_it():
    class Mask(Module):
        def forward(self, mask):
            return F.where(mask, -1e9, 0.0)[:, None]

    class Scores(Module):
        def __init__(self):
            super().__init__()
            self.inputs = {"x": x.shape, "mask": trtnn.Input(mask.shape, "bool")}
            self.mask = Mask()

        def forward(self, x, mask):
            added = self.mask(mask)
            return (x[:, None] + added).softmax(-1), (added == -1e9)

    network = Scores().trace(fp16=True, fp32_modules=["mask"])  # as the warning says
    result, filled = network.run(x, mask)
    expected = torch.from_numpy(x[:, None]) + torch.from_numpy(np.where(mask, np.float32(-1e9), 0)[:, None])
    np.testing.assert_allclose(result, expected.softmax(-1).numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(filled[:, 0], mask)


@strongly_typed
def test_attention_takes_a_mask_to_add_that_fp16_does_not_hold():
    q, k, v = (numbers(2, 3, 4, 8, seed=seed) for seed in range(3))
    square = additive[:, :4]
    network = trace(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, square), q, k, v, fp16=True)
    expected = torch.nn.functional.scaled_dot_product_attention(*map(torch.from_numpy, (q, k, v, square)))
    assert_close(network.run(q, k, v), expected, 3e-3)


class Biased(Module):
    """Adds what it holds to scores."""

    def __init__(self, kind):
        super().__init__()
        self.inputs = {"x": x.shape}
        self.held = Buffer(4, 6, data=additive) if kind == "buffer" else Parameter(4, 6)
        self.held.data = additive

    def forward(self, x):
        return (x + self.held).softmax(-1)


def test_a_buffer_is_carried_and_a_weight_that_does_not_fit_stays_an_error():
    result = Biased("buffer").trace(fp16=True).run(x)
    np.testing.assert_allclose(result, (torch.from_numpy(x) + torch.from_numpy(additive)).softmax(-1), atol=2e-2)
    message = message_of(DTypeError, Biased("weight").trace, fp16=True)
    assert "weights of the model's own forward do not fit in float16\n  the largest is 1e+09" in message
    model = Sequential(Biased("weight"))
    model.inputs = {"input": x.shape}
    assert 'fp32_modules=("0",)' in message_of(DTypeError, model.trace, fp16=True)


def test_a_parameter_is_no_fill():
    class Learned(Module):
        def __init__(self):
            super().__init__()
            self.value = Parameter()
            self.value.data = np.array(-1e9, np.float32)

        def forward(self, x):
            return F.where(x > 0, x, self.value).softmax(-1)

    message = message_of(DTypeError, Learned().trace, {"x": x.shape}, fp16=True)
    assert "weights of the model's own forward do not fit in float16" in message


READS = {
    "an activation": lambda x: (x * 1e6).relu(),
    "a product of matrices": lambda x: (x + additive) @ np.ones((6, 2), np.float32),
    "a pooling": lambda x: F.max_pool1d(x / 1e6, 2),
    "the largest ones": lambda x: F.topk(x + additive, 2)[0],
    "a mean": lambda x: (x + additive).mean(-1),
    "log_softmax": lambda x: (x + additive).log_softmax(-1),
    "after a move": lambda x: (x * 1e6).reshape(2, 24).relu(),
}


@strongly_typed
@pytest.mark.parametrize("name", READS)
def test_what_reads_such_numbers_in_fp16_is_refused(name):
    message = message_of(DTypeError, trace, READS[name], x, fp16=True)
    assert "numbers of the model's own forward do not fit in float16" in message
    assert "ends at 65504" in message
    assert "carried in fp32 up to a softmax" in message
    network = trace(lambda x: READS[name](x.float()), x, fp16=True)  # as the message of a module's numbers says
    expected = trace(READS[name], x).run(x)
    np.testing.assert_allclose(network.run(x), expected, rtol=1e-6)


def test_the_module_that_may_be_kept_is_named():
    class Scaled(Module):
        def forward(self, x):
            return x * 1e6

    model = Sequential(Scaled(), ReLU())
    model.inputs = {"input": (2, 3)}
    message = message_of(DTypeError, model.trace, fp16=True)
    assert "numbers of 0 do not fit in float16\n  the largest is 1e+06" in message
    assert 'keep the module in fp32: fp32_modules=("0",)' in message
    given = numbers(2, 3)
    result = model.trace(fp16=True, fp32_modules=["0", "1"]).run(given)
    np.testing.assert_allclose(result, np.maximum(given * np.float32(1e6), 0))


@strongly_typed
def test_outputs_and_fp32_modules_read_them_as_they_are():
    class Scaled(Module):
        def forward(self, x):
            return x * 1e6

    model = Sequential(Scaled(), ReLU())
    model.inputs = {"input": (2, 3)}
    given = numbers(2, 3)
    network = model.trace(fp16=True, fp32_modules=["1"], outputs=["0"])
    result, inner = network.run(given)
    exact = given.astype(np.float16).astype(np.float32) * np.float32(1e6)
    np.testing.assert_array_equal(inner["0"], exact)
    np.testing.assert_array_equal(result, np.maximum(exact, 0))
    later = model.trace(fp16=True, fp32_modules=["1"]).run(given, outputs=["0"])[1]["0"]
    np.testing.assert_array_equal(later, exact)


@strongly_typed
def test_they_are_known_while_tracing():
    def scaled(x):
        return x * (F.tensor(-1e9).item() * 1e-9) * F.full((2,), 1e5).tolist()[0] + F.tensor(1e5).int().item()

    np.testing.assert_allclose(trace(scaled, (2, 3), fp16=True).run(np.ones((2, 3), np.float32)), 0, atol=1e-3)


def test_a_view_of_what_was_changed_is_refused_as_elsewhere():
    def function(x):
        y = x * 1e6
        view = y[0]
        y += 1
        return view + 1

    assert "shares memory" in message_of(UnsupportedError, trace, function, x, fp16=True)


# -- the rest of the road ---------------------------------------------------------------------------------------------


class Whole(Module):
    """Scores, masked and added to, a softmax, and a head."""

    def __init__(self, fill):
        super().__init__()
        self.inputs = {"x": x.shape, "mask": trtnn.Input(mask.shape, "bool")}
        self.scores = Attention(fill)
        self.head = Linear(6, 3)
        self.head.load_state_dict({"weight": numbers(3, 6, seed=1), "bias": numbers(3, seed=2)})

    def forward(self, x, mask):
        scores = self.scores(x * 0.1, mask) + mask * -1e9
        return self.head(scores.softmax(-1))


partly = mask & (np.arange(6) > 2)


@strongly_typed
def test_the_report_of_fp16_knows_a_fill_from_an_overflow():
    model, samples = Whole(-1e9), [(x, partly)]
    report = model.trace().fp16_report(samples)  # without a word: nothing was asked for in fp16
    assert [row.overflow for row in report.layers] == [0] * len(report.layers)
    (fill,) = [row for row in report.layers if row.path == "scores" and row.kind == "SELECT"]
    assert fill.largest == END
    assert max(report.errors.values()) < 1e-2
    assert report.suggested_fp32_modules() == ()
    with pytest.warns(UserWarning, match="in scores"):
        network = model.trace(fp16=True, fp32_modules="auto", samples=samples)
    np.testing.assert_allclose(network.run(x, partly), model.trace().run(x, partly), rtol=1e-2, atol=1e-2)


@strongly_typed
def test_the_report_counts_a_fill_that_reaches_an_output():
    model = Layers(-1e9)
    report = model.trace().fp16_report([(x, partly)])
    assert [row.overflow for row in report.layers] == [0] * len(report.layers)
    assert 0.99 < report.errors["output_0"] < 1.01  # -65504 in place of -1e9
    assert report.suggested_fp32_modules() == ("layer0",)


@strongly_typed
def test_the_report_tells_a_fill_beside_weights_that_do_not_fit():
    model = Sequential(Linear(6, 6), Linear(6, 3))
    model.load_state_dict({n: numbers(*p.shape) for n, p in model.named_parameters()})
    model[1].weight.data = model[1].weight.data * np.float32(1e6)

    class Both(Whole):
        def __init__(self):
            super().__init__(-1e9)
            self.head = model

        def forward(self, x, mask):
            return self.head(self.scores(x * 0.1, mask).softmax(-1))

    report = Both().trace().fp16_report([(x, partly)])
    assert {row.path for row in report.layers if row.overflow} == {"head.1"}
    assert report.suggested_fp32_modules() == ("head.1",)


@pytest.mark.filterwarnings(FILL)
def test_a_network_with_them_is_built():
    engine = Whole(LEAST).compile(fp16=True, **ONE_TARGET)
    assert engine.description["precision"] == "float16"


@pytest.fixture
def weak(monkeypatch):
    backend = get_backend()
    capabilities = dataclasses.replace(backend.capabilities, strongly_typed=False, targets=False)
    monkeypatch.setattr(backend, "capabilities", capabilities)


def test_without_strong_types_the_numbers_are_the_same_and_what_is_carried_is_pinned(weak):
    with pytest.warns(UserWarning, match="-1e\\+09 stands at -65504 in scores"):
        network = Whole(-1e9).trace(fp16=True)
    read = read_layers(network.graph.definition, network.graph.trt)
    types = {layer.name: dtype for (_, layer), dtype in zip(read, network.graph.layer_dtypes, strict=True)}
    assert types["/softmax"].name == types["/elementwise_3"].name == "float32"
    assert types["scores"].name == "float16"
    assert END in [
        float(np.abs(layer.weights).max()) for layer in layers(network, "CONSTANT") if "scores" in layer.name
    ]
    np.testing.assert_allclose(network.run(x, partly), Whole(-1e9).trace().run(x, partly), rtol=1e-5, atol=1e-6)


SMALLEST = 2.0**-24  # that fp16 has


class Eps(Module):
    def __init__(self, eps):
        super().__init__()
        self.eps = eps

    def forward(self, x):
        return x / (x.norm(dim=-1, keepdim=True) + self.eps)


def normed(*numbers) -> Sequential:
    model = Sequential(*map(Eps, numbers))
    model.inputs = {"input": (2, 4)}
    return model


def test_one_warning_names_the_numbers_that_are_0_in_fp16_and_the_way_to_keep_them():
    model = normed(1e-8, 1e-6, 1e-8, 1e-12)
    with pytest.warns(UserWarning, match="float16 has no number") as caught:
        network = model.trace(fp16=True)
    (warning,) = caught
    assert str(warning.message) == (
        "float16 has no number between 0 and 6e-08, so these are 0, and keep nothing from being 0: 1e-08 in 0, 2; "
        "1e-12 in 3. To keep them: fp32_modules=['0', '2', '3'], or a larger number"
    )
    assert warning.filename == __file__
    rows = np.array([[0, 0, 0, 0], [1, 2, 3, 4]], np.float32)
    assert np.isnan(network.run(rows)[0]).all(), "and that is what it warns of"
    kept = model.trace(fp16=True, fp32_modules=["0", "2", "3"])
    np.testing.assert_array_equal(kept.run(rows)[0], 0)


@pytest.mark.parametrize("number", [SMALLEST, 2.0**-25 * 1.001, 0.0, 1.0, -SMALLEST])
def test_a_number_that_fp16_holds_is_added_without_a_word(number):
    assert normed(number).trace(fp16=True).graph.lost == {}


@pytest.mark.parametrize("number", [2.0**-25, -1e-8, np.float32(1e-10), np.full((1, 1), 1e-9, np.float32)])
def test_a_number_that_is_0_in_fp16_is_told_however_it_comes(number):
    assert np.float16(number) == 0
    with pytest.warns(UserWarning, match="so these are 0"):
        normed(number).trace(fp16=True)
    normed(number).trace()
