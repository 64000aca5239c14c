"""`AlexNet(...)`: a Keras model built from a Variant and nothing else."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_alexnet.layers import (
    LocalResponseNormalization,
    MapResponseNormalization,
    MeanSubtraction,
    OverlappingMaxPool,
    TowerActivation,
    TowerConv2D,
    TowerDense,
    TowerDropout,
)
from keras_alexnet.layers.tower_layers import as_list
from keras_alexnet.variants import find_variant
from keras_alexnet.variants.architecture import (
    Activation,
    Convolution,
    Dense,
    Dropout,
    MapNormalization,
    Normalization,
    Pooling,
    Variant,
)
from keras_alexnet.weights import load_weights


def AlexNet(  # noqa: N802 (named as the models of keras.applications are)
    variant: str | Variant = "paper",
    weights: str | None = None,
    classes: int = 1000,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    mean: Sequence | np.ndarray | None = None,
    name: str | None = None,
    *,
    width: float = 1.0,
    init: str | None = None,
) -> keras.Model:
    """The network of Krizhevsky, Sutskever and Hinton (NIPS 2012) as a functional Keras model.

    Takes RGB images `[N, S, S, 3]`, grey levels 0..255, uint8 or float, with S the variant's `crop_size` (224;
    227 for Caffe's). Gives `[N, classes]` float32: probabilities, or whatever `classifier_activation` makes of the
    logits (None: the logits); with `include_top=False` the `[N, 4096 * width]` outputs of fc7 after ReLU, before
    dropout.

    Args:
      variant: a name in VARIANTS or a Variant of your own.
      weights: a file written by `model.save_weights` for the same variant, classes and width, or published weights:
        Caffe's `.caffemodel` or its `.npy` conversions, PyTorch's `.pth`. What it is, is seen from its content
        (`keras_alexnet.weights`). Nothing in it is executed.
      classes: number of classes, at least 1.
      include_top: whether the classifier fc8 is part of the model.
      classifier_activation: of fc8's outputs; a name that Keras knows, or None.
      mean: what is subtracted from the images: RGB means `[3]`, a mean image `[S, S, 3]`, or a larger one such as
        `Statistics.mean_image` `[256, 256, 3]`, whose central window is taken. By default the RGB means that
        published weights of the variant expect, those of ILSVRC-2012.
      name: of the model.
      width: multiplies the number of filters and units, for small machines.
      init: "paper" for the variant's own initial values (the default), "he" for He's, with input scaled by 1/64.

    Raises:
      ValueError: for an unknown variant or `init`, a width or number of classes that is not positive, a mean of
        another shape, or weights that cannot be read or are of another network; the message names the layer and both
        shapes, and nothing is loaded.
    """
    variant = find_variant(variant) if isinstance(variant, str) else variant
    if classes < 1:
        raise ValueError(f"classes={classes}; expected at least 1")
    if init not in (None, "paper", "he"):
        raise ValueError(f"init={init!r}; expected 'paper' or 'he'")
    variant = (variant.with_he_initialization() if init == "he" else variant).scaled(width)

    images = keras.Input((variant.crop_size, variant.crop_size, 3), name="images")
    centring = MeanSubtraction(_mean(mean, variant), variant.input_scale, variant.resize, name="mean_subtraction")
    towers = centring(images)
    for layer in variant.layers:
        towers = _BUILDERS[type(layer)](layer, variant, towers)
    if include_top:
        for layer in variant.head:
            layer = dataclasses.replace(layer, units=classes) if isinstance(layer, Dense) else layer
            towers = _BUILDERS[type(layer)](layer, variant, towers)
        outputs = keras.layers.Activation(classifier_activation, dtype="float32", name="predictions")(towers)
    else:
        outputs = keras.layers.Concatenate(name="features")(towers) if variant.towers > 1 else towers
    model = keras.Model(images, outputs, name=name or f"alexnet_{variant.name}")
    if weights is not None:
        load_weights(model, weights, variant)
    return model


def _convolution(layer: Convolution, variant: Variant, towers: Any) -> Any:
    below = as_list(towers)
    read = below[:1] if layer.connectivity == "grouped" else below
    fan_in = layer.kernel_size**2 * sum(maps.shape[-1] for maps in read)
    return TowerConv2D(
        layer.filters,
        layer.kernel_size,
        layer.strides,
        layer.padding,
        towers=variant.towers,
        connectivity=layer.connectivity,
        **_initial_values(layer, variant, fan_in),
        name=layer.name,
    )(towers)


def _dense(layer: Dense, variant: Variant, towers: Any) -> Any:
    fan_in = sum(math.prod(maps.shape[1:]) for maps in as_list(towers))
    initial_values = _initial_values(layer, variant, fan_in)
    # Not split, it lives with the softmax on the first GPU, as the last layer did in 2012.
    count = variant.towers if layer.split else 1
    return TowerDense(layer.units, towers=count, connectivity="full", **initial_values, name=layer.name)(towers)


def _initial_values(
    layer: Convolution | Dense, variant: Variant, fan_in: int
) -> dict[str, keras.initializers.Initializer]:
    if variant.init == "gaussian":
        kernel = keras.initializers.RandomNormal(stddev=layer.stddev)
        bias = keras.initializers.Constant(layer.bias)
    elif variant.init == "he":
        kernel = keras.initializers.RandomNormal(stddev=math.sqrt(2 / fan_in))
        bias = keras.initializers.Zeros()
    else:
        limit = 1 / math.sqrt(fan_in)
        kernel, bias = (keras.initializers.RandomUniform(-limit, limit) for _ in range(2))
    return {"kernel_initializer": kernel, "bias_initializer": bias}


def _normalization(layer: Normalization, variant: Variant, towers: Any) -> Any:
    return LocalResponseNormalization(layer.n // 2, layer.k, layer.alpha, layer.beta, layer.across, name=layer.name)(
        towers
    )


# Kind of layer in a Variant -> function of (layer, variant, towers below) that gives the towers above it.
_BUILDERS = {
    Convolution: _convolution,
    Dense: _dense,
    Normalization: _normalization,
    MapNormalization: lambda layer, variant, towers: MapResponseNormalization(
        layer.n, layer.k, layer.alpha, layer.beta, name=layer.name
    )(towers),
    Activation: lambda layer, variant, towers: TowerActivation(layer.function, name=layer.name)(towers),
    Pooling: lambda layer, variant, towers: OverlappingMaxPool(
        layer.size, layer.strides, layer.overhang, name=layer.name
    )(towers),
    Dropout: lambda layer, variant, towers: TowerDropout(layer.rate, layer.rescale, name=layer.name)(towers),
}


def _mean(mean: Sequence | np.ndarray | None, variant: Variant) -> np.ndarray:
    mean = np.asarray(variant.rgb_mean if mean is None else mean, np.float32)
    size = variant.crop_size
    is_image = mean.ndim == 3 and mean.shape[0] == mean.shape[1] >= size and mean.shape[2] == 3
    if mean.shape != (3,) and not is_image:
        raise ValueError(
            f"mean has shape {mean.shape}; expected (3,), ({size}, {size}, 3) or a larger square such as (256, 256, 3)"
        )
    if is_image:
        first = (mean.shape[0] - size) // 2
        mean = mean[first : first + size, first : first + size]
    return mean


def preprocess_input(
    images: np.ndarray | Sequence[np.ndarray], crop_size: int | None = None, *, variant: str | Variant = "paper"
) -> np.ndarray:
    """Makes network input of RGB images: resized to 256 as the variant has it, then the centre crop.

    For the paper's network the shorter side becomes 256 (section 2); Caffe's networks expect both sides to.

    Args:
      images: one image `[H, W, 3]`, a batch `[N, H, W, 3]`, or a sequence of images of any sizes; grey levels 0..255.
      crop_size: side of the crop, at most 256; the variant's if not given. Images that already are `crop_size` square
        are left as they are.
      variant: the network that gets the images.

    Returns:
      float32 `[N, crop_size, crop_size, 3]`, grey levels 0..255. The network subtracts its mean itself.

    Raises:
      ValueError: if an image is not `[H, W, 3]`.
    """
    from pipelines.images import crops

    variant = find_variant(variant) if isinstance(variant, str) else variant
    crop_size = crop_size or variant.crop_size
    if isinstance(images, np.ndarray) and images.ndim == 3:
        images = [images]
    batch = []
    for image in images:
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(f"an image has shape {image.shape}; expected [height, width, 3]")
        if image.shape[:2] != (crop_size, crop_size):
            stored = crops.resize_image(np.clip(np.round(image), 0, 255).astype(np.uint8), variant.resize)
            image = np.asarray(crops.center_crop(stored[None], crop_size)[0])
        batch.append(image.astype(np.float32))
    return np.stack(batch) if batch else np.zeros((0, crop_size, crop_size, 3), np.float32)


def decode_predictions(
    predictions: np.ndarray, top: int = 5, class_names: Sequence[str] | None = None
) -> list[list[tuple[int, str, float]]]:
    """Names the best classes, best first.

    Args:
      predictions: `[N, classes]` probabilities (or logits).
      top: how many classes an image; all of them if there are fewer.
      class_names: one name a class. By default, for 1000 classes, ImageNet's wnids in sorted order.

    Returns:
      For each image a list of `(class index, class name, score)`.

    Raises:
      ValueError: if predictions are not two-dimensional, or names are missing or not one a class.
    """
    predictions = np.asarray(predictions)
    if predictions.ndim != 2:
        raise ValueError(f"predictions have shape {predictions.shape}; expected [N, classes]")
    if class_names is None and predictions.shape[1] == 1000:
        class_names = imagenet_wnids()
    if class_names is None or len(class_names) != predictions.shape[1]:
        found = "none" if class_names is None else len(class_names)
        raise ValueError(f"class_names: found {found}; expected {predictions.shape[1]}, one a class")
    best = np.argsort(-predictions, axis=1, kind="stable")[:, :top]
    return [
        [(int(k), class_names[k], float(row[k])) for k in order] for row, order in zip(predictions, best, strict=True)
    ]


@functools.cache
def imagenet_wnids() -> tuple[str, ...]:
    """The 1000 wnids of ILSVRC-2012 in sorted order: the label order of Caffe, torchvision, Keras and TFDS."""
    import tensorflow_datasets as tfds

    return tuple(tfds.builder("imagenet2012").info.features["label"].names)
