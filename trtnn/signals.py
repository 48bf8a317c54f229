"""Signals while TensorRT works: what their handlers raise is kept, which would be lost there."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_NUMBERS = tuple(signal.valid_signals())  # asked once: they come as an Enum's members, each looked up


@dataclass
class Held:
    """What handlers of signals raise is kept while this is open: the first of it, until it can be raised."""

    error: BaseException | None = None
    is_open: bool = True


@contextmanager
def held_signals() -> Iterator[Held]:
    """Keep what handlers of signals raise until the end of the block, where TensorRT works.

    Python runs then only where TensorRT calls it, for its log or its progress, and there TensorRT swallows what is
    raised. The handlers that were there decide as before: what one raises is held, and if none raises anything the work
    goes on.

    Raises:
        BaseException: the first that a handler raised.
    """
    held = Held()
    if threading.current_thread() is not threading.main_thread():  # where no handler ever runs
        yield held
        return
    try:
        with contextlib.ExitStack() as restored:
            for number in _NUMBERS:
                handler = signal.getsignal(number)
                if callable(handler):
                    restored.callback(signal.signal, number, handler)
                    signal.signal(number, _holder(held, handler))
            try:
                yield held
            finally:
                held.is_open = False  # first: a signal that comes while they are restored may leave some as they are
    finally:
        if held.error is not None:
            raise held.error


def _holder(held: Held, handler: Callable[[int, Any], Any]) -> Callable[[int, Any], None]:
    def hold(number: int, frame: Any) -> None:
        try:
            handler(number, frame)
        except BaseException as error:
            if not held.is_open:
                raise
            held.error = held.error or error

    return hold
