"""Numbers that float16 does not hold, in a network that computes in it.

The one number that an operation puts into places of a Tensor, such as masked_fill's -1e9, means "lower than all else":
it stands at float16's own end, and the trace warns of it. Other numbers and arrays keep what they are: they are fp32,
and so is the arithmetic with them up to a softmax. A layer that would read them in fp16 is refused.

Sums with a number at the end of float16 are carried in fp32 too: -65504 less 16 is -infinity in fp16, and the softmax
of a row of such NaN. So are those with a fill that a module in fp32 has put in as it is.

A number that is 0 in float16 keeps nothing from being 0, such as 1e-8 beside what is divided by: the trace warns of it.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trtnn.dtypes import DType, float16, float32
from trtnn.errors import DTypeError, listed, where
from trtnn.graph.edges import to_compute
from trtnn.graph.failures import is_ours
from trtnn.graph.tensor import Tensor

if TYPE_CHECKING:
    from trtnn.graph.graph import Graph

END = 65504.0  # the largest number of float16
_FIRST_BEYOND = 65520.0  # what is below it is rounded to 65504, itself to infinity
_SHOWN = 6  # modules in a warning

# Layers that give what they read, at other places.
_MOVES = frozenset(("concatenation", "gather", "identity", "scatter", "select", "shuffle", "slice"))
_STAYS = _MOVES | {"softmax"}
_CARRIED = _STAYS | {"elementwise", "unary"}


class Beyond(NamedTuple):
    """What of a Tensor is beyond float16.

    Attributes:
        at_end: whether the end of float16 stands in it for a number beyond.
        refusal: what is raised where a layer would read it in fp16, None where it may.
    """

    at_end: bool
    refusal: Exception | None = None


class Fill(NamedTuple):
    """A number that float16 does not hold: one that an operation puts into places of a Tensor, or one that is 0 there.

    Attributes:
        path: of the module that has it.
        number: as it was given.
    """

    path: str
    number: float


def is_beyond(number: float) -> bool:
    """Return whether a number is finite, and infinite in float16."""
    return _FIRST_BEYOND <= abs(number) < math.inf


def filling(graph: Graph, number: float, dtype: DType, ndim: int) -> Tensor:
    """Return a number beyond float16 that fills places of a Tensor of ``dtype``, as a constant; the graph notes it."""
    constant = graph.constant(math.copysign(END, number) if dtype is float16 else number, dtype, ndim)
    graph.fills[len(graph.layer_paths) - 1] = Fill(graph.scopes[-1].path, number)
    if graph.precision.compute is float16:
        _carry_on(graph, constant, Beyond(dtype is float16))
    return constant


def unfit(graph: Graph, value: Any, ndim: int, error: DTypeError) -> Tensor:
    """Return a number or an array as an fp16 Tensor that only fp32 can read.

    Args:
        value: as :meth:`Graph.constant` takes it.
        error: says that it does not fit.
    """
    path = graph.scopes[-1].path
    refusal = DTypeError(
        f"numbers of {where(path)} do not fit in float16",
        *error.details,
        *(() if path else ("compute with them in fp32: x.float() before it",)),
        "they are carried in fp32 up to a softmax; masked_fill and where put such a number in at float16's own end",
    )
    return _in_half_never(graph, graph.constant(value, float32, ndim), refusal)


def carry(
    graph: Graph, kind: str, args: Sequence[Any], later: Mapping[int, Tensor] | None, options: Mapping[str, Any]
) -> Any:
    """Add a layer that reads carried Tensors, see :class:`trtnn.graph.tensor.Value`, as :meth:`Graph.emit` does.

    Returns:
        What it gives, or None where it reads none, or reads them as they are.

    Raises:
        DTypeError: it compares what stands at the end of float16 with numbers beyond, of which it may be one.
    """
    read = [item for arg in [*args, *(later or {}).values()] for item in (arg if type(arg) is list else [arg])]
    carried = [item for item in read if isinstance(item, Tensor) and item.value.beyond is not None]
    if not carried or kind not in _CARRIED:
        return None
    in_half = [tensor for tensor in carried if tensor.dtype is float16]
    # Fills that are moved, and softmax of them, stay in the type that they are in; so does all within fp32.
    stays = not in_half or (kind in _STAYS and all(tensor.unrounded is None for tensor in in_half))
    if stays and kind == "softmax":
        return None

    def as_read(value: Any) -> Any:
        if type(value) is list:
            return [as_read(item) for item in value]
        if not isinstance(value, Tensor) or (value.dtype is not float16 and value.value.beyond is None):
            return value
        value = graph.deferred.snapshot(kind, value)
        if value.dtype is float16 and not stays:
            return graph.cast(value, float32)
        return graph.wrap(value.raw, value.shape, value.dtype, value.value.constant)

    set_inputs = None if later is None else {index: as_read(value) for index, value in later.items()}
    result = graph.emit(kind, *map(as_read, args), set_inputs=set_inputs, **options)
    beyond = [tensor.value.beyond for tensor in carried if tensor.value.beyond is not None]
    refusals = [one.refusal for one in beyond if one.refusal is not None]
    at_end = any(one.at_end for one in beyond)
    if not isinstance(result, Tensor) or not result.dtype.is_floating_point:
        if at_end and refusals:
            raise refusals[0]
        return result
    if stays:
        return _carry_on(graph, result, Beyond(at_end))
    if kind == "softmax":
        return to_compute(result, float16, graph)
    if refusals:
        return _in_half_never(graph, result, refusals[0], at_end)
    return _carry_on(graph, to_compute(result, float16, graph), Beyond(at_end))


def _carry_on(graph: Graph, tensor: Tensor, beyond: Beyond) -> Tensor:
    tensor.value.beyond, graph.carries = beyond, True
    return tensor


def _in_half_never(graph: Graph, wide: Tensor, refusal: Exception, at_end: bool = False) -> Tensor:
    """Return an fp32 Tensor as an fp16 one that raises where a layer reads it as such."""

    def refuse() -> Tensor:
        raise refusal

    tensor = graph.deferred.later(refuse, wide.shape, float16)
    tensor.value.unrounded = wide
    return _carry_on(graph, tensor, Beyond(at_end, refusal))


# -- what is said of it -----------------------------------------------------------------------------------------------


def warn_of_fills(graph: Graph) -> None:
    """Warn, once for a network, of the numbers that stand at the end of float16 in it."""
    fills = dict.fromkeys(fill for index, fill in graph.fills.items() if graph.layer_dtypes[index] is float16)
    if not fills:
        return
    said = "; ".join(
        f"{number:g} stands at {math.copysign(END, number):g} in {_listed(paths, where)}"
        for number, paths in _places(fills).items()
    )
    warnings.warn(
        f"float16 ends at {END:g}, so a number that fills a tensor is not what it was: {said}. To keep it: "
        f"{_kept(fills)}",
        stacklevel=_depth_of_the_user(),
    )


def warn_of_lost(graph: Graph) -> None:
    """Warn, once for a network, of the numbers that are 0 in float16 in it."""
    said = "; ".join(f"{number:g} in {_listed(paths, where)}" for number, paths in _places(graph.lost).items())
    warnings.warn(
        f"float16 has no number between 0 and 6e-08, so these are 0, and keep nothing from being 0: {said}. To keep "
        f"them: {_kept(graph.lost)}, or a larger number",
        stacklevel=_depth_of_the_user(),
    )


def _places(fills: Iterable[Fill]) -> dict[float, list[str]]:
    places: dict[float, list[str]] = {}
    for fill in fills:
        places.setdefault(fill.number, []).append(fill.path)
    return places


def _kept(fills: Iterable[Fill]) -> str:
    paths = list(dict.fromkeys(fill.path for fill in fills if fill.path))
    return f"fp32_modules=[{_listed(paths, repr)}]" if paths else "x.float() before it"


def _listed(paths: Sequence[str], text: Callable[[str], str]) -> str:
    return listed([*map(text, paths)], _SHOWN)


def _depth_of_the_user() -> int:
    """Return the ``stacklevel`` by which a warning of the caller names the line that called trtnn."""
    depth = 1
    while is_ours(sys._getframe(depth).f_code.co_filename) and sys._getframe(depth).f_back is not None:
        depth += 1
    return depth
