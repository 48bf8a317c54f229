"""How the libraries are built, and where they are kept.

The plugin's library depends on TensorRT's version, the GPU and the sources; its folder in the cache is named by all
three, so that a change of any of them is a library that is not there yet, never one that does not fit. Beside each is
the digest of its bytes: loading a library runs it, so nothing else is loaded.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from trtnn.cuda import gpus
from trtnn.digest import digest as digest_of
from trtnn.errors import ArgumentError, BuildError
from trtnn.files import atomic_write, default_cache_dir, locked, make_cache_folder
from trtnn.progress import progress_bar

SOURCES = Path(__file__).resolve().parent / "csrc"
COMMAND = "python -m trtnn.plugins.dcnv2 build"
PLUGIN, KERNEL = "libtrtnn_dcnv2_plugin.so", "libtrtnn_dcnv2.so"
DIGEST = ".digest"  # what the name of the file with a library's digest ends in
FLAGS = ("-O3", "-std=c++17", "-shared", "-Xcompiler=-fPIC,-fvisibility=hidden,-Wno-deprecated-declarations")
PLACES = (
    "/usr/include/x86_64-linux-gnu",
    "/usr/include/aarch64-linux-gnu",
    "/usr/include",
    "/usr/local/include",
    "/usr/local/[Tt]ensor[Rr][Tt]*/include",
    "/opt/[Tt]ensor[Rr][Tt]*/include",
)
HOPPER = "sm90a"  # code for it runs on this one generation, and has the block shapes of hopper.h
NEEDED = ("NvInferRuntime.h", "NvInferVersion.h")


def target_flags(arch: str) -> list[str]:
    """Return nvcc's arguments for an architecture such as ``"sm90"``."""
    number = arch.removeprefix("sm")
    if not number.endswith("a"):
        return [f"-arch=sm_{number}"]
    flags = [f"-gencode=arch=compute_{number},code=sm_{number}"]  # -arch adds code for others, without its instructions
    return [*flags, "-DDCNV2_WGMMA"] if arch == HOPPER else flags


@functools.cache
def digest() -> str:
    """Return 12 hexadecimal digits that change with the sources and the compiler's flags."""
    state = hashlib.sha256(repr(FLAGS).encode())
    for path in sorted(SOURCES.iterdir()):
        state.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return state.hexdigest()[:12]


def architecture(name: str | None) -> str:
    """Return an architecture as ``"sm90"``, from ``"sm_90"``, ``"sm90"``, ``"90"``, or the GPU of this machine.

    A GPU of this machine that is an ``"sm90"`` is taken as ``"sm90a"``, which has Hopper's own instructions.

    Raises:
        ArgumentError: it is none of these, below sm80, or there is no GPU to take it from.
    """
    if name is None:
        if not gpus():
            raise ArgumentError("there is no GPU here to build for", f"name one: {COMMAND} --arch sm_90a")
        name = {"sm90": HOPPER}.get(gpus()[0], gpus()[0])
    numbered = re.fullmatch(r"(?:sm_?)?(\d{2,3}a?)", name)
    if not numbered:
        raise ArgumentError(f"{name!r} is no GPU architecture", "expected one such as sm_80, sm_89 or sm_90a")
    if int(numbered[1].rstrip("a")) < 80:
        raise ArgumentError(f"{name} is too old for the kernel", "it copies asynchronously: sm_80 and later")
    return f"sm{numbered[1]}"


def library_path(arch: str, tensorrt: str | None, folder: str | os.PathLike[str] | None = None) -> Path:
    """Return where a library is, or would be.

    Args:
        arch: as ``"sm90a"``.
        tensorrt: TensorRT's version as ``"10.13"``; None for the kernel alone.
        folder: in place of the cache folder.
    """
    name = f"tensorrt-{tensorrt}" if tensorrt else "kernel"
    root = Path(folder) if folder else default_cache_dir() / "dcnv2"
    return root / f"{name}-{arch}-{digest()}" / (PLUGIN if tensorrt else KERNEL)


def is_unchanged(path: Path) -> bool:
    """Return whether the library at ``path`` is there, as it was built."""
    try:
        return path.with_name(path.name + DIGEST).read_text(encoding="ascii") == digest_of(path.read_bytes())
    except (OSError, ValueError):
        return False


