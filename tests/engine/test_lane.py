"""A lane by a driver that only keeps a list of what it was asked for, and copies on the host."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import trtnn.cuda
import trtnn.engine.memory
from tests.helpers import message_of
from trtnn.engine.lane import Lane
from trtnn.errors import EngineError


def test_what_goes_up_comes_down_in_the_streams_order(driver):
    lane = Lane()
    assert lane.handle == 3
    address, array = lane.allocate(24), np.arange(6, dtype=np.int32)
    pinned = lane.pinned(24)
    lane.upload(address, array)
    lane.download(pinned, address)
    lane.synchronize()
    np.testing.assert_array_equal(pinned.view(np.int32), array)
    copies = [call for call in driver.calls if call[0].startswith("cuMemcpy")]
    assert [(call[0], *call[-2:]) for call in copies] == [
        ("cuMemcpyHtoDAsync_v2", 24, 3),
        ("cuMemcpyDtoHAsync_v2", 24, 3),
    ]
    assert driver.calls[-1] == ("cuStreamSynchronize", 3)


def test_what_is_sent_again_is_what_lies_there_then(driver):
    lane, array = Lane(), np.arange(6, dtype=np.int32)
    address, there = lane.allocate(24), np.empty(6, np.int32)
    send = lane.repeated(address, array)
    for _ in range(2):
        array += 1
        driver.calls.clear()
        send()
        assert driver.calls == [("cuMemcpyHtoDAsync_v2", address, array.ctypes.data, 24, 3)]
        lane.download(there, address)
        np.testing.assert_array_equal(there, array)


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("cuStreamSynchronize", lambda lane: lane.synchronize()),
        ("cuMemcpyHtoDAsync_v2", lambda lane: lane.upload(1, np.zeros(1))),
        ("cuMemcpyHtoDAsync_v2", lambda lane: lane.repeated(1, np.zeros(1))()),
        ("cuCtxSetCurrent", lambda lane: lane.enter()),
    ],
)
def test_what_the_driver_refuses_each_time(driver, name, ask):
    lane = Lane()
    driver.failing = {name: 700}
    for _ in range(2):
        assert message_of(EngineError, ask, lane) == f"{name} failed: some reason (700)"


def test_each_thread_enters_the_primary_context_which_is_retained_once(driver):
    lane = Lane()
    lane.enter()
    assert driver.names().count("cuDevicePrimaryCtxRetain") == 1
    assert [call for call in driver.calls if call[0] == "cuCtxSetCurrent"] == [("cuCtxSetCurrent", 5)] * 2


def test_it_waits_for_another_stream_by_an_event(driver):
    lane = Lane()
    driver.calls.clear()
    driver.failing["cuStreamQuery"] = 600  # CUDA_ERROR_NOT_READY
    lane.wait_for(8)
    assert driver.calls == [("cuStreamQuery", 8), ("cuEventRecord", 4, 8), ("cuStreamWaitEvent", 3, 4, 0)]
    driver.failing.clear()
    driver.calls.clear()
    lane.wait_for(8)  # all on it is done
    assert driver.calls == [("cuStreamQuery", 8)]


def test_it_is_waited_for_how_far_another_stream_went(driver):
    lane = Lane()
    driver.calls.clear()
    lane.mark(8)
    lane.wait_marked()
    assert driver.calls == [("cuEventRecord", 4, 8), ("cuEventSynchronize", 4)]


def test_what_nobody_holds_is_freed_once_the_stream_is_done(driver):
    lane = Lane()
    first, second, pinned = lane.allocate(8), lane.allocate(16), lane.pinned(8).ctypes.data
    lane.release(first)
    assert driver.calls[-3:-1] == [("cuStreamSynchronize", 3), ("cuMemFree_v2", first)]
    driver.calls.clear()
    del lane
    gc.collect()
    assert driver.calls == [
        ("cuCtxSetCurrent", 5),
        ("cuThreadExchangeStreamCaptureMode",),
        ("cuStreamSynchronize", 3),
        ("cuMemFree_v2", second),
        ("cuMemFreeHost", pinned),
        ("cuEventDestroy_v2", 4),
        ("cuStreamDestroy_v2", 3),
        ("cuThreadExchangeStreamCaptureMode",),
    ]


def test_a_full_gpu_is_told_with_what_was_wanted(driver, monkeypatch):
    monkeypatch.setattr(trtnn.engine.memory, "gpu_memory", lambda: (24 << 20, 80 << 30))
    lane = Lane()
    driver.failing = {"cuMemAlloc_v2": 2}
    assert message_of(EngineError, lane.allocate, 48 << 20).splitlines() == [
        "cuMemAlloc_v2 failed: some reason (2)",
        "  wanted: 48.0 MiB",
        "  memory of the GPU: 24 MiB free of 81,920",
    ]


def test_without_a_driver_that_is_told(monkeypatch):
    monkeypatch.setattr(trtnn.cuda, "driver", lambda: None)
    trtnn.cuda.entering_first_gpu.cache_clear()
    assert "there is no CUDA driver here" in message_of(EngineError, Lane)


def test_page_locked_memory_is_known_by_the_driver(driver, monkeypatch):
    lane, array = Lane(), np.zeros(4)
    for code, kind, is_pinned in ((1, 0, False), (0, 1, True), (0, 2, False)):  # none of CUDA's; the host's; the GPU's

        def attribute(to, which, address, code=code, kind=kind):
            assert (which, address.value) == (2, array.ctypes.data)
            to._obj.value = kind
            return code

        monkeypatch.setattr(driver, "cuPointerGetAttribute", attribute, raising=False)
        assert lane.is_pinned(array) is is_pinned
