"""Every module against torch's of the same name: looks, parameters, numbers, and that TensorRT builds it."""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from tests.helpers import ONE_TARGET, assert_close, load_random, message_of, numbers, trace
from trtnn import functional, modules
from trtnn.errors import ArgumentError, ShapeError, UnsupportedError

SIDES = {1: (7,), 2: (7, 6), 3: (5, 6, 7)}


class Case(NamedTuple):
    """A module's name, its arguments, its inputs' shapes, and its tolerance in fp16; None where indices may differ."""

    name: str
    args: tuple[Any, ...]
    options: dict[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    half: float | None = 4e-3


def case(name: str, *args: Any, shape: Any = (2, 3, 4), half: float | None = 4e-3, **options: Any) -> Case:
    return Case(name, args, options, shape if isinstance(shape[0], tuple) else (shape,), half)


def of_sides(
    name: str, *args: Any, channels: int = 4, sides: tuple[int, ...] = (1, 2, 3), **options: Any
) -> list[Case]:
    """A case for each number of sides, and one without a batch."""
    cases = [case(f"{name}{n}d", *args, shape=(2, channels, *SIDES[n]), **options) for n in sides]
    return [*cases, case(f"{name}{sides[0]}d", *args, shape=(channels, *SIDES[sides[0]]), **options)]


ACTIVATIONS = (
    "ReLU", "ReLU6", "RReLU", "LeakyReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Hardswish",
    "Hardsigmoid", "Hardtanh", "Sigmoid", "Tanh", "Softplus", "Softsign", "LogSigmoid", "Tanhshrink",
    "Hardshrink", "Softshrink", "Dropout", "Dropout1d", "AlphaDropout", "FeatureAlphaDropout", "Identity",
    "PReLU",
)  # fmt: skip

CASES = [
    *(case(name) for name in ACTIVATIONS),
    case("ELU", 0.5, inplace=True),
    case("CELU", 0.5),
    case("GELU", approximate="tanh"),
    case("Hardtanh", -0.5, 0.25),
    case("Softplus", 2.0, 1.0),
    case("Softshrink", 0.25),
    case("Hardshrink", 0.25),
    case("Threshold", 0.1, 20),
    case("PReLU", 3),
    case("GLU"),
    case("GLU", 0),
    *(case(name, dim) for name in ("Softmax", "Softmin", "LogSoftmax") for dim in (1, -1)),
    case("Softmax2d", shape=(2, 3, 4, 5)),
    case("Dropout2d", 0.3, True, shape=(2, 3, 4, 5)),
    case("Dropout3d", shape=(2, 3, 4, 5, 2)),
    # shapes
    case("Flatten"),
    case("Flatten", 0, 1),
    case("Unflatten", 1, (3, 1)),
    case("Unflatten", -1, (2, -1)),
    case("PixelShuffle", 2, shape=(2, 8, 3, 4)),
    case("PixelUnshuffle", 2, shape=(2, 3, 4, 6)),
    case("ChannelShuffle", 3, shape=(2, 6, 4, 5)),
    case("Unfold", (2, 3), padding=1, stride=2, shape=(2, 3, 6, 7)),
    case("Unfold", (2, 3), dilation=2, shape=(3, 6, 7)),
    case("Fold", (4, 5), 2, shape=(2, 12, 12)),
    case("Fold", (5, 4), 2, padding=1, shape=(12, 30)),
    # products
    case("Linear", 4, 5),
    case("Bilinear", 4, 3, 5, shape=((2, 6, 4), (2, 6, 3))),
    case("Bilinear", 4, 3, 5, bias=False, shape=((6, 4), (6, 3))),
    case("CosineSimilarity", shape=((2, 3, 4), (2, 3, 4))),
    case("CosineSimilarity", 0, shape=((2, 3, 4), (2, 3, 4))),
    case("PairwiseDistance", shape=((2, 3), (2, 3))),
    case("PairwiseDistance", 1.0, keepdim=True, shape=((2, 3), (2, 3))),
    # convolutions
    *of_sides("Conv", 4, 6, 3, padding=1, stride=2),
    *of_sides("Conv", 4, 6, 2, dilation=2, groups=2, bias=False),
    *of_sides("Conv", 4, 6, 3, padding="same"),
    *(
        one
        for mode in ("reflect", "replicate", "circular")
        for one in of_sides("Conv", 4, 4, 3, padding=1, padding_mode=mode, sides=(1, 2))
    ),
    case("Conv2d", 4, 4, 4, padding="same", padding_mode="circular", shape=(1, 4, 6, 7)),
    case("Conv3d", 4, 4, 3, padding=(0, 1, 2), padding_mode="replicate", shape=(1, 4, 5, 6, 7)),
    *of_sides("ConvTranspose", 4, 6, 3, stride=2, padding=1, output_padding=1),
    *of_sides("ConvTranspose", 4, 6, 3, stride=2, dilation=2, groups=2),
    # normalisation
    *of_sides("BatchNorm", 4, eps=1e-3)[:3],
    case("BatchNorm1d", 4, shape=(3, 4)),
    case("BatchNorm2d", 4, affine=False, shape=(2, 4, 5, 6)),
    *of_sides("InstanceNorm", 4, half=1e-2),
    *of_sides("InstanceNorm", 4, affine=True, eps=1e-3, half=1e-2),
    *of_sides("InstanceNorm", 4, affine=True, track_running_stats=True),
    case("LayerNorm", 4, half=1e-2),
    case("LayerNorm", (3, 4), half=1e-2),
    case("LayerNorm", [2, 3, 4], half=1e-2),
    case("LayerNorm", 4, elementwise_affine=False, half=1e-2),
    case("LayerNorm", 4, 1e-3, bias=False, shape=(2, 3, 5, 4), half=1e-2),
    case("RMSNorm", 4),
    case("RMSNorm", (3, 4), 1e-3),
    case("RMSNorm", 4, elementwise_affine=False),
    case("GroupNorm", 2, 4, shape=(2, 4, 5, 6), half=1e-2),
    case("GroupNorm", 4, 4, affine=False, shape=(2, 4, 5), half=1e-2),
    case("GroupNorm", 1, 4, 1e-3, shape=(2, 4), half=1e-2),
    case("CrossMapLRN2d", 3, alpha=0.5, k=1.0, shape=(2, 6, 5, 4)),
    case("CrossMapLRN2d", 5, alpha=0.5, beta=0.5, k=2.0, shape=(2, 3, 5, 4)),
    case("CrossMapLRN2d", 4, alpha=0.5, k=1.0, shape=(1, 7, 2, 4)),
    case("LocalResponseNorm", 2, shape=(2, 6, 5, 4)),
    case("LocalResponseNorm", 3, alpha=0.5, beta=0.5, k=2.0, shape=(2, 6, 5)),
    # pooling
    *of_sides("MaxPool", 3, 2, 1),
    *of_sides("MaxPool", 2, ceil_mode=True),
    *of_sides("MaxPool", 2, dilation=2, padding=1),
    *of_sides("MaxPool", 3, 2, 1, return_indices=True, half=None),
    *of_sides("AdaptiveMaxPool", 3, return_indices=True, half=None),
    *of_sides("AvgPool", 3, 2, 1),
    *of_sides("AvgPool", 2),
    *of_sides("AvgPool", 3, 2, 1, ceil_mode=True),
    *of_sides("AvgPool", 3, 2, 1, count_include_pad=False, ceil_mode=True),
    case("AvgPool2d", (3, 2), (2, 1), (1, 0), divisor_override=5, shape=(2, 4, 7, 6)),
    case("AvgPool3d", 3, 2, 1, True, divisor_override=7, shape=(2, 4, 7, 6, 5)),
    *of_sides("LPPool", 2, 3, sides=(1, 2)),
    case("LPPool2d", 2, (2, 3), 2, True, shape=(2, 4, 7, 6)),
    case("LPPool3d", 4, 2, shape=(2, 4, 5, 6, 7)),
    *(c for size in (1, 2, 3, 4) for kind in ("Avg", "Max") for c in of_sides(f"Adaptive{kind}Pool", size)),
    case("AdaptiveAvgPool2d", (None, 3), shape=(2, 4, 7, 6)),
    case("AdaptiveMaxPool2d", (5, None), shape=(2, 4, 7, 6)),
    case("AdaptiveAvgPool2d", (9, 5), shape=(2, 4, 7, 6)),
    # padding
    *(c for kind in ("Zero", "Reflection", "Replication", "Circular") for c in of_sides(f"{kind}Pad", 2)),
    *of_sides("ConstantPad", 1, 2.5),
    case("ZeroPad2d", (1, 0, 2, -1), shape=(2, 4, 7, 6)),
    case("ConstantPad2d", (-1, 0, 2, 3), -1.5, shape=(2, 4, 7, 6)),
    case("ReplicationPad3d", (1, 2, 0, 4, 5, 1), shape=(2, 2, 3, 2, 3)),
    # resizing
    *(case("Upsample", scale_factor=2, shape=(2, 3, *SIDES[n])) for n in (1, 2, 3)),
    *(case("Upsample", scale_factor=1.5, mode="nearest-exact", shape=(2, 3, *SIDES[n])) for n in (1, 2, 3)),
    *(
        case("Upsample", scale_factor=1.5, mode=mode, align_corners=aligned, shape=(2, 3, *SIDES[n]))
        for n, mode in ((1, "linear"), (2, "bilinear"), (3, "trilinear"), (2, "bicubic"))
        for aligned in (None, True)
    ),
    case("Upsample", (5, 9), mode="bicubic", shape=(2, 3, 7, 6)),
    case("Upsample", 4, mode="linear", shape=(2, 3, 7)),
    case("Upsample", (3, 4), mode="area", shape=(2, 3, 7, 6)),
    case("Upsample", scale_factor=1.7, mode="bilinear", recompute_scale_factor=True, shape=(2, 3, 7, 6)),
    case("UpsamplingNearest2d", scale_factor=2, shape=(2, 3, 7, 6)),
    case("UpsamplingBilinear2d", size=(9, 8), shape=(2, 3, 7, 6)),
    # recurrence
    *(case(name, 3, 5, shape=(4, 2, 3)) for name in ("RNN", "LSTM", "GRU")),
    *(
        case(name, 3, 5, num_layers=2, bidirectional=True, batch_first=True, dropout=0.1, shape=(2, 4, 3))
        for name in ("RNN", "LSTM", "GRU")
    ),
    case("RNN", 3, 5, nonlinearity="relu", bias=False, shape=(4, 3)),
    case("LSTM", 3, 5, proj_size=2, bidirectional=True, shape=(4, 2, 3)),
    case("GRU", 3, 5, bidirectional=True, shape=((4, 3), (2, 5))),
    case("GRU", 3, 5, shape=((4, 2, 3), (1, 2, 5))),
    *(case(name, 3, 5, shape=shape) for name in ("RNNCell", "LSTMCell", "GRUCell") for shape in ((2, 3), (3,))),
    case("GRUCell", 3, 5, bias=False, shape=((2, 3), (2, 5))),
    case("RNNCell", 3, 5, nonlinearity="relu", shape=((2, 3), (2, 5))),
    # attention
    case("MultiheadAttention", 8, 2, shape=((5, 2, 8), (3, 2, 8), (3, 2, 8))),
    case("MultiheadAttention", 8, 4, batch_first=True, bias=False, shape=((2, 5, 8), (2, 3, 8), (2, 3, 8))),
    case("MultiheadAttention", 8, 2, kdim=3, vdim=4, add_bias_kv=True, shape=((5, 2, 8), (3, 2, 3), (3, 2, 4))),
    case("MultiheadAttention", 8, 2, add_zero_attn=True, shape=((5, 8), (3, 8), (3, 8))),
    case("TransformerEncoderLayer", 8, 2, 16, shape=(5, 2, 8), half=1e-2),
    case("TransformerEncoderLayer", 8, 2, 16, 0.1, "gelu", 1e-3, True, True, shape=(2, 5, 8), half=1e-2),
    case("TransformerDecoderLayer", 8, 2, 16, shape=((5, 2, 8), (3, 2, 8)), half=1e-2),
    case("TransformerDecoderLayer", 8, 2, 16, norm_first=True, shape=((5, 2, 8), (3, 2, 8)), half=1e-2),
    case("Transformer", 8, 2, 1, 2, 16, shape=((3, 2, 8), (5, 2, 8)), half=2e-2),
]  # fmt: skip


def _pair(c: Case) -> tuple[Any, torch.nn.Module]:
    theirs = load_random(getattr(torch.nn, c.name)(*c.args, **c.options))
    ours = getattr(modules, c.name)(*c.args, **c.options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def _shown(module: Any) -> str:
    """A module's ``repr`` without what newer torch shows as well."""
    text = repr(module).replace("NonDynamicallyQuantizableLinear", "Linear").replace(" bias=False,", "")
    return text.replace(" bias=True,", "").replace(", bias=True)", ")").replace(", bias=False)", ")")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("c", CASES, ids=lambda c: f"{c.name}-{c.args}-{c.options}-{c.shapes}")
def test_as_torch(c: Case) -> None:
    ours, theirs = _pair(c)
    arrays = [numbers(*shape, seed=i, scale=2) for i, shape in enumerate(c.shapes)]
    with torch.no_grad():
        expected = theirs(*(torch.from_numpy(array.copy()) for array in arrays))
    for fp16, tolerance in ((False, 1e-5), (True, c.half)):
        if tolerance is None:
            continue
        network = trace(ours, *arrays, fp16=fp16)
        assert_close(network.run(*arrays), expected, tolerance, 2 * tolerance)  # of inputs that spread by 2
    if not c.name.startswith("Transformer"):
        assert _shown(ours) == _shown(theirs)


def _some_at_once(cases: list[Case]) -> list[list[Case]]:
    """Return one case of each module, several in a list: a build takes its time even of one."""
    distinct = list({c.name: c for c in cases}.values())
    return [distinct[start : start + 8] for start in range(0, len(distinct), 8)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fp16", [False, True])
@pytest.mark.parametrize("some", _some_at_once(CASES), ids=lambda some: f"{some[0].name}-to-{some[-1].name}")
def test_tensorrt_builds_them(some: list[Case], fp16: bool) -> None:
    each = [_pair(c)[0] for c in some]

    def side_by_side(*tensors: Any) -> list[Any]:
        left = iter(tensors)
        return [module(*islice(left, len(c.shapes))) for module, c in zip(each, some, strict=True)]

    network = trace(side_by_side, *(numbers(*shape) for c in some for shape in c.shapes), fp16=fp16)
    assert network.build(**ONE_TARGET).plan.nbytes > 0


# -- what takes other inputs ------------------------------------------------------------------------------------------


def test_embedding() -> None:
    ours, theirs = _pair(case("Embedding", 7, 3, padding_idx=-1))
    for index in (np.array([[0, 6], [2, 2]]), np.array(3, np.int32)):
        assert_close(trace(ours, index).run(index), theirs(torch.from_numpy(index)).detach())
        added = trace(lambda x, i=index: ours(i) + x, (1,)).run(np.zeros(1, np.float32))
        assert_close(added, theirs(torch.from_numpy(index)).detach())
    assert repr(ours) == repr(theirs)
    assert "max_norm" in message_of(UnsupportedError, modules.Embedding, 3, 4, max_norm=1.0)


def test_tables_that_are_there() -> None:
    table, index = numbers(7, 3), np.array([[0, 6], [2, 2]])
    for ours, theirs in (
        (kind.from_pretrained(given, padding_idx=-1) for kind, given in pair)
        for pair in (
            ((modules.Embedding, table), (torch.nn.Embedding, torch.from_numpy(table))),
            ((modules.EmbeddingBag, torch.from_numpy(table)), (torch.nn.EmbeddingBag, torch.from_numpy(table))),
        )
    ):
        assert_close(trace(ours, index).run(index), theirs(torch.from_numpy(index)).detach())
        assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("padding_idx", [None, 1, -2])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag(mode: str, padding_idx: int | None) -> None:
    ours, theirs = _pair(case("EmbeddingBag", 7, 3, mode=mode, padding_idx=padding_idx))
    index = np.array([[0, 6, 5], [1, 2, 5], [1, 1, 1], [5, 5, 5]])
    for array in (index, index.astype(np.int32)):
        network = trace(ours, array)
        assert_close(network.run(array), theirs(torch.from_numpy(array)).detach())
    assert network.build(**ONE_TARGET).plan.nbytes > 0
    assert repr(ours) == repr(theirs)
    vector, offsets = index.reshape(-1), np.array([0, 4, 4, 5])
    result = trace(lambda i: ours(i, offsets), vector).run(vector)
    assert_close(result, theirs(torch.from_numpy(vector), torch.from_numpy(offsets)).detach())
    if mode == "sum":
        weights = numbers(4, 3)
        expected = theirs(torch.from_numpy(index), per_sample_weights=torch.from_numpy(weights)).detach()
        result = trace(lambda i, w: ours(i, per_sample_weights=w), index, weights).run(index, weights)
        assert_close(result, expected)


def test_the_function_of_an_embedding_bag() -> None:
    table = np.ones((3, 4), np.float32)
    index = np.array([[0, 1]])

    def message(error: type[Exception], *args: Any, **options: Any) -> str:
        return message_of(error, trace, lambda i: functional.embedding_bag(i, table, *args, **options), index)

    counted = trace(lambda i: functional.embedding_bag(i, table, mode="sum", padding_idx=-2), index).run(index)
    np.testing.assert_array_equal(counted, table[:1])
    assert "offsets with a vector of indices" in message(ArgumentError, np.array([0]))
    assert "'median'" in message(ArgumentError, mode="median")
    assert "padding_idx 3 is out of range" in message(ArgumentError, padding_idx=3)
    assert "with mode 'sum', not 'mean'" in message(ArgumentError, per_sample_weights=index)
    assert "(bags, indices)" in message_of(ShapeError, trace, lambda i: functional.embedding_bag(i, table), index[None])


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("as_array", [True, False])
@pytest.mark.parametrize("kind", ["bool", "float32"])
@pytest.mark.parametrize("several", [True, False])
def test_masks_of_attention(batch_first: bool, as_array: bool, kind: str, several: bool) -> None:
    options = {"batch_first": batch_first, "add_bias_kv": True, "add_zero_attn": True}
    ours, theirs = _pair(case("MultiheadAttention", 8, 2, **options))
    x = numbers(3, 5, 8) if batch_first else numbers(5, 3, 8)
    generator = np.random.default_rng(1)
    mask, padding = generator.random((6, 5, 5) if several else (5, 5)) < 0.4, np.eye(3, 5) > 0
    mask, padding = (np.where(m, -2.5, 0).astype(kind) if kind != "bool" else m for m in (mask, padding))
    how = {"average_attn_weights": False}
    expected = theirs(*[torch.from_numpy(x)] * 3, torch.from_numpy(padding), True, torch.from_numpy(mask), **how)
    if as_array:
        network = trace(lambda x: ours(x, x, x, padding, True, mask, **how), x)
        result = network.run(x)
    else:
        result = trace(lambda x, p, m: ours(x, x, x, p, True, m, **how), x, padding, mask).run(x, padding, mask)
    assert_close(result, tuple(value.detach() for value in expected))


@pytest.mark.parametrize("kind", ["bool", "float32"])
def test_attention_that_may_go_nowhere(kind: str) -> None:
    ours, theirs = _pair(case("MultiheadAttention", 8, 2))
    x, mask = numbers(3, 2, 8), np.array([[0, 0, 1], [1, 1, 1], [0, 1, 0]]) > 0
    mask = mask if kind == "bool" else np.where(mask, -np.inf, 0).astype(kind)
    for weights in (False, True):
        how = {"need_weights": weights}
        expected, _ = theirs(*[torch.from_numpy(x)] * 3, attn_mask=torch.from_numpy(mask), **how)
        for network, arrays in (
            (trace(lambda x, how=how: ours(x, x, x, attn_mask=mask, **how)[0], x), (x,)),
            (trace(lambda x, m, how=how: ours(x, x, x, attn_mask=m, **how)[0], x, mask), (x, mask)),
        ):
            result = network.run(*arrays)
            np.testing.assert_allclose(result, expected.detach(), rtol=0, atol=1e-5)
            assert bool(np.isnan(result[1]).all()) is weights


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_transformers_of_several_layers_and_masks() -> None:
    def make(nn: Any) -> Any:
        encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2, nn.LayerNorm(8))
        decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2)
        return nn.ModuleDict({"encoder": encoder, "decoder": decoder})

    theirs, ours = load_random(make(torch.nn)), make(modules)
    ours.load_state_dict(theirs.state_dict())
    source, target = numbers(4, 2, 8), numbers(3, 2, 8, seed=1)
    mask = modules.Transformer.generate_square_subsequent_mask(3)
    np.testing.assert_array_equal(mask, torch.nn.Transformer.generate_square_subsequent_mask(3))

    def function(nn: Any, masks: Any) -> Any:
        return lambda x, y: nn["decoder"](y, nn["encoder"](x), masks)

    with torch.no_grad():
        expected = function(theirs, torch.from_numpy(mask))(torch.from_numpy(source), torch.from_numpy(target))
    assert_close(trace(function(ours, mask), source, target).run(source, target), expected)


def test_output_size_of_a_transposed_convolution() -> None:
    ours, theirs = _pair(case("ConvTranspose2d", 3, 4, 3, stride=3))
    x = numbers(1, 3, 4, 5)
    for size in ((12, 15), (14, 16), (1, 4, 13, 17)):
        expected = theirs(torch.from_numpy(x), size).detach()
        assert_close(trace(lambda x, s=size: ours(x, s), x).run(x), expected)
    assert "too small" in message_of(ArgumentError, trace, lambda x: ours(x, (11, 15)), x)


@pytest.mark.parametrize("kind", ["ParameterList", "ParameterDict"])
def test_containers_of_parameters(kind: str) -> None:
    def make(nn: Any, of: Any) -> Any:
        parameters = [of(2, 3), of(4)]
        return getattr(nn, kind)(parameters if kind == "ParameterList" else dict(zip("ab", parameters, strict=True)))

    ours = make(modules, modules.module.Parameter)
    theirs = make(torch.nn, lambda *shape: torch.nn.Parameter(torch.zeros(shape)))
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert len(ours) == len(theirs) == 2
    key = 1 if kind == "ParameterList" else "b"
    assert ours[key].shape == (4,)
    ours[key] = modules.module.Parameter(5)
    assert [parameter.shape for parameter in ours.parameters()] == [(2, 3), (5,)]


@pytest.mark.parametrize(
    ("make", "shape", "error", "words"),
    [
        (lambda: modules.BatchNorm1d(4), (1, 4, 5, 6), ShapeError, "takes 2 or 3 dimensions"),
        (lambda: modules.BatchNorm1d(4, -1.0), (2, 4), ArgumentError, "an eps that is not negative, not -1.0"),
        (lambda: modules.CircularPad1d(1), (1, 2, 3, 4), ShapeError, "takes 2 or 3 dimensions"),
        (lambda: modules.ReflectionPad2d(1), (3, 4), ShapeError, "takes 3 or 4 dimensions"),
        (lambda: modules.Embedding(2, 3, _weight=np.ones((3, 2))), (), ShapeError, "2 rows of 3 was given an array"),
        (lambda: modules.Embedding.from_pretrained(np.ones(3)), (), ShapeError, "(rows, width), not (3,)"),
        (lambda: modules.InstanceNorm2d(4), (1, 3, 5, 6), ShapeError, "takes 4 channels"),
        (lambda: modules.LayerNorm(4), (2, 3), ShapeError, "takes (..., 4)"),
        (lambda: modules.GroupNorm(3, 6), (2, 4, 5), ShapeError, "3 groups"),
        (lambda: modules.GroupNorm(4, 6), (), ArgumentError, "do not divide into 4 groups"),
        (modules.GLU, (2, 3), ShapeError, "halves dimension -1"),
        (lambda: modules.PixelShuffle(2), (1, 3, 4, 4), ShapeError, "(..., C·4, H, W)"),
        (lambda: modules.PixelUnshuffle(2), (1, 3, 4, 5), ShapeError, "(..., C, H·2, W·2)"),
        (lambda: modules.ReflectionPad2d(4), (1, 3, 4, 5), ShapeError, "padding by 4 in mode 'reflect'"),
        (lambda: modules.EmbeddingBag(3, 4, max_norm=1.0), (), UnsupportedError, "max_norm"),
        (lambda: modules.LSTM(3, 4), (2, 5, 4), ShapeError, "(length, batch, 3)"),
        (lambda: modules.RNN(3, 4, nonlinearity="gelu"), (), ArgumentError, "'tanh' or 'relu'"),
        (lambda: modules.MultiheadAttention(6, 4), (), ArgumentError, "6 does not divide into 4 heads"),
        (lambda: modules.Dropout(2), (), ArgumentError, "from 0 to 1"),
        (lambda: modules.Conv1d(3, 4, 3), (4, 8), ShapeError, "received 4, in an input of shape (4, 8)"),
        (lambda: modules.AvgPool1d(9), (1, 3, 4), ShapeError, "received an input of shape (1, 3, 4), padding (0,)"),
        (lambda: modules.Conv1d(3, 4, 3), (1, 3, 8, 8), ShapeError, "(batch, channels, length)"),
        (lambda: modules.Conv3d(3, 4, (1, 2)), (), ArgumentError, "an int or three"),
        (lambda: modules.Fold(4, 2), (1, 8, 8), ShapeError, "takes (batch, channels · 4, 9)"),
    ],
)
def test_errors(make: Any, shape: tuple[int, ...], error: type[Exception], words: str) -> None:
    def build() -> None:
        module = make()
        for parameter in (*module.parameters(), *module.buffers()):
            parameter.data = np.ones(parameter.shape, np.float32)
        trace(module, shape)

    assert words in message_of(error, build)
