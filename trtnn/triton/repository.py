"""Model repositories: the folders that Triton serves."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from trtnn.detector import Detector
from trtnn.engine.engine import Engine
from trtnn.engine.metadata import class_names
from trtnn.errors import ArgumentError, FileError, check_switches
from trtnn.files import file_name, make_folder
from trtnn.triton.config import LABELS, PLAN, Service, detector_config, plan_config
from trtnn.triton.text_format import Message, to_text

ENGINE = "model.engine"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PYTHON_MODEL = '''"""A detector for Triton's Python backend: {name}. It needs trtnn in the Python that Triton runs."""

from trtnn.triton.python_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def write_repository(
    engine: Engine,
    repository: str | os.PathLike[str],
    name: str | None = None,
    *,
    max_queue_us: int = 500,
    instances: int = 1,
    gpus: Sequence[int] = (),
    with_detector: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write an engine into a model repository of Triton Inference Server: ``<name>/config.pbtxt``,
    ``<name>/1/model.plan`` and the names of classes, ``<name>/labels.txt``.

    The folder of a model is there whole or not at all.

    Args:
        engine: of any batches from 1 on: its profiles say how many requests become one.
        repository: the folder of models; it is made where it is missing.
        name: of the model; the engine's own by default.
        max_queue_us: microseconds that a request waits for others to make a batch with.
        instances: execution contexts on each GPU.
        gpus: the indices of the GPUs that serve it; none is all of them.
        with_detector: write ``<name>-detector`` as well, which takes encoded images and gives boxes, by Triton's Python
            backend; trtnn has to be installed for that.
        force: replace models of that name, and remove the detector that was written beside an older one where none is
            asked for: it would go on with the older engine. A warning says so, and of one that was changed and stays.

    Returns:
        The folders of the models.

    Raises:
        FileError: the system refused, as when the disk is full; then what was there stays.
        ArgumentError: the engine has no profile of batches, the name is none for Triton, a model of that name is there,
            or something else that ``force`` does not replace either, a number is out of range, or the engine is no
            detector's.
    """
    check_switches(with_detector=with_detector, force=force)
    name = name or file_name(str(engine.description.get("model", ""))) or "model"
    if not _NAME.fullmatch(name):
        raise ArgumentError(
            f"Triton takes no model of the name {name!r}",
            "it stands in addresses and is a folder: letters, digits, ., _ and -, the first a letter or a digit",
        )
    service = Service(max_queue_us, instances, gpus)
    service.check()
    engine.check_plan()
    written: dict[str, dict[str, str | bytes | memoryview]] = {}
    config = plan_config(engine, name, service)
    labels = class_names(engine.description)
    written[name] = {"config.pbtxt": to_text(config), f"1/{PLAN}": engine.plan}
    if labels is not None:
        written[name][LABELS] = "".join(f"{label}\n" for label in map(_one_line, labels))
    if with_detector:
        own = f"{name}-detector"
        written[own] = {"config.pbtxt": to_text(_config_of_detector(engine, own, service))}
        written[own]["1/model.py"] = _PYTHON_MODEL.format(name=own)
    folder, older = Path(repository), f"{name}-detector"
    left = () if with_detector or not _is_own_detector(folder / older) else (older,)
    there = [
        folder / model for model in (*written, *left) if (folder / model).exists() or (folder / model).is_symlink()
    ]
    if there and not force:
        raise ArgumentError(f"{there[0]} is there already", "choose another --name, or replace it with --force")
    for place in there:
        if not place.is_symlink() and not (place.is_dir() and _is_model(place)):
            raise ArgumentError(f"{place} is there already, and is no model of Triton's", "choose another --name")
    make_folder(folder)
    for model, files in written.items():
        try:
            with _replaced(folder / model) as place:
                for path, content in files.items():
                    target = place / path
                    target.parent.mkdir(exist_ok=True)
                    target.write_bytes(content.encode() if isinstance(content, str) else content)
                if model != name:
                    engine.save(place / "1" / ENGINE)
        except OSError as error:
            reason = error.strerror or getattr(error.__cause__, "strerror", error)
            raise FileError(f"cannot write {folder / model}: {reason}") from error
    for model in left:
        _remove(folder / model)
        _warn(f"{folder / model} is removed, as it has the older engine", "--with-detector")
    kept = folder / older
    if older not in (*written, *left) and (kept / "1" / ENGINE).is_file():
        _warn(
            f"{kept} is left with the engine that it has, as it is not quite what trtnn writes",
            "--with-detector --force",
        )
    return [folder / model for model in written]


def _warn(what: str, options: str) -> None:
    warnings.warn(f"{what}; one of this engine: {options}", stacklevel=3)


def _config_of_detector(engine: Engine, name: str, service: Service) -> Message:
    detector = Detector(engine, device="cpu")
    detector.check_boxes_alone("Triton's detector gives")
    most = detector.thresholds["max_detections"]
    return detector_config(name, engine, most, service)


def _is_model(folder: Path) -> bool:
    """Whether a folder is one of a model, or has nothing in it."""
    return (folder / "config.pbtxt").is_file() or next(folder.iterdir(), None) is None


def _is_own_detector(folder: Path) -> bool:
    """Whether a folder is one of a detector that was written here."""
    try:
        return (folder / "1" / "model.py").read_bytes() == _PYTHON_MODEL.format(name=folder.name).encode()
    except OSError:
        return False


def _remove(folder: Path) -> None:
    """Remove a model.

    Raises:
        FileError: the system refused.
    """
    try:
        folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
    except OSError as error:
        raise FileError(f"cannot remove {folder}: {error.strerror}") from error


def _one_line(label: str) -> str:
    return " ".join(label.split())


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Give a new folder, and put it in place of ``path`` in the end; whatever fails leaves what was there."""
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}.", dir=path.parent))
    new, old = aside / "new", aside / "old"
    try:
        new.mkdir()
        yield new
        if path.exists() or path.is_symlink():
            path.rename(old)
        try:
            new.rename(path)
        except BaseException:
            if old.exists():
                old.rename(path)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
