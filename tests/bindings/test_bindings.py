"""Tests that what trtnn uses of TensorRT exists in every version, as its Python bindings show it.

The bindings are imported beside empty libraries, so nothing is built or run here. See :mod:`tests.bindings.uses` for
what counts as a use.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import trtnn
from tests.bindings.api import Api, make_stubs
from tests.bindings.uses import Unclear, Use, uses_of_package, uses_of_source
from tests.bindings.versions import VERSIONS, Bindings
from trtnn.build.config import DEFAULT_TARGETS
from trtnn.build.refitting import ROLES
from trtnn.dtypes import ALL, float8_e4m3fn
from trtnn.ops.padding import SLICE_MODES
from trtnn.ops.resizing import RESIZE_MODES
from trtnn.ops.sampling import SAMPLE_MODES, SAMPLE_PADDING
from trtnn.reference.registry import LAYERS

# What each version has of :class:`trtnn.backend.Capabilities`.
_MODERN = {
    "strongly_typed",
    "progress",
    "plugin_v3",
    "int64",
    "isnan",
    "cumulative",
    "gelu",
    "int8",
    "fp8",
    "typed_quantize",
    "device_memory_v2",
    "hardware_compatible",
    "refit_individual",
}
CAPABILITIES = {
    "8.6.1": {"needs_explicit_batch", "plugin_v2", "int8", "needs_profile_sharing", "hardware_compatible"},
    "10.13.0.35": {*_MODERN, "needs_strong_flag", "needs_profile_sharing"},
    "11.4.0.106": {*_MODERN, "include_refit"},
}
LACKING_DTYPES = {"8.6.1": {"bfloat16", "int64"}, "10.13.0.35": set(), "11.4.0.106": set()}

# The attributes that are used, or with " =" set, only where TensorRT has a capability, or ("not ...") has it not.
GUARDED = {
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": "needs_explicit_batch",
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": "needs_strong_flag",
    "BuilderFlag.FP16": "not strongly_typed",
    "BuilderFlag.INT8": "not strongly_typed",
    "BuilderFlag.OBEY_PRECISION_CONSTRAINTS": "not strongly_typed",
    "ILayer.precision": "not strongly_typed",
    "ILayer.reset_output_type": "not strongly_typed",
    "ILayer.reset_precision": "not strongly_typed",
    "ILayer.set_output_type": "not strongly_typed",
    "ITensor.dtype =": "not strongly_typed",
    "ComputeCapability": "targets",
    "HardwareCompatibilityLevel.AMPERE_PLUS": "hardware_compatible",
    "IBuilderConfig.hardware_compatibility_level =": "hardware_compatible",
    "IBuilderConfig.num_compute_capabilities": "targets",
    "IBuilderConfig.set_compute_capability": "targets",
    "ICudaEngine.device_memory_size": "not device_memory_v2",
    "ICudaEngine.device_memory_size_v2": "device_memory_v2",
    "ICudaEngine.create_serialization_config": "include_refit",
    "ICudaEngine.create_serialization_config()": "include_refit",
    "ICudaEngine.serialize_with_config": "include_refit",
    "SerializationFlag": "include_refit",
    "SerializationFlag.INCLUDE_REFIT": "include_refit",
    "BuilderFlag.REFIT_INDIVIDUAL": "refit_individual",
    "INetworkDefinition.mark_weights_refittable": "refit_individual",
    "INetworkDefinition.mark_weights_refittable()": "refit_individual",
    "INetworkDefinition.unmark_weights_refittable": "refit_individual",
    "INetworkDefinition.unmark_weights_refittable()": "refit_individual",
    "IProgressMonitor": "progress",
    "PreviewFeature.PROFILE_SHARING_0806": "needs_profile_sharing",
    "IBuilderConfig.progress_monitor": "progress",
    "INetworkDefinition.add_plugin_v2": "plugin_v2",
    "INetworkDefinition.add_plugin_v2()": "plugin_v2",
    "INetworkDefinition.add_plugin_v3": "plugin_v3",
    "INetworkDefinition.add_plugin_v3()": "plugin_v3",
    "UnaryOperation.ISNAN": "isnan",
    "INetworkDefinition.add_cumulative": "cumulative",
    "INetworkDefinition.add_cumulative()": "cumulative",
    "CumulativeOperation": "cumulative",
    "LayerType.CUMULATIVE": "cumulative",
    "ActivationType.GELU_ERF": "gelu",
    "ActivationType.GELU_TANH": "gelu",
}

# What is named only when trtnn runs: the names that it may have, of those that TensorRT itself did not list.
OPEN = {
    "trt.*": (),
    "trt.InterpolationMode.*": (*(name for _, name in RESIZE_MODES.values()), *SAMPLE_MODES.values()),
    "trt.SampleMode.*": ("STRICT_BOUNDS", *SLICE_MODES.values(), *SAMPLE_PADDING.values()),
    "trt.WeightsRole.*": tuple(role for roles in ROLES.values() for role in roles.values()),
    "trt.ComputeCapability.*": tuple(target.upper() for target in DEFAULT_TARGETS),
}


def keys_of(use: Use, api: Api) -> list[str]:
    """Return the keys that a use has in GUARDED, the narrower first."""
    name = api.name_of(use)
    return [f"{name} =", name] if use.is_set else [name]


def is_reached(use: Use, api: Api) -> bool:
    """Whether trtnn comes to a use where TensorRT has these capabilities."""
    keys = (*keys_of(use, api), use.path[0])
    guard = next((GUARDED[key] for key in keys if key in GUARDED), "")
    return not guard or api.capabilities[guard.removeprefix("not ")] is not guard.startswith("not ")


def problems(uses: list[Use], api: Api) -> list[str]:
    """Return what does not exist, or is used otherwise than it is."""
    named = [replace(u, path=(*u.path[:-1], name)) for u in uses for name in OPEN.get(u.text, u.path[-1:])]
    found = ((use, api.problem(use)) for use in named if is_reached(use, api))
    return [f"{use.where}: {use.text}: {problem}" for use, problem in found if problem]


@pytest.fixture(scope="module")
def uses() -> list[Use]:
    return uses_of_package(Path(trtnn.__file__).parent)


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_stubs(tmp_path_factory.mktemp("stubs"))


@pytest.fixture(scope="module", params=VERSIONS, ids=lambda bindings: bindings.version)
def api(request: pytest.FixtureRequest) -> Api:
    bindings: Bindings = request.param
    if reason := bindings.missing():
        pytest.skip(reason)
    return Api.of(bindings, request.getfixturevalue("stubs"))


@pytest.fixture(scope="module")
def installed() -> Api:
    return Api.of(None)


def test_capabilities(api: Api) -> None:
    assert {name for name, has in api.capabilities.items() if has} == CAPABILITIES[api.version]


def test_element_types(api: Api) -> None:
    types = (*ALL, float8_e4m3fn)
    known = {dtype.tensorrt: dtype.name for dtype in types if dtype.name not in LACKING_DTYPES[api.version]}
    assert {member: name for member, name in api.dtypes.items() if name} == known


def test_weights_are_read_back(api: Api) -> None:
    """Under NumPy 2 as well, which the bindings of 8.6 and 10 do not know."""
    assert {"float32", "float16", "int32"} <= api.weights.keys()
    assert all(api.weights.values()), api.weights


def test_every_use_exists(api: Api, uses: list[Use]) -> None:
    assert problems(uses, api) == []


def test_every_layer_of_the_reference_can_be_read_back(api: Api) -> None:
    lacking = set() if api.capabilities["cumulative"] else {"CUMULATIVE"}
    assert {kind for kind in LAYERS if not api.layers.get(kind)} == lacking


def test_the_installed_tensorrt(installed: Api, uses: list[Use]) -> None:
    assert problems(uses, installed) == []


def test_no_row_of_the_tables_is_left_over(installed: Api, uses: list[Use]) -> None:
    assert GUARDED.keys() <= {key for use in uses for key in (*keys_of(use, installed), use.path[0])}
    assert OPEN.keys() <= {use.text for use in uses}


def test_uses_are_found_in_every_file_that_has_some(uses: list[Use]) -> None:
    files = {use.where.partition(":")[0] for use in uses}
    expected = "arithmetic backend build convolution elementwise fingerprint graph inspector plan watching "
    expected += "definition session spatial timing_cache unary"
    assert {f"{name}.py" for name in expected.split()} <= files


# -- that these tests see what is wrong -------------------------------------------------------------------------------

WRONG = {
    "graph.emit('sqeeze', x)": "INetworkDefinition has no add_sqeeze",
    "graph.emit('softmax', x, axis=1)": "ISoftMaxLayer has no axis",
    "graph.emit('softmax', x, axes=1, num_inputs=2)": "ISoftMaxLayer.num_inputs cannot be set",
    "graph.emit('softmax', x, 1)": "it takes (input: ITensor), not (?, ?)",
    "graph.emit('cast', x)": "it takes (input: ITensor, to_type: DataType), not (?)",
    "graph.emit('unary', x, graph.trt.ActivationType.RELU)": "op: UnaryOperation), not (?, ActivationType)",
    "graph.emit('unary', x, trt.UnaryOperation.RELU)": "UnaryOperation has no RELU",
    "settings.set_flags(1)": "IBuilderConfig has no set_flags",
    "settings.optimization_level = 3": "IBuilderConfig has no optimization_level",
    "settings.set_timing_cache(cache)": "it takes (cache: ITimingCache, ignore_mismatch: bool), not (?)",
    "settings.create_timing_cache(b'').merge(other, False)": "ITimingCache has no merge",
    "trt.Builder()": "it takes (logger: ILogger), not ()",
    "definition.get_layer(0).kind": "ILayer has no kind",
    "self._context.execute_async_v4(stream)": "IExecutionContext has no execute_async_v4",
    "class Logger(trt.ILogger):\n  def log(self, message): pass": "ILogger.log takes 2 arguments, and its override 1",
    "@layer('SLICE')\ndef slice_(layer):\n  return layer.starts": "ISliceLayer has no starts",
    "@layer('UNARY')\ndef f(layer):\n  return by_member('', layer.op, {'NEGATE': 0})": "UnaryOperation has no NEGATE",
    "def f(layer):\n  if kind == 'SCALE':\n    return layer.exponent": "IScaleLayer has no exponent",
    "def f(x, kind, **how):\n  x.emit('activation', x, getattr(trt.ActivationType, kind), **how)\n"
    "f(x, 'RELU', gamma=1)": "IActivationLayer has no gamma",
    "def f(x, kind, **how):\n  x.emit('activation', x, getattr(trt.ActivationType, kind), **how)\n"
    "f(x, 'RELLU')": "ActivationType has no RELLU",
    "def f(x):\n  how = {}\n  how['shapes'] = ()\n  x.emit('resize', x, **how)": "IResizeLayer has no shapes",
}  # fmt: skip


@pytest.mark.parametrize("source", WRONG)
def test_what_does_not_exist_is_a_problem(source: str, installed: Api) -> None:
    [problem] = problems(uses_of_source(source, "example.py"), installed)
    assert problem.endswith(WRONG[source])


def test_what_one_version_lacks_is_a_problem_there(api: Api) -> None:
    found = problems(uses_of_source("graph.emit('squeeze', x, axes)", "example.py"), api)
    lacking = ["example.py:1: INetworkDefinition.add_squeeze: INetworkDefinition has no add_squeeze"]
    assert found == (lacking if api.version == "8.6.1" else [])


@pytest.mark.parametrize("source", ["x.emit(kind, x)", "x.emit('concatenation', *xs)", "x.emit('resize', x, **how)"])
def test_what_cannot_be_followed_is_an_error(source: str) -> None:
    with pytest.raises(Unclear, match=r"example\.py:1: cannot tell"):
        uses_of_source(source, "example.py")
