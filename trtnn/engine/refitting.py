"""What a refit needs: what changed, whether the engine takes it, how it was built, and TensorRT's Refitter."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trtnn.arrays import is_torch
from trtnn.backend import Backend
from trtnn.checkpoint.mapped import check_files, file_of
from trtnn.checkpoint.state_dict import StateDict, metadata_of
from trtnn.digest import digest
from trtnn.errors import EngineError
from trtnn.shapes.profiles import Ranges
from trtnn.shapes.spec import Input, TensorSpec
from trtnn.shapes.symbolic import Dim

#: Of BuildConfig, what a description says under "build" where it was set; the other options are elsewhere in it.
BUILD_OPTIONS = ("optimization_level", "workspace_bytes", "max_aux_streams")

# What a description says that is of the network, and of the GPUs that it was built for.
_OF_NETWORK = (
    "inputs",
    "outputs",
    "structure",
    "profiles",
    "precision",
    "fp32_modules",
    "fp16_attention",
    "inner_outputs",
    "quantized",
    "plugins",
    "targets",
)
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


def build_options(description: Mapping[str, Any], backend: Backend) -> dict[str, Any]:
    """Return the options of BuildConfig that an engine was built with, but for its folders.

    Args:
        description: of the engine.
        backend: the TensorRT that is here.

    Raises:
        EngineError: the description does not say them, or another TensorRT built it.
    """
    if "build" not in description:
        raise EngineError(
            "this engine does not say how it was built, so it cannot be built again: no trtnn of today wrote it",
            "build one of the model, with the options that you want: model.compile(...)",
        )
    built = f"{description['backend']} {description['tensorrt']}"
    if built != str(backend):
        raise EngineError(
            f"this engine is of {built}, and {backend} is here", "build one of the model: model.compile(...)"
        )
    return {
        **description["build"],
        **({"targets": description["targets"]} if backend.capabilities.targets else {}),
        "tf32": description.get("tf32", True),
        "hardware_compatible": "hardware_compatible" in description,
        "refittable": description["refittable"].get("modules", True) if "refittable" in description else False,
    }


def check_takes_its_place(described: Mapping[str, Any], fresh: Mapping[str, Any]) -> None:
    """Check that an engine can stand where another does.

    Args:
        described: the description of the one that is there.
        fresh: that of the other.

    Raises:
        EngineError: it takes or gives something else, or was traced otherwise; with what.
    """
    lines = []
    for key in _OF_NETWORK:
        was, now = (json.dumps(description.get(key) or None) for description in (described, fresh))  # as in a file
        if was != now:
            lines.append(f"{key}: {was:.200} in the engine, {now:.200} with these weights")
    if lines:
        raise EngineError(
            "with these weights the network is another than the one that this engine was built of; nothing was changed",
            *lines,
            "give the model that it was built of, or build an engine of the new one",
        )


def check_same_anchors(described: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Check that maps mean what they meant: their anchors are said of a network, and no array of it holds them.

    Args:
        described: the description of the engine.
        metadata: of the network with other weights.

    Raises:
        EngineError: they do not; with both.
    """
    was, now = (json.dumps(said.get("anchors")) for said in (described, metadata))
    if now not in ("null", was):
        raise EngineError(
            "with these weights the anchors are others than those by which this engine's maps are read; "
            "nothing was changed",
            f"{was:.200} in the engine, {now:.200} with these weights",
            "build an engine of them",
        )


def own_copy(weights: Any) -> Any:
    """Return weights to be read later, so that what their owner does meanwhile changes nothing.

    Args:
        weights: a state dict, a model that can be traced, or another that has a state dict.

    Raises:
        CheckpointError: the file that they are views of was written to after it was loaded.
    """
    if isinstance(weights, Mapping):
        arrays = {
            name: value.detach().clone() if is_torch(value) else copy.deepcopy(value) for name, value in weights.items()
        }
        check_files([*map(file_of, weights.values())])
        return StateDict(arrays, metadata_of(weights))
    if callable(getattr(weights, "trace", None)):
        copied = copy.deepcopy(weights)
        check_files([*map(file_of, weights.state_dict().values())])
        return copied
    return own_copy(weights.state_dict()) if callable(getattr(weights, "state_dict", None)) else weights


def check_may_change(described: Mapping[str, Any], changed: list[Key]) -> None:
    """Check that an engine was built to take new weights for arrays.

    Args:
        described: what the engine's description has under ``refittable``.
        changed: the arrays.

    Raises:
        EngineError: it was built so for other modules alone.
    """
    fixed = [shown(key) for key in changed if shown(key) not in described.get("names", described["arrays"])]
    if fixed:
        raise EngineError(
            f"this engine takes new weights of {', '.join(described['modules'])} alone; nothing was changed",
            f"others changed: {', '.join(fixed[:_MOST_SHOWN])}{', ...' if fixed[_MOST_SHOWN:] else ''}",
            "build it for these as well: model.compile(..., refittable=(...))",
            "or have it built again with them, while it runs: engine.refit(weights, rebuild=True)",
        )


