"""What the bytecode of a caller tells, in whatever form this Python writes it."""

from __future__ import annotations

import sys

from trtnn.from_torch.recording.frames import place_of, read_names, stored_names

CALLS: list = []


def call(*values):
    frame = sys._getframe(1)
    variables, attributes, literals = read_names(frame)
    CALLS.append((stored_names(frame), sorted(variables), attributes, sorted(literals)))
    return 1, 2, 3


class Unpacked:
    def __iter__(self):
        frame = sys._getframe(1)
        CALLS.append(stored_names(frame))
        return iter((1, 2))


class Forward:
    heads = 3

    def forward(self, x):
        y = call(x)
        a, b, c = call(x, y)
        q, k, v = call(self.heads, 7)
        z = call(x) + call(y)
        self.w = call(x)
        d, e = Unpacked()
        identity = x
        y = call(identity, 2.5)
        assert (a, b, c, q, k, v, d, e, len(z)) == (1, 2, 3, 1, 2, 3, 1, 2, 6)
        return call(call(y), self.heads)  # the lines of a statement stand by themselves


def test_variables_that_are_stored_and_read():
    CALLS.clear()
    Forward().forward(0)
    assert [
        ("y", ["x"], (), []),
        (["a", "b", "c"], ["x", "y"], (), []),
        (["q", "k", "v"], ["self"], ("heads",), [7]),
        (None, ["x"], (), []),
        (None, ["x", "y"], (), []),
        (None, ["x"], (), []),
        ["d", "e"],
        ("y", ["identity"], (), [2.5]),
        (None, ["y"], (), []),
        CALLS[-1],
    ] == CALLS
    assert CALLS[-1][0] is None


def test_the_place_of_a_frame_shows_its_line():
    place = place_of(sys._getframe())
    assert str(place).endswith("in test_the_place_of_a_frame_shows_its_line: place = place_of(sys._getframe())")
    assert str(place_of(None)) == "?:0, in ?"
