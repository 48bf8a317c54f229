"""Models with modules of NVIDIA's pytorch-quantization and ModelOpt: plain source, and scales from their amax.

Neither package is needed here: the classes below do what their documentation says, under their names.
"""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.conv import _ConvNd

import trtnn
from tests.from_torch.models import images
from tests.helpers import ONE_TARGET, layers, message_of
from trtnn.errors import UnsupportedError

X = images(2, 3, 8, 8)


class TensorQuantizer(nn.Module):
    """Rounds x · 127 / amax, halves to even, holds it to its ends, and gives it by amax / 127."""

    def __init__(self, amax=None, **changes):
        super().__init__()
        self._num_bits, self._fake_quant, self._scale_amax, self._learn_amax = 8, True, None, False
        self._unsigned, self._narrow_range, self._disabled = False, False, False
        self._if_quant, self._if_clip, self._if_calib = True, False, False
        if amax is not None:
            self.register_buffer("_amax", torch.as_tensor(amax, dtype=torch.float32))
        for name, value in changes.items():
            setattr(self, name, value)

    def forward(self, inputs):
        if self._disabled:
            return inputs
        amax = self._amax if hasattr(self, "_amax") else inputs.abs().max()
        if self._scale_amax is not None:
            amax = amax * self._scale_amax
        largest = 2.0 ** (self._num_bits - 1 + int(self._unsigned)) - 1
        least = 0 if self._unsigned else -largest if self._narrow_range else -largest - 1
        scale = largest / amax
        return torch.clamp((inputs * scale).round(), least, largest) / scale


class QuantConv2d(_ConvNd):
    """pytorch-quantization's derives from the base of convolutions."""

    def __init__(self, inputs, outputs, size, padding=0, bias=True):
        one = (1, 1)
        size, padding = (size, size), (padding, padding)
        super().__init__(inputs, outputs, size, one, padding, one, False, (0, 0), 1, bias, "zeros")
        self._input_quantizer, self._weight_quantizer = TensorQuantizer(), TensorQuantizer()

    def forward(self, input):
        weight = self._weight_quantizer(self.weight)
        return F.conv2d(self._input_quantizer(input), weight, self.bias, self.stride, self.padding)


class QuantLinear(nn.Linear):
    def __init__(self, *args):
        super().__init__(*args)
        self._input_quantizer, self._weight_quantizer = TensorQuantizer(), TensorQuantizer()

    def forward(self, input):
        return F.linear(self._input_quantizer(input), self._weight_quantizer(self.weight), self.bias)


class QuantMaxPool2d(nn.MaxPool2d):
    def __init__(self, *args):
        super().__init__(*args)
        self._input_quantizer = TensorQuantizer()

    def forward(self, input):
        return super().forward(self._input_quantizer(input))


for one in (TensorQuantizer, QuantConv2d, QuantLinear, QuantMaxPool2d):
    one.__module__ = "pytorch_quantization.nn.modules"


class OfModelOpt(TensorQuantizer):
    """ModelOpt's has more attributes."""

    def __init__(self, amax=None, **changes):
        super().__init__(amax)
        self._block_sizes, self._dynamic, self.backend, self._use_constant_amax = None, False, None, False
        self.rotate_is_enabled, self.pre_quant_scale = False, None
        for name, value in changes.items():
            setattr(self, name, value)

    def forward(self, inputs):
        if self.pre_quant_scale is not None:
            inputs = inputs * self.pre_quant_scale
        return super().forward(inputs)


OfModelOpt.__name__, OfModelOpt.__module__ = "TensorQuantizer", "modelopt.torch.quantization.nn.modules"


def _by_channel(weight: torch.Tensor, axis: int = 0) -> torch.Tensor:
    return weight.detach().abs().amax([i for i in range(weight.ndim) if i != axis], keepdim=True)


