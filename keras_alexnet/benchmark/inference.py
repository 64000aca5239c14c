"""Contenders for inference with ten crops and with one: Keras model, served graph, other runtimes, products alone."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.benchmark.runtimes import runtime_predictions
from keras_alexnet.benchmark.synthetic import synthetic_jpeg
from keras_alexnet.benchmark.with_torch import has_torch
from keras_alexnet.describe import multiply_adds
from keras_alexnet.distribute.compilation import never_exported
from keras_alexnet.layers.tower_layers import TowerConv2D, TowerDense, as_list
from keras_alexnet.model import AlexNet
from keras_alexnet.provenance import has_bfloat16, processor_instructions
from keras_alexnet.saved_model.serving_network import ServingNetwork
from keras_alexnet.ten_crop import crop_probabilities
from keras_alexnet.variants import Variant
from pipelines.images import decode
from pipelines.images.crops import RESIZED_SIZE

BATCHES = (1, 8, 32)  # images a request
SINGLE_CROP_BATCHES = (1, 80)

_STORED = tf.TensorSpec([None, RESIZED_SIZE, RESIZED_SIZE, 3], tf.uint8)


def inference_contenders(variant: Variant, batch: int) -> dict[str, Callable[[], object]]:
    """Contender -> one ten-crop prediction for `batch` images of noise, decoded already except for "decoding".

    "ten crops" is the trained network applied to all crops of the request at once (`ten_crop.crop_probabilities`);
    "served graph" is the exported one; "in this process" is what `predict_images` makes of a network that is not
    exported, with local response normalization compiled by XLA. Compare those with the same kind of mean. "products"
    computes only the convolutions and matrix products of ten crops in float32; a graph that shares work between crops
    can be faster.
    """
    random = np.random.default_rng(0)
    stored = tf.constant(random.integers(0, 256, (batch, RESIZED_SIZE, RESIZED_SIZE, 3), np.uint8))
    plain = AlexNet(variant, classifier_activation=None)
    with_mean_image = AlexNet(
        variant, classifier_activation=None, mean=random.uniform(100, 140, (RESIZED_SIZE, RESIZED_SIZE, 3))
    )
    files = tf.constant([synthetic_jpeg(0)] * batch)
    decoding = tf.function(decode.resized_images_or_zeros, input_signature=[tf.TensorSpec([None], tf.string)])
    contenders = {
        "ten crops": _on(stored, lambda images: crop_probabilities(plain, images, "ten", from_logits=True)),
        "served graph": _on(stored, ServingNetwork(plain).ten_crop),
        "served graph, in this process": _here(stored, ServingNetwork(plain).ten_crop),
        "ten crops, mean image": _on(
            stored, lambda images: crop_probabilities(with_mean_image, images, "ten", from_logits=True)
        ),
        "served graph, mean image": _on(stored, ServingNetwork(with_mean_image).ten_crop),
        "products": _floor(plain, 10 * batch),
        "decoding": lambda: decoding(files)[1],
    }
    if has_bfloat16(processor_instructions()):
        for name, model in (("bfloat16", plain), ("bfloat16, mean image", with_mean_image)):
            contenders[f"served graph, {name}"] = _on(stored, ServingNetwork(model, "bfloat16").ten_crop)
    return contenders


def forward_flop(variant: Variant) -> float:
    """Floating-point operations of the network for one crop."""
    return 2.0 * multiply_adds(AlexNet(variant))


def single_crop_contenders(variant: Variant, batch: int, peers: bool = True) -> dict[str, Callable[[], object]]:
    """Contender -> probabilities of the centre crops of `batch` resized images, here and in other runtimes.

    The runtimes and the graphs of this package have the same weights; PyTorch's network has the same layers. The Keras
    model is traced as by its method `predict`.

    Args:
      peers: whether the other runtimes that are installed take part.
    """
    stored = np.random.default_rng(0).integers(0, 256, (batch, RESIZED_SIZE, RESIZED_SIZE, 3), np.uint8)
    images, model = tf.constant(stored), AlexNet(variant, classifier_activation=None)
    bfloat16 = has_bfloat16(processor_instructions())

    def served(precision: str) -> Callable[[tf.Tensor], tf.Tensor]:
        network = ServingNetwork(model, precision)
        return lambda images: network.center_crop_and_features(images)[0]

    contenders = {
        "Keras model": _here(images, lambda images: crop_probabilities(model, images, "center", from_logits=True)),
        "served graph": _on(images, served("float32")),
        "served graph, in this process": _here(images, served("float32")),
    }
    if bfloat16:
        contenders["served graph, bfloat16"] = _on(images, served("bfloat16"))
        contenders["served graph, bfloat16, in this process"] = _here(images, served("bfloat16"))
    if not peers:
        return contenders
    contenders |= runtime_predictions(model, stored, "center", bfloat16)
    if has_torch():
        from keras_alexnet.benchmark.torch_network import torch_predictions

        contenders |= torch_predictions(variant, 1000, stored, 120.0, bfloat16)
    return contenders


def _on(stored: tf.Tensor, function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[], tf.Tensor]:
    traced = tf.function(function, input_signature=[_STORED], autograph=False)
    return lambda: traced(stored)


def _here(stored: tf.Tensor, function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[], tf.Tensor]:
    """As `_on`, in a graph that is never exported."""

    def marked(images: tf.Tensor) -> tf.Tensor:
        with never_exported():
            return function(images)

    return _on(stored, marked)


def _floor(model: keras.Model, crops: int) -> Callable[[], tf.Tensor]:
    """All convolutions and matrix products of `model` for this many crops of noise."""
    at_once = max(count for count in range(1, 81) if crops % count == 0)
    operations = []
    for layer in model.layers:
        if not isinstance(layer, TowerConv2D | TowerDense):
            continue
        inputs = as_list(layer.input)
        # Variables, because operations on constants are evaluated once, when the graph is optimized.
        towers = [tf.Variable(tf.random.stateless_normal([at_once, *maps.shape[1:]], [0, 0])) for maps in inputs]
        operations.append((layer, towers))

    @tf.function(autograph=False)
    def compute() -> tf.Tensor:
        outputs = [output for layer, towers in operations for output in as_list(layer([tower + 0 for tower in towers]))]
        return tf.add_n([tf.reshape(output, [-1])[0] for output in outputs])

    return lambda: [compute() for _ in range(crops // at_once)][-1]
