"""New weights in a built engine, by TensorRT's Refitter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trtnn.backend import Backend
from trtnn.digest import digest
from trtnn.errors import EngineError
from trtnn.shapes.profiles import Ranges
from trtnn.shapes.spec import Input, TensorSpec
from trtnn.shapes.symbolic import Dim

_MOST_SHOWN = 10
Key = tuple[str, str]  # the name of a layer, and that of a WeightsRole


class Refittable(NamedTuple):
    """What of a network can be exchanged in an engine.

    Attributes:
        skeleton: the digest of all else.
        arrays: by layer and role; they lie in the network's memory.
        network: it lives as long as this does.
    """

    skeleton: str
    arrays: dict[Key, np.ndarray]
    network: Any


def shown(key: Key) -> str:
    """Return what an array is called in descriptions and messages: ``"model.0.conv KERNEL"``."""
    return " ".join(key)


def digests_of(arrays: Mapping[Key, np.ndarray]) -> dict[str, str]:
    """Return what tells arrays from others, by :func:`shown`."""
    return {shown(key): digest(str(array.dtype).encode(), np.ascontiguousarray(array)) for key, array in arrays.items()}


def find_changed(described: Mapping[str, Any], fresh: Refittable) -> list[Key]:
    """Return the arrays of a fresh trace that are not those of an engine.

    Args:
        described: what the engine's description has under ``refittable``.
        fresh: of the trace.

    Raises:
        EngineError: the trace wrote another network than the one that the engine was built of.
    """
    own, new = described["arrays"], digests_of(fresh.arrays)
    if described["skeleton"] != fresh.skeleton or own.keys() != new.keys():
        lines = [f"only in the engine: {name}" for name in own if name not in new]
        lines += [f"only in the new network: {name}" for name in new if name not in own]
        raise EngineError(
            "with these weights the network is another than the one that this engine was built of; nothing was changed",
            *(lines[:_MOST_SHOWN] or ["its layers, their settings or shapes differ"]),
            "give the model that it was built of, or build an engine of the new one",
        )
    return [key for key in fresh.arrays if own[shown(key)] != new[shown(key)]]


def inputs_of(spec: TensorSpec, profiles: Sequence[Ranges]) -> Input | list[Input]:
    """Return an input as :meth:`trtnn.Module.trace` takes it: one, or where it is dynamic one for each profile.

    Args:
        spec: by the engine's description.
        profiles: of the engine.
    """
    if not any(isinstance(length, Dim) for length in spec.shape):
        return Input(spec.shape, spec.dtype)
    return [
        Input(tuple(profile[n.name] if isinstance(n, Dim) else n for n in spec.shape), spec.dtype)
        for profile in profiles
    ]


def exchange(backend: Backend, engine: Any, changed: list[Key], arrays: Mapping[Key, np.ndarray]) -> None:
    """Give the Refitter of an ``ICudaEngine`` arrays, and those that it asks for beside them.

    Nothing may run on the engine meanwhile. After an error it is of no more use.

    Args:
        backend: the TensorRT that it is of.
        engine: it was built with the flag REFIT.
        changed: the arrays to exchange.
        arrays: all of the network's.

    Raises:
        EngineError: TensorRT does not exchange one of them; they are listed.
    """
    trt = backend.trt
    backend.logger.take()
    refitter = trt.Refitter(engine, backend.logger)
    layers, roles = refitter.get_all()
    exchangeable = {(name, role.name) for name, role in zip(layers, roles, strict=True)}
    fixed = [key for key in changed if key not in exchangeable]
    if fixed:
        raise _refused("TensorRT built these into its kernels, so they cannot be exchanged", fixed, backend)
    held = _give(refitter, trt, changed, arrays, backend)
    layers, roles = refitter.get_missing()  # what was fused with them
    missing = [(name, role.name) for name, role in zip(layers, roles, strict=True)]
    unknown = [key for key in missing if key not in arrays]
    if unknown:
        raise _refused("TensorRT asks for weights that the network has not", unknown, backend)
    held += _give(refitter, trt, missing, arrays, backend)
    if not refitter.refit_cuda_engine():
        raise EngineError("TensorRT could not refit this engine; it is as it was", *backend.logger.take())
    del held  # the Refitter reads them until then


def _give(
    refitter: Any, trt: Any, keys: list[Key], arrays: Mapping[Key, np.ndarray], backend: Backend
) -> list[np.ndarray]:
    given = [np.ascontiguousarray(arrays[key]) for key in keys]
    refused = [
        key
        for key, array in zip(keys, given, strict=True)
        if not refitter.set_weights(key[0], getattr(trt.WeightsRole, key[1]), array)
    ]
    if refused:
        raise _refused("TensorRT did not take these weights", refused, backend)
    return given


def _refused(summary: str, keys: list[Key], backend: Backend) -> EngineError:
    more = [f"... and {len(keys) - _MOST_SHOWN} more"] if len(keys) > _MOST_SHOWN else []
    return EngineError(
        f"{summary}; the engine is as it was",
        *map(shown, keys[:_MOST_SHOWN]),
        *more,
        *backend.logger.take(),
        "build an engine of the new weights",
    )
