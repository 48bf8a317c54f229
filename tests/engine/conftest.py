"""What tests of engines share: an engine, and a driver that is none."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

import trtnn.cuda
from tests.engine.driver import Driver
from tests.engine.tiny import loaded_net
from tests.helpers import ONE_TARGET
from trtnn import Engine


@pytest.fixture(scope="module")
def engine() -> Engine:
    return loaded_net().compile(**ONE_TARGET)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    """The CUDA driver that is stood in for."""
    made = Driver()
    monkeypatch.setattr(trtnn.cuda, "driver", lambda: made)
    trtnn.cuda.entering_first_gpu.cache_clear()
    yield made
    gc.collect()  # what is freed then asks this driver
    trtnn.cuda.entering_first_gpu.cache_clear()
