"""Writes docs/torch_nn.md, the page that says for each module of torch.nn whether it is here.

>>> python -m tests.torch_nn
"""

from __future__ import annotations

import inspect
from pathlib import Path

import torch

from trtnn import modules
from trtnn.modules.missing import MISSING

PAGE = Path(__file__).parent.parent / "docs" / "torch_nn.md"
OF_TORCHVISION = ("DCN", "DeformConv2d", "FrozenBatchNorm2d")  # and of what is built on it
HEAD = """# torch.nn in trtnn

Every module of torch.nn is in this list: those that `trtnn.modules` has under the same name, with the same arguments
and the same names in its state dict, and those that it has not, with what to use instead. `python -m tests.torch_nn`
writes this page.

What is here computes as torch does in evaluation: dropout is the identity, BatchNorm takes its stored statistics.
Indices (`argmax`, `topk`, `one_hot`, ...) are int64 as in torch, and int32 where TensorRT has no int64 (8.6).
Arguments that TensorRT cannot follow raise `trtnn.UnsupportedError`: `max_norm` of `Embedding`, `offsets` of
`EmbeddingBag` that are a Tensor, `track_running_stats=False` of BatchNorm, `antialias` of resizing.
What torch does in place (`x += y`, `x.relu_()`, `ReLU(inplace=True)`) changes a tensor under every name that it has;
reading a view of it afterwards, or what it is a view of, is an error, and so is `x[i] = y`.
LSTM, GRU and RNN are loops, over a length that may be dynamic.

Beside torch.nn's there are torchvision's `FrozenBatchNorm2d` and `DeformConv2d`, and `DCN`, which finds the offsets and
masks of the latter by itself.
"""


def torch_modules() -> list[str]:
    """Return the names of torch.nn's public module classes."""
    found = (name for name, value in vars(torch.nn).items() if inspect.isclass(value))
    return sorted(name for name in found if issubclass(getattr(torch.nn, name), torch.nn.Module))


def page() -> str:
    """Return the page's text."""
    here = ", ".join(f"`{name}`" for name in sorted({*modules.__all__} - {*OF_TORCHVISION}))
    rows = [f"| `{name}` | {why} | {instead} |" for name, (why, instead) in sorted(MISSING.items())]
    table = ["| torch.nn | why it is not here | instead |", "|---|---|---|", *rows]
    return "\n".join([HEAD, "## Here", "", here, "", "## Not here", "", *table, ""])


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
