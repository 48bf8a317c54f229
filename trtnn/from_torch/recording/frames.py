"""What the caller's bytecode tells: the variables that a value is stored to, and those that a line reads.

It is read after the call that made the value, in the frame that called. Python 3.10 to 3.14 spell it differently.
"""

from __future__ import annotations

import dis
import functools
import linecache
import os
import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

import torch

TORCH = os.path.dirname(torch.__file__) + os.sep
_FUNCTIONS = tuple(
    TORCH + name
    for name in ("overrides.py", "functional.py", "_tensor.py", "_jit_internal.py", os.path.join("nn", "functional.py"))
)
OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # all of from_torch
_COMPUTING = ("CALL", "BINARY_", "UNARY_", "COMPARE_OP")  # what makes a value of others
_NO_CODE = ("CACHE", "RESUME", "PRECALL", "EXTENDED_ARG", "NOP", "NOT_TAKEN")


class Place(NamedTuple):
    """A line of the user's source."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        text = linecache.getline(self.file, self.line).strip()
        return f"{self.file}:{self.line}, in {self.function}" + (f": {text}" if text else "")


_PLACES: dict[str, dict[int, Place]] = {}


def stands_for(file: str, places: dict[int, Place]) -> None:
    """Let the lines of source that was written stand for the user's."""
    _PLACES[file] = places


_Span = tuple[tuple[int, int], tuple[int, int]]  # line and column of the first character, and of the end


class _Line(NamedTuple):
    """What a code object has: its instructions, their numbers by offset, and of each the line and the text it is of."""

    instructions: list[dis.Instruction]
    places: dict[int, int]
    lines: list[int]
    spans: list[_Span]


@functools.cache
def _read(code: CodeType) -> _Line:
    instructions, lines, spans, line = [], [], [], code.co_firstlineno
    for instruction in dis.get_instructions(code):
        number = instruction.starts_line
        if sys.version_info >= (3, 13):
            number = instruction.line_number
        line = number if isinstance(number, int) and not isinstance(number, bool) else line
        if instruction.opname not in _NO_CODE:
            instructions.append(instruction)
            lines.append(line)
            spans.append(_span(instruction, line))
    return _Line(instructions, {instruction.offset: i for i, instruction in enumerate(instructions)}, lines, spans)


def _span(instruction: dis.Instruction, line: int) -> _Span:
    """Return where the text of an instruction begins and ends; before Python 3.11 that is all of its line."""
    positions = getattr(instruction, "positions", None)
    if positions is None or None in positions:
        return (line, 0), (line, sys.maxsize)
    return (positions.lineno, positions.col_offset), (positions.end_lineno, positions.end_col_offset)


def _position(frame: FrameType) -> int | None:
    """Return the place of the instruction that a frame is at."""
    places, at = _read(frame.f_code).places, frame.f_lasti
    if at not in places:
        at = max((offset for offset in places if offset <= at), default=-1)
    return places.get(at)


