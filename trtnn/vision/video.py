"""Videos that are written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from trtnn.errors import ImageError
from trtnn.vision.opencv import opencv, quiet_opencv

USUAL_RATE = 25.0  # frames a second, of a source that does not tell


class VideoWriter:
    """An MP4 file of frames, MPEG-4 as every OpenCV writes it; it takes its place once it is closed.

    Args:
        path: of the file.
        size: (height, width) of the frames in px.
        rate: frames a second; 0 where nobody knows.

    Raises:
        ImageError: OpenCV cannot write it.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: float) -> None:
        cv2 = quiet_opencv()
        self.path, self.size = path, size
        self._temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.mp4")
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._file = cv2.VideoWriter(str(self._temporary), cv2.CAP_FFMPEG, code, rate or USUAL_RATE, size[::-1])
        if not self._file.isOpened():
            raise ImageError(f"cannot write the video {path}", "this OpenCV writes no MP4: --no-draw goes without")

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
