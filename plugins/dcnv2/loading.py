"""Making the plugin known to the TensorRT that is running, and making one for a layer."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trtnn.backend import Backend, get_backend
from trtnn.errors import ArgumentError, BackendError, EngineError
from trtnn.files import check_trusted, default_cache_dir
from trtnn.graph.plugin_layer import PluginLayer
from trtnn.plugins.dcnv2.building import COMMAND, PLUGIN, architecture, digest, is_unchanged
from trtnn.plugins.dcnv2.kernel import MASKS

NAME, VERSION = "TrtnnDCNv2", "1"
_loaded: dict[str, Path] = {}


def version_of(text: str) -> tuple[int, int]:
    """Return the major and minor numbers of a version such as ``"8.6.0"``."""
    numbers = re.match(r"(\d+)\.(\d+)", text)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def find_library(backend: Backend, arch: str | None = None, folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the library built for this TensorRT and for ``arch``, by default the GPU of this machine.

    One built with headers of an earlier minor version of the same major one serves too: TensorRT keeps those apart by
    interface versions. The nearest is taken.

    Raises:
        EngineError: there is none; with where it was looked for and the command that builds it.
    """
    root = Path(folder) if folder else default_cache_dir() / "dcnv2"
    target = architecture(arch)
    major, minor = version_of(backend.version)
    fitting, others = [], []
    for path in sorted(root.glob(f"tensorrt-*/{PLUGIN}")):
        built = re.fullmatch(r"tensorrt-(\d+)\.(\d+)-(sm\w+)-(\w+)", path.parent.name)
        if built and int(built[1]) == major and int(built[2]) <= minor and built.group(3, 4) == (target, digest()):
            fitting.append((int(built[2]), path))
        elif built:
            others.append(path.parent.name)
    if fitting:
        return max(fitting)[1]
    raise EngineError(
        f"the library of the DCNv2 plugin for {backend} on {target} was not found",
        f"looked for: {root}/tensorrt-{major}.{minor}-{target}-{digest()}/{PLUGIN}",
        *([f"there is for another TensorRT, GPU or source: {', '.join(others)}"] if others else []),
        f"build it: {COMMAND} --arch {target.replace('sm', 'sm_')}",
    )


def why_not() -> str | None:
    """Return why the plugin cannot be used here: TensorRT has none, or there is no library. None where it can.

    Whether a library that is there fits is what :func:`load` says.
    """
    backend = get_backend()
    if not backend.capabilities.plugins:
        return f"{backend} has no plugins"
    if backend.name not in _loaded:
        try:
            find_library(backend)
        except (ArgumentError, EngineError) as error:
            return error.summary
    return None


def load(path: str | os.PathLike[str] | None = None) -> Path:
    """Make the plugin known to the running TensorRT, once, and return the library's path.

    Args:
        path: the library, which is loaded as it is; None is the one in the cache folder.

    Raises:
        BackendError: this TensorRT has no plugins.
        EngineError: the library is missing, does not load, was built for another TensorRT, or, in the cache folder, is
            not what was built there.
        ArgumentError: others can write to the cache folder.
    """
    backend = get_backend()
    if not backend.capabilities.plugins:
        raise BackendError(f"{backend} has no plugins", 'use lowering="native", which needs none')
    if backend.name in _loaded:
        return _loaded[backend.name]
    library = Path(path) if path is not None else find_library(backend)
    if path is None:
        check_unchanged(library)
    check_library(library, backend)
    backend.logger.take()
    if backend.trt.get_plugin_registry().load_library(os.fspath(library)) is None:
        raise EngineError(f"TensorRT did not take the plugins of {library}", *backend.logger.take())
    _loaded[backend.name] = library
    return library


