"""The error for a model name that is not known."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from trtnn.errors import ArgumentError, listed

FROM_TORCH = "trtnn.from_torch(module, example), or trtnn from-torch, takes the torch module as it is"
_MOST = 60  # names that are listed
_MOST_ALIKE = 5  # those of a family's sizes
_ALIKE = 0.83  # of 1, how like a name has to be to one that is meant: about a letter more, less or other
# Networks whose names are a letter or two from one that is here, and are no slips of it.
_OTHERS = re.compile(r"yolo[efoprsx]|rfdetr|(se|eca|sk)resnet|resne[sx]t|resnet\d+[a-z]")
_NOT_HERE = (
    "no network here is called nearly so: trtnn.from_torch(module, example), or trtnn from-torch, takes a torch model"
)


def unknown_name(name: str, names: Iterable[str]) -> ArgumentError:
    """Return an error that names what may have been meant, and all names where they are not too many.

    That is a name that is a slip away, or those of a family where the size is missing or none of its own. Numbers tell
    one network from another: YOLOv7 is no slip of YOLOv3. Where nothing here was meant, it says what takes others.
    """
    names, name = list(names), str(name)
    known = f"known: {', '.join(names)}" if len(names) <= _MOST else f"trtnn models lists all {len(names)}"
    asked = re.split(r"[/\\]", name.lower().rstrip("/"))[-1]  # of "owner/name" the name
    return ArgumentError(f"no model is called {name!r}", _meant(asked, names) or _NOT_HERE, known)


def _meant(asked: str, names: list[str]) -> str | None:
    """Return in a line what may have been meant, or None."""
    plain = {_plain(name): name for name in names}
    if _plain(asked) in plain:
        return f"nearest: {plain[_plain(asked)]}"
    wanted = asked.partition(".")[0] or asked  # without a suffix, a tag of weights or the end of a version
    own = _plain(wanted)
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(_family(name), []).append(name)
    if own in plain:
        return f"nearest: {plain[own]}"
    begun = max((name for name in names if _begins(name, wanted)), key=len, default=None)
    if not own or _OTHERS.match(own):
        return None if begun is None else f"nearest: {begun}"
    longer = [name for begin, name in plain.items() if begin.startswith(own)]
    if longer:
        return f"{'nearest' if len(longer) == 1 else 'begin with it'}: {listed(longer, _MOST_ALIKE)}"
    shorter = [name for begin, name in plain.items() if own.startswith(begin) and _is_part(own[len(begin) :], names)]
    if shorter:
        return f"nearest: {max(shorter, key=len)}"
    near = _nearest(own, [*plain, *families])
    alike = [plain[one] for one in near if one in plain]
    if alike:
        return f"{'nearest' if len(alike) == 1 else 'near'}: {listed(alike, _MOST_ALIKE)}"
    if begun is not None:
        return f"nearest: {begun}"
    like = [*near, _family(wanted), _family(own), *_nearest(_family(own), [*families])]
    family = next((one for one in like if one in families), None)
    return None if family is None else f"begin with {family}: {listed(families[family], _MOST_ALIKE)}"


def _nearest(own: str, names: list[str]) -> list[str]:
    """Return those of the names with the same numbers that are nearest to one, all that are equally near, in order."""
    ratios = {one: _ratio(one, own) for one in names if _numbers(one) == _numbers(own)}
    best = max(ratios.values(), default=0.0)
    return [one for one, ratio in ratios.items() if ratio == best >= _ALIKE]


def _ratio(one: str, other: str) -> float:
    """Return how like two names are, as difflib says it."""
    short, long = sorted((len(one), len(other)))
    if 2 * short < _ALIKE * (short + long):
        return 0.0  # which it cannot be: names may be of any length
    return difflib.SequenceMatcher(None, one, other).ratio()


def _begins(name: str, wanted: str) -> bool:
    """Whether a name stands at the beginning of another, and what follows makes no other network's name of it.

    A letter or a digit does, as in ``resnet50d`` and ``resnet50-d``; ``vd`` is of the backbone that each RT-DETR has.
    """
    spelt = r"[\s_-]*".join(_plain(name)) + ("(vd)?" if name.startswith("rtdetr") else "")
    return re.match(rf"{spelt}(?![a-z\d]|[\s_-][a-z](?![a-z\d]))", wanted) is not None


def _plain(name: str) -> str:
    """Return a name without what people separate its parts by."""
    return re.sub(r"[\s._-]", "", name.lower())


def _family(name: str) -> str:
    """Return what the names of a family begin with, such as ``yolov8`` and ``dfine``."""
    found = re.match(r"[a-z]+\d*", name)
    return found[0] if found else name


def _numbers(name: str) -> list[str]:
    return re.findall(r"\d+", name)


def _is_part(rest: str, names: list[str]) -> bool:
    """Whether what a name has more than another is a part of some, such as ``p6``."""
    return any(rest in re.split(r"[_-]", name)[1:] for name in names)
