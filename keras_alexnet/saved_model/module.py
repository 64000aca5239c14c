"""The graph that TensorFlow Serving runs: image bytes in, named classes out. Plain operations of TensorFlow only."""

import functools
from collections.abc import Callable, Sequence
from typing import Protocol

import tensorflow as tf

from pipelines.choices import MAX_PIXELS
from pipelines.images import decode
from serving import signatures as wire


class ServableNetwork(Protocol):
    """What a network offers to be served: `ServingNetwork` or `GenericNetwork`."""

    variables: list[tf.Variable]
    resize: str
    resized_size: int

    def ten_crop(self, images: tf.Tensor) -> tf.Tensor:
        """Probabilities `[N, classes]` of resized images."""

    def center_crop_and_features(self, images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Probabilities `[N, classes]` and features `[N, F]` of resized images."""


@functools.cache
def _decoder(resize: str, max_pixels: int, size: int) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """The decoding of image files, traced once per process and not once per network, which takes a second."""
    return tf.function(
        lambda files: decode.resized_images_or_zeros(files, resize, max_pixels=max_pixels, size=size),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
        jit_compile=False,
    )


class ServingModule(tf.Module):
    """A network with the four signatures of `serving.signatures`, ready for `tf.saved_model.save`.

    Args:
      network: a `ServingNetwork` or `GenericNetwork`.
      labels: one per class, for the output of this name.
      top_k: how many classes a prediction names; all of them if there are fewer.
      max_pixels: larger images count as not decodable.

    Attributes:
      top_k: how many classes a prediction names.
    """

    def __init__(
        self, network: ServableNetwork, labels: Sequence[str], top_k: int = wire.TOP_K, max_pixels: int = MAX_PIXELS
    ):
        super().__init__(name="alexnet")
        self._labels = [label.encode() for label in labels]
        self.top_k = min(top_k, len(labels))
        self._size = size = network.resized_size
        # Tracked here as plain variables: tracking the Keras model would store each of them twice.
        self._weights = network.variables
        spec = tf.TensorSpec([None, size, size, 3], tf.uint8)
        decoder = _decoder(network.resize, max_pixels, size)

        def graph(function: Callable) -> Callable:
            # One function for all signatures, so that what it does is in the graph once. Wrapped, because a tf.Module
            # would store a second copy of a tf.function that it can see.
            traced = tf.function(function, input_signature=[spec], autograph=False, jit_compile=False)
            return lambda *arguments: traced(*arguments)

        self._ten_crop = graph(network.ten_crop)
        self._center_crop = graph(network.center_crop_and_features)
        self._decode = lambda files: decoder(files)  # wrapped likewise

    def trace(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """Traces the signatures: name -> function of a batch."""
        image_bytes = tf.TensorSpec([None], tf.string, wire.INPUT_BYTES)
        images = tf.TensorSpec([None, self._size, self._size, 3], tf.uint8, wire.INPUT_IMAGES)

        def concrete(function: Callable, spec: tf.TensorSpec) -> tf.types.experimental.ConcreteFunction:
            return tf.function(
                function, input_signature=[spec], autograph=False, jit_compile=False
            ).get_concrete_function()

        return {
            wire.SIGNATURE_TEN_CROP: concrete(
                lambda image_bytes: self._classify_bytes(image_bytes, self._ten_crop), image_bytes
            ),
            wire.SIGNATURE_CENTER: concrete(
                lambda image_bytes: self._classify_bytes(image_bytes, lambda images: self._center_crop(images)[0]),
                image_bytes,
            ),
            wire.SIGNATURE_IMAGES: concrete(lambda images: self._classify(self._ten_crop(images)), images),
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
        images, valid = self._decode(image_bytes)
        return _blank_rows(self._classify(network(images)), valid)

    def _features(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images, valid = self._decode(image_bytes)
        _, features = self._center_crop(images)
        return _blank_rows({wire.OUTPUT_FEATURES: features}, valid)


def _blank_rows(outputs: dict[str, tf.Tensor], valid: tf.Tensor) -> dict[str, tf.Tensor]:
    """Zeros, and empty labels, in the rows of images that could not be decoded."""
    blanked = {name: tf.where(valid[:, None], values, tf.zeros_like(values)) for name, values in outputs.items()}
    return blanked | {wire.OUTPUT_VALID: valid}
