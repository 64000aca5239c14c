"""Throughput of the training input, next to decoding alone and to the pipeline of common tutorials.

    python -m keras_alexnet.benchmark --part=input --batch=128

All contenders read the same prepared shards in the same way and take turns.
"""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_alexnet.benchmark.input_peers import input_peers, write_image_folder
from keras_alexnet.benchmark.report import Report
from keras_alexnet.benchmark.timing import Contender, interleaved
from pipelines.datasets.registry import open_source
from pipelines.datasets.source import Source
from pipelines.images.crops import RESIZED_SIZE
from pipelines.input import crop_batches, training_batches
from pipelines.preparation.prepare import prepare

_IMAGES = 512
_IMAGES_A_TURN = 2048

_OURS = "ours, for the train command: uint8 crops"

# Gives files of 30 kB; 250 photographs from ImageNet, prepared, have 29.5 kB on average.
_SPECTRAL_SLOPE = 1.55


def report_input(dataset: str | None, batch: int, repeats: int, report: Report, peers: bool = False) -> None:
    """Measures the throughput and prints a table.

    Args:
      dataset: a directory written by pipelines.prepare; None for synthetic images in a temporary directory.
      batch: images per batch.
      repeats: timed turns of each contender; the table shows medians.
      report: gets the table. A ratio is to decoding alone.
      peers: whether the pipelines of Keras and torchvision take part.

    Raises:
      ValueError: `dataset` was not written by pipelines.prepare.
    """
    with _records(dataset) as source, tempfile.TemporaryDirectory() as folder:
        records = source.encoded("train").take(_IMAGES)
        starts = {name: _iterator(pipeline) for name, pipeline in contenders(source, batch).items()}
        if peers:
            write_image_folder(records, Path(folder))
            starts |= input_peers(Path(folder), batch)
        size = np.mean([len(encoded) for encoded, _, _ in records.as_numpy_iterator()])
        batches = max(1, _IMAGES_A_TURN // batch)
        turns = {name: _contender(start, batches) for name, start in starts.items()}
        times = interleaved(turns, repeats)
    report.add(f"training input, batch {batch}, records of {size / 1000:.1f} kB", times, batches * batch)
    print("the train command applies the PCA colour augmentation in its training step, on the device")


def training_input_rate(batch: int, repeats: int = 3) -> float:
    """Images per second that this machine delivers to the train command, from records of synthetic photographs."""
    batches = max(1, _IMAGES_A_TURN // batch)
    with _records(None) as source:
        turn = _contender(_iterator(contenders(source, batch)[_OURS]), batches)
        times = interleaved({_OURS: turn}, repeats)[_OURS]
    return batches * batch / float(np.median(times.clock))


def contenders(source: Source, batch: int) -> dict[str, tf.data.Dataset]:
    """Contender -> endless batches of the training images of `source`, a prepared one; the first is the upper limit."""
    statistics = source.statistics
    assert statistics is not None, source.name  # a prepared source has them
    endless = dataclasses.replace(
        source,
        splits={**source.splits, "train": 2**40},
        read=lambda split, shuffle_seed, start: source.read(split, shuffle_seed, start).repeat(),
    )
    records = endless.encoded("train", shuffle_seed=0)

    def decode(encoded: tf.Tensor, label: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(image, [RESIZED_SIZE, RESIZED_SIZE, 3]), label

    def decode_only(*example: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = decode(*example)
        return image[0, 0, 0], label

    def tutorial(*example: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = decode(*example)
        image = tf.image.resize(image, [RESIZED_SIZE, RESIZED_SIZE])
        image = tf.image.random_flip_left_right(tf.image.random_crop(image, [224, 224, 3]))
        return image / 255, label

    parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
    return {
        "decode alone, images dropped": records.map(decode_only, **parallel).batch(batch).prefetch(tf.data.AUTOTUNE),
        "decode alone, images batched": records.map(decode, **parallel).batch(batch).prefetch(tf.data.AUTOTUNE),
        _OURS: crop_batches(endless, statistics, batch_size=batch),
        "ours, for model.fit: float32": training_batches(endless, statistics, batch_size=batch),
        "tutorials: resize, crop, flip, float32": records.map(tutorial).batch(batch),
    }


def _iterator(dataset: tf.data.Dataset) -> Callable[[], Iterator]:
    return lambda: iter(dataset)


def _contender(start: Callable[[], Iterator], batches: int) -> Contender:
    def started() -> Iterator:
        iterator = start()
        # Not timed: the start of the pipeline, and the batches that it prefetches meanwhile.
        for _ in range(3):
            next(iterator)
        return iterator

    def run(iterator: Iterator) -> None:
        for _ in range(batches):
            next(iterator)

    return Contender(run, started)


@contextlib.contextmanager
def _records(dataset: str | None) -> Iterator[Source]:
    if dataset is not None:
        source = open_source(dataset)
        if not source.prepared:
            raise ValueError(f"dataset={dataset}: expected a directory written by pipelines.prepare")
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images", "train", "synthetic")
        images.mkdir(parents=True)
        for i in range(_IMAGES):
            Image.fromarray(synthetic_image(i)).save(images / f"{i}.jpg", quality=95)
        prepared = Path(folder, "prepared")
        prepare(open_source(f"folder:{folder}/images"), prepared)
        yield open_source(os.fspath(prepared))


def synthetic_image(seed: int) -> np.ndarray:
    """uint8 [256,256,3] noise with the decoding cost of a photograph: about 30 kB as a JPEG of quality 95.

    The amplitude of its frequencies falls by a power law, as that of photographs does.
    """
    random = np.random.default_rng(seed)
    frequencies = np.hypot(np.fft.fftfreq(RESIZED_SIZE)[:, None], np.fft.rfftfreq(RESIZED_SIZE)[None])
    amplitude = np.maximum(frequencies, 1 / RESIZED_SIZE) ** -_SPECTRAL_SLOPE
    # Luminance and, weaker, colour.
    planes = [
        np.fft.irfft2(np.fft.rfft2(random.standard_normal((RESIZED_SIZE, RESIZED_SIZE))) * amplitude) for _ in range(4)
    ]
    planes = [plane / plane.std() for plane in planes]
    image = np.stack([120 + 55 * planes[0] + 15 * colour for colour in planes[1:]], axis=-1)
    return np.clip(image, 0, 255).astype(np.uint8)
