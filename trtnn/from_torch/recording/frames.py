"""What the caller's bytecode tells: the variables that a value is stored to, and those that a line reads.

It is read after the call that made the value, in the frame that called. Python 3.10 to 3.14 spell it differently.
"""

from __future__ import annotations

import dis
import functools
import linecache
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import CodeType, FrameType
from typing import Any, NamedTuple, TypeVar

import torch

TORCH = os.path.dirname(torch.__file__) + os.sep
_FUNCTIONS = tuple(
    TORCH + name
    for name in ("overrides.py", "functional.py", "_tensor.py", "_jit_internal.py", os.path.join("nn", "functional.py"))
)
OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # all of from_torch
_RECORD = os.path.join(OURS, "recording", "record.py")
_PYTHON = os.path.dirname(os.__file__) + os.sep  # its own library, which packages may be installed within
# What an expression does with numbers before they decide something.
_COMPARES = ("LOAD_", "COMPARE_OP", "CONTAINS_OP", "IS_OP", "UNARY_", "BINARY_", "TO_BOOL")
_MAKES_MESSAGES = ("MAKE_FUNCTION", "SET_FUNCTION_ATTRIBUTE", "BUILD_TUPLE", "KW_NAMES")
# Functions of torch's that raise an error where what they are given is false, and do nothing else.
_CHECKS = [
    getattr(torch, name)
    for name in (
        "_check", "_check_with", "_check_value", "_check_index", "_check_type", "_check_not_implemented",
        "_check_is_size", "_assert",
    )
    if hasattr(torch, name)
]  # fmt: skip
_LEAVES = ("RETURN_", "YIELD_", "JUMP", "POP_JUMP", "FOR_ITER", "SEND")
# What the end of a ``try`` does with an error that does not go on as it is.
_STAYS = ("RETURN_", "JUMP", "POP_JUMP", "CHECK_", "POP_EXCEPT", "RAISE_", "PREP_RERAISE_STAR", "CALL_INTRINSIC_2")
_SIGNALS = (
    "StopIteration",
    "StopAsyncIteration",
    "GeneratorExit",
    "AttributeError",
)  # errors that Python itself answers
_ENTERS = ("BEFORE_WITH", "SETUP_WITH", "LOAD_SPECIAL")
_ENDS = ("STORE_", "POP_", "JUMP", "RESUME", "MAKE_CELL", "COPY_FREE_VARS")  # of what stands before a statement
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
_STANDING_IN: set[tuple[str, int]] = set()  # files and lines: who measures what runs puts other code in its place
_Function = TypeVar("_Function", bound=Callable[..., Any])


def stands_in(function: _Function) -> _Function:
    """Let a function of ours stand for one of the user's: its variables are his."""
    _STANDING_IN.add(_definition(function.__code__))
    return function


def _definition(code: CodeType) -> tuple[str, int]:
    return code.co_filename, code.co_firstlineno


def stands_for(file: str, places: dict[int, Place]) -> None:
    """Let the lines of source that was written stand for the user's."""
    _PLACES[file] = places


def is_written(frame: FrameType) -> bool:
    """Return whether a frame runs source that was written, and not the user's."""
    return frame.f_code.co_filename in _PLACES


class _Line(NamedTuple):
    """What a code object has: its instructions, their numbers by offset, and the line of each."""

    instructions: list[dis.Instruction]
    places: dict[int, int]
    lines: list[int]


@functools.cache
def _read(code: CodeType) -> _Line:
    instructions, lines, line = [], [], code.co_firstlineno
    for instruction in dis.get_instructions(code):
        number = instruction.starts_line
        if sys.version_info >= (3, 13):
            number = instruction.line_number
        line = number if isinstance(number, int) and not isinstance(number, bool) else line
        if instruction.opname not in _NO_CODE:
            instructions.append(instruction)
            lines.append(line)
    return _Line(instructions, {instruction.offset: i for i, instruction in enumerate(instructions)}, lines)


def _position(frame: FrameType) -> int | None:
    """Return the place of the instruction that a frame is at."""
    places, at = _read(frame.f_code).places, frame.f_lasti
    if at not in places:
        at = max((offset for offset in places if offset <= at), default=-1)
    return places.get(at)


def is_users(file: str) -> bool:
    """Whether a file of code is neither torch's, nor ours, nor of Python's own library."""
    is_pythons = file.startswith(_PYTHON) and "-packages" not in file
    return not file.startswith((TORCH, OURS)) and not is_pythons and file[:1] != "<"


