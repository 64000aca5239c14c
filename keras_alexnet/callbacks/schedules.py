"""Learning rate schedules: Keras callbacks, for `model.fit` and the train command alike."""

import itertools
import math
from collections.abc import Sequence

import keras
from keras import ops


def inner_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer itself, where Keras has wrapped it for loss scaling (float16)."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def current_learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """The learning rate with six digits, under any tf.distribute strategy.

    A mirrored variable has no `float()`, and the float32 that holds .01 would be shown as 0.009999999776.
    """
    return float(f"{float(ops.convert_to_numpy(optimizer.learning_rate)):.6g}")


class Schedule(keras.callbacks.Callback):
    """Base class of the schedules: a constant learning rate with an optional warm-up.

    In the first `warmup_epochs` the learning rate rises linearly, step by step, to what the schedule demands: step `s`
    of the `w` steps of the warm-up, counted from 0, has the factor `(s + 1) / w`.

    In `fit` the learning rate is set before each call into TensorFlow: with `steps_per_execution` all steps of a call
    share that of the first.

    Args:
      warmup_epochs: length of the warm-up, in epochs or fractions of them; at least 0.

    Raises:
      ValueError: if `warmup_epochs` is negative.
    """

    def __init__(self, warmup_epochs: float = 0.0):
        super().__init__()
        if warmup_epochs < 0:
            raise ValueError(f"warmup_epochs={warmup_epochs}: expected a number that is not negative")
        self.warmup_epochs = warmup_epochs
        # The learning rate of the current epoch, which the optimizer does not hold during the warm-up.
        self._rate: float | None = None
        self._epoch = 0

    @property
    def state(self) -> dict[str, float]:
        """What a resumed run needs besides the optimizer's own variables."""
        return {"learning_rate": self._rate} if self.warmup_epochs and self._rate is not None else {}

    @state.setter
    def state(self, state: dict[str, float]) -> None:
        self._rate = state.get("learning_rate")

    def augments_colors(self, epoch: int) -> bool:
        """Whether the training images of `epoch` (from 0) get PCA colour augmentation."""
        return True

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Sets the learning rate of `epoch`; here it stays that of the epoch before."""
        self._epoch = epoch
        if self._rate is None or not self.warmup_epochs:
            self._rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Sets the learning rate of a step of `fit`, where it changes from step to step."""
        if not self.changes_within_epochs:
            return
        steps = (self.params or {}).get("steps")
        if not steps:
            raise ValueError("steps_per_epoch is missing: a learning rate that changes at each step needs it")
        self.model.optimizer.learning_rate = self.learning_rate_of_step(self._epoch, batch, steps)

    @property
    def changes_within_epochs(self) -> bool:
        """Whether the learning rate depends on the step, not only on the epoch."""
        return self.warmup_epochs > 0

    def learning_rate_of_step(self, epoch: int, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step of the current epoch.

        Args:
          epoch: the current epoch, from 0, for which `on_epoch_begin` was called.
          step: step of this epoch, from 0.
          steps_per_epoch: at least 1.
        """
        assert self._rate is not None, "on_epoch_begin comes first"
        warmup = self.warmup_epochs * steps_per_epoch
        done = epoch * steps_per_epoch + step + 1
        return self._rate * (done / warmup if done < warmup else 1.0)

    def _set_learning_rate(self, rate: float) -> None:
        self._rate = rate
        self.model.optimizer.learning_rate = rate


class PlateauSchedule(Schedule):
    """Divides the learning rate by ten when validation error stops improving, three times in all (paper, section 5).

    Works in `model.fit(callbacks=[...])` and in the train command, whose checkpoints hold its `state`.

    Args:
      monitor: the epoch log to watch; lower is better.
      patience: epochs without a new minimum before a division. The paper's authors judged by eye.
      divisor: 10 in the paper.
      divisions: 3 in the paper.
      warmup_epochs: see `Schedule`; the paper has none.

    Raises:
      ValueError: at an epoch's end, if the logs lack `monitor`.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        divisor: float = 10.0,
        divisions: int = 3,
        warmup_epochs: float = 0.0,
    ):
        super().__init__(warmup_epochs)
        self.monitor, self.patience, self.divisor, self.divisions = monitor, patience, divisor, divisions
        self.best, self.waited, self.divided = float("inf"), 0, 0

    @property
    def state(self) -> dict[str, float]:
        """What a resumed run needs besides the optimizer's own learning rate."""
        return super().state | {"best": self.best, "waited": self.waited, "divided": self.divided}

    @state.setter
    def state(self, state: dict[str, float]) -> None:
        self._rate = state.get("learning_rate")
        # A run may have had another schedule before.
        self.best = state.get("best", float("inf"))
        self.waited, self.divided = int(state.get("waited", 0)), int(state.get("divided", 0))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Divides the learning rate if the monitored value has stopped improving."""
        logs = logs or {}
        if self.monitor not in logs:
            raise ValueError(
                f"monitor={self.monitor!r}: expected one of {', '.join(sorted(logs))}, which the epoch's logs hold; "
                "those of validation need fit(validation_data=...)"
            )
        if logs[self.monitor] < self.best:
            self.best, self.waited = logs[self.monitor], 0
            return
        self.waited += 1
        if self.waited >= self.patience and self.divided < self.divisions:
            self.waited, self.divided = 0, self.divided + 1
            assert self._rate is not None, "on_epoch_begin comes first"
            self._set_learning_rate(self._rate / self.divisor)


class CosineSchedule(Schedule):
    """From the initial learning rate to 0 along half a cosine, step by step, after a linear warm-up.

    Step `s` of `t` steps, of which the first `w` are the warm-up, has the learning rate
    `learning_rate * (1 + cos(pi * (s - w) / (t - w))) / 2`.

    Args:
      learning_rate: the initial one, which the warm-up leads to.
      epochs: length of the whole run.
      warmup_epochs: see `Schedule`; less than `epochs`.

    Raises:
      ValueError: if `warmup_epochs` is negative or not less than `epochs`.

    Example:

    ```python
    model.fit(train, epochs=32, callbacks=[keras_alexnet.CosineSchedule(0.01, epochs=32, warmup_epochs=2)])
    ```

    References:
      - Loshchilov, Hutter: SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, equation 5; one period.
    """

    def __init__(self, learning_rate: float, epochs: int, warmup_epochs: float = 0.0):
        super().__init__(warmup_epochs)
        if warmup_epochs >= epochs:
            raise ValueError(f"warmup_epochs={warmup_epochs}: expected less than the {epochs} epochs of the run")
        self._rate, self.epochs = learning_rate, epochs

    @property
    def state(self) -> dict[str, float]:
        """Nothing: the learning rate is a function of the step."""
        return {}

    @state.setter
    def state(self, state: dict[str, float]) -> None:
        pass

    @property
    def changes_within_epochs(self) -> bool:
        """True."""
        return True

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Notes the epoch; the learning rate is set at each step."""
        self._epoch = epoch

    def learning_rate_of_step(self, epoch: int, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step; the arguments are those of `Schedule.learning_rate_of_step`."""
        done = epoch + step / steps_per_epoch - self.warmup_epochs
        share = min(1.0, max(0.0, done / (self.epochs - self.warmup_epochs)))
        warmed = super().learning_rate_of_step(epoch, step, steps_per_epoch)
        return warmed * (1 + math.cos(math.pi * share)) / 2


class StepSchedule(Schedule):
    """Divides the learning rate by ten at given epochs.

    Args:
      learning_rate: the initial one.
      step_epochs: numbers of epochs after which it is divided, increasing, at least 1.
      warmup_epochs: see `Schedule`.

    Raises:
      ValueError: if `step_epochs` are not increasing.

    Example:

    ```python
    # He et al. 2016, section 4.2, and the recipes of most networks for CIFAR-10.
    model.fit(train, epochs=300, callbacks=[keras_alexnet.StepSchedule(0.1, step_epochs=(150, 225))])
    ```
    """

    def __init__(self, learning_rate: float, step_epochs: Sequence[int], warmup_epochs: float = 0.0):
        super().__init__(warmup_epochs)
        if any(after <= before for before, after in itertools.pairwise((0, *step_epochs))):
            raise ValueError(f"step_epochs={','.join(map(str, step_epochs))}: expected increasing numbers of epochs")
        self.learning_rate, self.step_epochs = learning_rate, tuple(step_epochs)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Sets the learning rate of `epoch`."""
        self._epoch = epoch
        self._set_learning_rate(self.learning_rate * 0.1 ** sum(epoch >= step for step in self.step_epochs))
