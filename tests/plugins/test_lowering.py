"""The deformable convolution as a plugin and in native layers: the same numbers, whichever a network has."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers import assert_close, layers, message_of, numbers, trace
from tests.plugins.cases import CASES, FP16_TOLERANCE, FP32_TOLERANCE, expected, geometry, random_tensors
from tests.plugins.definition import take_plugins
from trtnn import Dim, Input, float16, get_backend
from trtnn import functional as F
from trtnn.build.fingerprint import fingerprint
from trtnn.errors import ArgumentError, BackendError, DTypeError, EngineError
from trtnn.modules import DCN, Conv2d, DeformConv2d, Sequential
from trtnn.plugins.dcnv2 import kernel, loading

SHAPES = {name: case for name, case in CASES.items() if case.input_last and not case.half_offset and not case.splits}
PLUGINS = ("PLUGIN_V2", "PLUGIN_V3")


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "libplugin.so"
    path.write_bytes(b"the plugin's library")
    return path


@pytest.fixture(params=[False, True], ids=["add_plugin_v2", "add_plugin_v3"])
def registry(request, monkeypatch, library):
    return take_plugins(monkeypatch, library, v3=request.param)


def arrays_of(case):
    """Return the arrays of a call, those of the layer, and what the definition gives."""
    x, offset, mask, weight, bias = random_tensors(case, half=False)
    maps = [torch.cat([offset, mask], 1)] if case.combined else [m for m in (offset, mask) if m is not None]
    weights = [None if value is None else value.numpy() for value in (weight, bias)]
    return [value.numpy() for value in (x, *maps)], weights, expected(case, x, offset, mask, weight, bias).float()


def function_of(case, weight, bias, lowering):
    """Return a case as a function of Tensors."""
    how = {"lowering": lowering, **geometry(case)}

    def combined(x, maps):
        return F.modulated_deform_conv2d(x, maps, weight, bias, **how)

    def apart(x, offset, mask=None):
        mask = mask.sigmoid() if case.mask == "logits" else mask
        return F.deform_conv2d(x, offset, weight, bias, mask=mask, **how)

    return combined if case.combined else apart


def run_kernel(library, fields, x, maps):
    """Run the kernel's own source on what TensorRT was handed as a plugin's fields."""
    ints = {name: array.tolist() for name, array in fields.items() if array.dtype == np.int32}
    masks = {number: name for name, number in kernel.MASKS.items()}
    layer = kernel.DeformConv2d(
        library,
        fields["weight"].reshape(*ints["out_channels"], -1, *ints["kernel_size"]),
        fields.get("bias"),
        *(tuple(ints[name]) for name in ("stride", "padding", "dilation")),
        *ints["groups"],
        *ints["offset_groups"],
        half=False,
        mask=masks[ints["mask"][0]],
        combined=bool(ints["combined"][0]),
    )
    return layer(*(torch.from_numpy(value) for value in (x, *maps)))


@pytest.mark.parametrize("name", SHAPES)
def test_the_plugin_the_native_layers_and_the_kernel_agree(registry, emulated, name):
    arrays, weights, wanted = arrays_of(SHAPES[name])
    plugin, native = (trace(function_of(SHAPES[name], *weights, how), *arrays) for how in ("plugin", "native"))
    assert len(layers(plugin, *PLUGINS)) == 1
    assert not layers(native, *PLUGINS)
    assert not layers(plugin, "GRID_SAMPLE")
    assert plugin.outputs == native.outputs
    assert_close(plugin.run(*arrays), wanted, FP32_TOLERANCE)
    assert_close(native.run(*arrays), wanted, FP32_TOLERANCE)
    [made] = registry.made
    if SHAPES[name].combined or SHAPES[name].mask != "logits":  # else the sigmoid is a layer before the plugin
        assert_close(run_kernel(emulated, made.fields, arrays[0], arrays[1:]).numpy(), wanted, FP32_TOLERANCE)


@pytest.mark.parametrize("name", ["usual", "stride 2", "groups across offset groups", "combined"])
def test_in_fp16(registry, name):
    case = SHAPES[name]
    arrays, weights, wanted = arrays_of(case)
    network = trace(function_of(case, *weights, "plugin"), *arrays, fp16=True)
    # Places move by what fp16 rounds off offsets, and a sample by that times how steep the picture is there.
    assert_close(network.run(*arrays), wanted, 5 * FP16_TOLERANCE)
    [layer] = layers(network, *PLUGINS)
    graph = network.graph
    strong = graph.backend.capabilities.strongly_typed
    kinds = {layer.get_input(i).dtype.name for i in range(layer.num_inputs)} | {layer.get_output(0).dtype.name}
    assert kinds == ({"HALF"} if strong else {"FLOAT"})
    assert graph.layer_dtypes[graph.layer_paths.index("")] is float16


def test_offsets_of_another_type(registry):
    """The plugin takes fp32 offsets beside fp16, and none in fp16 beside fp32."""
    case = SHAPES["usual"]
    arrays, (weight, bias), wanted = arrays_of(case)

    def function(x, offset, mask):
        return F.deform_conv2d(x, offset.float(), weight, bias, padding=1, mask=mask, lowering="plugin")

    def other(x, offset, mask):
        return F.deform_conv2d(x.float(), offset, weight, bias, padding=1, mask=mask, lowering="plugin")

    strong = get_backend().capabilities.strongly_typed
    for forward, first in ((function, "HALF" if strong else "FLOAT"), (other, "FLOAT")):
        network = trace(forward, *arrays, fp16=True)
        [layer] = layers(network, *PLUGINS)
        assert [layer.get_input(i).dtype.name for i in range(3)] == [first, "FLOAT", "FLOAT"]
        assert layer.get_output(0).dtype.name == first
        assert_close(network.run(*arrays), wanted, 2 * FP16_TOLERANCE)


def loaded(module):
    module.load_state_dict({name: numbers(*p.shape, scale=0.2) for name, p in module.named_parameters()})
    return module


def test_dcn_hands_its_map_on_as_it_is(registry):
    case = {"stride": 2, "padding": 1, "groups": 2, "offset_groups": 2}
    plugin, native = (loaded(DCN(8, 6, 3, **case, lowering=how)) for how in ("plugin", "native"))
    x = numbers(2, 8, 9, 8)
    by_plugin, by_layers = trace(plugin, x), trace(native, x)
    assert [layer.type.name for layer in layers(by_plugin)] in [["CONVOLUTION", kind] for kind in PLUGINS]
    assert_close(by_plugin.run(x), by_layers.run(x))


def test_any_size_of_one_network(registry):
    module = loaded(DCN(8, 6, 3, stride=2, padding=1))
    shape = (Dim("batch", 1, 2, 4), 8, Dim("height", 4, 8, 16), Dim("width", 4, 8, 16))
    by_plugin, module.lowering = trace(module, Input(shape)), "native"
    by_layers = trace(module, Input(shape))
    assert by_plugin.outputs == by_layers.outputs
    for size in ((1, 8, 4, 9), (3, 8, 11, 16)):
        x = numbers(*size)
        assert_close(by_plugin.run(x), by_layers.run(x))


def test_places_that_are_no_numbers_lie_outside(registry):
    weight = numbers(3, 4, 1, 1)
    offset = np.zeros((1, 2, 2, 2), np.float32)
    offset[0, 0] = [[np.nan, np.inf], [-np.inf, 0]]
    x = numbers(1, 4, 2, 2)
    result = trace(lambda x, o: F.deform_conv2d(x, o, weight, lowering="plugin"), x, offset).run(x, offset)
    assert not result[0, :, [0, 0, 1], [0, 1, 0]].any()
    np.testing.assert_allclose(result[0, :, 1, 1], weight[:, :, 0, 0] @ x[0, :, 1, 1], rtol=1e-5)


# -- which is taken ---------------------------------------------------------------------------------------------------


def test_auto_takes_the_plugin_where_it_can_and_says_so(registry, library):
    network = trace(Sequential(loaded(DCN(8, 6, 3)), loaded(DCN(6, 4, 3))), numbers(1, 8, 12, 12))
    assert network.summary().splitlines()[-1] == "deform_conv2d as the plugin dcnv2: function.0, function.1"
    assert len(layers(network, *PLUGINS)) == 2


def test_auto_without_a_library(registry, monkeypatch):
    monkeypatch.setattr(loading, "_loaded", {})
    network = trace(loaded(DCN(8, 6, 3)), numbers(1, 8, 6, 6))
    assert not layers(network, *PLUGINS)
    said = network.summary().splitlines()[-1]
    assert said.startswith("deform_conv2d in native layers, since ")
    assert said.endswith(": function")


def test_auto_where_there_are_no_plugins():
    network = trace(loaded(DCN(8, 6, 3)), numbers(1, 8, 6, 6))
    said = f"deform_conv2d in native layers, since {get_backend()} has no plugins: function"
    assert network.summary().splitlines()[-1] == said


def test_what_was_asked_for_is_not_repeated(registry):
    for lowering in ("plugin", "native"):
        network = trace(loaded(DCN(8, 6, 3, lowering=lowering)), numbers(1, 8, 6, 6))
        assert network.summary().splitlines()[-1].startswith("total")


def test_the_plugin_where_there_are_none():
    message = message_of(BackendError, trace, loaded(DCN(8, 6, 3, lowering="plugin")), (1, 8, 6, 6))
    assert f"deform_conv2d in function asks for the plugin, and {get_backend()} has no plugins" in message
    assert 'lowering="native"' in message


def test_the_plugin_without_its_library(registry, monkeypatch):
    monkeypatch.setattr(loading, "_loaded", {})
    monkeypatch.setattr(loading, "architecture", lambda arch: "sm90")
    message = message_of(EngineError, trace, loaded(DCN(8, 6, 3, lowering="plugin")), (1, 8, 6, 6))
    assert "the library of the DCNv2 plugin" in message
    assert "build it: python -m trtnn.plugins.dcnv2 build --arch sm_90" in message


def test_an_unknown_lowering():
    message = message_of(ArgumentError, DeformConv2d, 4, 4, 3, lowering="cuda")
    assert "DeformConv2d with lowering='cuda'" in message
    assert "known: auto, plugin, native" in message
    function = lambda x, o: F.deform_conv2d(x, o, numbers(4, 4, 3, 3), lowering="cuda")  # noqa: E731
    message = message_of(ArgumentError, trace, function, (1, 4, 5, 5), (1, 18, 3, 3))
    assert "with lowering='cuda'" in message


def test_maps_of_the_wrong_type():
    weight = numbers(4, 4, 3, 3)
    integers = Input((1, 18, 3, 3), "int32")
    message = message_of(DTypeError, trace, lambda x, o: F.deform_conv2d(x, o, weight), (1, 4, 5, 5), integers)
    assert "got offset as int32" in message
    mask = Input((1, 9, 3, 3), "bool")
    function = lambda x, o, m: F.deform_conv2d(x, o, weight, mask=m)  # noqa: E731
    message = message_of(DTypeError, trace, function, (1, 4, 5, 5), (1, 18, 3, 3), mask)
    assert "got mask as bool" in message
    assert "cast it" in message


def test_weights_beyond_fp16_are_refused(registry):
    module = loaded(DCN(8, 6, 3, lowering="plugin"))
    module.weight.data = module.weight.data * np.float32(1e6)
    message = message_of(DTypeError, trace, module, (1, 8, 6, 6), fp16=True)
    assert "weights of function do not fit in float16" in message


# -- what is known of a layer that TensorRT shows nothing of ----------------------------------------------------------


def test_parameters_and_flops_are_those_of_the_convolution(registry):
    module = loaded(DeformConv2d(8, 6, 3, groups=2, lowering="plugin"))
    plain = loaded(Conv2d(8, 6, 3, groups=2))
    [row] = trace(module, numbers(1, 8, 6, 6), numbers(1, 18, 4, 4)).layers()
    [other] = trace(plain, numbers(1, 8, 6, 6)).layers()
    assert (row.parameters, row.flops) == (other.parameters, other.flops)


def test_the_fp16_report_knows_it(registry):
    x = numbers(1, 8, 6, 6)
    report = trace(loaded(DCN(8, 6, 3, lowering="plugin")), x).fp16_report([x])
    errors = {layer.kind: layer.error for layer in report.layers}
    [kind] = set(errors) & set(PLUGINS)
    assert 0 < errors[kind] < 5e-3


def test_the_fp16_report_rounds_its_weights(registry):
    module = DeformConv2d(2, 1, 1, bias=False, lowering="plugin")
    module.load_state_dict({"weight": np.array([1.0004, -1], np.float32).reshape(1, 2, 1, 1)})  # fp16: 1 and -1
    arrays = np.ones((1, 2, 4, 4), np.float32), np.zeros((1, 2, 4, 4), np.float32)
    [row] = [row for row in trace(module, *arrays).fp16_report([arrays]).layers if row.kind in PLUGINS]
    assert row.error == pytest.approx(1)


def test_the_fp16_report_finds_weights_beyond_fp16(registry):
    module = loaded(DeformConv2d(4, 4, 3, lowering="plugin"))
    module.weight.data = module.weight.data * np.float32(1e6)
    arrays = numbers(1, 4, 5, 5), numbers(1, 18, 3, 3)
    report = trace(module, *arrays).fp16_report([arrays])
    assert [row.overflow > 0 for row in report.layers if row.kind in PLUGINS] == [True]
    assert report.suggested_fp32_modules() == ("function",)


def test_the_fingerprint_sees_what_the_plugin_is_made_of(registry, library):
    def of(change=lambda module: None, **options):
        module = loaded(DeformConv2d(8, 8, 3, padding=1, **options))
        change(module)
        graph = trace(module, (1, 8, 6, 6), (1, 18, 6, 6)).graph
        return fingerprint(graph.definition, graph.trt, graph.plugins)

    def one_weight(module):
        module.weight.data[-1, -1, -1, -1] += np.float32(1)

    def one_bias(module):
        module.bias.data[-1] += np.float32(1)

    first = of()
    assert of() == first
    assert len({first, of(one_weight), of(one_bias), of(bias=False)}) == 4
    two = loaded(DeformConv2d(8, 8, 3, padding=1))
    graph = trace(two, (1, 8, 6, 6), (1, 36, 6, 6)).graph  # two offset groups
    assert fingerprint(graph.definition, graph.trt, graph.plugins) != first
    library.write_bytes(b"the plugin's library, built again")
    assert of() != first


def test_a_refusal_is_told_with_the_layer(registry, monkeypatch):
    monkeypatch.setattr(registry, "_create", lambda *_: None)
    monkeypatch.setattr(type(get_backend().logger), "take", lambda self: ["TrtnnDCNv2: too many"])
    message = message_of(ArgumentError, trace, loaded(DCN(8, 6, 3)), (1, 8, 6, 6))
    assert "the DCNv2 plugin refuses the layer 'function'" in message
    assert "TrtnnDCNv2: too many" in message
