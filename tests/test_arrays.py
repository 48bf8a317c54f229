"""What is asked of arrays, whoever made them."""

from __future__ import annotations

import numpy as np
import pytest

from trtnn.arrays import address_of

WHOLE = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "array",
    [
        WHOLE,
        WHOLE[2:],
        WHOLE[1:, 2:],
        WHOLE[::-1],
        WHOLE[2:2],
        WHOLE[3, 4, 2],
        read_only(WHOLE),
        np.frombuffer(b"bytes", np.uint8),
        np.zeros(3, "datetime64[s]"),  # it has no buffer
        np.zeros(2, [("a", np.float64), ("b", np.int32)]),
        np.zeros((), np.float16),
    ],
    ids=str,
)
def test_an_array_lies_where_numpy_says(array):
    array = np.asarray(array)
    assert address_of(array) == array.__array_interface__["data"][0]
