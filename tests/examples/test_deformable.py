"""The examples' deformable convolution: its values and its gradients against the definition in fp64."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.cases import CASES, expected, geometry, random_tensors
from trtnn.examples.digits.deformable import deform_conv2d, sampled_deform_conv2d

NAMES = [
    "usual",
    "batch 3",
    "stride 2",
    "dilation",
    "uneven",
    "groups across offset groups",
    "far outside",
    "no mask, no bias",
]


def pairs(case):
    return {key: (value, value) if isinstance(value, int) else value for key, value in geometry(case).items()}


@pytest.mark.parametrize("function", [sampled_deform_conv2d, deform_conv2d], ids=["own", "taken"])
@pytest.mark.parametrize("name", NAMES)
def test_as_its_definition(name, function):
    case = CASES[name]
    x, offset, mask, weight, bias = random_tensors(case, half=False)
    result = function(x, offset, weight, bias, mask=mask, **pairs(case))
    wanted = expected(case, x, offset, mask, weight, bias).float()
    torch.testing.assert_close(result, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


@pytest.mark.parametrize("name", ["usual", "stride 2", "groups across offset groups"])
def test_gradients_are_the_definitions(name):
    case = CASES[name]
    tensors = [tensor.double().requires_grad_() for tensor in random_tensors(case, half=False)]
    x, offset, mask, weight, bias = tensors
    result = sampled_deform_conv2d(x, offset, weight, bias, mask=mask, **pairs(case))
    direction = torch.randn(result.shape, generator=torch.Generator().manual_seed(1)).double()
    ours = torch.autograd.grad((result * direction).sum(), tensors)
    theirs = torch.autograd.grad((definition(case, tensors) * direction).sum(), tensors)
    for ours_, theirs_ in zip(ours, theirs, strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-8, atol=1e-8)


def definition(case, tensors):
    x, offset, mask, weight, bias = tensors
    return expected(case, x, offset, mask, weight, bias)
