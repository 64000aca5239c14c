"""Training input of Keras and of torchvision on the same images as files."""

from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import tensorflow as tf

from keras_alexnet.benchmark.with_torch import has_torch

_CROP = 224


def write_image_folder(records: tf.data.Dataset, folder: Path) -> None:
    """Writes records (encoded image, label, ...) to `<folder>/<label>/<index>.jpg`."""
    for index, (encoded, label, *_) in enumerate(records.as_numpy_iterator()):
        path = folder / str(int(label)) / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded)


def input_peers(folder: Path, batch: int) -> dict[str, Callable[[], Iterator]]:
    """Name -> function that starts an endless iterator of float32 batches."""
    peers: dict[str, Callable[[], Iterator]] = {
        "Keras: image_dataset_from_directory": lambda: iter(_keras(folder, batch)),
        "Keras: with RandomCrop and RandomFlip": lambda: iter(_keras_augmented(folder, batch)),
    }
    if has_torch("torchvision"):
        peers["torchvision: ImageFolder, in this process"] = lambda: _torchvision(folder, batch)
    return peers


def _keras(folder: Path, batch: int) -> tf.data.Dataset:
    dataset = keras.utils.image_dataset_from_directory(
        folder, image_size=(256, 256), batch_size=batch, label_mode="int", verbose=False
    )
    return dataset.repeat().prefetch(tf.data.AUTOTUNE)


def _keras_augmented(folder: Path, batch: int) -> tf.data.Dataset:
    crop, flip = keras.layers.RandomCrop(_CROP, _CROP), keras.layers.RandomFlip("horizontal")
    dataset = _keras(folder, batch).map(
        lambda images, labels: (flip(crop(images, training=True), training=True), labels),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return dataset.prefetch(tf.data.AUTOTUNE)


def _torchvision(folder: Path, batch: int) -> Iterator:
    import torch
    from torchvision import datasets, transforms

    images = datasets.ImageFolder(
        str(folder),
        transforms.Compose([transforms.RandomCrop(_CROP), transforms.RandomHorizontalFlip(), transforms.ToTensor()]),
    )
    # Worker processes would not count as processor time of this one.
    loader = torch.utils.data.DataLoader(images, batch, shuffle=True, num_workers=0, drop_last=True)
    while True:
        yield from loader
