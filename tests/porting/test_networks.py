"""Networks whose one source runs with torch.nn and with trtnn.modules: the same state dict, the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers import ONE_TARGET, assert_close, load_random, numbers, trace
from tests.porting.networks import networks
from trtnn import functional, modules
from trtnn.parameter import Parameter

THEIRS = networks(torch.nn, torch.nn.functional, torch.cat)
OURS = networks(modules, functional, functional.cat)

ANGLES = np.outer(np.arange(7), 0.5 ** np.arange(4)).astype(np.float32)
IMAGES = numbers(1, 3, 64, 64)
TOKENS = np.arange(14).reshape(2, 7) % 50

CASES = {
    "ResNet50": ((), (IMAGES,), 0.15),  # torch's own in fp16 is 0.2 off with these weights, of logits up to 4
    "MobileNetV3Small": ((), (IMAGES,), 2e-2),
    "EfficientNetB0": ((), (IMAGES,), 2e-2),
    "ConvNeXtTiny": (("parameter",), (IMAGES,), 2e-2),
    "ViTB16": (("parameter",), (numbers(1, 3, 32, 32),), 2e-2),
    "UNet": ((), (numbers(1, 3, 38, 46),), None),
    "LanguageModel": ((), (TOKENS, ANGLES), 2e-2),
}


def _pair(name: str, kinds: tuple[str, ...]) -> tuple[Any, Any]:
    theirs = getattr(THEIRS, name)(*((lambda *shape: torch.nn.Parameter(torch.zeros(shape))) for _ in kinds))
    ours = getattr(OURS, name)(*(Parameter for _ in kinds))
    return ours, theirs


def _settle(network: torch.nn.Module, arrays: Any) -> None:
    """Give random weights, and BatchNorms the statistics of what they see, so that numbers stay near one."""
    load_random(network)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum, part.weight.data, part.bias.data = 1.0, torch.ones_like(part.weight), part.bias.data * 0.1
            part.train()
    if arrays[0].ndim == 4:
        with torch.no_grad():
            network(torch.from_numpy(numbers(16, *arrays[0].shape[1:], seed=1)))
    network.eval()


@pytest.mark.parametrize("name", CASES)
def test_one_source_for_both(name: str) -> None:
    kinds, arrays, half = CASES[name]
    ours, theirs = _pair(name, kinds)
    _settle(theirs, arrays)
    state = theirs.state_dict()
    ours.load_state_dict(state)
    assert list(ours.state_dict()) == [key for key in state if not key.endswith("num_batches_tracked")]
    with torch.no_grad():
        expected = theirs(*map(torch.from_numpy, arrays))
    assert_close(trace(ours, *arrays).run(*arrays), expected, 1e-4, 5e-4)  # of sums of some thousand numbers near one
    if half is not None:
        assert_close(trace(ours, *arrays, fp16=True).run(*arrays), expected, half, 2 * half)


@pytest.mark.parametrize("name", ["MobileNetV3Small", "UNet", "LanguageModel"])
def test_tensorrt_builds_it(name: str) -> None:
    kinds, arrays, _ = CASES[name]
    ours, theirs = _pair(name, kinds)
    ours.load_state_dict(load_random(theirs).state_dict())
    assert trace(ours, *arrays, fp16=True).build(**ONE_TARGET).plan.nbytes > 0
