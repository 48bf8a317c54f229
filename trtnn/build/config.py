"""How to build: the options, and the GPUs that an engine is for."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trtnn.backend import Backend
from trtnn.cuda import gpus
from trtnn.dtypes import float8_e4m3fn
from trtnn.errors import ArgumentError, BackendError, check_switches, nearest
from trtnn.graph.graph import Graph
from trtnn.graph.precision import check_paths

# The GPUs to build for where none was named and there is none to look at: GeForce RTX 30, 40 and 50.
DEFAULT_TARGETS = ("sm86", "sm89", "sm120")

# https://docs.nvidia.com/deeplearning/tensorrt/latest/getting-started/support-matrix.html, supported precision modes
_WITH_FP8 = 89

_FIRST_COMPATIBLE = 80  # Ampere, of HardwareCompatibilityLevel.AMPERE_PLUS

# A GPU runs no more kernels at once, which is also more than any network has side by side.
# https://docs.nvidia.com/cuda/cuda-c-programming-guide/#compute-capabilities, resident grids per device
MOST_STREAMS = 128

_INTS = {  # of options that are numbers the least and the most, and that in words
    "optimization_level": (0, 5, "goes from 0 to 5"),
    "workspace_bytes": (1, 1 << 48, "is an int from 1 to 1 << 48, such as 1 << 30"),  # near 1 << 63 TensorRT fails
    "max_aux_streams": (0, MOST_STREAMS - 1, f"is an int from 0 to {MOST_STREAMS - 1}"),
}


def _is_int(value: Any, least: int, most: int) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and least <= int(value) <= most


@dataclass(frozen=True)
class BuildConfig:
    """How to build.

    Ctrl-C ends a build at TensorRT's next step, as a KeyboardInterrupt, and so does what the handler of another signal
    raises. TensorRT 8.6 cannot be ended: there it comes when the build is done.

    Args:
        targets: the GPUs to build for by compute capability, such as ``("sm86", "sm89")``; TensorRT-RTX only. Where
            None: the GPU that is here, or without one :data:`DEFAULT_TARGETS`.
        optimization_level: TensorRT's builder optimisation level, 0 to 5; its own default where None.
        tf32: let GPUs since Ampere multiply fp32 with 10 bits of mantissa, several times as fast, as TensorRT does by
            itself and torch does in convolutions; errors are about 1e-3 of the output in place of 1e-6. That is so in
            modules kept in fp32 beside fp16 too. False to compare with the reference, which computes in whole fp32.
        workspace_bytes: the most device memory that a layer may use for scratch; all of it where None.
        max_aux_streams: how many CUDA streams beside the caller's TensorRT may use for layers that do not wait for each
            other, which takes more memory; as many as it thinks fit where None. One pays at small batches; more cost
            time but in a CUDA graph. TensorRT 8.6 cannot profile an engine that uses any.
        hardware_compatible: build for all GPUs since Ampere (sm80), with kernels that each of them has, which may be
            slower. TensorRT-RTX builds for named ``targets`` instead.
        refittable: build an engine that :meth:`trtnn.Engine.refit` gives new weights. It may be slower, since TensorRT
            does without kernels that weights are built into. Paths of modules, or patterns such as ``["model.24.*"]``:
            the weights of these alone, with all that they hold; TensorRT 8.6 has that for all or none.
        progress: show a progress bar; where None, if standard error is a terminal.
        cache_dir: a folder of engines, made where it is missing. One that was built of the same network, weights,
            options and metadata, with the same versions of TensorRT and trtnn, for the same GPU, is loaded from there;
            else one is built and kept there. Processes may share it, and its files may be removed at any time. It is
            refused where it belongs to another user, or others can write to it.
        timing_cache: a folder for what TensorRT measures while it builds, in one file for each version and GPU, which
            makes later builds of like layers much faster. Where None, it is ``cache_dir``, or without one
            :func:`trtnn.files.default_cache_dir`; False keeps nothing. TensorRT-RTX measures nothing.
        lock: a file that holds a build: TensorRT, the GPU, these options, the network, the tactic of each layer, and
            beside it, in ``<lock>.timing``, a timing cache of its own. Where it is missing it is written. Else the
            build is held to it: what differs is an error that lists it, and there is no engine. Weights may be new. Of
            TensorRT-RTX, which tells no tactics, it holds all that goes in. ``cache_dir`` keeps the engines of each
            lock apart, from its second build on.
    """

    targets: Sequence[str] | None = None
    optimization_level: int | None = None
    tf32: bool = True
    workspace_bytes: int | None = None
    max_aux_streams: int | None = None
    hardware_compatible: bool = False
    refittable: bool | Sequence[str] = False
    progress: bool | None = None
    cache_dir: str | os.PathLike[str] | None = None
    timing_cache: str | os.PathLike[str] | Literal[False] | None = None
    lock: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.targets, str):
            object.__setattr__(self, "targets", (self.targets,))
        if self.targets is not None and not isinstance(self.targets, (list, tuple)):
            raise ArgumentError(f'targets is a list such as ("sm86", "sm89"), not {self.targets!r}')
        check_switches(tf32=self.tf32, hardware_compatible=self.hardware_compatible)
        check_switches(or_none=True, progress=self.progress)
        for name in ("tf32", "hardware_compatible", "refittable", "progress"):
            if isinstance(value := getattr(self, name), np.bool_):  # which is no JSON
                object.__setattr__(self, name, bool(value))
        if not isinstance(self.refittable, bool):
            check_paths(self.refittable, "refittable is True, False or a tuple of paths of modules")
            object.__setattr__(self, "refittable", tuple(self.refittable))
        for name, (least, most, what) in _INTS.items():
            number = getattr(self, name)
            if number is not None and not _is_int(number, least, most):
                raise ArgumentError(f"{name} {what}, not {number!r}")
            object.__setattr__(self, name, None if number is None else int(number))  # NumPy's are no JSON
        for name, kind in (("cache_dir", "folder"), ("timing_cache", "folder"), ("lock", "file")):
            path = getattr(self, name)
            nothing = path is None or (name == "timing_cache" and path is False)
            if not nothing and (not isinstance(path, (str, os.PathLike)) or path == ""):
                raise ArgumentError(f"{name} takes the path of a {kind}, not {path!r}")
        if self.lock is not None and self.timing_cache is not None:
            raise ArgumentError("a lock has a timing cache of its own, and takes no other", "leave timing_cache out")

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> BuildConfig:
        """Return a BuildConfig of keyword arguments.

        Raises:
            ArgumentError: an unknown one, with the nearest.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in names:
                raise ArgumentError(
                    f"no build option is called {name!r}", *nearest(name, names), f"known: {', '.join(names)}"
                )
        return cls(**options)


