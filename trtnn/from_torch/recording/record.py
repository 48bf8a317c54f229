"""One call of a torch module, recorded: a tree of module calls, each with the operations that its forward ran.

Three watch it together. A ``TorchFunctionMode`` sees every operation under torch's own name, and what stands for
``nn.Module.__call__`` opens a scope for every module. Functions of ``torch.jit.script`` run as the Python that they
were written in. What none of these sees, such as the inside of a script module, a ``TorchDispatchMode`` does: an
operation on a tensor that depends on the input, with no call of ours around it, is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution
from torch.utils._python_dispatch import TorchDispatchMode

from trtnn.from_torch.recording.experts import each_for_all_tokens
from trtnn.from_torch.recording.functions import FunctionCalls
from trtnn.from_torch.recording.module_calls import watched_modules
from trtnn.from_torch.recording.packing import padded_in_full
from trtnn.from_torch.recording.replacing import OfThisThread, attribute, replaced
from trtnn.from_torch.recording.steps import tensors_in
from trtnn.from_torch.recording.tape import Tape

_TRIES = 5  # to see an operation draw no random numbers


def record(tape: Tape, is_leaf: Callable[[nn.Module], bool], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a tape's model once, and note on the tape what it does.

    Args:
        tape: an empty one.
        is_leaf: whether a module is one operation, and its forward is not looked into.
        args, kwargs: what the model is called with.

    Returns:
        What the model returned.

    Raises:
        Exception: whatever the model raises; the tape has the steps up to there.
    """
    for tensor in tensors_in((args, kwargs)):
        tape.value(tensor).depends = True
    with (
        torch.no_grad(),
        _unscripted(),
        _unvalidated(tape),
        each_for_all_tokens(),
        padded_in_full(tape),
        watched_modules(tape, is_leaf),
        _Unseen(tape),
        FunctionCalls(tape) as functions,
    ):
        result = tape.model(*args, **kwargs)
        functions.places.refuse(result)
    tape.refuse_refilled()
    return result


@contextmanager
def _unscripted() -> Iterator[None]:
    """Let script functions run as the Python functions that they keep: what torch compiled of these no mode sees."""
    original = torch.jit.ScriptFunction.__call__

    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(function, "_torchdynamo_inline", partial(original, function))(*args, **kwargs)

    with replaced(torch.jit.ScriptFunction, "__call__", call):
        yield


@contextmanager
def _unvalidated(tape: Tape) -> Iterator[None]:
    """Let torch's distributions and checks look at no numbers to refuse some that are known when the network runs."""
    validated, original = Distribution._validate_args, torch._check_tensor_all_with

    def check(error_type: Any, condition: Any, message: Any = None) -> None:  # torch._check_tensor_all's as well
        if not (isinstance(condition, torch.Tensor) and tape.depends(condition)):
            original(error_type, condition, message)

    with (
        attribute(Distribution, "_validate_args", OfThisThread(False, validated)),
        replaced(torch, "_check_tensor_all_with", check),
    ):
        yield


class _Unseen(TorchDispatchMode):
    """Sees what the others do not: operations on tensors of the graph that no recorded call has around it."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, which takes seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tape, kwargs = self.tape, kwargs or {}
        if tape.depth == 0 and any(tape.depends(tensor) for tensor in tensors_in((args, kwargs))):
            tape.refuse(str(func), "it runs where it cannot be recorded, such as in a script module")
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        # Another thread may draw meanwhile: what draws does so each time.
        for _ in range(1 if func._schema.is_mutable else _TRIES):
            before = _states_of_randomness()
            result = func(*args, **kwargs)
            if all(map(torch.equal, before, _states_of_randomness())):
                return result
        tape.refuse(str(func), "an engine draws no random numbers: give them as an input")
        return result


def _states_of_randomness() -> list[torch.Tensor]:
    """Return the states of torch's generators, on the CPU and on GPUs that are in use."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ())]
