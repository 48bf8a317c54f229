"""Every operation against torch's: drawn shapes, arguments and element types.

Each row of the table is called as hypothesis draws it, in torch and in trtnn: on the reference in fp32, and of a sample
in fp16 as well, and built. What torch refuses, trtnn refuses with an error of its own; what trtnn refuses beyond that,
the table says. TRTNN_EXAMPLES=30 draws 30 times as many, others each time.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.helpers import (
    ENGINE_TOLERANCE,
    EXAMPLES,
    FP32_TOLERANCE,
    MORE,
    QUICKLY,
    RUNS_HERE,
    TORCH,
    assert_close,
    layers,
    message_of,
    numbers,
    run,
    trace,
)
from tests.ops.calls import Array, Call, calls, leaves
from tests.ops.table import CASES
from tests.ops.table.unusual import unusual
from trtnn import Network, get_backend
from trtnn import functional as F
from trtnn.errors import ArgumentError, BuildError, DTypeError, ShapeError, TrtnnError, UnsupportedError
from trtnn.graph.tensor import Tensor
from trtnn.methods import METHODS
from trtnn.structure import map_leaves

# What trtnn says of a result without elements, which TensorRT has not.
NOTHING = ["holds nothing", "leaves nothing", "do not lie within", "0 of it true", "at least 1", "cannot ", "topk of 0"]


def _outside(value: Any) -> Any:
    """Return what a network gives where torch gives this: numbers of fp16 leave it in fp32."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.dtype == torch.float16 else value
    return type(value)(map(_outside, value)) if isinstance(value, (list, tuple)) else value


def _inputs(call: Call) -> list[np.ndarray]:
    return call.inputs or [np.zeros(1, np.float32)]  # a network has at least one


def _trace(call: Call, **options: Any) -> Network:
    return trace(lambda *tensors: call(F, *tensors), *_inputs(call), **options)


def as_tensor(array: Array) -> torch.Tensor:
    """Return what torch is given; where TensorRT has no int64, torch still asks for it in places."""
    tensor = torch.from_numpy(array.numbers())
    return tensor.long() if array.kind == "int64" else tensor


def verify(call: Call, fp16: bool = False) -> Network | None:
    """Check that a call means in trtnn what it means in torch, or is refused.

    Returns:
        Its network, if there is one.
    """
    try:
        expected = call(TORCH, *(as_tensor(array) for array in call.arrays if not array.weights))
    except Exception:
        alike = fp16 and {"float16", "float32"} <= {array.kind for array in call.arrays}  # in the network they are one
        if not alike and not call.case.exceeds(call):
            with pytest.raises(TrtnnError):
                _trace(call, fp16=fp16)
        return None
    words = [words for words, applies in call.case.refuses.items() if applies(call)]
    if any(not tensor.numel() for tensor in leaves(expected)):
        words += NOTHING
    if words:
        message = message_of(TrtnnError, _trace, call, fp16=fp16)
        assert any(expected in message for expected in words), message
        return None
    network = _trace(call, fp16=fp16)
    result = network.run(*_inputs(call))
    if fp16 or call.is_half:
        assert_close(result, _outside(expected), call.case.half, call.case.absolute)
    else:
        assert_close(result, _outside(expected), FP32_TOLERANCE)
    return network


# What TensorRT 8.6 refuses, which has no int64 either, with an error of its own: its layers take less than torch's do.
REFUSED_BY_8 = {
    "grid_sample: volumes": "input.getDimensions().nbDims == 4",
    **dict.fromkeys(  # it orders floating numbers alone
        (
            "topk", "sort", "argsort", "max", "min", "argmax", "argmin", "msort", "mode", "median", "nanmedian",
            "kthvalue", "median: what is none", "searchsorted", "bucketize",
        ),
        "only activation types allowed",
    ),
}  # fmt: skip


def _verify_here(name: str, call: Call, **options: Any) -> Network | None:
    """:func:`verify`, where this TensorRT may refuse a row for what it is."""
    if name not in REFUSED_BY_8 or get_backend().capabilities.int64:
        return verify(call, **options)
    try:
        return verify(call, **options)
    except BuildError as error:
        if REFUSED_BY_8[name] not in str(error):
            raise
        return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=25 * MORE, **EXAMPLES)
