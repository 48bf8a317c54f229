"""Orders of infinities, where TensorRT's layer gives -1 for what equals its padding: torch's results all the same."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers import TORCH, layers, message_of, run, strongly_typed, trace
from trtnn import Module
from trtnn import functional as F
from trtnn.errors import ArgumentError
from trtnn.models.centernet import decode
from trtnn.models.yolo_heads import Detect
from trtnn.ops.ordering import leading
from trtnn.reference.registry import LAYERS

INF, NAN, MOST = math.inf, math.nan, float(np.finfo(np.float32).max)


def measured(layer: Any) -> Any:
    """TOPK as TensorRT 8.6.0's was seen on an H200, with rows of 50 floats.

    It pads with infinity, for the largest with -infinity. An element that equals the padding comes out last, with -1 as
    its index, and NaN counts as padding; but of the largest, where all are asked for, it comes first.
    """
    (axis,) = (i for i in range(8) if layer.axes >> i & 1)
    count, largest = layer.k, layer.op.name == "MAX"
    padding = -INF if largest else INF

    def compute(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if x.is_floating_point() and not (largest and count == x.shape[axis]):
            x = x.where(~x.isnan(), padding)
        values, indices = (part.narrow(axis, 0, count) for part in x.sort(dim=axis, descending=largest, stable=True))
        if x.is_floating_point():
            indices = indices.where(values != padding, -1)
        return values, indices.int()

    return compute


@pytest.fixture
def padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reference order as TensorRT 8.6 does, and pass over NaN in the smaller and the larger of two."""
    right = LAYERS["ELEMENTWISE"]
    passing = {"MIN": torch.fmin, "MAX": torch.fmax}
    monkeypatch.setitem(LAYERS, "ELEMENTWISE", lambda layer: passing.get(layer.op.name) or right(layer))
    monkeypatch.setitem(LAYERS, "TOPK", measured)


def test_the_layer_is_as_it_was_measured():
    x = torch.arange(50.0).flip(0).repeat(2, 1)
    x[:, [5, 20, 44]] = torch.tensor([INF, -INF, INF])

    def gives(largest: bool, count: int, x: torch.Tensor = x) -> tuple[list[float], list[int]]:
        order = type("Order", (), {"name": "MAX" if largest else "MIN"})
        values, indices = measured(type("TopK", (), {"axes": 2, "k": count, "op": order}))(x)
        return values[1].tolist(), indices[1].tolist()

    assert gives(False, 50)[1][-3:] == [0, -1, -1]
    assert gives(False, 3) == ([-INF, 0, 1], [20, 49, 48])
    assert gives(True, 50)[1][-2:] == [49, -1]
    assert gives(True, 3) == ([INF, INF, 49], [5, 44, 0])
    finite = x.clamp(-MOST, MOST)
    assert gives(False, 50, finite)[1][-3:] == [0, 5, 44]
    assert gives(True, 50, finite)[1][-2:] == [49, 20]
    x[:, 7] = NAN
    assert gives(False, 50)[0][-3:] == [INF] * 3
    assert gives(False, 50)[1][-3:] == [-1] * 3
    assert gives(True, 3) == ([INF, INF, 49], [5, 44, 0])
    assert gives(True, 50)[1][:3] == [7, 5, 44]
    assert gives(True, 50)[1][-1] == -1


def rows(kind: str) -> np.ndarray:
    """Return rows of 12 numbers that fp16 holds, many several times, with its ends where they are not finite."""
    x = np.random.default_rng(0).integers(-8, 8, (9, 12)).astype(np.float32) / 4
    if kind == "finite":
        return x
    x[:4, [1, 6, 7, 10]] = [[INF, -INF, INF, 1], [-INF, -INF, 65504, INF], [INF, -65504, -INF, 65504], [-INF] * 4]
    x[4:6], x[6, 1:], x[7, 1:] = [[-INF], [INF]], -INF, INF
    if kind == "NaN":
        x[0, 3], x[3, [2, 9]], x[8, :5], x[8, 5:] = NAN, NAN, NAN, INF
    return x


def first_of(ops: Any, x: Any, largest: bool, count: int = 1) -> Any:
    """The first few of all in order: torch's own topk leaves open which of equal elements it gives."""
    return tuple(part[:, :count] for part in ops.sort(x, dim=1, descending=largest, stable=True))


