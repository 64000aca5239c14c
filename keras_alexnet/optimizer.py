"""The paper's update rule."""

import math
import numbers
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_alexnet.distribute.compilation import compiles_small_functions
from keras_alexnet.distribute.towers import TowerMirroredStrategy

# Of a variable. Compiling takes a few milliseconds, and smaller variables take less than that in a thousand steps.
MINIMUM_COMPILED_SIZE = 2**16


@keras.saving.register_keras_serializable(package="keras_alexnet")
class PaperSGD(keras.optimizers.Optimizer):
    """Stochastic gradient descent with momentum and weight decay, as printed in the AlexNet paper (section 5).

        v <- momentum * v - weight_decay * learning_rate * w - learning_rate * gradient
        w <- w + v

    Weight decay is inside the momentum. The `weight_decay` of Keras' own optimizers is decoupled from it, which is
    another rule. The rule is the same under `fit`, `train_on_batch`, custom loops, mixed precision, `jit_compile`,
    every distribution strategy, and after saving and loading.

    Args:
      learning_rate: float, or a `keras.optimizers.schedules.LearningRateSchedule`. The paper starts with 0.01.
      momentum: float in [0, 1). 0.9 in the paper.
      weight_decay: float, at least 0. 0.0005 in the paper.
      bias_lr_multiplier: float, at least 0. Multiplies the learning rate of biases: 1 in the paper, 2 in the runs of
        the 2012 code. A variable is a bias if its name contains "bias".
      decay_biases: bool. Whether weight decay applies to biases. The paper makes no exception, the 2012 code does
        (weights.cu).
      layer_lr_multipliers: dict from layer name to a float, at least 0, that multiplies the learning rate of the
        layer's variables; 1 for layers that are not named. With 0 the variables stay exactly as they are, and their
        momentum is 0.
      name: str, the optimizer's name.
      **kwargs: other arguments of `keras.optimizers.Optimizer`, such as `clipnorm`.

    `bias_lr_multiplier` and `layer_lr_multipliers` can be assigned between training steps, for example by a callback.
    The values in effect are saved and restored with the optimizer's variables.

    Raises:
      ValueError: if an argument is out of range, or, when the optimizer is built, if no trained variable belongs to a
        layer in `layer_lr_multipliers`.

    Example:

    ```python
    model = keras_alexnet.AlexNet(classes=10, init="he")
    model.compile(
        keras_alexnet.PaperSGD(0.01, layer_lr_multipliers={"conv1": 0.0}),
        loss="sparse_categorical_crossentropy",
    )
    ```

    References:
      - Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012.
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
        **kwargs: Any,
    ):
        _check_not_negative(momentum=momentum, weight_decay=weight_decay)
        if momentum >= 1:
            raise ValueError(f"momentum={momentum}: expected 0 <= momentum < 1")
        if isinstance(learning_rate, int | float):
            _check_not_negative(learning_rate=learning_rate)
        # The base class must not see weight_decay: it would apply Keras' decoupled rule as well.
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum, self.decay, self.decay_biases = momentum, weight_decay, decay_biases
        self._is_from_config = False
        self._bias_lr_multiplier = 1.0
        self._layer_lr_multipliers: dict[str, float] = {}
        self.bias_lr_multiplier = bias_lr_multiplier
        self.layer_lr_multipliers = layer_lr_multipliers or {}

    def build(self, variables: list) -> None:
        """Creates the momentum of each variable, on the variable's device, and the learning rate multipliers."""
        if self.built:
            return
        # A variable's path ends in layer/variable.
        self._layers = tuple(variable.path.split("/")[-2:][0] for variable in variables)
        self._is_bias = tuple("bias" in variable.name for variable in variables)
        unknown = sorted(self._layer_lr_multipliers.keys() - set(self._layers))
        if unknown:
            known = ", ".join(dict.fromkeys(self._layers))
            raise ValueError(f"layer_lr_multipliers: found {unknown[0]!r}; expected some of {known}")
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum")
        # A variable, because callbacks change the multipliers between the steps of a compiled function. Its values
        # come from an initializer: Keras may build an optimizer while it traces a function or inside a replica, where
        # an assignment would become part of a graph that is discarded, or fail.
        self._multipliers = self.add_variable((len(variables),), self._initial_multipliers, name="lr_multipliers")
        # Not one for all optimizers: its traces refer to variables, and fail when the first one's have been deleted.
        self._compiled_update = tf.function(_update, jit_compile=True, autograph=False)

    @property
    def bias_lr_multiplier(self) -> float:
        """Multiplies the learning rate of biases."""
        return self._bias_lr_multiplier

    @bias_lr_multiplier.setter
    def bias_lr_multiplier(self, multiplier: float) -> None:
        _check_not_negative(bias_lr_multiplier=multiplier)
        self._bias_lr_multiplier = float(multiplier)
        self._assign_multipliers()

    @property
    def layer_lr_multipliers(self) -> Mapping[str, float]:
        """Layer name -> multiplier of the learning rate of its variables; read-only, assign a new dict to change it."""
        return MappingProxyType(dict(self._layer_lr_multipliers))

    @layer_lr_multipliers.setter
    def layer_lr_multipliers(self, multipliers: Mapping[str, float]) -> None:
        if not isinstance(multipliers, Mapping):
            raise ValueError(f"layer_lr_multipliers={multipliers!r}: expected a dict from layer names to multipliers")
        for layer, multiplier in multipliers.items():
            _check_not_negative(**{f"layer_lr_multipliers: {layer}": multiplier})
        self._layer_lr_multipliers = {layer: float(multiplier) for layer, multiplier in multipliers.items()}
        self._assign_multipliers()

    def _multiplier_values(self) -> np.ndarray:
        values = [
            self._layer_lr_multipliers.get(layer, 1.0) * (self._bias_lr_multiplier if is_bias else 1.0)
            for layer, is_bias in zip(self._layers, self._is_bias, strict=True)
        ]
        return np.array(values, np.float32)

    def _initial_multipliers(self, shape: tuple[int, ...], dtype: Any = None) -> tf.Tensor:
        return ops.convert_to_tensor(self._multiplier_values(), dtype)

    def _assign_multipliers(self) -> None:
        if self.built:
            self._multipliers.assign(self._multiplier_values())

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Applies the rule to one variable."""
        index = self._get_variable_index(variable)
        previous, multiplier = self.momentums[index], ops.cast(self._multipliers[index], variable.dtype)
        learning_rate = ops.cast(learning_rate, variable.dtype) * multiplier
        momentum = self.momentum * ops.cast(multiplier > 0, variable.dtype)
        decay = self.decay if self.decay_biases or not self._is_bias[index] else 0.0
        if _is_compiled(gradient, variable):
            self._compiled_update(variable, previous.value, gradient, learning_rate, momentum, decay)
            return
        change = _change(variable, previous, gradient, learning_rate, momentum, decay)
        self.assign(previous, change)
        self.assign_add(variable, change)

    def _all_reduce_sum_gradients(self, grads_and_vars: Iterable) -> list:
        # Keras' own would first gather the gradients of both towers on one device.
        strategy, pairs = tf.distribute.get_strategy(), list(grads_and_vars)
        is_placed = isinstance(strategy, TowerMirroredStrategy) and tf.distribute.get_replica_context() is not None
        if not is_placed or any(gradient is None for gradient, _ in pairs):
            return super()._all_reduce_sum_gradients(pairs)
        gradients, variables = zip(*pairs, strict=True)
        return list(zip(strategy.sum_at(gradients, variables), variables, strict=True))

    def load_own_variables(self, store: Any) -> None:
        """Restores the variables of a `.keras` or `.weights.h5` file."""
        super().load_own_variables(store)
        # Versions up to 0.1 could save multipliers of 1 whatever their config said; `fit` had ignored them.
        if self.built and self._is_from_config and np.all(ops.convert_to_numpy(self._multipliers) == 1):
            self._assign_multipliers()

    def get_config(self) -> dict[str, Any]:
        """Arguments for `from_config`."""
        return super().get_config() | {
            "momentum": self.momentum,
            "weight_decay": self.decay,
            "bias_lr_multiplier": self.bias_lr_multiplier,
            "decay_biases": self.decay_biases,
            "layer_lr_multipliers": dict(self.layer_lr_multipliers),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "PaperSGD":
        """The inverse of `get_config`."""
        optimizer = super().from_config(config, custom_objects)
        optimizer._is_from_config = True
        return optimizer


def _change(variable: Any, previous: Any, gradient: Any, learning_rate: Any, momentum: Any, decay: float) -> Any:
    change = previous * momentum - learning_rate * ops.cast(gradient, variable.dtype)
    return change - decay * learning_rate * variable if decay else change


def _is_compiled(gradient: Any, variable: Any) -> bool:
    is_large = isinstance(variable, tf.Variable) and variable.shape.num_elements() >= MINIMUM_COMPILED_SIZE
    return is_large and isinstance(gradient, tf.Tensor) and compiles_small_functions()


def _update(
    variable: tf.Variable, previous: tf.Variable, gradient: Any, learning_rate: Any, momentum: Any, decay: float
) -> None:
    """The rule with its assignments. Compiled, it passes over memory four times instead of twelve."""
    change = _change(variable, previous, gradient, learning_rate, momentum, decay)
    previous.assign(change)
    variable.assign_add(change)


def _check_not_negative(**values: float) -> None:
    for name, value in values.items():
        if not (isinstance(value, numbers.Real) and math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}={value!r}: expected a number that is not negative")
