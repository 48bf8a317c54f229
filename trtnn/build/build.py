"""From a graph to an engine: the settings that TensorRT is given, and the build itself."""

from __future__ import annotations

import dataclasses
import functools
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from trtnn.backend import Backend
from trtnn.build.config import BuildConfig, check_compatible, check_fp8, check_individual, resolve_targets
from trtnn.build.describe import describe
from trtnn.build.engine_cache import cache_key, find_or_build
from trtnn.build.fingerprint import fingerprint
from trtnn.build.lock import Lock, describe_build
from trtnn.build.pinning import NO_PINS, Pins, check_pinned, pin_layers
from trtnn.build.refitting import describe_refittable, marked, refittable
from trtnn.build.timing_cache import give_up, is_given_up, timing_cache, timing_cache_file, was_dropped
from trtnn.build.watching import watched
from trtnn.engine.engine import Engine
from trtnn.engine.file import read_shapes
from trtnn.engine.memory import describe_gpu_memory
from trtnn.engine.metadata import check_metadata
from trtnn.engine.plan import deserialize
from trtnn.engine.preflight import AMPERE_PLUS
from trtnn.engine.refitting import BUILD_OPTIONS
from trtnn.errors import ArgumentError, BackendError, BuildError
from trtnn.files import default_cache_dir, make_cache_folder
from trtnn.graph.graph import Graph
from trtnn.shapes.profiles import lengths_in
from trtnn.shapes.symbolic import is_static
from trtnn.signals import held_signals

_DIGITS = 16  # of a digest that are enough to tell a user's networks apart
_MOST_RELEASED_ALONE = 8  # builds that fail over the fp16 of single layers, each as long as a build, before that of all

# The options that an engine does not depend on; its description has the targets, resolved.
_NOT_IN_ENGINE = ("targets", "progress", "cache_dir", "timing_cache", "lock")


def build(graph: Graph, config: BuildConfig, metadata: Mapping[str, Any]) -> Engine:
    """Build a graph into an engine, or find it in the cache that ``config`` names.

    Raises:
        ArgumentError: the metadata are none that an engine file holds, or the lock cannot be written.
        BuildError: TensorRT could not, with its own words; an engine file could not hold the shapes; or the build is
            not the one that the lock holds.
        KeyboardInterrupt: Ctrl-C was pressed; nothing half-done is left. So it is with whatever the handler of another
            signal raises.
    """
    metadata = check_metadata(metadata)  # they may have been changed since the trace
    targets = resolve_targets(graph.backend, config.targets)
    check_fp8(graph, targets)
    if config.hardware_compatible:
        check_compatible(graph.backend, targets)
    if not isinstance(config.refittable, bool):
        check_individual(graph.backend)
    # Both are told of the network as it was traced, which pins change for good.
    exchangeable = describe_refittable(graph, config.refittable) if config.refittable else {}
    held = None if config.lock is None else refittable(graph)
    settings, pins = _make_settings(graph, config, targets)
    options = {key: value for key, value in dataclasses.asdict(config).items() if key not in _NOT_IN_ENGINE}
    show = config.progress if config.progress is not None else sys.stderr.isatty()
    name = str(metadata.get("model", "network"))

    said = {
        "build": {key: int(options[key]) for key in BUILD_OPTIONS if options[key] is not None},
        **({} if config.tf32 else {"tf32": False}),
        **({"hardware_compatible": AMPERE_PLUS} if config.hardware_compatible else {}),
        **({"refittable": exchangeable} if exchangeable else {}),
    }

    def described(plan: Any) -> dict[str, Any]:
        return {**describe(graph, targets, metadata, plan), **said}

    described_now = described(b"")
    try:
        read_shapes(described_now)
    except ValueError as error:
        raise BuildError(f"an engine file cannot hold the shapes of {name}: {error}") from error

    lock = None
    if config.lock is not None and held is not None:
        lock = Lock(config.lock, graph.backend, describe_build(graph, held, options, settings, pins, described_now))
        options["lock"] = lock.digest

    def with_files(engine: Engine) -> Engine:
        engine.caches = {"cache_dir": config.cache_dir, "timing_cache": config.timing_cache, "lock": config.lock}
        return engine

    def build_now() -> Engine:
        what = f"{name} for {', '.join(targets) or 'this GPU'}"
        with marked(graph, exchangeable["names"]) if "names" in exchangeable else nullcontext():
            plan = _build_plan(graph, settings, config, what, show, pins, lock)
        engine = None
        if pins.to_fp32 or (lock is not None and lock.measures):
            _runtime, engine = deserialize(graph.backend, plan)
        if pins.to_fp32:
            check_pinned(engine, graph.trt, pins.to_fp32)
        of_lock = {} if lock is None else {"lock": lock.settle(plan, engine)}
        return Engine(plan, {**described(plan), **of_lock})

    if config.cache_dir is None or (lock is not None and lock.is_new):
        return with_files(build_now())
    key = cache_key(graph, described_now, options, settings.flags)
    waiting = f"waiting for another process that builds {name}" if show else ""
    return with_files(find_or_build(config.cache_dir, name, key, build_now, waiting))


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
    if config.hardware_compatible:
        settings.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if config.refittable is True:
        settings.set_flag(trt.BuilderFlag.REFIT)
    elif config.refittable:
        settings.set_flag(trt.BuilderFlag.REFIT_INDIVIDUAL)
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


