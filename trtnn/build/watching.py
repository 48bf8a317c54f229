"""TensorRT's IProgressMonitor: a bar that says how far a build is, and a way to end it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trtnn.progress import make_bar
from trtnn.signals import Held, held_signals

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
    with make_bar(show, "{task.fields[phase]}") as progress, held_signals() as held:
        task = progress.add_task(title, total=None, phase="")
        settings.progress_monitor = _make_monitor(trt, progress, task, held)
        try:
            yield held
        finally:
            settings.progress_monitor = None
        if held.error is None:
            progress.update(task, total=1, completed=1, phase="")


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
                start, length = self.phases.get(parent_phase or "", (0.0, 1.0))
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
