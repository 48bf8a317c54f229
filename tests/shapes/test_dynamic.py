"""Dynamic shapes: every operation against torch at several sizes of one network, and what a network says of itself."""

import numpy as np
import pytest
import torch

from tests.helpers import (
    BATCH,
    HEIGHT,
    IMAGES,
    ODD,
    ONE_TARGET,
    WIDTH,
    assert_close,
    check_dynamic,
    layers,
    message_of,
    numbers,
    trace,
)
from trtnn import Dim, Engine, Input, Module, dtypes, modules
from trtnn import functional as F
from trtnn.accuracy.choice import MixedPrecision
from trtnn.errors import ArgumentError, BuildError, ShapeError, UnsupportedError
from trtnn.graph.definition import read_layers
from trtnn.shapes.symbolic import same_shape

TF = torch.nn.functional
SIZES = [(1, 4, 8, 8), (2, 4, 16, 40), (4, 4, 24, 8)]
ODD_SIZES = [(2, 4, 3, 5), (1, 4, 12, 4), (3, 4, 7, 7)]


def both(function):
    return function, function


# -- operations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ((4, 6, 3), {}),
        ((4, 6, 3), {"stride": 2, "padding": 1}),
        ((4, 6, 6), {"stride": 2, "padding": 2, "bias": False}),
        ((4, 6, 3), {"padding": "same", "dilation": 2}),
        ((4, 8, (3, 1)), {"stride": (1, 2), "padding": (1, 0), "groups": 2}),
    ],
)
def test_convolution(args, options):
    check_dynamic(modules.Conv2d(*args, **options), torch.nn.Conv2d(*args, **options), IMAGES, SIZES)


def test_convolution_of_lengths_that_do_not_halve():
    options = {"stride": 2, "padding": 1}
    check_dynamic(
        modules.Conv2d(4, 5, 3, **options), torch.nn.Conv2d(4, 5, 3, **options), (BATCH, 4, ODD, Dim("w", 3, 5, 9)),
        ODD_SIZES,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options", [{"stride": 2}, {"stride": 2, "padding": 1, "output_padding": 1}, {"padding": 1, "dilation": 2}]
)
def test_transposed_convolution(options):
    check_dynamic(
        modules.ConvTranspose2d(4, 3, 3, **options), torch.nn.ConvTranspose2d(4, 3, 3, **options), IMAGES, SIZES
    )


@pytest.mark.parametrize(
    "options", [{"kernel_size": 2}, {"kernel_size": 5, "stride": 1, "padding": 2}, {"kernel_size": 3, "stride": 2}]
)
def test_max_pooling(options):
    check_dynamic(modules.MaxPool2d(**options), torch.nn.MaxPool2d(**options), IMAGES, SIZES)
    odd = (BATCH, 4, ODD, Dim("w", 3, 5, 9))
    padded = {**options, "padding": options["kernel_size"] // 2}
    check_dynamic(modules.MaxPool2d(**padded), torch.nn.MaxPool2d(**padded), odd, ODD_SIZES, build=False)


def test_max_pooling_rounded_up():
    options = {"kernel_size": 3, "stride": 2, "ceil_mode": True}
    check_dynamic(modules.MaxPool2d(**options), torch.nn.MaxPool2d(**options), IMAGES, SIZES)
    for options in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 1, "stride": 3}):
        options["ceil_mode"] = True
        check_dynamic(
            modules.MaxPool2d(**options), torch.nn.MaxPool2d(**options), (1, 4, ODD, Dim("w", 3, 5, 9)),
            [(1, 4, h, w) for h, w in zip(range(3, 13), [*range(3, 10), 3, 4, 5], strict=True)],
        )  # fmt: skip


def test_normalization_and_activations():
    check_dynamic(modules.BatchNorm2d(4), torch.nn.BatchNorm2d(4), IMAGES, SIZES)
    check_dynamic(
        lambda x: [F.relu(x), F.silu(x), x.sigmoid(), x.softmax(1), F.hardswish(x), x.exp(), -x],
        lambda x: [TF.relu(x), TF.silu(x), x.sigmoid(), x.softmax(1), TF.hardswish(x), x.exp(), -x],
        IMAGES,
        SIZES,
    )
    check_dynamic(*both(lambda x: x.softmax(0)), (ODD,), [(3,), (12,)])


def test_linear():
    for shape, sizes in (
        ((BATCH, 6), [(1, 6), (3, 6)]),
        ((BATCH, ODD, 6), [(1, 3, 6), (4, 12, 6)]),
        ((2, BATCH, ODD, 6), [(2, 1, 3, 6), (2, 3, 7, 6)]),
    ):
        check_dynamic(modules.Linear(6, 5), torch.nn.Linear(6, 5), shape, sizes)


