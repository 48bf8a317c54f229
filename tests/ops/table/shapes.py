"""Operations that move elements and compute nothing."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from tests.ops.calls import BOOLS, Array, arrays, case, dim, dims, exactly, maybe, mostly, shapes

ANY = arrays()


@st.composite
def factors(draw: Any, count: int) -> tuple[int, ...]:
    """Lengths of so many elements; one of them may be -1."""
    lengths = []
    while count > 1 and len(lengths) < 3:
        lengths.append(draw(st.sampled_from([n for n in range(1, count + 1) if count % n == 0])))
        count //= lengths[-1]
    lengths = [*lengths, count] if count > 1 or draw(BOOLS) else lengths
    if lengths and draw(BOOLS):
        lengths[draw(st.integers(0, len(lengths) - 1))] = -1
    return tuple(lengths)


def reshaped(x: Array) -> Any:
    return mostly(factors(math.prod(x.shape)), st.sampled_from([(5, -1), (-1, -1), (7,), (2, -2)]))


def permuted(x: Array) -> Any:
    signed = st.permutations(range(x.ndim)).flatmap(lambda o: st.tuples(*(st.sampled_from([i, i - x.ndim]) for i in o)))
    return mostly(signed, st.sampled_from([(0, 0), (0,), (0, 1, 5)]))


@st.composite
def expanded(draw: Any, x: Array) -> tuple[int, ...]:
    lengths = [draw(st.sampled_from([n, -1]) if n > 1 else st.sampled_from([1, -1, 2, 3])) for n in x.shape]
    return (*draw(mostly(shapes(0, 1), st.just((-1,)))), *lengths)


def times(x: Array, least: int) -> Any:
    """How often to repeat each of so many dimensions or more, and rarely of too few."""
    enough = st.lists(st.integers(1, 3), min_size=least, max_size=x.ndim + 1)
    return mostly(enough, st.just([1] * (x.ndim - 1))).map(tuple)


def some_dims(x: Array) -> Any:
    """Different dimensions, at least one."""
    n = max(1, x.ndim)
    return st.lists(st.integers(0, n - 1), min_size=1, max_size=n, unique=True).map(tuple)


@st.composite
def moves(draw: Any, x: Array) -> dict[str, Any]:
    source = draw(some_dims(x))
    destination = tuple(draw(st.permutations(range(max(1, x.ndim))))[: len(source)])
    if len(source) == 1 and draw(BOOLS):
        return {"source": source[0], "destination": destination[0] - max(1, x.ndim)}
    return {"source": source, "destination": destination}


@st.composite
def rolls(draw: Any, x: Array) -> dict[str, Any]:
    if draw(BOOLS):
        return {"shifts": draw(st.integers(-5, 5))}
    found = draw(some_dims(x))
    shifts = draw(mostly(st.tuples(*[st.integers(-5, 5)] * len(found)), st.just((1,) * 4)))
    one = len(shifts) == 1 and draw(BOOLS)
    return {"shifts": shifts[0], "dims": found[0]} if one else {"shifts": shifts, "dims": found}


@st.composite
def joined(draw: Any, same: bool) -> list[Array]:
    """Tensors for cat, along dimension 0, or for stack."""
    first = draw(arrays(shape=(1, 2, 3)))
    fitting = st.just(first.shape) if same else st.integers(1, 3).map(lambda n: (n, *first.shape[1:]))
    return [first, *draw(st.lists(arrays(shape=mostly(fitting, shapes(1, 2))), max_size=2))]


CASES = {
    **{name: case(ANY, reshaped) for name in ("reshape", "view")},
    "flatten": case(ANY, start_dim=maybe(dim), end_dim=maybe(dim)),
    "permute": case(ANY, permuted),
    **{name: case(ANY, dim, dim) for name in ("transpose", "swapaxes")},
    "T: property": case(arrays(shape=(0, 1, 2)), function=lambda ops, x: x.T),
    "mT: property": case(arrays(shape=(1, 2, 3)), function=lambda ops, x: x.mT),
    "t": case(arrays(shape=(0, 1, 2))),
    "unflatten": case(arrays(shape=(1, 2, 3)), st.just(0), lambda x, _: mostly(factors(x.shape[0]), st.just((5, -1)))),
    "unsqueeze": case(ANY, lambda x: mostly(st.integers(-x.ndim - 1, x.ndim), st.just(5))),
    "squeeze": case(
        arrays(shape=shapes(0, 1, 2, 3, most=2)), dim=maybe(lambda x: dims(x).filter(lambda d: d is not None))
    ),
    "movedim": case(arrays(shape=(1, 2, 3)), moves),
    "expand": case(ANY, expanded),
    "expand_as": case(arrays(shape=shapes(0, 1, 2, most=2)), arrays(shape=shapes(1, 2, 3, most=2))),
    **{name: case(ANY, lambda x: exactly(math.prod(x.shape))) for name in ("view_as", "reshape_as")},
    "repeat": case(ANY, lambda x: times(x, x.ndim)),
    "tile": case(ANY, lambda x: times(x, 0)),
    "repeat_interleave": case(  # torch counts the dimensions of what has none once too often
        ANY, mostly(st.integers(1, 3), st.just(-1)), dim=maybe(dim), exceeds=lambda c: not c.operands[0].shape
    ),
    "flip": case(ANY, lambda x: mostly(st.permutations(range(-x.ndim, 0)).map(tuple), st.just((0, 0)))),
    "roll": case(ANY, rolls),
    "cat": case(joined(False), function=lambda ops, tensors: ops.cat(tensors)),
    "cat: along any": case(arrays(shape=(1, 2, 3)), dim, function=lambda ops, x, d: ops.cat([x, x * True, x], d)),
    "stack": case(
        joined(True),
        dim=lambda xs: mostly(st.integers(-xs[0].ndim - 1, xs[0].ndim), st.just(5)),
        function=lambda ops, tensors, dim: ops.stack(tensors, dim),
    ),
    "split": case(
        arrays(shape=(1, 2, 3)), lambda x: mostly(st.integers(1, 5), st.sampled_from([0, [1, 1], [5]])), dim=maybe(dim)
    ),
    "split: by sizes": case(
        arrays(shape=(2, 3)), lambda x: st.lists(st.integers(1, 2), min_size=1, max_size=3), dim=dim
    ),
    "chunk": case(arrays(shape=(1, 2, 3)), mostly(st.integers(1, 5), st.just(0)), dim=maybe(dim)),
    "narrow": case(arrays(shape=(1, 2, 3)), dim, st.integers(-3, 3), st.integers(0, 3)),
    "select": case(arrays(shape=(1, 2, 3)), dim, mostly(st.sampled_from([0, -1]), st.just(4))),
    "unbind": case(arrays(shape=(1, 2, 3)), dim=maybe(dim)),
    "pixel_shuffle": case(
        arrays(shape=st.sampled_from([(4, 2, 3), (2, 8, 1, 2), (1, 9, 2, 2), (1, 2, 8, 1, 1)])), st.integers(1, 3)
    ),
    "pixel_unshuffle": case(
        arrays(shape=st.sampled_from([(1, 2, 4), (2, 1, 6, 2), (1, 3, 3), (1, 1, 2, 2, 2)])), st.integers(1, 3)
    ),
    "channel_shuffle": case(
        arrays(shape=st.sampled_from([(1, 4, 2, 3), (2, 6, 1), (1, 6, 2, 1, 2)])), st.integers(1, 3)
    ),
}
