"""From a graph to an engine: targets, precision and the build itself."""

from __future__ import annotations

import dataclasses
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from trtnn.backend import Backend
from trtnn.build.describe import describe
from trtnn.build.engine_cache import cache_key, find_or_build
from trtnn.build.pinning import NO_PINS, Pins, check_pinned, pin_layers
from trtnn.build.timing_cache import timing_cache, timing_cache_file
from trtnn.cuda import gpus
from trtnn.engine.engine import Engine
from trtnn.engine.file import read_shapes
from trtnn.engine.memory import describe_gpu_memory
from trtnn.engine.metadata import check_metadata
from trtnn.engine.plan import deserialize
from trtnn.errors import ArgumentError, BackendError, BuildError, nearest
from trtnn.files import default_cache_dir, make_cache_folder
from trtnn.graph.graph import Graph
from trtnn.progress import held_signals, watched
from trtnn.shapes.profiles import lengths_in
from trtnn.shapes.symbolic import is_static

# The GPUs to build for where none was named and there is none to look at: GeForce RTX 30, 40 and 50.
DEFAULT_TARGETS = ("sm86", "sm89", "sm120")

# A GPU runs no more kernels at once, which is also more than any network has side by side.
# https://docs.nvidia.com/cuda/cuda-c-programming-guide/#compute-capabilities, resident grids per device
MOST_STREAMS = 128

# The options that an engine does not depend on; its description has the targets, resolved.
_NOT_IN_CACHE_KEY = ("targets", "progress", "cache_dir", "timing_cache")


def _is_int(value: Any, least: int, most: float = float("inf")) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= value <= most


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
        progress: show a progress bar; where None, if standard error is a terminal.
        cache_dir: a folder of engines, made where it is missing. One that was built of the same network, weights,
            options and metadata, with the same versions of TensorRT and trtnn, for the same GPU, is loaded from there;
            else one is built and kept there. Processes may share it, and its files may be removed at any time. It is
            refused where it belongs to another user, or others can write to it.
        timing_cache: a folder for what TensorRT measures while it builds, in one file for each version and GPU, which
            makes later builds of like layers much faster. Where None, it is ``cache_dir``, or without one
            :func:`trtnn.files.default_cache_dir`; False keeps nothing. TensorRT-RTX measures nothing.
    """

    targets: Sequence[str] | None = None
    optimization_level: int | None = None
    tf32: bool = True
    workspace_bytes: int | None = None
    max_aux_streams: int | None = None
    progress: bool | None = None
    cache_dir: str | os.PathLike[str] | None = None
    timing_cache: str | os.PathLike[str] | bool | None = None

    def __post_init__(self) -> None:
        if isinstance(self.targets, str):
            object.__setattr__(self, "targets", (self.targets,))
        if self.targets is not None and not isinstance(self.targets, (list, tuple)):
            raise ArgumentError(f'targets is a list such as ("sm86", "sm89"), not {self.targets!r}')
        if self.optimization_level is not None and not _is_int(self.optimization_level, 0, 5):
            raise ArgumentError(f"optimization_level goes from 0 to 5, not {self.optimization_level!r}")
        if not isinstance(self.tf32, bool):
            raise ArgumentError(f"tf32 is True or False, not {self.tf32!r}")
        if self.progress is not None and not isinstance(self.progress, bool):
            raise ArgumentError(f"progress is True, False or None, not {self.progress!r}")
        limit = self.workspace_bytes
        if limit is not None and not _is_int(limit, 1):
            raise ArgumentError(f"workspace_bytes is a positive int, such as 1 << 30, not {limit!r}")
        streams = self.max_aux_streams
        if streams is not None and not _is_int(streams, 0, MOST_STREAMS - 1):
            raise ArgumentError(f"max_aux_streams is an int from 0 to {MOST_STREAMS - 1}, not {streams!r}")
        for name in ("cache_dir", "timing_cache"):
            folder = getattr(self, name)
            nothing = folder is None or (name == "timing_cache" and folder is False)
            if not nothing and (not isinstance(folder, (str, os.PathLike)) or folder == ""):
                raise ArgumentError(f"{name} takes the path of a folder, not {folder!r}")

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> BuildConfig:
        """Return a BuildConfig of keyword arguments.

        Raises:
            ArgumentError: an unknown one, with the nearest.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                raise ArgumentError(
                    f"no build option is called {name!r}", *nearest(name, known), f"known: {', '.join(known)}"
                )
        return cls(**options)


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


def build(graph: Graph, config: BuildConfig, metadata: Mapping[str, Any]) -> Engine:
    """Build a graph into an engine, or find it in the cache that ``config`` names.

    Raises:
        ArgumentError: the metadata are none that an engine file holds.
        BuildError: TensorRT could not, with its own words; or an engine file could not hold the shapes.
        KeyboardInterrupt: Ctrl-C was pressed; nothing half-done is left. So it is with whatever the handler of another
            signal raises.
    """
    metadata = check_metadata(metadata)  # they may have been changed since the trace
    targets = resolve_targets(graph.backend, config.targets)
    settings, pins = _make_settings(graph, config, targets)
    show = config.progress if config.progress is not None else sys.stderr.isatty()
    name = str(metadata.get("model", "network"))

    def described(plan: Any) -> dict[str, Any]:
        return {**describe(graph, targets, metadata, plan), **({} if config.tf32 else {"tf32": False})}

    described_now = described(b"")
    try:
        read_shapes(described_now)
    except ValueError as error:
        raise BuildError(f"an engine file cannot hold the shapes of {name}: {error}") from error

    def build_now() -> Engine:
        plan = _build_plan(graph, settings, config, f"{name} for {', '.join(targets) or 'this GPU'}", show, pins)
        if pins.to_fp32:
            _, engine = deserialize(graph.backend, plan)
            check_pinned(engine, graph.trt, pins.to_fp32)
        return Engine(plan, described(plan))

    if config.cache_dir is None:
        return build_now()
    options = {key: value for key, value in dataclasses.asdict(config).items() if key not in _NOT_IN_CACHE_KEY}
    key = cache_key(graph, described_now, options, settings.flags)
    waiting = f"waiting for another process that builds {name}" if show else ""
    return find_or_build(config.cache_dir, name, key, build_now, waiting)


