"""Engines where neither torch nor pycuda is: device memory by the driver alone."""

from __future__ import annotations

from tests.gpu.test_pycuda import PROGRAM, check_program

PROGRAM = (
    PROGRAM.replace('sys.modules["torch"] = None', 'sys.modules["torch"] = sys.modules["pycuda"] = None')
    .replace("PycudaMemory", "DriverMemory")
    .replace(
        "from trtnn.engine.memory import DriverMemory, device_memory", "from trtnn.engine.memory import device_memory"
    )
    .replace("import trtnn\n", "import trtnn\nfrom trtnn.engine.driver_memory import DriverMemory\n", 1)
)


def test_arrays_threads_and_a_graph(tmp_path):
    check_program(PROGRAM, tmp_path)