def user_frame(depth: int = 1) -> FrameType | None:
    """Return the innermost frame that is neither torch's, nor ours, nor of Python's own library."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def caller(depth: int = 1) -> FrameType | None:
    """Return the frame that called; None where a module of torch's did, whose variables say nothing.

    Functions of torch's that are written in Python stand between the caller and us.
    """
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None and frame.f_code.co_filename.startswith((OURS, *_FUNCTIONS)):
        if _definition(frame.f_code) in _STANDING_IN:
            break
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


def last_loaded(frame: FrameType) -> tuple[str, ...]:
    """Return what the call at hand has as its last argument: a variable and attributes of it, or nothing."""
    at = _position(frame)
    names: list[str] = []
    for instruction in reversed(_read(frame.f_code).instructions[: at or 0]):
        operation, value = instruction.opname, instruction.argval
        if operation == "KW_NAMES" or (operation == "LOAD_CONST" and isinstance(value, tuple)):  # of arguments
            continue
        if not operation.startswith(("LOAD_", "STORE_FAST_LOAD_FAST")):
            break
        names.append(value[-1] if isinstance(value, tuple) else value)
        if operation != "LOAD_ATTR":
            return tuple(reversed(names)) if all(isinstance(name, str) for name in names) else ()
    return ()


def only_decides_to_raise() -> bool:
    """Whether what the call at hand gives decides nothing but whether an error is raised: ``assert x.max() < 1``.

    So does ``torch._check(x.max().item() < 1)``. An error that a function catches decides what it does.
    """
    frame = _asserting() or caller(2)
    if frame is None or any(map(_catches, _up_to_the_recording(frame))):
        return False
    at = _position(frame)
    code = _read(frame.f_code)
    for i in range(at if at is not None else len(code.instructions), len(code.instructions)):
        instruction = code.instructions[i]
        if instruction.opname.startswith("POP_JUMP"):
            ways = (i + 1, code.places.get(instruction.argval, len(code.instructions)))
            return any(_raises(code.instructions[way:]) for way in ways)
        if i != at and instruction.opname.startswith("CALL"):
            return _is_check(frame, i)
        if i != at and not instruction.opname.startswith((*_COMPARES, *_MAKES_MESSAGES)):
            return False
    return False


def _asserting() -> FrameType | None:
    """Return the frame of ``torch._assert`` where it asks for a number, which asserts in its caller's name."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(OURS):
        frame = frame.f_back
    return frame if frame is not None and frame.f_code is getattr(torch._assert, "__code__", None) else None


def _is_check(frame: FrameType, at: int) -> bool:
    """Whether a call is a statement of its own that raises an error where what it is given is false."""
    instructions = _read(frame.f_code).instructions
    following = instructions[at + 1].opname if at + 1 < len(instructions) else ""
    return following == "POP_TOP" and any(_loaded(frame, at) is check for check in _CHECKS)


def _up_to_the_recording(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None and frame.f_code.co_filename != _RECORD:
        if is_users(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


def _catches(frame: FrameType) -> bool:
    """Whether an error at the instruction that a frame is at may be caught there, or by Python behind such a method."""
    name = frame.f_code.co_name
    if name.startswith("__") and name.endswith("__") and name != "__call__":  # as __next__ and __getattr__ end and ask
        return True
    code = _read(frame.f_code)
    return any(
        not _goes_on(frame, code.places[target], first)
        for first, last, target in _handlers(frame.f_code)
        if first <= frame.f_lasti < last and target in code.places
    )


@functools.cache
def _handlers(code: CodeType) -> list[tuple[int, int, int]]:
    """Return from where to where in code errors go to which place: of ``try`` and ``with``."""
    if sys.version_info >= (3, 11):
        entries = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]
        return [(entry.start, entry.end, entry.target) for entry in entries]
    setups = ("SETUP_FINALLY", "SETUP_WITH")
    tries = (instruction for instruction in dis.get_instructions(code) if instruction.opname in setups)
    return [(instruction.offset, instruction.argval, instruction.argval) for instruction in tries]


def _goes_on(frame: FrameType, at: int, first: int) -> bool:
    """Whether an error that goes to an instruction goes on from there: behind a plain ``finally``, or torch's ``with``.

    Args:
        frame: whose code it is.
        at: which of its instructions the error goes to.
        first: the offset at which what is watched begins.
    """
    for instruction in _read(frame.f_code).instructions[at:]:
        name = instruction.opname
        if name == "RERAISE":
            return True
        if name == "WITH_EXCEPT_START":
            return _is_of_torchs(frame, first)
        if name.startswith(_STAYS):
            return False
    return False


def _is_of_torchs(frame: FrameType, first: int) -> bool:
    """Whether the ``with`` whose body begins at an offset enters what lets errors pass, as far as globals tell.

    That is ``torch.no_grad()`` and its like: a class or a function of torch's, called by its name.
    """
    instructions = _read(frame.f_code).instructions
    entered = max((i for i, one in enumerate(instructions) if one.opname in _ENTERS and one.offset <= first), default=0)
    manager = _loaded(frame, entered)
    return manager is nullcontext or str(getattr(manager, "__module__", "")).partition(".")[0] == "torch"


def _loaded(frame: FrameType, at: int) -> Any:
    """Return what the statement up to an instruction has first, a global variable or an attribute of one, or None."""
    instructions = _read(frame.f_code).instructions
    begin = at
    while begin and not instructions[begin - 1].opname.startswith(_ENDS):
        begin -= 1
    if begin and instructions[begin - 1].opname.startswith("JUMP"):  # one of two, as of ``a() if b else c()``
        return None
    names: list[str] = []
    for instruction in instructions[begin:at]:
        if instruction.opname in (("LOAD_ATTR", "LOAD_METHOD") if names else ("LOAD_GLOBAL", "LOAD_NAME")):
            names.append(instruction.argval)
        elif names or instruction.opname != "PUSH_NULL":
            break
    loaded = frame.f_globals.get(names[0]) if names else None
    for name in names[1:]:
        loaded = getattr(loaded, name, None)
    return loaded


def _raises(instructions: list[dis.Instruction]) -> bool:
    """Whether instructions go straight on to an error."""
    for instruction in instructions:
        if instruction.opname == "RAISE_VARARGS":
            return True
        if instruction.argval in _SIGNALS:
            return False
        if instruction.opname.startswith(_LEAVES):
            return False
    return False


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
