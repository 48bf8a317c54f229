"""CUDA kernels of the package's own: C++ in ``csrc``, compiled at first use by NVRTC, and launched by the driver.

NVRTC comes through ``cuda-core`` (https://nvidia.github.io/cuda-python/cuda-core). What it makes is kept in the cache
folder, so that a process that finds it there needs no compiler.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import threading
from pathlib import Path
from typing import Any

from trtnn.cuda import call, gpus
from trtnn.digest import digest, own_version
from trtnn.errors import BuildError, EngineError
from trtnn.files import atomic_write, check_trusted, default_cache_dir, locked, make_cache_folder, open_regular

SOURCES = Path(__file__).parent / "csrc"
INSTALL = 'pip install "trtnn[cuda]"'
# Each step is rounded, as on the CPU: a product and a sum are one step only where the source says fmaf.
_OPTIONS: dict[str, Any] = {"std": "c++17", "fma": False, "ftz": False, "prec_div": True, "prec_sqrt": True}
_LOG_LINES = 40
_FIRST_WITH_CLUSTERS = 90  # sm_90, Hopper
_lock = threading.RLock()


class CompilerMissingError(BuildError):
    """The kernels have to be compiled, and NVRTC is not here."""


def cache_path(name: str, arch: str) -> Path:
    """Return the file in the cache of what becomes of a source, by its name such as ``"preprocessing"``.

    It is named by all sources and options, the version of this package and the GPU's architecture, such as ``"sm_90"``.
    """
    texts = [path.name.encode() + path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.is_file()]
    key = digest(repr((name, own_version(), sorted(_OPTIONS.items()))).encode(), *texts)
    return default_cache_dir() / "kernels" / f"{name}-{arch}-{key}.cubin"


def compile_source(name: str, arch: str) -> bytes:
    """Return a source's kernels as NVRTC compiles them for an architecture; this needs no GPU.

    Raises:
        CompilerMissingError: cuda-core, or NVRTC itself, is not installed.
        BuildError: the source does not compile; with NVRTC's log.
    """
    try:
        core: Any = importlib.import_module("cuda.core")
        options = core.ProgramOptions(name=f"{name}.cu", arch=arch, include_path=str(SOURCES), **_OPTIONS)
        program = core.Program((SOURCES / f"{name}.cu").read_text(encoding="utf-8"), "c++", options)
    except (ImportError, RuntimeError) as error:  # the latter where NVRTC's library is missing
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CompilerMissingError(f"kernels for the GPU are compiled by cuda-core: {reason}", INSTALL) from error
    try:
        return bytes(program.compile("cubin").code)
    except Exception as error:  # cuda-core has no public class for NVRTC's errors
        log = [line for line in str(error).splitlines() if line.strip()][:_LOG_LINES]
        raise BuildError(f"NVRTC could not compile {name}.cu for {arch}", *log) from error
    finally:
        program.close()


def is_ready(name: str, arch: str) -> bool:
    """Tell whether a source is compiled already, or could be."""
    try:
        return cache_path(name, arch).is_file() or importlib.util.find_spec("cuda.core") is not None
    except ModuleNotFoundError:  # there is no cuda that could have a core
        return False


def cubin(name: str, arch: str, fresh: bool = False) -> bytes:
    """Return a source's kernels for an architecture from the cache, or compiled and kept there.

    Args:
        name: of the source, such as ``"preprocessing"``.
        arch: such as ``"sm_90"``.
        fresh: compile them, whatever is in the cache.

    Raises:
        ArgumentError: others can write to the cache folder.
        CompilerMissingError, BuildError: as :func:`compile_source`.
    """
    path = cache_path(name, arch)
    make_cache_folder(path.parent)
    with locked(path):
        if path.is_file() and not fresh:
            check_trusted(path)
            with open_regular(path) as file:
                return file.read()
        code = compile_source(name, arch)
        with atomic_write(path) as file:
            file.write(code)
        path.chmod(0o600)  # by the umask others might write to it
    return code


class Kernels:
    """The kernels of one source on the GPU of the CUDA context that is current.

    Args:
        name: of the source, such as ``"preprocessing"``.

    Attributes:
        has_clusters: whether those are there whose blocks work in clusters.

    Raises:
        EngineError: there is no GPU, or the driver does not take them.
        CompilerMissingError, BuildError: as :func:`compile_source`.
    """

    def __init__(self, name: str) -> None:
        if not gpus():
            raise EngineError("there is no GPU here, and kernels need one")
        arch = gpus()[0].replace("sm", "sm_")
        self._module = ctypes.c_void_p()
        try:
            self._load(cubin(name, arch))
        except EngineError:  # a file of the cache may be damaged
            self._load(cubin(name, arch, fresh=True))
        self._functions: dict[str, ctypes.c_void_p] = {}
        self.has_clusters = int(arch.removeprefix("sm_")) >= _FIRST_WITH_CLUSTERS

    def _load(self, code: bytes) -> None:
        call("cuModuleLoadData", ctypes.byref(self._module), code)

    def launch(self, name: str, grid: tuple[int, int, int], threads: int, stream: int, arguments: Any) -> None:
        """Put a kernel on a stream.

        Args:
            name: of the kernel.
            grid: how many blocks there are, (x, y, z).
            threads: how many a block has.
            stream: its handle.
            arguments: the ctypes structure that the kernel takes; it is copied.

        Raises:
            EngineError: the driver refuses.
        """
        function = self._functions.get(name)
        if function is None:
            function = ctypes.c_void_p()
            call("cuModuleGetFunction", ctypes.byref(function), self._module, name.encode())
            self._functions[name] = function
        places = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        sizes = (*map(ctypes.c_uint, (*grid, threads, 1, 1)), ctypes.c_uint(0))
        call("cuLaunchKernel", function, *sizes, ctypes.c_void_p(stream), places, None)


@functools.cache
def _kernels(name: str) -> Kernels:
    return Kernels(name)


def kernels(name: str) -> Kernels:
    """Return the kernels of a source, which the process loads once; all its threads share the first GPU's context."""
    with _lock:
        return _kernels(name)
