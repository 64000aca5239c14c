"""The paper's update rule."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from keras_alexnet.distribute.towers import TowerMirroredStrategy


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
      layer_lr_multipliers: layer name -> what multiplies the rate of all its variables; 1 for layers not named. With 0
        they stay exactly as they are, velocity and decay included, as in the 2012 code (weights.cu).

    A variable is a bias if its name contains "bias". Both multipliers may be set again in the course of training.

    Raises:
      ValueError: if momentum is outside [0, 1), if weight_decay or a multiplier is negative, or if a layer named
        in layer_lr_multipliers has no variable among those trained.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        bias_lr_multiplier: float = 1.0,
        decay_biases: bool = True,
        layer_lr_multipliers: Mapping[str, float] | None = None,
        name: str = "paper_sgd",
        **kwargs,
    ):
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum}; expected 0 <= momentum < 1")
        if weight_decay < 0 or bias_lr_multiplier < 0:
            raise ValueError(
                f"weight_decay={weight_decay}, bias_lr_multiplier={bias_lr_multiplier}; expected neither below 0"
            )
        for layer, multiplier in (layer_lr_multipliers or {}).items():
            if not multiplier >= 0:
                raise ValueError(f"layer_lr_multipliers: {layer}={multiplier}; expected a number not below 0")
        # The base class must not see weight_decay: it would apply Keras' decoupled rule as well.
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum, self.decay, self.decay_biases = momentum, weight_decay, decay_biases
        self._bias_lr_multiplier, self._layer_lr_multipliers = bias_lr_multiplier, dict(layer_lr_multipliers or {})

    def build(self, variables: list) -> None:
        """Creates one velocity a variable, zero at first, on the variable's own device."""
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")
        self._is_bias = ["bias" in variable.name for variable in variables]
        # A variable's path ends in layer/variable.
        self._layers = [variable.path.split("/")[-2:][0] for variable in variables]
        unknown = sorted(self._layer_lr_multipliers.keys() - set(self._layers))
        if unknown:
            known = ", ".join(dict.fromkeys(self._layers))
            raise ValueError(f"layer_lr_multipliers: found {unknown[0]!r}; expected some of {known}")
        # In the checkpoint, because schedules change them.
        self._multipliers = self.add_variable((len(variables),), "ones", name="lr_multipliers")
        self._set_multipliers()

    @property
    def bias_lr_multiplier(self) -> float:
        """What multiplies the rate of biases."""
        return self._bias_lr_multiplier

    @bias_lr_multiplier.setter
    def bias_lr_multiplier(self, multiplier: float) -> None:
        self._bias_lr_multiplier = multiplier
        self._set_multipliers()

    @property
    def layer_lr_multipliers(self) -> dict[str, float]:
        """Layer name -> what multiplies the rate of all its variables."""
        return self._layer_lr_multipliers

    @layer_lr_multipliers.setter
    def layer_lr_multipliers(self, multipliers: Mapping[str, float]) -> None:
        self._layer_lr_multipliers = dict(multipliers)
        self._set_multipliers()

    def _set_multipliers(self) -> None:
        if not self.built:
            return
        multipliers = [
            self._layer_lr_multipliers.get(layer, 1.0) * (self._bias_lr_multiplier if is_bias else 1.0)
            for layer, is_bias in zip(self._layers, self._is_bias, strict=True)
        ]
        self._multipliers.assign(multipliers)

    def update_step(self, gradient, variable, learning_rate) -> None:
        """Applies the rule to one variable."""
        index = self._get_variable_index(variable)
        velocity, multiplier = self.velocities[index], ops.cast(self._multipliers[index], variable.dtype)
        rate = ops.cast(learning_rate, variable.dtype) * multiplier
        momentum = self.momentum * ops.cast(multiplier > 0, variable.dtype)
        change = velocity * momentum - rate * ops.cast(gradient, variable.dtype)
        if self.decay and (self.decay_biases or not self._is_bias[index]):
            change = change - self.decay * rate * variable
        self.assign(velocity, change)
        self.assign_add(variable, change)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        # Keras' own would first gather the gradients of both towers on one device.
        strategy, pairs = tf.distribute.get_strategy(), list(grads_and_vars)
        is_placed = isinstance(strategy, TowerMirroredStrategy) and tf.distribute.get_replica_context() is not None
        if not is_placed or any(gradient is None for gradient, _ in pairs):
            return super()._all_reduce_sum_gradients(pairs)
        gradients, variables = zip(*pairs, strict=True)
        return list(zip(strategy.sum_at(gradients, variables), variables, strict=True))

    def get_config(self) -> dict[str, Any]:
        """Arguments for `from_config`."""
        return super().get_config() | {
            "momentum": self.momentum,
            "weight_decay": self.decay,
            "bias_lr_multiplier": self.bias_lr_multiplier,
            "decay_biases": self.decay_biases,
            "layer_lr_multipliers": self.layer_lr_multipliers,
        }
