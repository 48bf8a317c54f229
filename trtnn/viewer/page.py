"""The page: one HTML file of the facts, of our own scripts, and of the libraries that draw."""

from __future__ import annotations

import functools
import html
import importlib.util
import json
import os
import re
import tempfile
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trtnn.errors import ArgumentError, BackendError, check_switches
from trtnn.files import atomic_write, check_writable
from trtnn.viewer.facts import Facts

_OWN = Path(__file__).with_name("static")
# In the order in which they stand in the page, where they are one script.
_SCRIPTS = (
    "model.js",
    "state.js",
    "map.js",
    "graph.js",
    "table.js",
    "details.js",
    "compare.js",
    "search.js",
    "main.js",
)
_INSTALL = 'pip install "trtnn[view]"'


def write_page(path: str | os.PathLike[str] | None, make: Callable[[], list[Facts]], open: bool = False) -> Path:
    """Write a page, and return its path.

    Args:
        path: of the page; where None it goes to a temporary folder, and a browser is opened.
        make: gives what is shown, see :func:`render`; it is called once the path is known to take a file.
        open: open the page in a browser.

    Raises:
        ArgumentError: the path cannot be written, or there is no browser to open; the page is written then.
        BackendError: a library is not installed.
    """
    check_switches(open=open)
    page = Path(tempfile.mkdtemp(prefix="trtnn-")) / "page.html" if path is None else check_writable(path)
    _libraries()  # what is missing is told before the work
    text = render(make())
    with atomic_write(page) as file:
        file.write(text.encode())
    if (open or path is None) and not webbrowser.open(page.absolute().as_uri()):
        raise ArgumentError("there is no browser to open the page with", f"the page is written: {page}")
    return page


def facts_of(other: Any) -> list[Facts]:
    """Return what is shown beside something: nothing for None, Facts as they are, those of a Network or an Engine.

    Raises:
        ArgumentError: it is none of these.
    """
    if other is None:
        return []
    if not isinstance(other, Facts) and not hasattr(other, "facts"):
        raise ArgumentError(f"against is a Network, an Engine, or the facts of one, not a {type(other).__name__}")
    return [other if isinstance(other, Facts) else other.facts()]


def render(shown: list[Facts]) -> str:
    """Return the page of one network or engine, or of two side by side.

    Args:
        shown: the one, or the two.

    Raises:
        BackendError: a library is not installed.
    """
    read = lambda name: (_OWN / name).read_text(encoding="utf-8")  # noqa: E731
    scripts = [*_libraries(), "\n".join(map(read, _SCRIPTS))]
    # A text in the data cannot end the element that it stands in: JSON may have its brackets escaped.
    data = json.dumps([facts.to_json() for facts in shown], separators=(",", ":")).replace("<", "\\u003c")
    title = " and ".join(facts.title for facts in shown)
    parts = {
        "@TITLE@": html.escape(title),
        "@STYLE@": read("page.css"),
        "@DATA@": data,
        "@SCRIPTS@": "\n".join(f'<script type="module">\n{script}\n</script>' for script in scripts),
    }
    return re.sub("@[A-Z]+@", lambda mark: parts[mark[0]], read("page.html"))


@functools.cache
def _libraries() -> list[str]:
    """Return Vega, which draws charts, as vl-convert bundles it, and dagre, which places graphs, as Netron has it.

    Raises:
        BackendError: one is not installed, or is not what it was.
    """
    if any(importlib.util.find_spec(name) is None for name in ("vl_convert", "netron")):
        raise BackendError("a page needs libraries that are not installed here", _INSTALL)
    import vl_convert

    # vl-convert holds Vega under this address, and fetches nothing.
    address = f"https://cdn.jsdelivr.net/npm/vega@{vl_convert.get_vega_version()}/+esm"
    vega = vl_convert.javascript_bundle(f"import * as library from '{address}'; window.vega = library;")
    spec = importlib.util.find_spec("netron")
    dagre = Path(spec.origin or "").with_name("dagre.js") if spec else Path()
    text = dagre.read_text(encoding="utf-8") if dagre.is_file() else ""
    if "dagre.layout = (nodes, edges, layout, state) =>" not in text:
        raise BackendError("this version of Netron has no dagre that the page can use", _INSTALL, "--upgrade")
    scripts = [vega, f"{text}\nwindow.dagre = dagre;"]
    if any("</script" in script.lower() for script in scripts):
        raise BackendError("a library would end the page's script", _INSTALL, "--upgrade")
    return scripts