def of_modelopt(layer: nn.Module, amax: float, axis: int = 0, output: float | None = None) -> nn.Module:
    """Turn a layer into what ModelOpt makes of it, and return it."""
    kind = type(layer)

    def forward(self, input):
        weight = self.weight_quantizer(self.weight)
        input = self.input_quantizer(input)
        if isinstance(self, nn.ConvTranspose2d):
            run = F.conv_transpose2d(input, weight, self.bias, self.stride, self.padding, 0, self.groups)
        elif isinstance(self, nn.Conv2d):
            run = F.conv2d(input, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        else:
            run = F.linear(input, weight, self.bias)
        return self.output_quantizer(run)

    made = {"forward": forward, "__module__": "modelopt.torch.opt.dynamic"}
    layer.__class__ = type(f"Quant{kind.__name__}", (kind,), made)
    layer.input_quantizer = OfModelOpt(amax)
    layer.weight_quantizer = OfModelOpt(_by_channel(layer.weight, axis))
    layer.output_quantizer = OfModelOpt(output, _disabled=output is None)
    return layer.eval()


def normed(channels: int) -> nn.BatchNorm2d:
    """Return a BatchNorm whose factors are of both signs."""
    norm = nn.BatchNorm2d(channels)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        tensor.normal_()
    norm.weight.data[:2] = torch.tensor([0.0, 1e-42])  # as weights that decayed for long are
    norm.running_var.uniform_(0.5, 2)
    return norm


class Residual(nn.Module):
    """A residual block as NVIDIA's examples quantise it: the shortcut by another scale than what conv2 reads."""

    def __init__(self, shortcut: bool = True, by_channel: bool = True):
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.bn1 = QuantConv2d(3, 8, 3, 1, bias=False), normed(8)
        self.conv2, self.bn2 = QuantConv2d(8, 8, 3, 1), normed(8)
        self.pool, self.fc = QuantMaxPool2d(2), QuantLinear(128, 5)
        self.residual_quantizer = TensorQuantizer(5.0, _disabled=not shortcut)
        for layer, amax in ((self.conv1, 2.5), (self.conv2, 3.0), (self.fc, 7.0)):
            layer._input_quantizer = TensorQuantizer(amax)
            layer._weight_quantizer = TensorQuantizer(
                _by_channel(layer.weight) if by_channel else layer.weight.detach().abs().max()
            )
        self.pool._input_quantizer = TensorQuantizer(7.0)
        self.eval()

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.residual_quantizer(x) + self.bn2(self.conv2(x)))
        return self.fc(self.pool(x).flatten(1))


class Beside(Residual):
    """A residual block whose shortcut is read as it is as well."""

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.residual_quantizer(x) + self.bn2(self.conv2(x)) + x.sin())
        return self.fc(self.pool(x).flatten(1))


class Again(Residual):
    """A residual block whose second convolution rounds what is rounded by another scale."""

    def forward(self, x):
        x = self.residual_quantizer(torch.relu(self.bn1(self.conv1(x))))
        x = torch.relu(x + self.bn2(self.conv2(x)))
        return self.fc(self.pool(x).flatten(1))


class Others(nn.Module):
    """A transposed convolution, a linear layer and an output that is rounded, as ModelOpt makes them."""

    def __init__(self, axis: int = 1):
        super().__init__()
        torch.manual_seed(1)
        self.conv = of_modelopt(nn.Conv2d(3, 8, 3, 2, groups=1), 2.5, output=1.5)
        self.up = of_modelopt(nn.ConvTranspose2d(8, 6, 2, 2, groups=2), 1.25, axis)
        self.fc = of_modelopt(nn.Linear(6, 4), 0.75)
        self.eval()

    def forward(self, x):
        return self.fc(self.up(torch.relu(self.conv(x))).permute(0, 2, 3, 1))


class Normed(nn.Module):
    """A LayerNorm that reads rounded numbers, as ModelOpt makes it, of a sum."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.fc = of_modelopt(nn.Linear(8, 8), 2.5)
        self.norm = nn.LayerNorm(8)
        self.norm.input_quantizer = OfModelOpt(4.0)

        def forward(self, input):
            return nn.LayerNorm.forward(self, self.input_quantizer(input))

        made = {"forward": forward, "__module__": "modelopt.torch.opt.dynamic"}
        self.norm.__class__ = type("QuantLayerNorm", (nn.LayerNorm,), made)
        self.eval()

    def forward(self, x):
        return self.norm(x.tanh() + self.fc(x))


class Attention(nn.Module):
    """Attention as NVIDIA's BERT has it: each operand of its products has a quantiser."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.q, self.k, self.v, self.out = (of_modelopt(nn.Linear(8, 8), 2.5) for _ in range(4))
        for name, amax in (("q_input", 1.5), ("k_input", 1.75), ("a_input", 1.0), ("v_input", 2.0)):
            setattr(self, f"matmul_{name}_quantizer", TensorQuantizer(amax))
        self.eval()

    def forward(self, x):
        q, k = self.matmul_q_input_quantizer(self.q(x)), self.matmul_k_input_quantizer(self.k(x))
        a = torch.softmax(torch.matmul(q, k.transpose(-1, -2)) / 8**0.5, -1)
        v = self.matmul_v_input_quantizer(self.v(x))
        return self.out(torch.matmul(self.matmul_a_input_quantizer(a), v))


