"""What every test runs under."""

from __future__ import annotations

import os

import pytest

# Tests run side by side: threads of torch and OpenCV, in processes that tests start as well, would wait for each other.
# It is set before anything imports these.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}

from trtnn.files import CACHE_ENVIRONMENT


@pytest.fixture(scope="session", autouse=True)
def no_cache_in_the_home_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep timing caches in a temporary folder, or where the person who runs the tests wants them."""
    os.environ.setdefault(CACHE_ENVIRONMENT, str(tmp_path_factory.mktemp("cache")))
