"""A page of a torch model's source beside what was written of it, class by class."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from html import escape

from trtnn.from_torch.classes.groups import full_name
from trtnn.from_torch.convert import Conversion

_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; margin: min(2em, 4vw) }
table { border-collapse: collapse; width: 100%; table-layout: fixed }
th, td { border-top: 1px solid #8888; padding: .6em .8em .6em 0; text-align: left; vertical-align: top }
th { font-weight: 600 }
pre { font: 12px/1.4 ui-monospace, monospace; margin: .5em 0 0; overflow-x: auto }
small { opacity: .75; font-weight: 400 }
"""


def side_by_side(conversion: Conversion) -> str:
    """Return an HTML page of the classes of a converted model: torch's source on the left, trtnn's on the right.

    Torch's is read from the files that the classes were imported of. The page needs nothing beside itself. Classes of
    torch that are no classes in trtnn's source are not on it: torch.nn's, and those that do a single call.

    Args:
        conversion: a module that was recorded and written.
    """
    title = escape(conversion.header())
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
            f"<title>{title}</title><style>{_STYLE}</style></head>",
            f"<body><h1>{title}</h1>",
            "<table>",
            "<tr><th>torch</th><th>trtnn</th></tr>",
            *_rows(conversion),
            "</table></body></html>\n",
        ]
    )


def _rows(conversion: Conversion) -> Iterator[str]:
    text = conversion.source.text
    head, *written = _parts(text)
    yield f"<tr><td></td><td><pre>{escape(head)}</pre></td></tr>"
    for group, ours in zip(conversion.classes.groups, written, strict=True):
        kind = type(group.drafts[0].module)
        name = escape(full_name(kind))
        yield f"<tr><td><b>{name}</b> {_theirs(kind)}</td>"
        yield f"<td><b>{escape(group.name)}</b><pre>{escape(ours)}</pre></td></tr>"


def _parts(text: str) -> list[str]:
    """Return what stands above the classes of a source, and each class."""
    lines = text.splitlines()
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    head = lines[: classes[0].lineno - 1]
    return ["\n".join(part).strip() for part in (head, *(lines[node.lineno - 1 : node.end_lineno] for node in classes))]


def _theirs(kind: type) -> str:
    try:
        lines, first = inspect.getsourcelines(kind)
    except (OSError, TypeError) as error:  # made at run time, or typed into a session
        return f"<small>{escape(str(error))}</small>"
    return f"<small>line {first}</small><pre>{escape(''.join(lines).rstrip())}</pre>"
