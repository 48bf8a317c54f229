"""Deformable convolution against its definition in fp64."""

import numpy as np
import pytest
import torch

from tests.helpers import Function, assert_close, check_triangle, load_random, message_of, numbers, trace
from tests.plugins.reference import deform_conv2d
from trtnn import Dim, Input
from trtnn import functional as F
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.modules import DCN, DeformConv2d

HALF = 5e-3

CASES = {
    "usual": {},
    "stride": {"stride": 2, "size": (9, 11)},
    "uneven": {"kernel": (3, 2), "stride": (1, 2), "padding": (2, 0), "dilation": (2, 1), "size": (8, 7)},
    "batch": {"batch": 3},
    "groups": {"groups": 2, "channels": 8},
    "2 offset groups": {"offset_groups": 2, "channels": 8},
    "4 offset groups and 2 groups": {"offset_groups": 4, "groups": 2, "channels": 8},
    "far outside": {"spread": 30.0},
    "one column": {"size": (5, 1)},
    "no mask": {"mask": False},
    "no bias": {"bias": False},
}


def make(channels=4, outputs=6, kernel=(3, 3), size=(6, 5), batch=1, offset_groups=1, spread=2.0, mask=True, **options):
    """Return the arguments of a DeformConv2d, and the arrays of a call."""
    options = {"stride": 1, "padding": 1, "dilation": 1, "groups": 1, "bias": True, **options}
    sides = [(v, v) if isinstance(v, int) else v for v in (options["stride"], options["padding"], options["dilation"])]
    out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, kernel, *sides, strict=True)]
    taps = offset_groups * kernel[0] * kernel[1]
    arrays = [numbers(batch, channels, *size), numbers(batch, 2 * taps, *out, seed=1, scale=spread)]
    return (channels, outputs, kernel), options, arrays + [numbers(batch, taps, *out, seed=2)] * mask


def define(ours, options, offset_groups):
    """Return the definition with the weights of a module, as a function of its inputs."""
    weight, bias = (None if p is None else torch.from_numpy(p.data) for p in (ours.weight, ours.bias))
    how = {name: options[name] for name in ("stride", "padding", "dilation", "groups")}

    def function(x, offset, mask=None):
        return deform_conv2d(x, offset, weight, bias, mask=mask, offset_groups=offset_groups, **how).float()

    return function


@pytest.mark.parametrize("name", CASES)
def test_as_its_definition(name):
    case = CASES[name]
    arguments, options, arrays = make(**case)
    ours = DeformConv2d(*arguments, **options)
    ours.load_state_dict({n: numbers(*p.shape, scale=0.2) for n, p in ours.named_parameters()})
    check_triangle(ours, define(ours, options, case.get("offset_groups", 1)), *arrays, fp16_tolerance=HALF)


class Twin(torch.nn.Module):
    """The classic layer, with its names."""

    def __init__(self, offset_groups):
        super().__init__()
        inner = torch.nn.Conv2d(8, 6, 3)
        self.weight, self.bias, self.offset_groups = inner.weight, inner.bias, offset_groups
        self.conv_offset_mask = torch.nn.Conv2d(8, 27 * offset_groups, 3, 2, 1)

    def forward(self, x):
        first, second, mask = self.conv_offset_mask(x).chunk(3, 1)
        offset = torch.cat([first, second], 1)
        how = {"stride": 2, "padding": 1, "mask": mask.sigmoid(), "offset_groups": self.offset_groups}
        return deform_conv2d(x, offset, self.weight, self.bias, **how).float()


@pytest.mark.parametrize("offset_groups", [1, 2])
def test_dcn(offset_groups):
    ours = DCN(8, 6, 3, stride=2, padding=1, offset_groups=offset_groups)
    check_triangle(ours, Twin(offset_groups), numbers(2, 8, 9, 8), fp16_tolerance=HALF)


def test_any_size_of_one_network():
    ours, theirs = DCN(8, 6, 3, stride=2, padding=1), load_random(Twin(1))
    ours.load_state_dict(theirs.state_dict())
    sides = [Dim(name, 4, 8, 16) for name in ("height", "width")]
    network = Function(ours).trace({"x": Input((Dim("batch", 1, 2, 4), 8, *sides))})
    for shape in ((1, 8, 4, 9), (3, 8, 11, 16)):
        x = numbers(*shape)
        with torch.no_grad():
            assert_close(network.run(x), theirs(torch.from_numpy(x)))


def test_maps_that_are_arrays():
    """Offsets that a network was trained to, the same for every picture."""
    x, offset, mask = numbers(2, 4, 5, 6), numbers(2, 18, 3, 4, seed=1), numbers(2, 9, 3, 4, seed=2)
    weight = numbers(6, 4, 3, 3)
    maps = np.concatenate([offset, mask], 1)
    apart = trace(lambda x: F.deform_conv2d(x, offset, weight, mask=mask), x)
    joined = trace(lambda x: F.modulated_deform_conv2d(x, maps, weight), x)
    given = [torch.from_numpy(array) for array in (x, offset, weight, mask)]
    for network, weigh in ((apart, given[3]), (joined, given[3].sigmoid())):
        assert_close(network.run(x), deform_conv2d(*given[:3], mask=weigh).float())
    integers = offset.astype(np.int32)
    message = message_of(DTypeError, trace, lambda x: F.deform_conv2d(x, integers, weight), x)
    assert "got offset as int32" in message


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((1, 4, 6, 5), (1, 17, 6, 5), (1, 9, 6, 5)), "offset of the wrong shape"),
        (((1, 4, 6, 5), (1, 18, 5, 5), (1, 9, 6, 5)), "received (1, 18, 5, 5)"),
        (((1, 4, 6, 5), (1, 18, 6, 5), (1, 8, 6, 5)), "mask of the wrong shape"),
        (((1, 4, 6, 5), (1, 54, 6, 5), (1, 27, 6, 5)), "3 offset groups"),
        (((1, 5, 6, 5), (1, 18, 6, 5), (1, 9, 6, 5)), "do not divide into groups"),
    ],
)
def test_errors(shapes, words):
    weight = numbers(6, 2, 3, 3)
    function = lambda x, offset, mask: F.deform_conv2d(x, offset, weight, padding=1, mask=mask)  # noqa: E731
    assert words in message_of(ShapeError, trace, function, *shapes)


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (6, 0, 3, 3), (4, 2, 3, 3)])
def test_weights_that_do_not_divide(shape):
    function = lambda x, offset: F.deform_conv2d(x, offset, np.zeros(shape, np.float32))  # noqa: E731
    message = message_of(ShapeError, trace, function, (1, 6, 5, 5), (1, 18, 3, 3))
    assert f"received 6 channels, a weight of {shape} and 1 offset groups" in message


def test_groups_that_do_not_divide():
    assert "divisible by groups" in message_of(ArgumentError, DeformConv2d, 5, 6, 3, groups=2)
    for offset_groups in (3, 0, -1):
        message = message_of(ArgumentError, DCN, 4, 6, 3, offset_groups=offset_groups)
        assert "DCN: in_channels must be divisible by offset_groups" in message
        assert f"received in_channels 4, offset_groups {offset_groups}" in message
    assert np.all([p.data is None for p in DCN(4, 4, 3).parameters()])
