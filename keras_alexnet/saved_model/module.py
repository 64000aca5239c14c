"""The graph that TensorFlow Serving runs: image bytes in, named classes out. Plain old ops only."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from keras_alexnet.saved_model.serving_network import ServingNetwork
from pipelines.images import crops, decode
from serving import signatures as wire


class ServingModule(tf.Module):
    """A network with the four signatures of `serving.signatures`, ready for `tf.saved_model.save`.

    Args:
      model: an `AlexNet` with its classifier, giving logits or probabilities; what is saved is a copy.
      labels: what each class is answered as.
      precision: one of `serving_network.PRECISIONS`.
      top_k: how many classes are named, all of them if there are fewer.
      max_pixels: larger images are answered as those that cannot be decoded.

    Attributes:
      top_k: how many classes are named.
      resize: how photographs become 256 x 256, one of `crops.RESIZE_POLICIES`.

    Raises:
      ValueError: if model has no classifier, or the labels are not one a class or have line breaks.
    """

    def __init__(
        self,
        model: keras.Model,
        labels: Sequence[str],
        precision: str = "float32",
        top_k: int = wire.TOP_K,
        max_pixels: int = decode.MAX_PIXELS,
    ):
        super().__init__(name="alexnet")
        check_names(model, "labels", labels)
        self._labels = [label.encode() for label in labels]
        self.top_k = min(top_k, len(labels))
        network = ServingNetwork(model, precision)
        self.resize = network.resize
        # Tracked here as plain variables: tracking the Keras model would store each of them twice.
        self._weights = network.variables
        stored = tf.TensorSpec([None, crops.RESIZED_SIZE, crops.RESIZED_SIZE, 3], tf.uint8)
        image_bytes = tf.TensorSpec([None], tf.string)

        def graph(function: Callable, spec: tf.TensorSpec) -> Callable:
            # One function for all signatures, so that what it does is in the graph once. Wrapped, because a tf.Module
            # would store a second copy of a tf.function that it can see.
            traced = tf.function(function, input_signature=[spec], autograph=False, jit_compile=False)
            return lambda *arguments: traced(*arguments)

        self._ten_views = graph(network.ten_crop, stored)
        self._center_view = graph(network.center_crop_and_features, stored)
        self._decode = graph(
            lambda files: decode.resized_images_or_zeros(files, network.resize, max_pixels=max_pixels), image_bytes
        )

    def trace(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """The graphs: signature name -> function of a batch."""
        image_bytes = tf.TensorSpec([None], tf.string, wire.INPUT_BYTES)
        stored = tf.TensorSpec([None, crops.RESIZED_SIZE, crops.RESIZED_SIZE, 3], tf.uint8, wire.INPUT_IMAGES)

        def concrete(function: Callable, spec: tf.TensorSpec):
            return tf.function(
                function, input_signature=[spec], autograph=False, jit_compile=False
            ).get_concrete_function()

        return {
            wire.SIGNATURE_TEN_CROP: concrete(
                lambda image_bytes: self._classify_bytes(image_bytes, self._ten_views), image_bytes
            ),
            wire.SIGNATURE_CENTER: concrete(
                lambda image_bytes: self._classify_bytes(image_bytes, lambda images: self._center_view(images)[0]),
                image_bytes,
            ),
            wire.SIGNATURE_IMAGES: concrete(lambda images: self._classify(self._ten_views(images)), stored),
            wire.SIGNATURE_FEATURES: concrete(self._features, image_bytes),
        }

    def _classify(self, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        scores, classes = tf.math.top_k(probabilities, self.top_k)
        return {
            wire.OUTPUT_PROBABILITIES: probabilities,
            wire.OUTPUT_SCORES: scores,
            wire.OUTPUT_CLASSES: classes,
            wire.OUTPUT_LABELS: tf.gather(tf.constant(self._labels), classes),
        }

    def _classify_bytes(self, image_bytes: tf.Tensor, network: Callable) -> dict[str, tf.Tensor]:
        stored, valid = self._decode(image_bytes)
        return _blank_rows(self._classify(network(stored)), valid)

    def _features(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        stored, valid = self._decode(image_bytes)
        _, features = self._center_view(stored)
        return _blank_rows({wire.OUTPUT_FEATURES: features}, valid)


def check_names(model: keras.Model, what: str, names: Sequence[str]) -> None:
    """Raises ValueError, beginning with `what`, if `names` are not one a class of `model` or have line breaks."""
    classes = model.output_shape[-1]
    if "predictions" not in [layer.name for layer in model.layers]:
        raise ValueError(f"{model.name} has no layer 'predictions'; expected an AlexNet with include_top=True")
    if len(names) != classes:
        raise ValueError(f"{what}: found {len(names)}; expected {classes}, one a class of {model.name}")
    broken = [name for name in names if "\n" in name or not name]
    if broken:
        raise ValueError(f"{what}: found {broken[0]!r}; expected names without line breaks, not empty")


def _blank_rows(outputs: dict[str, tf.Tensor], valid: tf.Tensor) -> dict[str, tf.Tensor]:
    """Zeros, and empty labels, in the rows of images that could not be decoded."""
    blanked = {name: tf.where(valid[:, None], values, tf.zeros_like(values)) for name, values in outputs.items()}
    return blanked | {wire.OUTPUT_VALID: valid}
