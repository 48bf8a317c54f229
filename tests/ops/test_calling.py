"""The door to the public functions: what stands for a Tensor, torch's spellings, what wrong arguments are told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers import Function, assert_close, check_triangle, message_of, numbers, run, strongly_typed, trace
from trtnn import Buffer, Input, Module, Parameter
from trtnn import functional as F
from trtnn.errors import ArgumentError, DTypeError, ShapeError, TrtnnError, UnsupportedError

X = numbers(2, 3, 4)
INF, NAN = float("inf"), float("nan")
MASK = np.array([[True, False, True, False]] * 3)


class Holder(Module):
    """A module with a parameter and two buffers, and a function of it and a Tensor."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.w = Parameter(3, 4)
        self.w.data = numbers(3, 4, seed=1)
        self.mask = Buffer(3, 4, data=MASK)
        self.ids = Buffer(2, data=np.array([2, 0]))

    def forward(self, x):
        return self.function(self, x)


class Held:
    """The same for torch."""

    w, mask, ids = torch.from_numpy(numbers(3, 4, seed=1)), torch.from_numpy(MASK), torch.tensor([2, 0])


WITH_HELD = [
    lambda ops, s, x: x * (s.mask == 0),
    lambda ops, s, x: x * (s.w != s.w[0]),
    lambda ops, s, x: (s.w == 0) | (s.w > x),
    lambda ops, s, x: ops.where(s.mask, x, 0.0),
    lambda ops, s, x: x.masked_fill(s.mask, -1.0),
    lambda ops, s, x: x[:, s.ids],
    lambda ops, s, x: s.w[s.ids] + x[:, :2],
    lambda ops, s, x: x.index_select(1, s.ids),
    lambda ops, s, x: x.gather(1, s.ids.reshape(1, 2, 1).expand(2, 2, 4)),
    lambda ops, s, x: ops.softmax(s.w, -1) + x,
    lambda ops, s, x: ops.cat([s.w, s.w]).sum() * x,
    lambda ops, s, x: ops.cat([s.w[None], x]),
    lambda ops, s, x: ops.stack([s.w, s.w * 2]) - x,
    lambda ops, s, x: ops.layer_norm(s.w, (4,)) + x,
    lambda ops, s, x: ops.linear(s.w, s.w) @ x,
    lambda ops, s, x: ops.clamp(s.w, 0, 1) * x,
    lambda ops, s, x: s.w + s.w - x * s.w.size(0) + len(s.w) + s.w.dim(),
    lambda ops, s, x: (1 - s.w) @ x.mT,
    lambda ops, s, x: x % s.w.abs().clamp(0.5) + s.w.exp(),
    lambda ops, s, x: ops.maximum(s.w, x),
    lambda ops, s, x: ops.add(s.w, s.w) + x,
    lambda ops, s, x: x * s.mask + ~s.mask,
    lambda ops, s, x: x + s.w.T.t(),
    lambda ops, s, x: s.w.sum(axis=0, keepdims=True) * x,
]


@pytest.mark.parametrize("number", range(len(WITH_HELD)))
def test_parameters_and_buffers_stand_where_tensors_do(number):
    class Both:
        def __getattr__(self, name):
            return getattr(torch, name, None) or getattr(torch.nn.functional, name)

    function = WITH_HELD[number]
    network = Holder(lambda s, x: function(F, s, x)).trace({"x": Input(X.shape)})
    assert_close(network.run(X), function(Both(), Held(), torch.from_numpy(X)))


def test_a_parameter_alone_knows_its_shape_and_numbers():
    w = Parameter(1, 2)
    w.data = np.array([[0.5, 2.0]], np.float32)
    assert (w.size(), w.size(-1), w.dim(), len(w), w.numel(), w.dtype) == ((1, 2), 2, 2, 1, 2, torch.float32)
    assert w.tolist() == [[0.5, 2.0]]
    np.testing.assert_array_equal(np.asarray(w), w.data)
    flag = Buffer((), data=np.array(True))
    assert flag.item() is True
    assert bool(flag)
    assert (int(Buffer(1, data=np.array([3]))), float(Buffer(1, data=np.array([3])))) == (3, 3.0)
    assert "more than one number" in message_of(ArgumentError, bool, w)
    assert "is empty" in message_of(ArgumentError, np.asarray, Parameter(2))


class Labelled(torch.Tensor):
    """A torch tensor of somebody else's class."""


