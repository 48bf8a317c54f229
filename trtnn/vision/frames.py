"""The frames of many sources, read ahead; of live ones the newest."""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable, Iterator

from trtnn.errors import ImageError
from trtnn.vision.ahead import MOST_READERS, ReadAhead, reading_threads
from trtnn.vision.gpu_io import NVIMAGECODEC, JpegReader
from trtnn.vision.headers import Size
from trtnn.vision.images import MAX_PIXELS, check_data, decode_image, most_bytes, read_bytes
from trtnn.vision.sources import VIDEO_SUFFIXES, Frame, Source


def read_frames(
    sources: list[Source],
    on_error: Callable[[Source, ImageError], None],
    max_pixels: int = MAX_PIXELS,
    threads: int | None = None,
    by_gpu: bool = False,
    every_frame: bool = True,
    check_size: Callable[[Size], None] | None = None,
) -> Iterator[tuple[Source, Frame]]:
    """Yield the frames of sources, in order; images behind are read ahead by several threads.

    Args:
        sources: any number; files that are images are read ahead, see :class:`trtnn.vision.ahead.ReadAhead`.
        on_error: called, in order as well, with a source that cannot be read, or not to its end; the next one follows.
        max_pixels: the most that an image may have.
        threads: how many read; by default as many as there are processors, and 16 at most.
        by_gpu: let nvImageCodec read files that are JPEGs, where it is installed, as many at a time as threads wait
            for; such images lie on the GPU.
        every_frame: take each of a live source's frames, so that who is slower than it lags more and more; else the
            newest that there is, and those that came before it meanwhile are dropped.
        check_size: raises an ImageError for the (height, width) of an image that nothing can be done with.
    """
    threads = min(MOST_READERS, os.cpu_count() or 1) if threads is None else threads
    gpu = JpegReader(threads) if by_gpu else None
    with reading_threads(threads) as pool:
        read = functools.partial(_read_image, max_pixels=max_pixels, gpu=gpu)
        ahead = ReadAhead(pool, threads, sources, read, _nbytes)
        try:
            while ahead:
                source, future = ahead.take()
                try:
                    frame = future.result()
                    frames = source.read(max_pixels) if frame is None else iter([frame])
                    for frame in newest(frames) if source.is_live and not every_frame else frames:
                        if check_size is not None:
                            _check(source, frame, check_size)
                        yield source, frame
                except ImageError as error:
                    on_error(source, error)
        finally:
            ahead.close()
            pool.shutdown(wait=False)


def _check(source: Source, frame: Frame, check_size: Callable[[Size], None]) -> None:
    try:
        check_size(frame.size)
    except ImageError as error:
        raise ImageError(f"cannot take {source.name}: {error.summary}", *error.details) from None


def _nbytes(frame: Frame | None) -> int:
    return 0 if frame is None else math.prod(frame.image.shape)


def _read_image(source: Source, max_pixels: int, gpu: JpegReader | None) -> Frame | None:
    """Return the image that a file is, read by the GPU where that can be, and None of any other source."""
    if source.path is None or source.path.suffix.lower() in VIDEO_SUFFIXES:
        return None
    if gpu is None:
        return next(source.read(max_pixels))
    data = read_bytes(source.path, most_bytes(max_pixels))
    by_opencv = functools.partial(decode_image, data, source.name, max_pixels)
    image = gpu.decode(data, check_data(data, source.name, max_pixels), by_opencv)
    return Frame(by_opencv()) if image is None else Frame(image, reader=NVIMAGECODEC)


class _Newest:
    """What a thread that reads frames leaves for who takes them."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.frame: Frame | None = None
        self.error: BaseException | None = None
        self.is_over = False

    def put(self, frames: Iterator[Frame]) -> None:
        """Read all frames, until nobody wants any more."""
        error = None
        try:
            for frame in frames:
                with self.changed:
                    self.frame = frame
                    self.changed.notify()
                    if self.is_over:
                        return
        except BaseException as raised:  # it is raised where frames are taken
            error = raised
        with self.changed:
            self.error, self.is_over = error, True
            self.changed.notify()

    def take(self) -> Frame | None:
        """Wait for a frame, and return it; None where there is no more."""
        with self.changed:
            self.changed.wait_for(lambda: self.frame is not None or self.is_over)
            frame, self.frame = self.frame, None
        return frame


def newest(frames: Iterator[Frame]) -> Iterator[Frame]:
    """Yield of frames that come by themselves the newest whenever one is asked for; those before it are dropped.

    The last one is always yielded, and what ends the frames is raised behind it.
    """
    state = _Newest()
    thread = threading.Thread(target=state.put, args=(frames,), name="trtnn-live", daemon=True)
    thread.start()
    try:
        while (frame := state.take()) is not None:
            yield frame
        if state.error is not None:
            raise state.error
    finally:
        with state.changed:
            state.is_over = True
