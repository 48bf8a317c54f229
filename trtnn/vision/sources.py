"""Where images come from: files, folders, globs, lists, addresses, videos, cameras and standard input."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trtnn.errors import ArgumentError, ImageError
from trtnn.files import open_regular
from trtnn.threads import Here
from trtnn.vision.gpu_io import PYNVVIDEOCODEC, GpuImage, open_video
from trtnn.vision.images import (
    SUFFIXES,
    decode_image,
    find_images,
    most_bytes,
    read_image,
)
from trtnn.vision.opencv import opencv, quiet_opencv, video_place

#: The suffixes by which videos are known in folders, globs and addresses.
VIDEO_SUFFIXES = frozenset({".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
STREAM_SCHEMES = ("rtmp", "rtsp", "rtsps", "srt", "tcp", "udp")
STANDARD_INPUT = "-"
TIMEOUT_S = 10  # to connect, and for what is then to come
LONGEST_S = 60  # for an image as a whole
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)  # before a stream that broke off is opened again, once after each
_MOST_BROKEN = 1000  # frames of a file, one after another, before it has ended
_BEYOND = 8  # frames that a file may have more than it says
_SILENT = 0  # OpenCV's level of messages
_IN_ADDRESSES = "!#$%&'()*+,/:;=?@[]~"  # what is left as it is: RFC 3986, and % of what is written so already
_MOST_LISTED = 1 << 20  # sources in a list
_MOST_LIST_BYTES = 1 << 26


class Frame(NamedTuple):
    """One image of a source.

    Attributes:
        image: uint8 (height, width, 3) RGB; what nvImageCodec reads lies on the GPU, and np.asarray brings it.
        index: of a video's frame, from 0; None where the source is a single image.
        rate: of a video in frames a second, 0 where it does not tell.
        reader: what read it.
    """

    image: np.ndarray | GpuImage
    index: int | None = None
    rate: float = 0.0
    reader: str = "OpenCV"

    @property
    def size(self) -> tuple[int, int]:
        """Its (height, width) in px."""
        height, width, _ = self.image.shape
        return height, width


@dataclass(frozen=True)
class Source:
    """What gives one image, or a video's frames.

    Attributes:
        name: what messages and results call it: a path, an address without its password, a camera's number, or ``-``.
        read: a function of the most pixels that an image may have, which yields the frames; what ends them early is an
            ImageError.
        path: of a file, None for anything else.
        is_live: whether its frames come by themselves: of a camera, or of a stream by its scheme.
        is_image_file: whether it gives what :func:`trtnn.vision.read_image` reads at its path.
    """

    name: str
    read: Callable[[int], Iterator[Frame]]
    path: Path | None = None
    is_live: bool = False
    is_image_file: bool = False


Elsewhere = Callable[[str], list[Source]]  # from an address to what is there


def find_sources(text: str, recursive: bool = False, elsewhere: Elsewhere | None = None) -> list[Source]:
    """Return the sources that a text stands for.

    Args:
        text: a file, a folder or a glob of images and videos, see :func:`trtnn.vision.find_images`; a ``.txt`` file
            with one such a line, relative to its own folder, of which some may be missing; ``http://`` or ``https://``
            to an image or a video, ``rtsp://`` and other streams; a camera's number; or ``-`` for an image on standard
            input.
        recursive: whether a folder's subfolders count.
        elsewhere: what returns the sources at an address of another scheme; without it that is an error.

    Raises:
        ImageError: there is none.
        ArgumentError: the text can be read in two ways, or is an address of another kind.
    """
    if text == STANDARD_INPUT:
        return [Source(STANDARD_INPUT, _read_standard_input)]
    if text.isascii() and text.isdecimal():
        if os.path.lexists(text):
            raise ArgumentError(f"{text} is a camera's number, and a file here", f"./{text} is the file")
        return [Source(text, lambda max_pixels: _read_video(int(text), text, max_pixels), is_live=True)]
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", text)
    if scheme:
        is_known = scheme[1].lower() in ("http", "https", *STREAM_SCHEMES)
        return [_address(text, scheme[1].lower())] if is_known or elsewhere is None else elsewhere(text)
    if text.lower().endswith(".txt") and os.path.isfile(text):
        return _listed(Path(text), recursive, elsewhere)
    return [file_source(path) for path in find_images(text, recursive, SUFFIXES | VIDEO_SUFFIXES)]


def file_source(path: Path) -> Source:
    """Return the source that a file is: a video by its suffix, else an image."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return Source(str(path), lambda max_pixels: _read_video(str(path), str(path), max_pixels), path)
    return Source(str(path), lambda max_pixels: iter([Frame(read_image(path, max_pixels))]), path, is_image_file=True)


