"""Symbolic lengths: their normal form against plain ints, and what they say."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers import message_of
from trtnn import Dim
from trtnn.errors import ArgumentError, ShapeError
from trtnn.symbolic import Size, at_opt, bounds, broadcast, evaluate, parse, pieces, same

BATCH = Dim("batch", 1, 4, 8)
HEIGHT = Dim("height", 320, 640, 1280, multiple_of=32)
WIDTH = Dim("width", 32, 64, 96, multiple_of=32)
SHORT = Dim("short", 2, 3, 5)
DIMS = {dim.name: dim for dim in (BATCH, HEIGHT, WIDTH, SHORT)}

lengths_of = {name: st.sampled_from(range(d.min, d.max + 1, d.multiple_of)) for name, d in DIMS.items()}
values = st.fixed_dictionaries(lengths_of)


@st.composite
def expressions(draw, depth=4):
    """An expression in Python's own text, of the dimensions' names and numbers."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(st.one_of(st.sampled_from(list(DIMS)), st.integers(-70, 70).map(lambda n: f"({n})")))
    kind = draw(st.sampled_from(["+", "-", "*", "//", "%", "neg"]))
    left = draw(expressions(depth - 1))
    if kind == "neg":
        return f"(-{left})"
    if kind in ("//", "%"):
        divisor = st.one_of(st.integers(-40, 70).filter(bool).map(lambda n: f"({n})"), st.sampled_from(list(DIMS)))
        return f"({left} {kind} {draw(divisor)})"
    return f"({left} {kind} {draw(expressions(depth - 1))})"


@settings(deadline=None, max_examples=600)
@given(expressions(), values)
def test_the_normal_form_is_what_python_computes(text, lengths):
    size = eval(text, {}, DIMS)
    expected = eval(text, {}, lengths)
    assert evaluate(size, lengths) == expected
    low, high = bounds(size)
    assert low <= expected <= high
    assert isinstance(size, (int, Size))


@settings(deadline=None, max_examples=400)
@given(expressions(), values)
def test_text_reads_back_as_the_same(text, lengths):
    size = eval(text, {}, DIMS)
    assert eval(str(size), {}, lengths) == evaluate(size, lengths)
    assert same(parse(str(size), DIMS), size)


@settings(deadline=None, max_examples=300)
@given(expressions(3), expressions(3), values)
def test_comparisons_are_right_where_they_answer(left, right, lengths):
    a, b = eval(left, {}, DIMS), eval(right, {}, DIMS)
    x, y = eval(left, {}, lengths), eval(right, {}, lengths)
    for compare in ("==", "!=", "<", "<=", ">", ">="):
        try:
            answer = eval(f"a {compare} b")
        except ShapeError:
            continue
        assert answer is eval(f"x {compare} y")
    if same(a, b):
        assert x == y


