"""Every error that trtnn raises on purpose.

An error is a summary, one sentence that stands by itself, and details: lines that say what was expected, what was
received, where, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class TrtnnError(Exception):
    """The root of trtnn's errors: ``TrtnnError(summary, *details)``.

    Attributes:
        summary: one sentence.
        details: further lines, each shown indented under the summary.
    """

    def __init__(self, summary: str, *details: str) -> None:
        self.summary = summary
        self.details = tuple(details)
        super().__init__("\n  ".join([summary, *details]))

    def __reduce__(self) -> tuple[Any, ...]:  # to another process with its parts, which the one text does not tell
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[TrtnnError], args: tuple[Any, ...]) -> TrtnnError:
    """Return an error of another process, whose words have been made harmless there."""
    error = kind.__new__(kind)
    error.args = args
    return error


class BackendError(TrtnnError):
    """No TensorRT is installed, or the one here cannot do what was asked."""


class ShapeError(TrtnnError, ValueError):
    """Shapes do not fit together."""


class DTypeError(TrtnnError, TypeError):
    """An element type is unknown, unsupported, or not the one expected."""


class ArgumentError(TrtnnError, ValueError):
    """An argument is unknown, contradictory or out of range."""


class UnsupportedError(TrtnnError, NotImplementedError):
    """torch can do this, TensorRT cannot; the details say what to use instead."""


class StateDictError(TrtnnError, KeyError):
    """A state dict does not fit the module it was given to."""

    def __str__(self) -> str:  # KeyError's own shows the repr of its argument
        return Exception.__str__(self)


class CheckpointError(TrtnnError, ValueError):
    """A checkpoint file is damaged, of an unknown kind, or unsafe to read; the file's own words are shown harmless."""

    def __init__(self, summary: str, *details: str) -> None:
        super().__init__(*map(harmless_text, (summary, *details)))


class FileError(TrtnnError, OSError):
    """A file cannot be written, as on a full disk; nothing is left of it."""


class VerificationError(TrtnnError, ArithmeticError):
    """What a torch module was converted to computes something else."""


class BuildError(TrtnnError, RuntimeError):
    """TensorRT refused a layer or could not build the network, or a build is not the one that its lock holds."""


class EngineError(TrtnnError, RuntimeError):
    """An engine cannot be loaded or run here; the words of its file, and of TensorRT, are shown harmless."""

    def __init__(self, summary: str, *details: str) -> None:
        super().__init__(*map(harmless_text, (summary, *details)))


class ImageError(TrtnnError, ValueError):
    """An image cannot be read or written."""


def check_switches(*, or_none: bool = False, **switches: Any) -> None:
    """Check arguments that are True or False: a string such as ``"no"`` would be true.

    What stands for one is the same everywhere: True, False, and NumPy's. Numbers stand for none, also not 0 and 1, as
    in torch's functions in C++; its modules, and its functions in Python, take whatever is true or not. Modules and
    operations are checked by their annotations, see :mod:`trtnn.ops._annotations`.

    Args:
        or_none: whether they may be None as well.
        **switches: the arguments by name.

    Raises:
        ArgumentError: one is something else, also a number.
    """
    for name, value in switches.items():
        if not isinstance(value, bool | np.bool_) and not (or_none and value is None):
            raise ArgumentError(f"{name} is {'True, False or None' if or_none else 'True or False'}, not {value!r}")


def is_number(value: Any) -> bool:
    """Whether a value is one real number, Python's or NumPy's; True and False are none."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def check_tolerance(tolerance: Any) -> None:
    """Check a tolerance: a number from 0 up, not NaN.

    Raises:
        ArgumentError: it is something else.
    """
    if not is_number(tolerance) or not tolerance >= 0:
        raise ArgumentError(f"a tolerance is a number from 0 up, not {tolerance!r}")


def escape_controls(text: str, keep: str = "") -> str:
    """Return text with all that a terminal would act on, or that cannot be seen, as Python writes it: ``\\x1b``.

    That is control characters, those that turn the direction of writing, and lone surrogates. Whatever a terminal shows
    of files and of their names goes through it.

    Args:
        text: any.
        keep: what stays as it is, such as line breaks.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def harmless_text(text: str, most: int = 1000) -> str:
    """Return text that may come from a hostile file with its controls escaped, and its middle left out.

    Args:
        text: any.
        most: how many characters to keep of the beginning and end together.
    """
    if len(text) > most:
        text = f"{text[: most // 2]} ... {text[-most // 2 :]}"
    return escape_controls(text)


def named(value: Any) -> str:
    """Return the type of a value in words that say whose it is: ``trtnn.Tensor``, ``torch.Tensor``, ``list``."""
    kind = type(value)
    owner = kind.__module__.split(".")[0]
    return kind.__name__ if owner == "builtins" else f"{owner}.{kind.__name__}"


def where(path: str) -> str:
    """Return what messages call the module at ``path``."""
    return path or "the model's own forward"


def listed(names: Sequence[str], most: int) -> str:
    """Return the first of some names in words, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def first_lines(lines: Sequence[str], most: int = 10) -> list[str]:
    """Return the first of some lines of details, and one that says how many more there are."""
    return [*lines[:most], *([f"... and {len(lines) - most} more"] if len(lines) > most else [])]


def nearest(name: str, names: Iterable[str], most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return a line of details with the names that come nearest to one that does not exist, or none.

    Args:
        name: the one that does not exist.
        names: those that do.
        most: how many to show.
        cutoff: how like they have to be, from 0 to 1.
    """
    near = difflib.get_close_matches(name, list(names), n=most, cutoff=cutoff)
    return [f"{'nearest' if most == 1 else 'near'}: {', '.join(near)}"] if near else []