@given(data=st.data())
def test_as_torch(name: str, data: Any) -> None:
    _verify_here(name, data.draw(calls(name, CASES[name], unusual(name))))


_MOST_BUILT = 8  # calls in a network: a build takes its time even of one


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_in_half_precision_and_built(name: str) -> None:
    built: dict[bool, list[Call]] = {False: [], True: []}

    @settings(max_examples=2 * MORE, phases=[Phase.generate], database=None, **EXAMPLES)
    @given(data=st.data())
    def draw(data: Any) -> None:
        call = data.draw(calls(name, CASES[name], unusual(name, fp16=True)))
        for fp16, some in built.items():
            if _verify_here(name, call, fp16=fp16) is not None:
                some.append(call)

    draw()
    for fp16, some in built.items():
        for start in range(0, len(some), _MOST_BUILT):
            _check_build(some[start : start + _MOST_BUILT], fp16)


def _check_build(some: list[Call], fp16: bool) -> None:
    """Check that TensorRT builds calls, all in one network; where there is a GPU, that they give what they should."""
    arrays = [_inputs(call) for call in some]

    def all_of_them(*tensors: Tensor) -> list[Any]:
        left = iter(tensors)
        return [call(F, *itertools.islice(left, len(own))) for call, own in zip(some, arrays, strict=True)]

    inputs = [array for own in arrays for array in own]
    network = trace(all_of_them, *inputs, fp16=fp16)
    engine = network.build(**QUICKLY)
    if RUNS_HERE:
        references = map_leaves(torch.from_numpy, network.run(*inputs))
        for call, result, reference in zip(some, engine(*inputs), references, strict=True):
            tolerance = call.case.half if fp16 or call.is_half else ENGINE_TOLERANCE
            assert_close(result, reference, max(tolerance, ENGINE_TOLERANCE), call.case.absolute)


# What the table has not: torchvision's, a type that not every TensorRT has, what test_calling.py looks at, and what
# tests/modules/test_recurrent.py holds against torch's.
ELSEWHERE = {
    "deform_conv2d", "modulated_deform_conv2d", "roi_align", "bfloat16", "as_tensor", "cpu", "cuda", "data", "detach_",
    "device", "double", "element_size", "is_contiguous", "is_cuda", "is_floating_point", "item", "new_tensor", "numpy",
    "requires_grad", "requires_grad_", "stride", "tolist", "gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu",
    "rnn_relu_cell", "rnn_tanh", "rnn_tanh_cell", "pack_padded_sequence", "pad_packed_sequence",
}  # fmt: skip


def test_every_operation_is_in_the_table() -> None:
    rows = {name.partition(":")[0] for name in CASES}
    methods = {name for name in METHODS if not name.startswith("__")}
    assert sorted({*F.__all__, *methods} - rows - ELSEWHERE) == []


def test_functions_that_torch_has_as_methods_are_methods() -> None:
    assert [name for name in F.__all__ if hasattr(torch.Tensor, name) and not hasattr(Tensor, name)] == []


# -- what TensorRT 8.6 lacks ------------------------------------------------------------------------------------------


