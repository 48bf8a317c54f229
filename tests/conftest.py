"""What every test runs under."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest

# Tests run side by side: threads of torch and OpenCV, in processes that tests start as well, would wait for each other.
# It is set before anything imports these.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}

from trtnn.files import CACHE_ENVIRONMENT

# Twelve thousand tests are a million objects, which each collection of garbage would look through.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def no_cache_in_the_home_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep timing caches in a temporary folder, or where the person who runs the tests wants them."""
    os.environ.setdefault(CACHE_ENVIRONMENT, str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium, of which a process has one; where there is none, its tests are skipped."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed, which drives a browser")
    from website.browse import BROWSERS, find_browser

    path = find_browser()
    if path is None:
        pytest.skip(f"no browser is installed, none of {', '.join(BROWSERS)}: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
