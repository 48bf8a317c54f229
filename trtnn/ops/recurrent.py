"""Recurrence: one step of a cell, and a layer that loops over the length of its input, which may be dynamic.

The product of the whole input with its weights is one, before the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Array
from trtnn.ops._looping import State, scan
from trtnn.ops.activation import relu, sigmoid, tanh
from trtnn.ops.arithmetic import add, mul, sub
from trtnn.ops.joining import chunk
from trtnn.ops.linear import linear

# From what the input and what the hidden state bring to the gates, and the state: the new state, its output first.
Step = Callable[[Tensor, Tensor, State], State]


def _lstm(from_input: Tensor, from_hidden: Tensor, state: State) -> State:
    gates = chunk(add(from_input, from_hidden), 4, -1)
    enter, forget, leave = (sigmoid(gates[i]) for i in (0, 1, 3))
    cell = add(mul(forget, state[1]), mul(enter, tanh(gates[2])))
    return mul(leave, tanh(cell)), cell


def _gru(from_input: Tensor, from_hidden: Tensor, state: State) -> State:
    (reset_x, update_x, new_x), (reset_h, update_h, new_h) = chunk(from_input, 3, -1), chunk(from_hidden, 3, -1)
    reset, update = sigmoid(add(reset_x, reset_h)), sigmoid(add(update_x, update_h))
    new = tanh(add(new_x, mul(reset, new_h)))
    return (add(new, mul(update, sub(state[0], new))),)


def _elman(activation: Callable[[Tensor], Tensor]) -> Step:
    return lambda from_input, from_hidden, state: (activation(add(from_input, from_hidden)),)


# Of each mode of torch's: how many gates it has, how many tensors its state, and its step.
CELLS: dict[str, tuple[int, int, Step]] = {
    "LSTM": (4, 2, _lstm),
    "GRU": (3, 1, _gru),
    "RNN_TANH": (1, 1, _elman(tanh)),
    "RNN_RELU": (1, 1, _elman(relu)),
}


def recurrent_step(
    mode: str,
    from_input: Tensor,
    state: State,
    weight_hh: Array,
    bias_hh: Array | None,
    weight_hr: Array | None = None,
) -> State:
    """Return the state after one step.

    Args:
        mode: one of :data:`CELLS`.
        from_input: what the input brings to the gates, (batch, gates · hidden_size).
        state: the hidden state (batch, hidden_size), and an LSTM's cell.
        weight_hr: of an LSTM, what projects the hidden state.
    """
    step = CELLS[mode][2]
    hidden, *rest = step(from_input, linear(state[0], weight_hh, bias_hh), state)
    return (hidden if weight_hr is None else linear(hidden, weight_hr), *rest)


def recurrent_layer(
    mode: str,
    input: Tensor,
    state: State,
    weights: Sequence[Any],
    reverse: bool = False,
) -> tuple[Tensor, State]:
    """Run one layer in one direction.

    Args:
        mode: one of :data:`CELLS`.
        input: (length, batch, input_size).
        state: what it starts from, each (batch, ...).
        weights: weight_ih, weight_hh, bias_ih, bias_hh, weight_hr; the last three may be None.
        reverse: from the last step to the first.

    Returns:
        The output (length, batch, hidden_size) and the last state.
    """
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = weights

    def step(from_input: Tensor, state: State) -> State:
        return recurrent_step(mode, from_input, state, weight_hh, bias_hh, weight_hr)

    return scan(step, linear(input, weight_ih, bias_ih), state, reverse)
