"""A network that takes images, as an engine or on the CPU: a batch at a time, at the size that it is fastest at."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from trtnn.engine.engine import Engine
from trtnn.errors import ArgumentError
from trtnn.modules import Module
from trtnn.network import Network
from trtnn.shapes.profiles import Ranges, lengths_in
from trtnn.shapes.spec import Input, TensorSpec
from trtnn.shapes.symbolic import Dim, at_opt
from trtnn.vision import Pipeline, Placement


@runtime_checkable
class Runnable(Protocol):
    """What computes a network: a Network does on the CPU, a :class:`trtnn.triton.TritonModel` on a server.

    Attributes:
        inputs, outputs: their shapes and types by name.
        profiles: the ranges of dynamic dimensions.
        metadata: what is said of the network.
    """

    @property
    def inputs(self) -> Mapping[str, TensorSpec]: ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]: ...

    @property
    def profiles(self) -> Sequence[Ranges]: ...

    @property
    def metadata(self) -> Mapping[str, Any]: ...

    def run_flat(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the outputs for inputs by position or name."""
        ...


class ImageNetwork:
    """An Engine, a Network or a Module with one input (batch, 3, height, width), fed with images.

    Args:
        source: an Engine; or a Network, which computes on the CPU; or a Module with its weights, which is traced at the
            inputs that it declares and computes on the CPU as well; or anything else that is :class:`Runnable`.
        kind: what is made of it, for messages: ``"Detector"``.

    Attributes:
        metadata: of the network, or the description of the engine.
        batch: the most images at a time.
        size: [height, width] of the input in pixels; of a dynamic one what its first profile is fastest at.
        shapes: of the outputs by name, at that size.
        types: of the outputs by name.
        dtype: of the input, as NumPy has it.
        gives: the outputs in words.

    Raises:
        ArgumentError: the source is none of these, or takes something else.
    """

    def __init__(self, source: Engine | Network | Module | Runnable, kind: str) -> None:
        if isinstance(source, Module):
            source = source.trace()
        if not isinstance(source, Engine | Runnable):
            raise ArgumentError(
                f"a {kind} is made of an Engine, a Network or a Module, not of {source!r}",
                "an engine file is read by trtnn.Engine.load(path)",
                "a checkpoint becomes a model by trtnn.models.from_state_dict(trtnn.load(path))",
            )
        self._kind = kind
        self._run = source.run_flat
        inputs = list(source.inputs.values())
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] != 3:
            received = f"received {', '.join(map(str, inputs))}"
            raise ArgumentError(
                f"this is not a {kind.lower()}", "expected one input (batch, 3, height, width)", received
            )
        self.metadata = source.description if isinstance(source, Engine) else source.metadata
        self.shapes = {name: tuple(map(at_opt, spec.shape)) for name, spec in source.outputs.items()}
        self.types = {name: spec.dtype for name, spec in source.outputs.items()}
        self.gives = ", ".join(map(str, source.outputs.values()))
        profile = source.profiles[0] if source.profiles else {}
        self._least, *_ = lengths_in(profile, inputs[0].shape, "min")
        self.batch, *_ = lengths_in(profile, inputs[0].shape, "max")
        _, _, height, width = lengths_in(profile, inputs[0].shape, "opt")
        self.size = [height, width]
        batch = inputs[0].shape[0]
        self._multiple = batch.multiple_of if isinstance(batch, Dim) else 1
        self._most = self.taken(self.batch)
        self._memory: list[np.ndarray] = []  # of inputs; threads take it from here and bring it back
        self.dtype = numpy_type(inputs[0], f"a {kind}")

    def taken(self, count: int) -> int:
        """Return how many images the network takes where there are ``count``: the last batch may be short of that."""
        return -(-max(count, self._least) // self._multiple) * self._multiple

    def prepare(self, images: Sequence[np.ndarray], pipeline: Pipeline, first: int = 0) -> Prepared:
        """Return what the network takes for at most :attr:`batch` images, uint8 (height, width, 3) RGB of any sizes.

        Args:
            images: at least one.
            pipeline: whose preprocessing it is.
            first: the index of the first image, which errors count from.

        Raises:
            ShapeError, DTypeError: one of them is not an image.
        """
        count = self.taken(len(images))
        try:
            memory = self._memory.pop()
        except IndexError:  # all of it is under way
            memory = np.empty((self._most, 3, *self.size), self.dtype)
        own = memory[: len(images)]
        _, placements = pipeline.preprocess(images, (self.size[0], self.size[1]), self.dtype, out=own, first=first)
        memory[len(images) : count] = 0
        return Prepared(memory, count, placements)

    def compute(self, prepared: Prepared) -> dict[str, np.ndarray]:
        """Return the network's outputs by name, for the images alone."""
        outputs = self._run(prepared.memory[: prepared.count])
        return {name: output[: len(prepared.placements)] for name, output in outputs.items()}

    def give_back(self, prepared: Prepared) -> None:
        """Let the next batch have a batch's memory; nobody may look at its outputs any more."""
        self._memory.append(prepared.memory)

    def run(
        self, images: Iterable[np.ndarray], pipeline: Pipeline
    ) -> Iterator[tuple[dict[str, np.ndarray], list[Placement]]]:
        """Run the network on images, uint8 (height, width, 3) RGB of any sizes.

        Yields:
            For each batch its outputs by name, valid until the next, and how each image lies in the input.

        Raises:
            ArgumentError: a single image, not a list of them.
            ShapeError, DTypeError: one of them is not an image.
        """
        images = list(self.check_several(images))
        for start in range(0, len(images), self.batch):
            prepared = self.prepare(images[start : start + self.batch], pipeline, start)
            yield self.compute(prepared), prepared.placements
            self.give_back(prepared)

    def check_several(self, images: Iterable[Any]) -> Iterable[Any]:
        """Return ``images``, once they are several and not one.

        Raises:
            ArgumentError: they are a single image.
        """
        if type(images) is list:  # which takes a microsecond less than to ask for all that an iterable may be
            return images
        single = isinstance(images, str | os.PathLike) or getattr(images, "ndim", None) == 3
        if single or not isinstance(images, Iterable):
            raise ArgumentError(
                f"a {self._kind} takes a list of pictures", f"received: one {type(images).__name__}; [it] is a list"
            )
        return images


class Prepared(NamedTuple):
    """A batch that the network can take.

    Attributes:
        memory: of the input, for as many images as the network may take.
        count: how many of these it is to take.
        placements: how each image lies in the input; behind them are zeros.
    """

    memory: np.ndarray
    count: int
    placements: list[Placement]


def numpy_type(spec: Input, what: str) -> np.dtype:
    """Return the NumPy type of an input that images are made for.

    Raises:
        ArgumentError: NumPy has none, as for bfloat16.
    """
    if spec.dtype.numpy is None:
        raise ArgumentError(f"{what} of {spec.dtype} images, a type that NumPy lacks", "declare the input as float32")
    return spec.dtype.numpy
