"""Links between files of the repository as links of the site, the navigation, and docstrings as Markdown."""

import posixpath
import re
import subprocess

import pytest

from website import api
from website.docstrings import as_markdown
from website.links import MADE, expand, site_links
from website.public import ROOT

THERE = {"README.md", "docs/a.md", "docs/api", "tests/README.md", "trtnn/files.py", "examples/x.jpg"}


def linked(markdown, page):
    return site_links(markdown, page, THERE.__contains__, lambda path: "assets/" + path.rpartition("/")[2])


@pytest.mark.parametrize(
    ("page", "markdown", "expected"),
    [
        ("b.md", "[a](a.md)", "[a](a.md)"),
        ("b.md", "[a](a.md#part)", "[a](a.md#part)"),
        ("b.md", "[home](../README.md)", "[home](index.md)"),
        ("b.md", "[figures](../benchmarks/RESULTS.md#on-a-cpu)", "[figures](benchmarks.md#on-a-cpu)"),
        ("benchmarks.md", "[a](../docs/a.md)", "[a](a.md)"),
        ("contributing.md", "[the design](docs/a.md#rooms)", "[the design](a.md#rooms)"),
        ("contributing.md", "[tests/README.md](tests/README.md)", "tests/README.md"),
        ("b.md", "![x](../examples/x.jpg)", "![x](assets/x.jpg)"),
        ("api/c.md", "[a](../a.md)", "[a](../a.md)"),
        ("b.md", "[elsewhere](https://a.org/b.md)", "[elsewhere](https://a.org/b.md)"),
        ("b.md", "[here](#part)", "[here](#part)"),
        ("b.md", "[none](../none.py)", "[none](../none.py)"),  # which MkDocs tells of
        ("b.md", "```python\n[x](../trtnn/files.py)\n```", "```python\n[x](../trtnn/files.py)\n```"),
        ("b.md", "see [a file](../trtnn/files.py).", "see a file."),
        ("b.md", "[every option](../trtnn/cli)", "[every option](every_option.md)"),
        ("b.md", "[not](../trtnn/ops/missing.py)", "[not](api/missing.md)"),
    ],
)
def test_a_link_on_the_site(page, markdown, expected):
    assert linked(markdown, page) == expected


def tracked() -> list[str]:
    found = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("this is no clone")
    return found.stdout.split("\n")


def headings(markdown: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", markdown, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_every_link_within_the_repository_leads_to_a_file_and_a_heading_of_it():
    files = tracked()
    folders = {"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}
    pages = [path for path in files if path.endswith(".md")]
    dead, count = [], 0
    for page in pages:
        text = re.sub(
            r"^ *```.*?^ *```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
        )
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if "://" in target or path.startswith("mailto:"):
                continue
            count += 1
            there = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
            is_there = there in files or there in folders
            if not is_there or (anchor and anchor not in headings((ROOT / there).read_text(encoding="utf-8"))):
                dead.append(f"{page}: {target}")
    assert dead == []
    assert count > 100  # or links are not found any more


def test_files_that_stand_for_pages_of_the_site_are_there():
    assert all((ROOT / path).exists() for path in MADE)
    assert {page for page in MADE.values() if page.startswith("api/")} <= set(api.pages())


def test_a_page_stands_where_the_first_entry_takes_it():
    pages = {"index.md", "deploy.md", "deploy_more.md", "new.md", "api/a.md", "late.md"}
    entries = [
        {"Run": ["deploy*.md", "none*.md"]},
        {"Empty": ["nothing*.md"]},
        {"API": ["api/*.md"]},
        {"More": ["*.md"]},
        {"Start": ["index.md", {"Last": ["late.md"]}]},
    ]
    assert expand(entries, pages) == [
        {"Run": ["deploy.md", "deploy_more.md"]},
        {"API": ["api/a.md"]},
        {"More": ["new.md"]},
        {"Start": ["index.md", {"Last": ["late.md"]}]},
    ]
    assert not pages


ENTRIES = {"trtnn.load": "trtnn.load", "trtnn.functional.conv2d": "trtnn.functional.conv2d", "trtnn.a.b": "trtnn.x.b"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see :func:`trtnn.load`", "see [`trtnn.load`][trtnn.load]"),
        ("see :func:`conv2d`", "see [`conv2d`][trtnn.functional.conv2d]"),
        ("see :meth:`~trtnn.a.b`", "see [`b`][trtnn.x.b]"),
        ("see :class:`trtnn.hidden.Thing`", "see `trtnn.hidden.Thing`"),
        ("out[i][j] = a*b", r"out\[i\]\[j\] = a\*b"),
        ("``x[i][j]`` and `y[0][1]`", "``x[i][j]`` and `y[0][1]`"),
        (">>> x[0][1]\n... y\nthen a[0]", "```pycon\n>>> x[0][1]\n... y\n```\nthen a\\[0\\]"),
    ],
)
def test_a_docstring_as_markdown(text, expected):
    assert as_markdown(text, ENTRIES) == expected
