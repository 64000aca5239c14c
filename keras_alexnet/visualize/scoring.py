"""Probabilities and features of resized images, from a Keras model or an export."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_alexnet.model import features_model
from keras_alexnet.pretrained import LoadedNetwork, network_probabilities, png_files
from keras_alexnet.saved_model.classifier_layer import flat_features
from keras_alexnet.saved_model.served_signatures import served_signatures
from keras_alexnet.ten_crop import preprocess
from pipelines.images.crops import center_crop
from serving import signatures as wire

BATCH = 16

# Resized images uint8 [N, R, R, 3] to float32 [N, ...].
Scores = Callable[[np.ndarray], np.ndarray]


def probabilities(network: LoadedNetwork, crops: str) -> Scores:
    """The function from resized images to class probabilities `[N, classes]`.

    Args:
      network: of `load_network`.
      crops: "center" or "ten".
    """
    function = network_probabilities(network, crops)
    return _in_batches(function if network.model is None else tf.function(function))


def features(network: LoadedNetwork, layer: str | None) -> Scores:
    """The function from resized images to features `[N, F]` of the centre crop.

    Args:
      network: of `load_network`.
      layer: whose outputs are the features, flattened; by default the features that an export gives, which
        `keras_alexnet.predict --features` writes.

    Raises:
      ValueError: there is no such layer, or the network is an export and a layer is given.
    """
    if layer is None:
        return _in_batches(_served_features(network))
    if network.model is None:
        raise ValueError(
            f"layer={layer}: {network.source} is an export; expected a run directory, .keras or weight file"
        )
    part, size = features_model(network.model, layer), network.model.input_shape[1]

    def of_layer(images: tf.Tensor) -> tf.Tensor:
        return flat_features(part(preprocess(center_crop(images, size), network.preprocessing), training=False))

    return _in_batches(of_layer)


def _served_features(network: LoadedNetwork) -> Callable[[tf.Tensor], tf.Tensor]:
    function = served_signatures(network).get(wire.SIGNATURE_FEATURES)
    if function is None:
        raise ValueError(f"model: {network.source} has no signature {wire.SIGNATURE_FEATURES!r}")
    return lambda images: function(**{wire.INPUT_BYTES: png_files(images)})[wire.OUTPUT_FEATURES]


def _in_batches(function: Callable[[tf.Tensor], tf.Tensor]) -> Scores:
    def scores(images: np.ndarray) -> np.ndarray:
        parts = [function(tf.constant(images[start : start + BATCH])) for start in range(0, len(images), BATCH)]
        return np.concatenate([np.asarray(part) for part in parts])

    return scores
