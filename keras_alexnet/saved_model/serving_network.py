"""The network as it is served: class probabilities of stored images, the same to the last bit in any batch."""

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_alexnet.layers import LocalResponseNormalization, MeanSubtraction, TowerDense, TowerDropout
from keras_alexnet.layers.tower_layers import as_list, concatenate
from keras_alexnet.saved_model.shared_crops import SharedCrops, shareable_layers
from pipelines.images import crops

PRECISIONS = ("float32", "bfloat16")

# Views at a time: more take more memory and are no faster, and from about 100 rows on oneDNN multiplies matrices in
# another order, with other last bits.
_VIEWS = 80


class ServingNetwork:
    """A copy of a trained network for answering.

    It knows nothing of strategies and devices, and keeps its weights in `precision`. In bfloat16 the convolutions and
    the first fully connected layers are computed in it; the mean, the normalisation and the classifier stay float32.

    Args:
      model: an `AlexNet` with its classifier, giving logits or probabilities.
      precision: one of PRECISIONS.

    Attributes:
      variables: the weights.
      resize: how photographs become 256 x 256 for this network, one of `crops.RESIZE_POLICIES`.
    """

    def __init__(self, model: keras.Model, precision: str = "float32"):
        copy = _copy(model, precision)
        self._kernels = _transposed_kernels(copy) if precision == "float32" else {}
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
        self._shared = shareable_layers(self._trunk, self._size)

    def ten_crop(self, stored: tf.Tensor) -> tf.Tensor:
        """Class probabilities of uint8 `[N,256,256,3]`, the mean over ten views: float32 `[N, classes]`."""

        def of_slice(images: tf.Tensor) -> tuple[tf.Tensor]:
            probabilities, _ = self._top(self._ten_trunks(images))
            # Softmax first, then the mean over the views (paper, section 4.1).
            return (tf.add_n(tf.split(probabilities, 10)) / 10,)

        return _by_slices(of_slice, stored, _VIEWS // 10, [self._classes])[0]

    def center_crop_and_features(self, stored: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Class probabilities of uint8 `[N,256,256,3]` from the centre view; fc7's outputs, float32 `[N, units]`."""

        def of_slice(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            crop = tf.cast(crops.center_crop(images, self._size), tf.float32)
            return self._top(_run(self._trunk, [self._centring(crop)]))

        units = sum(maps.shape[-1] for maps in as_list(self._dense[-1].output))
        return _by_slices(of_slice, stored, _VIEWS, [self._classes, units])

    def _ten_trunks(self, stored: tf.Tensor) -> list[tf.Tensor]:
        """The trunk's outputs for ten views, `[10 N, ...]` a tower; the N images of the first view come first."""
        if self._shared:
            towers = SharedCrops(self._centring, self._shared, self._size, _run)(stored)
            return _run(self._trunk[len(self._shared) :], towers)
        views = tf.unstack(crops.ten_crops(stored, self._size), axis=1)
        return _run(self._trunk, [self._centring(tf.cast(tf.concat(views, 0), tf.float32))])

    def _top(self, maps: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Probabilities `[M, classes]` and fc7's outputs after ReLU `[M, units]`, from the trunk's outputs."""
        rows = tf.shape(maps[0])[0]
        # A matrix product with a single row is another routine than with several, and gives other last bits.
        maps = [tf.repeat(part, 1 + tf.cast(rows == 1, tf.int32), axis=0) for part in maps]
        dense = self._run_dense(self._dense, maps)
        (scores,) = self._run_dense(self._head, dense)
        probabilities = tf.nn.softmax(scores) if self._gives_logits else scores
        return probabilities[:rows], tf.cast(tf.concat(dense, -1), tf.float32)[:rows]

    def _run_dense(self, layers: Sequence[keras.layers.Layer], towers: list[tf.Tensor]) -> list[tf.Tensor]:
        for layer in layers:
            if layer.name in self._kernels:
                towers = _columns_product(layer, self._kernels[layer.name], towers)
            else:
                towers = _run([layer], towers)
        return towers


def _transposed_kernels(copy: keras.Model) -> dict[str, list[tf.Variable]]:
    """Layer -> the transposed kernels of its towers, for the fully connected layers."""
    dense = [layer for layer in copy.layers if isinstance(layer, TowerDense)]
    return {layer.name: [tf.Variable(tf.transpose(kernel)) for kernel in layer.kernels] for layer in dense}


def _columns_product(layer: TowerDense, transposed: Sequence[tf.Variable], towers: list[tf.Tensor]) -> list[tf.Tensor]:
    """`layer` of `towers`, as a product of its transposed kernels and the views in columns.

    So oneDNN takes two thirds of the time for 80 views, and half for ten. It needs a batch to take this routine.
    """
    rows = [tf.reshape(part, [-1, math.prod(part.shape[1:])]) for part in as_list(towers)]
    outputs = []
    for index, (kernel, bias) in enumerate(zip(transposed, layer.biases, strict=True)):
        read = concatenate(rows[index : index + 1] if layer.connectivity == "grouped" else rows)
        columns = tf.matmul(kernel[tf.newaxis], read[tf.newaxis], transpose_b=True)[0]
        outputs.append(tf.nn.bias_add(tf.transpose(columns), bias))
    return outputs


def _copy(model: keras.Model, precision: str) -> keras.Model:
    config = model.get_config()
    for layer in config["layers"]:
        is_float32 = layer["class_name"] == "MeanSubtraction" or layer["config"]["name"] in ("fc8", "predictions")
        layer["config"]["dtype"] = "float32" if is_float32 else precision
    copy = model.from_config(config)
    copy.set_weights(model.get_weights())
    return copy


def _run(layers: Sequence[keras.layers.Layer], towers):
    for layer in layers:
        if isinstance(layer, LocalResponseNormalization):
            towers = _normalized(layer, towers)
        elif isinstance(layer, TowerDropout):
            towers = layer(towers, training=False)
        elif isinstance(layer, keras.layers.Activation):
            towers = [layer(towers[0])]
        else:
            towers = as_list(layer(towers))
    return towers


def _normalized(layer: LocalResponseNormalization, towers: list[tf.Tensor]) -> list[tf.Tensor]:
    """`layer` of `towers`, in operations that round the same wherever a value stands, and twice as fast on a CPU.

    TensorFlow's own kernel takes logarithms, whose last bit depends on how the work was divided.
    """
    if layer.beta != 0.75:
        return layer(towers)
    if layer.across == "tower" or len(towers) == 1:
        return [_normalized_maps(layer, maps) for maps in towers]
    channels = [maps.shape[-1] for maps in towers]
    return tf.split(_normalized_maps(layer, tf.concat(towers, -1)), channels, -1)


def _normalized_maps(layer: LocalResponseNormalization, maps: tf.Tensor) -> tf.Tensor:
    maps, channels = tf.cast(maps, tf.float32), maps.shape[-1]
    distances = np.abs(np.arange(channels)[:, np.newaxis] - np.arange(channels))
    window = np.float32(layer.alpha) * (distances <= layer.depth_radius)
    sums = tf.nn.conv2d(tf.square(maps), window[np.newaxis, np.newaxis].astype(np.float32), 1, "VALID")
    roots = tf.sqrt(tf.nn.bias_add(sums, tf.fill([channels], np.float32(layer.bias))))
    # To the power of 3/4: a root times its root.
    return tf.cast(maps / (roots * tf.sqrt(roots)), layer.compute_dtype)


def _by_slices(
    function: Callable[[tf.Tensor], tuple[tf.Tensor, ...]], stored: tf.Tensor, size: int, widths: Sequence[int]
) -> list[tf.Tensor]:
    """`function` of no more than `size` images of `stored` at a time: its outputs, float32 `[N, width]` each."""
    count = (tf.shape(stored)[0] + size - 1) // size
    empty = [tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=[None, width]) for width in widths]

    def body(index: tf.Tensor, parts: list[tf.TensorArray]):
        outputs = function(stored[index * size : (index + 1) * size])
        return index + 1, [part.write(index, values) for part, values in zip(parts, outputs, strict=True)]

    _, parts = tf.while_loop(lambda index, parts: index < count, body, (0, empty), parallel_iterations=1)
    return [tf.ensure_shape(part.concat(), [None, width]) for part, width in zip(parts, widths, strict=True)]
