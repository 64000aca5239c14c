"""What a training run shows and writes down: progress, metrics.csv (one row an epoch), and TensorBoard's files."""

import csv
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from keras_alexnet.description import replace_file
from pipelines.command import reason_of


class RunLogs:
    """Logs of the run in `model_dir`."""

    def __init__(self, model_dir: str):
        self._csv = Path(model_dir) / "metrics.csv"
        folder = Path(model_dir) / "logs"
        self._writers = {name: tf.summary.create_file_writer(str(folder / name)) for name in ("train", "validation")}

    def write_rows(self, rows: Sequence[dict[str, float]]) -> None:
        """Makes metrics.csv hold `rows` and nothing else: complete whenever it is looked at."""
        text = io.StringIO()
        names = dict.fromkeys(name for row in rows for name in row)
        table = csv.DictWriter(text, list(names), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        try:
            replace_file(self._csv, text.getvalue())
        except OSError as error:
            print(f"cannot write {self._csv}: {reason_of(error)}; training goes on", flush=True)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes `values` for TensorBoard; those named val_... go to the validation curve of the same name."""
        for name, value in values.items():
            is_validation = name.startswith("val_")
            with self._writers["validation" if is_validation else "train"].as_default(step):
                tf.summary.scalar(name.removeprefix("val_"), value)
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Ends TensorBoard's files."""
        for writer in self._writers.values():
            writer.close()


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
        self._images, self._since, self._shown = 0, None, time.monotonic()

    def count_step(self) -> None:
        """Notes that one more step has been done."""
        if self._since is None:
            # The first step is mostly TensorFlow tracing the graph.
            self._since = time.monotonic()
        else:
            self._images += self._batch_size

    def images_per_second(self) -> float:
        """Since the end of the first step; 0 before the second."""
        return self._images / (time.monotonic() - self._since) if self._images else 0.0

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
