"""Parameters and modules of several names: each is made once, and tied to its other names."""

from __future__ import annotations

from trtnn.from_torch.classes.kinds import Kinds
from trtnn.from_torch.recording.tape import Tape


def ties_of(tape: Tape, kinds: Kinds) -> dict[str, list[tuple[str, str]]]:
    """Return the parameters and modules of several names, by the path of the innermost class that holds them all.

    Returns:
        Of each path pairs of names within the module there: the first, and another of the same thing.
    """
    model = tape.model
    several = [paths for paths in tape.paths.values() if len(paths) > 1]
    several = [paths for paths in several if kinds.is_wanted(model.get_submodule(paths[0]))]
    shared = {path for paths in several for path in paths[1:]}
    ties: dict[str, list[tuple[str, str]]] = {}
    for names in (*several, *tape.held.values()):
        for name in names[1:]:
            if any(name.startswith(f"{path}.") for path in shared):
                continue
            parts = []
            for a, b in zip(names[0].split("."), name.split("."), strict=False):
                if a != b:
                    break
                parts.append(a)
            while parts and kinds.kind(model.get_submodule(".".join(parts))) != "class":
                parts.pop()
            owner = ".".join(parts)
            skip = len(owner) + 1 if owner else 0
            ties.setdefault(owner, []).append((names[0][skip:], name[skip:]))
    return ties