# Each with what it is held against, where that is not torch's function of the name.
ORDERS: dict[str, Any] = {
    "sort": lambda ops, x: tuple(ops.sort(x, dim=1, stable=True)),
    "sort, descending": lambda ops, x: tuple(ops.sort(x, dim=0, descending=True, stable=True)),
    "argsort": lambda ops, x: ops.argsort(x, dim=1, stable=True),
    "argsort, descending": lambda ops, x: ops.argsort(x, dim=1, descending=True, stable=True),
    "msort": lambda ops, x: ops.msort(x),
    "topk": (lambda x: tuple(F.topk(x, 5)), lambda x: first_of(torch, x, True, 5)),
    "topk, smallest": (lambda x: tuple(F.topk(x, 5, 1, False)), lambda x: first_of(torch, x, False, 5)),
    "topk of all": (lambda x: tuple(F.topk(x, 12)), lambda x: first_of(torch, x, True, 12)),
    "a vector": (lambda x: tuple(F.topk(x[3], 9)), lambda x: tuple(p[3] for p in first_of(torch, x, True, 9))),
    "max": lambda ops, x: tuple(ops.max(x, 1)),
    "argmax": lambda ops, x: ops.argmax(x, 1, keepdim=True),
    "argmax of all": lambda ops, x: ops.argmax(x),
    "min": (lambda x: tuple(F.min(x, 1)), lambda x: tuple(p[:, 0] for p in first_of(torch, x, False))),
    "argmin": (lambda x: F.argmin(x, 1), lambda x: first_of(torch, x, False)[1][:, 0]),
    "kthvalue": lambda ops, x: tuple(ops.kthvalue(x[i], k)[0] for i in (0, 1, 2, 4, 5) for k in (2, 6, 11)),
    "median": lambda ops, x: (ops.median(x, 1)[0], ops.median(x)),
    "nanmedian": lambda ops, x: (ops.nanmedian(x, 1)[0], ops.nanmedian(x)),
    "quantile": lambda ops, x: ops.quantile(x, 0.5, 1, interpolation="lower"),
    "nanquantile": lambda ops, x: ops.nanquantile(x, 0.7, 1, interpolation="higher"),
    "mode": lambda ops, x: ops.mode(x, 1)[0],
    "max_pool1d": lambda ops, x: tuple(ops.max_pool1d(x, 4, 2, 1, return_indices=True)),
    "adaptive_max_pool1d": lambda ops, x: tuple(ops.adaptive_max_pool1d(x, 1, return_indices=True)),
}
SORTED = ["sort", "sort, descending", "argsort", "argsort, descending", "msort"]
SORTED += ["median", "nanmedian", "quantile", "nanquantile"]


def assert_torchs(name: str, x: np.ndarray, half: bool) -> None:
    case = ORDERS[name]
    mine, theirs = case if isinstance(case, tuple) else (functools.partial(case, F), functools.partial(case, TORCH))
    given = torch.from_numpy(x)
    result, expected = run(mine, x, fp16=half), theirs(given.half() if half and "quantile" not in name else given)
    several = isinstance(result, tuple)
    for one, other in zip(result if several else [result], expected if several else [expected], strict=True):
        np.testing.assert_array_equal(one, other.numpy())


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=strongly_typed)], ids=["fp32", "fp16"])
@pytest.mark.parametrize("kind", ["finite", "infinite"])
@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.usefixtures("padded")
def test_orders(name: str, kind: str, half: bool) -> None:
    assert_torchs(name, rows(kind), half)


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=strongly_typed)], ids=["fp32", "fp16"])
@pytest.mark.parametrize("measures", [True, False], ids=["8.6", "reference"])
@pytest.mark.parametrize("name", SORTED)
def test_nan_beside_infinity(name: str, measures: bool, half: bool, request: pytest.FixtureRequest) -> None:
    """Where all are sorted it comes after infinity, also where the smaller of two numbers passes over it."""
    if measures:
        request.getfixturevalue("padded")
    assert_torchs(name, rows("NaN"), half)


@pytest.mark.usefixtures("padded")
def test_nan_among_a_few_is_the_largest() -> None:
    x = np.float32([[1, NAN, 3, -INF], [NAN, -INF, -INF, -INF], [NAN] * 4])
    given = torch.from_numpy(x)
    for result, expected in zip(run(lambda x: tuple(F.topk(x, 2)), x), first_of(torch, given, True, 2), strict=True):
        np.testing.assert_array_equal(result, expected.numpy())
    assert run(lambda x: F.argmin(x, 1), x).tolist() == [3, 1, 0]


