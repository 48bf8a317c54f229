"""Videos that are written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from trtnn.errors import ImageError
from trtnn.files import NAME_SHOWN
from trtnn.vision.opencv import opencv, quiet_opencv, video_place

USUAL_RATE = 25.0  # frames a second, of a source that does not tell
_MOST_PARTS = 65535  # into which MPEG-4 divides a second
_LONGEST = 8191  # pixels a side
_DECIMALS = 3  # of a rate, as exact as OpenCV writes it


class VideoWriter:
    """An MP4 file of frames, MPEG-4 as every OpenCV writes it; it takes its place once it is closed.

    Args:
        path: of the file.
        size: (height, width) of the frames in px.
        rate: frames a second; 0 where nobody knows. It is written with three decimals, or as many as MPEG-4 takes: of
            119.7432 two. What is none, or more than it can tell, as the 90,000 of some streams, becomes 25.

    Raises:
        ImageError: OpenCV cannot write it.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: float) -> None:
        cv2 = quiet_opencv()
        self.path, self.size = path, size
        self._temporary = path.with_name(f".{path.stem[:NAME_SHOWN]}.{os.getpid()}.tmp.mp4")
        code = cv2.VideoWriter_fourcc(*"mp4v")
        place, rate = video_place(str(self._temporary), path), _written_rate(rate)
        self._file = cv2.VideoWriter(place, cv2.CAP_FFMPEG, code, rate, size[::-1])
        if not self._file.isOpened():
            fits = 2 <= min(size) <= max(size) <= _LONGEST
            raise ImageError(
                f"cannot write the video {path}, of {size[0]:,}×{size[1]:,} pixels",
                f"{'this OpenCV writes no MP4' if fits else f'MPEG-4 has 2 to {_LONGEST:,} a side'}: "
                "--no-draw goes without",
            )

    def write(self, image: np.ndarray) -> None:
        """Add a frame, uint8 (height, width, 3) RGB; one of another size is resized, as a file has one."""
        cv2 = opencv()
        if image.shape[:2] != self.size:
            image = cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA)
        self._file.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """End the file with what was added."""
        self._file.release()
        os.replace(self._temporary, self.path)


def _written_rate(rate: float) -> float:
    """Return the nearest rate that MPEG-4 tells: OpenCV divides a second into rate · 10**decimals parts."""
    if not 0.5 * 10**-_DECIMALS < rate <= _MOST_PARTS:
        return USUAL_RATE
    decimals = next(n for n in range(_DECIMALS, -1, -1) if round(rate * 10**n) <= _MOST_PARTS)
    return round(rate, decimals)
