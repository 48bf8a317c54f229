"""The frames of many sources, read ahead; of live ones the newest."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from trtnn.errors import ImageError
from trtnn.threads import Here, processors
from trtnn.vision.ahead import MOST_READERS
from trtnn.vision.gpu_io import NVIMAGECODEC, JpegReader
from trtnn.vision.headers import Size
from trtnn.vision.images import MAX_PIXELS, check_data, decode_image, most_bytes, read_bytes
from trtnn.vision.readers import Groups, Readers, can_share, most_readers
from trtnn.vision.sources import VIDEO_SUFFIXES, Frame, Source

FEWEST_PROCESSORS = 8  # with which processes read
FEWEST_FILES = 5000  # which threads read in about as long as processes begin


def read_frames(
    sources: list[Source],
    on_error: Callable[[Source, ImageError], None],
    max_pixels: int = MAX_PIXELS,
    threads: int | None = None,
    by_gpu: bool = False,
    every_frame: bool = True,
    check_size: Callable[[Size], None] | None = None,
    processes: int | Readers | None = None,
) -> Iterator[tuple[Source, Frame]]:
    """Yield the frames of sources, in order; images behind are read ahead by several threads or processes.

    What processes read lies in memory that a process that is forked of this one shares: each sees what the other writes
    to an image that was there.

    Args:
        sources: any number; files that are images are read ahead, see :class:`trtnn.vision.ahead.ReadAhead`.
        on_error: called, in order as well, with a source that cannot be read, or not to its end; the next one follows.
        max_pixels: the most that an image may have.
        threads: how many read; by default as many as there are processors, and 16 at most, or 64 with processes.
        by_gpu: let nvImageCodec read files that are JPEGs, where it is installed, as many at a time as threads wait
            for; such images lie on the GPU.
        every_frame: take each of a live source's frames, so that who is slower than it lags more and more; else the
            newest that there is, and those that came before it meanwhile are dropped.
        check_size: raises an ImageError for the (height, width) of an image that nothing can be done with.
        processes: how many processes read files of images, in place of so many threads, see
            :mod:`trtnn.vision.readers`; or those that are there already. By default there are some where this process
            has 8 processors, there are 5,000 files, and the GPU reads none. 0 is none.

    Raises:
        TrtnnError: it goes on in another process than it began in, which was forked of that one.
    """
    here = Here()
    with contextlib.ExitStack() as ended:
        if isinstance(processes, Readers):
            readers = processes
        else:
            readers = ended.enter_context(_readers(sources, threads, by_gpu, processes))
        gpu = JpegReader(readers.count) if by_gpu else None
        groups = Groups(sources, lambda source: str(source.path) if source.is_image_file else None, readers)

        def read(group: list[Source]) -> list[Frame | ImageError | None]:
            images = groups.read(group, max_pixels)
            if images is None:
                return [_read_image(group[0], max_pixels, gpu)]
            return [Frame(image) if isinstance(image, np.ndarray) else image for image in images]

        ahead = readers.ahead(groups, read, _nbytes)
        ended.callback(ahead.close)
        while ahead:
            group, future = ahead.take()
            there = future.result()
            del future
            for source in group:
                frame = there.pop(0)
                if isinstance(frame, ImageError):
                    on_error(source, frame)
                    continue
                try:
                    frames = source.read(max_pixels) if frame is None else iter([frame])
                    for frame in newest(frames) if source.is_live and not every_frame else frames:
                        if check_size is not None:
                            _check(source, frame, check_size)
                        yield source, frame
                        here.check("this reading of images")
                except ImageError as error:
                    on_error(source, error)


def _readers(sources: list[Source], threads: int | None, by_gpu: bool, processes: int | None) -> Readers:
    """Return who reads sources."""
    if processes:
        return Readers(processes, True)
    here = processors()
    is_worth_it = here >= FEWEST_PROCESSORS and sum(source.is_image_file for source in sources) >= FEWEST_FILES
    if processes is None and is_worth_it and not by_gpu and can_share():
        return Readers(most_readers(here) if threads is None else threads, True)
    return Readers(min(MOST_READERS, here) if threads is None else threads, False)


def _check(source: Source, frame: Frame, check_size: Callable[[Size], None]) -> None:
    try:
        check_size(frame.size)
    except ImageError as error:
        raise ImageError(f"cannot take {source.name}: {error.summary}", *error.details) from None


def _nbytes(read: list[Frame | ImageError | None]) -> int:
    return sum(math.prod(frame.image.shape) for frame in read if isinstance(frame, Frame))


def _read_image(source: Source, max_pixels: int, gpu: JpegReader | None) -> Frame | ImageError | None:
    """Return the image that a file is, read by the GPU where that can be, its error, or None of any other source."""
    if source.path is None or source.path.suffix.lower() in VIDEO_SUFFIXES:
        return None
    try:
        return _read_file(source, source.path, max_pixels, gpu)
    except ImageError as error:
        return error


def _read_file(source: Source, path: Path, max_pixels: int, gpu: JpegReader | None) -> Frame:
    if gpu is None:
        return next(source.read(max_pixels))
    data = read_bytes(path, most_bytes(max_pixels))
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
    here, state = Here(), _Newest()
    thread = threading.Thread(target=state.put, args=(frames,), name="trtnn-live", daemon=True)
    thread.start()
    try:
        while (frame := state.take()) is not None:
            yield frame
        if state.error is not None:
            raise state.error
    finally:
        if here:
            with state.changed:
                state.is_over = True