@pytest.mark.parametrize(
    "given",
    [
        np.asarray,
        torch.from_numpy,
        lambda a: torch.nn.Parameter(torch.from_numpy(a)),
        lambda a: torch.from_numpy(a).as_subclass(Labelled),
    ],
)
def test_arrays_and_torch_tensors_stand_for_tensors(given):
    w, index = numbers(3, 4, seed=1), np.array([2, 0])
    x, wanted = torch.from_numpy(X), torch.from_numpy(w)

    def function(x):
        return [
            x + given(w), given(w) * x, F.where(torch.from_numpy(MASK), x, given(w)), F.linear(x, given(w)),
            F.softmax(given(w), 1) + x, x[:, torch.from_numpy(index)], F.cat([x, given(w)[None]]), x.matmul(given(w.T)),
        ]  # fmt: skip

    expected = [
        x + wanted, wanted * x, torch.where(torch.from_numpy(MASK), x, wanted), x @ wanted.T,
        wanted.softmax(1) + x, x[:, index], torch.cat([x, wanted[None]]), x @ wanted.T,
    ]  # fmt: skip
    assert_close(run(function, X), expected)


def test_torchs_own_functions_take_our_tensors():
    x = torch.from_numpy(X)
    function = lambda x: [torch.relu(x), torch.cat([x, x], 1), torch.nn.functional.gelu(x), torch.ones(4) * x]  # noqa: E731
    assert_close(run(function, X), function(x))
    message = message_of(UnsupportedError, trace, torch.linalg.svd, X)
    assert "torch's linalg_svd was given a trtnn Tensor" in message


def test_torchs_tensors_stand_on_the_left_of_operators():
    def function(x):
        threes, truths = torch.full((4,), 3.0), torch.tensor([True, False, True, False])
        return [
            threes // (x * x + 1), threes % (x * x + 1), threes ** x, threes / (x * x + 1), threes - x, threes < x,
            truths & (x > 0), truths | (x > 0), truths ^ (x > 0),
        ]  # fmt: skip

    assert_close(run(function, X), function(torch.from_numpy(X)))


@pytest.mark.filterwarnings("ignore:To copy construct:UserWarning")
def test_new_tensors_and_full_ones_are_of_torchs_types():
    found = []

    def function(ops, x):
        whole, truths, half = (x * 4).long(), x > 0, x.half()
        number = np.int8(3) if ops is F else torch.tensor(3, dtype=torch.int8)
        results = [
            x.new_tensor([1, 2]), whole.new_tensor([1.7, -1.7]), truths.new_tensor([2, 0]), half.new_tensor(3),
            x.new_tensor(whole), whole.new_tensor(x), whole.new_tensor([1.5], dtype=torch.float32),
            ops.full((2,), number), ops.full((2,), x.sum() > 0), ops.full((2,), x.int().sum()),
        ]  # fmt: skip
        found.append([str(result.dtype).removeprefix("torch.") for result in results])
        return [result.float() for result in results]

    assert_close(run(lambda x: function(F, x), X), function(torch, torch.from_numpy(X)))
    assert [kind.removeprefix("trtnn.") for kind in found[0]] == found[1]


@pytest.mark.parametrize(
    "function",
    [
        lambda ops, x: [x.sum(axis=0), x.sum(axis=(0, 1), keepdims=True), x.softmax(dim=-1), ops.cat([x, x], axis=1)],
        lambda ops, x: [x.permute(dims=(2, 0, 1)), x.flip(dims=[0]), x.reshape(shape=(6, 4)), x.view(size=(4, 6))],
        lambda ops, x: [x[:1].expand(size=(2, 3, 4)), x.repeat(repeats=(1, 2, 1)), x.split(split_size=2, dim=1)[0]],
        lambda ops, x: [*ops.tensor_split(x, indices=(1,), dim=2), *x.tensor_split(sections=2, dim=1)],
        lambda ops, x: [x.to(x.device), x.to(x.dtype), x.to("cuda:0", torch.int32), x.cpu().cuda(), x.to(x, True)],
        lambda ops, x: [x.contiguous(memory_format=torch.contiguous_format), x.clone(memory_format=None)],
        lambda ops, x: [x + ops.zeros(3, 4, device=x.device, dtype=x.dtype), ops.arange(4, device=x.device) + x],
        lambda ops, x: [x.new_tensor([1.0, 2.0]).sum() * x, ops.full((2,), 3.0, requires_grad=False)[0] + x],
        lambda ops, x: [ops.zeros(size=(2, 3, 4)) + x, ops.ones((4,), layout=torch.strided) * x],
        lambda ops, x: [x.type(torch.float32), x.type("torch.IntTensor"), x.float(memory_format=torch.preserve_format)],
        lambda ops, x: [x.detach().data.requires_grad_(False)],
        lambda ops, x: [ops.add(input=x, other=x, alpha=2), ops.mul(x, other=2), ops.sub(x, 1, alpha=3)],
        lambda ops, x: [x.movedim(source=0, destination=2), x.unsqueeze(dim=1), x.transpose(dim0=0, dim1=1)],
        lambda ops, x: [x.repeat_interleave(2, dim=1, output_size=6), x.repeat_interleave(ops.tensor([1, 0, 2]), 1)],
    ],
)  # fmt: skip
def test_spellings(function):
    assert_close(run(lambda x: function(F, x), X), _of_torch(function, torch.from_numpy(X)))


