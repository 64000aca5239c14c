"""Checkpoints of a training run, and how it is resumed."""

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_alexnet.callbacks.csv_log import TIMINGS, Row
from keras_alexnet.callbacks.diagnostics import TrainingDivergedError, first_broken_layer
from keras_alexnet.callbacks.schedules import Schedule, current_learning_rate, inner_optimizer
from keras_alexnet.checkpoints import CheckpointError, TrainingCheckpoints, saved_state
from keras_alexnet.run_directory import RunDirectory


@dataclass
class Progress:
    """The position of a run: `step` of `epoch` is the next one to do. Saved with every checkpoint."""

    epoch: int = 0
    step: int = 0
    schedule: dict[str, float] = dataclasses.field(default_factory=dict)
    history: list[Row] = dataclasses.field(default_factory=list)

    def is_best(self) -> bool:
        """Whether an epoch has just ended with a lower `val_top1_error` than all before it."""
        errors = self._errors()
        return self.step == 0 and bool(errors) and errors[-1] < min(errors[:-1], default=math.inf)

    @property
    def epochs_since_best(self) -> int:
        """Number of epochs since the first one with the lowest `val_top1_error`; 0 if none has one."""
        errors = self._errors()
        return len(errors) - 1 - errors.index(min(errors)) if errors else 0

    def stops_early(self, epochs: int) -> bool:
        """Whether an epoch has ended and the lowest `val_top1_error` is that of at least `epochs` before; 0: never."""
        return self.step == 0 and 0 < epochs <= self.epochs_since_best

    def early_stop_report(self) -> str:
        """Why a run stopped early, and where the lowest error was."""
        waited = self.epochs_since_best
        return (
            f"stopped early after epoch {self.epoch}: the validation top-1 error has not fallen for {waited} epochs; "
            f"it was lowest in epoch {self.epoch - waited}, {min(self._errors()):.2%}: the checkpoint in best/"
        )

    def _errors(self) -> list[float]:
        return [row["val_top1_error"] for row in self.history if "val_top1_error" in row]


class Resume(keras.callbacks.Callback):
    """Saves a checkpoint after each epoch, and resumes training from it in a later process.

    Weights, optimizer, random generators of the layers and the schedule are restored. With a `training_dataset` that
    starts at the same epoch, a resumed `fit` ends with the same weights as one that was not interrupted. Epochs that
    were interrupted are trained again from their beginning; only the train command resumes within an epoch. Layers are
    saved by name: give names to those of a model of your own.

    Args:
      directory: gets checkpoints/ and, where the logs have `val_top1_error`, best/.
      keep: how many of the newest checkpoints stay.
      schedule: a callback of `keras_alexnet.callbacks.schedules` whose state belongs to the run; optional.
      read_only: for processes of a cluster other than the chief: nothing is written.
      **tracked: other objects that tf.train.Checkpoint can save.

    Example:

    ```python
    resume = Resume("run", schedule=schedule)
    train = training_dataset("photos", batch_size=32, start_epoch=resume.initial_epoch)
    model.fit(train, epochs=10, initial_epoch=resume.initial_epoch, callbacks=[schedule, resume])
    ```
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        keep: int = 3,
        schedule: Schedule | None = None,
        read_only: bool = False,
        **tracked: Any,
    ):
        super().__init__()
        self._run, self._keep, self._schedule, self._read_only = RunDirectory(directory), keep, schedule, read_only
        self._tracked = tracked
        self._checkpoints: TrainingCheckpoints | None = None
        self.progress = Progress()

    @property
    def initial_epoch(self) -> int:
        """The epoch at which the newest checkpoint continues; 0 if there is none."""
        return (saved_state(self._run.checkpoints_dir) or {}).get("epoch", 0)

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Restores the newest checkpoint, if there is one."""
        self.restore()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Saves; CheckpointError if that fails."""
        self.end_epoch(dict(logs or {}))
        self.save(int(keras.ops.convert_to_numpy(inner_optimizer(self.model.optimizer).iterations)))

    def restore(self) -> bool:
        """Restores the newest checkpoint into the model and `progress`; False if there is none."""
        with self.model.distribute_strategy.scope():
            self.model.optimizer.build(self.model.trainable_variables)
        self._checkpoints = TrainingCheckpoints(self._run, self._keep, self.model, self._read_only, **self._tracked)
        state = self._checkpoints.restore_latest()
        self.progress = Progress(**state or {})
        if self._schedule is not None and self.progress.schedule:
            self._schedule.state = self.progress.schedule
        return state is not None

    def end_epoch(self, row: Row) -> None:
        """Moves `progress` to the beginning of the next epoch and adds `row` to its history."""
        self.progress.history.append({name: value for name, value in row.items() if name not in TIMINGS})
        self.progress.epoch, self.progress.step = self.progress.epoch + 1, 0

    def save(self, steps: int) -> None:
        """Writes a checkpoint at `progress`, and the best one if this is it.

        Raises:
          TrainingDivergedError: if a weight is not finite.
          CheckpointError: if it cannot be written.
        """
        layer = first_broken_layer(self.model)
        if layer:
            raise TrainingDivergedError(
                f"the weights of {layer} are", steps, current_learning_rate(self.model.optimizer)
            )
        if self._checkpoints is None:
            raise CheckpointError("`restore` must come before `save`")
        if self._schedule is not None:
            self.progress.schedule = self._schedule.state
        state = dataclasses.asdict(self.progress)
        # The best one first: if the process is killed between the two, the resumed run writes both.
        if self.progress.is_best():
            self._checkpoints.save_best(state, steps, self.progress.history[-1])
        self._checkpoints.save(state, steps)
