"""The definition that the kernel is compared with, against torchvision's own operator on the CPU."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.cases import CASES, expected, geometry, random_tensors

try:
    import torchvision
except (ImportError, RuntimeError):  # it is not there, or was built for another torch
    pytest.skip("torchvision is not installed here", allow_module_level=True)


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_torchvision(name):
    case = CASES[name]
    x, offset, mask, weight, bias = random_tensors(case, half=False)
    wanted = torchvision.ops.deform_conv2d(
        x.double(),
        offset.double(),
        weight.double(),
        None if bias is None else bias.double(),
        mask=None if mask is None else (mask.double().sigmoid() if case.mask == "logits" else mask.double()),
        **geometry(case),
    )
    torch.testing.assert_close(expected(case, x, offset, mask, weight, bias), wanted, rtol=1e-10, atol=1e-10)
