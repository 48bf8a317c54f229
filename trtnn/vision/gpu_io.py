"""Videos read by NVIDIA's decoders through PyNvVideoCodec, where that is installed and there is a GPU."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from trtnn.cuda import gpus

PYNVVIDEOCODEC = "PyNvVideoCodec"
_AHEAD = 8  # frames that it decodes ahead
_CLOSE = 8.0  # levels of 255, in the mean: by so much colours are converted otherwise than OpenCV does


def open_video(path: str, first: np.ndarray) -> Iterator[np.ndarray] | None:
    """Return a video's frames, uint8 (height, width, 3) RGB on the host, or None where they cannot be read so.

    Not every GPU decodes every kind of video, and a file may say wrongly what its colours are: the first frame is held
    against the one that OpenCV reads.

    Args:
        path: of a file.
        first: its first frame as OpenCV reads it, RGB.
    """
    if not gpus():
        return None
    try:
        codec: Any = importlib.import_module(PYNVVIDEOCODEC)
        color = codec.OutputColorType.RGB
        decoder = codec.ThreadedDecoder(path, _AHEAD, use_device_memory=False, output_color_type=color)
        frames = _frames(decoder)
        frame = next(frames, None)
    except Exception:  # the package is missing, or the driver, or the GPU does not decode this: each raises its own
        return None
    if frame is None or frame.shape != first.shape or frame.dtype != np.uint8:
        return None
    if np.abs(frame.astype(np.int16) - first).mean() > _CLOSE:
        return None
    return _behind(frame, frames)


def _frames(decoder: Any) -> Iterator[np.ndarray]:
    try:
        while batch := decoder.get_batch_frames(_AHEAD // 2):
            for frame in batch:
                yield np.array(np.from_dlpack(frame))  # its memory is used again
    finally:
        decoder.end()


def _behind(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    try:
        yield from rest
    except Exception:  # of the driver: who reads sees that there are fewer than the file says
        return
