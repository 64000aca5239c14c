"""metrics.csv: one row per epoch."""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

import keras

from keras_alexnet.callbacks.schedules import current_learning_rate
from pipelines.atomic import write_file
from pipelines.cli import reason_of
from pipelines.cli.regular_files import read_csv

Row = dict[str, float]

# Left out of metrics.csv and of checkpoints, so that equal runs have equal files.
TIMINGS = ("images_per_s", "waiting_for_data")


class CSVLog(keras.callbacks.Callback):
    """Writes one row per epoch, the whole file in one step. Unlike `keras.callbacks.CSVLogger` it can be resumed.

    Epochs that are trained again (`fit(initial_epoch=...)`) replace their rows. Columns are epoch (from 1),
    learning_rate and the logs of the epoch. A full disk is reported and does not stop the training.

    Args:
      path: file to write; an existing one is continued.

    Example:

    ```python
    model.fit(train, epochs=10, callbacks=[CSVLog("metrics.csv")])
    ```
    """

    def __init__(self, path: str | os.PathLike[str]):
        super().__init__()
        self.path = Path(path)
        self.rows: list[dict] = []
        self._learning_rate = 0.0

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Reads the rows of earlier epochs."""
        if self.path.exists():
            self.rows = list(read_csv(self.path))

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Notes the learning rate of the epoch, which a schedule may change at its end."""
        self._learning_rate = current_learning_rate(self.model.optimizer)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Adds the row of an epoch."""
        row = {"epoch": epoch + 1, "learning_rate": self._learning_rate} | dict(logs or {})
        kept = [earlier for earlier in self.rows if int(earlier["epoch"]) <= epoch]
        self.rows = [*kept, {name: value for name, value in row.items() if name not in TIMINGS}]
        self.write()

    def write(self) -> None:
        """Makes the file hold `rows` and nothing else."""
        text = io.StringIO()
        names = dict.fromkeys(name for row in self.rows for name in row)
        table = csv.DictWriter(text, list(names), lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        try:
            write_file(self.path, text.getvalue())
        except OSError as error:
            print(f"cannot write {self.path}: {reason_of(error)}; training continues", flush=True)
