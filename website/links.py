"""Links from the repository's files to one another, as links of the site; and the navigation, from patterns."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Callable
from typing import Any

# Files of the repository that are pages of the site.
PAGES = {
    "benchmarks/RESULTS.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
# Pages that are made of the code, by the file that says most of it where the repository is read without the site.
MADE = {
    "trtnn/cli": "every_option.md",
    "trtnn/errors.py": "every_error.md",
    "trtnn/functional.py": "api/index.md",
    "trtnn/ops/missing.py": "api/missing.md",
}
ON_SITE = {**PAGES, **MADE}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)


def site_links(markdown: str, page: str, exists: Callable[[str], bool], image: Callable[[str], str]) -> str:
    """Return a page's text with links that hold on the site; what is in the repository alone is named without one.

    Args:
        markdown: the text.
        page: the page's path on the site.
        exists: whether a path from the repository's root is there.
        image: puts an image of the repository, by its path, onto the site; returns its path there.
    """
    source = {on_site: path for path, on_site in PAGES.items()}.get(page, f"docs/{page}")

    def replace(match: re.Match[str]) -> str:
        mark, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path == "README.md":
            inside = "index.md"
        elif path in ON_SITE:
            inside = ON_SITE[path]
        elif path.startswith("docs/"):
            inside = path.removeprefix("docs/")
        elif not exists(path):
            return match[0]  # of which MkDocs says that it leads nowhere
        elif mark:
            inside = image(path)
        else:
            return text
        return f"{mark}[{text}]({posixpath.relpath(inside, posixpath.dirname(page) or '.')}{anchor})"

    parts = _FENCED.split(markdown)
    return "".join(part if index % 2 else _LINK.sub(replace, part) for index, part in enumerate(parts))


def expand(entries: list[Any], pages: set[str]) -> list[Any]:
    """Return a navigation with pages for patterns; a page stands where the first entry takes it.

    Args:
        entries: MkDocs' navigation: pages, patterns of pages such as ``"deploy*.md"``, and sections with their entries.
        pages: all pages; those that are taken are removed.
    """
    pages.difference_update(_named(entries))
    return _expanded(entries, pages)


def _named(entries: list[Any]) -> set[str]:
    sections = [inner for entry in entries if isinstance(entry, dict) for inner in entry.values()]
    named = {entry for entry in entries if isinstance(entry, str) and "*" not in entry}
    return named.union(*map(_named, sections))


def _expanded(entries: list[Any], pages: set[str]) -> list[Any]:
    result: list[Any] = []
    for entry in entries:
        if isinstance(entry, dict):
            ((title, inner),) = entry.items()
            within = _expanded(inner, pages)
            result += [{title: within}] if within else []
        elif "*" in entry:
            taken = sorted(fnmatch.filter(pages, entry))
            result += taken
            pages.difference_update(taken)
        else:
            result.append(entry)
    return result
