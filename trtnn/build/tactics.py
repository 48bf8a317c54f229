"""The tactics that TensorRT chose for an engine's layers, by its inspector, and how two builds differ in them.

A tactic is the kernel that computes a layer, with a number for how it is run. With it belong the formats of the tensors
that it reads and gives, for TensorRT chooses both together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trtnn.engine.inspector import layer_ends

# What is kept of a layer, by the keys of the inspector's JSON. Others hold what new weights may change.
_KEYS = {"type": "LayerType", "tactic": "TacticName", "value": "TacticValue"}
_ENDS = {"reads": "Inputs", "gives": "Outputs"}
_FORMATS = ("Format/Datatype", "Format", "Datatype")  # the first has both, in 8.6

Tactic = dict[str, Any]


def tactics_of(rows: Iterable[Any]) -> list[Tactic]:
    """Return the tactic of each layer of an engine.

    Args:
        rows: what the inspector says of each: a dict, or its name alone.

    Returns:
        For each its ``layer``, and as far as it is told ``type``, ``tactic``, ``value``, and by tensor the formats that
        it ``reads`` and ``gives``.
    """
    return [_tactic(row if isinstance(row, dict) else {"Name": row}) for row in rows]


def _tactic(row: dict[str, Any]) -> Tactic:
    told = {key: str(row.get(name, "")) for key, name in _KEYS.items()}
    ends = {key: [_format(end) for end in layer_ends(row, side)] for key, side in _ENDS.items()}
    return {"layer": str(row.get("Name", "")), **{key: value for key, value in (told | ends).items() if value}}


def _format(end: Mapping[str, Any]) -> str:
    return ", ".join(str(end[key]) for key in _FORMATS if key in end)


def differences(then: Iterable[Tactic], now: Iterable[Tactic]) -> list[str]:
    """Return a line for each layer that is not the same in two builds; their order does not count.

    Args:
        then: the layers of the first build.
        now: those of the second.
    """
    old, new = _by_name(then), _by_name(now)
    lines = [_compared(name, old[name, i], new[name, i]) for name, i in old if (name, i) in new]
    lines += [f"{name}: only in the lock, {_told(old[name, i])}" for name, i in old if (name, i) not in new]
    lines += [f"{name}: only in this build, {_told(new[name, i])}" for name, i in new if (name, i) not in old]
    return [line for line in lines if line]


def _by_name(tactics: Iterable[Tactic]) -> dict[tuple[str, int], Tactic]:
    """Return tactics by the name of their layer and, as TensorRT may use one twice, the number of its use."""
    uses: dict[str, int] = {}
    table = {}
    for tactic in tactics:
        name = tactic["layer"]
        uses[name] = uses.get(name, -1) + 1
        table[name, uses[name]] = tactic
    return table


def _compared(name: str, then: Tactic, now: Tactic) -> str:
    keys = [key for key in (*_KEYS, *_ENDS) if then.get(key) != now.get(key)]
    return f"{name}: {_told(then, keys)} in the lock, {_told(now, keys)} in this build" if keys else ""


def _told(tactic: Tactic, keys: Iterable[str] = _KEYS) -> str:
    """Return in words what a tactic says under some keys."""
    return ", ".join(f"{key} {_shown(tactic.get(key))}" for key in keys)


def _shown(value: Any) -> str:
    return " and ".join(value) if isinstance(value, list) else value or "not told"
