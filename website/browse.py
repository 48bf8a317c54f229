"""Open every page of the built site in Chromium, as a reader without a network does.

>>> python -m website.browse build/site

A page has to load from its file, without an error on the console and without asking anything of anywhere, fit a
telephone, and be readable in light and dark; its links within the site have to lead to what is there, and the search
has to find words of an error. Where no Chromium is, this says so.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

from playwright.sync_api import Browser, TimeoutError, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NARROW_PX = 400
SCHEMES = (("light", "default"), ("dark", "slate"))  # with Material's names of their palettes
LEAST_CONTRAST, OF_LARGE_TEXT = 4.5, 3.0  # by WCAG 2.1, level AA
FAINT = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")
SEARCHED = "was called outside a trace"  # of an error's text


def find_browser() -> str | None:
    """Return the path of a Chromium, or None; ``TRTNN_CHROMIUM`` names another."""
    chosen = os.environ.get("TRTNN_CHROMIUM")
    return chosen or next((path for name in BROWSERS if (path := shutil.which(name))), None)


def page_faults(chromium: Browser, site: Path) -> list[str]:
    """Return what is wrong with the pages of a site, each with its page."""
    wrong: list[str] = []
    places: dict[str, set[str]] = {}  # the ids of each page
    links: list[tuple[str, str]] = []
    here = ""
    page = chromium.new_context(offline=True, viewport={"width": NARROW_PX, "height": 800}).new_page()
    page.on("console", lambda message: message.type == "error" and wrong.append(f"{here} says: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"{here} raises: {error}"))
    page.on("request", lambda request: _is_elsewhere(request.url) and wrong.append(f"{here} asks for {request.url}"))
    for path in sorted(site.rglob("*.html")):
        here = path.relative_to(site).as_posix()
        if here == "404.html":  # a server's, with links from its root
            continue
        page.goto(path.as_uri(), wait_until="load")
        places[path.as_uri()] = set(page.eval_on_selector_all("[id]", "all => all.map(one => one.id)"))
        targets = page.eval_on_selector_all("a[href]", "all => all.map(one => one.href)")
        width_px = page.evaluate("document.documentElement.scrollWidth")
        wrong += [f"{here} is {width_px} px wide, on {NARROW_PX}"] if width_px > NARROW_PX else []
        links += [(here, link) for link in dict.fromkeys(targets) if link.startswith("file:")]
        images = page.eval_on_selector_all("img", "all => all.filter(one => !one.naturalWidth).map(one => one.src)")
        wrong += [f"{here} shows no {image}" for image in images]
        page.add_style_tag(content="* { transition: none !important }")
        for scheme, palette in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function(f"[undefined, '{palette}'].includes(document.body.dataset.mdColorScheme)")
            faint = page.evaluate(FAINT, [LEAST_CONTRAST, OF_LARGE_TEXT])
            wrong += [f"{here} in {scheme} has text that is hard to read: {text}" for text in faint]
    for origin, link in links:
        whole, place = urldefrag(link)
        target = whole.partition("?")[0]
        if target not in places and not Path(unquote(urlparse(target).path)).is_file():
            wrong.append(f"{origin} links to {link}, which is not there")
        elif place and target in places and unquote(place) not in places[target]:
            wrong.append(f"{origin} links to {link}, which has no such place")
    return wrong


def search_faults(chromium: Browser, site: Path) -> list[str]:
    """Return what is wrong where words of an error are searched for: the first page has to be the one that lists it."""
    page = chromium.new_context(offline=True).new_page()
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("s")  # opens the search
    page.keyboard.type(SEARCHED)
    first = page.locator(".md-search-result__item").first.locator("a[href*='every_error']").first
    try:
        first.wait_for(timeout=120_000)  # milliseconds
    except TimeoutError:
        return [f"the search does not come to the error: {SEARCHED}"]
    return []


def _is_elsewhere(url: str) -> bool:
    return urlparse(url).scheme not in ("file", "data", "blob", "about")


def main(arguments: Sequence[str]) -> int:
    """Look at a site; return how many faults it has."""
    site = Path(arguments[0]).resolve()
    browser = find_browser()
    if browser is None:
        print(f"no Chromium was found ({', '.join(BROWSERS)}): the pages were not opened")
        return 0
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        wrong = page_faults(chromium, site) + search_faults(chromium, site)
        chromium.close()
    print("\n".join(wrong) or f"every page of {site} opens in {browser} from its file, without a network")
    return min(len(wrong), 99)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
