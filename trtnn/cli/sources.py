"""Where a command's network comes from: a model's name, a class in a file of the user's own, or a checkpoint."""

from __future__ import annotations

import importlib.util
import inspect
import linecache
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import trtnn
from trtnn import models
from trtnn.cli.program import OWN_FILE
from trtnn.errors import ArgumentError, TrtnnError, nearest
from trtnn.files import resolved
from trtnn.models.names import unknown_name


def is_model(what: str) -> bool:
    """Whether this is a model's name, or ``FILE.py:CLASS``; else it can only be a file."""
    return what in models.by_name() or _is_own_class(what)


def _is_own_class(what: str) -> bool:
    return what.endswith(".py") or what.rpartition(":")[0].endswith(".py")


def check_exists(what: str) -> None:
    """Check that what is neither a model nor has a suffix is a file: it may be a name that was misspelt.

    Raises:
        ArgumentError: there is no such file, with the nearest name.
    """
    if not is_model(what) and not Path(what).suffix and not Path(what).exists():
        details = unknown_name(what, models.by_name()).details
        raise ArgumentError(f"there is no file {what}, and no model of that name", *details)


def source_path(what: str) -> Path:
    """Return the file that something comes from: a checkpoint, or that of ``FILE.py:CLASS``."""
    return Path(what.rpartition(":")[0] if _is_own_class(what) else what)


def make_model(what: str) -> trtnn.Module:
    """Return the model of a name, or of ``FILE.py:CLASS``, without weights.

    Raises:
        ArgumentError: there is no such model, file or class, the class is no Module, declares no inputs, or its code
            raised an error.
    """
    return _make_own(what) if _is_own_class(what) else models.create(what)


def load_model(weights: Path | None, model: str | None, head: str | None = None, anchors: Any = None) -> trtnn.Module:
    """Return a model with its weights.

    Args:
        weights: a checkpoint; None for a class in a file that gives its parameters values itself.
        model: a name or ``FILE.py:CLASS``; None for the model that the checkpoint tells of.
        head: of those that a model of trtnn's own has, such as ``"raw"``; None for its own choice.
        anchors: as YOLOv5 and YOLOv3 take them, where the checkpoint has none; or None.

    Raises:
        ArgumentError: as for :func:`make_model`, the model has no weights, or no such head.
        StateDictError: the weights are of another model.
    """
    if model is None or not _is_own_class(model):
        if weights is None:
            if model is not None:
                make_model(model)  # a name that there is not is told first
            raise ArgumentError(f"{model} has no weights without a checkpoint", "give one with --weights")
        given = {"head": head, "anchors": anchors}
        options = {name: value for name, value in given.items() if value is not None}
        return models.from_state_dict(trtnn.load(weights), model, **options)
    for option, value in {"--head": head, "--anchors": anchors}.items():
        if value is not None:
            raise ArgumentError(
                f"{option} is of trtnn's own models, and {model} is none", "what it gives, its __init__ and forward say"
            )
    made = _make_own(model)
    if weights is not None:
        made.load_state_dict(trtnn.load(weights))
    empty = [name for name, member in _members(made) if member.data is None and not member.optional]
    if empty:
        some = f"{', '.join(empty[:3])}{', ...' if len(empty) > 3 else ''}"
        raise ArgumentError(f"{model} has no weights for {some}", "give a checkpoint with --weights")
    return made


def fill_empty(model: trtnn.Module) -> trtnn.Module:
    """Give ones, which are also good variances, to all that has no values, so that the model can be traced."""
    for _, member in _members(model):
        if member.data is None and not member.optional:
            member.data = np.broadcast_to(np.float32(1), member.shape)
    return model


def _members(model: trtnn.Module) -> Iterator[tuple[str, trtnn.Parameter]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _make_own(what: str) -> trtnn.Module:
    file, _, name = what.rpartition(":") if not what.endswith(".py") else (what, "", "")
    path = Path(file)
    if not path.is_file():
        raise ArgumentError(f"there is no file {path}", f"{what} is a class in a file of your own")
    module = import_file(path)
    own = [key for key, value in vars(module).items() if _is_module(value, module)]
    if not hasattr(module, name):
        summary = f"{path} has no {name}" if name else f"{path} may hold several classes: say which"
        modules = f"its modules: {', '.join(own) or 'none'}"
        raise ArgumentError(summary, *nearest(name, own), modules, f"such as {path}:{own[0] if own else 'Net'}")
    member = getattr(module, name)
    if not (inspect.isclass(member) and issubclass(member, trtnn.Module)):
        raise ArgumentError(f"{name} in {path} is no class of trtnn.Module", f"its modules: {', '.join(own) or 'none'}")
    with _telling_where(path):
        try:
            inspect.signature(member).bind()
        except TypeError as error:
            message = f"{name} in {path} cannot be made without arguments: {error}"
            raise ArgumentError(message, "give its __init__ defaults, or a class of its own that has none") from None
        made = member()
    if not made.inputs:
        example = f'self.inputs = {{"{_first_argument(member)}": trtnn.Input((1, 3, 640, 640))}}'
        raise ArgumentError(f"{name} in {path} declares no inputs", f"in its __init__: {example}")
    return made


def _is_module(value: object, module: ModuleType) -> bool:
    return inspect.isclass(value) and issubclass(value, trtnn.Module) and value.__module__ == module.__name__


def _first_argument(kind: type[trtnn.Module]) -> str:
    _, *names = inspect.signature(kind.forward).parameters
    return names[0] if names else "images"


def import_file(path: Path) -> ModuleType:
    """Run a file as a module; like a script, it finds the files beside it."""
    name = f"{OWN_FILE}{path.stem}"  # not the stem alone, which may be that of another module
    loader = SourceFileLoader(name, str(path.absolute()))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None  # it is None where there is no loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    if (folder := str(resolved(path.parent))) not in sys.path:
        sys.path.insert(0, folder)
    with _telling_where(path):
        loader.exec_module(module)
    return module


@contextmanager
def _telling_where(path: Path) -> Iterator[None]:
    """Turn an error that the code of a file raises into one of ours, with the line where it came up there."""
    try:
        yield
    except (Exception, SystemExit) as error:
        file = str(path.absolute())
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        if isinstance(error, SyntaxError) and error.filename == file:
            lines.append(error.lineno)
        lines = [line for line in lines if line is not None]
        where = [f"{path}:{lines[-1]}: {linecache.getline(file, lines[-1]).strip()}"] if lines else []
        if isinstance(error, TrtnnError):
            raise type(error)(error.summary, *error.details, *where) from error
        raise ArgumentError(f"{path} raised {type(error).__name__}: {error}", *where) from error
