"""The progress bar of commands and of library functions that take long."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ProgressBar:
    """The bar that `progress_bar` shows.

    Attributes:
      completed: units done so far.
    """

    def __init__(self, bar: Progress, task: TaskID, completed: int) -> None:
        self._bar, self._task, self.completed = bar, task, completed

    def update(self, completed: int | None = None, status: str = "") -> None:
        """Moves the bar to `completed`, one further if None, and shows `status` behind it."""
        self.completed = self.completed + 1 if completed is None else completed
        self._bar.update(self._task, completed=self.completed, status=status)


@contextlib.contextmanager
def progress_bar(
    description: str, total: int | None, *, unit: str = "images", completed: int = 0
) -> Iterator[ProgressBar]:
    """Shows a progress bar on stderr while the block runs; only on a terminal, and it disappears at the end.

    What the block prints appears above the bar.

    Args:
      description: in front of the bar; may be empty.
      total: units of work; None if unknown.
      unit: what is counted.
      completed: units done before.
    """
    # Not above: rich takes a tenth of a second to import, which --help and library users should not wait for.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit, markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}", markup=False),
    )
    bar = Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # otherwise what a pipe should receive appears on stderr
    )
    # Up to version 14.0 of rich a bar that is disabled prints an empty line at its end.
    with bar if console.is_terminal else contextlib.nullcontext():
        yield ProgressBar(bar, bar.add_task(description, total=total, completed=completed, status=""), completed)
