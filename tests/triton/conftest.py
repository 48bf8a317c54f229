"""An engine of the digits' detector, its network on the CPU, and its model repository."""

from __future__ import annotations

from pathlib import Path

import pytest

import trtnn
from tests.helpers import ONE_TARGET
from trtnn import Dim, models
from trtnn.examples.digits import WEIGHTS
from trtnn.triton import write_repository

NAMES = [*"0123456789"]


@pytest.fixture(scope="package")
def network() -> trtnn.Network:
    model = models.from_state_dict(trtnn.load(WEIGHTS), names=NAMES)
    return model.trace({"images": (Dim("batch", 1, 2, 4), 3, 160, 160)})


@pytest.fixture(scope="package")
def engine(network: trtnn.Network) -> trtnn.Engine:
    return network.build(**ONE_TARGET, optimization_level=0)


@pytest.fixture(scope="package")
def repository(engine: trtnn.Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    write_repository(engine, folder, "digits", max_queue_us=250, instances=2, gpus=[0, 1], with_detector=True)
    return folder
