"""TensorRT's loops: one step, written once, over the length of a tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trtnn.graph.tensor import Tensor
from trtnn.ops._promotion import promote
from trtnn.ops.comparison import where

State = tuple[Tensor, ...]


def scan(
    step: Callable[[Tensor, State], State],
    input: Tensor,
    state: Sequence[Tensor],
    reverse: bool = False,
    mask: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Go over the first dimension of ``input``, of which the length may be dynamic.

    Args:
        step: gives the next state from what lies at one place, and the state; each keeps its shape and type.
        input: (length, ...).
        state: what the first step is given.
        reverse: from the last place to the first.
        mask: (length, ...), broadcast against each tensor of the state: where it is false a step leaves that as it is.

    Returns:
        The first tensor of the state after each step, (length, ...), in the order of the input's places, and the state
        after the last step.
    """
    graph, trt = input.graph, input.graph.trt
    length, *rest = input.shape
    (count,) = promote(length, graph=graph)
    loop = graph.make_loop(input, *state)
    graph.emit("trip_limit", count, trt.TripLimit.COUNT, loop=loop)
    element = graph.emit("iterator", input, 0, reverse, loop=loop, out_shape=rest)
    carried = tuple(graph.emit("recurrence", value, loop=loop, out_shape=value.shape) for value in state)
    following = step(element, carried)
    if mask is not None:
        goes_on = graph.emit("iterator", mask, 0, reverse, loop=loop, out_shape=mask.shape[1:])
        following = tuple(where(goes_on, new, old) for new, old in zip(following, carried, strict=True))
    for current, value in zip(carried, following, strict=True):
        graph.feed_back(current, value)
    order = trt.LoopOutput.REVERSE if reverse else trt.LoopOutput.CONCATENATE
    shape = (length, *following[0].shape)
    outputs = graph.emit("loop_output", following[0], order, 0, loop=loop, out_shape=shape, set_inputs={1: count})
    last = (
        graph.emit("loop_output", value, trt.LoopOutput.LAST_VALUE, loop=loop, out_shape=value.shape)
        for value in carried
    )
    return outputs, tuple(last)
