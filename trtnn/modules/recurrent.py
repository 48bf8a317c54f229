"""Recurrent networks; see :mod:`trtnn.ops.recurrent`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from trtnn import functional as F
from trtnn.errors import ArgumentError, ShapeError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.modules.module import Module
from trtnn.ops._arguments import expect_probability
from trtnn.ops._looping import State
from trtnn.ops.packing import PackedSequence
from trtnn.ops.recurrent import CELLS, recurrent_network, recurrent_step
from trtnn.parameter import Parameter
from trtnn.shapes.symbolic import Length, same_shape


def _mode_of(nonlinearity: str) -> str:
    if nonlinearity not in ("tanh", "relu"):
        raise ArgumentError(f"a nonlinearity is 'tanh' or 'relu', not {nonlinearity!r}")
    return f"RNN_{nonlinearity.upper()}"


def _states(hx: Any, count: int, what: str, input: Tensor) -> State:
    """Return the state that a module was given as a tuple of Tensors like ``input``; an empty one for None."""
    states = () if hx is None else (hx,) if hasattr(hx, "shape") else tuple(hx)
    if states and len(states) != count:
        raise ArgumentError(f"{what} takes a state of {count}, not of {len(states)}", "an LSTM's are (h_0, c_0)")
    return tuple(state if isinstance(state, Tensor) else F.as_tensor(state, dtype=input.dtype) for state in states)


def _as_input(input: Any, what: str) -> Tensor:
    if isinstance(input, PackedSequence) or hasattr(input, "batch_sizes"):
        raise UnsupportedError(
            f"{what} of a packed sequence, whose batch shrinks from step to step",
            "give it padded, (length, batch, input_size), or F.pack_padded_sequence of that and the lengths",
        )
    return F.as_tensor(input)


def _check_positive(what: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ArgumentError(f"{what} takes a positive int as {name}, not {size!r}")


def _check_state(state: Tensor, shape: Sequence[Length], what: str) -> None:
    if not same_shape(state.shape, shape):
        raise ShapeError(
            f"{what} got a state of the wrong shape", f"expected {tuple(shape)}", f"received {state.shape}"
        )


class _Recurrent(Module):
    """Layers of cells, as torch.nn.RNNBase.

    Shape: (length, batch, input_size), or with ``batch_first`` the batch first, or without a batch; to the output
    (length, batch, directions · hidden_size) and the last state, (layers · directions, batch, hidden_size), which for
    an LSTM is a pair of hidden state and cell. The state that it starts from is zeros where none is given. Of what
    ``F.pack_padded_sequence`` gives each sequence ends at its own length, and begins there in the other direction.

    Args:
        input_size, hidden_size: the widths.
        num_layers: how many layers, each on the output of the one before.
        bias: whether there are bias_ih and bias_hh.
        batch_first: whether input and output have the batch before the length.
        dropout: of training, where it has its effect.
        bidirectional: whether each layer also runs backwards.

    Attributes:
        weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, ..., weight_ih_l0_reverse, ...: as torch's.
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
    ) -> None:
        super().__init__()
        what = type(self).__name__
        _check_positive(what, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        expect_probability(dropout, what, "dropout")
        if not 0 <= proj_size < hidden_size:
            raise ArgumentError(f"proj_size is below hidden_size, {hidden_size}, not {proj_size}")
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, dropout, bidirectional
        self.proj_size = proj_size
        gates, self._states, _ = CELLS[mode]
        width = proj_size or hidden_size
        for layer, suffix in self._directions():
            read = input_size if layer == 0 else width * (2 if bidirectional else 1)
            shapes = {
                "weight_ih": (gates * hidden_size, read),
                "weight_hh": (gates * hidden_size, width),
                **({"bias_ih": (gates * hidden_size,), "bias_hh": (gates * hidden_size,)} if bias else {}),
                **({"weight_hr": (proj_size, hidden_size)} if proj_size else {}),
            }
            for name, shape in shapes.items():
                self.register_parameter(f"{name}{suffix}", Parameter(shape))

    def flatten_parameters(self) -> None:
        """Do nothing: it is about where torch keeps its weights."""

    def _directions(self) -> Iterator[tuple[int, str]]:
        """Yield the layer of each direction and the end of its parameters' names."""
        for layer in range(self.num_layers):
            yield layer, f"_l{layer}"
            if self.bidirectional:
                yield layer, f"_l{layer}_reverse"

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Tensor | PackedSequence, Any]:
        packed = input if isinstance(input, PackedSequence) else None
        steps = _as_input(input, type(self).__name__) if packed is None else packed.padded
        if steps.ndim not in (2, 3) or (packed and steps.ndim == 2) or steps.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__} takes (length, batch, {self.input_size}), or without a batch, not {steps.shape}"
            )
        batched = steps.ndim == 3
        start = _states(hx, self._states, type(self).__name__, steps)
        if not batched:
            steps = F.unsqueeze(steps, 1)
            start = tuple(F.unsqueeze(state, 1) for state in start)
        elif self.batch_first and packed is None:
            steps = F.transpose(steps, 0, 1)
        suffixes = [suffix for _, suffix in self._directions()]
        for state, width in zip(start, self._widths(), strict=False):
            _check_state(state, (len(suffixes), steps.shape[1], width), type(self).__name__)
        starts = [self._start(steps, number, start) for number in range(len(suffixes))]
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        weights = [[self._parameters.get(f"{name}{suffix}") for name in names] for suffix in suffixes]
        mask = None if packed is None else packed.mask
        output, states = recurrent_network(self.mode, steps, starts, weights, self.bidirectional, mask)
        if not batched:
            output, states = F.squeeze(output, 1), tuple(F.squeeze(state, 1) for state in states)
        elif self.batch_first and packed is None:
            output = F.transpose(output, 0, 1)
        given = output if packed is None else packed.with_steps(output)
        return given, states if self._states > 1 else states[0]

    def _widths(self) -> tuple[int, ...]:
        """How wide each tensor of the state is."""
        return (self.proj_size or self.hidden_size, self.hidden_size)[: self._states]

    def _start(self, input: Tensor, number: int, start: State) -> State:
        if start:
            return tuple(state[number] for state in start)
        return tuple(F.zeros(input.shape[1], width, dtype=input.dtype) for width in self._widths())

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        shown = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False,
        }  # fmt: skip
        changed = ((name, getattr(self, name)) for name, default in shown.items() if getattr(self, name) != default)
        return text + "".join(f", {name}={value}" for name, value in changed)


