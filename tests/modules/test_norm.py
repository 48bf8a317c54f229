"""BatchNorm2d and FrozenBatchNorm2d against torch's in evaluation."""

import numpy as np
import pytest
import torch

from tests.helpers import assert_close, check_triangle, layers, message_of, numbers, run, trace
from trtnn import Parameter
from trtnn import functional as F
from trtnn.errors import ArgumentError, DTypeError, ShapeError, UnsupportedError
from trtnn.graph.definition import flat_array
from trtnn.modules import BatchNorm2d, FrozenBatchNorm2d


@pytest.mark.parametrize("eps", [1e-5, 1e-3, 0.5])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(1, 4, 5, 6), (2, 1, 3, 1)])
def test_batch_norm(shape, affine, eps):
    arguments = {"eps": eps, "momentum": 0.03, "affine": affine}
    ours, theirs = BatchNorm2d(shape[1], **arguments), torch.nn.BatchNorm2d(shape[1], **arguments)
    check_triangle(ours, theirs, numbers(*shape))


class Frozen(torch.nn.Module):
    """BatchNorm whose numbers are all buffers, as torchvision.ops.FrozenBatchNorm2d."""

    def __init__(self, channels, eps):
        super().__init__()
        self.eps = eps
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.ones(channels))

    def forward(self, x):
        own = (self.running_mean, self.running_var, self.weight, self.bias)
        return torch.nn.functional.batch_norm(x, *own, eps=self.eps)


@pytest.mark.parametrize("eps", [0.0, 1e-5, 0.5])
def test_frozen_batch_norm(eps):
    ours, theirs = FrozenBatchNorm2d(4, eps), Frozen(4, eps)
    assert list(dict(ours.named_buffers())) == list(theirs.state_dict())
    assert list(ours.parameters()) == []
    assert repr(ours) == f"FrozenBatchNorm2d(4, eps={eps})"
    check_triangle(ours, theirs, numbers(2, 4, 5, 6))
    assert len(layers(trace(ours, (1, 4, 2, 2)))) == 1


def test_what_frozen_batch_norm_takes():
    ours = FrozenBatchNorm2d(4)
    assert ours.eps == 1e-5
    with_count = {name: np.ones(4, np.float32) for name, _ in ours.named_buffers()} | {
        "num_batches_tracked": np.ones(())
    }
    ours.load_state_dict(with_count)  # what BatchNorm2d leaves
    message = message_of(ShapeError, trace, ours, (1, 4, 5))
    assert "FrozenBatchNorm2d" in message
    assert "(batch, channels, height, width)" in message
    assert "expected 4" in message_of(ShapeError, trace, ours, (1, 3, 2, 2))


def test_it_is_one_scale_layer_folded_in_double_precision():
    mean, variance, gamma, beta = (numbers(64, seed=i) * np.float32(1.37) for i in range(4))
    variance = variance**2 * np.float32(1e-3)
    (layer,) = layers(trace(lambda x: F.batch_norm(x, mean, variance, gamma, beta, eps=1e-4), (1, 64, 2, 2)))
    scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + 1e-4)
    np.testing.assert_allclose(flat_array(layer.scale), scale, rtol=6e-8)  # one rounding, to float32
    np.testing.assert_allclose(flat_array(layer.shift), beta - mean * scale, rtol=6e-8)


def test_five_dimensions():
    parameters = [numbers(3, seed=i) ** 2 + 0.1 for i in range(4)]
    check_triangle(
        lambda x: F.batch_norm(x, *parameters),
        lambda x: torch.nn.functional.batch_norm(x, *map(torch.from_numpy, parameters)),
        numbers(1, 3, 2, 4, 5),
    )


def test_looks_like_torch():
    ours, theirs = BatchNorm2d(4, eps=1e-3, momentum=0.03), torch.nn.BatchNorm2d(4, eps=1e-3, momentum=0.03)
    assert repr(ours) == repr(theirs).replace(" bias=True,", "")  # newer torch shows an argument that is not ours
    assert list(ours.state_dict()) == []
    assert list(dict(ours.named_parameters())) == list(dict(theirs.named_parameters()))
    assert list(dict(ours.named_buffers())) == ["running_mean", "running_var"]


ONES = np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("function", "shape", "error", "words"),
    [
        (lambda x: F.batch_norm(x, ONES, ONES), (1, 3, 2, 2), ShapeError, ["expected 4", "received 3"]),
        (lambda x: F.batch_norm(x, ONES, ONES), (4,), ShapeError, ["(batch, channels, ...)", "[4]"]),
        (lambda x: F.batch_norm(x.int(), ONES, ONES), (1, 4, 2, 2), DTypeError, ["batch_norm", "int32"]),
        (lambda x: F.batch_norm(x, Parameter(4), ONES), (1, 4, 2, 2), ArgumentError, ["shape (4,)", "is empty"]),
    ],
)
def test_errors(function, shape, error, words):
    message = message_of(error, trace, function, shape)
    for word in words:
        assert word in message


def test_statistics_of_the_batch_are_unsupported():
    assert "without stored statistics" in message_of(UnsupportedError, BatchNorm2d, 4, track_running_stats=False)


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 5), (4, 4, 3, 4)])
def test_statistics_and_weights_that_are_tensors_lie_along_the_channels(shape):
    arrays = numbers(*shape), numbers(4), np.square(numbers(4, seed=1)), numbers(4, seed=2), numbers(4, seed=3)
    expected = torch.nn.functional.batch_norm(*map(torch.from_numpy, arrays))
    assert_close(run(F.batch_norm, *arrays), expected)


@pytest.mark.parametrize("shape", [(2, 4, 5), (4, 4, 3, 4)])
def test_weights_of_instance_norm_lie_along_the_channels(shape):
    x, weight, bias = numbers(*shape), numbers(4, seed=1), numbers(4, seed=2)
    expected = torch.nn.functional.instance_norm(
        torch.from_numpy(x), weight=torch.from_numpy(weight), bias=torch.from_numpy(bias)
    )
    assert_close(run(lambda x, w, b: F.instance_norm(x, weight=w, bias=b), x, weight, bias), expected)


def test_instance_norm_takes_lengths_behind_the_channels():
    assert "takes (batch, channels, ...), not (2, 4)" in message_of(ShapeError, trace, F.instance_norm, (2, 4))
