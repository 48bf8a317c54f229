"""A lock: a file by which a build is done again with the same tactics, or says what differs.

A lock is JSON: what went into a build (TensorRT, the GPU, the options, the network), the digests of the weights, and
the tactic of each layer that came of it. TensorRT chooses by times that it measures, and these never come twice the
same; so its timing cache, whole and of this build alone, lies beside FILE as FILE.timing, and the lock has its digest.
A build that is held to a lock reads both and writes neither.

TensorRT-RTX measures nothing when it builds, and shows no layers where there is no GPU: its locks hold what went in,
and the digest of the plan.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trtnn.backend import Backend
from trtnn.build.pinning import Pins
from trtnn.build.tactics import Tactic, differences, tactics_of
from trtnn.build.timing_cache import attach, is_timing_cache, pack, unpack
from trtnn.cuda import MULTIPROCESSORS, driver_version, gpu_attribute, gpu_name, gpus
from trtnn.digest import digest
from trtnn.engine.inspector import inspect_engine
from trtnn.engine.refitting import Refittable, digests_of
from trtnn.errors import ArgumentError, BuildError, harmless_text, listed
from trtnn.files import atomic_write, check_writable, open_regular
from trtnn.graph.graph import Graph
from trtnn.strict_json import parse_object

_FORMAT, _FORMAT_NUMBER = "trtnn_lock", 1
_MOST_BYTES = 1 << 24
_MOST_VALUES = 1_000_000
_MOST_TIMING_BYTES = 1 << 30
_MOST_SHOWN = 40  # lines of what differs
_MOST_NAMES = 3  # of a list, and of what only one of two has
_OF_DESCRIPTION = ("targets", "precision", "fp32_modules", "fp16_attention", "inner_outputs", "quantized", "profiles")
_TYPES = {
    "trtnn": str,
    "driver": str,
    "model": str,
    "build": dict,
    "weights": dict,
    "plan": str,
    "timing_cache": (str, type(None)),
    "tactics": (list, type(None)),
}


@dataclass(frozen=True)
class Content:
    """What a lock says.

    Attributes:
        trtnn: the version that wrote it.
        driver: of NVIDIA, that was there; empty where nothing told it.
        model: what the metadata called the network.
        build: what went into it, and has to be the same: see :func:`describe_build`.
        weights: by array of the network its digest.
        plan: the digest of the plan.
        timing_cache: the digest of TensorRT's own bytes; None where it measured nothing.
        tactics: of each layer, see :func:`trtnn.build.tactics.tactics_of`; None likewise.
    """

    trtnn: str
    driver: str
    model: str
    build: dict[str, Any]
    weights: dict[str, str]
    plan: str = ""
    timing_cache: str | None = None
    tactics: list[Tactic] | None = None


def describe_build(
    graph: Graph,
    parts: Refittable,
    options: Mapping[str, Any],
    settings: Any,
    pins: Pins,
    description: Mapping[str, Any],
) -> Content:
    """Return what goes into a build, for a lock to hold: all that TensorRT is given, and where.

    Args:
        graph: what is built; its layers are pinned already.
        parts: what of it was told before that: its arrays, and the digest of all else.
        options: how it is built, as the user said it.
        settings: the ``IBuilderConfig``.
        pins: the layers that were pinned to a type.
        description: of the engine.
    """
    backend, trt = graph.backend, graph.trt
    flags, sources = settings.flags, settings.get_tactic_sources()
    here = {"name": gpu_name(), "capability": (*gpus(), "")[0], "multiprocessors": gpu_attribute(MULTIPROCESSORS)}
    build = {
        "tensorrt": repr(backend),
        **({} if backend.capabilities.targets else {"gpu": here}),
        "options": {
            **{key: description.get(key) for key in _OF_DESCRIPTION},
            **options,
            "flags": [name for name, flag in trt.BuilderFlag.__members__.items() if flags >> int(flag) & 1],
            "tactic_sources": [
                name for name, source in trt.TacticSource.__members__.items() if sources >> int(source) & 1
            ],
            "pinned_to_fp32": [pin.name for pin in pins.to_fp32],
            "pinned_to_fp16": [pin.layer.name for pin in pins.to_fp16],
            "plugins": {made.plugin: digest(made.library.read_bytes()) for made in graph.plugins.values()},
        },
        "network": {
            "inputs": description["inputs"],
            "outputs": description["outputs"],
            "layers": graph.definition.num_layers,
            "structure": parts.skeleton,
        },
    }
    return Content(
        trtnn=description["trtnn"],
        driver=driver_version(),
        model=str(description.get("model", "network")),
        build=json.loads(json.dumps(build)),  # as it will be read again
        weights=digests_of(parts.arrays),
    )


class Lock:
    """The lock of one build: what the build is held to, or what is written once it is done.

    Args:
        path: of the file.
        backend: the TensorRT that builds.
        now: what goes into the build.

    Attributes:
        is_new: there is no such file yet.
        measures: the TensorRT chooses tactics by what it measures.
        digest: that of the file; empty where it is new.

    Raises:
        ArgumentError: there is no such file, and it cannot be written.
        BuildError: it cannot be read, or what goes into the build is not what it holds; all differences are listed.
    """

    def __init__(self, path: str | os.PathLike[str], backend: Backend, now: Content) -> None:
        self.path, self.backend, self._now = Path(path), backend, now
        self._timing_path = Path(f"{os.fspath(path)}.timing")
        self.measures = not backend.capabilities.targets
        self._timing = b""  # what the build begins with
        self._measured = b""  # what it ends with
        text = self._read()
        self.is_new = text is None
        self.digest = "" if text is None else digest(text)
        if text is None:
            self._check_writable()
        else:
            self._then = self._parse(text)
            self._check_build()

    def _read(self) -> bytes | None:
        try:
            with open_regular(self.path) as file:
                text = file.read(_MOST_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BuildError(f"cannot read the lock {self.path}: {reason}", "give the path of a file") from error
        return text

    def _check_writable(self) -> None:
        check_writable(self.path)
        if self.measures:
            check_writable(self._timing_path)
            if self._timing_path.exists() and not is_timing_cache(self._timing_path):
                raise ArgumentError(
                    f"the timing cache of the lock would take the place of {self._timing_path}, which is none",
                    "give another name for the lock",
                )

    def _parse(self, text: bytes) -> Content:
        try:
            return _parse(text)
        except ValueError as error:
            raise BuildError(
                f"{self.path} is no lock of trtnn's, or is damaged", harmless_text(str(error)), self._anew()
            ) from error

    def _anew(self) -> str:
        return f"for a new lock give another name, or remove {self.path}, and build again"

    # -- before the build ---------------------------------------------------------------------------------------------

    def _check_build(self) -> None:
        then, now = self._then, self._now
        lines = _differences(then.build, now.build)
        if then.build.get("tensorrt") == now.build["tensorrt"] and self.measures:
            lines += self._read_timing()
        if not lines:
            return
        if then.model != now.model:
            lines.append(f"the lock is of the model {then.model}, and this is {now.model}")
        raise BuildError(
            f"this build is not the one that {self.path} holds",
            *_cut(lines),
            *self._said_of_versions(),
            f"build as it was, or {self._anew()}",
        )

    def _read_timing(self) -> list[str]:
        """Read the timing cache; return in lines why it cannot be used."""
        if self._then.timing_cache is None or self._then.tactics is None:
            return ["it has no tactics, which a build could be held to"]
        try:
            with open_regular(self._timing_path) as file:
                content = unpack(file.read(_MOST_TIMING_BYTES))
        except OSError as error:
            return [f"its timing cache {self._timing_path} cannot be read: {error.strerror}; copy it beside the lock"]
        if content is None or digest(content) != self._then.timing_cache:
            return [f"its timing cache {self._timing_path} is damaged, or another lock's"]
        self._timing = content
        return []

    def _said_of_versions(self) -> list[str]:
        """Return in lines what has no part in the tactics, but may tell why something else differs."""
        then, now = self._then, self._now
        return [
            harmless_text(f"{what} was {old or 'unknown'} when the lock was written, and is {new or 'unknown'}")
            for what, old, new in (("trtnn", then.trtnn, now.trtnn), ("the driver", then.driver, now.driver))
            if old != new
        ]

    # -- the build ----------------------------------------------------------------------------------------------------

    @contextmanager
    def measuring(self, settings: Any) -> Iterator[None]:
        """Let a build within the block use the lock's timing cache and no other, or an empty one for a new lock.

        Args:
            settings: the ``IBuilderConfig`` that the build is given.

        Raises:
            BuildError: TensorRT does not accept it.
        """
        if self.measures and not attach(settings, self._timing):
            raise BuildError(
                f"TensorRT does not accept the timing cache {self._timing_path}",
                *self.backend.logger.take(),
                self._anew(),
            )
        yield
        if self.measures:
            self._measured = bytes(settings.get_timing_cache().serialize())

    # -- after the build ----------------------------------------------------------------------------------------------

    def settle(self, plan: Any, engine: Any) -> dict[str, Any]:
        """Write a new lock, or hold what was built against the one that there is.

        Args:
            plan: the serialised engine.
            engine: its ``ICudaEngine``, where TensorRT measures.

        Returns:
            What a description says of it: the lock's ``digest``; the number of layers whose ``tactics`` are the lock's,
            where TensorRT measures; how many arrays are ``new_weights``; and without such, whether it is the
            ``same_plan``, byte for byte.

        Raises:
            BuildError: a layer's tactic is not the lock's; all are listed.
            ArgumentError, FileError: the lock cannot be written.
        """
        tactics = tactics_of(inspect_engine(engine, self.backend.trt)["Layers"]) if self.measures else None
        if self.is_new:
            self._write(plan, tactics)
        elif tactics is not None:
            self._check_tactics(tactics)
        own, new = self._then.weights, self._now.weights
        changed = sum(own.get(name) != new[name] for name in new)
        return {
            "digest": self.digest,
            **({} if tactics is None else {"tactics": len(tactics)}),
            "new_weights": changed,
            **({} if changed else {"same_plan": digest(plan) == self._then.plan}),
        }

    def _write(self, plan: Any, tactics: list[Tactic] | None) -> None:
        timing = digest(self._measured) if self.measures else None
        whole = {**asdict(self._now), "plan": digest(plan), "timing_cache": timing, "tactics": tactics}
        text = json.dumps({_FORMAT: _FORMAT_NUMBER, **whole}, indent=1).encode() + b"\n"
        try:
            self._then = _parse(text)
        except ValueError as error:
            raise BuildError(f"no lock can hold this build: {error}", "build it without one") from error
        if self.path.exists():
            raise BuildError(f"another build has written {self.path} meanwhile", "build again, and it is held to that")
        if self.measures:  # the first of the two, for who finds the lock finds all of it
            with atomic_write(self._timing_path) as file:
                file.write(pack(self._measured))
        with atomic_write(self.path) as file:
            file.write(text)
        self.digest = digest(text)

    def _check_tactics(self, tactics: list[Tactic]) -> None:
        lines = differences(self._then.tactics or [], tactics)
        if not lines:
            return
        again = len(self._timing) != len(self._measured)
        raise BuildError(
            f"TensorRT did not choose the tactics that {self.path} holds, so there is no engine",
            *_cut(lines),
            *(["TensorRT measured again what it did not find in the lock's timing cache"] if again else []),
            *self._said_of_versions(),
            self._anew(),
        )


def _cut(lines: list[str]) -> list[str]:
    more = [f"... and {len(lines) - _MOST_SHOWN} more"] if len(lines) > _MOST_SHOWN else []
    return [*map(harmless_text, lines[:_MOST_SHOWN]), *more]


def _parse(text: bytes) -> Content:
    """Return what a lock says.

    Raises:
        ValueError: it is none; with the reason.
    """
    if len(text) > _MOST_BYTES:
        raise ValueError(f"it has more than the {_MOST_BYTES:,} bytes that are read")
    told = parse_object(text, _MOST_VALUES)
    if _FORMAT not in told:
        raise ValueError(f"it has no {_FORMAT!r}")
    number = told.pop(_FORMAT)
    if type(number) is not int or number != _FORMAT_NUMBER:
        raise ValueError(f"it is of the format {number!r:.40}, and this trtnn reads the format {_FORMAT_NUMBER}")
    if told.keys() != _TYPES.keys():
        raise ValueError(f"it has {', '.join(told) or 'nothing'}; a lock has {', '.join(_TYPES)}")
    for key, kind in _TYPES.items():
        if not isinstance(told[key], kind):
            raise ValueError(f"its {key} is a {type(told[key]).__name__}")
    if not all(isinstance(text, str) for text in told["weights"].values()):
        raise ValueError("its weights are not all digests")
    for row in told["tactics"] or ():
        _check_tactic(row)
    return Content(**told)


def _check_tactic(row: Any) -> None:
    values = [part for v in row.values() for part in (v if isinstance(v, list) else [v])] if type(row) is dict else [0]
    if not all(isinstance(value, str) for value in values) or not isinstance(row.get("layer"), str):
        raise ValueError(f"one of its tactics is none: {row!r:.100}")


def _differences(then: Any, now: Any, name: str = "") -> list[str]:
    """Return a line for each value in which two nested dicts differ, with the names that lead to it."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = dict.fromkeys((*now, *then))
        return [
            line for key in keys for line in _differences(then.get(key), now.get(key), f"{name}.{key}" if name else key)
        ]
    if json.dumps(then) == json.dumps(now):  # not ==, for which 1 is True
        return []
    if name == "network.structure":
        return ["the network has other layers, connections, settings or shapes"]
    if _are_names(then) and _are_names(now):
        parts = [("the lock", set(then) - set(now)), ("this build", set(now) - set(then))]
        told = [f"only in {which} {listed(sorted(names), _MOST_NAMES)}" for which, names in parts if names]
        return [f"{name}: {'; '.join(told) or 'in another order'}"]
    return [f"{name}: {_shown(then)} in the lock, {_shown(now)} in this build"]


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(item, str) for item in value)


def _shown(value: Any) -> str:
    if _are_names(value):
        return listed(value, _MOST_NAMES)
    if value is None or value in ([], {}):
        return "none"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]} ..."