class RNN(_Recurrent):
    __doc__ = f"h = tanh(W x + U h + b), or relu in place of tanh by ``nonlinearity``. {_Recurrent.__doc__}"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        how = num_layers, bias, batch_first, dropout, bidirectional
        super().__init__(_mode_of(nonlinearity), input_size, hidden_size, *how)
        self.nonlinearity = nonlinearity


class LSTM(_Recurrent):
    __doc__ = f"Long short-term memory; ``proj_size`` projects the hidden state. {_Recurrent.__doc__}"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        how = num_layers, bias, batch_first, dropout, bidirectional, proj_size
        super().__init__("LSTM", input_size, hidden_size, *how)


class GRU(_Recurrent):
    __doc__ = f"Gated recurrent units. {_Recurrent.__doc__}"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)


class _Cell(Module):
    """One step, as torch.nn.RNNCellBase.

    Shape: (batch, input_size) and the state (batch, hidden_size), or without a batch; to the next state, which for an
    LSTM is a pair. The state is zeros where none is given.

    Args:
        input_size, hidden_size: the widths.
        bias: whether there are bias_ih and bias_hh.

    Attributes:
        weight_ih: (gates · hidden_size, input_size).
        weight_hh: (gates · hidden_size, hidden_size).
        bias_ih, bias_hh: (gates · hidden_size,), or None.
    """

    def __init__(self, mode: str, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        _check_positive(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.mode, self.input_size, self.hidden_size, self.bias = mode, input_size, hidden_size, bias
        gates, self._states, _ = CELLS[mode]
        self.weight_ih = Parameter(gates * hidden_size, input_size)
        self.weight_hh = Parameter(gates * hidden_size, hidden_size)
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(gates * hidden_size) if bias else None)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        input = _as_input(input, type(self).__name__)
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(f"{type(self).__name__} takes (batch, {self.input_size}), not {input.shape}")
        shape = (*input.shape[:-1], self.hidden_size)
        state = _states(hx, self._states, type(self).__name__, input)
        for part in state:
            _check_state(part, shape, type(self).__name__)
        state = state or (F.zeros(*shape, dtype=input.dtype),) * self._states
        from_input = F.linear(input, self.weight_ih, self.bias_ih)
        result = recurrent_step(self.mode, from_input, state, self.weight_hh, self.bias_hh)
        return result if self._states > 1 else result[0]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    __doc__ = f"h = tanh(W x + U h + b), or relu in place of tanh by ``nonlinearity``. {_Cell.__doc__}"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(_mode_of(nonlinearity), input_size, hidden_size, bias)
        self.nonlinearity = nonlinearity

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class LSTMCell(_Cell):
    __doc__ = f"Long short-term memory. {_Cell.__doc__}"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__("LSTM", input_size, hidden_size, bias)


class GRUCell(_Cell):
    __doc__ = f"Gated recurrent units. {_Cell.__doc__}"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__("GRU", input_size, hidden_size, bias)