def _without_password(url: str) -> str:
    return re.sub(r"(?<=://)([^/?#@:]*):[^/?#]*@", r"\1:***@", url)  # the last @: a password may have some


def _address(url: str, scheme: str) -> Source:
    name = _without_password(url)
    if scheme in STREAM_SCHEMES:
        return Source(name, lambda max_pixels: _read_video(url, name, max_pixels), is_live=True)
    if scheme not in ("http", "https"):
        known = ", ".join(f"{word}://" for word in ("http", "https", *STREAM_SCHEMES))
        raise ArgumentError(
            f"no images are read from {scheme}://",
            f"known: {known}",
            "a file is given by its path; trtnn detect --ray reads what fsspec knows, such as s3://",
        )
    return Source(name, lambda max_pixels: _read_address(url, name, max_pixels))


def _listed(path: Path, recursive: bool, elsewhere: Elsewhere | None) -> list[Source]:
    """Return the sources in a list, one a line; what a line names that is not there cannot be read at its turn.

    Raises:
        ImageError: it is no list, or nothing that it names is there.
        ArgumentError: a line is something that no list holds.
    """
    try:
        with open_regular(path) as file:
            text = file.read(_MOST_LIST_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise ImageError(f"cannot read the list {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ImageError(f"the list {path} is not text in UTF-8") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or len(text) > _MOST_LIST_BYTES or len(lines) > _MOST_LISTED:
        why = f"it has more than {_MOST_LISTED:,} lines" if lines else "it is empty"
        raise ImageError(f"no picture in the list {path}: {why}")
    sources, is_any_there = [], False
    for line in lines:
        if line == STANDARD_INPUT or line.lower().endswith(".txt"):
            raise ArgumentError(f"the list {path} names {line}", "a list holds no lists, and not standard input")
        here = line if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://|\d+$", line) else str(path.parent / line)
        try:
            sources += [file_source(Path(here))] if os.path.isfile(here) else find_sources(here, recursive, elsewhere)
            is_any_there = True
        except ImageError as error:
            sources.append(Source(here, functools.partial(_raise, error), None if "://" in here else Path(here)))
        except ArgumentError as error:
            shown = _without_password(here) if "://" in here else here
            raise ArgumentError(f"the list {path} names {shown}: {error.summary}", *error.details) from None
    if not is_any_there:
        raise ImageError(f"no picture in the list {path}: nothing that it names is there", f"such as {sources[0].name}")
    return sources


def _raise(error: ImageError, max_pixels: int) -> Iterator[Frame]:
    raise error


def _read_standard_input(max_pixels: int) -> Iterator[Frame]:
    most = most_bytes(max_pixels)
    data = sys.stdin.buffer.read(most + 1)
    if len(data) > most:
        raise ImageError(f"cannot read the picture on standard input: it has more than {most:,} bytes")
    yield Frame(decode_image(data, "on standard input", max_pixels))


def _read_address(url: str, name: str, max_pixels: int) -> Iterator[Frame]:
    """Yield the image at an address, or the frames where it is a video by its suffix or by what the server says."""
    path = re.split(r"[?#]", url)[0].lower()
    if path.endswith((*VIDEO_SUFFIXES, ".m3u8")):
        yield from _read_video(url, name, max_pixels)
        return
    data = _fetch(url, name, most_bytes(max_pixels))
    if data is None:
        yield from _read_video(url, name, max_pixels)
    else:
        yield Frame(decode_image(data, name, max_pixels))


def _request(url: str) -> Any:
    """Return what asks for an address: its user and password go into a header, which no redirection takes elsewhere.

    What no address may hold, such as spaces and letters beyond ASCII, is written as browsers write it.

    Raises:
        ValueError: it is no address.
    """
    import base64
    from urllib import parse, request

    parts = parse.urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    path, query = (parse.quote(part, _IN_ADDRESSES) for part in (parts.path, parts.query))
    place = parse.urlunsplit((parts.scheme, host, path, query, ""))
    asked = request.Request(place, headers={"User-Agent": "trtnn", "Accept": "image/*, */*;q=0.5"})
    if user:
        basic = base64.b64encode(parse.unquote(user).encode()).decode()  # RFC 7617
        asked.add_unredirected_header("Authorization", f"Basic {basic}")
    return asked


def _fetch(url: str, name: str, most: int) -> bytes | None:
    """Return what is at an address, or None where that is a video, or a stream of images.

    Raises:
        ImageError: nothing is there within the time, or more bytes than ``most``.
    """
    import http.client
    import urllib.error
    from urllib import request

    opener, end = request.OpenerDirector(), time.monotonic() + LONGEST_S
    for handler in (
        *(request.ProxyHandler, request.HTTPHandler, request.HTTPSHandler, request.HTTPRedirectHandler),
        *(request.HTTPErrorProcessor, request.HTTPDefaultErrorHandler, request.UnknownHandler),
    ):  # those of files and of FTP are not among them
        opener.add_handler(handler())
    try:
        with opener.open(_request(url), timeout=TIMEOUT_S) as answer:
            kind = answer.headers.get_content_type()
            if kind.startswith(("video/", "multipart/")) or kind.endswith("mpegurl"):
                return None
            parts, count = [], 0
            while part := answer.read1(1 << 16):
                parts.append(part)
                count += len(part)
                if count > most:
                    raise ImageError(f"cannot read the picture {name}: it has more than {most:,} bytes")
                if time.monotonic() > end:
                    raise ImageError(f"cannot read the picture {name}: it was not there within {LONGEST_S} s")
            length = answer.headers.get("Content-Length", "")
            if length.isdecimal() and count < int(length):
                raise ImageError(f"cannot read the picture {name}: {count:,} of its {int(length):,} bytes came")
            return b"".join(parts)
    except ImageError:  # a ValueError as well
        raise
    except urllib.error.HTTPError as error:
        error.close()  # it is the answer as well
        raise ImageError(f"cannot read the picture {name}: HTTP {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError and timeouts are OSErrors
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise ImageError(f"cannot read the picture {name}: {reason}") from error


def _read_video(place: str | int, name: str, max_pixels: int) -> Iterator[Frame]:
    """Yield the frames of a video file, a camera or a stream; a stream that breaks off is opened again.

    A file has an end, and so has what tells how many frames it has. All else is a stream: where it gives no more, it is
    opened again, after longer and longer pauses, until it gives a frame or the pauses are at an end.

    Frames of a file are numbered by their order, in which one that OpenCV cannot decode counts as well.

    Raises:
        ImageError: it cannot be opened, its frames are too large, it has none or fewer than it says, some of them could
            not be decoded, or it did not come back.
    """
    here, index, lost, pauses, clock = Here(), 0, 0, iter(PAUSES_S), _Clock()
    if isinstance(place, str):
        place = video_place(place, name)
    while True:
        capture = _open(place)
        try:
            if index == 0 and not capture.isOpened():
                raise ImageError(f"cannot open the {_kind(place)} {name}", *_advice(place))
            cv2 = opencv()
            rate, count = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            height, width = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
            if height * width > max_pixels:
                raise ImageError(f"the {_kind(place)} {name} is too large: {height:,}×{width:,} pixels a frame")
            for image, reader, failed in _images(capture, place, count):
                index, lost = index + failed, lost + failed
                if reader != PYNVVIDEOCODEC:
                    clock.tick(capture.get(cv2.CAP_PROP_POS_MSEC), failed == 0)
                yield Frame(image, index, rate if rate > 0 else 0.0, reader)
                index, pauses = index + 1, iter(PAUSES_S)
        finally:
            if here:
                capture.release()
            else:  # it would wait for its threads, which are not in this process, and so would its end
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(capture))
        if isinstance(place, str) and (count > 0 or "://" not in place):
            count = index if rate > 0 and clock.has_reached(1e3 * count / rate) else count
            _check_end(name, index, lost, count)
            return
        pause = next(pauses, None)
        if pause is None:
            raise ImageError(f"the {_kind(place)} {name} broke off after {index:,} frames, and did not come back")
        time.sleep(pause)


class _Clock:
    """When the frames of a video are shown, in milliseconds.

    A file that does not say how many frames it has is said to have as many as its length has at its rate, which is no
    more than a guess where the time from frame to frame varies, as in screen recordings.
    """

    def __init__(self) -> None:
        self._last = self._longest = 0.0

    def tick(self, now: float, is_next: bool) -> None:
        """Take the time of a frame since the first; ``is_next`` where none between the last and it was lost."""
        if is_next:
            self._longest = max(self._longest, now - self._last)
        self._last = now

    def has_reached(self, end: float) -> bool:
        """Tell whether few frames can be missing before the end: the last lasts as long as others, up to 5 % of all."""
        return 0 < self._last >= end - max(min(self._longest, end / 20), end / 100)


def _check_end(name: str, index: int, lost: int, count: int) -> None:
    """Check that a video which has an end was read to it.

    Args:
        name: of the video.
        index: of the frame that would be next.
        lost: how many before that could not be decoded.
        count: how many it says it has.

    Raises:
        ImageError: it was not, or some frames are lost.
    """
    if index == 0:
        raise ImageError(f"the video {name} has no frame that can be read")
    if index < count - max(1, count // 100):  # some kinds of file only estimate how many they have
        raise ImageError(f"the video {name} ended early: {index - lost:,} of its {count:,} frames could be read")
    if lost:
        raise ImageError(
            f"the video {name} is damaged: {lost:,} of its {count:,} frames could not be read",
            "the others have the numbers that they have in it",
        )


def _images(capture: Any, place: str | int, count: int) -> Iterator[tuple[np.ndarray, str, int]]:
    """Yield the images of a video that OpenCV has opened, in RGB.

    Args:
        capture: OpenCV's.
        place: of the video.
        count: how many frames a file says it has: so many are asked for, and a few more, though some do not come.

    Yields:
        Each with what read it, and how many before it could not be read.
    """
    cv2, frames, is_file = opencv(), None, isinstance(place, str) and "://" not in place
    failed = asked = 0
    while True:
        taken, image = capture.read()
        asked += 1
        if not taken:
            failed += 1
            if not is_file or asked >= count + _BEYOND or failed > _MOST_BROKEN:
                return
            continue
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
        if is_file and frames is None:
            frames = open_video(str(place), image) or ()
            if frames:
                yield from ((frame, PYNVVIDEOCODEC, 0) for frame in frames)
                return
        yield image, "OpenCV", failed
        failed = 0


def _kind(place: str | int) -> str:
    if isinstance(place, int):
        return "camera"
    return "stream" if "://" in place else "video"


def _advice(place: str | int) -> list[str]:
    if isinstance(place, int):
        return ["it is not there, is used by another program, or this user may not use it"]
    if "://" in place:
        return [f"nothing that OpenCV reads was there within {TIMEOUT_S} s"]
    return ["the file is damaged, or of a kind that OpenCV does not read"]


def _open(place: str | int) -> Any:
    """Return OpenCV's reader of a video; it does not print what went wrong."""
    cv2 = quiet_opencv()
    logging = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # of OpenCV 4, and of 5
    level = logging.getLogLevel()
    logging.setLogLevel(_SILENT)
    try:
        if isinstance(place, int):
            return cv2.VideoCapture(place)
        times = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 1000 * TIMEOUT_S, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 1000 * TIMEOUT_S]
        return cv2.VideoCapture(place, cv2.CAP_FFMPEG, times)
    finally:
        logging.setLogLevel(level)
