"""Memory by the driver alone: a driver that copies on the host, and sessions that work on it."""

from __future__ import annotations

import gc
import importlib.util
import inspect
import threading

import numpy as np
import torch

import trtnn.cuda
from tests.helpers import message_of
from trtnn import Input
from trtnn.engine.driver_memory import DriverMemory
from trtnn.engine.memory import DeviceMemory, TorchMemory, device_memory
from trtnn.errors import EngineError

SPEC = Input((4, 6), "float32")


def test_it_is_what_is_left_without_torch_and_pycuda(driver, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "torch" else None)
    assert isinstance(device_memory(), DriverMemory)
    monkeypatch.setattr(trtnn.cuda, "driver", lambda: None)
    trtnn.cuda.entering_first_gpu.cache_clear()
    assert "there is no CUDA driver here" in message_of(EngineError, device_memory)


def test_it_has_what_workers_ask_of_memory():
    for name, method in inspect.getmembers(DeviceMemory, inspect.isfunction):
        if not name.startswith("_"):
            for memory in (DriverMemory, TorchMemory):
                assert list(inspect.signature(getattr(memory, name)).parameters) == list(
                    inspect.signature(method).parameters
                )


def test_arrays_go_up_and_come_down(driver):
    memory, array = DriverMemory(), np.arange(24, dtype=np.float32).reshape(4, 6)
    buffer, pinned = memory.empty(SPEC), memory.pinned(SPEC)
    memory.copy(buffer, memory.direct(array))
    memory.copy(pinned, buffer)
    memory.synchronize()
    np.testing.assert_array_equal(memory.array(pinned), array)
    assert memory.direct(array.T) is None
    memory.fill(pinned, array + 1)
    memory.read(pinned, array)
    assert array[0, 0] == 1


def test_beginnings_and_other_shapes_are_of_the_same_memory(driver):
    memory = DriverMemory()
    whole = memory.empty(Input((24,), "float16"))
    view = whole[:12].reshape((3, 4))
    assert (view.shape, view.nbytes, memory.pointer(view)) == ((3, 4), 24, memory.pointer(whole))
    address = memory.pointer(whole)
    del whole
    gc.collect()
    assert ("cuMemFree_v2", address) not in driver.calls
    del view
    gc.collect()
    assert ("cuMemFree_v2", address) in driver.calls


def test_page_locked_memory_comes_back_and_is_not_lent_twice(driver):
    memory = DriverMemory()
    first, second = memory.pinned(SPEC), memory.pinned(SPEC)
    assert first.ctypes.data != second.ctypes.data
    part, address = first[1:, 2], first.ctypes.data
    del first
    gc.collect()
    assert memory.pinned(SPEC).ctypes.data != address
    del part
    gc.collect()
    again = memory.pinned(SPEC)
    assert again.ctypes.data == address or memory.pinned(SPEC).ctypes.data == address
    assert driver.names().count("cuMemHostAlloc") == 3


def test_page_locked_memory_outlives_the_thread_that_it_is_of(driver):
    """So do results, which lie there, when their thread ends or their engine is closed."""
    results = []

    def run() -> None:
        results.append(DriverMemory().pinned(SPEC))
        results[0][:] = 7

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    gc.collect()
    part = results.pop()[1:]
    np.testing.assert_array_equal(part, np.full((3, 6), 7, np.float32))
    (address,) = driver.memory
    del part
    gc.collect()
    assert ("cuMemFreeHost", address) in driver.calls
    assert not driver.memory


def test_streams_wait_for_each_other(driver):
    one, other = DriverMemory(), DriverMemory()
    driver.failing["cuStreamQuery"] = 600  # CUDA_ERROR_NOT_READY
    one.wait(one.current_stream(), other.current_stream())
    driver.failing.clear()
    assert driver.names()[-2:] == ["cuEventRecord", "cuStreamWaitEvent"]
    assert one.handle(one.current_stream()) == one.current_handle() == 3
