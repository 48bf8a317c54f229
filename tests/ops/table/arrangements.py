"""Operations that put tensors side by side, turn them, take out diagonals, and put elements into places."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.ops.calls import (
    BOOL,
    BOOLS,
    KINDS,
    SCALARS,
    WHOLE,
    Array,
    Case,
    Together,
    arrays,
    broadcasting,
    case,
    dim,
    exactly,
    maybe,
    mostly,
    shapes,
)
from tests.ops.table import shapes as table
from tests.ops.table.places import elements, of_another_kind
from tests.ops.table.shapes import ANY, some_dims

MATRICES = (2, 3)
OFFSETS = st.integers(-3, 3)


@st.composite
def several(draw: Any, *ndims: int) -> list[Array]:
    """Tensors of one shape, and rarely of others."""
    first = draw(arrays(shape=ndims))
    return [first, *draw(st.lists(arrays(shape=mostly(st.just(first.shape), shapes(*ndims))), max_size=2))]


def stacked(name: str) -> Case:
    return case(several(0, 1, 2, 3), function=lambda ops, tensors: getattr(ops, name)(tensors))


def at_least(name: str) -> dict[str, Case]:
    return {
        name: case(ANY, function=lambda ops, x: getattr(ops, name)(x)),
        f"{name}: several": case(several(0, 1, 2), function=lambda ops, tensors: getattr(ops, name)(*tensors)),
        f"{name}: a list": case(several(0, 1, 2), function=lambda ops, tensors: getattr(ops, name)(tensors)),
    }


def parts(x: Array, *_: Any) -> Any:
    """How many parts, or where to cut."""
    return mostly(st.integers(1, 3), st.sampled_from([0, 5])) | st.lists(st.integers(1, 3), min_size=1, max_size=2)


def two_dims(x: Array) -> Any:
    """Two dimensions as dim1 and dim2, and rarely one of them twice."""
    n = max(1, x.ndim)
    signed = st.sampled_from(range(-n, n))
    return st.fixed_dictionaries({"dim1": signed, "dim2": signed})


@st.composite
def scattered_diagonals(draw: Any, x: Array) -> dict[str, Any]:
    offset = draw(st.integers(-1, 1))
    shape = np.diagonal(np.empty(x.shape), offset).shape
    src = draw(mostly(exactly(*shape, kinds=[x.kind]), exactly(*shape[:-1], shape[-1] + 1, kinds=[x.kind])))
    return {"src": src, "offset": offset}


@st.composite
def copied(draw: Any, x: Array) -> Together:
    """A dimension, places along it that differ, and what goes there."""
    axis = draw(st.integers(0, x.ndim - 1))
    count = draw(st.integers(1, x.shape[axis]))
    index = np.array(draw(st.permutations(range(x.shape[axis]))))[:count]
    source = [count if i == axis else n for i, n in enumerate(x.shape)]
    source = draw(mostly(st.just(source), st.just([n + 1 for n in source])))
    return Together((axis, index, draw(mostly(exactly(*source, kinds=[x.kind]), of_another_kind(x, *source)))))


@st.composite
def put(draw: Any, x: Array) -> dict[str, Any]:
    """Places of the first dimensions that differ, as arrays or tensors, and what goes there."""
    count = draw(st.integers(1, x.ndim))
    lengths = x.shape[:count]
    flat = np.array(draw(st.permutations(range(math.prod(lengths)))))[: draw(st.integers(1, 3))]
    places = np.unravel_index(flat, lengths)
    found = [place - draw(st.sampled_from([0, n])) for place, n in zip(places, lengths, strict=True)]
    values = draw(broadcasting((len(flat), *x.shape[count:])))
    return {
        "indices": tuple(found),
        "values": draw(exactly(*values, kinds=[x.kind], low=0.25, high=4)),
        "accumulate": draw(BOOLS),
    }


@st.composite
def along(draw: Any, x: Array) -> dict[str, Any]:
    found = draw(elements(x))
    found["indices"] = found.pop("index")
    return found


@st.composite
def selected(draw: Any, x: Array) -> Together:
    axis = draw(st.integers(0, x.ndim - 1))
    shape = [n for i, n in enumerate(x.shape) if i != axis]
    src = draw(mostly(exactly(*shape, kinds=[x.kind]), exactly(*shape, 2, kinds=[x.kind])))
    return Together((src, axis, draw(mostly(st.integers(-x.shape[axis], x.shape[axis] - 1), st.just(9)))))


@st.composite
def sliced(draw: Any, x: Array) -> dict[str, Any]:
    axis = draw(st.integers(0, x.ndim - 1))
    n = x.shape[axis]
    start, end = (draw(st.none() | st.integers(-n, n)) for _ in range(2))
    step = draw(st.integers(1, 3))
    count = len(range(*slice(start, end, step).indices(n)))
    shape = [max(1, count) if i == axis else length for i, length in enumerate(x.shape)]
    src = draw(exactly(*shape, kinds=[x.kind]))
    return {"src": src, "dim": axis, "start": start, "end": end, "step": step}


@st.composite
def summed_to(draw: Any, x: Array) -> tuple[int, ...]:
    """A shape that expands to that of a tensor."""
    shape = x.shape[draw(st.integers(0, x.ndim)) :]
    return tuple(draw(st.sampled_from([n, 1])) for n in shape)


CASES = {
    **{name: stacked(name) for name in ("hstack", "vstack", "dstack", "column_stack", "row_stack")},
    **at_least("atleast_1d"),
    **at_least("atleast_2d"),
    **at_least("atleast_3d"),
    "concat": case(table.joined(False), function=lambda ops, tensors: ops.concat(tensors)),
    "concatenate": case(table.joined(False), function=lambda ops, tensors: ops.concatenate(tensors, 0)),
    "block_diag": case(several(0, 1, 2), function=lambda ops, tensors: ops.block_diag(*tensors)),
    "broadcast_tensors": case(
        ANY,
        lambda x: arrays(shape=broadcasting(x.shape)),
        function=lambda ops, *tensors: ops.broadcast_tensors(*tensors),
    ),
    "broadcast_to": case(ANY, table.expanded),
    "broadcast_to: one by one": case(
        ANY, table.expanded, function=lambda ops, x, size: x.broadcast_to(*(size or [()]))
    ),
    "tensor_split": case(arrays(shape=(1, 2, 3)), parts, dim=maybe(dim)),
    **{name: case(ANY, parts) for name in ("hsplit", "vsplit", "dsplit")},
    "split_with_sizes": case(
        arrays(shape=MATRICES), lambda x: st.lists(st.integers(1, 2), min_size=1, max_size=3), dim=dim
    ),
    "unsafe_split": case(arrays(shape=(1, 2, 3)), mostly(st.integers(1, 5), st.just(0)), dim=maybe(dim)),
    "unsafe_chunk": table.CASES["chunk"],
    "moveaxis": table.CASES["movedim"],
    "swapdims": case(ANY, dim, dim),
    "ravel": case(ANY),
    "adjoint": case(arrays(shape=(1, 2, 3)), exceeds=lambda c: c.arrays[0].ndim < 2),
    "H: property": case(arrays(shape=(0, 1, 2)), function=lambda ops, x: x.H, exceeds=lambda c: c.arrays[0].ndim == 1),
    "mH: property": case(arrays(shape=(2, 3)), function=lambda ops, x: x.mH),
    "fliplr": case(ANY),
    "flipud": case(ANY),
    "rot90": case(arrays(shape=(1, 2, 3)), k=maybe(st.integers(-4, 5)), dims=maybe(some_dims)),
    "sum_to_size": case(ANY, summed_to, half=5e-3),
    "diagonal": case(ANY, offset=maybe(OFFSETS)),
    "diagonal: of others": case(arrays(shape=MATRICES), two_dims),
    "diag": case(arrays(shape=(0, 1, 2, 3)), diagonal=maybe(OFFSETS)),
    "diagflat": case(ANY, offset=maybe(OFFSETS)),
    "diag_embed": case(arrays(shape=(0, 1, 2)), offset=maybe(OFFSETS)),
    "diag_embed: of others": case(
        arrays(shape=(1, 2)),
        lambda x: st.fixed_dictionaries({"dim1": st.integers(-2, 2), "dim2": st.integers(-2, 2), "offset": OFFSETS}),
    ),
    "diagonal_scatter": case(arrays(shape=st.sampled_from([(2, 2), (2, 3), (3, 2)])), scattered_diagonals),
    "trace": case(arrays(shape=(1, 2, 3))),
    "cartesian_prod": case(
        st.sampled_from(KINDS).flatmap(lambda kind: st.lists(arrays([kind], (1,)), min_size=1, max_size=3)),
        function=lambda ops, tensors: ops.cartesian_prod(*tensors),
    ),
    "combinations": case(arrays(shape=(1,)), r=maybe(st.integers(1, 3)), with_replacement=maybe(BOOLS)),
    **{
        name: case(
            st.integers(1, 4),
            st.integers(1, 4),
            offset=maybe(st.integers(-2, 2)),
            function=lambda ops, *given, name=name, **how: getattr(ops, name)(*given, **how),
        )
        for name in ("tril_indices", "triu_indices")
    },
    "unravel_index": case(
        arrays(WHOLE, (0, 1, 2), low=0, high=11),
        st.sampled_from([(3, 4), (12,), (2, 3, 2), 12]),
        function=lambda ops, x, shape: ops.unravel_index(x, shape),
    ),
    "take": case(
        arrays(shape=(1, 2, 3)),
        lambda x: arrays(("int64",), (0, 1, 2), low=-math.prod(x.shape), high=math.prod(x.shape) - 1),
    ),
    "take_along_dim": case(
        arrays(shape=(1, 2, 3)),
        along,
        exceeds=lambda c: c.arguments["indices"].kind == "int32",
    ),
    "take_along_dim: from the end": case(
        exactly(2, 3),
        exactly(2, 2, kinds=("int64",), low=-3, high=-1),
        function=lambda ops, x, i: ops.take_along_dim(x, i, 1),
    ),
    "take_along_dim: flat": case(
        arrays(shape=(1, 2)), lambda x: arrays(("int64",), (1, 2), low=0, high=math.prod(x.shape) - 1)
    ),
    "index_fill": case(
        arrays(shape=(1, 2, 3)),
        st.just(0),
        lambda x, _: mostly(
            arrays(("int64",), (1,), low=-x.shape[0], high=x.shape[0] - 1),
            st.lists(st.integers(-x.shape[0], x.shape[0]), min_size=1).map(np.array),
        ),
        SCALARS,
    ),
    "index_copy": case(arrays(shape=(1, 2, 3)), copied),
    "index_put": case(arrays(shape=(1, 2, 3), low=0.25, high=4), put, half=5e-3),
    "index_put: by a mask": case(
        arrays(shape=(2, 3)),
        lambda x: st.integers(1, x.ndim).flatmap(lambda n: exactly(*x.shape[:n], kinds=BOOL)),
        lambda x, mask: st.sampled_from([(), (1,), x.shape[mask.ndim :], (1, *x.shape[mask.ndim :])]).flatmap(
            lambda shape: exactly(*shape, kinds=[x.kind])
        ),
        BOOLS,
        function=lambda ops, x, mask, value, accumulate: ops.index_put(x, (mask,), value, accumulate),
    ),
    "put": case(
        arrays(shape=(1, 2, 3), low=0.25, high=4),
        lambda x: st.permutations(range(-math.prod(x.shape), 0)).map(lambda found: np.array(found[:3])),
        lambda x, index: exactly(len(index), kinds=[x.kind], low=0.25, high=4),
        accumulate=maybe(BOOLS),
        half=5e-3,
    ),
    "fill_diagonal_": case(
        arrays(shape=st.sampled_from([(2, 3), (3, 2), (2, 2, 2), (3,), (2, 3, 2)])),
        SCALARS,
        function=lambda ops, x, value: x.clone().fill_diagonal_(value),
    ),
    "masked_scatter": case(
        arrays(shape=(1, 2, 3)),
        lambda x: arrays(BOOL, broadcasting(x.shape)),
        lambda x, mask: exactly(4, 4, 4, 4, kinds=[x.kind]),
    ),
    "select_scatter": case(arrays(shape=(1, 2, 3)), selected),
    "slice_scatter": case(arrays(shape=(1, 2, 3)), sliced),
}
