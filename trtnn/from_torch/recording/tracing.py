"""Functions that ask torch whether a graph is made of them: those that decide by numbers else are told that it is.

Authors write ``if not torch.compiler.is_compiling() and mask.all():`` around a faster way that is right for some
numbers alone; the way that is right for all is what ``torch.export`` gets. No other function is told so, for many leave
out at the same question what is done to lengths, which a recording knows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, contextmanager
from functools import partial
from types import CodeType, FrameType
from typing import Any

import torch

from trtnn.from_torch.recording.frames import OURS
from trtnn.from_torch.recording.replacing import replaced

_QUESTIONS = ("is_compiling", "is_exporting")  # of torch.compiler: what torch.export answers with True


@contextmanager
def answered_questions(told: Set[CodeType], asked: set[CodeType]) -> Iterator[None]:
    """Answer whether a graph is made with True to some functions, and note which others ask.

    Args:
        told: the code of functions that are told so, they and what they call in the forward at hand.
        asked: gets the code of the functions that were under way in a forward as another asked.
    """

    def answering(question: Callable[[], Any]) -> Callable[[], Any]:
        def answer() -> Any:
            codes = _under_way(sys._getframe(2))  # behind what tells this thread from others
            if codes & told:
                return True
            asked.update(codes)
            return question()

        return answer

    with ExitStack() as stack:
        for name in filter(partial(hasattr, torch.compiler), _QUESTIONS):
            stack.enter_context(replaced(torch.compiler, name, answering(getattr(torch.compiler, name))))
        yield


def _under_way(frame: FrameType | None) -> set[CodeType]:
    """Return the code that runs, from a frame to the forward of the module at hand."""
    codes = set()
    while frame is not None and not frame.f_code.co_filename.startswith(OURS):
        codes.add(frame.f_code)
        frame = frame.f_back
    return codes
