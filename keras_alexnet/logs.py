"""What a training run writes down: metrics.csv, one row an epoch, and TensorBoard's files."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from keras_alexnet.checkpoints import replace_file


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
        replace_file(self._csv, text.getvalue())

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
