"""The kernels of a run out of what torch's profiler exports of several."""

import pytest

from benchmarks.kernels import Kernel, kernels_of, table


def event(start, duration, stream, name, kind="kernel"):
    return {"cat": kind, "ts": start, "dur": duration, "args": {"stream": stream}, "name": name}


def test_kernels_of_two_streams_that_come_in_another_order():
    first = [event(100, 10, 1, "conv"), event(111, 5, 2, "silu"), event(112, 30, 1, "conv"), event(150, 2, 1, "copy")]
    second = [
        event(1000, 12, 1, "conv"),
        event(1012, 34, 1, "conv"),
        event(1014, 7, 2, "silu"),
        event(1050, 4, 1, "copy"),
    ]
    others = [event(0, 900, 1, "launch", "cuda_runtime"), {"ph": "M", "name": "process_name"}]
    kernels = kernels_of([*others, *second, *first], 2)
    expected = [(0, 11, 1, "conv"), (12, 32, 1, "conv"), (12.5, 6, 2, "silu"), (50, 3, 1, "copy")]
    assert kernels == [Kernel(*row) for row in expected]
    assert table(kernels).splitlines()[-1].split() == ["53.0", "52.00", "in", "all,", "4", "kernels"]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([event(0, 1, 1, "a"), event(2, 1, 1, "b"), event(4, 1, 1, "a")], "3 kernels in 2 runs"),
        ([event(0, 1, 1, "a"), event(2, 1, 1, "b")], "other kernels"),
        ([], "0 kernels in 2 runs"),
    ],
)
def test_runs_that_differ(events, message):
    with pytest.raises(RuntimeError, match=message):
        kernels_of(events, 2)
