"""The ways of SiLU in int8 networks that are measured: each gives the numbers of the first."""

import numpy as np
import pytest

from benchmarks.silu import NETWORKS, WAYS, image, outputs, trace

CHANNELS, SIZE, BATCH = 16, 64, 2


@pytest.mark.parametrize("way", list(WAYS)[1:])
@pytest.mark.parametrize("network", NETWORKS)
def test_all_ways_compute_the_same(network: str, way: str) -> None:
    x = image(network, BATCH, CHANNELS, SIZE)
    both = (trace(network, one, BATCH, CHANNELS, SIZE, fp16=False) for one in ("as it is", way))
    expected, found = (outputs(one.run(x=x)) for one in both)
    for a, b in zip(found, expected, strict=True):
        step = np.abs(b).max() / 127  # a number on the edge of two may be rounded to either
        np.testing.assert_allclose(a, b, rtol=0, atol=2 * step)
        assert np.mean(np.abs(a - b) > 1e-4 * np.abs(b).max()) < 0.01
        assert b.std() > 5 * step


@pytest.mark.parametrize("network", NETWORKS)
def test_ways_are_different_networks(network: str) -> None:
    kinds = {}
    for way in WAYS:
        rows = trace(network, way, BATCH, CHANNELS, SIZE).layers()
        kinds[way] = tuple((row.kind, row.output.shape, row.output.dtype) for row in rows)
        assert sum(row.kind == "QUANTIZE" for row in rows) > 3
    assert len(set(kinds.values())) == len(WAYS) - 1  # TensorRT 8.6 alone has convolutions computed again
