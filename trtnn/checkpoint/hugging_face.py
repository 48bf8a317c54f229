"""What lies beside the weights in a folder of transformers: config.json, and preprocessor_config.json; or of timm.

Weights alone do not tell the names of classes, nor which activations, epsilons and queries a network has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trtnn.checkpoint.class_names import read_class_names
from trtnn.checkpoint.state_dict import check_metadata
from trtnn.errors import CheckpointError
from trtnn.strict_json import parse_object

_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"
_LIMIT_BYTES = 4_000_000
_MOST_VALUES = 200_000


def beside(path: Path) -> dict[str, Any]:
    """Return metadata of what lies beside a file of weights; nothing where that is no folder of theirs.

    A config.json is transformers' where it is an object with a ``model_type``. Of what it says ``config`` holds all,
    ``names`` the classes', ``architecture`` the class; ``preprocessor_config`` holds all of the other file, ``imgsz``
    the height and width in it. One with a ``pretrained_cfg`` is timm's, of which ``architecture`` is told.

    Raises:
        CheckpointError: one of them has names of classes, and is not sound.
    """
    config = _read(path.parent / _CONFIG)
    if not isinstance(config.get("model_type"), str):
        architecture = config.get("architecture")
        is_timms = isinstance(architecture, str) and isinstance(config.get("pretrained_cfg"), dict)
        return {"architecture": architecture} if is_timms else {}
    said: dict[str, Any] = {"config": config}
    if names := _names(path.parent / _CONFIG, config.get("id2label")):
        said["names"] = names
    architectures = config.get("architectures")
    if isinstance(architectures, list) and len(architectures) == 1 and isinstance(architectures[0], str):
        said["architecture"] = architectures[0]
    if preprocessor := _read(path.parent / _PREPROCESSOR):
        said["preprocessor_config"] = preprocessor
        size = preprocessor.get("size")
        size = {key: value for key, value in size.items() if value is not None} if isinstance(size, dict) else {}
        if size.keys() == {"height", "width"}:
            said["imgsz"] = [size["height"], size["width"]]
    try:
        return check_metadata(said)
    except ValueError:  # an image size that is none
        said.pop("imgsz")
        return said


def _read(path: Path) -> dict[str, Any]:
    """Return the object in a file; nothing where there is none: files of these names are others' too.

    Raises:
        CheckpointError: it has names of classes, and is not sound.
    """
    if not path.is_file() or path.stat().st_size > _LIMIT_BYTES:
        return {}
    text = path.read_bytes()
    try:
        return parse_object(text, _MOST_VALUES)
    except ValueError as error:
        if b'"id2label"' not in text:
            return {}
        raise CheckpointError(
            f"{path}, which tells what the weights beside it are of, is not sound JSON: {error}",
            "mend it, or move the weights to another folder",
        ) from error


def _names(path: Path, labels: Any) -> list[str] | None:
    """Return the names of classes, of which transformers has as many; None where it numbered them without any."""
    names = read_class_names(path, labels, len(labels)) if isinstance(labels, dict) else None
    return None if names == [f"LABEL_{index}" for index in range(len(names or ()))] else names
