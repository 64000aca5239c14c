"""The ten-crop average (paper, section 4.1)."""

import keras
import tensorflow as tf

from pipelines.images import crops


def crop_probabilities(model: keras.Model, stored: tf.Tensor, views: str) -> tf.Tensor:
    """Class probabilities `[N, classes]` of stored images, averaged over views after softmax (section 4.1).

    Args:
      model: gives logits of float32 `[M, S, S, 3]`.
      stored: uint8 `[N, 256, 256, 3]`.
      views: "center" or "ten".
    """
    cropped = crops.select_crops(stored, views, model.input_shape[1])
    shape = tf.shape(cropped)
    flat = tf.reshape(tf.cast(cropped, tf.float32), [shape[0] * shape[1], *cropped.shape[2:]])
    probabilities = tf.nn.softmax(model(flat, training=False))
    return tf.reduce_mean(tf.reshape(probabilities, [shape[0], shape[1], probabilities.shape[-1]]), 1)
