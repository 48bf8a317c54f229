"""What the tests of the page share: networks, an engine, and pages in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import ONE_TARGET
from tests.standin import stand_in
from tests.viewer.engines import inspected, loaded, times_of
from trtnn import Engine, Network
from trtnn.viewer.facts import Facts
from trtnn.viewer.page import render


@pytest.fixture(scope="session")
def network() -> Network:
    return loaded().trace()


@pytest.fixture(scope="session")
def half_network() -> Network:
    return loaded().trace(fp16=True)


@pytest.fixture(scope="session")
def built(half_network: Network) -> Engine:
    return half_network.build(**ONE_TARGET)


@pytest.fixture
def engine(built: Engine, half_network: Network, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine that runs: TensorRT's inspector and profiler are stood in for."""
    rows = inspected(half_network)
    stand_in(monkeypatch, half_network, lambda run: times_of(rows), rows)
    return Engine(built.plan, built.description)


@pytest.fixture
def open_page(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a page of facts; at the end it fails for any error that the page told of."""
    told: list[str] = []
    contexts = []

    def open(*shown: Facts, width: int = 1280, theme: str = "light") -> Any:
        file = tmp_path / "page.html"
        file.write_text(render(list(shown)), encoding="utf-8")
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # milliseconds
        page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith("file:") else told.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open
    for context in contexts:
        context.close()
    assert told == []