def _of_torch(function, x):
    """Call a function in torch on the CPU, where a network is on a GPU that torch may lack."""

    class Here:
        """A CPU tensor's methods that name CUDA do nothing."""

    original = torch.Tensor.cuda, torch.Tensor.to
    torch.Tensor.cuda = lambda self, *args, **kwargs: self
    torch.Tensor.to = lambda self, *args, **kwargs: original[1](
        self, *["cpu" if isinstance(value, str) else value for value in args], **kwargs
    )
    try:
        return function(torch, x)
    finally:
        torch.Tensor.cuda, torch.Tensor.to = original


def test_where_a_tensor_is():
    seen = []

    def look(x):
        seen.extend([x.device.type, str(x.device), x.is_cuda, x.is_floating_point(), x.is_contiguous()])
        seen.extend([x.stride(), x.stride(1), x.size(-1), x.element_size(), x.ndimension(), x.nelement()])
        return x

    trace(look, X)
    assert seen == ["cuda", "cuda", True, True, True, (12, 4, 1), 4, 4, 4, 3, 24]


def test_numpys_ints_are_dimensions_and_sizes():
    def function(ops, x):
        one = np.int64(1)
        return (
            x.min(one)[0], x.max(one, True)[1], ops.min(x, np.int32(-1))[0], ops.max(x, one)[0],
            x.unfold(one, one, one), x.sum(one), x.transpose(one, np.int64(0)),
            x.narrow(one, np.int64(0), one), x + np.float64(2),
        )  # fmt: skip

    x = numbers(2, 3, 4)
    assert_close(run(lambda x: function(F, x), x), function(torch, torch.from_numpy(x)))


