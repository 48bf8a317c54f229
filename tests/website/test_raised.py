"""The page of every error has what the code raises, and the words of errors that are met."""

from __future__ import annotations

import ast
import re

import numpy as np
import pytest

import trtnn
from tests import ROOT
from trtnn.modules import Conv2d, Linear
from website import raised


@pytest.fixture(scope="module")
def page():
    return raised.page()


def shown(text: str) -> str:
    return re.sub(r"\W+", " ", text)


def constants() -> list[tuple[str, str]]:
    """Return the longest constant part of the first argument of each ``raise SomeError(...)``, with its place."""
    parts = []
    for folder in raised.FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
                    continue
                name, first = ast.unparse(node.exc.func), node.exc.args[0]
                if name.endswith("Error") and isinstance(first, (ast.Constant, ast.JoinedStr)):
                    pieces = first.values if isinstance(first, ast.JoinedStr) else [first]
                    texts = [str(piece.value) for piece in pieces if isinstance(piece, ast.Constant)]
                    longest = max(texts, key=len, default="")
                    if len(re.findall(r"[a-z]{2,}", longest)) >= 2:
                        parts.append((f"{path.relative_to(ROOT)}:{node.lineno}", longest))
    return parts


def test_every_text_that_is_raised_is_on_the_page(page):
    texts = constants()
    assert len(texts) > 500
    whole = shown(page)
    assert [place for place, text in texts if shown(text).strip() not in whole] == []


def entry_of(page: str, message: str) -> list[str]:
    """Return the lines of the entry whose heading reads as the message does."""
    for entry in page.split("\n#### ")[1:]:
        heading, *below = entry.split("\n")
        for way in re.findall(r"(`+) ?(.+?) ?\1", heading):
            pattern = ".*".join(map(re.escape, way[1].split(raised.GAP)))
            if re.fullmatch(pattern, message, re.DOTALL) and len(pattern) > 20:
                return below
    raise AssertionError(f"no entry reads as: {message}")


def damaged_file(folder):
    (folder / "a.safetensors").write_bytes(b"nothing of the kind")
    trtnn.load(folder / "a.safetensors")


ERRORS = {
    "no weights": lambda folder: Conv2d(3, 8, 3).trace({"input": (1, 3, 8, 8)}),
    "outside a trace": lambda folder: Linear(3, 8)(np.ones((1, 3), np.float32)),
    "a name": lambda folder: trtnn.models.create("yolov5q"),
    "a damaged file": damaged_file,
    "a dimension": lambda folder: trtnn.Dim("height", 8, 4, 2),
    "a state dict": lambda folder: Linear(3, 8).load_state_dict({}),
    "a folder": lambda folder: trtnn.save({"a": np.ones(1)}, folder / "none" / "a.npz"),
}


@pytest.mark.parametrize("what", ERRORS)
def test_what_is_met_is_on_the_page_with_what_to_do(page, what, tmp_path):
    with pytest.raises(trtnn.TrtnnError) as caught:
        ERRORS[what](tmp_path)
    below = entry_of(page, caught.value.summary)
    assert type(caught.value).__name__ in "\n".join(below)
    listed = [re.sub(r"^- `+ ?| ?`+$", "", line) for line in below if line.startswith("- ")]
    known = [".*".join(map(re.escape, text.split(raised.GAP))) for text in listed]
    told = [" ".join(detail.split()) for detail in caught.value.details]
    assert not listed or any(re.fullmatch(pattern, detail) for pattern in known for detail in told)


def test_lines_that_are_made_for_each_are_listed(page):
    below = entry_of(
        page, "the state dict does not fit Net: 1 missing, 0 unexpected, 0 of the wrong shape; nothing was loaded"
    )
    assert {"- `missing: … …`", "- `unexpected: … …`", "- `declared in …`"} <= {*below}


@pytest.mark.parametrize(
    "message",
    [
        "activation gives (2,) by its formula and (2, 3) in TensorRT",  # by a function that asks another
        "Net takes what is not there",  # in an attribute of another object
        "metadata['a'] is a set, no JSON value",  # by a function that returns the reason
        "net.npz is not a sound .npz file",  # in a constant
    ],
)
def test_texts_that_are_put_together_elsewhere_are_on_the_page(page, message):
    entry_of(page, message)


def test_what_the_page_of_troubles_begins_with_is_said():
    """Its headings in backticks are messages as they are met."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    said = [text for error in raised.errors() for text in (*error.summaries, *error.details)]
    for met in re.findall(r"^### `(.+)`$", page, re.MULTILINE):
        patterns = [".*".join(map(re.escape, text.split(raised.GAP))) for text in said if len(text) > 20]
        assert any(re.fullmatch(pattern, met) for pattern in patterns) or any(text.startswith(met) for text in said), (
            met
        )


def texts_of(code: str) -> list[str]:
    (statement,) = ast.parse(code).body
    assert isinstance(statement, ast.Expr)
    return raised._texts(statement.value, {"kind": [["a list", "a dict"]]})


@pytest.mark.parametrize(
    ("code", "texts"),
    [
        ("'plain'", ["plain"]),
        ("f'a {x} of {y!r}'", ["a … of …"]),
        ("f'it is {kind}'", ["it is a list", "it is a dict"]),
        ("f'{x} is ' + ('big' if x else 'small')", ["… is big", "… is small"]),
        ("f'{harmless_text(kind)}!'", ["a list!", "a dict!"]),
        ("f'first {x}'.partition('.')[0]", ["first …"]),
        ("unknown(x)", ["…"]),
    ],
)
def test_how_an_expression_may_read(code, texts):
    assert texts_of(code) == texts
