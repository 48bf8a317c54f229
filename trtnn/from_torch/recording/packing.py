"""Packed sequences: torch's functions that pack and pad are one step each, and torch pads as a network does.

A network keeps the padding that it is given. So ``pad_packed_sequence`` gives as many steps as were packed of, also
where the longest sequence has fewer, if lengths are a tensor; torch does so with ``total_length``. A tensor that
holds the same numbers in each call is a list of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.nn.utils import rnn

from trtnn.from_torch.recording.arguments import Arguments
from trtnn.from_torch.recording.lengths import plain, without_origins
from trtnn.from_torch.recording.replacing import recoded, replaced
from trtnn.from_torch.recording.steps import Callee, Step, Value, numbers_in, steps_within, values_in
from trtnn.from_torch.recording.tape import Tape


def _original(function: Any) -> Callable[..., Any]:
    return FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)


_FUNCTIONS = rnn.pack_padded_sequence, rnn.pad_packed_sequence
_pack, _pad = map(_original, _FUNCTIONS)
_called = SimpleNamespace(pack=_pack, pad=_pad)  # what code in the place of torch's calls


# Their code runs in the place of torch's, in the globals of torch's module, which hold none of these names.
def _pack_padded_sequence(input: Any, lengths: Any, batch_first: Any = False, enforce_sorted: Any = True) -> Any:
    import sys

    packing: Any = sys.modules["trtnn.from_torch.recording.packing"]

    return packing._called.pack(input, lengths, batch_first, enforce_sorted)


def _pad_packed_sequence(
    sequence: Any, batch_first: Any = False, padding_value: Any = 0.0, total_length: Any = None
) -> Any:
    import sys

    packing: Any = sys.modules["trtnn.from_torch.recording.packing"]

    return packing._called.pad(sequence, batch_first, padding_value, total_length)


@contextmanager
def padded_in_full(tape: Tape | None = None, known: Sequence[bool] = ()) -> Iterator[None]:
    """Let torch pad packed sequences as a network does, and note on a tape that they are packed and padded.

    Code that holds torch's functions calls others meanwhile.

    Args:
        tape: what the calls are noted on, or None.
        known: without a tape, the ``known_lengths`` of the one on which the same calls were noted.
    """
    calls = _Calls(tape, known)
    others = (_pack_padded_sequence.__code__, _pad_packed_sequence.__code__)
    with (
        replaced(_called, "pack", calls.pack),
        replaced(_called, "pad", calls.pad),
        recoded(dict(zip(_FUNCTIONS, others, strict=True))),
    ):
        yield


class _Calls:
    """What is called in the place of torch's functions.

    Args:
        tape, known: as for :func:`padded_in_full`.
    """

    def __init__(self, tape: Tape | None, known: Sequence[bool]) -> None:
        self._tape, self._known = tape, iter(known)
        self._steps: dict[int, tuple[torch.Tensor, int]] = {}  # by the batch sizes, which are handed on, of how many

    def pack(self, input: Any, lengths: Any, batch_first: Any, enforce_sorted: Any) -> Any:
        """Pack sequences in any order: a network needs none."""
        lengths = self._as_numbers(lengths)

        def run() -> Any:
            packed = _pack(input, without_origins(lengths), batch_first, False)
            if isinstance(lengths, torch.Tensor):
                self._steps[id(packed.batch_sizes)] = packed.batch_sizes, plain(input.shape[1 if batch_first else 0])
            return packed

        self._tell_of_tensor(lengths)
        kwargs = {"batch_first": batch_first, "enforce_sorted": enforce_sorted}
        return self._noted(rnn.pack_padded_sequence, (input, lengths), kwargs, run)[0]

    def _as_numbers(self, lengths: Any) -> Any:
        """Return lengths as a list where they are the same in each call, whatever weights are loaded."""
        tape, is_known = self._tape, isinstance(lengths, np.ndarray)
        with torch._C.DisableTorchFunction():
            if isinstance(lengths, torch.Tensor):
                is_known = next(self._known, False) if tape is None else _is_known(tape, lengths)
                if tape is not None:
                    tape.known_lengths.append(is_known)
            return lengths.tolist() if is_known else lengths

    def _tell_of_tensor(self, lengths: Any) -> None:
        """Say of lengths that were just taken out of a tensor, which is refused, that the tensor can be given."""
        refusals = self._tape.refusals if self._tape is not None and not isinstance(lengths, torch.Tensor) else []
        if refusals and refusals[-1].what in ("torch.Tensor.tolist", "torch.Tensor.numpy"):
            refusals[-1].why = "pack_padded_sequence takes lengths that are known later as the tensor that they are"

    def pad(self, sequence: Any, batch_first: Any, padding_value: Any, total_length: Any) -> Any:
        """Pad packed sequences to as many steps as they were packed of."""

        def run() -> Any:
            _, steps = self._steps.get(id(sequence.batch_sizes), (None, None))
            total = plain(total_length) if total_length is not None else steps
            return _pad(sequence, batch_first, padding_value, total)

        kwargs = {"batch_first": batch_first, "padding_value": padding_value, "total_length": total_length}
        result, step = self._noted(rnn.pad_packed_sequence, (sequence,), kwargs, run)
        is_in_full = total_length is None and id(sequence.batch_sizes) in self._steps
        if self._tape is not None and step is not None and is_in_full:
            self._tape.padded.append(step)
        return result

    def _noted(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], run: Callable[[], Any]
    ) -> tuple[Any, Step | None]:
        """Call what a function does, note it as one step, and return what it gave and that step."""
        tape = self._tape
        if tape is None or tape.depth:
            return run(), None
        with torch._C.DisableTorchFunction():
            before = Arguments(tape, args, {name: value for name, value in kwargs.items() if value is not None})
            tape.depth += 1
            try:
                result = run()
            finally:
                tape.depth -= 1
            callee = Callee("function", function, function.__name__, "torch.nn.utils.rnn")
            step = tape.add(callee, (before.args, before.kwargs), result)
        return result, step


def _is_known(tape: Tape, lengths: torch.Tensor) -> bool:
    """Whether a tensor is of no inputs, none of their lengths, and no weights."""
    pending, seen = [tape.values.get(id(lengths), Value(lengths))], set()
    while pending:
        value = pending.pop()
        if value.depends or value.last_write >= 0 or tape.is_saved(value.tensor):
            return False
        step = value.step
        if step is None or id(value) in seen:
            continue
        seen.add(id(value))
        taken = step.args, step.kwargs
        if step.kind != "function" or any(True for _ in numbers_in(taken)):
            return False
        pending += values_in(taken)
    return True


def packs(tape: Tape) -> bool:
    """Whether sequences were packed by a tensor of lengths."""
    steps = steps_within(tape.root) if tape.root is not None else ()
    return any(step.name == "pack_padded_sequence" and isinstance(step.args[1], Value) for step in steps)
