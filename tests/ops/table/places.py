"""Operations that pick elements, put them somewhere, or put others around them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.calls import (
    BOOLS,
    FLOATS,
    MATRICES,
    POSITIVE,
    SCALARS,
    WHOLE,
    Array,
    Together,
    arrays,
    case,
    dim,
    exactly,
    maybe,
    mostly,
    shapes,
    windows,
)


@st.composite
def index(draw: Any, x: Array) -> Any:
    """What torch takes between brackets: integers, slices, None, Ellipsis, lists, arrays, and tensors of integers."""
    picked = draw(shapes(1, 2, most=2))
    items: list[Any] = []
    for n in x.shape[: draw(st.integers(0, x.ndim))]:
        bound = st.none() | st.integers(-n - 1, n + 1)
        list_ = st.lists(st.integers(-n, n - 1), min_size=picked[-1], max_size=picked[-1])
        items.append(
            draw(
                st.integers(-n, n - 1)
                | st.builds(slice, bound, bound, st.none() | st.integers(1, 3))
                | list_
                | list_.map(np.array)
                | arrays(WHOLE, st.just(picked), low=-n, high=n - 1)
                | st.lists(BOOLS, min_size=n, max_size=n)
            )
        )
    for extra in draw(st.sampled_from([[], [None], [Ellipsis], [None, Ellipsis]])):
        items.insert(len(items) if extra is Ellipsis else draw(st.integers(0, len(items))), extra)
    return tuple(items)


def masks(shape: tuple[int, ...]) -> Any:
    """Arrays of bools that fit the first dimensions."""
    lengths = st.integers(1, len(shape)).map(lambda n: shape[:n])
    return lengths.flatmap(lambda found: st.integers(0, 9).map(lambda i: Array("bool", found, i).numbers()))


@st.composite
def elements(draw: Any, x: Array) -> dict[str, Any]:
    """A dimension and an index of as many dimensions, not longer in any other."""
    axis = draw(st.integers(0, x.ndim - 1))
    lengths = [draw(st.integers(1, 3 if i == axis else n)) for i, n in enumerate(x.shape)]
    lengths = draw(mostly(st.just(lengths), st.just([n + (i != axis) for i, n in enumerate(x.shape)])))
    found = draw(exactly(*lengths, kinds=WHOLE, low=0, high=x.shape[axis] - 1))
    return {"dim": draw(st.sampled_from([axis, axis - x.ndim])), "index": found}


def of_another_kind(x: Array, *shape: int) -> Any:
    """Tensors of a type that is not that of ``x``, in fp16 either."""
    return exactly(*shape, kinds=WHOLE if x.kind in FLOATS else FLOATS)


@st.composite
def scattered(draw: Any, x: Array) -> Together:
    """A dimension, places that differ, and what goes there."""
    axis = draw(st.integers(0, x.ndim - 1))
    lengths = [draw(st.integers(1, n)) for n in x.shape]
    along = np.array(draw(st.permutations(range(x.shape[axis]))))[: lengths[axis]]
    places = np.broadcast_to(along.reshape([-1 if i == axis else 1 for i in range(x.ndim)]), lengths)
    source = draw(exactly(*x.shape, kinds=[x.kind]) | of_another_kind(x, *x.shape) | SCALARS)
    return Together((axis, places, source))


@st.composite
def summed(draw: Any, x: Array, vector: bool) -> Together:
    """A dimension, places along it that may be the same, and what is added there; rarely what does not fit.

    Floating numbers are above 0: what remains of a sum in fp16 where they cancel out is its rounding.

    Args:
        vector: whether one index is for all that lies at one place of the dimension, as ``index_add`` takes it.
    """
    axis = draw(st.integers(0, x.ndim - 1))
    count = draw(st.integers(1, 5))
    lengths = [count if i == axis else n if vector else draw(st.integers(1, n)) for i, n in enumerate(x.shape)]
    lengths = draw(mostly(st.just(lengths), st.just([n + (i != axis) for i, n in enumerate(lengths)])))
    index = draw(exactly(*([count] if vector else lengths), kinds=WHOLE, low=0, high=x.shape[axis] - 1))
    source = [n if vector else n + draw(st.integers(0, 1)) for n in lengths]
    source = draw(mostly(st.just(source), st.just([n + (i == axis) for i, n in enumerate(x.shape)])))
    other = of_another_kind(x, *source) | SCALARS
    index = index.numbers() if draw(BOOLS) else index
    return Together(
        (
            draw(st.sampled_from([axis, axis - x.ndim])),
            index,
            draw(mostly(exactly(*source, kinds=[x.kind], **POSITIVE), other)),
        )
    )


IMAGES = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(2, 5), st.integers(2, 5))


@st.composite
def paddings(draw: Any, x: Array) -> dict[str, Any]:
    mode = draw(mostly(st.sampled_from(["constant", "constant", "reflect", "replicate", "circular"]), st.just("wrap")))
    sides = draw(st.integers(1, x.ndim)) if mode == "constant" else max(1, x.ndim - draw(st.integers(1, 2)))
    found = draw(st.lists(st.integers(-1, 3), min_size=2 * sides, max_size=2 * sides))
    how = {"pad": draw(mostly(st.just(found), st.just([1]))), "mode": mode}
    return how | ({"value": draw(SCALARS if mode == "constant" else st.just(0.0))} if draw(BOOLS) else {})


def swallowed(c: Any) -> bool:
    """Whether a padding goes round what it cuts off itself, where torch's is what its memory held."""
    (x,), how = c.operands, c.arguments
    sides = zip(how["pad"][::2], how["pad"][1::2], strict=True)
    left = [(n + min(0, a) + min(0, b), max(a, b)) for n, (a, b) in zip(x.shape[::-1], sides, strict=False)]
    return how["mode"] == "circular" and any(n < max(1, most) for n, most in left)


