"""Reading a pickle without running it.

A pickle is a program for a small stack machine, and Python's own reader runs it: it imports what the program names and
calls it. The machine here does neither. A name stays a :class:`Global`, and calling one makes an :class:`Opaque` that
holds the name and the state it was given, unless the caller supplies a constructor of ours for it. So no pickle can do
anything here; one that names what could do harm is refused all the same (see ``harmful.py``).

A small pickle can ask for much work: what it made once it may use again and again. So work and memory are counted, each
by the length of what it is spent on, and a pickle that asks for more than its file can have a use for is refused.

Only the instructions that torch.save writes (pickle protocols 2 to 5) are known. ``pickletools`` of the standard
library, which documents the format, cuts the bytes into instructions.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

from trtnn.checkpoint.damaged import damaged
from trtnn.checkpoint.harmful import NAME_LIMIT_CHARACTERS, is_harmful, is_special
from trtnn.errors import CheckpointError, harmless_text

_STEPS_LIMIT = 1_200_000  # a whole model with its optimizer takes a fifth of it
_MEMORY_LIMIT_BYTES = 54_000_000  # beside the file's own size
_TUPLE_KEYS_LIMIT = 1000
_TUPLE_KEY_LIMIT = 64  # the length of one
_SIZED = (list, tuple, dict, set, frozenset, str, bytes, bytearray)
# What is taken to be the cost of each thing in memory, in bytes, somewhat more than CPython's.
_STEP_BYTES, _SET_BYTES, _DICT_BYTES, _OPAQUE_BYTES, _TUPLE_BYTES, _LITERAL_BYTES = 16, 220, 80, 160, 64, 56
_ITEM_BYTES, _ENTRY_BYTES, _TENSOR_BYTES, _MEMO_BYTES = 16, 110, 300, 90


@dataclass(frozen=True)
class Global:
    """A class or function that a pickle names. It is never imported."""

    name: str  # with its module: torch.nn.modules.conv.Conv2d


@dataclass(eq=False, repr=False, slots=True)  # a state may be nested without end
class Opaque:
    """What a pickle makes of a class that is not ours to make: the class's name, and what the object was made of.

    Attributes:
        kind: the class, or the function whose result it is.
        arguments: what that was called with.
        state: the object's attributes, mostly a dict.
        items: what it holds as a dict, where it is of a class that extends dict.
    """

    kind: Global
    arguments: tuple = ()
    state: object = None
    items: dict | None = None

    @property
    def attributes(self) -> dict:
        """The object's attributes by name; empty where the pickle tells of none."""
        state = self.state[0] if isinstance(self.state, tuple) and self.state else self.state
        if state is None and self.arguments and isinstance(self.arguments[0], dict):
            state = self.arguments[0]  # torch.fx gives a function all that a module is made of
        return state if isinstance(state, dict) else {}


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
    file_bytes: int = 0,
) -> object:
    """Read one pickle from ``stream``, leaving it behind the pickle's end.

    Args:
        path: the file, for messages.
        stream: where the pickle starts.
        constructors: for the name of a class or function, what is called in its place with the pickle's arguments.
        persistent_load: returns the object for a persistent id, the pickle's reference to something outside it.
        file_bytes: the size of the file that it is in: the pickle of a large one may be large.

    Raises:
        CheckpointError: the pickle is damaged, names what could do harm, or asks for too much work.
    """
    machine = _Machine(path, {**_CONTAINERS, **constructors}, persistent_load, file_bytes)
    try:
        for opcode, argument, _ in pickletools.genops(cast("IO[bytes]", stream)):  # it calls the three methods alone
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except CheckpointError:
        raise
    except (ValueError, TypeError, LookupError) as error:
        raise damaged(path, "is damaged: its pickle cannot be read", str(error)) from error


