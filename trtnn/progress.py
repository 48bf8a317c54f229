"""Progress bars; for a build, what TensorRT's IProgressMonitor gives: a bar, and a way to end it.

And what handlers of signals raise while TensorRT works, which would be lost there.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@contextmanager
def watched(trt: Any, settings: Any, title: str, show: bool) -> Iterator[Held]:
    """Watch the build within the block: what a signal's handler raises ends it, and a bar says how far it is.

    TensorRT reports phases within phases; the outermost is one bar on standard error, and the innermost that runs is
    named beside it.

    Args:
        trt: the TensorRT module.
        settings: the ``IBuilderConfig`` that the build is given.
        title: what the bar is called.
        show: whether there is a bar.

    Raises:
        BaseException: whatever a handler raised, such as KeyboardInterrupt for Ctrl-C; TensorRT has ended the build.
    """
    from rich.console import Console  # not for who only imports trtnn: 30 ms
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[phase]}"))
    # What other threads print to standard output stays there.
    bar = Progress(*columns, console=Console(stderr=True), redirect_stdout=False, disable=not show)
    with bar as progress, held_signals() as held:
        task = progress.add_task(title, total=None, phase="")
        settings.progress_monitor = _make_monitor(trt, progress, task, held)
        try:
            yield held
        finally:
            settings.progress_monitor = None
        if held.error is None:
            progress.update(task, total=1, completed=1, phase="")


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
            for number in signal.valid_signals():
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


def _make_monitor(trt: Any, progress: Progress, task: TaskID, held: Held) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Turns phases and steps into one fraction, which never falls: a phase fills the step that it runs in."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.lock = threading.Lock()
            self.phases: dict[str, tuple[float, float]] = {}  # name: where its next step starts, a step's length
            self.fraction = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self.lock:
                start, length = (0.0, 1.0) if parent_phase is None else self.phases.get(parent_phase, (0.0, 1.0))
                self.phases[phase_name] = (start, length / max(num_steps, 1))
                progress.update(task, total=1.0, phase=phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self.lock:
                if phase_name in self.phases:  # phases may share a name, and the first to finish takes it along
                    start, length = self.phases[phase_name]
                    self.phases[phase_name] = (start + length, length)
                    self.fraction = max(self.fraction, start + length)
                    progress.update(task, completed=self.fraction)
            return held.error is None

        def phase_finish(self, phase_name: str) -> None:
            with self.lock:
                self.phases.pop(phase_name, None)

    return Monitor()


@contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """Show a bar on standard error, if that is a terminal, and give what to call after each piece of work.

    Args:
        title: what the bar is called.
        total: the number of pieces, None where nobody can tell.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)
