"""The engine that tests of its description and of its file share."""

from __future__ import annotations

import pytest

from tests.engine.tiny import loaded_net
from tests.helpers import ONE_TARGET
from trtnn import Engine


@pytest.fixture(scope="module")
def engine() -> Engine:
    return loaded_net().compile(**ONE_TARGET)