CASES = {
    "getitem": case(arrays(shape=(1, 2, 3, 4)), index, function=lambda ops, x, i: x[i]),
    "getitem: by one": case(
        arrays(shape=(2, 3)),
        lambda x: arrays(WHOLE, (0, 1, 2), low=-1, high=0) | st.integers(-2, 2) | masks(x.shape),
        function=lambda ops, x, i: x[i],
    ),
    "gather": case(arrays(shape=(1, 2, 3)), elements),
    "scatter": case(arrays(shape=(1, 2, 3)), scattered),
    "scatter_add": case(arrays(shape=(1, 2, 3), **POSITIVE), lambda x: summed(x, False), half=MATRICES),
    "index_add": case(
        arrays(shape=(1, 2, 3), **POSITIVE),
        lambda x: summed(x, True),
        half=MATRICES,
        alpha=lambda x, *_: maybe(st.sampled_from([2, 0.5] if x.kind in FLOATS else [2, -1])),
    ),
    "index_select": case(arrays(shape=(1, 2, 3)), dim, lambda x, d: arrays(WHOLE, (1,), low=0, high=min(x.shape) - 1)),
    "one_hot": case(
        arrays(("int64",), (0, 1, 2), low=0, high=3),
        num_classes=maybe(st.integers(4, 6)),
        refuses={"give num_classes": lambda c: "num_classes" not in c.arguments},
    ),
    **{name: case(arrays(shape=(1, 2, 3)), diagonal=maybe(st.integers(-3, 3))) for name in ("tril", "triu")},
    "unfold: windows": case(
        arrays(shape=(1, 2, 3)), dim, st.integers(1, 3), st.integers(1, 3), function=lambda ops, x, *how: x.unfold(*how)
    ),
    "unfold": case(
        arrays(FLOATS, IMAGES),
        dilation=maybe(st.integers(1, 2)),
        **windows(2),
        function=lambda ops, x, **how: ops.unfold(x, **how),
    ),
    "fold": case(
        arrays(FLOATS, IMAGES),
        dilation=maybe(st.integers(1, 2)),
        **windows(2),
        half=MATRICES,
        function=lambda ops, x, **how: ops.fold(ops.unfold(x, **how), x.shape[2:], **how),
    ),
    "pad": case(
        arrays(shape=(1, 2, 3, 4)),
        paddings,
        refuses={"do not lie within": swallowed, "in mode 'circular'": swallowed},
        exceeds=lambda c: c.arguments["mode"] != "constant",
    ),
}
