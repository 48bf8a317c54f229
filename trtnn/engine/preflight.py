"""Whether an engine will run on a machine, by its description alone: no plan is loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trtnn.backend import INSTALL
from trtnn.errors import ArgumentError, harmless_text, nearest

AMPERE_PLUS = "ampere_plus"  # of a description: kernels for every GPU since sm80
NO_GPU = "no GPU was found here; without one, model.trace().run(...) and --reference compute on the CPU"
_FIRST_COMPATIBLE = 80
_EXAMPLE = "such as sm86,driver=550,tensorrt=10.13,memory=8GB"
_KEYS = ("driver", "memory", *INSTALL)
_GPU = re.compile(r"sm_?([1-9]\d{1,2})")
_NUMBERS = re.compile(r"\d+(?:\.\d+)*")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?(MB|GB|MiB|GiB)")
_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
# The first driver, on Linux, of each generation of GPUs, by their first compute capability: that of the first CUDA
# Toolkit for it. https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/index.html, table 3
_FIRST_DRIVERS = ((100, 570), (89, 520), (86, 455), (80, 450))
# The first driver of each CUDA that TensorRT is built for, the same table 2; TensorRT-RTX begins with CUDA 12.
_CUDA_DRIVERS = {11: 450, 12: 525, 13: 580}
_FIRST_CUDA = {"tensorrt": 11, "tensorrt_rtx": 12}


@dataclass(frozen=True)
class Place:
    """A machine, as far as it is known.

    Attributes:
        where: what messages call it: "here" or "there".
        gpu: the compute capability, such as "sm86"; "" where there is no GPU, None where it is not known.
        backend: "tensorrt" or "tensorrt_rtx", None where it is not known.
        version: of that, whole or its beginning.
        driver: the version of NVIDIA's driver, such as "550.54".
        memory_bytes: what the GPU has free.
    """

    where: str
    gpu: str | None = None
    backend: str | None = None
    version: str | None = None
    driver: str | None = None
    memory_bytes: int | None = None

    @classmethod
    def parse(cls, text: str) -> Place:
        """Return the machine that a text such as ``"sm86,driver=550,tensorrt=10.13"`` tells of.

        Raises:
            ArgumentError: it is no text, or a part of it is none that is known, or is there twice.
        """
        if not isinstance(text, str):
            raise ArgumentError(f"a machine is told by a text, not by {text!r:.80}", _EXAMPLE)
        values: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            for name, value in _parsed(part).items():
                if name in values:
                    raise ArgumentError(f"{part!r} tells the {name} a second time", _EXAMPLE)
                values[name] = value
        if not values:
            raise ArgumentError(f"{text!r} tells of no machine", _EXAMPLE)
        return cls("there", **values)


def _parsed(part: str) -> dict[str, Any]:
    if gpu := _GPU.fullmatch(part.lower()):
        return {"gpu": f"sm{gpu[1]}"}
    key, _, value = part.partition("=")
    if key in INSTALL and _NUMBERS.fullmatch(value):
        return {"backend": key, "version": value}
    if key == "driver" and _NUMBERS.fullmatch(value):
        return {"driver": value}
    if key == "memory" and (size := _MEMORY.fullmatch(value)):
        return {"memory_bytes": int(float(size[1]) * _UNITS[size[2]])}
    if key in _KEYS:
        raise ArgumentError(f"{part!r} tells no {key} of a machine", _EXAMPLE)
    raise ArgumentError(
        f"{part!r} tells nothing of a machine", *nearest(key, _KEYS), f"known: sm86, {', '.join(_KEYS)}; {_EXAMPLE}"
    )


@dataclass(frozen=True)
class Preflight:
    """Whether an engine will run on a machine; true where nothing speaks against it.

    Attributes:
        problems: a line for each thing that keeps it from running.
        unknown: what its description, or what was told of the machine, leaves open.
        build: lines that say what to build, or install, to have it run.
    """

    problems: tuple[str, ...]
    unknown: tuple[str, ...]
    build: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        head = "it cannot run" if self.problems else "nothing speaks against it"
        lines = (*self.problems, *self.build, *(f"not known: {line}" for line in self.unknown))
        return "\n  ".join([head, *lines])


def check_place(description: Mapping[str, Any], plan_bytes: int, place: Place) -> Preflight:
    """Tell whether the engine of a description of ours will run on a machine.

    Args:
        description: as :func:`trtnn.engine.file.describe_plan` makes it.
        plan_bytes: of the plan, of which weights are the most.
        place: the machine.
    """
    problems, unknown, build = [], [], []
    own = (description["backend"], description["tensorrt"])
    if not _fits_backend(own, place):
        problems.append(_wrong_backend(own, place))
        build.append(f"install the engine's version: {INSTALL[own[0]]}=={own[1]}")
    elif place.version is None:
        unknown.append(f"whether {own[0]} {own[1]} is {place.where}")
    elif place.version != own[1]:
        unknown.append(f"which {place.version} is {place.where}: it needs {own[1]}")
    _check_gpu(description, place, problems, unknown, build)
    _check_driver(own[0], place, problems, unknown)
    _check_memory(plan_bytes, place, problems, unknown)
    if plugins := description.get("plugins"):
        unknown.append(f"whether its plugins are built {place.where}: {', '.join(plugins)}")
    return Preflight(tuple(problems), tuple(unknown), tuple(build))


def _fits_backend(own: tuple[str, str], place: Place) -> bool:
    """Return whether a machine's TensorRT may be the engine's: plans are of one version, to its last number."""
    if place.backend is None:
        return True
    parts = (place.version or "").split(".")
    return place.backend == own[0] and own[1].split(".")[: len(parts)] == parts


def _wrong_backend(own: tuple[str, str], place: Place) -> str:
    if place.backend != own[0]:
        hint = "; TRTNN_BACKEND chooses between those installed" if place.where == "here" else ""
        return f"the TensorRT {place.where} is {place.backend} {place.version}{hint}"
    return f"the version {place.where} is {place.version}: build it again, or install the engine's version"


def runs_on(description: Mapping[str, Any], gpu: str) -> bool:
    """Return whether an engine has kernels for a GPU, by its compute capability."""
    compatible = description.get("hardware_compatible") == AMPERE_PLUS and int(gpu[2:]) >= _FIRST_COMPATIBLE
    return gpu in description["targets"] or compatible


def describe_gpus(description: Mapping[str, Any]) -> str:
    """Return in words for which GPUs an engine is."""
    if description.get("hardware_compatible") == AMPERE_PLUS:
        return f"of sm{_FIRST_COMPATIBLE} or later (hardware_compatible)"
    return f"of {', '.join(description['targets'])}"


def _check_gpu(
    description: Mapping[str, Any], place: Place, problems: list[str], unknown: list[str], build: list[str]
) -> None:
    if place.gpu is None:
        unknown.append(f"the GPU {place.where}: it needs one {describe_gpus(description)}")
    elif not place.gpu:
        problems.append(NO_GPU)
    elif not runs_on(description, place.gpu):
        problems.append(f"the GPU {place.where} is {place.gpu}: build it again for this one")
        if description["backend"] == "tensorrt_rtx":
            build.append(f'build for it, on any machine: compile(targets=("{place.gpu}",)), or --target {place.gpu}')
        else:
            both = int(place.gpu[2:]) >= _FIRST_COMPATIBLE
            build.append(
                f"build it on a GPU of {place.gpu}"
                + (f", or for all since sm{_FIRST_COMPATIBLE}: compile(hardware_compatible=True)" if both else "")
            )
    elif place.gpu not in description["targets"]:
        unknown.append("how fast it is: its kernels were measured on another GPU")
    elif (name := description.get("gpu")) and place.where == "there":
        unknown.append(f"how fast it is on another GPU than {harmless_text(str(name))}, whose kernels it has")


def _check_driver(backend: str, place: Place, problems: list[str], unknown: list[str]) -> None:
    if place.driver is None:
        return
    major, gpu = int(place.driver.split(".")[0]), int(place.gpu[2:]) if place.gpu else 0
    least = next((driver for first, driver in _FIRST_DRIVERS if gpu >= first), 0)
    cuda = _FIRST_CUDA[backend]
    if major < least:
        problems.append(f"the driver {place.where} is {place.driver}, and {place.gpu} needs {least} or later")
    elif major < _CUDA_DRIVERS[cuda]:
        needs = f"{backend} needs {_CUDA_DRIVERS[cuda]} or later, of CUDA {cuda}"
        problems.append(f"the driver {place.where} is {place.driver}, and {needs}")
    elif major < max(_CUDA_DRIVERS.values()):
        later = ", ".join(f"CUDA {n} needs {driver}" for n, driver in _CUDA_DRIVERS.items() if n >= cuda)
        unknown.append(f"which CUDA its TensorRT is of: {later} or later")


def _check_memory(plan_bytes: int, place: Place, problems: list[str], unknown: list[str]) -> None:
    size = f"{plan_bytes / 1e6:,.1f} MB"
    if place.memory_bytes is not None and place.memory_bytes < plan_bytes:
        problems.append(f"its plan has {size}, and {place.memory_bytes / 1e6:,.1f} MB of memory are free {place.where}")
    else:
        unknown.append(f"the memory of its contexts, which TensorRT tells when it loads it; its plan has {size}")
