"""Any Keras classifier as it is served: the model is called on the crops of resized images."""

import math

import keras
import tensorflow as tf

from keras_alexnet.classifier import classifier_features, resized_size
from keras_alexnet.saved_model.slices import CROPS_PER_SLICE, by_slices
from keras_alexnet.ten_crop import Preprocessing, crop_probabilities, preprocess, to_probabilities
from pipelines.images.crops import center_crop


class GenericNetwork:
    """A copy of a Keras classifier for serving, without strategies and devices. See `ServingNetwork` for AlexNets.

    Args:
      model: `[N, S, S, 3]` to `[N, classes]`, functional or sequential.
      preprocessing: what the model expects to be done to RGB 0..255.
      from_logits: whether the model's outputs are logits rather than probabilities.

    Attributes:
      variables: the weights.
      resize: how images are resized.
      resized_size: side of the resized images in pixels: the crops cover 7/8 of it.

    Raises:
      ValueError: the model cannot be copied, or its classifier is not its own layer.
    """

    resize = "shorter_side"

    def __init__(self, model: keras.Model, preprocessing: Preprocessing, from_logits: bool):
        copy = _copy(model)
        self.variables = [weight.value for weight in copy.weights]
        self.resized_size = resized_size(copy)
        self._model, self._preprocessing, self._from_logits = copy, preprocessing, from_logits
        features = classifier_features(copy).outputs
        self._with_features = keras.Model(copy.inputs, [copy.outputs[0], *features])
        self._classes = copy.output_shape[-1]
        self._units = sum(math.prod(tensor.shape[1:]) for tensor in features)

    def ten_crop(self, images: tf.Tensor) -> tf.Tensor:
        """Class probabilities of uint8 `[N, R, R, 3]`, the mean over ten crops: float32 `[N, classes]`."""

        def of_slice(images: tf.Tensor) -> tuple[tf.Tensor]:
            probabilities = crop_probabilities(
                self._model, images, "ten", from_logits=self._from_logits, preprocessing=self._preprocessing
            )
            return (probabilities,)

        return by_slices(of_slice, images, CROPS_PER_SLICE // 10, [self._classes])[0]

    def center_crop_and_features(self, images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Class probabilities of uint8 `[N, R, R, 3]` from the centre crop; the input of the classifier, float32."""

        def of_slice(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            crops = preprocess(center_crop(images, self._model.input_shape[1]), self._preprocessing)
            outputs, *features = self._with_features(crops, training=False)
            rows = [tf.reshape(tf.cast(each, tf.float32), [-1, math.prod(each.shape[1:])]) for each in features]
            return to_probabilities(outputs, self._from_logits), tf.concat(rows, -1)

        return tuple(by_slices(of_slice, images, CROPS_PER_SLICE, [self._classes, self._units]))


def _copy(model: keras.Model) -> keras.Model:
    try:
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
    # A class of the user's own can raise anything.
    except Exception as error:
        raise ValueError(f"model: {model.name} cannot be copied ({error}); expected a functional model") from error
    return copy
