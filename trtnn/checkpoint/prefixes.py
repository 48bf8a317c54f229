"""What wrappers of a model put before its names, and which is not the model's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trtnn.checkpoint.parametrized import folded
from trtnn.checkpoint.places import is_averaged
from trtnn.checkpoint.state_dict import StateDict, metadata_of

# of torch.compile, of FSDP and of its activation checkpoints: no module of anyone's own is called so
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_PARALLEL = "module."  # of DataParallel, DistributedDataParallel and AveragedModel
_COUNTERS = (
    "n_averaged",
    "num_updates",
    "updates",
    "steps",
    "step",
    "decay",
    "initted",
)  # which averaged models have beside their module
_MOST_AVERAGES, _MOST_PARTS = 3, 12  # that are looked at
_DEPTH = 4  # of wrappers around one another
_LEAST_PART = 0.5  # of the names, that are a model's and not of what a training script has beside it


def without_wrappers(state_dict: Mapping[str, Any]) -> StateDict:
    """Return a state dict without what torch's own wrappers put before the names, if they put anything there."""
    names = {name: _WRAPPERS.sub("", name) for name in state_dict}
    for _ in range(_DEPTH):
        rest = {name: new for name, new in names.items() if new not in _COUNTERS}
        if not rest or not all(new.startswith(_PARALLEL) and new != _PARALLEL for new in rest.values()):
            break
        names = {name: new.removeprefix(_PARALLEL) for name, new in rest.items()}
    if len({*names.values()}) < len(names) or (list(names) == list(names.values()) and len(names) == len(state_dict)):
        return state_dict if isinstance(state_dict, StateDict) else StateDict(state_dict)
    strip = _common_prefix(names)
    return _renamed(state_dict, {new: old for old, new in names.items()}, strip)


def within_wrappers(names: Iterable[str], state_dict: Mapping[str, Any]) -> StateDict:
    """Return a state dict under the names of a model that has wrappers in it, where it was read without those.

    Args:
        names: the model's.
        state_dict: what :func:`without_wrappers` made of one that had the model's names.
    """
    own = without_wrappers({name: name for name in names})
    return StateDict({own.get(name, name): state_dict[name] for name in state_dict}, metadata_of(state_dict))


def with_averages(state_dict: StateDict) -> StateDict:
    """Return a state dict with the averages that it has beside its weights in place of those.

    A training script that is a module itself has them under a name such as ``model_ema.`` beside ``model.``; some leave
    the dots out of what follows.
    """
    firsts = list(dict.fromkeys(name.partition(".")[0] for name in state_dict if "." in name))
    for prefix in [first for first in firsts if is_averaged(first)][:_MOST_AVERAGES]:
        inner = {
            name.removeprefix(f"{prefix}.").removeprefix(_PARALLEL): name
            for name in state_dict
            if _is_under(name, prefix)
        }
        averaged = {_plain(key): name for key, name in inner.items() if key not in _COUNTERS}
        rest = [name for name in state_dict if not _is_under(name, prefix)]
        for other in ("", *firsts[:_MOST_PARTS]):
            keys = {
                _plain(name.removeprefix(f"{other}.")): name for name in rest if not other or _is_under(name, other)
            }
            if averaged and averaged.keys() <= keys.keys() and 2 * len(averaged) > len(keys):
                taken = {keys[key]: name for key, name in averaged.items()}
                said = state_dict.metadata
                arrays = {name: state_dict[taken.get(name, name)] for name in rest}
                others = [*said.get("others", ()), other or "the names without it"]
                return StateDict(arrays, {**said, "taken": prefix, "others": others})
    return state_dict


def _is_under(name: str, prefix: str) -> bool:
    return name.startswith(f"{prefix}.")


def _plain(name: str) -> str:
    return name.replace(".", "")


def unwrapped(state_dict: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a state dict as it is, and then what of it is under the commonest first part of the names, and so on.

    So Lightning's ``model.`` is found, and torch.hub's ``model.model.``; what a training script has beside the model is
    left out. Each comes as it is, and then with its normalised weights computed, where it has such.
    """
    for _ in range(_DEPTH):
        yield state_dict
        if (computed := folded(state_dict)) is not state_dict:
            yield computed
        counts: dict[str, int] = {}
        for name in state_dict:
            first, dot, _ = name.partition(".")
            if dot:
                counts[first] = counts.get(first, 0) + 1
        if not counts:
            return
        first = max(counts, key=lambda name: counts[name])
        if counts[first] < _LEAST_PART * len(state_dict):
            return
        prefix = f"{first}."
        state_dict = _renamed(
            state_dict, {n.removeprefix(prefix): n for n in state_dict if n.startswith(prefix)}, prefix
        )


def _common_prefix(names: Mapping[str, str]) -> str:
    """Return what all the names had before them, where it is the same for each and at the front; else nothing."""
    fronts = {old.removesuffix(new) if old.endswith(new) else "" for old, new in names.items()}
    return fronts.pop() if len(fronts) == 1 else ""


def _renamed(state_dict: Mapping[str, Any], names: Mapping[str, str], prefix: str) -> StateDict:
    """Return a state dict under new names, given with the old ones, and its metadata with them."""
    metadata = dict(metadata_of(state_dict))
    if "modules" in metadata:
        cut = {path: _WRAPPERS.sub("", f"{path}.").removesuffix(".") for path in metadata["modules"]}
        inner = _WRAPPERS.sub("", prefix)
        metadata["modules"] = {
            new.removeprefix(inner): metadata["modules"][path]
            for path, new in cut.items()
            if f"{new}.".startswith(inner) and f"{new}." != inner
        }
    if "left_out" in metadata:
        left_out = {_WRAPPERS.sub("", name): why for name, why in metadata["left_out"].items()}
        inner = _WRAPPERS.sub("", prefix)
        metadata["left_out"] = {name.removeprefix(inner): why for name, why in left_out.items()}
    return StateDict({new: state_dict[old] for new, old in names.items()}, metadata)