def _lacking(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    backend = get_backend()
    monkeypatch.setattr(backend, "capabilities", replace(backend.capabilities, **dict.fromkeys(names, False)))


@pytest.mark.parametrize("kind", ["bool", "float32"])
@pytest.mark.parametrize("blind", [True, False])
def test_masks_of_attention_that_are_arrays(kind: str, blind: bool) -> None:
    x, mask = numbers(2, 3, 4), np.tri(3, dtype=bool)
    mask[1] &= not blind
    mask = mask if kind == "bool" else np.where(mask, 0, -np.inf).astype(kind)
    expected = torch.nn.functional.scaled_dot_product_attention(*[torch.from_numpy(x)] * 3, torch.from_numpy(mask))
    network = trace(lambda x: F.scaled_dot_product_attention(x, x, x, mask), x)
    assert_close(network.run(x), expected)
    # A row that may go nowhere costs a choice, where there is one; another chooses the scores of bools.
    assert len(layers(network, "SELECT")) == blind + (kind == "bool")


def test_the_type_of_one_number_counts_in_kron() -> None:
    one, several = np.array(3, np.int64), np.array([[1, 2], [1 << 30, 4]], np.int32)
    for pair in ((one, several), (several, one), (several[0], several.astype(np.int64))):
        assert_close(run(F.kron, *pair), torch.kron(*map(torch.from_numpy, pair)))


@pytest.mark.parametrize(
    ("equation", "shapes", "products"),
    [
        ("bhic,bhjc->bhij", [(2, 2, 3, 4), (2, 2, 5, 4)], 1),
        ("bhij,bhjc->bhci", [(2, 2, 3, 5), (2, 2, 5, 4)], 1),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 2),
        ("bij,bjk->", [(2, 3, 4), (2, 4, 5)], 1),
        ("ij,jk->ik", [(2, 1), (3, 4)], 0),  # nothing is summed over in both
        ("bi,bj->bij", [(2, 3), (2, 4)], 0),
    ],
)
def test_einsum_is_products_of_matrices(equation: str, shapes: list[tuple[int, ...]], products: int) -> None:
    """TensorRT 8.6.0 made wrong numbers of its own layer for it."""
    operands = [np.random.default_rng(i).standard_normal(shape, np.float32) for i, shape in enumerate(shapes)]
    network = trace(lambda *xs: F.einsum(equation, *xs), *shapes)
    assert not layers(network, "EINSUM")
    assert len(layers(network, "MATRIX_MULTIPLY")) == products
    assert_close(network.run(*operands), torch.einsum(equation, *map(torch.from_numpy, operands)), 1e-5)


def test_einsum_of_random_equations_is_torchs() -> None:
    random = np.random.default_rng(0)
    for _ in range(150):
        lengths = dict(zip("abcde", random.permutation([1, 2, 3, 4, 5]), strict=True))
        terms, operands = [], []
        for _ in range(random.integers(1, 4)):
            term = "".join(random.choice(list(lengths), random.integers(0, 5), replace=False))
            shape = [1 if random.random() < 0.15 else lengths[letter] for letter in term]
            terms.append(term)
            operands.append(random.standard_normal(shape).astype(np.float32))
        used = sorted({*"".join(terms)})
        result = "".join(random.permutation([letter for letter in used if random.random() < 0.6]))
        equation = f"{','.join(terms)}->{result}"
        expected = torch.einsum(equation, *map(torch.from_numpy, operands)).numpy()
        got = run(lambda *xs, equation=equation: F.einsum(equation, *xs), *operands)
        np.testing.assert_allclose(got, expected, 1e-4, 1e-5, err_msg=equation)


@pytest.mark.parametrize(
    "equation", ["bii->bi", "bii->b", "...ii->...i", "bii,bi->ib", "iib->bi", "bii,bjj->ij", "bii,bij->bj", "bbb->b"]
)
def test_einsum_of_a_letter_twice_takes_the_diagonal(equation: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 3, 3), np.float32)
    others = {"bi": x[0], "bij": x, "bjj": x + 1}
    operands = [x, *(others[term] for term in equation.partition("->")[0].split(",")[1:])]
    expected = torch.einsum(equation, *map(torch.from_numpy, operands))
    assert_close(run(lambda *xs: F.einsum(equation, *xs), *operands), expected, 1e-5)


def test_a_constant_without_elements_is_left_out_of_cat_and_read_by_nothing_else() -> None:
    x = np.ones((2, 3), np.float32)
    nothing = np.zeros((0, 3), np.float32)
    assert_close(run(lambda x: F.cat([nothing, x, x]), x), np.concatenate([x, x]), 0)
    with pytest.raises(ShapeError, match=r"a constant of shape \(0, 3\) in the model's own forward has no elements"):
        trace(lambda x: x.sum(0) + nothing, x)


