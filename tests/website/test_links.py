"""Links between files of the repository as links of the site, the navigation, and docstrings as Markdown."""

import pytest

from website.docstrings import as_markdown
from website.links import expand, site_links

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
    ],
)
def test_a_link_on_the_site(page, markdown, expected):
    assert linked(markdown, page) == expected


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
