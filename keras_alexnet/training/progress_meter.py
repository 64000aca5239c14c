"""Progress of an epoch on the console."""

import math
import sys
import time

import keras


class EpochMeter:
    """Keras' progress bar on a terminal, a line a minute in a log file, with images a second.

    Args:
      steps: of the epoch.
      batch_size: images a step.
    """

    def __init__(self, steps: int, batch_size: int):
        self._steps, self._batch_size, self._is_watched = steps, batch_size, sys.stdout.isatty()
        names = ["loss", "top1_error", "top5_error", "images/s"]
        # In a log file the bar would be a line each time; there it prints at the epoch's end only.
        verbose = 1 if self._is_watched else 2
        self._bar = keras.utils.Progbar(steps, verbose=verbose, stateful_metrics=names, unit_name="step")
        self._images, self._waited, self._since, self._shown = 0, 0.0, None, time.monotonic()

    def count_steps(self, count: int, waited: float) -> None:
        """Notes that `count` more steps have been done, after `waited` seconds for the data (nan if not known)."""
        if self._since is None:
            # The first call is mostly TensorFlow tracing the graph.
            self._since = time.monotonic()
        else:
            self._images += count * self._batch_size
            self._waited += waited

    def images_per_second(self) -> float:
        """Since the end of the first call; 0 before the second."""
        return self._images / (time.monotonic() - self._since) if self._images else 0.0

    def rates(self) -> dict[str, float]:
        """Images a second, and the share of the time that went into waiting for data, where it is known."""
        rates = {"images_per_s": self.images_per_second()}
        if self._images and math.isfinite(self._waited):
            rates["waiting_for_data"] = self._waited / (time.monotonic() - self._since)
        return rates

    def is_due(self) -> bool:
        """Whether it is time to show something. Reading a step's numbers waits for the device, so not at every step."""
        return time.monotonic() - self._shown > (0.5 if self._is_watched else 60.0)

    def show(self, step: int, means: dict[str, float], last: bool = False) -> None:
        """Shows the epoch's means after `step` steps; `last` ends the bar."""
        numbers = means | {"images/s": self.images_per_second()}
        self._bar.update(step, list(numbers.items()), finalize=last)
        if not (self._is_watched or last):
            print(f"{step}/{self._steps} - " + " - ".join(f"{k}: {v:.4g}" for k, v in numbers.items()), flush=True)
        self._shown = time.monotonic()
