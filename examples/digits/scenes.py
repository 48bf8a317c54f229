"""The digits detector's data: handwritten digits drawn on photographs, made as they are needed.

The digits are scikit-learn's ``load_digits``: 1797 glyphs of 8x8 pixels and 17 grey levels (E. Alpaydin, C. Kaynak,
"Optical Recognition of Handwritten Digits", UCI, 1998, CC BY 4.0). They are enlarged smoothly, cut to crisp strokes,
slanted, turned by at most 20 degrees (a 6 must not become a 9) and drawn in a colour that stands out, dark on bright or
bright on dark, one by one or as short numbers, some on a slip of paper. The photographs are those inside the wheels of
scikit-image and scikit-learn; drawings, pages of text and the second picture of a stereo pair are left out.

Training and validation share nothing. Validation has the last 360 glyphs, which other people wrote than most of the
first 1437, and the photographs of ``VALIDATION_PHOTOS``. A seed gives the same pictures everywhere, given the same
versions of NumPy, OpenCV, scikit-learn and scikit-image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import skimage
import sklearn
from sklearn.datasets import load_digits

from trtnn.examples.digits import SIZE_PX

VALIDATION_GLYPHS = 360
TRAINING_PHOTOS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "coins.png",
    "flower.jpg",
    "grass.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
)
VALIDATION_PHOTOS = ("chelsea.png", "china.jpg", "coffee.png", "gravel.png", "rocket.jpg")
FOLDERS = (Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images")

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
CELLS = 8  # a glyph's side in its own pixels
MARGIN = 2  # empty cells around it, so that strokes at its edge round off
FINE = 6  # each cell is enlarged to 6x6 before anything else
PHOTO_PX = 640  # photographs are shrunk to this shorter side


@dataclass(frozen=True)
class Source:
    """What scenes are made from.

    Attributes:
        glyphs: (n, 72, 72) coverage from 0 to 1: 8x8 cells and the margin, enlarged smoothly.
        labels: (n,) the digits they show.
        photos: RGB, (h, w, 3) uint8 each.
        wild: whether backgrounds are also turned, recoloured and blended, as a dozen photographs ask for in training.
    """

    glyphs: np.ndarray
    labels: np.ndarray
    photos: tuple[np.ndarray, ...]
    wild: bool


@dataclass(frozen=True)
class Scene:
    """A picture, (h, w, 3) uint8 RGB; its boxes, (n, 4) float32 x1, y1, x2, y2 in pixels; their digits, (n,) int64."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Stroke:
    """One drawn glyph: how much ink (h, w) each pixel of its patch holds, and where the patch lies in its number."""

    alpha: np.ndarray
    corner: np.ndarray  # x, y of the patch's first pixel
    box: np.ndarray  # x1, y1, x2, y2 of the ink
    label: int


def photo(name: str) -> np.ndarray:
    """The photograph of that name, (h, w, 3) uint8 RGB, its shorter side 640 pixels at most."""
    path = next(folder / name for folder in FOLDERS if (folder / name).is_file())
    image = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    scale = PHOTO_PX / min(image.shape[:2])
    return image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _enlarge(glyph: np.ndarray) -> np.ndarray:
    coverage = np.pad(glyph.astype(np.float32) / 16, MARGIN)
    fine = cv2.resize(coverage, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_CUBIC)
    return cv2.GaussianBlur(fine, (0, 0), 0.25 * FINE)


@cache
def _source(photos: tuple[str, ...], first: int | None, last: int | None, wild: bool) -> Source:
    digits = load_digits()
    glyphs = np.stack([_enlarge(glyph) for glyph in digits.images[first:last]])
    return Source(glyphs, digits.target[first:last].astype(np.int64), tuple(photo(name) for name in photos), wild)


def training_source() -> Source:
    """The first 1437 glyphs and the photographs of ``TRAINING_PHOTOS``."""
    return _source(TRAINING_PHOTOS, None, -VALIDATION_GLYPHS, wild=True)


def validation_source() -> Source:
    """The last 360 glyphs and the photographs of ``VALIDATION_PHOTOS``."""
    return _source(VALIDATION_PHOTOS, -VALIDATION_GLYPHS, None, wild=False)


def validation_set(count: int = 500, seed: int = 2026) -> list[Scene]:
    """The first ``count`` validation scenes of 320x320 pixels; each depends only on ``seed`` and its own index."""
    return [make_scene(np.random.default_rng((seed, index)), validation_source()) for index in range(count)]


def make_scene(rng: np.random.Generator, source: Source, size_px: int = SIZE_PX) -> Scene:
    """A square scene of up to a dozen digits, 18 to 160 pixels tall; one in twenty has none."""
    image = _background(rng, source, size_px)
    wanted = 0 if rng.random() < 0.05 else int(rng.integers(1, 13))
    scene = draw_digits(rng, source, image, wanted, heights_px=(18, size_px / 2))
    return Scene(_camera(rng, scene.image), scene.boxes, scene.labels)