def _make_settings(graph: Graph, config: BuildConfig, targets: Sequence[str]) -> tuple[Any, Pins]:
    """Return an ``IBuilderConfig``, and the layers that were pinned to a type, as weakly typed networks need."""
    backend, trt = graph.backend, graph.trt
    settings = graph.builder.create_builder_config()
    settings.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that an engine can be looked into and checked
    if backend.capabilities.targets:
        settings.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            settings.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index)
    if config.optimization_level is not None:
        settings.builder_optimization_level = config.optimization_level
    if not config.tf32:
        settings.clear_flag(trt.BuilderFlag.TF32)
    if config.workspace_bytes is not None:
        settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, config.workspace_bytes)
    if config.max_aux_streams is not None:
        settings.max_aux_streams = config.max_aux_streams
    if graph.plugins:
        leave_out_libraries(settings, trt)
    _add_profiles(graph, settings)
    return settings, NO_PINS if backend.capabilities.strongly_typed else pin_layers(graph, settings)


def leave_out_libraries(settings: Any, trt: Any) -> None:
    """Keep TensorRT from loading cuBLAS and cuDNN for plugins, which it does up to version 10; ours need neither.

    https://docs.nvidia.com/deeplearning/tensorrt/api/c_api/namespacenvinfer1.html, ``TacticSource``
    """
    members = trt.TacticSource.__members__
    libraries = [members[name] for name in ("CUBLAS", "CUBLAS_LT", "CUDNN") if name in members]
    left_out = sum(1 << int(library) for library in libraries)
    settings.set_tactic_sources(settings.get_tactic_sources() & ~left_out)


def _add_profiles(graph: Graph, settings: Any) -> None:
    """Tell TensorRT what the dimensions of dynamic inputs may be."""
    trt = graph.trt
    if graph.profiles and graph.backend.capabilities.needs_profile_sharing:
        settings.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    for dims in graph.profiles:
        profile = graph.builder.create_optimization_profile()
        for name, spec in graph.inputs.items():
            if not is_static(spec.shape):
                least, best, most = (lengths_in(dims, spec.shape, which) for which in ("min", "opt", "max"))
                profile.set_shape(name, least, best, most)
        if settings.add_optimization_profile(profile) < 0:
            raise BuildError(f"{graph.backend} refused a profile", *graph.backend.logger.take())


def _build_plan(graph: Graph, settings: Any, config: BuildConfig, what: str, show: bool, pins: Pins) -> Any:
    backend = graph.backend
    file = _find_timing_cache(backend, config)
    known = timing_cache(settings, file) if file else nullcontext()
    watch = watched(graph.trt, settings, f"building {what}", show) if backend.capabilities.progress else held_signals()
    backend.logger.take()
    with known:
        with watch as held:
            plan = graph.builder.build_serialized_network(graph.definition, settings)
            if plan is None and pins.to_fp16 and held.error is None:
                backend.logger.take()
                pins.release_fp16()
                plan = graph.builder.build_serialized_network(graph.definition, settings)
        if plan is None:
            lines = backend.logger.take()
            raise BuildError(f"{backend} could not build {what}", *lines, *_explain_memory(lines, config))
    return plan


def _find_timing_cache(backend: Backend, config: BuildConfig) -> Path | None:
    """Return the file of the timing cache, or None for a build without one."""
    if backend.capabilities.targets:  # what builds for GPUs that are not here cannot measure on them
        if config.timing_cache:
            raise BackendError(
                f"{backend} measures nothing while it builds, so it has no timing cache",
                "leave timing_cache out; cache_dir keeps whole engines",
            )
        return None
    if config.timing_cache is False:
        return None
    folder = config.timing_cache or config.cache_dir
    if folder is not None:
        return timing_cache_file(make_cache_folder(folder), backend)
    try:
        return timing_cache_file(make_cache_folder(default_cache_dir()), backend)
    except ArgumentError as error:  # nobody asked for this one
        warnings.warn(f"the build is slower than it might be: {error}", stacklevel=2)
        return None


def _explain_memory(lines: Sequence[str], config: BuildConfig) -> list[str]:
    """Return the numbers that matter where TensorRT's errors speak of memory."""
    if not any(word in line.lower() for line in lines for word in ("memory", "workspace")):
        return []
    limit = "none" if config.workspace_bytes is None else f"{config.workspace_bytes / 2**20:,.1f} MiB"
    return [f"workspace limit (workspace_bytes): {limit}", *describe_gpu_memory()]
