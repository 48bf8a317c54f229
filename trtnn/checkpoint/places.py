"""Where in a training checkpoint the weights are: averaged ones before others, in whatever layout a project has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeGuard

from trtnn.checkpoint.tensors import Tensor
from trtnn.checkpoint.unpickle import Opaque
from trtnn.errors import CheckpointError

# Where training checkpoints keep the weights, the best first; averaged ones go before all of them.
PLACES = (
    *("model", "state_dict", "model_state_dict", "model_state", "network", "net", "params", "weights", "module"),
    *("checkpoint", "generator", "g"),
)
_AVERAGED = frozenset(
    [
        *("ema", "swa", "avg", "average", "averaged", "shadow", "polyak"),
    ]
)
_NEVER = frozenset(
    [
        *("optim", "optimizer", "optimizers", "optimiser", "scheduler", "schedulers", "sched", "lr", "rng"),
        *("scaler", "amp"),
    ]
)
_DEPTH = 3  # of dicts and objects in one another
_CONTAINERS_LIMIT = 2000
HOW_TO_SAVE = "save the weights alone: torch.save(model.state_dict(), path)"


class Place(NamedTuple):
    """Something that holds tensors, and the keys that lead to it."""

    keys: tuple[str, ...]
    content: dict | Opaque

    def __str__(self) -> str:
        return ".".join(self.keys)


def find_weights(path: Path, content: object) -> tuple[Place, list[Place]]:
    """Return the place of the weights to take, and the others that there are.

    Raises:
        CheckpointError: there is no place, or several of which none can be said to be the one.
    """
    root = Place((), content) if isinstance(content, (dict, Opaque)) else None
    if root is None:
        raise CheckpointError(f"{path} holds no state dict but {describe(content)}", HOW_TO_SAVE)
    if is_module(content) or _is_flat(content):
        return root, []
    places = list(_places(root))
    averaged = _averaged_word(content)
    preferred = [place for place in places if averaged(place) or place.keys[-1].lower() in PLACES]
    if preferred:
        preferred.sort(key=lambda place: (not averaged(place), _rank(place), len(place.keys)))
        return preferred[0], [place for place in places if place is not preferred[0]]
    if len(places) > 1 and not _has_tensors(content):
        raise CheckpointError(
            f"{path} holds several state dicts, and nothing says which to take: {', '.join(map(str, places[:20]))}",
            "save one alone: torch.save(torch.load(path)[...], other_path)",
        )
    if places and not _has_tensors(content):
        return places[0], []
    inside = content if isinstance(content, dict) else {}
    return next((Place((key,), inside[key]) for key in PLACES if isinstance(inside.get(key), (dict, Opaque))), root), []


def is_module(value: object) -> TypeGuard[Opaque]:
    """Whether an object of a pickle is one of torch's modules, of whatever class."""
    return isinstance(value, Opaque) and isinstance(value.attributes.get("_modules"), dict)


def mapping_of(value: object) -> dict | None:
    """Return what is or extends a dict as a dict, else None."""
    return value.items if isinstance(value, Opaque) else value if isinstance(value, dict) else None


def describe(value: object) -> str:
    """Return what a value is, for a message."""
    return f"an object of {value.kind.name}" if isinstance(value, Opaque) else f"a value of type {type(value).__name__}"


def words(key: str) -> list[str]:
    """Return the words that a key is made of: ``modelEma_state`` gives model, ema, state."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).lower())


def is_averaged(key: str) -> bool:
    """Whether a key says that what is under it is a moving average."""
    return not _AVERAGED.isdisjoint(words(key))


def _averaged_word(content: object):
    """Return what tells whether a place's weights are averaged.

    mmengine exchanges the two when it saves: the averaged weights are under ``state_dict``, so that whoever reads that
    gets them, and the others under ``ema_state_dict``.
    """
    holder = mapping_of(content) or {}
    meta = holder.get("meta")
    exchanged = "message_hub" in holder or (isinstance(meta, dict) and "mmengine_version" in meta)
    if exchanged and "ema_state_dict" in holder:
        return lambda place: place.keys[:1] == ("state_dict",)
    return lambda place: any(map(is_averaged, place.keys))


def _rank(place: Place) -> int:
    last = [key.lower() for key in place.keys if key.lower() in PLACES]
    return PLACES.index(last[-1]) if last else len(PLACES)


def _has_tensors(value: object) -> bool:
    mapping = mapping_of(value) or {}
    return any(isinstance(key, str) and isinstance(item, Tensor) for key, item in mapping.items())


def _is_flat(value: object, said: bool = False) -> bool:
    """Whether a mapping is a state dict itself: most of what it holds are tensors that have names.

    Args:
        value: any.
        said: whether its own key says that these are the weights. Tensors without names count then too: they are wrong,
            and no reason to take others.
    """
    mapping = mapping_of(value) or {}
    tensors = sum(isinstance(item, Tensor) and (said or isinstance(key, str)) for key, item in mapping.items())
    return tensors > 0 and 2 * tensors > len(mapping)


def _places(root: Place) -> Iterator[Place]:
    """Yield what holds tensors, from the outermost inwards; nothing within an optimizer, or within another place."""
    pending, seen = [root], {id(root.content)}
    for place in pending:
        holder = place.content
        inner = dict(mapping_of(holder) or {})
        if isinstance(holder, Opaque):
            inner |= {key: value for key, value in holder.attributes.items() if key not in inner}
        for key, value in inner.items():
            if not isinstance(key, str) or not key.isprintable() or len(key) > 100 or id(value) in seen:
                continue
            if not isinstance(value, (dict, Opaque)) or not _NEVER.isdisjoint(words(key)):
                continue
            seen.add(id(value))
            inner = Place((*place.keys, key), value)
            if is_module(value) or _is_flat(value, key.lower() in PLACES):
                yield inner
            elif len(inner.keys) < _DEPTH and len(pending) < _CONTAINERS_LIMIT:
                pending.append(inner)
