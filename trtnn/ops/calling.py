"""The door to the public functions: what stands for a Tensor, torch's other spellings, what a wrong argument is told.

Operations call one another without it. A call that is spelled as the function is, with Tensors where it takes Tensors,
passes after one look at the types.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trtnn.arrays import array_of_torch, is_torch
from trtnn.dtypes import DType, result_type
from trtnn.errors import ArgumentError, DTypeError, TrtnnError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.ops._annotations import alternatives, described, expect_fit, fits, in_words, plain
from trtnn.ops.complex import OF_PARTS, Complex
from trtnn.ops.constants import constant_array
from trtnn.ops.creation import of_array
from trtnn.parameter import Buffer, Parameter
from trtnn.shapes.floats import SymFloat
from trtnn.shapes.symbolic import Dim, Size

# Names that torch's own parser takes for others, as NumPy has them.
_SYNONYMS = {
    "axis": ("dim", "dims"), "keepdims": ("keepdim",), "x": ("input",), "a": ("input",), "x1": ("input",),
    "x2": ("other",), "size": ("shape",), "split_size": ("split_size_or_sections",), "tensor": ("input",),
    "indices": ("indices_or_sections",), "sections": ("indices_or_sections",),
    "input": ("A", "x", "tensor"),
}  # fmt: skip
# Torch's arguments for places and for memory, which an engine decides by itself.
_OF_CREATION = ("device", "layout", "pin_memory", "requires_grad", "memory_format")
_OF_PLACES = ("memory_format", "device", "non_blocking")
_HOW = {
    **dict.fromkeys(
        (
            "arange", "bartlett_window", "blackman_window", "empty", "empty_like", "eye", "full", "full_like",
            "hamming_window", "hann_window", "kaiser_window", "linspace", "logspace", "new_empty", "new_full",
            "new_ones", "new_tensor", "new_zeros", "ones", "ones_like", "scalar_tensor", "tensor", "tril_indices",
            "triu_indices", "zeros", "zeros_like",
        ),
        _OF_CREATION,
    ),
    **dict.fromkeys(
        (
            "bfloat16", "bool", "byte", "clone", "contiguous", "cpu", "cuda", "double", "float", "half", "int", "long",
            "to", "type",
        ),
        _OF_PLACES,
    ),
    "as_tensor": ("device",),
    "asarray": ("device", "copy", "requires_grad"),
    "gather": ("sparse_grad",),
}  # fmt: skip

# Types that need no look within, where a Tensor is taken and where arrays are as well.
_PLAIN = frozenset((Tensor, int, float, bool, str, type(None), Size, Dim, SymFloat, DType, slice, type(Ellipsis)))
_PLAIN_OR_ARRAY = _PLAIN | {Parameter, Buffer, np.ndarray}


class _Door:
    """The parameters of a function, and the conversion of arguments to what each of them takes."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.name = name
        self.signature = inspect.signature(function)
        parameters = list(self.signature.parameters.values())
        self.annotations = {
            parameter.name: parameter.annotation if isinstance(parameter.annotation, str) else "Any"
            for parameter in parameters
        }
        self.rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self.positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self.names = frozenset(p.name for p in parameters if p.kind is not p.VAR_POSITIONAL)
        self.takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self.fine = [self._fine(name) for name in self.positional]
        self.fine_by_name = {name: self._fine(name) for name in self.names}
        self.fine_rest = self._fine(self.rest) if self.rest else _PLAIN
        self.plain = [parameter for parameter in map(plain, parameters) if parameter is not None]

    def _fine(self, name: str) -> frozenset[type]:
        words = set(re.findall(r"[\w.]+", self.annotations[name]))
        if "Operand" in words or {"Array", "Tensor"} <= words:
            return _PLAIN_OR_ARRAY
        return _PLAIN_OR_ARRAY - {Tensor} if "Array" in words else _PLAIN

    def knows(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Return whether every argument is of a name and a type that the function takes as it is."""
        for i, value in enumerate(args):
            kind, fine = type(value), self.fine[i] if i < len(self.fine) else self.fine_rest
            if kind not in fine and not ((kind is tuple or kind is list) and all(type(v) in fine for v in value)):
                return False
        for name, value in kwargs.items():
            fine = self.fine_by_name.get(name)
            if fine is None:
                return False
            kind = type(value)
            if kind not in fine and not ((kind is tuple or kind is list) and all(type(v) in fine for v in value)):
                return False
        return True

    def check_plain(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Check arguments that are True or False, numbers or strings, and strings for what else; the types tell.

        Raises:
            DTypeError: one is something else.
        """
        given = {**dict(zip(self.positional, args, strict=False)), **kwargs}
        for one in self.plain:
            if one.name in given and type(given[one.name]) not in one.exact:
                one.expect(given[one.name], self.name, DTypeError)
        for name, value in given.items():
            if type(value) is str and name in self.annotations:
                expect_fit(value, self.annotations[name], self.name, name, DTypeError)

    def tells_by_types(self, args: Sequence[Any]) -> bool:
        """Return whether :meth:`knows` depends on the types of the arguments alone: no sequence may hold another."""
        return not any(
            isinstance(value, (list, tuple))
            and (i >= len(self.positional) or self.fine[i] is not _PLAIN or "Tensor" in self._words(i))
            for i, value in enumerate(args)
        )

    def _words(self, i: int) -> set[str]:
        return set(re.findall(r"\w+", self.annotations[self.positional[i]]))

    def changes(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Return whether a call asks for its first argument to be changed in place."""
        if "inplace" not in self.positional:
            return False
        at = self.positional.index("inplace")
        return bool(args[at] if len(args) > at else kwargs.get("inplace", False))

    def translate(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments as the function takes them.

        Raises:
            ArgumentError: it takes no argument of a name.
            DTypeError: it takes a Tensor, and something else was given.
            UnsupportedError: ``out=``.
        """
        args, named_ones = list(args), {}
        for key, value in kwargs.items():
            name = self._name(key)
            if name == self.rest and name is not None:
                if len(args) > len(self.positional):
                    raise ArgumentError(f"{self.name} was given {key!r} twice, by position and by name")
                args += value if isinstance(value, (list, tuple)) else [value]
            elif name is not None:
                if name in named_ones or (name in self.positional and self.positional.index(name) < len(args)):
                    raise ArgumentError(f"{self.name} was given {name!r} twice", f"once as {key!r}")
                named_ones[name] = value
            elif key == "out" and value is not None:
                raise UnsupportedError(
                    f"{self.name} with out=", "a network has no memory to write to; use what is returned"
                )
        count = len(self.positional)
        like = _floating_type([*args, *named_ones.values()])
        names = [*self.positional[: len(args)], *[self.rest] * max(0, len(args) - count)]
        args = [
            value if name is None else self._given(name, value, like) for name, value in zip(names, args, strict=True)
        ]
        return tuple(args), {name: self._given(name, value, like) for name, value in named_ones.items()}

    def _name(self, key: str) -> str | None:
        """Return the function's own name of a keyword, or None where it says nothing of the result."""
        if key in self.names or self.takes_any or key == self.rest:
            return key
        for name in _SYNONYMS.get(key, ()):
            if name in self.names or name == self.rest:
                return name
        if key == "out" or key in _HOW.get(self.name.rpartition(".")[2], ()):
            return None
        if self.rest and key == "size":  # of view, expand and their like, which take it one by one as well
            return self.rest
        raise ArgumentError(f"{self.name} takes no argument {key!r}", self._takes())

    def _takes(self) -> str:
        shown = [f"*{name}" if name == self.rest else name for name in self.signature.parameters]
        return f"it takes: {', '.join(shown)}"

    def _given(self, name: str, value: Any, like: DType | None) -> Any:
        annotation = self.annotations.get(name, "Any")
        parts = alternatives(annotation)
        if "Tensor" in parts:
            if isinstance(value, (Parameter, np.ndarray, np.generic)) or is_torch(value):
                return of_array(value, like)
            if not fits(value, annotation):
                raise DTypeError(f"{self.name} takes {in_words(annotation)} as {name}, not {described(value)}")
            if parts == ["Tensor"]:
                return value
        if "Sequence[Tensor]" in parts and isinstance(value, (list, tuple)):
            return type(value)(self._of_tensors(name, item, like) for item in value)
        words = set(re.findall(r"\w+", annotation))
        if isinstance(value, Tensor) and "Array" in words and "Operand" not in words:
            return self._constant(name, value)
        return self._plain(value, keeps=not words.isdisjoint(("Operand", "Array", "Parameter")))

    def _constant(self, name: str, value: Tensor) -> np.ndarray:
        array = constant_array(value)
        if array is None:
            raise UnsupportedError(
                f"{self.name} with a {name} that is known only when the engine runs",
                "it is a Parameter, an array, or what is computed of such alone",
            )
        return array

    def _of_tensors(self, name: str, value: Any, like: DType | None) -> Any:
        if isinstance(value, (Parameter, np.ndarray, np.generic)) or is_torch(value):
            return of_array(value, like)
        if not isinstance(value, Tensor):
            raise DTypeError(f"{self.name} takes Tensors as {name}, not {described(value)}")
        return value

    def _plain(self, value: Any, keeps: bool) -> Any:
        """Return torch tensors as arrays, and where no array is taken the numbers that arrays and Parameters hold."""
        if isinstance(value, (list, tuple)):
            items = [self._plain(item, keeps) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        if is_torch(value):
            value = array_of_torch(value)
        if isinstance(value, np.generic):
            return value.item()
        if keeps:
            return value
        if isinstance(value, Parameter):
            if value.data is None:
                raise ArgumentError(f"{self.name} was given an empty parameter", "load a state dict")
            value = value.data
        return value.item() if isinstance(value, np.ndarray) and not value.ndim else value

    def explain(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TrtnnError | None:
        """Return what was wrong with the arguments of a call that failed, or None where they are as they should be."""
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            return ArgumentError(f"{self.name}: {error}", self._takes())
        for name, value in bound.arguments.items():
            for item in value if name == self.rest and isinstance(value, tuple) else (value,):
                annotation = self.annotations.get(name, "Any")
                if not fits(item, annotation):
                    return DTypeError(f"{self.name} takes {in_words(annotation)} as {name}, not {described(item)}")
        return None


def _floating_type(values: Sequence[Any]) -> DType | None:
    """Return the type that the floating Tensors among arguments come to, which arrays beside them take, or None."""
    common = None
    for value in values:
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, Tensor) and item.dtype.is_floating_point:
                common = item.dtype if common is None else result_type(common, item.dtype)
    return common


# The operators whose name is not that of a function.
_OF_OPERATORS = {
    "and": "bitwise_and", "floordiv": "floor_divide", "lshift": "bitwise_left_shift", "or": "bitwise_or",
    "rshift": "bitwise_right_shift", "xor": "bitwise_xor",
}  # fmt: skip


def torch_function(functions: Mapping[str, Callable[..., Any]]) -> Any:
    """Return what torch calls where one of its functions is given a trtnn Tensor: the function of the same name here.

    So ``torch.relu(x)`` and ``torch.ones(3) * x`` mean in a network what they mean in torch.

    Args:
        functions: the public functions by name.
    """

    def dispatch(cls: type, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        torch = sys.modules["torch"]
        name = getattr(func, "__name__", "")
        plain = name.strip("_") if name.startswith("__") else name
        plain = _OF_OPERATORS.get(plain, plain)
        spelled = (name, f"__{name}__")  # torch calls the function of ** pow
        theirs = (torch, torch.nn.functional, torch.Tensor)
        of_fft = getattr(torch.fft, name.removeprefix("fft_"), None) is func
        known = of_fft or any(getattr(place, way, None) is func for place in theirs for way in spelled)
        if plain in functions and known:
            return functions[plain](*args, **(kwargs or {}))
        raise UnsupportedError(
            f"torch's {name or func} was given a trtnn Tensor", "trtnn.functional has what a network can compute"
        )

    return classmethod(dispatch)


# What gives in torch the tensor that it was given, where it changes nothing. Of all else the result is a tensor of its
# own, also where a network needs no layer for it, as for one that is joined alone or summed over nothing: a change in
# place of the one must not be seen in the other. Views are other Tensors already.
_ITSELF = frozenset((
    "alpha_dropout", "as_tensor", "atleast_1d", "atleast_2d", "atleast_3d", "bfloat16", "bool", "broadcast_tensors",
    "byte", "cast", "conj", "conj_physical", "cpu", "cuda", "double", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "feature_alpha_dropout", "float", "half", "int", "long", "positive", "real", "resolve_conj", "resolve_neg",
    "sum_to_size", "to", "type", "type_as",
))  # fmt: skip


def _apart(result: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return a result, or a copy of it where it is what the function of a name was given."""
    if isinstance(result, tuple):
        parts = [_apart(part, name, args, kwargs) for part in result]
        same = all(new is old for new, old in zip(parts, result, strict=True))
        return result if same else type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)
    if not isinstance(result, Tensor):
        return result
    for value in (*args, *kwargs.values()):
        if result is value or (isinstance(value, (list, tuple)) and any(result is item for item in value)):
            return result.graph.deferred.snapshot(name, result)
    return result


def public(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a function as it is called from outside.

    What it takes a Tensor for may be a Parameter, a Buffer, a NumPy array or a torch tensor as well, whose numbers
    become constants of the network. Keywords may be spelled as torch lets them (``axis``, ``keepdims``), and those that
    say where or how and not what (``device``, ``memory_format``) have no effect. A wrong argument is an error of
    trtnn's that names it.
    """
    door = functools.cache(lambda: _Door(function, name))  # of most functions a network needs none
    plain = name.rpartition(".")[2]
    copies, is_of_parts = plain not in _ITSELF and not plain.endswith("_"), plain in OF_PARTS
    usual: set[tuple] = set()  # the types and keywords of calls that pass as they are

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        kinds = (*map(type, args), *kwargs, *map(type, kwargs.values())) if kwargs else tuple(map(type, args))
        if kinds not in usual:
            if is_of_parts and args and isinstance(args[0], Complex):
                return Complex(*(call(part, *args[1:], **kwargs) for part in (args[0].real, args[0].imag)))
            is_known = door().knows(args, kwargs)
            if not is_known:
                args, kwargs = door().translate(args, kwargs)
            door().check_plain(args, kwargs)
            in_keywords = any(isinstance(value, (list, tuple)) for value in kwargs.values())
            if is_known and not in_keywords and door().tells_by_types(args):
                usual.add(kinds)
        try:
            result = function(*args, **kwargs)
        except TrtnnError:
            raise
        except (TypeError, AttributeError, ValueError, IndexError, KeyError, OverflowError) as error:
            explained = door().explain(args, kwargs)
            if explained is None:
                raise
            raise explained from error
        if not copies:
            return result
        apart = _apart(result, plain, args, kwargs)
        return result if apart is not result and door().changes(args, kwargs) else apart

    call.__name__ = call.__qualname__ = plain
    return call