def draw_digits(
    rng: np.random.Generator, source: Source, image: np.ndarray, wanted: int, heights_px: tuple[float, float]
) -> Scene:
    """Draws about ``wanted`` digits on a copy of ``image``; numbers that find no free place are left out."""
    canvas = image.astype(np.float32)
    boxes: list[np.ndarray] = []
    labels: list[int] = []
    taken: list[np.ndarray] = []
    for _ in range(2 * wanted):
        if len(labels) >= wanted:
            break
        length = min(1 if rng.random() < 0.7 else int(rng.integers(2, 5)), wanted - len(labels))
        height_px = np.exp(rng.uniform(*np.log(heights_px)))
        angle = np.deg2rad(rng.uniform(-20, 20))
        strokes = _number(rng, source, length, height_px, angle)
        outline = _outline(strokes, angle, border_px=height_px * rng.uniform(0.06, 0.25))
        place = _free_place(rng, outline, taken, image.shape)
        if place is None:
            continue
        taken.append(np.concatenate((outline.min(0), outline.max(0))) + np.tile(place, 2))
        _ink(rng, canvas, strokes, outline + place, place)
        boxes += [stroke.box + np.tile(place, 2) for stroke in strokes]
        labels += [stroke.label for stroke in strokes]
    picture = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    return Scene(picture, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64))


def _number(rng: np.random.Generator, source: Source, length: int, height_px: float, angle: float) -> list[Stroke]:
    """Glyphs side by side along a line at ``angle``, around the origin."""
    slant = rng.uniform(-0.2, 0.2)
    stretch = np.exp(rng.uniform(-0.2, 0.2))
    weight = rng.uniform(0.4, 0.6)  # the coverage at which ink begins: lower is bolder
    gap_px = height_px * rng.uniform(0.08, 0.3)
    along = np.array([np.cos(angle), np.sin(angle)])
    strokes: list[Stroke] = []
    x = 0.0
    for index in rng.integers(len(source.labels), size=length):
        turn = angle + np.deg2rad(rng.uniform(-5, 5)) * (length > 1)
        shape = (
            height_px
            / CELLS
            * np.array(
                [
                    [np.cos(turn) * stretch, -np.sin(turn) - slant * np.cos(turn)],
                    [np.sin(turn) * stretch, np.cos(turn) - slant * np.sin(turn)],
                ]
            )
        )
        alpha, box = _stroke(source.glyphs[index], shape, weight)
        half_px = (box[2] - box[0]) / 2
        x += half_px
        # The patch goes where its ink's centre meets the line.
        corner = np.round(along * x - (box[:2] + box[2:]) / 2).astype(int)
        x += half_px + gap_px
        strokes.append(Stroke(alpha, corner, box + np.tile(corner, 2), int(source.labels[index])))
    return strokes


def _stroke(glyph: np.ndarray, shape: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray]:
    """Draws ``glyph`` under the 2x2 map ``shape`` (pixels per cell): its alpha (h, w), and the box of its ink."""
    side = glyph.shape[0]
    half = np.ceil(np.abs(shape).sum(1) * side / FINE / 2).astype(int)
    centre = shape @ np.full(2, (side - 1) / FINE / 2)
    move = np.column_stack((shape / FINE, half - 0.5 - centre))
    coverage = cv2.warpAffine(glyph, move, (2 * half).tolist(), flags=cv2.INTER_LINEAR)
    cell_px = np.sqrt(shape[0, 0] * shape[1, 1] - shape[0, 1] * shape[1, 0])
    softness = np.clip(1.5 / cell_px, 0.08, 0.6)  # an edge of a pixel or two, whatever the size
    alpha = np.clip((coverage - weight) / softness + 0.5, 0, 1)
    ink = alpha > 0.25
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return alpha, np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def _outline(strokes: list[Stroke], angle: float, border_px: float) -> np.ndarray:
    """The corners, (4, 2), of the turned rectangle around all ink."""
    boxes = np.stack([stroke.box for stroke in strokes])
    corners = np.concatenate((boxes[:, [0, 1]], boxes[:, [2, 1]], boxes[:, [2, 3]], boxes[:, [0, 3]]))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    straight = corners @ turn
    (x1, y1), (x2, y2) = straight.min(0) - border_px, straight.max(0) + border_px
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]) @ turn.T


def _free_place(
    rng: np.random.Generator, outline: np.ndarray, taken: list[np.ndarray], shape: tuple[int, ...]
) -> np.ndarray | None:
    """A whole-pixel shift that brings ``outline`` into the picture, clear of what is taken; None if there is none."""
    low = np.ceil(-outline.min(0)).astype(int)
    high = np.floor(np.array([shape[1], shape[0]]) - outline.max(0)).astype(int)
    if (low > high).any():
        return None
    for _ in range(20):
        place = rng.integers(low, high + 1)
        x1, y1, x2, y2 = *(outline.min(0) + place), *(outline.max(0) + place)
        if not any(x1 < b[2] and b[0] < x2 and y1 < b[3] and b[1] < y2 for b in taken):
            return place
    return None


