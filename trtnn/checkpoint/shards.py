"""Checkpoints in several files: an index, JSON, says which tensor is in which file of its folder.

``model.safetensors.index.json`` and ``pytorch_model.bin.index.json`` hold ``{"weight_map": {name: file}}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trtnn.checkpoint.damaged import damaged
from trtnn.checkpoint.json_cost import check_json_cost
from trtnn.checkpoint.state_dict import SHARD, StateDict
from trtnn.errors import CheckpointError, harmless_text
from trtnn.strict_json import parse_object

SUFFIX = ".index.json"
_INDEX_LIMIT_BYTES = 50_000_000
_ONE_OF_SEVERAL = re.compile(r"(?P<stem>.+)-\d+-of-0*(?P<count>\d+)(?P<suffix>\.\w+)")  # as transformers names them


def beside(path: Path) -> dict[str, str]:
    """Return what the name of a file tells: where it is one of several, which file reads all of them."""
    name = _ONE_OF_SEVERAL.fullmatch(path.name)
    if name is None or name["count"] == "1":
        return {}
    index = f"{name['stem']}{name['suffix']}{SUFFIX}"
    reads = f"the index reads all: {path.parent / index}"
    if not (path.parent / index).is_file():
        reads = f"the index that reads all, {index}, is not beside it"
    return {SHARD: harmless_text(f"{path.name} is one of {name['count']} files; {reads}")}


def read(path: Path, read_shard: Callable[[Path], dict]) -> StateDict:
    """Read the tensors of the files that an index names, which lie in its folder.

    One that is in several files is taken from that which the index names it for.

    Args:
        path: the index.
        read_shard: reads one file.
    """
    if path.stat().st_size > _INDEX_LIMIT_BYTES:
        raise damaged(path, f"is no index: it has more than {_INDEX_LIMIT_BYTES:,} bytes")
    text = path.read_bytes()
    check_json_cost(path, text, len(text))
    try:
        places = parse_object(text).get("weight_map")
    except ValueError as error:
        raise damaged(path, "is no index of shards", f"it is not sound JSON: {error}") from error
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise damaged(path, 'is no index of shards: it has no "weight_map" of names to files')
    arrays: dict = {}
    others: dict = {}  # that the index does not name, which transformers takes as well
    for name in dict.fromkeys(places.values()):
        if name in (".", "..", "") or Path(name).name != name or "\\" in name or not name.isprintable():
            raise CheckpointError(f"{path} names a file outside its folder: {name!r}: refused")
        if name.endswith(SUFFIX):
            raise CheckpointError(f"{path} names another index as a shard: {name!r}: refused")
        wanted = [tensor for tensor, place in places.items() if place == name]
        shard = read_shard(path.parent / name)
        if missing := [tensor for tensor in wanted if tensor not in shard]:
            raise damaged(path.parent / name, f"lacks {missing[0]}, which {path.name} says it has")
        arrays |= {tensor: shard[tensor] for tensor in wanted}
        for tensor in (tensor for tensor in shard if tensor not in places):
            if not np.array_equal(others.setdefault(tensor, shard[tensor]), shard[tensor], equal_nan=True):
                raise damaged(path, f"does not name {tensor}, and several of its files have one, with other numbers")
    named = {name: arrays[name] for name in places}
    return StateDict({**named, **others}, {"taken": f"{len({*places.values()})} files"})
