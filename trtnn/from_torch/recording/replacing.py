"""What stands in the places of torch's and Python's own functions while a module is converted.

These are the whole process's. So one conversion at a time has its turn, and what it puts in their places does so for
its own thread alone: others that run torch meanwhile have what they had.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any

#: Held from a conversion's beginning to its end. A forward may convert as well, in the same thread.
turn = threading.RLock()


def in_this_thread(other: Callable[..., Any], own: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls another in the thread that asks for it, and in all others what it was."""
    thread = threading.get_ident()

    @functools.wraps(own)
    def either(*args: Any, **kwargs: Any) -> Any:
        return (other if threading.get_ident() == thread else own)(*args, **kwargs)

    return either


class OfThisThread:
    """What an attribute of a class is in the thread that makes this, and in all others."""

    def __init__(self, other: Any, own: Any) -> None:
        self._thread, self._other, self._own = threading.get_ident(), other, own

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Return what it is in this thread."""
        return self._other if threading.get_ident() == self._thread else self._own


@contextmanager
def attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Let an attribute of a module or class be another while a conversion has its turn."""
    with turn:
        own = inspect.getattr_static(owner, name)
        setattr(owner, name, value)
        try:
            yield
        finally:
            setattr(owner, name, own)


@contextmanager
def replaced(
    owner: Any, name: str, other: Callable[..., Any], elsewhere: Callable[..., Any] | None = None
) -> Iterator[None]:
    """Let a function of a module or class be another in this thread.

    Args:
        owner, name: the module or class, and the function's name in it.
        other: what is called in this thread.
        elsewhere: what is called in other threads; None for what is there.
    """
    with turn, attribute(owner, name, in_this_thread(other, elsewhere or getattr(owner, name))):
        yield


@contextmanager
def recoded(codes: Mapping[FunctionType, CodeType]) -> Iterator[None]:
    """Let functions run other code, in whatever thread: who holds one runs that as well."""
    with turn:
        kept = {function: function.__code__ for function in codes}
        try:
            for function, code in codes.items():
                function.__code__ = code
            yield
        finally:
            for function, code in kept.items():
                function.__code__ = code
