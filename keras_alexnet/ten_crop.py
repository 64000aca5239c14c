"""The ten-crop average (section 4.1 of the paper) for any Keras classifier, and the preprocessing of its crops."""

from collections.abc import Callable

import keras
import tensorflow as tf

from pipelines.images.crops import select_crops

# Modes of `keras.applications.imagenet_utils.preprocess_input`, which also documents their constants; "none" leaves
# RGB pixel values 0..255 as they are.
PREPROCESSING = ("none", "tf", "torch", "caffe")

# A name in PREPROCESSING, or a function of float32 crops [M, S, S, 3], RGB 0..255.
Preprocessing = str | Callable[[tf.Tensor], tf.Tensor]


def crop_probabilities(
    model: keras.Model,
    images: tf.Tensor,
    crops: str = "ten",
    *,
    from_logits: bool,
    preprocessing: Preprocessing = "none",
) -> tf.Tensor:
    """Computes class probabilities, averaged over crops after the softmax.

    Args:
      model: classifier of `[M, S, S, 3]` with the outputs `[M, classes]`.
      images: resized images, uint8 `[N, R, R, 3]`, RGB 0..255, R at least S.
      crops: "center"; "ten" for the four corners, the centre and their horizontal flips; or "nine" for a grid of 3 x 3.
      from_logits: whether the model's outputs are logits rather than probabilities.
      preprocessing: what the model expects to be done to RGB 0..255; "none" where it does that itself.

    Returns:
      float32 `[N, classes]`.

    Raises:
      ValueError: `crops` or `preprocessing` is unknown.

    Example:

    ```python
    model = AlexNet(classifier_activation=None)
    images = tf.zeros([2, 256, 256, 3], tf.uint8)
    crop_probabilities(model, images, "ten", from_logits=True).shape  # (2, 1000)
    ```
    """
    selected = select_crops(images, crops, model.input_shape[1])
    shape = tf.shape(selected)
    flat = tf.reshape(selected, [shape[0] * shape[1], *selected.shape[2:]])
    outputs = model(preprocess(flat, preprocessing), training=False)
    probabilities = to_probabilities(outputs, from_logits)
    return tf.reduce_mean(tf.reshape(probabilities, [shape[0], shape[1], probabilities.shape[-1]]), 1)


def preprocess(crops: tf.Tensor, preprocessing: Preprocessing) -> tf.Tensor:
    """Applies the preprocessing that a network expects.

    Args:
      crops: RGB 0..255, any type, `[M, S, S, 3]`.
      preprocessing: a name in PREPROCESSING or a function of float32 crops.

    Raises:
      ValueError: the name is unknown.
    """
    crops = tf.cast(crops, tf.float32)
    if callable(preprocessing):
        return preprocessing(crops)
    check_preprocessing(preprocessing)
    if preprocessing == "none":
        return crops
    preprocess_input = keras.applications.imagenet_utils.preprocess_input
    return preprocess_input(crops, data_format="channels_last", mode=preprocessing)


def check_preprocessing(preprocessing: Preprocessing) -> None:
    """Raises ValueError unless `preprocessing` is a name in PREPROCESSING or a function."""
    if not callable(preprocessing) and preprocessing not in PREPROCESSING:
        raise ValueError(
            f"preprocessing={preprocessing!r}: expected {', '.join(map(repr, PREPROCESSING))} or a function"
        )


def to_probabilities(outputs: tf.Tensor, from_logits: bool) -> tf.Tensor:
    """The outputs of a classifier as float32 probabilities `[M, classes]`."""
    outputs = tf.cast(outputs, tf.float32)
    return tf.nn.softmax(outputs) if from_logits else outputs
