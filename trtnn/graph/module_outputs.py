"""What each module of a network returned."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Sequence
from typing import Any

from trtnn.errors import ArgumentError, nearest
from trtnn.graph.precision import check_paths, keeps
from trtnn.graph.tensor import Tensor
from trtnn.structure import map_leaves

NOT_THERE = object()


class ModuleOutputs(dict[str, Any]):
    """What each module returned when it was last called, by its path, in the order in which they were done.

    It holds Tensors while the trace runs, and ITensors afterwards.

    Args:
        declared: the paths of the modules that there are.

    Attributes:
        calls: what each call of a module returned, by its path; :data:`NOT_THERE` where that is not in the network.
    """

    def __init__(self, declared: Collection[str]) -> None:
        super().__init__()
        self._declared = declared
        self.calls: dict[str, list[Any]] = {}
        self._folded: list[str] = []  # the paths of modules some of whose outputs are not in the network

    def record(self, path: str, result: Any) -> None:
        """Remember what a module returned, in copies: who gets lists and Tensors may change them."""
        self[path] = copied = result.copy() if isinstance(result, Tensor) else map_leaves(_copied, result)
        self.calls.setdefault(path, []).append(copied)

    def finish(self) -> None:
        """Take ITensors in place of Tensors, which hold their graph, and leave out what is not in the network."""
        self.calls = {path: [_in_network(result) for result in results] for path, results in self.calls.items()}
        for path in list(self):
            last = self.calls[path][-1]
            if last is NOT_THERE:
                del self[path]
                self._folded.append(path)
            else:
                self[path] = last

    def matching(self, patterns: Sequence[str]) -> list[str]:
        """Return the paths of the modules that ``forward`` called, of those that paths or ``fnmatch`` patterns name.

        They come in the order of the patterns, and those of one pattern in that of execution, each once. ``"*"`` means
        every module within the model, not the model itself.

        Raises:
            ArgumentError: a pattern names none; with the nearest.
        """
        check_paths(patterns, "outputs takes a list of module paths")
        matched: dict[str, None] = {}
        for pattern in patterns:
            paths = [path for path in self if path and fnmatch.fnmatchcase(path, pattern)]
            paths = [pattern] if pattern in self else paths
            if not paths:
                raise self._not_there(pattern) if fnmatch.filter(self._folded, pattern) else self._not_called(pattern)
            matched |= dict.fromkeys(paths)
        return list(matched)

    @property
    def called(self) -> list[str]:
        """The paths of the modules that ``forward`` called, once the trace is finished."""
        return [*self, *self._folded]

    def check_called(self, patterns: Sequence[str], option: str) -> None:
        """Check that each pattern names a module that ``forward`` called, or one that holds such a module.

        Args:
            patterns: of paths, as in ``fnmatch``.
            option: that they were given as, for the message.

        Raises:
            ArgumentError: a pattern names none; with the nearest.
        """
        for pattern in patterns:
            if not any(keeps(pattern, path) for path in self.called):
                raise self._not_called(pattern, f"{option} changes nothing: ")

    def _not_there(self, pattern: str) -> ArgumentError:
        return ArgumentError(
            f"what {pattern!r} returned is not in this network",
            "a BatchNorm was folded into the convolution, so the network has what comes out of both; or nothing reads "
            "it, such as values where the indices alone are used",
            f"trace the network with it: model.trace(outputs=[{pattern!r}])",
        )

    def _not_called(self, pattern: str, said: str = "") -> ArgumentError:
        inside = [path for path in self.called if path.startswith(f"{pattern}.")]
        paths = inside or [path for path in self.called if path]
        return ArgumentError(
            f"{said}no module {pattern!r} was called in this network",
            *(["the model has one there, but no forward calls it"] if pattern in self._declared else []),
            *([] if inside else nearest(pattern, paths, most=3)),
            f"called {'within it' if inside else 'were'}: {', '.join(paths[:12])}{', ...' if len(paths) > 12 else ''}",
        )


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, Tensor) else value


def _leaves(value: Any) -> list[Any]:
    leaves: list[Any] = []
    map_leaves(leaves.append, value)
    return leaves


def _in_network(result: Any) -> Any:
    """Return what a call returned, with ITensors; ``NOT_THERE`` where that is not in the network."""
    alone = isinstance(result, Tensor)  # as most are
    if any(map(_is_folded, [result] if alone else _leaves(result))):
        return NOT_THERE
    return _raw(result) if alone else map_leaves(_raw, result)


def _is_folded(leaf: Any) -> bool:
    """Return whether a leaf is a Tensor whose own layer was not added: it was folded, or nothing has used it."""
    return isinstance(leaf, Tensor) and not leaf.unrounded_or_self.is_there


def _raw(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.raw if value.value.beyond is None else value.unrounded_or_self.raw
