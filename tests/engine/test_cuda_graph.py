"""CUDA graphs by a driver that only keeps a list of what it was asked for."""

from __future__ import annotations

import gc
import threading

import pytest

import trtnn.engine.cuda_graph
import trtnn.engine.memory
from tests.helpers import message_of
from trtnn.engine.cuda_graph import CapturedGraph
from trtnn.errors import EngineError


def test_work_is_captured_once_and_launched(driver):
    streams = []
    graph = CapturedGraph(streams.append)
    assert streams == [3]  # of its own
    before, after = ["cuStreamCreate", "cuStreamBeginCapture_v2"], ["cuGraphDestroy", "cuStreamDestroy_v2"]
    assert driver.names() == [*before, "cuStreamEndCapture", "cuGraphInstantiateWithFlags", *after]
    driver.calls.clear()
    graph.launch(9)
    graph.launch(11)
    assert driver.calls == [("cuGraphLaunch", 7, 9), ("cuGraphLaunch", 7, 11)]
    assert streams == [3]


def test_a_graph_is_freed_once(driver):
    graph = CapturedGraph(lambda stream: None)
    driver.calls.clear()
    graph.close()
    graph.close()
    del graph
    gc.collect()
    assert driver.calls == [("cuGraphExecDestroy", 7)]


def test_a_graph_that_nobody_holds_is_freed(driver):
    graph = CapturedGraph(lambda stream: None)
    driver.calls.clear()
    del graph
    gc.collect()
    assert driver.calls == [("cuGraphExecDestroy", 7)]


def test_what_went_wrong_in_the_capture_is_said(driver):
    """Not that the capture, spoilt by it, ended with an error."""
    driver.failing = {"cuStreamEndCapture": 901}

    def enqueue(stream):
        raise EngineError("TensorRT could not run this engine", "its own words")

    assert message_of(EngineError, CapturedGraph, enqueue).startswith("TensorRT could not run this engine\n  its own")
    assert driver.names()[-2:] == ["cuStreamEndCapture", "cuStreamDestroy_v2"]
    assert "cuGraphExecDestroy" not in driver.names()


@pytest.mark.parametrize("name", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_what_the_driver_refuses(driver, name):
    driver.failing = {name: 901}
    assert message_of(EngineError, CapturedGraph, lambda stream: None) == f"{name} failed: some reason (901)"
    assert driver.names()[-1] == "cuStreamDestroy_v2"


def test_a_full_gpu_is_told_with_its_numbers(driver, monkeypatch):
    monkeypatch.setattr(trtnn.engine.memory, "gpu_memory", lambda: (24 << 20, 80 << 30))
    driver.failing = {"cuGraphInstantiateWithFlags": 2}
    message = message_of(EngineError, CapturedGraph, lambda stream: None)
    assert message.splitlines() == [
        "cuGraphInstantiateWithFlags failed: some reason (2)",
        "  memory of the GPU: 24 MiB free of 81,920",
    ]


def test_a_launch_that_the_driver_refuses_is_told_each_time(driver, monkeypatch):
    monkeypatch.setattr(trtnn.engine.memory, "gpu_memory", lambda: (24 << 20, 80 << 30))
    graph = CapturedGraph(lambda stream: None)
    for code, lines in ((2, ["  memory of the GPU: 24 MiB free of 81,920"]), (700, [])):
        driver.failing = {"cuGraphLaunch": code}
        said = message_of(EngineError, graph.launch, 3).splitlines()
        assert said == [f"cuGraphLaunch failed: some reason ({code})", *lines]
    driver.failing = {}
    graph.launch(3)
    assert driver.calls[-1] == ("cuGraphLaunch", 7, 3)


def test_nothing_is_collected_while_any_thread_captures(driver):
    """What the garbage collector frees on the GPU would spoil the capture of the thread that it runs in."""
    seen, inner, go_on = [], threading.Event(), threading.Event()

    def wait(stream):
        inner.set()
        assert go_on.wait(60)
        seen.append(gc.isenabled())

    other = threading.Thread(target=CapturedGraph, args=(wait,))
    other.start()
    assert inner.wait(60)
    CapturedGraph(lambda stream: seen.append(gc.isenabled()))
    seen.append(gc.isenabled())  # the other one still captures
    go_on.set()
    other.join()
    assert seen == [False, False, False]
    assert gc.isenabled()
    gc.disable()
    try:
        CapturedGraph(lambda stream: None)
        assert not gc.isenabled()  # as it was
    finally:
        gc.enable()