def _ink(
    rng: np.random.Generator, canvas: np.ndarray, strokes: list[Stroke], outline: np.ndarray, place: np.ndarray
) -> None:
    """Draws the strokes, in one colour that stands out from what lies under them; on paper where nothing would."""
    (x1, y1), (x2, y2) = np.floor(outline.min(0)).astype(int), np.ceil(outline.max(0)).astype(int)
    under = canvas[max(y1, 0) : y2, max(x1, 0) : x2]
    luma = under @ LUMA
    mean, contrast = float(luma.mean()), 55 + 1.2 * float(luma.std())
    if rng.random() < 0.25 or (mean - contrast < 0 and mean + contrast > 255):
        mean, contrast = float(rng.uniform(0, 255)), 60.0
        _paper(rng, canvas, outline, _colour(rng, mean, tint=40))
    darker, brighter = max(mean - contrast, 0), max(255 - mean - contrast, 0)  # the room on either side
    level = rng.uniform(0, darker + brighter)
    colour = _colour(rng, level if level < darker else mean + contrast + level - darker, tint=80)
    opacity = rng.uniform(0.85, 1)
    for stroke in strokes:
        x, y = stroke.corner + place
        h, w = stroke.alpha.shape
        top, left = max(-y, 0), max(-x, 0)
        patch = canvas[y + top : y + h, x + left : x + w]
        alpha = opacity * stroke.alpha[top : top + patch.shape[0], left : left + patch.shape[1], None]
        patch += alpha * (colour - patch)


def _paper(rng: np.random.Generator, canvas: np.ndarray, outline: np.ndarray, colour: np.ndarray) -> None:
    """Fills ``outline`` with ``colour``, through which a little of the background shows."""
    mask = np.zeros(canvas.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, np.round(outline).astype(np.int32), 255, cv2.LINE_AA)
    x1, y1, w, h = cv2.boundingRect(np.round(outline).astype(np.int32))
    area = slice(max(y1 - 1, 0), y1 + h + 1), slice(max(x1 - 1, 0), x1 + w + 1)
    alpha = mask[area][..., None] * (rng.uniform(0.85, 1) / 255)
    canvas[area] += alpha * (colour - canvas[area])


def _colour(rng: np.random.Generator, luma: float, tint: float) -> np.ndarray:
    """A colour, (3,), of about that luma."""
    chroma = rng.uniform(-tint, tint, 3) * rng.random()
    return np.clip(luma + chroma - chroma @ LUMA, 0, 255).astype(np.float32)


def _background(rng: np.random.Generator, source: Source, size_px: int) -> np.ndarray:
    """A square piece of a photograph, (size, size, 3) uint8."""
    image = _crop(rng, source, size_px)
    if not source.wild:
        return image
    if rng.random() < 0.3:
        share = rng.uniform(0.2, 0.8)
        image = cv2.addWeighted(image, share, _crop(rng, source, size_px), 1 - share, 0)
    image = np.rot90(image, rng.integers(4))
    if rng.random() < 0.5:
        image = image[..., rng.permutation(3)]
    # A curve per channel: contrast and brightness, inverted once in ten times.
    slope = rng.uniform(0.5, 1.3) * (-1 if rng.random() < 0.1 else 1)
    slopes = slope * rng.uniform(0.75, 1.25, 3)
    middles = 127 + rng.uniform(-60, 60) + rng.uniform(-25, 25, 3)
    curves = np.clip((np.arange(256)[:, None] - 127) * slopes + middles, 0, 255).astype(np.uint8)
    return cv2.LUT(np.ascontiguousarray(image), curves[:, None])


def _crop(rng: np.random.Generator, source: Source, size_px: int) -> np.ndarray:
    image = source.photos[rng.integers(len(source.photos))]
    side = int(min(image.shape[:2]) * rng.uniform(0.4, 1))
    y, x = (int(rng.integers(length - side + 1)) for length in image.shape[:2])
    how = cv2.INTER_AREA if side > size_px else cv2.INTER_LINEAR
    piece = cv2.resize(image[y : y + side, x : x + side], (size_px, size_px), interpolation=how)
    return piece[:, ::-1] if rng.random() < 0.5 else piece


def _camera(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The camera's share: some blur, some noise."""
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.9))
    if rng.random() < 0.5:
        noise = rng.integers(-128, 128, image.shape, np.int8) * np.float32(rng.uniform(0.02, 0.14))
        image = np.clip(image + noise + 0.5, 0, 255).astype(np.uint8)
    return image
