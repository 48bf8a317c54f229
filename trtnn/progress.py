"""A progress bar fed by TensorRT's IProgressMonitor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


@contextmanager
def build_progress(trt: Any, settings: Any, title: str) -> Iterator[None]:
    """Show how far a build is, on standard error, for the length of the block.

    TensorRT reports phases within phases; the outermost is one bar, and the innermost running is named beside it.

    Args:
        trt: the TensorRT module.
        settings: the ``IBuilderConfig`` that the build is given.
        title: what the bar is called.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[phase]}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=None, phase="")
        monitor = _make_monitor(trt, progress, task)
        settings.progress_monitor = monitor
        try:
            yield
        finally:
            settings.progress_monitor = None
        progress.update(task, total=1, completed=1, phase="")


def _make_monitor(trt: Any, progress: Progress, task: TaskID) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Turns phases and steps into one fraction: each phase takes an equal part of the step it runs in."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.lock = threading.Lock()
            self.phases: dict[str, tuple[float, float, int]] = {}  # name: where it starts, its length, its steps

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self.lock:
                start, length = 0.0, 1.0
                if parent_phase in self.phases:
                    start, whole, steps = self.phases[parent_phase]
                    length = whole / max(steps, 1)
                self.phases[phase_name] = (start, length, num_steps)
                progress.update(task, total=1.0, phase=phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self.lock:
                start, length, steps = self.phases[phase_name]
                progress.update(task, completed=start + length * (step + 1) / max(steps, 1))
            return True

        def phase_finish(self, phase_name: str) -> None:
            with self.lock:
                self.phases.pop(phase_name, None)

    return Monitor()
