"""Where in the folder of results each source is drawn and labelled."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trtnn.cli.results import LABELS, REPORTS, Format
from trtnn.files import file_name, resolved
from trtnn.vision import SUFFIXES
from trtnn.vision.sources import STANDARD_INPUT, VIDEO_SUFFIXES, Source


@dataclass
class Place:
    """Where what is detected in a source is drawn, and its labels are written: as an image, and as a video."""

    image: Path | None
    video: Path | None
    labels: Path

    @property
    def drawn(self) -> list[Path]:
        return [path for path in (self.image, self.video) if path is not None]


def files_of(folder: Path, formats: Iterable[Format], drawn: Iterable[Place], labelled: Iterable[Place]) -> list[Path]:
    """Return the files that are known to be written: reports first, then what is drawn, and labels."""
    formats = list(dict.fromkeys(formats))
    written = [folder / name for kind in formats for name in REPORTS[kind]]
    written += [path for place in drawn for path in place.drawn]
    return written + ([folder / LABELS / place.labels for place in labelled] if Format.yolo in formats else [])


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def places_of(found: Iterable[tuple[Source, Path | None]], output: Path, suffix: str | None) -> dict[str, Place]:
    """Return by source where it is drawn: at its own path in a folder, with a number where that is a source, or taken.

    Args:
        found: the sources, each with the folder it was found in.
        output: the folder for them.
        suffix: of the drawn images, None for their own.
    """
    found = list(found)
    taken = {resolved(source.path) for source, _ in found if source.path is not None}
    taken_labels: set[Path] = set()

    def free(inner: Path, taken: set[Path], suffixes: Iterable[str]) -> Path:
        numbered = (inner.with_stem(f"{inner.stem}-{number}") for number in itertools.count(2))
        for path in itertools.chain([inner], numbered):
            wanted = {resolved(path.with_suffix(suffix)) for suffix in suffixes}
            if not wanted & taken:
                break
        taken |= wanted
        return path

    places = {}
    for source, root in found:
        inner = _inner(source, root)
        own = inner.suffix if inner.suffix.lower() in SUFFIXES else ".png"
        video = image = None
        if source.path is None or not is_video(source.path):
            image = free(output / inner.with_suffix(suffix or own), taken, [suffix or own])
        if (source.path is None and source.name != STANDARD_INPUT) or image is None:
            video = free(output / inner.with_suffix(".mp4"), taken, [".mp4"])
        # An image has a file of labels, and a video a folder of them, of the same name: these may stand side by side.
        kinds = [*([".txt"] if image is not None else []), *([""] if video is not None else [])]
        labels = free(output / LABELS / inner.with_suffix(".txt"), taken_labels, kinds)
        places[source.name] = Place(image, video, labels.relative_to(output / LABELS))
    return places


def _inner(source: Source, root: Path | None) -> Path:
    """Return a source's path within the folder of results, with its own suffix."""
    if source.path is not None:
        return source.path.relative_to(root) if root is not None else Path(source.path.name)
    if source.name == STANDARD_INPUT:
        return Path("stdin")
    if source.name.isdecimal():
        return Path(f"camera-{source.name}")
    place = re.split(r"[?#]", source.name.partition("://")[2])[0].split("@")[-1].rstrip("/")
    return Path(file_name(place.rpartition("/")[2]) or "stream")
