"""Engines where neither torch nor pycuda is: device memory by the driver alone."""

from __future__ import annotations

from tests.gpu.test_pycuda import check_memory


def test_arrays_threads_and_a_graph(tmp_path):
    check_memory("DriverMemory", ["torch", "pycuda"], tmp_path)
