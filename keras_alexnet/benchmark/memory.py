"""Memory and throughput of training, of a served graph and its replacement, and of predicting many images."""

import gc
import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.benchmark.report import Report
from keras_alexnet.benchmark.synthetic import synthetic_jpeg
from keras_alexnet.benchmark.timing import interleaved
from keras_alexnet.benchmark.training import our_step
from keras_alexnet.layers import TowerConv2D, TowerDense
from keras_alexnet.layers.tower_layers import as_list
from keras_alexnet.model import AlexNet
from keras_alexnet.prediction.predictor import predict_images
from keras_alexnet.pretrained import LoadedNetwork
from keras_alexnet.saved_model.module import ServingModule
from keras_alexnet.saved_model.serving_network import ServingNetwork
from keras_alexnet.saved_model.slices import CROPS_PER_SLICE
from keras_alexnet.variants import Variant
from pipelines.images.crops import RESIZED_SIZE
from serving import signatures as wire

# Images of a prediction: batches of the shorter one, and how many times as many the longer one has.
_BATCHES, _TIMES = 2, 4


@dataclass(frozen=True)
class Load:
    """What is measured.

    Attributes:
      run: does it once.
      images: per run.
      live: bytes that it must hold at once, in addition to what was there before.
    """

    run: Callable[[], object]
    images: int
    live: int


def report_memory(variant: Variant, subject: str, batch: int, repeats: int, report: Report) -> None:
    """Adds one table with the training step and one with the served graph and predictions to `report`.

    Args:
      batch: images per training step; predictions are computed for a quarter, because each has ten crops.
    """
    served = max(1, batch // 4)
    with tempfile.TemporaryDirectory() as folder:
        training = {"a training step": training_load(variant, batch)}
        _report(f"{subject}, batch {batch}: memory of training", training, repeats, report)
        serving = serving_loads(variant, served, folder)
        _report(f"{subject}, batch {served}: memory and speed of ten-crop predictions", serving, repeats, report)


def _report(title: str, loads: dict[str, Load], repeats: int, report: Report) -> None:
    times = interleaved({name: load.run for name, load in loads.items()}, repeats)
    images = {name: load.images for name, load in loads.items()}
    report.add(title, times, images, live={name: load.live for name, load in loads.items()})


def training_load(variant: Variant, batch: int) -> Load:
    """A training step as a load."""
    random, size = np.random.default_rng(0), variant.crop_size
    images = tf.constant(random.uniform(0, 255, (batch, size, size, 3)).astype(np.float32))
    labels = tf.constant(random.integers(0, 1000, batch).astype(np.int32))
    live = training_bytes(AlexNet(variant, classifier_activation=None), batch)
    return Load(our_step(variant, images, labels), batch, live)


def training_bytes(model: keras.Model, batch: int) -> int:
    """What a training step in float32 must hold: the outputs that gradients read, and the gradients of the weights."""
    # The outputs of a convolution or product before ReLU are replaced by those of ReLU.
    kept = [layer for layer in _layers(model) if not isinstance(layer, TowerConv2D | TowerDense)]
    return 4 * model.count_params() + batch * sum(_bytes(layer.output) for layer in kept)


def serving_loads(variant: Variant, batch: int, folder: str) -> dict[str, Load]:
    """The served graph, its replacement by the next version as in a server, and `predict_images` of files.

    The replacement loads the next version beside the one that is served, predicts, and drops the older one.

    Args:
      folder: an empty directory, to be kept as long as the loads run.
    """
    model = AlexNet(variant, classifier_activation=None)
    labels = [str(index) for index in range(model.output_shape[-1])]
    version = Path(folder) / "1"
    module = ServingModule(ServingNetwork(model), labels)
    tf.saved_model.save(module, str(version), signatures=module.trace())
    del module
    first = tf.saved_model.load(str(version))
    # A function alone would hold the variables of `first` weakly.
    signatures = {name: lambda name=name, **inputs: first.signatures[name](**inputs) for name in first.signatures}
    network = LoadedNetwork("memory", display_names=tuple(labels), signatures=signatures)
    stored = tf.zeros([batch, RESIZED_SIZE, RESIZED_SIZE, 3], tf.uint8)
    files = [synthetic_jpeg(seed) for seed in range(batch)] * (_BATCHES * _TIMES)
    versions = [first]

    def signature(name: str) -> Callable[[], object]:
        inputs = (
            {wire.INPUT_IMAGES: stored}
            if name == wire.SIGNATURE_IMAGES
            else {wire.INPUT_BYTES: tf.constant(files[:batch])}
        )
        return lambda: versions[-1].signatures[name](**inputs)[wire.OUTPUT_PROBABILITIES].numpy()

    def replace() -> object:
        versions.append(tf.saved_model.load(str(version)))
        probabilities = signature(wire.SIGNATURE_IMAGES)()
        del versions[0]
        gc.collect()
        return probabilities

    def predict(count: int) -> Callable[[], object]:
        return lambda: _exhausted(predict_images(network, files[:count], batch_size=batch))

    crops = min(CROPS_PER_SLICE, 10 * batch)
    graph = crops * max(_bytes(layer.input) + _bytes(layer.output) for layer in _layers(model))
    # predict_images has two batches at a time.
    predicting = 2 * (graph + batch * 3 * RESIZED_SIZE**2)
    short, long = _BATCHES * batch, _BATCHES * _TIMES * batch
    return {
        "served graph": Load(signature(wire.SIGNATURE_IMAGES), batch, graph),
        "served graph, with decoding": Load(
            signature(wire.SIGNATURE_TEN_CROP), batch, graph + batch * 3 * RESIZED_SIZE**2
        ),
        "replaced by the next version": Load(replace, batch, 4 * model.count_params() + graph),
        f"predict_images, {short} files": Load(predict(short), short, predicting),
        f"predict_images, {long} files": Load(predict(long), long, predicting),
    }


def _layers(model: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]


def _bytes(maps: object) -> int:
    """Bytes of the float32 maps of one crop, all towers together."""
    return sum(4 * math.prod(tower.shape[1:]) for tower in as_list(maps))


def _exhausted(predictions: Iterable) -> int:
    return sum(1 for _ in predictions)
