"""Recurrence: one step of a cell, and a layer that loops over the length of its input, which may be dynamic.

The product of the whole input with its weights is one, before the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trtnn.errors import ArgumentError
from trtnn.graph.tensor import Tensor
from trtnn.ops._arguments import Array
from trtnn.ops._looping import State, scan
from trtnn.ops.activation import relu, sigmoid, tanh
from trtnn.ops.arithmetic import add, mul, sub
from trtnn.ops.indexing import getitem
from trtnn.ops.joining import cat, chunk, stack
from trtnn.ops.linear import linear
from trtnn.ops.shaping import transpose

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
    weight_hh: Array | Tensor,
    bias_hh: Array | Tensor | None,
    weight_hr: Array | Tensor | None = None,
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


def recurrent_network(
    mode: str,
    input: Tensor,
    starts: Sequence[State],
    weights: Sequence[Sequence[Any]],
    bidirectional: bool,
    mask: Tensor | None = None,
) -> tuple[Tensor, State]:
    """Run layers, each in one direction or in both, on the output of the one before.

    Args:
        mode: one of :data:`CELLS`.
        input: (length, batch, input_size).
        starts: of each direction of each layer the state that it starts from, each tensor (batch, ...).
        weights: likewise weight_ih, weight_hh, bias_ih, bias_hh, weight_hr; the last three may be None.
        bidirectional: whether each layer also runs from the last step to the first.
        mask: (length, batch, 1), of steps that are there; the others leave the state as it is.

    Returns:
        The output (length, batch, directions · hidden_size), and the last states (layers · directions, batch, ...).
    """
    directions = 2 if bidirectional else 1
    lasts = []
    for first in range(0, len(starts), directions):
        outputs = []
        for number in range(first, first + directions):
            output, last = _layer(mode, input, starts[number], weights[number], number > first, mask)
            outputs.append(output)
            lasts.append(last)
        input = cat(outputs, -1)
    return input, tuple(stack(parts) for parts in zip(*lasts, strict=True))


def _layer(
    mode: str, input: Tensor, state: State, weights: Sequence[Any], reverse: bool, mask: Tensor | None
) -> tuple[Tensor, State]:
    """Run one layer in one direction; return the output and the last state."""
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = weights

    def step(from_input: Tensor, state: State) -> State:
        return recurrent_step(mode, from_input, state, weight_hh, bias_hh, weight_hr)

    return scan(step, linear(input, weight_ih, bias_ih), state, reverse, mask)


# -- torch's functions, of which its modules are made -----------------------------------------------------------------


def _of_flat(
    mode: str,
    input: Tensor,
    hx: Sequence[Tensor],
    params: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, State]:
    """Run layers whose weights lie in one list, as torch's functions take them."""
    name = mode.lower()
    if train:
        raise ArgumentError(f"{name} with train=True", "an engine does not train: give False")
    count = num_layers * (2 if bidirectional else 1)
    states = CELLS[mode][1]
    plain = 4 if has_biases else 2
    width = plain + 1 if mode == "LSTM" and len(params) == count * (plain + 1) else plain
    if len(params) != count * width or len(hx) != states:
        raise ArgumentError(
            f"{name} of {count} directions of layers takes {count * plain} weights and a state of {states}",
            f"received {len(params)} weights and a state of {len(hx)}",
        )
    weights = []
    for first in range(0, len(params), width):
        own = params[first : first + width]
        biases = own[2:4] if has_biases else (None, None)
        weights.append([*own[:2], *biases, own[-1] if width > plain else None])
    starts = [tuple(getitem(state, number) for state in hx) for number in range(count)]
    output, last = recurrent_network(
        mode, transpose(input, 0, 1) if batch_first else input, starts, weights, bidirectional
    )
    return transpose(output, 0, 1) if batch_first else output, last


