"""The state dict within what a torch file holds: a dict of tensors, a training checkpoint, or a whole pickled model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trtnn.checkpoint.tensors import Tensor
from trtnn.checkpoint.unpickle import Opaque
from trtnn.errors import CheckpointError

# Where training checkpoints keep the weights, the best first: the moving average is what YOLOv5 validates and deploys.
_PLACES = ("ema", "model", "state_dict", "model_state_dict")
# a module may be found in several places, even in itself: a small file can hold a model without end
_ENTRIES_LIMIT = 100_000
_NAME_LIMIT_CHARACTERS = 1000
_REGISTRIES = ("_parameters", "_buffers", "_modules")  # where torch's Module keeps what it is made of
_HOW_TO_SAVE = "save the weights alone: torch.save(model.state_dict(), path)"


def find_state_dict(path: Path, content: object) -> dict[str, Tensor]:
    """Return the tensors by their names in torch's state dict.

    Raises:
        CheckpointError: there is no state dict, or it holds something that is not a dense tensor.
    """
    holder = content if isinstance(content, dict) else {}
    for place in _PLACES:
        if isinstance(holder.get(place), (dict, Opaque)):
            content = holder[place]
            break
    if isinstance(content, Opaque):
        return _checked(path, _module_entries(path, content))
    if isinstance(content, dict):
        # what a module adds by get_extra_state is no tensor and belongs to that module's code alone
        extras = {name for name in content if isinstance(name, str) and name.rpartition(".")[2] == "_extra_state"}
        return _checked(path, ((name, value) for name, value in content.items() if name not in extras))
    raise CheckpointError(f"{path} holds no state dict but {_describe(content)}", _HOW_TO_SAVE)


def _checked(path: Path, entries: Iterator[tuple[object, object]]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in entries:
        if not isinstance(name, str) or not isinstance(value, Tensor):
            key = repr(name) if isinstance(name, str) else f"{_describe(name)} as a key"
            raise CheckpointError(
                f"{path} holds no state dict: under {key} it has {_describe(value)} where a tensor should be",
                _HOW_TO_SAVE,
                f"a training checkpoint may have it under {', '.join(map(repr, _PLACES))}",
            )
        if name in tensors:
            raise CheckpointError(f"{path} has two tensors called {name}", _HOW_TO_SAVE)
        tensors[name] = value
    return tensors


def _module_entries(path: Path, root: Opaque) -> Iterator[tuple[str, object]]:
    """Yield the names and tensors that ``root.state_dict()`` would have, in its order."""
    pending: list[tuple[str, object]] = [("", root)]
    count = 0
    while pending:
        prefix, module = pending.pop()
        parameters, buffers, children = (_registry(path, prefix, module, key) for key in _REGISTRIES)
        count += 1 + len(parameters) + len(buffers) + len(children)
        if count > _ENTRIES_LIMIT or len(prefix) > _NAME_LIMIT_CHARACTERS:
            raise CheckpointError(f"{path} holds a model without end: a module contains itself", _HOW_TO_SAVE)
        transient = module.state.get("_non_persistent_buffers_set")
        skipped = transient if isinstance(transient, set) else ()
        for name, value in [*parameters.items(), *((key, buffers[key]) for key in buffers if key not in skipped)]:
            if value is not None:
                yield f"{prefix}{name}", value
        named = [(f"{prefix}{name}.", child) for name, child in children.items() if child is not None]
        pending += reversed(named)


def _registry(path: Path, prefix: str, module: object, key: str) -> dict[object, object]:
    state = module.state if isinstance(module, Opaque) else None
    registry = state.get(key) if isinstance(state, dict) else None
    if not isinstance(registry, dict):
        where = prefix.removesuffix(".") or "its content"
        raise CheckpointError(f"{path} holds no state dict: {where} is {_describe(module)}, no module", _HOW_TO_SAVE)
    for name in registry:
        if not isinstance(name, str) or len(name) > _NAME_LIMIT_CHARACTERS:
            raise CheckpointError(f"{path} holds no state dict: a module has {_describe(name)} as a name", _HOW_TO_SAVE)
    return registry


def _describe(value: object) -> str:
    return f"an object of {value.kind.name}" if isinstance(value, Opaque) else f"a value of type {type(value).__name__}"