MODELS = {
    "attention": Attention,
    "a LayerNorm": Normed,
    "a residual block": Residual,
    "weights of one scale": lambda: Residual(by_channel=False),
    "ModelOpt's layers": Others,
}


def assert_rounds_as_torch(network, model: nn.Module, batch: int = 2) -> None:
    """Check a network against a module on inputs that go beyond its ranges."""
    other = images(batch, 3, 8, 8) * -3
    with torch.no_grad():
        expected = model(other).numpy()
        off = [one for one in model.modules() if isinstance(one, TensorQuantizer) and not one._disabled]
        for one in off:
            one._disabled = True
        unrounded = model(other).numpy()
        for one in off:
            one._disabled = False
    result = network.run(other.numpy())
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert np.abs(result - unrounded).max() > 1e-2 * np.abs(expected).max()  # it does round


@pytest.mark.parametrize("name", MODELS)
def test_quantisers_become_scales(name):
    model = MODELS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converted = trtnn.from_torch(model, X, dynamic=trtnn.Dim("batch", 1, 2, 8))
    assert "clamp" not in converted.source
    assert "round" not in converted.source
    assert_rounds_as_torch(converted.trace(), model, batch=5)
    network = trtnn.from_torch(model, X).trace(fp16=True)
    assert len(layers(network, "QUANTIZE")) >= (6 if name != "a LayerNorm" else 3)
    assert network.build(**{"optimization_level": 0, **ONE_TARGET}).plan.nbytes > 0


def test_scales_are_amax_by_127_and_those_of_weights_have_the_batchnorm_in_them():
    model = Residual()
    state = trtnn.from_torch(model, X).state_dict()
    assert state["conv1.input_scale"] == np.float32(2.5) / np.float32(127)
    assert state["residual_quantizer.output_scale"] == np.float32(5.0) / np.float32(127)
    for conv, norm in (("conv1", "bn1"), ("conv2", "bn2")):
        amax = getattr(model, conv).weight.detach().abs().amax((1, 2, 3)).double().numpy()
        weight, var = (
            getattr(getattr(model, norm), name).detach().double().numpy() for name in ("weight", "running_var")
        )
        expected = amax / 127 * np.where(np.abs(weight) > 1e-38, np.abs(weight) / np.sqrt(var + 1e-5), 1)
        np.testing.assert_allclose(state[f"{conv}.weight_scale"], expected, rtol=1e-5)
    np.testing.assert_allclose(
        state["fc.weight_scale"], model.fc.weight.detach().abs().amax(1).numpy() / 127, rtol=1e-6
    )
    assert {name for name in state if name.endswith("quant_max")} == {
        f"{path}.quant_max" for path in ("conv1", "conv2", "fc", "residual_quantizer")
    }


def test_a_scale_of_amax_and_one_quantiser_at_several_places():
    model = Residual()
    model.conv1._input_quantizer = TensorQuantizer(5.0, _scale_amax=0.5)
    model.residual_quantizer = model.conv2._input_quantizer  # NVIDIA's export shares scales so
    converted = trtnn.from_torch(model.eval(), X)
    state = converted.state_dict()
    assert state["conv1.input_scale"] == np.float32(2.5) / np.float32(127)
    assert_rounds_as_torch(converted.trace(), model)


@pytest.mark.parametrize("verify", [True, False])
def test_a_sum_that_reads_int8_beside_is_told(verify):
    model = Residual(shortcut=False)
    with pytest.warns(UserWarning, match="sums read int8 where torch adds floats, in the model: a quantiser on the"):
        converted = trtnn.from_torch(model, X, verify=verify)
    network = converted.trace()
    alone = trtnn.network.Network(network.retrace(network.graph.precision, into_sums=False), network.retrace)
    assert_rounds_as_torch(alone, model)
    with torch.no_grad():
        expected = model(X).numpy()
    step = 3.0 / 127  # of what conv2 reads, and of the shortcut with it
    assert 1e-4 < np.abs(network.run(X.numpy()) - expected).max() < 10 * step


def changed(path: str, quantizer: TensorQuantizer, make=Residual):
    def made() -> nn.Module:
        model = make()
        holder, _, name = path.rpartition(".")
        setattr(model.get_submodule(holder), name, quantizer)
        return model.eval()

    return made


def _with_blocks() -> nn.Module:
    return changed("fc.weight_quantizer", OfModelOpt(0.5, _block_sizes={-1: 2}), Others)()