def lstm(
    input: Tensor,
    hx: Sequence[Tensor],
    params: Sequence[Tensor | Array],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute an LSTM with weights of one's own, such as computed ones, as ``torch.lstm``; the module is ``LSTM``.

    Args:
        input: (length, batch, input_size), or with ``batch_first`` the batch first.
        hx: the hidden state and the cell that it starts from, each (num_layers · directions, batch, ...).
        params: of each direction of each layer weight_ih, weight_hh, bias_ih and bias_hh where ``has_biases``, and
            weight_hr of one with projections.
        dropout: of training, where it has its effect.
        train: False.

    Returns:
        The output (length, batch, directions · hidden_size), the last hidden state and the last cell.

    Raises:
        ArgumentError: there are more or fewer weights than the layers have, or ``train`` is set.
    """
    output, (hidden, cell) = _of_flat(
        "LSTM", input, hx, params, has_biases, num_layers, train, bidirectional, batch_first
    )
    return output, hidden, cell


def _flat(mode: str, what: str) -> Callable[..., tuple[Tensor, Tensor]]:
    def function(
        input: Tensor,
        hx: Tensor,
        params: Sequence[Tensor | Array],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[Tensor, Tensor]:
        output, (hidden,) = _of_flat(
            mode, input, (hx,), params, has_biases, num_layers, train, bidirectional, batch_first
        )
        return output, hidden

    name = mode.lower()
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""Compute {what} with weights of one's own, as ``torch.{name}``; the module is ``{mode[:3]}``.

    Args:
        input: (length, batch, input_size), or with ``batch_first`` the batch first.
        hx: the state that it starts from, (num_layers · directions, batch, hidden_size).
        params: of each direction of each layer weight_ih, weight_hh, and bias_ih and bias_hh where ``has_biases``.
        dropout: of training, where it has its effect.
        train: False.

    Returns:
        The output (length, batch, directions · hidden_size) and the last state.

    Raises:
        ArgumentError: there are more or fewer weights than the layers have, or ``train`` is set.
    """
    return function


gru = _flat("GRU", "gated recurrent units")
rnn_tanh = _flat("RNN_TANH", "a network of h = tanh(W x + U h + b)")
rnn_relu = _flat("RNN_RELU", "a network of h = relu(W x + U h + b)")


def lstm_cell(
    input: Tensor,
    hx: Sequence[Tensor],
    w_ih: Tensor | Array,
    w_hh: Tensor | Array,
    b_ih: Tensor | Array | None = None,
    b_hh: Tensor | Array | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute one step of an LSTM with weights of one's own, as ``torch.lstm_cell``; the module is ``LSTMCell``.

    Args:
        input: (batch, input_size).
        hx: the hidden state and the cell, each (batch, hidden_size).
        w_ih, w_hh, b_ih, b_hh: (4 · hidden_size, ...).

    Returns:
        The next hidden state and the next cell.

    Raises:
        ArgumentError: the state is of more or fewer than two.
    """
    if len(hx) != 2:
        raise ArgumentError(f"lstm_cell takes a state of 2, (h_0, c_0), not of {len(hx)}")
    hidden, cell = recurrent_step("LSTM", linear(input, w_ih, b_ih), tuple(hx), w_hh, b_hh)
    return hidden, cell


def _cell(mode: str, what: str) -> Callable[..., Tensor]:
    gates = CELLS[mode][0]

    def function(
        input: Tensor,
        hx: Tensor,
        w_ih: Tensor | Array,
        w_hh: Tensor | Array,
        b_ih: Tensor | Array | None = None,
        b_hh: Tensor | Array | None = None,
    ) -> Tensor:
        return recurrent_step(mode, linear(input, w_ih, b_ih), (hx,), w_hh, b_hh)[0]

    name = f"{mode.lower()}_cell"
    function.__name__ = function.__qualname__ = name
    module = f"{mode[:3]}Cell"
    function.__doc__ = f"""Compute one step of {what}, with weights of one's own, as ``torch.{name}``.

    The module is ``{module}``.

    Args:
        input: (batch, input_size).
        hx: the state, (batch, hidden_size).
        w_ih, w_hh, b_ih, b_hh: ({gates} · hidden_size, ...).

    Returns:
        The next state.
    """
    return function


gru_cell = _cell("GRU", "gated recurrent units")
rnn_tanh_cell = _cell("RNN_TANH", "h = tanh(W x + U h + b)")
rnn_relu_cell = _cell("RNN_RELU", "h = relu(W x + U h + b)")
