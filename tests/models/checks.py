"""What the tests of every YOLO do."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.helpers import assert_close
from trtnn import Dim


def assert_boxes_close(result: Any, expected: Any, tolerance: float, dim: int = -1) -> None:
    """Compare centres, sizes and scores, which lie along ``dim``, each in parts of their own largest magnitude."""
    expected = np.asarray(expected)
    assert result.shape == expected.shape
    for part in (slice(0, 2), slice(2, 4), slice(4, None)):
        index = np.r_[part if part.stop else slice(part.start, expected.shape[dim])]
        assert_close(result.take(index, dim), expected.take(index, dim), tolerance)


def outputs_of(twin: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return a twin's decoded boxes and its maps."""
    twin.head = "raw"
    with torch.no_grad():
        raw = twin(images)
        twin.head = "decoded"
        return twin.model[-1].decode(raw), raw


def any_size() -> dict[str, tuple]:
    """Return an input for one to three pictures of sides from 32 to 128."""
    height, width = (Dim(name, 32, 64, 128, multiple_of=32) for name in ("height", "width"))
    return {"images": (Dim("batch", 1, 2, 3), 3, height, width)}


def zeros_of(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return a state dict of zeros that takes no memory, with the names and shapes of a torch module's."""
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
