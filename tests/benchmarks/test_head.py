"""The ways of YOLOv5's head that are measured: each gives the numbers of the first, which are the model's own."""

import numpy as np
import pytest

from benchmarks.head import STRIDES, WAYS, inputs_of, trace
from tests.helpers import layers

CHANNELS, BATCH = [8, 16, 24], 11  # more images than a part has


@pytest.mark.parametrize("way", WAYS[1:])
def test_all_ways_compute_the_same(way):
    arrays = inputs_of(CHANNELS, 64, BATCH)
    expected, result = (trace(one, CHANNELS, arrays, fp16=False).run(**arrays) for one in (WAYS[0], way))
    assert expected.shape == (BATCH, 3 * sum((64 // stride) ** 2 for stride in STRIDES), 85)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_ways_are_different_networks():
    arrays = inputs_of(CHANNELS, 64, BATCH)
    kinds = {}
    for way in WAYS:
        network = trace(way, CHANNELS, arrays)
        assert len(layers(network, "CONVOLUTION")) == (12 if way == "anchors" else 6)
        kinds[way] = tuple((row.kind, row.output.shape, row.output.dtype) for row in network.layers())
    assert len(set(kinds.values())) == len(WAYS)