@pytest.mark.usefixtures("padded")
def test_the_ends_of_fp32_count_as_infinite() -> None:
    x = np.float32([[MOST, 1, INF, 3.4e38, 3.3e38], [-INF, -MOST, 0, -3.3e38, -INF]])
    values, indices = run(lambda x: tuple(F.sort(x, 1)), x)
    assert indices.tolist() == [[1, 4, 0, 2, 3], [0, 1, 4, 3, 2]]
    np.testing.assert_array_equal(values, np.take_along_axis(x, indices, 1))


@pytest.mark.usefixtures("padded")
@pytest.mark.parametrize("odd", [(INF, -INF), (INF, -INF, NAN), ()], ids=["infinite", "NaN", "finite"])
@pytest.mark.parametrize("half", [False, pytest.param(True, marks=strongly_typed)], ids=["fp32", "fp16"])
@pytest.mark.parametrize("descending", [False, True])
def test_long_orders(descending: bool, half: bool, odd: tuple[float, ...]) -> None:
    generator = np.random.default_rng(1)
    x = generator.integers(-500, 500, (2, 3845)).astype(np.float32)
    for number in odd:
        x[:, generator.integers(0, 3845, 9)] = number
    x[:, -1] = odd[0] if odd else 0
    functions = {
        "sort": lambda x: tuple(F.sort(x, 1, descending)),
        "topk": lambda x: tuple(F.topk(x, 3842, 1, descending)),
    }
    result = run(lambda x: {name: function(x) for name, function in functions.items()}, x, fp16=half)
    for name, count in (("sort", 3845), ("topk", 3842)):
        for one, other in zip(result[name], first_of(torch, torch.from_numpy(x), descending, count), strict=True):
            np.testing.assert_array_equal(one, other.numpy())


# -- heads of detectors: what they give with torch's order is held against torch in tests/models -----------------------


def maps_of(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    generator = np.random.default_rng(2)
    drawn = [generator.standard_normal(shape).astype(np.float16).astype(np.float32) for shape in shapes]
    logits = drawn[0].reshape(2, -1)
    logits[:, ::3], logits[:, 5], logits[1] = -INF, INF, -INF
    return drawn


DETECT = Detect((16,), 3, (8,), branches=("one2one_",))
HEADS: dict[str, Any] = {
    "YOLO26": (
        lambda scores, sides: DETECT.best(sides, scores, DETECT.grid([scores.view(2, 3, 20, 20)])),
        maps_of((2, 3, 400), (2, 4, 400)),
    ),
    "CenterNet": (
        lambda hm, wh, reg: decode(hm, wh, reg, 40),
        maps_of((2, 3, 8, 8), (2, 2, 8, 8), (2, 2, 8, 8)),
    ),
    "RT-DETR": (
        lambda logits, x: x.gather(1, leading(logits.amax(-1), 30).unsqueeze(-1).expand(-1, -1, 5)),
        maps_of((2, 60, 3), (2, 60, 5)),
    ),
}


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=strongly_typed)], ids=["fp32", "fp16"])
@pytest.mark.parametrize("kind", ["finite", "infinite"])
@pytest.mark.parametrize("name", HEADS)
def test_heads_of_detectors(name: str, kind: str, half: bool, request: pytest.FixtureRequest) -> None:
    function, maps = HEADS[name]
    if kind == "finite":
        maps = [np.nan_to_num(one, posinf=9, neginf=-9) for one in maps]
    network = trace(function, *maps, fp16=half)
    expected = network.run(*maps)
    assert np.isfinite(expected).all()
    request.getfixturevalue("padded")
    np.testing.assert_array_equal(trace(function, *maps, fp16=half).run(*maps), expected)


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=strongly_typed)], ids=["fp32", "fp16"])
def test_leading_scores(half: bool, padded: None) -> None:
    x = np.random.default_rng(3).normal(0, 9, (2, 5, 60)).astype(np.float16).astype(np.float32)
    x[0, 0, 10:50] = -INF
    x[0, 1, [7, 30]] = INF
    x[1, 2, 3:] = -INF
    network = trace(lambda x: leading(x, 40), x, fp16=half)
    (order,) = layers(network, "TOPK")
    assert order.get_input(0).dtype.name == ("HALF" if half else "FLOAT")
    expected = torch.from_numpy(x).sort(dim=-1, descending=True, stable=True).indices[..., :40]
    np.testing.assert_array_equal(network.run(x), expected)


