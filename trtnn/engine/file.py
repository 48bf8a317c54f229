"""Engine files: a 4-byte little-endian length, that many bytes of JSON, and TensorRT's plan.

That is the layout of Ultralytics' exporter (https://docs.ultralytics.com/integrations/tensorrt/), so tools that read
theirs read ours: the description holds the keys that they look for. Theirs are read here as well, and so are bare
plans, as ``trtexec`` writes them; what a bare plan takes and gives TensorRT tells once it has loaded it.

The digest of the plan is in the description, and that of the description is the last thing in its text, so that no bit
of a file changes unseen. ``trtnn_file`` at its beginning says that both are there; older files, without it, have the
digest of the plan alone. What a description says is held against the plan in any case, see :mod:`trtnn.engine.plan`.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trtnn.backend import INSTALL, Backend
from trtnn.checkpoint.damaged import kind_of
from trtnn.cuda import gpu_name
from trtnn.digest import digest, own_version
from trtnn.engine.plan import looks_like_a_plan
from trtnn.errors import ArgumentError, EngineError
from trtnn.files import MappedFile, atomic_write, open_regular
from trtnn.shapes.call import Shapes
from trtnn.shapes.profiles import profiles_from_json, widest_dims
from trtnn.shapes.reading import LengthReader
from trtnn.shapes.spec import TensorSpec
from trtnn.shapes.symbolic import bounds
from trtnn.strict_json import check_value, parse_object
from trtnn.structure import unflatten

SUFFIXES = (".engine", ".plan", ".trt")
MAX_DESCRIPTION_BYTES = 1 << 22
MAX_VALUES = 200_000  # of a description: each may take a hundred bytes of memory
_MAX_ELEMENTS = 1 << 40  # of one input or output; no GPU holds so many
_OWN = "trtnn"  # the key that only our descriptions have
# Of the file alone: the number of its format, where 2 is the first with a digest of the description, and that digest.
_FORMAT, _DESCRIPTION_DIGEST = "trtnn_file", "description_digest"
_LAST_FORMAT = 2
_DIGITS = "0" * len(digest())
_TYPES = {
    "backend": str,
    "tensorrt": str,
    "targets": list,
    "inputs": dict,
    "outputs": dict,
    "structure": (str, dict),
    "plan_bytes": int,
    "plan_digest": str,
}
WRITTEN = frozenset((*_TYPES, _OWN, _FORMAT, _DESCRIPTION_DIGEST))  # the keys that a file has of itself
#: What of a description people look at, in the order of it.
SHOWN = ("model", "precision", "fp32_modules", "fp16_attention", "backend", "tensorrt", "targets", "gpu", "description")
_VERSION = re.compile(r"[0-9A-Za-z.+_-]{1,64}")  # of TensorRT; it becomes part of a command that is shown


def describe_plan(
    backend: Backend,
    targets: Sequence[str],
    inputs: Mapping[str, TensorSpec],
    outputs: Mapping[str, TensorSpec],
    structure: Any,
    plan: Any,
) -> dict[str, Any]:
    """Return what a description has to hold for its engine to run.

    The plan's digest is there because TensorRT's parser is not made for damaged plans, and a changed weight would pass
    it unseen.
    """
    return {
        _OWN: own_version(),
        "backend": backend.name,
        "tensorrt": backend.version,
        "targets": list(targets),
        # What is built for named targets does not depend on the GPU that happens to be here.
        **({"gpu": gpu_name()} if not backend.capabilities.targets else {}),
        "inputs": {name: spec.to_json() for name, spec in inputs.items()},
        "outputs": {name: spec.to_json() for name, spec in outputs.items()},
        "structure": structure,
        "plan_bytes": memoryview(plan).nbytes,
        "plan_digest": digest(plan),
    }


def read_shapes(description: Mapping[str, Any]) -> Shapes:
    """Return what a description of ours says of inputs, outputs and profiles."""
    tables = (description["inputs"], description["outputs"])
    names = {length for value in tables[0].values() for length in value["shape"] if isinstance(length, str)}
    profiles = profiles_from_json(description.get("profiles", ()), names)
    read = LengthReader(widest_dims(profiles))
    inputs, outputs = ({name: TensorSpec.from_json(value, read) for name, value in table.items()} for table in tables)
    return Shapes(inputs, outputs, profiles)


def is_described(description: Mapping[str, Any]) -> bool:
    """Return whether a description is one of ours, which says all that running an engine takes."""
    return _OWN in description


def write(path: str | os.PathLike[str], description: Mapping[str, Any], plan: memoryview) -> None:
    """Write an engine file, whole or not at all.

    Raises:
        ArgumentError: the path cannot be written, or the description could not be read again.
    """
    try:
        check_value(description, "description")
        head = json.dumps({_FORMAT: _LAST_FORMAT, **description}).encode()[:-1]
        text = head + _signature(digest(head))
        if len(text) > MAX_DESCRIPTION_BYTES:
            raise ValueError(f"it has {len(text):,} bytes, and {MAX_DESCRIPTION_BYTES:,} are read")
        parse_object(text, MAX_VALUES)
    except ValueError as error:
        raise ArgumentError(f"cannot write {path}: no file can hold this engine's description: {error}") from error
    with atomic_write(path) as file:
        file.write(struct.pack("<i", len(text)))
        file.write(text)
        file.write(plan)


def _signature(digits: str) -> bytes:
    """Return the end of a description's text, with the digest of all before it."""
    return f', "{_DESCRIPTION_DIGEST}": "{digits}"}}'.encode()


