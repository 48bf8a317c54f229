"""The pages of the API: every public name with its entry, and what torch has that trtnn has not, and why."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import trtnn
from trtnn import functional as F
from trtnn.modules.missing import METHODS as MISSING_METHODS
from trtnn.modules.missing import MISSING as MISSING_MODULES
from trtnn.ops.missing import KINDS
from website.public import OF_THE_TRACE, Name, first_sentence, public_names, tensor_methods


class _Head(NamedTuple):
    """What stands above the names of a page; grouped ones have a heading for each file of the code."""

    title: str
    text: str
    grouped: bool = False


_BESIDE = "[What torch has and trtnn has not](missing.md) says why, and what to write instead."
_PAGES = {
    "trtnn": _Head("The package", "What `import trtnn` gives, beside the modules that have pages of their own."),
    "functional": _Head(
        "Functions",
        "Every operation, with torch's names, arguments, defaults and meanings: `from trtnn import functional as F`."
        f" Those that torch has as methods, a Tensor has too. {_BESIDE}",
        grouped=True,
    ),
    "modules": _Head(
        "Modules",
        "torch.nn's modules, with their arguments and the names of their state dicts:"
        f" `from trtnn.modules import Conv2d`. {_BESIDE}",
        grouped=True,
    ),
    "vision": _Head("Vision", "Images to inputs, outputs to boxes, drawing and measuring."),
    "models": _Head(
        "Models", "The networks that come with trtnn, by name or by weights; see [the models](../models.md)."
    ),
    "plugins": _Head("Plugins", "The DCNv2 plugin of `trtnn.plugins.dcnv2`; see [plugins](../plugins.md)."),
    "others": _Head(
        "Other packages",
        "The reference that runs networks on the CPU; [Ray](../ray.md); [Triton](../triton.md).",
    ),
    "errors": _Head(
        "Errors",
        "What trtnn raises on purpose. [Every error](../every_error.md) lists the texts. An error is one of Python's"
        " own kinds as well: an `ArgumentError` is a `ValueError`.",
    ),
}


def pages() -> dict[str, str]:
    """Return the text of each page by its path below ``docs``."""
    texts = {f"api/{page}.md": _page(head, public_names()[page]) for page, head in _PAGES.items()}
    return {"api/index.md": _index_page(), **texts, "api/tensor.md": _tensor_page(), "api/missing.md": _missing_page()}


def _entry(name: Name, **options: Any) -> str:
    if name.entry.rpartition(".")[2] != name.short:
        options |= {"heading": name.short, "toc_label": name.short}
    lines = [f"::: {name.entry}"]
    if options:
        lines += ["    options:", *(f"      {key}: {value}" for key, value in options.items())]
    return "\n".join(lines) + "\n"


def _page(head: _Head, names: list[Name]) -> str:
    called = [name for name in names if not name.is_data and name.path != "trtnn.Tensor"]  # which has its own page
    entries = _grouped(called) if head.grouped else [_entry(name) for name in called]
    return "\n".join([f"# {head.title}\n\n{head.text}\n", *entries, *_data(name for name in names if name.is_data)])


def _grouped(names: Iterable[Name]) -> list[str]:
    groups: dict[str, list[Name]] = {}
    for name in names:
        module = sys.modules[name.value.__module__]
        title = "Shapes as others have them" if module is F else (module.__doc__ or "").splitlines()[0].rstrip(".")
        groups.setdefault(title, []).append(name)
    parts = []
    for title in sorted(groups):
        parts += [f"## {title}\n", *(_entry(name, heading_level=3) for name in groups[title])]
    return parts


def _data(names: Iterable[Name]) -> list[str]:
    rows = [f"| `{name.path}` | {name.text} |" for name in names]
    return ["## Data\n", "| | |", "|---|---|", *rows, ""] if rows else []


def _tensor_page() -> str:
    """Return the methods of a Tensor: those that are functions with a link to each, the others with what they do."""
    methods = tensor_methods()
    same = [name for name in methods if name in F.__all__]
    in_place = [name for name in methods if name.endswith("_") and name[:-1] in methods]
    others = [name for name in methods if name not in {*same, *in_place, *OF_THE_TRACE}]
    return "\n".join(
        [
            "# Tensor\n",
            "What `forward` computes with while it is traced. It holds no numbers; its operators and methods have"
            " torch's names and meanings. A Parameter, a Buffer, a NumPy array and a torch tensor stand wherever a"
            " Tensor can.\n",
            _entry(Name("trtnn.Tensor", trtnn.Tensor), members="false"),
            "## Methods that are functions\n",
            "`x.relu()` is `F.relu(x)`: " + ", ".join(f"[`{name}`][trtnn.functional.{name}]" for name in same) + ".\n",
            "## In place\n",
            "These mean what they mean in torch: " + ", ".join(f"`{name}`" for name in in_place) + ".\n",
            "## Others\n",
            "| | |",
            "|---|---|",
            *(f"| `{name}` | {first_sentence(getattr(trtnn.Tensor, name))} |" for name in others),
            "",
        ]
    )


def _missing_page() -> str:
    lines = [
        "# What torch has and trtnn has not\n",
        "With the reason, and what to write instead; the error says the same where such a name is used.\n",
        "## Functions and methods of tensors\n",
    ]
    for kind in KINDS:
        names = ", ".join(f"`{name}`" for name in kind.names.split())
        lines.append(f"### {kind.why[0].upper()}{kind.why[1:]}\n\nInstead: {kind.instead}.\n\n{names}\n")
    for title, table in (("Modules", MISSING_MODULES), ("Methods of Module", MISSING_METHODS)):
        by_reason: dict[tuple[str, str], list[str]] = {}
        for name, reason in table.items():
            by_reason.setdefault(reason, []).append(f"`{name}`")
        lines += [f"## {title}\n", "| | why | instead |", "|---|---|---|"]
        lines += [f"| {', '.join(names)} | {why} | {instead} |" for (why, instead), names in by_reason.items()]
        lines.append("")
    return "\n".join(lines)


def _index_page() -> str:
    lines = [
        "# API\n",
        f"trtnn has torch's names: what you know of torch.nn, its functions and its tensors holds here. {_BESIDE}\n",
        "| | |",
        "|---|---|",
        *(f"| [{head.title}]({page}.md) | {len(public_names()[page])} names |" for page, head in _PAGES.items()),
        f"| [Tensor](tensor.md) | {len(tensor_methods()) - len(OF_THE_TRACE)} methods |",
        "",
    ]
    for page in (page for page, head in _PAGES.items() if not head.grouped):
        called = [name for name in public_names()[page] if not name.is_data]
        lines += [f"## {_PAGES[page].title}\n", "| | |", "|---|---|"]
        lines += [f"| [`{name.short}`][{name.entry}] | {first_sentence(name.value)} |" for name in called]
        lines.append("")
    return "\n".join(lines)
