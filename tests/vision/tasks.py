"""Outputs of each task by formulas, and what Ultralytics' own package makes of them.

The numbers were recorded once with ultralytics 8.4.190 (torch 2.13.0, CPU): a predictor of ``yolov8n-seg.yaml`` and so
on with ``imgsz=640, conf=0.25, rect=False, retina_masks=True``, whose network was replaced by these outputs, on black
images of each size; ``boxes.data``, ``masks.data``, ``keypoints.data`` and ``obb.data`` of its results. Those of
classifiers are of the tensor that ``yolov8n-cls.yaml`` gets of :func:`picture` with ``imgsz=224``.
"""

from __future__ import annotations

import numpy as np

SIZES = [(640, 640), (480, 640), (427, 640), (500, 333), (1080, 1920)]
CANVAS = (640, 640)


def crowd(count: int, classes: int, more: int) -> np.ndarray:
    """Columns of centre x, centre y, width, height, class scores, and ``more`` zeros, (4 + classes + more, count)."""
    step = np.arange(count)
    columns = np.zeros((4 + classes + more, count), np.float32)
    columns[0], columns[1] = 320 + 260 * np.sin(step * 0.7), 320 + 200 * np.cos(step * 1.1)
    columns[2], columns[3] = 90 + 50 * np.sin(step), 120 + 60 * np.cos(step * 0.3)
    columns[4 + step % classes, step] = 0.95 - 0.6 * step / count
    return columns


def segment() -> tuple[np.ndarray, np.ndarray]:
    """A prediction (1, 4 + 80 + 32, 30), and its prototypes (1, 32, 160, 160)."""
    columns = crowd(30, 80, 32)
    waves = np.arange(32)[:, None]
    columns[-32:] = np.sin(waves * 1.3 + np.arange(30) * 0.9)
    across = np.cos((waves % 6 + 1) * np.linspace(0, 9, 160) + waves)
    down = np.cos((waves // 6 + 1) * np.linspace(0, 7, 160) - waves)
    return columns[None], (3 * down[:, :, None] * across[:, None] + 0.2).astype(np.float32)[None]


def pose() -> np.ndarray:
    """A prediction (1, 4 + 1 + 51, 30): some points lie beside the canvas."""
    columns = crowd(30, 1, 51)
    points, step = np.arange(17)[:, None], np.arange(30)
    columns[5::3] = columns[0] + 90 * np.sin(points * 0.8 + step)
    columns[6::3] = columns[1] + 150 * np.cos(points * 0.5 - step)
    columns[7::3] = 0.5 + 0.49 * np.sin(points + step)
    return columns[None]


def obb() -> np.ndarray:
    """A prediction (1, 4 + 2 + 1, 300): heaps of boxes, of which each overlaps some."""
    columns = crowd(300, 2, 1)
    columns[-1] = 2.2 * np.sin(np.arange(300) * 0.37)
    return columns[None]


def picture(height: int, width: int) -> np.ndarray:
    """An image of smooth waves, RGB."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = [np.sin(x / 7 + y / 19), np.cos(x / 11 - y / 5), np.sin((x + y) / 3)]
    return np.stack([np.rint(127.5 + 120 * wave) for wave in waves], -1).astype(np.uint8)
