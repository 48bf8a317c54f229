"""The kernel on a GPU against the definition and torchvision's operator; needs nvcc, or a library built before.

python3 -m pytest tests/plugins/test_kernel_on_gpu.py     # TRTNN_DCNV2_LIBRARY=PATH for a library of another place
"""

from __future__ import annotations

import os

import pytest
import torch

from tests.plugins.cases import CASES, Case, error_of, expected, geometry, make_layer, random_tensors
from trtnn.plugins.dcnv2.building import build
from trtnn.plugins.dcnv2.kernel import Library

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
TOLERANCE = {True: 5e-3, False: 1e-4}


@pytest.fixture(scope="session")
def library():
    return Library(os.environ.get("TRTNN_DCNV2_LIBRARY") or build(kernel_only=True))


@pytest.mark.parametrize("half", [True, False], ids=["fp16", "fp32"])
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_definition(library, name, half):
    assert error_of(library, CASES[name], half, device="cuda") < TOLERANCE[half]


@pytest.mark.parametrize("half", [True, False], ids=["fp16", "fp32"])
def test_every_block_shape_agrees(library, half):
    case = Case(batch=2, channels=72, outputs=168, height=23, width=37)
    errors = {name: error_of(library, case, half, i, "cuda") for i, name in enumerate(library.tiles(half))}
    assert all(error < TOLERANCE[half] for error in errors.values()), errors


@pytest.mark.parametrize("half", [True, False], ids=["fp16", "fp32"])
def test_agrees_with_torchvision_at_full_size(library, half):
    """torchvision computes in fp32 from the same numbers: its fp16 rounds the positions themselves."""
    torchvision = pytest.importorskip("torchvision")
    torch.backends.cuda.matmul.allow_tf32 = False
    case = Case(batch=8, channels=128, outputs=128, height=80, width=80)
    x, offset, mask, weight, bias = random_tensors(case, half, "cuda")
    wanted = torchvision.ops.deform_conv2d(
        x.float(), offset.float(), weight.float(), bias, mask=mask.float(), **geometry(case)
    )
    layer = make_layer(library, case, half, weight, bias)
    for last in (True, False):
        given = x.contiguous(memory_format=torch.channels_last) if last else x
        output = layer(given, offset, mask)
        assert output.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        assert ((output.float() - wanted).abs().max() / wanted.abs().max()).item() < TOLERANCE[half]


def test_a_call_can_be_captured_and_repeats_to_the_bit(library):
    case = Case(batch=1, channels=64, outputs=64, height=20, width=20, input_last=False)
    x, offset, mask, weight, bias = random_tensors(case, True, "cuda")
    layer = make_layer(library, case, True, weight, bias)
    output, enqueue = layer.prepare(x, offset, mask)
    enqueue()
    first = output.clone()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured, enqueue = layer.prepare(x, offset, mask)
        enqueue()
    captured.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(captured, first)
    wanted = expected(case, x, offset, mask, weight, bias)
    assert ((captured.double().cpu() - wanted).abs().max() / wanted.abs().max()).item() < TOLERANCE[True]
