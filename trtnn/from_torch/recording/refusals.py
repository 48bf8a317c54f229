"""The error that tells all that was refused, and which parts of the model hold none of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from trtnn.errors import UnsupportedError, listed, where
from trtnn.from_torch.recording.steps import Refusal
from trtnn.from_torch.recording.tape import Tape

# What else than the operation's own line says how to go on: by the last names of what was refused.
_OF_EXPERTS = (".nonzero", ".unique", ".tolist", ".where of a mask", ".bincount")
_GIVE_LENGTHS = (".tolist", ".item", ".__int__", ".__index__")
_EXPERTS = (
    "where experts compute the tokens that are sent to them: let each compute all, and weigh what it gives by the "
    "router's weights, 0 where it was not chosen"
)
_SAME_IN_EACH_CALL = (
    "where the numbers are the same in each call, such as those of a grid: hold them as a buffer in a module around "
    "it, so that they are no input"
)
_FASTER_WAY = "where it is a faster way for some numbers: if not torch.compiler.is_compiling() and ...: takes the other"


def refused(tape: Tape, refusals: Sequence[Refusal], summary: str) -> UnsupportedError:
    """Return the error that tells all refusals: each once, with how often, in which modules, and at which line.

    At the end are the largest parts of the model that hold none of them.
    """
    grouped: dict[tuple[str, str], list[Refusal]] = defaultdict(list)
    for refusal in refusals:
        grouped[refusal.what, refusal.why].append(refusal)
    lines = []
    for (what, why), those in grouped.items():
        paths = list(dict.fromkeys(where(refusal.path) for refusal in those))
        times = "once" if len(those) == 1 else f"{len(those)} times"
        lines.append(f"{what}: {times}, in {listed(paths, 3)}: {why}")
        lines += [f"  {place}" for place in list(dict.fromkeys(str(refusal.place) for refusal in those))[:3]]
    lines += _ways_on(refusals)
    parts = list(_parts_without(tape, {refusal.path for refusal in refusals}))
    if parts:
        lines.append(f"parts without it: {listed(parts, 5)}: from_torch(model.{parts[0]}, ...)")
    return UnsupportedError(f"{type(tape.model).__name__} {summary}", *lines)


def _ways_on(refusals: Sequence[Refusal]) -> Iterator[str]:
    """Yield how to write otherwise what is refused for the numbers that it asks for."""
    if any(refusal.what.endswith(".__bool__") for refusal in refusals):
        yield _FASTER_WAY
    names = ("expert", "moe", "router")
    if any(r.what.endswith(_OF_EXPERTS) and any(name in r.path.lower() for name in names) for r in refusals):
        yield _EXPERTS
    elif any(refusal.what.endswith(_GIVE_LENGTHS) for refusal in refusals):
        yield _SAME_IN_EACH_CALL


def _parts_without(tape: Tape, paths: set[str]) -> Iterator[str]:
    """Yield the paths of the outermost modules with parameters that were called and hold none of the paths."""
    yielded: list[str] = []
    for path, module in tape.model.named_modules():
        if not path or any(path.startswith(f"{other}.") for other in yielded):
            continue
        holds = any(other == path or other.startswith(f"{path}.") for other in paths)
        called = id(module) in tape.scopes and any(True for _ in module.parameters())
        if called and not holds:
            yielded.append(path)
            yield path