def test_leading_scores_by_parts_where_they_are_many():
    x = np.random.default_rng(4).permutation(9000).astype(np.float32)[None]
    np.testing.assert_array_equal(run(lambda x: leading(x, 5000), x)[0], np.argsort(-x[0])[:5000])


# -- how many layers it takes ------------------------------------------------------------------------------------------


def kinds_of(function: Any, *inputs: Any, **options: Any) -> dict[str, int]:
    network = trace(function, *inputs, **options)
    kinds = ("TOPK", "GATHER", "ELEMENTWISE", "CAST", "SELECT")
    return {kind: len(layers(network, kind)) for kind in kinds}


@pytest.mark.parametrize(
    ("function", "gathers"),
    [
        (lambda x: F.argmax(x, 1), 0),
        (F.argmin, 0),
        (lambda x: F.argsort(x, 0), 0),
        (lambda x: F.topk(x, 2).indices, 0),
        (lambda x: F.topk(x[0], 2)[1], 0),
        (lambda x: F.max(x, 1)[1] + 1, 0),
        (lambda x: F.topk(x, 2).values, 1),
        (lambda x: tuple(F.topk(x, 2)), 1),
        (lambda x: F.kthvalue(x, 3)[0], 1),
        (lambda x: tuple(F.topk(x.int(), 2)), 0),
        (lambda x: F.sort(x > 0)[0], 0),
    ],
)
def test_values_that_nothing_reads_are_not_gathered(function: Any, gathers: int) -> None:
    counts = kinds_of(function, (4, 6))
    assert (counts["TOPK"], counts["GATHER"]) == (1, gathers)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.sort(x > 0)[0],
        lambda x: F.argsort(x > 0, 0),
        lambda x: F.mode(x > 0)[0],
        lambda x: tuple(F.mode(x)),
        lambda x: tuple(F.median(x, 1)),
        lambda x: tuple(F.nanmedian(x, 1)),
    ],
)
def test_what_is_no_integer_is_ordered_as_floats(function: Any) -> None:
    """TensorRT 8.6 orders no integers."""
    found = layers(trace(function, (4, 6)), "TOPK")
    assert found
    assert {layer.get_input(0).dtype.name for layer in found} == {"FLOAT"}


def test_keys_take_two_layers() -> None:
    plain = kinds_of(lambda x: F.topk(x.int(), 2)[0], (4, 6))
    assert plain["ELEMENTWISE"] == plain["SELECT"] == 0
    for count in (2, 6):
        first = kinds_of(lambda x, count=count: F.topk(x, count)[1], (4, 6))
        assert (first["ELEMENTWISE"], first["SELECT"]) == (2, 0)
    assert kinds_of(F.argsort, (4, 6))["SELECT"] == 1


def test_what_is_changed_in_place_later_is_not_read() -> None:
    def function(x: Any) -> Any:
        y = x + 0
        values, indices = y.topk(2)
        y += 10
        indices += 1
        return values, indices

    x = np.float32([[1, 3, 2, 0]])
    values, indices = run(function, x)
    assert (values.tolist(), indices.tolist()) == ([[3, 2]], [[2, 3]])


def test_values_that_nothing_reads_are_outputs_where_they_are_asked_for() -> None:
    class First(Module):
        def forward(self, x: Any) -> Any:
            return x.topk(2)

    class Places(Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = First()

        def forward(self, x: Any) -> Any:
            return self.first(x)[1]

    x = np.float32([[1, 3, -INF, 0]])
    model = Places()
    message = message_of(ArgumentError, model.trace({"x": x.shape}).run, x, outputs=["first"])
    assert "what 'first' returned is not in this network" in message
    assert "nothing reads it, such as values where the indices alone are used" in message
    assert "model.trace(outputs=['first'])" in message
    _, inner = model.trace({"x": x.shape}, outputs=["first"]).run(x)
    assert [part.tolist() for part in inner["first"]] == [[[3, 1]], [[1, 0]]]
