"""An export whose signatures are simple functions of a file's length, so that tests with many images are fast."""

import functools
import time
from pathlib import Path

import tensorflow as tf

from keras_alexnet.pretrained import LoadedNetwork
from serving import signatures as wire

PNG = b"\x89PNG\r\n\x1a\n"
LABELS = ("=red", "green", "blue", "grey")


def write_images(folder: Path, count: int, broken: int | None = None) -> Path:
    """Files 000.png, ... that `colour_network` predicts; that with the number `broken` it cannot decode."""
    folder.mkdir()
    for number in range(count):
        content = b"broken" if number == broken else b"."
        (folder / f"{number:03}.png").write_bytes(PNG + content * (number + 1))
    return folder


def colour_network(folder: Path, seconds: float = 0.0) -> LoadedNetwork:
    """The network; every batch takes so many `seconds`.

    Args:
      folder: of the export; created if necessary.
    """
    folder.mkdir(exist_ok=True)
    if not (folder / "saved_model.pb").exists():
        (folder / "saved_model.pb").write_bytes(b"colours")

    def classify(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        time.sleep(seconds)
        # No rounding, so that outputs are bit-identical for any batch.
        scores = _lengths(image_bytes)[:, tf.newaxis] * tf.constant([1.0, 3.0, 5.0, 7.0]) % 16 / 64
        return {wire.OUTPUT_PROBABILITIES: scores, wire.OUTPUT_VALID: _valid(image_bytes)}

    def features(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        lengths = _lengths(image_bytes)
        return {wire.OUTPUT_FEATURES: tf.stack([lengths, lengths / 4], 1), wire.OUTPUT_VALID: _valid(image_bytes)}

    signatures = {
        wire.SIGNATURE_TEN_CROP: classify,
        wire.SIGNATURE_CENTER: classify,
        wire.SIGNATURE_FEATURES: features,
    }
    return LoadedNetwork(str(folder), display_names=LABELS, class_names=LABELS, signatures=signatures)


def loader(folder: Path, seconds: float = 0.0) -> functools.partial[LoadedNetwork]:
    """`colour_network(folder, seconds)`, not called yet; can be pickled."""
    return functools.partial(colour_network, folder, seconds)


def _lengths(image_bytes: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(image_bytes), tf.float32)


def _valid(image_bytes: tf.Tensor) -> tf.Tensor:
    return tf.strings.substr(image_bytes, len(PNG), len("broken")) != b"broken"
