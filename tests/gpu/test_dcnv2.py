"""The DCNv2 plugin in engines: every type and layout, both lowerings, through serialisation, against the definition."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks.twins import yolov5 as twin
from tests.helpers import Function, message_of, numbers
from tests.plugins.cases import Case, expected, geometry, random_tensors
from trtnn import Dim, Input
from trtnn import functional as F
from trtnn.backend import get_backend
from trtnn.build.build import leave_out_libraries
from trtnn.dtypes import float16, float32
from trtnn.errors import ArgumentError, BuildError, EngineError
from trtnn.graph.precision import Precision
from trtnn.models.yolov5 import YOLOv5
from trtnn.modules import DCN
from trtnn.network import trace
from trtnn.plugins.dcnv2.building import build
from trtnn.plugins.dcnv2.loading import create, load

CASES = {
    "usual": Case(batch=2, channels=32, outputs=48, padding=1),
    "stride 2, logits": Case(batch=3, channels=16, stride=2, mask="logits"),
    "combined": Case(channels=16, mask="logits", combined=True),
    "no mask, offset groups": Case(channels=32, offset_groups=4, mask="none", bias=False),
    "odd channels": Case(channels=20, outputs=12, groups=2),
}


@pytest.fixture(scope="module")
def library():
    if not get_backend().capabilities.plugins:
        pytest.skip(f"{get_backend()} has no plugins")
    try:
        return load()
    except EngineError:
        try:
            build()
        except BuildError as error:
            pytest.skip(error.summary)
        return load()


def make_plan(case, weight, bias, tensors, half, eights):
    """Build a network of the plugin alone; returns the plan."""
    backend = get_backend()
    trt = backend.trt
    flags = trt.NetworkDefinitionCreationFlag.__members__
    typed = "STRONGLY_TYPED" in flags
    flag = flags.get("STRONGLY_TYPED", flags.get("EXPLICIT_BATCH"))
    builder = trt.Builder(backend.logger)
    network = builder.create_network(1 << int(flag) if flag is not None else 0)
    config = builder.create_builder_config()
    leave_out_libraries(config, trt)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if half and not typed:
        config.set_flag(trt.BuilderFlag.FP16)
    if hasattr(config, "builder_optimization_level"):
        config.builder_optimization_level = 0
    types = {torch.float32: trt.float32, torch.float16: trt.float16}
    inputs = []
    for name, tensor in tensors.items():
        inputs.append(network.add_input(name, types[tensor.dtype], tuple(tensor.shape)))
        wide = name == "x" and eights and case.channels % 8 == 0
        inputs[-1].allowed_formats = 1 << int(trt.TensorFormat.HWC8 if wide else trt.TensorFormat.LINEAR)
    plugin = create(
        "deform",
        weight.cpu().float().numpy(),
        None if bias is None else bias.cpu().numpy(),
        groups=case.groups,
        offset_groups=case.offset_groups,
        mask=case.mask,
        combined=case.combined,
        **{key: (value,) * 2 for key, value in geometry(case).items()},
    )
    if hasattr(network, "add_plugin_v3"):
        layer = network.add_plugin_v3(inputs, [], plugin.raw)
    else:
        layer = network.add_plugin_v2(inputs, plugin.raw)
    output = layer.get_output(0)
    output.name = "output"
    network.mark_output(output)
    if not typed:
        output.dtype = types[torch.float16 if half else torch.float32]
    output.allowed_formats = 1 << int(trt.TensorFormat.LINEAR)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, backend.logger.take()
    return plan


def run_plan(plan, tensors, shape, dtype):
    """Execute a plan twice, and return both outputs and the layers that TensorRT made.

    The first execution puts the plugin's weights on the GPU, right before its kernels; the second finds them there.
    """
    trt = get_backend().trt
    runtime = trt.Runtime(get_backend().logger)
    engine = runtime.deserialize_cuda_engine(plan)
    assert engine is not None, get_backend().logger.take()
    context = engine.create_execution_context()
    kept = []
    for name, tensor in tensors.items():
        if engine.get_tensor_format(name) == trt.TensorFormat.HWC8:
            tensor = tensor.permute(0, 2, 3, 1).contiguous()  # noqa: PLW2901 - its channels come in eights
        kept.append(tensor)
        context.set_tensor_address(name, tensor.data_ptr())
    stream = torch.cuda.Stream()
    outputs = [torch.full(shape, float("nan"), dtype=dtype, device="cuda") for _ in range(2)]
    torch.cuda.synchronize()
    for output in outputs:
        context.set_tensor_address("output", output.data_ptr())
        assert context.execute_async_v3(stream.cuda_stream), get_backend().logger.take()
    stream.synchronize()
    inspector = engine.create_engine_inspector()
    return outputs, inspector.get_engine_information(trt.LayerInformationFormat.ONELINE)


@pytest.mark.parametrize("kind", ["fp32", "fp16", "fp16 HWC8", "fp16, fp32 offsets"])
@pytest.mark.parametrize("name", CASES)
def test_engine_agrees_with_the_definition(library, name, kind):
    case, half = CASES[name], kind != "fp32"
    x, offset, mask, weight, bias = random_tensors(case, half, "cuda")
    offset_type = torch.float16 if half and "fp32" not in kind else torch.float32
    offset, mask = (None if t is None else t.to(offset_type) for t in (offset, mask))
    tensors = {"x": x, "offset": torch.cat([offset, mask], 1) if case.combined else offset}
    if mask is not None and not case.combined:
        tensors["mask"] = mask
    plan = make_plan(case, weight, bias, tensors, half, "HWC8" in kind)
    wanted = expected(case, x, offset, mask, weight, bias)
    outputs, layers = run_plan(plan, tensors, wanted.shape, x.dtype)
    errors = [((output.double().cpu() - wanted).abs().max() / wanted.abs().max()).item() for output in outputs]
    assert all(error < (5e-3 if half else 1e-4) for error in errors), f"first, second: {errors}\n{layers}"


def test_bad_arguments_are_refused_with_words(library):
    _, _, _, weight, bias = random_tensors(Case(), half=False)
    message = message_of(ArgumentError, lambda: create("deform", weight.numpy(), bias.numpy(), offset_groups=5))
    assert "16 channels do not divide into 5 offset groups" in message


# -- lowerings --------------------------------------------------------------------------------------------------------

LAYERS = {
    "batch_1": Case(channels=16, outputs=24, height=15, width=17),
    "batch_3_stride_2": Case(batch=3, stride=2, channels=24, outputs=16, height=15, width=17),
    "batch_8_dilation": Case(batch=8, dilation=2, padding=2, outputs=8, height=7, width=9),
    "groups": Case(groups=2, channels=32, outputs=32),
    "offset_groups_2": Case(offset_groups=2, channels=32, outputs=8, stride=2),
    "offset_groups_4_groups_2": Case(offset_groups=4, groups=2, channels=32, outputs=16),
    "odd_channels": Case(channels=13, outputs=7, height=8, width=5),
    "far_outside": Case(spread=40.0),
    "no_mask_no_bias": Case(mask="none", bias=False),
    "combined": Case(channels=24, mask="logits", combined=True),
    "combined_offset_groups_2": Case(batch=3, channels=32, offset_groups=2, mask="logits", combined=True, stride=2),
}
# Fewer in native layers: some twenty each, where the plugin is one.
NATIVE = ("batch_1", "batch_3_stride_2", "batch_8_dilation", "offset_groups_4_groups_2", "far_outside", "combined")
# TensorRT takes long over each build, so what it can build together is one network: not all native layers in fp16.
TOGETHER = [("plugin", False, tuple(LAYERS)), ("plugin", True, tuple(LAYERS)), ("native", False, NATIVE)]
TOGETHER += [("native", True, (name,)) for name in NATIVE]
TOLERANCES = {False: 1e-4, True: 5e-3}


def tensors_of(case):
    """Return what fp16 holds exactly, so that it does not matter where it is rounded: x, maps, weight, bias, wanted."""
    x, offset, mask, weight, bias = (None if t is None else t.half().float() for t in random_tensors(case, half=False))
    maps = [torch.cat([offset, mask], 1)] if case.combined else [m for m in (offset, mask) if m is not None]
    return x, maps, weight, bias, expected(case, x, offset, mask, weight, bias).numpy()


@pytest.mark.parametrize(("lowering", "half", "names"), TOGETHER)
@pytest.mark.timeout(900)
def test_every_layer_agrees_with_the_definition(library, lowering, half, names):
    arrays, wanted, layers = {}, {}, {}
    for name in names:
        case = LAYERS[name]
        x, maps, weight, bias, wanted[name] = tensors_of(case)
        arrays |= {f"{name}_{i}": tensor.numpy() for i, tensor in enumerate((x, *maps))}
        layers[name] = (case, len(maps), weight.numpy(), None if bias is None else bias.numpy())

    def forward(**tensors):
        results = {}
        for name, (case, count, weight, bias) in layers.items():
            x, *maps = (tensors[f"{name}_{i}"] for i in range(count + 1))
            how = {"lowering": lowering, **geometry(case)}
            if case.combined:
                results[name] = F.modulated_deform_conv2d(x, maps[0], weight, bias, **how)
            else:
                results[name] = F.deform_conv2d(x, maps[0], weight, bias, mask=None if count == 1 else maps[1], **how)
        return results

    specs = {name: [Input(array.shape)] for name, array in arrays.items()}
    network = trace(forward, specs, Precision(float16 if half else float32))
    with network.build(tf32=False, optimization_level=0, progress=False) as engine:
        assert engine.description.get("plugins", []) == (["dcnv2"] if lowering == "plugin" else [])
        result = engine(**arrays)
        reference = network.run(**arrays)
    errors = {name: np.abs(result[name] - value).max() / np.abs(value).max() for name, value in wanted.items()}
    assert {name: error for name, error in errors.items() if not error < TOLERANCES[half]} == {}
    for name, value in wanted.items():
        assert np.abs(reference[name] - value).max() / np.abs(value).max() < TOLERANCES[half], name


IN_A_PROCESS = """
import sys
import numpy as np
import trtnn
engine = trtnn.Engine.load(sys.argv[1])
for path in sys.argv[2:]:
    np.save(path + ".result.npy", engine(np.load(path)))
