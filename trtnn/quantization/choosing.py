"""Which modules stay out of int8 because they are no faster in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from trtnn.modules import Module

_ROUNDS = 3  # of giving back; what is given back changes what is fused


class Speed(NamedTuple):
    """How fast a model's engine is.

    Attributes:
        milliseconds: of the whole, in a CUDA graph.
        modules: of each module, by its path; a layer that is fused of several counts for the one that holds them.
    """

    milliseconds: float
    modules: Mapping[str, float]


def not_faster(
    model: Module,
    declare: Callable[[Sequence[str]], Sequence[str]],
    forget: Callable[[], Any],
    measure: Callable[[Module], Speed],
) -> tuple[str, ...]:
    """Return the modules that are no faster quantised than in fp16, so that the whole is not slower without them.

    Args:
        model: quantised.
        declare: declares it quantised anew without the modules at some paths, and returns the paths that are.
        forget: takes all scales out of it.
        measure: builds and times its engine in fp16.

    Returns:
        The paths to leave out; all of them where the whole stays slower in any case.
    """
    quantised = list(declare(()))
    forget()
    plain = measure(model)
    skipped: list[str] = []
    best: tuple[float, list[str]] = (plain.milliseconds, quantised)
    for _ in range(_ROUNDS):
        left = declare(skipped)
        if not left:
            break
        speed = measure(model)
        if speed.milliseconds < best[0]:
            best = speed.milliseconds, list(skipped)
        slower = [path for path in left if _time_of(path, speed.modules) > _time_of(path, plain.modules)]
        if not slower:
            break
        skipped += slower
    return tuple(best[1])


def _time_of(path: str, modules: Mapping[str, float]) -> float:
    """Return the time of what a module's layers were fused into: of it, or of the nearest module that holds it."""
    while path not in modules and path:
        path = path.rpartition(".")[0]
    return modules.get(path, 0.0)


def engine_speed(model: Module) -> Speed:
    """Build a model's engine in fp16 for the GPU here, and time it.

    Raises:
        EngineError: there is no GPU that it runs on.
    """
    import numpy as np

    from trtnn.engine.bench import milliseconds
    from trtnn.engine.engine import check_gpu

    check_gpu()
    engine = model.compile(fp16=True, max_aux_streams=0)  # TensorRT 8.6 times the layers of no other
    inputs = {name: np.zeros(spec.at_opt().shape, spec.dtype.numpy) for name, spec in engine.inputs.items()}
    with engine:
        timing = engine.timing(*inputs.values())
        return Speed(milliseconds(engine.cuda_graph().bare(**inputs)), timing.by_module())
