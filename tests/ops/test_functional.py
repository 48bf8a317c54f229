"""Functions of Tensors, and Tensor's operators and methods, against torch's."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers import assert_close, check_triangle, message_of, needs_type, numbers, run, strongly_typed, trace
from trtnn import Input, Parameter, float32, get_backend, int32
from trtnn import functional as F
from trtnn.errors import ArgumentError, DTypeError, ShapeError, TrtnnError, UnsupportedError

A, B = numbers(2, 3, 4, seed=1), numbers(3, 1, seed=2)
POSITIVE = np.abs(numbers(2, 3, 4, seed=3)) + np.float32(0.5)
INTEGERS = np.array([[-7, -2, -1], [1, 2, 300]], np.int32)


def both(function):
    """A function of Tensors that means the same in trtnn and in torch."""
    return function, function


# -- arithmetic -------------------------------------------------------------------------------------------------------

ARRAY = numbers(3, 4, seed=4)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: [a + b, a - b, a * b, b - a, b + a],
        lambda a, b: [a / (b * b + 1), 1 / (a * a + 1), (a + 1) / 7, a / 0.25],
        lambda a, b: [a + 2, 2 + a, a - 2, 2 - a, a * 3, 3 * a, -a, a - 0.5, 0.5 - a, 1.5 * a],
        lambda a, b: [a**2, (a * a) ** 1.5, (b * b + 1) ** -1, 2**a, a**2.0, a**1],
        lambda a, b: [a.add(b), a.sub(b), a.mul(b), a.div(b * b + 1), a.neg(), a.exp(), a.pow(2)],
        lambda a, b: [a + True, a * False],
    ],
)
def test_arithmetic_with_broadcasting(function):
    check_triangle(*both(function), A, B)


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "int64", "int32", "bool"])
def test_arrays_on_either_side(kind):
    array = (ARRAY * 4).astype(kind)
    tensor = torch.from_numpy(array)
    tensor = tensor.float() if tensor.is_floating_point() else tensor

    def operations(other):
        def function(x):
            differences = [] if kind == "bool" else [x - other, other - x]  # torch has none of bool tensors
            return [x + other, other + x, x * other, other * x, other / (x * x + 1), *differences]

        return function

    check_triangle(operations(array), operations(tensor), A)


def test_numpy_numbers_are_numbers():
    for number in (np.float64(2.5), np.float32(2.5), np.int64(3), np.int8(3), np.float16(0.5)):
        result = run(lambda x, n=number: [n * x, x * n, n - x, x / n, n / (x * x + 1)], A)
        plain = number.item()
        assert_close(
            result,
            [torch.from_numpy(v) for v in (plain * A, plain * A, plain - A, A / plain)]
            + [torch.from_numpy(plain / (A * A + 1))],
        )


def test_parameters_are_arrays():
    parameter = Parameter(3, 4)
    parameter.data = ARRAY
    tensor = torch.from_numpy(ARRAY)
    check_triangle(lambda x: x * parameter + parameter, lambda x: x * tensor + tensor, A)
    check_triangle(lambda x: F.mul(parameter, x), lambda x: tensor * x, A)


def test_parameters_do_within_forward_what_tensors_do():
    parameter, tensor = Parameter(3, 4), torch.from_numpy(ARRAY)
    parameter.data = ARRAY

    def function(x, w):
        rows = list(w)
        return [w[:, 1:] + 1, w.T, -w, w @ w.mT, w.expand(2, -1, -1) * x, w > 0, w.softmax(-1), rows[1] * 2]

    check_triangle(lambda x: function(x, parameter), lambda x: function(x, tensor), A)
    assert_close(run(lambda x: x[0] + ARRAY * parameter, A), torch.from_numpy(A[0] + ARRAY * ARRAY))
    assert parameter in [Parameter(3, 4), parameter]  # outside a trace it is compared as itself
    assert "made outside a trace" in message_of(TrtnnError, lambda: parameter + 1)


def test_integers():
    check_triangle(*both(lambda x: [x + 2, 2 - x, x * 3, -x, x * x, x**2, x * True, x.float() * 0.5]), INTEGERS)


@needs_type("int64")
def test_integers_of_two_lengths():
    check_triangle(*both(lambda x: [x + x.long(), x.long() * x]), INTEGERS)


def test_integers_with_floating_numbers_and_division():
    def function(x):
        return [x / 2, 1 / x, x * 0.5, 0.5 - x, x / x, x / 4.0]

    check_triangle(*both(function), INTEGERS)
    check_triangle(*both(lambda x: [x / 255, 255 - x / 2, x * 0.5]), np.array([0, 1, 128, 255], np.uint8))


FLAGS = np.array([True, False, True])


def test_booleans_with_floating_numbers():
    check_triangle(*both(lambda x: [x * 0.5, x / 2]), FLAGS)


@needs_type("int64")
def test_booleans_with_integers():
    check_triangle(*both(lambda x: [x + 1, x * 3]), FLAGS)


def test_integer_division_takes_the_type_that_the_network_computes_in():
    for fp16, dtype in ((False, "float32"), (True, "float16")):
        seen = []
        trace(lambda x, seen=seen: seen.append(x / 255) or x * 0.5, Input((2,), "uint8"), fp16=fp16)
        assert seen[0].dtype.name == dtype


@pytest.mark.parametrize(
    "kinds",
    [
        ("float32", "int32"),
        pytest.param(("int64", "float32"), marks=needs_type("int64")),
        pytest.param(("int32", "int64"), marks=needs_type("int64")),
        ("bool", "int32"),
        ("bool", "float32"),
    ],
)
def test_tensors_of_two_types_promote_as_in_torch(kinds):
    first, second = ((numbers(2, 3, seed=i) * 4).astype(kind) for i, kind in enumerate(kinds))
    check_triangle(
        *both(lambda a, b: [a + b, b - a, a * b]) if "bool" not in kinds else both(lambda a, b: [a + b]), first, second
    )


SHAPES = st.lists(st.integers(1, 3), max_size=4).map(tuple)


@settings(deadline=None, max_examples=60)
@given(SHAPES, SHAPES, st.booleans())
def test_broadcasting_of_any_shapes(a, b, as_array):
    first, second = numbers(*a, seed=1), numbers(*b, seed=2)
    try:
        expected = first - second
    except ValueError:
        assert "do not broadcast together" in message_of(ShapeError, trace, lambda x, y: x - y, first, second)
        return
    result = run(lambda x: x - second, first) if as_array else run(lambda x, y: x - y, first, second)
    assert_close(result, np.asarray(expected))


def test_shapes_that_do_not_broadcast_are_named():
    message = message_of(ShapeError, trace, lambda x: x + np.ones(5, np.float32), (2, 3))
    assert "shapes (2, 3) and (1, 5) do not broadcast together" in message


# -- casts ------------------------------------------------------------------------------------------------------------


def test_casts():
    x = np.array([-2.7, -0.5, 0, 0.5, 1.5, 300], np.float32)
    check_triangle(lambda x: [x.int(), x.float(), x.to("bool")], lambda x: [x.int(), x, x.bool()], x)
    check_triangle(lambda x: [F.cast(x, np.int32), x.to(torch.int32)], lambda x: [x.int(), x.int()], x)


def test_a_cast_that_tensorrt_does_otherwise_is_an_error(monkeypatch):
    backend = get_backend()
    shown = backend.dtype
    whole = backend.data_type(int32)
    monkeypatch.setattr(backend, "dtype", lambda member: float32 if member == whole else shown(member))
    message = message_of(UnsupportedError, trace, lambda x: x.to("int32") * 1.5, (2,))
    assert "makes float32 of what the model's own forward casts to int32" in message


@needs_type("int64")
def test_casts_to_long_integers():
    x = np.array([-2.7, -0.5, 0, 0.5, 1.5, 300], np.float32)
    check_triangle(lambda x: [x.long(), x.to(torch.int64)], lambda x: [x.long(), x.long()], x)


@strongly_typed
def test_half_rounds_and_leaves_as_float():
    x = np.array([1 + 2**-12, 2049, 0.1], np.float32)
    assert_close(run(lambda x: x.half() * 1, x), torch.from_numpy(x).half().float())


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=needs_type(kind)) for kind in ("int32", "int64", "int8", "bool")]
)
def test_every_type_goes_in_and_out(kind):
    x = np.array([[0, 1, 3], [2, 1, 0]]).astype(kind)
    check_triangle(*both(lambda x: [x.reshape(3, 2), x[:, 1:]]), x)


@pytest.mark.parametrize("kind", ["uint8", pytest.param("int8", marks=needs_type("int8"))])
def test_numbers_of_8_bits_compute_as_torchs(kind):  # TensorRT has them as inputs and outputs alone
    limits = np.iinfo(kind)
    x = np.array([[0, 1, limits.max], [limits.min, 3, 100]], kind)
    y = np.array([[7, limits.max, limits.max], [limits.min, limits.min, 100]], kind)

    def function(x, y, cat):
        return [
            x + y, x - y, x * y, -x, abs(x), x**3, x.clamp(2, 50), x > y, x.permute(1, 0), x[:, 1:], cat([x, y]),
            x.reshape(3, 2), *x.max(1), x.sum(), x.masked_fill(y > 3, 9), x.float() / 255, x.long() * y, x.bool(),
            (x.int() * 300).to(getattr(torch, kind)), x.sum(1, dtype=getattr(torch, kind)), (x > y).to(x.dtype), x, x,
        ]  # fmt: skip

    check_triangle(lambda x, y: function(x, y, F.cat), lambda x, y: function(x, y, torch.cat), x, y)


def test_an_unknown_type():
    assert "no element type 'complex64'" in message_of(DTypeError, trace, lambda x: x.to("complex64"), (2,))


# -- shape ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda x: [x.reshape(6, 4), x.reshape((4, -1)), x.view(2, 12), x.view(-1), x.reshape([1, 2, 3, 4])],
        lambda x: [x.permute(2, 0, 1), x.permute((1, -1, 0)), x.permute([0, 1, 2]), x.transpose(0, -1)],
        lambda x: [x.permute(1, 2, 0).reshape(3, 8), x.transpose(1, 2).contiguous().view(-1, 3)],
        lambda x: [x.chunk(2, 1)[0], *x.chunk(3, -1), *x.chunk(7, 0), *x.chunk(1)],
        lambda x: [*x.split(2, 1), *x.split([1, 3], -1), *x.split(9), *x.split((1, 1), 0)],
        lambda x: [x.narrow(1, 1, 2), x.narrow(-1, 0, 4), x.narrow(2, -3, 2)],
        lambda x: [x.size(0) * x, x * x.shape[-1], x + x.dim(), x * len(x), x / x.numel(), x * x.ndim],
        lambda x: [row * 2 for row in x],
    ],
)
def test_shapes(function):
    check_triangle(*both(function), A)


@pytest.mark.parametrize("dims", [(), (1,), (0, 1), (-2, -1), (1, 1)])
def test_flatten(dims):
    check_triangle(lambda x: x.flatten(*dims), lambda x: torch.flatten(x, *dims), A)


def test_flatten_of_no_dimensions():
    check_triangle(lambda x: x[0, 0, 0].flatten(), lambda x: torch.flatten(x[0, 0, 0]), A)


def test_cat():
    y = numbers(2, 5, 4, seed=9)
    for dim in (1, -2):
        check_triangle(lambda a, b, d=dim: F.cat([a, b, a], d), lambda a, b, d=dim: torch.cat([a, b, a], d), A, y)
    check_triangle(lambda a: F.cat([a, A], -1), lambda a: torch.cat([a, torch.from_numpy(A)], -1), A)
    check_triangle(lambda a: F.cat((A, a)), lambda a: torch.cat((torch.from_numpy(A), a)), A)
    check_triangle(lambda a: F.cat([a]), lambda a: torch.cat([a]), A)
    check_triangle(lambda a: F.cat([a.int(), a]), lambda a: torch.cat([a.int(), a]), A)


def test_returned_pieces_may_repeat_or_pass_through():
    check_triangle(*both(lambda x: (x, x, x[0:2], [x * 1])), A)


@st.composite
def indices(draw, shape):
    """Draw an index as torch takes it, of integers, slices, None and at most one Ellipsis."""
    items = []
    for length in shape[: draw(st.integers(0, len(shape)))]:
        if draw(st.booleans()):
            items.append(draw(st.integers(-length, length - 1)))
        else:
            bound = st.none() | st.integers(-length - 1, length + 1)
            items.append(slice(draw(bound), draw(bound), draw(st.none() | st.integers(1, 3))))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(items)))
        kept = len(items) - at
        # Behind an Ellipsis the indices are those of the last dimensions.
        tail = [draw(st.integers(-n, n - 1)) for n in shape[len(shape) - kept :]] if kept else []
        items[at:] = [Ellipsis, *tail]
    for _ in range(draw(st.integers(0, 2))):
        items.insert(draw(st.integers(0, len(items))), None)
    return tuple(items) if len(items) != 1 or draw(st.booleans()) else items[0]


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_index(data):
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    x = numbers(*shape)
    index = data.draw(indices(shape))
    expected = torch.from_numpy(x)[index]
    if not expected.numel():
        assert "leaves nothing" in message_of(ShapeError, trace, lambda x: x[index], x)
        return
    assert_close(run(lambda x: x[index], x), expected)


def test_indices_build():
    check_triangle(*both(lambda x: [x[..., ::2, 1::2], x[..., 1::2, ::2], x[0], x[:, -1], x[:, None, 1:], x[:]]), A)
    check_triangle(*both(lambda x: [x[..., 0], x[1, 2, 3], x[-2:, ..., 1:-1], x[..., None], x[:, 0:2, None, 3]]), A)
    check_triangle(*both(lambda x: [x[np.int64(1)], x[:, 1 : np.int64(3)]]), A)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.integers(1, 14), st.integers(-2, 1))
def test_chunks_and_splits_of_any_number(length, pieces, dim):
    x = numbers(length, length)
    expected = torch.from_numpy(x)
    assert_close(run(lambda x: x.chunk(pieces, dim), x), expected.chunk(pieces, dim))
    assert_close(run(lambda x: x.split(pieces, dim), x), expected.split(pieces, dim))


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (
            lambda x: x.__setitem__((slice(None), [0], [1]), 1),
            UnsupportedError,
            ["assignment into a Tensor", "with cat, where or"],
        ),
        (lambda x: x if x else 0, ArgumentError, ["no truth value while it is traced"]),
        (lambda x: x if x > 0 else 0, ArgumentError, ["no truth value while it is traced"]),
        (lambda x: x[2], ShapeError, ["index 2 is out of range for a dimension of 2"]),
        (lambda x: x[0, -4], ShapeError, ["index -4 is out of range for a dimension of 3"]),
        (lambda x: x[0, 0, 0, 0], ShapeError, ["4 indices for a tensor of shape (2, 3, 4)"]),
        (lambda x: x[..., 0, ...], ArgumentError, ["at most one Ellipsis"]),
        (lambda x: x[::-1], ArgumentError, ["positive step", "-1"]),
        (lambda x: x[2:], ShapeError, ["leaves nothing of a dimension of 2"]),
        (lambda x: x["a"], UnsupportedError, ["an index of type str", "integers, slices, Ellipsis, None, and lists"]),
        (lambda x: x[[0, 2]], ShapeError, ["index 2 is out of range for a dimension of 2"]),
        (lambda x: x[np.array([0.5])], DTypeError, ["an index of type float64"]),
        (lambda x: x[[[0, 1]], [0, 1, 2]], ShapeError, ["(1, 2) and (3,) do not broadcast together"]),
        (lambda x: x[[True, False, True]], ShapeError, ["a bool index of shape (3,)"]),
        (lambda x: x[[[0, 1], [1, 0]]], UnsupportedError, ["a list of lists as an index", "give an array, or a tuple"]),
        (lambda x: x[x > 0], UnsupportedError, ["an index that is a bool Tensor", "use where"]),
        (lambda x: x[True], UnsupportedError, ["an index of type bool"]),
        (lambda x: x[x], DTypeError, ["an index of type float32"]),
        (lambda x: x.reshape(5, -1), ShapeError, ["cannot reshape (2, 3, 4), 24 elements, to (5, -1)"]),
        (lambda x: x.reshape(-1, -1), ShapeError, ["(-1, -1)"]),
        (lambda x: x.reshape(2, -12), ShapeError, ["(2, -12)"]),
        (lambda x: x.reshape(0, -1), ShapeError, ["(0, -1)"]),
        (lambda x: x.reshape(5), ShapeError, ["to (5,)"]),
        (lambda x: x.permute(0, 1), ShapeError, ["each of 3 dimensions once, not (0, 1)"]),
        (lambda x: x.permute(0, 1, 1), ShapeError, ["not (0, 1, 1)"]),
        (lambda x: x.permute(0, 1, 3), ShapeError, ["dimension 3 is out of range", "from -3 to 2"]),
        (lambda x: x.transpose(0, 3), ShapeError, ["dimension 3 is out of range"]),
        (lambda x: x.flatten(2, 1), ArgumentError, ["from dimension 2 to 1"]),
        (lambda x: x.split([1, 1], 1), ShapeError, ["[1, 1] add up to 2, but dimension 1 has 3"]),
        (lambda x: x.split([4, -1], 1), ShapeError, ["4 elements from 0 on", "(2, 3, 4)"]),
        (lambda x: x.split(0), ArgumentError, ["at least 1, not 0"]),
        (lambda x: x.chunk(0), ArgumentError, ["at least 1 piece, not 0"]),
        (lambda x: x.narrow(1, 2, 2), ShapeError, ["2 elements from 2 on do not lie within dimension 1"]),
        (lambda x: x.narrow(1, -4, 2), ShapeError, ["2 elements from -4 on"]),
        (lambda x: x.narrow(1, 0, 0), ShapeError, ["0 elements"]),
        (lambda x: F.cat([]), ArgumentError, ["cat takes at least one tensor"]),
        (lambda x: F.cat([x, x[:, :2]]), ShapeError, ["outside dimension 0", "(2, 3, 4), (2, 2, 4)"]),
        (lambda x: F.cat([x, x[0]], 1), ShapeError, ["(2, 3, 4), (3, 4)"]),
        (lambda x: F.cat([x, x], 3), ShapeError, ["dimension 3 is out of range"]),
        (lambda x: x + "1", DTypeError, ["a number as other, not '1'"]),
        (lambda x: x + None, DTypeError, ["not a NoneType"]),
        (lambda x: F.dropout(x, 0.1, True), UnsupportedError, ["dropout 0.1 and training=True", "training=False"]),
        (F.dropout, UnsupportedError, ["dropout 0.5 and training=True", "training=self.training"]),
        (lambda x: F.dropout2d(x, 0.2), UnsupportedError, ["dropout 0.2 and training=True"]),
        (lambda x: F.feature_alpha_dropout(x, training=True), UnsupportedError, ["alpha_dropout with dropout 0.5"]),
        (lambda x: x.int() ** -1, DTypeError, ["pow", "int32"]),
        (lambda x: -x.to("bool"), DTypeError, ["neg of a bool tensor"]),
        pytest.param(
            lambda x: x.to("int8") + x.to("uint8"),
            DTypeError,
            ["int8 and uint8 promote to int16"],
            marks=needs_type("int8", "uint8"),
        ),
        (lambda x: x.int() + 2**40, DTypeError, ["do not fit in int32"]),
        (lambda x: x * Parameter(4), ArgumentError, ["a parameter of shape (4,)", "is empty"]),
        (lambda x: x[0, 0, 0].__iter__(), ArgumentError, ["cannot be iterated over"]),
    ],
)
def test_errors(function, error, words):
    message = message_of(error, trace, function, (2, 3, 4))
    for word in words:
        assert word in message


def test_a_tensor_looks_like_one():
    seen = []
    trace(lambda x: seen.append(x * 1) or x, (2, 3))
    assert repr(seen[0]).startswith("Tensor(shape=(2, 3), dtype=float32, name=")
    assert seen[0].size() == (2, 3)
    assert seen[0].size(-1) == 3
    assert seen[0].ndim == seen[0].dim() == 2


def test_tensors_may_be_keys():
    tensors = []
    trace(lambda x: tensors.extend([x, x * 1]) or x, (2,))
    assert len({tensors[0], tensors[1]}) == 2


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_reshape_and_permute(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    order = data.draw(st.permutations(range(len(shape))))
    x = numbers(*shape)
    expected = torch.from_numpy(x).permute(order)
    split = data.draw(st.integers(0, len(shape)))
    wanted = (*expected.shape[:split], -1)
    assume(len(wanted) <= 5)
    assert_close(run(lambda x: x.permute(order).reshape(wanted), x), expected.reshape(wanted))


def _of_types(*kinds):
    return [numbers(3, seed=i).astype("float32" if "float" in kind else kind) for i, kind in enumerate(kinds)]


TYPES = {
    "hstack": (("int8", "int64"), lambda ops, a, b: ops.hstack([a, b[0]])),
    "vstack": (("int8", "int64"), lambda ops, a, b: ops.vstack([a[:1], b[0]])),
    "dstack": (("int8", "int64"), lambda ops, a, b: ops.dstack([a[:1], b[0]])),
    "column_stack": (("int8", "int64"), lambda ops, a, b: ops.column_stack([a[:1], b[0]])),
    "block_diag": (("int8", "int64"), lambda ops, a, b: ops.block_diag(a[:1], b[0])),
    "dist": (("float16", "bfloat16"), lambda ops, a, b: ops.dist(a, b, 3)),
    "addr": (("int32", "float16"), lambda ops, a, b: ops.addr(a, b, b, beta=0.5, alpha=0.25)),
    "trapezoid": (("float16", "bfloat16"), lambda ops, a, b: ops.trapezoid(a, b)),
    "cumulative_trapezoid": (("float16", "float32"), lambda ops, a, b: ops.cumulative_trapezoid(a, b)),
}


@needs_type("bfloat16")
@pytest.mark.parametrize("name", TYPES)
def test_what_types_come_to(name):
    kinds, function = TYPES[name]
    arrays, found = _of_types(*kinds), []

    def forward(*tensors):
        result = function(F, *(tensor.to(kind) for tensor, kind in zip(tensors, kinds, strict=True)))
        found.append(result.dtype.name)
        return result

    given = (torch.from_numpy(array).to(getattr(torch, kind)) for array, kind in zip(arrays, kinds, strict=True))
    expected = function(torch, *given)
    result = run(forward, *arrays)
    assert found == [str(expected.dtype).removeprefix("torch.")]
    np.testing.assert_allclose(result, expected.numpy(), rtol=2e-3, atol=1e-3)


def test_numbers_beyond_whole_ones_are_refused():
    for function in (lambda x: x + 2**70, lambda x: F.hardtanh(x, -1.0, 1e38)):
        assert "do not fit in int" in message_of(DTypeError, trace, function, Input((3,), "int64"))
