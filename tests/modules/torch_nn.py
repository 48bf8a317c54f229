"""Writes docs/torch_nn.md, the page that says for each module of torch.nn, and each function, whether it is here.

>>> python -m tests.modules.torch_nn
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch

from tests import ROOT
from trtnn import functional, modules
from trtnn.modules.missing import MISSING
from trtnn.ops.missing import KINDS

PAGE = ROOT / "docs" / "torch_nn.md"
OF_TORCHVISION = ("DCN", "DeformConv2d", "FrozenBatchNorm2d")  # and of what is built on it
HEAD = """# torch.nn in trtnn

Every module of torch.nn is in this list: those that `trtnn.modules` has under the same name, with the same arguments
and the same names in its state dict, and those that it has not, with what to use instead.
`python -m tests.modules.torch_nn` writes this page.

What is here computes as torch does in evaluation: dropout is the identity, BatchNorm takes its stored statistics.
Indices (`argmax`, `topk`, `one_hot`, ...) are int64 as in torch, and int32 where TensorRT has no int64 (8.6).
Arguments that TensorRT cannot follow raise `trtnn.UnsupportedError`: `max_norm` of `Embedding`, `offsets` of
`EmbeddingBag` that are a Tensor, `track_running_stats=False` of BatchNorm, `antialias` of dynamic lengths.
What torch does in place (`x += y`, `x.relu_()`, `ReLU(inplace=True)`) changes a tensor under every name that it has;
reading a view of it afterwards, or what it is a view of, is an error. `x[i] = y` works where slices, one list of places
or a mask can say it.
LSTM, GRU and RNN are loops, over a length that may be dynamic.
Constructors take `device` and `dtype` where torch's do, and they have no effect: weights keep the type of the file that
they come from, and a trace says what is computed in.

Beside torch.nn's there are torchvision's `FrozenBatchNorm2d` and `DeformConv2d`, and `DCN`, which finds the offsets and
masks of the latter by itself.
"""
FUNCTIONS = """# torch's functions in trtnn

`trtnn.functional` has torch's functions, those of torch.nn.functional, torch.linalg and torch.fft among them, and what
torch has as a method a Tensor has as well. A name that is not here raises an AttributeError that says what stands in
this table.
"""


def torch_modules() -> list[str]:
    """Return the names of torch.nn's public module classes."""
    found = (name for name, value in vars(torch.nn).items() if inspect.isclass(value))
    return sorted(name for name in found if issubclass(getattr(torch.nn, name), torch.nn.Module))


def torch_functions() -> list[str]:
    """Return the names of torch's public functions and of its Tensors' methods, as the table of missing ones has them.

    Those of a module such as torch.linalg have its name in front; of torch.nn.functional, torch and torch.Tensor the
    names are one list.
    """
    found = set()
    for place in (torch, torch.nn.functional, torch.linalg, torch.fft, torch.special):
        prefix = place.__name__.removeprefix("torch").removeprefix(".nn.functional").removeprefix(".")
        public = (name for name, value in vars(place).items() if callable(value) and not inspect.isclass(value))
        found |= {f"{prefix}.{name}" if prefix else name for name in public if not name.startswith("_")}
    return sorted(found | {name for name in dir(torch.Tensor) if not name.startswith("_")})


def page() -> str:
    """Return the page's text."""
    here = _listed(sorted({*modules.__all__} - {*OF_TORCHVISION}))
    rows = [f"| `{name}` | {why} | {instead} |" for name, (why, instead) in sorted(MISSING.items())]
    table = ["| torch.nn | why it is not here | instead |", "|---|---|---|", *rows]
    kinds = [
        "| functions and methods | why they are not here | instead |",
        "|---|---|---|",
        *(f"| {_listed(kind.names.split())} | {kind.why} | {kind.instead} |" for kind in KINDS),
    ]
    inner = [f"{place}.{name}" for place in ("fft", "linalg") for name in getattr(functional, place).__all__]
    functions = _listed(sorted({*functional.__all__, *inner}))
    return "\n".join(
        [
            *(HEAD, "## Here", "", here, "", "## Not here", "", *table, ""),
            *(FUNCTIONS, "## Functions that are here", "", functions, "", "## Functions that are not", "", *kinds, ""),
        ]
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
