"""From a model and samples to scales: in state dicts, files and ``repr``; what is refused, and by what message."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch

import trtnn
from tests.helpers import RUNS_HERE, message_of
from tests.quantization.networks import detector, filled, images, quantize
from trtnn.build.fingerprint import fingerprint
from trtnn.dtypes import int8
from trtnn.errors import ArgumentError, CheckpointError, EngineError, ShapeError, StateDictError
from trtnn.models import create, from_state_dict, identify
from trtnn.modules import BatchNorm2d, Conv2d, Linear, Module, ReLU, Sequential
from trtnn.parameter import Buffer, Parameter
from trtnn.quantization import calibration, take_scales
from trtnn.quantization.quantizing import forget
from trtnn.quantization.ranges import METHODS, Seen

SHAPE = (1, 4, 16, 16)


def digest(model: Module) -> str:
    graph = model.trace().graph
    return fingerprint(graph.definition, graph.trt)


def test_scales_are_the_ranges_by_the_largest_number():
    model = filled(Sequential(Conv2d(4, 8, 3, 1, 1), ReLU(), Conv2d(8, 4, 1)))
    model.inputs = {"input": SHAPE}
    samples = images(3, *SHAPE)
    inner = model.trace(outputs=["1"])
    largest = max(np.abs(inner.run(x)[1]["1"]).max() for x in samples)
    quantize(model, samples, method="max", skip=())
    np.testing.assert_allclose(model[0].input_scale.item(), max(np.abs(x).max() for x in samples) / 127, rtol=1e-6)
    np.testing.assert_allclose(model[2].input_scale.item(), largest / 127, rtol=1e-5)
    np.testing.assert_allclose(model[0].weight_scale.data, np.abs(model[0].weight.data).max((1, 2, 3)) / 127, rtol=1e-6)
    assert model[0].quant_max.item() == 127


def test_weights_are_measured_with_their_batchnorm():
    model = filled(Sequential(Conv2d(4, 8, 1, bias=False), BatchNorm2d(8)))
    model.inputs = {"input": SHAPE}
    quantize(model, images(1, *SHAPE))
    factor = model[1].weight.data / np.sqrt(model[1].running_var.data + 1e-5)
    expected = np.abs(model[0].weight.data[:, :, 0, 0] * factor[:, None]).max(1) / 127
    np.testing.assert_allclose(model[0].weight_scale.data, expected, rtol=1e-5)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt"])
def test_a_file_with_scales_declares_a_model_quantised(tmp_path, suffix):
    model = quantize(detector(), images(2, *SHAPE), "fp8")
    trtnn.save(model.state_dict(), tmp_path / f"a{suffix}")
    other = detector()
    before = digest(other)
    other.load_state_dict(trtnn.load(tmp_path / f"a{suffix}"))
    assert digest(other) == digest(model) != before
    assert list(other.state_dict()) == list(model.state_dict())


@pytest.mark.parametrize("name", ["yolov5n", "yolov8n", "yolov3-tiny", "resnet18"])
def test_a_family_is_told_by_a_state_dict_with_scales(name):
    model = filled(create(name))
    size = 64
    model.inputs = {"images": (1, 3, size, size)}
    plain = identify(model.state_dict())
    quantize(model, images(1, 1, 3, size, size))
    state = {f"module.{key}": array for key, array in model.state_dict().items()}  # as DataParallel wraps it
    assert identify(state) == plain
    other = from_state_dict(state)
    other.inputs = model.inputs
    assert digest(other) == digest(model)


def test_a_model_without_scales_builds_the_same_network_as_before():
    model = detector()
    before = digest(model)
    quantize(model, images(1, *SHAPE))
    assert digest(model) != before
    forget(model)
    assert digest(model) == before
    assert not any("scale" in name for name in model.state_dict())


def test_scales_are_shown():
    model = quantize(detector(), images(1, *SHAPE))
    assert f"int8, input_scale={model.head.input_scale.item():.4g}, weight_scale=(6,)" in repr(model.head)
    summary = model.trace().summary()
    assert "quantised to int8: stem.conv" in summary
    assert "quantize" in summary
    assert {"head.input_scale", "head.weight_scale", "head.quant_max"} <= {name for name, _ in model.named_buffers()}


def test_quantising_again_measures_again():
    model = quantize(detector(), images(1, *SHAPE), method="max")
    first = dict(model.state_dict())
    quantize(model, [x * 2 for x in images(1, *SHAPE)], "fp8", "max", skip=["head"])
    np.testing.assert_allclose(model.stem.conv.input_scale.item(), first["stem.conv.input_scale"] * 2 * 127 / 448)
    assert not hasattr(model.head, "input_scale")


def test_last_layers_stay_as_they_are_where_nothing_is_said():
    model = trtnn.quantize(detector(), images(1, *SHAPE))
    assert not hasattr(model.head, "input_scale")
    assert hasattr(model.stem.conv, "input_scale"), "it reads 4 channels, and is rounded before its activation"
    assert hasattr(model.stem.bn, "output_scale")
    assert hasattr(model.join.conv, "input_scale")
    alone = filled(Sequential(Conv2d(4, 8, 1)))
    alone.inputs = {"input": SHAPE}
    assert hasattr(trtnn.quantize(alone, images(1, *SHAPE))[0], "input_scale"), "nothing else would be left"


def test_a_last_layer_that_is_called_before_as_well_stays_as_it_is():
    class Again(Module):
        """A convolution whose second call is the last layer."""

        def __init__(self):
            super().__init__()
            self.inputs = {"x": (1, 8, 4, 4)}
            self.before, self.last = chain(4), Conv2d(8, 8, 1)

        def forward(self, x):
            return self.last(self.before(self.last(x)))

    model = trtnn.quantize(filled(Again()), images(1, 1, 8, 4, 4))
    left = [name for name, module in model.named_modules() if isinstance(module, Conv2d) and not module._buffers]
    assert left == ["last"]


def test_fp8_leaves_narrow_convolutions_as_well():
    model = trtnn.quantize(detector(), images(1, *SHAPE), "fp8")
    assert not model.stem.conv._buffers
    assert hasattr(model.first.conv, "input_scale")
    everything = quantize(detector(), images(1, *SHAPE), "fp8").state_dict()
    assert "stem.conv.input_scale" in everything
    assert not any(name.endswith("output_scale") for name in everything)


def chain(layers: int) -> Module:
    """Return a chain of convolutions."""
    model = filled(Sequential(*(Conv2d(8, 8, 1) for _ in range(layers))))
    model.inputs = {"input": (1, 8, 4, 4)}
    return model


@pytest.mark.parametrize(("layers", "left"), [(9, 4), (8, 4), (6, 3), (5, 2), (3, 1), (2, 1)])
def test_fp8_leaves_four_last_layers_but_not_more_than_half(layers, left):
    model = trtnn.quantize(chain(layers), images(1, 1, 8, 4, 4), "fp8")
    assert [hasattr(layer, "input_scale") for layer in model] == [True] * (layers - left) + [False] * left


def test_fp8_counts_layers_on_the_shortest_way_to_a_result():
    class Two(Module):
        """A short way and a long one behind the same layers."""

        def __init__(self):
            super().__init__()
            self.inputs = {"x": (1, 8, 4, 4)}
            self.trunk, self.way, self.short = chain(12), chain(5), Conv2d(8, 8, 1)

        def forward(self, x):
            x = self.trunk(x)
            return self.short(x), self.way(x)

    model = trtnn.quantize(filled(Two()), images(1, 1, 8, 4, 4), "fp8")
    left = [name for name, module in model.named_modules() if isinstance(module, Conv2d) and not module._buffers]
    assert left == ["trunk.9", "trunk.10", "trunk.11", "way.1", "way.2", "way.3", "way.4", "short"]


def test_what_fp8_does_by_itself_and_int8_does_not():
    def state(dtype: str, **how: object) -> dict[str, np.ndarray]:
        return dict(trtnn.quantize(chain(8), images(4, 1, 8, 4, 4), dtype, **how).state_dict())

    every = {"method": "max", "adaptive_rounding": True, "correct_bias": True}
    mine, asked = state("fp8"), state("fp8", **every)
    assert list(mine) == list(asked)
    for name, array in asked.items():
        np.testing.assert_array_equal(mine[name], array)
    before = chain(8).state_dict()
    assert (mine["0.weight"] != before["0.weight"]).any()
    assert (mine["0.bias"] != before["0.bias"]).any()
    for quantised in (state("int8"), state("fp8", adaptive_rounding=False, correct_bias=False)):
        for name, array in before.items():
            np.testing.assert_array_equal(quantised[name], array)
    for name, array in state("int8", method="mse").items():
        np.testing.assert_array_equal(state("int8")[name], array)


def test_biases_make_up_for_weights_that_were_rounded_adaptively():
    """They are corrected to what the layers gave before their weights were changed."""
    samples = [x + 1 for x in images(6, 1, 8, 4, 4)]
    true = np.mean([chain(8)[0:1].trace({"input": (1, 8, 4, 4)}).run(x) for x in samples], axis=(0, 1, 3, 4))
    errors = []
    for corrected in (False, True):
        model = trtnn.quantize(chain(8), samples, "fp8", modules=["0"], correct_bias=corrected)
        mean = np.mean([model[0:1].trace({"input": (1, 8, 4, 4)}).run(x) for x in samples], axis=(0, 1, 3, 4))
        errors.append(np.abs(mean - true).max())
    assert errors[0] > 3e-3
    assert errors[1] < 1e-3


def test_modules_and_skip_choose():
    model = quantize(detector(), images(1, *SHAPE), modules=["first", "second*", "head"], skip=["second"])
    quantised = [name.removesuffix(".weight_scale") for name in model.state_dict() if name.endswith("weight_scale")]
    assert quantised == ["first.conv", "head"]


@pytest.mark.parametrize("method", ["max", "percentile", "entropy", "mse"])
def test_each_method_and_numpys_own_count(method):
    model = filled(Sequential(Linear(512, 4)))
    model.inputs = {"input": (16, 512)}
    samples = images(8, 16, 512)
    samples[3][0, 0] = 30.0  # one far from all others
    quantize(model, samples, method=method)
    magnitudes = np.abs(np.stack(samples)).ravel()
    reach = model[0].input_scale.item() * 127
    if method == "max":
        assert reach == pytest.approx(30)
    elif method == "percentile":
        assert reach == pytest.approx(np.percentile(magnitudes, 99.99), abs=30 / 2048 * 2)
    elif method == "mse":
        errors = {r: _squared_error(magnitudes, r) for r in np.linspace(1, 30, 291)}
        assert _squared_error(magnitudes, reach) <= min(errors.values()) * 1.02
    else:
        assert 3 < reach < 10


def _squared_error(values: np.ndarray, reach: float) -> float:
    steps = np.clip(np.round(values / (reach / 127)), -128, 127)
    return float(((steps * (reach / 127) - values) ** 2).sum())


@pytest.mark.parametrize("largest", [3.3e38, 1.2e-36])
def test_numbers_at_the_ends_of_float32_are_counted(largest):
    """The end of the last bin may be beyond float32, and the width of all below what it divides by."""
    x = (np.linspace(-1, 1, 4001) * largest).astype(np.float32)
    seen = Seen(with_histogram=True)
    seen.add(torch.from_numpy(x))
    seen.add(torch.from_numpy(x / 4))
    assert seen.counts.sum() == 2 * x.size
    assert seen.counts[: int(largest / 2 / seen.width)].sum() == pytest.approx(1.5 * x.size, rel=0.05)


def test_more_numbers_than_float32_counts_are_counted():
    x = torch.zeros(1 << 5, (1 << 19) + 100)
    x[0, :1700] = torch.linspace(1, 3, 1700)  # 0.0101 %
    seen, threads = Seen(with_histogram=True), torch.get_num_threads()
    torch.set_num_threads(1)  # each of several counts a part alone
    try:
        seen.add(x)
    finally:
        torch.set_num_threads(threads)
    assert seen.counts[0] == x.numel() - 1700
    assert seen.counts.sum() == x.numel()
    expected = np.percentile(x.numpy(), 99.99)
    assert METHODS["percentile"](seen, int8) == pytest.approx(expected, abs=2 * seen.width)


def test_samples_are_streamed():
    alive, most = 0, 0

    class Sample(np.ndarray):
        def __del__(self):
            nonlocal alive
            alive -= self.base is None

    def stream():
        nonlocal alive, most
        for x in images(20, *SHAPE):
            alive, sample = alive + 1, np.array(x).view(Sample)
            alive -= 0
            most = max(most, alive)
            yield sample
            del sample

    model = quantize(detector(), stream(), method="max")
    expected = max(np.abs(x).max() for x in images(20, *SHAPE)) / 127
    assert model.stem.conv.input_scale.item() == pytest.approx(expected)


@pytest.mark.parametrize("form", [lambda x: x, torch.from_numpy, lambda x: (x,), lambda x: {"x": x}])
def test_samples_that_are_looked_at_again_may_be_one_array_that_is_filled_anew(form):
    samples = images(5, *SHAPE)

    def refilled():
        x = np.empty(SHAPE, np.float32)
        for sample in samples:
            x[...] = sample
            yield form(x)
        x[...] = np.nan

    options = {"adaptive_rounding": True, "correct_bias": True}
    expected = quantize(detector(), samples, **options).state_dict()
    model = quantize(detector(), refilled(), **options)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    report = model.trace().precision_report(refilled())
    assert str(report) == str(model.trace().precision_report(samples))


def test_an_interrupted_calibration_goes_on(tmp_path, monkeypatch):
    samples = images(6, *SHAPE)
    whole = quantize(detector(), samples).state_dict()
    monkeypatch.setattr(calibration, "_SAVE_EVERY_S", 0.0)
    cache, model = tmp_path / "seen.npz", detector()

    def interrupted():
        yield from samples[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(model, interrupted(), calibration_cache=cache)
    assert not any("scale" in name for name in model.state_dict())
    held, added = cache.read_bytes(), []
    add = calibration.Calibration._add
    monkeypatch.setattr(calibration.Calibration, "_add", lambda *args: (added.append(args[1]), add(*args)))
    result = quantize(model, iter(samples), calibration_cache=cache).state_dict()
    assert set(added) == {4, 5}, "what was seen already is not looked at again"
    for name, array in whole.items():
        np.testing.assert_array_equal(result[name], array, err_msg=name)
    cache.write_bytes(held)
    for others in ([samples[0], samples[0], *samples[2:]], samples[:3]):
        message = message_of(CheckpointError, lambda others=others: quantize(model, others, calibration_cache=cache))
        assert "is a calibration on other samples" in message
    assert "it has seen 4, and here are 3" in message
    message = message_of(CheckpointError, lambda: quantize(detector(), samples, method="max", calibration_cache=cache))
    assert "is a calibration of another network, or by another method" in message
    for content in (b"no zip", held[: len(held) // 2], held[:-1], held.replace(b"PK", b"KP"), b""):
        cache.write_bytes(content)
        message = message_of(CheckpointError, lambda: quantize(model, samples, calibration_cache=cache))
        assert "is no calibration" in message
    message = message_of(ArgumentError, lambda: quantize(model, samples, calibration_cache=tmp_path))
    assert message == f"{tmp_path} is a folder, and a calibration is kept in a file"


# -- bad input --------------------------------------------------------------------------------------------------------


def refused(error, *args, **kwargs) -> str:
    """Return what ``quantize`` says of arguments, which leave the scales of a model as they were."""
    model = quantize(detector(), images(1, *SHAPE), method="max")
    before = {name: array.copy() for name, array in model.state_dict().items()}
    message = message_of(error, lambda: quantize(model, *args, **kwargs))
    assert list(before) == list(model.state_dict())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    return message


def test_no_samples():
    assert "there are no samples" in refused(ArgumentError, [])
    assert "samples are an iterable of inputs" in refused(ArgumentError, images(1, *SHAPE)[0])


def test_a_sample_of_another_shape_is_named():
    assert "sample 2" in refused(ShapeError, [*images(2, *SHAPE), *images(1, 1, 3, 16, 16)])


def test_samples_that_are_not_finite_are_named_with_the_module():
    message = refused(ArgumentError, [*images(1, *SHAPE), np.full(SHAPE, np.nan, np.float32)])
    assert "sample 1" in message
    assert "stem.conv" in message


def test_samples_of_zeros():
    assert "reads nothing but zeros in 2 samples" in refused(ArgumentError, [np.zeros(SHAPE, np.float32)] * 2)


def test_modules_that_cannot_be_quantised():
    message = refused(ArgumentError, images(1, *SHAPE), modules=["pool"])
    assert "'pool', which is nothing that can be quantised" in message
    assert "stem.conv, first.conv, second.conv, join.conv, head" in message
    assert "headd" in refused(ArgumentError, images(1, *SHAPE), skip=["headd"])
    assert "nothing is left to quantise" in refused(ArgumentError, images(1, *SHAPE), skip=["*"])
    assert "modules takes a list" in refused(ArgumentError, images(1, *SHAPE), modules="head")


@pytest.mark.parametrize("declare", [trtnn.quantize, take_scales])
def test_what_is_no_module_is_refused(declare):
    message = message_of(ArgumentError, lambda: declare(torch.nn.Linear(2, 2), images(1, *SHAPE)))
    assert message.startswith("scales are declared in a trtnn.Module, not in a torch.nn.modules.linear.Linear")
    assert "trtnn.from_torch(module, example)" in message
    assert "trtnn.network.Network" in message_of(ArgumentError, lambda: declare(detector().trace(), []))


def test_unknown_types_and_methods():
    assert "int8" in refused(ArgumentError, images(1, *SHAPE), "int4")
    assert "entropy" in refused(ArgumentError, images(1, *SHAPE), method="entropie")
    assert "fp8 has none" in refused(ArgumentError, images(1, *SHAPE), "fp8", "entropy")


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, np.float32(1e-40)])
@pytest.mark.parametrize("name", ["input_scale", "weight_scale", "output_scale"])
def test_a_scale_is_a_positive_finite_number(name, scale):
    model = quantize(detector(), images(1, *SHAPE))
    module, path = (model.second.act, "second.act") if name == "output_scale" else (model.head, "head")
    getattr(module, name).data.reshape(-1)[-1] = scale
    message = message_of(ArgumentError, model.trace)
    assert f"{name} of" in message
    assert path in message
    assert f"{scale:g}" in message


def test_numbers_of_scales_that_no_layer_takes():
    model = quantize(detector(), images(1, *SHAPE))
    for module, name, data, said in (
        (model.second.act, "output_scale", np.ones(3), "output_scale of second.act holds 3 numbers"),
        (model.head, "quant_max", np.full(2, 127.0), "quant_max of head holds 2 numbers"),
        (model.head, "product_scale", np.ones(3), "product_scale of head holds 3 scales\n  a product has two operands"),
    ):
        before = module._buffers.get(name)
        setattr(module, name, Buffer(data.shape, data=data.astype(np.float32)))
        assert said in message_of(ArgumentError, model.trace)
        repr(model)
        delattr(module, name)
        if before is not None:
            setattr(module, name, before)
    model.trace()


def test_scales_of_another_model():
    model, other = detector(), detector()
    state = quantize(other, images(1, *SHAPE)).state_dict()
    wrong = {**state, "first.nothing.input_scale": np.float32(1), "first.nothing.quant_max": np.float32(127)}
    assert "unexpected: first.nothing.input_scale" in message_of(StateDictError, lambda: model.load_state_dict(wrong))
    assert not any("scale" in name for name in model.state_dict())
    model.load_state_dict({**state, "head.weight_scale": np.ones(5, np.float32)})
    assert "weight_scale of" in message_of(ArgumentError, model.trace)
    assert "5 scales for 6 channels" in message_of(ArgumentError, model.trace)


def test_half_of_the_scales_is_missing():
    state = quantize(detector(), images(1, *SHAPE)).state_dict()
    for gone, left in itertools.permutations(("input_scale", "weight_scale")):
        model = detector()
        model.load_state_dict({name: array for name, array in state.items() if name != f"head.{gone}"})
        assert f"has a{'n' if left[0] == 'i' else ''} {left} and no {gone}" in message_of(ArgumentError, model.trace)
    model = detector()
    model.load_state_dict({name: array for name, array in state.items() if name != "head.quant_max"})
    assert "127 for int8, 448 for fp8" in message_of(ArgumentError, model.trace)
    model = detector()
    model.load_state_dict({name: array for name, array in state.items() if "head" not in name or "scale" not in name})
    assert "head has a quant_max and no scale\n  its scales are missing" in message_of(ArgumentError, model.trace)
    quantised = quantize(detector(), images(1, *SHAPE))
    missing = [name for name in quantised.state_dict() if name.endswith(("scale", "quant_max"))]
    plain = {name: array for name, array in state.items() if "scale" not in name and "quant_max" not in name}
    message = message_of(StateDictError, lambda: quantised.load_state_dict(plain))
    assert re.findall(r"missing: ([\w.]+) \(", message) == missing[:10]
    assert f"missing: {len(missing) - 10} more\n" in message


# -- on a GPU ---------------------------------------------------------------------------------------------------------


def test_an_engine_with_inner_outputs_gives_the_same_scales(monkeypatch):
    """The engine is stood in for by the reference of the network that it would be built of."""
    built = []

    class Engine:
        def __init__(self, network) -> None:
            self.network = network

        def __enter__(self):
            return self

        def __exit__(self, *_) -> None:
            pass

        def run_flat(self, **arrays):
            return self.network.run_flat(**arrays)

    def build(network, **options) -> Engine:
        built.append(options)
        return Engine(network)

    monkeypatch.setattr(calibration, "check_gpu", lambda: None)
    monkeypatch.setattr(calibration.Network, "build", build)
    samples = images(3, *SHAPE)
    expected = quantize(detector(), samples).state_dict()
    result = quantize(detector(), samples, on_gpu=True).state_dict()
    assert built == [{"optimization_level": 0, "tf32": False}]
    assert list(result) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(result[name], array, rtol=1e-6, err_msg=name)


def test_a_gpu_that_is_not_there():
    if not RUNS_HERE:
        assert "no GPU was found" in refused(EngineError, images(1, *SHAPE), on_gpu=True)
        assert "no GPU was found" in refused(EngineError, images(1, *SHAPE), modules="fastest")


def test_numbers_as_good_as_zero_have_no_scale_that_a_gpu_takes_as_zero():
    """A BatchNorm's weight that decayed for long is such a number."""
    model = filled(Sequential(Conv2d(4, 8, 1, bias=False), BatchNorm2d(8), ReLU(), Conv2d(8, 4, 1)))
    model[1].weight.data = np.array([1e-42, 1e-39, 0, 1, -1, 1e-20, 1, 1], np.float32)
    model.inputs = {"input": SHAPE}
    (x,) = images(1, *SHAPE)
    expected = model.trace().run(x)
    quantize(model, [x])
    assert (model[0].weight_scale.data >= np.finfo(np.float32).tiny).all()
    np.testing.assert_array_equal(model[0].weight_scale.data[:3], 1)
    assert np.abs(model.trace().run(x) - expected).max() < 0.02 * np.abs(expected).max()
    message = message_of(ArgumentError, lambda: quantize(model, [x * np.float32(1e-38)]))
    assert "0 reads nothing but zeros in 1 samples" in message


