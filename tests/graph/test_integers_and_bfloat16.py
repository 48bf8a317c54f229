"""bfloat16 and int64: through the network, in and out of it, and what TensorRT or NumPy has not."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.helpers import ONE_TARGET, TORCH, layers, message_of, needs_type, numbers, trace
from trtnn import Input, get_backend
from trtnn import functional as F
from trtnn.build.fingerprint import fingerprint
from trtnn.errors import DTypeError

TOLERANCE = 2e-2  # of the largest magnitude; bfloat16 keeps 8 bits
WEIGHT, KERNEL, BIAS = numbers(6, 5), numbers(4, 3, 3, 3, seed=1), numbers(4, seed=2)
MEAN, VARIANCE = numbers(3, seed=3), np.abs(numbers(3, seed=4)) + 0.5


def tensors(ops, *arrays):
    return [torch.from_numpy(array).bfloat16() if ops is TORCH else array for array in arrays]


FUNCTIONS = {
    "arithmetic": lambda ops, x: x * 2.5 + x / 3 - 1,
    "rounding": lambda ops, x: (x + 256) - 256,  # bfloat16 has no 256.5
    "activations": lambda ops, x: ops.gelu(x) + ops.sigmoid(x) * ops.relu(x) + ops.silu(x),
    "functions": lambda ops, x: ops.exp(x) + ops.sqrt(abs(x)),
    "linear": lambda ops, x: ops.linear(x, *tensors(ops, WEIGHT)),
    "convolution": lambda ops, x: ops.conv2d(x, *tensors(ops, KERNEL, BIAS), padding=1),
    "convolution without a bias": lambda ops, x: ops.conv2d(x, *tensors(ops, KERNEL), stride=2, padding=(1, 0)),
    "batch_norm": lambda ops, x: (torch.nn.functional if ops is TORCH else F).batch_norm(
        x, *tensors(ops, MEAN, VARIANCE)
    ),
    "layer_norm": lambda ops, x: ops.layer_norm(x, (5,)),
    "softmax": lambda ops, x: ops.softmax(x, -1),
    "max_pool2d": lambda ops, x: ops.max_pool2d(x, 2),
    "products": lambda ops, x: x @ x.mT,
    "sums": lambda ops, x: ops.sum(x, -1) + x.mean(-1) + ops.var(x, -1),
    "a variance far from zero": lambda ops, x: ops.var(x * 2 + 1000, -1),
    "shapes": lambda ops, x: ops.cat([x.flip(-1), ops.pad(x[..., 1:], (1, 0), value=0.5)]),
    "choices": lambda ops, x: ops.where(x > 0, x, x.new_full((), 2)),
}


@needs_type("bfloat16")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_bfloat16(name):
    x = torch.from_numpy(numbers(2, 3, 4, 5))
    expected = FUNCTIONS[name](TORCH, x.bfloat16())
    network = trace(lambda x: FUNCTIONS[name](F, x.to("bfloat16")), tuple(x.shape))
    result = network.run(x)
    assert result.dtype is torch.bfloat16
    torch.testing.assert_close(result, expected, rtol=0, atol=TOLERANCE * float(expected.abs().max()))
    assert network.build(**ONE_TARGET).outputs == network.outputs == {"output": Input(expected.shape, "bfloat16")}
    assert "bfloat16" in network.summary()
    assert fingerprint(network.graph.definition, network.graph.trt)


@needs_type("bfloat16")
def test_an_input_of_bfloat16_becomes_what_the_network_computes_in():
    x = torch.from_numpy(numbers(2, 3)).bfloat16()
    for fp16 in (False, True):
        network = trace(lambda x: x * 3, Input((2, 3), "bfloat16"), fp16=fp16)
        torch.testing.assert_close(network.run(x), x.float() * 3, rtol=1e-3, atol=1e-3)
        assert network.build(**ONE_TARGET).inputs == {"x0": Input((2, 3), "bfloat16")}
    network = trace(lambda x: x.bfloat16(), Input((2, 3), "bfloat16"))
    assert torch.equal(network.run(x), x)


@needs_type("bfloat16")
def test_what_numpy_has_not_is_said():
    network = trace(lambda x: (x.bfloat16(), x), (2, 3))
    x = numbers(2, 3)
    for call in (network.run, network.build(**ONE_TARGET)):
        message = message_of(DTypeError, call, x)
        assert "'output_0' is bfloat16, which NumPy has not" in message
        assert "torch tensor" in message
    message = message_of(DTypeError, trace(lambda x: x + 1, Input((2, 3), "bfloat16")).run, x)
    assert "expected bfloat16\n  received float32" in message
    assert "NumPy has no bfloat16: give torch.from_numpy(x0).to(torch.bfloat16)" in message


@needs_type("int64")
def test_int64_beyond_int32():
    x = np.array([[2**40, -(2**35)], [3, -7]])
    network = trace(lambda x: (x * 2 + 1, x // 3, x % 5, F.where(x > 2**33, x, -x), x.amax(0), x.sum()), x)
    expected = (x * 2 + 1, x // 3, x % 5, np.where(x > 2**33, x, -x), x.max(0), x.sum())
    for result, true in zip(network.run(x), expected, strict=True):
        assert result.dtype == np.int64
        np.testing.assert_array_equal(result, true)
    assert network.build(**ONE_TARGET).inputs == {"x0": Input((2, 2), "int64")}


@needs_type("int64", "int32")
def test_integers_keep_their_type():
    for kind in ("int64", "int32"):
        network = trace(lambda x: (x + 1, x.long(), x.int(), x.sum()), Input((2, 3), kind))
        assert [spec.dtype.name for spec in network.outputs.values()] == [kind, "int64", "int32", "int64"]
        casts = [layer.to_type.name for layer in layers(network, "CAST")]
        assert casts == (["INT32"] if kind == "int64" else ["INT64", "INT64"])


class _Without:
    """TensorRT without some element types."""

    def __init__(self, trt, *lacking):
        self._trt = trt
        known = {name: member for name, member in trt.DataType.__members__.items() if name not in lacking}
        self.DataType = SimpleNamespace(__members__=known, **known)

    def __getattr__(self, name):
        return getattr(self._trt, name)


@pytest.mark.parametrize(("kind", "name"), [("bfloat16", "BF16"), ("int64", "INT64")])
def test_a_type_that_tensorrt_has_not(kind, name, monkeypatch):
    backend = get_backend()
    monkeypatch.setattr(backend, "trt", _Without(backend.trt, name))
    message = message_of(DTypeError, trace, lambda x: x, Input((2, 3), kind))
    assert f"{backend} has no {kind}" in message
    assert "it has FLOAT, HALF" in message
    assert f"has no {kind}" in message_of(DTypeError, trace, lambda x: x.to(kind), (2, 3))
