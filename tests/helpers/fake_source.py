"""A source in memory, and what training should make of it."""

import dataclasses
import io
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines import input
from pipelines.images import augment
from pipelines.images.crops import resize_image
from pipelines.images.decode import decode_rgb

IMAGES = 23


@dataclasses.dataclass
class FakeSource:
    """Encoded images in memory, with the order of a pipelines.datasets.source.Source."""

    files: dict[str, bytes]
    prepared: bool = False
    name: str = "fake"
    size: int = 256
    encoding: str = "jpeg"

    @property
    def splits(self) -> Mapping[str, int]:
        return {"train": len(self.files), "validation": len(self.files)}

    def encoded(self, split: str, shuffle_seed: int | None = None, start: int = 0) -> tf.data.Dataset:
        order = np.arange(len(self.files))
        if shuffle_seed is not None:
            order = np.random.default_rng(shuffle_seed).permutation(order)
        order = order[start:]
        names = list(self.files)
        examples = ([self.files[names[i]] for i in order], order.astype(np.int32), [names[i] for i in order])
        return tf.data.Dataset.from_tensor_slices(examples)


@dataclasses.dataclass
class FakeStatistics:
    eigenvalues: np.ndarray = dataclasses.field(default_factory=lambda: np.array([14830.4, 1375.96, 388.91]))
    eigenvectors: np.ndarray = dataclasses.field(default_factory=lambda: np.eye(3)[::-1])
    mean_image: np.ndarray = dataclasses.field(
        default_factory=lambda: np.random.default_rng(1).uniform(90, 140, (256, 256, 3)).astype(np.float32)
    )
    rgb_mean: np.ndarray = dataclasses.field(default_factory=lambda: np.array([122.6, 116.4, 104.0]))


def jpeg(seed: int, width: int = 256, height: int = 256) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.BICUBIC).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def prepared_source() -> FakeSource:
    return FakeSource({f"image{i}": jpeg(i) for i in range(IMAGES)}, prepared=True)


def unprepared_source() -> FakeSource:
    return FakeSource({f"image{i}": jpeg(i, 270 + 20 * i, 300) for i in range(IMAGES)})


def training(source: FakeSource, **options) -> list[tuple[np.ndarray, np.ndarray]]:
    options = {"batch_size": 5, "seed": 7, "epoch": 2} | options
    return list(input.training_batches(source, FakeStatistics(), **options).as_numpy_iterator())


def assert_same(batches, others) -> None:
    assert len(batches) == len(others)
    for (images, labels), (other_images, other_labels) in zip(batches, others, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


EPOCH_SEED = augment.epoch_seed(7, 2)


def drawn_window(key: str, crop_size: int = 224) -> tuple[int, int, int]:
    y, x, flip = augment.random_crop(tf.constant(key), EPOCH_SEED, 256, crop_size)
    return int(y), int(x), int(flip)


def drawn_shift(key: str, mode: str) -> np.ndarray:
    statistics = FakeStatistics()
    return augment.color_augmentation(
        tf.constant(key), EPOCH_SEED, statistics.eigenvalues, statistics.eigenvectors, mode
    ).numpy()


def cut(image: np.ndarray, y: int, x: int, flip: int, size: int = 224) -> np.ndarray:
    return image[y : y + size, x : x + size][:, :: -1 if flip else 1].astype(np.float64)


def decoded(source: FakeSource, key: str, resize: str = "shorter_side") -> np.ndarray:
    return resize_image(decode_rgb(tf.constant(source.files[key])), resize).numpy()
