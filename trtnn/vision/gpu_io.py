"""Videos and JPEGs read by NVIDIA's decoders, where there is a GPU: by PyNvVideoCodec, and by nvImageCodec."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from trtnn.cuda import gpus
from trtnn.vision.headers import Size, is_plain_jpeg

PYNVVIDEOCODEC, NVIMAGECODEC = "PyNvVideoCodec", "nvImageCodec"
_AHEAD = 8  # frames that it decodes ahead
_CLOSE = 8.0  # levels of 255, in the mean: by so much colours are converted otherwise than OpenCV does
_AS_LIBJPEG = ":fancy_upsampling=1"  # chroma is interpolated, as libjpeg does, which OpenCV has


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


class GpuImage:
    """An image on the GPU, uint8 (height, width, 3) RGB.

    Args:
        image: what nvImageCodec made.

    Attributes:
        shape: its own.
    """

    def __init__(self, image: Any) -> None:
        self._image = image
        self.shape: tuple[int, ...] = tuple(image.shape)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self._image.__cuda_array_interface__

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return it on the host."""
        return np.array(self._image.cpu(), dtype)


class JpegReader:
    """JPEGs decoded by nvImageCodec, in any threads.

    Where the package is missing, there is no GPU, or the first image is another one than OpenCV reads, it reads none.
    """

    def __init__(self) -> None:
        self._codec: Any = None
        if gpus():
            try:
                self._codec = importlib.import_module("nvidia.nvimgcodec")
            except Exception:  # it is not installed, or does not find its libraries: each raises its own
                self._codec = None
        self._local, self._lock, self._is_compared = threading.local(), threading.Lock(), False

    def decode(self, data: bytes, size: Size, by_opencv: Callable[[], np.ndarray]) -> GpuImage | None:
        """Return the image that is in a file's bytes, or None where OpenCV has to read it.

        Args:
            data: the bytes.
            size: the (height, width) that its header promises.
            by_opencv: reads it otherwise.
        """
        if self._codec is None or not is_plain_jpeg(data):
            return None
        try:
            image = self._decoder().decode(data)
            if image is None:
                return None
            image = GpuImage(image)
        except Exception:  # of the package: what it does not decode, OpenCV may, or tells why not
            return None
        if image.shape != (*size, 3):
            return None
        with self._lock:
            if not self._is_compared:
                self._is_compared = True
                if np.abs(np.asarray(image).astype(np.int16) - by_opencv()).mean() > _CLOSE:
                    self._codec = None
        return None if self._codec is None else image

    def _decoder(self) -> Any:
        """Return the calling thread's own."""
        if not hasattr(self._local, "decoder"):
            self._local.decoder = self._codec.Decoder(max_num_cpu_threads=1, options=_AS_LIBJPEG)
        return self._local.decoder
