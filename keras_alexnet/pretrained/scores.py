"""Class probabilities of resized images, from a Keras model or an export."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from keras_alexnet.pretrained.loaded_network import LoadedNetwork, Signature
from keras_alexnet.ten_crop import crop_probabilities
from pipelines.choices import CROPS
from serving import signatures as wire


def network_probabilities(network: LoadedNetwork, crops: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """The function from resized images uint8 `[N, R, R, 3]` to probabilities `[N, classes]` of a network.

    Args:
      network: as returned by `load_network`.
      crops: "ten" or "center"; "nine" is accepted for Keras models only, not for exports.

    Raises:
      ValueError: an export has no signature for these crops.
    """
    if network.model is None:
        return _of_export(network.signatures or {}, crops)
    options: dict[str, Any] = {"from_logits": network.from_logits, "preprocessing": network.preprocessing}
    return functools.partial(crop_probabilities, network.model, crops=crops, **options)


def _of_export(signatures: Mapping[str, Signature], crops: str) -> Callable[[tf.Tensor], tf.Tensor]:
    name = {"ten": wire.SIGNATURE_IMAGES, "center": wire.SIGNATURE_CENTER}.get(crops)
    if name is None:
        raise ValueError(f"crops={crops}: expected {' or '.join(CROPS)} for an export")
    if name not in signatures:
        raise ValueError(
            f"crops={crops}: the export has no signature {name!r}; found {', '.join(signatures) or 'none'}"
        )
    function = signatures[name]

    def ten_crop(images: tf.Tensor) -> tf.Tensor:
        return function(**{wire.INPUT_IMAGES: images})[wire.OUTPUT_PROBABILITIES]

    def center_crop(images: tf.Tensor) -> tf.Tensor:
        return function(**{wire.INPUT_BYTES: png_files(images)})[wire.OUTPUT_PROBABILITIES]

    return ten_crop if crops == "ten" else center_crop


def png_files(images: tf.Tensor) -> tf.Tensor:
    """Resized images uint8 `[N, R, R, 3]` as files, string `[N]`, for signatures that take files.

    PNG is lossless, and an image of this size is not resized again.
    """
    return tf.map_fn(tf.io.encode_png, images, fn_output_signature=tf.string)