def test_methods_that_share_a_name_with_another_function_take_keywords_and_arrays():
    def function(ops, x):
        return x.unfold(dimension=1, size=2, step=1), x.where(condition=x > 0, other=np.float32(1)), x.tile(2, 1, 1)

    def theirs(x):
        return x.unfold(dimension=1, size=2, step=1), x.where(condition=x > 0, other=torch.tensor(1.0)), x.tile(2, 1, 1)

    x = numbers(2, 3, 4)
    assert_close(run(lambda x: function(F, x), x), theirs(torch.from_numpy(x)))
    assert_close(run(lambda x: x.tile((2, 3)), x), torch.from_numpy(x).tile((2, 3)))
    assert_close(run(lambda x: x.tile(dims=(2,)), x), torch.from_numpy(x).tile(dims=(2,)))


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: F.relu(x, foo=1), ArgumentError, "relu takes no argument 'foo'"),
        (lambda x: F.relu([1.0]), DTypeError, "relu takes a Tensor as input, not a list of float"),
        (lambda x: F.exp(1.0), DTypeError, "exp takes a Tensor or complex numbers as input, not 1.0"),
        (lambda x: F.softmax(x, "a"), DTypeError, "softmax takes an int or None as dim, not 'a'"),
        (F.conv2d, ArgumentError, "conv2d: missing a required argument: 'weight'"),
        (lambda x: F.relu(x, False, 3), ArgumentError, "relu: too many positional arguments"),
        (lambda x: F.add(x, other=x, input=x), ArgumentError, "add: multiple values for argument 'input'"),
        (lambda x: x.sum(dim=0, axis=1), ArgumentError, "sum was given 'dim' twice"),
        (lambda x: F.softmax(x, 0, out=x), UnsupportedError, "softmax with out="),
        (lambda x: F.cat([x, "b"]), DTypeError, "an operand is a trtnn Tensor, an array or a number, not a str"),
        (lambda x: x.reshape("a"), DTypeError, "reshape takes an int"),
        (lambda x: x.double(), UnsupportedError, "TensorRT has no float64"),
        (lambda x: x.to(torch.float64), DTypeError, "TensorRT has no float64: within a network it is float32"),
        (lambda x: x.to("somewhere"), DTypeError, "no element type 'somewhere'"),
        (lambda x: x.size(5), ShapeError, "dimension 5 of a tensor of shape (2, 3, 4)"),
        (lambda x: x + torch.ones(3, 4).to_sparse(), DTypeError, "a sparse torch tensor"),
        (lambda x: x + torch.ones(4, device="meta"), DTypeError, "on the meta device"),
        (lambda x: x + torch.ones(4, dtype=torch.complex64), DTypeError, "no complex numbers"),
        (
            lambda x: F.deform_conv2d(x, x, x[None]),
            UnsupportedError,
            "that is known only when the engine runs",
        ),
        (lambda x: F.meshgrid(x[0, 0], 3), DTypeError, "meshgrid takes"),
        (lambda x: x.t(), ShapeError, "t in the model's own forward takes at most two dimensions, not (2, 3, 4)"),
        (lambda x: x.unfold("a", 2, 1), DTypeError, "unfold takes an int as dimension, not 'a'"),
        (lambda x: x.unfold(0, 2, 0), ArgumentError, "the step between windows is an int from 1 on, not 0"),
        (lambda x: x.unfold(0, -1, 1), ArgumentError, "the size of a window is an int from 1 on, not -1"),
        (lambda x: x.sum((0.0, 1)), ArgumentError, "a dimension is an int, not 0.0"),
        (lambda x: F.pixel_shuffle(x, 0), ArgumentError, "upscale_factor is an int from 1 on, not 0"),
        (lambda x: F.pixel_unshuffle(x, 0), ArgumentError, "downscale_factor is an int from 1 on, not 0"),
        (lambda x: F.channel_shuffle(x, 0), ArgumentError, "groups is an int from 1 on, not 0"),
        (lambda x: F.group_norm(x, 0), ArgumentError, "num_groups is an int from 1 on, not 0"),
        (lambda x: F.local_response_norm(x, 0), ArgumentError, "size is an int from 1 on, not 0"),
        (lambda x: F.conv1d(x, np.ones((3, 3, 1)), groups=0), ArgumentError, "groups is an int from 1 on, not 0"),
        (
            lambda x: F.conv_transpose1d(x, np.ones((3, 3, 1)), groups=0),
            ArgumentError,
            "groups is an int from 1 on, not 0",
        ),
        (
            lambda x: F.interpolate(x, scale_factor=NAN),
            ArgumentError,
            "a scale_factor is a number above 0, not nan",
        ),
        (
            lambda x: F.interpolate(x, scale_factor=INF),
            ArgumentError,
            "a scale_factor is a number above 0, not inf",
        ),
        (lambda x: F.interpolate(x, scale_factor=1e38), ShapeError, "beyond what a dimension holds"),
        (lambda x: F.var_mean(x, correction=INF), ArgumentError, "correction is a finite number, not inf"),
        (lambda x: F.einsum("i->", []), ArgumentError, "einsum 'i->' takes at least one operand"),
        (lambda x: F.logspace(INF, 1, 3), ArgumentError, "logspace from inf to 1: its ends are finite"),
        (lambda x: F.stack([]), ArgumentError, "stack takes at least one tensor"),
        (
            lambda x: F.tensordot(x, x, ((0,), (0,), (0,))),
            ArgumentError,
            "an int or a sequence for each tensor",
        ),
        (lambda x: F.eye(8, True), DTypeError, "eye takes an int or None as m, not True"),
        (lambda x: F.arange(0, 3, NAN), ArgumentError, "arange by NaN holds nothing"),
        (lambda x: F.linspace(NAN, 1, 3, dtype="int32"), ArgumentError, "its ends are whole numbers then"),
        (lambda x: F.hardtanh(x.int(), NAN, 1.0), ArgumentError, "a bound is a number"),
        (lambda x: F.adaptive_avg_pool2d(x, (5,)), ArgumentError, "output_size takes 2 lengths, not (5,)"),
    ],
)
def test_errors(function, error, words):
    assert words in message_of(error, trace, function, X)


# -- what is known while tracing ---------------------------------------------------------------------------------------


def test_numbers_that_depend_on_constants_alone_are_known():
    def function(x):
        scale = F.tensor([1.0, 2.0, 4.0]).cumsum(0)[-1]
        assert scale.item() == 7.0
        assert [int(F.tensor(3) + 1), float(scale / 2), bool(F.tensor(0))] == [4, 3.5, False]
        assert F.arange(3).tolist() == [0, 1, 2]
        np.testing.assert_array_equal(np.asarray(F.eye(2) * 2), 2 * np.eye(2))
        return x[:, : int(F.tensor([1, 2]).max())] * scale if F.tensor(True) else x

    assert_close(run(function, X), torch.from_numpy(X[:, :2]) * 7)


