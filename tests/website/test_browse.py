"""What is told of a site in a browser; where Chromium or Playwright is not installed, these are skipped."""

import pytest

pytest.importorskip("playwright", reason="the extra trtnn[docs] is not installed")
from website import browse


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("<p id='a'>well</p><a href='#a'>a</a><a href='b.html?h=x#c'>c</a><img src='a.svg'>", ""),
        ("<script src='https://a.org/x.js'></script>", "index.html asks for https://a.org/x.js"),
        ("<script>console.error('no')</script>", "index.html says: no"),
        ("<script>nothing()</script>", "index.html raises: nothing is not defined"),
        ("<a href='none.html'>x</a>", "which is not there"),
        ("<a href='b.html#none'>x</a>", "which has no such place"),
        ("<meta name=viewport content='width=device-width'><pre style='width: 500px'>x</pre>", "px wide, on 400"),
        ("<img src='none.png'>", "index.html shows no file:"),
        ("<p style='color: #757575; background: #fff'>grey</p>", ""),
        ("<p style='color: #777; background: #fff'>grey</p>", "in light has text that is hard to read: grey: 4.48"),
        ("<p style='color: #777; background: #fff; font-size: 24px'>grey</p>", ""),
        ("<p style='color: rgba(0, 0, 0, .5); background: #fff'>grey</p>", "hard to read: grey: 3.9"),
        ("<style>@media (prefers-color-scheme: dark) { p { color: #ccc } }</style><p>a</p>", "in dark has text"),
        ("<p style='color: #fff; opacity: 0'>unseen</p>", ""),
    ],
)
def test_what_is_told_of_a_page(chromium, tmp_path, body, told):
    (tmp_path / "index.html").write_text(f"<!doctype html><title>x</title>{body}")
    (tmp_path / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    (tmp_path / "b.html").write_text("<!doctype html><title>b</title><p id='c'>c</p>")
    wrong = browse.page_faults(chromium, tmp_path)
    assert bool(wrong) == bool(told)
    assert told in "\n".join(wrong)


def test_without_a_browser_that_is_said(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(browse, "find_browser", lambda: None)
    assert browse.main([str(tmp_path)]) == 0
    assert "the pages were not opened" in capsys.readouterr().out
