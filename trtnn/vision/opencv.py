"""OpenCV, imported once an image is read, written, resized or drawn: what needs no images needs no OpenCV."""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any

from trtnn.errors import ImageError


@functools.cache
def opencv() -> Any:
    """Return the module ``cv2``.

    Raises:
        ImageError: it is missing, or does not load.
    """
    try:
        return importlib.import_module("cv2")
    except Exception as error:  # a broken one raises ImportError, AttributeError, RuntimeError and others
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ImageError(
            f"pictures need OpenCV, which cannot be imported: {reason}",
            "pip install opencv-python-headless",
            "beside opencv-python it breaks: pip uninstall opencv-python opencv-contrib-python first",
        ) from error


def quiet_opencv() -> Any:
    """Return the module ``cv2``, whose FFmpeg prints nothing of what it meets in videos unless it was told to."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read once, when the first video is opened
    return opencv()


def shown_text(text: str) -> str:
    """Return text as OpenCV may be given it to draw: half a character, of which it would crash, becomes ``?``."""
    return text.encode(errors="replace").decode()


def video_place(place: str, name: object) -> str:
    """Return the path or the address of a video as FFmpeg is to be given it by OpenCV.

    A path is whole, since FFmpeg takes what stands before a colon for a protocol: in ``10:30.mp4`` as in ``concat:a``.

    Args:
        place: the path or the address.
        name: what errors call it.

    Raises:
        ImageError: it is no text in UTF-8, of which OpenCV would crash.
    """
    try:
        place.encode()
    except UnicodeEncodeError:
        raise ImageError(
            f"OpenCV opens no video {name}: its name is not UTF-8", "give it, or its folder, one"
        ) from None
    return place if "://" in place else os.path.abspath(place)
