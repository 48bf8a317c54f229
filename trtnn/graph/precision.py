"""The element type that a network computes in, and which modules keep to fp32."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trtnn.dtypes import DType, float32
from trtnn.errors import ArgumentError

#: How far outputs in fp16 may be from fp32's, by root mean squares: rms(difference) / rms(output).
TOLERANCE = 1e-2

#: What a network's summary says of modules whose attention keeps its scores in fp16.
HALF_SCORES = "scores of attention in fp16"


def check_paths(value: Any, takes: str) -> None:
    """Raise where a value is no collection of texts.

    Args:
        value: any.
        takes: what is to be given, for the message.

    Raises:
        ArgumentError: it is not.
    """
    is_text = isinstance(value, str)
    if is_text or not isinstance(value, Collection) or not all(isinstance(item, str) for item in value):
        raise ArgumentError(f"{takes}, not {f'the string {value!r}' if is_text else f'{value!r:.100}'}")


@dataclass(frozen=True)
class Precision:
    """The element type that a network computes in.

    Args:
        compute: float32 or float16.
        fp32_modules: module paths, or patterns of them as in ``fnmatch``; each stays in fp32 with all that it holds.
        fp16_attention: whether attention keeps its scores in fp16 where it computes in fp16.
        is_alike: whether attention that is in fp32 then has the layers of that in fp16, to be compared with it.
    """

    compute: DType = float32
    fp32_modules: Sequence[str] = ()
    fp16_attention: bool = False
    is_alike: bool = False
    _matcher: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_paths(self.fp32_modules, "fp32_modules takes a tuple of paths")
        object.__setattr__(self, "fp32_modules", tuple(self.fp32_modules))
        if self.fp32_modules and self.compute is float32:
            raise ArgumentError("fp32_modules says what stays in fp32 beside fp16", "pass fp16=True as well")
        if self.fp16_attention and self.compute is float32 and not self.is_alike:
            raise ArgumentError("fp16_attention is about what is in fp16", "pass fp16=True as well")
        # One expression for all: a trace asks for every module that it calls.
        object.__setattr__(self, "_matcher", re.compile("|".join(map(fnmatch.translate, self.fp32_modules))))

    def keeps(self, path: str) -> bool:
        """Return whether the module at ``path``, or one that holds it, was asked to stay in fp32."""
        return bool(self.fp32_modules) and any(map(self._matcher.fullmatch, _holders(path)))


def keeps(pattern: str, path: str) -> bool:
    """Return whether a pattern of modules names the one at ``path``, or one that holds it."""
    return any(fnmatch.fnmatchcase(holder, pattern) for holder in _holders(path))


def beside(quantised: Collection[str], patterns: Iterable[str], paths: Iterable[str]) -> tuple[str, ...]:
    """Return the paths that patterns name, with all within, of modules that neither are nor hold quantised ones."""
    import glob  # not for who only imports trtnn

    patterns = list(patterns)
    free = [path for path in paths if not any(path in _holders(inner) for inner in quantised)]
    return tuple(glob.escape(path) for path in free if any(keeps(pattern, path) for pattern in patterns))


def _holders(path: str) -> list[str]:
    """Return a path and those of all modules that hold it, the model first."""
    parts = path.split(".")
    return ["", *(".".join(parts[: i + 1]) for i in range(len(parts)))]


@dataclass(slots=True)
class Scope:
    """A module that is running: its path, and the type that it computes in."""

    path: str
    compute: DType
    line: str | None = None  # of the user's code, where it is not the one that runs