def check_unchanged(path: Path) -> None:
    """Check that a library of the cache is what was built there, before any of it runs, as it does when it is loaded.

    Raises:
        ArgumentError: others can write to it or its folder.
        EngineError: its bytes are not those that were built.
    """
    for place in (path.parent, path):
        check_trusted(place)
    if not is_unchanged(path):
        raise EngineError(
            f"the library of the DCNv2 plugin at {path} is not what was built there, or no digest says so",
            f"build it again: {COMMAND}",
        )


def check_library(path: Path, backend: Backend) -> None:
    """Raise EngineError if the library cannot be loaded or was built for another TensorRT."""
    if not path.is_file():
        raise EngineError(f"the library of the DCNv2 plugin is not at {path}", f"build it: {COMMAND}")
    try:
        library = ctypes.CDLL(os.fspath(path))
    except OSError as error:
        raise EngineError(f"the library of the DCNv2 plugin does not load: {error}", f"build it: {COMMAND}") from error
    function = getattr(library, "trtnn_dcnv2_tensorrt", None)
    if function is None:
        raise EngineError(f"{path} is not the library of the DCNv2 plugin", f"build it: {COMMAND}")
    function.restype = ctypes.c_char_p
    built = function().decode()
    if version_of(built)[0] != version_of(backend.version)[0]:
        raise EngineError(
            f"the library of the DCNv2 plugin was built for TensorRT {built}, this is {backend}",
            f"library: {path}",
            f"build it with this TensorRT's headers: {COMMAND} --tensorrt-include DIR",
        )


def create(
    name: str,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
    offset_groups: int = 1,
    mask: str = "given",
    combined: bool = False,
) -> PluginLayer:
    """Return a plugin for a layer that is added by ``add_plugin_v2`` (TensorRT 8) or ``add_plugin_v3`` (10 and later).

    Its inputs are x, offset and mask; x and offset with ``mask="none"``; x and one map of 3 * offset_groups * taps
    channels where ``combined``.

    Args:
        name: of the layer.
        weight: (out_channels, in_channels / groups, kernel_h, kernel_w), copied.
        bias: (out_channels,), or None.
        stride, padding, dilation: (vertical, horizontal).
        groups, offset_groups: as in ``torchvision.ops.deform_conv2d``.
        mask: ``"none"``, ``"given"``, or ``"logits"``: the kernel applies the sigmoid.
        combined: offset and mask are one input.

    Raises:
        ArgumentError: the plugin refuses the arguments; with what it said.
        EngineError, BackendError: as :func:`load`.
    """
    library = load()
    backend = get_backend()
    trt, registry = backend.trt, backend.trt.get_plugin_registry()
    arrays = {"weight": np.ascontiguousarray(weight, np.float32).reshape(-1)}
    if bias is not None:
        arrays["bias"] = np.ascontiguousarray(bias, np.float32).reshape(-1)
    numbers = {
        "out_channels": (weight.shape[0],),
        "kernel_size": weight.shape[2:],
        **{"stride": stride, "padding": padding, "dilation": dilation},
        **{"groups": (groups,), "offset_groups": (offset_groups,)},
        **{"mask": (MASKS[mask],), "combined": (int(combined),)},
    }
    arrays |= {key: np.array(value, np.int32) for key, value in numbers.items()}
    types = {np.dtype(np.float32): trt.PluginFieldType.FLOAT32, np.dtype(np.int32): trt.PluginFieldType.INT32}
    fields = [trt.PluginField(key, array, types[array.dtype]) for key, array in arrays.items()]
    collection = trt.PluginFieldCollection(fields)
    backend.logger.take()
    if hasattr(registry, "get_creator"):
        plugin = registry.get_creator(NAME, VERSION, "").create_plugin(name, collection, trt.TensorRTPhase.BUILD)
    else:
        plugin = registry.get_plugin_creator(NAME, VERSION, "").create_plugin(name, collection)
    if plugin is None:
        raise ArgumentError(f"the DCNv2 plugin refuses the layer {name!r}", *backend.logger.take())
    return PluginLayer("dcnv2", arrays, library, 2 * weight[0].size, plugin)