@settings(deadline=None, max_examples=200)
@given(expressions(3), expressions(2), values)
def test_exact_quotients_come_out(left, right, lengths):
    a, b = eval(left, {}, DIMS), eval(right, {}, DIMS)
    assume(bounds(b)[0] > 0)
    assert same((a * b) // b, a)
    assert same((a * b) % b, 0)
    quotient = a // b
    assert evaluate(quotient, lengths) == evaluate(a, lengths) // evaluate(b, lengths)


@settings(deadline=None, max_examples=200)
@given(expressions(3), values)
def test_pieces_add_up(text, lengths):
    size = eval(text, {}, DIMS)
    assume(isinstance(size, Size))
    total = 0
    for multiplier, factors, divisor in pieces(size):
        product = multiplier * math.prod(
            lengths[f] if isinstance(f, str) else evaluate(f[0], lengths) // evaluate(f[1], lengths) for f in factors
        )
        assert product % divisor == 0
        total += product // divisor
    assert total == evaluate(size, lengths)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (HEIGHT, "height"),
        (HEIGHT // 8, "height//8"),
        ((HEIGHT + 2 - 3) // 2 + 1, "height//2"),
        (3 * HEIGHT * WIDTH // 64, "3*height*width//64"),
        (BATCH * 3 * (HEIGHT // 8), "3*batch*height//8"),
        ((BATCH + 1) // 2, "(batch + 1)//2"),
        (((BATCH + 1) // 2 + 1) // 2, "(batch + 3)//4"),
        ((HEIGHT + 32) // 64, "(height + 32)//64"),
        (2 * (BATCH // 2) + 1, "2*(batch//2) + 1"),
        (HEIGHT // BATCH, "height//batch"),
        (HEIGHT // (BATCH + 1), "height//(batch + 1)"),
        (5 - BATCH, "-batch + 5"),
        (-HEIGHT // 8, "-height//8"),
        (1 - (HEIGHT - 1), "-height + 2"),
        (BATCH * BATCH, "batch*batch"),
    ],
)
def test_text(size, text):
    assert str(size) == repr(size) == text
    assert f"{(size, 1)}" == f"({text}, 1)"


def test_what_comes_to_a_number_is_an_int():
    for number, expected in (
        (HEIGHT - HEIGHT, 0),
        (HEIGHT % 32, 0),
        ((HEIGHT + 5) % 32, 5),
        (HEIGHT // HEIGHT, 1),
        (BATCH * 0, 0),
        (BATCH // 9, 0),
        (-BATCH // 9, -1),
        ((HEIGHT * 6) // (HEIGHT * 2), 3),
    ):
        assert type(number) is int
        assert number == expected
    assert isinstance(np.int64(2) * BATCH, Size)
    assert same(np.int32(3) + BATCH, BATCH + 3)


def test_comparisons():
    assert HEIGHT >= 320
    assert HEIGHT > 319
    assert not HEIGHT < 320
    assert HEIGHT < 1281
    assert HEIGHT != 641  # no multiple of 32
    assert HEIGHT // 2 + HEIGHT // 2 == HEIGHT
    assert BATCH != HEIGHT
    assert (BATCH == "batch") is False
    assert bool(HEIGHT)
    message = message_of(ShapeError, lambda: HEIGHT // 8 > 100)
    assert message.startswith("whether height//8 > 100 is known only when the network runs")
    assert "height is 320 to 1280, a multiple of 32" in message
    assert "batch is 1 to 8, and short is 2 to 5" in message_of(ShapeError, lambda: BATCH == SHORT)


def test_what_python_cannot_have():
    message = message_of(ShapeError, range, HEIGHT // 32)
    assert "height//32 is known only when the network runs, and Python asks for it now" in message
    assert "functional.arange(height//32)" in message
    for ask in (int, float, lambda size: [1, 2][size], lambda size: "ab"[:size]):
        assert "height is known only" in message_of(ShapeError, ask, HEIGHT)
    assert "divide with //" in message_of(ShapeError, lambda: HEIGHT / 2)
    assert "divide with //" in message_of(ShapeError, lambda: 2 / HEIGHT)
    assert "batch - 1, which is not always positive" in message_of(ShapeError, lambda: HEIGHT // (BATCH - 1))
    with pytest.raises(ZeroDivisionError):
        HEIGHT // 0
    with pytest.raises(TypeError):
        HEIGHT * 0.5


def test_values():
    size = 3 * HEIGHT * WIDTH // 64
    assert evaluate(size, {"height": 320, "width": 96}) == 3 * 320 * 96 // 64
    assert at_opt(size) == 3 * 640 * 64 // 64
    assert at_opt(7) == evaluate(7, {}) == 7
    assert bounds(size) == (3 * 320 * 32 // 64, 3 * 1280 * 96 // 64)


def test_bounds_of_products_of_differences():
    """What is left of a map behind windows, (h - 2)·(w - 2), is never negative, nor are squares."""
    assert bounds((HEIGHT - 2) * (WIDTH - 2)) == (318 * 30, 1278 * 94)
    assert bounds((HEIGHT - 300) * (HEIGHT - 300)) == (20 * 20, 980 * 980)
    assert bounds(-(HEIGHT // 32 - 1) * (WIDTH // 32)) == (-39 * 3, -9)
    assert not (HEIGHT - 2) * (WIDTH - 2) < 0


def test_broadcast():
    assert broadcast((BATCH, 1, 3), (1, HEIGHT, 3)) == (BATCH, HEIGHT, 3)
    assert broadcast((1, 1), (1, 1)) == (1, 1)
    for other in (2, HEIGHT, BATCH + 1):
        assert broadcast((BATCH,), (other,)) is None


@pytest.mark.parametrize("text", ["", "depth", "height +", "height**2", "height.real", "f(height)", "1.5", "height//0"])
def test_what_is_no_length(text):
    with pytest.raises(ValueError, match="length"):
        parse(text, DIMS)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("a b", 1, 2, 3), "is a Python name such as 'height', not 'a b'"),
        ((3, 1, 2, 3), "not 3"),
        (("a", 0, 2, 3), "the lengths of dimension 'a' are positive ints, not (0, 2, 3, 1)"),
        (("a", 1, 2.0, 3), "positive ints"),
        (("a", 2, 1, 3), "takes min <= opt <= max, not 2, 1, 3"),
        (("a", 1, 4, 3), "takes min <= opt <= max"),
        (("a", 32, 48, 64, 32), "32, 48 and 64 are not all multiples of 32"),
    ],
)
def test_what_is_no_dimension(args, words):
    assert words in message_of(ArgumentError, Dim, *args)


def test_a_dimension_tells_of_itself():
    assert (HEIGHT.name, HEIGHT.min, HEIGHT.opt, HEIGHT.max, HEIGHT.multiple_of) == ("height", 320, 640, 1280, 32)
    assert [n for n in (288, 320, 330, 1280, 1312) if HEIGHT.holds(n)] == [320, 1280]
    assert {HEIGHT // 8: 1}[HEIGHT // 8] == 1
    names = list(itertools.chain.from_iterable((HEIGHT * BATCH // 3 + SHORT).dims))
    assert {"height", "batch", "short"} <= set(names)