@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_weights_that_are_not_finite_are_refused(number):
    model = filled(Sequential(Conv2d(4, 8, 1), ReLU(), Conv2d(8, 4, 1)))
    model.inputs = {"input": SHAPE}
    model[2].weight.data[3, 0] = number
    message = message_of(ArgumentError, lambda: quantize(model, images(1, *SHAPE), modules=["2"]))
    assert "weights that are quantised are NaN or infinite, in 2 (output channel 3)\n" in message
    assert not any(name.endswith("scale") for name in model.state_dict())
    model[0].weight.data[1, 0] = number  # all are told, not what the next one reads of the first
    message = message_of(ArgumentError, lambda: quantize(model, images(1, *SHAPE)))
    assert "NaN or infinite, in 0 (output channel 1), 2 (output channel 3)\n" in message


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_beside_scales_that_are_there(number, dtype):
    model = filled(Sequential(Conv2d(4, 8, 1), ReLU(), Conv2d(8, 4, 1)))
    model.inputs = {"input": SHAPE}
    quantize(model, images(1, *SHAPE), dtype)
    state = {name: array.copy() for name, array in model.state_dict().items()}
    state["0.weight"][5, 0] = state["2.weight"][3, 1] = number
    model.load_state_dict(state)
    message = message_of(ArgumentError, model.trace)
    assert "NaN or infinite, in 0 (output channel 5), 2 (output channel 3)\n" in message
    floats = filled(Sequential(Conv2d(4, 8, 1), ReLU(), Conv2d(8, 4, 1)))
    floats.load_state_dict({name: array for name, array in state.items() if name.endswith(("weight", "bias"))})
    assert np.isnan(floats.trace({"input": SHAPE}).run(*images(1, *SHAPE))).any()  # which says of itself that it is so


@pytest.mark.parametrize("shape", [(5, 8), (2, 5, 8), (2, 3, 5, 8)])
@pytest.mark.parametrize("fp16", [False, True])
def test_a_product_with_a_parameter_is_quantised_as_a_linear_layer_is(shape, fp16):
    class Product(Module):
        def __init__(self) -> None:
            super().__init__()
            self.inputs, self.weight = {"x": shape}, Parameter((8, 6))

        def forward(self, x):
            return x @ self.weight

    class Layer(Module):
        def __init__(self) -> None:
            super().__init__()
            self.inputs, self.linear = {"x": shape}, Linear(8, 6, bias=False)

        def forward(self, x):
            return self.linear(x)

    product, layer = filled(Product()), Layer()
    layer.linear.weight.data = np.ascontiguousarray(product.weight.numpy().T)
    (x,) = images(1, *shape)
    for model in (product, layer):
        quantize(model, [x])
    np.testing.assert_array_equal(product.weight_scale.numpy(), layer.linear.weight_scale.numpy())
    result, expected = (model.trace(fp16=fp16).run(x) for model in (product, layer))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
