"""These tests run engines: they need a GPU, a TensorRT that runs on it, and torch with CUDA."""

from __future__ import annotations

import pytest
import torch

from trtnn.backend import get_backend
from trtnn.cuda import gpus


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    backend = get_backend()
    reason = None
    if not gpus():
        reason = "there is no GPU here"
    elif backend.capabilities.targets and gpus()[0] not in backend.targets:
        reason = f"{backend} does not run on {gpus()[0]}"
    elif not torch.cuda.is_available():
        reason = "this torch has no CUDA"
    if reason:
        for item in items:
            if "tests/gpu" in item.nodeid:
                item.add_marker(pytest.mark.skip(reason=reason))
