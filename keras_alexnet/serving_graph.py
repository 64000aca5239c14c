"""The graph that TensorFlow Serving runs: image bytes in, named classes out. Plain old ops only."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from pipelines import crops, decode
from pipelines.command import InputError
from serving import signatures as wire


class ServingModule(tf.Module):
    """A network with the four signatures of `serving.signatures`, ready for `tf.saved_model.save`.

    It holds a copy of the network that knows nothing of strategies and devices, so that no device name gets into the
    exported graph.

    Args:
      model: an `AlexNet` with its classifier, giving logits or probabilities.
      class_names: one a class.

    Raises:
      InputError: if model has no classifier, or the names are not one a class or have line breaks.
    """

    def __init__(self, model: keras.Model, class_names: Sequence[str]):
        super().__init__(name="alexnet")
        classes = model.output_shape[-1]
        if "predictions" not in [layer.name for layer in model.layers]:
            raise InputError(f"{model.name} has no layer 'predictions'; expected an AlexNet with include_top=True")
        if len(class_names) != classes:
            raise InputError(f"class_names: found {len(class_names)}; expected {classes}, one a class of {model.name}")
        broken = [name for name in class_names if "\n" in name or not name]
        if broken:
            raise InputError(f"class_names: found {broken[0]!r}; expected names without line breaks, not empty")
        self._class_names = [name.encode() for name in class_names]
        self._crop_size = model.input_shape[1]
        copy = model.from_config(model.get_config())
        copy.set_weights(model.get_weights())
        # Tracked here as plain variables: tracking the Keras model would store each of them twice.
        self._weights = [variable.value for variable in copy.weights]
        self._network, self._decode = _network_function(copy), _decoding_function()

    def trace(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """The graphs: signature name -> function of a batch."""
        image_bytes = tf.TensorSpec([None], tf.string, wire.INPUT_BYTES)
        stored = tf.TensorSpec([None, crops.STORED_SIZE, crops.STORED_SIZE, 3], tf.uint8, wire.INPUT_IMAGES)

        def concrete(function: Callable, spec: tf.TensorSpec):
            return tf.function(function, input_signature=[spec], jit_compile=False).get_concrete_function()

        return {
            wire.SIGNATURE_TEN_CROP: concrete(
                lambda image_bytes: self._classify_bytes(image_bytes, "ten"), image_bytes
            ),
            wire.SIGNATURE_CENTER: concrete(
                lambda image_bytes: self._classify_bytes(image_bytes, "center"), image_bytes
            ),
            wire.SIGNATURE_IMAGES: concrete(lambda images: self._classify(images, "ten"), stored),
            wire.SIGNATURE_FEATURES: concrete(self._features, image_bytes),
        }

    def _classify(self, stored: tf.Tensor, views: str) -> dict[str, tf.Tensor]:
        rows, stored = tf.shape(stored)[0], _never_empty(stored)
        cropped = crops.views(stored, views, self._crop_size)
        shape = tf.shape(cropped)
        flat = tf.reshape(cropped, [shape[0] * shape[1], *cropped.shape[2:]])
        probabilities, _ = self._network(tf.cast(flat, tf.float32))
        by_view = tf.reshape(probabilities, [shape[0], shape[1], len(self._class_names)])
        # Softmax first, then the mean over the views (paper, section 4.1).
        probabilities = tf.reduce_mean(by_view, axis=1)
        scores, classes = tf.math.top_k(probabilities, min(wire.TOP_K, len(self._class_names)))
        outputs = {
            wire.OUTPUT_PROBABILITIES: probabilities,
            wire.OUTPUT_SCORES: scores,
            wire.OUTPUT_CLASSES: classes,
            wire.OUTPUT_LABELS: tf.gather(tf.constant(self._class_names), classes),
        }
        return {name: values[:rows] for name, values in outputs.items()}

    def _classify_bytes(self, image_bytes: tf.Tensor, views: str) -> dict[str, tf.Tensor]:
        stored, valid = self._decode(image_bytes)
        return _blank_rows(self._classify(stored, views), valid)

    def _features(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        stored, valid = self._decode(image_bytes)
        centre = crops.center_crop(_never_empty(stored), self._crop_size)
        _, features = self._network(tf.cast(centre, tf.float32))
        return _blank_rows({wire.OUTPUT_FEATURES: features[: tf.shape(stored)[0]]}, valid)


def _network_function(model: keras.Model) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """float32 `[M, S, S, 3]` -> probabilities `[M, classes]` and fc7's outputs after ReLU, `[M, units]`.

    One function for all signatures, so that the mean image is in the graph once.
    """
    top = model.get_layer("predictions")
    before_classifier = [layer for layer in model.layers if layer.name.startswith("dropout")][-1]
    gives_logits = top.activation is keras.activations.linear
    outputs = keras.Model(model.inputs, [top.output, *before_classifier.input])

    @tf.function(input_signature=[tf.TensorSpec(model.input_shape, tf.float32)], jit_compile=False)
    def network(images):
        scores, *features = outputs(images, training=False)
        return tf.nn.softmax(scores) if gives_logits else scores, tf.concat(features, -1)

    return _hidden(network)


def _decoding_function() -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """string `[N]` -> uint8 `[N,256,256,3]` and whether each could be decoded, bool `[N]`; no image touches another.

    One function for all signatures: a third of the graph.
    """
    shape = (crops.STORED_SIZE, crops.STORED_SIZE, 3)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], jit_compile=False)
    def decode_batch(image_bytes):
        return tf.map_fn(
            decode.stored_view_or_zeros,
            image_bytes,
            fn_output_signature=(tf.TensorSpec(shape, tf.uint8), tf.TensorSpec([], tf.bool)),
        )

    return _hidden(decode_batch)


def _hidden(function: Callable) -> Callable:
    """`function`, wrapped: a tf.Module would store a second copy of a tf.function that it can see."""
    return lambda *arguments: function(*arguments)


def _never_empty(stored: tf.Tensor) -> tf.Tensor:
    """`stored`, or one black image if there is none: oneDNN's convolution of an empty batch has a wrong shape."""
    rows = tf.shape(stored)[0]
    return tf.concat([stored, tf.zeros([tf.cast(rows == 0, tf.int32), *stored.shape[1:]], stored.dtype)], 0)


def _blank_rows(outputs: dict[str, tf.Tensor], valid: tf.Tensor) -> dict[str, tf.Tensor]:
    """Zeros, and empty labels, in the rows of images that could not be decoded."""
    blanked = {name: tf.where(valid[:, None], values, tf.zeros_like(values)) for name, values in outputs.items()}
    return blanked | {wire.OUTPUT_VALID: valid}
