"""Scales of ModelOpt and pytorch-quantization, of torch.ao and of ONNX files, by the paths of modules."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from tests.helpers import ONE_TARGET, assert_close, layers, message_of
from tests.quantization.networks import detector, filled, images, quantize
from trtnn import modules
from trtnn.errors import ArgumentError, CheckpointError
from trtnn.modules import Conv2d, Linear, ReLU, Sequential
from trtnn.quantization import take_scales

SHAPE = (1, 4, 16, 16)


def two() -> Sequential:
    model = filled(Sequential(Conv2d(4, 8, 3, 1, 1), ReLU(), Conv2d(8, 4, 1)))
    model.inputs = {"input": SHAPE}
    return model


@pytest.mark.parametrize(("dtype", "largest"), [("int8", 127), ("fp8", 448)])
def test_ranges_of_modelopt(dtype, largest):
    model = two()
    state = {
        "0.input_quantizer._amax": torch.tensor(3.0),
        "0.weight_quantizer._amax": torch.full((8, 1, 1, 1), 2.0),
        "2.input_quantizer._amax": torch.tensor(5.0),
        "2.weight_quantizer._amax": torch.tensor(1.5),  # of all channels together
    }
    take_scales(model, {**{n: torch.from_numpy(a) for n, a in model.state_dict().items()}, **state}, dtype)
    assert model[0].input_scale.item() == pytest.approx(3 / largest)
    np.testing.assert_allclose(model[0].weight_scale.data, np.full(8, 2 / largest), rtol=1e-6)
    assert model[2].weight_scale.shape == (1,)
    assert len(layers(model.trace(), "QUANTIZE")) == 4


def normed() -> Sequential:
    """Return a convolution with a BatchNorm whose factors are of both signs, and a linear layer behind."""
    model = filled(Sequential(Conv2d(4, 8, 3, bias=False), modules.BatchNorm2d(8), ReLU(), Conv2d(8, 4, 1)))
    model[1].weight.data = np.array([-2, -1, 0, 1e-42, 0.5, 1, 2, 3], np.float32)
    model.inputs = {"input": SHAPE}
    return model


def rounded(x: torch.Tensor, amax: torch.Tensor) -> torch.Tensor:
    """Return what NVIDIA's packages give in fake quantisation."""
    return torch.clamp((x * (127 / amax)).round(), -128, 127) * (amax / 127)


