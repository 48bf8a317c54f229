"""The state dict within what a torch file holds: a dict of tensors, a training checkpoint, or a whole pickled model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trtnn.checkpoint.places import (
    HOW_TO_SAVE,
    PLACES,
    Place,
    describe,
    find_weights,
    is_averaged,
    is_module,
    mapping_of,
)
from trtnn.checkpoint.tensors import Tensor
from trtnn.checkpoint.unpickle import Opaque
from trtnn.errors import CheckpointError

# a module may be found in several places, even in itself: a small file can hold a model without end
_ENTRIES_LIMIT = 100_000
_NAME_LIMIT_CHARACTERS = 1000
_NAMES_LIMIT_CHARACTERS = 8_000_000  # of all names together; those of a large model have a tenth of it
_OTHERS_LOOKED_AT = 3
_REGISTRIES = ("_parameters", "_buffers", "_modules")  # where torch's Module keeps what it is made of


class Found(NamedTuple):
    """The weights of a file.

    Attributes:
        tensors: by their names in torch's state dict.
        model: the pickled model that they are of, or None.
        metadata: ``taken``, ``others`` and ``left_out``, see :class:`trtnn.checkpoint.state_dict.StateDict`.
    """

    tensors: dict[str, Tensor]
    model: Opaque | None
    metadata: dict[str, Any]


def find_state_dict(path: Path, content: object) -> Found:
    """Return the tensors by their names in torch's state dict.

    Raises:
        CheckpointError: there is no state dict, or none of what it holds is a dense tensor.
    """
    place, others = find_weights(path, content)
    tensors, left_out = _tensors(path, place)
    taken = str(place)
    model = place.content if is_module(place.content) else None
    if any(map(is_averaged, place.keys)):  # of parameters alone: the buffers are those of the model beside it
        for other in others[:_OTHERS_LOOKED_AT]:
            try:
                more, more_left_out = _tensors(path, other)
            except CheckpointError:  # it is not what is taken
                continue
            if tensors.keys() < more.keys() and not left_out:
                tensors, left_out = {**more, **tensors}, more_left_out
                taken = f"{taken}, the buffers in {other}"
                break
    not_read = [] if any(map(is_averaged, place.keys)) else _averages_without_names(content, others)
    metadata = {
        **({"taken": taken} if taken else {}),
        **({"others": [*map(str, others[:20]), *not_read]} if others or not_read else {}),
        **({"left_out": left_out} if left_out else {}),
    }
    return Found(tensors, model, metadata)


def _averages_without_names(content: object, others: Sequence[Place]) -> list[str]:
    """Return what a checkpoint has of averages that no names tell the parameters of, such as a list of tensors."""
    named = {other.keys[0] for other in others}
    holder = {key: value for key, value in (mapping_of(content) or {}).items() if isinstance(key, str) and value}
    keys = [key for key, value in holder.items() if is_averaged(key) and isinstance(value, (dict, list, Opaque))]
    return [f"{key} (not read: it has no names)" for key in keys[:5] if key not in named and key.isprintable()]


def _tensors(path: Path, place: Place) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a place by name, and what else it holds where a tensor could be."""
    if isinstance(place.content, Opaque) and not place.content.items:
        return _checked(path, place, _module_entries(path, place.content)), {}
    entries = mapping_of(place.content) or {}
    # what a module adds by get_extra_state is no tensor and belongs to that module's code alone
    extras = {name for name in entries if isinstance(name, str) and name.rpartition(".")[2] == "_extra_state"}
    wanted = [(name, value) for name, value in entries.items() if name not in extras]
    tensors = [(name, value) for name, value in wanted if isinstance(value, Tensor)]
    if tensors:
        left_out = {name: describe(value) for name, value in wanted if not isinstance(value, Tensor)}
        return _checked(path, place, tensors), {name: what for name, what in left_out.items() if isinstance(name, str)}
    return _checked(path, place, wanted), {}


def _checked(path: Path, place: Place, entries: Iterable[tuple[object, object]]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in entries:
        if isinstance(value, Tensor) and not isinstance(name, str):
            raise CheckpointError(
                f"{path} has a tensor under {describe(name)} as a key{f', in {place}' if place.keys else ''}",
                "the names of a state dict are printable text",
                HOW_TO_SAVE,
            )
        if not isinstance(name, str) or not isinstance(value, Tensor):
            key = repr(name) if isinstance(name, str) else f"{describe(name)} as a key"
            is_numpys = isinstance(value, Opaque) and value.kind.name.partition(".")[0] == "numpy"
            raise CheckpointError(
                f"{path} holds no state dict: under {key} it has {describe(value)} where a tensor should be",
                "trtnn.save(state_dict, path) saves NumPy arrays, torch.save pickles them"
                if is_numpys
                else HOW_TO_SAVE,
                f"a training checkpoint may have it under {', '.join(map(repr, ('ema', *PLACES[:3])))}",
            )
        if name in tensors:
            raise CheckpointError(f"{path} has two tensors called {name}", HOW_TO_SAVE)
        tensors[name] = value
    return tensors


def walk_modules(path: Path, root: object) -> Iterator[tuple[str, Opaque]]:
    """Yield a pickled module and everything inside it by path, in torch's order; a shared one under each of its paths.

    Raises:
        CheckpointError: something in it is no module, or it has no end.
    """
    pending: list[tuple[str, Any]] = [("", root)]
    count = characters = 0
    while pending:
        prefix, module = pending.pop()
        members = [_registry(path, prefix, module, key) for key in _REGISTRIES]
        count += 1 + sum(map(len, members))
        characters += sum(len(prefix) + len(name) + 1 for registry in members for name in registry)
        if count > _ENTRIES_LIMIT or len(prefix) > _NAME_LIMIT_CHARACTERS or characters > _NAMES_LIMIT_CHARACTERS:
            raise CheckpointError(f"{path} holds a model without end: a module contains itself", HOW_TO_SAVE)
        yield prefix, module
        named = [(f"{prefix}{name}.", child) for name, child in members[2].items() if child is not None]
        pending += reversed(named)


def _module_entries(path: Path, root: Opaque) -> Iterator[tuple[str, object]]:
    """Yield the names and tensors that ``root.state_dict()`` would have, in its order."""
    for prefix, module in walk_modules(path, root):
        attributes = module.attributes
        parameters, buffers = attributes["_parameters"], attributes["_buffers"]
        transient = attributes.get("_non_persistent_buffers_set")
        skipped = transient if isinstance(transient, set) else ()
        for name, value in [*parameters.items(), *((key, buffers[key]) for key in buffers if key not in skipped)]:
            if value is not None:
                yield f"{prefix}{name}", value


def _registry(path: Path, prefix: str, module: object, key: str) -> dict[str, object]:
    registry = module.attributes.get(key) if isinstance(module, Opaque) else None
    if not isinstance(registry, dict):
        where = prefix.removesuffix(".") or "its content"
        raise CheckpointError(f"{path} holds no state dict: {where} is {describe(module)}, no module", HOW_TO_SAVE)
    for name in registry:
        if not isinstance(name, str) or len(name) > _NAME_LIMIT_CHARACTERS:
            raise CheckpointError(f"{path} holds no state dict: a module has {describe(name)} as a name", HOW_TO_SAVE)
    return registry
