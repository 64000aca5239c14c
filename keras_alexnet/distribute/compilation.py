"""Where small functions are compiled by XLA instead of running as separate operations."""

import tensorflow as tf


def compiles_small_functions() -> bool:
    """Whether the training step calls functions that XLA has compiled, in the current context.

    On a CPU a compiled function reads and writes memory once, where separate operations do so once each. On a GPU these
    are fast and XLA may lack its compiler. Under a tf.distribute strategy the operations stay separate, so that each is
    on the device of its replica and tower.
    """
    has_gpu = bool(tf.config.get_visible_devices("GPU"))
    return tf.test.is_built_with_xla() and not has_gpu and not tf.distribute.has_strategy()
