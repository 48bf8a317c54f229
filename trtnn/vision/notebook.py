"""Detections as a notebook shows them: drawn into their image, with a table below."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from trtnn.table import MOST_IN_NOTEBOOK, render_html
from trtnn.vision.detections import Detections, label_of
from trtnn.vision.drawing import draw
from trtnn.vision.images import encode_image
from trtnn.vision.opencv import opencv

_WIDEST = 800  # px of an image in a notebook


def detections_html(
    detections: Detections, image: np.ndarray | None, labels: Sequence[str] | None, is_gone: bool = False
) -> str:
    """Return detections as HTML: drawn into the image where it is there, and the best of them as a table.

    Args:
        detections: boxes in px of the image.
        image: uint8 (height, width, 3) RGB, or None.
        labels: the classes' names.
        is_gone: whether there was an image, which nothing holds any more.
    """
    rows = [
        (label_of(index, labels), f"{score:.2f}", *(f"{value:.0f}" for value in box))
        for box, score, index in sorted(detections, key=lambda detection: -detection.score)
    ]
    caption = f"{len(rows)} detection{'' if len(rows) == 1 else 's'}"
    header = ("class", "score", "x1", "y1", "x2", "y2")
    told = f"{caption}; to see them in their image, keep it in a variable" if is_gone else caption
    table = render_html(told, header, rows, 1, limit=MOST_IN_NOTEBOOK)
    if image is None:
        return table
    drawn = draw(image, detections, labels)
    height, width = drawn.shape[:2]
    if width > _WIDEST:
        size = (_WIDEST, max(1, round(height * _WIDEST / width)))
        drawn = np.asarray(opencv().resize(drawn, size, interpolation=opencv().INTER_AREA))
    data = base64.b64encode(encode_image("drawn.png", drawn)).decode()
    return f'<img alt="{caption}, drawn into their image" src="data:image/png;base64,{data}">{table}'