NOT_DECLARED = {
    "4 bits": (
        changed("fc._weight_quantizer", TensorQuantizer(0.1, _num_bits=4)),
        "fc._weight_quantizer rounds to num_bits=4",
    ),
    "blocks": (_with_blocks, "fc.weight_quantizer has scales for blocks"),
    "dynamic": (
        changed("conv2._input_quantizer", TensorQuantizer()),
        "conv2._input_quantizer has no amax: it takes the range",
    ),
    "dynamic by configuration": (
        changed("fc.input_quantizer", OfModelOpt(2.0, _dynamic=True), Others),
        "fc.input_quantizer has no amax",
    ),
    "a scale before": (
        changed("fc.input_quantizer", OfModelOpt(2.0, pre_quant_scale=torch.full((6,), 0.5)), Others),
        "fc.input_quantizer multiplies by a pre_quant_scale first, as SmoothQuant and AWQ do; fold it into",
    ),
    "a scale before, and no rounding": (
        changed("fc.input_quantizer", OfModelOpt(2.0, pre_quant_scale=torch.full((6,), 0.5), _disabled=True), Others),
        "fc.input_quantizer multiplies by a pre_quant_scale first",
    ),
    "no sign": (
        changed("fc._input_quantizer", TensorQuantizer(7.0, _unsigned=True)),
        "fc._input_quantizer is unsigned",
    ),
    "a narrow range": (
        changed("conv1._input_quantizer", TensorQuantizer(2.5, _narrow_range=True)),
        "conv1._input_quantizer has a narrow_range",
    ),
    "scales of input channels": (
        lambda: Others(axis=0),
        "up.weight_quantizer has scales along axis 0, input channels; TensorRT takes axis 1",
    ),
    "an amax of 0": (changed("conv1._input_quantizer", TensorQuantizer(0.0)), "conv1._input_quantizer has the amax 0"),
    "read as it is": (
        Beside,
        "what residual_quantizer rounds is the result of no module, and others than quantised layers read it",
    ),
    "rounded again": (Again, "conv2._input_quantizer rounds what residual_quantizer has rounded by another scale"),
    "weights alone": (
        changed("conv1._input_quantizer", TensorQuantizer(1.0, _disabled=True)),
        "the weights of conv1 are rounded, and what it reads is not",
    ),
    "an input alone": (
        changed("fc._weight_quantizer", TensorQuantizer(1.0, _disabled=True)),
        "what fc._input_quantizer rounds is the result of no module, and others than quantised layers read it",
    ),
}


@pytest.mark.parametrize("name", NOT_DECLARED)
def test_what_cannot_be_declared_is_told_with_its_path(name):
    make, said = NOT_DECLARED[name]
    model = make()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        converted = trtnn.from_torch(model, X, verify=name != "an amax of 0")
    (message,) = (str(one.message) for one in caught)
    assert message.startswith(f"rounding stays in forward, and fp16 around it: {said}")
    assert not any(key.endswith(".quant_max") for key in converted.state_dict())
    if name != "an amax of 0":
        assert_rounds_as_torch(converted.trace(), model)


def test_halves_are_told_what_to_do():
    model = Residual().bfloat16()
    with pytest.warns(
        UserWarning, match=r"_quantizer gives torch.bfloat16, in which .* again; convert model.float\(\)"
    ):
        trtnn.from_torch(model, X.bfloat16(), verify=False)


def test_a_quantiser_that_calibrates_is_refused():
    model = changed("conv1._input_quantizer", TensorQuantizer(2.5, _if_calib=True))()
    message = message_of(UnsupportedError, lambda: trtnn.from_torch(model, X))
    assert "TensorQuantizer that calibrates" in message
    assert "conv1._input_quantizer" in message
    assert "load_calib_amax() and disable_calib() of each quantiser end a calibration" in message


def test_what_from_torch_has_not_is_told_with_what_it_is():
    model = changed("fc.input_quantizer", OfModelOpt(2.0, _num_bits=(4, 3)), Others)()
    model.fc.input_quantizer.forward = lambda x: torch.linalg.eigvals(x).real  # stands for an operation of ModelOpt's
    message = message_of(UnsupportedError, lambda: trtnn.from_torch(model, X))
    assert "no module declares it, since fc.input_quantizer rounds to fp8 (E4M3)" in message
    assert "take_scales(model, state_dict, 'fp8')" in message


class OfFp8(OfModelOpt):
    """Rounds to E4M3."""

    def forward(self, inputs):
        if self._disabled:
            return inputs
        scale = 448 / self._amax
        return (inputs * scale).clamp(-448, 448).to(torch.float8_e4m3fn).to(inputs.dtype) / scale


