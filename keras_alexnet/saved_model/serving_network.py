"""An AlexNet as it is served: class probabilities of resized images. The ten crops share the first layers."""

import math
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.distribute.compilation import compiles_inference
from keras_alexnet.layers import LocalResponseNormalization, MeanSubtraction, TowerDense, TowerDropout
from keras_alexnet.layers.compiled_lrn import clustered_lrn
from keras_alexnet.layers.tower_layers import as_list, concatenate
from keras_alexnet.saved_model.shared_crops import SharedCrops, shareable_layers
from keras_alexnet.saved_model.slices import CROPS_PER_SLICE, by_slices
from pipelines.choices import RESIZED_SIZE
from pipelines.images import crops


class ServingNetwork:
    """A copy of an `AlexNet` for serving, without strategies and devices.

    Its weights have the type `precision`. With bfloat16, everything but the mean subtraction and the classifier is
    computed in it. Predictions do not depend on the batch (within 1e-6 for float32).

    Args:
      model: an `AlexNet` with its classifier, giving logits or probabilities.
      precision: one of `saved_model.PRECISIONS`.
      resized_size: side of the resized images in pixels.

    Attributes:
      variables: the weights.
      resize: how images are resized, one of `pipelines.choices.RESIZE_POLICIES`.
      resized_size: as given.
    """

    def __init__(self, model: keras.Model, precision: str = "float32", resized_size: int = RESIZED_SIZE):
        self.resized_size = resized_size
        copy = copy_of(model, precision)
        self._kernels = _transposed_kernels(copy)
        replaced = {id(kernel) for name in self._kernels for kernel in copy.get_layer(name).kernels}
        self.variables = [weight.value for weight in copy.weights if id(weight) not in replaced]
        self.variables += [kernel for kernels in self._kernels.values() for kernel in kernels]
        self._size = copy.input_shape[1]
        self._gives_logits = copy.get_layer("predictions").activation is keras.activations.linear
        layers = [layer for layer in copy.layers if not isinstance(layer, keras.layers.InputLayer)]
        self._centring, *layers = layers
        assert isinstance(self._centring, MeanSubtraction), self._centring
        self.resize = self._centring.resize
        first_dense = next(index for index, layer in enumerate(layers) if isinstance(layer, TowerDense))
        self._trunk, top = layers[:first_dense], layers[first_dense:]
        head = top.index(copy.get_layer("fc8"))
        head -= isinstance(top[head - 1], TowerDropout)
        self._dense, self._head = top[:head], top[head:]
        self._classes = copy.output_shape[-1]
        self._shared = shareable_layers(
            self._trunk, self._size, resized_size, has_mean_image=self._centring.mean.ndim == 3
        )

    def ten_crop(self, images: tf.Tensor) -> tf.Tensor:
        """Class probabilities of uint8 `[N,R,R,3]`, the mean over ten crops: float32 `[N, classes]`."""

        def of_slice(images: tf.Tensor) -> tuple[tf.Tensor]:
            probabilities, _ = self._top(self._ten_trunks(images))
            # Softmax first, then the mean over the crops (paper, section 4.1).
            return (tf.add_n(tf.split(probabilities, 10)) / 10,)

        return by_slices(of_slice, images, CROPS_PER_SLICE // 10, [self._classes])[0]

    def center_crop_and_features(self, images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Class probabilities of uint8 `[N,R,R,3]` from the centre crop; fc7's outputs, float32 `[N, units]`."""

        def of_slice(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            crop = tf.cast(crops.center_crop(images, self._size), tf.float32)
            return self._top(_run(self._trunk, [self._centring(crop)]))

        units = sum(maps.shape[-1] for maps in as_list(self._dense[-1].output))
        return tuple(by_slices(of_slice, images, CROPS_PER_SLICE, [self._classes, units]))

    def _ten_trunks(self, images: tf.Tensor) -> list[tf.Tensor]:
        """The trunk's outputs for ten crops, `[10 N, ...]` per tower; the N images of the first crop come first."""
        if self._shared:
            towers = SharedCrops(self._centring, self._shared, self._size, _run, self.resized_size)(images)
            return _run(self._trunk[len(self._shared) :], towers)
        separate = tf.unstack(crops.ten_crops(images, self._size), axis=1)
        return _run(self._trunk, [self._centring(tf.cast(tf.concat(separate, 0), tf.float32))])

    def _top(self, maps: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Probabilities `[M, classes]` and fc7's outputs after ReLU `[M, units]`, from the trunk's outputs."""
        dense = self._run_dense(self._dense, maps)
        (scores,) = self._run_dense(self._head, dense)
        probabilities = tf.nn.softmax(scores) if self._gives_logits else scores
        return probabilities, tf.cast(tf.concat(dense, -1), tf.float32)

    def _run_dense(self, layers: Sequence[keras.layers.Layer], towers: list[tf.Tensor]) -> list[tf.Tensor]:
        for layer in layers:
            if layer.name in self._kernels:
                towers = _dense(layer, self._kernels[layer.name], towers)
            else:
                towers = _run([layer], towers)
        return towers


def _transposed_kernels(copy: keras.Model) -> dict[str, list[tf.Variable]]:
    """Layer -> the transposed kernels of its towers, for the fully connected layers."""
    dense = [layer for layer in copy.layers if isinstance(layer, TowerDense)]
    return {layer.name: [_transposed(kernel, layer.name) for kernel in layer.kernels] for layer in dense}


def _transposed(kernel: keras.Variable, layer: str) -> tf.Variable:
    return tf.Variable(tf.transpose(kernel), name=f"{layer}/kernel")


def _dense(layer: TowerDense, transposed: Sequence[tf.Variable], towers: list[tf.Tensor]) -> list[tf.Tensor]:
    """`layer` of `towers`, with its transposed kernels."""
    rows = [tf.reshape(part, [-1, math.prod(part.shape[1:])]) for part in as_list(towers)]
    outputs = []
    for index, (kernel, bias) in enumerate(zip(transposed, layer.biases, strict=True)):
        read = concatenate(rows[index : index + 1] if layer.connectivity == "grouped" else rows)
        outputs.append(tf.nn.bias_add(_product(tf.cast(read, kernel.dtype), kernel), bias))
    return outputs


def _product(rows: tf.Tensor, transposed: tf.Variable) -> tf.Tensor:
    """The product of `rows` with the transposed kernel, by the fastest of oneDNN's routines on a CPU.

    Several rows are the columns of the product's second matrix, because oneDNN reorders that one at each call. It needs
    a batch of matrices to take this routine in float32.
    """

    def row() -> tf.Tensor:
        return tf.matmul(rows, transposed, transpose_b=True)

    def columns() -> tf.Tensor:
        return tf.transpose(tf.matmul(transposed[tf.newaxis], rows[tf.newaxis], transpose_b=True)[0])

    return tf.cond(tf.shape(rows)[0] == 1, row, columns)


def copy_of(model: keras.Model, precision: str) -> keras.Model:
    """A copy of an `AlexNet` whose convolutions and first dense layers have the dtype `precision`."""
    config = model.get_config()
    for layer in config["layers"]:
        is_float32 = layer["class_name"] == "MeanSubtraction" or layer["config"]["name"] in ("fc8", "predictions")
        layer["config"]["dtype"] = "float32" if is_float32 else precision
    copy = model.from_config(config)
    copy.set_weights(model.get_weights())
    return copy


def _run(layers: Sequence[keras.layers.Layer], towers: list[tf.Tensor]) -> list[tf.Tensor]:
    for layer in layers:
        if isinstance(layer, LocalResponseNormalization):
            # Names in the graph, which profiles show.
            with tf.name_scope(layer.name):
                towers = _normalized(layer, towers)
        elif isinstance(layer, TowerDropout):
            towers = layer(towers, training=False)
        elif isinstance(layer, keras.layers.Activation):
            towers = [layer(towers[0])]
        else:
            towers = as_list(layer(towers))
    return towers


def _normalized(layer: LocalResponseNormalization, towers: list[tf.Tensor]) -> list[tf.Tensor]:
    """`layer` of `towers`, in operations that are faster on a CPU than TensorFlow's own kernel.

    That kernel also takes logarithms, whose rounding depends on how the work is divided among threads.
    """
    if layer.beta != 0.75:
        return layer(towers)
    if layer.across == "tower" or len(towers) == 1:
        return [_normalized_maps(layer, maps) for maps in towers]
    channels = [maps.shape[-1] for maps in towers]
    return tf.split(_normalized_maps(layer, tf.concat(towers, -1)), channels, -1)


def _normalized_maps(layer: LocalResponseNormalization, maps: tf.Tensor) -> tf.Tensor:
    if compiles_inference():
        return clustered_lrn(maps, layer.constants, layer.compute_dtype)
    channels = maps.shape[-1]
    distances = np.abs(np.arange(channels)[:, np.newaxis] - np.arange(channels))
    window = tf.constant(layer.alpha * (distances <= layer.depth_radius), maps.dtype)
    sums = tf.nn.conv2d(tf.square(maps), window[tf.newaxis, tf.newaxis], 1, "VALID")
    scales = tf.nn.bias_add(sums, tf.fill([channels], tf.constant(layer.bias, maps.dtype)))
    # Roots are faster than the power of -3/4.
    return tf.cast(maps * tf.math.rsqrt(scales * tf.sqrt(scales)), layer.compute_dtype)
