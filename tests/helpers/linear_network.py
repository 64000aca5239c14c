"""A linear network of two layers, and PaperSGD's arithmetic for it in NumPy float64.

The network's outputs are `x @ conv1/kernel + conv1/bias`, times `fc8/kernel`; the loss is half the mean over the batch
of the outputs' sums of squares. It is not linear in the outputs: where a gradient does not depend on the forward pass,
TensorFlow 2.21 may update a variable in place before the forward pass has read it, with Keras' own optimizers, too.
"""

import keras
import numpy as np

MULTIPLIERS = {"bias_lr_multiplier": 2.0, "layer_lr_multipliers": {"conv1": 0.5, "fc8": 3.0}}
CONSTANTS = {"learning_rate": 0.01, "weight_decay": 0.25}
X = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.25], [-0.5, 1.0]], np.float32)
START = [np.array([[1.0, -0.5], [0.25, 2.0]]), np.array([0.5, -1.0]), np.array([[1.0, 0.5], [-2.0, 0.75]])]


@keras.saving.register_keras_serializable(package="tests")
def half_squares(_, outputs):
    return keras.ops.sum(keras.ops.square(outputs), -1) / 2


def linear_network(dtype: str = "float32") -> keras.Model:
    """Variables conv1/kernel, conv1/bias and fc8/kernel, with the values START."""
    inputs = keras.Input((2,))
    hidden = keras.layers.Dense(2, name="conv1", dtype=dtype)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, use_bias=False, name="fc8", dtype=dtype)(hidden))
    model.set_weights(START)
    return model


def after_steps(count: int, bias: float = 2.0, conv1: float = 0.5, fc8: float = 3.0, state=None) -> list[np.ndarray]:
    """The variables after `count` steps on the batch X, or further steps from `state` (weights and momenta)."""
    return trained(count, bias, conv1, fc8, state)[0]


def trained(count: int, bias: float = 2.0, conv1: float = 0.5, fc8: float = 3.0, state=None):
    """As `after_steps`, with the momenta."""
    weights, momenta = state or ([w.copy() for w in START], [np.zeros_like(w) for w in START])
    x, rate, decay = X.astype(np.float64), CONSTANTS["learning_rate"], CONSTANTS["weight_decay"]
    multipliers = [conv1, conv1 * bias, fc8]
    for _ in range(count):
        kernel, offset, top = weights
        hidden = x @ kernel + offset
        at_outputs = hidden @ top / len(x)
        at_hidden = at_outputs @ top.T
        gradients = [x.T @ at_hidden, at_hidden.sum(0), hidden.T @ at_outputs]
        momenta = [
            0.9 * v * (m > 0) - decay * rate * m * w - rate * m * g
            for v, w, g, m in zip(momenta, weights, gradients, multipliers, strict=True)
        ]
        weights = [w + v for w, v in zip(weights, momenta, strict=True)]
    return weights, momenta
