"""Calls of Python's own functions with lengths, which would give plain numbers or only compare.

``min``, ``max`` and ``math.sqrt`` are looked up by name as they are called, so that others stand in their places.
``int`` and ``float`` are types too, which code asks for by ``isinstance``, and ``len`` is called everywhere: they stay,
and of the functions that are known to call them with a length, or ``len`` with a tensor, the bytecode looks other names
up in those calls. What ``functools.lru_cache`` keeps of other calls is forgotten.
"""

from __future__ import annotations

import builtins
import dis
import functools
import gc
import math
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any

from trtnn.from_torch.recording.frames import is_users
from trtnn.from_torch.recording.lengths import as_float, extreme, first_length, lengths_in, square_root, truncated
from trtnn.from_torch.recording.replacing import recoded, replaced

# What stands for these where they would give plain numbers, and its name in builtins. There it stays once code looks it
# up: a generator goes on with the code that it began with, and so does another thread.
_REPLACED = {
    "int": ("int_of_a_length", truncated),
    "float": ("float_of_a_length", as_float),
    "len": ("len_of_a_tensor", first_length),
}


@contextmanager
def watched_builtins(callers: Mapping[CodeType, dict[str, Any]]) -> Iterator[None]:
    """Let ``min``, ``max`` and ``math.sqrt``, and other functions in some code, give numbers that know the lengths.

    Args:
        callers: the code whose calls of ``int``, ``float`` and ``len`` do so, and its global variables.
    """
    for name, function in _REPLACED.values() if callers else ():
        setattr(builtins, name, function)
    functions = _functions_with(callers) if callers else ()
    with (
        replaced(builtins, "min", extreme("min", min)),
        replaced(builtins, "max", extreme("max", max)),
        replaced(math, "sqrt", square_root(math.sqrt)),
        recoded({function: _with(function.__code__, callers) for function in functions}),
    ):
        yield


def caches() -> list[Any]:
    """Return the users' functions that are decorated with ``functools.lru_cache``."""
    return [
        held
        for held in gc.get_objects()
        if type(held) is functools._lru_cache_wrapper
        and (code := getattr(held.__wrapped__, "__code__", None)) is not None
        and is_users(code.co_filename)
    ]


def forget_results() -> None:
    """Let the users' functions that are decorated with ``functools.lru_cache`` compute anew.

    They may keep lengths and tensors of a recorded call, and answer the next one with those.
    """
    for cache in caches():
        cache.cache_clear()


def forget_lengths(caches: Iterable[Any]) -> None:
    """Let those functions compute anew that gave lengths, or what is computed of them.

    They give them for the lengths of other tensors too that are as long in the recorded call, as einops does.
    """
    for cache in caches:
        if cache.cache_info().currsize and _gave_lengths(cache):
            cache.cache_clear()


def _gave_lengths(cache: Any) -> bool:
    held = gc.get_referents(cache)  # the keys and the results, each by itself or in a dict
    tables = [each for each in held if type(each) is dict]
    keys = {id(key) for table in tables for key in table}
    results = [*(result for table in tables for result in table.values()), *(e for e in held if id(e) not in keys)]
    return any(True for result in results for _ in lengths_in(result))


def _functions_with(callers: Mapping[CodeType, dict[str, Any]]) -> Iterator[FunctionType]:
    """Yield the functions whose code is, or holds, some code: those that the garbage collector and modules tell of.

    The collector knows those that were made as the program ran, but no more what ``gc.freeze`` put aside.
    """
    files = {code.co_filename for code in callers}
    held = {id(function): function for function in gc.get_objects() if type(function) is FunctionType}
    for namespace in {id(variables): variables for variables in callers.values()}.values():
        within = _functions_in(namespace.values(), namespace.get("__name__"))
        held.update((id(function), function) for function in within)
    for function in held.values():
        code, has_own = function.__code__, not _REPLACED.keys().isdisjoint(function.__globals__)
        if code.co_filename in files and not has_own and any(inner in callers for inner in _codes_in(code)):
            yield function


def _functions_in(values: Iterable[Any], module: str | None) -> Iterator[FunctionType]:
    """Yield the functions among the values of a namespace, in classes of a module, and within decorators."""
    for value in values:
        if isinstance(value, type) and value.__module__ == module:
            yield from _functions_in([*vars(value).values()], module)
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        while type(function) is FunctionType:
            yield function
            function = getattr(function, "__wrapped__", None)


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes_in(constant)


def _with(code: CodeType, callers: Container[CodeType]) -> CodeType:
    """Return code in which those of the callers call other functions."""
    within = tuple(_with(held, callers) if isinstance(held, CodeType) else held for held in code.co_consts)
    changed = code.replace(co_consts=within) if within != code.co_consts else code
    return calling({own: name for own, (name, _) in _REPLACED.items()}, changed) if code in callers else changed


def calling(names: Mapping[str, str], code: CodeType) -> CodeType:
    """Return code whose calls of some globals are calls of others.

    Where it has so many names that an instruction has no room for more, they stay as they are.
    """
    flagged = sys.version_info >= (3, 11)  # the lowest bit says that what is looked up is called
    changed, held = bytearray(code.co_code), [*code.co_names]
    instructions = list(dis.get_instructions(code))
    for i, instruction in enumerate(instructions):
        if instruction.opname != "LOAD_GLOBAL" or instruction.argval not in names or instruction.arg is None:
            continue
        other = names[instruction.argval]
        index = held.index(other) if other in held else len(held)
        argument = index * 2 + 1 if flagged else index
        called = instruction.arg & 1 if flagged else _is_called(instructions[i + 1 :])
        if called and max(argument, instruction.arg) <= 255:
            changed[instruction.offset + 1] = argument
            held += [other] if index == len(held) else []
    return code.replace(co_code=bytes(changed), co_names=tuple(held)) if len(held) > len(code.co_names) else code


def _is_called(following: list[dis.Instruction]) -> bool:
    """Whether what was just put on the stack is called, by instructions that all run; before Python 3.11."""
    above = 0  # how many values lie above it
    for instruction in following:
        if instruction.opname == "CALL_FUNCTION" and instruction.arg == above:
            return True
        if instruction.opcode in dis.hasjrel or instruction.opcode in dis.hasjabs:
            return False
        above += dis.stack_effect(instruction.opcode, instruction.arg)
        if above < 0:
            return False
    return False