@strongly_typed
def test_a_known_number_in_half_is_rounded():
    tenth = float(np.float16(0.1))
    assert_close(run(lambda x: x * F.tensor(0.1).half().item(), X), torch.from_numpy(X) * tenth)


def test_weights_that_are_computed_of_parameters():
    w, x = numbers(4, 3, 3, 3, seed=1), numbers(1, 3, 8, 8)

    def standardized(ops, weight):
        flat = weight.reshape(1, 4, -1)
        return ops.batch_norm(flat, None, None, training=True, momentum=0.0, eps=1e-6).reshape_as(weight)

    parameter = Parameter(4, 3, 3, 3)
    parameter.data = w
    torch_w = torch.from_numpy(w)
    check_triangle(
        lambda x: F.conv2d(x, standardized(F, parameter), padding=1),
        lambda x: torch.nn.functional.conv2d(x, standardized(torch.nn.functional, torch_w), padding=1),
        x,
    )
    message = message_of(UnsupportedError, trace, lambda x: F.batch_norm(x, None, None, training=True), x)
    assert "an engine's result depends on no batch" in message


@pytest.mark.parametrize("how", [float, int, lambda x: x.item(), lambda x: x.tolist(), lambda x: x.numpy()])
def test_numbers_that_depend_on_an_input_are_not_known(how):
    message = message_of(UnsupportedError, trace, lambda x: how(x[0]) + x, (1,))
    assert "known only when the engine runs" in message


def test_item_of_several_numbers():
    assert "more than one number" in message_of(ArgumentError, trace, lambda x: F.arange(2).item() + x, (1,))


# -- networks stay as they are -----------------------------------------------------------------------------------------


def test_a_tensor_of_a_finished_trace_writes_nothing():
    kept = []

    def function(x):
        kept.append(x * 2)
        return x + 1

    network = trace(function, (2,))
    layers = network.graph.definition.num_layers
    for use in (lambda: kept[0] + 1, lambda: F.relu(kept[0]), kept[0].sum, lambda: kept[0][0]):
        assert "after its trace has ended" in message_of(TrtnnError, use)
    for use in (lambda x: x + kept[0], lambda x: F.relu(kept[0]), lambda x: F.cat([kept[0], x]), lambda x: kept[0]):
        assert message_of(TrtnnError, trace, use, (2,))
    assert network.graph.definition.num_layers == layers


def test_a_tensor_of_a_trace_that_failed():
    kept = []

    def function(x):
        kept.append(x)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        trace(function, (2,))
    assert "outside its trace" in message_of(TrtnnError, lambda: kept[0] + 1)


@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda w, x: F.linear(x, w), (6, 4)),
        (lambda w, x: F.conv1d(x, w), (5, 3, 2)),
        (lambda w, x: x + w, (3, 4)),
        (lambda w, x: F.layer_norm(x, (4,), w), (4,)),
        (lambda w, x: F.batch_norm(x, w, w * w, w, w), (3,)),
        (lambda w, x: F.prelu(x, w), (3,)),
        (lambda w, x: F.embedding(x[0, 0].int() * 0, w), (300, 256)),  # large enough to be copied late
        (lambda w, x: F.tensor(w) * x, (4,)),
    ],
)
def test_an_array_that_changes_after_the_trace_is_not_in_the_network(layer, shape, fp16):
    weight = np.abs(numbers(*shape, seed=2)) + 0.5
    parameter = Parameter(shape)
    parameter.data = weight
    for held in (weight, parameter):
        network = trace(lambda x, held=held: layer(held, x), X, fp16=fp16)
        before = network.run(X)
        weight *= 3
        np.testing.assert_array_equal(network.run(X), before)
        weight /= 3


def test_a_scratch_array_is_read_each_time_it_is_used():
    scratch = np.ones(4, np.float32)

    def function(x):
        first = x * scratch
        scratch[:] = 3
        return first, x * scratch

    first, second = trace(function, X).run(X)
    np.testing.assert_array_equal(first, X)
    np.testing.assert_array_equal(second, 3 * X)


def test_dtypes_are_torchs_and_numpys():
    x = torch.tensor([True, False, True])

    def function(mask, x):
        assert torch.float32 == x.dtype != torch.float16
        assert np.float32 == x.dtype
        assert {torch.float32: 1, torch.bool: 2}[mask.dtype] == 2
        assert x.dtype in (torch.float32,)
        return x.masked_fill(mask, -1.0) if mask.dtype == torch.bool else x + mask

    values = np.float32([1, 2, 3])
    network = Function(function).trace({"mask": Input((3,), "bool"), "x": Input((3,))})
    assert_close(network.run(x.numpy(), values), torch.tensor([-1.0, 2.0, -1.0]))
