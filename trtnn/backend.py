"""Which TensorRT is here, and what it can do.

Features are found by their names in the Python module, never by an enum's integer or a version: the integers move
between versions.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.util
import os
import threading
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from trtnn.cuda import gpus
from trtnn.dtypes import ALL, DType, as_dtype, float8_e4m3fn
from trtnn.errors import BackendError, DTypeError
from trtnn.signals import held_signals

ENVIRONMENT = "TRTNN_BACKEND"
_loading = threading.RLock()  # of several threads that ask first one makes it: TensorRT keeps the first logger alone
INSTALL = {
    "tensorrt": "pip install tensorrt",
    "tensorrt_rtx": "pip install tensorrt-rtx-cu13",
}


@dataclass(frozen=True)
class Capabilities:
    """What a TensorRT can do, each found by name in its Python module.

    Attributes:
        strongly_typed: networks carry their element types; there are no precision flags.
        needs_strong_flag: the creation flag STRONGLY_TYPED has to be set to get such a network.
        needs_explicit_batch: the creation flag EXPLICIT_BATCH has to be set (TensorRT 8).
        targets: it builds for named compute capabilities, also where there is no GPU (TensorRT-RTX).
        progress: it reports progress while building.
        plugin_v2: layers of one's own are added by ``add_plugin_v2`` and by that alone (TensorRT 8).
        plugin_v3: they are added by ``add_plugin_v3``.
        int64: tensors can hold 64-bit integers.
        isnan: it can ask whether a number is one.
        cumulative: it has a layer for running sums.
        gelu: it has that activation.
        int8: it quantises to that, by a Quantize and a Dequantize layer.
        fp8: it quantises to float8_e4m3fn likewise.
        typed_quantize: these layers are told the type that they give (TensorRT 10 and later).
        device_memory_v2: an engine tells the memory of its contexts by ``device_memory_size_v2``.
        needs_profile_sharing: contexts share an optimisation profile only where PROFILE_SHARING_0806 is set
            (TensorRT 8.6; 10 has the feature by that name and does so anyway).
        hardware_compatible: it builds engines for all GPUs since Ampere (TensorRT-RTX ignores the setting).
        refit_individual: single weights of an engine can be let change (TensorRT 10 and later).
        include_refit: an engine that takes new weights has to be written with the flag INCLUDE_REFIT to take others
            after that (TensorRT 10.14 and later).
    """

    strongly_typed: bool
    needs_strong_flag: bool
    needs_explicit_batch: bool
    targets: bool
    progress: bool
    plugin_v2: bool
    plugin_v3: bool
    int64: bool
    isnan: bool
    cumulative: bool
    gelu: bool
    int8: bool
    fp8: bool
    typed_quantize: bool
    device_memory_v2: bool
    needs_profile_sharing: bool
    hardware_compatible: bool
    refit_individual: bool
    include_refit: bool

    @property
    def plugins(self) -> bool:
        """Layers of one's own can be added."""
        return self.plugin_v2 or self.plugin_v3