def find_nvcc() -> str:
    """Return the path of CUDA's compiler.

    Raises:
        BuildError: it is in none of the usual places.
    """
    roots = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    for place in (*(str(Path(root, "bin", "nvcc")) for root in roots), "nvcc", "/usr/local/cuda/bin/nvcc"):
        program = shutil.which(place)
        if program:
            return program
    raise BuildError(
        "CUDA's compiler nvcc was not found",
        "looked in $CUDA_HOME/bin, $CUDA_PATH/bin, the PATH and /usr/local/cuda/bin",
        "install the CUDA toolkit (apt: cuda-nvcc and cuda-cudart-dev), or set CUDA_HOME",
    )


def find_headers(headers: str | os.PathLike[str] | None = None) -> tuple[Path, str]:
    """Return the folder of TensorRT's C++ headers and their version, such as ``"10.13"``.

    Args:
        headers: the folder; None looks in ``$TENSORRT_ROOT/include`` and the usual places.

    Raises:
        BuildError: they are not there.
    """
    if headers is not None:
        places = [glob.escape(os.fspath(headers))]
    else:
        root = os.environ.get("TENSORRT_ROOT")
        places = [*([glob.escape(str(Path(root, "include")))] if root else []), *PLACES]
    for place in places:
        for folder in sorted(glob.glob(place), reverse=True):
            if all(Path(folder, name).is_file() for name in NEEDED):
                return Path(folder), _version(Path(folder, "NvInferVersion.h"))
    raise BuildError(
        f"TensorRT's headers ({', '.join(NEEDED)}) were not found",
        f"looked in: {', '.join(places) if headers is None else headers}",
        "pip's tensorrt has none; they come with apt's libnvinfer-headers-dev, with NVIDIA's tar of TensorRT, or with",
        "  git clone --depth 1 --branch v10.13.0 https://github.com/NVIDIA/TensorRT   # the version that is installed",
        f"then: {COMMAND} --tensorrt-include TensorRT/include",
        f"the kernel alone needs none: {COMMAND} --kernel-only",
    )


def _version(header: Path) -> str:
    text = header.read_text(encoding="utf-8", errors="replace")
    numbers = []
    for part in ("MAJOR", "MINOR"):
        number = re.search(rf"#define (?:NV_TENSORRT_{part}|TRT_{part}_ENTERPRISE)\s+(\d+)", text)
        if not number:
            raise BuildError(f"{header} does not say which TensorRT it is of", f"expected NV_TENSORRT_{part}")
        numbers.append(number[1])
    return ".".join(numbers)


def build(
    tensorrt_include: str | os.PathLike[str] | None = None,
    arch: str | None = None,
    output: str | os.PathLike[str] | None = None,
    kernel_only: bool = False,
    force: bool = False,
) -> Path:
    """Build the library, if it is not there yet, and return its path.

    Args:
        tensorrt_include: the folder of TensorRT's headers; None looks in the usual places.
        arch: the GPU, such as ``"sm_90a"``; None is the one of this machine.
        output: a folder in place of the cache folder.
        kernel_only: the kernel without the plugin; needs no TensorRT.
        force: build it also if it is there.

    Raises:
        BuildError: nvcc or the headers are missing, or nvcc failed; with what it said.
        ArgumentError: an argument is wrong, or others can write to the folder.
    """
    target = architecture(arch)
    include, version = (None, None) if kernel_only else find_headers(tensorrt_include)
    path = library_path(target, version, output)
    make_cache_folder(path.parent)
    with locked(path, waiting=f"waiting for another process that builds {path}"):
        if is_unchanged(path) and not force:
            return path
        nvcc = find_nvcc()
        title = f"nvcc: {path.name} for {target}" + (f" and TensorRT {version}" if version else "")
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder, path.name)
            sources = [SOURCES / "dcnv2.cu", *([] if kernel_only else [SOURCES / "plugin.cpp"])]
            command = [nvcc, *FLAGS, *target_flags(target), *map(str, sources), "-o", str(made)]
            if include:
                command += ["-I", str(include)]
            with progress_bar(title):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                said = (done.stdout + done.stderr).strip().splitlines()
                raise BuildError(f"nvcc could not build {path.name}", " ".join(command), *said[-20:])
            made.chmod(0o755)  # by the umask others might write to it
            with atomic_write(path.with_name(path.name + DIGEST)) as file:
                file.write(digest_of(made.read_bytes()).encode())
            os.replace(made, path)
    return path
