"""What layers of Keras need besides gradients to be trained on several replicas.

A layer that draws random numbers must do so by a `keras.random.SeedGenerator` that is one of its attributes, as all
layers of Keras do. The state of the generator is one of the layer's variables and counts its draws: checkpoints contain
it, so a resumed run draws what an uninterrupted one would. TensorFlow's stateful operations have no such state.
"""

from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from keras_alexnet.layers.nested import all_layers


def draw_for_each_replica(model: keras.Model) -> None:
    """Lets the layers of Keras draw other random numbers on each replica.

    The states of the generators are mirrored: all replicas would draw the same dropout masks. Layers of `keras_alexnet`
    do this themselves, and differ in that they may be called within other layers' replicas.
    """
    for layer in all_layers(model):
        if not type(layer).__module__.startswith("keras_alexnet."):
            for value in vars(layer).values():
                if isinstance(value, keras.random.SeedGenerator):
                    value.next = _folded(value.next)


def _folded(draw: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    def next_seed(ordered: bool = True) -> tf.Tensor:
        seed, replica = draw(ordered), tf.distribute.get_replica_context()
        if replica is None:
            return seed
        folded = tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int32), replica.replica_id_in_sync_group)
        return tf.cast(folded, seed.dtype)

    return next_seed


def average_statistics(model: keras.Model, replica: tf.distribute.ReplicaContext) -> None:
    """Replaces moving statistics, such as those of batch normalization, by their mean over the replicas.

    Each replica updates its own copy from its own images, and checkpoints contain that of the first.
    """
    variables = [variable.value for variable in _statistics(model)] if replica.num_replicas_in_sync > 1 else []
    if variables:
        # identity: unlike a variable's own tensor it is on a device, which reductions between workers need.
        means = replica.all_reduce(tf.distribute.ReduceOp.MEAN, [tf.identity(value) for value in variables])
        for variable, mean in zip(variables, means, strict=True):
            variable.assign(mean)


def _statistics(model: keras.Model) -> Iterator[keras.Variable]:
    """The variables that layers update themselves in training, without states of random generators."""
    for layer in all_layers(model):
        nested = {id(variable) for below in all_layers(layer) for variable in below.non_trainable_weights}
        if layer.trainable:  # the weights of frozen layers are not trainable, and nothing updates them
            for variable in layer.non_trainable_weights:
                if id(variable) not in nested and "float" in variable.dtype:
                    yield variable
