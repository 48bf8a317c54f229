"""What a call is given, as it was before the call: to see afterwards what the call did to it."""

from __future__ import annotations

from typing import Any

import torch

from trtnn.from_torch.recording.steps import tensors_in, values_in
from trtnn.from_torch.recording.tape import Tape


class Arguments:
    """The arguments of a call that is about to be recorded. What autocast may change is refused.

    Attributes:
        args, kwargs: with Values for tensors.
        depends: whether any of them depends on the model's inputs.
    """

    def __init__(self, tape: Tape, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args, self.kwargs = tape.snapshot((args, kwargs))
        self.depends = any(value.depends for value in values_in((self.args, self.kwargs)))
        tensors = list(tensors_in((args, kwargs)))
        if self.depends and any(torch.is_autocast_enabled(tensor.device.type) for tensor in tensors):
            why = "it picks types that source would not tell: leave it out, and build with fp16=True"
            tape.refuse("autocast", why)
        self._versions = [(tensor, tensor._version) for tensor in tensors if not tensor.is_inference()]

    def written(self) -> torch.Tensor | None:
        """Return the first tensor that the call has written to."""
        return next((tensor for tensor, version in self._versions if tensor._version != version), None)
