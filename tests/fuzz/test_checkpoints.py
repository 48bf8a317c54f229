"""Made-up checkpoints: an error of ours or a sound load, nothing runs, memory and time stay small.

The seeds are fixed. ``TRTNN_FUZZ=100 pytest tests/fuzz`` reads a hundred times as many, others than these.
"""

import os
import pickle
import struct
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.checkpoints import GENERATORS
from tests.fuzz.confined import confined
from tests.helpers import EXAMPLES
from trtnn.checkpoint import load
from trtnn.errors import CheckpointError

TIMES = int(os.environ.get("TRTNN_FUZZ", "1"))
COUNT = 500  # of each format
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


HEAD = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
BEGINNINGS = {
    ".pth": [b"", b"\x80\x02", HEAD, HEAD + b"\x80\x02}", HEAD + b"\x80\x04cmodels.yolo\nModel\n)\x81}"],
    ".pt": [b"", b"PK\x03\x04"],
    ".safetensors": [
        b"",
        struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[',
        struct.pack("<Q", 40) + b'{"__metadata__":{',
    ],
    ".npz": [b"", b"PK\x03\x04"],
    ".wts": [b"", b"1\n", b"2\na 1 3f800000\nb "],
    ".weights": [b"", struct.pack("<3i", 0, 2, 0)],
    ".index.json": [b"", b'{"weight_map": {"a": "'],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


@pytest.mark.parametrize("suffix", BEGINNINGS)
def test_any_bytes_behind_a_sound_beginning(folder, suffix):
    """Hypothesis looks for bytes that raise anything but an error of ours, and makes them short."""

    @settings(max_examples=150 * TIMES, **{**EXAMPLES, "derandomize": TIMES == 1})
    @given(st.sampled_from(BEGINNINGS[suffix]), st.binary(max_size=200))
    def read(beginning, rest):
        (folder / f"a{suffix}").write_bytes(beginning + rest)
        try:
            loaded = load(folder / f"a{suffix}")
        except CheckpointError:
            return
        assert isinstance(loaded, dict)

    read()
