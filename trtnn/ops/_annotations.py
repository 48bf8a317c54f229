"""What annotations say, for functions that look at what they are given before they run.

They are strings, as ``from __future__ import annotations`` leaves them.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from trtnn.errors import ArgumentError, TrtnnError, named
from trtnn.graph.tensor import Tensor
from trtnn.ops.complex import Complex
from trtnn.ops.packing import PackedSequence
from trtnn.parameter import Parameter
from trtnn.shapes.floats import SymFloat
from trtnn.shapes.symbolic import Size

_NUMBERS = (bool, int, float, np.number, np.bool_, Size, SymFloat)
_ARRAYS = (Parameter, np.ndarray)
# The words of annotations, and what fits them; torch tensors fit where arrays do.
_WORDS: dict[str, tuple[type, ...]] = {
    "None": (type(None),),
    "Tensor": (Tensor,),
    "Complex": (Complex,),
    "PackedSequence": (PackedSequence,),
    "Operand": (Tensor, *_ARRAYS, *_NUMBERS),
    "Array": _ARRAYS,
    "Indices": (Tensor, np.ndarray),
    "np.ndarray": (np.ndarray,),
    "Parameter": (Parameter,),
    "Number": _NUMBERS,
    "Length": (int, np.integer, Size),
    "int": (int, np.integer),
    "float": (int, float, np.number),
    "bool": (bool, np.bool_),
    "str": (str,),
    "Dims": (int, np.integer, Sequence, type(None)),
    "Sides": (int, np.integer, Sequence),
}
# What is an int or a sequence to Python, and stands for none here.
_BUT: dict[type, tuple[str, ...]] = {bool: ("int", "Length"), str: ("Dims", "Sides")}
# What these are called in messages.
_CALLED = {"Operand": "a Tensor, an array or a number", "Array": "a Parameter or an array", "Tensor": "a Tensor",
           "Complex": "complex numbers", "PackedSequence": "a packed sequence",
           "Length": "an int", "Indices": "a Tensor or an array", "int": "an int", "float": "a number",
           "bool": "True or False", "str": "a string", "None": "None", "Dims": "dimensions", "Sides": "ints",
           "Number": "a number"}  # fmt: skip

# A sequence of what stands in brackets.
_SEQUENCE = re.compile(r"(?:Sequence|Iterable|list|tuple)\[(.+?)(?:, \.\.\.)?\]")


def alternatives(annotation: str) -> list[str]:
    """Return the parts of a union, each without the spaces around it."""
    parts, depth = [""], 0
    for c in annotation:
        depth += (c == "[") - (c == "]")
        if c == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts]


def fits(value: Any, annotation: str) -> bool:
    """Return whether a value is of what an annotation says; of a word that is none of those here each is."""
    for part in alternatives(annotation):
        inner = _SEQUENCE.fullmatch(part)
        if inner:
            if isinstance(value, (list, tuple)) and all(fits(item, inner[1]) for item in value):
                return True
        elif part not in _WORDS or (isinstance(value, _WORDS[part]) and part not in _BUT.get(type(value), ())):
            return True
    return False


def in_words(annotation: str) -> str:
    """Return what an annotation says as messages say it."""
    words = []
    for part in alternatives(annotation):
        inner = _SEQUENCE.fullmatch(part)
        words.append(f"a sequence, each {in_words(inner[1])}" if inner else _CALLED.get(part, part))
    return " or ".join(words)


def described(value: Any) -> str:
    """Return a value as messages show it: numbers and strings as they are, of others their type."""
    if isinstance(value, (bool, int, float, str, type(None))):
        return repr(value) if len(repr(value)) <= 40 else f"{repr(value)[:40]}..."
    if isinstance(value, (list, tuple)):
        kinds = ", ".join(dict.fromkeys(map(named, value)))
        return f"a {type(value).__name__} of {kinds or 'nothing'}"
    if isinstance(value, SymFloat):
        return f"the fraction {value}; divide lengths with //"
    return f"a {named(value)}"


def expect_fit(value: Any, annotation: str, what: str, name: str, error: type[TrtnnError] = ArgumentError) -> None:
    """Check that a value is of what an annotation says.

    Args:
        value: what is given.
        annotation: of the argument.
        what: what takes it.
        name: of the argument.
        error: what to raise.

    Raises:
        TrtnnError: it is not.
    """
    if not fits(value, annotation):
        raise error(f"{what} takes {in_words(annotation)} as {name}, not {described(value)}")


# -- plain arguments: switches, numbers and words ----------------------------------------------------------------------

_EXACT: dict[str, tuple[type, ...]] = {
    "None": (type(None),), "bool": (bool,), "int": (int,), "float": (float, int), "str": (str,), "Length": (int, Size),
}  # fmt: skip
_LENGTHS = "Sequence[Length]"
Called = TypeVar("Called", bound=Callable[..., Any])
_ONE = (str, bool, int, float, np.generic, type(None))


class Plain(NamedTuple):
    """An argument that is True or False, a number, a string, or one of several of these.

    Attributes:
        name: what it is called.
        annotation: of what types it is.
        exact: types that need no further look.
    """

    name: str
    annotation: str
    exact: frozenset[type]

    def expect(self, value: Any, what: str, error: type[TrtnnError] = ArgumentError) -> None:
        """Check what is given for it.

        Lengths that only the network knows pass, and so do Tensors and arrays that hold a number, and what lengths are
        taken from: they are looked at where they are used.

        Args:
            value: what is given.
            what: what takes it.
            error: what to raise.

        Raises:
            TrtnnError: it is something else.
        """
        is_switch = "bool" in alternatives(self.annotation)
        holds_a_number = not isinstance(value, np.generic) and hasattr(value, "shape")
        is_later = isinstance(value, (Size, SymFloat)) or holds_a_number
        are_lengths = _LENGTHS in self.annotation and not isinstance(value, _ONE)
        if is_switch or not (is_later or are_lengths):
            expect_fit(value, self.annotation, what, self.name, error)


def plain(parameter: inspect.Parameter) -> Plain | None:
    """Return a parameter as a :class:`Plain`, or None where its annotation names other types as well."""
    if not isinstance(parameter.annotation, str):
        return None
    parts = [part for part in alternatives(parameter.annotation) if part != _LENGTHS]
    if not parts or not _EXACT.keys() >= set(parts):
        return None
    return Plain(parameter.name, parameter.annotation, frozenset(kind for part in parts for kind in _EXACT[part]))


def as_switch(parameter: inspect.Parameter | None, value: Any) -> Any:
    """Return as True or False what torch's own code in Python takes for one of these: ``affine=1``; all else as it is.

    Args:
        parameter: what it is given for here.
        value: what torch was given.
    """
    is_switch = parameter is not None and str(parameter.annotation) in ("bool", "bool | None")
    return bool(value) if is_switch and isinstance(value, (int, float, str, np.generic)) else value


def checking(method: Called) -> Called:
    """Return a method that looks at its plain arguments before it runs, or itself where it has none.

    Args:
        method: its first argument is an object or a class.
    """
    _, *parameters = inspect.signature(method).parameters.values()
    looked_at = {parameter.name: one for parameter in parameters if (one := plain(parameter)) is not None}
    if not looked_at:
        return method
    by_place = [looked_at.get(p.name) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    name = "" if method.__name__ in ("__init__", "forward") else f".{method.__name__}"

    def look(owner: Any, one: Plain, value: Any) -> None:
        one.expect(value, (owner if isinstance(owner, type) else type(owner)).__name__ + name)

    @functools.wraps(method)
    def checked(owner: Any, *args: Any, **kwargs: Any) -> Any:
        for one, value in zip(by_place, args, strict=False):
            if one is not None and type(value) not in one.exact:
                look(owner, one, value)
        for key, value in kwargs.items():
            one = looked_at.get(key)
            if one is not None and type(value) not in one.exact:
                look(owner, one, value)
        return method(owner, *args, **kwargs)

    return cast(Called, checked)
