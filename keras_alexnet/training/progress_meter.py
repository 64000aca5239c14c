"""Progress of an epoch: a bar on a terminal, a line per minute in a log file."""

import contextlib
import math
import sys
import time

from pipelines.cli.progress import progress_bar


class EpochMeter:
    """Shows the progress of an epoch, with images per second; a context manager.

    Args:
      epoch, epochs: number of the epoch, from 1, and of all.
      steps: steps of the epoch.
      batch_size: images per step.
      completed: steps done before, in a resumed epoch.
    """

    def __init__(self, epoch: int, epochs: int, steps: int, batch_size: int, completed: int = 0):
        self._steps, self._batch_size, self._is_terminal = steps, batch_size, sys.stdout.isatty()
        self._images, self._waited, self._shown = 0, 0.0, time.monotonic()
        self._since: float | None = None
        self._started, self._first_step = time.monotonic(), completed
        self._stack = contextlib.ExitStack()
        print(f"Epoch {epoch}/{epochs}", flush=True)
        self._bar = self._stack.enter_context(progress_bar("", steps, unit="steps", completed=completed))

    def __enter__(self) -> "EpochMeter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def count_steps(self, count: int, waited: float) -> None:
        """Records that `count` more steps are done, after `waited` seconds for their batches (NaN if unknown)."""
        if self._since is None:
            # The first call is mostly the tracing of the graph.
            self._since = time.monotonic()
        else:
            self._images += count * self._batch_size
            self._waited += waited

    def rates(self) -> dict[str, float]:
        """Images per second since the end of the first call, and the share of that time spent waiting for batches.

        Without the first if there was one call only, without the second if it is not known.
        """
        if not self._images or self._since is None:
            return {}
        seconds = time.monotonic() - self._since
        rates = {"images_per_s": self._images / seconds}
        if math.isfinite(self._waited):
            rates["waiting_for_data"] = self._waited / seconds
        return rates

    def is_due(self) -> bool:
        """Whether it is time to show the means. Reading them waits for the device, so not at every step."""
        return time.monotonic() - self._shown > (0.5 if self._is_terminal else 60.0)

    def show(self, step: int, means: dict[str, float], last: bool = False) -> None:
        """Shows the epoch's means after `step` steps; `last` prints them also on a terminal."""
        shown = dict(means)
        if rate := self.rates().get("images_per_s"):
            shown["images/s"] = rate
        numbers = " - ".join(f"{name}: {value:.4g}" for name, value in shown.items())
        self._bar.update(step, numbers)
        if last:
            self._stack.close()
            seconds = time.monotonic() - self._started
            milliseconds = 1000 * seconds / max(1, step - self._first_step)
            print(f"{step}/{self._steps} - {seconds:.0f} s - {milliseconds:.0f} ms/step - {numbers}", flush=True)
        elif not self._is_terminal:
            print(f"{step}/{self._steps} - {numbers}", flush=True)
        self._shown = time.monotonic()