def _build_plan(
    graph: Graph, settings: Any, config: BuildConfig, what: str, show: bool, pins: Pins, lock: Lock | None = None
) -> Any:
    """Return the plan; where TensorRT fails over a timing cache, by the next one, and by none in the end.

    A network whose own timing cache TensorRT does not use is built without one from then on.
    """
    measure = functools.partial(_build_measuring, graph, config, what, show)
    if lock is not None:
        return measure(settings, pins, lock.measuring(settings))[0]
    files, own = _find_timing_caches(graph, config)
    for path in files:
        with suppress(_DroppedCache):
            measured = timing_cache(settings, path, is_shared=path != own)
            plan, is_dropped = measure(settings, pins, measured, may_drop=True)
            if is_dropped and path == own:
                give_up(path)
            return plan
        # Settings take one timing cache: TensorRT 8.6 was seen to refuse a second. Pins may have been released.
        settings, pins = _make_settings(graph, config, resolve_targets(graph.backend, config.targets))
    plan, _ = measure(settings, pins, nullcontext())
    if own in files:
        give_up(own)
    return plan


class _DroppedCache(Exception):
    """A build failed where TensorRT did without the timing cache that it was given."""


def _build_measuring(
    graph: Graph,
    config: BuildConfig,
    what: str,
    show: bool,
    settings: Any,
    pins: Pins,
    measured: AbstractContextManager[Any],
    may_drop: bool = False,
) -> tuple[Any, bool]:
    """Return the plan that is built while ``measured`` keeps what TensorRT measures, and whether it used none of that.

    Raises:
        _DroppedCache: it failed, and ``may_drop`` says that another timing cache, or none, may help.
    """
    backend = graph.backend
    watch = watched(graph.trt, settings, f"building {what}", show) if backend.capabilities.progress else held_signals()
    backend.logger.take()
    with measured:
        with watch as held:
            plan, lines, failed = graph.builder.build_serialized_network(graph.definition, settings), [], 0
            while plan is None and held.error is None:
                lines = backend.logger.take()
                if may_drop and was_dropped(lines):
                    raise _DroppedCache
                if not pins.to_fp16:
                    break
                pins.release_fp16(graph.trt, lines if failed < _MOST_RELEASED_ALONE else ())
                failed += 1
                plan = graph.builder.build_serialized_network(graph.definition, settings)
        if plan is None:
            lines = lines or backend.logger.take()
            advice = [*_explain_memory(lines, config), *_explain_refit(backend, config)]
            raise BuildError(f"{backend} could not build {what}", *lines, *advice)
        is_dropped = was_dropped([*lines, *backend.logger.take()])
    return plan, is_dropped


def _find_timing_caches(graph: Graph, config: BuildConfig) -> tuple[list[Path], Path | None]:
    """Return the files of timing caches to build with, each where the one before breaks the build, and the own one.

    The first is the one that all networks share. Quantised networks, and those whose build it broke before, have one of
    their own alone; networks whose own one TensorRT does not use have none.
    """
    backend = graph.backend
    if backend.capabilities.targets:  # what builds for GPUs that are not here cannot measure on them
        if config.timing_cache:
            raise BackendError(
                f"{backend} measures nothing while it builds, so it has no timing cache",
                "leave timing_cache out; cache_dir keeps whole engines",
            )
        return [], None
    if config.timing_cache is False:
        return [], None
    folder = config.timing_cache or config.cache_dir
    try:
        folder = make_cache_folder(folder or default_cache_dir())
    except ArgumentError as error:
        if folder:
            raise
        warnings.warn(f"the build is slower than it might be: {error}", stacklevel=2)  # nobody asked for this one
        return [], None
    shared, is_quantized = timing_cache_file(folder, backend), graph.placement is not None
    try:
        network = fingerprint(graph.definition, graph.trt, graph.plugins)
    except BuildError:  # it cannot be told apart from others
        return [] if is_quantized else [shared], None
    own = timing_cache_file(folder, backend, network[:_DIGITS])
    if is_given_up(own):
        return [], own
    return [own] if is_quantized or own.exists() else [shared, own], own


def _explain_refit(backend: Backend, config: BuildConfig) -> list[str]:
    """Return what a refittable engine takes where it is built for GPUs that need not be here."""
    if not config.refittable or not backend.capabilities.targets:
        return []
    wanted = f'{backend} was seen to build refittable engines with a GPU alone, and for one target: targets=("sm86",)'
    return [wanted, "without: engine.refit(weights, rebuild=True) builds an engine that is not refittable again"]


def _explain_memory(lines: Sequence[str], config: BuildConfig) -> list[str]:
    """Return the numbers that matter where TensorRT's errors speak of memory."""
    if not any(word in line.lower() for line in lines for word in ("memory", "workspace")):
        return []
    limit = "none" if config.workspace_bytes is None else f"{config.workspace_bytes / 2**20:,.1f} MiB"
    return [f"workspace limit (workspace_bytes): {limit}", *describe_gpu_memory()]
