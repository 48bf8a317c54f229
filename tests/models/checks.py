"""What the tests of every YOLO do."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.helpers import assert_close
from trtnn import Dim


def assert_boxes_close(result: Any, expected: Any, tolerance: float, dim: int = -1, cell: float = 32) -> None:
    """Compare centres and sizes in pixels, and scores, which lie along ``dim``.

    What they may be off follows from the logits that they are made of: for each unit of one, a centre moves by half of
    a cell at most, a size grows by two parts of itself, and a score by one.

    Args:
        tolerance: how far a logit may be off.
        cell: the side of the largest cells, in pixels; eight times as much where boxes are distances to four sides,
            which move by up to four cells.
    """
    expected = np.asarray(expected)
    assert result.shape == expected.shape
    boxes, scores = (np.r_[part] for part in (slice(0, 4), slice(4, expected.shape[dim])))
    assert_close(result.take(boxes, dim), expected.take(boxes, dim), 2 * tolerance, tolerance * cell / 2)
    assert_close(result.take(scores, dim), expected.take(scores, dim), tolerance, tolerance / 100)


def assert_best_close(result: Any, expected: Any, tolerance: float, bounds: Any) -> None:
    """Compare the rows of an end-to-end head: four numbers of a box, score, class, and what the task has more.

    Scores are compared in order. A row may stand elsewhere among those of nearly its score, and need not be there where
    its score is nearly the last.

    Args:
        result, expected: (batch, rows, 6 + more).
        tolerance: how far a score may be off.
        bounds: how far each number of a row may be off, (6 + more,); the relative bound is the tolerance.
    """
    expected = np.asarray(expected)
    assert result.shape == expected.shape
    assert_close(result[..., 4], expected[..., 4], tolerance, tolerance)
    assert (np.diff(result[..., 4]) <= 0).all()
    for ours, theirs in zip(result, expected, strict=True):
        for row in theirs[theirs[:, 4] > theirs[-1, 4] + tolerance]:
            alike = ours[(ours[:, 5] == row[5]) & (np.abs(ours[:, 4] - row[4]) <= tolerance)]
            off = np.abs(alike - row) / (np.asarray(bounds) + tolerance * np.abs(row))
            assert len(alike), f"no row of class {row[5]:.0f} and score {row[4]:.4f}"
            assert off.max(1).min() <= 1, f"of the row {row[:6]} the nearest is off by {off.max(1).min():.2g} bounds"


def _bounds_of(model: Any, tolerance: float) -> tuple[list[float], list[float]]:
    """Return how far the numbers of a box, and what a task has more, may be off.

    For each unit of a logit a centre moves by four cells of 32 pixels, where sides are the means of distributions; of a
    rotated box it also moves as that turns. A score moves by a quarter, a key point by two cells, and an angle by one.
    """
    box, more = tolerance * 128 * (4 if model.task == "obb" else 1), []
    if model.task == "segment":
        more = [tolerance] * 32
    elif model.task == "pose":
        more = [tolerance * 64, tolerance * 64, tolerance][: model.kpt_shape[1]] * model.kpt_shape[0]
    elif model.task == "obb":
        more = [tolerance]
    return [box] * 4, more


def assert_outputs_close(model: Any, result: Any, expected: Any, tolerance: float) -> None:
    """Compare what a YOLO gives in any task, under any head but ``"raw"``.

    Args:
        model: ours, which says its task and head.
        tolerance: how far a logit may be off.
    """
    if model.task == "classify":
        assert_close(result, expected, tolerance)
        return
    if model.task == "segment":
        assert set(result) == {"prediction", "prototypes"}
        assert_close(result["prototypes"], np.asarray(expected["prototypes"]), tolerance, tolerance * 4)
        result, expected = result["prediction"], expected["prediction"]
    expected = np.asarray(expected)
    box, more = _bounds_of(model, tolerance)
    if model.head == "end2end":
        assert_best_close(result, expected, tolerance, [*box, tolerance, 0.5, *more])
        return
    bounds = np.array([*box, *[tolerance] * (expected.shape[1] - 4 - len(more)), *more])
    assert result.shape == expected.shape
    assert (np.abs(result - expected) <= bounds[:, None] + 2 * tolerance * np.abs(expected)).all()


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


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    """Return noise in 0..1."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def zeros_of(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return a state dict of zeros that takes no memory, with the names and shapes of a torch module's."""
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
