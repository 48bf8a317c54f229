"""Conv2d and ConvTranspose2d against torch's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import check_triangle, layers, message_of, numbers, run, trace
from trtnn import functional as F
from trtnn.errors import ArgumentError, BuildError, DTypeError, ShapeError
from trtnn.modules import Conv2d, ConvTranspose2d
from trtnn.ops.convolution import kept_apart

CONVOLUTIONS = [  # arguments and the input's shape
    ((3, 8, 3), {}, (1, 3, 9, 9)),
    ((3, 8, 1), {"bias": False}, (2, 3, 7, 5)),
    ((4, 6, 3), {"padding": 1, "stride": 2}, (2, 4, 9, 8)),
    ((3, 4, (1, 5)), {"padding": (0, 2)}, (1, 3, 6, 11)),
    ((3, 4, (5, 1)), {"padding": (2, 0), "stride": (1, 2)}, (1, 3, 11, 6)),
    ((4, 8, (3, 2)), {"padding": (1, 0), "dilation": (2, 3)}, (1, 4, 12, 13)),
    ((3, 16, 6), {"stride": 2, "padding": 2, "bias": False}, (1, 3, 16, 12)),
    ((3, 16, 6), {"stride": 2, "padding": 2}, (2, 3, 15, 12)),
    ((3, 16, 6), {"stride": 2, "padding": 1}, (1, 3, 14, 13)),
    ((6, 9, 3), {"groups": 3}, (1, 6, 7, 7)),
    ((8, 8, 3), {"groups": 8, "padding": 1}, (2, 8, 6, 5)),
    ((4, 12, 3), {"groups": 4, "padding": 2, "dilation": 2, "stride": 2}, (1, 4, 10, 10)),
    ((3, 4, 3), {"padding": "same"}, (1, 3, 6, 7)),
    ((3, 4, 4), {"padding": "same"}, (1, 3, 6, 7)),  # an odd number of zeros: one more at the end
    ((3, 4, (2, 5)), {"padding": "same", "dilation": (3, 2)}, (1, 3, 9, 9)),
    ((3, 4, (3, 1)), {"padding": "valid"}, (1, 3, 6, 7)),
    ((3, 4, 3), {"padding": (0, 1)}, (1, 3, 3, 1)),
    ((1, 1, 1), {}, (1, 1, 1, 1)),
    ((2, 3, 5), {"padding": 4}, (1, 2, 2, 3)),
]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("arguments", "options", "shape"), CONVOLUTIONS)
def test_conv2d(arguments, options, shape):
    check_triangle(Conv2d(*arguments, **options), torch.nn.Conv2d(*arguments, **options), numbers(*shape))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_conv2d_of_any_arguments(data):
    def two(low, high):
        return data.draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    groups, per_group = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    kernel, stride, padding, dilation = two(1, 4), two(1, 3), two(0, 3), two(1, 2)
    extent = [d * (k - 1) + 1 - 2 * p for d, k, p in zip(dilation, kernel, padding, strict=True)]
    shape = [2, groups * per_group, *(max(1, e) + data.draw(st.integers(0, 6)) for e in extent)]
    weight, bias = numbers(2 * groups, per_group, *kernel), numbers(2 * groups)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    x = numbers(*shape)
    expected = torch.nn.functional.conv2d(*map(torch.from_numpy, (x, weight, bias)), **options)
    result = run(lambda x: F.conv2d(x, weight, bias, **options), x)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("channels", "size", "kernel"),
    [((3, 64), 12, (7, 7)), ((3, 65), 12, (6, 6)), ((5, 64), 12, (6, 6)), ((3, 64), 13, (6, 6))],
)
def test_a_first_convolution_gets_the_window_that_is_fast(channels, size, kernel):
    weight = numbers(channels[1], channels[0], 6, 6)
    network = trace(lambda x: F.conv2d(x, weight, None, 2, 2), numbers(1, channels[0], size, size))
    (layer,) = layers(network, "CONVOLUTION")
    assert tuple(layer.kernel_size_nd) == kernel
    assert network.outputs["output"].shape[2:] == (6, 6)


def test_one_tap_kept_apart_is_another_layer_with_the_same_numbers():
    x, one, three = numbers(1, 2, 5, 5), numbers(3, 2, 1, 1), numbers(3, 2, 3, 3)

    def forward(x):
        with kept_apart():
            apart = F.conv2d(x, one), F.conv2d(x, three)
        return *apart, F.conv2d(x, one), F.conv2d(x, three)

    network = trace(forward, x)
    assert [tuple(layer.dilation_nd) for layer in layers(network, "CONVOLUTION")] == [(2, 2), (1, 1), (1, 1), (1, 1)]
    apart, dense, *others = network.run(x)
    np.testing.assert_array_equal(apart, others[0])
    np.testing.assert_array_equal(dense, others[1])


TRANSPOSED = [
    ((3, 5, 3), {}, (1, 3, 5, 4)),
    ((3, 5, 2), {"stride": 2, "bias": False}, (2, 3, 5, 4)),
    ((4, 4, 4), {"stride": 2, "padding": 1}, (1, 4, 3, 5)),
    ((4, 2, 3), {"stride": 2, "padding": 1, "output_padding": 1}, (1, 4, 3, 5)),
    ((4, 2, 3), {"stride": 2, "output_padding": 1}, (1, 4, 3, 5)),  # more than padding: TensorRT cannot pad at the end
    ((4, 2, (3, 2)), {"stride": (3, 4), "padding": (0, 1), "output_padding": (2, 3)}, (1, 4, 3, 2)),
    ((4, 2, 3), {"dilation": 2, "output_padding": 1}, (1, 4, 5, 5)),
    ((4, 2, 3), {"dilation": (3, 2), "padding": (1, 0), "output_padding": (2, 1)}, (1, 4, 5, 4)),
    ((6, 9, 3), {"groups": 3, "stride": 2, "padding": 1}, (1, 6, 4, 4)),
    ((6, 6, (2, 3)), {"groups": 6, "stride": 2, "output_padding": 1}, (2, 6, 4, 3)),
    ((4, 2, 3), {"stride": (1, 2), "dilation": (2, 1), "output_padding": (0, 1)}, (1, 4, 4, 5)),
    ((4, 2, (3, 2)), {"stride": 2, "dilation": 3, "padding": 1, "output_padding": 2}, (1, 4, 4, 5)),
]


@pytest.mark.parametrize(("arguments", "options", "shape"), TRANSPOSED)
def test_conv_transpose2d(arguments, options, shape):
    ours, theirs = ConvTranspose2d(*arguments, **options), torch.nn.ConvTranspose2d(*arguments, **options)
    check_triangle(ours, theirs, numbers(*shape))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_conv_transpose2d_of_any_arguments(data):
    sides = []
    for _ in range(2):
        kernel, length = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
        stride, dilation = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
        extra = data.draw(st.integers(0, max(stride, dilation) - 1))
        whole = (length - 1) * stride + dilation * (kernel - 1) + extra + 1
        padding = data.draw(st.integers(0, min(3, (whole - 1) // 2)))
        sides.append((length, kernel, stride, padding, extra, dilation))
    length, kernel, stride, padding, output_padding, dilation = zip(*sides, strict=True)
    options = {"stride": stride, "padding": padding, "output_padding": output_padding, "groups": 2}
    options["dilation"] = dilation
    x, weight, bias = numbers(1, 4, *length), numbers(4, 3, *kernel), numbers(6)
    expected = torch.nn.functional.conv_transpose2d(*map(torch.from_numpy, (x, weight, bias)), **options)
    result = run(lambda x: F.conv_transpose2d(x, weight, bias, **options), x)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (cls(*arguments, **options), getattr(torch.nn, cls.__name__)(*arguments, **options))
        for cls, cases in ((Conv2d, CONVOLUTIONS), (ConvTranspose2d, TRANSPOSED))
        for arguments, options, _ in cases
    ],
)
def test_looks_like_torch(ours, theirs):
    assert repr(ours) == repr(theirs)
    assert {n: p.shape for n, p in ours.named_parameters()} == {n: tuple(p.shape) for n, p in theirs.named_parameters()}
    for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_wrong_channels_name_the_module_and_both_numbers():
    class Net(Conv2d):
        def __init__(self):
            super().__init__(3, 3, 1)
            self.body = Conv2d(8, 4, 3)
            for parameter in self.parameters():
                parameter.data = np.ones(parameter.shape, np.float32)

        def forward(self, x):
            return self.body(x)

    message = message_of(ShapeError, Net().trace, {"x": (1, 3, 8, 8)})
    assert "conv2d in body" in message
    assert "expected 8" in message
    assert "received 3" in message
    assert "(1, 3, 8, 8)" in message


WEIGHT = np.ones((4, 3, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("function", "shape", "error", "words"),
    [
        (lambda x: F.conv2d(x, WEIGHT), (8, 8), ShapeError, ["(batch, channels, height, width)", "[8, 8]"]),
        (lambda x: F.conv2d(x, WEIGHT, stride=(1, 2, 3)), (1, 3, 8, 8), ArgumentError, ["stride takes an int or two"]),
        (lambda x: F.conv2d(x, WEIGHT, stride=0), (1, 3, 8, 8), ArgumentError, ["stride is at least 1, not 0"]),
        (lambda x: F.conv2d(x, WEIGHT, dilation=(0, 1)), (1, 3, 8, 8), ArgumentError, ["dilation is at least 1"]),
        (lambda x: F.conv2d(x, WEIGHT, padding=-1), (1, 3, 8, 8), ArgumentError, ["padding is at least 0, not -1"]),
        (lambda x: F.conv2d(x, WEIGHT, padding="full"), (1, 3, 8, 8), ArgumentError, ["padding", "'full'"]),
        (lambda x: F.conv2d(x, WEIGHT, padding="same", stride=2), (1, 3, 8, 8), ArgumentError, ["stride (2, 2)"]),
        (
            lambda x: F.conv_transpose2d(x, x),
            (1, 3, 8, 8),
            ShapeError,
            ["expected 1, as its weights have", "received 3"],
        ),
        (lambda x: F.conv2d(x.int(), WEIGHT), (1, 3, 8, 8), DTypeError, ["conv2d", "int32"]),
        (lambda x: F.conv2d(x, WEIGHT, groups=3), (1, 9, 8, 8), ShapeError, ["4 output channels in 3 groups"]),
        (lambda x: F.conv2d(x, WEIGHT), (1, 3, 2, 8), BuildError, ["float32[1, 3, 2, 8]", "smaller than filter"]),
        (lambda x: F.conv2d(x, WEIGHT, np.ones(5)), (1, 3, 8, 8), BuildError, ["5", "4"]),
        (lambda x: F.conv_transpose2d(x, WEIGHT), (1, 3, 8, 8), ShapeError, ["expected 4", "received 3"]),
        (
            lambda x: F.conv_transpose2d(x, WEIGHT, stride=2, output_padding=2),
            (1, 4, 8, 8),
            ArgumentError,
            ["output_padding (2, 2)", "stride (2, 2)"],
        ),
        (lambda x: F.conv_transpose2d(x, WEIGHT, padding="same"), (1, 4, 8, 8), DTypeError, ["as padding", "'same'"]),
    ],
)
def test_errors(function, shape, error, words):
    message = message_of(error, trace, function, shape)
    for word in words:
        assert word in message


def test_refused_layers_name_the_users_line():
    message = message_of(BuildError, trace, lambda x: F.conv2d(x, WEIGHT), (1, 3, 2, 8))
    assert f"called at {__file__}:" in message


@pytest.mark.parametrize(
    ("arguments", "options", "error", "word"),
    [
        ((3, 8, 3), {"groups": 2}, ArgumentError, "in_channels 3, out_channels 8, groups 2"),
        ((3, 8, 3), {"groups": 0}, ArgumentError, "groups 0"),
        ((3, 8, 3), {"padding_mode": "mirror"}, ArgumentError, "padding_mode='mirror'"),
        ((3, 8, (3, 3, 3)), {}, ArgumentError, "kernel_size takes an int or two"),
        ((3, 8, 2.5), {}, ArgumentError, "kernel_size takes an int or two, not 2.5"),
    ],
)
def test_errors_of_construction(arguments, options, error, word):
    for cls in (Conv2d, ConvTranspose2d):
        assert word in message_of(error, cls, *arguments, **options)
