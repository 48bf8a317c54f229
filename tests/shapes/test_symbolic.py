"""Symbolic lengths: their normal form against plain ints, and what they say."""

import itertools
import math
import operator

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers import message_of
from trtnn import Dim, sym_max, sym_min
from trtnn.errors import ArgumentError, ShapeError
from trtnn.shapes.floats import SymFloat
from trtnn.shapes.reading import LengthReader
from trtnn.shapes.symbolic import Size, at_opt, bounds, broadcast, evaluate, pieces, same

BATCH = Dim("batch", 1, 4, 8)
HEIGHT = Dim("height", 320, 640, 1280, multiple_of=32)
WIDTH = Dim("width", 32, 64, 96, multiple_of=32)
SHORT = Dim("short", 2, 3, 5)
DIMS = {dim.name: dim for dim in (BATCH, HEIGHT, WIDTH, SHORT)}
# The same names with more lengths than can all be tried.
LONG = {"batch": Dim("batch", 1, 4, 5000), "height": Dim("height", 7, 8, 90000), "width": Dim("width", 1, 2, 4000, 1),
        "short": SHORT}  # fmt: skip
FUNCTIONS = {"min": sym_min, "max": sym_max}  # of Python's names


def lengths_in(dims):
    return st.fixed_dictionaries(
        {name: st.sampled_from(range(d.min, d.max + 1, d.multiple_of)) for name, d in dims.items()}
    )


values = lengths_in(DIMS)


def size_of(text, dims=DIMS):
    return eval(text, {}, {**FUNCTIONS, **dims})