def _call(name: str, *operands: Any, **arguments: Any) -> Call:
    return Call(name.partition(":")[0], "{}", operands, arguments, CASES[name])


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_bools_are_numbers_where_something_is_put_around_them(mode: str) -> None:
    x = np.array([[[True, False, False], [False, False, True]]])
    network = trace(lambda x: F.pad(x, (1, 2), mode), x)
    expected = torch.nn.functional.pad(torch.from_numpy(x).float(), (1, 2), mode).bool()  # torch reflects no bools
    np.testing.assert_array_equal(network.run(x), expected)
    assert [layer.get_input(0).dtype for layer in layers(network, "SLICE")] == [get_backend().trt.int32]


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_running_sums_without_a_layer_for_them(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _lacking(monkeypatch, "cumulative")
    for length in (1, 2, 3, 8, 13):
        for dim in (0, -1):
            network = verify(_call("cumsum", Array(kind, (2, length)), dim=dim))
            assert layers(network, "CUMULATIVE") == []


def test_not_a_number_without_a_layer_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _lacking(monkeypatch, "isnan")
    for name in ("isnan", "isinf", "isfinite"):
        verify(_call(f"{name}: what is none", Array("int32", (2, 3), low=-1, high=1)))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_with_and_without_that_activation(approximate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call = _call("gelu", Array("float32", (2, 3)), approximate=approximate)
    if get_backend().capabilities.gelu:
        kind = {"none": "GELU_ERF", "tanh": "GELU_TANH"}[approximate]
        assert [layer.type.name for layer in layers(verify(call))] == [kind]
    _lacking(monkeypatch, "gelu")
    assert len(layers(verify(call), "ELEMENTWISE")) > 3


def test_indices_without_int64(monkeypatch: pytest.MonkeyPatch) -> None:
    _lacking(monkeypatch, "int64")
    x = numbers(3, 4)

    def function(ops: Any, x: Any) -> list[Any]:
        return [x.argmax(0), x.topk(2).indices, ops.arange(3), (x > 0).sum(), (x > 0) + 1, ops.one_hot(x.argmax(1), 4)]

    expected = [value.int() for value in function(TORCH, torch.from_numpy(x))]
    assert_close(trace(lambda x: function(F, x), x).run(x), expected)
    indices = np.array([1, 0])
    assert_close(trace(lambda x: x[indices], x).run(x), x[indices])


def _bag(x: Any, offsets: Any) -> Any:
    return F.embedding_bag(x[0].int(), np.ones((5, 2), np.float32), offsets)


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: F.topk(x, 5), ArgumentError, "topk of 5 along a dimension of 4"),
        (lambda x: F.topk(F.zeros(1, 300000), 3841), UnsupportedError, "by parts it is done up to 262144"),
        (lambda x: F.sort(F.zeros(1, 300000)), UnsupportedError, "sort along a dimension of 300000 in"),
        (lambda x: F.zeros(300000).median(), UnsupportedError, "median along a dimension of 300000 in"),
        (lambda x: x.var(dim=0, correction=3), ArgumentError, "the variance of 3 elements with correction 3"),
        (lambda x: x.int().mean(), DTypeError, "mean"),
        (lambda x: x.sum((0, 0)), ShapeError, "name one of 2 twice"),
        (lambda x: x.norm("nuc"), UnsupportedError, "p='nuc'"),
        (lambda x: x.int() & 1, DTypeError, "& takes bool tensors, not int32"),
        (lambda x: (x > 0) & 2, DTypeError, "& takes bool tensors, not int"),
        (lambda x: x - True, DTypeError, "a difference with a bool"),
        (lambda x: 1 - (x > 0), DTypeError, "a difference with a bool"),
        (lambda x: (x > 0) // (x > 0), DTypeError, "floor_div of a bool tensor"),
        (lambda x: F.ceil(x > 0), DTypeError, "ceil of a bool tensor"),
        (lambda x: (x > 0).argmax(), DTypeError, "argmax of a bool tensor"),
        (lambda x: F.relu(x > 0), DTypeError, "hardtanh of a bool tensor"),
        (lambda x: F.add(x.int(), 1, alpha=0.5), DTypeError, "alpha=0.5 beside operands that come to int32"),
        (lambda x: F.sub(x, x, alpha=True), DTypeError, "alpha=True beside operands that come to float32"),
        (lambda x: F.celu(x, -1.0), ArgumentError, "an alpha above 0, not -1.0"),
        (lambda x: x.masked_fill(x > 0, x[0]), ShapeError, "masked_fill in the model's own forward takes one number"),
        (lambda x: x.int().masked_fill(x > 0, 2.0**40), DTypeError, "do not fit in int32"),
        (lambda x: F.scaled_dot_product_attention(x[0], x, x), ShapeError, "takes (..., length, numbers), not (4,)"),
        (
            lambda x: F.scaled_dot_product_attention(x, x, x, enable_gqa=True),
            ShapeError,
            "in the model's own forward takes (..., heads, length, numbers) where they share heads, not (3, 4)",
        ),
        (lambda x: x[0].tril(), ShapeError, "tril in the model's own forward takes (..., rows, columns), not (4,)"),
        (lambda x: F.arange(0, 5, 1.5, dtype="int64"), DTypeError, "arange from 0 to 5 by 1.5 as int64"),
        (lambda x: x.unflatten(0, ()), ShapeError, "at least one size"),
        (
            lambda x: F.conv_transpose1d(x, np.ones((3, 1, 2), np.float32), padding=3),
            ShapeError,
            "conv_transpose1d in the model's own forward leaves nothing of an input of shape (3, 4)",
        ),
        (lambda x: _bag(x, F.arange(2)), UnsupportedError, "bags that are not known while tracing"),
        (lambda x: _bag(x, None), ArgumentError, "takes offsets from 0 up to 4, not None"),
        (lambda x: _bag(x, [0, 5]), ArgumentError, "takes offsets from 0 up to 4, not [0, 5]"),
        (lambda x: _bag(x, [1, 2]), ArgumentError, "takes offsets from 0 up to 4, not [1, 2]"),
        (lambda x: _bag(x, [0, 3, 1]), ArgumentError, "offsets in order, not [0, 3, 1]"),
        (lambda x: F.where(x, x, x), DTypeError, "takes a bool condition"),
        (lambda x: F.where(x > 0, x, x[:2]), ShapeError, "do not broadcast together"),
        (F.clamp, ArgumentError, "min, max or both"),
        (lambda x: F.div(x, x, rounding_mode="up"), ArgumentError, "'up'"),
        (lambda x: x @ x, ShapeError, "shapes (3, 4) and (3, 4) do not fit"),
        (lambda x: x.sum() @ x, ShapeError, "at least one dimension"),
        (lambda x: F.mm(x, x[0]), ShapeError, "mm takes tensors of 2 and 2 dimensions"),
        (lambda x: F.bmm(F.zeros(2, 3, 4), F.zeros(1, 4, 3)), ShapeError, "two batches of one size"),
        (lambda x: F.einsum("ii->i", x), ShapeError, "i is 3 and 4 long"),
        (lambda x: F.einsum("ij,jk->ik", x), ArgumentError, "names 2 operands, not 1"),
        (lambda x: F.einsum("ijk->i", x), ArgumentError, "'ijk' does not fit"),
        (lambda x: F.einsum("ij->k", x), ArgumentError, "no operand has k"),
        (lambda x: F.einsum("ij,ik->jk", x, x[:2]), ShapeError, "a letter is 3 and 2 long"),
        (lambda x: x.expand(3, 5), ShapeError, "cannot expand (3, 4) to (3, 5)"),
        (lambda x: x.expand(-1, 3, 4), ShapeError, "a new dimension needs a length"),
        (lambda x: x.expand(4), ShapeError, "fewer dimensions"),
        (lambda x: x.repeat(2), ShapeError, "cannot repeat (3, 4)"),
        (lambda x: x.roll((1, 2), 0), ArgumentError, "a shift for each dimension"),
        (lambda x: x.repeat_interleave(0), ArgumentError, "not 0"),
        (lambda x: x.unflatten(0, (2, 2)), ShapeError, "cannot unflatten dimension 0, of 3"),
        (lambda x: F.pad(x, (1,)), ArgumentError, "pad takes pairs"),
        (lambda x: F.pad(x, (1, 1), "wrap"), ArgumentError, "no padding mode 'wrap'"),
        (lambda x: F.pad(x, (1, 1), "reflect", 2.0), ArgumentError, "takes no value"),
        (lambda x: F.pad(x, (4, 0), "reflect"), ShapeError, "at most 3"),
        (lambda x: F.pad(x, (5, 0), "circular"), ShapeError, "at most 4"),
        (lambda x: F.one_hot(x.argmax(0)), UnsupportedError, "give num_classes"),
        (lambda x: x.gather(0, x.argmax(0)), ShapeError, "gather"),
        (lambda x: x.scatter(0, x.int() * 0, x.int()), DTypeError, "scatter of int32 and float32"),
        (lambda x: x.scatter_add(0, x.int() * 0, x.int()), DTypeError, "scatter_add of int32 and float32"),
        (lambda x: x.scatter_add(0, x.int() * 0, 1.0), ArgumentError, "elements of a Tensor, not of a float"),
        (lambda x: x.scatter_add(1, x.int() * 0, x[:2]), ShapeError, "scatter_add in the model's own forward: shapes"),
        (lambda x: x.index_add(0, [0, 1], x), ShapeError, "an index of (2,) and a source of (3, 4)"),
        (lambda x: x.index_add(0, [[0, 1, 2]], x), ShapeError, "takes a vector of indices"),
        (lambda x: x.index_add(0, [0, 1, 2], x > 0), DTypeError, "index_add of bool and float32"),
        (lambda x: F.arange(3, 3), ArgumentError, "holds nothing"),
        (lambda x: x >> 1, DTypeError, ">> in the model's own forward takes int32 or int64, not float32"),
        (lambda x: F.arange(3) << F.arange(3), UnsupportedError, "<< in the model's own forward by what is no number"),
        (lambda x: 1 >> F.arange(3), UnsupportedError, "TensorRT has no bitwise arithmetic"),
        (lambda x: F.arange(3) << -1, ArgumentError, "<< by -1: a shift is from 0 on"),
        (lambda x: F.zeros(0, 2), ArgumentError, "holds nothing"),
        (lambda x: F.grid_sample(x, x), ShapeError, "(batch, H, W, 2)"),
        (
            lambda x: F.grid_sample(x[None, None, None], x[None, None, None, :, :3], "bicubic"),
            ArgumentError,
            "not volumes",
        ),
        (lambda x: F.grid_sample(x, x, "cubic"), ArgumentError, "knows no 'cubic'"),
        (lambda x: F.affine_grid(x, (1, 1, 2, 2)), ShapeError, "theta (3, 4)"),
        (lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5), UnsupportedError, "dropout 0.5"),
        (lambda x: F.scaled_dot_product_attention(x, x, x, x, is_causal=True), ArgumentError, "not both"),
        (lambda x: F.embedding(x, np.ones((3, 4))), DTypeError, "an index of type float32"),
        (lambda x: F.batch_norm(x, None, None), UnsupportedError, "without stored statistics"),
    ],
)
def test_errors(function: Any, error: type[Exception], words: str) -> None:
    assert words in message_of(error, trace, function, (3, 4))


@pytest.mark.parametrize("name", ["scatter_add", "index_add"])
@pytest.mark.parametrize(
    ("values", "index", "added"),
    [
        (numbers(4, 2), [0, 1, 3, 1], np.float32([[1, 2], [np.inf, -np.inf], [np.nan, 3], [-np.inf, 4]])),
        (np.zeros((2, 1), np.int32), [0, 1, 0], np.full((3, 1), 2**24 + 1, np.int32)),
    ],
    ids=["infinity and NaN", "whole numbers that float32 has not"],
)
def test_what_is_added_to_one_place_changes_no_other(name: str, values: Any, index: Any, added: Any) -> None:
    places = np.array(index) if name == "index_add" else np.array(index)[:, None].repeat(values.shape[1], 1)
    expected = getattr(torch, name)(torch.from_numpy(values), 0, torch.from_numpy(places), torch.from_numpy(added))
    result = trace(lambda x, y: getattr(F, name)(x, 0, places, y), values, added).run(values, added)
    np.testing.assert_array_equal(result, expected.numpy())


def test_nothing_is_made_outside_a_trace() -> None:
    assert "made outside a trace" in message_of(TrtnnError, F.zeros, 2)
