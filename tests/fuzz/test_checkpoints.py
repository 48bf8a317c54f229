"""Made-up checkpoints: an error of ours or a sound load, nothing runs, memory and time stay small.

The seeds are fixed. ``TRTNN_FUZZ=100 pytest tests/fuzz`` reads a hundred times as many, others than these.
"""

import os
from random import Random

import pytest

from tests.confined import confined
from tests.fuzz.checkpoints import GENERATORS

TIMES = int(os.environ.get("TRTNN_FUZZ", "1"))
COUNT = 600  # of each format
# The part that is loaded and the part that is refused, at least: or the generators come too far, or not far enough.
LEAST = {
    ".pt": (0.05, 0.3),
    ".pth": (0.02, 0.3),
    ".safetensors": (0.2, 0.2),
    ".npz": (0.2, 0.2),
    ".wts": (0.1, 0.2),
    ".weights": (0.1, 0.2),
    ".index.json": (0.01, 0.3),
}


@pytest.mark.parametrize("suffix", GENERATORS)
def test_made_up_files(suffix):
    for seed in range(TIMES):
        found = confined("generate", suffix, seed if TIMES == 1 else 1000 + seed, COUNT)
        assert found["faults"] == []
        loaded, refused = LEAST[suffix]
        assert found["loaded"] >= loaded * COUNT
        assert found["refused"] >= refused * COUNT


@pytest.mark.parametrize("suffix", GENERATORS)
def test_a_seed_gives_the_same_file(suffix):
    made = [GENERATORS[suffix](Random(seed)) for seed in range(50)]
    assert made == [GENERATORS[suffix](Random(seed)) for seed in range(50)]
    assert len({str(files) for files in made}) > 25
