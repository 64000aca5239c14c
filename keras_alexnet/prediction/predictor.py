"""Predictions of image files by the served signatures of a network."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import tensorflow as tf

from keras_alexnet.prediction.images import Image, read_image
from keras_alexnet.pretrained import LoadedNetwork, Signature
from keras_alexnet.saved_model.served_signatures import class_labels, served_signatures
from pipelines.choices import CROPS
from pipelines.cli import reason_of
from pipelines.images import decode
from pipelines.thread_map import ordered_thread_map
from serving import signatures as wire

# Batches at a time: one is decoded while the network computes the other.
_BATCHES = 2
# Files that are read at the same time; they may be on a file system where each takes milliseconds.
_READERS = 16

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Prediction:
    """The prediction of one image.

    Attributes:
      path: of the file, or key in the dataset; empty for bytes.
      valid: whether the image could be read and decoded.
      reason: why it could not; empty if valid.
      labels: of the most probable classes, best first; empty if not valid, as are the next two.
      classes: their numbers.
      scores: their probabilities, 0..1.
      features: float32 `[F]`, the input of the classifier layer for the centre crop (fc7 of an AlexNet); None if not
        valid or not requested.
    """

    path: str
    valid: bool
    reason: str = ""
    labels: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    features: np.ndarray | None = None


@dataclass(frozen=True)
class Settings:
    """What to predict.

    Attributes:
      crops: "ten" for the mean over ten crops (signature `serving_default`), "center" for one (`center_crop`).
      top_k: how many classes to name, at least 1; all of them if there are fewer.
      features: whether to compute the features too (signature `features`).

    Raises:
      ValueError: a value is out of range.
    """

    crops: str = "ten"
    top_k: int = wire.TOP_K
    features: bool = False

    def __post_init__(self) -> None:
        if self.crops not in CROPS:
            raise ValueError(f"crops={self.crops!r}: expected one of {', '.join(CROPS)}")
        if self.top_k < 1:
            raise ValueError(f"top_k={self.top_k}: expected at least 1")


class Predictor:
    """Predicts batches of images by the served signatures of a network.

    Args:
      network: as returned by `load_network`.
      settings: what to predict.
      batch_size: images per call of a signature, at least 1.

    Attributes:
      top_k: how many classes a prediction names.
      feature_size: F; 0 without features.

    Raises:
      ValueError: the network has no such signature, or a value is out of range.
    """

    def __init__(self, network: LoadedNetwork, settings: Settings, batch_size: int = 32):
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: expected at least 1")
        signatures = served_signatures(network)

        def find(name: str, argument: str) -> Signature:
            if name not in signatures:
                found = ", ".join(signatures) or "none"
                raise ValueError(f"{argument}: {network.source} has no signature {name!r}; found {found}")
            return signatures[name]

        name = wire.SIGNATURE_TEN_CROP if settings.crops == "ten" else wire.SIGNATURE_CENTER
        self._classify = find(name, f"crops={settings.crops}")
        self._features = find(wire.SIGNATURE_FEATURES, "features=True") if settings.features else None
        self._labels = class_labels(network)
        self._batch_size = batch_size
        self.top_k = min(settings.top_k, len(self._labels))
        nothing = {wire.INPUT_BYTES: tf.constant([], tf.string)}
        self.feature_size = self._features(**nothing)[wire.OUTPUT_FEATURES].shape[-1] if self._features else 0

    def predict(self, images: Iterable[Image]) -> Iterator[Prediction]:
        """One prediction for each image, in their order; reads only a few batches ahead of the consumer.

        Raises:
          ValueError: the network cannot be run, for example because memory is exhausted.
        """
        groups = self.predict_groups([(None, images)])
        return (prediction for _, predictions in groups for prediction in predictions)

    def predict_groups(
        self, groups: Iterable[tuple[_Item, Iterable[Image]]]
    ) -> Iterator[tuple[_Item, list[Prediction]]]:
        """`predict` of several groups of images; a batch has images of one group only.

        Yields:
          The name of the group, and the predictions of a batch of it.
        """
        batches = ((name, batch) for name, images in groups for batch in _batched(images, self._batch_size))
        return ordered_thread_map(lambda item: (item[0], self._predict_batch(item[1])), batches, _BATCHES)

    def _predict_batch(self, images: Sequence[Image]) -> list[Prediction]:
        readable = [image.content for image in images if image.content is not None]
        try:
            rows = iter(self._predict_readable(readable) if readable else ())
        except tf.errors.OpError as error:
            raise ValueError(f"batch_size={self._batch_size}: the network failed: {reason_of(error)}") from error
        predictions = []
        for image in images:
            if image.content is None:
                predictions.append(Prediction(image.path, False, image.reason))
                continue
            valid, classes, scores, features = next(rows)
            if not valid:
                predictions.append(Prediction(image.path, False, _undecodable(image.content)))
                continue
            labels = tuple(self._labels[index] for index in classes)
            predictions.append(Prediction(image.path, True, "", labels, tuple(classes), tuple(scores), features))
        return predictions

    def _predict_readable(self, contents: Sequence[bytes]) -> Iterator[tuple]:
        """Rows (valid, classes, scores, features)."""
        inputs = {wire.INPUT_BYTES: tf.constant(contents, tf.string)}
        outputs = self._classify(**inputs)
        probabilities = outputs[wire.OUTPUT_PROBABILITIES].numpy()
        # As tf.math.top_k: of equal probabilities the lower class comes first.
        classes = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.top_k]
        scores = np.take_along_axis(probabilities, classes, axis=1)
        features: Iterable[np.ndarray | None] = itertools.repeat(None)
        if self._features is not None:
            features = self._features(**inputs)[wire.OUTPUT_FEATURES].numpy()
        # Lists of Python's own numbers: features are an endless iterator if there are none.
        return zip(outputs[wire.OUTPUT_VALID].numpy(), classes.tolist(), scores.tolist(), features, strict=False)


def predict_images(
    network: LoadedNetwork,
    images: Iterable[str | os.PathLike[str] | bytes],
    *,
    crops: str = "ten",
    top_k: int = wire.TOP_K,
    features: bool = False,
    batch_size: int = 32,
) -> Iterator[Prediction]:
    """Predicts the classes of any number of images, without a server.

    Predictions are those of the signature that the network's export serves (within 1e-6). Images are read a few batches
    ahead of the consumer, so memory does not grow with their number. An image that cannot be read or decoded gives a
    prediction with `valid` false and the reason.

    Args:
      network: as returned by `load_network`.
      images: paths or contents of JPEG and PNG files, of any size in pixels.
      crops: "ten" for the mean over ten crops, "center" for the centre crop, at a tenth of the cost.
      top_k: how many classes to name, at least 1; all of them if there are fewer.
      features: whether to compute the features too.
      batch_size: images per call of the network, at least 1.

    Returns:
      An iterator of `Prediction`, one for each image, in their order.

    Raises:
      ValueError: an argument is out of range, or the network has no such signature.

    Example:

    ```python
    network = load_network("export/alexnet")
    for prediction in predict_images(network, sorted(Path("photos").glob("*.jpg"))):
        print(prediction.path, prediction.labels[:1] if prediction.valid else prediction.reason)
    ```
    """
    predictor = Predictor(network, Settings(crops, top_k, features), batch_size)
    return predictor.predict(ordered_thread_map(read_image, images, _READERS))


def _undecodable(content: bytes) -> str:
    """Why the signature could not decode a file."""
    try:
        decode.decode_rgb(tf.constant(content), decode.WIRE_FORMATS)
    except tf.errors.OpError as error:
        return reason_of(error)
    return "refused by the network's signature, which accepts fewer pixels"


def _batched(images: Iterable[Image], size: int) -> Iterator[list[Image]]:
    iterator = iter(images)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
