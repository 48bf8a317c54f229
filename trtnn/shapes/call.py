"""The shapes of one call: its arguments by name, each held against its input, and the profile that holds them all."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtnn.arrays import is_masked_array
from trtnn.dtypes import as_dtype
from trtnn.errors import ArgumentError, DTypeError, ShapeError
from trtnn.shapes.profiles import Ranges
from trtnn.shapes.spec import TensorSpec
from trtnn.shapes.symbolic import Dim, evaluate


def name_arguments(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by their inputs' names, in the inputs' order.

    Raises:
        ArgumentError: too many, missing, unknown or doubled inputs.
    """
    if not kwargs and len(args) == len(names):
        return dict(zip(names, args, strict=True))
    takes = f"it takes: {', '.join(names)}"
    if len(args) > len(names):
        raise ArgumentError(f"{len(args)} inputs given, {len(names)} expected", takes)
    arguments = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name not in names:
            raise ArgumentError(f"no input is called {name!r}", takes)
        if name in arguments:
            raise ArgumentError(f"input {name!r} was given twice, by position and by name", takes)
        arguments[name] = value
    missing = [name for name in names if name not in arguments]
    if missing:
        raise ArgumentError(f"missing input: {', '.join(missing)}", takes)
    return {name: arguments[name] for name in names}


def check_is_array(name: str, array: Any, kind: str = "input") -> None:
    """Check that something is a torch tensor, or a NumPy array that masks no numbers out.

    Raises:
        DTypeError: it is neither.
    """
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        raise DTypeError(f"{kind} {name!r} takes a NumPy array or a torch tensor, not {type(array).__name__}")
    if is_masked_array(array):
        raise DTypeError(f"{kind} {name!r} takes no masked array", "with all its numbers: x.filled(0)")


def check_is_dense(name: str, tensor: Any) -> None:
    """Check that a torch tensor holds all its numbers in one piece of memory.

    Raises:
        DTypeError: it is sparse, or on the meta device.
    """
    if str(tensor.layout) != "torch.strided":
        raise DTypeError(f"input {name!r} takes no sparse torch tensor", "make it dense: x.to_dense()")
    if tensor.is_meta:
        raise DTypeError(f"input {name!r} takes no torch tensor on the meta device, which holds no numbers")


def check_array(name: str, spec: TensorSpec, array: Any, kind: str = "input") -> None:
    """Check a NumPy array or torch tensor against the input that it is meant for.

    Args:
        name: of the input, for messages.
        spec: the input's.
        array: what is checked.
        kind: what the array is called in messages; ``"out"`` for one that an output is written into.

    Raises:
        DTypeError: it is neither, or its element type differs.
        ShapeError: its shape differs.
    """
    check_is_array(name, array, kind)
    if array.shape != spec.shape:
        another = (
            f'for other sizes build another: inputs={{"{name}": {tuple(array.shape)}}}, with trtnn.Dim for a range'
        )
        raise ShapeError(
            f"{kind} {name!r} has the wrong shape",
            f"expected {spec.shape}",
            f"received {tuple(array.shape)}",
            *([another] if kind == "input" else []),
        )
    try:
        dtype = as_dtype(array.dtype) if getattr(array.dtype, "isnative", True) else None  # of this byte order
    except DTypeError:
        dtype = None
    if dtype is not spec.dtype:
        is_torch = type(array).__module__ == "torch"
        if kind == "out":  # a converted copy would be written, and not the caller's
            convert = f"give one of {spec.dtype.name} to write into"
        elif not is_torch and spec.dtype.numpy is None:
            convert = f"NumPy has no {spec.dtype.name}: give torch.from_numpy({name}).to(torch.{spec.dtype.name})"
        elif is_torch:
            convert = f"convert it with {name}.to(torch.{spec.dtype.name})"
        else:
            convert = f'convert it with {name}.astype("{spec.dtype.name}")'
        raise DTypeError(
            f"{kind} {name!r} has the wrong type",
            f"expected {spec.dtype.name}",
            f"received {str(array.dtype).removeprefix('torch.')}",
            convert,
        )


def check_numpy_has(specs: Mapping[str, TensorSpec], instead: str) -> None:
    """Check that NumPy has the types of inputs or outputs.

    Args:
        specs: by name.
        instead: what to do where it has not, for the message.

    Raises:
        DTypeError: it lacks one.
    """
    for name, spec in specs.items():
        if spec.dtype.numpy is None:
            raise DTypeError(f"{name!r} is {spec.dtype.name}, which NumPy has not", instead, "or return it as .float()")


