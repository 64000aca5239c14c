"""The paper's update rule, and the learning-rate schedules."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_alexnet")
class PaperSGD(keras.optimizers.Optimizer):
    """Stochastic gradient descent as printed in the paper (section 5):

        v <- momentum * v - weight_decay * rate * w - rate * gradient
        w <- w + v

    Weight decay sits inside the velocity; Keras' own `weight_decay=` is applied beside it and is another rule.

    Args:
      learning_rate: a number or a Keras schedule; 0.01 at the start (paper, section 5).
      momentum: 0.9 (paper, section 5).
      weight_decay: 0.0005 (paper, section 5).
      bias_lr_multiplier: multiplies the rate of biases; 1 in the paper, 2 in the 2012 code's runs.
      decay_biases: whether biases decay; the paper makes no exception, the 2012 code does (weights.cu).

    A variable is a bias if its name contains "bias".

    Raises:
      ValueError: if momentum is outside [0, 1), or weight_decay or bias_lr_multiplier is negative.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        bias_lr_multiplier: float = 1.0,
        decay_biases: bool = True,
        name: str = "paper_sgd",
        **kwargs,
    ):
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum}; expected 0 <= momentum < 1")
        if weight_decay < 0 or bias_lr_multiplier < 0:
            raise ValueError(
                f"weight_decay={weight_decay}, bias_lr_multiplier={bias_lr_multiplier}; expected neither below 0"
            )
        # The base class must not see weight_decay: it would apply Keras' decoupled rule as well.
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum, self.decay = momentum, weight_decay
        self.bias_lr_multiplier, self.decay_biases = bias_lr_multiplier, decay_biases

    def build(self, variables: list) -> None:
        """Creates one velocity a variable, zero at first, on the variable's own device."""
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")
        self._is_bias = ["bias" in variable.name for variable in variables]

    def update_step(self, gradient, variable, learning_rate) -> None:
        """Applies the rule to one variable."""
        index = self._get_variable_index(variable)
        velocity, is_bias = self.velocities[index], self._is_bias[index]
        rate = ops.cast(learning_rate, variable.dtype) * (self.bias_lr_multiplier if is_bias else 1.0)
        change = velocity * self.momentum - rate * ops.cast(gradient, variable.dtype)
        if self.decay and (self.decay_biases or not is_bias):
            change = change - self.decay * rate * variable
        self.assign(velocity, change)
        self.assign_add(variable, change)

    def get_config(self) -> dict[str, Any]:
        """Arguments for `from_config`."""
        return super().get_config() | {
            "momentum": self.momentum,
            "weight_decay": self.decay,
            "bias_lr_multiplier": self.bias_lr_multiplier,
            "decay_biases": self.decay_biases,
        }


def current_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """The learning rate, under any tf.distribute strategy: a mirrored variable cannot be made a float directly."""
    return float(ops.convert_to_numpy(optimizer.learning_rate))


class PlateauSchedule(keras.callbacks.Callback):
    """Divides the learning rate by ten when validation error stops improving, three times in all (paper, section 5).

    Works in `model.fit(callbacks=[...])` and in the train command, whose checkpoints hold its `state`.

    Args:
      monitor: the epoch log to watch; lower is better.
      patience: epochs without a new minimum before a division. The paper's authors judged by eye.
      divisor: 10 in the paper.
      divisions: 3 in the paper.

    Raises:
      KeyError: at an epoch's end, if the logs lack `monitor`.
    """

    def __init__(self, monitor: str = "val_loss", patience: int = 5, divisor: float = 10.0, divisions: int = 3):
        super().__init__()
        self.monitor, self.patience, self.divisor, self.divisions = monitor, patience, divisor, divisions
        self.best, self.waited, self.divided = float("inf"), 0, 0

    @property
    def state(self) -> dict[str, float]:
        """What a resumed run needs beside the optimizer's own learning rate."""
        return {"best": self.best, "waited": self.waited, "divided": self.divided}

    @state.setter
    def state(self, state: dict[str, float]) -> None:
        self.best, self.waited, self.divided = state["best"], int(state["waited"]), int(state["divided"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at the epoch's validation error and divides the rate where it has stopped improving."""
        logs = logs or {}
        if self.monitor not in logs:
            raise KeyError(f"PlateauSchedule watches {self.monitor!r}; the epoch's logs hold {sorted(logs)}")
        if logs[self.monitor] < self.best:
            self.best, self.waited = logs[self.monitor], 0
            return
        self.waited += 1
        if self.waited >= self.patience and self.divided < self.divisions:
            self.waited, self.divided = 0, self.divided + 1
            self.model.optimizer.learning_rate = current_rate(self.model.optimizer) / self.divisor


class StagedSchedule(keras.callbacks.Callback):
    """Four equal stages at the rate times 1, 1/6.3, 1/39.7 and 1/250.

    The author's own later, reproducible schedule (run #170 of the 2012 code: .01, 1.59e-3, 2.52e-4, 4e-5).

    Args:
      learning_rate: of the first stage.
      epochs: of the whole run.
    """

    def __init__(self, learning_rate: float, epochs: int):
        super().__init__()
        self.learning_rate, self.epochs = learning_rate, epochs

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Sets the rate of the stage that `epoch` belongs to."""
        stage = min(3, 4 * epoch // self.epochs)
        self.model.optimizer.learning_rate = self.learning_rate * 250 ** (-stage / 3)
