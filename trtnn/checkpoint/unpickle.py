"""Reading a pickle without running it.

A pickle is a program for a small stack machine, and Python's own reader runs it: it imports what the program names and
calls it. The machine here does neither. A name stays a :class:`Global`, and calling one makes an :class:`Opaque` that
holds the name and the state it was given, unless the caller supplies a constructor of ours for it. So no pickle can do
anything here; one that names what has no place in a checkpoint is refused all the same (see ``harmless.py``).

Only the instructions that torch.save writes (pickle protocols 2 to 5) are known. ``pickletools`` of the standard
library, which documents the format, cuts the bytes into instructions.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trtnn.checkpoint.damaged import damaged
from trtnn.checkpoint.harmless import is_harmless
from trtnn.errors import CheckpointError

_STEPS_LIMIT = (
    2**21
)  # a whole model with its optimizer takes a tenth of it; each step takes a few hundred bytes at most
_TUPLE_KEYS_LIMIT = 1000
_SIZED = (list, tuple, dict, set, frozenset)


@dataclass(frozen=True)
class Global:
    """A class or function that a pickle names. It is never imported."""

    name: str  # with its module: torch.nn.modules.conv.Conv2d


@dataclass(eq=False, repr=False)  # a state may be nested without end
class Opaque:
    """What a pickle makes of a class that is not ours to make: the class's name and the object's state."""

    kind: Global
    state: object = None


Constructor = Callable[..., object]


class Stream(Protocol):
    """Bytes to be read one after another, where asking for more than there is allocates nothing: BytesIO, mmap."""

    def read(self, size: int, /) -> bytes: ...
    def readline(self) -> bytes: ...
    def tell(self) -> int: ...


def unpickle(
    path: Path,
    stream: Stream,
    constructors: Mapping[str, Constructor],
    persistent_load: Callable[[object], object],
) -> object:
    """Read one pickle from ``stream``, leaving it behind the pickle's end.

    Args:
        path: the file, for messages.
        stream: where the pickle starts.
        constructors: for the name of a class or function, what is called in its place with the pickle's arguments.
        persistent_load: returns the object for a persistent id, the pickle's reference to something outside it.

    Raises:
        CheckpointError: the pickle is damaged, or names what has no place in a checkpoint.
    """
    machine = _Machine(path, {**_CONTAINERS, **constructors}, persistent_load)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except CheckpointError:
        raise
    except (ValueError, TypeError, LookupError) as error:
        raise damaged(path, "is damaged: its pickle cannot be read", str(error)) from error


class _Machine:
    def __init__(
        self, path: Path, constructors: Mapping[str, Constructor], persistent_load: Callable[[object], object]
    ) -> None:
        self.path = path
        self.constructors = constructors
        self.persistent_load = persistent_load
        self.stack: list = []
        self.outer_stacks: list[list] = []  # MARK sets the stack aside and starts a new one
        self.memo: dict[int, object] = {}
        self.steps = 0

    def spend(self, steps: int) -> None:
        """Count work, which a small pickle could otherwise ask for without end."""
        self.steps += steps
        if self.steps > _STEPS_LIMIT:
            raise self.refused(f"has a pickle that takes more than {_STEPS_LIMIT:,} steps to read")

    def step(self, name: str, argument: object) -> None:
        self.spend(1)
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _INSTRUCTIONS:
            _INSTRUCTIONS[name](self, argument)
        else:
            raise self.refused(f"has the pickle instruction {name}, which torch.save does not write")

    def refused(self, problem: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path} {problem}: refused",
            "nothing in the file was run",
            "if you trust it, load it where it was made and save model.state_dict() with torch.save",
        )

    def nothing(self, _: object) -> None:
        pass

    def mark(self, _: object) -> None:
        self.outer_stacks.append(self.stack)
        self.stack = []

    def pop_mark(self, _: object = None) -> list:
        items, self.stack = self.stack, self.outer_stacks.pop()
        return items

    def pop(self, _: object) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def duplicate(self, _: object) -> None:
        self.stack.append(self.stack[-1])

    def put(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def tuple_of_marked(self, _: object) -> None:
        items = self.pop_mark()
        self.stack.append(tuple(items))

    def tuple_of(self, count: int) -> None:
        items = [self.stack.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(items)))

    def frozenset_of_marked(self, _: object) -> None:
        items = self.pop_mark()
        self.stack.append(_frozenset(items))

    def append(self, _: object) -> None:
        item = self.stack.pop()
        self.extend(self.stack[-1], [item])

    def append_marked(self, _: object) -> None:
        items = self.pop_mark()
        self.extend(self.stack[-1], items)

    def set_item(self, _: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.update(self.stack[-1], [key, value])

    def set_marked_items(self, _: object) -> None:
        items = self.pop_mark()
        self.update(self.stack[-1], items)

    def add_marked(self, _: object) -> None:
        items = self.pop_mark()
        if not isinstance(self.stack[-1], set):
            raise TypeError("it adds elements to what is not a set")
        _add(self.stack[-1], items)

    def extend(self, target: object, items: list) -> None:
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Opaque):  # a list of a class of its own: nothing here asks for its elements
            raise TypeError("it appends to what is not a list")

    def update(self, target: object, items: list) -> None:
        if isinstance(target, Opaque):  # a dict of a class of its own, likewise
            return
        if not isinstance(target, dict):
            raise TypeError("it sets items of what is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if _key(key, target) in target:
                raise ValueError("it sets an item of a dict twice")
            target[key] = value

    def find_joined(self, joined: str) -> None:
        module, name = joined.split(" ", 1)
        self.find(module, name)

    def find_from_stack(self, _: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.find(module, name)

    def find(self, module: object, name: object) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError("it names a class by what is not text")
        module = {"__builtin__": "builtins"}.get(module, module)  # Python 2's name, which protocol 2 keeps
        if not is_harmless(module, name):
            raise self.refused(f"asks for {module}.{name}, which is not known to be harmless")
        self.stack.append(Global(f"{module}.{name}"))

    def call(self, _: object) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise TypeError("it calls what is not a class")
        # what it makes may be a copy of a long argument, which the pickle need not hold a second time
        self.spend(sum(len(value) for value in (arguments, *arguments) if isinstance(value, _SIZED)))
        constructor = self.constructors.get(function.name)
        self.stack.append(constructor(*arguments) if constructor else Opaque(function))

    def call_with_keywords(self, _: object) -> None:
        self.stack.pop()  # the keywords: only classes that stay opaque are made with any
        self.call(None)

    def build(self, _: object) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Opaque):
            self.stack[-1].state = state
        elif not isinstance(self.stack[-1], dict):  # an OrderedDict's attributes, such as _metadata, are not needed
            raise TypeError("it gives a state to what has none")

    def refer(self, _: object) -> None:
        self.stack.append(self.persistent_load(self.stack.pop()))


def _key(value: object, container: Collection) -> object:
    """Return ``value`` when it may be a key of a dict or set.

    Hashing a tuple nested a million deep would overflow the C stack. Large integers and tuples can be chosen so that
    their hashes are all the same, and a table of n of them takes n² steps to fill; the hashes of text and of objects
    nobody outside this process can choose.
    """
    if isinstance(value, (tuple, frozenset)):
        if any(isinstance(item, (tuple, frozenset)) for item in value):
            raise TypeError("it has a nested tuple as a key")
        if len(container) > _TUPLE_KEYS_LIMIT:
            raise TypeError(f"it has a tuple as a key among more than {_TUPLE_KEYS_LIMIT:,}")
    if isinstance(value, int) and value.bit_length() >= sys.hash_info.width - 3:
        raise TypeError("it has too large a number as a key")
    return value


def _add(target: set, items: Iterable) -> set:
    for item in items:
        target.add(_key(item, target))
    return target


def _dict(content: list | dict = ()) -> dict:
    """Return a dict; most are made empty and filled by instructions, but Counter takes a dict, Python 2 wrote pairs."""
    made: dict = {}
    for key, value in content.items() if isinstance(content, dict) else content:
        made[_key(key, made)] = value
    return made


def _set(items: list = ()) -> set:
    return _add(set(), items)


def _frozenset(items: list = ()) -> frozenset:
    return frozenset(_add(set(), items))


_CONTAINERS: dict[str, Constructor] = {
    "builtins.dict": _dict,
    "builtins.set": _set,
    "builtins.frozenset": _frozenset,
    "collections.OrderedDict": _dict,
    "collections.defaultdict": lambda factory=None: {},
    "collections.Counter": _dict,
}
_LITERALS = frozenset(
    [
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
        *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    ]
)
_CONSTANTS: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_INSTRUCTIONS: dict[str, Callable[[_Machine, object], object]] = {
    "PROTO": _Machine.nothing,
    "FRAME": _Machine.nothing,
    "STOP": _Machine.nothing,
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.duplicate,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "TUPLE": _Machine.tuple_of_marked,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "FROZENSET": _Machine.frozenset_of_marked,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.append_marked,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_marked_items,
    "ADDITEMS": _Machine.add_marked,
    "GLOBAL": _Machine.find_joined,
    "STACK_GLOBAL": _Machine.find_from_stack,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "NEWOBJ_EX": _Machine.call_with_keywords,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.refer,
}