class _Machine:
    def __init__(
        self,
        path: Path,
        constructors: Mapping[str, Constructor],
        persistent_load: Callable[[object], object],
        file_bytes: int,
    ) -> None:
        self.path = path
        self.constructors = constructors
        self.persistent_load = persistent_load
        self.stack: list = []
        self.outer_stacks: list[list] = []  # MARK sets the stack aside and starts a new one
        self.memo: dict[int, object] = {}
        self.globals: dict[tuple[str, str], Global] = {}
        self.steps, self.bytes, self.bytes_limit = 0, 0, file_bytes + _MEMORY_LIMIT_BYTES

    def spend(self, steps: int, size_bytes: int = 0) -> None:
        """Count work and memory, which a small pickle could otherwise ask for without end."""
        self.steps += steps
        self.bytes += size_bytes
        if self.steps > _STEPS_LIMIT:
            raise self.refused(f"has a pickle that takes more than {_STEPS_LIMIT:,} steps to read")
        if self.bytes > self.bytes_limit:
            raise self.refused(f"has a pickle that takes more than {self.bytes_limit:,} bytes to read")

    def step(self, name: str, argument: object) -> None:
        self.spend(1, _STEP_BYTES)
        if name in _LITERALS:
            self.spend(0, _LITERAL_BYTES + (len(argument) if isinstance(argument, _SIZED) else 0))
            self.stack.append(argument)
        elif name in _CONSTANTS:
            make, size_bytes = _CONSTANTS[name]
            self.spend(0, size_bytes)
            self.stack.append(make())
        elif name in _INSTRUCTIONS:
            _INSTRUCTIONS[name](self, argument)
        else:
            raise self.refused(f"has the pickle instruction {name}, which torch.save does not write")

    def refused(self, problem: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path} {harmless_text(problem, 400)}: refused",
            "nothing in the file was run",
            "if you trust it, load it where it was made and save model.state_dict() with torch.save",
        )

    def nothing(self, _: object) -> None:
        pass

    def mark(self, _: object) -> None:
        self.spend(0, _DICT_BYTES)
        self.outer_stacks.append(self.stack)
        self.stack = []

    def pop_mark(self, _: object = None) -> list:
        items, self.stack = self.stack, self.outer_stacks.pop()
        self.spend(0, _ITEM_BYTES * len(items))
        return items

    def pop(self, _: object) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def duplicate(self, _: object) -> None:
        self.stack.append(self.stack[-1])

    def put(self, index: int | None) -> None:
        self.spend(0, _MEMO_BYTES)
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def tuple_of_marked(self, _: object) -> None:
        items = self.pop_mark()
        self.stack.append(tuple(items))

    def tuple_of(self, count: int) -> None:
        self.spend(0, _TUPLE_BYTES)
        items = [self.stack.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(items)))

    def frozenset_of_marked(self, _: object) -> None:
        items = self.pop_mark()
        self.spend(len(items), _SET_BYTES + _ENTRY_BYTES * len(items))
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
        self.spend(len(items), _ENTRY_BYTES * len(items))
        _add(self.stack[-1], items)

    def extend(self, target: object, items: list) -> None:
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Opaque):  # a list of a class of its own: nothing here asks for its elements
            raise TypeError("it appends to what is not a list")

    def update(self, target: object, items: list) -> None:
        if isinstance(target, Opaque):  # a dict of a class of its own
            target.items = {} if target.items is None else target.items
            target = target.items
        if not isinstance(target, dict):
            raise TypeError("it sets items of what is not a dict")
        self.spend(len(items), _ENTRY_BYTES * len(items))
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
        if len(module) + len(name) > NAME_LIMIT_CHARACTERS:
            raise TypeError(f"it names a class by more than {NAME_LIMIT_CHARACTERS} characters")
        module = {"__builtin__": "builtins"}.get(module, module)  # Python 2's name, which protocol 2 keeps
        if (module, name) not in self.globals:
            self.spend(20, _SET_BYTES + _ENTRY_BYTES + 3 * (len(module) + len(name)))
            if is_harmful(module, name):
                raise self.refused(f"asks for {module}.{name}, which is not known to be harmless")
            self.globals[module, name] = Global(f"{module}.{name}")
        self.stack.append(self.globals[module, name])

    def call(self, _: object) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, (Global, Opaque)) or not isinstance(arguments, tuple):
            raise TypeError("it calls what is not a class")
        kind = function if isinstance(function, Global) else function.kind  # what was made may be called in turn
        constructor = self.constructors.get(kind.name) if kind is function else None
        if constructor is None:
            self.spend(0, _OPAQUE_BYTES)
            self.check_attribute(kind, arguments)
            self.stack.append(Opaque(kind, arguments))
            return
        # what it makes may be a copy of a long argument, which the pickle need not hold a second time
        length = sum(len(value) for value in (arguments, *arguments) if isinstance(value, _SIZED))
        is_copied = kind.name in _CONTAINERS
        self.spend(length, _SET_BYTES + _ENTRY_BYTES * length if is_copied else _TENSOR_BYTES)
        self.stack.append(constructor(*arguments))

    def check_attribute(self, kind: Global, arguments: tuple) -> None:
        """Refuse what asks for an attribute such as ``__class__``; those of a model's methods are inert."""
        if kind.name == "builtins.getattr":
            for name in arguments[1:]:
                if isinstance(name, str) and len(name) <= NAME_LIMIT_CHARACTERS and is_special(name):
                    raise self.refused(f"asks for builtins.getattr of {name}, which is not known to be harmless")

    def call_with_keywords(self, _: object) -> None:
        self.stack.pop()  # the keywords: only classes that stay opaque are made with any
        self.call(None)

    def build(self, _: object) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Opaque):
            self.stack[-1].state = state  # None, a dict, or a pair of those of __dict__ and of slots
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
        if len(value) > _TUPLE_KEY_LIMIT:
            raise TypeError(f"it has a tuple of more than {_TUPLE_KEY_LIMIT} as a key")
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


def _dict(content: list | tuple | dict = ()) -> dict:
    """Return a dict; most are made empty and filled by instructions, but Counter takes a dict, Python 2 wrote pairs."""
    made: dict = {}
    if not isinstance(content, (dict, list, tuple)):
        raise TypeError("it makes a dict of what is no list of pairs")
    for key, value in content.items() if isinstance(content, dict) else content:
        made[_key(key, made)] = value
    return made


def _set(items: Collection = ()) -> set:
    if not isinstance(items, (list, tuple, set, frozenset)):
        raise TypeError("it makes a set of what is no list")
    return _add(set(), items)


def _frozenset(items: Collection = ()) -> frozenset:
    return frozenset(_set(items))


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
# what makes a constant, and the bytes that it takes
_CONSTANTS: dict[str, tuple[Callable[[], object], int]] = {
    "NONE": (lambda: None, 0),
    "NEWTRUE": (lambda: True, 0),
    "NEWFALSE": (lambda: False, 0),
    "EMPTY_TUPLE": (tuple, 0),
    "EMPTY_LIST": (list, _DICT_BYTES),
    "EMPTY_DICT": (dict, _DICT_BYTES),
    "EMPTY_SET": (set, _SET_BYTES),
}
_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], object]] = {  # with the argument that pickletools says it has
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
