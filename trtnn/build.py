"""From a graph to an engine: targets, precision and the build itself."""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from trtnn.backend import Backend, gpus
from trtnn.dtypes import float16
from trtnn.engine import Engine, describe
from trtnn.errors import ArgumentError, BackendError, BuildError
from trtnn.graph import Graph
from trtnn.progress import build_progress

# The GPUs to build for where none was named and there is none to look at: GeForce RTX 30, 40 and 50.
DEFAULT_TARGETS = ("sm86", "sm89", "sm120")


@dataclass(frozen=True)
class BuildConfig:
    """How to build.

    Args:
        targets: the GPUs to build for by compute capability, such as ``("sm86", "sm89")``; TensorRT-RTX only. Where
            None: the GPU that is here, or without one :data:`DEFAULT_TARGETS`.
        optimization_level: TensorRT's builder optimisation level, 0 to 5; its own default where None.
        workspace_bytes: the most device memory that a layer may use for scratch; all of it where None.
        progress: show a progress bar; where None, if standard error is a terminal.
    """

    targets: Sequence[str] | None = None
    optimization_level: int | None = None
    workspace_bytes: int | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        if isinstance(self.targets, str):
            object.__setattr__(self, "targets", (self.targets,))
        if self.optimization_level is not None and self.optimization_level not in range(6):
            raise ArgumentError(f"optimization_level goes from 0 to 5, not {self.optimization_level}")

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> BuildConfig:
        """Return a BuildConfig of keyword arguments.

        Raises:
            ArgumentError: an unknown one, with the nearest.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise ArgumentError(
                    f"no build option is called {name!r}",
                    *([f"nearest: {near[0]}"] if near else []),
                    f"known: {', '.join(known)}",
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
            f"{backend} does not build for {', '.join(unknown) or 'no target at all'}",
            f"known: {', '.join(backend.targets)}",
        )
    return tuple(dict.fromkeys(targets))


def build(graph: Graph, config: BuildConfig, metadata: Mapping[str, Any]) -> Engine:
    """Build a graph into an engine.

    Raises:
        BuildError: TensorRT could not; with its own words.
    """
    backend, trt = graph.backend, graph.trt
    targets = resolve_targets(backend, config.targets)
    settings = graph.builder.create_builder_config()
    if backend.capabilities.targets:
        settings.num_compute_capabilities = len(targets)
        for index, target in enumerate(targets):
            settings.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), index)
    if config.optimization_level is not None:
        settings.builder_optimization_level = config.optimization_level
    if config.workspace_bytes is not None:
        settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, config.workspace_bytes)
    if not backend.capabilities.strongly_typed:
        _set_weak_precision(graph, settings)
    show = config.progress if config.progress is not None else sys.stderr.isatty()
    backend.logger.take()
    with _progress(trt, settings, metadata, show and backend.capabilities.progress):
        plan = graph.builder.build_serialized_network(graph.definition, settings)
    if plan is None:
        raise BuildError(
            f"{backend} could not build {metadata.get('model', 'the network')} for {', '.join(targets) or 'this GPU'}",
            *backend.logger.take(),
        )
    return Engine(plan, describe(graph, targets, metadata))


def _set_weak_precision(graph: Graph, settings: Any) -> None:
    """Ask for fp16 where networks are weakly typed, and pin the layers that have to stay in fp32."""
    trt = graph.trt
    if graph.precision.compute is not float16:
        return
    settings.set_flag(trt.BuilderFlag.FP16)
    if graph.fp32_layers:
        settings.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    for index in graph.fp32_layers:
        layer = graph.definition.get_layer(index)
        layer.precision = trt.float32
        for output in range(layer.num_outputs):
            layer.set_output_type(output, trt.float32)


def _progress(trt: Any, settings: Any, metadata: Mapping[str, Any], show: bool) -> AbstractContextManager[Any]:
    return build_progress(trt, settings, f"building {metadata.get('model', 'network')}") if show else nullcontext()
