"""Pictures, or random numbers, as the inputs of a network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import trtnn
from trtnn.cli.images import tell_unread
from trtnn.cli.program import print_note
from trtnn.errors import ArgumentError, ImageError
from trtnn.image_network import numpy_type
from trtnn.shapes.profiles import as_inputs
from trtnn.shapes.symbolic import at_opt
from trtnn.vision import find_images, pipeline_of, read_image


class Samples:
    """The pictures at a place as batches for a network, read when asked for; the last is filled up with its own.

    A dynamic network gets them at the batch and size that it is fastest at. Of several pictures one that cannot be read
    is named and left out.

    Args:
        source: a picture, a folder or a glob.
        inputs: Inputs by name, or a list of them by profile.
        metadata: the network's own; its pipeline says how pictures become the input.

    Attributes:
        unread: the pictures that were left out, so far.

    Raises:
        ArgumentError: the network takes no pictures.
        ImageError: there are none; or, where they are read, none of them can be.
    """

    def __init__(self, source: str, inputs: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        specs = [as_inputs(spec)[0].at_opt() for spec in inputs.values()]
        if len(specs) != 1 or specs[0].shape[1:2] != (3,) or len(specs[0].shape) != 4:
            raise ArgumentError("samples are pictures", f"this network takes {', '.join(map(str, specs))}")
        self._batch, _, height, width = map(at_opt, specs[0].shape)
        self._size = height, width
        self._dtype = numpy_type(specs[0], "samples")
        self._pipeline = pipeline_of(metadata)
        self._source, self._paths = source, find_images(source)
        self.unread: list[Path] = []

    def __len__(self) -> int:
        """Return how many batches there are, as far as is known of what can be read."""
        return math.ceil((len(self._paths) - len(self.unread)) / self._batch)

    def __iter__(self) -> Iterator[np.ndarray]:
        readable = self._readable()
        while images := list(itertools.islice(readable, self._batch)):
            full = itertools.islice(itertools.cycle(images), self._batch)
            yield self._pipeline.preprocess(full, self._size, self._dtype)[0]

    def _readable(self) -> Iterator[np.ndarray]:
        for path in self._paths:
            try:
                yield read_image(path)
            except ImageError as error:
                if len(self._paths) == 1:
                    raise
                if path not in self.unread:  # else it was read before
                    self.unread.append(path)
                    print_note("skipped", "yellow", error)
        if len(self.unread) == len(self._paths):
            raise ImageError(f"none of the {len(self._paths)} pictures at {self._source} can be read")

    def tell_unread(self) -> None:
        """End the command with an error where pictures were left out."""
        tell_unread(self.unread, len(self._paths))


def example_inputs(
    inputs: Mapping[str, trtnn.Input], picture: Path | None, metadata: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return arrays for a network's inputs: a picture, or without one random numbers in 0..1, always the same.

    A dynamic network gets them in the shapes that it is fastest at.
    """
    if picture is not None:
        samples = Samples(str(picture), inputs, metadata)
        if len(samples) > 1:
            raise ArgumentError(
                f"one input is to show all of {picture}, and it takes fewer pictures", "give one picture"
            )
        return dict(zip(inputs, samples, strict=True))
    random = np.random.default_rng(0)
    static = {name: spec.at_opt() for name, spec in inputs.items()}
    return {
        name: random.random(spec.shape, np.float32).astype(spec.dtype.numpy)
        if spec.dtype.is_floating_point
        else random.integers(0, 2, spec.shape).astype(spec.dtype.numpy)
        for name, spec in static.items()
    }


def chunks(paths: list[Path], size: int) -> Iterator[list[Path]]:
    """Return the paths, ``size`` at a time."""
    return (paths[start : start + size] for start in range(0, len(paths), size))
