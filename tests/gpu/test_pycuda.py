"""Engines where torch is absent: device memory by pycuda."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import numbers, trace
from trtnn import functional as F

pytestmark = pytest.mark.skipif(importlib.util.find_spec("pycuda") is None, reason="pycuda is not installed")

PROGRAM = """
import numpy as np
import trtnn
from concurrent.futures import ThreadPoolExecutor
from trtnn.engine.memory import device_memory
assert type(device_memory()).__name__ == kind
engine, x = trtnn.Engine.load(sys.argv[1]), np.load(sys.argv[2])
out = np.zeros_like(x)
assert engine(x, out=out) is out
graphed = engine.cuda_graph()
first = engine(x)
pinned = engine.pinned_inputs()["x0"]
pinned[:] = x
reversed = np.ascontiguousarray(x[::-1])[::-1]
assert np.array_equal(engine(reversed), first)
assert np.array_equal(engine(np.broadcast_to(x, x.shape)), first)
assert np.array_equal(engine(pinned), first)
assert engine(pinned, out=first) is first
assert np.array_equal(first, out)
with ThreadPoolExecutor(4) as pool:
    results = list(pool.map(lambda i: engine(x * i), range(8)))
assert all(np.array_equal(result, engine(x * i)) for i, result in enumerate(results))
np.savez(sys.argv[3], out=out, first=first, graphed=graphed(x), doubled=graphed(x * 2))
engine.close()
"""


def test_arrays_threads_and_a_graph(tmp_path):
    check_memory("PycudaMemory", ["torch"], tmp_path)


def check_memory(kind, absent, tmp_path):
    """A process in which packages are absent runs a small engine in all ways on the memory that is left to it."""
    program = f"import sys\nkind = {kind!r}\nsys.modules |= dict.fromkeys({absent!r})\n{PROGRAM}"
    x = numbers(2, 3, 8, 8)
    network = trace(lambda x: F.relu(x * 2 - 1), x)
    network.build(optimization_level=0).save(tmp_path / "small.engine")
    np.save(tmp_path / "x.npy", x)
    files = [str(tmp_path / name) for name in ("small.engine", "x.npy", "results.npz")]
    done = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = np.maximum(x * 2 - 1, 0)
    with np.load(files[2]) as results:
        for name in ("out", "first", "graphed"):
            np.testing.assert_allclose(results[name], expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(results["doubled"], np.maximum(x * 4 - 1, 0), rtol=0, atol=1e-5)