def exchange(
    backend: Backend,
    engine: Any,
    changed: list[Key],
    arrays: Mapping[Key, np.ndarray],
    names: Mapping[str, str] | None = None,
) -> None:
    """Give the Refitter of an ``ICudaEngine`` arrays, and those that it asks for beside them.

    Nothing may run on the engine meanwhile. After an error it is of no more use.

    Args:
        backend: the TensorRT that it is of.
        engine: it was built with the flag REFIT, or REFIT_INDIVIDUAL.
        changed: the arrays to exchange.
        arrays: all of the network's.
        names: what they were called when it was built, by :func:`shown`; None where by layer and role.

    Raises:
        EngineError: TensorRT does not exchange one of them; they are listed.
    """
    backend.logger.take()
    if not engine.refittable:
        raise EngineError(
            f"{backend} wrote this engine, after new weights, so that it takes no others",
            "build it again with them: engine.refit(weights, rebuild=True)",
        )
    refitter = backend.trt.Refitter(engine, backend.logger)
    by = _ByRole(refitter, backend.trt) if names is None else _ByName(refitter, names)
    exchangeable = by.all()
    fixed = [key for key in changed if by.name(key) not in exchangeable]
    if fixed:
        raise _refused("TensorRT built these into its kernels, so they cannot be exchanged", fixed, backend)
    held = _give(by, changed, arrays, backend)
    named = {by.name(key): key for key in arrays}
    missing = by.missing()  # what was fused with them
    unknown = [name for name in missing if name not in named]
    if unknown:
        raise _refused("TensorRT asks for weights that the network has not", unknown, backend)
    held += _give(by, [named[name] for name in missing], arrays, backend)
    if not refitter.refit_cuda_engine():
        raise EngineError(
            "TensorRT could not refit this engine; it is as it was",
            *backend.logger.take(),
            "build it again with the new weights: engine.refit(weights, rebuild=True)",
        )
    del held  # the Refitter reads them until then


class _ByRole:
    """A Refitter that calls arrays by their layers and roles."""

    def __init__(self, refitter: Any, trt: Any) -> None:
        self._refitter, self.trt = refitter, trt

    def name(self, key: Key) -> Any:
        return key

    def all(self) -> set[Any]:
        return set(self._keys(*self._refitter.get_all()))

    def missing(self) -> list[Any]:
        return self._keys(*self._refitter.get_missing())

    def set(self, key: Key, array: np.ndarray) -> bool:
        return self._refitter.set_weights(key[0], getattr(self.trt.WeightsRole, key[1]), array)

    def _keys(self, layers: Sequence[str], roles: Sequence[Any]) -> list[Any]:
        return [(name, role.name) for name, role in zip(layers, roles, strict=True)]


class _ByName:
    """A Refitter that calls them as they were called when the engine was built."""

    def __init__(self, refitter: Any, names: Mapping[str, str]) -> None:
        self._refitter, self._names = refitter, names

    def name(self, key: Key) -> Any:
        return self._names.get(shown(key), shown(key))

    def all(self) -> set[Any]:
        return set(self._refitter.get_all_weights())

    def missing(self) -> list[Any]:
        return list(self._refitter.get_missing_weights())

    def set(self, key: Key, array: np.ndarray) -> bool:
        return self._refitter.set_named_weights(self.name(key), array)


def written(backend: Backend, engine: Any) -> Any:
    """Return the plan of an ``ICudaEngine`` with the weights that it has now, None where TensorRT cannot write it.

    It takes others again, where TensorRT has a flag for that or needs none.
    """
    if not backend.capabilities.include_refit:
        return engine.serialize()
    config = engine.create_serialization_config()
    config.set_flag(backend.trt.SerializationFlag.INCLUDE_REFIT)
    return engine.serialize_with_config(config)


def _give(
    by: _ByRole | _ByName, keys: list[Key], arrays: Mapping[Key, np.ndarray], backend: Backend
) -> list[np.ndarray]:
    given = [np.ascontiguousarray(arrays[key]) for key in keys]
    refused = [key for key, array in zip(keys, given, strict=True) if not by.set(key, array)]
    if refused:
        raise _refused("TensorRT did not take these weights", refused, backend)
    return given


def _refused(summary: str, keys: Sequence[Key | str], backend: Backend) -> EngineError:
    more = [f"... and {len(keys) - _MOST_SHOWN} more"] if len(keys) > _MOST_SHOWN else []
    return EngineError(
        f"{summary}; the engine is as it was",
        *(key if isinstance(key, str) else shown(key) for key in keys[:_MOST_SHOWN]),
        *more,
        *backend.logger.take(),
        "build an engine of the new weights",
    )