@pytest.mark.parametrize("underscore", ["", "_"])
@pytest.mark.parametrize("by_channel", [True, False])
def test_weights_that_were_rounded_before_their_batchnorm(underscore, by_channel):
    model = normed()
    twin = nn.Sequential(nn.Conv2d(4, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    twin.load_state_dict({n: torch.from_numpy(a.copy()) for n, a in model.state_dict().items()}, strict=False)
    ranges = {
        index: (
            torch.tensor(2.0),
            twin[index].weight.detach().abs().amax((1, 2, 3) if by_channel else (0, 1, 2, 3), True),
        )
        for index in (0, 3)
    }
    take_scales(
        model,
        {
            f"{index}.{underscore}{what}_quantizer._amax": amax
            for index, both in ranges.items()
            for what, amax in zip(("input", "weight"), both, strict=True)
        },
    )
    (x,) = images(1, *SHAPE, seed=5)
    with torch.no_grad():
        y = torch.from_numpy(x)
        for index, layer in enumerate(twin):
            if index in ranges:
                of_input, of_weight = ranges[index]
                y = torch.conv2d(rounded(y, of_input), rounded(layer.weight, of_weight), layer.bias)
            else:
                y = layer(y)
    assert_close(model.trace().run(x), y.numpy(), 1e-5)
    assert (model[0].weight_scale.data >= np.finfo(np.float32).tiny).all()


def test_scales_of_transposed_convolutions_are_of_output_channels():
    model = filled(Sequential(modules.ConvTranspose2d(4, 6, 2, 2), ReLU(), modules.ConvTranspose2d(6, 6, 2)))
    model.inputs = {"input": SHAPE}
    amax = [np.abs(model[index].weight.data).max((0, 2, 3), keepdims=True) for index in (0, 2)]
    inputs = {"0.input_quantizer._amax": np.float32(3), "2.input_quantizer._amax": np.float32(2)}
    take_scales(model, {**inputs, "0.weight_quantizer._amax": amax[0], "2.weight_quantizer._amax": amax[1]})
    np.testing.assert_allclose(model[2].weight_scale.data, amax[1].ravel() / 127, rtol=1e-6)
    of_inputs = {"0.weight_quantizer._amax": amax[0], "2.weight_quantizer._amax": np.ones((6, 1, 1, 1), np.float32)}
    message = message_of(ArgumentError, lambda: take_scales(model, {**inputs, **of_inputs}))
    assert "'2' are along axis 0 of its weights, whose output channels are axis 1" in message
    flat = {"0.weight_quantizer._amax": amax[0].ravel(), "2.weight_quantizer._amax": amax[1].ravel()}
    message = message_of(ArgumentError, lambda: take_scales(model, {**inputs, **flat}))
    assert "'2' may be of its input channels or of its output channels, 6 each" in message
    assert "(1, 6, 1, 1)" in message


def prepared(symmetric: bool = True):
    """Return a module that was trained with torch's quantisation, in eager mode, with its observers off."""
    from torch.ao import quantization as tq

    def fake(scheme, **how):
        return tq.FakeQuantize.with_args(
            observer=how.pop("observer"), quant_min=-128, quant_max=127, dtype=torch.qint8, qscheme=scheme, **how
        )

    activation = torch.per_tensor_symmetric if symmetric else torch.per_tensor_affine
    config = tq.QConfig(
        fake(activation, observer=tq.MovingAverageMinMaxObserver),
        fake(torch.per_channel_symmetric, observer=tq.MovingAveragePerChannelMinMaxObserver, ch_axis=0),
    )
    torch.manual_seed(0)
    parts = tq.QuantStub(), nn.Conv2d(4, 8, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1), tq.DeQuantStub()
    model = nn.Sequential(*parts).train()
    model.qconfig = config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tq.prepare_qat(model, inplace=True)
    for x in images(4, *SHAPE):
        model(torch.from_numpy(x))
    model.eval().apply(tq.disable_observer)
    return model


def test_a_module_trained_with_torchs_quantisation_gives_the_same_numbers():
    twin = prepared()
    parts = modules.Identity(), Conv2d(4, 8, 3, 1, 1), ReLU(), modules.MaxPool2d(2), Conv2d(8, 4, 1), modules.Identity()
    model = Sequential(*parts)
    model.inputs = {"input": SHAPE}
    state = twin.state_dict()
    model.load_state_dict({n: state[n] for n in ("1.weight", "1.bias", "4.weight", "4.bias")})
    take_scales(model, state)
    (x,) = images(1, *SHAPE, seed=9)
    with torch.no_grad():
        expected = twin(torch.from_numpy(x))
    network = model.trace()
    kernels = [layer for layer in layers(network, "CONVOLUTION") if layer.num_inputs > 1]
    assert len(kernels) == 2
    step = float(state["4.activation_post_process.scale"])
    difference = np.abs(network.run(x) - expected.numpy())
    # torch's scale of a channel is its largest weight by 127.5, which lies on a half: torch, which multiplies by the
    # inverse, may go the other way there, so that a few outputs are a step off.
    assert difference.max() <= step * 1.01
    assert (difference > step / 2).mean() < 0.06
    network.build(**ONE_TARGET)


class Repeated(modules.Module):
    """An activation that is called behind each of three convolutions, one of which is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stub, self.a, self.b = modules.Identity(), Conv2d(4, 8, 3, 1, 1), Conv2d(8, 8, 1)
        self.act, self.head = modules.LeakyReLU(0.25), Conv2d(8, 4, 1)
        self.inputs = {"x": SHAPE}

    def forward(self, x):
        y = self.act(self.a(self.stub(x)))
        z = self.act(self.b(y))
        return self.head(self.act(self.b(z))), y, z


def test_the_scale_of_what_a_module_returns_is_of_each_of_its_calls():
    """torch.ao rounds what each call returns."""
    model = filled(Repeated())
    steps = {"stub": 2.0**-4, "act": 2.0**-5}
    state = {f"{path}.activation_post_process.scale": torch.tensor(step) for path, step in steps.items()}
    state |= {f"{path}.weight_fake_quant.scale": torch.tensor([2.0**-6]) for path in ("a", "b", "head")}
    take_scales(model, state)

    def fake(x: torch.Tensor, step: float) -> torch.Tensor:
        return torch.fake_quantize_per_tensor_affine(x, step, 0, -128, 127)

    def conv(x: torch.Tensor, layer: Conv2d) -> torch.Tensor:
        weight = fake(torch.from_numpy(layer.weight.data), 2.0**-6)
        return torch.conv2d(x, weight, torch.from_numpy(layer.bias.data), padding=layer.padding)

    def act(x: torch.Tensor) -> torch.Tensor:
        return fake(nn.functional.leaky_relu(x, 0.25), steps["act"])

    (x,) = images(1, *SHAPE, seed=5)
    y = act(conv(fake(torch.from_numpy(x), steps["stub"]), model.a))
    z = act(conv(y, model.b))
    network = model.trace()
    for result, expected in zip(network.run(x), (conv(act(conv(z, model.b)), model.head), y, z), strict=True):
        difference = np.abs(result - expected.numpy())
        assert (difference > 1e-5).mean() < 2e-3  # a sum beside a half goes either way
    assert all(module.input_scale.item() == steps["act"] for module in (model.b, model.head))
    network.build(**ONE_TARGET)


def test_other_zeros_are_refused():
    message = message_of(CheckpointError, lambda: take_scales(two(), prepared(symmetric=False).state_dict()))
    assert "rounds around another number than 0" in message
    assert "torch.per_tensor_symmetric" in message


@pytest.mark.parametrize(("most", "is_uint8"), [(255, True), (127, False)])
def test_scales_of_uint8_are_refused_though_it_rounds_around_0(most, is_uint8):
    from torch.ao import quantization as tq

    fake = tq.FakeQuantize(tq.MovingAverageMinMaxObserver, 0, most, dtype=torch.quint8)
    fake(torch.rand(50))
    state = {f"0.activation_post_process.{name}": value for name, value in fake.state_dict().items()}
    assert not state["0.activation_post_process.zero_point"].any()
    model = filled(Sequential(modules.Identity(), Conv2d(4, 8, 1)))
    model.inputs = {"input": SHAPE}
    if is_uint8:
        message = message_of(CheckpointError, lambda: take_scales(model, state))
        assert message.startswith("0.activation_post_process is of uint8, since its observer saw numbers of 255 steps")
        assert "quantise symmetrically" in message
        assert "input_scale" not in model[1]._buffers
    else:
        take_scales(model, state)
        assert model[1].input_scale.item() == pytest.approx(fake.scale.item())
    assert "is of int8, and not of fp8" in message_of(CheckpointError, lambda: take_scales(model, state, "fp8"))


def test_scales_of_ones_own_model_tell_their_type():
    state = quantize(two(), images(1, *SHAPE), "fp8").state_dict()
    assert "0.quant_max is of 448, and not of int8" in message_of(CheckpointError, lambda: take_scales(two(), state))
    taken = take_scales(two(), state, "fp8")
    assert taken[0].input_scale.item() == state["0.input_scale"].item()


def test_observers_that_no_fake_quantisation_uses():
    model = filled(Sequential(modules.Identity(), Conv2d(4, 8, 1)))
    model.inputs = {"input": SHAPE}
    ends = {"min_val": torch.tensor(-1.0), "max_val": torch.tensor(2.5)}
    take_scales(model, {f"0.activation_post_process.{name}": value for name, value in ends.items()})
    assert model[1].input_scale.item() == pytest.approx(2.5 / 127)


def test_the_range_of_a_histogram_observer_is_that_of_its_own_search():
    from torch.ao import quantization as tq

    ends = {"dtype": torch.qint8, "quant_min": -128, "quant_max": 127}
    observer = tq.HistogramObserver(qscheme=torch.per_tensor_symmetric, **ends)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        observer(torch.randn(100_000, generator=generator))
    observer(torch.tensor([40.0]))  # one far from all others
    model = filled(Sequential(modules.Identity(), Conv2d(4, 8, 1)))
    model.inputs = {"input": SHAPE}
    for dtype, largest in (("int8", 127), ("fp8", 448)):
        take_scales(model, {f"0.activation_post_process.{n}": v for n, v in observer.state_dict().items()}, dtype)
        reach = observer.calculate_qparams()[0].item() * 127.5
        assert model[1].input_scale.item() == pytest.approx(reach / largest, rel=1e-6)
    assert reach < 30


# -- ONNX -------------------------------------------------------------------------------------------------------------


def onnx_file(path, model, zero: int = 0, kind: type | None = np.int8, axis: int = 0, norm=None):
    """Write a file as torch's exporter does: Q/DQ before a convolution and before a Gemm, and on their weights.

    Args:
        zero, kind: the zero point of what they read, and its type; where that is None, there is no zero point.
        axis: of the scales of the Gemm's weights.
        norm: a BatchNorm behind the convolution.
    """
    nodes, arrays = [], []

    def held(name: str, array) -> str:
        arrays.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def rounded(name: str, scale: str, zeros: list[str], **axis) -> str:
        nodes.append(helper.make_node("QuantizeLinear", [name, scale, *zeros], [f"{name}_q"], **axis))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", scale, *zeros], [f"{name}_dq"], **axis))
        return f"{name}_dq"

    nothing = [] if kind is None else [held("zero", kind(zero))]
    eight, five = [held("zeros8", np.zeros(8, np.int8))], [held("zeros5", np.zeros(5, np.int8))]
    x = rounded("input", held("sx", np.float32(0.05)), nothing)
    w = held("0.weight", model[0].weight.data)
    w = rounded(w, held("sw", np.linspace(0.01, 0.02, 8).astype(np.float32)), eight, axis=0)
    nodes.append(helper.make_node("Conv", [x, w, held("0.bias", model[0].bias.data)], ["y"], name="/0/Conv"))
    if norm is not None:
        of_norm = [
            held(f"norm.{name}", getattr(norm, name).data) for name in ("weight", "bias", "running_mean", "running_var")
        ]
        nodes.append(helper.make_node("BatchNormalization", ["y", *of_norm], ["n"], name="/1/BatchNormalization"))
    nodes.append(helper.make_node("Flatten", ["n" if norm is not None else "y"], ["flat"]))
    y = rounded("flat", held("sy", np.float32(0.125)), nothing)
    v = rounded(held("onnx::Gemm_7", model[2].weight.data), held("sv", np.full(5, 0.02, np.float32)), five, axis=axis)
    nodes.append(helper.make_node("Gemm", [y, v], ["z"], name="/2/Gemm", transB=1))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 4, 4, 4])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 5])],
        arrays,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)]), path)


def small() -> Sequential:
    model = filled(Sequential(Conv2d(4, 8, 1), modules.Flatten(), Linear(128, 5)))
    model.inputs = {"input": (1, 4, 4, 4)}
    return model


def test_an_onnx_file_with_quantize_layers(tmp_path):
    model = small()
    onnx_file(tmp_path / "a.onnx", model)
    take_scales(model, tmp_path / "a.onnx")
    assert model[0].input_scale.item() == pytest.approx(0.05)
    np.testing.assert_allclose(model[0].weight_scale.data, np.linspace(0.01, 0.02, 8), rtol=1e-6)
    assert model[2].input_scale.item() == pytest.approx(0.125)
    evaluator = ReferenceEvaluator(str(tmp_path / "a.onnx"))
    (x,) = images(1, 1, 4, 4, 4)
    (expected,) = evaluator.run(None, {"input": x})
    bias = model[2].bias.data
    assert_close(model.trace().run(x), expected + bias, 1e-5)


def test_an_onnx_file_with_a_batchnorm_behind_rounded_weights(tmp_path):
    model = filled(Sequential(Conv2d(4, 8, 1), modules.BatchNorm2d(8), modules.Flatten(), Linear(128, 5)))
    model[1].weight.data = np.linspace(-2, 3, 8, dtype=np.float32)
    model.inputs = {"input": (1, 4, 4, 4)}
    plain = Sequential(model[0], model[2], model[3])
    onnx_file(tmp_path / "a.onnx", plain, norm=model[1])
    file = onnx.load(tmp_path / "a.onnx")
    file.graph.node[-1].name = "/3/Gemm"
    onnx.save(file, tmp_path / "a.onnx")
    take_scales(model, tmp_path / "a.onnx")
    (x,) = images(1, 1, 4, 4, 4)
    (expected,) = ReferenceEvaluator(str(tmp_path / "a.onnx")).run(None, {"input": x})
    assert_close(model.trace().run(x), expected + model[3].bias.data, 1e-5)


def test_bad_onnx_files(tmp_path):
    model = small()
    onnx_file(tmp_path / "a.onnx", model, axis=1)
    message = message_of(CheckpointError, lambda: take_scales(model, tmp_path / "a.onnx"))
    assert "onnx::Gemm_7_dq has scales along axis 1, and the output channels of /2/Gemm are axis 0" in message
    onnx_file(tmp_path / "a.onnx", model, zero=3)
    message = message_of(CheckpointError, lambda: take_scales(model, tmp_path / "a.onnx"))
    assert "rounds around another number than 0" in message
    for kind in (np.uint8, None):  # which is uint8 as well
        onnx_file(tmp_path / "a.onnx", model, kind=kind)
        message = message_of(CheckpointError, lambda: take_scales(model, tmp_path / "a.onnx"))
        assert message.startswith("input_dq is of uint8, and not of int8")
    onnx_file(tmp_path / "a.onnx", model)
    assert "is of int8, and not of fp8" in message_of(
        CheckpointError, lambda: take_scales(model, tmp_path / "a.onnx", "fp8")
    )
    (tmp_path / "b.onnx").write_bytes(b"\xff\x00\x01")
    assert "is no ONNX file" in message_of(CheckpointError, lambda: take_scales(model, tmp_path / "b.onnx"))


def test_a_node_that_onnxruntime_fused_is_of_its_layer(tmp_path):
    model = small()
    onnx_file(tmp_path / "a.onnx", model)
    file = onnx.load(tmp_path / "a.onnx")
    file.graph.node[-1].name = "/2/MatMul/MatMulAddFusion"
    onnx.save(file, tmp_path / "a.onnx")
    take_scales(model, tmp_path / "a.onnx")
    assert model[2].input_scale.item() == pytest.approx(0.125)
    file.graph.node[-1].name = "/9/MatMul/MatMulAddFusion"
    onnx.save(file, tmp_path / "a.onnx")
    message = message_of(ArgumentError, lambda: take_scales(model, tmp_path / "a.onnx"))
    assert "'9.MatMul', which the model has not" in message


def test_scales_of_the_model_itself():
    model = filled(Conv2d(4, 8, 3))
    model.inputs = {"input": SHAPE}
    take_scales(model, {"_input_quantizer._amax": np.float32(3), "_weight_quantizer._amax": np.float32(2)})
    assert model.input_scale.item() == pytest.approx(3 / 127)
    assert model.weight_scale.data.tolist() == pytest.approx([2 / 127])


@pytest.mark.parametrize("names", ["ab", "b", "a"])
def test_a_module_of_several_names_has_scales_by_any_of_them(names):
    """torch's state dicts have all names."""
    model = modules.Module()
    model.a = model.b = filled(Linear(8, 8))
    model.forward, model.inputs = (lambda x: model.b(model.a(x))), {"x": (2, 8)}
    ends = {"input_quantizer._amax": np.float32(3), "weight_quantizer._amax": np.float32(2)}
    take_scales(model, {f"{name}.{end}": value for name in names for end, value in ends.items()})
    assert model.a.input_scale.item() == pytest.approx(3 / 127)
    assert len(layers(model.trace(), "QUANTIZE")) == 4  # of each call what it reads, and the weights
    assert "int8, input_scale=0.02362, weight_scale=0.01575" in repr(model)  # one for all channels, in a shape of (1,)


def test_scales_that_no_layer_takes_are_told():
    layer = {"0.input_quantizer._amax": np.float32(1), "0.weight_quantizer._amax": np.ones(8, np.float32)}
    with pytest.warns(
        UserWarning, match=r"scales are left out of 1, which have no layer with weights: what they read is"
    ):
        take_scales(two(), {**layer, "1.input_quantizer._amax": np.float32(2)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        take_scales(two(), layer)


def test_what_else_quantisers_hold_is_told():
    layer = {"0.input_quantizer._amax": np.float32(1), "0.weight_quantizer._amax": np.ones(8, np.float32)}
    with pytest.warns(UserWarning, match=r"scales are left out: 1\.q_bmm_quantizer\._amax; nothing is known"):
        take_scales(two(), {**layer, "1.q_bmm_quantizer._amax": np.float32(2)})
    smooth = {"0.input_quantizer._pre_quant_scale": np.full(4, 0.5, np.float32)}
    message = message_of(CheckpointError, lambda: take_scales(two(), {**layer, **smooth}))
    assert message.startswith("0.input_quantizer multiplies by a pre_quant_scale first")
    take_scales(two(), {**layer, "0.input_quantizer._pre_quant_scale": np.ones(4, np.float32)})


# -- bad input --------------------------------------------------------------------------------------------------------


def refused(state, **options) -> str:
    """Return what is said of scales, which leave those of a model as they were."""
    model = quantize(two(), images(1, *SHAPE))
    before = model[0].input_scale.item()
    message = message_of(ArgumentError, lambda: take_scales(model, state, **options))
    assert model[0].input_scale.item() == before
    return message


def test_bad_input():
    weight = {"0.weight_quantizer._amax": np.ones(8, np.float32)}
    assert "there are no scales in it" in refused(two().state_dict())
    assert "'9', which the model has not" in refused({"9.input_quantizer._amax": np.float32(1)})
    stub = {
        "quant.activation_post_process.min_val": np.float32(0),
        "quant.activation_post_process.max_val": np.float32(1),
    }
    assert "such as QuantStub, is an Identity of the model; from_torch leaves such out" in refused(stub)
    message = refused({"activation_post_process_0.min_val": np.float32(0), "0.weight": np.ones((8, 4, 1, 1))})
    assert ".activation_post_process.min_val" in message
    assert "no name such as activation_post_process_0.min_val tells a module: from_torch takes" in message
    assert "tells a module" not in refused(two().state_dict())
    assert "none for what it reads" in refused(weight)
    assert "0.input_quantizer._amax holds 0" in refused({"0.input_quantizer._amax": np.float32(0)})
    assert "holds nan" in refused({"0.input_quantizer._amax": np.float32(np.nan)})
    assert "TensorRT takes one for a tensor" in refused({**weight, "0.input_quantizer._amax": np.ones(4, np.float32)})
    five = {"0.input_quantizer._amax": np.float32(1), "0.weight_quantizer._amax": np.ones(5, np.float32)}
    assert "5 scales for 8 channels" in refused(five)
    assert "not in a list" in refused([1])
    assert "int4" in refused(weight, dtype="int4")
    ranges = {f"{index}.input_quantizer._amax": np.float32(1) for index in (0, 2)}
    model = two()
    model[0].weight.data[2, 0], model[2].weight.data[1, 0] = np.nan, np.inf
    message = message_of(ArgumentError, lambda: take_scales(model, ranges))
    assert "NaN or infinite, in 0 (output channel 2), 2 (output channel 1)\n" in message
    assert "not in a" in message_of(ArgumentError, lambda: take_scales(detector(), None))
