"""``trtnn detect --ray``: detection by the workers of a Ray cluster."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trtnn.cli.images import find_all, note_unread, tell_unread
from trtnn.cli.options import given_names, refuse, resized_inputs
from trtnn.cli.program import print_line, print_note
from trtnn.cli.results import REPORTS, Format, Result, open_writers
from trtnn.cli.runners import Runner
from trtnn.cli.sources import is_model, load_model
from trtnn.cli.tables import counted
from trtnn.cli.written import ResultFolder, some_of
from trtnn.errors import ArgumentError, ImageError
from trtnn.progress import progress_bar
from trtnn.ray import Detect, Job, Progress
from trtnn.ray.job import SOURCE, is_text
from trtnn.ray.places import images_at, is_address
from trtnn.vision import Detections
from trtnn.vision.sources import STANDARD_INPUT, VIDEO_SUFFIXES, Source


def detect_by_ray(
    address: str,
    runner: Runner,
    sources: Sequence[str],
    output: str,
    *,
    recursive: bool,
    formats: Sequence[Format],
    names: str | None,
    max_pixels: int,
    force: bool,
    options: dict[str, Any],
) -> None:
    """Detect in images by a cluster, into a folder of Parquet files, and write them in further formats at the end.

    Raises:
        TrtnnError: no source is an image, the folder holds something else, or nobody answers at the address.
    """
    refuse({"--triton": runner.triton}, "--ray runs engines, one on each GPU")
    if Format.yolo in formats:
        raise ArgumentError("--ray writes no YOLO files, one for each picture", "formats are json, coco and csv")
    addresses, others = [s for s in sources if is_address(s)], [s for s in sources if not is_address(s)]
    there = dict.fromkeys(image for address in addresses for image in images_at(address, recursive))
    is_list = any(other.lower().endswith(".txt") for other in others)  # which may name addresses
    is_for_others = recursive and (any(map(os.path.isdir, others)) or not (addresses or is_list))
    elsewhere = functools.partial(_elsewhere, recursive=recursive)
    found = [source for source, _ in find_all(others, is_for_others, elsewhere)] if others else []
    skipped: list[str] = []
    images = list(there)
    for one in found:
        try:
            images.append(_image_of(one.name, one.path))
        except ImageError as error:
            if not images and len(skipped) + 1 == len(found):
                raise
            note_unread(skipped, one, error)
    make = {**options, "max_pixels": max_pixels}
    source = runner.engine or runner.weights
    if source is None or (runner.model is not None and is_model(runner.model) and ":" in runner.model):
        raise ArgumentError("--ray takes --engine or --weights", "workers know models by their checkpoints")
    if runner.engine is None:
        make |= {"reference": runner.reference, "model": runner.model, "fp16": runner.fp16, "cache_dir": runner.cache}
        if runner.size or runner.batch:
            make["inputs"] = resized_inputs(load_model(runner.weights, runner.model), runner.size, runner.batch)
    job = Job(images, output, Detect.options(source, **make))
    before = job.open(force, [name for names in REPORTS.values() for name in names], address)
    if before:
        print_note("going on", "cyan", f"{counted(before, 'picture')} of {len(images):,} are done already")
    done = Progress()
    try:
        with progress_bar("detecting", total=job.parts - len(job.done())) as advance:
            for progress in job.run(address):
                done += progress
                advance()
    except KeyboardInterrupt:
        of = f"{before + done.images:,} of {counted(len(images), 'picture')}"
        print_note("interrupted", "yellow", f"{of} are in {output}; the same command goes on")
        raise
    labels = None if names is None else given_names(names, job.classes()[1])
    total, unread = _write(job, formats, labels, images)
    of_them = f" ({done.images:,} of them in this run)" if before else ""
    print_line(f"{counted(total.images, 'picture')}{of_them}, {counted(total.detections, 'detection')}: {output}")
    if unread:
        print_note("unread", "yellow", f"{counted(len(unread), 'picture')} could not be read: {some_of(unread)}")
    tell_unread(skipped + unread, len(there) + len(found), "source" if skipped else "picture")


def _elsewhere(address: str, recursive: bool) -> list[Source]:
    """Return the images at an address that a list names, which workers alone read."""
    return [Source(image, lambda max_pixels: iter(())) for image in images_at(address, recursive)]


def _image_of(name: str, path: Path | None) -> str:
    """Return the place of an image as workers read it.

    Raises:
        ImageError: it is a video, a camera or standard input, or its name is no text.
        ArgumentError: its address has a password.
    """
    if not is_text(name):
        raise ImageError(
            f"the name of {name!r} is not UTF-8, and --ray's results hold no other text", "rename the file"
        )
    if path is None and is_address(name):
        return name
    suffix = (path.suffix if path else Path(name.partition("?")[0]).suffix).lower()
    if path is not None and suffix not in VIDEO_SUFFIXES:
        return os.path.abspath(path)  # workers run elsewhere; of two links to one file each has its own name
    if path is None and name.startswith(("http://", "https://")) and suffix not in VIDEO_SUFFIXES:
        if ":***@" in name:
            raise ArgumentError(f"--ray gives no password to workers: {name}", "their results would hold it")
        return name
    what = "standard input" if name == STANDARD_INPUT else name
    raise ImageError(f"--ray takes pictures, and not {what}", "files and addresses that all workers can read")


def _write(
    job: Job, formats: Sequence[Format], labels: Sequence[str] | None, images: Sequence[str]
) -> tuple[Progress, list[str]]:
    """Write what is in the parts in other formats beside them; return what they hold, and the images not read."""
    total, unread = Progress(), list[str]()
    paths = [Path(image) for image in images if "://" not in image]
    with tempfile.TemporaryDirectory() as temporary:
        folder = ResultFolder(Path(temporary))
        folder.check([])
        names, classes = job.classes()
        all_files = paths if len(paths) == len(images) else None
        writers = list(open_writers(formats, folder, labels or names, classes, all_files))
        for table in job.tables():
            total += Progress.of(table)
            for row in table.to_pylist():
                if row["error"] is not None:
                    unread.append(row[SOURCE])
                    continue
                boxes = np.array(row["boxes"], np.float32).reshape(-1, 4)
                found = Detections(boxes, np.array(row["scores"], np.float32), np.array(row["classes"], np.int64))
                result = Result(row[SOURCE], None, (row["height"], row["width"]), found, None, Path())
                for writer in writers:
                    writer.add(result)
        for writer in writers:
            writer.close()
        job.put([Path(temporary, name) for form in formats for name in REPORTS[form]])
    return total, unread
