"""The learning rate schedules of the 2012 code; for the paper's see `PlateauSchedule`."""

from dataclasses import dataclass

from keras_alexnet.callbacks.schedules import Schedule, inner_optimizer


class StagedSchedule(Schedule):
    """Four equal stages at the learning rate times 1, 1/6.3, 1/39.7 and 1/250.

    The author's own later, reproducible schedule (run #170 of the 2012 code: .01, 1.59e-3, 2.52e-4, 4e-5).

    Args:
      learning_rate: that of the first stage.
      epochs: length of the whole run.
      bias_lr_multiplier: learning rate of biases over that of weights at the start; from the middle of the run a tenth
        of it (#170: .02, .002). Needs a `PaperSGD`. None leaves the optimizer's multiplier as it is.
      warmup_epochs: see `Schedule`.
    """

    def __init__(
        self, learning_rate: float, epochs: int, bias_lr_multiplier: float | None = None, warmup_epochs: float = 0.0
    ):
        super().__init__(warmup_epochs)
        self.learning_rate, self.epochs, self.bias_lr_multiplier = learning_rate, epochs, bias_lr_multiplier

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Sets the learning rates of the stage of `epoch`."""
        self._epoch = epoch
        weights = 250 ** (-min(3, 4 * epoch // self.epochs) / 3)
        biases = 0.1 if 2 * epoch >= self.epochs else 1.0
        self._set_learning_rate(self.learning_rate * weights)
        if self.bias_lr_multiplier is not None:
            inner_optimizer(self.model.optimizer).bias_lr_multiplier = self.bias_lr_multiplier * biases / weights


@dataclass(frozen=True)
class _Stage:
    """From `epoch` of 91: learning rates relative to the initial ones, and whether colours are augmented."""

    epoch: int
    weights: float
    biases: float
    conv1: float
    augments_colors: bool


class HandSchedule(Schedule):
    """The authors' manual changes of 2012 to net #145 on ILSVRC-2012, over 91 epochs.

    Two of them are not in the paper: conv1 gets a lower learning rate and is then frozen, and PCA colour augmentation
    is switched off. Needs a `PaperSGD`. Runs of another length go through the same stages in proportion.

    Args:
      learning_rate: the initial one; .01 in 2012.
      epochs: length of the whole run.
      bias_lr_multiplier: learning rate of biases over that of weights at the start: .02 over .01 in 2012, and .002 for
        the rest of the run.
      warmup_epochs: see `Schedule`.
    """

    # Drops of net #145 on ILSVRC-2012: comments in layer-params-145.cfg of the 2012 code.
    STAGES = (
        _Stage(0, 1, 1, 1, True),
        _Stage(25, 1e-1, 1e-1, 1e-1, True),
        _Stage(51, 1e-2, 1e-1, 1e-2, True),
        _Stage(67, 1e-2, 1e-1, 1e-3, False),
        _Stage(72, 1e-2, 1e-1, 0, False),
        _Stage(79, 1e-3, 1e-1, 0, False),
    )
    EPOCHS = 91

    def __init__(self, learning_rate: float, epochs: int, bias_lr_multiplier: float = 2.0, warmup_epochs: float = 0.0):
        super().__init__(warmup_epochs)
        self.learning_rate, self.epochs, self.bias_lr_multiplier = learning_rate, epochs, bias_lr_multiplier

    def _stage(self, epoch: int) -> _Stage:
        return [stage for stage in self.STAGES if stage.epoch * self.epochs <= epoch * self.EPOCHS][-1]

    def augments_colors(self, epoch: int) -> bool:
        """Whether the training images of `epoch` (from 0) get PCA colour augmentation."""
        return self._stage(epoch).augments_colors

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Sets the learning rates of the stage of `epoch`."""
        self._epoch = epoch
        stage, optimizer = self._stage(epoch), inner_optimizer(self.model.optimizer)
        self._set_learning_rate(self.learning_rate * stage.weights)
        optimizer.bias_lr_multiplier = self.bias_lr_multiplier * stage.biases / stage.weights
        optimizer.layer_lr_multipliers = optimizer.layer_lr_multipliers | {"conv1": stage.conv1 / stage.weights}