def looks_like_an_engine(head: bytes) -> bool:
    """Return whether a file begins as engines do, by its first bytes: as a bare plan, or as a description."""
    return looks_like_a_plan(head) or (head[4:5] == b"{" and 0 < _length_in(head) <= MAX_DESCRIPTION_BYTES)


def _length_in(head: bytes | memoryview) -> int:
    return struct.unpack("<i", head[:4])[0] if len(head) >= 4 else -1


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], memoryview]:
    """Return the description and the plan of an engine file; the plan stays on disk until it is used.

    The description is empty for a bare plan, and another tool's for its file; see :func:`is_described`.

    Raises:
        EngineError: there is no such file, it is of no such kind, or it is damaged where that can be told at once.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            data = memoryview(MappedFile(file, mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EngineError(f"cannot read the engine file {path}: {reason}") from error
    if looks_like_a_plan(data):
        return {}, data
    try:
        return _take_apart(data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = _looks_like(data) or (str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}")
        raise EngineError(f"{path} is not an engine file, or is damaged", problem) from error


def _looks_like(data: memoryview) -> str | None:
    """Say in a line what a file is that is no engine file, where its beginning tells."""
    head = bytes(data[:16])
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return "it looks like a picture"
    kind = kind_of(head)
    if kind is None:
        return None
    return f"it looks like a checkpoint ({kind.words}): trtnn.load reads it, and trtnn build makes an engine of it"


def _take_apart(data: memoryview) -> tuple[dict[str, Any], memoryview]:
    length = _length_in(data)
    if not 0 < length <= min(MAX_DESCRIPTION_BYTES, len(data) - 4):
        raise ValueError(f"a description of {length} bytes in a file of {len(data)}")
    text, plan = bytes(data[4 : 4 + length]), data[4 + length :]
    is_signed = _check_signature(text)
    try:
        description = parse_object(text, MAX_VALUES)
    except ValueError as error:
        raise ValueError(f"its description is not sound JSON: {error}") from error
    marks = [description.pop(mark, None) for mark in (_FORMAT, _DESCRIPTION_DIGEST)]
    if type(marks[0]) is int and marks[0] > _LAST_FORMAT:
        raise ValueError(f"a later trtnn wrote it: its format is {marks[0]}, and this one reads up to {_LAST_FORMAT}")
    if not is_signed and marks != [None, None]:
        raise ValueError("its description has lost its digest")
    if not is_described(description):
        if not looks_like_a_plan(plan):
            raise ValueError("its description is not trtnn's, and no plan is behind it")
        return description, plan
    _check(description)
    if plan.nbytes != description["plan_bytes"]:
        raise ValueError(f"a plan of {plan.nbytes} bytes, where {description['plan_bytes']} were written")
    return description, plan


def _check_signature(text: bytes) -> bool:
    """Return whether a description's text ends in a digest.

    Raises:
        ValueError: it is that of another text.
    """
    length = len(_signature(_DIGITS))
    head, end = text[:-length], text[-length:]
    digits = end[-2 - len(_DIGITS) : -2].decode("latin-1")
    if end != _signature(digits):
        return False
    actual = digest(head)
    if actual != digits:
        raise ValueError(f"its description is not what was written: expected the digest {digits}, found {actual}")
    return True


def _check(description: Mapping[str, Any]) -> None:
    """Raise one of several errors where a description of ours cannot be true."""
    missing = [key for key in _TYPES if key not in description]
    if missing:
        raise ValueError(f"its description lacks {', '.join(missing)}")
    for key, kind in _TYPES.items():
        if not isinstance(description[key], kind):
            raise TypeError(f"its {key} is a {type(description[key]).__name__}")
    if description["backend"] not in INSTALL:
        raise ValueError(f"its backend is {description['backend']}")
    if not _VERSION.fullmatch(description["tensorrt"]):
        raise ValueError(f"{description['tensorrt']!r} is no version of TensorRT")
    if not all(isinstance(target, str) for target in description["targets"]):
        raise TypeError("its targets are not all strings")
    _check_options(description)
    _check_quantized(description.get("quantized", {}))
    _check_refittable(description.get("refittable"))
    _check_build(description.get("build", {}))
    shown = [description["plan_digest"], *description["targets"], *description.get("plugins", [])]
    for text in (*shown, *description["inputs"], *description["outputs"]):
        if not text.isprintable():
            raise ValueError(f"it has a text that cannot be printed: {text!r}")
    shapes = read_shapes(description)
    for name, spec in (*shapes.inputs.items(), *shapes.outputs.items()):
        if math.prod(bounds(length)[1] for length in spec.shape) > _MAX_ELEMENTS:
            raise ValueError(f"its {name} would have more than {_MAX_ELEMENTS:,} elements")
    unflatten(description["structure"], shapes.outputs)


def _check_options(description: Mapping[str, Any]) -> None:
    for key in ("plugins", "fp32_modules", "inner_outputs"):
        texts = description.get(key, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"its {key} are not a list of strings: {texts!r:.200}")
    if not isinstance(description.get("fp16_attention", False), bool):
        raise TypeError(f"its fp16_attention is neither true nor false: {description['fp16_attention']!r:.200}")


def _check_quantized(quantized: Any) -> None:
    if not isinstance(quantized, dict) or not all(isinstance(dtype, str) for dtype in quantized.values()):
        raise TypeError(f"its quantized modules are no types by path: {quantized!r:.200}")


def _check_refittable(refittable: Any) -> None:
    if refittable is None:
        return
    arrays = refittable.get("arrays") if isinstance(refittable, dict) else None
    texts = [refittable.get("skeleton"), *arrays.values()] if isinstance(arrays, dict) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"what can be exchanged in it is no table of digests: {refittable!r:.200}")
    names, modules = refittable.get("names", {}), refittable.get("modules", [])
    if not isinstance(names, dict) or not isinstance(modules, list):
        raise TypeError(f"what of it can be exchanged is no table of names: {refittable!r:.200}")
    if not all(isinstance(text, str) for text in (*names.values(), *modules)):
        raise TypeError(f"what of it can be exchanged has names that are no text: {refittable!r:.200}")


def _check_build(build: Any) -> None:
    if not isinstance(build, dict) or not all(type(value) is int for value in build.values()):
        raise TypeError(f"how it was built is no table of whole numbers: {build!r:.200}")


def check_file(plan: memoryview, description: Mapping[str, Any]) -> None:
    """Check that nobody has written to the file that a plan lies in since it was read.

    Args:
        plan: the plan.
        description: what is said of it; where it has a digest, a file that has another time alone is the same.

    Raises:
        EngineError: somebody has.
    """
    file = plan.obj
    if isinstance(file, MappedFile) and not file.is_as_it_was():
        if file.is_whole() and digest(plan) == description.get("plan_digest"):
            return
        raise EngineError(
            f"the engine file {file.path} was written to after it was read",
            "read it again: trtnn.Engine.load(path)",
            "engine.save and mv replace a file, which keeps what was read before; cp writes into it",
        )


def check_plan(plan: memoryview, description: Mapping[str, Any], path: Path | None = None) -> None:
    """Check every byte of a plan against the digest in its description; this takes about 1 ms for each MB.

    Args:
        plan: the plan.
        description: what a file says of it.
        path: of that file, for the error.

    Raises:
        EngineError: it is not what was written.
    """
    actual = digest(plan)
    if actual != description["plan_digest"]:
        raise EngineError(
            f"the plan of this engine is damaged{'' if path is None else f': {path}'}",
            f"expected the digest {description['plan_digest']}",
            f"found {actual}",
            "build it again, or copy the file again",
        )
