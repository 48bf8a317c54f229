"""Make a model what its checkpoint says it is, where the weights alone do not tell.

A pickled model tells the class and the arguments of each of its modules, see
:class:`trtnn.checkpoint.StateDict`. Where a module of ours stands at the same path, what changes no shape is
followed: activations, BatchNorm's eps, how a map is resized, residual paths. Anything else that differs is refused: the
names and shapes would fit, and the numbers be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from trtnn import modules
from trtnn.errors import ArgumentError, StateDictError, UnsupportedError, harmless_text
from trtnn.modules import Identity, Module, activation
from trtnn.parameter import Parameter

_FOLLOWED = frozenset(("eps", "mode", "align_corners", "padding_mode", "add"))
_LIBRARIES = ("torch.", "torchvision.ops.")
_PROJECTS = ("ultralytics.", "models.", "yolov5.")  # whose blocks are called as ours are
# What is the same in evaluation under another name, be it torch's or that of a class which a project has of its own.
_SAME = {
    "SyncBatchNorm": "BatchNorm2d",
    "Swish": "SiLU",
    "MemoryEfficientSwish": "SiLU",
    "MemoryEfficientMish": "Mish",
    "HardSwish": "Hardswish",
    "HardSigmoid": "Hardsigmoid",
}
_IDLE = frozenset(
    ("Identity", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout", "DropPath")
) | {"Flatten"}
_HOW_TO_LOAD_ANYWAY = "if you know better, give the arrays alone: model.load_state_dict(dict(state_dict))"

Plain = bool | int | float | str | list[Any] | tuple[Any, ...] | None  # what a file says of a module


@dataclass
class Change:
    """An attribute, or an entry of a dict, that a checkpoint sets, until the next one is loaded.

    Attributes:
        owner: a part of the model, or a dict that it has.
        name: of the attribute or the entry.
        value: what the checkpoint says.
        before: what it was before; None until it is made.
    """

    owner: Module | Parameter | dict[str, Any]
    name: str
    value: Any
    before: Any = None

    def make(self) -> None:
        """Set it."""
        self.before = self._now()
        self._set(self.value)

    def undo(self) -> bool:
        """Set it to what it was before, unless somebody has changed it since; return whether it was."""
        is_there = self._now() is self.value
        if is_there:
            self._set(self.before)
        return is_there

    def _now(self) -> Any:
        return self.owner.get(self.name) if isinstance(self.owner, dict) else getattr(self.owner, self.name, None)

    def _set(self, value: Any) -> None:
        if not isinstance(self.owner, dict):
            setattr(self.owner, self.name, value)
        elif value is None:  # there was no such entry
            del self.owner[self.name]
        else:
            self.owner[self.name] = value


def changes(
    model: Module, described: Mapping[str, Mapping[str, Any]], entries: Mapping[str, Any], own: Mapping[str, Any]
) -> list[Change]:
    """Return what is to be done to a model so that it is what a pickled one was.

    Args:
        model: ours.
        described: what the pickled modules say, by path.
        entries: the state dict as the file has it.
        own: the same arrays under the model's own names.

    Raises:
        StateDictError: the two differ in what cannot be followed; all that does is listed.
    """
    ours = dict(model.named_modules(remove_duplicate=False)) if described else {}
    needed: list[Change] = []
    differences: list[str] = []
    for path, ours_path in _paths(described, entries, own):
        if not ours_path:  # the model as a whole, which each project calls as it likes
            continue
        try:
            needed += _follow(ours, ours_path, described[path])
        except _Differs as difference:
            differences.append(harmless_text(f"{path}: {difference}"))
    if differences:
        more = [f"... and {len(differences) - 20} more"] if len(differences) > 20 else []
        raise StateDictError(
            f"the checkpoint is of another network than {type(model).__name__} builds, with the same names; "
            "nothing was loaded",
            *differences[:20],
            *more,
            _HOW_TO_LOAD_ANYWAY,
        )
    return needed


class _Differs(Exception):
    """What the file has and what ours has, which cannot be brought together."""


def _paths(
    described: Mapping[str, Any], entries: Mapping[str, Any], own: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield each path of the file and the path of ours that stands for it.

    Where arrays have other names here, what holds them has another path; what holds no array stands beside what does.
    """
    renamed: dict[str, str] = {}
    if any(name not in own for name in entries):
        names = {id(array): name for name, array in own.items()}
        for name, array in entries.items():
            path, here = name.rpartition(".")[0], names.get(id(array), "").rpartition(".")[0]
            while path and here and path not in renamed:
                renamed[path] = here
                (path, _, last), (here, _, own_last) = path.rpartition("."), here.rpartition(".")
                if last != own_last:
                    break
    for path in described:
        parent, dot, last = path.rpartition(".")
        yield path, renamed.get(path) or (f"{renamed[parent]}{dot}{last}" if parent in renamed else path)


