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