"""


@pytest.fixture(scope="module")
def saved(library, tmp_path_factory):
    """An engine file of a DCN of any size, its module, and the folder."""
    module = DCN(16, 24, 3, stride=2, padding=1, lowering="plugin")
    module.load_state_dict({name: numbers(*p.shape, scale=0.1) for name, p in module.named_parameters()})
    shape = (Dim("batch", 1, 2, 8), 16, Dim("height", 8, 16, 24), Dim("width", 8, 16, 24))
    folder = tmp_path_factory.mktemp("saved")
    network = Function(module).trace({"x": Input(shape)}, fp16=True)
    network.build(optimization_level=0, progress=False).save(folder / "dcn.engine")
    return network, folder


def in_a_process(folder, *names, **environment):
    command = [sys.executable, "-c", IN_A_PROCESS, *(str(folder / name) for name in ("dcn.engine", *names))]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_an_engine_loads_its_plugin_in_a_fresh_process(saved):
    network, folder = saved
    arrays = {f"x{i}.npy": numbers(*shape) for i, shape in enumerate([(1, 16, 8, 9), (3, 16, 15, 17), (8, 16, 24, 24)])}
    for name, array in arrays.items():
        np.save(folder / name, array)
    done = in_a_process(folder, *arrays)
    assert done.returncode == 0, done.stderr
    for name, array in arrays.items():
        wanted = network.run(array)
        result = np.load(folder / f"{name}.result.npy")
        # The offsets themselves come out of a convolution in fp16.
        assert np.abs(result - wanted).max() / np.abs(wanted).max() < 1e-2


def test_a_fresh_process_without_the_library_says_how_to_build_it(saved, tmp_path):
    _, folder = saved
    np.save(folder / "x.npy", numbers(1, 16, 8, 8))
    done = in_a_process(folder, "x.npy", TRTNN_CACHE_DIR=str(tmp_path))
    assert done.returncode
    assert "the library of the DCNv2 plugin for" in done.stderr
    assert f"looked for: {tmp_path}/dcnv2/" in done.stderr
    assert "build it: python -m trtnn.plugins.dcnv2 build" in done.stderr


@pytest.mark.timeout(900)
def test_yolov5n_dcn(library):
    """Through the plugin, which "auto" takes, plain and as a CUDA graph, against the twin in torch."""
    theirs = twin.well_scaled(twin.YOLOv5("yolov5n-dcn", classes=3), 64)
    ours = YOLOv5("yolov5n-dcn", classes=3)
    ours.load_state_dict(theirs.state_dict())
    network = ours.trace({"images": (2, 3, 64, 64)}, fp16=True)
    assert network.summary().splitlines()[-1] == "deform_conv2d as the plugin dcnv2: model.1, model.3, model.5"
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = theirs(images).numpy()
    with network.build(optimization_level=0, progress=False) as engine:
        result = engine(images.numpy())
        assert np.abs(result - wanted)[..., :4].max() < 3e-2 * np.abs(wanted[..., :4]).max()
        assert np.abs(result - wanted)[..., 4:].max() < 3e-2
        on_gpu = images.cuda()
        graphed = engine.cuda_graph()(on_gpu).cpu().numpy()
    np.testing.assert_allclose(graphed, result, rtol=0, atol=1e-3 * np.abs(result).max())
