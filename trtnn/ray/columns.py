"""Detections as columns of Arrow: a list for each row, over the numbers of all rows one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trtnn.vision import Detections
from trtnn.vision.detections import label_of

_NONE = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def columns_of(found: Sequence[Detections | None], labels: Sequence[str] | None) -> dict[str, Any]:
    """Return the columns ``boxes``, ``scores`` and ``classes`` of rows, and ``labels`` where classes have names.

    Args:
        found: of each row; None is of one without an image, whose lists are empty as those of one without detections.
        labels: the names of the classes.

    Raises:
        ArgumentError: a class has no name in ``labels``.
    """
    import pyarrow as pa

    each = [_NONE if one is None else one for one in found]
    ends = pa.array(np.cumsum([0, *map(len, each)]), pa.int32())
    each.append(_NONE)  # of no rows there is something to join
    boxes = np.concatenate([one.boxes for one in each], dtype=np.float32, casting="same_kind")
    scores = np.concatenate([one.scores for one in each], dtype=np.float32, casting="same_kind")
    classes = np.concatenate([one.classes for one in each], dtype=np.int64, casting="same_kind")
    columns = {
        "boxes": pa.FixedSizeListArray.from_arrays(pa.array(boxes.ravel()), 4),
        "scores": pa.array(scores),
        "classes": pa.array(classes),
    }
    if labels is not None:
        if len(classes):
            for index in (classes.min(), classes.max()):
                label_of(int(index), labels)
        columns["labels"] = pa.array(labels, pa.string()).take(columns["classes"])
    return {name: pa.ListArray.from_arrays(ends, values) for name, values in columns.items()}