class Backend:
    """A TensorRT Python module with what trtnn asks of it.

    Attributes:
        name: ``"tensorrt"`` or ``"tensorrt_rtx"``.
        trt: the Python module.
        version: TensorRT's own version, such as ``"1.7.1.116"``.
        capabilities: what it can do.
        logger: the one logger that every TensorRT object is made with.
    """

    def __init__(self, name: str, trt: ModuleType) -> None:
        self.name = name
        self.trt = trt
        self.version: str = trt.__version__
        flags = trt.NetworkDefinitionCreationFlag.__members__
        weakly_typed_exists = "FP16" in trt.BuilderFlag.__members__
        self.capabilities = Capabilities(
            strongly_typed="STRONGLY_TYPED" in flags,
            needs_strong_flag="STRONGLY_TYPED" in flags and weakly_typed_exists,
            needs_explicit_batch="EXPLICIT_BATCH" in flags and "STRONGLY_TYPED" not in flags,
            targets=hasattr(trt.IBuilderConfig, "set_compute_capability"),
            progress=hasattr(trt, "IProgressMonitor"),
            plugin_v2=hasattr(trt.INetworkDefinition, "add_plugin_v2")
            and not hasattr(trt.INetworkDefinition, "add_plugin_v3"),
            plugin_v3=hasattr(trt.INetworkDefinition, "add_plugin_v3"),
            int64="INT64" in trt.DataType.__members__,
            isnan="ISNAN" in trt.UnaryOperation.__members__,
            cumulative=hasattr(trt.INetworkDefinition, "add_cumulative"),
            gelu="GELU_ERF" in trt.ActivationType.__members__,
            int8=hasattr(trt.INetworkDefinition, "add_quantize"),
            fp8="FP8" in trt.DataType.__members__ and hasattr(trt.IQuantizeLayer, "to_type"),
            typed_quantize=hasattr(trt.IQuantizeLayer, "to_type"),
            device_memory_v2=hasattr(trt.ICudaEngine, "device_memory_size_v2"),
            needs_profile_sharing="PROFILE_SHARING_0806" in trt.PreviewFeature.__members__,
            hardware_compatible="AMPERE_PLUS" in trt.HardwareCompatibilityLevel.__members__
            and not hasattr(trt.IBuilderConfig, "set_compute_capability"),
            refit_individual="REFIT_INDIVIDUAL" in trt.BuilderFlag.__members__,
            include_refit=hasattr(trt, "SerializationFlag") and "INCLUDE_REFIT" in trt.SerializationFlag.__members__,
        )
        self.logger = _make_logger(trt)
        self._kept_builders: list[Any] = []
        # A list of pairs, for hashing a DType may load torch.
        members = [(getattr(trt.DataType, dtype.tensorrt, None), dtype) for dtype in (*ALL, float8_e4m3fn)]
        self._dtypes = {int(member): dtype for member, dtype in members if member is not None}

    def __repr__(self) -> str:
        return f"{self.name} {self.version}"

    def data_type(self, dtype: DType) -> Any:
        """Return TensorRT's DataType member for ``dtype``.

        Raises:
            DTypeError: this TensorRT does not have the type.
        """
        member = getattr(self.trt.DataType, dtype.tensorrt, None)
        if member is None:
            raise DTypeError(f"{self} has no {dtype.name}", f"it has {', '.join(self.trt.DataType.__members__)}")
        return member

    def dtype(self, member: Any) -> DType:
        """Return the DType for a DataType member of this TensorRT.

        Raises:
            DTypeError: trtnn has no such element type.
        """
        return self._dtypes.get(int(member)) or as_dtype(member)

    def make_builder(self) -> Any:
        """Return a new ``Builder``.

        One more is kept until this process ends: with the last one TensorRT 8.6.1 lets go of its kernels, and takes 6 s
        to load them for the next.

        Raises:
            BackendError: TensorRT does not start here; with its own words.
        """
        self.logger.take()
        try:
            with held_signals():  # it takes seconds, and writes to its log
                if not self._kept_builders:
                    self._kept_builders.append(self.trt.Builder(self.logger))
                    atexit.register(self._kept_builders.clear)  # before the modules that it needs are gone
                return self.trt.Builder(self.logger)
        except TypeError as error:  # what TensorRT's constructors end in where they fail
            needs = () if self.capabilities.targets else ("it needs an NVIDIA GPU, even to trace a network",)
            raise BackendError(f"{self} does not start here", *needs, *self.logger.take()) from error

    @property
    def network_flags(self) -> int:
        """What ``create_network`` takes for a network that carries its element types, where this TensorRT has such."""
        flags, bits = self.trt.NetworkDefinitionCreationFlag, 0
        if self.capabilities.needs_explicit_batch:
            bits |= 1 << int(flags.EXPLICIT_BATCH)
        if self.capabilities.needs_strong_flag:
            bits |= 1 << int(flags.STRONGLY_TYPED)
        return bits

    @functools.cached_property
    def targets(self) -> tuple[str, ...]:
        """The GPUs it can build for by name, such as ``("sm75", "sm86")``; empty where it builds for its own alone."""
        if not self.capabilities.targets:
            return ()
        names = self.trt.ComputeCapability.__members__
        return tuple(sorted((n.lower() for n in names if n.startswith("SM")), key=lambda n: int(n[2:])))


def _make_logger(trt: ModuleType) -> Any:
    class Logger(trt.ILogger):
        """Keeps TensorRT's errors, which are the only place where it says why something failed.

        TensorRT has one logger for all threads, and calls it in that whose work failed, or in one of its own.
        """

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._lines: list[tuple[int, str]] = []  # with the thread
            self._askers: set[int] = set()  # threads that ask for their own
            self._lock = threading.Lock()

        def log(self, severity: Any, message: str) -> None:
            if severity not in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                return
            if "catchCudaError" in message and not gpus():
                return  # that there is no GPU, said beside every error of another kind
            with self._lock:
                self._lines.append((threading.get_ident(), message.strip()))

        def take(self) -> list[str]:
            """Return this thread's errors since its last call, the newest last, and forget them.

            Those of TensorRT's own threads are of who asks first.
            """
            me, running = threading.get_ident(), {thread.ident for thread in threading.enumerate()}
            with self._lock:
                self._askers = self._askers & running | {me}  # one of TensorRT's may have the number of one that ended
                others = self._askers - {me}
                taken = [line for thread, line in self._lines if thread not in others]
                self._lines = [entry for entry in self._lines if entry[0] in others]
            return list(dict.fromkeys(taken))

    return Logger()


def get_backend() -> Backend:
    """Return the TensorRT to use.

    ``TRTNN_BACKEND`` names it; without that it is the one installed, and where both are, ``tensorrt`` if there is a GPU
    (it needs one even to build) and ``tensorrt_rtx`` if not.

    Raises:
        BackendError: none is installed, or the one that was named is not.
    """
    chosen = os.environ.get(ENVIRONMENT)
    if chosen and chosen not in INSTALL:
        raise BackendError(f"{ENVIRONMENT}={chosen} names no backend", f"known: {', '.join(INSTALL)}")
    preferred = ("tensorrt", "tensorrt_rtx") if gpus() else ("tensorrt_rtx", "tensorrt")
    for name in (chosen,) if chosen else preferred:
        if importlib.util.find_spec(name) is not None:
            with _loading:
                return _load(name)
    if chosen:
        raise BackendError(f"{ENVIRONMENT}={chosen}, but {chosen} is not installed", INSTALL[chosen])
    raise BackendError(
        "no TensorRT is installed",
        f"{INSTALL['tensorrt_rtx']}   # builds on any machine, runs on RTX GPUs",
        f"{INSTALL['tensorrt']}   # builds and runs where there is an NVIDIA GPU",
    )


@functools.cache
def _load(name: str) -> Backend:
    try:
        return Backend(name, importlib.import_module(name))
    except (ImportError, OSError) as error:
        raise BackendError(f"{name} is installed but does not load: {error}", f"{INSTALL[name]}") from error
