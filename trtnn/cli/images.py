"""The pictures that a command is given: found, read, and named where they are left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import typer

from trtnn.cli.options import refuse
from trtnn.cli.program import print_error, print_note
from trtnn.cli.tables import counted
from trtnn.cli.written import MARKER, without_results
from trtnn.errors import ImageError
from trtnn.vision import find_images, read_image
from trtnn.vision.images import subfolders
from trtnn.vision.opencv import opencv


def find_sources(source: str, recursive: bool) -> list[Path]:
    """Return the pictures that ``source`` stands for, but for those that a command wrote; tell what is left out.

    Raises:
        ImageError: there is none, or nothing to read it with.
        ArgumentError: ``recursive`` is for no folder.
    """
    opencv()
    paths, root = find_images(source, recursive), Path(source)
    if not root.is_dir():
        refuse({"--recursive": recursive}, "it is for a folder; a glob takes subfolders by **")
    if root.is_file():
        return paths
    kept = without_results(paths, root)
    if not kept:
        raise ImageError(f"no picture at {source} but those that trtnn detect wrote")
    below = [] if recursive else [folder for folder in subfolders(root) if not (folder / MARKER).exists()]
    if below:
        names = ", ".join(folder.name for folder in below[:3]) + (", ..." if len(below) > 3 else "")
        print_note("note", "cyan", f"{counted(len(below), 'subfolder')} left out: {names}; -r takes their pictures too")
    return kept


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


def tell_skipped(skipped: Sequence[Path], paths: Sequence[Path]) -> None:
    """End the command with an error where pictures were skipped."""
    if skipped:
        print_error(f"{len(skipped)} of {counted(len(paths), 'picture')} could not be read")
        raise typer.Exit(1)
