"""What is said where a layer cannot be added, and of which line of the user's own code."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import trtnn.errors
from trtnn.errors import BuildError, ShapeError, TrtnnError, UnsupportedError, where
from trtnn.shapes.floats import SymFloat
from trtnn.shapes.spec import MOST_DIMENSIONS
from trtnn.shapes.symbolic import Length, Size, ranges

if TYPE_CHECKING:
    from trtnn.graph.precision import Scope
    from trtnn.graph.tensor import Tensor

_PACKAGE = os.path.dirname(os.path.abspath(trtnn.errors.__file__))


def misplaced(kind: str, finished: bool) -> TrtnnError:
    """Return the error of a layer that is asked for outside its trace, or after it."""
    if finished:
        return TrtnnError(
            f"{kind} was given a Tensor after its trace has ended",
            "a finished network stays as it is; Tensors are of use within the forward that made them",
            "keep a Parameter or a Buffer, not a Tensor, for the next trace",
        )
    return TrtnnError(
        f"{kind} was given a Tensor outside its trace",
        "a Tensor belongs to the trace that made it, and to no other",
    )


def too_deep(what: str, shape: Sequence[Length], path: str) -> ShapeError:
    """Return the error of a tensor with more dimensions than TensorRT has."""
    return ShapeError(
        f"{what} in {where(path)} would give {len(shape)} dimensions",
        f"TensorRT has at most {MOST_DIMENSIONS}",
        f"the shape: {tuple(shape)}",
    )


def outdated(what: str, path: str) -> UnsupportedError:
    """Return the error of a view that is read after what it is a view of was changed."""
    return UnsupportedError(
        f"{what} in {where(path)} reads a tensor that shares memory with one that was changed in place since",
        "in torch it would see the change, and a network has no memory to see it in",
        "write x = x + y in place of x += y, or read a clone() that was made before",
    )


def of_length(kind: str, attributes: Iterable[Any], place: str) -> ShapeError | None:
    """Return the error of a layer that was given a length where TensorRT takes a number, or None where it was not."""
    lengths = [value for value in attributes if isinstance(value, (Size, SymFloat))]
    if not lengths:
        return None
    return ShapeError(
        f"{kind} in {place} takes a number that is known while tracing, not {lengths[0]}",
        f"an engine is built for one: {ranges(lengths)}",
    )


def refused(summary: str, inputs: Sequence[Tensor], scope: Scope, log: Sequence[str]) -> BuildError:
    """Return the error of a layer that TensorRT refused: where, of what, at which line, and in TensorRT's own words."""
    details = [f"in {where(scope.path)}"]
    if inputs:
        details.append("inputs: " + ", ".join(f"{t.dtype.name}{list(t.shape)}" for t in inputs))
    line = scope.line or user_line()
    if line:
        details.append(f"called at {line}")
    return BuildError(summary, *details, *log)


@functools.cache
def is_ours(file: str) -> bool:
    """Return whether a file is of the package, and not of its models."""
    path = os.path.abspath(file)
    # Models are written as users write theirs; in a clone they stand beside the package, installed within it.
    return path.startswith(_PACKAGE + os.sep) and not path.startswith(os.path.join(_PACKAGE, "models") + os.sep)


def user_line() -> str | None:
    """Return ``file:line`` of the innermost caller that uses trtnn as its users do, or None."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not is_ours(file):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def of_the_user(error: Exception) -> Exception:
    """Return an error of the user's own code without the lines of ours that ran it.

    What our code has raised keeps them, but for AttributeErrors, which only say what a name could have been.
    """
    lines = []
    traceback = error.__traceback__
    while traceback is not None:
        lines.append((traceback, is_ours(traceback.tb_frame.f_code.co_filename)))
        traceback = traceback.tb_next
    theirs = [line for line, is_ours in lines if not is_ours]
    if not theirs or (lines[-1][1] and not isinstance(error, AttributeError)):
        return error
    for outer, inner in zip(theirs, [*theirs[1:], None], strict=True):
        outer.tb_next = inner
    return error.with_traceback(theirs[0])
