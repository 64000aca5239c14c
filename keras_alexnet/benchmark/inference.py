"""What answering from ten views costs: the plain way, ours, ours in bfloat16, and the least it could be."""

import io
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from keras_alexnet.layers.tower_layers import TowerConv2D, TowerDense
from keras_alexnet.model import AlexNet
from keras_alexnet.saved_model.serving_network import ServingNetwork
from keras_alexnet.ten_crop import crop_probabilities
from keras_alexnet.variants import Variant
from pipelines.images import decode
from pipelines.images.crops import RESIZED_SIZE

BATCHES = (1, 8, 32)  # images a request

# The average ImageNet photograph's width and height.
_PHOTOGRAPH = (500, 375)
_STORED = tf.TensorSpec([None, RESIZED_SIZE, RESIZED_SIZE, 3], tf.uint8)


def serving_contenders(variant: Variant, batch: int) -> dict[str, Callable[[], object]]:
    """Contender -> one answer to a request of `batch` images of noise, decoded already but for the last contender.

    "view by view" is the network as it was trained, applied to all views of the request at once, as evaluation does it
    (`ten_crop.crop_probabilities`). Each of ours is to be held against the one with the same kind of mean. The floor
    is the convolutions and matrix products of ten views alone, in float32. Sharing can go below it.
    """
    random = np.random.default_rng(0)
    stored = tf.constant(random.integers(0, 256, (batch, RESIZED_SIZE, RESIZED_SIZE, 3), np.uint8))
    plain = AlexNet(variant, classifier_activation=None)
    with_mean_image = AlexNet(
        variant, classifier_activation=None, mean=random.uniform(100, 140, (RESIZED_SIZE, RESIZED_SIZE, 3))
    )
    files = tf.constant([_photograph(random)] * batch)
    decoding = tf.function(decode.resized_images_or_zeros, input_signature=[tf.TensorSpec([None], tf.string)])
    return {
        "view by view": _on(stored, lambda images: crop_probabilities(plain, images, "ten", from_logits=True)),
        "ours": _on(stored, ServingNetwork(plain).ten_crop),
        "view by view, mean image": _on(
            stored, lambda images: crop_probabilities(with_mean_image, images, "ten", from_logits=True)
        ),
        "ours, mean image": _on(stored, ServingNetwork(with_mean_image).ten_crop),
        "ours in bfloat16": _on(stored, ServingNetwork(plain, "bfloat16").ten_crop),
        "ours in bfloat16, mean image": _on(stored, ServingNetwork(with_mean_image, "bfloat16").ten_crop),
        "floor": _floor(plain, 10 * batch),
        "decoding": lambda: decoding(files)[1],
    }


def bfloat16_instructions() -> str:
    """Which instructions for bfloat16 this processor says it has, after /proc/cpuinfo."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    return ", ".join(flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags) or "none found in /proc/cpuinfo"


def _on(stored: tf.Tensor, function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[], tf.Tensor]:
    traced = tf.function(function, input_signature=[_STORED], autograph=False)
    return lambda: traced(stored)


def _floor(model: keras.Model, views: int) -> Callable[[], tf.Tensor]:
    """All convolutions and matrix products of `model` for so many views, each on noise of its own."""
    at_once = min(views, 80)
    operations = []
    for layer in model.layers:
        if not isinstance(layer, TowerConv2D | TowerDense):
            continue
        inputs = layer.input if isinstance(layer.input, list) else [layer.input]
        # Variables, because what is computed from constants only is computed once.
        towers = [tf.Variable(tf.random.stateless_normal([at_once, *maps.shape[1:]], [0, 0])) for maps in inputs]
        operations.append((layer, towers))

    @tf.function(autograph=False)
    def compute() -> tf.Tensor:
        outputs = [output for layer, towers in operations for output in layer([tower + 0 for tower in towers])]
        return tf.add_n([tf.reshape(output, [-1])[0] for output in outputs])

    return lambda: [compute() for _ in range(views // at_once)][-1]


def _photograph(random: np.random.Generator) -> bytes:
    blotches = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8))
    buffer = io.BytesIO()
    blotches.resize(_PHOTOGRAPH, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