def user_frame(depth: int = 1) -> FrameType | None:
    """Return the innermost frame that is neither torch's nor ours."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((TORCH, OURS)) and file[:1] != "<":
            return frame
        frame = frame.f_back
    return None


def caller(depth: int = 1) -> FrameType | None:
    """Return the frame that called; None where a module of torch's did, whose variables say nothing.

    Functions of torch's that are written in Python stand between the caller and us.
    """
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None and frame.f_code.co_filename.startswith((OURS, *_FUNCTIONS)):
        frame = frame.f_back
    return None if frame is None or frame.f_code.co_filename.startswith((TORCH, "<")) else frame


def place_of(frame: FrameType | None) -> Place:
    """Return the line that a frame is at."""
    if frame is None:
        return Place("?", 0, "?")
    places = _PLACES.get(frame.f_code.co_filename)
    if places:
        line = max((line for line in places if line <= frame.f_lineno), default=min(places))
        return places[line]
    return Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


def stored_names(frame: FrameType) -> str | list[str] | None:
    """Return the variables that the value of the call at hand goes to: one, one for each part of it, or None."""
    at = _position(frame)
    if at is None:
        return None
    following = _read(frame.f_code).instructions[at:]
    if following[0].opname != "UNPACK_SEQUENCE":  # a Tensor that is unpacked is asked for its parts there
        following = following[1:]
    if not following:
        return None
    first = following[0]
    if first.opname == "UNPACK_SEQUENCE":
        names: list[str] = []
        for name in _stores(following[1:]):
            names.append(name)
            if len(names) == first.arg:
                return names
        return None
    return next(_stores(following), None)


def _stores(instructions: list[dis.Instruction]) -> Iterator[str]:
    for instruction in instructions:
        value = instruction.argval
        if instruction.opname == "STORE_FAST":
            yield value
        elif instruction.opname == "STORE_FAST_STORE_FAST":  # of 3.13
            yield from value
        elif instruction.opname == "STORE_FAST_LOAD_FAST":
            yield value[0]
            return
        else:
            return


def read_names(frame: FrameType) -> tuple[frozenset[str], tuple[str, ...], frozenset[Any]]:
    """Return what the line at hand has read up to the call: variables, attributes of ``self``, and numbers."""
    at = _position(frame)
    if at is None:
        return frozenset(), (), frozenset()
    numbers: set[Any] = set()
    code = _read(frame.f_code)
    variables: set[str] = set()
    attributes: list[str] = []
    last: Any = None
    for i in range(at, -1, -1):
        if code.lines[i] != code.lines[at]:
            break
        instruction = code.instructions[i]
        if instruction.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "STORE_FAST_LOAD_FAST")):
            value = instruction.argval
            variables.update([value] if isinstance(value, str) else value)
            if (value if isinstance(value, str) else value[-1]) == "self" and last is not None:
                attributes.append(last)
        if instruction.opname.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
            value = instruction.argval
            numbers.update(
                item for item in (value if isinstance(value, tuple) else (value,)) if type(item) in (int, float)
            )
        last = instruction.argval if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") else None
    return frozenset(variables), tuple(attributes), frozenset(numbers)


def at(frame: FrameType) -> int:
    """Return the number of the instruction that a frame is at."""
    place = _position(frame)
    return -1 if place is None else place


def receiver(frame: FrameType) -> tuple[FrameType, str | None]:
    """Return the frame that gets what the call at hand returns, past functions that return it, and its variable."""
    while True:
        place = _position(frame)
        instructions = _read(frame.f_code).instructions
        returned = place is not None and place + 1 < len(instructions)
        returned = returned and instructions[place + 1].opname == "RETURN_VALUE"  # type: ignore[operator]
        if not returned or frame.f_back is None:
            name = stored_names(frame)
            return frame, name if isinstance(name, str) else None
        frame = frame.f_back


class Passed(NamedTuple):
    """What the call at hand is passed as it stands, and not as a part of what is computed for it.

    Attributes:
        sources: variables, and the numbers of the instructions that are calls.
        literals: whole numbers.
        places: of each argument the source that it is, or None, in the order of the text.
    """

    sources: frozenset[str | int]
    literals: tuple[int, ...]
    places: list[str | int | None]


def passed_by_call(frame: FrameType) -> Passed:
    """Return what the call at hand is passed.

    It is nothing before Python 3.11, whose bytecode tells where each expression stands.
    """
    place = _position(frame)
    code = _read(frame.f_code)
    if place is None or sys.version_info < (3, 11) or code.instructions[place].opname == "CALL_FUNCTION_EX":
        return Passed(frozenset(), (), [])
    spans, whole = code.spans, code.spans[place]
    first = place
    while first and _is_within(spans[first - 1], whole):
        first -= 1
    within = [i for i in range(first, place) if spans[i] != whole]
    computed = [i for i in within if code.instructions[i].opname.startswith(_COMPUTING)]
    direct = [i for i in within if not any(spans[i] != spans[k] and _is_within(spans[i], spans[k]) for k in computed)]
    sources: dict[_Span, str | int] = {}
    literals: list[int] = []
    for i in direct:
        name, value = code.instructions[i].opname, code.instructions[i].argval
        if name.startswith("LOAD_FAST") and isinstance(value, str):
            sources[spans[i]] = value
        elif name.startswith("CALL"):
            sources[spans[i]] = i
        elif name.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
            literals += [item for item in (value if isinstance(value, tuple) else (value,)) if type(item) is int]
    largest = {spans[i] for i in within}
    largest = {span for span in largest if not any(span != other and _is_within(span, other) for other in largest)}
    places = [sources.get(span) for span in sorted(largest)[1:]]  # behind the function
    return Passed(frozenset(sources.values()), tuple(literals), places)


def _is_within(inner: _Span, outer: _Span) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]