@dataclass(frozen=True, eq=False)
class CallShapes:
    """The shapes of one call.

    Attributes:
        profile: the index of the first profile that holds them; 0 where everything is static.
        inputs, outputs: static TensorSpecs by name.
    """

    profile: int
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


class Shapes:
    """The shapes that a network takes and gives, in all its calls.

    Args:
        inputs, outputs: by name.
        profiles: what the dimensions may be; none where everything is static.

    Attributes:
        names: of the inputs.
    """

    def __init__(
        self, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec], profiles: Sequence[Ranges]
    ) -> None:
        self.inputs, self.outputs, self.profiles = dict(inputs), dict(outputs), tuple(profiles)
        self.names = tuple(inputs)
        self._static = None if profiles else CallShapes(0, self.inputs, self.outputs)
        self._fit = functools.lru_cache(maxsize=256)(self._fit_profile)

    def of_call(self, arrays: Mapping[str, Any]) -> CallShapes:
        """Return the shapes of a call; of a static network always its own, which the arrays are yet to be checked for.

        Args:
            arrays: one for each input, in order.

        Raises:
            DTypeError: something is not an array.
            ShapeError: the shapes are in no profile, or one dimension has two lengths.
        """
        if self._static is not None:
            return self._static
        for name, array in arrays.items():
            check_is_array(name, array)
        return self._fit(*(tuple(array.shape) for array in arrays.values()))

    def at_opt(self) -> list[CallShapes]:
        """Return the shapes that each profile is fastest at; of a static network the one that it has."""
        if self._static is not None:
            return [self._static]
        opts = [{name: dim.opt for name, dim in profile.items()} for profile in self.profiles]
        return [CallShapes(i, _at(self.inputs, opt), _at(self.outputs, opt)) for i, opt in enumerate(opts)]

    def _fit_profile(self, *shapes: tuple[int, ...]) -> CallShapes:
        lengths_from: dict[str, tuple[int, str]] = {}  # the length of each dimension, and the input that it comes from
        for (name, spec), shape in zip(self.inputs.items(), shapes, strict=True):
            wrong = len(shape) != len(spec.shape)
            for expected, length in zip(spec.shape, shape, strict=False):
                if not isinstance(expected, Dim):
                    wrong |= expected != length
                elif lengths_from.setdefault(expected.name, (length, name))[0] != length:
                    first, other = lengths_from[expected.name]
                    raise ShapeError(
                        f"dimension {expected.name!r} has two lengths in one call",
                        f"{first} in input {other!r}, {length} in input {name!r}",
                    )
            if wrong:
                raise ShapeError(f"input {name!r} has the wrong shape", f"expected {spec.shape}", f"received {shape}")
        lengths = {name: length for name, (length, _) in lengths_from.items()}
        for index, profile in enumerate(self.profiles):
            if all(dim.holds(lengths[name]) for name, dim in profile.items()):
                return CallShapes(index, _at(self.inputs, lengths), _at(self.outputs, lengths))
        raise self._outside(lengths)

    def _outside(self, lengths: Mapping[str, int]) -> ShapeError:
        several = len(self.profiles) > 1
        details = []
        for index, profile in enumerate(self.profiles):
            outside = [
                f"{dim.describe()}; received {lengths[name]}"
                for name, dim in profile.items()
                if not dim.holds(lengths[name])
            ]
            details += [f"profile {index}: {line}" if several else line for line in outside]
        where = f"in none of the {len(self.profiles)} profiles" if several else "outside the profile"
        return ShapeError(f"the inputs' shapes are {where}", *details)


def _at(specs: Mapping[str, TensorSpec], lengths: Mapping[str, int]) -> dict[str, TensorSpec]:
    return {name: spec.with_shape(tuple(evaluate(n, lengths) for n in spec.shape)) for name, spec in specs.items()}


def check_arrays(shapes: Shapes, arrays: Mapping[str, Any]) -> CallShapes:
    """Check arrays or tensors on the host against a network's inputs, and return the shapes of the call.

    Raises:
        DTypeError, ShapeError: as :meth:`Shapes.of_call` and :func:`check_array`.
    """
    call = shapes.of_call(arrays)
    for name, array in arrays.items():
        check_array(name, call.inputs[name], array)
    return call
