"""Videos and JPEGs read by NVIDIA's decoders, where there is a GPU: by PyNvVideoCodec, and by nvImageCodec."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from trtnn.cuda import gpus
from trtnn.threads import processors
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


class _Asked:
    """A file that a thread waits for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.image: GpuImage | None = None
        self.is_done = False


class JpegReader:
    """JPEGs decoded by nvImageCodec, which takes as one batch those that several threads wait for.

    The first thread to come decodes its file alone. Those that come meanwhile wait, and the next to decode takes all
    of theirs. So nothing waits for a batch to fill, none is larger than there are threads, and one decoder serves all
    of them, one call at a time. How fast this is was not measured on a GPU yet.

    Where the package is missing, there is no GPU, no decoder is to be had, or the first image is another one than
    OpenCV reads, it reads none.

    Args:
        threads: how many call :meth:`decode`. With nvImageCodec's own that work on a batch they are as many, and no
            more than this process may use processors.
    """

    def __init__(self, threads: int) -> None:
        self._codec: Any = None
        if gpus():
            try:
                self._codec = importlib.import_module("nvidia.nvimgcodec")
            except Exception:  # it is not installed, or does not find its libraries: each raises its own
                self._codec = None
        self._decoder: Any = None
        self._helpers = max(1, min(threads, processors()) - 1)  # the thread that calls works with them
        self._changed, self._waiting, self._is_busy = threading.Condition(), list[_Asked](), False
        self._lock, self._is_compared = threading.Lock(), False

    def decode(self, data: bytes, size: Size, by_opencv: Callable[[], np.ndarray]) -> GpuImage | None:
        """Return the image that is in a file's bytes, or None where OpenCV has to read it.

        Args:
            data: the bytes.
            size: the (height, width) that its header promises.
            by_opencv: reads it otherwise.
        """
        if self._codec is None or not is_plain_jpeg(data):
            return None
        image = self._decode(data)
        if image is None or image.shape != (*size, 3):
            return None
        with self._lock:
            if not self._is_compared:
                if np.abs(np.asarray(image).astype(np.int16) - by_opencv()).mean() > _CLOSE:
                    self._codec = None
                self._is_compared = True  # not where OpenCV raised: then the next one is compared
        return None if self._codec is None else image

    def _decode(self, data: bytes) -> GpuImage | None:
        """Return nvImageCodec's image, or None where it has none, once this thread or another one has decoded it."""
        asked = _Asked(data)
        with self._changed:
            self._waiting.append(asked)
            self._changed.wait_for(lambda: asked.is_done or not self._is_busy)
            if asked.is_done:
                return asked.image
            batch, self._waiting, self._is_busy = self._waiting, [], True
        try:
            for each, image in zip(batch, self._decode_batch([each.data for each in batch]), strict=True):
                each.image = image
        finally:
            with self._changed:
                for each in batch:
                    each.is_done = True
                self._is_busy = False
                self._changed.notify_all()
        return asked.image

    def _decode_batch(self, batch: list[bytes]) -> list[GpuImage | None]:
        """Return the image of each file, and None in the place of one that nvImageCodec does not decode.

        Of most damaged files it says None itself; one in which it finds no image at all spoils the call for all.
        """
        if self._decoder is None and self._codec is not None:
            try:
                self._decoder = self._codec.Decoder(max_num_cpu_threads=self._helpers, options=_AS_LIBJPEG)
            except Exception:  # of the driver: each raises its own
                self._codec = None
        try:
            decoded = [] if self._decoder is None else self._decoder.decode(batch)
            images = [None if image is None else GpuImage(image) for image in decoded]
        except Exception:  # of the package: what it does not decode, OpenCV may, or tells why not
            images = []
        if len(images) == len(batch):
            return images
        if self._decoder is None or len(batch) == 1:
            return [None] * len(batch)
        return [image for data in batch for image in self._decode_batch([data])]
