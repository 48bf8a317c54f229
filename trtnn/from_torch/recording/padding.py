"""What torch.nn.TransformerEncoder makes of padding: zeros by its fast path, without gradients, else what layers give.

A recording sees the layers, as training, torch.compile and torch.export do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from trtnn.from_torch.recording.replacing import replaced
from trtnn.from_torch.recording.tape import Tape


def padded_encoders(tape: Tape) -> Iterator[str]:
    """Yield the paths of recorded encoders whose padding torch makes zeros where it records no gradients.

    Its fast path takes no mask beside that of padding, whose places have to be the last ones of each row.
    """
    for scopes in tape.scopes.values():
        module = scopes[0].module
        if not isinstance(module, nn.TransformerEncoder) or not getattr(module, "use_nested_tensor", False):
            continue
        calls = [scope.arguments for scope in scopes]
        if any(call.get("src_key_padding_mask") is not None and call.get("mask") is None for call in calls):
            yield scopes[0].home


@contextmanager
def without_fast_path() -> Iterator[None]:
    """Let torch compute encoders by their layers, whether or not it records gradients."""
    with replaced(torch.backends.mha, "get_fastpath_enabled", lambda: False):
        yield