@st.composite
def expressions(draw, depth=4):
    """An expression in Python's own text, of the dimensions' names and numbers."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(st.one_of(st.sampled_from(list(DIMS)), st.integers(-70, 70).map(lambda n: f"({n})")))
    kind = draw(st.sampled_from(["+", "-", "*", "//", "%", "neg", "min", "max"]))
    left = draw(expressions(depth - 1))
    if kind == "neg":
        return f"(-{left})"
    if kind in FUNCTIONS:
        return f"{kind}({left}, {draw(expressions(depth - 1))})"
    if kind in ("//", "%"):
        divisor = st.one_of(st.integers(-40, 70).filter(bool).map(lambda n: f"({n})"), st.sampled_from(list(DIMS)))
        return f"({left} {kind} {draw(divisor)})"
    return f"({left} {kind} {draw(expressions(depth - 1))})"


@settings(deadline=None, max_examples=600)
@given(expressions(), values)
def test_the_normal_form_is_what_python_computes(text, lengths):
    size = size_of(text)
    expected = eval(text, {}, lengths)
    assert evaluate(size, lengths) == expected
    low, high = bounds(size)
    assert low <= expected <= high
    assert isinstance(size, (int, Size))


@settings(deadline=None, max_examples=600)
@given(expressions(), lengths_in(LONG))
def test_bounds_hold_where_not_all_lengths_are_tried(text, lengths):
    size = size_of(text, LONG)
    expected = eval(text, {}, lengths)
    assert evaluate(size, lengths) == expected
    low, high = bounds(size)
    assert low <= expected <= high


@settings(deadline=None, max_examples=400)
@given(expressions(), values)
def test_text_reads_back_as_the_same(text, lengths):
    size = size_of(text)
    assert eval(str(size), {}, lengths) == evaluate(size, lengths)
    assert same(LengthReader(DIMS)(str(size)), size)


@settings(deadline=None, max_examples=300)
@given(expressions(3), expressions(3), values)
def test_comparisons_are_right_where_they_answer(left, right, lengths):
    a, b = size_of(left), size_of(right)
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
    a, b = size_of(left), size_of(right)
    assume(bounds(b)[0] > 0)
    assert same((a * b) // b, a)
    assert same((a * b) % b, 0)
    quotient = a // b
    assert evaluate(quotient, lengths) == evaluate(a, lengths) // evaluate(b, lengths)


@settings(deadline=None, max_examples=200)
@given(expressions(3), values)
def test_pieces_add_up(text, lengths):
    size = size_of(text)
    assume(isinstance(size, Size))
    total, of_kind = 0, {"//": operator.floordiv, "min": min, "max": max}
    for multiplier, factors, divisor in pieces(size):
        product = multiplier * math.prod(
            lengths[f] if isinstance(f, str) else of_kind[f.kind](evaluate(f[1], lengths), evaluate(f[2], lengths))
            for f in factors
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
    assert "batch - 1, which is not always positive" in message_of(ShapeError, lambda: HEIGHT // (BATCH - 1))
    with pytest.raises(ZeroDivisionError):
        HEIGHT // 0


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


SIDE = Dim("side", 8, 16, 64)
LENGTHY = Dim("long", 8, 16, 100_000)


@pytest.mark.parametrize("h", [SIDE, LENGTHY])
def test_bounds_of_what_depends_on_each_other(h):
    most = h.max
    for size, ends in (
        (h - h // 2, (4, most - most // 2)),
        (h - 8 * (h // 8), (0, 7)),
        (h % 8, (0, 7)),
        (-h % 8, (0, 7)),
        ((h + 7) // 8 * 8 - h, (0, 7)),
        ((h + 7) // 8 * 8, (8, -(-most // 8) * 8)),
        (h // 2 - h // 4, (2, most // 4)),
        (sym_min(h, 32), (8, 32)),
        (h - sym_min(h, 32), (0, most - 32)),
        (sym_max(h, 32) - h, (0, 24)),
    ):
        low, high = bounds(size)
        slack = 1 if h is LENGTHY else 0  # where not all are tried
        assert low - slack <= ends[0] <= low + slack
        assert high - slack <= ends[1] <= high + slack
    assert bounds((SIDE - SIDE // 2) * BATCH) == (4, 256)
    assert h // 2 <= h
    assert h - h // 2 >= h // 2
    assert h % 8 < 8


def test_one_length_in_two_forms():
    for a, b in (
        ((SIDE + 1) // 2, SIDE - SIDE // 2),
        (-(-SIDE // 8), (SIDE + 7) // 8),
        (SIDE + -SIDE % 8, (SIDE + 7) // 8 * 8),
        (sym_min(SIDE, 32) + sym_max(SIDE, 32), SIDE + 32),
        ((8 - SIDE % 8) % 8, -SIDE % 8),
    ):
        assert same(a, b)
        assert a == b
    assert not same(SIDE // 2, SIDE // 2 + 1)


def test_the_smaller_and_the_larger():
    assert str(sym_min(32, SIDE)) == "min(side, 32)"
    assert str(3 * sym_max(SIDE // 2, BATCH) + 1) in ("3*max(side//2, batch) + 1", "3*max(batch, side//2) + 1")
    assert sym_min(SIDE, 80) is SIDE or same(sym_min(SIDE, 80), SIDE)
    assert (sym_max(SIDE, 80), sym_min(SIDE, 8), sym_min(3, 5), sym_max(3, 5)) == (80, 8, 3, 5)
    assert same(abs(-SIDE), SIDE)
    assert "1.5 is no whole number of elements" in message_of(ShapeError, sym_min, SIDE, 1.5)


def test_what_would_settle_a_comparison():
    def settled(compare):
        return message_of(ShapeError, compare)

    assert "it always holds for side up to 41, and never holds for side from 42 on" in settled(lambda: SIDE // 2 <= 20)
    assert "it never holds for side up to 32, and always holds for side from 33 on" in settled(lambda: min(SIDE, 32))
    assert "trtnn.sym_min, trtnn.sym_max" in settled(lambda: max(SIDE, 32))
    assert "it always holds where side is a multiple of 8" in settled(lambda: SIDE % 8 == 0)
    assert "it always holds where side is a multiple of 7" in settled(lambda: SIDE // 7 * 7 == SIDE)
    two = settled(lambda: SIDE > BATCH * 5)
    assert "side is 8 to 64, and batch is 1 to 8" in two
    assert "it always holds for side from 41 on" in two
    assert "it always holds for batch up to 1" in two
    for line in ("height from 960 on", "for height up to 928, and always"):
        assert line in settled(lambda: HEIGHT // 32 >= 30)


def test_floats_of_lengths():
    half = SIDE / 2
    assert isinstance(half, SymFloat)
    assert isinstance(SIDE**2, Size)
    for size, expected in (
        (math.floor(half), SIDE // 2),
        (math.ceil(half), (SIDE + 1) // 2),
        (math.trunc(half), SIDE // 2),
        (math.trunc(-half), -(SIDE // 2)),
        (math.floor(SIDE * 0.75 + 0.5), (3 * SIDE + 2) // 4),
        (math.floor(SIDE / 2 * 4), SIDE * 2),
        (math.floor(SIDE / 3 / 5 + 1), SIDE // 15 + 1),
        (math.floor((SIDE / 2) ** 2), SIDE * SIDE // 4),
        (math.floor(SIDE**2.0), SIDE * SIDE),
        (math.floor(np.float32(0.5) * SIDE), SIDE // 2),
        (SIDE >> 1, SIDE // 2),
        (SIDE << 1, SIDE * 2),
        (round(SIDE), SIDE),
        (math.floor(SIDE), SIDE),
    ):
        assert same(size, expected)
    for float_, text in (
        (half, "side / 2"),
        (SIDE**-0.5, "side ** -0.5"),
        (SIDE * 0.1 + 1, "(side * 0.1) + 1"),
        (SIDE / 2 - 0.5, "(side - 1) / 2"),
        (SIDE * 0.3 // 1, "floor(side * 0.3)"),
        (SIDE // 0.5, "2*side"),
    ):
        assert str(float_) == text
    assert half >= 4
    assert half != 1.25
    assert not half < 0.1
    assert SIDE**0.5 > 2.8
    assert hash(SIDE / 2) == hash(SIDE / 2)
    for ask, words in (
        (lambda: half > 5, "whether side > 10 is known only"),
        (lambda: SIDE**0.5 > 3, "whether side ** 0.5 > 3 is known only"),
        (lambda: int(half), "divide with //: side // 2"),
        (lambda: float(half), "in place of x * math.sqrt(h)"),
        (lambda: math.sqrt(SIDE), "in place of math.sqrt(h)"),
        (lambda: range(half), "side / 2 is no whole number of elements"),
        (lambda: round(half, 1), "round(side / 2, 1) is known only"),
        (lambda: round(SIDE**0.5), "round of side ** 0.5 is no length that a network can compute"),
        (lambda: math.floor(SIDE**0.5), "floor of side ** 0.5 is no length that a network can compute"),
        (lambda: math.floor(SIDE * 0.1), "floor of side * 0.1 is no length"),
        (lambda: math.floor(SIDE / 49 * 49), "floor of side, which Python's floats may miss by a little"),
        (lambda: math.floor(1 / (1 / SIDE)), "h // 49 * 49 in place of int(h / 49 * 49)"),
        (lambda: math.floor((SIDE / 93) ** -1), "floor of 93 / side, which Python's floats may miss"),
        (lambda: math.floor(SIDE / 3 + SIDE / 7), "floor of (10*side) / 21, which Python's floats may miss"),
        (lambda: math.floor(SIDE / 3 * 3 // 2), "floor of floor(side / 2) is no length"),
        (lambda: SIDE / 49 * 49 >= SIDE, "is known only"),
        (lambda: 1 / (SIDE - 8), "which may be 0"),
        (lambda: (SIDE - 9) ** 0.5, "a power of what may be negative"),
    ):
        assert words in message_of(ShapeError, ask)
    with pytest.raises(ZeroDivisionError):
        SIDE / 0
    with pytest.raises(TypeError):
        SIDE / "2"


@pytest.mark.parametrize("function", [math.floor, math.ceil, math.trunc, round])
@pytest.mark.parametrize("by", [2, 3, 4, 6, 0.5, 0.75, -2, -6])
@pytest.mark.parametrize("shift", [0, 1, -60])
def test_whole_numbers_of_fractions(function, by, shift):
    """Python rounds one half way between two to the even one."""
    long = Dim("long", 61, 61, 100)
    size = function((long + shift) / by)
    for length in range(long.min, long.max + 1):
        assert evaluate(size, {"long": length}) == function((length + shift) / by)


@st.composite
def float_expressions(draw, depth=3):
    """An expression that Python computes by floats, of a length ``n`` and numbers."""
    if depth == 0:
        return draw(st.sampled_from(["n", "n", "1", "2", "3", "7", "49", "0.5", "1.5"]))
    sign = draw(st.sampled_from(["+", "-", "*", "/", "/", "//", "%"]))
    return f"({draw(float_expressions(depth - 1))} {sign} {draw(float_expressions(draw(st.integers(0, depth - 1))))})"


@settings(deadline=None, max_examples=400)
@given(st.integers(1, 3).flatmap(float_expressions), st.sampled_from([math.floor, math.ceil, math.trunc, round]))
def test_whole_numbers_are_those_of_pythons_floats(text, function):
    """Or they are refused: floats round after each operation, and fractions do not."""
    lengths = range(1, 130)
    try:
        size = function(eval(text, {}, {"n": Dim("n", lengths[0], 8, lengths[-1])}))
    except (ShapeError, ZeroDivisionError):
        return
    for length in lengths:
        assert evaluate(size, {"n": length}) == function(eval(text, {}, {"n": length})), length


def test_broadcast():
    assert broadcast((BATCH, 1, 3), (1, HEIGHT, 3)) == (BATCH, HEIGHT, 3)
    assert broadcast((1, 1), (1, 1)) == (1, 1)
    for other in (2, HEIGHT, BATCH + 1):
        assert broadcast((BATCH,), (other,)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "depth",
        "height +",
        "height**2",
        "height.real",
        "f(height)",
        "min(height)",
        "min(height, 1.5)",
        "1.5",
        "height//0",
    ],
)
def test_what_is_no_length(text):
    with pytest.raises(ValueError, match="length"):
        LengthReader(DIMS)(text)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("a b", 1, 2, 3), "is a Python name such as 'height', not 'a b'"),
        ((3, 1, 2, 3), "not 3"),
        (("if", 1, 2, 3), "is a Python name such as 'height', not 'if'"),
        (("None", 1, 2, 3), "not 'None'"),
        (("\ufb01", 1, 2, 3), "not '\ufb01'"),
        (("a", 1, 2, 2**63), "positive ints"),
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