def check_fp8(graph: Graph, targets: Sequence[str]) -> None:
    """Check that GPUs have fp8, where something is quantised to it.

    Args:
        graph: what is to be built.
        targets: the GPUs by compute capability, such as ``("sm86",)``.

    Raises:
        BackendError: one has not.
    """
    types = [] if graph.placement is None else [*graph.placement.modules.values()]
    count = sum(dtype is float8_e4m3fn for dtype in types)
    lacking = [target for target in targets if int(target.removeprefix("sm")) < _WITH_FP8]
    if lacking and count:
        raise BackendError(
            f"{', '.join(lacking)} has no fp8, and {count} module{'s are' if count > 1 else ' is'} quantised to it",
            f'GPUs since sm{_WITH_FP8} have it: targets=("sm{_WITH_FP8}",), or --target sm{_WITH_FP8}',
            'int8 is for all: trtnn.quantize(model, samples, "int8")',
        )


def check_compatible(backend: Backend, targets: Sequence[str]) -> None:
    """Check that an engine for all GPUs since Ampere can be built.

    Raises:
        BackendError: this TensorRT has no such engines, or the GPU here is an older one.
    """
    if not backend.capabilities.hardware_compatible:
        raise BackendError(
            f"{backend} does not build one engine for all GPUs since Ampere: it ignores hardware_compatible",
            f"name the GPUs: targets={DEFAULT_TARGETS}",
        )
    older = [target for target in targets if int(target.removeprefix("sm")) < _FIRST_COMPATIBLE]
    if older:
        raise BackendError(
            f"hardware_compatible is for GPUs since sm{_FIRST_COMPATIBLE}, and the one here is {', '.join(older)}",
            "build without it, for this GPU alone",
        )


def check_individual(backend: Backend) -> None:
    """Check that the weights of some modules alone can be let change.

    Raises:
        BackendError: this TensorRT lets all weights of an engine change, or none.
    """
    if not backend.capabilities.refit_individual:
        raise BackendError(
            f"{backend} lets all weights of an engine change, or none",
            "all: refittable=True",
            "or none, and build it again with new ones while it runs: engine.refit(weights, rebuild=True)",
        )


def resolve_targets(backend: Backend, targets: Sequence[str] | None) -> tuple[str, ...]:
    """Return the compute capabilities that an engine is built for, such as ``("sm86",)``.

    Raises:
        ArgumentError: this TensorRT does not know one of them.
        BackendError: it builds for its own GPU alone.
    """
    here = gpus()[:1]
    if not backend.capabilities.targets:
        if targets is not None and tuple(targets) != here:
            raise BackendError(
                f"{backend} builds for the GPU it runs on, not for targets={tuple(targets)}",
                "TensorRT-RTX builds for named targets: TRTNN_BACKEND=tensorrt_rtx",
            )
        return here
    if targets is None:
        targets = here if here and here[0] in backend.targets else DEFAULT_TARGETS
    unknown = [target for target in targets if target not in backend.targets]
    if unknown or not targets:
        raise ArgumentError(
            f"{backend} does not build for {', '.join(map(str, unknown)) or 'no target at all'}",
            f"known: {', '.join(backend.targets)}",
        )
    return tuple(dict.fromkeys(targets))
