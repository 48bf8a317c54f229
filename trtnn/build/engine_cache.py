"""Engines kept by content: one that was built of the same is found again, and never another.

A file is an ordinary engine file whose name ends in the key of all that went into the build. Its description, which is
under a digest, repeats the key.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trtnn.build.fingerprint import fingerprint
from trtnn.digest import digest
from trtnn.engine.engine import Engine
from trtnn.errors import ArgumentError, EngineError
from trtnn.files import check_trusted, file_name, locked, make_cache_folder
from trtnn.graph.graph import Graph

_ENTRY = "engine_cache"


def cache_key(graph: Graph, description: Mapping[str, Any], options: Mapping[str, Any], flags: int) -> str:
    """Return the digest of all that an engine depends on.

    Args:
        graph: what is built.
        description: of the engine: the versions, the targets, the GPU it is tied to, the precision and the model's
            metadata are in it.
        options: how it is built.
        flags: those of the ``IBuilderConfig``.
    """
    context = json.dumps([description, options, flags])
    return digest(context.encode(), fingerprint(graph.definition, graph.trt, graph.plugins).encode())


def find_or_build(
    folder: str | os.PathLike[str], name: str, key: str, build: Callable[[], Engine], waiting: str = ""
) -> Engine:
    """Return the engine of this key from a folder, or build it and put it there.

    Of several processes that want the same one, one builds and the others wait for it. A damaged file is replaced.

    Args:
        folder: where engines are kept; it is made where it is missing.
        name: of the model, for the file's name.
        key: what :func:`cache_key` gives.
        build: makes the engine.
        waiting: a line for standard error, said if another process builds it now.

    Raises:
        ArgumentError: the folder is a file, cannot be written, or is open to other users.
    """
    path = Path(folder) / f"{file_name(name)}-{key}.engine"
    if path.is_file():
        check_trusted(folder)
        with contextlib.suppress(EngineError):  # a hit needs neither the lock nor the right to write
            return _load(path, key)
    make_cache_folder(folder)
    with locked(path, waiting):
        try:
            if path.is_file():
                return _load(path, key)
        except EngineError as error:
            warnings.warn(f"an engine is built again, since its file in the cache is damaged: {error}", stacklevel=2)
        engine = build()
        try:
            _save(engine, path, key)
        except (OSError, ArgumentError) as error:
            warnings.warn(f"the engine was not kept in the cache: {error}", stacklevel=2)
        return engine


def _save(engine: Engine, path: Path, key: str) -> None:
    Engine(engine.plan, {**engine.description, _ENTRY: key}).save(path)


def _load(path: Path, key: str) -> Engine:
    try:
        check_trusted(path)
    except ArgumentError as error:
        raise EngineError(error.summary) from error
    engine = Engine.load(path)
    if engine.description.pop(_ENTRY, None) != key:
        raise EngineError(f"{path} is not what was written")
    try:
        engine.check_plan()
    except EngineError as error:
        raise EngineError(f"{path} is not what was written", *error.details) from error
    return engine