OfFp8.__name__, OfFp8.__module__ = "TensorQuantizer", OfModelOpt.__module__


def test_fp8_goes_the_way_that_the_refusal_names():
    model = Others()
    for layer in (model.conv, model.up, model.fc):
        for name in ("input_quantizer", "weight_quantizer"):
            setattr(layer, name, OfFp8(getattr(layer, name)._amax, _num_bits=(4, 3)).eval())
        layer.output_quantizer = OfModelOpt(_disabled=True).eval()
    with torch.no_grad():
        expected = model(X).numpy()
    for one in model.modules():
        if isinstance(one, TensorQuantizer):
            one._disabled = True
    converted = trtnn.from_torch(model, X)
    plain = converted.trace().run(X.numpy())
    trtnn.quantization.take_scales(converted, model.state_dict(), "fp8")
    result = converted.trace().run(X.numpy())
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert np.abs(result - plain).max() > 1e-2 * np.abs(expected).max()


@pytest.mark.parametrize("name", MODELS)
def test_quantisers_that_are_off_change_nothing(name):
    model = MODELS[name]()
    for one in model.modules():
        if isinstance(one, TensorQuantizer):
            one._disabled = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        converted = trtnn.from_torch(model, X)
    assert "Quant" not in converted.source
    assert not any(key.endswith(("scale", "_amax")) for key in converted.state_dict())
    with torch.no_grad():
        np.testing.assert_allclose(converted.trace().run(X.numpy()), model(X).numpy(), rtol=1e-4, atol=1e-5)


# -- quantisers anywhere ----------------------------------------------------------------------------------------------

AMAX = (1.0313, 2.5771, 4.1171)  # in no ratio that puts steps on halves, where torch, which multiplies, may differ


class Drawn(nn.Module):
    """Layers and quantisers in a row that is drawn, with branches; each step reads one or two results before it."""

    KINDS = (
        "conv",
        "conv",
        "conv",
        "conv",
        "norm",
        "relu",
        "pool",
        "quantiser",
        "sum",
        "cat",
        "flip",
        "shortcut",
        "silu",
    )

    def __init__(self, seed: int):
        super().__init__()
        draw = random.Random(seed)
        torch.manual_seed(seed)
        self.steps = nn.ModuleList()
        self.plan: list[tuple[str, int, int]] = []
        for i in range(draw.randint(3, 7)):
            kind = draw.choice(self.KINDS)
            self.plan.append((kind, i if draw.random() < 0.85 else draw.randint(0, i), draw.randint(0, i)))
            amax, output = draw.choice(AMAX), draw.choice((None, None, None, 3.0717))
            conv = of_modelopt(nn.Conv2d(8, 8, 3, 1, 1), amax, output=output)
            if draw.random() < 0.2:  # one range for all channels, which cuts some off
                conv.weight_quantizer = OfModelOpt(0.7 * conv.weight.detach().abs().max())
            made = {"conv": conv, "norm": normed(8), "pool": nn.MaxPool2d(3, 1, 1)}
            self.steps.append(made.get(kind, OfModelOpt(amax)))
        self.head = of_modelopt(nn.Conv2d(16, 8, 1), 2.9171)
        self.eval()

    def forward(self, x):
        results = [x * 1.0]
        for (kind, first, second), step in zip(self.plan, self.steps, strict=True):
            x, y = results[first], results[second]
            if kind == "sum":
                x = x + y
            elif kind == "shortcut":
                x = step(x) + y
            elif kind == "cat":
                x = torch.cat([x, y], 1)[:, 4:12]
            elif kind in ("relu", "silu"):
                x = getattr(F, kind)(x)
            else:
                x = x.flip(-1) if kind == "flip" else step(x)
            results.append(x)
        return self.head(torch.cat(results[-2:], 1))


@pytest.mark.filterwarnings("ignore:sums read int8", "ignore:rounding stays in forward")
def test_what_is_declared_is_what_torch_rounds_wherever_quantisers_are():
    """Without the comparison that from_torch makes itself."""
    x, declared = images(1, 8, 8, 8), 0
    for seed in range(40):
        model = Drawn(seed)
        network = trtnn.from_torch(model, x, verify=False).trace()
        declared += network.graph.placement is not None
        if network.graph.placement is not None:
            network.graph = network.retrace(network.graph.precision, into_sums=False)
        for other in (x, -3 * x):
            with torch.no_grad():
                expected = model(other).numpy()
            off = np.abs(network.run(other.numpy()) - expected).max()
            assert off <= 1e-4 * np.abs(expected).max(), f"seed {seed}: {model.plan}"
    assert declared > 8
