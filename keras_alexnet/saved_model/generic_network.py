"""Any Keras classifier as it is served: the model is called on the crops of resized images."""

import keras
import tensorflow as tf

from keras_alexnet.saved_model.classifier_layer import find_classifier, flat_features, observed
from keras_alexnet.saved_model.slices import CROPS_PER_SLICE, by_slices
from keras_alexnet.ten_crop import Preprocessing, preprocess, to_probabilities
from pipelines.images.crops import center_crop, ten_crops


class GenericNetwork:
    """A Keras classifier with a copy of its weights, without strategies. See `ServingNetwork` for AlexNets.

    The model is called statelessly, with the copies in place of its weights. It is neither cloned, which subclassed
    models do not support, nor changed.

    Args:
      model: `[N, S, S, 3]` to `[N, classes]`.
      preprocessing: what the model expects to be done to RGB 0..255.
      from_logits: whether the model's outputs are logits rather than probabilities.
      resized_size: side of the resized images in pixels, at least S.
      resize: how images are resized, one of `pipelines.choices.RESIZE_POLICIES`.

    Attributes:
      variables: the weights.
      resize, resized_size: as given.

    Raises:
      ValueError: no layer has a kernel.
    """

    def __init__(
        self,
        model: keras.Model,
        preprocessing: Preprocessing,
        from_logits: bool,
        resized_size: int,
        resize: str = "shorter_side",
    ):
        self._model, self._preprocessing, self._from_logits = model, preprocessing, from_logits
        self.resized_size, self.resize = resized_size, resize
        self._size, self._classes = model.input_shape[1], model.output_shape[-1]
        self._classifier = find_classifier(model)
        # Integers are states of random generators, which inference does not use: they stay constants.
        self._trainable, self._non_trainable = (
            [tf.Variable(value) if value.dtype.is_floating else value for value in map(tf.convert_to_tensor, weights)]
            for weights in (model.trainable_variables, model.non_trainable_variables)
        )
        weights = [*self._trainable, *self._non_trainable]
        self.variables = [weight for weight in weights if isinstance(weight, tf.Variable)]
        _, features = self._call(tf.zeros([1, self._size, self._size, 3]))
        self._units = features.shape[-1]

    def ten_crop(self, images: tf.Tensor) -> tf.Tensor:
        """Class probabilities of uint8 `[N, R, R, 3]`, the mean over ten crops: float32 `[N, classes]`."""

        def of_slice(images: tf.Tensor) -> tuple[tf.Tensor]:
            crops = tf.concat(tf.unstack(ten_crops(images, self._size), axis=1), 0)
            probabilities, _ = self._call(crops)
            return (tf.add_n(tf.split(probabilities, 10)) / 10,)

        return by_slices(of_slice, images, CROPS_PER_SLICE // 10, [self._classes])[0]

    def center_crop_and_features(self, images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Class probabilities of uint8 `[N, R, R, 3]` from the centre crop; the input of the classifier, float32."""

        def of_slice(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return self._call(center_crop(images, self._size))

        return tuple(by_slices(of_slice, images, CROPS_PER_SLICE, [self._classes, self._units]))

    def _call(self, crops: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Probabilities and features of crops `[M, S, S, 3]`."""
        weights = [[tf.convert_to_tensor(value) for value in part] for part in (self._trainable, self._non_trainable)]
        with observed([self._classifier]) as calls:
            outputs, _ = self._model.stateless_call(*weights, preprocess(crops, self._preprocessing), training=False)
        return to_probabilities(outputs, self._from_logits), flat_features(calls[-1].inputs)