def _follow(ours: Mapping[str, Module], path: str, said: Mapping[str, Any]) -> list[Change]:
    package, _, name = str(said["class"]).rpartition(".")
    name = _SAME.get(name, name)
    module = ours.get(path)
    if module is None:
        if f"{package}.".startswith(_LIBRARIES):
            _check_absent(ours, path, name, said)
        return []
    if not type(module).__module__.startswith("trtnn.modules"):
        return _follow_block(module, package, name, said)
    if isinstance(module, (modules.Sequential, modules.ModuleList, modules.ModuleDict)):
        return []
    kind = getattr(modules, name, None)
    if _is_activation(kind) and _is_activation(type(module)):
        made = _made(kind, said)
        parent, _, last = path.rpartition(".")
        return [] if _shows_the_same(made, module) else [Change(ours[parent], last, made)]
    own = type(module).__name__
    if name != own and not ("BatchNorm" in name and "BatchNorm" in own):
        raise _Differs(f"the file has a {name}, here it is a {own}")
    return _follow_attributes(module, said)


def _follow_block(module: Module, package: str, name: str, said: Mapping[str, Any]) -> list[Change]:
    """Follow a block of another project, which may have what ours has under the same name."""
    if f"{package}.".startswith(_PROJECTS) and name != type(module).__name__:
        raise _Differs(f"the file has a {name}, here it is a {type(module).__name__}")
    return _follow_attributes(module, said)


def _follow_attributes(module: Module, said: Mapping[str, Any]) -> list[Change]:
    changed: list[Change] = []
    for key, value in said.items():
        mine = getattr(module, key, None)
        if key == "class" or not hasattr(module, key) or isinstance(mine, Module) or _same(mine, value):
            continue
        if key not in _FOLLOWED or not _fits(value, mine):
            raise _Differs(f"{key} is {value} in the file, {mine} here")
        changed.append(Change(module, key, value))
    return changed


def _check_absent(ours: Mapping[str, Module], path: str, name: str, said: Mapping[str, Any]) -> None:
    """Check that what the file has and ours has not is something that ours does without a module.

    Ours may call a function for it, or have it under another name beside.
    """
    if name in _IDLE:
        return
    nearest = said.get("mode", "nearest") == "nearest" and _same(said.get("scale_factor") or 2.0, 2.0)
    if name == "Upsample" and not nearest:
        raise _Differs(f"the file resizes with {dict(said)}, here a map is doubled by its nearest cells")
    parent = ours.get(path.rpartition(".")[0])
    if _is_activation(type(parent)):
        raise _Differs(f"the file has more than one layer where a {type(parent).__name__} is here, a {name} among them")
    kind = getattr(modules, name, None)
    if parent is None or not _is_activation(kind):
        return
    made = _made(kind, said)
    beside = [child for _, child in parent.named_children() if _is_activation(type(child))]
    if beside and not any(_shows_the_same(made, child) for child in beside):
        raise _Differs(f"the file has a {name}, here there is a {type(beside[0]).__name__}")


def _is_activation(kind: Any) -> TypeGuard[type[Module]]:
    return isinstance(kind, type) and (
        kind is Identity or (kind.__module__ == activation.__name__ and hasattr(kind, "function"))
    )


def _made(kind: type[Module], said: Mapping[str, Any]) -> Module:
    """Return an activation with the arguments of the file.

    Raises:
        _Differs: it cannot be made of them.
    """
    arguments = {key: value for key, value in said.items() if key in getattr(kind, "_kept", ()) and key != "inplace"}
    try:
        usual = kind()
        if not all(_fits(value, getattr(usual, key)) for key, value in arguments.items()):
            raise TypeError(f"{arguments}")
        return kind(**arguments)
    except (ArgumentError, UnsupportedError, TypeError) as error:
        raise _Differs(f"the file has a {kind.__name__} that cannot be made here: {error}") from error


def _fits(value: Any, usual: Any) -> bool:
    """Whether an argument of a file is of the kind that it usually is of: text, a number or a truth."""
    kinds = (str, bool, (int, float))
    return value is None or usual is None or any(isinstance(value, k) and isinstance(usual, k) for k in kinds)


def _shows_the_same(one: Module, other: Module) -> bool:
    kept = [key for key in getattr(one, "_kept", ()) if key != "inplace"]
    return type(one) is type(other) and all(_same(getattr(one, key), getattr(other, key)) for key in kept)


def _same(one: Plain, other: Plain) -> bool:
    """Whether two arguments mean the same, one number for each side being as good as one for all."""
    several = (list, tuple)
    if isinstance(one, several):
        return list(one) == (list(other) if isinstance(other, several) else [other] * len(one))
    return [one] * len(other) == list(other) if isinstance(other, several) else one == other
