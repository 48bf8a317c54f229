"""The pictures that a command is given: found, read, and named where they are left out."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
import typer

from trtnn.cli.options import refuse
from trtnn.cli.program import print_error, print_note
from trtnn.cli.tables import counted
from trtnn.cli.written import MARKER, some_of, without_results
from trtnn.errors import ArgumentError, ImageError
from trtnn.files import resolved
from trtnn.vision import SUFFIXES, find_images, read_image
from trtnn.vision.images import OTHER_SUFFIXES, subfolders
from trtnn.vision.opencv import opencv
from trtnn.vision.sources import STANDARD_INPUT, VIDEO_SUFFIXES, Elsewhere, Source, file_source, find_sources


def find_pictures(source: str, recursive: bool) -> list[Path]:
    """Return the pictures that ``source`` stands for, but for those that a command wrote; tell what is left out.

    Raises:
        ImageError: there is none, or nothing to read it with.
        ArgumentError: ``recursive`` is for no folder.
    """
    opencv()
    root = Path(source)
    if root.is_dir():
        return find_in_folder(root, recursive, SUFFIXES)
    paths = find_images(source, recursive)
    refuse({"--recursive": recursive}, "it is for a folder; a glob takes subfolders by **")
    return paths if root.is_file() else _not_written(paths, root)


def _not_written(paths: Sequence[Path], root: Path) -> list[Path]:
    """Return paths without those that a command wrote.

    Raises:
        ImageError: there are no others.
    """
    kept = without_results(paths, root)
    if not kept:
        raise ImageError(f"no picture at {root} but those that trtnn detect wrote")
    return kept


def find_in_folder(root: Path, recursive: bool, suffixes: Collection[str]) -> list[Path]:
    """Return the files in a folder, but for those that a command wrote; tell which subfolders and kinds are left out.

    Raises:
        ImageError: there is none.
    """
    kept = _not_written(find_images(root, recursive, suffixes), root)
    below = [] if recursive else [folder for folder in subfolders(root) if not (folder / MARKER).exists()]
    if below:
        names = ", ".join(folder.name for folder in below[:3]) + (", ..." if len(below) > 3 else "")
        print_note("note", "cyan", f"{counted(len(below), 'subfolder')} left out: {names}; -r takes their pictures too")
    with contextlib.suppress(ImageError):  # there is none
        others = [path.name for path in find_images(root, recursive, OTHER_SUFFIXES - set(suffixes))]
        kinds = "of a kind that is not read" if len(others) == 1 else "of kinds that are not read"
        print_note("note", "cyan", f"{counted(len(others), 'picture')} left out, {kinds}: {some_of(others)}")
    return kept


def find_all(
    sources: Iterable[str], recursive: bool, elsewhere: Elsewhere | None = None
) -> list[tuple[Source, Path | None]]:
    """Return all that texts stand for, each once, with the folder that it was found in, if any.

    Args:
        sources: the texts.
        recursive: whether the subfolders of folders count.
        elsewhere: as :func:`trtnn.vision.sources.find_sources` takes it.

    Raises:
        ImageError: one of the texts stands for nothing, or there is nothing to read it with.
        ArgumentError: one can be read in two ways, or ``recursive`` is for none of them.
    """
    opencv()
    texts = list(sources)
    if not any(Path(text).is_dir() for text in texts):
        refuse({"--recursive": recursive}, "it is for a folder; a glob takes subfolders by **")
    if texts.count(STANDARD_INPUT) > 1:
        raise ArgumentError("standard input is there once")
    found: dict[object, tuple[Source, Path | None]] = {}
    for text in texts:
        place = Path(text)
        root = place if text != STANDARD_INPUT and place.is_dir() else None
        if root is not None:
            here = list(map(file_source, find_in_folder(root, recursive, SUFFIXES | VIDEO_SUFFIXES)))
        else:
            here = find_sources(text, elsewhere=elsewhere)
            if not place.is_file() and here[0].path is not None:  # a glob
                here = list(map(file_source, _not_written([s.path for s in here if s.path is not None], place)))
        for source in here:
            path = source.path  # of two links to one file each is a source
            found.setdefault(source.name if path is None else resolved(path.parent) / path.name, (source, root))
    return list(found.values())


def read_or_skip(paths: Iterable[Path], max_pixels: int, skipped: list[Path]) -> dict[Path, np.ndarray]:
    """Return pictures by path; one that cannot be read is named, and added to ``skipped``."""
    images = {}
    for path in paths:
        try:
            images[path] = read_image(path, max_pixels)
        except ImageError as error:
            skipped.append(path)
            print_note("skipped", "yellow", error)
    return images


def note_unread(unread: list[str], source: Source, error: ImageError) -> None:
    """Say that a source is skipped, and add its name to those that were."""
    unread.append(source.name)
    print_note("skipped", "yellow", error)


def tell_unread(unread: Sequence[object], count: int, things: str = "picture") -> None:
    """End the command with an error where pictures, or other sources, were skipped.

    Args:
        unread: what was.
        count: of all.
        things: one of them in words.
    """
    if unread:
        more = "" if things == "picture" else ", or not to their end"
        print_error(f"{len(unread)} of {counted(count, things)} could not be read{more}")
        raise typer.Exit(1)