def test_arithmetic_and_broadcasting():
    array = torch.from_numpy(numbers(4, 1, 1))
    check_dynamic(
        lambda x: [x + 1, 2 * x, x / 3, x * x, x**2 - x, x * array.numpy(), x.sub(x[:, :1])],
        lambda x: [x + 1, 2 * x, x / 3, x * x, x**2 - x, x * array, x.sub(x[:, :1])],
        IMAGES,
        SIZES,
    )
    check_dynamic(*both(lambda a, b: a + b), [(BATCH, 1, ODD), (4, 1)], [[(1, 1, 3), (4, 1)], [(3, 1, 12), (4, 1)]])
    check_dynamic(*both(lambda a, b: a * b), [(BATCH, 2, ODD), (ODD,)], [[(1, 2, 3), (3,)], [(2, 2, 7), (7,)]])


def test_lengths_as_numbers():
    check_dynamic(
        *both(lambda x: [x * x.shape[2], x / x.shape[3], x + x.shape[2] // 8 - x.numel(), x.shape[0] - x]),
        IMAGES,
        SIZES,
    )


def test_a_length_is_a_number_without_dimensions():
    check_dynamic(*both(lambda a, x: a * x.shape[0]), [(), (BATCH, 2)], [[(), (1, 2)], [(), (3, 2)]], build=False)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.view(x.shape[0], -1),
        lambda x: x.flatten(2).permute(0, 2, 1),
        lambda x: x.flatten(),
        lambda x: x.flatten(0, 1),
        lambda x: x.view(x.shape[0], 2, 2, x.shape[2], x.shape[3]).permute(0, 1, 3, 4, 2),
        lambda x: x.reshape(x.shape[0], x.shape[1], x.shape[2] * x.shape[3]),
        lambda x: x.reshape(-1, 4),
        lambda x: x.reshape(x.shape[0], 4, x.shape[2] // 2, 2, x.shape[3] // 4, 4).permute(0, 1, 3, 5, 2, 4),
        lambda x: x.reshape(x.shape[3], x.shape[0], x.shape[2], 4),
        lambda x: x[None],
        lambda x: x.permute(1, 3, 0, 2),
        lambda x: x.transpose(2, 3),
        lambda x: x.view(x.shape),
    ],
)
def test_shapes(function):
    check_dynamic(*both(function), IMAGES, SIZES)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, 1:3],
        lambda x: x[..., ::2, 1::2],
        lambda x: x[:, :, 2:],
        lambda x: x[:, :, :-2],
        lambda x: x[:, :, -3:, 1:-1],
        lambda x: x[:, :, : x.shape[2] // 2],
        lambda x: x[:, :, x.shape[2] // 4 : x.shape[2] // 2 : 3],
        lambda x: x[:, 0, 1],
        lambda x: x[:, :, -1],
        lambda x: x[0],
        lambda x: x[:, :, x.shape[2] // 2 - 1, None],
        lambda x: x[:, :, :1000],
        lambda x: x.narrow(2, 1, x.shape[2] - 3),
        lambda x: x.narrow(3, -4, 4),
        lambda x: list(x.split(x.shape[2] // 4, 2)),
        lambda x: list(x.split([2, x.shape[3] - 2], 3)),
        lambda x: list(x.split(3, 1)),
        lambda x: list(x.chunk(2, 2)) + list(x.chunk(3, 1)),
    ],
)
def test_parts(function):
    check_dynamic(*both(function), IMAGES, SIZES)


def test_joining():
    check_dynamic(
        lambda x: [F.cat([x, x[:, :2]], 1), F.cat([x, x[:, :, 1:], x], 2)],
        lambda x: [torch.cat([x, x[:, :2]], 1), torch.cat([x, x[:, :, 1:], x], 2)],
        IMAGES,
        SIZES,
    )
    check_dynamic(
        lambda a, b: F.cat([a, b], 0), lambda a, b: torch.cat([a, b], 0), [(BATCH, ODD), (2, ODD)],
        [[(1, 3), (2, 3)], [(4, 12), (2, 12)]],
    )  # fmt: skip


def test_expansion():
    check_dynamic(
        *both(lambda x: [x[:, :1].expand(-1, 4, -1, -1), x[:, :, :1].expand(2, *x.shape), x.expand(x.shape)]),
        IMAGES,
        SIZES,
    )
    check_dynamic(
        lambda x, y: x.expand(y.shape[0], y.shape[1]), lambda x, y: x.expand(y.shape), [(1,), (BATCH, ODD)],
        [[(1,), (1, 3)], [(1,), (3, 7)]],
    )  # fmt: skip


def test_expansion_of_what_is_static():
    x = numbers(1, 3, 1)
    result = trace(lambda x: [x.expand(2, 3, 4), F.expand(x, (2, 2, -1, 4))], x).run(x)
    assert_close(result, [torch.from_numpy(x).expand(2, 3, 4), torch.from_numpy(x).expand(2, 2, 3, 4)])
    for sizes, words in (((3, 1), "cannot expand (1, 3, 1) to (3, 1)"), ((1, 4, 1), "to (1, 4, 1)")):
        assert words in message_of(ShapeError, trace, lambda x, s=sizes: x.expand(*s), x)
    assert "to (-1, 1, 3, 1)" in message_of(ShapeError, trace, lambda x: x.expand(-1, 1, 3, 1), x)


@pytest.mark.parametrize(
    ("options", "ours"),
    [
        ({"scale_factor": 2}, None),
        ({"scale_factor": (0.5, 3)}, None),
        ({"scale_factor": 2, "mode": "bilinear"}, None),
        ({"size": (5, 7)}, None),
        ({"size": 9, "mode": "bilinear", "align_corners": True}, None),
    ],
)
def test_interpolation(options, ours):
    check_dynamic(lambda x: F.interpolate(x, **options), lambda x: TF.interpolate(x, **options), IMAGES, SIZES)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_interpolation_to_symbolic_sizes(mode):
    check_dynamic(
        lambda x: F.interpolate(x, size=(x.shape[2] * 2, x.shape[3] // 4), mode=mode),
        lambda x: TF.interpolate(x, size=(x.shape[2] * 2, x.shape[3] // 4), mode=mode),
        IMAGES,
        SIZES,
    )
    check_dynamic(
        lambda x, y: F.interpolate(x, size=y.shape[2:], mode=mode),
        lambda x, y: TF.interpolate(x, size=y.shape[2:], mode=mode),
        [(1, 2, 6, 6), IMAGES],
        [[(1, 2, 6, 6), size] for size in SIZES],
    )


@pytest.mark.parametrize("dtype", ["float32", "int32", None])
def test_counting(dtype):
    ours, theirs = dtype, None if dtype is None else getattr(torch, dtype)

    def function(arange, kind):
        return lambda x: [
            arange(x.shape[2], dtype=kind),
            arange(3, x.shape[2] + 2, 2, dtype=kind),
            arange(x.shape[3] // 8, x.shape[3], dtype=kind),
            arange(x.shape[3], x.shape[3] + 3, dtype=kind),
            arange(2, 9, 3, dtype=kind),
        ]

    check_dynamic(function(F.arange, ours), function(torch.arange, theirs), IMAGES, SIZES, build=dtype is not None)


def test_counting_by_fractions():
    network = trace(lambda x: [F.arange(0.5, 3), F.arange(4) + x], (1,))
    assert_close(network.run(np.ones(1, np.float32)), [torch.arange(0.5, 3), torch.arange(4) + torch.ones(1)])


def test_what_cannot_be_counted():
    def message(function, error=ArgumentError):
        return message_of(error, trace, function, IMAGES)

    assert "arange from 3 to 3 by 1 holds nothing" in message(lambda x: F.arange(3, 3))
    assert "beside a Size all are whole" in message(lambda x: F.arange(0, x.shape[2], 0.5))
    assert "arange from height to 0 by 0" in message(lambda x: F.arange(x.shape[2], 0, 0))
    assert "arange from 0 to height by -1 holds nothing" in message(lambda x: F.arange(0, x.shape[2], -1))
    assert "height" in message(lambda x: F.arange(10, x.shape[2]), ShapeError)
    assert "call it within forward" in message_of(ArgumentError, F.arange, 3)
    big = message_of(ArgumentError, trace, lambda x: F.arange(x.shape[0] * x.shape[0]), (Dim("n", 1, 2, 5000), 1))
    assert "arange counts up to 16777216, and n*n goes up to 25000000" in big


def test_casts():
    check_dynamic(*both(lambda x: [x.int(), x.to(x.dtype), x.long()]), IMAGES, SIZES, dtype="int32")


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: x.view(x.shape[0], 7, -1), ShapeError, "cannot reshape (batch, 4, height, width), 4*batch*height"),
        (lambda x: x.view(3, 4, -1), ShapeError, "to (3, 4, -1) in"),
        (lambda x: x + x[:, :, 1:], ShapeError, "(batch, 4, height, width) and (batch, 4, height - 1, width) do not"),
        (lambda x: x + np.ones((2, 1, 1, 1), np.float32), ShapeError, "do not broadcast together"),
        (lambda x: x[:, :, 10:], ShapeError, "is known only when the network runs"),
        (lambda x: x[:, :, 50:], ShapeError, "leaves nothing of a dimension of height"),
        (lambda x: x[:, :, 8], ShapeError, "whether height > 8 is known only when the network runs"),
        (lambda x: x[:, :, 40], ShapeError, "index 40 is out of range for a dimension of height"),
        (lambda x: x[3], ShapeError, "batch is 1 to 4"),
        (list, ShapeError, "batch is known only when the network runs"),
        (lambda x: x.split(3, 2), ShapeError, "split of a length of height into pieces of 3"),
        (lambda x: x.split([2, 3], 2), ShapeError, "add up to 5, but dimension 2 has height"),
        (lambda x: x.narrow(2, 4, 8), ShapeError, "height"),
        (lambda x: F.cat([x, x[:, :, 1:]], 1), ShapeError, "shapes differ outside dimension 1"),
        (lambda x: F.interpolate(x, scale_factor=0.3), UnsupportedError, "interpolate of a length of height by 0.3"),
        (lambda x: F.conv2d(x, np.ones((1, 4, 11, 11), np.float32)), ShapeError, "a length of height - 10 goes down"),
        (lambda x: F.max_pool2d(x, 20), ShapeError, "whether height//20 < 1 is known only"),
        (lambda x: F.conv2d(x.transpose(1, 2), np.ones((1, 4, 1, 1), np.float32)), ShapeError, "received height, in"),
        (lambda x: F.linear(x, np.ones((3, 5), np.float32)), ShapeError, "an input of shape (batch, 4, height, width)"),
        (lambda x: x.expand(3, 4, 8, 8), ShapeError, "cannot expand (batch, 4, height, width) to (3, 4, 8, 8)"),
    ],
)
def test_errors_name_the_dimensions(function, error, words):
    assert words in message_of(error, trace, function, IMAGES)


def test_a_layer_without_a_formula():
    def function(x):
        axes = 1 << 2
        return x.graph.emit("reduce", x, x.graph.trt.ReduceOperation.SUM, axes, True)

    message = message_of(UnsupportedError, trace, function, IMAGES)
    assert "reduce in the model's own forward gives a dynamic shape, and nothing tells which" in message
    assert "out_shape=..." in message


def test_a_formula_that_is_wrong():
    def function(shape):
        return lambda x: x.graph.emit("activation", x, x.graph.trt.ActivationType.RELU, out_shape=shape)

    message = message_of(BuildError, trace, function((BATCH, 3, HEIGHT, WIDTH)), IMAGES)
    assert "activation gives (batch, 3, height, width) by its formula and (-1, 4, -1, -1) in TensorRT" in message
    assert "by its formula and (2, 3) in TensorRT" in message_of(BuildError, trace, function((3, 3)), (2, 3))
    assert "by its formula" in message_of(BuildError, trace, function((2,)), (2, 3))
    assert "gives (batch, 3) by its formula and (2, 3)" in message_of(BuildError, trace, function((BATCH, 3)), (2, 3))


# -- networks ---------------------------------------------------------------------------------------------------------


class Net(Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = modules.Conv2d(4, 6, 3, stride=2, padding=1)
        self.head = modules.Linear(6, 3)

    def forward(self, images):
        x = F.relu(self.conv(images))
        return self.head(x.flatten(2).permute(0, 2, 1))


@pytest.fixture
def net():
    net = Net()
    state = {**torch.nn.Conv2d(4, 6, 3).state_dict(prefix="conv."), **torch.nn.Linear(6, 3).state_dict(prefix="head.")}
    net.load_state_dict(state)
    return net


def test_what_a_network_says(net):
    network = net.trace({"images": IMAGES})
    assert str(network.outputs["output"]) == "float32[batch, height*width//4, 3]"
    assert "images float32[batch, 4, height, width] -> output float32[batch, height*width//4, 3]" in repr(network)
    assert network.profiles == ({"batch": BATCH, "height": HEIGHT, "width": WIDTH},)
    summary = network.summary()
    assert "float32[batch, 6, height//2, width//2]" in summary
    static = net.trace({"images": (2, 4, 16, 16)})
    assert sum(row.flops for row in network.layers()) == sum(row.flops for row in static.layers()) > 0
    assert summary.splitlines()[-1].split()[-1] == static.summary().splitlines()[-1].split()[-1]


def test_placeholders_stand_for_what_they_can(net):
    assert not layers(net.trace({"images": IMAGES}), "SHAPE")


def test_one_length_is_computed_once():
    def function(x):
        return [x[:, 1:], x[:, 2:], x[:, :, : x.shape[2] // 2], x[:, 1:, : x.shape[2] // 2]]

    network = trace(function, IMAGES)
    assert len(layers(network, "SHAPE")) == 1
    divisions = [layer for layer in layers(network, "ELEMENTWISE") if layer.op.name == "FLOOR_DIV"]
    assert len(divisions) == 1


def test_static_networks_have_no_trace_of_it(net):
    network = net.trace({"images": (2, 4, 16, 16)})
    assert [kind for kind, _ in read_layers(network.graph.definition, network.graph.trt)] == [
        "CONVOLUTION", "ACTIVATION", "SHUFFLE", "SHUFFLE", "CONSTANT", "MATRIX_MULTIPLY", "CONSTANT", "ELEMENTWISE",
    ]  # fmt: skip
    assert network.profiles == ()
    engine = network.build(**ONE_TARGET)
    assert "profiles" not in engine.description


def test_modules_outputs_inside(net):
    network = net.trace({"images": IMAGES})
    images = numbers(2, 4, 16, 24)
    _, inner = network.run(images, outputs=["conv"])
    assert inner["conv"].shape == (2, 6, 8, 12)


def test_fp16_report(net):
    network = net.trace({"images": IMAGES})
    report = network.fp16_report([numbers(1, 4, 8, 8), numbers(2, 4, 16, 24)])
    assert {"conv", "head"} <= {row.path for row in report.modules}
    assert 0 < report.errors["output"] < 1e-2
    counting = trace(lambda x: x[:, :, 1:] * F.arange(x.shape[3], dtype="float32"), IMAGES)
    report = counting.fp16_report([numbers(1, 4, 8, 8)])
    reads = [kind for kind, _ in read_layers(counting.graph.definition, counting.graph.trt)]
    precision = MixedPrecision(counting.graph, counting.retrace)
    assert "SHAPE" in reads
    assert {reads[index] for index in precision.layers} == {"SLICE", "FILL", "SHUFFLE", "ELEMENTWISE"}
    assert report.suggested_fp32_modules() == ()


def test_integer_layers_are_not_pinned():
    network = trace(lambda x: x[:, :, 1:], IMAGES, fp16=True, fp32_modules=("",))
    graph = network.graph
    kinds = [kind for kind, _ in read_layers(graph.definition, graph.trt)]
    assert "SHAPE" in kinds
    assert not [
        kind for kind, dtype in zip(kinds, graph.layer_dtypes, strict=True) if dtype and kind not in ("SLICE", "CAST")
    ]


def test_outputs_of_integers():
    check_dynamic(*both(lambda x: x * 2), (ODD,), [(3,), (12,)], dtype="int32", build=False)
    assert dtypes.int32 is trace(lambda x: x, Input((ODD,), "int32")).outputs["output"].dtype


def test_an_engine_describes_itself(net, tmp_path):
    engine = net.compile({"images": IMAGES}, **ONE_TARGET)
    assert engine.description["inputs"]["images"]["shape"] == ["batch", 4, "height", "width"]
    assert engine.description["outputs"]["output"]["shape"] == ["batch", "height*width//4", 3]
    assert engine.description["profiles"] == [
        {
            "batch": {"min": 1, "opt": 2, "max": 4, "multiple_of": 1},
            "height": {"min": 8, "opt": 16, "max": 40, "multiple_of": 8},
            "width": {"min": 8, "opt": 16, "max": 40, "multiple_of": 8},
        }
    ]
    loaded = Engine.load(engine.save(tmp_path / "net.engine"))
    assert loaded.inputs == engine.inputs == {"images": Input(IMAGES)}
    assert loaded.outputs == engine.outputs
    assert same_shape(loaded.outputs["output"].shape, (BATCH, HEIGHT * WIDTH // 4, 3))
    assert loaded.profiles == engine.profiles
    assert "output float32[batch, height*width//4, 3]" in repr(loaded)


def test_profiles_are_part_of_the_caches_key(net, tmp_path):
    def build(batch):
        net.compile({"images": (batch, 4, HEIGHT, WIDTH)}, cache_dir=tmp_path, **ONE_TARGET)
        return len(list(tmp_path.glob("*.engine")))

    assert [build(BATCH), build(BATCH), build(Dim("batch", 1, 3, 4)), build(Dim("batch", 1, 2, 4))] == [1, 1, 2, 2]
