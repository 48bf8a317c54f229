"""The DCNv2 plugin in engines: every type and layout, through serialisation, against the definition."""

from __future__ import annotations

import pytest
import torch

from tests.helpers import message_of
from tests.plugins.cases import Case, expected, geometry, random_tensors
from trtnn.backend import get_backend
from trtnn.errors import ArgumentError, BuildError, EngineError
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
        layer = network.add_plugin_v3(inputs, [], plugin)
    else:
        layer = network.add_plugin_v2(inputs, plugin)
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
    trt = get_backend().trt
    runtime = trt.Runtime(get_backend().logger)
    engine = runtime.deserialize_cuda_engine(plan)
    assert engine is not None, get_backend().logger.take()
    context = engine.create_execution_context()
    output = torch.empty(shape, dtype=dtype, device="cuda")
    kept = []
    for name, tensor in {**tensors, "output": output}.items():
        if engine.get_tensor_format(name) == trt.TensorFormat.HWC8:
            tensor = tensor.permute(0, 2, 3, 1).contiguous()  # noqa: PLW2901 - its channels come in eights
        kept.append(tensor)
        context.set_tensor_address(name, tensor.data_ptr())
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    assert context.execute_async_v3(stream.cuda_stream), get_backend().logger.take()
    stream.synchronize()
    return output


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
    output = run_plan(plan, tensors, wanted.shape, x.dtype)
    error = ((output.double().cpu() - wanted).abs().max() / wanted.abs().max()).item()
    assert error < (5e-3 if half else 1e-4)


def test_bad_arguments_are_refused_with_words(library):
    _, _, _, weight, bias = random_tensors(Case(), half=False)
    message = message_of(ArgumentError, lambda: create("deform", weight.numpy(), bias.numpy(), offset_groups=5))
    assert "16 channels do not divide into 5 offset groups" in message
