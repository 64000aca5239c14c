"""Where small functions are compiled by XLA instead of running as separate operations."""

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf

# The functions that `predict` and `evaluate` of a Keras model trace (keras/src/backend/tensorflow/trainer.py).
_STEPS_OF_KERAS = ("one_step_on", "multi_step_on")

_stays_here = contextvars.ContextVar("stays_here", default=False)


def compiles_small_functions() -> bool:
    """Whether functions that XLA has compiled may be called in the current context.

    On a CPU a compiled function reads and writes memory once, where separate operations do so once each. On a GPU these
    are fast and XLA may lack its compiler. Under a tf.distribute strategy the operations stay separate, so that each is
    on the device of its replica and tower.
    """
    has_gpu = bool(tf.config.get_visible_devices("GPU"))
    return tf.test.is_built_with_xla() and not has_gpu and not tf.distribute.has_strategy()


def compiles_inference() -> bool:
    """Whether XLA may compile parts of the graph that is being traced for inference.

    It may under `predict` and `evaluate` of a Keras model, and under `never_exported`. Any other graph may be exported,
    and TensorFlow Serving runs compiled parts only if it is started with `--xla_cpu_compilation_enabled`.

    References:
      - The help of that flag in TensorFlow Serving's model_servers/main.cc.
    """
    return tf.inside_function() and compiles_small_functions() and (_stays_here.get() or _is_step_of_keras())


@contextlib.contextmanager
def never_exported() -> Iterator[None]:
    """Within it, graphs are traced for this process only.

    Example:

    ```python
    @tf.function
    def predict(images):
        with never_exported():
            return model(images, training=False)
    ```
    """
    token = _stays_here.set(True)
    try:
        yield
    finally:
        _stays_here.reset(token)


def _is_step_of_keras() -> bool:
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        if getattr(graph, "name", "").startswith(_STEPS_OF_KERAS):
            return True
        graph = getattr(graph, "outer_graph", None)
    return False
